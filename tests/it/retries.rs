//! What is sent again, and what never: a request that may have been carried out is carried out once.

use std::time::Duration;

use http::{Method, StatusCode};
use xspgate::sim::pki::Show;
use xspgate::sim::raw::{Gate, Step};
use xspgate::sim::xsp::{Behaviour, End};

use crate::harness::{Blocked, DEADLINE, NEW_CALL, PROFILE, Stage, body, client_requests, eventually, request, rested};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn an_unsafe_request_that_was_sent_is_never_sent_again() {
    let cases = [
        (Behaviour::Reset, StatusCode::BAD_GATEWAY),
        (Behaviour::Close, StatusCode::BAD_GATEWAY),
        (Behaviour::Garbage(b"?\r\n\r\n".to_vec()), StatusCode::BAD_GATEWAY),
        (Behaviour::Hang, StatusCode::GATEWAY_TIMEOUT),
        (Behaviour::Status(StatusCode::SERVICE_UNAVAILABLE), StatusCode::SERVICE_UNAVAILABLE),
    ];
    for (behaviour, status) in cases {
        let stage = Stage::in_order(|_, _| ()).await;
        stage.xsp("a1").behave(behaviour.clone()).await;
        for method in [Method::POST, Method::PUT, Method::DELETE] {
            let (asked, first) = (stage.asked(), client_requests(stage.xsp("a1")));
            let answer = stage.client().send(request(method.clone(), NEW_CALL, body("<Call/>"))).await;
            assert_eq!(stage.asked(), asked + 1, "{behaviour:?} {method}");
            if client_requests(stage.xsp("a1")) > first {
                assert_eq!(answer.status, status, "{behaviour:?} {method}");
            }
        }
    }
}

#[tokio::test]
async fn an_unsafe_request_moves_on_when_nothing_was_sent() {
    let behaviours = [
        Behaviour::Refuse,
        Behaviour::SilentTcp,
        Behaviour::PlainText,
        Behaviour::Certificate(Show::Expired),
        Behaviour::Certificate(Show::WrongName),
    ];
    for behaviour in behaviours {
        let stage = Stage::in_order(|_, _| ()).await;
        stage.xsp("a1").behave(behaviour.clone()).await;
        let answer = stage.client().post(NEW_CALL, vec![b'x'; 200_000]).await;
        assert_eq!((answer.status, answer.xsp()), (StatusCode::CREATED, "a2"), "{behaviour:?}");
        assert_eq!(stage.xsp("a2").requests()[0].body_length, 200_000, "{behaviour:?}");
    }
}

#[tokio::test]
async fn a_replay_setting_allows_methods() {
    let cases = [
        ("safe", Method::PUT, false),
        ("idempotent", Method::PUT, true),
        ("idempotent", Method::DELETE, true),
        ("idempotent", Method::POST, false),
        ("all", Method::POST, true),
        ("none", Method::GET, false),
        ("safe", Method::HEAD, true),
        ("safe", Method::OPTIONS, true),
    ];
    for (replay, method, again) in cases {
        let stage = Stage::in_order(|_, text| {
            text.set("[farm.xsp.failover]", "replay", replay);
        })
        .await;
        stage.xsp("a1").behave(Behaviour::Reset).await;
        let answer = stage.client().send(request(method.clone(), PROFILE, body(""))).await;
        let expected = if again { 2 } else { 1 };
        assert_eq!(stage.asked(), expected, "{replay} {method}");
        assert_eq!(answer.xsp() == "a2", again, "{replay} {method}");
    }
}

#[tokio::test]
async fn a_body_is_sent_again_whole_or_not_at_all() {
    for (length, again) in [(0, true), (64 * 1024, true), (1_000_000, false)] {
        let stage = Stage::in_order(|_, text| {
            text.set("[farm.xsp.failover]", "replay", "all");
        })
        .await;
        stage.xsp("a1").behave(Behaviour::Reset).await;
        let content: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
        let answer = stage.client().post(NEW_CALL, content.clone()).await;
        if again {
            assert_eq!((answer.status, answer.xsp()), (StatusCode::CREATED, "a2"), "{length}");
            let requests = stage.xsp("a2").requests();
            assert_eq!(requests[0].body_length, length);
            assert_eq!(requests[0].body, content, "{length}");
        } else {
            assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{length}");
            assert_eq!(stage.asked(), 1, "{length}");
        }
    }
}

