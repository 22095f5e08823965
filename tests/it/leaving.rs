//! Clients that end their side, or leave: a whole request counts even if its sender has gone. Scripts send a heartbeat and close
//! at once, load balancers and `nc` end their data behind their request, and apps are killed.

use std::time::Duration;

use xspgate::sim::raw::Step;
use xspgate::sim::xsp::{Behaviour, End, Xsp};

use crate::channels::Channel;
use crate::harness::{Blocked, CHANNEL, NEW_CALL, PROFILE, RawClient, Received, Stage, eventually, rested};

const CLOUD: &str = "webex-cloud-xsp.example.com";

/// How a client goes.
#[derive(Clone, Copy, Debug)]
enum Going {
    /// close_notify and FIN; it reads on.
    Finished,
    /// FIN alone; it reads on.
    Abruptly,
    /// Both, and it reads no more: what comes is answered by RST.
    Closed,
    /// RST, with all that the gateway has sent unread.
    Reset,
}

const GOINGS: [Going; 4] = [Going::Finished, Going::Abruptly, Going::Closed, Going::Reset];

/// Sends the request and goes; what is left of the client.
async fn ask_and_go(stage: &Stage, request: impl AsRef<[u8]>, going: Going) -> Option<RawClient> {
    let mut client = stage.raw_client().await;
    client.send(request).await;
    match going {
        Going::Finished => client.finish().await,
        Going::Abruptly => client.finish_abruptly(),
        Going::Closed => {
            client.finish().await;
            return None;
        }
        Going::Reset => {
            client.reset();
            return None;
        }
    }
    Some(client)
}

fn head(method: &str, target: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: {CLOUD}\r\n")
}

fn post(body: &str) -> String {
    format!("{}Content-Length: {}\r\n\r\n{body}", head("POST", NEW_CALL), body.len())
}

fn get() -> String {
    format!("{}\r\n", head("GET", PROFILE))
}

/// How the XSP's requests of clients have ended.
fn ends(xsp: &Xsp) -> Vec<End> {
    let of_clients = |target: &str| target.contains("alice") || target.contains("channel");
    xsp.requests().iter().filter(|request| of_clients(&request.target)).map(|request| request.end).collect()
}

async fn attempts(stage: &Stage, outcome: &str) -> f64 {
    stage.metrics().await.count("xspgate_attempts_total", &[("outcome", outcome)])
}

/// Whether the one request is over for the gateway.
async fn is_told(stage: &Stage, interface: &str) -> bool {
    stage.metrics().await.count("xspgate_requests_total", &[("interface", interface)]) == 1.0
}

#[tokio::test]
async fn r_aff_2_a_heartbeat_whose_sender_has_gone_reaches_its_xsp() {
    let stage = Stage::in_order(|_, _| ()).await;
    let channel = Channel::open(&stage).await;
    let beat = format!("{}Content-Length: 0\r\n\r\n", head("PUT", &format!("{CHANNEL}/{}/heartbeat", channel.id)));
    let beats = || {
        let seen = stage.xsp(&channel.xsp).requests();
        seen.iter().filter(|seen| seen.path().ends_with("/heartbeat") && seen.end == End::Answered).count()
    };
    for going in GOINGS {
        let before = beats();
        for _ in 0..6 {
            drop(ask_and_go(&stage, &beat, going).await);
        }
        eventually(&format!("all heartbeats: {going:?}"), async || beats() == before + 6).await;
    }
    let counted = async |outcome| stage.metrics().await.count("xspgate_heartbeats_total", &[("outcome", outcome)]);
    eventually("their count", async || counted("taken").await == 24.0).await;
    assert_eq!(counted("failed").await, 0.0, "the XSP has taken them, whoever waited for that");
}

#[tokio::test]
async fn what_changes_something_is_carried_out_for_a_client_that_has_left() {
    for going in GOINGS {
        let stage = Stage::in_order(|_, _| ()).await;
        stage.xsp("a1").behave(Behaviour::Slow(Duration::from_millis(500))).await;
        drop(ask_and_go(&stage, post("hi"), going).await);
        eventually(&format!("its answer: {going:?}"), async || ends(stage.xsp("a1")) == [End::Answered]).await;
        let blocked = stage.metrics().await.count("xspgate_blocklist_transitions_total", &[("to", "blocked")]);
        assert_eq!(blocked, 0.0, "{going:?}");
    }
}

#[tokio::test]
async fn r_fail_1_what_changes_something_goes_on_to_the_next_xsp_for_a_client_that_has_left() {
    for going in GOINGS {
        let stage = Stage::in_order(|_, _| ()).await;
        stage.xsp("a1").kill().await;
        drop(ask_and_go(&stage, post("hi"), going).await);
        eventually(&format!("the second XSP: {going:?}"), async || ends(stage.xsp("a2")) == [End::Answered]).await;
        stage.until_blocked("a1", Blocked::Yes).await;
        assert_eq!(attempts(&stage, "abandoned").await, 0.0, "{going:?}: counted twice");
    }
}

