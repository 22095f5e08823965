//! What the gateway changes in requests and answers, and what it must leave alone: raw XSPs and raw clients show the bytes.

use std::time::{SystemTime, UNIX_EPOCH};

use xspgate::sim::raw::{Raw, Step};
use xspgate::sim::site::Text;

use crate::harness::{DEADLINE, NEW_CALL, PROFILE, RawClient, Stage, rested};

const CLOUD: &str = "webex-cloud-xsp.example.com";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Sends a request and shows what the XSP got of it.
async fn seen_by_xsp(raw: &Raw, client: &mut RawClient, request: &str) -> String {
    // So that all of them come over one connection.
    rested().await;
    let before = raw.all_received().len();
    client.send(request).await;
    let received = client.until_tail("ok").await;
    assert_eq!(received.status(), 200, "{request:?}: {}", received.text());
    String::from_utf8_lossy(&raw.all_received()[before..]).into_owned()
}

/// Has the XSP answer so, and shows what the client gets, up to `tail`.
async fn seen_by_client(raw: &Raw, client: &mut RawClient, answer: &str, tail: &str) -> String {
    raw.answer(answer);
    client.send(format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n")).await;
    client.until_tail(tail).await.text()
}

fn lines<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let named = |line: &&str| line.split(':').next().is_some_and(|field| field.eq_ignore_ascii_case(name));
    head.split("\r\n\r\n").next().unwrap_or_default().lines().filter(named).collect()
}

#[tokio::test]
async fn end_to_end_fields_pass_in_their_order_and_case() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let mut client = stage.raw_client().await;
    let fields = "Accept: text/xml\r\nX-bRoadWorks: \u{e9} a\t b\r\nAUTHORIZATION: Basic eA==\r\nX-Twice: 1\r\nx-twice: 2\r\nUser-Agent: \r\n";
    let seen =
        seen_by_xsp(&raw, &mut client, &format!("GET {PROFILE}?q=*&a=/b HTTP/1.1\r\nHost: {CLOUD}\r\n{fields}\r\n"))
            .await;
    assert!(seen.starts_with(&format!("GET {PROFILE}?q=*&a=/b HTTP/1.1\r\nHost: {CLOUD}\r\n")), "{seen}");
    let mut from = 0;
    for field in fields.lines().map(str::trim_end) {
        let at = seen[from..].find(field).unwrap_or_else(|| panic!("{field} is missing or out of order: {seen}"));
        from += at + field.len();
    }
}

/// Seconds since 1970 of the one Date in an answer.
fn date(answer: &str) -> i64 {
    let [line] = lines(answer, "date")[..] else { panic!("{answer}") };
    xspgate::http1::date::read(line.strip_prefix("Date: ").unwrap().as_bytes()).unwrap()
}

#[tokio::test]
async fn an_answer_without_date_gets_one_and_another_keeps_its_own() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let mut client = stage.raw_client().await;
    let now = || i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let before = now();
    let made = seen_by_client(&raw, &mut client, OK, "ok").await;
    client.send(format!("GET /elsewhere HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n")).await;
    let own = client.until_tail("nothing is served here\n").await.text();
    for answer in [made, own] {
        assert!((before..=now()).contains(&date(&answer)), "{answer}");
    }
    let given = OK.replace("OK\r\n", "OK\r\nConnection: Date\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
    assert_eq!(date(&seen_by_client(&raw, &mut client, &given, "ok").await), 784_111_777);
}

