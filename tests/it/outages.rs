//! A farm whose last XSP has gone: what `/readyz`, the log, the metrics and the page say of it.

use serde_json::Value;
use xspgate::sim::site::Text;
use xspgate::sim::xsp::Xsp;

use crate::harness::{Client, PROFILE, Serving, Stage, eventually, tiers};

/// A gateway before two XSPs that are tried again after a second.
async fn two(change: impl FnOnce(&mut Text)) -> (Stage, Serving) {
    let (stage, ()) = Stage::unready(|sim, text| {
        tiers(text, &sim.xsps[..2].iter().map(Xsp::address).collect::<Vec<_>>());
        text.set("[farm.xsp.failover]", "block_for", "1s");
        change(text);
    })
    .await;
    let serving = Serving::start(&stage).await;
    (stage, serving)
}

async fn readiness(serving: &Serving) -> (u16, String) {
    serving.admin("/readyz").await
}

async fn up(serving: &Serving) -> f64 {
    serving.metrics().await.count("xspgate_endpoints_up", &[("farm", "xsp")])
}

async fn kill_both(stage: &Stage, serving: &Serving) {
    for xsp in &stage.sim.xsps[..2] {
        xsp.kill().await;
    }
    Client::new(serving.https[0], stage.sim.pki.public_roots()).get(PROFILE).await;
    eventually("the end of the farm", async || up(serving).await == 0.0).await;
}

/// The message of an error about the farm that begins so.
async fn told(serving: &Serving, beginning: &str) -> String {
    let error = |line: &str| {
        let event: Value = serde_json::from_str(line).ok()?;
        let message = event["message"].as_str()?.to_owned();
        let is_meant = event["level"] == "ERROR" && event["farm"] == "xsp" && message.starts_with(beginning);
        is_meant.then_some(message)
    };
    serving.program.line(beginning, error).await
}

#[tokio::test]
async fn the_last_xsp_that_goes_and_the_first_that_is_back_are_told_of() {
    let (stage, serving) = two(|_| ()).await;
    eventually("both", async || up(&serving).await == 2.0).await;
    kill_both(&stage, &serving).await;
    told(&serving, "no XSP of the farm is up: requests fail").await;
    assert_eq!(readiness(&serving).await.0, 200, "other gateways may have lost it as well");
    stage.sim.xsps[0].revive().await;
    eventually("one of them", async || up(&serving).await == 1.0).await;
    told(&serving, "XSP of the farm up again").await;
    let status: Value = serde_json::from_str(&serving.admin("/status").await.1).unwrap();
    let kinds: Vec<_> = status["events"].as_array().unwrap().iter().map(|event| event["kind"].clone()).collect();
    let place =
        |kind: &str| kinds.iter().position(|other| other == kind).unwrap_or_else(|| panic!("{kind}: {kinds:?}"));
    assert!(place("farm-up") < place("farm-down"), "{kinds:?}");
}

#[tokio::test]
async fn a_gateway_that_needs_a_farm_is_not_ready_without_it() {
    let (stage, serving) = two(|text| {
        text.set("[farm.xsp]", "ready", "any").set("[farm.xsp.failover]", "block_for", "1h");
    })
    .await;
    assert_eq!(readiness(&serving).await.0, 200);
    kill_both(&stage, &serving).await;
    eventually("no readiness", async || readiness(&serving).await == (503, "no XSP is up in: xsp\n".into())).await;
    stage.sim.xsps[0].revive().await;
    assert_eq!(serving.metrics().await.count("xspgate_ready", &[]), 0.0);
}

#[tokio::test]
async fn a_farm_that_a_reload_has_removed_is_missed_by_nobody() {
    let (stage, serving) = two(|text| {
        text.set("[farm.xsp]", "ready", "any").set("[farm.xsp.failover]", "block_for", "1h");
    })
    .await;
    kill_both(&stage, &serving).await;
    eventually("no readiness", async || readiness(&serving).await.0 == 503).await;
    let path = stage.sim.folder().join("logged.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let other = text.replace("[farm.xsp", "[farm.other").replace("farm = \"xsp\"", "farm = \"other\"");
    std::fs::write(&path, other.replace("[[farm.xsp", "[[farm.other")).unwrap();
    serving.program.signal("HUP");
    eventually("readiness", async || readiness(&serving).await.0 == 200).await;
}

#[tokio::test]
async fn an_xsp_on_probation_is_reason_enough_to_be_ready() {
    let (stage, serving) = two(|text| {
        text.set("[farm.xsp]", "ready", "any");
    })
    .await;
    kill_both(&stage, &serving).await;
    for xsp in &stage.sim.xsps[..2] {
        xsp.revive().await;
    }
    eventually("readiness", async || readiness(&serving).await.0 == 200).await;
}
