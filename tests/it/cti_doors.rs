//! The ways in to CTI that must stay shut: who has shown no valid certificate never reaches an XSP (R-CTI-1, R-CTI-2,
//! R-CTI-6).

use std::net::SocketAddr;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ConnectionTrafficSecrets, HandshakeKind, SupportedProtocolVersion};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use xspgate::sim::cti::{Call, Ending, Webex};
use xspgate::sim::pki::Caller;
use xspgate::sim::site::CLOUD;

use crate::harness::{
    PROFILE, Serving, Stage, answer_in_the_clear, assert_bridged, dial, greeting, hello, old_hello, refusal, until,
    within,
};

/// The alert decode_error, fatal, as a whole record.
const DECODE_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 50];
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

fn caller(stage: &Stage, caller: Caller) -> Webex {
    stage.webex().showing(stage.sim.pki.caller(caller))
}

/// Both versions are refused by an alert, for that reason, and no XSP hears of it.
async fn assert_refused(stage: &Stage, webex: &Webex, to: SocketAddr, reason: &str) {
    let labels = [("reason", reason)];
    let before = stage.metrics().await.count("xspgate_tls_handshake_failures_total", &labels);
    for (round, version) in VERSIONS.into_iter().enumerate() {
        let ending = refusal(&webex.clone().speaking(version), to).await;
        assert!(matches!(ending, Ending::Alert(_)), "{reason} {version:?}: {ending:?}");
        stage.until_failed(reason, before + round as f64 + 1.0).await;
    }
    assert_eq!(stage.rung(), 0, "{reason}");
}

#[tokio::test]
async fn r_cti_1_each_right_certificate_is_let_in() {
    let stage = Stage::cti(|_, _| ()).await;
    for welcome in Caller::WELCOME {
        for version in VERSIONS {
            let webex = caller(&stage, welcome).speaking(version);
            let mut call = dial(&webex, stage.gateway.cti()).await.unwrap();
            assert_eq!(greeting(&mut call).await, "a1", "{welcome:?} {version:?}");
        }
    }
}

#[tokio::test]
async fn r_cti_6_no_certificate() {
    let stage = Stage::cti(|_, _| ()).await;
    assert_refused(&stage, &stage.webex().anonymous(), stage.gateway.cti(), "client-certificate-missing").await;
}

/// What a failed handshake is counted as.
pub(crate) fn turned_away_as(caller: Caller) -> &'static str {
    match caller {
        Caller::SelfSigned | Caller::WrongAuthority | Caller::Impostor => "client-certificate-issuer",
        Caller::WrongName => "client-certificate-name",
        Caller::Expired => "client-certificate-expired",
        Caller::NotYetValid => "client-certificate-not-yet-valid",
        Caller::ServerOnly => "client-certificate-purpose",
        Caller::TooDeep => "client-certificate-depth",
        Caller::Revoked => "client-certificate-revoked",
        Caller::Webex | Caller::Deep | Caller::Alternative | Caller::Unlimited => unreachable!("it is welcome"),
    }
}

#[tokio::test]
async fn r_cti_1_a_certificate_that_is_wrong_in_one_way() {
    let stage = Stage::cti(|_, _| ()).await;
    for unwelcome in Caller::UNWELCOME {
        let reason = turned_away_as(unwelcome);
        assert_refused(&stage, &caller(&stage, unwelcome), stage.gateway.cti(), reason).await;
    }
    // The door itself is open.
    stage.greeted().await;
}

#[tokio::test]
async fn r_cti_3_the_gateways_own_certificate_lets_nobody_in() {
    let stage = Stage::cti(|_, _| ()).await;
    let webex = stage.webex().showing(stage.sim.pki.cti_client());
    assert_refused(&stage, &webex, stage.gateway.cti(), "client-certificate-issuer").await;
}

#[tokio::test]
async fn r_cti_1_a_revoked_certificate() {
    let stage = Stage::cti(|sim, text| {
        let path = sim.folder().join("webex.crl");
        std::fs::write(&path, sim.pki.webex_crl()).unwrap();
        text.set("[trust.webex]", "crl", path.display().to_string());
    })
    .await;
    assert_refused(&stage, &caller(&stage, Caller::Revoked), stage.gateway.cti(), "client-certificate-revoked").await;
    stage.greeted().await;
}

#[tokio::test]
async fn r_cti_1_the_purpose_is_waived_and_further_usages_are_demanded_as_configured() {
    let stage = Stage::cti(|_, text| {
        text.set("[[cti]]", "client_purpose", "any");
    })
    .await;
    let mut call = dial(&caller(&stage, Caller::ServerOnly), stage.gateway.cti()).await.unwrap();
    assert_eq!(greeting(&mut call).await, "a1");
    let stage = Stage::cti(|_, text| {
        text.set("[[cti]]", "client_eku", vec!["1.3.6.1.4.1.6431.1.1.8.2.1.3".to_owned()]);
    })
    .await;
    assert_refused(&stage, &stage.webex(), stage.gateway.cti(), "client-certificate-purpose").await;
}

