//! R-AUTH-2: who shows no certificate, or a wrong one, reaches nothing that demands one; and what XSPs get to see of the
//! gateway's own.

use std::sync::{Arc, Mutex};

use http::{Method, Request, StatusCode};
use rustls::client::{ClientSessionStore, ResolvesClientCert, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, NamedGroup, ServerConfig, SignatureScheme, SupportedProtocolVersion};
use rustls_pki_types::ServerName;
use serde_json::Value;
use xspgate::sim::pki::{CTI_CLIENT, Caller, Identity, Pki, Show};
use xspgate::sim::raw::Raw;
use xspgate::sim::site::{APP, CLOUD, DOMAIN, Simulation, Text};
use xspgate::sim::xsp::Xsp;

use crate::cti_doors::turned_away_as;
use crate::harness::{
    Body, Client, PROFILE, RawClient, Serving, Stage, answer_in_the_clear, body, eventually, old_hello, request, tiers,
};

pub(crate) const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
pub(crate) const TOKEN: &str = "/authService/token?key=1";
const AUTH: &str = "[https.interface.auth-service]";

/// What a client speaks and shows.
pub(crate) fn shows(
    pki: &Pki,
    version: &'static SupportedProtocolVersion,
    identity: Option<&Identity>,
) -> ClientConfig {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(pki.public_roots());
    match identity {
        Some(identity) => config.with_client_auth_cert(identity.chain(), identity.key()).unwrap(),
        None => config.with_no_client_auth(),
    }
}

/// Adds the trust in Webex's clients.
fn trust(sim: &Simulation, text: &mut Text) {
    let folder = sim.folder();
    std::fs::write(folder.join("webex.crl"), sim.pki.webex_crl()).unwrap();
    text.set("[trust.webex]", "ca", folder.join("CombinedCertChain.txt").to_str().unwrap());
    text.set("[trust.webex]", "crl", folder.join("webex.crl").to_str().unwrap());
}

/// All hosts demand a certificate of Webex's client.
fn demanded(sim: &Simulation, text: &mut Text) {
    text.remove_section("[[https]]");
    trust(sim, text);
    Simulation::serve(text);
    text.set("[[https]]", "client_trust", "webex");
    text.set("[[https]]", "client_names", vec![CTI_CLIENT.to_owned()]);
}

/// The Authentication Service does.
pub(crate) fn demanded_by_the_interface(sim: &Simulation, text: &mut Text) {
    demanded(sim, text);
    text.remove("[[https]]", "client_trust");
    text.set(AUTH, "client_trust", "webex");
}

/// A block that is open to all for the app's host, and one for the cloud's that demands a certificate.
fn open_for_the_app(sim: &Simulation, text: &mut Text) {
    demanded(sim, text);
    text.set("[[https]]", "hosts", vec![CLOUD.to_owned()]);
    Simulation::serve(text);
    text.set("[[https]]", "hosts", vec![APP.to_owned()]);
}

pub(crate) fn get(target: &str) -> Request<Body> {
    request(Method::GET, target, body(""))
}

/// How many handshakes have failed so far for that reason.
pub(crate) async fn failed(stage: &Stage, reason: &str) -> f64 {
    stage.metrics().await.count("xspgate_tls_handshake_failures_total", &[("reason", reason)])
}

/// A client that shows a wrong certificate gets no answer to anything, in no version, and is counted for what it is.
async fn the_wrong_ones_stay_out(stage: &Stage, target: &str) {
    for version in VERSIONS {
        for caller in Caller::UNWELCOME.into_iter().chain([Caller::Revoked]) {
            let identity = stage.sim.pki.caller(caller);
            let reason = turned_away_as(caller);
            let before = failed(stage, reason).await;
            let tls = shows(&stage.sim.pki, version, Some(&identity));
            let answer = stage.client().tls(Arc::new(tls)).try_send(get(target)).await;
            assert!(answer.is_err(), "{version:?} {caller:?}: {answer:?}");
            eventually("the count", async || failed(stage, reason).await == before + 1.0).await;
        }
    }
}

