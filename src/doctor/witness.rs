//! Who watches a handshake for the doctor: remembers which certificates were shown, whatever comes of the handshake. Separate from
//! the doors, so that what believes anything stands alone: its connections are dropped before a word is said on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

use crate::lock::Locked;

/// Verifies certificates, or believes all of them, and remembers them.
#[derive(Debug)]
pub(super) struct Witness {
    belief: Belief,
    seen: Locked<Vec<CertificateDer<'static>>>,
    /// Whether the peer has proved that the certificate is its own, and the certificate is believed.
    content: AtomicBool,
}

#[derive(Debug)]
enum Belief {
    Anything(Vec<SignatureScheme>),
    As(Arc<WebPkiServerVerifier>),
}

impl Witness {
    /// Believes anything, and so is good for looking alone.
    pub(super) fn onlooker(provider: &CryptoProvider) -> Self {
        Self::new(Belief::Anything(provider.signature_verification_algorithms.supported_schemes()))
    }

    /// Believes what `verifier` does.
    pub(super) fn strict(verifier: Arc<WebPkiServerVerifier>) -> Self {
        Self::new(Belief::As(verifier))
    }

    fn new(belief: Belief) -> Self {
        Self { belief, seen: Locked::default(), content: AtomicBool::new(false) }
    }

    /// What was shown, the leaf first; nothing before a handshake has come that far.
    pub(super) fn seen(&self) -> Vec<CertificateDer<'static>> {
        self.seen.with(|seen| seen.clone())
    }

    /// Whether the peer was believed, though the handshake may have failed later.
    pub(super) fn is_content(&self) -> bool {
        self.content.load(Ordering::Relaxed)
    }

    fn note(&self, verdict: Result<HandshakeSignatureValid, Error>) -> Result<HandshakeSignatureValid, Error> {
        self.content.store(verdict.is_ok(), Ordering::Relaxed);
        verdict
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = std::iter::once(end_entity).chain(intermediates);
        self.seen.with(|seen| *seen = shown.map(|der| der.clone().into_owned()).collect());
        match &self.belief {
            Belief::Anything(_) => Ok(ServerCertVerified::assertion()),
            Belief::As(verifier) => {
                verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.note(match &self.belief {
            Belief::Anything(_) => Ok(HandshakeSignatureValid::assertion()),
            Belief::As(verifier) => verifier.verify_tls12_signature(message, cert, dss),
        })
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.note(match &self.belief {
            Belief::Anything(_) => Ok(HandshakeSignatureValid::assertion()),
            Belief::As(verifier) => verifier.verify_tls13_signature(message, cert, dss),
        })
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        match &self.belief {
            Belief::Anything(schemes) => schemes.clone(),
            Belief::As(verifier) => verifier.supported_verify_schemes(),
        }
    }
}

/// Shows nothing, no matter who asks.
#[derive(Debug)]
pub(super) struct Nothing;

impl ResolvesClientCert for Nothing {
    fn resolve(&self, _root_hint_subjects: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}
