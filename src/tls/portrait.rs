//! Everything about a certificate, a request or a revocation list that is worth showing to an operator. Separate from `peer`,
//! because nothing that is served depends on it.

use x509_parser::certificate::X509Certificate;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{ParsedExtension, X509Extension};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

use super::peer::{self, Facts, ListFacts, Presence, Unreadable};
use crate::broadworks::cti;

/// The least length of an RSA key that is worth anything, in bits.
const LEAST_RSA: usize = 2048;

/// What a certificate says, in full.
#[derive(Clone, Debug)]
pub(super) struct Portrait {
    pub(super) facts: Facts,
    /// In hexadecimal, as OpenSSL shows it.
    pub(super) serial: String,
    /// Subject alternative names, each with its kind.
    pub(super) alternatives: Vec<String>,
    pub(super) key: Judged,
    pub(super) signature: Judged,
    /// Extended key usages by name; `None`: it has none, and so may be used for anything.
    pub(super) usages: Option<Vec<String>>,
    /// Whether TLS servers may show it.
    pub(super) server: Presence,
    /// Whether TLS clients may show it.
    pub(super) client: Presence,
    /// Whether BroadWorks' CTI client is among the usages, or the CN is the one of CTI clients.
    pub(super) cti: Presence,
    /// Whether its key usage lets it sign certificates.
    pub(super) signing: Presence,
    /// Its critical extensions that no verifier here understands.
    pub(super) critical: Vec<String>,
    /// The kinds of names that its name constraints speak of; `None`: it has none.
    pub(super) constraints: Option<String>,
    /// The subject key identifier.
    pub(super) key_identifier: Option<Vec<u8>>,
}

/// An algorithm, and what is to be said against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) name: String,
    pub(super) against: Option<&'static str>,
}

/// What a certificate request asks for.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) subject: String,
    pub(super) alternatives: Vec<String>,
    pub(super) usages: Option<Vec<String>>,
    pub(super) key: Judged,
    /// The contents of its SubjectPublicKeyInfo.
    pub(super) public_key: Vec<u8>,
}

/// What a certificate revocation list says, in full.
#[derive(Clone, Debug)]
pub(super) struct Revocations {
    pub(super) facts: ListFacts,
    /// How many certificates are on it.
    pub(super) count: usize,
}

/// Reads a certificate in DER.
pub(super) fn portrait(der: &[u8]) -> Result<Portrait, Unreadable> {
    let facts = peer::facts(der)?;
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| Unreadable)?;
    let usage = certificate.extended_key_usage().ok().flatten().map(|usage| usage.value);
    let key_usage = certificate.key_usage().ok().flatten();
    let for_cti = usage.is_some_and(|usage| usage.other.iter().any(|oid| oid.to_id_string() == cti::CLIENT_USAGE));
    let key_identifier = certificate.iter_extensions().find_map(|extension| {
        let ParsedExtension::SubjectKeyIdentifier(identifier) = extension.parsed_extension() else { return None };
        Some(identifier.0.to_vec())
    });
    Ok(Portrait {
        serial: certificate.raw_serial_as_string(),
        alternatives: cti::alternative_names(&certificate),
        key: key(certificate.public_key()),
        signature: signature(&certificate.signature_algorithm),
        usages: usage.map(cti::usage_names),
        server: usage.is_none_or(|usage| usage.server_auth || usage.any).into(),
        client: usage.is_none_or(|usage| usage.client_auth || usage.any).into(),
        cti: (for_cti || facts.common_name.as_deref() == Some(cti::CLIENT_NAME)).into(),
        signing: key_usage.is_none_or(|usage| usage.value.key_cert_sign()).into(),
        critical: certificate.iter_extensions().filter(|one| one.critical).filter_map(not_understood).collect(),
        constraints: certificate.iter_extensions().find_map(constraints),
        key_identifier,
        facts,
    })
}

/// The name of an extension that webpki does not understand.
fn not_understood(extension: &X509Extension<'_>) -> Option<String> {
    Some(match extension.oid.to_id_string().as_str() {
        // Key usage, SAN, basic constraints, name constraints, distribution points, extended key usage.
        "2.5.29.15" | "2.5.29.17" | "2.5.29.19" | "2.5.29.30" | "2.5.29.31" | "2.5.29.37" => return None,
        "2.5.29.32" => "certificate policies".to_owned(),
        "2.5.29.33" => "policy mappings".to_owned(),
        "2.5.29.36" => "policy constraints".to_owned(),
        "2.5.29.54" => "inhibit anyPolicy".to_owned(),
        "2.5.29.9" => "subject directory attributes".to_owned(),
        "2.5.29.16" => "private key usage period".to_owned(),
        "2.5.29.18" => "issuer alternative name".to_owned(),
        "2.16.840.1.113730.1.1" => "Netscape certificate type".to_owned(),
        other => other.to_owned(),
    })
}

