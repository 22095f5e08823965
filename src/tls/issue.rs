//! Certificates that an operator needs and the gateway can make: an internal CA, the gateway's client certificate towards
//! XSPs' CTI (R-CTI-3), server certificates of XSPs (R-TLS-4). Separate from `certs`, which judges what is there.

pub mod authority;
pub mod files;

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_RSA_SHA256, RsaKeySize, SanType,
};
use time::{Duration, OffsetDateTime};

use crate::broadworks::cti::{CLIENT_NAME, CLIENT_USAGE_ARCS};
use crate::config::error::Problem;
use crate::config::types::name::HostName;
use crate::tls::certs::pem::USABLE_KEYS;

/// A certificate begins to be valid this long before it is made: clocks differ.
const BEFORE: Duration = Duration::hours(1);
/// The longest common name (RFC 5280, ub-common-name).
const LONGEST_NAME: usize = 64;

/// The kind of a key that is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// `p256`: ECDSA on P-256.
    P256,
    /// `rsa-2048`.
    Rsa2048,
    /// `rsa-3072`.
    Rsa3072,
    /// `rsa-4096`.
    Rsa4096,
}

impl KeyKind {
    /// The kinds by name, the default first.
    pub const NAMES: [&'static str; 4] = ["p256", "rsa-2048", "rsa-3072", "rsa-4096"];

    fn generate(self) -> Result<KeyPair, Error> {
        let rsa = |size| KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size);
        let made = match self {
            Self::P256 => KeyPair::generate(),
            Self::Rsa2048 => rsa(RsaKeySize::_2048),
            Self::Rsa3072 => rsa(RsaKeySize::_3072),
            Self::Rsa4096 => rsa(RsaKeySize::_4096),
        };
        made.map_err(Error::Crypto)
    }

    /// What a server's key of this kind is used for: with RSA also for the key exchange of old clients.
    fn server_usages(self) -> Vec<KeyUsagePurpose> {
        match self {
            Self::P256 => vec![KeyUsagePurpose::DigitalSignature],
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => {
                vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment]
            }
        }
    }
}

/// None of [`KeyKind::NAMES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such kind of key")]
pub struct UnknownKind;

impl FromStr for KeyKind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        match name {
            "p256" => Ok(Self::P256),
            "rsa-2048" => Ok(Self::Rsa2048),
            "rsa-3072" => Ok(Self::Rsa3072),
            "rsa-4096" => Ok(Self::Rsa4096),
            _ => Err(UnknownKind),
        }
    }
}

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the CA can't be used as one.
    #[error("{}", .0.message)]
    File(Problem),
    /// The CA's key file has another number of keys than one.
    #[error("{file} has {} private keys", .count)]
    Keys {
        /// The key file.
        file: String,
        /// How many.
        count: usize,
    },
    /// The CA's key is of a kind that can't sign here.
    #[error("the key in {file} is of a kind that can't be used")]
    KeyKind {
        /// The key file.
        file: String,
    },
    /// The CA's key is another certificate's.
    #[error("the key in {key} does not belong to any certificate in {ca}")]
    OtherKey {
        /// The CA's file.
        ca: String,
        /// The key file.
        key: String,
    },
    /// The certificate that the key belongs to may not sign others.
    #[error("{subject} in {ca} is no CA: {why}")]
    NoAuthority {
        /// Which certificate.
        subject: String,
        /// The CA's file.
        ca: String,
        /// What says so.
        why: &'static str,
    },
    /// The CA, or one above it, is not valid now.
    #[error("the CA {subject} {what}")]
    OutOfDate {
        /// Which certificate.
        subject: String,
        /// `expired on ...` or `is not valid before ...`.
        what: String,
    },
    /// A name is too long to be a CN.
    #[error("{name} is longer than a CN may be, which is {LONGEST_NAME} characters")]
    LongName {
        /// The name.
        name: String,
    },
    /// A certificate can't be made of this.
    #[error("no certificate can be made of this")]
    Crypto(#[source] rcgen::Error),
}

