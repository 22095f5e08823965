//! Traces: what a collector is told of requests, what XSPs and clients have to do with it, and that nobody waits for it.

use http::{Method, StatusCode};
use xspgate::app::Outcome;
use xspgate::sim::site::CLOUD;
use xspgate::sim::xsp::{Behaviour, Recorded};

use crate::channels::Channel;
use crate::harness::{
    Body, Client, Collector, DEADLINE, Mood, PROFILE, SERVER, Serving, Span, Stage, Status, body, eventually, request,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const STATE: &str = "congo=t61rcWkgMzE,rojo=00";

/// A stage that sends the traces of one in so many requests.
async fn traced(collector: &Collector, sample: i64) -> Stage {
    Stage::in_order(|_, text| {
        text.set("[traces]", "endpoint", collector.url()).set("[traces]", "sample", sample);
    })
    .await
}

/// A request with the trace context of the client's own.
fn within_trace(target: &str, traceparent: &str) -> http::Request<Body> {
    let mut request = request(Method::GET, target, body(""));
    request.headers_mut().insert("traceparent", traceparent.parse().unwrap());
    request.headers_mut().insert("tracestate", STATE.parse().unwrap());
    request
}

fn sampled() -> String {
    format!("00-{TRACE}-{PARENT}-01")
}

fn unsampled() -> String {
    format!("00-{TRACE}-{PARENT}-00")
}

/// The last request that the XSP has seen from a client.
fn last(stage: &Stage, xsp: &str) -> Recorded {
    stage
        .xsp(xsp)
        .requests()
        .into_iter()
        .rfind(|request| !request.header("user-agent").starts_with("xspgate/"))
        .unwrap()
}

async fn count(stage: &Stage, outcome: &str) -> f64 {
    stage.metrics().await.count("xspgate_traces_total", &[("outcome", outcome)])
}

/// Waits until so many traced requests have come to that.
async fn until(stage: &Stage, outcome: &str, wanted: f64) {
    eventually(&format!("{wanted} {outcome}"), async || count(stage, outcome).await == wanted).await;
}

fn expect(span: &Span, attributes: &[(&str, &str)]) {
    for (key, value) in attributes {
        assert_eq!(span.get(key), *value, "{key}: {span:#?}");
    }
}

#[tokio::test]
async fn a_request_that_fails_over_is_a_span_with_one_for_each_attempt() {
    let collector = Collector::start().await;
    let stage = traced(&collector, 1).await;
    stage.xsp("a1").behave(Behaviour::Refuse).await;
    stage.xsp("a2").behave(Behaviour::Status(StatusCode::SERVICE_UNAVAILABLE)).await;
    let answer = stage.client().send(within_trace(PROFILE, &unsampled())).await;
    assert_eq!(answer.xsp(), "b1");
    let spans = collector.trace(TRACE).await;
    let [server, first, second, third] = spans.as_slice() else { panic!("{spans:#?}") };
    assert_eq!((server.name.as_str(), server.parent.as_str(), server.kind), ("GET xsi-actions", PARENT, SERVER));
    assert_eq!(server.status, Status::Unset);
    let port = stage.gateway.https().port().to_string();
    expect(
        server,
        &[
            ("http.request.method", "GET"),
            ("http.response.status_code", "200"),
            ("http.route", "xsi-actions"),
            ("url.scheme", "https"),
            ("server.address", CLOUD),
            ("server.port", &port),
            ("http.response.body.size", &answer.body.len().to_string()),
            ("xspgate.interface", "xsi-actions"),
            ("xspgate.farm", "xsp"),
            ("xspgate.class", "2xx"),
            ("xspgate.origin", "xsp"),
            ("xspgate.session", "new"),
            ("xspgate.stream", "false"),
            ("error.type", ""),
        ],
    );
    for (place, (span, xsp, outcome, status, error)) in [
        (first, "a1", "refused", "", "refused"),
        (second, "a2", "5xx", "503", "503"),
        (third, "b1", "success", "200", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let address = stage.xsp(xsp).address();
        let resent = if place == 0 { String::new() } else { place.to_string() };
        expect(
            span,
            &[
                ("http.request.method", "GET"),
                ("http.response.status_code", status),
                ("http.request.resend_count", &resent),
                ("server.address", &address.ip().to_string()),
                ("server.port", &address.port().to_string()),
                ("xspgate.farm", "xsp"),
                ("xspgate.endpoint", &address.to_string()),
                ("xspgate.chosen", "random"),
                ("xspgate.outcome", outcome),
                ("xspgate.reused", "false"),
                ("error.type", error),
            ],
        );
        assert_eq!((span.name.as_str(), span.kind != SERVER), ("GET", true), "{span:#?}");
        assert_eq!((span.trace.as_str(), &span.parent), (TRACE, &server.id), "{span:#?}");
        assert_eq!(span.status, if error.is_empty() { Status::Unset } else { Status::Error }, "{span:#?}");
        assert_eq!(!span.events.is_empty(), outcome != "refused", "a connection was there: {span:#?}");
        assert!(server.begun <= span.begun && span.begun <= span.ended && span.ended <= server.ended, "{spans:#?}");
    }
    for (xsp, span) in [("a2", second), ("b1", third)] {
        let seen = last(&stage, xsp);
        assert_eq!(seen.header("traceparent"), format!("00-{TRACE}-{}-01", span.id));
        assert_eq!(seen.headers.get_all("traceparent").iter().count(), 1);
        assert_eq!(seen.header("tracestate"), STATE);
    }
    let known = include_str!("../../docs/reference/traces.md");
    for key in spans.iter().flat_map(Span::keys) {
        assert!(known.contains(&format!("`{key}`")), "docs/reference/traces.md lacks {key}");
    }
    assert_eq!(collector.resource("service.name")[0], "xspgate");
    let sent = &collector.requests()[0];
    assert_eq!((sent.method(), sent.uri().path()), (&Method::POST, "/v1/traces"));
    assert_eq!(sent.headers()["content-type"], "application/x-protobuf");
}

#[tokio::test]
async fn a_trace_begins_where_none_came_that_could_be_believed() {
    let collector = Collector::start().await;
    let stage = traced(&collector, 1).await;
    stage.client().get(PROFILE).await;
    let begun = last(&stage, "a1").header("traceparent").to_owned();
    let zeros = format!("00-{}-{PARENT}-01", "0".repeat(32));
    let mut ids = Vec::new();
    for malformed in [zeros.as_str(), "", "00", "nonsense", &format!("{}x", sampled())] {
        stage.client().send(within_trace(PROFILE, malformed)).await;
        let seen = last(&stage, "a1");
        let (given, id) = (seen.header("traceparent"), seen.header("traceparent").split('-').nth(1).unwrap());
        assert_eq!((given.len(), given == begun), (55, false), "{malformed:?}");
        assert_eq!(seen.headers.get_all("traceparent").iter().count(), 1);
        assert_eq!(seen.header("tracestate"), "", "it belongs to what could not be believed");
        ids.push((id.to_owned(), given.to_owned()));
    }
    for (id, given) in ids {
        let spans = collector.trace(&id).await;
        assert_eq!((spans.len(), spans[0].parent.as_str()), (2, ""), "{spans:#?}");
        assert_eq!(given, format!("00-{id}-{}-01", spans[1].id));
    }
    let mut twice = within_trace(PROFILE, &sampled());
    twice.headers_mut().append("traceparent", unsampled().parse().unwrap());
    stage.client().send(twice).await;
    assert!(!last(&stage, "a1").header("traceparent").contains(TRACE), "two contradict each other");
}

#[tokio::test]
async fn what_is_not_traced_passes_as_it_came_whatever_the_client_wants() {
    let collector = Collector::start().await;
    let stage = traced(&collector, 1_000_000).await;
    let mut client = stage.client();
    // The first of so many.
    client.get(PROFILE).await;
    until(&stage, "exported", 1.0).await;
    for given in [sampled(), unsampled(), "nonsense".to_owned()] {
        client.send(within_trace(PROFILE, &given)).await;
        let seen = last(&stage, "a1");
        assert_eq!((seen.header("traceparent"), seen.header("tracestate")), (given.as_str(), STATE));
    }
    client.get(PROFILE).await;
    assert_eq!(last(&stage, "a1").header("traceparent"), "", "none is made up");
    let Stage { gateway, sim: _sim } = stage;
    gateway.stop().await;
    assert_eq!(collector.spans().len(), 2, "{:#?}", collector.spans());
}

#[tokio::test]
async fn a_proxy_of_the_operators_own_says_what_is_traced() {
    let collector = Collector::start().await;
    for (sample, given, expected) in [(1_000_000, sampled(), TRACE), (1, unsampled(), "")] {
        let stage = Stage::in_order(|_, text| {
            text.set("[traces]", "endpoint", collector.url()).set("[traces]", "sample", sample);
            text.set("[[https]]", "trusted_proxies", vec!["127.0.0.1".to_owned()]);
        })
        .await;
        let mut client = stage.client();
        client.get(PROFILE).await;
        client.send(within_trace(PROFILE, &given)).await;
        assert_eq!(last(&stage, "a1").header("traceparent") == given, expected.is_empty());
        let Stage { gateway, sim: _sim } = stage;
        gateway.stop().await;
        assert_eq!(collector.spans().iter().filter(|span| span.trace == TRACE).count(), 2, "both of the first time");
    }
}

#[tokio::test]
async fn the_gateways_own_answers_are_told_of_too() {
    let collector = Collector::start().await;
    let stage = traced(&collector, 1).await;
    stage.client().get("/webservice/secret").await;
    let spans = collector.first("the refusal", |span| span.get("xspgate.reason") == "unknown-path").await;
    let [server] = spans.as_slice() else { panic!("{spans:#?}") };
    assert_eq!((server.name.as_str(), server.status), ("GET", Status::Unset));
    expect(server, &[("http.response.status_code", "404"), ("xspgate.origin", "gateway"), ("http.route", "")]);
    for xsp in ["a1", "a2", "b1", "b2"] {
        stage.xsp(xsp).behave(Behaviour::Refuse).await;
    }
    stage.client().get(PROFILE).await;
    let spans = collector.first("the failure", |span| span.get("xspgate.reason") == "unreachable").await;
    assert_eq!((spans.len(), spans[0].status, spans[0].get("error.type")), (4, Status::Error, "unreachable"));
}

#[tokio::test]
async fn no_secret_is_in_a_span() {
    let collector = Collector::start().await;
    let stage = traced(&collector, 1).await;
    let mut client = stage.client();
    client.set_cookie("JSESSIONID", "secret");
    let mut telling = within_trace(&format!("{PROFILE}/secret?password=secret"), &sampled());
    for (name, value) in [("authorization", "Bearer secret"), ("trackingid", "secret"), ("tracestate", "a=secret")] {
        telling.headers_mut().insert(name, value.parse().unwrap());
    }
    client.send(telling).await;
    client.send(request("SECRET".parse().unwrap(), PROFILE, body("secret"))).await;
    client.named("secret.example.com").get(PROFILE).await;
    until(&stage, "exported", 3.0).await;
    for request in collector.requests() {
        let text = String::from_utf8_lossy(request.body()).to_lowercase();
        for secret in ["secret", "alice", "com.broadsoft", "127.0.0.1:0", "jsessionid", "xspgate="] {
            assert!(!text.contains(secret), "{secret}: {:#?}", collector.spans());
        }
    }
    let invented = collector.spans().into_iter().filter(|span| span.get("http.request.method") == "_OTHER");
    assert!(invented.count() >= 1, "{:#?}", collector.spans());
}

#[tokio::test]
async fn the_span_of_an_event_channel_ends_when_its_answer_begins() {
    let collector = Collector::start().await;
    let stage = traced(&collector, 1).await;
    let mut channel = Channel::open(&stage).await;
    let spans = collector.first("the channel", |span| span.get("xspgate.stream") == "true").await;
    let [server, attempt] = spans.as_slice() else { panic!("{spans:#?}") };
    expect(server, &[("xspgate.class", "2xx"), ("xspgate.reason", ""), ("http.response.body.size", "")]);
    assert_eq!((server.name.as_str(), server.status), ("POST xsi-events", Status::Unset));
    assert_eq!(attempt.get("xspgate.outcome"), "success");
    channel.receives(&stage, "event-1").await;
    channel.beats(&stage).await;
    let beats = collector.first("the heartbeat", |span| span.name == "PUT xsi-events").await;
    expect(&beats[1], &[("xspgate.chosen", "channel"), ("http.response.status_code", "200")]);
    drop(channel);
    let Stage { gateway, sim: _sim } = stage;
    gateway.stop().await;
    let told = collector.spans().iter().filter(|span| span.kind == SERVER).count();
    assert_eq!(told, 2, "its end is nothing new: {:#?}", collector.spans());
}

#[tokio::test]
async fn a_collector_that_is_gone_is_no_trouble_to_anybody() {
    // Nobody else gets the port, and nobody listens there.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let stage = Stage::in_order(|_, text| {
        text.set("[traces]", "endpoint", format!("http://{address}")).set("[traces]", "sample", 1);
    })
    .await;
    for _ in 0..5 {
        assert_eq!(stage.client().get(PROFILE).await.xsp(), "a1");
    }
    until(&stage, "dropped", 5.0).await;
    assert_eq!(count(&stage, "exported").await, 0.0);
    // Connections are made now, and nobody answers: the end waits for a moment, and not for ever.
    socket.listen(8).unwrap();
    assert_eq!(stage.client().get(PROFILE).await.xsp(), "a1");
    let Stage { gateway, sim: _sim } = stage;
    tokio::time::timeout(DEADLINE, gateway.stop()).await.unwrap();
}

