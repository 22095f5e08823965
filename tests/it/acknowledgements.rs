//! Acknowledgements of events name no channel, and reach its XSP all the same (R-AFF-2), however their bodies come.

use bytes::Bytes;
use http::{Method, StatusCode};
use xspgate::sim::site::CLOUD;
use xspgate::sim::xsp::{Behaviour, Recorded};

use crate::channels::Channel;
use crate::harness::{Answer, Blocked, Body, Client, PROFILE, Serving, Stage, body, eventually, fed, request};
use crate::status::give_way;

const EVENT_RESPONSE: &str = "/com.broadsoft.xsi-events/v2.0/channel/eventresponse";

fn acknowledgement(event: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<EventResponse xmlns=\"http://schema.broadsoft.com/xsi\">\
         <eventID>{event}</eventID><statusCode>200</statusCode><reason>OK</reason></EventResponse>"
    )
}

/// The acknowledgement of `event`.
pub(crate) fn acknowledged(event: &str) -> http::Request<Body> {
    response(body(acknowledgement(event)))
}

fn response(content: Body) -> http::Request<Body> {
    request(Method::POST, EVENT_RESPONSE, content)
}

/// From a client that keeps no cookies and has a connection of its own.
async fn acknowledge(stage: &Stage, event: &str) -> Answer {
    stage.client().send(response(body(acknowledgement(event)))).await
}

/// Acknowledgements that all XSPs have seen, by when they came.
fn seen(stage: &Stage) -> Vec<Recorded> {
    let all = stage.sim.xsps.iter().flat_map(|xsp| xsp.requests());
    let mut seen: Vec<_> = all.filter(|request| request.path() == EVENT_RESPONSE).collect();
    seen.sort_by_key(|request| request.at);
    seen
}

/// What an XSP says to the acknowledgement of an event that it does not know.
const STRAY: StatusCode = StatusCode::NOT_FOUND;

#[tokio::test]
async fn r_aff_2_acknowledgements_without_cookies_reach_the_xsp_of_their_event() {
    let (stage, ()) = Stage::with(|_, text| {
        text.set("", "workers", 2);
    })
    .await;
    let mut channels = Vec::new();
    for _ in 0..12 {
        channels.push(Channel::open(&stage).await);
    }
    for round in 0..4 {
        for (index, channel) in channels.iter_mut().enumerate() {
            channel.receives(&stage, &format!("event-{round}-{index}")).await;
        }
        for (index, channel) in channels.iter().enumerate().rev() {
            let answer = acknowledge(&stage, &format!("event-{round}-{index}")).await;
            assert_eq!((answer.status, answer.xsp()), (StatusCode::OK, &*channel.xsp));
        }
    }
    assert_eq!(seen(&stage).len(), 48);
}

#[tokio::test]
async fn r_aff_2_an_acknowledgement_counts_for_the_session_as_a_heartbeat_does() {
    let stage = Stage::start().await;
    let mut channel = Channel::open(&stage).await;
    for round in 0..4 {
        channel.receives(&stage, &format!("event-{round}")).await;
        let mut client = stage.client();
        let answer = client.send(response(body(acknowledgement(&format!("event-{round}"))))).await;
        assert!(answer.session().is_some());
        assert_eq!(client.get(PROFILE).await.xsp(), channel.xsp);
    }
}

#[tokio::test]
async fn r_aff_1_the_cookie_counts_for_more_than_the_event() {
    let stage = Stage::start().await;
    let mut channel = Channel::open(&stage).await;
    let mut client = stage.client();
    while client.get(PROFILE).await.xsp() == channel.xsp {
        client.forget_cookies();
    }
    let elsewhere = client.get(PROFILE).await.xsp().to_owned();
    for round in 0..4 {
        channel.receives(&stage, &format!("event-{round}")).await;
        let answer = client.send(response(body(acknowledgement(&format!("event-{round}"))))).await;
        assert_eq!((answer.status, answer.xsp(), answer.session()), (STRAY, &*elsewhere, None));
    }
}

