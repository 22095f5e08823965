//! R-FAIL-1 to R-FAIL-8: which XSP is asked when one does not do as it should.

use std::time::{Duration, Instant};

use http::StatusCode;
use xspgate::sim::pki::Show;
use xspgate::sim::xsp::Behaviour;

use crate::harness::{Blocked, DEADLINE, PROFILE, Stage, client_requests, eventually};

/// a1 behaves so: the client gets a2's answer without noticing much, a1 is blocked and left alone.
async fn is_advanced_over(behaviour: Behaviour) {
    let stage = Stage::in_order(|_, _| ()).await;
    let what = format!("{behaviour:?}");
    stage.xsp("a1").behave(behaviour).await;
    let answer = stage.client().get(PROFILE).await;
    assert_eq!((answer.status, answer.xsp()), (StatusCode::OK, "a2"), "{what}");
    stage.until_blocked("a1", Blocked::Yes).await;

    let connections = stage.xsp("a1").connections().accepted;
    for _ in 0..10 {
        assert_eq!(stage.client().get(PROFILE).await.xsp(), "a2", "{what}");
    }
    assert_eq!(stage.xsp("a1").connections().accepted, connections, "a blocked XSP was asked: {what}");
}

#[tokio::test]
async fn r_fail_1_a_closed_port_is_advanced_over() {
    is_advanced_over(Behaviour::Refuse).await;
}

#[tokio::test]
async fn r_fail_1_a_silent_handshake_is_advanced_over() {
    is_advanced_over(Behaviour::SilentTcp).await;
}

#[tokio::test]
async fn r_fail_1_plain_text_instead_of_tls_is_advanced_over() {
    is_advanced_over(Behaviour::PlainText).await;
}

#[tokio::test]
async fn r_fail_1_r_tls_4_each_wrong_certificate_is_advanced_over() {
    for wrong in Show::WRONG {
        is_advanced_over(Behaviour::Certificate(wrong)).await;
    }
}

#[tokio::test]
async fn r_fail_1_a_reset_is_advanced_over() {
    is_advanced_over(Behaviour::Reset).await;
}

#[tokio::test]
async fn r_fail_1_a_connection_closed_instead_of_an_answer_is_advanced_over() {
    is_advanced_over(Behaviour::Close).await;
}

#[tokio::test]
async fn r_fail_1_garbage_is_advanced_over() {
    is_advanced_over(Behaviour::Garbage(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())).await;
}

#[tokio::test]
async fn r_fail_1_a_killed_xsp_is_advanced_over_by_sessions_too() {
    let stage = Stage::in_order(|_, _| ()).await;
    let mut client = stage.client();
    assert_eq!(client.get(PROFILE).await.xsp(), "a1");
    stage.xsp("a1").kill().await;
    let answer = client.get(PROFILE).await;
    assert_eq!((answer.status, answer.xsp()), (StatusCode::OK, "a2"));
}

#[tokio::test]
async fn r_fail_2_a_5xx_is_advanced_over_and_confirmed_before_it_blocks() {
    is_advanced_over(Behaviour::Status(StatusCode::SERVICE_UNAVAILABLE)).await;
}

#[tokio::test]
async fn r_fail_2_one_users_5xx_does_not_block_a_healthy_xsp() {
    let stage = Stage::in_order(|_, _| ()).await;
    let poisoned = "/com.broadsoft.xsi-actions/v2.0/user/busy/profile";
    let behaviour = Behaviour::on(poisoned, Behaviour::Status(StatusCode::SERVICE_UNAVAILABLE));
    stage.xsp("a1").behave(behaviour).await;
    assert_eq!(stage.client().get(poisoned).await.xsp(), "a2");
    eventually("the second look", async || {
        stage.metrics().await.count("xspgate_probes_total", &[("outcome", "cleared")]) >= 1.0
    })
    .await;
    assert_eq!(stage.client().get(PROFILE).await.xsp(), "a1", "a healthy XSP was blocked");
    assert_eq!(stage.client().get(poisoned).await.xsp(), "a2");
}

#[tokio::test]
async fn r_fail_2_to_the_letter_a_5xx_blocks_without_a_second_look() {
    let stage = Stage::in_order(|_, text| {
        text.set("[farm.xsp.failover]", "on_5xx", "block");
    })
    .await;
    let behaviour = Behaviour::on(PROFILE, Behaviour::Status(StatusCode::BAD_GATEWAY));
    stage.xsp("a1").behave(behaviour).await;
    assert_eq!(stage.client().get(PROFILE).await.xsp(), "a2");
    stage.until_blocked("a1", Blocked::Yes).await;
    assert_eq!(stage.xsp("a1").request_count(), 1, "the XSP was asked a second time");
}

