//! What clients send that is odd and has one reading all the same: it is served, and passed on clean. `docs/reference/accepted.md` lists
//! it. What is malformed beyond that is in `strictness`, and paths that lead elsewhere are in `routing`; that a refusal says
//! why is seen here.

use http::{Method, StatusCode};
use xspgate::proxy_protocol::{Header, v2};
use xspgate::sim::raw::Raw;
use xspgate::sim::site::{APP, CLOUD};

use crate::channels::{Channel, opened};
use crate::harness::{
    NEW_CALL, PROFILE, RawClient, Received, Serving, Stage, body, dial, eventually, request, tls_config, within,
};

/// A request without a body.
fn get(fields: &str) -> String {
    format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n{fields}\r\n")
}

/// What the gateway answers to these bytes, until it closes.
async fn answered(stage: &Stage, bytes: impl AsRef<[u8]>) -> Received {
    let mut client = stage.raw_client().await;
    client.send(bytes).await;
    client.until_closed().await
}

/// The status and the words of the gateway's own answer.
fn words(received: &Received) -> (u16, String) {
    let text = received.text();
    assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{text}");
    let words = text.split_once("\r\n\r\n").map_or("", |(_, words)| words.trim_end());
    (received.status(), words.to_owned())
}

/// The last head that the XSP has got, or all that it has got on its last connection.
fn last_head(raw: &Raw) -> String {
    let all = String::from_utf8(raw.all_received()).unwrap();
    let heads: Vec<&str> = all.split_terminator("\r\n\r\n").collect();
    heads.last().copied().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn up_to_two_empty_lines_before_a_request_are_skipped() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let mut client = stage.raw_client().await;
    let post = |end: &str| format!("POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\nContent-Length: 2\r\n\r\nhi{end}");
    for end in ["\r\n", "\n", "\r\n\r\n", "\n\n", "\r\n\n"] {
        // At the beginning of the connection or behind an answer, behind a body, and alone.
        client.send(format!("{end}{}", get(""))).await;
        assert_eq!(client.until_tail("ok").await.status(), 200, "{end:?}");
        client.send(post(end)).await;
        assert_eq!(client.until_tail("ok").await.status(), 200, "{end:?}");
        client.send(get("")).await;
        assert_eq!(client.until_tail("ok").await.status(), 200, "{end:?}");
        // In one piece.
        client.send(format!("{}{}", post(end), get(""))).await;
        let both = client.until(|bytes| String::from_utf8_lossy(bytes).matches("\r\n\r\nok").count() == 2).await;
        assert_eq!(both.text().matches("HTTP/1.1 200 ").count(), 2, "{end:?}");
    }
    let seen = String::from_utf8(raw.all_received()).unwrap();
    assert!(!seen.contains("\n\n") && !seen.contains("hi\r\n") && !seen.contains("\r\n\r\n\r\n"), "{seen:?}");
    for lines in ["\r\n\r\n\r\n", "\n\n\n", "\r\n\r\n\r\nGET "] {
        let received = answered(&stage, lines).await;
        assert_eq!(
            words(&received),
            (400, "more than two empty lines stand before the request line".into()),
            "{lines:?}"
        );
    }
}

#[tokio::test]
async fn empty_lines_hold_no_connection_and_are_answered_by_nothing() {
    let (stage, raw) = Stage::before_raw(|_, text| {
        text.set("[limits]", "request_head_timeout", "400ms").set("[limits]", "keep_alive_timeout", "400ms");
    })
    .await;
    let mut client = stage.raw_client().await;
    client.send("\r\n").await;
    assert_eq!(client.until_closed().await.text(), "", "nobody has asked for anything");
    let mut client = stage.raw_client().await;
    client.send(format!("{}\r\n", get(""))).await;
    let received = client.until_closed().await;
    assert_eq!(received.text().matches("HTTP/1.1 ").count(), 1, "{}", received.text());
    assert!(received.text().ends_with("ok"), "{}", received.text());
    assert_eq!(raw.received().len(), 1);
    // A request line that has begun behind one is waited for like any other.
    let mut client = stage.raw_client().await;
    client.send("\r\nGET ").await;
    assert_eq!(client.until_closed().await.status(), 408);
}

