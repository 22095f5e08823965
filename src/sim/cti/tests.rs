//! The CTI XSPs and their client tried on each other, without a gateway: what they say must be right before they can judge
//! anything.

use std::io;
use std::sync::Arc;

use rustls::AlertDescription;
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateRevocationListDer, UnixTime};

use super::*;
use crate::proxy_protocol::{Header, v2};
use crate::sim::pki::{Caller, Flaw, Identity};
use crate::sim::site::{DOMAIN, Layout, Network, Simulation};

const DEADLINE: Duration = Duration::from_secs(10);

/// The gateway's part: it trusts the internal CA and shows its own client certificate.
fn gateway(simulation: &Simulation) -> Webex {
    let pki = &simulation.pki;
    Webex::new(pki).trusting(pki.internal_roots()).asking_for(DOMAIN).showing(pki.cti_client())
}

async fn site() -> Simulation {
    Simulation::start(Network::Own).await.unwrap()
}

#[tokio::test]
async fn an_xsp_greets_echoes_records_dies_and_comes_back() {
    let simulation = site().await;
    let xsp = simulation.cti("a1");
    for version in [&TLS12, &TLS13] {
        let mut call = gateway(&simulation).speaking(version).call(xsp.address()).await.unwrap();
        assert_eq!(call.greeting().await.unwrap(), "a1");
        call.send(b"\0\xff<a/>").await.unwrap();
        assert_eq!(call.receive(6).await.unwrap(), b"\0\xff<a/>");
        xsp.say(b"<Event/>");
        assert_eq!(call.receive(8).await.unwrap(), b"<Event/>");
        call.finish().await.unwrap();
        assert_eq!(call.rest().await, (vec![], Ending::CloseNotify));
    }
    assert!(xsp.until(DEADLINE, |records| records.iter().all(|record| !record.is_open())).await);
    let record = xsp.records().remove(1);
    assert_eq!((record.end, record.received, record.bytes.as_slice()), (End::CloseNotify, 6, &b"\0\xff<a/>"[..]));
    assert_eq!(record.peer.as_deref(), Some("bwcticlient.webex.com"));
    assert_eq!(record.server_name.as_deref(), Some(DOMAIN));

    let mut call = gateway(&simulation).call(xsp.address()).await.unwrap();
    xsp.kill().await;
    assert_eq!(call.rest().await.1, Ending::Reset);
    assert!(gateway(&simulation).call(xsp.address()).await.is_err());
    xsp.revive().await;
    let mut call = gateway(&simulation).call(xsp.address()).await.unwrap();
    assert_eq!(call.greeting().await.unwrap(), "a1");
    xsp.vanish().await;
    assert_eq!(call.rest().await.1, Ending::Fin);
    let connections = xsp.connections();
    assert_eq!((connections.accepted, connections.open), (4, 0));
}

#[tokio::test]
async fn r_cti_3_each_flaw_is_turned_away_in_the_handshake_or_after_it() {
    let simulation = site().await;
    let xsp = simulation.cti("a1");
    let flawed: Vec<Option<Flaw>> = Flaw::ALL.into_iter().map(Some).chain([None]).collect();
    for version in [&TLS12, &TLS13] {
        for flaw in &flawed {
            let webex = match flaw {
                Some(flaw) => gateway(&simulation).showing(simulation.pki.flawed_cti_client(*flaw)),
                None => gateway(&simulation).anonymous(),
            }
            .speaking(version);
            xsp.demand(Demand::InHandshake);
            let ending = match webex.call(xsp.address()).await {
                Ok(mut call) => {
                    assert_eq!(version.version, rustls::ProtocolVersion::TLSv1_3, "{flaw:?}");
                    call.rest().await.1
                }
                Err(error) => Ending::of(&error),
            };
            assert!(matches!(ending, Ending::Alert(_)), "{flaw:?}: {ending:?}");
            if flaw.is_none() {
                continue;
            }
            xsp.demand(Demand::Afterwards);
            let mut call = webex.call(xsp.address()).await.unwrap();
            assert_eq!(call.rest().await, (vec![], Ending::CloseNotify), "{flaw:?}");
            xsp.demand(Demand::Nothing);
            assert_eq!(webex.call(xsp.address()).await.unwrap().greeting().await.unwrap(), "a1");
        }
    }
}

#[tokio::test]
async fn each_behaviour_shows() {
    let simulation = site().await;
    let xsp = simulation.cti("b1");
    let webex = gateway(&simulation);
    let endings = [
        (Behaviour::ResetAfterHandshake, Ending::Reset),
        (Behaviour::ResetOnData, Ending::Reset),
        (Behaviour::AlertOnData, Ending::Alert(AlertDescription::BadRecordMac)),
        (Behaviour::CloseAfterHandshake, Ending::CloseNotify),
        (Behaviour::VanishOnData, Ending::Fin),
    ];
    for (behaviour, ending) in endings {
        xsp.behave(behaviour.clone()).await;
        let mut call = webex.call(xsp.address()).await.unwrap();
        // It may be gone by now.
        drop(call.send("hello").await);
        assert_eq!(call.rest().await.1, ending, "{behaviour:?}");
    }
    let failures = [Behaviour::ResetOnAccept, Behaviour::PlainText, Behaviour::Refuse];
    for behaviour in failures.into_iter().chain(Show::WRONG.map(Behaviour::Certificate)) {
        xsp.behave(behaviour.clone()).await;
        assert!(webex.call(xsp.address()).await.is_err(), "{behaviour:?}");
    }
    for silent in [Behaviour::SilentTcp, Behaviour::SlowHandshake(DEADLINE * 2), Behaviour::Unreachable] {
        xsp.behave(silent.clone()).await;
        let call = tokio::time::timeout(Duration::from_millis(100), webex.call(xsp.address())).await;
        assert!(call.is_err(), "{silent:?}");
    }
    xsp.revive().await;
    assert_eq!(webex.call(xsp.address()).await.unwrap().greeting().await.unwrap(), "b1");
}