#[tokio::test]
async fn acknowledgements_of_what_nobody_knows_go_anywhere() {
    let stage = Stage::start().await;
    let mut channel = Channel::open(&stage).await;
    channel.receives(&stage, "known").await;
    let bodies = [acknowledgement("unknown"), acknowledgement(""), "eventID=known".to_owned(), String::new()];
    for content in &bodies {
        let answer = stage.client().send(response(body(content.clone()))).await;
        assert!([STRAY, StatusCode::OK].contains(&answer.status) && !answer.xsp().is_empty(), "{content}: {answer:?}");
    }
    for request in seen(&stage).iter().zip(&bodies) {
        assert_eq!(String::from_utf8_lossy(&request.0.body), **request.1);
    }
    stage.xsp(&channel.xsp).end_channel(&channel.id);
    assert!(!acknowledge(&stage, "known").await.xsp().is_empty());
}

#[tokio::test]
async fn r_aff_2_events_of_one_id_at_two_addresses_are_two() {
    let stage = Stage::start().await;
    let elsewhere = || stage.client().from([127, 0, 0, 100]);
    let mut one = Channel::open(&stage).await;
    let mut other = Channel::of(elsewhere()).await;
    while other.xsp == one.xsp {
        other = Channel::of(elsewhere()).await;
    }
    for round in 0..6 {
        let event = format!("event-{round}");
        one.receives(&stage, &event).await;
        other.receives(&stage, &event).await;
        let answer = elsewhere().send(response(body(acknowledgement(&event)))).await;
        assert_eq!((answer.status, answer.xsp()), (StatusCode::OK, &*other.xsp));
        assert_eq!(acknowledge(&stage, &event).await.xsp(), one.xsp);
    }
}

#[tokio::test]
async fn r_aff_2_an_acknowledgement_in_chunks_is_read_too() {
    let stage = Stage::start().await;
    let mut channel = Channel::open(&stage).await;
    for round in 0..6 {
        let event = format!("event-{round}");
        channel.receives(&stage, &event).await;
        let content = acknowledgement(&event);
        let (pieces, chunked) = fed();
        for piece in content.as_bytes().chunks(5) {
            pieces.send(Bytes::copy_from_slice(piece)).unwrap();
        }
        drop(pieces);
        let answer = stage.client().send(response(chunked)).await;
        assert_eq!((answer.status, answer.xsp()), (StatusCode::OK, &*channel.xsp));
        let request = seen(&stage).pop().unwrap();
        assert_eq!((request.header("transfer-encoding"), &*request.body), ("chunked", content.as_bytes()));
    }
}

#[tokio::test]
async fn long_acknowledgements_pass_as_any_request() {
    let stage = Stage::start().await;
    let long = format!("{}<!--{}-->", acknowledgement("event"), "x".repeat(100_000));
    assert_eq!(stage.client().send(response(body(long.clone()))).await.status, STRAY);
    let (pieces, chunked) = fed();
    for piece in long.as_bytes().chunks(7_000) {
        pieces.send(Bytes::copy_from_slice(piece)).unwrap();
    }
    drop(pieces);
    assert_eq!(stage.client().send(response(chunked)).await.status, STRAY);
    for request in seen(&stage) {
        assert_eq!(request.body_length, long.len() as u64);
        assert!(long.as_bytes().starts_with(&request.body));
    }
    assert_eq!(seen(&stage).len(), 2);
}

#[tokio::test]
async fn an_acknowledgement_whose_body_is_slow_does_not_wait_for_it() {
    let (stage, ()) = Stage::with(|_, text| {
        text.set("[limits]", "request_body_idle_timeout", "1s");
    })
    .await;
    let (pieces, chunked) = fed();
    let content = acknowledgement("event");
    let (first, rest) = content.split_at(20);
    pieces.send(Bytes::copy_from_slice(first.as_bytes())).unwrap();
    let mut client = stage.client();
    let answer = tokio::spawn(async move { client.send(response(chunked)).await });
    eventually("its head and what there is of its body", async || {
        seen(&stage).first().is_some_and(|request| request.body == first.as_bytes())
    })
    .await;
    pieces.send(Bytes::copy_from_slice(rest.as_bytes())).unwrap();
    drop(pieces);
    assert_eq!(answer.await.unwrap().status, STRAY);
    assert_eq!(seen(&stage)[0].body, content.as_bytes());
}