#[tokio::test]
async fn an_offered_upgrade_is_served_as_plain_http_1_1() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let mut client = stage.raw_client().await;
    for fields in [
        "Upgrade: TLS/1.2\r\nConnection: Upgrade\r\n",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
        "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        "upgrade:\r\n",
        "Upgrade: a/1, b\r\nUpgrade: c\r\nConnection: x-upgraded\r\nX-Upgraded: yes\r\n",
    ] {
        client.send(get(fields)).await;
        let received = client.until_tail("ok").await;
        assert_eq!(received.status(), 200, "{fields:?}: {}", received.text());
        let seen = last_head(&raw).to_lowercase();
        for gone in ["upgrade", "http2-settings", "\r\nconnection:"] {
            assert!(!seen.contains(gone), "{gone}: {seen}");
        }
    }
    let received = answered(&stage, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(words(&received), (400, "HTTP/2 is not served here, but HTTP/1.1".into()));
}

#[tokio::test]
async fn tunnels_and_echoes_are_405_and_reach_no_xsp() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    for method in ["TRACE", "trace", "TRACK", "Track", "CONNECT", "connect"] {
        for target in [PROFILE, "/", "webex-cloud-xsp.example.com:443"] {
            let received = answered(&stage, format!("{method} {target} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n")).await;
            assert_eq!(words(&received), (405, "CONNECT, TRACE and TRACK are not served".into()), "{method} {target}");
            assert!(received.text().contains("\r\nAllow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"));
        }
    }
    assert_eq!(raw.received().concat(), b"");
    // Any other method passes as it is.
    let mut client = stage.raw_client().await;
    client.send(format!("TRACES {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n")).await;
    assert_eq!(client.until_tail("ok").await.status(), 200);
    assert!(last_head(&raw).starts_with("TRACES "));
}

#[tokio::test]
async fn options_of_the_server_itself_are_answered_by_the_gateway() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let mut client = stage.raw_client().await;
    for request in [
        format!("OPTIONS * HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n"),
        format!("OPTIONS / HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n"),
        "OPTIONS * HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_owned(),
        format!("OPTIONS https://{CLOUD}/ HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n"),
        "OPTIONS / HTTP/1.0\r\n\r\n".to_owned(),
    ] {
        client.send(&request).await;
        let received = client.until_tail("the gateway is here\n").await;
        assert_eq!(received.status(), 200, "{request:?}: {}", received.text());
        assert!(received.text().contains("\r\nAllow: GET, HEAD, "), "{}", received.text());
    }
    let received = answered(&stage, "OPTIONS * HTTP/1.1\r\nHost: other.example.com\r\nConnection: close\r\n\r\n").await;
    assert_eq!(received.status(), 421);
    assert_eq!(raw.received().concat(), b"");
    assert_eq!(stage.metrics().await.count("xspgate_refused_total", &[("reason", "options")]), 5.0);
    // Those of a resource are the XSP's to answer.
    let answer = stage.client().send(request(Method::OPTIONS, PROFILE, body(""))).await;
    assert_eq!(answer.text(), "ok");
    assert!(last_head(&raw).starts_with(&format!("OPTIONS {PROFILE} HTTP/1.1")));
}

#[tokio::test]
async fn http_1_0_without_a_host_is_served_by_the_name_of_the_handshake() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let roots = stage.sim.pki.public_roots();
    for name in [CLOUD, APP] {
        let connect = RawClient::try_connect(stage.gateway.https(), name, tls_config(&roots));
        let mut client = connect.await.unwrap();
        client.send(format!("GET {PROFILE} HTTP/1.0\r\nAccept: */*\r\n\r\n")).await;
        assert_eq!(client.until_closed().await.status(), 200, "{name}");
        let seen = last_head(&raw);
        assert!(seen.starts_with(&format!("GET {PROFILE} HTTP/1.1\r\nHost: {name}\r\nAccept: */*\r\n")), "{seen}");
        assert!(seen.contains(&format!("\r\nX-Forwarded-Host: {name}\r\n")), "{seen}");
    }
    let mut client = stage.raw_client().await;
    client.send(format!("GET https://{CLOUD}:8443{PROFILE} HTTP/1.0\r\n\r\n")).await;
    assert_eq!(client.until_closed().await.status(), 200);
    assert!(last_head(&raw).starts_with(&format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}:8443\r\n")));
    let received = answered(&stage, format!("GET https://other.example.com{PROFILE} HTTP/1.0\r\n\r\n")).await;
    assert_eq!(received.status(), 421);
    let received = answered(&stage, format!("GET {PROFILE} HTTP/1.1\r\n\r\n")).await;
    assert_eq!(words(&received), (400, "there is no Host field, and only HTTP/1.0 may be without one".into()));
}

