//! Who is blamed for what: second looks, trials, overdue attempts, clients that leave, and whole XSPs that are gone.

use std::time::Duration;

use http::{Method, StatusCode};
use xspgate::sim::raw::{Gate, Raw, Step};
use xspgate::sim::site::{ALL, DOMAIN};
use xspgate::sim::xsp::{Behaviour, End, Recorded};

use crate::harness::{Blocked, DEADLINE, NEW_CALL, PROFILE, Stage, client_requests, eventually, fed, request, tiers};
use crate::status::status;

const OK: &str = "HTTP/1.1 200 OK\r\nX-Xsp: raw\r\nContent-Length: 2\r\n\r\nok";
const BUSY: &str = "HTTP/1.1 503 Busy\r\nX-Xsp: raw\r\nContent-Length: 4\r\n\r\nbusy";

fn is_probe(request: &Recorded) -> bool {
    request.header("user-agent").starts_with("xspgate/")
}

/// A raw XSP that is preferred to a1, which is preferred to a2.
async fn raw_before_a1(failover: &[(&str, &str)]) -> (Stage, Raw) {
    Stage::with(|sim, text| {
        let raw = Raw::start(DOMAIN, sim.address(31), &sim.pki).unwrap();
        tiers(text, &[raw.address(), sim.xsp("a1").address(), sim.xsp("a2").address()]);
        for (key, value) in failover {
            text.set("[farm.xsp.failover]", key, *value);
        }
        raw
    })
    .await
}

#[tokio::test]
async fn r_fail_2_one_second_look_at_a_time() {
    let (stage, raw) = raw_before_a1(&[("response_timeout", "15s")]).await;
    let gate = Gate::new();
    raw.next(vec![Step::Request, Step::send(BUSY)]);
    raw.next(vec![Step::Gate(gate.clone()), Step::send(OK)]);
    raw.always(vec![Step::Request, Step::send(BUSY)]);
    let received = |what: &str| String::from_utf8_lossy(&raw.all_received()).matches(what).count();
    assert_eq!(stage.client().get(PROFILE).await.xsp(), "a1");
    eventually("the second look", async || received("User-Agent: xspgate/") == 1).await;
    for _ in 0..10 {
        assert_eq!(stage.client().get(PROFILE).await.xsp(), "a1");
    }
    assert_eq!((received("User-Agent: xspgate/"), received("alice")), (1, 11));
    raw.answer(OK);
    gate.open();
    eventually("its end", async || {
        stage.metrics().await.count("xspgate_probes_total", &[("outcome", "cleared")]) == 1.0
    })
    .await;
    assert_eq!(stage.client().get(PROFILE).await.xsp(), "raw");
}

#[tokio::test]
async fn r_fail_6_a_5xx_on_trial_is_looked_at_as_any_other() {
    let stage = Stage::in_order(|_, text| {
        text.set("[farm.xsp.failover]", "block_for", "200ms");
    })
    .await;
    stage.xsp("a1").behave(Behaviour::Status(StatusCode::SERVICE_UNAVAILABLE)).await;
    assert_eq!(stage.client().get(PROFILE).await.xsp(), "a2");
    stage.until_blocked("a1", Blocked::Yes).await;
    let mut client = stage.client();
    eventually("three trials", async || {
        client.forget_cookies();
        assert_eq!(client.get(PROFILE).await.xsp(), "a2");
        client_requests(stage.xsp("a1")) >= 4
    })
    .await;
    // The trial may have been the one request that fails everywhere.
    let looks = || stage.xsp("a1").requests().iter().filter(|one| is_probe(one)).count();
    eventually("looks", async || looks() >= 3).await;
}

#[tokio::test]
async fn r_fail_6_an_xsp_that_still_hangs_costs_no_unsafe_request() {
    let stage = Stage::in_order(|_, text| {
        text.set("[farm.xsp.failover]", "block_for", "200ms");
    })
    .await;
    stage.xsp("a1").behave(Behaviour::Hang).await;
    assert_eq!(stage.client().get(PROFILE).await.xsp(), "a2");
    stage.until_blocked("a1", Blocked::Yes).await;
    let mut client = stage.client();
    eventually("two trials", async || {
        client.forget_cookies();
        let answer = client.post(NEW_CALL, "<Call/>").await;
        assert_eq!((answer.status, answer.xsp()), (StatusCode::CREATED, "a2"));
        stage.xsp("a1").requests().iter().filter(|one| is_probe(one)).count() >= 2
    })
    .await;
    assert!(stage.xsp("a1").requests().iter().all(|one| one.method == Method::GET));
    // It works again: nobody but the gateway need find out.
    stage.xsp("a1").behave(Behaviour::Normal).await;
    eventually("its return", async || {
        client.forget_cookies();
        client.post(NEW_CALL, "<Call/>").await.xsp() == "a1"
    })
    .await;
}

