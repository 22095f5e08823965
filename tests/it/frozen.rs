//! XSPs that are frozen, though their kernels answer for them: their streams end when they have stayed blocked for
//! `end_streams_after`, so that clients come again elsewhere, and no other stream does.

use std::path::Path;
use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::Value;
use xspgate::sim::cti::{Behaviour, Call, End, Ending, Preface};
use xspgate::sim::site::Text;
use xspgate::sim::xsp;

use crate::channels::Channel;
use crate::handover::heir;
use crate::harness::{
    Blocked, Ctl, PROFILE, Serving, Stage, assert_bridged, dial, eventually, greeting, rest, until, within,
};

/// What the streams of a frozen XSP wait for at least.
const AFTER: Duration = Duration::from_secs(1);
/// How long what should not happen is waited for: [`AFTER`], the gateway's look, and some more.
const LONG: Duration = Duration::from_millis(2500);

/// Sets the farm's `end_streams_after` to [`AFTER`].
fn soon(text: &mut Text, farm: &str) {
    text.set(&format!("[farm.{farm}]"), "end_streams_after", "1s");
}

async fn cti_stage(change: impl FnOnce(&mut Text)) -> Stage {
    Stage::cti(|_, text| {
        soon(text, "cti");
        change(text);
    })
    .await
}

/// A connection at a1, which then takes new ones and answers nothing on them; and one at a2, by which the gateway has found
/// that out.
async fn frozen(stage: &Stage) -> (Call, Call) {
    let (at_a1, xsp) = stage.greeted().await;
    assert_eq!(xsp, "a1");
    stage.speaker("a1").behave(Behaviour::SilentTcp).await;
    let (at_a2, xsp) = stage.greeted().await;
    assert_eq!(xsp, "a2");
    assert_eq!(blocked(stage, "cti", "a1").await, 1.0);
    (at_a1, at_a2)
}

async fn blocked(stage: &Stage, farm: &str, xsp: &str) -> f64 {
    let endpoint = stage.speaker(xsp).address().to_string();
    stage.metrics().await.count("xspgate_endpoint_blocked", &[("farm", farm), ("endpoint", &endpoint)])
}

async fn ended(stage: &Stage) -> f64 {
    stage.metrics().await.count("xspgate_streams_total", &[("outcome", "xsp-blocked")])
}

async fn looks(stage: &Stage, outcome: &str) -> f64 {
    stage.metrics().await.count("xspgate_probes_total", &[("farm", "cti"), ("outcome", outcome)])
}

#[tokio::test]
async fn cti_connections_leave_an_xsp_that_stays_frozen_and_no_other() {
    // Whether its block lasts, or runs out long before and nobody tries it again.
    for block_for in ["60s", "100ms"] {
        let stage = cti_stage(|text| {
            text.set("[farm.cti.failover]", "block_for", block_for);
        })
        .await;
        let (mut at_a1, mut at_a2) = frozen(&stage).await;
        let begun = Instant::now();
        assert_eq!(rest(&mut at_a1).await, (vec![], Ending::Reset), "{block_for}");
        assert!(begun.elapsed() > AFTER / 2, "{block_for}: {:?}", begun.elapsed());
        stage.until_ended("xsp-blocked", 1.0).await;
        until(stage.speaker("a1"), "a reset", |records| records[0].end == End::Reset).await;
        assert_bridged(&mut at_a2, b"still there").await;
        assert_eq!(stage.greeted().await.1, "a2", "{block_for}");
        let status: Value = serde_json::from_str(&stage.gateway.admin("/status").await.1).unwrap();
        let events = status["events"].as_array().unwrap();
        let event = events.iter().find(|event| event["kind"] == "given-up").unwrap();
        assert_eq!(event["text"], "event channels: 0, connections: 1", "{block_for}");
    }
}

#[tokio::test]
async fn passed_through_connections_leave_an_xsp_that_stays_frozen_and_no_other() {
    for preface in [Preface::None, Preface::Proxy] {
        let stage = Stage::passthrough(|_, text| {
            soon(text, "direct");
            if preface == Preface::Proxy {
                text.set("[[passthrough]]", "proxy_protocol", "v2");
            }
        })
        .await;
        for xsp in &stage.sim.ctis {
            xsp.expect(preface);
        }
        let direct = stage.direct();
        let call = async || {
            let mut call = dial(&direct, stage.gateway.passthrough()).await.unwrap();
            let xsp = greeting(&mut call).await;
            (call, xsp)
        };
        let (mut at_a1, xsp) = call().await;
        assert_eq!(xsp, "a1");
        // It is well again before its time is up: a look of the gateway's own says so, in the words that it wants.
        stage.speaker("a1").behave(Behaviour::SilentTcp).await;
        assert_eq!(call().await.1, "a2");
        stage.speaker("a1").revive().await;
        eventually("its return", async || blocked(&stage, "direct", "a1").await == 0.0).await;
        assert_bridged(&mut at_a1, b"still there").await;
        // It is not.
        stage.speaker("a1").behave(Behaviour::SilentTcp).await;
        let (mut at_a2, xsp) = call().await;
        assert_eq!(xsp, "a2");
        assert_eq!(rest(&mut at_a1).await, (vec![], Ending::Reset), "{preface:?}");
        stage.until_ended("xsp-blocked", 1.0).await;
        assert_bridged(&mut at_a2, b"still there").await;
    }
}

