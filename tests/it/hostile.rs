//! Promise 12: what is malformed, or reads in two ways, is refused and never repaired, on either side.

use xspgate::sim::raw::Step;
use xspgate::sim::site::CLOUD;

use crate::harness::{NEW_CALL, PROFILE, Received, Stage};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A request with these field lines, and what follows its head.
fn post(fields: &str, rest: &str) -> String {
    format!("POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\n{fields}\r\n{rest}")
}

/// The gateway's answer to these bytes, until it closes.
async fn exchange(stage: &Stage, bytes: &[u8]) -> Received {
    let mut client = stage.raw_client().await;
    client.send(bytes).await;
    client.until_closed().await
}

/// A request that an XSP would see if the one before it were read in another way.
fn smuggled() -> String {
    format!("GET /dms/smuggled HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n")
}

#[tokio::test]
async fn promise_12_requests_that_read_in_two_ways_reach_no_xsp() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let fields = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 0\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length:\r\n",
        "Content-Length: 18446744073709551621\r\n",
        "Content-Length: 9223372036854775808\r\n",
        "Content-Length : 5\r\n",
        "Content-Length\t: 5\r\n",
        " Content-Length: 5\r\n",
        "X-A: b\r\n Content-Length: 5\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked,\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding:\x0bchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\r\n: chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "X: y\rTransfer-Encoding: chunked\r\n",
        "X: y\nTransfer-Encoding: chunked\r\n",
        "X: y\0\r\n",
        ": x\r\n",
        "no colon\r\n",
        "X\u{e9}: y\r\n",
        "(X): y\r\n",
        "Host: other.example.com\r\n",
        "Expect: 200-ok\r\n",
        "Expect: 100-continue\r\nExpect: 100-continue\r\n",
        "Expect: 100-continue, x\r\n",
    ];
    for fields in fields {
        let received = exchange(&stage, post(fields, &format!("0\r\n\r\n{}", smuggled())).as_bytes()).await;
        let status = if fields.starts_with("Expect") { 417 } else { 400 };
        assert_eq!(received.status(), status, "{fields:?}: {}", received.text());
        assert_eq!(received.text().matches("HTTP/1.1 ").count(), 1, "{fields:?}: {}", received.text());
    }
    let heads = [
        format!("POST {NEW_CALL} HTTP/1.0\r\nHost: {CLOUD}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("GET {PROFILE} HTTP/1.1\r\n\r\n"),
        format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}, other\r\n\r\n"),
        format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}:99999\r\n\r\n"),
        format!("GET {PROFILE} HTTP/1.1\r\nHost: a@{CLOUD}\r\n\r\n"),
        format!("GET https://other.example.com{PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n"),
        format!("GET https://{CLOUD}@other.example.com{PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n"),
        format!("GET {PROFILE}\r\n\r\n"),
        format!("\r\n\r\n\r\nGET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n"),
        format!("GET {PROFILE} HTTP/1.1\nHost: {CLOUD}\n\n"),
        format!("GET\t{PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n"),
        format!("CONNECT {CLOUD}:443 HTTP/1.1\r\nHost: {CLOUD}:443\r\n\r\n"),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
    ];
    for head in heads {
        let received = exchange(&stage, head.as_bytes()).await;
        let status = if head.starts_with("CONNECT") { 405 } else { 400 };
        assert_eq!(received.status(), status, "{head:?}: {}", received.text());
    }
    assert_eq!(raw.all_received(), b"", "{}", String::from_utf8_lossy(&raw.all_received()));
}

#[tokio::test]
async fn promise_12_a_malformed_body_is_refused_and_its_request_never_ends() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let bodies = [
        "5;a=b\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "0\r\nContent-Length: 5\r\n\r\n",
        "0\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n",
        "0\r\nx_forwarded_for: 1.2.3.4\r\n\r\n",
        "0\r\nHost: a\r\n\r\n",
        "0\r\n a: b\r\n\r\n",
        "0\r\na : b\r\n\r\n",
    ];
    for body in bodies {
        let received = exchange(&stage, post("Transfer-Encoding: chunked\r\n", body).as_bytes()).await;
        assert_eq!(received.status(), 400, "{body:?}: {}", received.text());
    }
    // What came before the fault may have gone up, but no request of them all was ever completed.
    for connection in raw.received() {
        let text = String::from_utf8_lossy(&connection).into_owned();
        assert!(!text.contains("\r\n0\r\n") && text.matches("POST ").count() <= 1, "{text}");
    }
}

