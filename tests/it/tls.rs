//! R-TLS-1 to R-TLS-4: the security of both sides.

use std::sync::Arc;

use http::StatusCode;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, HandshakeKind, NamedGroup, ProtocolVersion, ServerConfig, SupportedCipherSuite,
    SupportedProtocolVersion,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use xspgate::sim::pki::Show;
use xspgate::sim::raw::Raw;
use xspgate::sim::site::{CLOUD, DOMAIN};
use xspgate::sim::xsp::Behaviour;

use crate::harness::{
    PROFILE, RawClient, Received, Stage, answer_in_the_clear, eventually, fragmented, hello, old_hello, padded, tiers,
    tls_config, within,
};

fn config(
    stage: &Stage,
    version: &'static SupportedProtocolVersion,
    suites: &[SupportedCipherSuite],
) -> Arc<ClientConfig> {
    let mut provider = default_provider();
    if !suites.is_empty() {
        provider.cipher_suites = suites.to_vec();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[version]).unwrap();
    Arc::new(config.with_root_certificates(stage.sim.pki.public_roots()).with_no_client_auth())
}

#[tokio::test]
async fn r_tls_1_tls_1_2_and_1_3_are_spoken() {
    let stage = Stage::start().await;
    for (version, protocol) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let config = config(&stage, version, &[]);
        assert_eq!(stage.client().tls(Arc::clone(&config)).get(PROFILE).await.status, StatusCode::OK);
        let client = RawClient::try_connect(stage.gateway.https(), CLOUD, config).await.unwrap();
        assert_eq!(client.tls().protocol_version(), Some(protocol));
    }
    let metrics = stage.metrics().await;
    for version in ["1.2", "1.3"] {
        assert!(metrics.count("xspgate_tls_handshakes_total", &[("version", version)]) >= 1.0, "{version}");
    }
}

#[tokio::test]
async fn r_tls_1_nothing_earlier_than_1_2_is_spoken() {
    let stage = Stage::start().await;
    let answer = answer_in_the_clear(stage.gateway.https(), &old_hello()).await;
    assert!(answer.is_empty() || answer[0] == 21, "no alert: {answer:?}");
    stage.until_failed("incompatible", 1.0).await;
    assert_eq!(stage.asked(), 0);
}

#[tokio::test]
async fn r_tls_1_what_is_no_tls_gets_no_answer_and_does_no_harm() {
    let stage = Stage::start().await;
    let plain = format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n");
    let noise: Vec<u8> = (0..5000).map(|index| (index * 31 % 256) as u8).collect();
    for bytes in [plain.as_bytes(), &noise, &[0x16, 3, 1, 0xff, 0xff], b"\x80\x2e\x01\x00\x02", &old_hello()[..40]] {
        let answer =
            tokio::time::timeout(std::time::Duration::from_secs(2), answer_in_the_clear(stage.gateway.https(), bytes))
                .await;
        let answer = answer.unwrap_or_default();
        assert!(!answer.starts_with(b"HTTP"), "plain text answered");
    }
    assert_eq!(stage.asked(), 0);
    assert_eq!(stage.client().get(PROFILE).await.status, StatusCode::OK);
    eventually("the count of failures", async || {
        stage.metrics().await.count("xspgate_tls_handshake_failures_total", &[]) >= 2.0
    })
    .await;
}

#[tokio::test]
async fn r_tls_1_a_handshake_that_takes_too_long_is_cut() {
    let (stage, ()) = Stage::with(|_, text| {
        text.set("[limits]", "tls_handshake_timeout", "200ms");
    })
    .await;
    assert!(answer_in_the_clear(stage.gateway.https(), b"").await.is_empty());
    answer_in_the_clear(stage.gateway.https(), &old_hello()[..20]).await;
}

#[tokio::test]
async fn r_tls_2_the_certificate_comes_with_its_intermediates() {
    let stage = Stage::start().await;
    let client = stage.raw_client().await;
    assert_eq!(client.tls().peer_certificates().map(<[_]>::len), Some(2));
}

