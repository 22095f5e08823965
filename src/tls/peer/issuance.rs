//! Who has signed what, within one bundle. Apart from the verification of peers, because it decides about nobody: it
//! puts CAs and revocation lists that were downloaded together in order.

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::Instant;

/// What a certificate revocation list says, as far as messages and order are concerned.
#[derive(Clone, Debug)]
pub(in crate::tls) struct ListFacts {
    /// The issuer, in DER.
    pub(in crate::tls) issuer: Vec<u8>,
    /// The issuer as text, for messages.
    pub(in crate::tls) issuer_text: String,
    /// Its number in hexadecimal, in capitals; empty if it has none.
    pub(in crate::tls) number: String,
    /// When it was made.
    pub(in crate::tls) this_update: Instant,
    /// When the next one is due at the latest, if it says so.
    pub(in crate::tls) next_update: Option<Instant>,
}

/// Reads one certificate revocation list in DER; `None` if it is none, or something follows it.
pub(in crate::tls) fn list_facts(der: &[u8]) -> Option<ListFacts> {
    let (rest, list) = CertificateRevocationList::from_der(der).ok()?;
    rest.is_empty().then(|| ListFacts {
        issuer: list.issuer().as_raw().to_vec(),
        issuer_text: list.issuer().to_string(),
        number: list.crl_number().map(|number| format!("{number:X}")).unwrap_or_default(),
        this_update: list.last_update().into(),
        next_update: list.next_update().map(Instant::from),
    })
}

/// Whether `issuer`'s key has made the signature of a certificate, or of a revocation list.
pub(in crate::tls) fn is_signed_by(signed: &[u8], issuer: &CertificateDer<'_>) -> bool {
    if let Ok((_, certificate)) = X509Certificate::from_der(signed) {
        return verifies(issuer, certificate.tbs_certificate.as_ref(), &certificate.signature_value.data);
    }
    CertificateRevocationList::from_der(signed)
        .is_ok_and(|(_, list)| verifies(issuer, list.tbs_cert_list.as_ref(), &list.signature_value.data))
}

/// Which of its algorithms a key has signed with shows by trying.
fn verifies(issuer: &CertificateDer<'_>, message: &[u8], signature: &[u8]) -> bool {
    let Ok(issuer) = EndEntityCert::try_from(issuer) else { return false };
    let algorithms = default_provider().signature_verification_algorithms.all;
    algorithms.iter().any(|algorithm| issuer.verify_signature(*algorithm, message, signature).is_ok())
}