#[tokio::test]
async fn promise_12_what_is_too_long_is_refused_by_name() {
    let (stage, raw) = Stage::before_raw(|_, text| {
        text.set("[limits]", "request_body_size", "1MiB");
    })
    .await;
    let many: String = (0..10_000).map(|index| format!("X-{index}: y\r\n")).collect();
    let cases = [
        (format!("GET {PROFILE}?{} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n", "a".repeat(40_000)), 414),
        (format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\nX: {}\r\n\r\n", "a".repeat(40_000)), 431),
        (format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n{many}\r\n"), 431),
        (post(&format!("Content-Length: {}\r\n", 1 << 30), ""), 413),
        (post("Content-Length: 1048577\r\n", &"a".repeat(2_000)), 413),
    ];
    for (request, status) in cases {
        let received = exchange(&stage, request.as_bytes()).await;
        assert_eq!(received.status(), status, "{}", received.text());
    }
    assert_eq!(raw.all_received(), b"");
    // Without a length, it shows on the way.
    let chunk = format!("10000\r\n{}\r\n", "a".repeat(0x10000));
    let received = exchange(&stage, post("Transfer-Encoding: chunked\r\n", &chunk.repeat(20)).as_bytes()).await;
    assert_eq!(received.status(), 413, "{}", received.text());
    assert!(!raw.all_received().ends_with(b"0\r\n\r\n"));
}

#[tokio::test]
async fn promise_12_an_answer_to_a_malformed_request_is_whole_whatever_came_before() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    raw.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    let mut client = stage.raw_client().await;
    client.send(format!("HEAD {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n")).await;
    assert_eq!(client.until_tail("\r\n\r\n").await.status(), 200);
    client.send("nonsense\r\n\r\n").await;
    let received = client.until_closed().await;
    assert!(matches!(received, Received::Closed(_)), "{received:?}");
    let text = received.text();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
    assert_eq!(body.len().to_string(), length, "{text}");
    let tracking_id = head.lines().find_map(|line| line.strip_prefix("TrackingID: ")).unwrap();
    assert!(!tracking_id.is_empty(), "{text}");
}

#[tokio::test]
async fn promise_12_pipelined_requests_are_answered_each_in_turn() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let get = format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n");
    let with_body = format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\nContent-Length: {}\r\n\r\n{get}", get.len());
    let chunked = post("Transfer-Encoding: CHUNKED\r\n", "03\r\nabc\r\n000\r\nX-Sum: 1\r\n\r\n");
    let last = format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\nConnection: close\r\n\r\n");
    let mut client = stage.raw_client().await;
    client.send([&*get, &with_body, &chunked, &get, &last, "GET /dms/after HTTP/1.1\r\n"].concat()).await;
    let received = client.until_closed().await;
    assert!(matches!(received, Received::Closed(_)), "{received:?}");
    assert_eq!(received.text().matches("HTTP/1.1 200 OK").count(), 5, "{}", received.text());
    let seen = String::from_utf8(raw.all_received()).unwrap();
    // An unsafe request goes over no connection that has been used just before.
    assert!(raw.received().len() <= 2, "the connections were in step all along");
    assert!(seen.contains(&format!("\r\n\r\n{get}")), "{seen}");
    assert!(seen.contains("\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\nGET "), "{seen}");
    assert!(!seen.contains("/dms/after"));
}

#[tokio::test]
async fn promise_12_answers_that_read_in_two_ways_reach_no_client() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let answers = [
        "HTTP/1.1 200 OK\r\nContent-Length: 2;\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 1\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 1\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked,\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\nContent-Length: 0\r\n\r\nok",
        "HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b=c\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: b=c\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 200 OK\r\n Set-Cookie: b=c\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length 2: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n 2\r\n 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "<html>hello</html>",
        "\r\n\r\n",
    ];
    for answer in answers {
        raw.answer(answer);
        let mut client = stage.client();
        let received = client.get(PROFILE).await;
        assert_eq!(received.status.as_u16(), 502, "{answer:?}: {}", received.text());
        assert_eq!(received.header("set-cookie"), "", "{answer:?}");
    }
    let many: String = (0..10_000).map(|index| format!("X-{index}: y\r\n")).collect();
    for fields in [many, format!("X: {}\r\n", "y".repeat(300_000))] {
        raw.answer(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n"));
        assert_eq!(stage.client().get(PROFILE).await.status.as_u16(), 502);
    }
}