#[tokio::test]
async fn r_auth_2_a_block_demands_a_certificate_in_the_handshake() {
    let (stage, ()) = Stage::with(demanded).await;
    the_wrong_ones_stay_out(&stage, PROFILE).await;
    for version in VERSIONS {
        let before = failed(&stage, "client-certificate-missing").await;
        let nobody = Arc::new(shows(&stage.sim.pki, version, None));
        assert!(stage.client().tls(nobody).try_send(get(PROFILE)).await.is_err(), "{version:?}");
        eventually("the count", async || failed(&stage, "client-certificate-missing").await == before + 1.0).await;
    }
    let answer = answer_in_the_clear(stage.gateway.https(), &old_hello()).await;
    assert!(answer.is_empty() || answer[0] == 21, "TLS 1.1: {answer:?}");
    assert_eq!(stage.asked(), 0, "somebody came through");
    for version in VERSIONS {
        let webex = stage.sim.pki.webex_client(CTI_CLIENT);
        let mut client = stage.client().tls(Arc::new(shows(&stage.sim.pki, version, Some(&webex))));
        for target in [PROFILE, TOKEN] {
            assert_eq!(client.get(target).await.status, StatusCode::OK, "{version:?} {target}");
        }
    }
    assert_eq!(stage.asked(), 4);
}

#[tokio::test]
async fn r_auth_2_an_interface_demands_a_certificate_of_those_who_ask_it() {
    let (stage, ()) = Stage::with(demanded_by_the_interface).await;
    for version in VERSIONS {
        let mut client = stage.client().tls(Arc::new(shows(&stage.sim.pki, version, None)));
        assert_eq!(client.get(PROFILE).await.status, StatusCode::OK, "{version:?}");
        let asked = stage.asked();
        for target in [
            TOKEN,
            "/authService",
            "/AUTHSERVICE/token",
            "/%61uthService/token",
            "/authService/token/alice%40example.com",
        ] {
            let answer = client.get(target).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{version:?} {target}");
            assert_eq!(answer.text(), "this interface is for clients with a certificate\n");
        }
        for target in ["/authService%2ftoken", "/dms/../authService/token", "//authService/token"] {
            assert!(client.get(target).await.status.is_client_error(), "{version:?} {target}");
        }
        assert_eq!(client.post(TOKEN, "x").await.status, StatusCode::FORBIDDEN);
        assert_eq!(stage.asked(), asked, "an XSP was asked");
        assert_eq!(client.get(PROFILE).await.status, StatusCode::OK, "the other interfaces go on");
        let webex = stage.sim.pki.webex_client(CTI_CLIENT);
        let mut client = stage.client().tls(Arc::new(shows(&stage.sim.pki, version, Some(&webex))));
        for target in [TOKEN, PROFILE] {
            assert_eq!(client.get(target).await.status, StatusCode::OK, "{version:?} {target}");
        }
    }
    let refused = stage.metrics().await.count("xspgate_refused_total", &[("reason", "no-client-certificate")]);
    assert_eq!(refused, 12.0);
}

/// Shows a certificate whose key it does not have.
#[derive(Debug)]
pub(crate) struct Impostor(pub(crate) Arc<CertifiedKey>);

