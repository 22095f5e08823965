//! Nothing but a dead XSP is blocked: one request says little about an XSP, since it may be the request that is at fault, and what
//! is done to an XSP is done to everybody's sessions.

use std::time::Duration;

use http::StatusCode;
use tokio::time::{Instant, sleep};
use xspgate::sim::site::{Simulation, Text};
use xspgate::sim::xsp::Behaviour;

use crate::harness::{Blocked, Client, NEW_CALL, PROFILE, Stage, client_requests, eventually};

/// What every XSP is asked for in vain.
const REPORT: &str = "/com.broadsoft.xsi-actions/v2.0/user/bob%40example.com/directories/enterprise";

/// What an XSP may do with one page, and what the client gets then.
fn odd_answers() -> [(&'static str, Behaviour, StatusCode); 6] {
    [
        ("slow", Behaviour::Slow(Duration::from_secs(3)), StatusCode::GATEWAY_TIMEOUT),
        ("garbage", Behaviour::Garbage(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), StatusCode::BAD_GATEWAY),
        ("a broken head", Behaviour::Garbage(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n".to_vec()), StatusCode::BAD_GATEWAY),
        ("an early end", Behaviour::Close, StatusCode::BAD_GATEWAY),
        ("a reset", Behaviour::Reset, StatusCode::BAD_GATEWAY),
        ("503", Behaviour::Status(StatusCode::SERVICE_UNAVAILABLE), StatusCode::SERVICE_UNAVAILABLE),
    ]
}

/// Three XSPs of one site, or two of each of two.
fn sites(count: usize) -> impl FnOnce(&Simulation, &mut Text) {
    move |sim, text| {
        let addresses: Vec<_> = sim.xsps.iter().map(|xsp| xsp.address().to_string()).collect();
        text.remove("[farm.xsp]", "a").remove_section("[[https]]");
        let parts: &[&[String]] = if count == 1 { &[&addresses[..3]] } else { &[&addresses[..2], &addresses[2..]] };
        for (index, part) in parts.iter().enumerate() {
            text.push("[[farm.xsp.site]]").set("[[farm.xsp.site]]", "name", format!("site-{index}"));
            text.set("[[farm.xsp.site]]", "addresses", part.to_vec());
        }
        Simulation::serve(text);
    }
}

async fn all_behave(stage: &Stage, behaviour: &Behaviour) {
    for xsp in &stage.sim.xsps {
        xsp.behave(behaviour.clone()).await;
    }
}

/// Sessions of other users, and where each is at home.
async fn sessions(stage: &Stage, count: usize) -> Vec<(Client, String)> {
    let mut sessions = Vec::new();
    for _ in 0..count {
        let mut client = stage.client();
        let home = client.get(PROFILE).await.xsp().to_owned();
        sessions.push((client, home));
    }
    sessions
}

/// One such request is answered as it must be, and costs nobody else anything.
async fn costs_nobody_an_xsp(site_count: usize) {
    let (stage, ()) = Stage::with(sites(site_count)).await;
    for (name, behaviour, status) in odd_answers() {
        let mut sessions = sessions(&stage, 8).await;
        all_behave(&stage, &Behaviour::on(REPORT, behaviour)).await;
        let mut asker = stage.client();
        let asked = tokio::spawn(async move { asker.get(REPORT).await.status });
        let begun = Instant::now();
        while !asked.is_finished() || begun.elapsed() < Duration::from_secs(1) {
            for (client, home) in &mut sessions {
                assert_eq!(client.get(PROFILE).await.xsp(), home, "another user's session has moved: {name}");
            }
            sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(asked.await.unwrap(), status, "{name}");
        let metrics = stage.metrics().await;
        assert_eq!(metrics.count("xspgate_endpoint_blocked", &[]), 0.0, "an XSP is blocked: {name}");
        let blocks = metrics.count("xspgate_blocklist_transitions_total", &[("to", "blocked")]);
        assert_eq!(blocks, 0.0, "an XSP was blocked: {name}");
        all_behave(&stage, &Behaviour::Normal).await;
    }
}

#[tokio::test]
async fn one_bad_page_costs_nobody_an_xsp_at_one_site() {
    costs_nobody_an_xsp(1).await;
}

#[tokio::test]
async fn one_bad_page_costs_nobody_an_xsp_at_two_sites() {
    costs_nobody_an_xsp(2).await;
}

#[tokio::test]
async fn a_page_that_is_slow_for_everybody_costs_a_look_in_ten_seconds() {
    let (stage, ()) = Stage::with(sites(1)).await;
    all_behave(&stage, &Behaviour::on(REPORT, Behaviour::Slow(Duration::from_secs(3)))).await;
    let mut others = sessions(&stage, 4).await;
    let begun = Instant::now();
    let askers: Vec<_> = (0..40)
        .map(|_| {
            let mut client = stage.client();
            tokio::spawn(async move {
                for _ in 0..2 {
                    assert_eq!(client.get(REPORT).await.status, StatusCode::GATEWAY_TIMEOUT);
                }
            })
        })
        .collect();
    while !askers.iter().all(tokio::task::JoinHandle::is_finished) {
        for (client, home) in &mut others {
            let answer = client.get(PROFILE).await;
            assert_eq!((answer.status, answer.xsp()), (StatusCode::OK, &**home));
        }
        sleep(Duration::from_millis(10)).await;
    }
    for asker in askers {
        asker.await.unwrap();
    }
    let metrics = stage.metrics().await;
    assert_eq!(metrics.count("xspgate_blocklist_transitions_total", &[("to", "blocked")]), 0.0);
    let looks = metrics.count("xspgate_probes_total", &[("outcome", "cleared")]);
    // One at each XSP as long as the others' requests are answered at once; on a machine that is busy, one a second.
    let most = 3.0 * (begun.elapsed().as_secs_f64() + 1.0);
    assert!((1.0..=most).contains(&looks), "looks: {looks}");
}

#[tokio::test]
async fn r_fail_3_an_xsp_that_hangs_on_everything_is_blocked_within_three_seconds() {
    let (stage, ()) = Stage::with(sites(1)).await;
    let mut homes = Vec::new();
    while !homes.iter().any(|(_, home)| home == "a1") {
        homes.extend(sessions(&stage, 1).await);
    }
    stage.xsp("a1").behave(Behaviour::Hang).await;
    let begun = Instant::now();
    let (mut client, _) = homes.pop().unwrap();
    assert_eq!(client.get(PROFILE).await.status, StatusCode::OK);
    stage.until_blocked("a1", Blocked::Yes).await;
    // 600 ms, then a look of 2 s. The rest is for a machine that is busy.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_ne!(client.get(PROFILE).await.xsp(), "a1");
}

#[tokio::test]
async fn while_an_xsp_is_suspect_new_sessions_and_unsafe_requests_go_elsewhere_in_its_site() {
    let (stage, ()) = Stage::with(|sim, text| {
        sites(1)(sim, text);
        let failover = "[farm.xsp.failover]";
        text.set(failover, "advance_after", "100ms").set(failover, "response_timeout", "15s");
    })
    .await;
    stage.xsp("a1").behave(Behaviour::Hang).await;
    let mut first = stage.client();
    eventually("somebody meets it", async || {
        first.forget_cookies();
        assert_eq!(first.get(PROFILE).await.status, StatusCode::OK);
        stage.metrics().await.count("xspgate_blocklist_transitions_total", &[("to", "suspected")]) >= 1.0
    })
    .await;
    let met = client_requests(stage.xsp("a1"));
    for _ in 0..10 {
        assert_eq!(stage.client().post(NEW_CALL, "<Call/>").await.status, StatusCode::CREATED);
        assert_eq!(stage.client().get(PROFILE).await.status, StatusCode::OK);
    }
    assert_eq!(client_requests(stage.xsp("a1")), met);
    // It answers somebody again, even if that is only the gateway's look.
    stage.xsp("a1").behave(Behaviour::Normal).await;
}

#[tokio::test]
async fn suspicion_alone_sends_no_new_session_to_the_next_site() {
    let stage = Stage::in_order(|_, text| {
        let failover = "[farm.xsp.failover]";
        text.set(failover, "advance_after", "100ms").set(failover, "response_timeout", "15s");
    })
    .await;
    stage.xsp("a1").behave(Behaviour::on(REPORT, Behaviour::Hang)).await;
    assert_eq!(stage.client().get(REPORT).await.xsp(), "a2");
    for _ in 0..10 {
        assert_eq!(stage.client().get(PROFILE).await.xsp(), "a1");
    }
}

#[tokio::test]
async fn r_fail_3_to_the_letter_silence_blocks_without_a_look() {
    let stage = Stage::in_order(|_, text| {
        let failover = "[farm.xsp.failover]";
        text.set(failover, "on_silence", "block").set(failover, "on_5xx", "block");
    })
    .await;
    stage.xsp("a1").behave(Behaviour::on(PROFILE, Behaviour::Hang)).await;
    assert_eq!(stage.client().get(PROFILE).await.xsp(), "a2");
    stage.until_blocked("a1", Blocked::Yes).await;
    assert_eq!(stage.xsp("a1").request_count(), 1, "the gateway has looked for itself");
}

#[tokio::test]
async fn r_fail_1_to_the_letter_a_connection_that_ends_blocks_without_a_look() {
    let stage = Stage::in_order(|_, text| {
        text.set("[farm.xsp.failover]", "on_silence", "block");
    })
    .await;
    stage.xsp("a1").behave(Behaviour::on(PROFILE, Behaviour::Close)).await;
    assert_eq!(stage.client().get(PROFILE).await.xsp(), "a2");
    stage.until_blocked("a1", Blocked::Yes).await;
    assert_eq!(stage.xsp("a1").request_count(), 1, "the gateway has looked for itself");
}

#[tokio::test]
async fn r_fail_6_a_standby_site_that_dies_and_returns_is_known_though_nobody_asks_it() {
    let stage = Stage::in_order(|_, text| {
        text.set("[farm.xsp]", "look_when_idle", "1s").set("[farm.xsp.failover]", "block_for", "1s");
    })
    .await;
    stage.xsp("b2").kill().await;
    stage.until_blocked("b2", Blocked::Yes).await;
    let looks = stage.metrics().await.count("xspgate_probes_total", &[("outcome", "failed")]);
    assert!(looks >= 1.0);
    stage.xsp("b2").revive().await;
    stage.until_blocked("b2", Blocked::No).await;
    assert_eq!(stage.asked(), 0, "nobody has asked for anything");
    assert_eq!(stage.metrics().await.count("xspgate_endpoint_probation", &[]), 0.0);
}