#[tokio::test]
async fn http_1_0_is_kept_alive_for_those_who_ask_and_answers_with_a_length() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let old = |fields: &str| format!("GET {PROFILE} HTTP/1.0\r\nHost: {CLOUD}\r\n{fields}\r\n");
    let mut client = stage.raw_client().await;
    for _ in 0..2 {
        client.send(old("Connection: Keep-Alive\r\n")).await;
        let text = client.until_tail("ok").await.text();
        assert!(
            text.contains("\r\nContent-Length: 2\r\n") && text.contains("\r\nConnection: keep-alive\r\n"),
            "{text}"
        );
    }
    raw.answer("HTTP/1.1 204 No Content\r\n\r\n");
    client.send(old("Connection: keep-alive\r\n")).await;
    assert_eq!(client.until_tail("\r\n\r\n").await.status(), 204);
    // Without a length, the end of the connection is the end of the answer.
    raw.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    client.send(old("Connection: keep-alive\r\n")).await;
    let text = client.until_closed().await.text();
    assert!(text.contains("\r\nConnection: close\r\n") && text.ends_with("\r\n\r\nok"), "{text}");
    raw.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    for fields in ["", "Connection: close\r\n", "Connection: keep-alive, close\r\n", "Keep-Alive: timeout=5\r\n"] {
        let text = answered(&stage, old(fields)).await.text();
        assert!(text.contains("\r\nConnection: close\r\n") && text.ends_with("ok"), "{fields:?}: {text}");
    }
}

#[tokio::test]
async fn a_later_minor_version_is_1_1_and_another_major_is_505() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let mut client = stage.raw_client().await;
    for minor in 2..=9 {
        client.send(format!("GET {PROFILE} HTTP/1.{minor}\r\nHost: {CLOUD}\r\n\r\n")).await;
        assert_eq!(client.until_tail("ok").await.status(), 200, "1.{minor}");
        assert!(last_head(&raw).starts_with(&format!("GET {PROFILE} HTTP/1.1\r\n")));
    }
    for version in ["HTTP/0.9", "HTTP/2.0", "HTTP/3.1"] {
        let received = answered(&stage, format!("GET {PROFILE} {version}\r\nHost: {CLOUD}\r\n\r\n")).await;
        assert_eq!(words(&received), (505, "this version of HTTP is not served, 1.0 and 1.1 are".into()), "{version}");
    }
    for end in ["\r\n", "\n"] {
        let (status, said) = words(&answered(&stage, format!("GET {PROFILE}{end}")).await);
        assert_eq!((status, said.contains("names no HTTP version")), (400, true), "{said}");
    }
}

#[tokio::test]
async fn empty_segments_and_parameters_pass_within_an_interface() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let mut client = stage.raw_client().await;
    for target in [
        "/com.broadsoft.xsi-actions/v2.0//user/alice@example.com/profile",
        "/com.broadsoft.xsi-actions//v2.0/user//alice%40example.com/profile//",
        "/com.broadsoft.xsi-actions/v2.0;jsessionid=0A1B.worker1/user/a;x=1;y/profile?a=b;c//d",
        "/com.broadsoft.xsi-actions/v2.0/user/a/profile;jsessionid=0A1B2C3D.worker1",
        "/com.broadsoft.xsi-events/;/v2.0//x",
        "/authService/token;a=b",
        "/dms//bc//pc/config.xml;jsessionid=1",
        "/callsettings/;jsessionid=1",
    ] {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n")).await;
        let received = client.until_tail("ok").await;
        assert_eq!(received.status(), 200, "{target}: {}", received.text());
        assert!(last_head(&raw).starts_with(&format!("GET {target} HTTP/1.1\r\n")), "{}", last_head(&raw));
    }
}