#[tokio::test]
async fn r_fail_2_a_5xx_may_be_taken_for_an_answer() {
    let stage = Stage::in_order(|_, text| {
        text.set("[farm.xsp.failover]", "on_5xx", "answer");
    })
    .await;
    stage.xsp("a1").behave(Behaviour::Status(StatusCode::SERVICE_UNAVAILABLE)).await;
    let answer = stage.client().get(PROFILE).await;
    assert_eq!((answer.status, answer.xsp()), (StatusCode::SERVICE_UNAVAILABLE, "a1"));
    assert_eq!(stage.asked(), 1);
}

#[tokio::test]
async fn r_fail_2_when_all_tries_give_5xx_the_client_gets_the_last_one() {
    let stage = Stage::in_order(|_, _| ()).await;
    for (name, status) in [("a1", 500), ("a2", 502), ("b1", 503), ("b2", 504)] {
        stage.xsp(name).behave(Behaviour::Status(StatusCode::from_u16(status).unwrap())).await;
    }
    let answer = stage.client().get(PROFILE).await;
    assert_eq!((answer.status.as_u16(), answer.xsp()), (503, "b1"));
    assert!(answer.text().contains("<h1>503"), "the XSP's own body: {}", answer.text());
}

#[tokio::test]
async fn r_fail_3_a_safe_request_asks_the_next_xsp_while_the_first_is_silent() {
    let stage = Stage::in_order(|_, text| {
        text.set("[farm.xsp.failover]", "response_timeout", "3s");
    })
    .await;
    stage.xsp("a1").behave(Behaviour::Hang).await;
    let answer = stage.client().get(PROFILE).await;
    assert_eq!((answer.status, answer.xsp()), (StatusCode::OK, "a2"));
    assert!(answer.took >= Duration::from_millis(300), "before advance_after: {:?}", answer.took);
    assert!(answer.took < Duration::from_secs(3), "not before response_timeout: {:?}", answer.took);
    stage.until_blocked("a1", Blocked::Yes).await;
}

#[tokio::test]
async fn r_fail_3_without_advance_the_next_xsp_is_asked_after_the_timeout() {
    let stage = Stage::in_order(|_, text| {
        text.set("[farm.xsp.failover]", "advance_after", "off");
    })
    .await;
    stage.xsp("a1").behave(Behaviour::Hang).await;
    let answer = stage.client().get(PROFILE).await;
    assert_eq!((answer.status, answer.xsp()), (StatusCode::OK, "a2"));
    assert!(answer.took >= Duration::from_secs(1), "before response_timeout: {:?}", answer.took);
    stage.until_blocked("a1", Blocked::Yes).await;
}

#[tokio::test]
async fn r_fail_3_a_slow_answer_in_time_blocks_nobody() {
    let stage = Stage::in_order(|_, text| {
        text.set("[farm.xsp.failover]", "response_timeout", "15s").set("[farm.xsp.failover]", "advance_after", "off");
    })
    .await;
    stage.xsp("a1").behave(Behaviour::Slow(Duration::from_millis(600))).await;
    let mut client = stage.client();
    for _ in 0..2 {
        assert_eq!(client.get(PROFILE).await.xsp(), "a1");
    }
    assert_eq!(stage.asked(), 2);
}

#[tokio::test]
async fn r_fail_3_when_all_are_silent_the_client_gets_504() {
    let stage = Stage::in_order(|_, _| ()).await;
    for xsp in &stage.sim.xsps {
        xsp.behave(Behaviour::Hang).await;
    }
    let answer = stage.client().get(PROFILE).await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(stage.asked(), 3);
}

#[tokio::test]
async fn r_fail_4_three_xsps_are_tried_and_never_a_fourth() {
    let stage = Stage::start().await;
    for xsp in &stage.sim.xsps {
        xsp.behave(Behaviour::Reset).await;
    }
    let answer = stage.client().get(PROFILE).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    let mut counts: Vec<_> = stage.sim.xsps.iter().map(client_requests).collect();
    counts.sort_unstable();
    assert_eq!(counts, [0, 1, 1, 1]);
}

