//! Why a client's certificate is refused: the alert that the client gets, and the word that the operator reads. Separate from
//! the verdicts, because a path can fail in sixty ways and an operator acts on ten.

use std::sync::Arc;

use rustls::{CertRevocationListError, CertificateError, Error, OtherError};
use webpki::EndEntityCert;

/// The chain is longer than any that may come.
#[derive(Debug, thiserror::Error)]
#[error("the client's certificate is too far from a CA that is believed")]
struct TooDeep;

/// The refusal of a chain that is too long.
pub(super) fn too_deep() -> Error {
    CertificateError::Other(OtherError(Arc::new(TooDeep))).into()
}

/// What a path's fault means for the handshake.
#[expect(clippy::wildcard_enum_match_arm, reason = "webpki may add faults, and all others are a bad path's")]
pub(super) fn refused(error: webpki::Error, leaf: &EndEntityCert<'_>) -> Error {
    use webpki::Error as Fault;
    match error {
        // What signed itself leads to no CA, whatever it says that it may sign.
        Fault::CaUsedAsEndEntity if leaf.subject() == leaf.issuer() => CertificateError::UnknownIssuer.into(),
        Fault::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after }.into(),
        Fault::CertNotValidYet { time, not_before } => CertificateError::NotValidYetContext { time, not_before }.into(),
        Fault::InvalidCertValidity => CertificateError::Expired.into(),
        Fault::CrlExpired { time, next_update } => {
            CertificateError::ExpiredRevocationListContext { time, next_update }.into()
        }
        Fault::CertRevoked => CertificateError::Revoked.into(),
        Fault::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus.into(),
        Fault::InvalidCrlSignatureForPublicKey
        | Fault::UnsupportedCrlSignatureAlgorithmContext(_)
        | Fault::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => CertRevocationListError::BadSignature.into(),
        Fault::IssuerNotCrlSigner => CertRevocationListError::IssuerInvalidForCrl.into(),
        Fault::RequiredEkuNotFoundContext(_) | Fault::EmptyEkuExtension | Fault::CaUsedAsEndEntity => {
            CertificateError::InvalidPurpose.into()
        }
        Fault::MaximumPathDepthExceeded
        | Fault::MaximumPathBuildCallsExceeded
        | Fault::MaximumSignatureChecksExceeded
        | Fault::MaximumNameConstraintComparisonsExceeded => too_deep(),
        Fault::BadDer | Fault::BadDerTime | Fault::TrailingData(_) | Fault::MalformedExtensions => {
            CertificateError::BadEncoding.into()
        }
        Fault::UnsupportedCriticalExtension => CertificateError::UnhandledCriticalExtension.into(),
        // A signature that does not fit is the mark of another CA of the same name. BadSignature is left for a client that
        // does not own the certificate's key.
        _ => CertificateError::UnknownIssuer.into(),
    }
}

/// A word for logs and metrics.
#[expect(clippy::wildcard_enum_match_arm, reason = "rustls may add errors, and all others speak of bad bytes")]
pub(in crate::tls) fn word(error: &CertificateError) -> &'static str {
    use CertificateError as Fault;
    match error {
        Fault::Expired | Fault::ExpiredContext { .. } => "client-certificate-expired",
        Fault::NotValidYet | Fault::NotValidYetContext { .. } => "client-certificate-not-yet-valid",
        Fault::Revoked => "client-certificate-revoked",
        Fault::UnknownRevocationStatus => "client-certificate-unknown-status",
        Fault::ExpiredRevocationList | Fault::ExpiredRevocationListContext { .. } => "client-certificate-crl-overdue",
        Fault::UnknownIssuer => "client-certificate-issuer",
        Fault::NotValidForName => "client-certificate-name",
        Fault::InvalidPurpose => "client-certificate-purpose",
        Fault::BadSignature => "client-certificate-signature",
        Fault::Other(OtherError(other)) if other.is::<TooDeep>() => "client-certificate-depth",
        _ => "client-certificate-malformed",
    }
}
