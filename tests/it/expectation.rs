//! `Expect: 100-continue` and interim answers, in all the ways in which either side gets them wrong.

use xspgate::sim::raw::{Gate, Raw, Step};
use xspgate::sim::site::{CLOUD, DOMAIN};

use crate::harness::{DEADLINE, NEW_CALL, PROFILE, Received, Stage, eventually, rested, tiers};

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn expecting(length: usize) -> String {
    format!("POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n")
}

fn get() -> String {
    format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n")
}

#[tokio::test]
async fn an_xsp_says_continue_and_the_body_follows() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    for said in
        [CONTINUE.to_owned(), CONTINUE.repeat(2), format!("{CONTINUE}HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")]
    {
        raw.next(vec![Step::send(&said), Step::Request, Step::send(OK)]);
        rested().await;
        let mut client = stage.raw_client().await;
        client.send(expecting(5)).await;
        let received = client.until(|bytes| bytes == said.as_bytes()).await;
        assert_eq!(received.text(), said);
        assert!(!raw.all_received().ends_with(b"hello"));
        client.send("hello").await;
        assert_eq!(client.until_tail("ok").await.status(), 200);
        // The connection is in step.
        client.send(get()).await;
        assert_eq!(client.until_tail("ok").await.status(), 200);
    }
    assert_eq!(raw.received().len(), 1);
}

#[tokio::test]
async fn a_client_that_expects_continue_need_not_wait_for_it() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    for said in ["", CONTINUE] {
        raw.next(vec![Step::Request, Step::send(said), Step::send(OK)]);
        rested().await;
        let mut client = stage.raw_client().await;
        client.send(expecting(5) + "hello" + &get()).await;
        let received =
            client.until(|bytes| bytes.ends_with(b"ok") && bytes.windows(4).filter(|w| w == b" 200").count() == 2);
        assert_eq!(received.await.text().matches("200 OK").count(), 2);
    }
    let seen = String::from_utf8(raw.all_received()).unwrap();
    assert_eq!((raw.received().len(), seen.matches("helloGET ").count()), (1, 2), "{seen}");
}

#[tokio::test]
async fn an_answer_instead_of_continue_ends_both_connections() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    for (status, length) in [("200 OK", 5), ("401 Unauthorized", 70_000), ("417 Expectation Failed", 5)] {
        let before = raw.received().len();
        raw.next(vec![Step::send(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok"))]);
        let mut client = stage.raw_client().await;
        client.send(expecting(length)).await;
        client.until_tail("ok").await;
        // A client that sends its body nevertheless, or another request: neither is taken for the other.
        client.send(get().repeat(length / 5)).await;
        let received = client.until_closed().await;
        assert_eq!(received.bytes(), b"", "{}", received.text());
        let ended = async || raw.ended() == before + 1;
        eventually("the end of an XSP's connection that waits for a body", ended).await;
    }
    assert!(!String::from_utf8_lossy(&raw.all_received()).contains(PROFILE));
}

#[tokio::test]
async fn an_early_answer_to_a_large_body_leaves_no_connection_half_used() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let answer = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno";
    raw.next(vec![Step::send(answer), Step::Gate(Gate::new())]);
    let mut client = stage.raw_client().await;
    client.send(format!("POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\nContent-Length: 500000\r\n\r\n")).await;
    client.send(vec![b'x'; 100_000]).await;
    let received = client.until_closed().await;
    assert_eq!(received.status(), 413, "{}", received.text());
    assert_eq!(stage.client().get(PROFILE).await.text(), "ok");
    assert_eq!(raw.received().len(), 2);
}

#[tokio::test]
async fn a_body_that_goes_up_while_the_answer_comes_down_is_whole() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let gate = Gate::new();
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n";
    raw.next(vec![Step::send(head), Step::Request, Step::Gate(gate.clone()), Step::send("0\r\n\r\n")]);
    let mut client = stage.raw_client().await;
    client.send(format!("POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\nTransfer-Encoding: chunked\r\n\r\n")).await;
    client.until_tail("2\r\nhi\r\n").await;
    let chunk = format!("2710\r\n{}\r\n", "x".repeat(10_000));
    for _ in 0..100 {
        client.send(&chunk).await;
    }
    client.send("0\r\n\r\n").await;
    assert!(raw.until(DEADLINE, |received| received.concat().ends_with(b"\r\n0\r\n\r\n")).await);
    gate.open();
    assert!(matches!(client.until_tail("0\r\n\r\n").await, Received::Open(_)));
    client.send(get()).await;
    assert_eq!(client.until_tail("ok").await.status(), 200);
    assert_eq!(raw.received().len(), 2, "the client's connection stayed in step, and the XSP's is not used again");
}

