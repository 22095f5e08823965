//! What XSPs send that is odd and has one reading all the same: it is read as other proxies read it, and leaves clean.
//! `docs/reference/accepted.md` lists it; raw XSPs show it here. What is malformed beyond that is in `strictness`.

use http::{Method, StatusCode};
use xspgate::sim::raw::{Gate, Raw, Step};

use crate::harness::{
    CHANNEL, NEW_CALL, PROFILE, RawClient, Received, Serving, Stage, body, eventually, request, rested,
};

const CLOUD: &str = "webex-cloud-xsp.example.com";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A request without a body, in this version.
async fn ask(client: &mut RawClient, method: &str, version: &str) {
    client.send(format!("{method} {NEW_CALL} {version}\r\nHost: {CLOUD}\r\nContent-Length: 0\r\n\r\n")).await;
}

/// What the client gets for `answer`, up to `tail`, on a connection of its own.
async fn got(stage: &Stage, raw: &Raw, answer: impl AsRef<[u8]>, tail: &str) -> String {
    raw.answer(answer);
    let mut client = stage.raw_client().await;
    ask(&mut client, "POST", "HTTP/1.1").await;
    client.until_tail(tail).await.text()
}

fn content(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, content)| content)
}

/// The values of a field, in any case of its name.
fn values<'a>(answer: &'a str, name: &str) -> Vec<&'a str> {
    let head = answer.split("\r\n\r\n").next().unwrap_or_default();
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    fields.filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

/// How many connections the XSP has had that carried a client's request.
fn connections(raw: &Raw) -> usize {
    raw.received().iter().filter(|bytes| String::from_utf8_lossy(bytes).contains("alice")).count()
}

/// Whether the connection of `answer` carries the next request, too.
async fn is_kept(answer: &str, method: Method) -> bool {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    raw.answer(answer);
    let mut client = stage.client();
    let status = client.send(request(method, PROFILE, body(""))).await.status;
    assert!(status.is_success() || status == StatusCode::NOT_MODIFIED, "{answer:?}: {status}");
    raw.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    for _ in 0..2 {
        rested().await;
        assert_eq!(client.get(PROFILE).await.text(), "ok", "after {answer:?}");
    }
    connections(&raw) == 1
}

#[tokio::test]
async fn what_stands_behind_a_chunks_size_is_dropped() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let longest = format!("2;{}", "a".repeat(1023));
    for line in ["2   ", "2\t", "2;foo=bar", "2 ; foo=\"a;b\\\"c\" ;d", "2;", "0002  ", &longest] {
        let last = line.trim_start_matches('0').replacen('2', "0", 1);
        let body = format!("{line}\r\nok\r\n{last}\r\n\r\n");
        let answer = got(&stage, &raw, format!("{CHUNKED}{body}"), "0\r\n\r\n").await;
        assert_eq!(content(&answer), "2\r\nok\r\n0\r\n\r\n", "{body:?}");
    }
    // However it comes.
    let mut steps = vec![Step::Request];
    for byte in format!("{CHUNKED}2 ;a=b \r\nok\r\n0  \r\n\r\n").bytes() {
        steps.push(Step::send([byte]));
    }
    raw.next(steps);
    let mut client = stage.raw_client().await;
    ask(&mut client, "POST", "HTTP/1.1").await;
    let answer = client.until_tail("0\r\n\r\n").await.text();
    assert_eq!(content(&answer), "2\r\nok\r\n0\r\n\r\n");
}

#[tokio::test]
async fn a_body_that_is_malformed_before_anything_has_left_is_502() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let long = format!("2;{}\r\nok\r\n", "a".repeat(1100));
    for body in [
        " 2\r\nok\r\n",
        "2 2\r\nok\r\n",
        "2;a\nok\r\n",
        "2;a=\"\n\"\r\nok\r\n",
        "2\nok\n0\n\n",
        "zz\r\n",
        "fffffffffffffffff\r\n",
        "2\r\nokX\r\n0\r\n\r\n",
        "2\r\nok\r\n-1\r\n\r\n",
        "2\r\nok\r\n0\r\nA\r\n\r\n",
        &long,
    ] {
        raw.answer(format!("{CHUNKED}{body}"));
        let mut client = stage.raw_client().await;
        ask(&mut client, "POST", "HTTP/1.1").await;
        let answer = client.until_tail("malformed\n").await.text();
        assert!(answer.starts_with("HTTP/1.1 502 "), "{body:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{body:?}: {answer}");
        // The client's connection is as good as ever.
        raw.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        ask(&mut client, "POST", "HTTP/1.1").await;
        assert_eq!(client.until_tail("ok").await.status(), 200, "{body:?}");
    }
    let metrics = stage.metrics().await;
    assert!(metrics.count("xspgate_refused_total", &[("reason", "malformed-answer")]) >= 11.0);
}

