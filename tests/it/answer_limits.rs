//! What the head of an XSP's answer may have, and how long its body may be silent. Neither says anything of what clients may
//! send.

use http::StatusCode;
use xspgate::sim::raw::{Gate, Raw, Step};
use xspgate::sim::site::{CLOUD, DOMAIN, Text};

use crate::harness::{CHANNEL, NEW_CALL, PROFILE, Received, Stage, eventually, tiers};

/// An answer whose head has so many fields, and some more than `bytes`.
fn answer(status: &str, fields: usize, bytes: usize) -> String {
    let value = "x".repeat(bytes / fields);
    let fields: String = (0..fields).map(|index| format!("X-{index}: {value}\r\n")).collect();
    format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n{fields}\r\nok")
}

/// A raw XSP that is preferred to a1.
async fn raw_before_a1(limit: impl FnOnce(&mut Text)) -> (Stage, Raw) {
    Stage::with(|sim, text| {
        let raw = Raw::start(DOMAIN, sim.address(31), &sim.pki).unwrap();
        tiers(text, &[raw.address(), sim.xsp("a1").address()]);
        text.set("", "workers", 1);
        limit(text);
        raw
    })
    .await
}

#[tokio::test]
async fn an_answer_may_have_more_than_a_request() {
    let (stage, raw) = raw_before_a1(|_| ()).await;
    raw.answer(answer("200 OK", 900, 200 * 1024));
    let mut client = stage.raw_client().await;
    client.send(format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n")).await;
    let received = client.until_tail("\r\n\r\nok").await;
    assert_eq!(received.status(), 200);
    assert!(received.text().contains("\r\nx-899: xx") || received.text().contains("\r\nX-899: xx"));
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_nobodys_fault() {
    for key in ["response_fields", "response_head_size"] {
        let (stage, raw) = raw_before_a1(|text| {
            match key {
                "response_fields" => text.set("[farm.xsp]", key, 10),
                _ => text.set("[farm.xsp]", key, "1KiB"),
            };
        })
        .await;
        raw.answer(answer("200 OK", 20, 2000));
        for method in ["GET", "POST"] {
            let mut client = stage.raw_client().await;
            client.send(format!("{method} {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\nContent-Length: 0\r\n\r\n")).await;
            let received = client.until_tail("too large\n").await;
            assert_eq!(received.status(), 502, "{key} {method}: {}", received.text());
        }
        assert_eq!(stage.asked(), 0, "{key}: the next XSP would say the same");
        eventually("the ends of their connections", async || raw.ended() == 2).await;
        eventually("their being counted", async || {
            stage.metrics().await.count("xspgate_refused_total", &[("reason", "answer-too-large")]) == 2.0
        })
        .await;
        let metrics = stage.metrics().await;
        let attempts = metrics.count("xspgate_attempts_total", &[("outcome", "answer-too-large")]);
        assert_eq!(attempts, 2.0, "{key}");
        assert_eq!(metrics.count("xspgate_blocklist_transitions_total", &[("to", "blocked")]), 0.0, "{key}");
        // What is within the limits is served as before.
        raw.answer(answer("200 OK", 1, 5));
        assert_eq!(stage.client().post(NEW_CALL, "<Call/>").await.status, StatusCode::OK, "{key}");
    }
}

#[tokio::test]
async fn a_probe_takes_what_an_attempt_takes() {
    let (stage, raw) = raw_before_a1(|_| ()).await;
    raw.next(vec![Step::Request, Step::send(answer("503 Busy", 1, 5))]);
    raw.answer(answer("200 OK", 200, 30 * 1024));
    assert_eq!(stage.client().get(PROFILE).await.xsp(), "a1");
    eventually("the second look", async || {
        stage.metrics().await.count("xspgate_probes_total", &[("outcome", "cleared")]) == 1.0
    })
    .await;
    let blocked = stage.metrics().await.count("xspgate_blocklist_transitions_total", &[("to", "blocked")]);
    assert_eq!(blocked, 0.0);
}

#[tokio::test]
async fn promise_14_only_an_event_channel_may_be_silent() {
    let (stage, raw) = Stage::before_raw(|_, text| {
        text.set("[limits]", "response_idle_timeout", "200ms");
    })
    .await;
    let subscription = "/com.broadsoft.xsi-events/v2.0/user/alice%40example.com/subscription";
    let chunked = |status: &str| format!("HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n");
    for (path, answer) in [
        (subscription, chunked("200 OK")),
        (subscription, "HTTP/1.1 200 OK\r\n\r\nhi".to_owned()),
        (CHANNEL, chunked("403 Forbidden")),
    ] {
        raw.next(vec![Step::Request, Step::send(&answer), Step::Gate(Gate::new())]);
        let mut client = stage.raw_client().await;
        client.send(format!("POST {path} HTTP/1.1\r\nHost: {CLOUD}\r\nContent-Length: 0\r\n\r\n")).await;
        let received = client.until_closed().await;
        assert!(matches!(received, Received::Broken(_)), "{path} {answer:?}: {received:?}");
    }
}
