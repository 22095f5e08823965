//! `end_untrusted`: clients whose CA was removed, or whose certificate was revoked, while they are connected (R-CTI-1, R-AUTH-2).

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::version::TLS13;
use xspgate::sim::cti::Ending;
use xspgate::sim::pki::{CTI_CLIENT, Caller, Pki};
use xspgate::sim::site::{CLOUD, Simulation, Text};
use xspgate::sim::xsp::Behaviour;

use crate::client_certificates::shows;
use crate::harness::{
    CHANNEL, PROFILE, Program, RawClient, Received, Stage, assert_bridged, dial, eventually, greeting, refusal, rest,
    within,
};

async fn ended(stage: &Stage, reason: &str) -> f64 {
    stage.metrics().await.count("xspgate_clients_ended_total", &[("reason", reason)])
}

/// The configuration as it is, but for this.
fn change(stage: &Stage, from: &str, to: &str) {
    let path = stage.sim.folder().join("xspgate.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(&path, text.replacen(from, to, 1)).unwrap();
}

#[tokio::test]
async fn r_cti_1_a_revoked_client_is_ended_and_others_go_on() {
    let stage = Stage::cti(|sim, text| {
        fs::write(sim.folder().join("webex.crl"), sim.pki.webex_crl()).unwrap();
        text.set("[[cti]]", "end_untrusted", false);
    })
    .await;
    let revoked = stage.webex().showing(stage.sim.pki.caller(Caller::Revoked));
    let (mut good, _) = stage.greeted().await;
    let mut bad = dial(&revoked, stage.gateway.cti()).await.unwrap();
    greeting(&mut bad).await;

    // As the default has it, what has got through lasts.
    let crl = format!("[trust.webex]\ncrl = \"{}/webex.crl\"", stage.sim.folder().display());
    change(&stage, "[trust.webex]", &crl);
    stage.gateway.reload().await;
    refusal(&revoked, stage.gateway.cti()).await;
    assert_bridged(&mut bad, b"still here").await;
    assert_bridged(&mut good, b"here, too").await;

    change(&stage, "end_untrusted = false", "end_untrusted = true");
    stage.gateway.reload().await;
    let (bytes, ending) = rest(&mut bad).await;
    assert_eq!((bytes, ending), (Vec::new(), Ending::CloseNotify));
    stage.until_ended("client-untrusted", 1.0).await;
    assert_eq!(ended(&stage, "client-certificate-revoked").await, 1.0);
    assert_bridged(&mut good, b"still here").await;
    assert_eq!(ended(&stage, "").await + ended(&stage, "client-certificate-issuer").await, 0.0);

    fs::write(stage.sim.folder().join("CombinedCertChain.txt"), Pki::new().webex_chain()).unwrap();
    change(&stage, &crl, "[trust.webex]");
    stage.gateway.reload().await;
    assert_eq!(rest(&mut good).await.1, Ending::CloseNotify);
    assert_eq!(ended(&stage, "client-certificate-issuer").await, 1.0);
}

#[tokio::test]
async fn r_cti_1_a_client_whose_certificate_expires_is_ended_at_the_next_reload() {
    let stage = Stage::cti(|_, text| {
        text.set("[[cti]]", "end_untrusted", true);
    })
    .await;
    let (mut good, _) = stage.greeted().await;
    let short = stage.webex().showing(stage.sim.pki.webex_client_for(Duration::from_secs(2)));
    let mut bad = dial(&short, stage.gateway.cti()).await.unwrap();
    greeting(&mut bad).await;
    eventually("its end", async || {
        stage.gateway.reload().await;
        ended(&stage, "client-certificate-expired").await == 1.0
    })
    .await;
    assert_eq!(rest(&mut bad).await.1, Ending::CloseNotify);
    assert_bridged(&mut good, b"still here").await;
}

#[tokio::test]
async fn r_cti_1_clients_that_are_believed_no_longer_end_one_after_the_other() {
    let stage = Stage::cti(|_, text| {
        // Other tests' connections in this process count, too.
        text.set("", "drain_spread", "10m").set("[[cti]]", "end_untrusted", true);
    })
    .await;
    let mut calls = Vec::new();
    for _ in 0..4 {
        calls.push(stage.greeted().await.0);
    }
    fs::write(stage.sim.folder().join("CombinedCertChain.txt"), Pki::new().webex_chain()).unwrap();
    let begun = Instant::now();
    stage.gateway.renew();
    for call in &mut calls {
        assert_eq!(rest(call).await.1, Ending::CloseNotify);
    }
    // About a second apart, as few as they are.
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
}

fn demanded(sim: &Simulation, text: &mut Text) {
    let chain = sim.folder().join("CombinedCertChain.txt");
    text.set("[trust.webex]", "ca", chain.to_str().unwrap());
    text.set("[[https]]", "client_trust", "webex").set("[[https]]", "end_untrusted", true);
    text.set("[[https]]", "client_names", vec![CTI_CLIENT.to_owned()]);
}

async fn connected(stage: &Stage) -> RawClient {
    let identity = stage.sim.pki.caller(Caller::Webex);
    let tls = Arc::new(shows(&stage.sim.pki, &TLS13, Some(&identity)));
    RawClient::try_connect(stage.gateway.https(), CLOUD, tls).await.unwrap()
}

#[tokio::test]
async fn r_auth_2_clients_of_a_removed_ca_end_when_what_is_in_flight_has_ended() {
    let (stage, ()) = Stage::with(demanded).await;
    let mut channel = connected(&stage).await;
    let body = "<Channel/>";
    let head = format!("POST {CHANNEL} HTTP/1.1\r\nHost: {CLOUD}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    channel.send(head).await;
    channel.until(|bytes| bytes.windows(12).any(|window| window == b"</channelId>")).await;
    let mut idle = connected(&stage).await;
    idle.send(format!("HEAD {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n")).await;
    assert_eq!(idle.until_tail("\r\n\r\n").await.status(), 200);
    for xsp in &stage.sim.xsps {
        xsp.behave(Behaviour::Slow(Duration::from_millis(700))).await;
    }
    let mut busy = connected(&stage).await;
    busy.send(format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n")).await;
    eventually("the request", async || stage.asked() >= 3).await;

    let theirs = Pki::new();
    fs::write(stage.sim.folder().join("CombinedCertChain.txt"), theirs.webex_chain()).unwrap();
    stage.gateway.renew();
    for (client, what) in [(&mut idle, "idle"), (&mut busy, "busy"), (&mut channel, "channel")] {
        let received = within(what, client.until_closed()).await;
        assert!(matches!(received, Received::Closed(_)), "{what} ends by close_notify: {received:?}");
        assert!(what != "busy" || received.status() == 200, "what is in flight has its answer: {received:?}");
        assert!(what != "channel" || !received.text().ends_with("0\r\n\r\n"), "a channel has not ended by itself");
    }
    assert_eq!(ended(&stage, "client-certificate-issuer").await, 3.0);
    let tls = Arc::new(shows(&stage.sim.pki, &TLS13, Some(&theirs.caller(Caller::Webex))));
    let mut theirs = RawClient::try_connect(stage.gateway.https(), CLOUD, tls).await.unwrap();
    theirs.send(format!("HEAD {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n")).await;
    assert_eq!(theirs.until_tail("\r\n\r\n").await.status(), 200, "who is believed now is served");
}

#[tokio::test]
async fn r_cti_1_who_is_turned_away_or_ended_is_named_by_subject_and_issuer() {
    let stage = Stage::cti(|_, text| {
        text.set("[[cti]]", "end_untrusted", true);
    })
    .await;
    let path = stage.sim.folder().join("xspgate.toml");
    let program = Program::start(&["run", path.to_str().unwrap()]);
    let serving = |line: &str| line.strip_prefix("serving CTI on ")?.parse().ok();
    let cti = program.line("the CTI address", serving).await;
    let said = async |parts: &[&str]| {
        program.line("what is said", |line| parts.iter().all(|part| line.contains(part)).then_some(())).await;
    };
    let mut call = dial(&stage.webex(), cti).await.unwrap();
    greeting(&mut call).await;
    refusal(&stage.webex().showing(stage.sim.pki.caller(Caller::WrongName)), cti).await;
    let issuer = r#""tls.client.issuer":"CN="#;
    said(&["client rejected", "client-certificate-name", r#""tls.client.subject":"CN="#, issuer]).await;
    fs::write(stage.sim.folder().join("CombinedCertChain.txt"), Pki::new().webex_chain()).unwrap();
    program.signal("HUP");
    assert_eq!(rest(&mut call).await.1, Ending::CloseNotify);
    said(&[
        "connection of a client ended",
        "client-certificate-issuer",
        r#""tls.client.subject":"CN=bwcticlient.webex.com"#,
        issuer,
    ])
    .await;
}
