//! XSPs that are found out before anybody asks something of them: connections that end by themselves make the gateway look,
//! and only what it then sees blocks an XSP.

use std::time::Instant;

use http::{Method, StatusCode};
use xspgate::sim::xsp::Behaviour;

use crate::channels::Channel;
use crate::harness::{Blocked, PROFILE, Stage, body, eventually, request};
use crate::status::until_state;

/// How often the gateway has looked, with this outcome.
async fn looks(stage: &Stage, outcome: &str) -> f64 {
    stage.metrics().await.count("xspgate_probes_total", &[("outcome", outcome)])
}

/// How often something has become of an endpoint's standing.
async fn transitions(stage: &Stage) -> f64 {
    stage.metrics().await.count("xspgate_blocklist_transitions_total", &[])
}

#[tokio::test]
async fn r_fail_1_a_killed_xsp_is_found_out_by_its_idle_connections() {
    let stage = Stage::in_order(|_, _| ()).await;
    assert_eq!(stage.client().get(PROFILE).await.xsp(), "a1");
    let asked = stage.asked();
    stage.xsp("a1").kill().await;
    until_state(&stage, "a1", "blocked").await;
    assert_eq!((stage.asked(), looks(&stage, "failed").await), (asked, 1.0));
    assert_eq!(stage.client().get(PROFILE).await.xsp(), "a2");
    let failed = stage.metrics().await.count("xspgate_attempts_total", &[("outcome", "refused")]);
    assert_eq!(failed, 0.0, "no request has paid for it");
}

#[tokio::test]
async fn r_fail_1_a_killed_xsp_is_found_out_by_a_channel_and_by_an_answer_that_break() {
    let stage = Stage::in_order(|_, text| {
        text.set("[farm.xsp.pool]", "idle_per_endpoint", 0);
    })
    .await;
    let channel = Channel::open(&stage).await;
    assert_eq!(channel.xsp, "a1");
    stage.xsp("a1").kill().await;
    channel.cut().await;
    until_state(&stage, "a1", "blocked").await;
    // Its answer breaks off, and it lives: the look says so.
    stage.xsp("a2").behave(Behaviour::ResetMidBody).await;
    stage.client().try_send(request(Method::GET, PROFILE, body(""))).await.unwrap_err();
    eventually("a look", async || looks(&stage, "cleared").await == 1.0).await;
    assert_eq!(transitions(&stage).await, 1.0);
}

#[tokio::test]
async fn r_fail_1_a_killed_xsp_is_found_out_by_a_cti_connection() {
    let stage = Stage::cti(|_, _| ()).await;
    let (_call, xsp) = stage.greeted().await;
    assert_eq!(xsp, "a1");
    stage.speaker("a1").kill().await;
    let endpoint = stage.speaker("a1").address().to_string();
    let labels = [("farm", "cti"), ("endpoint", endpoint.as_str())];
    let blocked = async || stage.metrics().await.count("xspgate_endpoint_blocked", &labels) == 1.0;
    eventually("its block", blocked).await;
    assert_eq!(stage.tried("cti", "a1", "").await, 1.0);
    assert_eq!(stage.greeted().await.1, "a2");
}

#[tokio::test]
async fn an_xsp_that_ends_idle_connections_is_looked_at_now_and_then_and_not_blocked() {
    let stage = Stage::in_order(|_, text| {
        text.set("", "workers", 1);
    })
    .await;
    let begun = Instant::now();
    for round in 1..=5 {
        assert_eq!(stage.client().get(PROFILE).await.xsp(), "a1", "{round}");
        stage.xsp("a1").disconnect().await;
        eventually("an empty pool", async || stage.metrics().await.count("xspgate_pool_idle", &[]) == 0.0).await;
    }
    eventually("a look", async || looks(&stage, "cleared").await >= 1.0).await;
    let most = 1.0 + begun.elapsed().as_secs_f64() / 10.0;
    assert!(looks(&stage, "cleared").await <= most);
    assert_eq!((looks(&stage, "failed").await, transitions(&stage).await), (0.0, 0.0));
}

#[tokio::test]
async fn r_fail_5_a_hint_leaves_a_blocked_xsp_alone() {
    let stage = Stage::in_order(|_, text| {
        text.set("[farm.xsp.failover]", "on_5xx", "block");
    })
    .await;
    let channel = Channel::open(&stage).await;
    stage.xsp("a1").behave(Behaviour::Status(StatusCode::SERVICE_UNAVAILABLE)).await;
    assert_eq!(stage.client().get(PROFILE).await.xsp(), "a2");
    stage.until_blocked("a1", Blocked::Yes).await;
    let accepted = stage.xsp("a1").connections().accepted;
    stage.xsp("a1").disconnect().await;
    channel.cut().await;
    eventually("an empty pool", async || {
        let endpoint = stage.xsp("a1").address().to_string();
        stage.metrics().await.count("xspgate_pool_idle", &[("endpoint", &endpoint)]) == 0.0
    })
    .await;
    for _ in 0..20 {
        assert_eq!(stage.client().get(PROFILE).await.xsp(), "a2");
    }
    assert_eq!(stage.xsp("a1").connections().accepted, accepted);
    assert_eq!((looks(&stage, "cleared").await, looks(&stage, "failed").await), (0.0, 0.0));
}
