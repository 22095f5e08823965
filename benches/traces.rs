//! What it costs a request that it may be traced: the decision, and the notes that are taken of one with a single attempt.

use std::hint::black_box;
use std::net::TcpListener;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use http::Method;
use xspgate::config::model::{self, Collector};
use xspgate::http1::head::Fields;
use xspgate::policy::fault::AttemptEnd;
use xspgate::telemetry::access::{Attempted, Attempts};
use xspgate::telemetry::metrics::{Class, Metrics};
use xspgate::telemetry::traces::{Believed, Lengths, TRACEPARENT, Told, Traces};

fn told(listener: &Arc<str>) -> Told {
    Told {
        listener: Arc::clone(listener),
        host: Some("xsp.example.com".into()),
        interface: Some("xsi-actions"),
        farm: Some("xsp".into()),
        status: Some(200),
        class: Class::Status(2),
        origin: "xsp",
        reason: None,
        session: Some("kept"),
        lengths: Some(Lengths { received: 0, sent: 1024 }),
    }
}

fn traces(criterion: &mut Criterion) {
    // It takes connections, and nothing else: what waits for it is dropped, which costs a request no more than a queue.
    let collector = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let port = collector.local_addr().expect("it is bound").port();
    let metrics = Metrics::default();
    let traces = |sample| {
        let collector = Collector { host: "127.0.0.1".into(), port, path: "/v1/traces".into() };
        let config =
            NonZeroU32::new(sample).map(|sample| model::Traces { collector, sample, service_name: "x".into() });
        Traces::start(config.as_ref(), &metrics).expect("there is room for a thread")
    };
    let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let fields: Fields =
        [("Host", "xsp.example.com"), ("User-Agent", "Webex/44.6"), (TRACEPARENT, given)].into_iter().collect();
    let listener: Arc<str> = "192.0.2.1:443".into();
    let attempted = Attempted {
        endpoint: "192.0.2.10:443".into(),
        chosen: "random",
        outcome: AttemptEnd::Success,
        status: Some(200),
        reused: true,
        took: Duration::from_millis(1),
    };
    let attempts: Attempts = [attempted].into_iter().collect();
    let mut group = criterion.benchmark_group("traces");
    for (name, sample) in [("off", 0), ("not sampled", u32::MAX), ("sampled", 1)] {
        let traces = traces(sample);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let trace = traces.begin(black_box(&Method::GET), black_box(&fields), || Believed::No);
                if let Some(mut trace) = trace {
                    black_box(trace.attempt());
                    trace.ended(0, None);
                    trace.end(told(&listener), &attempts);
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, traces);
criterion_main!(benches);
