//! Malformed HTTP is refused, always, never repaired and never passed on, in either direction: raw XSPs show what comes
//! through.

use http::StatusCode;
use xspgate::sim::raw::{Gate, Step};

use crate::harness::{NEW_CALL, PROFILE, Stage, eventually};

const CLOUD: &str = "webex-cloud-xsp.example.com";

/// Requests that must get this status, or just a closed connection (0), with nothing passed on.
fn malformed_requests() -> Vec<(u16, String)> {
    let post = |fields: &str, body: &str| format!("POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\n{fields}\r\n{body}");
    let get = |fields: &str| format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n{fields}\r\n");
    let line = |line: &str| format!("{line}\r\nHost: {CLOUD}\r\n\r\n");
    let smuggled = "GET /dms/ HTTP/1.1\r\nHost: x\r\n\r\n";
    vec![
        (400, post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")),
        (400, post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n")),
        (400, post("Content-Length: +5\r\n", "hello")),
        (400, post("Content-Length: -1\r\n", "")),
        (400, post("Content-Length: 5, 5\r\n", "hello")),
        (400, post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello")),
        (400, post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello")),
        (400, post("Content-Length:\r\n", "")),
        (400, post("Content-Length: 0x5\r\n", "hello")),
        (400, post("Content-Length: 5 5\r\n", "hello")),
        (400, post("Content-Length: 18446744073709551619\r\n", "hel")),
        (400, post("Content-Length: 99999999999999999999999\r\n", "hel")),
        (400, post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n")),
        (400, post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n")),
        (400, post("Transfer-Encoding: identity\r\n", smuggled)),
        (400, post("Transfer-Encoding: chunked,\r\n", "0\r\n\r\n")),
        (400, post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n")),
        (400, post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n")),
        (400, post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")),
        (400, post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n")),
        (400, post("Transfer-Encoding\r\n : chunked\r\n", "0\r\n\r\n")),
        (400, post("Content-Length : 5\r\n", "hello")),
        (400, get("X: a\r\n b\r\n")),
        (400, get("X: a\r\n\tTransfer-Encoding: chunked\r\n")),
        (400, get(" X: a\r\n")),
        (400, get("X: a\nY: b\r\n")),
        (400, get("X: a\rY: b\r\n")),
        (400, get("X: a\0b\r\n")),
        (400, get("X: a\x01b\r\n")),
        (400, get("X: a\x7fb\r\n")),
        (400, get(": a\r\n")),
        (400, get("X a\r\n")),
        (400, get("X@: a\r\n")),
        (400, get("X\u{e9}: a\r\n")),
        (400, get("Host: other.example.com\r\n")),
        (400, get(&format!("Host: {CLOUD}\r\n"))),
        (417, post("Expect: the-unexpected\r\nContent-Length: 0\r\n", "")),
        (400, format!("GET {PROFILE} HTTP/1.1\r\n\r\n")),
        (400, format!("GET {PROFILE} HTTP/1.1\r\nHost:\r\n\r\n")),
        (400, format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}, {CLOUD}\r\n\r\n")),
        (400, format!("GET {PROFILE} HTTP/1.1\r\nHost: user@{CLOUD}\r\n\r\n")),
        (400, format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}/x\r\n\r\n")),
        (400, format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}:port\r\n\r\n")),
        (400, format!("POST {NEW_CALL} HTTP/1.0\r\nHost: {CLOUD}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
        (400, format!("GET https://other.example.com{PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n")),
        (400, format!("GET ftp://{CLOUD}{PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n")),
        (405, line(&format!("CONNECT {CLOUD}:443 HTTP/1.1"))),
        (405, line(&format!("TRACE {PROFILE} HTTP/1.1"))),
        (405, line(&format!("Trace {PROFILE} HTTP/1.1"))),
        (405, line(&format!("TRACK {PROFILE} HTTP/1.1"))),
        (400, line(&format!("GET  {PROFILE} HTTP/1.1"))),
        (400, line(&format!("GET {PROFILE}  HTTP/1.1"))),
        (400, line(&format!("GET\t{PROFILE} HTTP/1.1"))),
        (400, line(&format!(" GET {PROFILE} HTTP/1.1"))),
        (400, line(&format!("\r\n\r\n\r\nGET {PROFILE} HTTP/1.1"))),
        (400, line(&format!("\rGET {PROFILE} HTTP/1.1"))),
        (400, format!("GET {PROFILE} HTTP/1.1\nHost: {CLOUD}\n\n")),
        (400, line(&format!("G(T {PROFILE} HTTP/1.1"))),
        (400, line(&format!("GET {PROFILE}#x HTTP/1.1"))),
        (400, line(&format!("GET {PROFILE}\u{e9} HTTP/1.1"))),
        (400, line("GET * HTTP/1.1")),
        (400, line(&format!("GET {PROFILE}"))),
        (400, line(&format!("GET {PROFILE} HTTP/1.1 x"))),
        (400, line(&format!("GET {PROFILE} http/1.1"))),
        (505, line(&format!("GET {PROFILE} HTTP/2.0"))),
        (505, line(&format!("GET {PROFILE} HTTP/3.1"))),
        (505, line(&format!("GET {PROFILE} HTTP/0.9"))),
        (400, "\x16\x03\x01\x02\x00\x01".to_owned()),
        (400, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        (431, get(&format!("X: {}\r\n", "a".repeat(20_000)))),
        (431, get(&"X: a\r\n".repeat(200))),
        (414, format!("GET /dms/{} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n", "a".repeat(20_000))),
    ]
}

#[tokio::test]
async fn malformed_requests_are_refused_and_never_passed_on() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    for (status, bytes) in malformed_requests() {
        let mut client = stage.raw_client().await;
        client.send(&bytes).await;
        let received = client.until_closed().await;
        let answers = received.text().matches("HTTP/1.1 ").count();
        let shown: String = bytes.chars().take(300).collect();
        assert!(answers <= 1, "the rest was read as another request: {shown:?}: {}", received.text());
        assert_eq!(received.status(), status, "{shown:?}");
    }
    assert_eq!(raw.received().concat(), b"", "something malformed was passed on");
    assert_eq!(stage.client().get(PROFILE).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_malformed_chunked_body_ends_its_request() {
    let bodies = [
        "5\r\nhelloX0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5;ext=1\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
        "5\r\nhello\r\n0\r\n bad\r\n\r\n",
        "5\r\nhello\r\n0\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n",
    ];
    for body in bodies {
        let (stage, raw) = Stage::before_raw(|_, _| ()).await;
        let mut client = stage.raw_client().await;
        let smuggled = format!("GET /dms/smuggled HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n");
        let head = format!("POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(format!("{head}{body}{smuggled}")).await;
        let received = client.until_closed().await;
        assert!(matches!(received.status(), 400 | 0), "{body:?}: {}", received.text());
        let seen = String::from_utf8_lossy(&raw.all_received()).into_owned();
        assert!(!seen.contains("smuggled"), "{body:?}: {seen}");
        // A body that broke off was never ended as if it were whole.
        assert!(!seen.ends_with("0\r\n\r\n"), "{body:?}: {seen}");
    }
}

#[tokio::test]
async fn what_follows_a_request_is_the_next_request() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let mut client = stage.raw_client().await;
    let first = format!("POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\nContent-Length: 3\r\n\r\nabc");
    let second = format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\nConnection: close\r\n\r\n");
    client.send(format!("{first}{second}")).await;
    let received = client.until_closed().await;
    assert_eq!(received.text().matches("HTTP/1.1 200 OK\r\n").count(), 2, "{}", received.text());
    let seen = String::from_utf8(raw.all_received()).unwrap();
    assert!(seen.find("POST ").unwrap() < seen.find("GET ").unwrap());
    assert!(seen.contains("\r\n\r\nabcGET "), "one after the other, on one connection: {seen}");
}

#[tokio::test]
async fn a_head_may_come_byte_by_byte() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let mut client = stage.raw_client().await;
    for byte in format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n").bytes() {
        client.send([byte]).await;
    }
    assert_eq!(client.until_tail("ok").await.status(), 200);
    assert_eq!(raw.received().len(), 1);
}

#[tokio::test]
async fn http_1_0_is_answered_and_closed() {
    let (stage, _raw) = Stage::before_raw(|_, _| ()).await;
    let mut client = stage.raw_client().await;
    client.send(format!("GET {PROFILE} HTTP/1.0\r\nHost: {CLOUD}\r\n\r\n")).await;
    let received = client.until_closed().await;
    assert_eq!(received.status(), 200);
    assert!(received.text().ends_with("ok"), "{}", received.text());
}

#[tokio::test]
async fn absolute_form_of_the_same_host_becomes_origin_form() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let mut client = stage.raw_client().await;
    client.send(format!("GET https://{}{PROFILE}?a=b HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n", CLOUD.to_uppercase())).await;
    assert_eq!(client.until_tail("ok").await.status(), 200);
    let seen = String::from_utf8(raw.all_received()).unwrap();
    assert!(seen.starts_with(&format!("GET {PROFILE}?a=b HTTP/1.1\r\n")), "{seen}");
}

#[tokio::test]
async fn a_body_that_is_too_long_is_413() {
    let (stage, raw) = Stage::before_raw(|_, text| {
        text.set("[limits]", "request_body_size", "1KiB");
    })
    .await;
    let mut client = stage.raw_client().await;
    client.send(format!("POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\nContent-Length: 1025\r\n\r\n")).await;
    assert_eq!(client.until_closed().await.status(), 413);
    assert_eq!(raw.received().concat(), b"");
    assert_eq!(stage.client().post(NEW_CALL, vec![b'x'; 1024]).await.status, StatusCode::OK);
    let mut client = stage.raw_client().await;
    let chunk = "x".repeat(1000);
    let chunks = format!("3e8\r\n{chunk}\r\n3e8\r\n{chunk}\r\n0\r\n\r\n");
    client
        .send(format!("POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"))
        .await;
    assert!(matches!(client.until_closed().await.status(), 413 | 0));
}

#[tokio::test]
async fn slow_clients_are_not_waited_for() {
    let (stage, raw) = Stage::before_raw(|_, text| {
        text.set("[limits]", "request_head_timeout", "300ms").set("[limits]", "keep_alive_timeout", "300ms");
        text.set("[limits]", "request_body_idle_timeout", "300ms");
    })
    .await;
    for begun in ["", "GET ", &format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n")] {
        let mut client = stage.raw_client().await;
        client.send(begun).await;
        assert!(matches!(client.until_closed().await.status(), 408 | 0), "{begun:?}");
    }
    assert_eq!(raw.received().concat(), b"");
    let mut client = stage.raw_client().await;
    client.send(format!("POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\nContent-Length: 10\r\n\r\nhalf")).await;
    assert!(matches!(client.until_closed().await.status(), 408 | 0));
    let mut client = stage.raw_client().await;
    client.send(format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n")).await;
    let received = client.until_closed().await;
    assert!(received.text().ends_with("ok"), "an idle connection ends: {}", received.text());
}

/// Answers that are no HTTP, or HTTP that reads in two ways.
const MALFORMED_ANSWERS: [&str; 26] = [
    "SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked,\r\n\r\n0\r\n\r\n",
    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX y: z\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\n X: a\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nX: a\r\n b\0\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nX: a\nY: b\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nX: a\rY: b\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 200 OK\r\nX\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 99 Low\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 1000 High\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/2 200\r\nContent-Length: 2\r\n\r\nok",
    "ICY 200 OK\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    "HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\nok",
];

#[tokio::test]
async fn malformed_answers_are_502_and_never_passed_on() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    for answer in MALFORMED_ANSWERS {
        raw.answer(answer);
        let mut client = stage.raw_client().await;
        client
            .send(format!(
                "POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            ))
            .await;
        let received = client.until_closed().await;
        assert_eq!(received.status(), 502, "{answer:?}: {}", received.text());
        assert_eq!(received.text().matches("HTTP/1.1 ").count(), 1, "{answer:?}: {}", received.text());
    }
    raw.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(stage.client().get(PROFILE).await.text(), "ok");
}

#[tokio::test]
async fn a_head_without_end_from_an_xsp_is_502() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    raw.answer(format!("HTTP/1.1 200 OK\r\n{}", "X: y\r\n".repeat(20_000)));
    assert_eq!(stage.client().get(PROFILE).await.status, StatusCode::BAD_GATEWAY);
    raw.answer(format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(300_000)));
    assert_eq!(stage.client().get(PROFILE).await.status, StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_made_whole() {
    let endings = [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ];
    for answer in endings {
        for last in [Step::Close, Step::Reset] {
            let (stage, raw) = Stage::before_raw(|_, _| ()).await;
            raw.always(vec![Step::Request, Step::send(answer), last.clone()]);
            let mut client = stage.raw_client().await;
            client.send(format!("POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\nContent-Length: 0\r\n\r\n")).await;
            let received = client.until_closed().await;
            assert!(!received.text().ends_with("0\r\n\r\n"), "{answer:?} {last:?}: {}", received.text());
        }
    }
}

#[tokio::test]
async fn bytes_behind_an_answer_poison_nobody_elses() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    raw.next(vec![Step::Request, Step::send(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok{poison}"))]);
    let mut client = stage.client();
    assert_eq!(client.get(PROFILE).await.text(), "ok");
    for _ in 0..3 {
        let answer = stage.client().get(PROFILE).await;
        assert_eq!(answer.text(), "ok");
    }
    assert!(raw.received().len() >= 2, "a connection with bytes left over was used again");
}

#[tokio::test]
async fn an_answer_nobody_asked_for_poisons_nobody() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let (gate, sent) = (Gate::new(), Gate::new());
    raw.next(vec![
        Step::Request,
        Step::send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        Step::Gate(gate.clone()),
        Step::send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"),
        Step::Gate(sent.clone()),
    ]);
    let mut client = stage.client();
    assert_eq!(client.get(PROFILE).await.text(), "ok");
    gate.open();
    eventually("the poison", async || sent.reached() == 1).await;
    for _ in 0..3 {
        assert_eq!(client.get(PROFILE).await.text(), "ok");
    }
    assert_eq!(raw.received().len(), 2, "the poisoned connection was used again");
}