#[tokio::test]
async fn event_channels_leave_an_xsp_that_stays_frozen_and_are_lost_there() {
    let stage = Stage::in_order(|_, text| soon(text, "xsp")).await;
    let at_a1 = Channel::open(&stage).await;
    assert_eq!(at_a1.xsp, "a1");
    let heartbeat = at_a1.heartbeat();
    stage.xsp("a1").behave(xsp::Behaviour::Hang).await;
    assert_eq!(stage.client().get(PROFILE).await.xsp(), "a2");
    stage.until_blocked("a1", Blocked::Yes).await;
    let mut at_a2 = Channel::open(&stage).await;
    assert_eq!(at_a2.xsp, "a2");
    at_a1.cut().await;
    let answer = stage.client().send(heartbeat).await;
    assert_eq!((answer.status, answer.xsp()), (StatusCode::NOT_FOUND, ""), "the gateway says so itself");
    at_a2.receives(&stage, "still-there").await;
    let metrics = stage.metrics().await;
    assert_eq!(metrics.count("xspgate_channels_closed_total", &[("reason", "lost")]), 1.0);
}

#[tokio::test]
async fn cti_connections_leave_an_xsp_that_only_requests_have_found_frozen() {
    let stage = cti_stage(|_| ()).await;
    let (mut at_a1, xsp) = stage.greeted().await;
    assert_eq!(xsp, "a1");
    stage.speaker("a1").behave(Behaviour::SilentTcp).await;
    stage.xsp("a1").behave(xsp::Behaviour::Hang).await;
    eventually("a request there", async || {
        stage.client().get(PROFILE).await;
        blocked(&stage, "cti", "a1").await == 1.0
    })
    .await;
    assert_eq!(rest(&mut at_a1).await, (vec![], Ending::Reset));
    assert_eq!(stage.tried("cti", "a1", "").await, 1.0, "no other client has tried it");
}

#[tokio::test]
async fn an_xsp_that_answers_the_look_loses_nothing_though_nobody_else_has_tried_it() {
    let stage = cti_stage(|_| ()).await;
    let (mut at_a1, _at_a2) = frozen(&stage).await;
    stage.speaker("a1").revive().await;
    eventually("its return", async || blocked(&stage, "cti", "a1").await == 0.0).await;
    assert_eq!((looks(&stage, "cleared").await, stage.tried("cti", "a1", "").await), (1.0, 2.0));
    tokio::time::sleep(LONG).await;
    assert_bridged(&mut at_a1, b"still there").await;
    assert_eq!((ended(&stage).await, looks(&stage, "failed").await), (0.0, 0.0));
}

#[tokio::test]
async fn an_xsp_that_speaks_on_a_stream_is_not_frozen_though_it_takes_no_new_ones() {
    let stage = cti_stage(|_| ()).await;
    let (mut at_a1, _at_a2) = frozen(&stage).await;
    let begun = Instant::now();
    while begun.elapsed() < LONG {
        assert_bridged(&mut at_a1, b"news").await;
        tokio::time::sleep(AFTER / 4).await;
    }
    assert_eq!((ended(&stage).await, looks(&stage, "failed").await), (0.0, 0.0));
    // Once it is silent, its time runs.
    assert_eq!(rest(&mut at_a1).await, (vec![], Ending::Reset));
}

#[tokio::test]
async fn streams_end_though_no_other_xsp_is_up_since_clients_may_know_another_gateway() {
    let stage = cti_stage(|text| {
        text.set("[farm.cti.failover]", "tries", 10).set("[farm.cti.failover]", "block_for", "100ms");
    })
    .await;
    let (mut at_a1, xsp) = stage.greeted().await;
    assert_eq!(xsp, "a1");
    stage.speaker("a1").behave(Behaviour::SilentTcp).await;
    for other in ["a2", "b1", "b2"] {
        stage.speaker(other).kill().await;
    }
    let mut nowhere = stage.call().await;
    assert_eq!(rest(&mut nowhere).await.1, Ending::CloseNotify);
    assert_eq!(rest(&mut at_a1).await, (vec![], Ending::Reset));
}

#[tokio::test]
async fn streams_stay_where_all_xsps_turn_the_gateway_away_which_may_be_its_own_fault() {
    let stage = cti_stage(|text| {
        text.set("[farm.cti.failover]", "tries", 10).set("[farm.cti.failover]", "block_for", "100ms");
    })
    .await;
    let (mut at_a1, xsp) = stage.greeted().await;
    assert_eq!(xsp, "a1");
    for xsp in ["a1", "a2", "b1", "b2"] {
        stage.speaker(xsp).behave(Behaviour::Refuse).await;
    }
    let mut nowhere = stage.call().await;
    assert_eq!(rest(&mut nowhere).await.1, Ending::CloseNotify);
    eventually("the last look", async || looks(&stage, "failed").await >= 1.0).await;
    tokio::time::sleep(LONG).await;
    assert_eq!(ended(&stage).await, 0.0);
    // Besides the last ones, there is one a second at each of the four, whose blocks are short.
    assert!(looks(&stage, "failed").await <= 40.0);
    assert_bridged(&mut at_a1, b"still there").await;
}

