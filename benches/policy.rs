//! What the policy costs a request: a plan, its first pick, and the report of success; then a route and a head.

use std::hint::black_box;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use rand::SeedableRng;
use rand::rngs::StdRng;

use xspgate::broadworks::interface::Interface;
use xspgate::http1::head::{HeadLimits, parse_request};
use xspgate::policy::classify::{On5xx, OnSilence};
use xspgate::policy::endpoint::{Endpoint, Roster, Tier, Weight};
use xspgate::policy::headers::{self, Downstream, Encodings, TraceContext, Trusted, Via};
use xspgate::policy::health::{Health, Observation, Rules, Seen};
use xspgate::policy::plan::{Plan, Purpose, Trials};
use xspgate::policy::route::{PathPrefix, Paths};

const REQUEST: &[u8] = b"GET /com.broadsoft.xsi-actions/v2.0/user/user%40example.com/profile?format=json HTTP/1.1\r\n\
    Host: webex-app-xsp.example.com\r\n\
    User-Agent: Webex/44.6\r\n\
    Accept: application/json\r\n\
    Accept-Encoding: identity\r\n\
    Authorization: Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ1c2VyIn0.c2lnbmF0dXJl\r\n\
    Cookie: JSESSIONID=0123456789ABCDEF0123456789ABCDEF; XSPGATE=ABCDEFGHIJKLMNOPQRSTUV\r\n\
    TrackingID: CLIENT_0f5c1a9e-6d0e-4a55\r\n\
    Connection: keep-alive\r\n\r\n";

const RULES: Rules = Rules {
    block_for: Duration::from_secs(60),
    advance_after: Some(Duration::from_millis(600)),
    on_5xx: On5xx::Confirm,
    on_silence: OnSilence::Confirm,
};

/// Endpoints of equal weight, in two sites.
fn roster(count: u16) -> Roster {
    let mut roster = Roster::new();
    let endpoint = |which: u16| {
        let [high, low] = which.to_be_bytes();
        let tier = Tier { site: which % 2, priority: 0 };
        Endpoint { address: ([10, 0, high, low], 443).into(), tier, weight: Weight::Equal, target: None }
    };
    roster.update((0..count).map(endpoint).collect());
    roster
}

fn plan(criterion: &mut Criterion) {
    for count in [4, 200] {
        let roster = roster(count);
        let ids: Vec<_> = roster.present().map(|member| member.id()).collect();
        let now = Instant::now();
        for (name, pinned, blocked) in
            [("new", None, 0), ("pinned", ids.last().copied(), 0), ("new_one_blocked", None, 1)]
        {
            let mut health = Health::new(now, None);
            for id in &ids[..blocked] {
                health.inherit_block(*id, now, now + RULES.block_for);
            }
            let mut rng = StdRng::seed_from_u64(1);
            criterion.bench_function(&format!("plan_pick_report/{name}/{count}"), |bencher| {
                bencher.iter(|| {
                    health.request(now);
                    let mut plan = Plan::new(black_box(pinned), 3, Trials::Taken);
                    let pick = plan.next(Purpose::First, &roster, &mut health, now, &mut rng);
                    let seen = Observation { id: pick?.id, seen: Seen::Answer, begun: now, interface: None };
                    Some(health.observe(&seen, &RULES, &roster, now, &mut rng))
                });
            });
        }
    }
}

fn route(criterion: &mut Criterion) {
    let prefix = |path: &&str| path.parse::<PathPrefix>().expect("default paths are prefixes");
    let paths = Paths::new(
        Interface::ALL
            .into_iter()
            .flat_map(|interface| interface.default_paths().iter().map(prefix).map(move |prefix| (interface, prefix))),
    );
    let (head, _) = parse_request(REQUEST, &HeadLimits::default()).expect("it is valid").expect("it is whole");
    criterion.bench_function("route", |bencher| bencher.iter(|| paths.find(black_box(head.path()))));
}

fn request_head(criterion: &mut Criterion) {
    let (head, _) = parse_request(REQUEST, &HeadLimits::default()).expect("it is valid").expect("it is whole");
    let peer = IpAddr::from([192, 0, 2, 7]);
    let from = Downstream {
        peer,
        host: "xsp.example.com",
        trusted: Trusted::No,
        tracking_id: "GATEWAY_1",
        cookie: "XSPGATE",
        encodings: Encodings::Any,
        trace: TraceContext::AsReceived,
        via: Via::Requests,
    };
    let mut out = Vec::with_capacity(4096);
    criterion.bench_function("request_head", |bencher| {
        bencher.iter(|| {
            out.clear();
            headers::request_head(black_box(&head), &from, head.framing, &mut out);
            out.len()
        });
    });
}

criterion_group!(benches, plan, route, request_head);
criterion_main!(benches);
