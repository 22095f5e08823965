//! What the gateway tells: metrics, readiness, the access log; and how it ends.

use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::Value;
use xspgate::sim::xsp::Behaviour;

use crate::harness::{CHANNEL, Client, DEADLINE, PROFILE, RawClient, Serving, Stage, eventually};

const CLOUD: &str = "webex-cloud-xsp.example.com";

#[tokio::test]
async fn metrics_count_requests_attempts_and_sessions() {
    let stage = Stage::in_order(|_, _| ()).await;
    let mut client = stage.client();
    for _ in 0..5 {
        client.get(PROFILE).await;
    }
    stage.xsp("a1").kill().await;
    client.get(PROFILE).await;
    client.get("/webservice/").await;
    let counted = async || {
        let metrics = stage.metrics().await;
        metrics.count("xspgate_requests_total", &[("interface", "xsi-actions"), ("class", "2xx")]) == 6.0
    };
    eventually("the count", counted).await;
    let metrics = stage.metrics().await;
    let address = |name: &str| stage.xsp(name).address().to_string();
    let attempts = |name: &str, outcome: &str| {
        metrics.count("xspgate_attempts_total", &[("endpoint", &address(name)), ("outcome", outcome)])
    };
    assert_eq!((attempts("a1", "success"), attempts("a2", "success")), (5.0, 1.0));
    assert!(metrics.count("xspgate_attempts_total", &[("endpoint", &address("a1"))]) > 5.0, "the failure is counted");
    assert_eq!(metrics.value("xspgate_endpoint_blocked", &[("endpoint", &address("a1"))]), Some(1.0));
    assert_eq!(metrics.count("xspgate_blocklist_transitions_total", &[("to", "blocked")]), 1.0);
    assert_eq!(metrics.value("xspgate_endpoints", &[]), Some(4.0));
    for (event, count) in [("new", 1.0), ("kept", 4.0), ("moved", 1.0)] {
        assert_eq!(metrics.count("xspgate_sessions_total", &[("event", event)]), count, "{event}");
    }
    assert_eq!(metrics.count("xspgate_refused_total", &[("reason", "unknown-path")]), 1.0);
    assert!(metrics.count("xspgate_tls_handshakes_total", &[]) >= 1.0);
    assert!(metrics.count("xspgate_xsp_seconds_count", &[]) >= 6.0);
    assert!(metrics.count("xspgate_gateway_seconds_count", &[]) >= 6.0);
}

#[tokio::test]
async fn labels_hold_no_path_user_or_client() {
    let stage = Stage::start().await;
    for index in 0..20 {
        let target = format!("/com.broadsoft.xsi-actions/v2.0/user/secret{index}/profile");
        stage.client().from([127, 0, 0, 100]).get(&target).await;
        stage.client().get(&format!("/nothing/secret{index}")).await;
    }
    let text = stage.gateway.admin("/metrics").await.1;
    assert!(!text.contains("secret") && !text.contains("127.0.0.100"), "{text}");
    let metrics = stage.metrics().await;
    let interfaces = metrics.label_values("interface");
    assert!(interfaces.len() <= 6, "{interfaces:?}");
}

