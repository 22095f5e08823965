//! The TLS side of a simulated CTI XSP, and how it judges a client's certificate (R-CTI-3). It reads the certificate in its
//! own way: what the gateway thinks of the rules must not be what judges the gateway.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};
use tokio_rustls::TlsAcceptor;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::Demand;
use crate::sim::pki::{CTI_CLIENT, CTI_USAGE, Identity, Pki, Show};

/// How a connection is secured and examined.
pub(super) struct Door {
    pub(super) acceptor: TlsAcceptor,
    /// What judges a client after the handshake; `None`: it needs no judging any more.
    examiner: Option<Arc<Examiner>>,
}

impl Door {
    /// Whether a client that has come through the handshake with these certificates may stay.
    pub(super) fn admits(&self, chain: Option<&[CertificateDer<'_>]>) -> bool {
        let Some(examiner) = &self.examiner else { return true };
        match chain {
            Some([leaf, intermediates @ ..]) => examiner.examine(leaf, intermediates, UnixTime::now()).is_ok(),
            Some([]) | None => false,
        }
    }
}

/// A door for each certificate that an XSP may show and each time at which it may judge.
pub(super) fn all(pki: &Pki, domain: &str, name: &str) -> HashMap<(Show, Demand), Door> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = WebPkiClientVerifier::builder_with_provider(pki.internal_roots(), provider).build();
    let chain = chain.expect("the internal CA is there");
    let examiner = |when| Arc::new(Examiner { chain: Arc::clone(&chain), when });
    let mut doors = HashMap::new();
    for show in Show::WRONG.into_iter().chain([Show::Good]) {
        let identity = pki.xsp(domain, name, show);
        for demand in [Demand::InHandshake, Demand::Afterwards, Demand::Nothing] {
            let config = config(&identity, examiner(demand));
            let late = (demand == Demand::Afterwards).then(|| examiner(demand));
            doors.insert((show, demand), Door { acceptor: TlsAcceptor::from(config), examiner: late });
        }
    }
    doors
}

/// TLS 1.2 and 1.3. Nothing is resumed, so that each connection shows its certificates.
fn config(identity: &Identity, examiner: Arc<Examiner>) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for TLS 1.2 and 1.3")
        .with_client_cert_verifier(examiner)
        .with_single_cert(identity.chain(), identity.key())
        .expect("the key was made for the certificate");
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

/// Judges clients as BroadWorks does.
#[derive(Debug)]
struct Examiner {
    chain: Arc<dyn ClientCertVerifier>,
    when: Demand,
}

impl Examiner {
    fn examine(&self, leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        // TLS client authentication is among what this asks for.
        self.chain.verify_client_cert(leaf, rest, now)?;
        let refused = || Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);
        let (_, certificate) = X509Certificate::from_der(leaf).map_err(|_| refused())?;
        let usage = certificate.extended_key_usage().ok().flatten();
        let has_usage = usage.is_some_and(|usage| {
            usage.value.client_auth
                && usage.value.other.iter().any(|oid| oid.iter().is_some_and(|arcs| arcs.eq(CTI_USAGE)))
        });
        let has_name = common_name(leaf).as_deref() == Some(CTI_CLIENT);
        let has_alternatives = certificate.subject_alternative_name().is_ok_and(|names| names.is_some());
        if has_usage && has_name && !has_alternatives { Ok(()) } else { Err(refused()) }
    }
}

/// The first common name of a certificate's subject.
pub(super) fn common_name(leaf: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    Some(name.to_owned())
}

impl ClientCertVerifier for Examiner {
    fn client_auth_mandatory(&self) -> bool {
        self.when == Demand::InHandshake
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.when == Demand::InHandshake {
            self.examine(leaf, intermediates, now)?;
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