impl ResolvesClientCert for Impostor {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn r_auth_2_a_certificate_without_its_key_is_nobody_s() {
    let (stage, ()) = Stage::with(demanded_by_the_interface).await;
    let pki = &stage.sim.pki;
    let key = any_supported_type(&pki.stranger_client(CTI_CLIENT).key()).unwrap();
    let stolen = Arc::new(CertifiedKey::new(pki.webex_client(CTI_CLIENT).chain(), key));
    for (version, count) in VERSIONS.into_iter().zip([1.0, 2.0]) {
        let mut tls = shows(pki, version, None);
        tls.client_auth_cert_resolver = Arc::new(Impostor(Arc::clone(&stolen)));
        assert!(stage.client().tls(Arc::new(tls)).try_send(get(TOKEN)).await.is_err(), "{version:?}");
        eventually("the count", async || failed(&stage, "client-certificate-signature").await == count).await;
    }
    assert_eq!(stage.asked(), 0);
}

#[tokio::test]
async fn r_auth_2_no_way_around_it_by_the_names_of_two_blocks() {
    let (stage, ()) = Stage::with(open_for_the_app).await;
    for version in VERSIONS {
        let nobody = Arc::new(shows(&stage.sim.pki, version, None));
        let mut client = stage.client().host(APP).named(CLOUD).tls(Arc::clone(&nobody));
        for target in [PROFILE, TOKEN] {
            assert_eq!(client.get(target).await.status, StatusCode::MISDIRECTED_REQUEST, "{version:?}");
        }
        let mut raw = RawClient::try_connect(stage.gateway.https(), APP, Arc::clone(&nobody)).await.unwrap();
        let absolute = format!("GET https://{CLOUD}{PROFILE} HTTP/1.1\r\nHost: {APP}\r\nConnection: close\r\n\r\n");
        raw.send(absolute).await;
        let answer = raw.until_closed().await;
        assert!([400, 421].contains(&answer.status()), "{version:?}: {answer:?}");
        assert_eq!(stage.asked(), 0);
        assert_eq!(stage.client().host(APP).tls(nobody).get(PROFILE).await.status, StatusCode::OK);
        // Not even with a certificate: what was not asked for was not verified.
        let webex = stage.sim.pki.webex_client(CTI_CLIENT);
        let shown = Arc::new(shows(&stage.sim.pki, version, Some(&webex)));
        let mut client = stage.client().host(APP).named(CLOUD).tls(shown);
        assert_eq!(client.get(PROFILE).await.status, StatusCode::MISDIRECTED_REQUEST);
        stage.sim.xsps.iter().for_each(Xsp::forget_requests);
    }
}

/// Offers what it was given at one name to whatever name comes next.
#[derive(Debug, Default)]
struct Indiscreet {
    tls12: Mutex<Option<Tls12ClientSessionValue>>,
    tls13: Mutex<Vec<Tls13ClientSessionValue>>,
}

impl ClientSessionStore for Indiscreet {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        *self.tls12.lock().unwrap() = Some(value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.tls12.lock().unwrap().clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        *self.tls12.lock().unwrap() = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.tls13.lock().unwrap().push(value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.tls13.lock().unwrap().pop()
    }
}

impl Indiscreet {
    fn is_empty(&self) -> bool {
        self.tls12.lock().unwrap().is_none() && self.tls13.lock().unwrap().is_empty()
    }
}

/// One request on a connection of its own: how it was agreed on, and the status; `None` if it came to nothing.
async fn once(
    to: std::net::SocketAddr,
    host: &str,
    tls: &Arc<ClientConfig>,
    target: &str,
) -> Option<(HandshakeKind, u16)> {
    let mut client = RawClient::try_connect(to, host, Arc::clone(tls)).await.ok()?;
    client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
    let status = client.until_closed().await.status();
    let kind = client.tls().handshake_kind()?;
    (status > 0).then_some((kind, status))
}

/// With a ticket of an open door in hand, a client finds the other one shut as ever; and the open one knows it again.
async fn tickets_open_nothing(
    stage: &Stage,
    version: &'static SupportedProtocolVersion,
    open: (std::net::SocketAddr, &str),
    shut: (std::net::SocketAddr, &str),
) {
    let webex = stage.sim.pki.webex_client(CTI_CLIENT);
    for identity in [None, Some(&webex)] {
        let store = Arc::new(Indiscreet::default());
        let mut config = shows(&stage.sim.pki, version, identity);
        config.resumption = rustls::client::Resumption::store(Arc::clone(&store) as Arc<dyn ClientSessionStore>);
        let config = Arc::new(config);
        assert_eq!(once(open.0, open.1, &config, PROFILE).await, Some((HandshakeKind::Full, 200)), "{version:?}");
        assert!(!store.is_empty(), "{version:?}: no ticket");
        let asked = stage.asked();
        let second = once(shut.0, shut.1, &config, PROFILE).await;
        match identity {
            None => assert_eq!((second, stage.asked()), (None, asked), "{version:?}"),
            Some(_) => {
                assert_eq!(second, Some((HandshakeKind::Full, 200)), "{version:?}");
                let third = once(shut.0, shut.1, &config, PROFILE).await;
                assert_eq!(third, Some((HandshakeKind::Full, 200)), "{version:?}: a ticket of the one that is shut");
            }
        }
        // Once more, since each ticket of TLS 1.3 was for one use.
        once(open.0, open.1, &config, PROFILE).await;
        let again = once(open.0, open.1, &config, PROFILE).await;
        assert_eq!(again, Some((HandshakeKind::Resumed, 200)), "{version:?}");
    }
}

#[tokio::test]
async fn r_auth_2_a_ticket_of_another_block_is_no_certificate() {
    let (stage, ()) = Stage::with(open_for_the_app).await;
    for version in VERSIONS {
        let address = stage.gateway.https();
        tickets_open_nothing(&stage, version, (address, APP), (address, CLOUD)).await;
    }
}

#[tokio::test]
async fn r_auth_2_a_ticket_of_another_listener_is_no_certificate() {
    let (stage, ()) = Stage::with(|sim, text| {
        demanded(sim, text);
        Simulation::serve(text);
        text.set("[[https]]", "listen", vec!["127.0.0.2:0".to_owned()]);
    })
    .await;
    let [shut, open] = stage.gateway.all_https() else { panic!("two listeners") };
    for version in VERSIONS {
        tickets_open_nothing(&stage, version, (*open, CLOUD), (*shut, CLOUD)).await;
    }
}

#[tokio::test]
async fn r_auth_2_a_session_of_an_asking_block_is_never_resumed() {
    let (stage, ()) = Stage::with(demanded_by_the_interface).await;
    let pki = &stage.sim.pki;
    let (webex, expired) = (pki.webex_client(CTI_CLIENT), pki.caller(Caller::Expired));
    for version in VERSIONS {
        for (identity, expected) in [(None, 403), (Some(&expired), 403), (Some(&webex), 200)] {
            let store = Arc::new(Indiscreet::default());
            let mut config = shows(pki, version, identity);
            config.resumption = rustls::client::Resumption::store(Arc::clone(&store) as Arc<dyn ClientSessionStore>);
            let config = Arc::new(config);
            for _ in 0..2 {
                let answer = once(stage.gateway.https(), CLOUD, &config, TOKEN).await;
                assert_eq!(answer, Some((HandshakeKind::Full, expected)), "{version:?}");
                assert!(store.is_empty(), "{version:?}: a ticket");
            }
        }
    }
}

/// What proxies and web containers call a client's certificate, and a few disguises.
const CLAIMS: [&str; 12] = [
    "X-SSL-Client-Cert",
    "X-SSL-Client-Verify",
    "X-Forwarded-Client-Cert",
    "X-Forwarded-Tls-Client-Cert",
    "SSL-Client-Cert",
    "SSL_CLIENT_S_DN",
    "ssl_client_cert",
    "Client-Cert",
    "Client_Cert_Chain",
    "X-Client-Cert",
    "X-Client-DN",
    "X-Amzn-Mtls-Clientcert-Subject",
];

#[tokio::test]
async fn r_auth_2_a_header_is_no_certificate_and_goes_no_further() {
    let (stage, ()) = Stage::with(demanded_by_the_interface).await;
    let claiming = |target: &str| {
        let mut request = get(target);
        for name in CLAIMS {
            let value = format!("CN={CTI_CLIENT}").parse().unwrap();
            request.headers_mut().append(http::HeaderName::try_from(name).unwrap(), value);
        }
        request
    };
    let mut client = stage.client();
    assert_eq!(client.send(claiming(TOKEN)).await.status, StatusCode::FORBIDDEN);
    assert_eq!(stage.asked(), 0);
    assert_eq!(client.send(claiming(PROFILE)).await.status, StatusCode::OK);
    let webex = stage.sim.pki.webex_client(CTI_CLIENT);
    let shown = Arc::new(shows(&stage.sim.pki, &TLS13, Some(&webex)));
    assert_eq!(stage.client().tls(shown).send(claiming(TOKEN)).await.status, StatusCode::OK);
    let seen: Vec<_> = stage.sim.xsps.iter().flat_map(|xsp| xsp.requests()).collect();
    assert_eq!(seen.len(), 2);
    for request in seen {
        for name in CLAIMS {
            assert_eq!(request.header(&name.to_ascii_lowercase()), "", "{name} reached an XSP");
        }
    }
}

/// An XSP with this certificate that demands one of the gateway, if it is to.
fn strict_xsp(sim: &Simulation, identity: &Identity, demands: bool) -> Raw {
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = if demands {
        let provider = Arc::new(default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(sim.pki.internal_roots(), provider).build();
        config.with_client_cert_verifier(verifier.unwrap())
    } else {
        config.with_no_client_auth()
    };
    let config = config.with_single_cert(identity.chain(), identity.key()).unwrap();
    Raw::start_with(Arc::new(config), sim.address(31)).unwrap()
}

#[tokio::test]
async fn r_auth_2_xsps_get_to_see_the_farm_s_own_certificate() {
    for (shown, status) in [(true, StatusCode::OK), (false, StatusCode::BAD_GATEWAY)] {
        let (stage, raw) = Stage::with(|sim, text| {
            let raw = strict_xsp(sim, &sim.pki.xsp(DOMAIN, "raw.sim.invalid", Show::Good), true);
            tiers(text, &[raw.address()]);
            let folder = sim.folder();
            for (key, file) in [("chain", "cti-client-chain.pem"), ("key", "cti-client-key.pem")] {
                text.set("[certificate.own]", key, folder.join(file).to_str().unwrap());
            }
            if shown {
                text.set("[farm.xsp]", "certificate", "own");
            }
            raw
        })
        .await;
        assert_eq!(stage.client().get(PROFILE).await.status, status);
        assert_eq!(raw.all_received().is_empty(), !shown);
    }
}

#[tokio::test]
async fn r_tls_4_nothing_is_sent_to_an_xsp_whose_certificate_is_revoked() {
    let (stage, raw) = Stage::with(|sim, text| {
        let raw = strict_xsp(sim, &sim.pki.revoked_xsp(DOMAIN, "raw.sim.invalid"), false);
        std::fs::write(sim.folder().join("internal.crl"), sim.pki.internal_crl()).unwrap();
        text.set("[trust.internal]", "crl", sim.folder().join("internal.crl").to_str().unwrap());
        tiers(text, &[raw.address(), sim.xsp("a1").address()]);
        raw
    })
    .await;
    let answer = stage.client().get(PROFILE).await;
    assert_eq!((answer.status, answer.xsp()), (StatusCode::OK, "a1"));
    assert_eq!(raw.received().len(), 1, "it was tried");
    assert!(raw.all_received().is_empty());
}

#[tokio::test]
async fn r_auth_2_the_access_log_says_who_the_peer_was() {
    let (stage, ()) = Stage::with(|sim, text| {
        demanded_by_the_interface(sim, text);
        text.remove("[[https]]", "client_names");
    })
    .await;
    let serving = Serving::start(&stage).await;
    let forged = "x\"}\n{\"event\":\"forged\"}\u{1b}[31m";
    let escaped = forged.replace('"', "\\\"");
    let (two, nameless) = ("evil, CN=bwcticlient.webex.com", "DNS:bwcticlient.webex.com");
    let clients = [
        ("PEER_1", None, 403, Value::Null),
        ("PEER_2", Some(stage.sim.pki.webex_client(CTI_CLIENT)), 200, Value::from("CN=bwcticlient.webex.com")),
        ("PEER_3", Some(stage.sim.pki.webex_client_of("a", forged)), 200, Value::from(format!("CN=a, O={escaped}"))),
        ("PEER_4", Some(stage.sim.pki.webex_client(two)), 200, Value::from("CN=evil\\, CN=bwcticlient.webex.com")),
        ("PEER_5", Some(stage.sim.pki.webex_client_without_subject(CTI_CLIENT)), 200, Value::from(nameless)),
    ];
    for (tracking_id, identity, status, peer) in clients {
        let tls = Arc::new(shows(&stage.sim.pki, &TLS13, identity.as_ref()));
        let mut client = Client::new(serving.https[0], stage.sim.pki.public_roots()).tls(tls);
        let mut request = get(TOKEN);
        request.headers_mut().insert("trackingid", tracking_id.parse().unwrap());
        assert_eq!(client.send(request).await.status, status);
        let event = serving.event_of("access", |event| event["tracking_id"] == tracking_id).await;
        assert_eq!(
            (&event["tls.client.subject"], &event["http.response.status_code"]),
            (&peer, &Value::from(status)),
            "{event}"
        );
        if status == 403 {
            assert_eq!(event["reason"], "no-client-certificate");
            assert_eq!(event["attempts"], Value::Array(Vec::new()));
        }
    }
    for line in serving.program.output() {
        let event: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not one JSON object: {line}"));
        assert_ne!(event["event"], "forged");
    }
}