#[tokio::test]
async fn a_collector_that_says_nothing_is_no_trouble_either() {
    let collector = Collector::start().await;
    collector.gets_into(Mood::Silent);
    let stage = traced(&collector, 1).await;
    for _ in 0..5 {
        assert_eq!(stage.client().get(PROFILE).await.xsp(), "a1");
    }
    eventually("a batch", async || !collector.requests().is_empty()).await;
    assert_eq!(stage.client().get(PROFILE).await.xsp(), "a1", "while the collector is asked");
    eventually("drops", async || count(&stage, "dropped").await >= 5.0).await;
    collector.gets_into(Mood::Takes);
    stage.client().get(PROFILE).await;
    eventually("an export", async || count(&stage, "exported").await >= 1.0).await;
}

#[tokio::test]
async fn a_collector_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
    let collector = Collector::start().await;
    let stage = traced(&collector, 1).await;
    collector.gets_into(Mood::Answers(StatusCode::SERVICE_UNAVAILABLE));
    stage.client().get(PROFILE).await;
    eventually("a batch", async || !collector.requests().is_empty()).await;
    collector.gets_into(Mood::Takes);
    until(&stage, "exported", 1.0).await;
    assert_eq!(count(&stage, "dropped").await, 0.0);
    let asked = collector.requests().len();
    collector.gets_into(Mood::Answers(StatusCode::BAD_REQUEST));
    stage.client().get(PROFILE).await;
    until(&stage, "dropped", 1.0).await;
    assert_eq!(collector.requests().len(), asked + 1);
}

