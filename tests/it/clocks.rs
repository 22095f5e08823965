//! Time alone keeps no gateway from serving: with certificates, CAs and revocation lists that have expired or are not valid
//! yet, it starts, reloads and hands over, and says so; only a file that comes new is refused for it.

use std::path::PathBuf;

use http::StatusCode;
use rustls::pki_types::CertificateDer;
use serde_json::Value;
use xspgate::app::Outcome;
use xspgate::sim::cti::Webex;
use xspgate::sim::pki::{Identity, Lapsed};
use xspgate::sim::site::{APP, CLOUD, DOMAIN, Layout, Network, Simulation, Text};

use crate::handover::{Heir, heir};
use crate::harness::{
    Client, Clock, Ctl, Gateway, PROFILE, Program, RawClient, Serving, dial, eventually, greeting, tls_config,
};

/// Everything that has a certificate, a CA or a revocation list, with timings for impatient tests.
fn everything(sim: &Simulation) -> Text {
    let mut text = sim.config(Layout::OneSite);
    sim.serve_cti(&mut text);
    sim.serve_passthrough(&mut text);
    let folder = sim.folder().display();
    text.set("[trust.webex]", "crl", format!("{folder}/webex.crl"));
    text.set("[trust.internal]", "crl", format!("{folder}/internal.crl"));
    text.set("[control]", "socket", format!("{folder}/control.sock"));
    for farm in ["xsp", "cti"] {
        text.set(&format!("[farm.{farm}.failover]"), "block_for", "100ms");
    }
    text
}

/// A gateway with a clock of its own.
struct Shifted {
    // Dropped first, so that what stands behind the gateways outlives them.
    heirs: Vec<Heir>,
    serving: Serving,
    clock: Clock,
    text: Text,
    config: PathBuf,
    ctl: Ctl,
    sim: Simulation,
}

impl Shifted {
    /// `None`: the test has to be left out.
    async fn by(shift: &str) -> Option<Self> {
        let sim = Simulation::start(Network::Own).await.unwrap();
        sim.pki.write_lapsed(sim.folder(), &[CLOUD, APP], &[]).unwrap();
        let clock = Clock::wrong_by(shift, sim.folder())?;
        let text = everything(&sim);
        let config = sim.write_config(&text).unwrap();
        let serving = Serving::of_in(&clock.environment(), &config).await;
        let ctl = Ctl(sim.folder().join("control.sock"));
        Some(Self { heirs: Vec::new(), serving, clock, text, config, ctl, sim })
    }

    /// What `check` says, which has no error.
    fn checked(&self) -> String {
        let ended = Program::run_with(&self.clock.environment(), &["check", self.config.to_str().unwrap()]);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        ended.stderr.replace(&format!("{}/", self.sim.folder().display()), "")
    }

    /// Reloads a configuration that has changed, by `ctl` and by SIGHUP.
    async fn reload(&mut self, block_for: &str) {
        self.text.set("[farm.xsp.failover]", "block_for", block_for);
        self.sim.write_config(&self.text).unwrap();
        let said = self.ctl.done(&["reload"]).await;
        assert!(said.starts_with("reloaded\n"), "{said}");
    }

    async fn restart(&mut self) {
        let said = self.ctl.done(&["restart"]).await;
        self.heirs.push(heir(&said));
    }

    async fn status(&self) -> Value {
        serde_json::from_str(&self.ctl.done(&["status", "--json"]).await).unwrap()
    }

    /// What the status page says of the certificate or the lists of a section, each once.
    async fn states(&self, section: &str) -> Vec<String> {
        let status = self.status().await;
        let certificates = status["certificates"].as_array().unwrap().iter();
        let states =
            certificates.filter(|one| one["section"] == section).map(|one| one["state"].as_str().unwrap().to_owned());
        let mut states: Vec<_> = states.collect();
        states.sort();
        states.dedup();
        states
    }

    async fn asked(&self) -> StatusCode {
        Client::new(self.serving.https[0], self.sim.pki.public_roots()).get(PROFILE).await.status
    }

