//! Certificates, keys and CAs that change on disk: the new ones are taken over as a whole, or the old ones stay, and
//! nobody who is connected notices.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, HandshakeKind, ServerConfig, SignatureScheme};
use tokio::task::JoinSet;
use xspgate::sim::pki::{Caller, Flaw, Identity, Pki, Show};
use xspgate::sim::raw::Raw;
use xspgate::sim::site::{APP, CLOUD, DOMAIN, Simulation, Text};

use crate::harness::{
    Blocked, CHANNEL, NEW_CALL, PROFILE, Program, RawClient, Stage, assert_bridged, body, dial, eventually, get_plain,
    greeting, refusal, request, tiers, tls_config, within,
};

const OTHER: &str = "other.example.com";

fn public(stage: &Stage) -> Identity {
    stage.sim.pki.public(&[CLOUD, APP])
}

/// Replaces a file as careful programs do: a new one beside it, renamed over it.
fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&new, path).unwrap();
}

/// The certificate that a new client of `host` gets to see.
async fn shown(stage: &Stage, host: &str) -> CertificateDer<'static> {
    let tls = tls_config(&stage.sim.pki.public_roots());
    let client = RawClient::try_connect(stage.gateway.https(), host, tls).await.unwrap();
    client.tls().peer_certificates().unwrap()[0].clone().into_owned()
}

async fn until_shown(stage: &Stage, identity: &Identity) {
    let leaf = identity.chain().remove(0);
    eventually("the new certificate", async || shown(stage, CLOUD).await == leaf).await;
}

async fn renewals(stage: &Stage, outcome: &str) -> f64 {
    stage.metrics().await.count("xspgate_renewals_total", &[("outcome", outcome)])
}

async fn until_renewed(stage: &Stage, times: f64) {
    eventually("a renewal", async || renewals(stage, "renewed").await >= times).await;
}

async fn until_refused(stage: &Stage, times: f64) {
    eventually("a refusal", async || renewals(stage, "refused").await >= times).await;
    assert_eq!(stage.metrics().await.value("xspgate_renewal_refused", &[]), Some(1.0));
}

/// A second block on the same address, with a certificate of its own.
fn serve_other(sim: &Simulation, text: &mut Text) {
    sim.pki.public(&[OTHER]).write(sim.folder(), "other").unwrap();
    let folder = sim.folder().display();
    text.set("[certificate.other]", "chain", format!("{folder}/other-chain.pem"));
    text.set("[certificate.other]", "key", format!("{folder}/other-key.pem"));
    text.push("[[https]]").set("[[https]]", "listen", vec!["127.0.0.1:0".to_owned()]);
    text.set("[[https]]", "hosts", vec![OTHER.to_owned()]).set("[[https]]", "certificate", "other");
    text.set("[[https]]", "farm", "xsp").set("[[https]]", "interfaces", vec!["xsi-actions".to_owned()]);
}

/// An open connection and an event channel, both from before.
struct Old {
    client: RawClient,
    stream: Incoming,
    xsp: String,
    channel: String,
}

impl Old {
    async fn open(stage: &Stage) -> Self {
        let mut client = stage.raw_client().await;
        Self::ask(&mut client).await;
        let answer = stage.client().open(request(Method::POST, CHANNEL, body("<Channel/>"))).await.unwrap();
        let xsp = answer.headers()["x-xsp"].to_str().unwrap().to_owned();
        let mut stream = answer.into_body();
        within("the first document", stream.frame()).await.unwrap().unwrap();
        let channel = stage.xsp(&xsp).channels().remove(0);
        Self { client, stream, xsp, channel }
    }

    async fn ask(client: &mut RawClient) {
        client.send(format!("HEAD {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n")).await;
        let answer = client.until_tail("\r\n\r\n").await;
        assert_eq!(answer.status(), 200, "{answer:?}");
    }

    async fn go_on(&mut self, stage: &Stage) {
        Self::ask(&mut self.client).await;
        assert!(stage.xsp(&self.xsp).publish(&self.channel, "<event/>"));
        let document = within("an event", self.stream.frame()).await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(document, "<event/>");
    }
}

