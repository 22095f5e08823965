//! Connections to XSPs that are used again, and XSPs that close them at the worst of moments: no request is lost to that, and
//! none is carried out twice.

use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::task::JoinSet;
use xspgate::app::Outcome;
use xspgate::sim::raw::{Gate, Raw, Step};
use xspgate::sim::site::{CLOUD, DOMAIN};

use crate::harness::{CHANNEL, NEW_CALL, PROFILE, Stage, eventually, rested, tiers};

const OK: &str = "HTTP/1.1 200 OK\r\nX-Xsp: raw\r\nContent-Length: 2\r\n\r\nok";

/// How long a connection rests before an unsafe request may go over it.
const REST: Duration = Duration::from_millis(10);

/// Sends POSTs over `clients` connections, each with a number of its own, one every `pace` on each connection until `until`
/// says so; returns the numbers of those that got 200, and of those that did not.
async fn load(
    stage: &Stage,
    clients: usize,
    pace: Duration,
    until: impl Fn(usize) -> bool + Clone + Send + 'static,
) -> (Vec<String>, Vec<(String, StatusCode, Instant)>) {
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        let (mut kept, until) = (stage.client(), until.clone());
        tasks.spawn(async move {
            let (mut served, mut failed) = (Vec::new(), Vec::new());
            let mut interval = tokio::time::interval(pace);
            for round in 0.. {
                if until(round) {
                    break;
                }
                interval.tick().await;
                let number = format!("<n>{client}-{round}</n>");
                let begun = Instant::now();
                let answer = kept.post(NEW_CALL, number.clone()).await;
                match answer.status {
                    StatusCode::OK => served.push(number),
                    status => failed.push((number, status, begun)),
                }
            }
            (served, failed)
        });
    }
    let (mut served, mut failed) = (Vec::new(), Vec::new());
    while let Some(done) = tasks.join_next().await {
        let (some, others) = done.unwrap();
        served.extend(some);
        failed.extend(others);
    }
    (served, failed)
}

/// How often each of the XSPs together has got the request with this number.
fn carried_out(received: &str, number: &str) -> usize {
    received.matches(number).count()
}

async fn stale(stage: &Stage) -> f64 {
    stage.metrics().await.count("xspgate_attempts_total", &[("outcome", "stale")])
}

#[tokio::test]
async fn an_xsp_that_closes_right_after_its_answers_costs_no_unsafe_request() {
    for end in [Step::Close, Step::Cut, Step::Reset] {
        let (stage, raw) = Stage::before_raw(|_, _| ()).await;
        // Every third answer is followed by an end, though nothing has said so.
        let count = 1200;
        for index in 0..count {
            let mut steps = vec![Step::Request, Step::send(OK)];
            if index % 3 == 2 {
                // A moment later: the answer is through before the end can be seen.
                steps.extend([Step::Wait(Duration::from_millis(1)), end.clone()]);
            }
            raw.next(steps);
        }
        let (served, failed) = load(&stage, 8, Duration::from_millis(1), move |round| round >= count / 8).await;
        // An XSP that is kept from running may be slower than any time to rest.
        let late = raw.closed_later_than(REST);
        assert!(failed.len() <= late, "{end:?}: {late} closed late, {failed:?}");
        assert!(failed.iter().all(|(_, status, _)| *status == StatusCode::BAD_GATEWAY), "{end:?}: {failed:?}");
        assert_eq!(served.len() + failed.len(), count, "{end:?}");
        let received = String::from_utf8_lossy(&raw.all_received()).into_owned();
        assert!(served.iter().all(|number| carried_out(&received, number) == 1), "{end:?}");
        assert!(failed.iter().all(|(number, ..)| carried_out(&received, number) <= 1), "{end:?}");
        let metrics = stage.metrics().await;
        assert!(metrics.count("xspgate_upstream_connections_total", &[("origin", "reused")]) > 0.0, "{end:?}");
        assert_eq!(metrics.count("xspgate_blocklist_transitions_total", &[("to", "blocked")]), 0.0, "{end:?}");
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_not_used_for_an_unsafe_request() {
    for end in [Step::Close, Step::Cut, Step::Reset] {
        let (stage, raw) = Stage::before_raw(|_, _| ()).await;
        let mut client = stage.client();
        for round in 1..=100 {
            let gate = Gate::new();
            raw.next(vec![Step::Request, Step::send(OK), Step::Gate(gate.clone()), end.clone()]);
            assert_eq!(
                client.post(NEW_CALL, format!("<n>{round}</n>")).await.status,
                StatusCode::OK,
                "{end:?} {round}"
            );
            tokio::time::sleep(REST).await;
            gate.open();
            // The gateway's own looks have connections, too.
            eventually("its end", async || raw.ended() == raw.received().len()).await;
        }
        assert_eq!(stale(&stage).await, 0.0, "{end:?}");
    }
}

#[tokio::test]
async fn an_xsp_that_is_killed_costs_what_it_had_begun_and_nothing_more() {
    let (stage, (first, second)) = Stage::with(|sim, text| {
        let first = Raw::start(DOMAIN, sim.address(31), &sim.pki).unwrap();
        let second = Raw::start(DOMAIN, sim.address(32), &sim.pki).unwrap();
        tiers(text, &[first.address(), second.address()]);
        text.set("", "workers", 1);
        (first, second)
    })
    .await;
    let (killing, begun) = (first.clone(), Instant::now());
    let killed = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(800)).await;
        killing.kill();
        // Its connections are reset by now.
        while killing.ended() < killing.received().len() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Instant::now()
    });
    let lasts = move |_| begun.elapsed() > Duration::from_secs(2);
    let (served, failed) = load(&stage, 20, Duration::from_millis(20), lasts).await;
    let killed = killed.await.unwrap();
    let (at_first, at_second) = (first.all_received(), second.all_received());
    let received = [String::from_utf8_lossy(&at_first), String::from_utf8_lossy(&at_second)].concat();
    assert!(served.iter().all(|number| carried_out(&received, number) == 1));
    assert!(failed.iter().all(|(number, ..)| carried_out(&received, number) <= 1));
    assert!(failed.len() <= 20, "one for each that was under way: {failed:?}");
    for (number, status, begun) in &failed {
        assert_eq!(*status, StatusCode::BAD_GATEWAY, "{number}");
        assert!(*begun < killed, "{number} began after the XSP had died");
        assert_eq!(carried_out(&String::from_utf8_lossy(&at_second), number), 0, "{number}");
    }
    assert!(served.iter().any(|number| carried_out(&String::from_utf8_lossy(&at_first), number) == 1));
    assert!(served.iter().any(|number| carried_out(&String::from_utf8_lossy(&at_second), number) == 1));
}