#[tokio::test]
async fn r_cti_2_the_names_are_the_operators() {
    let stage = Stage::cti(|_, text| {
        text.set("[[cti]]", "client_names", vec!["other.webex.com".to_owned(), "CTI.webex.com".to_owned()]);
    })
    .await;
    assert_refused(&stage, &stage.webex(), stage.gateway.cti(), "client-certificate-name").await;
    for named in [Caller::WrongName, Caller::Alternative] {
        let mut call = dial(&caller(&stage, named), stage.gateway.cti()).await.unwrap();
        assert_eq!(greeting(&mut call).await, "a1", "{named:?}");
    }
}

#[tokio::test]
async fn r_tls_1_tls_1_1() {
    let stage = Stage::cti(|_, _| ()).await;
    let answer = answer_in_the_clear(stage.gateway.cti(), &old_hello()).await;
    assert_eq!(answer.first(), Some(&21), "no alert: {answer:?}");
    stage.until_failed("incompatible", 1.0).await;
    assert_eq!(stage.rung(), 0);
}

#[tokio::test]
async fn r_tls_1_what_is_no_tls() {
    let stage = Stage::cti(|_, _| ()).await;
    let plain = format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n");
    let header = "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";
    let binary_header = "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    let said = [plain.as_str(), "<?xml version=\"1.0\"?><Request/>", header, binary_header];
    for (count, bytes) in said.into_iter().enumerate() {
        let answer = answer_in_the_clear(stage.gateway.cti(), bytes.as_bytes()).await;
        assert_eq!(answer, DECODE_ERROR, "{bytes}");
        stage.until_failed("not-tls", count as f64 + 1.0).await;
    }
    assert_eq!(stage.rung(), 0);
}

#[tokio::test]
async fn who_says_nothing_has_only_so_much_time() {
    let stage = Stage::cti(|_, text| {
        text.set("[limits]", "tls_handshake_timeout", "300ms");
    })
    .await;
    let whole = hello(CLOUD);
    for said in [&b""[..], &whole[..whole.len() / 2], &whole] {
        answer_in_the_clear(stage.gateway.cti(), said).await;
    }
    stage.until_failed("timeout", 3.0).await;
    assert_eq!(stage.rung(), 0);
}

#[tokio::test]
async fn a_thousand_without_a_certificate_are_in_nobodys_way() {
    let stage = Stage::cti(|_, text| {
        text.set("[limits]", "tls_handshake_timeout", "60s");
    })
    .await;
    let (to, whole) = (stage.gateway.cti(), hello(CLOUD));
    let mut crowd = Vec::new();
    for number in 0..1000 {
        let mut tcp = within("a connection", TcpStream::connect(to)).await.unwrap();
        let said = [&b""[..], &whole[..1], &whole[..whole.len() / 2], &whole][number % 4];
        tcp.write_all(said).await.unwrap();
        crowd.push(tcp);
    }
    for _ in 0..20 {
        refusal(&caller(&stage, Caller::SelfSigned), to).await;
    }
    let (mut call, _) = stage.greeted().await;
    assert_bridged(&mut call, b"<Request/>").await;
    let listener = to.to_string();
    let open = stage.metrics().await.count("xspgate_connections", &[("listener", &listener)]);
    assert_eq!(open, 1001.0, "the crowd was there all the time");
    assert_eq!(stage.rung(), 1);
    drop(crowd);
}

/// A session of that listener, as a client without a certificate can have it; it shows that it can be resumed there.
async fn session(stage: &Stage, webex: &Webex, config: &Arc<ClientConfig>) {
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let call = webex.call_with(stage.gateway.https(), Arc::clone(config));
        let mut call = within("the handshake", call).await.unwrap();
        call.send(format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\nConnection: close\r\n\r\n")).await.unwrap();
        // The tickets come with the answer.
        within("the answer", call.rest()).await;
        assert_eq!(call.tls().handshake_kind(), Some(kind));
    }
}

#[tokio::test]
async fn a_session_of_another_listener() {
    for version in VERSIONS {
        let stage = Stage::cti(|_, _| ()).await;
        let webex = stage.webex().anonymous().speaking(version);
        let config = webex.config();
        session(&stage, &webex, &config).await;
        let ending = match within("the handshake", webex.call_with(stage.gateway.cti(), config)).await {
            Ok(mut call) => within("the alert", call.rest()).await.1,
            Err(error) => Ending::of(&error),
        };
        assert!(matches!(ending, Ending::Alert(_)), "{version:?}: {ending:?}");
        stage.until_failed("client-certificate-missing", 1.0).await;
        assert_eq!(stage.rung(), 0);
    }
}

