//! Whether an XSP's certificate is believed (R-TLS-4). Separate from rustls' own verifier, which believes a CA for ever, or
//! would have to be made again whenever one of them begins or expires.

use std::cell::RefCell;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertRevocationListError, CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use webpki::{EndEntityCert, KeyUsage, RevocationCheckDepth, RevocationOptions, UnknownStatusPolicy, VerifiedPath};

use crate::config::model::Trust;
use crate::tls::anchors::{Anchors, Revocations};
use crate::tls::certs::Authorities;
use crate::tls::clients::is_open;
use crate::tls::refusal::{Refused, explain, unproven};
use crate::tls::setup::SetupError;

/// What rustls verifies, that the CA at the end is valid, and that no list of the CAs' revokes anything. A CA without a list
/// has revoked nothing, since XSPs may have several CAs and not all keep one.
#[derive(Debug)]
pub(super) struct XspVerifier {
    anchors: Anchors,
    revocations: Revocations,
    algorithms: WebPkiSupportedAlgorithms,
    /// The section that they are from, for messages.
    trust: String,
}

thread_local! {
    /// Why this thread's last certificate was refused.
    static REFUSAL: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn keep(words: String) {
    REFUSAL.set(Some(words));
}

/// Why the certificate was refused in whose handshake the calling thread has just been, in words. rustls' errors have no room
/// for words beside the kind that makes the alert, and verify where the handshake is driven.
pub(super) fn take_refusal() -> Option<String> {
    REFUSAL.take()
}

impl XspVerifier {
    /// # Errors
    /// A revocation list can't be read; [`crate::tls::certs::load`] has looked.
    pub(super) fn new(
        authorities: &Authorities,
        trust: &Trust,
        provider: &CryptoProvider,
    ) -> Result<Arc<Self>, SetupError> {
        Ok(Arc::new(Self {
            anchors: Anchors::new(&authorities.roots),
            revocations: Revocations::new(authorities, trust.crl_overdue)?,
            algorithms: provider.signature_verification_algorithms,
            trust: format!("[trust.{}]", trust.name),
        }))
    }

    /// Whether the certificate is believed: for its own sake, if it is one of those in the trust's file, or for its issuer's.
    /// A fresh XSP shows one that it has signed itself, marked as a CA or not, and putting that there says that it is meant.
    fn verdict(
        &self,
        certificate: &CertificateDer<'_>,
        sent: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        match self.anchors.holds(certificate, now) {
            Some(held) => held.map_err(refused)?,
            None => self.chain(&EndEntityCert::try_from(certificate).map_err(refused)?, sent, now)?,
        }
        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)
    }

    /// Whether a chain leads from `leaf` to an anchor, and nothing on it is revoked.
    fn chain(&self, leaf: &EndEntityCert<'_>, sent: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        if self.revocations.is_empty() {
            return self.path(leaf, sent, now, None);
        }
        let mut verdict = Err(CertificateError::UnknownRevocationStatus.into());
        for lists in self.revocations.choices() {
            let options = self.revocations.options(&lists, RevocationCheckDepth::Chain, UnknownStatusPolicy::Allow);
            verdict = self.path(leaf, sent, now, options);
            if !verdict.as_ref().is_err_and(is_open) {
                break;
            }
        }
        verdict
    }

    fn path(
        &self,
        leaf: &EndEntityCert<'_>,
        sent: &[CertificateDer<'_>],
        now: UnixTime,
        revocation: Option<RevocationOptions<'_>>,
    ) -> Result<(), Error> {
        let admitted = |path: &VerifiedPath<'_>| self.anchors.admit(path, now);
        let (algorithms, anchors, usage) = (self.algorithms.all, self.anchors.all(), KeyUsage::server_auth());
        leaf.verify_for_usage(algorithms, anchors, sent, now, usage, revocation, Some(&admitted))
            .map(|_| ())
            .map_err(refused)
    }
}

/// As rustls has it, so that the XSP gets the alert that it would get from any client.
#[expect(clippy::wildcard_enum_match_arm, reason = "webpki may add faults, and rustls has one word for all others")]
fn refused(error: webpki::Error) -> Error {
    use webpki::Error as Fault;
    match error {
        Fault::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after }.into(),
        Fault::CertNotValidYet { time, not_before } => CertificateError::NotValidYetContext { time, not_before }.into(),
        Fault::InvalidCertValidity => CertificateError::Expired.into(),
        Fault::UnknownIssuer => CertificateError::UnknownIssuer.into(),
        Fault::InvalidSignatureForPublicKey => CertificateError::BadSignature.into(),
        Fault::CertRevoked => CertificateError::Revoked.into(),
        Fault::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus.into(),
        Fault::CrlExpired { time, next_update } => {
            CertificateError::ExpiredRevocationListContext { time, next_update }.into()
        }
        Fault::InvalidCrlSignatureForPublicKey
        | Fault::UnsupportedCrlSignatureAlgorithmContext(_)
        | Fault::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => CertRevocationListError::BadSignature.into(),
        Fault::IssuerNotCrlSigner => CertRevocationListError::IssuerInvalidForCrl.into(),
        Fault::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose.into(),
        Fault::BadDer | Fault::BadDerTime | Fault::TrailingData(_) => CertificateError::BadEncoding.into(),
        other => CertificateError::Other(OtherError(Arc::new(other))).into(),
    }
}

impl ServerCertVerifier for XspVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.verdict(end_entity, intermediates, server_name, now);
        if let Err(error) = &verdict {
            let chain: Vec<_> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
            let (name, now) = (server_name.to_str(), i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
            keep(explain(&Refused { error, chain: &chain, name: &name, trust: &self.trust, now }));
        }
        verdict.map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms).inspect_err(|_| keep(unproven(cert)))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms).inspect_err(|_| keep(unproven(cert)))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests;
