//! What XSPs demand of the certificate that the gateway shows on their CTI port (R-CTI-3), and what to say of one that
//! falls short. Separate from the loading of files, because the rules are BroadWorks' and can be read without them.

use std::fmt;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName};
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

/// The one common name of such a certificate: the same as that of Webex's own (R-CTI-2).
pub const CLIENT_NAME: &str = "bwcticlient.webex.com";
/// BroadWorks' own extended key usage for CTI clients.
pub const CLIENT_USAGE: &str = "1.3.6.1.4.1.6431.1.1.8.2.1.3";
/// [`CLIENT_USAGE`] by its numbers.
pub const CLIENT_USAGE_ARCS: [u64; 13] = [1, 3, 6, 1, 4, 1, 6431, 1, 1, 8, 2, 1, 3];

/// Makes one that keeps every rule.
const MAKE: &str = "`xspgate certs cti-client --ca internal-ca.pem --ca-key internal-ca-key.pem`";
/// Where subject alternative names are.
const SUBJECT_ALTERNATIVE_NAME: &str = "2.5.29.17";

/// One rule that a certificate breaks. Displayed as what was found, and what the rule is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is no X.509 certificate.
    Unreadable,
    /// It has no extended key usage at all, or one that can't be read.
    NoUsage,
    /// BroadWorks' usage is not among its extended key usages.
    NotForCti {
        /// Those that are, by name.
        found: Vec<String>,
    },
    /// TLS client authentication is not among its extended key usages.
    NotForClients {
        /// Those that are, by name.
        found: Vec<String>,
    },
    /// Its common name is another one, or it has none, or several.
    CommonName {
        /// Those that it has.
        found: Vec<String>,
    },
    /// It has subject alternative names, of whatever kind.
    AlternativeNames {
        /// Those that could be read.
        found: Vec<String>,
    },
    /// Its time has not come.
    NotYetValid {
        /// The day on which it begins.
        from: String,
    },
    /// Its time is over.
    Expired {
        /// The day on which it ended.
        on: String,
    },
    /// The key is another certificate's.
    OtherKey {
        /// The key's file.
        key: String,
        /// The certificate's file.
        chain: String,
    },
    /// It has signed itself.
    SelfSigned,
    /// The chain breaks off.
    IssuerMissing {
        /// The last certificate that is there.
        subject: String,
        /// The one after it that is not.
        issuer: String,
    },
    /// A certificate of the issuer's name is there, but its key has not signed.
    IssuerDiffers {
        /// The certificate that should have been signed by it.
        subject: String,
        /// The issuer's name.
        issuer: String,
    },
    /// An issuer may not sign certificates.
    IssuerIsNoCa {
        /// The issuer's name.
        issuer: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const COMPLETE: &str = "the rule is a chain that is complete up to its CA";
        match self {
            Self::Unreadable => f.write_str("it can't be read; the rule is an X.509 certificate"),
            Self::NoUsage => write!(
                f,
                "it has no extended key usage; the rule is one that holds {CLIENT_USAGE} and TLS client authentication"
            ),
            Self::NotForCti { found } => write!(
                f,
                "its extended key usage is {}; the rule is that it holds BroadWorks' {CLIENT_USAGE}",
                list(found, "empty")
            ),
            Self::NotForClients { found } => write!(
                f,
                "its extended key usage is {}; the rule is that it holds TLS client authentication by name (clientAuth)",
                list(found, "empty")
            ),
            Self::CommonName { found } => {
                match found.as_slice() {
                    [] => f.write_str("it has no CN")?,
                    [only] => write!(f, "its CN is {only}")?,
                    several => write!(f, "its CNs are {}", several.join(", "))?,
                }
                write!(f, "; the rule is one CN, {CLIENT_NAME}")
            }
            Self::AlternativeNames { found } => {
                write!(f, "it has a SAN ({}); the rule is none, of whatever kind", list(found, "which can't be read"))
            }
            Self::NotYetValid { from } => write!(f, "it is not valid before {from}; the rule is that it is valid now"),
            Self::Expired { on } => write!(f, "it expired on {on}; the rule is that it is valid now"),
            Self::OtherKey { key, chain } => write!(
                f,
                "the key in {key} does not belong to the certificate in {chain}; the rule is that they are a pair"
            ),
            Self::SelfSigned => f.write_str("it has signed itself; the rule is that a CA has, which the XSPs trust"),
            Self::IssuerMissing { subject, issuer } => {
                write!(f, "its chain ends at {subject}, and its issuer {issuer} is missing; {COMPLETE}")
            }
            Self::IssuerDiffers { subject, issuer } => {
                write!(f, "{subject} was signed by another {issuer} than the one that is there; {COMPLETE}")
            }
            Self::IssuerIsNoCa { issuer } => {
                write!(f, "its issuer {issuer} is no CA by its basic constraints; {COMPLETE}")
            }
        }
    }
}