fn constraints(extension: &X509Extension<'_>) -> Option<String> {
    let ParsedExtension::NameConstraints(constraints) = extension.parsed_extension() else { return None };
    let all = constraints.permitted_subtrees.iter().chain(&constraints.excluded_subtrees).flatten();
    let mut kinds: Vec<String> = all.map(|subtree| cti::alternative_name(&subtree.base)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    Some(kinds.join(", "))
}

/// Reads a certificate request in DER.
pub(super) fn request(der: &[u8]) -> Result<Request, Unreadable> {
    let (_, request) = X509CertificationRequest::from_der(der).map_err(|_| Unreadable)?;
    let information = &request.certification_request_info;
    let mut asked = Request {
        subject: peer::name_text(&information.subject),
        alternatives: Vec::new(),
        usages: None,
        key: key(&information.subject_pki),
        public_key: super::der::next(information.subject_pki.raw)
            .map(|(key, _)| key.content.to_vec())
            .unwrap_or_default(),
    };
    for extension in request.requested_extensions().into_iter().flatten() {
        if let ParsedExtension::SubjectAlternativeName(names) = extension {
            asked.alternatives.extend(names.general_names.iter().map(cti::alternative_name));
        } else if let ParsedExtension::ExtendedKeyUsage(usage) = extension {
            asked.usages = Some(cti::usage_names(usage));
        }
    }
    Ok(asked)
}

/// Reads a certificate revocation list in DER.
pub(super) fn revocations(der: &[u8]) -> Result<Revocations, Unreadable> {
    let facts = peer::list_facts(der).ok_or(Unreadable)?;
    let (_, list) = CertificateRevocationList::from_der(der).map_err(|_| Unreadable)?;
    Ok(Revocations { facts, count: list.iter_revoked_certificates().count() })
}

/// The kind of a public key, from its SubjectPublicKeyInfo.
pub(super) fn public_key(der: &[u8]) -> Judged {
    match SubjectPublicKeyInfo::from_der(der) {
        Ok((_, info)) => key(&info),
        Err(_) => Judged { name: "of a kind unknown here".to_owned(), against: None },
    }
}

fn key(info: &SubjectPublicKeyInfo<'_>) -> Judged {
    let judged = |name: String, against| Judged { name, against };
    let unusable = Some("the gateway can't use such a key");
    if let Ok(PublicKey::RSA(key)) = info.parsed() {
        let leading = key.modulus.iter().take_while(|byte| **byte == 0).count();
        let bits = key
            .modulus
            .get(leading)
            .map_or(0, |first| (key.modulus.len() - leading) * 8 - usize::try_from(first.leading_zeros()).unwrap_or(0));
        return judged(format!("RSA {bits}"), (bits < LEAST_RSA).then_some("its RSA key is shorter than 2048 bits"));
    }
    let curve = info.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    match (info.algorithm.algorithm.to_id_string().as_str(), curve.map(|curve| curve.to_id_string()).as_deref()) {
        ("1.2.840.10045.2.1", Some("1.2.840.10045.3.1.7")) => judged("ECDSA P-256".into(), None),
        ("1.2.840.10045.2.1", Some("1.3.132.0.34")) => judged("ECDSA P-384".into(), None),
        ("1.2.840.10045.2.1", Some("1.3.132.0.35")) => judged("ECDSA P-521".into(), None),
        ("1.2.840.10045.2.1", curve) => {
            judged(format!("ECDSA on the curve {}", curve.unwrap_or("without a name")), unusable)
        }
        ("1.3.101.112", _) => judged("Ed25519".into(), None),
        (other, _) => judged(format!("of the kind {other}"), unusable),
    }
}

fn signature(algorithm: &AlgorithmIdentifier<'_>) -> Judged {
    let old = Some("its signature is made with a hash that can be forged");
    let (name, against) = match algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.4" => ("MD5 with RSA", old),
        "1.2.840.113549.1.1.5" | "1.3.14.3.2.29" => ("SHA-1 with RSA", old),
        "1.2.840.113549.1.1.10" => ("RSA-PSS", None),
        "1.2.840.113549.1.1.11" => ("SHA-256 with RSA", None),
        "1.2.840.113549.1.1.12" => ("SHA-384 with RSA", None),
        "1.2.840.113549.1.1.13" => ("SHA-512 with RSA", None),
        "1.2.840.10045.4.1" => ("ECDSA with SHA-1", old),
        "1.2.840.10045.4.3.2" => ("ECDSA with SHA-256", None),
        "1.2.840.10045.4.3.3" => ("ECDSA with SHA-384", None),
        "1.2.840.10045.4.3.4" => ("ECDSA with SHA-512", None),
        "1.3.101.112" => ("Ed25519", None),
        other => return Judged { name: other.to_owned(), against: None },
    };
    Judged { name: name.to_owned(), against }
}