#[tokio::test]
async fn a_body_that_is_malformed_later_breaks_the_answer() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    for body in ["2\r\nokX\r\n0\r\n\r\n", "zz\r\n", "2;a\nok\r\n", "0\r\nA\r\n\r\n"] {
        let gate = Gate::new();
        raw.next(vec![Step::Request, Step::send(CHUNKED), Step::Gate(gate.clone()), Step::send(body)]);
        let mut client = stage.raw_client().await;
        ask(&mut client, "POST", "HTTP/1.1").await;
        assert_eq!(client.until_tail("\r\n\r\n").await.status(), 200);
        gate.open();
        let rest = client.until_closed().await;
        assert!(matches!(rest, Received::Broken(_)), "{body:?}: {rest:?}");
        assert!(!rest.text().ends_with("0\r\n\r\n"), "{body:?} was made whole: {}", rest.text());
    }
}

#[tokio::test]
async fn what_is_refused_is_told_in_words() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let serving = Serving::start(&stage).await;
    for (answer, words) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", "Content-Length contradicts itself"),
        ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "a field name is no token"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 2\r\nok", "a chunk size is malformed"),
    ] {
        raw.answer(answer);
        let mut client = RawClient::connect(serving.https[0], &stage.sim.pki.public_roots()).await;
        ask(&mut client, "POST", "HTTP/1.1").await;
        assert_eq!(client.until_tail("\n").await.status(), 502, "{answer:?}");
        let told = |line: &str| (line.contains("answer of an XSP can't be read") && line.contains(words)).then_some(());
        serving.program.line(words, told).await;
    }
}

#[tokio::test]
async fn what_is_said_twice_of_the_length_leaves_once() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    for fields in [
        "Content-Length: 2\r\nContent-Length: 2\r\n",
        "Content-Length: 2\r\nX: y\r\ncontent-length: 02\r\n",
        "Content-Length: 2, 2\r\n",
        "Content-Length: 2,2 ,\t2\r\n",
    ] {
        let answer = got(&stage, &raw, format!("HTTP/1.1 200 OK\r\n{fields}\r\nok"), "ok").await;
        assert_eq!((values(&answer, "content-length"), content(&answer)), (vec!["2"], "ok"), "{fields:?}");
    }
    for fields in [
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, Chunked\r\n",
        "Content-Length: 7\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nX: y\r\nContent-Length: 2\r\n",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}\r\n2\r\nok\r\n0\r\n\r\n");
        let answer = got(&stage, &raw, answer, "0\r\n\r\n").await;
        assert_eq!(content(&answer), "2\r\nok\r\n0\r\n\r\n", "{fields:?}");
        assert_eq!(values(&answer, "transfer-encoding"), ["chunked"], "{fields:?}");
        assert_eq!(values(&answer, "content-length"), Vec::<&str>::new(), "{fields:?}");
    }
}