#[tokio::test]
async fn via_says_what_the_operator_wants() {
    for (via, in_request, in_answer) in [
        (None, &["Via: 1.0 fred", "Via: 1.1 gateway"][..], &["Via: 1.1 xsp"][..]),
        (Some("both"), &["Via: 1.0 fred", "Via: 1.1 gateway"], &["Via: 1.1 xsp", "Via: 1.1 gateway"]),
        (Some("off"), &["Via: 1.0 fred"], &["Via: 1.1 xsp"]),
    ] {
        let change = |_: &_, text: &mut Text| {
            if let Some(via) = via {
                text.set("", "via", via);
            }
        };
        let (stage, raw) = Stage::before_raw(change).await;
        let mut client = stage.raw_client().await;
        let request = format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\nVia: 1.0 fred\r\n\r\n");
        assert_eq!(lines(&seen_by_xsp(&raw, &mut client, &request).await, "via"), in_request);
        let answer = OK.replace("OK\r\n", "OK\r\nVia: 1.1 xsp\r\n");
        assert_eq!(lines(&seen_by_client(&raw, &mut client, &answer, "ok").await, "via"), in_answer);
        client.send(format!("GET /elsewhere HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n")).await;
        let own = client.until_tail("nothing is served here\n").await.text();
        assert!(lines(&own, "via").is_empty(), "it has come through nothing: {own}");
    }
}

#[tokio::test]
async fn trace_context_passes_as_it_came() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let mut client = stage.raw_client().await;
    let fields = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: congo=t61rcWkgMzE,rojo=00\r\n";
    let seen =
        seen_by_xsp(&raw, &mut client, &format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n{fields}\r\n")).await;
    assert!(seen.contains(fields), "{seen}");
}

#[tokio::test]
async fn hop_by_hop_fields_of_requests_are_dropped() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let mut client = stage.raw_client().await;
    let fields = "Connection: keep-alive, X-Private, Cookie, Host\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n\
                  Proxy-Authorization: Basic eA==\r\nTE: gzip\r\nX-Private: 1\r\nX-Kept: 1\r\n";
    let seen =
        seen_by_xsp(&raw, &mut client, &format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n{fields}\r\n")).await;
    for name in ["connection", "keep-alive", "proxy-connection", "proxy-authorization", "te", "x-private", "upgrade"] {
        assert_eq!(lines(&seen, name), Vec::<&str>::new(), "{seen}");
    }
    assert_eq!(lines(&seen, "x-kept").len(), 1);
    assert_eq!(lines(&seen, "host").len(), 1);
}

