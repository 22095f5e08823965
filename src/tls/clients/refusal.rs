//! Why a client's certificate is refused: the alert that the client gets, and the word that the operator reads. Separate from
//! the verdicts, because a path can fail in sixty ways and an operator acts on ten.

use std::fmt;
use std::sync::Arc;

use rustls::{CertRevocationListError, CertificateError, Error, OtherError};
use webpki::EndEntityCert;

/// The chain is longer than any that may come.
#[derive(Debug, thiserror::Error)]
#[error("more than two intermediates stand between the client's certificate and a trusted CA")]
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

/// What is wrong with a client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is told by its words")]
pub enum Fault {
    Expired,
    NotYetValid,
    Revoked,
    UnknownStatus,
    CrlOverdue,
    Issuer,
    Name,
    Purpose,
    Signature,
    Depth,
    Malformed,
}

impl Fault {
    #[expect(clippy::wildcard_enum_match_arm, reason = "rustls may add errors, and all others speak of bad bytes")]
    pub(in crate::tls) fn of(error: &CertificateError) -> Self {
        use CertificateError as Error;
        match error {
            Error::Expired | Error::ExpiredContext { .. } => Self::Expired,
            Error::NotValidYet | Error::NotValidYetContext { .. } => Self::NotYetValid,
            Error::Revoked => Self::Revoked,
            Error::UnknownRevocationStatus => Self::UnknownStatus,
            Error::ExpiredRevocationList | Error::ExpiredRevocationListContext { .. } => Self::CrlOverdue,
            Error::UnknownIssuer => Self::Issuer,
            Error::NotValidForName => Self::Name,
            Error::InvalidPurpose => Self::Purpose,
            Error::BadSignature => Self::Signature,
            Error::Other(OtherError(other)) if other.is::<TooDeep>() => Self::Depth,
            _ => Self::Malformed,
        }
    }

    /// A word for logs and metrics.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Expired => "client-certificate-expired",
            Self::NotYetValid => "client-certificate-not-yet-valid",
            Self::Revoked => "client-certificate-revoked",
            Self::UnknownStatus => "client-certificate-unknown-status",
            Self::CrlOverdue => "client-certificate-crl-overdue",
            Self::Issuer => "client-certificate-issuer",
            Self::Name => "client-certificate-name",
            Self::Purpose => "client-certificate-purpose",
            Self::Signature => "client-certificate-signature",
            Self::Depth => "client-certificate-depth",
            Self::Malformed => "client-certificate-malformed",
        }
    }
}

/// In words, for the log and for the client.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "it has expired",
            Self::NotYetValid => "it is not valid yet",
            Self::Revoked => "its CA has revoked it",
            Self::UnknownStatus => "no revocation list says whether it is revoked",
            Self::CrlOverdue => "the revocation list of its CA is past its next update",
            Self::Issuer => "no CA that is trusted here has signed it",
            Self::Name => "it is another client's",
            Self::Purpose => "it is not meant for TLS clients",
            Self::Signature => "its key is another one",
            Self::Depth => "it is too far from a CA that is trusted here",
            Self::Malformed => "it can't be read",
        })
    }
}
