//! What an operator sees: `/status`, and the page that shows the same.

use std::collections::BTreeSet;

use http::StatusCode;
use serde_json::Value;
use xspgate::app::Outcome;
use xspgate::sim::site::{ALL, DOMAIN, Simulation, Text};

use crate::channels::Channel;
use crate::harness::{PROFILE, Stage, eventually};

const STATUS: &str = include_str!("../../docs/reference/status.md");

/// What `/status` says now.
pub(crate) async fn status(stage: &Stage) -> Value {
    let (code, text) = stage.gateway.admin("/status").await;
    assert_eq!(code, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// What it says of one XSP in the first farm.
fn endpoint<'s>(status: &'s Value, stage: &Stage, xsp: &str) -> &'s Value {
    let address = stage.xsp(xsp).address().to_string();
    let endpoints = status["farms"][0]["endpoints"].as_array().unwrap();
    endpoints.iter().find(|endpoint| endpoint["endpoint"] == *address).unwrap_or(&Value::Null)
}

/// Waits until it says of an XSP that it is in `state`.
pub(crate) async fn until_state(stage: &Stage, xsp: &str, state: &str) {
    eventually(state, async || endpoint(&status(stage).await, stage, xsp)["state"] == *state).await;
}

/// The events of that kind, newest first.
fn events<'s>(status: &'s Value, kind: &str) -> Vec<&'s Value> {
    status["events"].as_array().unwrap().iter().filter(|event| event["kind"] == *kind).collect()
}

fn everything(sim: &Simulation, text: &mut Text) {
    sim.serve_cti(text);
    sim.serve_passthrough(text);
}

#[tokio::test]
async fn every_field_is_in_the_readme_and_every_one_there_is_said() {
    let (stage, ()) = Stage::with(everything).await;
    stage.client().get(PROFILE).await;
    assert!(matches!(stage.gateway.reload().await, Outcome::Unchanged { .. }));
    let _channel = Channel::open(&stage).await;
    let mut said = BTreeSet::new();
    fields(&status(&stage).await, "", &mut said);
    let table = STATUS.lines().skip_while(|line| !line.starts_with("| status field |"));
    let rows = table.skip(2).take_while(|line| line.starts_with('|'));
    let listed: BTreeSet<_> = rows.filter_map(|row| Some(row.split('`').nth(1)?.to_owned())).collect();
    assert_eq!(said, listed);
}

/// What the book explains in one row each, whatever is in it.
const WHOLE: [&str; 7] = [
    "farms[].formerly",
    "farms[].traffic",
    "farms[].sessions",
    "farms[].channels.closed",
    "farms[].heartbeats",
    "farms[].unknown_drains",
    "reload.last",
];

/// The names of all fields below `value`, as the book writes them.
fn fields(value: &Value, path: &str, names: &mut BTreeSet<String>) {
    match value {
        _ if WHOLE.contains(&path) => drop(names.insert(path.to_owned())),
        Value::Object(object) => {
            for (name, value) in object {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                fields(value, &path, names);
            }
        }
        Value::Array(items) => {
            assert!(!items.is_empty(), "{path} has an entry to look at");
            items.iter().for_each(|item| fields(item, &format!("{path}[]"), names));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            names.insert(path.to_owned());
        }
    }
}

/// A reload has the farm `xsp` give way to the farm `next`, which has these of its XSPs.
pub(crate) async fn give_way(stage: &Stage, text: &mut Text, xsps: &[&str]) {
    let addresses: Vec<_> = xsps.iter().map(|xsp| stage.xsp(xsp).address().to_string()).collect();
    text.remove_section("[farm.xsp]").remove_section("[farm.xsp.failover]");
    text.set("[farm.next]", "addresses", addresses);
    text.set("[farm.next]", "server_name", DOMAIN).set("[farm.next]", "trust", "internal");
    text.set("[[https]]", "farm", "next");
    stage.sim.write_config(text).unwrap();
    assert!(matches!(stage.gateway.reload().await, Outcome::Applied { .. }));
}

#[tokio::test]
async fn a_farm_that_has_been_removed_is_marked_until_nothing_is_left_there() {
    let (stage, mut text) = Stage::with(|_, text| text.clone()).await;
    let channel = Channel::open(&stage).await;
    let farms = async || {
        let status = status(&stage).await;
        let farms = status["farms"].as_array().unwrap().iter();
        farms.map(|farm| (farm["name"].as_str().unwrap().to_owned(), farm["retired"] == true)).collect::<Vec<_>>()
    };
    assert_eq!(farms().await, [("xsp".to_owned(), false)]);
    give_way(&stage, &mut text, &["a1"]).await;
    assert_eq!(farms().await, [("next".to_owned(), false), ("xsp".to_owned(), true)]);
    assert_eq!(channel.beats(&stage).await.xsp(), channel.xsp);
}