#[tokio::test]
async fn a_client_that_sends_slowly_makes_no_xsp_overdue() {
    let (stage, raw) = raw_before_a1(&[("advance_after", "400ms"), ("response_timeout", "15s")]).await;
    let mut client = stage.client();
    let (pieces, body) = fed();
    let mut slow = request(Method::GET, PROFILE, body);
    slow.headers_mut().insert("transfer-encoding", "chunked".parse().unwrap());
    let slow = tokio::spawn(async move { client.send(slow).await });
    pieces.send("<Slow".into()).unwrap();
    assert!(raw.until(DEADLINE, |received| String::from_utf8_lossy(&received.concat()).contains("<Slow")).await);
    tokio::time::sleep(Duration::from_millis(600)).await;
    pieces.send("/>".into()).unwrap();
    drop(pieces);
    assert_eq!(slow.await.unwrap().xsp(), "raw");
    assert_eq!(stage.asked(), 0, "another XSP was asked, though this one had only just got the request");
}

#[tokio::test]
async fn a_client_that_gives_up_on_a_silent_xsp_makes_the_gateway_look() {
    let stage = Stage::in_order(|_, text| {
        let failover = "[farm.xsp.failover]";
        text.set(failover, "advance_after", "100ms").set(failover, "response_timeout", "2s");
    })
    .await;
    stage.xsp("a1").behave(Behaviour::Hang).await;
    let mut client = stage.raw_client().await;
    client
        .send(format!("POST {NEW_CALL} HTTP/1.1\r\nHost: webex-cloud-xsp.example.com\r\nContent-Length: 2\r\n\r\nhi"))
        .await;
    assert!(stage.xsp("a1").until(DEADLINE, |requests| requests.len() == 1).await);
    tokio::time::sleep(Duration::from_millis(400)).await;
    drop(client);
    let looked = |requests: &[Recorded]| requests.len() == 2 && is_probe(&requests[1]);
    assert!(stage.xsp("a1").until(DEADLINE, looked).await, "callers that give up would never find out");
    // It would change something, and the gateway has all of it.
    assert_eq!(stage.xsp("a1").requests()[0].end, End::Pending, "the client has left, and its request goes on");
    stage.until_blocked("a1", Blocked::Yes).await;
    let attempts = async |outcome| stage.metrics().await.count("xspgate_attempts_total", &[("outcome", outcome)]);
    eventually("its end", async || attempts("timeout").await == 1.0).await;
    assert_eq!(attempts("abandoned").await, 0.0, "it is counted once");
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_body_counts_though_the_xsp_then_breaks() {
    let (stage, raw) = raw_before_a1(&[]).await;
    let refusal = "HTTP/1.1 413 Too Much\r\nX-Xsp: raw\r\nContent-Length: 4\r\nConnection: close\r\n\r\nmuch";
    raw.always(vec![Step::send(refusal), Step::Reset]);
    for round in 0..20 {
        let mut client = stage.client();
        let (pieces, body) = fed();
        for _ in 0..40 {
            pieces.send(vec![b'x'; 64 * 1024].into()).unwrap();
        }
        drop(pieces);
        let answer = client.open(request(Method::POST, NEW_CALL, body)).await;
        assert_eq!(answer.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE, "round {round}");
    }
    let blocked = stage.metrics().await.count("xspgate_blocklist_transitions_total", &[("to", "blocked")]);
    assert_eq!(blocked, 0.0, "it answered");
}

#[tokio::test]
async fn an_xsp_that_is_gone_is_gone_for_other_farms_too() {
    let (stage, (silent, _full)) = Stage::with(|sim, text| {
        // A port whose queue is full lets a connect run out of time; nothing listens on the other farm's.
        let silent = sim.address(31);
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&silent.into()).unwrap();
        socket.listen(0).unwrap();
        let full: Vec<_> = (0..3)
            .map(|_| {
                let filler = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
                filler.set_nonblocking(true).unwrap();
                drop(filler.connect(&silent.into()));
                filler
            })
            .collect();
        tiers(text, &[silent, sim.xsp("a1").address()]);
        let other = std::net::SocketAddr::new(silent.ip(), silent.port() - 1);
        text.set("[farm.other]", "server_name", DOMAIN).set("[farm.other]", "trust", "internal");
        text.set("[farm.other]", "addresses", vec![other.to_string(), sim.xsp("a2").address().to_string()]);
        text.set("[https.interface.dms]", "farm", "other");
        (silent, (socket, full))
    })
    .await;
    assert_eq!(stage.client().get(PROFILE).await.xsp(), "a1");
    let at_it = std::net::SocketAddr::new(silent.ip(), silent.port() - 1).to_string();
    eventually("the other farm's block", async || {
        let labels = [("farm", "other"), ("endpoint", at_it.as_str())];
        stage.metrics().await.value("xspgate_endpoint_blocked", &labels) == Some(1.0)
    })
    .await;
    for _ in 0..10 {
        assert_eq!(stage.client().get("/dms/").await.xsp(), "a2");
    }
    let tried = stage.metrics().await.count("xspgate_attempts_total", &[("farm", "other"), ("endpoint", &at_it)]);
    assert_eq!(tried, 0.0, "no client had to find out");
}

