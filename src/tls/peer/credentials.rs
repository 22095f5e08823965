//! Who a client says it is, and what its certificate may be used for. Separate from the facts that messages are made of,
//! because access hangs on these: whatever can't be read leaves the client without a name, and never with a wrong one.

use rustls::CommonState;
use x509_parser::asn1_rs::{FromDer as _, Oid};
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::OID_X509_EXT_EXTENDED_KEY_USAGE;

use super::{Unreadable, name, read};

/// What a client's certificate claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The subject's common name, if it has exactly one.
    pub common_name: Option<String>,
    /// DNS names among the subject alternative names, as they are written.
    pub dns_names: Vec<String>,
    /// The extended key usages, as the content of DER object identifiers; `None`: the certificate names none at all.
    pub usages: Option<Vec<Vec<u8>>>,
}

/// Reads the claims of a certificate in DER.
///
/// # Errors
/// The bytes are no certificate, or one of its extensions is there twice or malformed.
pub fn credentials(der: &[u8]) -> Result<Credentials, Unreadable> {
    let certificate = read(der)?;
    let alternatives = certificate.subject_alternative_name().map_err(|_| Unreadable)?;
    let names = alternatives.iter().flat_map(|names| &names.value.general_names);
    let usages = certificate.get_extension_unique(&OID_X509_EXT_EXTENDED_KEY_USAGE).map_err(|_| Unreadable)?;
    let mut common_names = certificate.subject().iter_common_name();
    let common_name = match (common_names.next(), common_names.next()) {
        (Some(only), None) => only.as_str().ok().map(str::to_owned),
        (Some(_), Some(_)) | (None, _) => None,
    };
    Ok(Credentials {
        common_name,
        dns_names: names.filter_map(dns_name).collect(),
        usages: usages.map(|extension| self::usages(extension.value)).transpose()?,
    })
}

/// The subject of the certificate that the peer has proved to own, as text such as `CN=bwcticlient.webex.com`, or another
/// of its names if it is empty; `None` if it has shown none.
pub fn subject(session: &CommonState) -> Option<String> {
    let certificate = session.peer_certificates()?.first()?;
    // The verifier has read it before.
    read(certificate).ok().map(|certificate| name::owner(&certificate))
}

fn usages(der: &[u8]) -> Result<Vec<Vec<u8>>, Unreadable> {
    let (rest, usages) = Vec::<Oid<'_>>::from_der(der).map_err(|_| Unreadable)?;
    if rest.is_empty() { Ok(usages.iter().map(|usage| usage.as_bytes().to_vec()).collect()) } else { Err(Unreadable) }
}

fn dns_name(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::DNSName(name) = name { Some((*name).to_owned()) } else { None }
}