    async fn shown(&self) -> CertificateDer<'static> {
        let tls = tls_config(&self.sim.pki.public_roots());
        let client = RawClient::try_connect(self.serving.https[0], CLOUD, tls).await.unwrap();
        client.tls().peer_certificates().unwrap()[0].clone().into_owned()
    }

    fn webex(&self) -> Webex {
        Webex::new(&self.sim.pki)
    }

    /// Requests, CTI and pass-through reach XSPs.
    async fn serves(&self) {
        eventually("an answer of an XSP's", async || self.asked().await == StatusCode::OK).await;
        let mut call = dial(&self.webex(), self.serving.cti[0]).await.unwrap();
        greeting(&mut call).await;
        self.passes_through().await;
    }

    /// The gateway has no part in this TLS, so that its clock is of no interest.
    async fn passes_through(&self) {
        let pki = &self.sim.pki;
        let direct = self.webex().trusting(pki.internal_roots()).asking_for(DOMAIN).showing(pki.cti_client());
        let mut call = dial(&direct, self.serving.passthrough[0]).await.unwrap();
        greeting(&mut call).await;
    }

    /// Waits for a warning of the log's with these in it.
    async fn warned(&self, parts: &[&str]) {
        let is_it = |line: &str| (line.contains("WARN") && parts.iter().all(|part| line.contains(part))).then_some(());
        self.serving.program.line(&format!("{parts:?}"), is_it).await;
    }

    async fn refusals(&self, reason: &str) -> f64 {
        let metrics = self.serving.metrics().await;
        metrics.count("xspgate_tls_handshake_failures_total", &[("reason", reason)])
    }
}

#[tokio::test]
async fn a_clock_that_is_400_days_ahead_stops_nothing() {
    let Some(mut gateway) = Shifted::by("+400d").await else { return };
    let said = gateway.checked();
    for expected in [
        format!("warning: the certificate of CN={CLOUD} in public-chain.pem expired 310 days ago ("),
        "warning: XSPs will turn [certificate.cti-client] away on their CTI port: it expired 310 days ago (".to_owned(),
        "warning: revocation list 2 in webex.crl (CN=Simulated Webex Issuing CA) expired 370 days ago (".to_owned(),
    ] {
        assert!(said.contains(&expected), "{expected}\n{said}");
    }
    gateway.serves().await;
    gateway.warned(&["\"certificate.public\"", "public-chain.pem", CLOUD, "\"days\":310", "certificate expired"]).await;
    gateway.warned(&["\"trust.webex\"", "webex.crl", "\"days\":370", "is overdue"]).await;
    for (section, expected) in [
        ("certificate.public", &["expired", "valid"][..]),
        ("trust.webex", &["valid"]),
        ("trust.webex crl", &["expired"]),
    ] {
        assert_eq!(gateway.states(section).await, expected, "{section}");
    }
    let left =
        gateway.serving.metrics().await.value("xspgate_certificate_daysleft", &[("section", "certificate.cti-client")]);
    assert!(left.is_some_and(|left| (-310.1..-309.9).contains(&left)), "{left:?}");

    gateway.reload("150ms").await;
    gateway.serving.program.signal("HUP");
    gateway
        .serving
        .program
        .line("that nothing has changed", |line| line.contains("configuration unchanged").then_some(()))
        .await;
    gateway.serves().await;

    // What an overdue list is worth is decided by the configuration, and nothing but handshakes is refused for it.
    gateway.text.set("[trust.webex]", "crl_overdue", "refuse");
    gateway.reload("100ms").await;
    assert_eq!(gateway.asked().await, StatusCode::OK);
    drop(dial(&gateway.webex(), gateway.serving.cti[0]).await);
    eventually("a refusal", async || gateway.refusals("client-certificate-crl-overdue").await >= 1.0).await;
    gateway.text.set("[trust.webex]", "crl_overdue", "accept");
    gateway.reload("150ms").await;
    gateway.serves().await;

    // A certificate that comes new and has expired is refused, whoever asks; what is in use goes on.
    let (old, new) = (gateway.shown().await, gateway.sim.pki.public(&[CLOUD, APP]));
    new.write(gateway.sim.folder(), "public").unwrap();
    let why = gateway.ctl.refused(&["reload"]).await;
    assert!(why.contains(&format!("CN={CLOUD}")) && why.contains("expired 310 days ago"), "{why}");
    assert_eq!(gateway.shown().await, old);
    // At a start nobody knows what was in use before.
    gateway.restart().await;
    // A connection that comes in this very moment may still be the old process' to accept.
    eventually("the new certificate", async || gateway.shown().await == new.chain()[0]).await;
    gateway.serves().await;
    gateway.reload("100ms").await;
}