impl Error {
    /// What would be right.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::File(problem) => problem.help.clone(),
            Self::Keys { .. } => Some("it should hold the key of the CA that signs, and no other".into()),
            Self::KeyKind { .. } => Some(USABLE_KEYS.into()),
            Self::OtherKey { ca, key } => {
                Some(format!("`xspgate certs inspect {ca} --key {key}` shows what belongs together"))
            }
            Self::NoAuthority { .. } => Some("`xspgate certs ca` makes one, or see --csr".into()),
            Self::OutOfDate { .. } => {
                Some("is this machine's clock right? If it is: `xspgate certs ca` makes a CA".into())
            }
            Self::LongName { .. } | Self::Crypto(_) => None,
        }
    }
}

/// A certificate that was made.
#[derive(Clone)]
pub struct Issued {
    /// The certificate and its issuers, as PEM.
    pub chain: String,
    /// Its key, as PEM (PKCS #8).
    pub key: String,
    /// Whose it is.
    pub subject: String,
    /// Its last day, as `2026-01-31`.
    pub ends: String,
    /// What the operator should know about it.
    pub notes: Vec<String>,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("subject", &self.subject).field("ends", &self.ends).finish_non_exhaustive()
    }
}

/// A certificate request that was made.
#[derive(Clone)]
pub struct Requested {
    /// The request, as PEM (PKCS #10).
    pub request: String,
    /// Its key, as PEM (PKCS #8).
    pub key: String,
}

/// A CA that signed itself. `now`: seconds since 1970, UTC.
///
/// # Errors
/// The name is too long, or the cryptography fails.
pub fn authority(name: &str, days: u32, kind: KeyKind, now: i64) -> Result<Issued, Error> {
    let mut params = named(name)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let now = instant(now);
    (params.not_before, params.not_after) = (now - BEFORE, now + Duration::days(i64::from(days)));
    let key = kind.generate()?;
    let certificate = params.self_signed(&key).map_err(Error::Crypto)?;
    Ok(Issued {
        chain: block("CERTIFICATE", certificate.der()),
        key: block("PRIVATE KEY", key.serialized_der()),
        subject: format!("CN={name}"),
        ends: params.not_after.date().to_string(),
        notes: Vec::new(),
    })
}

/// A request for the gateway's client certificate towards XSPs' CTI, for a CA that is not at hand.
///
/// # Errors
/// The cryptography fails.
pub fn cti_client_request(kind: KeyKind) -> Result<Requested, Error> {
    let key = kind.generate()?;
    let request = cti_client()?.serialize_request(&key).map_err(Error::Crypto)?;
    Ok(Requested {
        request: block("CERTIFICATE REQUEST", request.der()),
        key: block("PRIVATE KEY", key.serialized_der()),
    })
}

/// A key for the affinity cookie, in base64.
///
/// # Errors
/// The system has no randomness to give.
pub fn affinity_key() -> Result<String, Error> {
    let mut key = [0; 32];
    aws_lc_rs::rand::fill(&mut key).map_err(|_| Error::Crypto(rcgen::Error::RingUnspecified))?;
    Ok(STANDARD.encode(key))
}

/// R-CTI-3.
fn cti_client() -> Result<CertificateParams, Error> {
    let mut params = named(CLIENT_NAME)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let broadworks = ExtendedKeyUsagePurpose::Other(CLIENT_USAGE_ARCS.to_vec());
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, broadworks];
    Ok(params)
}

/// R-TLS-4. The FQDN is a SAN too, after the domain: anyone who calls the XSP by its own name looks for it there, since a CN
/// counts no longer where there are SANs; the gateway looks for the domain and is not disturbed by others.
fn xsp(domain: &HostName, fqdn: &HostName, kind: KeyKind) -> Result<CertificateParams, Error> {
    let mut params = named(&fqdn.0)?;
    let mut names = vec![domain, fqdn];
    names.dedup();
    for name in names {
        params.subject_alt_names.push(SanType::DnsName(name.0.as_str().try_into().map_err(Error::Crypto)?));
    }
    params.key_usages = kind.server_usages();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

fn named(common_name: &str) -> Result<CertificateParams, Error> {
    if common_name.chars().count() > LONGEST_NAME {
        return Err(Error::LongName { name: common_name.to_owned() });
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}

fn instant(unix: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(unix).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// One PEM block (RFC 7468).
fn block(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut block = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        block.push_str(line);
        block.push('\n');
        rest = after;
    }
    block.push_str(&format!("-----END {label}-----\n"));
    block
}

#[cfg(test)]
mod tests;