#[tokio::test]
async fn forwarding_fields_say_what_the_gateway_saw() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let mut client = stage.raw_client().await;
    let spoofed = "X-Forwarded-For: 192.0.2.1\r\nx-forwarded-proto: http\r\nX-Forwarded-Host: evil.example\r\n\
                   X_Forwarded_For: 192.0.2.2\r\nX-Forwarded_For: 192.0.2.2\r\nX-Forwarded-Port: 1\r\nForwarded: for=192.0.2.3\r\n\
                   X-Real-IP: 192.0.2.4\r\nX-Client-Cert: x\r\nX-SSL-Client: x\r\nSSL-Client-Cert: x\r\nX-Forwarded-Client-Cert: x\r\n";
    let seen =
        seen_by_xsp(&raw, &mut client, &format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n{spoofed}\r\n")).await;
    assert!(!seen.contains("192.0.2.") && !seen.contains("evil"), "{seen}");
    for (name, value) in [("x-forwarded-for", "127.0.0.1"), ("x-forwarded-proto", "https"), ("x-forwarded-host", CLOUD)]
    {
        let values: Vec<_> = lines(&seen, name).iter().map(|line| line.split_once(": ").unwrap().1).collect();
        assert_eq!(values, [value], "{name}: {seen}");
    }
    for name in [
        "x-real-ip",
        "forwarded",
        "x-client-cert",
        "x-ssl-client",
        "ssl-client-cert",
        "x-forwarded-client-cert",
        "x-forwarded-port",
    ] {
        assert_eq!(lines(&seen, name), Vec::<&str>::new(), "{seen}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_may_say_who_the_client_is() {
    let (stage, raw) = Stage::before_raw(|_, text| {
        text.set("[[https]]", "trusted_proxies", vec!["127.0.0.1/32".to_owned()]);
    })
    .await;
    let mut client = stage.raw_client().await;
    let fields = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Host: app.example.com\r\n";
    let seen =
        seen_by_xsp(&raw, &mut client, &format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n{fields}\r\n")).await;
    assert_eq!(
        lines(&seen, "x-forwarded-for").join(", ").to_lowercase().matches("192.0.2.1, 127.0.0.1").count(),
        1,
        "{seen}"
    );
    assert!(seen.contains("app.example.com"), "{seen}");
}

#[tokio::test]
async fn a_tracking_id_passes_or_is_made() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let mut client = stage.raw_client().await;
    let given = format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\nTrackingID: CLOUD_abc-1\r\n\r\n");
    let seen = seen_by_xsp(&raw, &mut client, &given).await;
    assert_eq!(lines(&seen, "trackingid"), ["TrackingID: CLOUD_abc-1"], "{seen}");
    let seen = seen_by_xsp(&raw, &mut client, &format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n")).await;
    let made = lines(&seen, "trackingid").join("");
    assert!(made.len() > 20, "{seen}");
    // An answer without one carries the request's.
    client.send(format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\nTrackingID: CLOUD_2\r\n\r\n")).await;
    let received = client.until_tail("ok").await.text();
    assert_eq!(lines(&received, "trackingid").len(), 1, "{received}");
    assert!(received.contains("CLOUD_2"), "{received}");
    // An XSP's own is left alone.
    let answer = "HTTP/1.1 200 OK\r\nTrackingID: XSP_1\r\nContent-Length: 2\r\n\r\nok";
    let received = seen_by_client(&raw, &mut client, answer, "ok").await;
    assert_eq!(lines(&received, "trackingid"), ["TrackingID: XSP_1"], "{received}");
}

#[tokio::test]
async fn hop_by_hop_fields_of_answers_are_dropped() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let mut client = stage.raw_client().await;
    let answer = "HTTP/1.1 200 Alright\r\nConnection: keep-alive, X-Private\r\nKeep-Alive: timeout=5\r\nX-Private: 1\r\n\
                  Proxy-Connection: x\r\nX-Kept: \u{e9}\r\nLocation: /x\r\nSet-Cookie: a=b; Path=/x\r\nSet-Cookie: c=d\r\nContent-Length: 2\r\n\r\nok";
    let received = seen_by_client(&raw, &mut client, answer, "ok").await;
    assert!(received.starts_with("HTTP/1.1 200 "), "{received}");
    for name in ["connection", "keep-alive", "x-private", "proxy-connection"] {
        assert_eq!(lines(&received, name), Vec::<&str>::new(), "{received}");
    }
    assert!(received.contains("X-Kept: \u{e9}\r\n") && received.contains("Location: /x\r\n"), "{received}");
    let cookies = lines(&received, "set-cookie");
    assert_eq!(&cookies[..2], ["Set-Cookie: a=b; Path=/x", "Set-Cookie: c=d"], "{received}");
}

#[tokio::test]
async fn connections_to_xsps_are_used_again() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    for _ in 0..5 {
        let mut client = stage.client();
        for _ in 0..5 {
            assert_eq!(client.get(PROFILE).await.text(), "ok");
            rested().await;
            assert_eq!(client.post(NEW_CALL, "<Call/>").await.text(), "ok");
        }
    }
    assert_eq!(raw.received().len(), 1, "50 requests one after the other need one connection");
}

#[tokio::test]
async fn a_connection_that_the_xsp_closes_is_not_used_again() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    raw.answer("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    let mut client = stage.client();
    for _ in 0..3 {
        assert_eq!(client.get(PROFILE).await.text(), "ok");
    }
    assert_eq!(raw.received().len(), 3);
}

#[tokio::test]
async fn answers_without_a_body_have_none_and_the_connection_goes_on() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let mut client = stage.raw_client().await;
    let cases = [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", "Content-Length: 1234"),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 200"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 204"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\nETag: \"x\"\r\n\r\n", "Content-Length: 1234"),
        ("DELETE", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "Content-Length: 0"),
    ];
    for (method, answer, expected) in cases {
        raw.answer(answer);
        rested().await;
        client.send(format!("{method} {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n")).await;
        let received = client.until_tail("\r\n\r\n").await.text();
        assert!(received.contains(expected), "{method} {answer:?}: {received}");
        let received = seen_by_client(&raw, &mut client, OK, "ok").await;
        assert!(received.starts_with("HTTP/1.1 200 OK\r\n"), "after {method} {answer:?}: {received}");
    }
    assert_eq!(raw.received().len(), 1, "the XSP's connection goes on, too");
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_whole() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    raw.always(vec![Step::Request, Step::send("HTTP/1.1 200 OK\r\n\r\nall of it"), Step::Close]);
    let answer = stage.client().get(PROFILE).await;
    assert_eq!(answer.text(), "all of it");
}