#[tokio::test]
async fn r_fail_4_the_number_of_tries_is_the_operators() {
    let stage = Stage::in_order(|_, text| {
        text.set("[farm.xsp.failover]", "tries", 1);
    })
    .await;
    stage.xsp("a1").behave(Behaviour::Reset).await;
    assert_eq!(stage.client().get(PROFILE).await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(stage.asked(), 1);
}

#[tokio::test]
async fn r_fail_6_a_block_runs_out_and_not_before() {
    let stage = Stage::in_order(|_, text| {
        text.set("[farm.xsp.failover]", "block_for", "1s");
    })
    .await;
    stage.xsp("a1").behave(Behaviour::Refuse).await;
    let blocked_after = Instant::now();
    assert_eq!(stage.client().get(PROFILE).await.xsp(), "a2");
    stage.xsp("a1").revive().await;
    eventually("a1's return", async || stage.client().get(PROFILE).await.xsp() == "a1").await;
    let first = stage.xsp("a1").requests()[0].at;
    assert!(first - blocked_after >= Duration::from_millis(900), "back after {:?}", first - blocked_after);
}

#[tokio::test]
async fn r_fail_6_one_request_at_a_time_tries_an_xsp_on_probation() {
    let stage = Stage::in_order(|_, text| {
        text.set("[farm.xsp.failover]", "block_for", "500ms");
    })
    .await;
    stage.xsp("a1").behave(Behaviour::Hang).await;
    let begun = Instant::now();
    assert_eq!(stage.client().get(PROFILE).await.xsp(), "a2");
    stage.until_blocked("a1", Blocked::Yes).await;
    let asked_before = client_requests(stage.xsp("a1"));
    let crowd = (0..6).map(|_| {
        let mut client = stage.client();
        tokio::spawn(async move {
            while begun.elapsed() < Duration::from_secs(5) {
                client.forget_cookies();
                assert_eq!(client.get(PROFILE).await.xsp(), "a2");
            }
        })
    });
    for member in crowd.collect::<Vec<_>>() {
        member.await.unwrap();
    }
    // A trial takes a second, and the block behind it half a one (less 10 % of jitter).
    let trials = client_requests(stage.xsp("a1")) - asked_before;
    assert!((1..=4).contains(&trials), "{trials} trials in five seconds");
}

#[tokio::test]
async fn r_fail_7_r_fail_8_when_all_are_blocked_one_is_tried_and_unblocked_by_success() {
    let stage = Stage::start().await;
    for xsp in &stage.sim.xsps {
        xsp.kill().await;
    }
    // Each request finds three of the four at most.
    for _ in 0..2 {
        assert_eq!(stage.client().get(PROFILE).await.status, StatusCode::BAD_GATEWAY);
    }
    for name in ["a1", "a2", "b1", "b2"] {
        stage.until_blocked(name, Blocked::Yes).await;
    }
    for xsp in &stage.sim.xsps {
        xsp.revive().await;
    }
    let answer = stage.client().get(PROFILE).await;
    assert_eq!(answer.status, StatusCode::OK);
    stage.until_blocked(answer.xsp(), Blocked::No).await;
    // What held all of them down is over for the others, too: the gateway looks, and waits for no block to run out.
    for name in ["a1", "a2", "b1", "b2"] {
        stage.until_blocked(name, Blocked::No).await;
    }
    assert_eq!(stage.asked(), 1);
}

#[tokio::test]
async fn r_fail_1_a_failing_farm_is_not_flooded() {
    let stage = Stage::start().await;
    for xsp in &stage.sim.xsps {
        xsp.behave(Behaviour::Reset).await;
    }
    for _ in 0..100 {
        assert_eq!(stage.client().get(PROFILE).await.status, StatusCode::BAD_GATEWAY);
    }
    // 100 of clients, 20 doubtful repeats, and those before the blocklist was full.
    assert!(stage.asked() <= 100 + 20 + 12, "{} requests", stage.asked());
}

#[tokio::test]
async fn r_fail_1_2_3_one_of_four_xsps_may_break_under_load_without_an_error() {
    let misbehaviours = [
        Behaviour::Refuse,
        Behaviour::Reset,
        Behaviour::Hang,
        Behaviour::Status(StatusCode::SERVICE_UNAVAILABLE),
        Behaviour::SilentTcp,
    ];
    for behaviour in misbehaviours {
        let stage = Stage::start().await;
        let mut clients: Vec<_> = (0..6).map(|_| stage.client()).collect();
        let home = clients[0].get(PROFILE).await.xsp().to_owned();
        let crowd: Vec<_> = clients
            .into_iter()
            .map(|mut client| {
                tokio::spawn(async move {
                    for _ in 0..40 {
                        assert_eq!(client.get(PROFILE).await.status, StatusCode::OK);
                    }
                })
            })
            .collect();
        assert!(stage.xsp(&home).until(DEADLINE, |requests| requests.len() > 5).await);
        stage.xsp(&home).behave(behaviour.clone()).await;
        if behaviour == Behaviour::Refuse || behaviour == Behaviour::SilentTcp {
            stage.xsp(&home).disconnect().await;
        }
        for member in crowd {
            member.await.unwrap_or_else(|error| panic!("{behaviour:?}: {error}"));
        }
    }
}