#[tokio::test]
async fn either_side_may_end_its_direction_first() {
    let simulation = site().await;
    let xsp = simulation.cti("b2");
    xsp.behave(Behaviour::Answer(b"late".to_vec())).await;
    let mut call = gateway(&simulation).call(xsp.address()).await.unwrap();
    call.send("question").await.unwrap();
    call.finish().await.unwrap();
    assert_eq!(call.rest().await, (b"late".to_vec(), Ending::CloseNotify));

    xsp.behave(Behaviour::EndFirst).await;
    let mut call = gateway(&simulation).call(xsp.address()).await.unwrap();
    assert_eq!(call.rest().await.1, Ending::CloseNotify);
    call.send("still here").await.unwrap();
    assert!(xsp.until(DEADLINE, |records| records[1].bytes == b"still here").await);
    call.vanish().await.unwrap();
    assert!(xsp.until(DEADLINE, |records| records[1].end == End::Fin).await);

    xsp.behave(Behaviour::Send(3_000_000)).await;
    let mut call = gateway(&simulation).call(xsp.address()).await.unwrap();
    let mut hasher = Hasher::new();
    let (sent, (received, ending)) = (call.send(vec![7; 100_000]).await, call.rest().await);
    sent.unwrap();
    hasher.update(&received);
    assert_eq!((hasher.digest(), ending), (Noise::digest(3_000_000), Ending::CloseNotify));
    call.reset();
    assert!(xsp.until(DEADLINE, |records| records[2].end == End::Reset).await);
}

#[tokio::test]
async fn a_proxy_header_is_recorded_where_one_is_expected() {
    let simulation = site().await;
    let xsp = simulation.cti("a2");
    xsp.expect(Preface::Proxy);
    let header = Header::Proxied { source: "192.0.2.1:5".parse().unwrap(), destination: xsp.address() };
    let mut call = gateway(&simulation).behind(v2(&header)).call(xsp.address()).await.unwrap();
    assert_eq!(call.greeting().await.unwrap(), "a2");
    assert_eq!(xsp.records()[0].header, Some(header));
    assert!(gateway(&simulation).call(xsp.address()).await.is_err());
}

#[tokio::test]
async fn callers_are_what_they_are_called() {
    let simulation = site().await;
    let pki = &simulation.pki;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let root = rustls_pki_types::CertificateDer::from_pem_slice(pki.webex_chain().as_bytes()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root).unwrap();
    let lists = CertificateRevocationListDer::pem_slice_iter(pki.webex_crl().as_bytes())
        .map(Result::unwrap)
        .collect::<Vec<_>>();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .with_crls(lists)
        .only_check_end_entity_revocation()
        .allow_unknown_revocation_status()
        .build()
        .unwrap();
    let verified = |identity: Identity| {
        let chain = identity.chain();
        verifier.verify_client_cert(&chain[0], &chain[1..], UnixTime::now()).map(|_| chain.len())
    };
    // The verifier knows neither names nor how long a chain may be.
    let lengths = [
        (Caller::Webex, 2),
        (Caller::Deep, 3),
        (Caller::TooDeep, 4),
        (Caller::Alternative, 2),
        (Caller::Unlimited, 2),
        (Caller::WrongName, 2),
    ];
    for (caller, length) in lengths {
        assert_eq!(verified(pki.caller(caller)), Ok(length), "{caller:?}");
    }
    let refused = [
        Caller::SelfSigned,
        Caller::WrongAuthority,
        Caller::Impostor,
        Caller::Expired,
        Caller::NotYetValid,
        Caller::ServerOnly,
        Caller::Revoked,
    ];
    for caller in refused {
        assert!(verified(pki.caller(caller)).is_err(), "{caller:?}");
    }
}

#[tokio::test]
async fn the_site_writes_a_configuration_that_can_be_used() {
    let simulation = site().await;
    let mut text = simulation.config(Layout::TwoSites);
    simulation.serve_cti(&mut text);
    simulation.serve_passthrough(&mut text);
    let loaded = crate::config::load(&simulation.write_config(&text).unwrap()).unwrap();
    assert_eq!((loaded.config.cti.len(), loaded.config.passthrough.len()), (1, 1));
    let (material, problems) = crate::tls::certs::load(&loaded.config);
    assert!(material.is_some(), "{problems:?}");
}

#[test]
fn an_alert_is_told_from_other_ends() {
    let alert = rustls::Error::AlertReceived(AlertDescription::AccessDenied);
    let endings = [
        (io::Error::new(io::ErrorKind::InvalidData, alert), Ending::Alert(AlertDescription::AccessDenied)),
        (io::Error::from(io::ErrorKind::UnexpectedEof), Ending::Fin),
        (io::Error::from(io::ErrorKind::ConnectionReset), Ending::Reset),
        (io::Error::other("what"), Ending::Broken),
    ];
    for (error, ending) in endings {
        assert_eq!(Ending::of(&error), ending);
    }
}