#[tokio::test]
async fn off_leaves_streams_where_they_are() {
    let stage = cti_stage(|text| {
        text.set("[farm.cti]", "end_streams_after", "off");
    })
    .await;
    let (mut at_a1, _at_a2) = frozen(&stage).await;
    tokio::time::sleep(LONG).await;
    assert_bridged(&mut at_a1, b"still there").await;
    assert_eq!((ended(&stage).await, looks(&stage, "failed").await), (0.0, 0.0));
}

#[tokio::test]
async fn a_block_by_hand_ends_no_streams_and_a_failure_under_it_does() {
    let stage = cti_stage(|_| ()).await;
    let (config, socket) = stage.with_control();
    let serving = Serving::of(Path::new(&config)).await;
    let ctl = Ctl(socket);
    let call = async || {
        let mut call = dial(&stage.webex(), serving.cti[0]).await.unwrap();
        let xsp = greeting(&mut call).await;
        (call, xsp)
    };
    let (mut at_a1, xsp) = call().await;
    assert_eq!(xsp, "a1");
    let address = stage.speaker("a1").address().to_string();
    ctl.done(&["block", &address, "--for", "1h"]).await;
    stage.speaker("a1").behave(Behaviour::SilentTcp).await;
    assert_eq!(call().await.1, "a2");
    tokio::time::sleep(LONG).await;
    assert_bridged(&mut at_a1, b"still there").await;
    // It fails, and is then blocked by hand as well.
    ctl.done(&["unblock", &address]).await;
    assert_eq!(call().await.1, "a2");
    ctl.done(&["block", &address, "--for", "1h"]).await;
    assert_eq!(rest(&mut at_a1).await, (vec![], Ending::Reset));
}

#[tokio::test]
async fn streams_that_a_process_has_left_behind_end_as_well() {
    let stage = cti_stage(|text| {
        text.set("", "drain_timeout", "60s").set("[log]", "access", true);
    })
    .await;
    let (config, socket) = stage.with_control();
    let old = Serving::of(Path::new(&config)).await;
    let mut at_a1 = dial(&stage.webex(), old.cti[0]).await.unwrap();
    assert_eq!(greeting(&mut at_a1).await, "a1");
    stage.speaker("a1").behave(Behaviour::SilentTcp).await;
    let mut at_a2 = dial(&stage.webex(), old.cti[0]).await.unwrap();
    assert_eq!(greeting(&mut at_a2).await, "a2");
    let _heir = heir(&Ctl(socket).done(&["restart"]).await);
    assert_eq!(rest(&mut at_a1).await, (vec![], Ending::Reset));
    let told = old.event_of("connection", |event| event["reason"] == "xsp-blocked").await;
    assert_eq!(told["kind"], "cti");
    assert_bridged(&mut at_a2, b"still there").await;
}

#[tokio::test]
async fn streams_of_an_xsp_end_one_after_the_other() {
    let stage = cti_stage(|text| {
        text.set("", "drain_spread", "1s");
    })
    .await;
    let mut calls = Vec::new();
    for _ in 0..10 {
        let (call, xsp) = stage.greeted().await;
        assert_eq!(xsp, "a1");
        calls.push(call);
    }
    stage.speaker("a1").behave(Behaviour::SilentTcp).await;
    assert_eq!(stage.greeted().await.1, "a2");
    let ends = calls.into_iter().map(|mut call| {
        tokio::spawn(async move {
            assert_eq!(rest(&mut call).await.1, Ending::Reset);
            Instant::now()
        })
    });
    let mut times = Vec::new();
    for end in ends.collect::<Vec<_>>() {
        times.push(end.await.unwrap());
    }
    let (first, last) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    let took = last.duration_since(*first);
    assert!(took > Duration::from_millis(700) && took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test]
async fn an_xsp_that_comes_to_life_keeps_the_streams_that_it_still_has() {
    let stage = cti_stage(|_| ()).await;
    let mut calls = Vec::new();
    for _ in 0..4 {
        let (call, xsp) = stage.greeted().await;
        assert_eq!(xsp, "a1");
        calls.push(call);
    }
    stage.speaker("a1").behave(Behaviour::SilentTcp).await;
    assert_eq!(stage.greeted().await.1, "a2");
    eventually("the first end", async || ended(&stage).await >= 1.0).await;
    stage.speaker("a1").revive().await;
    stage.speaker("a1").say(b"awake");
    tokio::time::sleep(LONG).await;
    let lost = ended(&stage).await;
    assert!(lost <= 2.0, "{lost}");
    let mut kept = 0;
    for call in &mut calls {
        kept += usize::from(within("what it says", call.receive(5)).await.is_ok_and(|said| said == b"awake"));
    }
    assert_eq!(kept as f64, 4.0 - lost);
    eventually("a look that finds it well", async || blocked(&stage, "cti", "a1").await == 0.0).await;
}