#[tokio::test]
async fn promise_12_bytes_after_an_answer_reach_no_other_client() {
    const EVIL: &str = "HTTP/1.1 200 OK\r\nX-Evil: yes\r\nContent-Length: 4\r\n\r\nevil";
    let answers = [
        ("GET", format!("{OK}{EVIL}")),
        ("GET", format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n{EVIL}")),
        ("HEAD", format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{EVIL}", EVIL.len())),
        ("GET", format!("HTTP/1.1 204 No Content\r\n\r\n{EVIL}")),
        ("GET", format!("HTTP/1.1 304 Not Modified\r\nContent-Length: {}\r\n\r\n{EVIL}", EVIL.len())),
    ];
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    for (method, answer) in answers {
        raw.next(vec![Step::Request, Step::send(&answer)]);
        raw.next(vec![Step::Request, Step::send(OK)]);
        let connections = raw.received().len();
        let mut first = stage.raw_client().await;
        first.send(format!("{method} {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\nConnection: close\r\n\r\n")).await;
        let received = first.until_closed().await;
        assert!(!received.text().contains("evil"), "{answer:?}: {}", received.text());
        let second = stage.client().get(PROFILE).await;
        assert_eq!((second.text().as_str(), second.header("x-evil")), ("ok", ""), "{answer:?}");
        assert_eq!(raw.received().len(), connections + 2 - usize::from(connections > 0), "{answer:?}");
    }
}

#[tokio::test]
async fn promise_12_bytes_that_come_while_a_connection_idles_reach_no_client() {
    const EVIL: &str = "HTTP/1.1 200 OK\r\nX-Evil: yes\r\nContent-Length: 4\r\n\r\nevil";
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let gate = xspgate::sim::raw::Gate::new();
    raw.next(vec![Step::Request, Step::send(OK), Step::Gate(gate.clone()), Step::send(EVIL)]);
    assert_eq!(stage.client().get(PROFILE).await.text(), "ok");
    gate.open();
    let discarded = async || stage.metrics().await.count("xspgate_pool_idle", &[]) == 0.0;
    crate::harness::eventually("the spoilt connection's end", discarded).await;
    assert_eq!(stage.client().get(PROFILE).await.text(), "ok");
    assert_eq!(raw.received().len(), 2);
}

#[tokio::test]
async fn promise_12_an_answer_that_was_cut_does_not_look_whole() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let answers = [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "HTTP/1.1 200 OK\r\n\r\nhello",
    ];
    for answer in answers {
        for (version, end) in [("1.1", Step::Reset), ("1.0", Step::Reset), ("1.1", Step::Close), ("1.0", Step::Close)] {
            if matches!(end, Step::Close) && !answer.contains(": ") {
                continue;
            }
            // To the gateway's own looks, too, which an answer that breaks off brings about.
            raw.always(vec![Step::Request, Step::send(answer), end]);
            let mut client = stage.raw_client().await;
            client.send(format!("GET {PROFILE} HTTP/{version}\r\nHost: {CLOUD}\r\n\r\n")).await;
            let received = client.until_closed().await;
            assert!(matches!(received, Received::Broken(_)), "{answer:?} {version}: {received:?}");
            assert!(!received.text().ends_with("0\r\n\r\n"), "{answer:?}: {}", received.text());
        }
    }
}

#[tokio::test]
async fn promise_12_an_answer_without_a_length_ends_with_its_connection() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    for (version, tail) in [("1.1", "5\r\nhello\r\n0\r\n\r\n"), ("1.0", "\r\n\r\nhello")] {
        raw.next(vec![Step::Request, Step::send("HTTP/1.1 200 OK\r\n\r\nhello"), Step::Close]);
        let mut client = stage.raw_client().await;
        client.send(format!("GET {PROFILE} HTTP/{version}\r\nHost: {CLOUD}\r\nConnection: close\r\n\r\n")).await;
        let received = client.until_closed().await;
        assert!(matches!(received, Received::Closed(_)), "{version}: {received:?}");
        assert!(received.text().ends_with(tail), "{version}: {}", received.text());
    }
}

#[tokio::test]
async fn promise_12_an_http_1_0_client_gets_what_it_understands() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    raw.answer(
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\
         HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
    );
    let mut client = stage.raw_client().await;
    client.send(format!("GET {PROFILE} HTTP/1.0\r\nHost: {CLOUD}\r\nConnection: keep-alive\r\n\r\n")).await;
    let received = client.until_closed().await;
    assert!(matches!(received, Received::Closed(_)), "{received:?}");
    let text = received.text().to_ascii_lowercase();
    assert!(text.starts_with("http/1.1 200 ok\r\n") && text.ends_with("\r\n\r\nok"), "{text}");
    assert!(text.contains("connection: close") && !text.contains("transfer-encoding"), "{text}");
    assert!(String::from_utf8_lossy(&raw.all_received()).starts_with(&format!("GET {PROFILE} HTTP/1.1\r\n")));
}