#[tokio::test]
async fn r_stat_1_an_interface_is_green_while_one_xsp_is_up_and_red_when_none_is() {
    let stage = Stage::in_order(|_, text| {
        text.set("[farm.xsp.failover]", "block_for", "60s");
    })
    .await;
    let colours = async || {
        let status = status(&stage).await;
        let hosts = status["hosts"].as_array().unwrap().clone();
        assert_eq!(hosts.len(), 2);
        let interfaces = hosts.iter().flat_map(|host| host["interfaces"].as_array().unwrap().clone());
        let colours: Vec<_> = interfaces.map(|interface| interface["colour"].as_str().unwrap().to_owned()).collect();
        assert_eq!(colours.len(), 10);
        colours.into_iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(colours().await, ["green"]);
    for xsp in ["a1", "a2", "b1"] {
        stage.xsp(xsp).kill().await;
        stage.client().get(PROFILE).await;
        until_state(&stage, xsp, "blocked").await;
        assert_eq!(colours().await, ["green"]);
    }
    stage.xsp("b2").kill().await;
    stage.client().get(PROFILE).await;
    until_state(&stage, "b2", "blocked").await;
    assert_eq!(colours().await, ["red"]);
    stage.xsp("b1").revive().await;
    eventually("an answer", async || stage.client().get(PROFILE).await.status == StatusCode::OK).await;
    assert_eq!(colours().await, ["green"]);
    let status = status(&stage).await;
    assert_eq!((events(&status, "blocked").len(), events(&status, "unblocked").len()), (4, 1));
    let blocked = events(&status, "blocked")[0];
    assert_eq!(blocked["farm"], "xsp", "{blocked}");
    assert_eq!(blocked["endpoint"], stage.xsp("b2").address().to_string(), "{blocked}");
}

#[tokio::test]
async fn an_xsp_is_out_since_it_failed_first_however_often_it_is_tried() {
    let stage = Stage::in_order(|_, text| {
        text.set("[farm.xsp.failover]", "block_for", "1s");
    })
    .await;
    let dead = async || endpoint(&status(&stage).await, &stage, "a1").clone();
    assert_eq!(dead().await["out_since"], Value::Null);
    stage.xsp("a1").kill().await;
    stage.client().get(PROFILE).await;
    until_state(&stage, "a1", "blocked").await;
    let told = status(&stage).await;
    let since = events(&told, "blocked")[0]["time"].clone();
    assert_eq!(endpoint(&told, &stage, "a1")["out_since"], since);
    eventually("a trial that failed", async || {
        stage.client().get(PROFILE).await;
        let dead = dead().await;
        assert_eq!(dead["out_since"], since, "{dead}");
        dead["traffic"]["errors"].as_u64() >= Some(3)
    })
    .await;
    stage.xsp("a1").revive().await;
    eventually("no failure", async || {
        stage.client().get(PROFILE).await;
        dead().await["out_since"] == Value::Null
    })
    .await;
}

#[tokio::test]
async fn what_is_asked_of_an_xsp_is_counted_and_timed() {
    let stage = Stage::in_order(|_, _| ()).await;
    eventually("a rate", async || {
        stage.client().get(PROFILE).await;
        let status = status(&stage).await;
        let traffic = &endpoint(&status, &stage, "a1")["traffic"];
        traffic["rate"].as_f64().unwrap() > 0.0 && traffic["p95_ms"].as_f64().is_some_and(|ms| ms > 0.0)
    })
    .await;
    stage.xsp("a1").kill().await;
    stage.client().get(PROFILE).await;
    let status = status(&stage).await;
    let (first, second) = (endpoint(&status, &stage, "a1"), endpoint(&status, &stage, "a2"));
    assert!(first["traffic"]["errors"].as_u64().unwrap() >= 1, "{first}");
    assert_eq!(second["traffic"]["requests"], 1, "{second}");
    let farm = &status["farms"][0];
    assert!(farm["traffic"]["requests"].as_u64().unwrap() > second["traffic"]["requests"].as_u64().unwrap());
    assert!(farm["sessions"]["new"].as_u64().unwrap() >= 2, "{farm}");
    assert!(status["certificates"].as_array().unwrap().iter().all(|one| one["days"].as_f64().unwrap() > 1.0));
}

#[tokio::test]
async fn changes_of_dns_and_drains_are_told() {
    let (stage, mut text) = Stage::with(|_, text| text.clone()).await;
    let names = ["a1", "a2", "b1"];
    stage.sim.zones().set_a(ALL, 0, names.iter().map(|name| stage.xsp(name).address().ip()));
    let address = stage.xsp("b2").address().to_string();
    eventually("its leaving", async || {
        let status = status(&stage).await;
        let left = events(&status, "left");
        left.len() == 1 && left[0]["endpoint"] == *address
    })
    .await;
    text.set("[farm.xsp]", "drain", vec![stage.xsp("a1").address().ip().to_string()]);
    stage.sim.write_config(&text).unwrap();
    assert!(matches!(stage.gateway.reload().await, Outcome::Applied { .. }));
    let drained = status(&stage).await;
    assert_eq!(endpoint(&drained, &stage, "a1")["state"], "draining");
    assert_eq!((events(&drained, "draining").len(), events(&drained, "reloaded").len()), (1, 1));
    assert_eq!(drained["reload"]["last"]["kind"], "reloaded");
    text.set("[farm.xsp]", "port", 0);
    stage.sim.write_config(&text).unwrap();
    assert!(matches!(stage.gateway.reload().await, Outcome::Refused(_)));
    let refused = status(&stage).await;
    assert_eq!(refused["reload"]["configuration_refused"], true);
    assert!(events(&refused, "reload-refused")[0]["text"].as_str().unwrap().contains("port"), "{refused}");
    text.set("[farm.xsp]", "port", i64::from(stage.xsp("a1").address().port()));
    stage.sim.write_config(&text).unwrap();
    assert!(matches!(stage.gateway.reload().await, Outcome::Unchanged { .. }));
    let mended = status(&stage).await;
    assert_eq!((&mended["reload"]["configuration_refused"], events(&mended, "reloaded").len()), (&false.into(), 2));
    assert_eq!(mended["reload"]["last"]["text"], "the configuration is again what is in use");
    stage.gateway.lame_duck();
    let stopping = status(&stage).await;
    assert_eq!((&stopping["phase"], &stopping["ready"]), (&"lame-duck".into(), &false.into()));
    assert_eq!((stopping["unready"].as_str(), events(&stopping, "stopping").len()), (Some("stopping"), 1));
}