#[tokio::test]
async fn the_log_tells_once_that_the_collector_does_not_take_traces_and_once_that_it_does() {
    let collector = Collector::start().await;
    collector.gets_into(Mood::Answers(StatusCode::BAD_REQUEST));
    let stage = traced(&collector, 1).await;
    let serving = Serving::start(&stage).await;
    let mut client = Client::new(serving.https[0], stage.sim.pki.public_roots());
    let counted = async |outcome: &str| serving.metrics().await.count("xspgate_traces_total", &[("outcome", outcome)]);
    for round in 1..=3 {
        client.get(PROFILE).await;
        eventually("a drop", async || counted("dropped").await == f64::from(round)).await;
    }
    collector.gets_into(Mood::Takes);
    for round in 1..=2 {
        client.get(PROFILE).await;
        eventually("an export", async || counted("exported").await == f64::from(round)).await;
    }
    let told = |what: &str| serving.program.output().iter().filter(|line| line.contains(what)).count();
    eventually("the end of it in the log", async || told("the collector takes traces again") == 1).await;
    assert_eq!(told("traces are dropped"), 1);
    let event = serving.event("access").await;
    let id = event["trace_id"].as_str().unwrap();
    assert!(collector.spans().iter().any(|span| span.trace == id), "the log leads to the trace: {event}");
}

