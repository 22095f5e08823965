//! Bodies flow: nothing waits for what comes later, a chunk stays a chunk, and what breaks is broken for the other side too.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use xspgate::sim::raw::{Gate, Step};
use xspgate::sim::xsp::End;

use crate::harness::{CHANNEL, DEADLINE, NEW_CALL, PROFILE, Stage, body, eventually, fed, request, within};

const CLOUD: &str = "webex-cloud-xsp.example.com";

async fn document(stream: &mut Incoming) -> Bytes {
    within("a document", stream.frame()).await.expect("the stream goes on").unwrap().into_data().unwrap()
}

#[tokio::test]
async fn the_first_byte_waits_for_nothing() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    for (head, first, rest) in [
        ("Content-Length: 10\r\n\r\n", "first", "last!"),
        ("Transfer-Encoding: chunked\r\n\r\n", "5\r\nfirst\r\n", "5\r\nlast!\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n\r\n", "a\r\nfir", "stlast!\r\n0\r\n\r\n"),
    ] {
        let (headed, begun) = (Gate::new(), Gate::new());
        raw.next(vec![
            Step::Request,
            Step::send(format!("HTTP/1.1 200 OK\r\n{head}")),
            Step::Gate(headed.clone()),
            Step::send(first),
            Step::Gate(begun.clone()),
            Step::send(rest),
        ]);
        let mut client = stage.raw_client().await;
        client.send(format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n")).await;
        let received = client.until_tail("\r\n\r\n").await;
        assert_eq!(received.status(), 200, "the head waited: {head:?}");
        headed.open();
        let text = client.until(|bytes| String::from_utf8_lossy(bytes).contains("fir")).await.text();
        assert!(!text.contains("last"), "{text}");
        begun.open();
        let text = client.until(|bytes| bytes.windows(5).any(|window| window == b"last!")).await.text();
        assert!(text.contains("last!"), "{text}");
    }
}