#[tokio::test]
async fn after_the_first_byte_of_an_answer_nothing_is_sent_again() {
    let stage = Stage::in_order(|_, _| ()).await;
    stage.xsp("a1").behave(Behaviour::ResetMidBody).await;
    let error = stage.client().try_send(request(Method::GET, PROFILE, body(""))).await;
    assert!(error.is_err(), "the broken answer looked whole: {error:?}");
    assert_eq!(stage.asked(), 1);
}

#[tokio::test]
async fn a_connection_that_went_stale_costs_nobody_anything() {
    let stage = Stage::in_order(|_, text| {
        text.set("", "workers", 1);
    })
    .await;
    let mut client = stage.client();
    for round in 0..10 {
        let answer = client.get(PROFILE).await;
        assert_eq!((answer.status, answer.xsp()), (StatusCode::OK, "a1"), "{round}");
        stage.xsp("a1").disconnect().await;
    }
    let answer = client.post(NEW_CALL, "<Call/>").await;
    assert_eq!((answer.status, answer.xsp()), (StatusCode::CREATED, "a1"));
    let metrics = stage.metrics().await;
    assert_eq!(metrics.count("xspgate_blocklist_transitions_total", &[("to", "blocked")]), 0.0);
}

#[tokio::test]
async fn a_safe_request_is_repeated_on_a_fresh_connection_when_a_reused_one_closes() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let mut client = stage.client();
    assert_eq!(client.get(PROFILE).await.status, StatusCode::OK);
    raw.next(vec![Step::Request, Step::Close]);
    raw.next(vec![Step::Request, Step::send(OK)]);
    assert_eq!(client.get(PROFILE).await.status, StatusCode::OK);
    assert_eq!(raw.received().len(), 2, "one connection went stale, one was new");
    let metrics = stage.metrics().await;
    assert_eq!(metrics.count("xspgate_blocklist_transitions_total", &[("to", "blocked")]), 0.0, "nobody is to blame");
}

#[tokio::test]
async fn an_unsafe_request_is_not_repeated_when_a_reused_connection_closes() {
    for end in [Step::Close, Step::Cut, Step::Reset] {
        let (stage, raw) = Stage::before_raw(|_, _| ()).await;
        let mut client = stage.client();
        assert_eq!(client.get(PROFILE).await.status, StatusCode::OK);
        rested().await;
        raw.next(vec![Step::Request, end.clone()]);
        assert_eq!(client.post(NEW_CALL, "<Call/>").await.status, StatusCode::BAD_GATEWAY, "{end:?}");
        let sent = String::from_utf8_lossy(&raw.all_received()).matches("POST ").count();
        // The gateway's own look sends nothing.
        let used = raw.received().iter().filter(|received| !received.is_empty()).count();
        assert_eq!((sent, used), (1, 1), "{end:?}");
        eventually("its being counted", async || {
            stage.metrics().await.count("xspgate_refused_total", &[("reason", "stale")]) == 1.0
        })
        .await;
        let metrics = stage.metrics().await;
        assert_eq!(metrics.count("xspgate_attempts_total", &[("outcome", "stale")]), 1.0, "{end:?}");
        let blocked = metrics.count("xspgate_blocklist_transitions_total", &[("to", "blocked")]);
        assert_eq!(blocked, 0.0, "{end:?}: nobody is to blame");
    }
}

#[tokio::test]
async fn r_fail_1_a_fresh_connection_that_closes_makes_the_gateway_look() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    raw.always(vec![Step::Request, Step::Close]);
    assert_eq!(stage.client().post(NEW_CALL, "<Call/>").await.status, StatusCode::BAD_GATEWAY);
    eventually("a look that fails", async || {
        stage.metrics().await.count("xspgate_probes_total", &[("outcome", "failed")]) == 1.0
    })
    .await;
    eventually("its being counted", async || {
        stage.metrics().await.count("xspgate_refused_total", &[("reason", "unreachable")]) == 1.0
    })
    .await;
    let blocked = stage.metrics().await.count("xspgate_blocklist_transitions_total", &[("to", "blocked")]);
    assert_eq!(blocked, 1.0);
}