#[tokio::test]
async fn a_reload_begins_changes_and_ends_it() {
    let collectors = [Collector::start().await, Collector::start().await];
    let (stage, mut text) = Stage::with(|_, text| text.clone()).await;
    let mut client = stage.client();
    for collector in &collectors {
        text.set("[traces]", "endpoint", collector.url()).set("[traces]", "sample", 1);
        text.set("[traces]", "service_name", "edge");
        stage.sim.write_config(&text).unwrap();
        assert_eq!(
            stage.gateway.reload().await,
            Outcome::Applied { needs_restart: vec![], lost: vec![], warnings: None }
        );
        client.get(PROFILE).await;
        collector.first("the request", |_| true).await;
        assert_eq!(collector.resource("service.name"), ["edge"]);
    }
    text.remove_section("[traces]");
    stage.sim.write_config(&text).unwrap();
    assert_eq!(stage.gateway.reload().await, Outcome::Applied { needs_restart: vec![], lost: vec![], warnings: None });
    client.get(PROFILE).await;
    until(&stage, "exported", 2.0).await;
    let Stage { gateway, sim: _sim } = stage;
    gateway.stop().await;
    assert!(collectors.iter().all(|collector| collector.requests().len() == 1));
}

#[tokio::test]
async fn what_waits_is_sent_when_the_process_ends() {
    let collector = Collector::start().await;
    let stage = traced(&collector, 1).await;
    for _ in 0..3 {
        stage.client().get(PROFILE).await;
    }
    let Stage { gateway, sim: _sim } = stage;
    gateway.stop().await;
    assert_eq!(collector.spans().iter().filter(|span| span.kind == SERVER).count(), 3);
}