#[tokio::test]
async fn a_certificate_that_is_written_anew_is_taken_over() {
    let stage = Stage::start().await;
    let mut old = Old::open(&stage).await;
    let before = stage.metrics().await;
    let folder = stage.sim.folder();
    let first = shown(&stage, CLOUD).await;

    let identity = public(&stage);
    fs::write(folder.join("public-chain.pem"), &identity.chain_pem).unwrap();
    until_refused(&stage, 1.0).await;
    assert_eq!(shown(&stage, CLOUD).await, first, "the new chain without its key");
    fs::write(folder.join("public-key.pem"), &identity.key_pem).unwrap();
    until_shown(&stage, &identity).await;

    let identity = public(&stage);
    replace(&folder.join("public-chain.pem"), &identity.chain_pem);
    replace(&folder.join("public-key.pem"), &identity.key_pem);
    until_shown(&stage, &identity).await;

    old.go_on(&stage).await;
    let after = stage.metrics().await;
    assert_eq!(after.value("xspgate_renewal_refused", &[]), Some(0.0));
    for name in ["xspgate_connections_total", "xspgate_tls_handshakes_total", "xspgate_requests_total"] {
        assert!(after.count(name, &[]) > before.count(name, &[]), "{name} goes on counting");
    }
}

#[tokio::test]
async fn a_certificate_behind_a_symbolic_link_is_taken_over() {
    let version = |sim: &Simulation, name: &str, identity: &Identity| -> PathBuf {
        let folder = sim.folder().join(name);
        fs::create_dir(&folder).unwrap();
        identity.write(&folder, "public").unwrap();
        folder
    };
    let (stage, ()) = Stage::with(|sim, text| {
        let live = sim.folder().join("live");
        symlink(version(sim, "v1", &sim.pki.public(&[CLOUD, APP])), &live).unwrap();
        text.set("[certificate.public]", "chain", live.join("public-chain.pem").to_str().unwrap());
        text.set("[certificate.public]", "key", live.join("public-key.pem").to_str().unwrap());
    })
    .await;
    let identity = public(&stage);
    let (live, new) = (stage.sim.folder().join("live"), stage.sim.folder().join("live.new"));
    symlink(version(&stage.sim, "v2", &identity), &new).unwrap();
    fs::rename(new, live).unwrap();
    until_shown(&stage, &identity).await;
}

#[tokio::test]
async fn the_old_certificate_stays_until_the_new_one_is_good() {
    let stage = Stage::start().await;
    let (chain, key) = (stage.sim.folder().join("public-chain.pem"), stage.sim.folder().join("public-key.pem"));
    let first = shown(&stage, CLOUD).await;
    let identity = public(&stage);
    let expired = stage.sim.pki.xsp(CLOUD, CLOUD, Show::Expired);
    let faults: [(&str, &dyn Fn()); 6] = [
        ("a key that does not fit", &|| replace(&key, &identity.key_pem)),
        ("garbage", &|| replace(&chain, "-----BEGIN CERTIFICATE-----\nAAAA")),
        ("nothing", &|| fs::remove_file(&chain).unwrap()),
        ("something else", &|| fs::create_dir(&chain).unwrap()),
        ("a certificate that has expired", &|| {
            fs::remove_dir(&chain).unwrap();
            // Whatever is read between these two steps is refused as well.
            replace(&key, &expired.key_pem);
            replace(&chain, &expired.chain_pem);
        }),
        ("a key that all may read", &|| {
            replace(&chain, &identity.chain_pem);
            fs::write(&key, &identity.key_pem).unwrap();
            fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        }),
    ];
    let mut refused = 0.0;
    for (what, fault) in faults {
        fault();
        // The first is found by the watch, which then has nothing more to say of it.
        if refused > 0.0 {
            stage.gateway.renew();
        }
        until_refused(&stage, refused + 1.0).await;
        refused = renewals(&stage, "refused").await;
        assert_eq!(shown(&stage, CLOUD).await, first, "{what}");
    }
    assert!(refused <= 8.0, "{refused} complaints: one is enough for each change");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    until_shown(&stage, &identity).await;
    assert_eq!(stage.metrics().await.value("xspgate_renewal_refused", &[]), Some(0.0));
}

#[tokio::test]
async fn files_that_are_put_back_as_they_were_are_no_renewal() {
    let stage = Stage::start().await;
    let chain = stage.sim.folder().join("public-chain.pem");
    let good = fs::read_to_string(&chain).unwrap();
    replace(&chain, "garbage");
    until_refused(&stage, 1.0).await;
    replace(&chain, &good);
    eventually("no refusal", async || renewals(&stage, "unchanged").await == 1.0).await;
    assert_eq!(stage.metrics().await.value("xspgate_renewal_refused", &[]), Some(0.0));
    assert_eq!(renewals(&stage, "renewed").await, 0.0);
}