#[tokio::test]
async fn r_aff_2_a_channel_is_itself_in_any_reading_of_its_path() {
    let stage = Stage::start().await;
    let channel = Channel::open(&stage).await;
    let id = &channel.id;
    let mut beats = 0.0;
    for path in [
        format!("/com.broadsoft.xsi-events/v2.0/channel/{id}/heartbeat;jsessionid=0A1B.worker1"),
        format!("/com.broadsoft.xsi-events/v2.0//channel/{id}/heartbeat"),
        format!("/com.broadsoft.async/com.broadsoft.xsi-events/v2.0/channel;jsessionid=1//{id};x=y/;/heartbeat/"),
    ] {
        for _ in 0..4 {
            let answer = stage.client().send(request(Method::PUT, &path, body(""))).await;
            assert_eq!((answer.status, answer.xsp()), (StatusCode::OK, &*channel.xsp), "{path}");
            beats += 1.0;
        }
    }
    let bound = stage.metrics().await.count("xspgate_channel_events_total", &[("event", "bound")]);
    assert_eq!(bound, beats);
    // What would be another channel to a reader that decodes twice is nobody's.
    let path = format!("/com.broadsoft.xsi-events/v2.0/channel/%25{:02x}{}/heartbeat", id.as_bytes()[0], &id[1..]);
    assert_eq!(stage.client().send(request(Method::PUT, &path, body(""))).await.status, StatusCode::BAD_REQUEST);
    // One is opened by such a path, too.
    let mut client = stage.client();
    let opens = request(
        Method::POST,
        "/com.broadsoft.async/com.broadsoft.xsi-events/v2.0;jsessionid=1//channel",
        body("<Channel/>"),
    );
    let answer = client.open(opens).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    eventually("a second channel", async || opened(&stage).await == 2.0).await;
}

