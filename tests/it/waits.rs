//! Promise 14: every wait has an end, on every port. Whoever keeps still, or talks without end, is left behind in time.

use std::time::{Duration, Instant};

use xspgate::sim::raw::{Gate, Step};
use xspgate::sim::site::CLOUD;

use crate::harness::{CHANNEL, NEW_CALL, PROFILE, RawClient, Received, Stage, eventually};

/// Enough of anything to fill the buffers of two sockets.
const MORE_THAN_BUFFERS: usize = 32 * 1024 * 1024;

async fn connections(stage: &Stage) -> f64 {
    stage.metrics().await.count("xspgate_connections", &[])
}

/// Sends without end, and reads nothing.
async fn pour(mut client: RawClient, bytes: impl AsRef<[u8]>) {
    for _ in 0..MORE_THAN_BUFFERS / bytes.as_ref().len() {
        client.send(bytes.as_ref()).await;
    }
}

#[tokio::test]
async fn promise_14_a_request_that_does_not_come_to_its_end_is_408() {
    let (stage, raw) = Stage::before_raw(|_, text| {
        text.set("[limits]", "request_head_timeout", "200ms").set("[limits]", "request_body_idle_timeout", "200ms");
        text.set("[limits]", "keep_alive_timeout", "200ms");
    })
    .await;
    let begun = [
        format!("GET {PROFILE} HT"),
        format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\nX: "),
        format!("POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\nContent-Length: 5\r\n\r\nhell"),
        format!("POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhell"),
        format!("POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ];
    for begun in begun {
        let mut client = stage.raw_client().await;
        client.send(&begun).await;
        let received = client.until_closed().await;
        assert_eq!(received.status(), 408, "{begun:?}: {}", received.text());
    }
    assert!(!raw.all_received().ends_with(b"hello"));
    // A client that says nothing is told nothing, before its first request and after it.
    let silent = stage.raw_client().await.until_closed().await;
    assert_eq!(silent.bytes(), b"");
    let mut client = stage.raw_client().await;
    client.send(format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n")).await;
    let received = client.until_closed().await;
    assert!(received.text().ends_with("ok") && matches!(received, Received::Closed(_)), "{received:?}");
}

#[tokio::test]
async fn promise_14_a_client_that_reads_no_answers_is_cut() {
    let (stage, ()) = Stage::with(|_, text| {
        text.set("[limits]", "write_timeout", "200ms");
    })
    .await;
    let refused = format!("GET /nothing HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n").repeat(1000);
    let served = format!("GET /dms/ HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n").repeat(1000);
    let big = format!("GET /dms/big?size={MORE_THAN_BUFFERS} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n");
    for requests in [refused, served, big] {
        let client = stage.raw_client().await;
        let pouring = tokio::spawn(pour(client, requests));
        eventually("the connection's end", async || connections(&stage).await == 0.0).await;
        pouring.abort();
    }
}

#[tokio::test]
async fn promise_14_an_xsp_that_talks_without_saying_anything_is_left() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(100_000);
    let fields = format!("HTTP/1.1 200 OK\r\n{}", "X: y\r\n".repeat(100_000));
    let long = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(1_000_000));
    for endless in [interim, fields, long] {
        raw.always(vec![Step::send(&endless), Step::Gate(Gate::new())]);
        let begun = Instant::now();
        let mut client = stage.raw_client().await;
        client.send(format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\nConnection: close\r\n\r\n")).await;
        let received = client.until_closed().await;
        assert!(received.text().contains("HTTP/1.1 502 "), "{}", received.text());
        assert!(received.bytes().len() < 10_000 && begun.elapsed() < Duration::from_millis(900), "{begun:?}");
    }
}

#[tokio::test]
async fn r_fail_3_an_xsp_that_does_not_finish_its_head_is_silent() {
    let (stage, raw) = Stage::before_raw(|_, text| {
        text.set("[farm.xsp.failover]", "response_timeout", "200ms").set("[farm.xsp.failover]", "advance_after", "off");
        text.set("[farm.xsp.failover]", "connect_timeout", "200ms").set("[farm.xsp.failover]", "tries", 1);
    })
    .await;
    for begun in ["", "H", "HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 100 Continue\r\n\r\n"] {
        raw.always(vec![Step::send(begun), Step::Gate(Gate::new())]);
        for request in ["GET", "POST"] {
            let mut client = stage.raw_client().await;
            client.send(format!("{request} {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\nConnection: close\r\n\r\n")).await;
            let received = client.until_closed().await;
            assert!(received.text().contains("HTTP/1.1 504 "), "{begun:?}: {}", received.text());
        }
    }
}

#[tokio::test]
async fn r_fail_3_an_xsp_that_does_not_say_continue_is_silent() {
    let (stage, raw) = Stage::before_raw(|_, text| {
        text.set("[farm.xsp.failover]", "response_timeout", "500ms");
    })
    .await;
    raw.always(vec![Step::Gate(Gate::new())]);
    let begun = Instant::now();
    let mut client = stage.raw_client().await;
    let fields = "Expect: 100-continue\r\nContent-Length: 5\r\n";
    client.send(format!("POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\n{fields}\r\n")).await;
    let received = client.until_closed().await;
    assert_eq!(received.status(), 504, "{}", received.text());
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn r_fail_3_an_xsp_that_does_not_take_the_request_is_silent() {
    let (stage, raw) = Stage::before_raw(|_, text| {
        text.set("[farm.xsp.failover]", "response_timeout", "500ms");
    })
    .await;
    raw.turn_deaf();
    raw.always(vec![Step::Gate(Gate::new())]);
    let mut client = stage.raw_client().await;
    client.send(format!("POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\nContent-Length: 60000000\r\n\r\n")).await;
    let piece = vec![b'x'; 1_000_000];
    for _ in 0..60 {
        client.send(&piece).await;
    }
    let received = client.until_closed().await;
    assert_eq!(received.status(), 504, "{}", received.text());
}

#[tokio::test]
async fn promise_14_a_body_that_stops_is_cut() {
    let (stage, raw) = Stage::before_raw(|_, text| {
        text.set("[limits]", "response_idle_timeout", "200ms");
    })
    .await;
    for answer in ["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", "HTTP/1.1 200 OK\r\n\r\nok"] {
        raw.next(vec![Step::Request, Step::send(answer), Step::Gate(Gate::new())]);
        let mut client = stage.raw_client().await;
        client.send(format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n")).await;
        let received = client.until_closed().await;
        assert!(matches!(received, Received::Broken(_)), "{received:?}");
    }
}

#[tokio::test]
async fn promise_8_a_client_that_leaves_is_missed_at_every_stage() {
    let (stage, raw) = Stage::before_raw(|_, text| {
        text.set("[farm.xsp.failover]", "response_timeout", "60s").set("[limits]", "response_idle_timeout", "60s");
    })
    .await;
    let get = format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n");
    let post = format!("POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\nContent-Length: 9\r\n\r\nhi");
    let expects =
        format!("POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n");
    let stages = [
        ("waiting", &get, ""),
        ("sending", &post, ""),
        ("waiting for a 100", &expects, ""),
        ("told to continue", &expects, "HTTP/1.1 100 Continue\r\n\r\n"),
        ("reading", &get, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi"),
        ("reading chunks", &get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n"),
        ("sending and reading", &post, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi"),
    ];
    for (what, request, answer) in stages {
        raw.next(vec![Step::send(answer), Step::Gate(Gate::new())]);
        let ended = raw.ended();
        let seen = raw.all_received().len();
        let mut client = stage.raw_client().await;
        client.send(request).await;
        raw.until(crate::harness::DEADLINE, |received| received.concat().len() > seen).await;
        if !answer.is_empty() {
            client.until(|bytes| bytes.windows(4).any(|window| window == b"\r\n\r\n")).await;
        }
        let left = Instant::now();
        client.reset();
        eventually(what, async || raw.ended() > ended).await;
        assert!(left.elapsed() < Duration::from_millis(250), "{what}: {:?}", left.elapsed());
    }
    assert_eq!(stage.metrics().await.count("xspgate_blocklist_transitions_total", &[("to", "blocked")]), 0.0);
}

/// Whether the kernel's keep-alive timer runs on every connection of which one end has this port; `None`: there is none.
fn kept_alive(local: u16, remote: u16) -> Option<bool> {
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let port = |text: &str| u16::from_str_radix(text.rsplit_once(':')?.1, 16).ok();
    let connections = table.lines().skip(1).filter_map(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let established = columns[3] == "01";
        let matches = [(local, columns[1]), (remote, columns[2])];
        let ours = matches.iter().all(|(wanted, column)| *wanted == 0 || port(column) == Some(*wanted));
        (established && ours).then(|| columns[5].starts_with("02:"))
    });
    connections.reduce(|all, one| all && one)
}

#[tokio::test]
async fn promise_14_an_idle_stream_outlives_neither_of_its_ends() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n";
    raw.next(vec![Step::send(head), Step::Gate(Gate::new())]);
    let mut client = stage.raw_client().await;
    client.send(format!("POST {CHANNEL} HTTP/1.1\r\nHost: {CLOUD}\r\nContent-Length: 0\r\n\r\n")).await;
    client.until_tail("hi\r\n").await;
    // A host that vanished says nothing; only the kernel's probes can tell it from one that has nothing to say.
    let ports = [(stage.gateway.https().port(), 0), (0, raw.address().port())];
    for (local, remote) in ports {
        eventually("the keep-alive timer", async || kept_alive(local, remote) == Some(true)).await;
    }
}

#[tokio::test]
async fn promise_14_an_answer_may_wait_for_a_body_that_still_comes() {
    let (stage, raw) = Stage::before_raw(|_, text| {
        text.set("[limits]", "response_idle_timeout", "300ms");
    })
    .await;
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
    raw.next(vec![Step::send(head), Step::Request, Step::send("ok")]);
    let mut client = stage.raw_client().await;
    client.send(format!("POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\nContent-Length: 15\r\n\r\n")).await;
    client.until_tail("\r\n\r\n").await;
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    for _ in 0..15 {
        pace.tick().await;
        client.send("x").await;
    }
    assert_eq!(client.until_tail("ok").await.text(), "ok");
}
