//! What a certificate revocation list says. Separate from certificates, because it is about others than its issuer.

use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::Instant;
use crate::config::error::printable;

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
        issuer_text: printable(&super::name::text(list.issuer())),
        number: list.crl_number().map(|number| format!("{number:X}")).unwrap_or_default(),
        this_update: list.last_update().into(),
        next_update: list.next_update().map(Instant::from),
    })
}