#[tokio::test]
async fn all_certificates_are_taken_over_or_none() {
    let (stage, ()) = Stage::with(serve_other).await;
    let (first, first_other) = (shown(&stage, CLOUD).await, shown(&stage, OTHER).await);
    let (good, next) = (public(&stage), stage.sim.pki.public(&[OTHER]));
    let folder = stage.sim.folder();
    replace(&folder.join("other-chain.pem"), &next.chain_pem);
    good.write(folder, "public").unwrap();
    stage.gateway.renew();
    until_refused(&stage, 1.0).await;
    assert_eq!((shown(&stage, CLOUD).await, shown(&stage, OTHER).await), (first, first_other));
    replace(&folder.join("other-key.pem"), &next.key_pem);
    stage.gateway.renew();
    until_shown(&stage, &good).await;
    assert_eq!(shown(&stage, OTHER).await, next.chain()[0]);
}

#[tokio::test]
async fn what_has_not_changed_keeps_its_session_tickets() {
    let (stage, ()) = Stage::with(serve_other).await;
    let tls = tls_config(&stage.sim.pki.public_roots());
    let mut kinds = Vec::new();
    let connect = async |host: &str| {
        let mut client = RawClient::try_connect(stage.gateway.https(), host, Arc::clone(&tls)).await.unwrap();
        client.send(format!("GET {PROFILE} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
        assert_eq!(client.until_closed().await.status(), 200);
        client.tls().handshake_kind() == Some(HandshakeKind::Resumed)
    };
    for round in 0..3 {
        if round == 2 {
            stage.sim.pki.public(&[OTHER]).write(stage.sim.folder(), "other").unwrap();
            stage.gateway.renew();
            until_renewed(&stage, 1.0).await;
        }
        kinds.push((connect(CLOUD).await, connect(OTHER).await));
    }
    assert_eq!(kinds, [(false, false), (true, true), (true, false)]);
}

#[tokio::test]
async fn r_tls_4_xsps_of_a_new_ca_are_believed_and_those_of_the_old_one_no_longer() {
    let theirs = Pki::new();
    let (stage, [old, new]) = Stage::with(|sim, text| {
        let old = Raw::start(DOMAIN, sim.address(31), &sim.pki).unwrap();
        let new = Raw::start(DOMAIN, sim.address(32), &theirs).unwrap();
        tiers(text, &[old.address(), new.address()]);
        // One worker, so that a connection idles in the only pool.
        text.set("", "workers", 1).set("[farm.xsp.failover]", "block_for", "100ms");
        [old, new]
    })
    .await;
    for _ in 0..3 {
        assert_eq!(stage.client().get(PROFILE).await.status, StatusCode::OK);
    }
    assert_eq!((old.received().len(), new.all_received().len()), (1, 0));
    let heard = old.all_received().len();
    replace(&stage.sim.folder().join("internal-ca.pem"), &theirs.internal_ca());
    until_renewed(&stage, 1.0).await;
    for _ in 0..3 {
        assert_eq!(stage.client().post(NEW_CALL, "<Call/>").await.status, StatusCode::OK);
    }
    assert_eq!(old.all_received().len(), heard, "not even over a connection from before");
    assert!(!new.all_received().is_empty());
}

/// Takes any client's certificate, and remembers it.
#[derive(Debug, Default)]
struct Witness(Mutex<Vec<CertificateDer<'static>>>);

impl ClientCertVerifier for Witness {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.0.lock().push(end_entity.clone().into_owned());
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let supported = default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, &supported)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let supported = default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, &supported)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[tokio::test]
async fn xsps_get_to_see_the_new_client_certificate() {
    let witness = Arc::new(Witness::default());
    let (stage, _raw) = Stage::with(|sim, text| {
        let identity = sim.pki.xsp(DOMAIN, "raw.sim.invalid", Show::Good);
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(witness.clone())
            .with_single_cert(identity.chain(), identity.key())
            .unwrap();
        let raw = Raw::start_with(Arc::new(config), sim.address(31)).unwrap();
        tiers(text, &[raw.address()]);
        let folder = sim.folder().display();
        text.set("[certificate.client]", "chain", format!("{folder}/cti-client-chain.pem"));
        text.set("[certificate.client]", "key", format!("{folder}/cti-client-key.pem"));
        text.set("[farm.xsp]", "certificate", "client").set("", "workers", 1);
        raw
    })
    .await;
    let mut client = stage.client();
    client.get(PROFILE).await;
    client.get(PROFILE).await;
    assert_eq!(witness.0.lock().len(), 1);
    let identity = stage.sim.pki.cti_client();
    identity.write(stage.sim.folder(), "cti-client").unwrap();
    until_renewed(&stage, 1.0).await;
    assert_eq!(client.get(PROFILE).await.status, StatusCode::OK);
    let seen = witness.0.lock().clone();
    assert_eq!(seen.len(), 2, "a session of the old certificate is not resumed");
    assert_eq!(seen[1], identity.chain()[0]);
}

#[tokio::test]
async fn r_aff_1_keys_are_changed_in_service() {
    let stage = Stage::in_order(|_, _| ()).await;
    let path = stage.sim.folder().join("affinity.key");
    let (old, new) = (fs::read_to_string(&path).unwrap(), "A".repeat(43) + "=\n");
    let mut client = stage.client();
    assert_eq!(client.get(PROFILE).await.xsp(), "a1");
    let old_tag = client.session().unwrap().to_owned();
    let begin = async || {
        let mut fresh = stage.client();
        assert_eq!(fresh.get(PROFILE).await.xsp(), "a1");
        fresh.session().unwrap().to_owned()
    };
    let mut kept = async || client.get(PROFILE).await.session().is_none();

    replace(&path, &format!("{old}{new}"));
    stage.gateway.renew();
    until_renewed(&stage, 1.0).await;
    assert_eq!(begin().await, old_tag, "the first key signs");
    assert!(kept().await);

    replace(&path, &format!("{new}{old}"));
    stage.gateway.renew();
    until_renewed(&stage, 2.0).await;
    let new_tag = begin().await;
    assert_ne!(new_tag, old_tag);
    assert!(kept().await);

    replace(&path, &new);
    stage.gateway.renew();
    until_renewed(&stage, 3.0).await;
    assert_eq!(begin().await, new_tag);
    assert!(!kept().await, "the old key is nobody's any more");
}

#[tokio::test]
async fn r_aff_1_without_a_key_file_sessions_outlive_a_renewal() {
    let (stage, ()) = Stage::with(|_, text| {
        text.remove("[affinity]", "key_file");
    })
    .await;
    let mut client = stage.client();
    let home = client.get(PROFILE).await.xsp().to_owned();
    public(&stage).write(stage.sim.folder(), "public").unwrap();
    stage.gateway.renew();
    until_renewed(&stage, 1.0).await;
    client.disconnect();
    let answer = client.get(PROFILE).await;
    assert_eq!((answer.xsp(), answer.session()), (home.as_str(), None));
}

#[tokio::test]
async fn r_fail_5_the_blocklist_outlives_a_renewal() {
    let stage = Stage::in_order(|_, _| ()).await;
    stage.xsp("a1").kill().await;
    assert_eq!(stage.client().get(PROFILE).await.xsp(), "a2");
    stage.until_blocked("a1", Blocked::Yes).await;
    let both = format!("{}{}", stage.sim.pki.internal_ca(), Pki::new().internal_ca());
    replace(&stage.sim.folder().join("internal-ca.pem"), &both);
    stage.gateway.renew();
    until_renewed(&stage, 1.0).await;
    for _ in 0..5 {
        assert_eq!(stage.client().get(PROFILE).await.xsp(), "a2");
    }
    stage.until_blocked("a1", Blocked::Yes).await;
    // What was held against it may have been mended by this: the gateway looks, before the block has run out.
    stage.xsp("a1").revive().await;
    replace(&stage.sim.folder().join("internal-ca.pem"), &stage.sim.pki.internal_ca());
    stage.gateway.renew();
    stage.until_blocked("a1", Blocked::No).await;
}

#[tokio::test]
async fn the_metrics_follow_a_renewal() {
    let stage = Stage::start().await;
    let serials = async || {
        let metrics = stage.metrics().await;
        let mut serials: Vec<_> = metrics.label_values("serial").into_iter().map(str::to_owned).collect();
        serials.sort_unstable();
        serials
    };
    let before = serials().await;
    assert_eq!(before.len(), 3, "the certificate, its issuer, and the XSPs' CA");
    let both = format!("{}{}", stage.sim.pki.internal_ca(), Pki::new().internal_ca());
    replace(&stage.sim.folder().join("internal-ca.pem"), &both);
    public(&stage).write(stage.sim.folder(), "public").unwrap();
    stage.gateway.renew();
    until_renewed(&stage, 1.0).await;
    let after = serials().await;
    assert_eq!(after.len(), 4);
    assert_eq!(before.iter().filter(|serial| !after.contains(serial)).count(), 1, "the old certificate is gone");
}

#[tokio::test]
async fn what_has_expired_in_a_bundle_is_measured_until_it_is_taken_out() {
    let stage = Stage::start().await;
    let expired = stage.sim.pki.xsp(DOMAIN, "old.sim.invalid", Show::Expired).chain_pem;
    let good = stage.sim.pki.internal_ca();
    let days = async || {
        let labels = [("section", "trust.internal"), ("subject", "CN=old.sim.invalid")];
        let seconds = stage.metrics().await.value("xspgate_certificate_expiry_seconds", &labels);
        seconds.map(|seconds| (seconds / 86_400.0).round())
    };
    for (round, (bundle, expected)) in [
        (format!("{expired}{good}"), Some(-1.0)),
        // There twice, it is one certificate all the same.
        (format!("{expired}{good}{expired}"), Some(-1.0)),
        (good.clone(), None),
    ]
    .into_iter()
    .enumerate()
    {
        replace(&stage.sim.folder().join("internal-ca.pem"), &bundle);
        stage.gateway.renew();
        until_renewed(&stage, round as f64 + 1.0).await;
        assert_eq!(days().await, expected, "{round}");
    }
}

#[tokio::test]
async fn nobody_notices_twenty_renewals() {
    let stage = Stage::start().await;
    let (asked, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut asking = JoinSet::new();
    for number in 0..6 {
        let (mut client, asked, over) = (stage.client(), Arc::clone(&asked), Arc::clone(&over));
        asking.spawn(async move {
            let mut failed = Vec::new();
            while !over.load(Ordering::Relaxed) {
                if number % 2 == 0 {
                    client.disconnect();
                }
                let method = if number % 3 == 0 { Method::POST } else { Method::GET };
                let target = if method == Method::POST { NEW_CALL } else { PROFILE };
                let answer = client.try_send(request(method, target, body(""))).await;
                asked.fetch_add(1, Ordering::Relaxed);
                match answer.map(|answer| answer.status) {
                    Ok(StatusCode::OK | StatusCode::CREATED) => {}
                    other => failed.push(other),
                }
            }
            failed
        });
    }
    let folder = stage.sim.folder();
    let mut keys = fs::read_to_string(folder.join("affinity.key")).unwrap();
    for round in 0..20 {
        let identity = public(&stage);
        identity.write(folder, "public").unwrap();
        let bundle = format!("{}{}", stage.sim.pki.internal_ca(), "# another bundle\n".repeat(round));
        replace(&folder.join("internal-ca.pem"), &bundle);
        let letter = char::from(b'A' + u8::try_from(round).unwrap());
        keys = format!("{}=\n{keys}", format!("{letter}AAA").repeat(11).split_at(43).0);
        replace(&folder.join("affinity.key"), &keys);
        stage.gateway.renew();
        until_shown(&stage, &identity).await;
        let before = asked.load(Ordering::Relaxed);
        eventually("requests", async || asked.load(Ordering::Relaxed) > before + 12).await;
    }
    over.store(true, Ordering::Relaxed);
    let failed = asking.join_all().await.concat();
    assert!(failed.is_empty(), "{} of {}: {:?}", failed.len(), asked.load(Ordering::Relaxed), failed.first());
    assert!(stage.metrics().await.count("xspgate_sessions_total", &[("event", "unknown")]) == 0.0);
}

#[tokio::test]
async fn r_cti_1_a_new_chain_is_believed_and_calls_go_on() {
    let theirs = Pki::new();
    let stage = Stage::cti(|_, _| ()).await;
    let (mut old, xsp) = stage.greeted().await;
    let stranger = stage.webex().showing(theirs.caller(Caller::Webex));
    refusal(&stranger, stage.gateway.cti()).await;
    replace(&stage.sim.folder().join("CombinedCertChain.txt"), &theirs.webex_chain());
    stage.gateway.renew();
    until_renewed(&stage, 1.0).await;
    let mut call = dial(&stranger, stage.gateway.cti()).await.unwrap();
    assert_eq!(greeting(&mut call).await, xsp);
    refusal(&stage.webex(), stage.gateway.cti()).await;
    assert_bridged(&mut old, b"still here").await;
    assert_eq!(stage.rung(), 2);
}

#[tokio::test]
async fn r_cti_1_a_new_revocation_list_is_taken_over() {
    let stage = Stage::cti(|sim, text| {
        let path = sim.folder().join("webex-crl.pem");
        // Of somebody else: nobody's certificate is known to be good.
        fs::write(&path, Pki::new().webex_crl()).unwrap();
        text.set("[trust.webex]", "crl", path.to_str().unwrap());
    })
    .await;
    refusal(&stage.webex(), stage.gateway.cti()).await;
    replace(&stage.sim.folder().join("webex-crl.pem"), &stage.sim.pki.webex_crl());
    until_renewed(&stage, 1.0).await;
    stage.greeted().await;
    refusal(&stage.webex().showing(stage.sim.pki.caller(Caller::Revoked)), stage.gateway.cti()).await;
    assert_eq!(stage.rung(), 1);
    let labels = [("section", "trust.webex crl")];
    let due = stage.metrics().await.value("xspgate_certificate_daysleft", &labels).unwrap();
    // Two lists, of thirty days each.
    assert!((59.8..=60.0).contains(&due), "{due} days");
}

#[tokio::test]
async fn r_cti_3_the_rules_of_the_client_certificate_are_checked_again() {
    let stage = Stage::cti(|_, _| ()).await;
    let folder = stage.sim.folder();
    stage.sim.pki.flawed_cti_client(Flaw::NoBroadWorksUsage).write(folder, "cti-client").unwrap();
    stage.gateway.renew();
    until_refused(&stage, 1.0).await;
    let (mut old, xsp) = stage.greeted().await;
    stage.sim.pki.cti_client().write(folder, "cti-client").unwrap();
    stage.gateway.renew();
    until_renewed(&stage, 1.0).await;
    assert_eq!(stage.greeted().await.1, xsp);
    assert_bridged(&mut old, b"still here").await;
}

#[tokio::test]
async fn r_cti_3_half_a_pair_is_not_taken_over_though_the_rules_are_waived() {
    let stage = Stage::cti(|_, text| {
        text.set("[certificate.cti-client]", "strict", false);
    })
    .await;
    let (mut old, xsp) = stage.greeted().await;
    let folder = stage.sim.folder();
    let identity = stage.sim.pki.cti_client();
    replace(&folder.join("cti-client-chain.pem"), &identity.chain_pem);
    until_refused(&stage, 1.0).await;
    assert_eq!(renewals(&stage, "renewed").await, 0.0);
    assert_eq!(stage.greeted().await.1, xsp, "the old pair goes on");
    replace(&folder.join("cti-client-key.pem"), &identity.key_pem);
    until_renewed(&stage, 1.0).await;
    assert_eq!(stage.metrics().await.value("xspgate_renewal_refused", &[]), Some(0.0));
    assert_eq!(stage.greeted().await.1, xsp, "so does the new one");
    assert_bridged(&mut old, b"still here").await;
}

#[tokio::test]
async fn sighup_renews_at_once() {
    let stage = Stage::start().await;
    let path = stage.sim.folder().join("xspgate.toml");
    let program = Program::start(&["run", path.to_str().unwrap()]);
    let https = program.line("the bound address", |line| line.strip_prefix("serving HTTPS on ")?.parse().ok()).await;
    let admin = program
        .line("the admin address", |line| line.strip_prefix("serving /metrics")?.rsplit(' ').next()?.parse().ok())
        .await;
    eventually("readiness", async || get_plain(admin, "/readyz").await.0 == 200).await;
    let said = async |what: &str, parts: &[&str]| {
        program.line(what, |line| parts.iter().all(|part| line.contains(part)).then_some(())).await;
    };

    // Nothing has changed, so nothing but the signal can be the cause.
    program.signal("HUP");
    said("that nothing has changed", &["INFO", "configuration unchanged"]).await;

    let chain = stage.sim.folder().join("public-chain.pem");
    let identity = public(&stage);
    replace(&chain, &identity.chain_pem);
    program.signal("HUP");
    let file = stage.sim.folder().join("public-key.pem").display().to_string();
    said("why not", &["WARN", "not renewed", "certificate.public", &file, "does not belong"]).await;

    replace(&stage.sim.folder().join("public-key.pem"), &identity.key_pem);
    program.signal("HUP");
    said("the renewal", &["INFO", "certificates renewed", "certificate.public", "ends"]).await;
    let client = RawClient::connect(https, &stage.sim.pki.public_roots()).await;
    assert_eq!(client.tls().peer_certificates().unwrap()[0], identity.chain()[0]);

    let secret = identity.key_pem.lines().nth(1).unwrap();
    assert!(!program.lines().iter().any(|line| line.contains(secret)), "a key is in the log");
}