#[tokio::test]
async fn a_refusal_of_a_head_says_what_is_wrong() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let line = |line: &str| format!("{line}\r\nHost: {CLOUD}\r\n\r\n");
    let post = |fields: &str| format!("POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\n{fields}\r\n");
    let lf = "a line ends in LF without CR";
    for (bytes, status, said) in [
        (format!("GET {PROFILE} HTTP/1.1\nHost: {CLOUD}\n\n"), 400, lf),
        (format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\n\r\n"), 400, lf),
        (format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\n"), 400, lf),
        (get("X\nY: a\r\n"), 400, lf),
        (get("X: a\rY: b\r\n"), 400, "a CR stands without its LF"),
        (get("X : a\r\n"), 400, "whitespace stands before a field's colon"),
        (get("X: a\r\n b\r\n"), 400, "a field line begins with whitespace"),
        (get("X\r\n"), 400, "a field name is no token, or no colon follows it"),
        (get(": a\r\n"), 400, "a field line has no name"),
        (get("X: a\0\r\n"), 400, "a control byte in a field value"),
        (get("Host: other.example.com\r\n"), 400, "there are several Host fields"),
        (
            format!("GET {PROFILE} HTTP/1.1\r\nHost: a b\r\n\r\n"),
            400,
            "the Host is no name or address with an optional port",
        ),
        (
            line(&format!("GET https://other.example.com{PROFILE} HTTP/1.1")),
            400,
            "the request target contradicts the Host field",
        ),
        (
            line("get profile HTTP/1.1"),
            400,
            "the request target is neither a path nor an https URL, or holds a byte that must be escaped",
        ),
        (
            line(&format!("GET {PROFILE}  HTTP/1.1")),
            400,
            "the request line does not end in one space and an HTTP version",
        ),
        (line(" GET / HTTP/1.1"), 400, "the request line does not begin with a method and one space"),
        (post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400, "both Content-Length and Transfer-Encoding"),
        (post("Content-Length: 5\r\nContent-Length: 5\r\n"), 400, "several Content-Length fields"),
        (post("Content-Length: 5, 5\r\n"), 400, "Content-Length is no plain number"),
        (post("Transfer-Encoding: gzip, chunked\r\n"), 400, "Transfer-Encoding is not chunked"),
        (post("Expect: more\r\n"), 417, "Expect is something else than one 100-continue"),
        (get("X: a\r\n".repeat(200).as_str()), 431, "too many fields"),
        (
            line("GET /com.broadsoft.xsi-actions/../x HTTP/1.1\r\nConnection: close"),
            400,
            "the path could be read in more than one way",
        ),
    ] {
        let received = answered(&stage, &bytes).await;
        assert_eq!(words(&received), (status, said.to_owned()), "{bytes:?}");
    }
    assert_eq!(raw.received().concat(), b"");
}

/// A stage behind a balancer at 127.0.0.1 and others at 192.0.2.1 and 2001:db8::1, for clients from 198.51.100.0/24.
async fn behind_balancers() -> Stage {
    let (stage, ()) = Stage::with(|_, text| {
        let ours = ["127.0.0.0/8", "192.0.2.1", "2001:db8::1"].map(str::to_owned);
        text.set("[[https]]", "trusted_proxies", ours.to_vec());
        text.set("[[https]]", "allow", vec!["198.51.100.0/24".to_owned(), "2001:db8:7::/48".to_owned()]);
    })
    .await;
    stage
}

#[tokio::test]
async fn r_fw_1_behind_a_balancer_the_client_is_the_one_that_it_names() {
    let stage = behind_balancers().await;
    for (fields, allowed) in [
        ("", false),
        ("X-Forwarded-For: 198.51.100.7\r\n", true),
        ("X-Forwarded-For: 198.51.100.7:40000\r\n", true),
        ("X-Forwarded-For: 2001:db8:7::7\r\n", true),
        ("X-Forwarded-For: [2001:db8:7::7]\r\n", true),
        ("X-Forwarded-For: [2001:db8:7::7]:40000\r\n", true),
        ("X-Forwarded-For: 203.0.113.1, 198.51.100.7, 192.0.2.1,[2001:db8::1]:1\r\n", true),
        ("X-Forwarded-For: 203.0.113.1\r\nX-Forwarded-For: 198.51.100.7\r\n", true),
        ("X-Forwarded-For: 203.0.113.1\r\n", false),
        // Whoever stands before the last one is the client's own claim.
        ("X-Forwarded-For: 198.51.100.7, 203.0.113.1\r\n", false),
        ("X-Forwarded-For: 198.51.100.7\r\nX-Forwarded-For: 203.0.113.1, 192.0.2.1\r\n", false),
        ("X-Forwarded-For: 198.51.100.7, unknown\r\n", false),
        ("X-Forwarded-For: 192.0.2.1\r\n", false),
        ("Forwarded: for=198.51.100.7\r\n", false),
        ("X_Forwarded_For: 198.51.100.7\r\n", false),
    ] {
        let status = answered(&stage, get(&format!("{fields}Connection: close\r\n"))).await.status();
        assert_eq!(status, if allowed { 200 } else { 403 }, "{fields:?}");
    }
    let asked: Vec<_> = stage.sim.xsps.iter().flat_map(|xsp| xsp.requests()).collect();
    let told: Vec<_> = asked.iter().map(|request| request.header("x-forwarded-for").to_owned()).collect();
    assert!(told.contains(&"203.0.113.1, 198.51.100.7, 192.0.2.1,[2001:db8::1]:1, 127.0.0.1".to_owned()), "{told:?}");
}

#[tokio::test]
async fn behind_the_proxy_protocol_x_forwarded_for_counts_from_a_trusted_proxy_alone() {
    let stage = behind_balancers().await;
    let to = stage.gateway.https();
    for (source, told, status) in [
        ("198.51.100.7:1", "203.0.113.1", "HTTP/1.1 200"),
        ("203.0.113.1:1", "198.51.100.7", "HTTP/1.1 403"),
        ("192.0.2.1:1", "198.51.100.7", "HTTP/1.1 200"),
        ("192.0.2.1:1", "203.0.113.1", "HTTP/1.1 403"),
    ] {
        let header = v2(&Header::Proxied { source: source.parse().unwrap(), destination: to });
        let mut call = dial(&stage.webex().anonymous().behind(header), to).await.unwrap();
        call.send(get(&format!("X-Forwarded-For: {told}\r\nConnection: close\r\n"))).await.unwrap();
        let (answer, _) = within("the answer", call.rest()).await;
        assert!(answer.starts_with(status.as_bytes()), "{source} {told}: {}", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test]
async fn the_log_names_the_client_behind_a_balancer_and_no_session() {
    let stage = behind_balancers().await;
    let serving = Serving::start(&stage).await;
    let to = serving.https[0];
    let mut call = dial(&stage.webex().anonymous(), to).await.unwrap();
    let target = "/com.broadsoft.xsi-actions/v2.0;jsessionid=SECRET//user/a;x=SECRET/profile";
    let fields = "X-Forwarded-For: 203.0.113.1, 198.51.100.7\r\nConnection: close";
    call.send(format!("GET {target} HTTP/1.1\r\nHost: {CLOUD}\r\n{fields}\r\n\r\n")).await.unwrap();
    within("the answer", call.rest()).await;
    let event = serving.event("access").await;
    assert_eq!(event["client.address"], "198.51.100.7");
    assert_eq!(event["url.path"], "/com.broadsoft.xsi-actions/v2.0//user/a/profile");
}
