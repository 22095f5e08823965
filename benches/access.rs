//! What the access log costs a request: one line made and queued, with a single attempt in it.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use xspgate::config::model::LogFormat;
use xspgate::policy::fault::AttemptEnd;
use xspgate::telemetry::access::{Access, AccessLog, Attempted, timestamp};
use xspgate::telemetry::lines::Lines;

fn access(criterion: &mut Criterion) {
    let lines = Lines::start("bench", std::io::sink()).expect("there is room for a thread");
    let log = AccessLog::new(lines, LogFormat::Json, NonZeroU32::MIN);
    let endpoint: Arc<str> = "192.0.2.10:443".into();
    let attempts = [Attempted {
        endpoint: Arc::clone(&endpoint),
        chosen: "pinned",
        outcome: AttemptEnd::Success,
        status: Some(200),
        reused: true,
        took: Duration::from_micros(1_234),
    }];
    criterion.bench_function("access/line", |bencher| {
        bencher.iter(|| {
            log.log(black_box(&Access {
                time: timestamp(),
                client: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 77)),
                peer: None,
                listener: "192.0.2.1:443",
                host: Some("webex-app-xsp.example.com"),
                interface: Some("xsi-actions"),
                farm: Some("xsp"),
                method: "GET",
                path: "/com.broadsoft.xsi-actions/v2.0/user/2403645001@xdp.broadsoft.com/profile",
                status: Some(200),
                origin: "xsp",
                reason: None,
                tracking_id: "WEBEX_6e2b4b1c-1c52-4d6f-9ae7-3ad4b5f1a111",
                trace_id: None,
                session: Some("kept"),
                channel: None,
                received: 0,
                sent: 1024,
                took: Duration::from_micros(1_345),
                attempts: &attempts,
            }));
        });
    });
    criterion.bench_function("access/timestamp", |bencher| bencher.iter(timestamp));
}

criterion_group!(benches, access);
criterion_main!(benches);