#[tokio::test]
async fn a_clock_that_is_behind_stops_nothing_and_is_forgotten_once_it_is_right() {
    // By ten days and a half before anything here is valid, CAs and peers included.
    let Some(mut gateway) = Shifted::by("-972h").await else { return };
    let said = gateway.checked();
    let early = "is not valid before ";
    for expected in [
        format!("warning: the certificate of CN={CLOUD} in public-chain.pem {early}"),
        format!("warning: XSPs will turn [certificate.cti-client] away on their CTI port: it {early}"),
        format!("warning: certificate 1 in internal-ca.pem (CN=Simulated Internal CA) {early}"),
        "warning: CombinedCertChain.txt has no CA certificate that is valid now\n".to_owned(),
    ] {
        assert!(said.contains(&expected), "{expected}\n{said}");
    }
    gateway.warned(&["\"trust.internal\"", "internal-ca.pem", "\"days\":10", "is not valid yet"]).await;
    assert_eq!(gateway.states("trust.webex").await, ["not-yet-valid"]);
    // Peers are judged by the clock.
    assert!(gateway.asked().await.is_server_error());
    drop(dial(&gateway.webex(), gateway.serving.cti[0]).await);
    eventually("a refusal", async || gateway.refusals("client-certificate-not-yet-valid").await >= 1.0).await;
    gateway.passes_through().await;
    gateway.reload("150ms").await;

    // By a day and some: the gateway's own certificates have not begun, and those of its peers have.
    gateway.clock.set("-31h");
    gateway.serves().await;
    let certificates = gateway.states("certificate.cti-client").await;
    assert_eq!(certificates, ["not-yet-valid"]);
    gateway.reload("100ms").await;
    gateway.restart().await;
    gateway.serves().await;

    gateway.clock.set("+0d");
    for section in ["certificate.public", "certificate.cti-client", "trust.webex", "trust.internal", "trust.webex crl"]
    {
        assert_eq!(gateway.states(section).await, ["valid"], "{section}");
    }
    gateway.serves().await;
}

#[tokio::test]
async fn with_everything_expired_the_gateway_starts_reloads_and_hands_over() {
    let Some(mut gateway) = Shifted::by("+4000d").await else { return };
    let said = gateway.checked();
    for file in Lapsed::ALL.map(Lapsed::file) {
        assert!(said.contains(file) || file.starts_with("cti-client"), "{file}\n{said}");
    }
    assert!(!said.contains("error"), "{said}");
    for _ in 0..2 {
        assert!(gateway.asked().await.is_server_error(), "no XSP is believed");
        gateway.passes_through().await;
        gateway.reload("150ms").await;
        gateway.restart().await;
        gateway.reload("100ms").await;
    }
    // Nothing has to be read again once the clock is right.
    gateway.clock.set("+0d");
    gateway.serves().await;
}

#[tokio::test]
async fn a_renewed_certificate_that_is_early_is_taken_over_once_its_time_has_come() {
    let Some(gateway) = Shifted::by("+0d").await else { return };
    let early: Identity = gateway.sim.pki.public(&[CLOUD, APP]);
    gateway.clock.set("-31h");
    early.write(gateway.sim.folder(), "public").unwrap();
    let why = gateway.ctl.refused(&["reload"]).await;
    assert!(why.contains("is not valid before"), "{why}");
    assert_ne!(gateway.shown().await, early.chain()[0]);
    gateway.clock.set("+0d");
    eventually("the new certificate", async || gateway.shown().await == early.chain()[0]).await;
    let refused = async || gateway.serving.metrics().await.value("xspgate_renewal_refused", &[]);
    eventually("no refusal", async || refused().await == Some(0.0)).await;
}

