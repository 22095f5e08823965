//! Event channels that are lost all at once: their clients open new ones at once, and the XSPs that are left live on.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use http_body_util::BodyExt;
use tokio::sync::watch;
use tokio::task::JoinSet;
use xspgate::sim::xsp::{Behaviour, Xsp};

use crate::channels::opened;
use crate::harness::{CHANNEL, DEADLINE, Metrics, PROFILE, Stage, body, eventually, request};

/// How often a client that is turned away tries again.
const PAUSE: Duration = Duration::from_millis(200);
/// What a request may come later than it was sent, on a machine that is busy.
const LATE: Duration = Duration::from_secs(1);

/// Two XSPs that are equals, and so many new channels a second for each.
async fn two_xsps(rate: impl Into<toml::Value>) -> Stage {
    let (stage, ()) = Stage::with(|sim, text| {
        let two: Vec<_> = sim.xsps.iter().take(2).map(|xsp| xsp.address().to_string()).collect();
        text.remove("[farm.xsp]", "a").set("[farm.xsp]", "addresses", two);
        text.set("[farm.xsp]", "channel_rate", rate);
    })
    .await;
    stage
}

/// A crowd of clients, each of which opens a channel until it has one, and a new one whenever its stream breaks. `rounds`
/// are the channels that each one has in all.
fn crowd(stage: &Stage, clients: usize, rounds: usize, held: &watch::Sender<[usize; 2]>) -> JoinSet<()> {
    let mut crowd = JoinSet::new();
    for _ in 0..clients {
        let (mut client, held) = (stage.client(), held.clone());
        crowd.spawn(async move {
            for round in 0..rounds {
                let mut stream = loop {
                    let opening = client.open(request(Method::POST, CHANNEL, body("<Channel/>"))).await.unwrap();
                    match opening.status() {
                        StatusCode::OK => break opening.into_body(),
                        StatusCode::SERVICE_UNAVAILABLE => assert_eq!(opening.headers()["retry-after"], "1"),
                        other => panic!("{other}"),
                    }
                    opening.into_body().collect().await.unwrap();
                    tokio::time::sleep(PAUSE).await;
                };
                held.send_modify(|held| held[round] += 1);
                while let Some(Ok(_)) = stream.frame().await {}
                client.disconnect();
            }
        });
    }
    crowd
}

/// When an XSP was asked for new channels.
fn asked_at(xsp: &Xsp) -> Vec<Instant> {
    xsp.requests().iter().filter(|request| request.path() == CHANNEL).map(|request| request.at).collect()
}

/// No span has more than the rate allows.
fn assert_rate(times: &[Instant], rate: f64) {
    let burst = (rate / 10.0).max(1.0);
    for (index, first) in times.iter().enumerate() {
        for (last, count) in times[index..].iter().zip(1..) {
            let most = burst + rate * (*last - *first + LATE).as_secs_f64();
            assert!(f64::from(count) <= most, "{count} in {:?}", *last - *first);
        }
    }
}

async fn until_held(held: &mut watch::Receiver<[usize; 2]>, round: usize, count: usize) {
    let waited = tokio::time::timeout(2 * DEADLINE, held.wait_for(|held| held[round] == count)).await.is_ok();
    assert!(waited, "{} of {count} channels", held.borrow()[round]);
}

async fn counted(stage: &Stage, event: &str) -> f64 {
    stage.metrics().await.count("xspgate_channel_events_total", &[("event", event)])
}

#[tokio::test]
async fn when_an_xsp_dies_its_channels_move_at_the_pace_of_the_others() {
    let stage = two_xsps(50).await;
    stage.xsp("a2").behave(Behaviour::Refuse).await;
    let (held, mut seen) = watch::channel([0, 0]);
    let mut crowd = crowd(&stage, 200, 2, &held);
    until_held(&mut seen, 0, 200).await;
    assert_rate(&asked_at(stage.xsp("a1")), 50.0);
    // The other one is back, and the one that has all the channels dies.
    stage.xsp("a2").revive().await;
    stage.xsp("a1").forget_requests();
    stage.xsp("a1").kill().await;
    until_held(&mut seen, 1, 200).await;
    let times = asked_at(stage.xsp("a2"));
    assert_rate(&times, 50.0);
    assert_eq!(times.len(), 200, "a channel was asked for twice");
    assert_eq!(stage.xsp("a2").channels().len(), 200);
    eventually("the counts", async || opened(&stage).await == 400.0).await;
    let rejected = counted(&stage, "rejected").await;
    assert!(rejected >= 1.0 && counted(&stage, "queued").await >= 1.0);
    assert_eq!(stage.metrics().await.count("xspgate_refused_total", &[("reason", "channels-busy")]), rejected);
    crowd.abort_all();
}

#[tokio::test]
async fn other_requests_pass_by_those_who_wait() {
    let stage = two_xsps(1).await;
    stage.xsp("a2").behave(Behaviour::Refuse).await;
    let (held, mut seen) = watch::channel([0, 0]);
    let mut crowd = crowd(&stage, 2, 1, &held);
    until_held(&mut seen, 0, 1).await;
    // The second one waits for a second; other requests are through by then.
    let mut client = stage.client();
    for _ in 0..20 {
        assert_eq!(client.get(PROFILE).await.status, StatusCode::OK);
    }
    until_held(&mut seen, 0, 2).await;
    let requests = stage.xsp("a1").requests();
    let second = requests.iter().rposition(|request| request.path() == CHANNEL).unwrap();
    assert!(second >= 2, "others came after it: {second}");
    crowd.abort_all();
}

#[tokio::test]
async fn who_waits_for_an_xsp_that_is_blocked_meanwhile_goes_to_another() {
    let stage = Stage::in_order(|_, text| {
        text.set("[farm.xsp]", "channel_rate", 1);
    })
    .await;
    let (held, mut seen) = watch::channel([0, 0]);
    let mut crowd = crowd(&stage, 2, 2, &held);
    until_held(&mut seen, 0, 1).await;
    eventually("the second one waits", async || counted(&stage, "queued").await >= 1.0).await;
    stage.xsp("a1").kill().await;
    assert_eq!(stage.client().get(PROFILE).await.xsp(), "a2");
    // The first one has a second channel, and the second one its first.
    let both = |held: &[usize; 2]| held[0] == 2 && held[1] >= 1;
    assert!(tokio::time::timeout(DEADLINE, seen.wait_for(both)).await.is_ok(), "{:?}", held.borrow());
    let refused = |metrics: &Metrics| metrics.count("xspgate_refused_total", &[("reason", "unreachable")]);
    assert_eq!(refused(&stage.metrics().await), 0.0);
    crowd.abort_all();
}

#[tokio::test]
async fn without_a_rate_nobody_waits() {
    let stage = two_xsps("off").await;
    let (held, mut seen) = watch::channel([0, 0]);
    let mut crowd = crowd(&stage, 100, 1, &held);
    until_held(&mut seen, 0, 100).await;
    assert_eq!(asked_at(stage.xsp("a1")).len() + asked_at(stage.xsp("a2")).len(), 100);
    assert_eq!(counted(&stage, "queued").await + counted(&stage, "rejected").await, 0.0);
    crowd.abort_all();
}