#[tokio::test]
async fn an_answer_before_the_end_of_its_request_is_its_connections_last() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";
    raw.next(vec![Step::send(head), Step::Request, Step::send("ok")]);
    let mut client = stage.raw_client().await;
    client.send(format!("POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\nContent-Length: 2\r\n\r\n")).await;
    client.until_tail("\r\n\r\n").await;
    client.send("hi").await;
    client.until_tail("ok").await;
    assert_eq!(stage.client().get(PROFILE).await.status, StatusCode::OK);
    assert_eq!(raw.received().len(), 2);
}

#[tokio::test]
async fn a_connection_that_carried_a_channel_carries_nothing_else() {
    let (stage, raw) = Stage::before_raw(|_, _| ()).await;
    let stream = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    raw.next(vec![Step::Request, Step::send(stream)]);
    assert_eq!(stage.client().post(CHANNEL, "<Channel/>").await.text(), "hi");
    assert_eq!(stage.client().get(PROFILE).await.status, StatusCode::OK);
    assert_eq!(raw.received().len(), 2);
}

#[tokio::test]
async fn a_reload_makes_pools_smaller() {
    let (stage, (raw, mut text)) = Stage::with(|sim, text| {
        let raw = Raw::start(DOMAIN, sim.address(31), &sim.pki).unwrap();
        tiers(text, &[raw.address()]);
        text.set("", "workers", 1);
        (raw, text.clone())
    })
    .await;
    let gate = Gate::new();
    raw.always(vec![Step::Request, Step::Gate(gate.clone()), Step::send(OK)]);
    let mut tasks = JoinSet::new();
    for _ in 0..6 {
        let mut client = stage.client();
        tasks.spawn(async move { client.post(NEW_CALL, "<Call/>").await.status });
    }
    eventually("six requests", async || gate.reached() == 6).await;
    (0..6).for_each(|_| gate.open());
    while let Some(status) = tasks.join_next().await {
        assert_eq!(status.unwrap(), StatusCode::OK);
    }
    let idle = async || stage.metrics().await.count("xspgate_pool_idle", &[]);
    eventually("six idle connections", async || idle().await == 6.0).await;
    for (key, value, left) in [("idle_per_endpoint", "2", 2.0), ("idle_timeout", "\"10ms\"", 0.0)] {
        match value.strip_prefix('"') {
            Some(time) => text.set("[farm.xsp.pool]", key, time.trim_end_matches('"')),
            None => text.set("[farm.xsp.pool]", key, value.parse::<i64>().unwrap()),
        };
        stage.sim.write_config(&text).unwrap();
        assert_eq!(
            stage.gateway.reload().await,
            Outcome::Applied { needs_restart: vec![], lost: vec![], warnings: None }
        );
        eventually(key, async || idle().await == left).await;
    }
    rested().await;
    raw.answer(OK);
    assert_eq!(stage.client().get(PROFILE).await.status, StatusCode::OK);
}