#[tokio::test]
async fn framing_fields_of_an_answer_without_body_are_one_or_none() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    for (method, answer, length) in [
        ("POST", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", None),
        ("POST", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", None),
        ("POST", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", None),
        ("POST", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7, 7\r\n\r\n", Some("7")),
        ("POST", "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 7\r\n\r\n", Some("7")),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", None),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n", None),
    ] {
        raw.answer(answer);
        let mut client = stage.raw_client().await;
        ask(&mut client, method, "HTTP/1.1").await;
        let received = client.until_tail("\r\n\r\n").await.text();
        assert!(received.starts_with(&answer[..12]), "{answer:?}: {received}");
        assert_eq!(content(&received), "", "{answer:?}");
        assert_eq!(values(&received, "content-length"), Vec::from_iter(length), "{answer:?}");
        assert_eq!(values(&received, "transfer-encoding"), Vec::<&str>::new(), "{answer:?}");
        // Nothing of a body nobody wants is left over for the next.
        raw.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        ask(&mut client, "POST", "HTTP/1.1").await;
        let next = client.until_tail("ok").await.text();
        assert!(next.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}: {next}");
    }
}

#[tokio::test]
async fn a_connection_whose_answers_end_is_disputed_is_not_used_again() {
    for (method, answer) in [
        (Method::GET, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        (Method::GET, "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (Method::GET, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
        (Method::HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ] {
        assert!(!is_kept(answer, method).await, "{answer:?}");
    }
    for (method, answer) in [
        (Method::GET, "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok"),
        (Method::GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n2 \r\nok\r\n0\r\n\r\n"),
        (Method::HEAD, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ] {
        assert!(is_kept(answer, method).await, "{answer:?}");
    }
}

#[tokio::test]
async fn a_status_line_may_lack_its_last_blank() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let answer = got(&stage, &raw, "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", "ok").await;
    assert!(answer.starts_with("HTTP/1.1 200 \r\n"), "{answer}");
}

#[tokio::test]
async fn blanks_before_a_colon_and_folds_leave_as_plain_fields() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let fields = "X-A : a\r\nX-B\t: b\r\nX-C: c\r\n\t d \r\n \r\n  e\r\nX-D:\r\n f\r\nContent-Length : 2\r\n";
    let answer = got(&stage, &raw, format!("HTTP/1.1 200 OK\r\n{fields}\r\nok"), "ok").await;
    for (name, value) in [("x-a", "a"), ("x-b", "b"), ("x-c", "c d e"), ("x-d", "f"), ("content-length", "2")] {
        assert_eq!(values(&answer, name), [value], "{answer}");
    }
    assert_eq!(content(&answer), "ok");
    for line in answer.split("\r\n\r\n").next().unwrap().split("\r\n") {
        assert!(!line.starts_with([' ', '\t']) && !line.contains(" :") && !line.contains('\n'), "{line:?}");
    }
    // Nothing is a field, or frames anything, that stands in a fold.
    let fields = "X: a\r\n Content-Length: 9\r\n\tSet-Cookie: b\r\nContent-Length: 2\r\n";
    let answer = got(&stage, &raw, format!("HTTP/1.1 200 OK\r\n{fields}\r\nok"), "ok").await;
    assert_eq!(values(&answer, "x"), ["a Content-Length: 9 Set-Cookie: b"], "{answer}");
    assert_eq!(values(&answer, "content-length"), ["2"], "{answer}");
}

#[tokio::test]
async fn trailers_that_may_not_be_any_are_dropped() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let trailers = "Content-Length: 5\r\nX-Checked : yes\r\nSet-Cookie: a=b\r\nTransfer_Encoding: chunked\r\n";
    let answer = format!("{CHUNKED}2\r\nok\r\n0\r\n{trailers}\r\n");
    let answer = got(&stage, &raw, answer, "\r\n0\r\nX-Checked: yes\r\n\r\n").await;
    assert_eq!(content(&answer), "2\r\nok\r\n0\r\nX-Checked: yes\r\n\r\n");
}

#[tokio::test]
async fn an_answer_that_its_framing_ends_needs_no_close_notify() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    for (answer, tail) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "0\r\n\r\n"),
        ("HTTP/1.1 204 No Content\r\n\r\n", "\r\n\r\n"),
    ] {
        raw.always(vec![Step::Request, Step::send(answer), Step::Cut]);
        let mut client = stage.raw_client().await;
        for _ in 0..2 {
            ask(&mut client, "POST", "HTTP/1.1").await;
            let received = client.until_tail(tail).await;
            assert!(matches!(received, Received::Open(_)), "{answer:?}: {received:?}");
            assert!(received.status() < 300, "{answer:?}: {}", received.text());
        }
    }
}

#[tokio::test]
async fn what_comes_before_a_connection_breaks_is_passed_on() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    for (answer, tail) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "0\r\n\r\n"),
    ] {
        raw.always(vec![Step::Request, Step::Spoil(answer.into())]);
        let mut client = stage.raw_client().await;
        for _ in 0..2 {
            ask(&mut client, "POST", "HTTP/1.1").await;
            let received = client.until_tail(tail).await;
            assert_eq!(received.status(), 200, "{answer:?}: {}", received.text());
        }
    }
    for (answer, came) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "half"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", "4\r\nhalf\r\n"),
        ("HTTP/1.1 200 OK\r\n\r\nhalf", "4\r\nhalf\r\n"),
    ] {
        raw.always(vec![Step::Request, Step::Spoil(answer.into())]);
        let mut client = stage.raw_client().await;
        ask(&mut client, "POST", "HTTP/1.1").await;
        let received = client.until_closed().await;
        assert_eq!((received.status(), content(&received.text())), (200, came), "{answer:?}");
        assert!(matches!(received, Received::Broken(_)), "{answer:?}");
    }
}