#[tokio::test]
async fn readiness_and_liveness_tell_the_truth() {
    let stage = Stage::start().await;
    assert_eq!(stage.gateway.admin("/livez").await.0, 200);
    assert_eq!(stage.gateway.admin("/readyz").await.0, 200);
    assert_eq!(stage.gateway.admin("/nothing").await.0, 404);
    stage.gateway.lame_duck();
    eventually("not ready", async || stage.gateway.admin("/readyz").await.0 == 503).await;
    assert_eq!(stage.client().get(PROFILE).await.status, StatusCode::OK, "it still serves");
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight() {
    let stage = Stage::in_order(|_, text| {
        text.set("", "drain_timeout", "10s").set("[farm.xsp.failover]", "response_timeout", "10s");
        text.set("[farm.xsp.failover]", "advance_after", "off");
    })
    .await;
    stage.xsp("a1").behave(Behaviour::Slow(Duration::from_millis(500))).await;
    let mut idle = stage.client();
    idle.get(PROFILE).await;
    let mut busy = stage.client();
    let in_flight = tokio::spawn(async move { busy.post("/dms/x", "content").await });
    assert!(stage.xsp("a1").until(DEADLINE, |requests| requests.len() == 2).await);
    stage.gateway.drain();
    let answer = in_flight.await.unwrap();
    assert_eq!((answer.status, answer.header("connection")), (StatusCode::OK, "close"));
    let roots = stage.sim.pki.public_roots();
    let address = stage.gateway.https();
    eventually("no new connections", async || {
        RawClient::try_connect(address, CLOUD, crate::harness::tls_config(&roots)).await.is_err()
    })
    .await;
    let Stage { gateway, sim: _sim } = stage;
    gateway.stop().await;
}

#[tokio::test]
async fn the_access_log_tells_each_request_with_all_its_attempts() {
    let stage = Stage::in_order(|_, _| ()).await;
    let serving = Serving::start(&stage).await;
    let mut client = Client::new(serving.https[0], stage.sim.pki.public_roots());
    stage.xsp("a1").behave(Behaviour::Refuse).await;
    let mut request =
        crate::harness::request(http::Method::GET, &format!("{PROFILE}?token=secret"), crate::harness::body(""));
    request.headers_mut().insert("trackingid", "TEST_1".parse().unwrap());
    request.headers_mut().insert("authorization", "Bearer secret".parse().unwrap());
    assert_eq!(client.send(request).await.xsp(), "a2");
    let event = serving.event_of("access", |event| event["tracking_id"] == "TEST_1").await;
    let expected = [
        ("level", "INFO"),
        ("target", "xspgate::access"),
        ("http.request.method", "GET"),
        ("url.path", PROFILE),
        ("interface", "xsi-actions"),
        ("farm", "xsp"),
        ("server.address", CLOUD),
        ("client.address", "127.0.0.1"),
        ("origin", "xsp"),
        ("session", "new"),
    ];
    for (key, value) in expected {
        assert_eq!(event[key], value, "{event}");
    }
    assert_eq!(event["http.response.status_code"], 200, "{event}");
    let attempts = event["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2, "{event}");
    assert_eq!(attempts[0]["endpoint"], stage.xsp("a1").address().to_string());
    assert_eq!(attempts[1]["endpoint"], stage.xsp("a2").address().to_string());
    assert_eq!(attempts[1]["outcome"], "success");
    assert!(attempts.iter().all(|attempt| attempt["ms"].is_number() && attempt["chosen"].is_string()), "{event}");
    assert!(!serving.program.lines().iter().any(|line| line.contains("secret")), "a secret is in the log");
}

#[tokio::test]
async fn no_byte_of_a_client_steers_who_reads_the_log() {
    let stage = Stage::in_order(|_, text| {
        text.set("[log]", "level", "trace");
    })
    .await;
    let serving = Serving::start(&stage).await;
    let mut client = Client::new(serving.https[0], stage.sim.pki.public_roots());
    stage.xsp("a1").behave(Behaviour::Refuse).await;
    let mut request = crate::harness::request(http::Method::GET, PROFILE, crate::harness::body(""));
    // The C1 control that begins a sequence, and the character that turns the direction of writing around.
    let given = http::HeaderValue::from_bytes("TEST_\u{9b}2J\u{202e}".as_bytes()).unwrap();
    request.headers_mut().insert("trackingid", given);
    assert_eq!(client.send(request).await.status, StatusCode::OK);
    serving.event_of("access", |event| event["tracking_id"] == r"TEST_\xC2\x9B2J\xE2\x80\xAE").await;
    let lines = serving.program.lines();
    assert!(lines.iter().all(|line| line.bytes().all(|byte| matches!(byte, b' '..=b'~'))), "{lines:?}");
}

#[tokio::test]
async fn a_sampled_access_log_tells_of_all_that_went_wrong() {
    let stage = Stage::in_order(|_, text| {
        text.set("[log]", "access_sample", 5);
    })
    .await;
    let serving = Serving::start(&stage).await;
    let mut client = Client::new(serving.https[0], stage.sim.pki.public_roots());
    for _ in 0..10 {
        assert_eq!(client.get(PROFILE).await.status, StatusCode::OK);
    }
    for _ in 0..3 {
        assert_eq!(client.get("/nothing").await.status, StatusCode::NOT_FOUND);
    }
    stage.xsp("a1").kill().await;
    let mut fresh = Client::new(serving.https[0], stage.sim.pki.public_roots());
    assert_eq!(fresh.get(PROFILE).await.xsp(), "a2");
    serving.event_of("access", |event| event["attempts"].as_array().is_some_and(|attempts| attempts.len() == 2)).await;
    let events: Vec<Value> =
        serving.program.output().iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of = |status: u16| {
        events.iter().filter(|event| event["event"] == "access" && event["http.response.status_code"] == status).count()
    };
    assert_eq!((of(404), of(200)), (3, 3), "two of ten that went well, and the one that took two attempts");
}

#[tokio::test]
async fn the_access_log_tells_of_a_channel_at_its_end() {
    let stage = Stage::start().await;
    let serving = Serving::start(&stage).await;
    let mut client = Client::new(serving.https[0], stage.sim.pki.public_roots());
    let opening = crate::harness::request(http::Method::POST, CHANNEL, crate::harness::body("<Channel/>"));
    let mut answer = client.open(opening).await.unwrap();
    let xsp = answer.headers()["x-xsp"].to_str().unwrap().to_owned();
    let first = answer.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    let id = stage.xsp(&xsp).channels().pop().unwrap();
    assert!(stage.xsp(&xsp).end_channel(&id));
    let event = serving.event_of("access", |event| event["channel"] == *id).await;
    assert_eq!(
        (&event["http.request.method"], &event["http.response.status_code"], &event["reason"]),
        (&"POST".into(), &200.into(), &Value::Null)
    );
    assert!(event["http.response.body.size"].as_u64() >= Some(first.len() as u64), "{event}");
    assert_eq!(event["attempts"][0]["endpoint"], stage.xsp(&xsp).address().to_string(), "{event}");
}

#[tokio::test]
async fn a_log_line_can_not_be_forged() {
    let stage = Stage::start().await;
    let serving = Serving::start(&stage).await;
    let mut client = RawClient::connect(serving.https[0], &stage.sim.pki.public_roots()).await;
    let target = "/com.broadsoft.xsi-actions/v2.0/x\"}{\"event\":\"forged\"";
    client
        .send(format!("GET {target} HTTP/1.1\r\nHost: {CLOUD}\r\nTrackingID: a\"b{{}}\r\nConnection: close\r\n\r\n"))
        .await;
    client.until_closed().await;
    serving.event("access").await;
    for line in serving.program.output() {
        let event: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not one JSON object: {line}"));
        assert_ne!(event["event"], "forged");
    }
}

#[tokio::test]
async fn a_log_for_people_that_goes_to_a_file_has_no_colours() {
    let stage = Stage::start().await;
    let serving = Serving::start_changed(&stage, |text| text.replace("[log]", "[log]\nformat = \"human\"")).await;
    let line = serving.program.line("that it has started", |line| line.contains("started").then(|| line.to_owned()));
    let line = line.await;
    assert!(line.contains(" INFO xspgate::cli::run: started file.path="), "{line}");
}