#[tokio::test]
async fn informational_answers_pass() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let mut client = stage.raw_client().await;
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n";
    let received = seen_by_client(&raw, &mut client, &format!("{early}{OK}"), "ok").await;
    assert!(received.starts_with("HTTP/1.1 103 "), "{received}");
    assert!(received.contains("Link: </x>; rel=preload\r\n") && received.contains("HTTP/1.1 200 OK\r\n"), "{received}");
}

#[tokio::test]
async fn expect_is_the_xsps_to_answer() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    raw.always(vec![Step::send("HTTP/1.1 100 Continue\r\n\r\n"), Step::Request, Step::send(OK)]);
    let mut client = stage.raw_client().await;
    client
        .send(format!("POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n"))
        .await;
    let received = client.until_tail("\r\n\r\n").await;
    assert_eq!(received.status(), 100, "{}", received.text());
    client.send("hello").await;
    let received = client.until_tail("ok").await;
    assert_eq!(received.status(), 200, "{}", received.text());
    let seen = String::from_utf8(raw.all_received()).unwrap();
    assert_eq!(lines(&seen, "expect").len(), 1, "{seen}");
    assert!(seen.ends_with("\r\n\r\nhello"), "{seen}");
}

#[tokio::test]
async fn a_final_answer_instead_of_continue_takes_no_body() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    raw.next(vec![Step::send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")]);
    let mut client = stage.raw_client().await;
    client
        .send(format!(
            "POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\nExpect: 100-continue\r\nContent-Length: 40\r\n\r\n"
        ))
        .await;
    let received = client.until(|bytes| bytes.ends_with(b"no")).await;
    assert_eq!(received.status(), 401, "{}", received.text());
    // What the client says next can't be told from the body: nothing of it may become a request.
    client.send(format!("GET {PROFILE}?smuggled HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n")).await;
    let _ = client.until_closed().await;
    assert!(!String::from_utf8_lossy(&raw.all_received()).contains("smuggled"));
    assert_eq!(stage.client().get(PROFILE).await.text(), "ok");
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let mut client = stage.raw_client().await;
    let fields = "TE: trailers\r\nConnection: TE\r\nTransfer-Encoding: chunked\r\n";
    let body = "3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 2\r\n\r\n";
    raw.answer(answer);
    client.send(format!("POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\n{fields}\r\n{body}")).await;
    let received = client.until_tail("\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 2\r\n\r\n").await;
    assert_eq!(received.status(), 200);
    let seen = String::from_utf8(raw.all_received()).unwrap();
    assert!(seen.ends_with(&format!("\r\n\r\n{body}")), "{seen}");
    assert_eq!(lines(&seen, "te"), ["TE: trailers"], "{seen}");
}

#[tokio::test]
async fn the_framing_of_a_body_stays_what_it_was() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let mut client = stage.raw_client().await;
    let empty = seen_by_xsp(
        &raw,
        &mut client,
        &format!("POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\nContent-Length: 0\r\n\r\n"),
    )
    .await;
    assert_eq!(lines(&empty, "content-length").len(), 1, "{empty}");
    let sized = seen_by_xsp(
        &raw,
        &mut client,
        &format!("PUT {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\ncontent-length: 0003\r\n\r\nabc"),
    )
    .await;
    assert!(sized.ends_with("\r\n\r\nabc"), "{sized}");
    assert_eq!(lines(&sized, "transfer-encoding").len(), 0, "{sized}");
    let none = seen_by_xsp(&raw, &mut client, &format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n")).await;
    assert_eq!(lines(&none, "content-length").len() + lines(&none, "transfer-encoding").len(), 0, "{none}");
    let chunked = "2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
    let seen = seen_by_xsp(
        &raw,
        &mut client,
        &format!("POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\nTransfer-Encoding: Chunked\r\n\r\n{chunked}"),
    )
    .await;
    assert!(seen.ends_with(&format!("\r\n\r\n{chunked}")), "{seen}");
    assert_eq!(lines(&seen, "content-length").len(), 0, "{seen}");
}

#[tokio::test]
async fn digest_challenges_pass_and_stay_at_their_xsp() {
    let stage = Stage::start().await;
    let mut client = stage.client();
    let target = "/dms/bc/pc/config.xml?x=%20y";
    let challenge = client.get(target).await;
    assert_eq!(challenge.status.as_u16(), 401, "R-APP-8: 401 is an answer");
    let nonce =
        challenge.header("www-authenticate").split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let digest = format!("Digest username=\"u\", nonce=\"{nonce}\", uri=\"{target}\", response=\"0\"");
    let mut request = crate::harness::request(http::Method::GET, target, crate::harness::body(""));
    request.headers_mut().insert("authorization", digest.parse().unwrap());
    let answer = client.send(request).await;
    assert_eq!((answer.status.as_u16(), answer.xsp()), (200, challenge.xsp()));
    assert_eq!(stage.asked(), 2);
}

#[tokio::test]
async fn digest_answers_reach_their_challenger_without_cookies() {
    let stage = Stage::start().await;
    for _ in 0..12 {
        let mut client = stage.raw_client().await;
        let get = |fields: &str| format!("GET /dms/bc/pc/config.xml HTTP/1.1\r\nHost: {CLOUD}\r\n{fields}\r\n");
        client.send(get("")).await;
        let challenge = client.until(|bytes| bytes.windows(4).any(|part| part == b"\r\n\r\n")).await.text();
        let nonce = challenge.split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        let digest = format!("Authorization: Digest nonce=\"{nonce}\", uri=\"/dms/bc/pc/config.xml\"\r\n");
        client.send(get(&digest)).await;
        let answer = client.until(|bytes| bytes.windows(12).any(|part| part == b"HTTP/1.1 200")).await;
        assert!(answer.text().contains("HTTP/1.1 200"), "{}", answer.text());
    }
}

#[tokio::test]
async fn digest_answers_of_several_clients_behind_a_balancer_reach_their_challengers() {
    let (stage, ()) = Stage::with(|_, text| {
        text.set("[[https]]", "trusted_proxies", vec!["127.0.0.0/8".to_owned()]);
    })
    .await;
    let path = "/dms/bc/pc/config.xml";
    for _ in 0..8 {
        let mut balancer = stage.raw_client().await;
        let mut answers = Vec::new();
        for client in ["198.51.100.1", "198.51.100.2"] {
            let get = |fields: &str| {
                format!("GET {path} HTTP/1.1\r\nHost: {CLOUD}\r\nX-Forwarded-For: {client}\r\n{fields}\r\n")
            };
            balancer.send(get("")).await;
            let challenge = balancer.until(|bytes| bytes.windows(4).any(|part| part == b"\r\n\r\n")).await.text();
            let nonce = challenge.split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
            answers.push(get(&format!("Authorization: Digest nonce=\"{nonce}\", uri=\"{path}\"\r\n")));
        }
        for answer in answers {
            balancer.send(answer).await;
            let got = balancer.until(|bytes| bytes.windows(9).any(|part| part == b"HTTP/1.1 ")).await;
            assert!(got.text().contains("HTTP/1.1 200"), "{}", got.text());
        }
    }
}

#[tokio::test]
async fn an_upload_arrives_whole() {
    let stage = Stage::start().await;
    let mut client = stage.client();
    let content: Vec<u8> = (0..3_000_000u32).map(|index| (index % 253) as u8).collect();
    let answer = client.post("/dms/upload", content.clone()).await;
    let xsp = stage.xsp(answer.xsp());
    assert!(xsp.until(DEADLINE, |requests| requests[0].body_length == 3_000_000).await);
    assert_eq!(xsp.requests()[0].body, content[..65536]);
}