#[tokio::test]
async fn a_reused_connection_that_closes_after_an_interim_answer_is_the_xsps_fault() {
    let (stage, raw) = Stage::before_raw(|_, text| {
        text.set("[farm.xsp.failover]", "on_silence", "block");
    })
    .await;
    let mut client = stage.client();
    assert_eq!(client.get(PROFILE).await.status, StatusCode::OK);
    rested().await;
    raw.next(vec![Step::Request, Step::send("HTTP/1.1 102 Processing\r\n\r\n"), Step::Close]);
    assert_eq!(client.post(NEW_CALL, "<Call/>").await.status, StatusCode::BAD_GATEWAY);
    let metrics = stage.metrics().await;
    assert_eq!((raw.received().len(), metrics.count("xspgate_attempts_total", &[("outcome", "closed")])), (1, 1.0));
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_request_unless_it_changes_something() {
    let stage = Stage::in_order(|_, text| {
        text.set("[farm.xsp.failover]", "response_timeout", "60s").set("[farm.xsp.failover]", "advance_after", "off");
    })
    .await;
    stage.xsp("a1").behave(Behaviour::Hang).await;
    for (method, rest, end) in [("GET", "\r\n", End::Abandoned), ("POST", "Content-Length: 2\r\n\r\nhi", End::Pending)]
    {
        stage.xsp("a1").forget_requests();
        let mut client = stage.raw_client().await;
        client.send(format!("{method} {PROFILE} HTTP/1.1\r\nHost: webex-cloud-xsp.example.com\r\n{rest}")).await;
        assert!(stage.xsp("a1").until(DEADLINE, |requests| requests.len() == 1).await);
        drop(client);
        eventually("the gateway has noticed", async || {
            stage.metrics().await.count("xspgate_attempts_total", &[("outcome", "abandoned")]) >= 1.0
        })
        .await;
        let has_ended = stage.xsp("a1").until(DEADLINE, |requests| requests[0].end == end).await;
        assert!(has_ended, "{method} {rest:?}: {:?}", stage.xsp("a1").requests()[0].end);
    }
    let metrics = stage.metrics().await;
    assert_eq!(metrics.count("xspgate_blocklist_transitions_total", &[("to", "blocked")]), 0.0, "nobody is to blame");
}

#[tokio::test]
async fn a_client_that_breaks_off_a_download_cancels_it() {
    let stage = Stage::start().await;
    let mut client = stage.client();
    let answer = client.open(request(Method::GET, "/dms/big?size=10000000000", body(""))).await.unwrap();
    drop(answer);
    drop(client);
    let abandoned = || stage.sim.xsps.iter().flat_map(|xsp| xsp.requests()).any(|one| one.end == End::Abandoned);
    eventually("the end of the download", async || abandoned()).await;
}

#[tokio::test]
async fn one_xsps_silence_does_not_hold_up_others_sessions() {
    let stage = Stage::start().await;
    let mut client = stage.client();
    let home = client.get(PROFILE).await.xsp().to_owned();
    let other = ["a1", "a2", "b1", "b2"].into_iter().find(|name| *name != home).unwrap();
    stage.xsp(other).behave(Behaviour::Hang).await;
    for _ in 0..20 {
        let answer = client.get(PROFILE).await;
        assert_eq!(answer.xsp(), home);
        assert!(answer.took < Duration::from_millis(300), "{:?}", answer.took);
    }
}

#[tokio::test]
async fn an_xsp_that_was_overdue_is_blocked_though_another_has_answered() {
    let (stage, raw) = Stage::with(|sim, text| {
        let raw = xspgate::sim::raw::Raw::start("xsp.example.com", sim.address(31), &sim.pki).unwrap();
        crate::harness::tiers(text, &[raw.address(), sim.xsp("a1").address()]);
        raw
    })
    .await;
    let gate = Gate::new();
    raw.always(vec![Step::Gate(gate.clone())]);
    assert_eq!(stage.client().get(PROFILE).await.xsp(), "a1");
    let endpoint = raw.address().to_string();
    eventually("the block", async || {
        stage.metrics().await.value("xspgate_endpoint_blocked", &[("endpoint", &endpoint)]) == Some(1.0)
    })
    .await;
    assert_eq!(stage.client().get(PROFILE).await.xsp(), "a1");
    stage.until_blocked("a1", Blocked::No).await;
}

#[tokio::test]
async fn r_fail_3_an_interim_answer_is_none_though_another_xsp_has_answered() {
    let (stage, raw) = Stage::with(|sim, text| {
        let raw = xspgate::sim::raw::Raw::start("xsp.example.com", sim.address(31), &sim.pki).unwrap();
        crate::harness::tiers(text, &[raw.address(), sim.xsp("a1").address()]);
        raw
    })
    .await;
    let gate = Gate::new();
    raw.always(vec![Step::Gate(gate.clone()), Step::send("HTTP/1.1 100 Continue\r\n\r\n"), Step::Gate(Gate::new())]);
    assert_eq!(stage.client().get(PROFILE).await.xsp(), "a1");
    gate.open();
    let endpoint = raw.address().to_string();
    eventually("the block", async || {
        stage.metrics().await.value("xspgate_endpoint_blocked", &[("endpoint", &endpoint)]) == Some(1.0)
    })
    .await;
}
