//! The gateway's own stop: channels live on for a while, and what is left is cut at a steady rate, not all at once.

use std::time::{Duration, Instant};

use http::Method;
use http_body_util::BodyExt;
use serde_json::Value;

use crate::channels::Channel;
use crate::harness::{CHANNEL, Client, Serving, Stage, body, eventually, request};

/// Between two cuts.
const INTERVAL: Duration = Duration::from_millis(50);

#[tokio::test]
async fn channels_live_on_until_the_drain_is_over_and_are_cut_one_by_one() {
    const COUNT: usize = 12;
    let (stage, ()) = Stage::with(|_, text| {
        text.set("", "drain_timeout", "1s").set("", "drain_spread", "600ms").set("", "workers", 2_i64);
    })
    .await;
    let mut channels = Vec::new();
    for _ in 0..COUNT {
        channels.push(Channel::open(&stage).await);
    }
    stage.gateway.drain();
    let address = stage.gateway.https();
    eventually("no new connections", async || tokio::net::TcpStream::connect(address).await.is_err()).await;
    for (index, channel) in channels.iter_mut().enumerate() {
        channel.receives(&stage, &format!("event-{index}")).await;
    }
    let ends: Vec<_> = channels.into_iter().map(|channel| tokio::spawn(channel.cut())).collect();
    let Stage { gateway, sim } = stage;
    let begun = Instant::now();
    gateway.stop().await;
    let mut cuts = Vec::new();
    for end in ends {
        cuts.push(end.await.unwrap() - begun);
    }
    cuts.sort_unstable();
    assert!(cuts[0] >= Duration::from_millis(900), "cut too soon: {cuts:?}");
    assert!(cuts[COUNT - 1] - cuts[0] >= INTERVAL * 10, "cut too fast: {cuts:?}");
    eventually("the ends at the XSPs", async || sim.xsps.iter().all(|xsp| xsp.channels().is_empty())).await;
}

#[tokio::test]
async fn the_access_log_tells_of_what_a_stop_has_cut() {
    let (stage, ()) = Stage::with(|_, text| {
        text.set("", "drain_timeout", "0s");
    })
    .await;
    let mut serving = Serving::start(&stage).await;
    let mut client = Client::new(serving.https[0], stage.sim.pki.public_roots());
    let mut answer = client.open(request(Method::POST, CHANNEL, body("<Channel/>"))).await.unwrap();
    let xsp = answer.headers()["x-xsp"].to_str().unwrap().to_owned();
    let first = answer.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    let id = stage.xsp(&xsp).channels().pop().unwrap();
    serving.program.signal("TERM");
    let event = serving.event_of("access", |event| event["channel"] == *id).await;
    assert_eq!((&event["status"], &event["reason"], &event["origin"]), (&200.into(), &"cut".into(), &"xsp".into()));
    assert_eq!(event["sent"], Value::from(first.len()), "{event}");
    eventually("the end", async || serving.program.code() == Some(0)).await;
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let (stage, ()) = Stage::with(|_, text| {
        text.set("", "drain_timeout", "24h");
    })
    .await;
    let mut serving = Serving::start(&stage).await;
    let mut client = Client::new(serving.https[0], stage.sim.pki.public_roots());
    let answer = client.open(request(Method::POST, CHANNEL, body("<Channel/>"))).await.unwrap();
    serving.program.signal("TERM");
    let stopping = |line: &str| line.contains("a second signal ends at once").then_some(());
    serving.program.line("that it is stopping", stopping).await;
    serving.program.signal("TERM");
    eventually("the end", async || serving.program.code() == Some(0)).await;
    drop(answer);
}