#[tokio::test]
async fn r_tls_3_the_suites_are_the_operators() {
    let (stage, ()) = Stage::with(|_, text| {
        let suites = ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"];
        text.set("[https.tls]", "cipher_suites", suites.map(str::to_owned).to_vec());
    })
    .await;
    let cases = [
        (&TLS12, cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, true),
        (&TLS12, cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, false),
        (&TLS13, cipher_suite::TLS13_AES_256_GCM_SHA384, true),
        (&TLS13, cipher_suite::TLS13_AES_128_GCM_SHA256, false),
    ];
    for (version, suite, agreed) in cases {
        let config = config(&stage, version, &[suite]);
        let client = RawClient::try_connect(stage.gateway.https(), CLOUD, config).await;
        assert_eq!(client.is_ok(), agreed, "{suite:?}");
    }
}

#[tokio::test]
async fn r_tls_3_key_exchange_is_post_quantum_where_the_client_can() {
    let stage = Stage::start().await;
    let mut client = stage.raw_client().await;
    client.send(format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\nConnection: close\r\n\r\n")).await;
    assert_eq!(client.until_closed().await.status(), 200);
    let group = client.tls().negotiated_key_exchange_group().map(|group| group.name());
    assert_eq!(group, Some(NamedGroup::X25519MLKEM768));
}

#[tokio::test]
async fn r_tls_3_groups_are_the_operators() {
    let (stage, ()) = Stage::with(|_, text| {
        text.set("[https.tls]", "groups", vec!["secp256r1".to_owned()]);
    })
    .await;
    let client = stage.raw_client().await;
    let group = client.tls().negotiated_key_exchange_group().map(|group| group.name());
    assert_eq!(group, Some(NamedGroup::secp256r1));
}

#[tokio::test]
async fn r_tls_4_the_xsp_domain_is_what_is_verified() {
    let (stage, ()) = Stage::with(|_, text| {
        text.set("[farm.xsp]", "server_name", "other.example.com");
    })
    .await;
    assert_eq!(stage.client().get(PROFILE).await.status, StatusCode::BAD_GATEWAY);
    assert_eq!(stage.asked(), 0, "a request went to an XSP that is not what it should be");
}

#[tokio::test]
async fn r_tls_4_nothing_is_sent_to_an_xsp_with_a_wrong_certificate() {
    let stage = Stage::start().await;
    for wrong in Show::WRONG {
        for xsp in &stage.sim.xsps {
            xsp.behave(Behaviour::Certificate(wrong)).await;
        }
        assert_eq!(stage.client().get(PROFILE).await.status, StatusCode::BAD_GATEWAY, "{wrong:?}");
    }
    assert_eq!(stage.asked(), 0);
}

#[tokio::test]
async fn r_tls_1_an_xsp_that_speaks_only_1_2_or_only_1_3_is_served() {
    for version in [&TLS12, &TLS13] {
        let (stage, raw) = Stage::with(|sim, text| {
            let identity = sim.pki.xsp(DOMAIN, "old.example.com", Show::Good);
            let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
                .with_protocol_versions(&[version])
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(identity.chain(), identity.key())
                .unwrap();
            let raw = Raw::start_with(Arc::new(config), sim.address(32)).unwrap();
            tiers(text, &[raw.address()]);
            raw
        })
        .await;
        assert_eq!(stage.client().get(PROFILE).await.status, StatusCode::OK, "{version:?}");
        assert_eq!(raw.received().len(), 1);
    }
}

#[tokio::test]
async fn a_host_that_nobody_serves_gets_no_certificate() {
    let stage = Stage::start().await;
    let roots = stage.sim.pki.public_roots();
    for name in ["other.example.com", "example.com"] {
        let refused = RawClient::try_connect(stage.gateway.https(), name, tls_config(&roots)).await;
        assert!(refused.is_err(), "{name}");
    }
    assert_eq!(stage.asked(), 0);
    assert!(stage.metrics().await.count("xspgate_tls_handshake_failures_total", &[]) >= 2.0);
}

#[tokio::test]
async fn sessions_resume_whichever_worker_accepts() {
    for version in [&TLS13, &TLS12] {
        let (stage, ()) = Stage::with(|_, text| {
            text.set("", "workers", 4);
        })
        .await;
        let config = config(&stage, version, &[]);
        for round in 0..20 {
            let mut client = RawClient::try_connect(stage.gateway.https(), CLOUD, Arc::clone(&config)).await.unwrap();
            client.send(format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\nConnection: close\r\n\r\n")).await;
            let received = client.until_closed().await;
            assert!(matches!(&received, Received::Closed(_)), "no close_notify: {received:?}");
            let resumed = client.tls().handshake_kind() == Some(HandshakeKind::Resumed);
            assert_eq!(resumed, round > 0, "{version:?} round {round}");
        }
    }
}

/// Begins a handshake with these bytes, in pieces of `size`; the first byte of the answer, if any.
async fn begin(stage: &Stage, bytes: &[u8], size: usize) -> Option<u8> {
    let exchange = async {
        let mut tcp = TcpStream::connect(stage.gateway.https()).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        for piece in bytes.chunks(size) {
            // The gateway may have heard enough already.
            if tcp.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let mut first = [0];
        tcp.read_exact(&mut first).await.ok().map(|_| first[0])
    };
    within("an answer to a ClientHello", exchange).await
}

#[tokio::test]
async fn r_tls_1_a_client_hello_is_read_however_it_comes() {
    const HANDSHAKE: Option<u8> = Some(22);
    let stage = Stage::start().await;
    let whole = hello(CLOUD);
    assert_eq!(begin(&stage, &whole, usize::MAX).await, HANDSHAKE);
    assert_eq!(begin(&stage, &whole, 1).await, HANDSHAKE, "byte by byte");
    for size in [1, 2, 3, 5, 100] {
        assert_eq!(begin(&stage, &fragmented(&whole, size), usize::MAX).await, HANDSHAKE, "records of {size}");
        assert_eq!(begin(&stage, &fragmented(&whole, size), 7).await, HANDSHAKE, "records of {size}, in pieces");
    }
    let upper = hello(&CLOUD.to_ascii_uppercase());
    assert_eq!(begin(&stage, &upper, usize::MAX).await, HANDSHAKE, "a name in capitals");
    for more in [1000, 12_000] {
        assert_eq!(
            begin(&stage, &fragmented(&padded(&whole, more), 16_000), 999).await,
            HANDSHAKE,
            "{more} bytes more"
        );
    }
}

#[tokio::test]
async fn r_tls_1_what_is_no_client_hello_is_refused_at_once() {
    let stage = Stage::start().await;
    let whole = hello(CLOUD);
    let mut cut = whole.clone();
    cut[40] ^= 0xff;
    let bad = [
        // Alerts, application data and change_cipher_spec before any ClientHello.
        [&[21, 3, 3, 0, 2, 1, 0], &whole[..]].concat(),
        [&[21, 3, 3, 0, 2, 2, 40], &whole[..]].concat(),
        [&[23, 3, 3, 0, 5, 1, 2, 3, 4, 5], &whole[..]].concat(),
        // Empty records.
        [22u8, 3, 1, 0, 0].repeat(5000),
        // Records that are too long, of unknown types and versions.
        [&[22, 3, 1, 0xff, 0xff][..], &[0; 70_000]].concat(),
        [&[99, 3, 1, 0, 1][..], &[0; 100]].concat(),
        // Other handshake messages.
        vec![22, 3, 1, 0, 4, 14, 0, 0, 0],
        vec![22, 3, 1, 0, 4, 0, 0, 0, 0],
        // A handshake message longer than anyone's.
        [&[22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff][..], &vec![0; 30_000]].concat(),
        fragmented(&padded(&whole, 60_000), 16_000),
        // A ClientHello within a ClientHello's record.
        [&whole[..], &whole[..]].concat(),
    ];
    for bytes in bad {
        let begun = std::time::Instant::now();
        let answer = begin(&stage, &bytes, usize::MAX).await;
        let what = &bytes[..bytes.len().min(12)];
        assert!(begun.elapsed() < std::time::Duration::from_secs(3), "{what:?}: {:?}", begun.elapsed());
        assert!(matches!(answer, None | Some(21 | 22)), "{what:?}: {answer:?}");
    }
    assert_eq!(stage.client().get(PROFILE).await.status, StatusCode::OK);
}