#[tokio::test]
async fn a_session_stands_in_for_no_certificate_anywhere() {
    for version in VERSIONS {
        let stage = Stage::cti(|_, text| {
            // Another listener, for clients of another CA.
            text.push("[[cti]]").set("[[cti]]", "listen", vec!["127.0.0.1:0".to_owned()]);
            text.set("[[cti]]", "certificate", "public").set("[[cti]]", "farm", "cti");
            text.set("[[cti]]", "client_trust", "internal");
        })
        .await;
        let webex = stage.webex().speaking(version);
        let config = webex.config();
        for _ in 0..3 {
            let call = webex.call_with(stage.gateway.all_cti()[0], Arc::clone(&config));
            let mut call: Call = within("the handshake", call).await.unwrap();
            assert_eq!(greeting(&mut call).await, "a1");
            assert_eq!(call.tls().handshake_kind(), Some(HandshakeKind::Full), "{version:?}");
        }
        let before = stage.rung();
        let ending = match within("the handshake", webex.call_with(stage.gateway.all_cti()[1], config)).await {
            Ok(mut call) => within("the alert", call.rest()).await.1,
            Err(error) => Ending::of(&error),
        };
        assert!(matches!(ending, Ending::Alert(_)), "{version:?}: {ending:?}");
        stage.until_failed("client-certificate-issuer", 1.0).await;
        assert_eq!(stage.rung(), before);
    }
}

/// A client's side of a TLS 1.2 connection whose records a test writes itself.
struct Sealer {
    key: LessSafeKey,
    salt: [u8; 4],
    sequence: u64,
}

impl Sealer {
    /// A record of that type around `plain` (RFC 5246 section 6.2.3.3, RFC 5288 section 3).
    fn record(&mut self, kind: u8, plain: &[u8]) -> Vec<u8> {
        let explicit = self.sequence.to_be_bytes();
        let length = u16::try_from(plain.len()).unwrap().to_be_bytes();
        let associated = [&explicit[..], &[kind, 3, 3], &length].concat();
        let nonce: [u8; 12] = [&self.salt[..], &explicit].concat().try_into().unwrap();
        let mut sealed = plain.to_vec();
        let tag = self
            .key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(associated), &mut sealed)
            .unwrap();
        sealed.extend_from_slice(tag.as_ref());
        self.sequence += 1;
        let length = u16::try_from(sealed.len() + explicit.len()).unwrap().to_be_bytes();
        [&[kind, 3, 3][..], &length, &explicit, &sealed].concat()
    }
}

/// A connection of Webex's in TLS 1.2, as it is after the greeting.
async fn by_hand(stage: &Stage) -> (TcpStream, Sealer) {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites = vec![rustls::crypto::aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256];
    let identity = stage.sim.pki.caller(Caller::Webex);
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_root_certificates(stage.sim.pki.public_roots())
        .with_client_auth_cert(identity.chain(), identity.key())
        .unwrap();
    config.enable_secret_extraction = true;
    let mut call =
        within("the handshake", stage.webex().call_with(stage.gateway.cti(), Arc::new(config))).await.unwrap();
    assert_eq!(greeting(&mut call).await, "a1");
    let (tcp, tls) = call.into_tls().into_inner();
    let (sequence, secrets) = tls.dangerous_extract_secrets().unwrap().tx;
    let ConnectionTrafficSecrets::Aes128Gcm { key, iv } = secrets else { panic!("another suite was agreed on") };
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, key.as_ref()).unwrap());
    (tcp, Sealer { key, salt: iv.as_ref()[..4].try_into().unwrap(), sequence })
}

#[tokio::test]
async fn renegotiation() {
    const HANDSHAKE: u8 = 22;
    const DATA: u8 = 23;
    let stage = Stage::cti(|_, _| ()).await;
    let xsp = stage.speaker("a1");
    let (mut tcp, mut sealer) = by_hand(&stage).await;
    tcp.write_all(&sealer.record(DATA, b"<Before/>")).await.unwrap();
    until(xsp, "what was said before", |records| records[0].bytes == b"<Before/>").await;
    tcp.write_all(&sealer.record(HANDSHAKE, &hello(CLOUD)[5..])).await.unwrap();
    tcp.write_all(&sealer.record(DATA, b"<After/>")).await.unwrap();
    // The gateway declines, and goes on as before: no other handshake begins, and the XSP learns nothing of it.
    until(xsp, "what was said after", |records| records[0].bytes == b"<Before/><After/>").await;
    // Whoever insists is cut off.
    let insisting = async {
        while tcp.write_all(&sealer.record(HANDSHAKE, &hello(CLOUD)[5..])).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    within("the end", insisting).await;
    until(xsp, "the end of the XSP's connection", |records| !records[0].is_open()).await;
    assert_eq!(xsp.records()[0].bytes, b"<Before/><After/>");
    assert_eq!(stage.rung(), 1);
}

#[tokio::test]
async fn who_is_turned_away_is_logged_but_not_each_time() {
    let stage = Stage::cti(|_, _| ()).await;
    let serving = Serving::start(&stage).await;
    for _ in 0..5 {
        refusal(&caller(&stage, Caller::WrongName), serving.cti[0]).await;
    }
    refusal(&stage.webex().anonymous(), serving.cti[0]).await;
    for reason in ["client-certificate-name", "client-certificate-missing"] {
        let told = |line: &str| (line.contains("client rejected") && line.contains(reason)).then(|| line.to_owned());
        let line = serving.program.line(reason, told).await;
        assert!(line.contains("127.0.0.1") && line.contains(&serving.cti[0].to_string()), "{line}");
    }
    let told = serving.program.lines().iter().filter(|line| line.contains("client rejected")).count();
    assert_eq!(told, 2);
}