/// One by one, with the machine's own clock: each gets a gateway that starts, and that reloads.
#[tokio::test]
async fn each_certificate_ca_and_list_may_have_expired() {
    let sim = Simulation::start(Network::Own).await.unwrap();
    let mut text = everything(&sim);
    for what in Lapsed::ALL {
        sim.pki.write_lapsed(sim.folder(), &[CLOUD, APP], &[what]).unwrap();
        text.set("[farm.xsp.failover]", "block_for", "100ms");
        let path = sim.write_config(&text).unwrap();
        let checked = Program::run_in(sim.folder(), &["check", path.to_str().unwrap()]);
        assert_eq!(checked.code, 0, "{what:?}: {}", checked.stderr);
        assert!(checked.stderr.contains("expired 1 day ago ("), "{what:?}: {}", checked.stderr);
        let gateway = Gateway::start(&path).await;
        gateway.until_ready().await;
        text.set("[farm.xsp.failover]", "block_for", "150ms");
        sim.write_config(&text).unwrap();
        let outcome = gateway.reload().await;
        let is_told =
            |warnings: &Option<String>| warnings.as_ref().is_some_and(|all| all.contains("expired 1 day ago ("));
        assert!(matches!(&outcome, Outcome::Applied { warnings, .. } if is_told(warnings)), "{what:?}: {outcome:?}");
        let tls = tls_config(&sim.pki.public_roots());
        let client = RawClient::try_connect(gateway.https(), CLOUD, tls).await;
        let is_shown = matches!(what, Lapsed::Public | Lapsed::PublicIssuing);
        let seen = client.as_ref().err().map(|error| error.to_string());
        assert_eq!(seen.is_some_and(|why| why.to_lowercase().contains("expired")), is_shown, "{what:?}");
        if is_shown {
            continue;
        }
        let believed = what != Lapsed::InternalCa;
        let mut client = Client::new(gateway.https(), sim.pki.public_roots());
        let answers = async || (client.get(PROFILE).await.status == StatusCode::OK) == believed;
        eventually(&format!("what is expected of {what:?}"), answers).await;
    }
}

#[tokio::test]
async fn what_expires_in_service_is_refused_though_its_sessions_could_be_resumed() {
    let Some(mut gateway) = Shifted::by("+0d").await else { return };
    // Each request has a connection of its own, and a session to resume.
    gateway.text.set("[farm.xsp.pool]", "idle_per_endpoint", 0_i64);
    gateway.reload("150ms").await;
    for _ in 0..10 {
        assert_eq!(gateway.asked().await, StatusCode::OK);
    }
    // The XSPs' certificates have expired by then.
    gateway.clock.set("+700d");
    assert!(gateway.asked().await.is_server_error());
    let metrics = gateway.serving.metrics().await;
    assert!(metrics.count("xspgate_attempts_total", &[("outcome", "certificate-expired")]) >= 1.0);
    gateway.clock.set("+0d");
    gateway.serves().await;
}

#[tokio::test]
async fn a_configuration_refused_for_the_clocks_sake_is_taken_over_once_that_is_right() {
    let Some(mut gateway) = Shifted::by("+400d").await else { return };
    gateway.text.set("", "reload_on_change", true);
    gateway.reload("150ms").await;
    let refused = async |gateway: &Shifted| gateway.serving.metrics().await.count("xspgate_reload_refused", &[]);
    // By that clock it expired long ago.
    let new = gateway.sim.pki.public(&[CLOUD, APP]);
    new.write(gateway.sim.folder(), "public").unwrap();
    gateway.text.set("[farm.xsp.failover]", "block_for", "200ms");
    gateway.sim.write_config(&gateway.text).unwrap();
    eventually("the refusal", async || refused(&gateway).await == 1.0).await;
    assert_ne!(gateway.shown().await, new.chain()[0]);
    gateway.clock.set("+0d");
    eventually("the reload", async || refused(&gateway).await == 0.0).await;
    assert_eq!(gateway.shown().await, new.chain()[0]);
    assert_eq!(gateway.ctl.done(&["reload"]).await, "nothing has changed\n");
}
