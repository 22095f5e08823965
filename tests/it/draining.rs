//! XSPs that are leaving, by DNS or by the operator's word: what is there lives on, and nothing new comes.

use http::StatusCode;
use serde_json::Value;
use xspgate::sim::site::ALL;

use crate::channels::Channel;
use crate::harness::{Client, PROFILE, Serving, Stage, eventually};

#[tokio::test]
async fn an_xsp_that_left_gets_no_new_channels_and_is_done_when_the_last_one_has_gone() {
    let (stage, ()) = Stage::with(|_, text| {
        text.set("[log]", "level", "info");
    })
    .await;
    let serving = Serving::start(&stage).await;
    let client = || Client::new(serving.https[0], stage.sim.pki.public_roots());
    let mut first = Channel::of(client()).await;
    let cookie = first.session().to_owned();
    let by_session = async || {
        let mut client = client();
        client.set_cookie("XSPGATE", &cookie);
        Channel::of(client).await
    };
    let mut second = by_session().await;
    assert_eq!(second.xsp, first.xsp);
    let xsp = stage.xsp(&first.xsp);
    let others = stage.sim.xsps.iter().filter(|other| other.name() != first.xsp);
    stage.sim.zones().set_a(ALL, 0, others.map(|other| other.address().ip()));
    let said = |what: &str| {
        let address = xsp.address().to_string();
        serving.program.lines().iter().filter(|line| line.contains(what) && line.contains(&address)).count()
    };
    eventually("its leaving", async || said("endpoint left") == 1).await;
    let third = by_session().await;
    assert_ne!(third.xsp, first.xsp);
    xsp.end_channel(&first.id);
    first.ends().await;
    serving.event_of("access", |event| event["channel"] == *first.id).await;
    assert_eq!(said("holds no event channel"), 0);
    xsp.end_channel(&second.id);
    second.ends().await;
    eventually("the last one's end", async || said("holds no event channel") == 1).await;
}

/// Lists these in `drain` of the farm.
fn draining<'a>(whom: impl Iterator<Item = String> + 'a) -> impl FnOnce(String) -> String + 'a {
    move |text| {
        let whom: Vec<_> = whom.map(|whom| format!("{whom:?}")).collect();
        text.replace("[farm.xsp]\n", &format!("[farm.xsp]\ndrain = [{}]\n", whom.join(", ")))
    }
}

#[tokio::test]
async fn an_xsp_that_is_drained_keeps_its_sessions_and_gets_no_new_ones() {
    let (stage, ()) = Stage::with(|_, text| {
        text.set("[log]", "level", "info");
    })
    .await;
    // Another gateway of the same site, before the XSP was drained.
    let mut session = stage.client();
    let home = session.get(PROFILE).await.xsp().to_owned();
    let cookie = session.session().unwrap().to_owned();
    let address = stage.xsp(&home).address();
    let serving = Serving::start_changed(&stage, draining([address.ip().to_string()].into_iter())).await;
    let client = || Client::new(serving.https[0], stage.sim.pki.public_roots());
    for _ in 0..30 {
        assert_ne!(client().get(PROFILE).await.xsp(), home);
    }
    let mut returning = client();
    returning.set_cookie("XSPGATE", &cookie);
    for _ in 0..3 {
        assert_eq!(returning.get(PROFILE).await.xsp(), home);
    }
    assert_ne!(Channel::of(returning).await.xsp, home);
    let status: Value = serde_json::from_str(&serving.admin("/status").await.1).unwrap();
    let endpoints = status["farms"][0]["endpoints"].as_array().unwrap();
    let states: Vec<_> = endpoints.iter().filter(|one| one["endpoint"] == address.to_string()).collect();
    assert_eq!((states.len(), &states[0]["state"]), (1, &"draining".into()), "{status}");
    for what in ["is drained", "holds no event channel"] {
        serving
            .program
            .line(what, |line| (line.contains(what) && line.contains(&address.to_string())).then_some(()))
            .await;
    }
}

#[tokio::test]
async fn where_every_xsp_is_drained_only_what_is_there_goes_on() {
    let stage = Stage::start().await;
    let mut session = stage.client();
    let home = session.get(PROFILE).await.xsp().to_owned();
    let cookie = session.session().unwrap().to_owned();
    let all = stage.sim.xsps.iter().map(|xsp| xsp.address().to_string());
    let serving = Serving::start_changed(&stage, draining(all)).await;
    let client = || Client::new(serving.https[0], stage.sim.pki.public_roots());
    let refused = client().get(PROFILE).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.text().contains("every XSP is being taken out of service"), "{}", refused.text());
    assert_eq!(serving.metrics().await.count("xspgate_refused_total", &[("reason", "drained")]), 1.0);
    let mut returning = client();
    returning.set_cookie("XSPGATE", &cookie);
    assert_eq!(returning.get(PROFILE).await.xsp(), home);
}
