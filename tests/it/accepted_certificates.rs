//! What certificates XSPs and CAs of the field come with, and what becomes of them: `docs/reference/accepted-dns-and-certificates.md` has one
//! row for each. Also where the gateway listens.

use std::fs;

use http::StatusCode;
use xspgate::sim::pki::Show;
use xspgate::sim::site::{Layout, Network, Simulation};
use xspgate::sim::xsp::Behaviour;

use crate::harness::{Client, Gateway, PROFILE, Program, Serving, Stage, eventually, examine, published_stage, tiers};

#[tokio::test]
async fn an_xsp_whose_own_certificate_is_in_the_trust_serves_before_and_after_a_reload() {
    let (stage, ()) = Stage::with(|sim, text| {
        tiers(text, &[sim.xsp("a1").address()]);
        let path = sim.folder().join("internal-ca.pem");
        let ca = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{ca}{}", sim.xsp("a1").certificate(Show::SelfSigned))).unwrap();
    })
    .await;
    assert_eq!(stage.client().get(PROFILE).await.status, StatusCode::OK);
    stage.xsp("a1").behave(Behaviour::Certificate(Show::SelfSigned)).await;
    stage.xsp("a1").disconnect().await;
    for _ in 0..5 {
        assert_eq!(stage.client().get(PROFILE).await.status, StatusCode::OK);
    }
    // Another certificate of its own, or one of another XSP, is none of those that were put there.
    stage.xsp("a1").behave(Behaviour::Certificate(Show::WrongName)).await;
    stage.xsp("a1").disconnect().await;
    assert_ne!(stage.client().get(PROFILE).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_refused_certificate_is_told_in_words_in_the_log_on_the_status_page_and_by_doctor() {
    let table = [
        (Show::WrongAuthority, "Stranger CA", "Stranger CA"),
        (Show::WrongName, "other.invalid, and not", "other.invalid"),
        (Show::Expired, "expired on ", "expired on "),
        (Show::NotYetValid, "is not valid before ", "is not valid before "),
        (Show::SelfSigned, "has signed itself, and [trust.internal] does not hold it", "has signed itself"),
    ];
    for (show, logged, found) in table {
        let stage = published_stage().await;
        stage.xsp("a1").behave(Behaviour::Certificate(show)).await;
        let serving = Serving::start(&stage).await;
        let told = || serving.program.lines().into_iter().find(|line| line.contains("endpoint blocked"));
        eventually("a blocked XSP", async || {
            let _ = Client::new(serving.https[0], stage.sim.pki.public_roots()).get(PROFILE).await;
            told().is_some()
        })
        .await;
        let line = told().unwrap();
        assert!(line.contains(logged), "{show:?}: {line}");
        assert!(!line.contains("OtherError") && !line.contains("Context"), "{show:?}: {line}");
        let status = serving.admin("/status").await.1;
        assert!(status.contains(logged), "{show:?}: {status}");
        let said = examine(&stage, &["xspgate.toml"]).await;
        let finding = said.of(&stage.xsp("a1").address().to_string(), "certificate");
        assert!(finding.found.contains(found), "{show:?}: {}", finding.found);
    }
}

#[tokio::test]
async fn a_cti_client_chain_of_the_leaf_alone_is_a_warning() {
    // Its issuer is none of the farm's CAs, and not in the file.
    let stage = Stage::cti(|_, text| {
        text.set("[farm.cti]", "trust", "webex");
    })
    .await;
    let ended = Program::run_in(stage.sim.folder(), &["check", "xspgate.toml"]);
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.code, 0, "{said}");
    let warning = "warning: XSPs that don't have its issuer will turn [certificate.cti-client] away on their CTI port";
    assert!(said.contains(warning), "{said}");
}

#[tokio::test]
async fn suites_that_a_fresh_xsp_does_not_speak_are_a_warning() {
    let (stage, ()) = Stage::with(|_, text| {
        let suites = ["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256"];
        text.set("[farm.xsp.tls]", "cipher_suites", suites.map(str::to_owned).to_vec());
    })
    .await;
    let ended = Program::run_in(stage.sim.folder(), &["check", "xspgate.toml"]);
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.code, 0, "{said}");
    assert!(said.contains("warning: none of these suites is one that a fresh XSP speaks in TLS 1.2"), "{said}");
}

#[tokio::test]
async fn with_freebind_the_gateway_listens_at_an_address_that_is_not_here_yet() {
    let sim = Simulation::start(Network::Own).await.unwrap();
    // Nobody's (RFC 5737).
    let mut text = sim.config(Layout::OneSite);
    text.set("[[https]]", "listen", vec!["192.0.2.77:0".to_owned(), "127.0.0.1:0".to_owned()]);
    let refused = Gateway::try_start(&sim.write_config(&text).unwrap()).await.err().unwrap();
    assert!(refused.contains("`freebind` under [tcp]"), "{refused}");
    text.set("[tcp]", "freebind", true);
    let gateway = Gateway::try_start(&sim.write_config(&text).unwrap()).await.unwrap();
    assert_eq!(gateway.all_https().len(), 2);
    gateway.until_ready().await;
}