#[tokio::test]
async fn half_a_request_is_no_request() {
    for going in GOINGS {
        let stage = Stage::in_order(|_, _| ()).await;
        let half = format!("{}Content-Length: 10\r\n\r\nhalf", head("POST", NEW_CALL));
        drop(ask_and_go(&stage, half, going).await);
        eventually(&format!("its end: {going:?}"), async || is_told(&stage, "xsi-actions").await).await;
        assert!(stage.xsp("a1").requests().iter().all(|request| request.body_length < 10), "{going:?}");
    }
}

#[tokio::test]
async fn an_end_of_data_behind_a_whole_request_is_no_abort() {
    let stage = Stage::in_order(|_, _| ()).await;
    stage.xsp("a1").behave(Behaviour::Slow(Duration::from_millis(200))).await;
    for going in [Going::Finished, Going::Abruptly] {
        for request in [get(), post("hi")] {
            let mut client = ask_and_go(&stage, request, going).await.unwrap();
            let answer = client.until_closed().await;
            assert!(matches!(answer, Received::Closed(_)), "{going:?}: {answer:?}");
            assert!(matches!(answer.status(), 200 | 201), "{going:?}: {answer:?}");
        }
        let both = format!("{}{}", get(), get());
        let mut client = ask_and_go(&stage, both, going).await.unwrap();
        let answers = client.until_closed().await.text();
        assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 2, "{going:?}: sent ahead of its answer");
    }
}

#[tokio::test]
async fn what_changes_something_is_waited_for_behind_an_end_of_data() {
    let stage = Stage::in_order(|_, _| ()).await;
    stage.xsp("a1").behave(Behaviour::Slow(Duration::from_millis(800))).await;
    let mut client = ask_and_go(&stage, post("hi"), Going::Finished).await.unwrap();
    assert_eq!(client.until_closed().await.status(), 201);
}

#[tokio::test]
async fn a_safe_request_whose_client_is_gone_is_dropped() {
    // Behind FIN, once `advance_after` has passed; behind RST at once.
    for going in [Going::Finished, Going::Abruptly, Going::Reset] {
        let stage = Stage::in_order(|_, _| ()).await;
        let slow = Behaviour::on(PROFILE, Behaviour::Slow(Duration::from_secs(5)));
        for name in ["a1", "a2", "b1", "b2"] {
            stage.xsp(name).behave(slow.clone()).await;
        }
        let client = ask_and_go(&stage, get(), going).await;
        eventually(&format!("its end: {going:?}"), async || attempts(&stage, "abandoned").await > 0.0).await;
        assert!(stage.xsp("a1").requests().iter().all(|request| request.end != End::Answered), "{going:?}");
        assert_eq!(attempts(&stage, "timeout").await, 0.0, "{going:?}: nobody waited for it to the end");
        drop(client);
    }
}

const CHANNEL_SET: &str = "<Channel xmlns=\"http://schema.broadsoft.com/xsi\"><channelSetId>1</channelSetId>\
                           <priority>1</priority><weight>50</weight><expires>3600</expires></Channel>";

fn open_channel() -> String {
    format!("{}Content-Length: {}\r\n\r\n{CHANNEL_SET}", head("POST", CHANNEL), CHANNEL_SET.len())
}

#[tokio::test]
async fn a_channel_is_not_asked_for_in_the_name_of_a_client_that_has_left() {
    let stage = Stage::in_order(|_, text| {
        text.set("", "workers", 1);
    })
    .await;
    // A connection to the XSP is there, and rests: nothing would have to be waited for.
    assert_eq!(stage.client().get(PROFILE).await.xsp(), "a1");
    rested().await;
    stage.raw_client().await.send_and_finish(open_channel()).await;
    eventually("its end", async || is_told(&stage, "xsi-events").await).await;
    assert!(stage.xsp("a1").requests().iter().all(|request| request.target != CHANNEL), "it has been asked for");
}

#[tokio::test]
async fn a_stream_that_is_answered_to_nobody_is_closed_at_once() {
    for going in GOINGS {
        let stage = Stage::in_order(|_, _| ()).await;
        let client = ask_and_go(&stage, open_channel(), going).await;
        eventually(&format!("its end: {going:?}"), async || {
            let live = stage.metrics().await.count("xspgate_channels", &[]);
            is_told(&stage, "xsi-events").await && live == 0.0 && !ends(stage.xsp("a1")).contains(&End::Pending)
        })
        .await;
        drop(client);
    }
}

#[tokio::test]
async fn a_long_answer_reaches_a_client_that_has_ended_its_side() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let long = "x".repeat(4 << 20);
    raw.always(vec![Step::send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{long}", long.len()))]);
    for going in [Going::Finished, Going::Abruptly] {
        let mut client = ask_and_go(&stage, get(), going).await.unwrap();
        let answer = client.until_closed().await.text();
        assert!(answer.ends_with(&format!("\r\n\r\n{long}")), "{going:?}: {} bytes", answer.len());
    }
}