#[tokio::test]
async fn a_chunk_stays_a_chunk() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let documents: Vec<String> = [1, 17, 4000, 15_999, 16_384, 40_000, 100_000]
        .into_iter()
        .map(|length| format!("{length:x}\r\n{}\r\n", "d".repeat(length)))
        .collect();
    let body = format!("{}0\r\n\r\n", documents.concat());
    raw.answer(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
    let mut client = stage.raw_client().await;
    client.send(format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n")).await;
    let received = client.until_tail("0\r\n\r\n").await.text();
    assert!(received.split_once("\r\n\r\n").unwrap().1 == body, "chunks were made anew");
}

#[tokio::test]
async fn documents_of_a_channel_come_one_by_one_at_once() {
    let stage = Stage::start().await;
    let mut client = stage.client();
    let answer = client.open(request(Method::POST, CHANNEL, body("<Channel/>"))).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/xml;charset=UTF-8");
    let home = answer.headers()["x-xsp"].to_str().unwrap().to_owned();
    let mut stream = answer.into_body();
    let first = document(&mut stream).await;
    assert!(first.starts_with(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Channel "), "{first:?}");
    let xsp = stage.xsp(&home);
    let id = xsp.channels().remove(0);
    let mut delays = Vec::new();
    for index in 0..50 {
        let event = format!("<event>{index}{}</event>", "x".repeat(index * 40));
        let published = std::time::Instant::now();
        assert!(xsp.publish(&id, event.clone()));
        assert_eq!(document(&mut stream).await, event);
        delays.push(published.elapsed());
    }
    delays.sort();
    assert!(delays[25] < Duration::from_millis(50), "the median document took {:?}", delays[25]);
    assert!(xsp.end_channel(&id));
    assert!(within("the end", stream.frame()).await.is_none(), "a proper end is a proper end");
}

#[tokio::test]
async fn a_channel_outlives_every_timeout() {
    let (stage, ()) = Stage::with(|_, text| {
        text.set("[limits]", "response_idle_timeout", "100ms").set("[limits]", "keep_alive_timeout", "100ms");
        text.set("[limits]", "request_head_timeout", "100ms").set("[limits]", "request_body_idle_timeout", "100ms");
    })
    .await;
    let mut client = stage.client();
    let answer = client.open(request(Method::POST, CHANNEL, body("<Channel/>"))).await.unwrap();
    let home = answer.headers()["x-xsp"].to_str().unwrap().to_owned();
    let mut stream = answer.into_body();
    document(&mut stream).await;
    let id = stage.xsp(&home).channels().remove(0);
    // Silence that is longer than each of them.
    let silent = tokio::time::timeout(Duration::from_millis(1500), stream.frame()).await;
    assert!(silent.is_err(), "the stream was cut: {silent:?}");
    assert!(stage.xsp(&home).publish(&id, "<late/>"));
    assert_eq!(document(&mut stream).await, "<late/>");
}

#[tokio::test]
async fn a_body_that_falls_silent_is_cut() {
    let (stage, raw) = Stage::before_raw(|_, text| {
        text.set("[limits]", "response_idle_timeout", "300ms");
    })
    .await;
    raw.always(vec![
        Step::Request,
        Step::send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
        Step::Gate(Gate::new()),
    ]);
    let answer = stage.client().try_send(request(Method::GET, PROFILE, body(""))).await;
    assert!(answer.is_err(), "{answer:?}");
}

#[tokio::test]
async fn r_aff_2_when_an_xsp_dies_under_a_channel_the_clients_stream_breaks() {
    let stage = Stage::start().await;
    let mut client = stage.raw_client().await;
    client.send(format!("POST {CHANNEL} HTTP/1.1\r\nHost: {CLOUD}\r\nContent-Length: 0\r\n\r\n")).await;
    let opened = client.until(|bytes| String::from_utf8_lossy(bytes).contains("</Channel>")).await.text();
    let home = opened.lines().find_map(|line| line.strip_prefix("x-xsp: ")).unwrap().to_owned();
    stage.xsp(&home).kill().await;
    let rest = client.until_closed().await;
    assert!(!rest.text().ends_with("0\r\n\r\n"), "the broken stream was ended properly: {}", rest.text());
}

#[tokio::test]
async fn an_upload_flows_while_it_comes() {
    let stage = Stage::in_order(|_, _| ()).await;
    let (pieces, content) = fed();
    let mut client = stage.client();
    let answer = client.send(request(Method::POST, "/dms/upload", content));
    let xsp = stage.xsp("a1");
    let feeding = async {
        pieces.send(Bytes::from_static(b"first")).unwrap();
        assert!(xsp.until(DEADLINE, |requests| requests.first().is_some_and(|one| one.body == b"first")).await);
        pieces.send(Bytes::from_static(b" second")).unwrap();
        assert!(xsp.until(DEADLINE, |requests| requests[0].body == b"first second").await);
        drop(pieces);
    };
    let (answer, ()) = tokio::join!(answer, feeding);
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn a_slow_upload_does_not_count_as_the_xsps_silence() {
    let stage = Stage::in_order(|_, _| ()).await;
    // Two seconds in all; an XSP may be silent for one, and the next is asked after 300 ms.
    let (pieces, content) = fed();
    let mut client = stage.client();
    let answer = client.send(request(Method::POST, "/dms/upload", content));
    let feeding = async {
        for _ in 0..5 {
            pieces.send(Bytes::from_static(b"piece")).unwrap();
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        drop(pieces);
    };
    let (answer, ()) = tokio::join!(answer, feeding);
    assert_eq!((answer.status, answer.xsp()), (StatusCode::OK, "a1"));
    assert_eq!(stage.asked(), 1);
}

#[tokio::test]
async fn a_request_body_may_go_on_while_the_answer_streams() {
    let stage = Stage::in_order(|_, _| ()).await;
    let (pieces, content) = fed();
    let mut client = stage.client();
    pieces.send(Bytes::from_static(b"<Channel/>")).unwrap();
    let mut stream = client.open(request(Method::POST, CHANNEL, content)).await.unwrap().into_body();
    document(&mut stream).await;
    pieces.send(Bytes::from_static(b"<EventResponse/>")).unwrap();
    let xsp = stage.xsp("a1");
    assert!(xsp.until(DEADLINE, |requests| requests[0].body == b"<Channel/><EventResponse/>").await);
    let id = xsp.channels().remove(0);
    assert!(xsp.publish(&id, "<event/>"));
    assert_eq!(document(&mut stream).await, "<event/>");
}

#[tokio::test]
async fn events_may_be_acknowledged_up_the_channels_own_request() {
    let stage = Stage::in_order(|_, _| ()).await;
    let (pieces, content) = fed();
    let mut client = stage.client();
    pieces.send(Bytes::from_static(b"<Channel/>")).unwrap();
    let mut stream = client.open(request(Method::POST, CHANNEL, content)).await.unwrap().into_body();
    document(&mut stream).await;
    let xsp = stage.xsp("a1");
    let event = xsp.publish_event(&xsp.channels()[0], "alice@example.com", "<call/>").unwrap();
    assert!(String::from_utf8_lossy(&document(&mut stream).await).contains(&event));
    // The one that it has not sent shows that it has read the one before.
    for event in [&*event, "unknown"] {
        let response = format!("<EventResponse><eventID>{event}</eventID></EventResponse>");
        pieces.send(Bytes::from(response)).unwrap();
    }
    eventually("the second one", async || xsp.stray_acknowledgements() > 0).await;
    assert_eq!(xsp.stray_acknowledgements(), 1);
}

#[tokio::test]
async fn a_channel_request_is_never_sent_twice() {
    let stage = Stage::in_order(|_, _| ()).await;
    stage.xsp("a1").behave(xspgate::sim::xsp::Behaviour::Hang).await;
    let answer = stage.client().post(CHANNEL, "<Channel/>").await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(stage.asked(), 1);
}

#[tokio::test]
async fn a_client_that_leaves_its_channel_ends_it_at_the_xsp() {
    let stage = Stage::in_order(|_, _| ()).await;
    let mut client = stage.client();
    let mut stream = client.open(request(Method::POST, CHANNEL, body("<Channel/>"))).await.unwrap().into_body();
    document(&mut stream).await;
    assert_eq!(stage.xsp("a1").channels().len(), 1);
    drop(stream);
    drop(client);
    eventually("the channel's end", async || stage.xsp("a1").channels().is_empty()).await;
    assert_eq!(stage.xsp("a1").requests()[0].end, End::Abandoned);
}

#[tokio::test]
async fn a_download_of_any_size_passes_in_either_framing() {
    let stage = Stage::start().await;
    for target in ["/dms/big?size=50000000", "/dms/big?size=50000000&chunked=1"] {
        let mut stream = stage.client().open(request(Method::GET, target, body(""))).await.unwrap().into_body();
        let mut length = 0;
        while let Some(frame) = within("a piece", stream.frame()).await {
            length += frame.unwrap().into_data().unwrap().len();
        }
        assert_eq!(length, 50_000_000, "{target}");
    }
}

#[tokio::test]
async fn an_early_answer_to_a_long_upload_reaches_the_client() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    raw.next(vec![Step::send("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")]);
    let mut client = stage.raw_client().await;
    client.send(format!("POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\nContent-Length: 1000000\r\n\r\nsome")).await;
    let received = client.until(|bytes| bytes.ends_with(b"no")).await;
    assert_eq!(received.status(), 413, "{}", received.text());
}
