//! XSPs that are asked for more than they can do: they are asked for less, nothing is held against them, and what keeps event
//! channels alive goes first.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use tokio::task::JoinSet;
use xspgate::sim::xsp::Behaviour;

use crate::channels::Channel;
use crate::harness::{PROFILE, Stage, body, request};

/// How long each XSP takes for a request, and how many it serves at a time.
const SERVES: Duration = Duration::from_millis(100);
const SLOTS: usize = 4;

/// Two XSPs that can do 80 requests a second in all.
async fn two_small_xsps() -> Stage {
    let (stage, ()) = Stage::with(|sim, text| {
        let two: Vec<_> = sim.xsps.iter().take(2).map(|xsp| xsp.address().to_string()).collect();
        text.remove("[farm.xsp]", "a").set("[farm.xsp]", "addresses", two);
        text.remove("[farm.xsp.failover]", "response_timeout").remove("[farm.xsp.failover]", "advance_after");
    })
    .await;
    for xsp in &stage.sim.xsps[..2] {
        xsp.behave(Behaviour::Slots(SLOTS, SERVES)).await;
    }
    stage
}

/// What the clients of a crowd have got.
#[derive(Debug, Default)]
struct Got {
    answers: u64,
    rejected: u64,
    others: Vec<u16>,
}