#[tokio::test]
async fn a_client_that_reads_only_once_it_has_sent_everything_is_served() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let size = 16 * 1024 * 1024;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
    raw.next(vec![Step::send(head.into_bytes().into_iter().chain(vec![b'y'; size]).collect::<Vec<_>>())]);
    let mut client = stage.raw_client().await;
    client.send(format!("POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\nContent-Length: {size}\r\n\r\n")).await;
    client.send(vec![b'x'; size]).await;
    let received = client.until(|bytes| bytes.len() > size).await;
    assert_eq!(received.status(), 200);
    let whole = |received: &[Vec<u8>]| received.concat().iter().filter(|byte| **byte == b'x').count() >= size;
    assert!(raw.until(DEADLINE, whole).await);
}

#[tokio::test]
async fn an_xsp_that_refuses_a_body_and_closes_is_heard_and_not_blamed() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    raw.always(vec![Step::send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno"), Step::Close]);
    for round in 0..20 {
        let mut client = stage.raw_client().await;
        let head = format!("POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\nContent-Length: 5000000\r\n\r\n");
        client.send([head.into_bytes(), vec![b'x'; 200_000]].concat()).await;
        let received = client.until_tail("no").await;
        assert_eq!(received.status(), 413, "{round}: {}", received.text());
    }
    assert_eq!(stage.metrics().await.count("xspgate_blocklist_transitions_total", &[("to", "blocked")]), 0.0);
}

#[tokio::test]
async fn an_xsp_whose_5xx_is_the_last_resort_gets_no_body_with_a_gap() {
    let (stage, (first, second)) = Stage::with(|sim, text| {
        let first = Raw::start(DOMAIN, sim.address(31), &sim.pki).unwrap();
        let second = Raw::start(DOMAIN, sim.address(32), &sim.pki).unwrap();
        tiers(text, &[first.address(), second.address()]);
        text.set("[farm.xsp.failover]", "tries", 2).set("[farm.xsp.failover]", "advance_after", "off");
        (first, second)
    })
    .await;
    let gate = Gate::new();
    let answer = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nno";
    first.next(vec![Step::send(answer), Step::Gate(gate.clone()), Step::send("no")]);
    second.next(vec![Step::Request, Step::Close]);
    let mut client = stage.raw_client().await;
    client.send(format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\nTransfer-Encoding: chunked\r\n\r\n")).await;
    assert!(second.until(DEADLINE, |received| !received.concat().is_empty()).await);
    let chunk = |byte: char| format!("2710\r\n{}\r\n", byte.to_string().repeat(10_000));
    let body: String = ('a'..='t').map(chunk).collect();
    client.send(format!("{body}0\r\n\r\n")).await;
    let received = client.until_tail("\r\n\r\nno").await;
    assert_eq!(received.status(), 503, "{}", received.text());
    gate.open();
    client.until_tail("no").await;
    let seen = String::from_utf8(first.received().remove(0)).unwrap();
    let (_, gone_up) = seen.split_once("\r\n\r\n").unwrap();
    assert!(body.starts_with(gone_up), "{} bytes, with a gap", gone_up.len());
}