#[tokio::test]
async fn an_acknowledgement_that_expects_to_be_continued_is() {
    let stage = Stage::start().await;
    let mut client = stage.raw_client().await;
    let content = acknowledgement("event");
    let head = format!(
        "POST {EVENT_RESPONSE} HTTP/1.1\r\nHost: {CLOUD}\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        content.len()
    );
    client.send(head).await;
    assert_eq!(client.until_tail("\r\n\r\n").await.status(), 100);
    client.send(&content).await;
    let answer = client.until(|bytes| bytes.ends_with(b"</ErrorInfo>")).await;
    assert_eq!(answer.status(), STRAY.as_u16());
    assert_eq!(seen(&stage)[0].body, content.as_bytes());
}

#[tokio::test]
async fn r_fail_1_an_acknowledgement_moves_on_from_an_xsp_that_is_not_there() {
    let (stage, ()) = Stage::with(|_, text| {
        text.set("[farm.xsp.pool]", "idle_per_endpoint", 0);
    })
    .await;
    let mut channel = Channel::open(&stage).await;
    channel.receives(&stage, "event").await;
    stage.xsp(&channel.xsp).behave(Behaviour::Refuse).await;
    let answer = acknowledge(&stage, "event").await;
    assert_eq!(answer.status, STRAY);
    assert_ne!(answer.xsp(), channel.xsp);
}

#[tokio::test]
async fn r_aff_2_an_acknowledgement_that_was_refused_comes_to_the_same_xsp_again() {
    let stage = Stage::start().await;
    let mut channel = Channel::open(&stage).await;
    for round in 0..4 {
        let event = format!("event-{round}");
        channel.receives(&stage, &event).await;
        let unauthorized = Behaviour::on("/com.broadsoft.xsi-events", Behaviour::Status(StatusCode::UNAUTHORIZED));
        stage.xsp(&channel.xsp).behave(unauthorized).await;
        let answer = acknowledge(&stage, &event).await;
        assert_eq!((answer.status, answer.xsp()), (StatusCode::UNAUTHORIZED, &*channel.xsp));
        stage.xsp(&channel.xsp).behave(Behaviour::Normal).await;
        let answer = acknowledge(&stage, &event).await;
        assert_eq!((answer.status, answer.xsp()), (StatusCode::OK, &*channel.xsp));
    }
}

#[tokio::test]
async fn r_aff_2_an_acknowledgement_follows_its_event_to_a_farm_that_has_given_way() {
    let (stage, mut text) = Stage::with(|_, text| text.clone()).await;
    let mut channel = Channel::open(&stage).await;
    channel.receives(&stage, "before").await;
    let other = if channel.xsp == "a1" { "a2" } else { "a1" };
    give_way(&stage, &mut text, &[other]).await;
    channel.receives(&stage, "after").await;
    for event in ["before", "after"] {
        let answer = acknowledge(&stage, event).await;
        assert_eq!((answer.status, answer.xsp()), (StatusCode::OK, &*channel.xsp), "{event}");
        assert_eq!(answer.session(), None, "a session at a farm that gets none");
    }
    let answer = acknowledge(&stage, "unknown").await;
    assert_eq!((answer.status, answer.xsp()), (STRAY, other));
    // Its XSP is gone, and the channel with it: it goes anywhere, as it would have before.
    channel.receives(&stage, "late").await;
    stage.xsp(&channel.xsp).kill().await;
    stage.until_blocked(&channel.xsp, Blocked::Yes).await;
    let answer = acknowledge(&stage, "late").await;
    assert_eq!((answer.status, answer.xsp()), (STRAY, other));
}

#[tokio::test]
async fn the_access_log_says_that_an_acknowledgement_was_pinned() {
    let stage = Stage::start().await;
    let serving = Serving::start(&stage).await;
    let client = || Client::new(serving.https[0], stage.sim.pki.public_roots());
    let mut channel = Channel::of(client()).await;
    channel.receives(&stage, "event").await;
    assert_eq!(client().send(response(body(acknowledgement("event")))).await.xsp(), channel.xsp);
    let event = serving.event_of("access", |event| event["url.path"] == EVENT_RESPONSE).await;
    assert_eq!(event["attempts"][0]["chosen"], "pinned", "{event}");
    assert_eq!((&event["attempts"][0]["outcome"], &event["session"]), (&"success".into(), &"new".into()), "{event}");
}