/// `clients` that ask again and again for `time`, each in a session of its own, and wait a moment where they are told to.
async fn crowd(stage: &Stage, clients: usize, time: Duration) -> Got {
    let end = Instant::now() + time;
    let mut crowd = JoinSet::new();
    for _ in 0..clients {
        let mut client = stage.client();
        crowd.spawn(async move {
            let mut got = Got::default();
            while Instant::now() < end {
                let answer = client.get(PROFILE).await;
                match answer.status {
                    StatusCode::OK => got.answers += 1,
                    StatusCode::TOO_MANY_REQUESTS => {
                        assert_eq!(answer.header("retry-after"), "1");
                        got.rejected += 1;
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                    other => got.others.push(other.as_u16()),
                }
            }
            got
        });
    }
    crowd.join_all().await.into_iter().fold(Got::default(), |all, got| Got {
        answers: all.answers + got.answers,
        rejected: all.rejected + got.rejected,
        others: [all.others, got.others].concat(),
    })
}

#[tokio::test]
async fn promise_22_a_farm_that_can_not_follow_is_asked_for_less_and_answers_as_much_as_it_can() {
    for (clients, seconds) in [(100, 4), (300, 6)] {
        let stage = two_small_xsps().await;
        let mut channel = Channel::open(&stage).await;
        let beating = async {
            let mut latest = Duration::ZERO;
            for _ in 0..2 * seconds {
                tokio::time::sleep(Duration::from_millis(400)).await;
                let begun = Instant::now();
                assert_eq!(channel.beats(&stage).await.status, StatusCode::OK);
                channel.is_alive().await;
                latest = latest.max(begun.elapsed());
            }
            latest
        };
        let (got, heartbeat) = tokio::join!(crowd(&stage, clients, Duration::from_secs(seconds)), beating);
        let metrics = stage.metrics().await;
        eprintln!("{clients} clients, {seconds} s: {got:?}, a heartbeat took {heartbeat:?}");
        assert_eq!(got.others, [0u16; 0], "{got:?}");
        let asked: u64 = stage.sim.xsps[..2].iter().map(|xsp| xsp.request_count()).sum();
        let opened = 1 + 2 * seconds;
        assert!(asked <= got.answers + opened + 40, "nothing is asked for twice: {asked} for {got:?}");
        let could = 80 * seconds;
        assert!(got.answers * 10 >= could * 7, "{got:?} of {could}");
        for change in ["blocked", "extended"] {
            assert_eq!(metrics.count("xspgate_blocklist_transitions_total", &[("to", change)]), 0.0, "{change}");
        }
        assert_eq!(metrics.count("xspgate_overload_total", &[("outcome", "rejected")]), got.rejected as f64);
    }
}

#[tokio::test]
async fn who_is_over_the_bound_waits_or_gets_429_and_what_keeps_channels_alive_does_not() {
    let (stage, ()) = Stage::with(|sim, text| {
        text.remove("[farm.xsp]", "a").set("[farm.xsp]", "addresses", vec![sim.xsps[0].address().to_string()]);
        text.set("[farm.xsp]", "max_in_flight", 1);
        // Otherwise the first request would give its place back while it is slow.
        text.set("[farm.xsp.failover]", "advance_after", "off").set("[farm.xsp.failover]", "response_timeout", "10s");
    })
    .await;
    let mut channel = Channel::open(&stage).await;
    stage.sim.xsps[0].behave(Behaviour::on(PROFILE, Behaviour::Slow(Duration::from_secs(3)))).await;
    let mut first = stage.client();
    let held = tokio::spawn(async move { first.get(PROFILE).await.status });
    crate::harness::eventually("the first request", async || {
        stage.metrics().await.count("xspgate_endpoint_in_flight", &[]) == 1.0
    })
    .await;
    // As many new sessions wait as there may be requests, and more of what changes something; and in vain.
    let begun = Instant::now();
    let mut clients = [stage.client(), stage.client(), stage.client()];
    let [waiting, refused, changing] = &mut clients;
    let put = request(Method::PUT, PROFILE, body("<Profile/>"));
    let at_once = async {
        crate::harness::eventually("one that waits", async || {
            stage.metrics().await.count("xspgate_overload_total", &[("outcome", "waited")]) == 1.0
        })
        .await;
        let begun = Instant::now();
        (refused.get(PROFILE).await, begun.elapsed())
    };
    let (answer, (refused, at_once)) = tokio::join!(waiting.get(PROFILE), at_once);
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "after {at_once:?}");
    assert_eq!(changing.send(put).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
    assert_eq!(channel.beats(&stage).await.status, StatusCode::OK);
    channel.is_alive().await;
    assert_eq!(held.await.unwrap(), StatusCode::OK);
    let metrics = stage.metrics().await;
    let counted = |outcome| metrics.count("xspgate_overload_total", &[("farm", "xsp"), ("outcome", outcome)]);
    // On a machine that is busy, the one that is refused may come when there is room to wait again.
    assert!((2.0..=3.0).contains(&counted("waited")), "{}", counted("waited"));
    assert_eq!(counted("rejected"), 3.0);
    assert_eq!(metrics.count("xspgate_endpoint_in_flight_limit", &[]), 1.0);
}

/// A minute at five times of what a farm can do; run by hand, in a release build, since a debug build can't ask so much.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes two minutes, and a release build"]
async fn promise_22_a_farm_of_three_that_is_asked_for_five_times_what_it_can_do() {
    for dead in [0, 1] {
        let (stage, ()) = Stage::with(|sim, text| {
            let three: Vec<_> = sim.xsps.iter().take(3).map(|xsp| xsp.address().to_string()).collect();
            text.remove("[farm.xsp]", "a").set("[farm.xsp]", "addresses", three);
            text.remove("[farm.xsp.failover]", "response_timeout").remove("[farm.xsp.failover]", "advance_after");
        })
        .await;
        for xsp in &stage.sim.xsps[dead..3] {
            xsp.count_only();
            xsp.behave(Behaviour::Slots(4, Duration::from_millis(20))).await;
        }
        for xsp in &stage.sim.xsps[..dead] {
            xsp.kill().await;
        }
        let seconds = 60;
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut sessions = JoinSet::new();
        for _ in 0..300 {
            let mut client = stage.client();
            sessions.spawn(async move {
                let (mut got, mut due) = (Got::default(), tokio::time::Instant::now());
                while Instant::now() < end {
                    match client.get(PROFILE).await.status {
                        StatusCode::OK => got.answers += 1,
                        StatusCode::TOO_MANY_REQUESTS => got.rejected += 1,
                        other => got.others.push(other.as_u16()),
                    }
                    due += Duration::from_millis(100);
                    tokio::time::sleep_until(due).await;
                }
                got
            });
        }
        let mut heartbeats = JoinSet::new();
        for _ in 0..20 {
            let (mut channel, mut client) = (Channel::open(&stage).await, stage.client());
            client.forget_cookies();
            heartbeats.spawn(async move {
                let mut latest = Duration::ZERO;
                while Instant::now() < end {
                    let begun = Instant::now();
                    assert_eq!(client.send(channel.heartbeat()).await.status, StatusCode::OK);
                    latest = latest.max(begun.elapsed());
                    channel.is_alive().await;
                    tokio::time::sleep(Duration::from_millis(900)).await;
                }
                latest
            });
        }
        let got = sessions.join_all().await.into_iter().fold(Got::default(), |all, got| Got {
            answers: all.answers + got.answers,
            rejected: all.rejected + got.rejected,
            others: [all.others, got.others].concat(),
        });
        let latest = heartbeats.join_all().await.into_iter().max().unwrap();
        let metrics = stage.metrics().await;
        let blocked: f64 = stage.sim.xsps[dead..3]
            .iter()
            .map(|xsp| {
                let address = xsp.address().to_string();
                metrics.count("xspgate_blocklist_transitions_total", &[("to", "blocked"), ("endpoint", &address)])
            })
            .sum();
        let could = 200 * (3 - dead as u64) * seconds;
        eprintln!(
            "{dead} of 3 dead: {} of {could} answers, {} rejected, others {:?}, heartbeats within {latest:?}",
            got.answers, got.rejected, got.others
        );
        assert_eq!((got.others, blocked), (vec![], 0.0));
        assert!(got.answers * 10 >= could * 9 && latest < Duration::from_secs(1));
    }
}