#[tokio::test]
async fn an_answer_that_only_an_end_without_close_notify_ends_is_passed_on_and_cut() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let long = "x".repeat(100_000);
    for sent in ["xxxxx", &long] {
        for (version, is_whole) in [("HTTP/1.1", "0\r\n\r\n"), ("HTTP/1.0", sent)] {
            let answer = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{sent}");
            for end in [Step::Close, Step::Cut] {
                raw.always(vec![Step::Request, Step::send(&answer), end.clone()]);
                let mut client = stage.raw_client().await;
                client.send(format!("GET {PROFILE} {version}\r\nHost: {CLOUD}\r\nConnection: close\r\n\r\n")).await;
                let received = client.until_closed().await;
                let text = received.text();
                assert_eq!(content(&text).matches('x').count(), sent.len(), "{version} {end:?}");
                if matches!(end, Step::Close) {
                    assert!(matches!(received, Received::Closed(_)), "{version}");
                    assert!(text.ends_with(is_whole), "{version}");
                } else {
                    // Nobody can tell whether it is whole, and the client is told so much.
                    assert!(matches!(received, Received::Broken(_)), "{version}");
                    assert!(version == "HTTP/1.0" || !text.ends_with("0\r\n\r\n"), "{version}");
                }
            }
        }
    }
    rested().await;
    let metrics = stage.metrics().await;
    assert_eq!(metrics.count("xspgate_probes_total", &[]), 0.0, "the XSP was blamed");
    assert_eq!(metrics.count("xspgate_blocklist_transitions_total", &[]), 0.0, "the XSP was blamed");
}

/// An event channel's answer that begins with this document.
fn channel(fields: &str, document: &[u8]) -> Vec<Step> {
    let head = format!("HTTP/1.1 200 OK\r\n{fields}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", document.len());
    let answer = [head.as_bytes(), document, b"\r\n"].concat();
    vec![Step::Request, Step::send(answer), Step::Gate(Gate::new())]
}

const GZIP: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xb3\x49\xce";

#[tokio::test]
async fn r_aff_2_a_channel_in_utf_16_is_bound_like_any_other() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    for (index, bytes) in [u16::to_be_bytes, u16::to_le_bytes].into_iter().enumerate() {
        let document = format!(
            "\u{feff}<?xml version=\"1.0\" encoding=\"UTF-16\"?><Channel><channelId>wide-{index}</channelId></Channel>"
        );
        let document: Vec<u8> = document.encode_utf16().flat_map(bytes).collect();
        raw.next(channel("", &document));
        let mut client = stage.raw_client().await;
        client.send(format!("POST {CHANNEL} HTTP/1.1\r\nHost: {CLOUD}\r\nContent-Length: 0\r\n\r\n")).await;
        let received = client.until(|bytes| bytes.windows(document.len()).any(|part| part == document)).await;
        assert_eq!(received.status(), 200, "its bytes are as they came");
        let beat = format!("/com.broadsoft.xsi-events/v2.0/channel/wide-{index}/heartbeat");
        assert_eq!(stage.client().send(request(Method::PUT, &beat, body(""))).await.status, StatusCode::OK);
    }
    let metrics = stage.metrics().await;
    assert_eq!(metrics.count("xspgate_channels_opened_total", &[]), 2.0);
    assert_eq!(metrics.count("xspgate_channel_events_total", &[("event", "bound")]), 2.0);
    assert_eq!(metrics.count("xspgate_channel_events_total", &[("event", "unread")]), 0.0);
}

#[tokio::test]
async fn a_channel_that_cannot_be_read_is_counted_and_told_of_once() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let serving = Serving::start(&stage).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        raw.next(channel("Content-Encoding: gzip\r\n", GZIP));
        let mut client = RawClient::connect(serving.https[0], &stage.sim.pki.public_roots()).await;
        client.send(format!("POST {CHANNEL} HTTP/1.1\r\nHost: {CLOUD}\r\nContent-Length: 0\r\n\r\n")).await;
        let received = client.until(|bytes| bytes.windows(GZIP.len()).any(|part| part == GZIP)).await;
        assert_eq!(received.status(), 200);
        streams.push(client);
    }
    let told = |line: &str| line.contains("no id can be read from an event channel").then_some(());
    serving.program.line("the warning", told).await;
    eventually("three of them", async || {
        serving.metrics().await.count("xspgate_channel_events_total", &[("event", "unread")]) == 3.0
    })
    .await;
    assert_eq!(serving.program.lines().iter().filter_map(|line| told(line)).count(), 1, "one warning a farm");
}