#[tokio::test]
async fn an_interface_may_fail_over_in_its_own_way() {
    let stage = Stage::in_order(|_, text| {
        text.set("[https.interface.dms.failover]", "tries", 1);
        text.set("[https.interface.auth-service.failover]", "on_5xx", "answer");
    })
    .await;
    stage.xsp("a1").behave(Behaviour::on("/authService", Behaviour::Status(StatusCode::BAD_GATEWAY))).await;
    let answer = stage.client().get("/authService/token/alice").await;
    assert_eq!((answer.status, answer.xsp()), (StatusCode::BAD_GATEWAY, "a1"));
    stage.xsp("a1").behave(Behaviour::Reset).await;
    assert_eq!(stage.client().get("/dms/").await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(stage.client().get(PROFILE).await.xsp(), "a2");
}

#[tokio::test]
async fn an_endpoint_that_left_dns_and_failed_is_forgotten_with_its_series() {
    let (stage, ()) = Stage::with(|_, text| {
        text.set("[farm.xsp.failover]", "block_for", "300ms");
    })
    .await;
    let mut client = stage.client();
    let home = client.get(PROFILE).await.xsp().to_owned();
    let address = stage.xsp(&home).address();
    let others = stage.sim.xsps.iter().map(|xsp| xsp.address().ip()).filter(|ip| *ip != address.ip());
    stage.sim.zones().set_a(ALL, 0, others);
    eventually("its departure", async || stage.metrics().await.value("xspgate_endpoints", &[]) == Some(3.0)).await;
    assert_eq!(client.get(PROFILE).await.xsp(), home, "a session stays at an XSP that has left");
    assert!(stage.metrics().await.label_values("endpoint").contains(&address.to_string().as_str()));
    stage.xsp(&home).kill().await;
    assert_ne!(client.get(PROFILE).await.xsp(), home);
    let forgotten = async || {
        let status = status(&stage).await;
        !status["farms"].to_string().contains(&address.to_string())
            && !stage.metrics().await.label_values("endpoint").contains(&address.to_string().as_str())
    };
    eventually("its being forgotten", forgotten).await;
    // It may come back like any other.
    stage.xsp(&home).revive().await;
    stage.sim.publish_all();
    eventually("its return", async || stage.client().get(PROFILE).await.xsp() == home).await;
}

/// What XSPs counted is what the metrics say, one attempt a request.
#[tokio::test]
async fn attempts_are_counted_as_the_xsps_saw_them() {
    let stage = Stage::in_order(|_, text| {
        text.set("[farm.xsp.failover]", "block_for", "60s");
    })
    .await;
    for _ in 0..5 {
        stage.client().get(PROFILE).await;
    }
    stage.xsp("a1").behave(Behaviour::Slow(Duration::from_millis(600))).await;
    assert_eq!(stage.client().get(PROFILE).await.xsp(), "a2", "another XSP overtakes one that is slow");
    let attempts = async |name: &str, outcome: &str| {
        let endpoint = stage.xsp(name).address().to_string();
        stage.metrics().await.count("xspgate_attempts_total", &[("endpoint", &endpoint), ("outcome", outcome)])
    };
    eventually("the late answer", async || attempts("a1", "success").await == 6.0).await;
    assert_eq!(attempts("a2", "success").await, 1.0);
    assert_eq!((client_requests(stage.xsp("a1")), client_requests(stage.xsp("a2"))), (6, 1));
    stage.until_blocked("a1", Blocked::No).await;
    // The gateway's own time is what no XSP took: neither the silent one's share nor the other one's.
    let own = stage.metrics().await.count("xspgate_gateway_seconds_sum", &[]);
    assert!(own < 0.2, "{own} s of its own for seven requests");
}
