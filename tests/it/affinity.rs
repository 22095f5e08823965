//! R-AFF-1, R-AFF-2, R-APP-1: a session stays at its XSP, whatever happens around it.

use std::collections::BTreeMap;
use std::fs;

use http::{Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use xspgate::sim::xsp::Behaviour;

use crate::harness::{
    CHANNEL, Client, DEADLINE, Gateway, PROFILE, Program, Stage, body, eventually, get_plain, request, within,
};

#[tokio::test]
async fn r_aff_1_a_session_stays_at_its_xsp() {
    let stage = Stage::start().await;
    let mut client = stage.client();
    let first = client.get(PROFILE).await;
    let cookie = first.session().expect("a new session gets a cookie");
    for attribute in ["; Path=/", "; Secure", "; HttpOnly", "; SameSite=None"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    for index in 0..40 {
        if index % 4 == 0 {
            client.disconnect();
        }
        let answer = client.get(PROFILE).await;
        assert_eq!(answer.xsp(), first.xsp());
        assert_eq!(answer.session(), None, "a session that stays gets no new cookie");
    }
}

#[tokio::test]
async fn r_aff_1_sessions_begin_at_random_xsps() {
    let stage = Stage::start().await;
    let mut begun: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..200 {
        *begun.entry(stage.client().get(PROFILE).await.xsp().to_owned()).or_default() += 1;
    }
    assert_eq!(begun.len(), 4, "{begun:?}");
    // 50 are expected at each; 20 or 80 are five standard deviations away.
    assert!(begun.values().all(|count| (20..=80).contains(count)), "{begun:?}");
}

#[tokio::test]
async fn r_aff_1_the_cookie_leaks_nothing_and_reaches_no_xsp() {
    let stage = Stage::start().await;
    let mut client = stage.client();
    client.set_cookie("other", "kept");
    let home = client.get(PROFILE).await.xsp().to_owned();
    let tag = client.session().unwrap().to_owned();
    let address = stage.xsp(&home).address();
    // The XSP's name has two letters, which any tag may have by chance.
    assert!(!tag.contains(&address.ip().to_string()) && tag.len() == 22, "{tag}");
    client.get(PROFILE).await;
    let requests = stage.xsp(&home).requests();
    let cookies = requests[1].header("cookie");
    assert!(cookies.contains("other=kept") && cookies.contains("JSESSIONID="), "{cookies}");
    assert!(!cookies.contains("XSPGATE") && !cookies.contains(&tag), "{cookies}");
}

#[tokio::test]
async fn r_aff_1_a_forged_cookie_reaches_nothing_and_is_replaced() {
    let stage = Stage::start().await;
    let real = {
        let mut client = stage.client();
        client.get(PROFILE).await;
        client.session().unwrap().to_owned()
    };
    let mut flipped = real.clone();
    let last = if flipped.pop() == Some('A') { 'B' } else { 'A' };
    flipped.push(last);
    for forged in [flipped.as_str(), "127.0.0.1:80", "x", &"A".repeat(3000), &format!("{real}x")] {
        let mut client = stage.client();
        client.set_cookie("XSPGATE", forged);
        let answer = client.get(PROFILE).await;
        assert_eq!(answer.status, StatusCode::OK, "{forged}");
        assert!(answer.session().is_some(), "{forged} was believed");
    }
    assert!(stage.metrics().await.count("xspgate_sessions_total", &[("event", "unknown")]) >= 4.0);
}

#[tokio::test]
async fn r_app_1_a_session_that_moved_does_not_move_back() {
    let stage = Stage::in_order(|_, text| {
        text.set("[farm.xsp.failover]", "block_for", "100ms");
    })
    .await;
    let mut client = stage.client();
    assert_eq!(client.get(PROFILE).await.xsp(), "a1");
    stage.xsp("a1").kill().await;
    let moved = client.get(PROFILE).await;
    assert_eq!(moved.xsp(), "a2");
    assert!(moved.session().is_some(), "a session that moved gets a new cookie");
    stage.xsp("a1").revive().await;
    crate::harness::eventually("a1's return", async || stage.client().get(PROFILE).await.xsp() == "a1").await;
    for _ in 0..10 {
        let answer = client.get(PROFILE).await;
        assert_eq!((answer.xsp(), answer.session()), ("a2", None));
    }
}

#[tokio::test]
async fn r_app_1_a_5xx_that_reaches_the_client_moves_no_session() {
    let stage = Stage::in_order(|_, _| ()).await;
    let mut client = stage.client();
    assert_eq!(client.get(PROFILE).await.xsp(), "a1");
    for xsp in &stage.sim.xsps {
        let status = Behaviour::on("/com.broadsoft.xsi-actions/v2.0/user", Behaviour::Status(StatusCode::BAD_GATEWAY));
        xsp.behave(status).await;
    }
    let answer = client.get(PROFILE).await;
    assert_eq!((answer.status, answer.session()), (StatusCode::BAD_GATEWAY, None));
    for xsp in &stage.sim.xsps {
        xsp.behave(Behaviour::Normal).await;
    }
    assert_eq!(client.get(PROFILE).await.xsp(), "a1");
}

#[tokio::test]
async fn r_aff_1_sessions_outlive_a_restart_and_hold_at_every_gateway() {
    let stage = Stage::start().await;
    let mut client = stage.client();
    let home = client.get(PROFILE).await.xsp().to_owned();
    let second = Gateway::start(&stage.sim.folder().join("xspgate.toml")).await;
    second.until_ready().await;
    client.goes_to(second.https());
    for _ in 0..10 {
        let answer = client.get(PROFILE).await;
        assert_eq!((answer.xsp(), answer.session()), (home.as_str(), None));
    }
}

#[tokio::test]
async fn r_aff_1_keys_rotate_without_moving_a_session() {
    let stage = Stage::start().await;
    let mut client = stage.client();
    let home = client.get(PROFILE).await.xsp().to_owned();
    let key_file = stage.sim.folder().join("affinity.key");
    let old = std::fs::read_to_string(&key_file).unwrap();
    std::fs::write(&key_file, format!("{}\n{old}", "A".repeat(43) + "=")).unwrap();
    let rotated = Gateway::start(&stage.sim.folder().join("xspgate.toml")).await;
    rotated.until_ready().await;
    client.goes_to(rotated.https());
    for _ in 0..10 {
        assert_eq!(client.get(PROFILE).await.xsp(), home);
    }
    // Without the old key the tag is nobody's.
    std::fs::write(&key_file, "B".repeat(42) + "A=\n").unwrap();
    let foreign = Gateway::start(&stage.sim.folder().join("xspgate.toml")).await;
    foreign.until_ready().await;
    client.goes_to(foreign.https());
    assert!(client.get(PROFILE).await.session().is_some());
}

async fn open_channel(client: &mut Client) -> (hyper::body::Incoming, String) {
    let answer = client.open(request(Method::POST, CHANNEL, body("<Channel/>"))).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let mut stream = answer.into_body();
    let document = within("the channel's document", stream.frame()).await.unwrap().unwrap().into_data().unwrap();
    let document = String::from_utf8(document.to_vec()).unwrap();
    let id = document.split("<channelId>").nth(1).and_then(|rest| rest.split('<').next()).unwrap().to_owned();
    (stream, id)
}

#[tokio::test]
async fn r_aff_2_heartbeats_reach_the_xsp_of_their_channel() {
    let stage = Stage::start().await;
    for _ in 0..8 {
        let mut client = stage.client();
        let (mut stream, id) = open_channel(&mut client).await;
        let heartbeat = format!("/com.broadsoft.xsi-events/v2.0/channel/{id}/heartbeat");
        client.disconnect();
        for _ in 0..5 {
            let answer = client.send(request(Method::PUT, &heartbeat, body(""))).await;
            assert_eq!(answer.status, StatusCode::OK);
            let document = within("the heartbeat", stream.frame()).await.unwrap().unwrap().into_data().unwrap();
            assert!(String::from_utf8_lossy(&document).contains("ChannelHeartBeat"));
        }
    }
}

#[tokio::test]
async fn r_aff_1_the_xsps_own_cookies_keep_their_paths() {
    let stage = Stage::start().await;
    let mut client = stage.client();
    let answer = client.open(request(Method::POST, CHANNEL, body("<Channel/>"))).await.unwrap();
    let cookies: Vec<_> = answer.headers().get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(cookies.len(), 2, "{cookies:?}");
    assert!(
        cookies[0].starts_with("JSESSIONID=")
            && cookies[0].ends_with("; Path=/com.broadsoft.xsi-events; Secure; HttpOnly")
    );
    assert!(cookies[1].starts_with("XSPGATE="));
    let home = answer.headers()["x-xsp"].to_str().unwrap().to_owned();
    assert!(stage.xsp(&home).until(DEADLINE, |requests| requests.len() == 1).await);
}

#[tokio::test]
async fn r_aff_1_gateways_can_be_compared_by_the_fingerprints_of_their_keys() {
    let stage = Stage::start().await;
    let folder = stage.sim.folder();
    let shown = async |gateway: &Gateway| {
        let (_, status) = get_plain(gateway.admin_address(), "/status").await;
        let status: Value = serde_json::from_str(&status).unwrap();
        let keys = status["affinity_keys"].as_array().unwrap().clone();
        keys.iter()
            .map(|key| [&key["fingerprint"], &key["use"]].map(|text| text.as_str().unwrap().to_owned()))
            .collect()
    };
    let measured = async |fingerprint: &str, part: &str| {
        let labels = [("fingerprint", fingerprint), ("use", part)];
        stage.metrics().await.count("xspgate_affinity_key_info", &labels)
    };
    let keys: Vec<[String; 2]> = shown(&stage.gateway).await;
    let [[first, signs]] = keys.as_slice() else { panic!("{keys:?}") };
    assert_eq!((signs.as_str(), first.len()), ("signs", 8));
    assert_eq!(measured(first, "signs").await, 1.0);
    let check = Program::run_in(folder, &["check", "xspgate.toml"]).stdout;
    assert!(check.contains(&format!("\naffinity cookie XSPGATE, key {first}\n")), "{check}");
    let other = Gateway::start(&folder.join("xspgate.toml")).await;
    assert_eq!(shown(&other).await, keys, "the same key is the same everywhere");

    let path = folder.join("affinity.key");
    let old = fs::read_to_string(&path).unwrap();
    let made = Program::run_in(folder, &["certs", "affinity-key", "--out", "affinity.key", "--force"]).stdout;
    let new = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{new}{old}")).unwrap();
    stage.gateway.renew();
    eventually("the new key", async || shown(&stage.gateway).await.len() == 2).await;
    let keys: Vec<[String; 2]> = shown(&stage.gateway).await;
    assert_eq!((&keys[1][0], keys[1][1].as_str()), (first, "accepted"));
    assert!(made.contains(&format!("its fingerprint is {}\n", keys[0][0])), "{made}");
    assert_eq!((measured(&keys[0][0], "signs").await, measured(first, "accepted").await), (1.0, 1.0));
    assert_eq!(measured(first, "signs").await, 0.0);
    let check = Program::run_in(folder, &["check", "xspgate.toml"]).stdout;
    assert!(check.contains(&format!("key {} signs, {first} accepted too\n", keys[0][0])), "{check}");
    let told = get_plain(stage.gateway.admin_address(), "/status").await.1 + &check;
    assert!(!told.contains(old.trim()) && !told.contains(new.trim()));
}

#[tokio::test]
async fn a_gateway_without_sessions_has_no_key_to_compare() {
    let (stage, ()) = Stage::unready(|sim, text| {
        sim.serve_cti(text);
        text.remove_section("[[https]]").remove_section("[farm.xsp]").remove_section("[farm.xsp.failover]");
    })
    .await;
    assert_eq!(stage.metrics().await.count("xspgate_affinity_key_info", &[]), 0.0);
}