impl Fault {
    /// What makes a right one, commands included.
    pub fn remedy(&self) -> String {
        match self {
            Self::Unreadable
            | Self::NoUsage
            | Self::NotForCti { .. }
            | Self::NotForClients { .. }
            | Self::CommonName { .. }
            | Self::AlternativeNames { .. }
            | Self::SelfSigned => format!("{MAKE} makes one that fits; with --csr your own CA signs it"),
            Self::NotYetValid { .. } => format!("is this machine's clock right? If it is: {MAKE} makes a new one"),
            Self::Expired { .. } => format!("{MAKE} makes a new one"),
            Self::OtherKey { key, chain } => format!(
                "`xspgate certs inspect {chain} --key {key}` shows what belongs together; {MAKE} makes a new pair"
            ),
            Self::IssuerMissing { issuer, .. } => format!(
                "append it: `cat leaf.pem issuing.pem > chain.pem`, where issuing.pem is the certificate of {issuer}; \
                 or add that one to the farm's `trust`"
            ),
            Self::IssuerDiffers { issuer, .. } => format!(
                "take the certificate of {issuer} that has signed it: `cat leaf.pem issuing.pem > chain.pem`; or \
                 {MAKE} makes a new one"
            ),
            Self::IssuerIsNoCa { .. } => format!("{MAKE} makes a new one, signed by a CA"),
        }
    }
}

/// What is wrong with the certificate `leaf`, in DER, by itself: all but its key and its chain. `now`: seconds since 1970,
/// UTC.
pub fn faults(leaf: &[u8], now: i64) -> Vec<Fault> {
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return vec![Fault::Unreadable] };
    let mut faults = usages(&certificate);
    let common_names = common_names(&certificate);
    if common_names != [CLIENT_NAME] {
        faults.push(Fault::CommonName { found: common_names });
    }
    // Also one that can't be read, or that stands there twice.
    if certificate.extensions().iter().any(|extension| extension.oid.to_id_string() == SUBJECT_ALTERNATIVE_NAME) {
        faults.push(Fault::AlternativeNames { found: alternative_names(&certificate) });
    }
    let validity = certificate.validity();
    if validity.not_before.timestamp() > now {
        faults.push(Fault::NotYetValid { from: day(validity.not_before) });
    } else if validity.not_after.timestamp() < now {
        faults.push(Fault::Expired { on: day(validity.not_after) });
    }
    faults
}

fn usages(certificate: &X509Certificate<'_>) -> Vec<Fault> {
    let Ok(Some(usage)) = certificate.extended_key_usage() else { return vec![Fault::NoUsage] };
    let usage = usage.value;
    let mut faults = Vec::new();
    if !usage.other.iter().any(|oid| oid.to_id_string() == CLIENT_USAGE) {
        faults.push(Fault::NotForCti { found: usage_names(usage) });
    }
    // anyExtendedKeyUsage does not stand in for it.
    if !usage.client_auth {
        faults.push(Fault::NotForClients { found: usage_names(usage) });
    }
    faults
}

/// Extended key usages by name; those that have none here by their numbers.
pub fn usage_names(usage: &ExtendedKeyUsage<'_>) -> Vec<String> {
    let known = [
        (usage.any, "anyExtendedKeyUsage"),
        (usage.server_auth, "serverAuth"),
        (usage.client_auth, "clientAuth"),
        (usage.code_signing, "codeSigning"),
        (usage.email_protection, "emailProtection"),
        (usage.time_stamping, "timeStamping"),
        (usage.ocsp_signing, "OCSPSigning"),
    ];
    let known = known.into_iter().filter(|(present, _)| *present).map(|(_, name)| name.to_owned());
    let other = usage.other.iter().map(|oid| match oid.to_id_string() {
        oid if oid == CLIENT_USAGE => format!("BroadWorks CTI client ({CLIENT_USAGE})"),
        oid => oid,
    });
    known.chain(other).collect()
}

/// The subject's common names.
pub fn common_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject().iter_common_name();
    names.map(|name| name.as_str().unwrap_or("(in an encoding of old)").to_owned()).collect()
}

/// The subject alternative names, each with its kind.
pub fn alternative_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    names.iter().flat_map(|names| &names.value.general_names).map(alternative_name).collect()
}

/// One subject alternative name with its kind.
pub fn alternative_name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => format!("DNS {name}"),
        GeneralName::RFC822Name(name) => format!("e-mail {name}"),
        GeneralName::URI(uri) => format!("URI {uri}"),
        GeneralName::IPAddress(bytes) => match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
            (Ok(v4), _) => format!("IP {}", std::net::Ipv4Addr::from(v4)),
            (_, Ok(v6)) => format!("IP {}", std::net::Ipv6Addr::from(v6)),
            (Err(_), Err(_)) => "an IP address that is none".to_owned(),
        },
        GeneralName::DirectoryName(name) => format!("directory name {name}"),
        GeneralName::OtherName(oid, _) => format!("other name {oid}"),
        GeneralName::RegisteredID(oid) => format!("registered ID {oid}"),
        GeneralName::X400Address(_) | GeneralName::EDIPartyName(_) | GeneralName::Invalid(..) => {
            "one of another kind".to_owned()
        }
    }
}

fn day(time: ASN1Time) -> String {
    time.to_datetime().date().to_string()
}

fn list(found: &[String], none: &str) -> String {
    if found.is_empty() { none.to_owned() } else { found.join(", ") }
}

#[cfg(test)]
mod tests;
