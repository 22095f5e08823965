//! What a certificate says. Separate from the rest of `tls`, which need not know X.509 for it; `portrait` reads more, for
//! operators.

mod credentials;
mod list;
mod name;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

pub use credentials::{Credentials, credentials, subject};
pub(super) use list::{ListFacts, list_facts};
pub(super) use name::text as name_text;

use crate::config::error::printable;
use crate::telemetry::validity::Validity;

/// What a certificate says, as far as the gateway cares.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The subject, in DER.
    pub subject: Vec<u8>,
    /// The issuer, in DER.
    pub issuer: Vec<u8>,
    /// The subject as text, for messages; another name of the certificate's if it is empty.
    pub subject_text: String,
    /// The issuer as text, for messages.
    pub issuer_text: String,
    /// The serial number as `openssl x509 -serial` prints it: hexadecimal, in capitals.
    pub serial: String,
    /// The subject's first common name.
    pub common_name: Option<String>,
    /// DNS names among the subject alternative names, lower case.
    pub dns_names: Vec<String>,
    /// Whether the basic constraints say that it is a CA.
    pub role: Role,
    /// The first instant at which it is valid.
    pub not_before: Instant,
    /// The last one.
    pub not_after: Instant,
}

/// Whether something is in a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is.
    Present,
    /// It is not.
    Absent,
}

impl From<bool> for Presence {
    fn from(present: bool) -> Self {
        if present { Self::Present } else { Self::Absent }
    }
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It may sign others.
    Authority,
    /// It may not.
    EndEntity,
}

/// One end of a certificate's validity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instant {
    /// Seconds since 1970, UTC.
    pub unix: i64,
    /// The day, as `2026-01-31`.
    pub day: String,
}

impl Instant {
    /// From seconds since 1970, UTC; `None`: X.509 can't say it.
    pub fn of(unix: i64) -> Option<Self> {
        ASN1Time::from_timestamp(unix).ok().map(Self::from)
    }
}

/// The day of a second since 1970, UTC; the second itself if X.509 can't say it.
pub fn day(unix: i64) -> String {
    Instant::of(unix).map_or_else(|| unix.to_string(), |instant| instant.day)
}

impl From<ASN1Time> for Instant {
    fn from(time: ASN1Time) -> Self {
        Self { unix: time.timestamp(), day: time.to_datetime().date().to_string() }
    }
}

/// The bytes are no X.509 certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an X.509 certificate")]
pub struct Unreadable;

/// How a certificate names a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// By a subject alternative name.
    Exact,
    /// By a wildcard.
    Wildcard,
    /// By its common name only.
    CommonName,
    /// Not at all.
    No,
}

/// Reads one certificate in DER.
///
/// # Errors
/// The bytes are no certificate, or something follows it.
pub fn facts(der: &[u8]) -> Result<Facts, Unreadable> {
    let certificate = read(der)?;
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let names = alternatives.iter().flat_map(|names| &names.value.general_names);
    let constraints = certificate.basic_constraints().ok().flatten();
    let common_name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    Ok(Facts {
        subject: certificate.subject().as_raw().to_vec(),
        issuer: certificate.issuer().as_raw().to_vec(),
        subject_text: printable(&name::owner(&certificate)),
        issuer_text: printable(&name::text(certificate.issuer())),
        serial: serial(certificate.raw_serial()),
        common_name: common_name.map(str::to_owned),
        dns_names: names.filter_map(dns_name).collect(),
        role: match constraints {
            Some(constraints) if constraints.value.ca => Role::Authority,
            Some(_) | None => Role::EndEntity,
        },
        not_before: certificate.validity().not_before.into(),
        not_after: certificate.validity().not_after.into(),
    })
}

fn read(der: &[u8]) -> Result<X509Certificate<'_>, Unreadable> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) | Err(_) => Err(Unreadable),
    }
}

/// Without the zeros that DER puts before it.
fn serial(der: &[u8]) -> String {
    let start = der.iter().position(|byte| *byte != 0).unwrap_or(der.len().saturating_sub(1));
    der[start..].iter().map(|byte| format!("{byte:02X}")).collect()
}

fn dns_name(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::DNSName(name) = name { Some(name.to_ascii_lowercase()) } else { None }
}

impl Facts {
    /// From when to when it is valid.
    pub const fn validity(&self) -> Validity {
        Validity { from: Some(self.not_before.unix), to: self.not_after.unix }
    }

    /// Whether subject and issuer are the same, as in a root or a self-signed certificate.
    pub fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }

    /// How the certificate names `host`, which is in lower case. A wildcard stands for exactly one label (RFC 6125).
    pub fn naming(&self, host: &str) -> Naming {
        let parent = host.split_once('.').map(|(_, parent)| parent);
        let by_wildcard = |name: &str| name.strip_prefix("*.").is_some_and(|rest| Some(rest) == parent);
        let common_name = self.common_name.as_deref().map(str::to_ascii_lowercase);
        if self.dns_names.iter().any(|name| name == host) {
            Naming::Exact
        } else if self.dns_names.iter().any(|name| by_wildcard(name)) {
            Naming::Wildcard
        } else if common_name.is_some_and(|name| name == host || by_wildcard(&name)) {
            Naming::CommonName
        } else {
            Naming::No
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;
    use crate::tls::certs::fixture::Authority;

    fn named(common_name: &str, dns_names: &[&str]) -> Facts {
        Facts {
            subject: vec![],
            issuer: vec![],
            subject_text: String::new(),
            issuer_text: String::new(),
            serial: String::new(),
            common_name: Some(common_name.into()),
            dns_names: dns_names.iter().map(|name| (*name).to_owned()).collect(),
            role: Role::EndEntity,
            not_before: Instant { unix: 0, day: String::new() },
            not_after: Instant { unix: 0, day: String::new() },
        }
    }

    #[test]
    fn r_tls_2_a_certificate_names_its_host() {
        let facts = named("CN.example.com", &["a.example.com", "*.b.example.com"]);
        for (host, expected) in [
            ("a.example.com", Naming::Exact),
            ("x.b.example.com", Naming::Wildcard),
            ("b.example.com", Naming::No),
            ("x.y.b.example.com", Naming::No),
            ("cn.example.com", Naming::CommonName),
            ("c.example.com", Naming::No),
            ("com", Naming::No),
        ] {
            assert_eq!(facts.naming(host), expected, "{host}");
        }
    }

    #[test]
    fn serial_numbers_are_written_as_openssl_writes_them() {
        for (der, expected) in [(&[0, 0xab, 0x01][..], "AB01"), (&[0], "00"), (&[1, 0], "0100"), (&[], "")] {
            assert_eq!(serial(der), expected);
        }
    }

    #[test]
    fn names_are_told_without_what_would_steer_a_terminal() {
        let root = Authority::root("A\u{1b}[31m\u{7}\nB");
        let facts = facts(&CertificateDer::from_pem_slice(root.pem.as_bytes()).unwrap()).unwrap();
        let told = "CN=A\u{fffd}[31m\u{fffd}\u{fffd}B";
        assert_eq!((facts.subject_text.as_str(), facts.issuer_text.as_str()), (told, told));
    }

    /// A certificate's subject, as it is told, that has these attributes and no others.
    fn told(attributes: &[(&[u64], &str)], dns_names: &[&str]) -> String {
        let leaf = Authority::root("CA").leaf_with("x", dns_names, |params| {
            params.serial_number = Some(0xab01.into());
            params.distinguished_name = rcgen::DistinguishedName::new();
            for (oid, value) in attributes {
                params.distinguished_name.push(rcgen::DnType::CustomDnType(oid.to_vec()), *value);
            }
        });
        facts(&CertificateDer::from_pem_slice(leaf.pem.as_bytes()).unwrap()).unwrap().subject_text
    }

    #[test]
    fn subjects_are_told_without_ambiguity() {
        const CN: &[u64] = &[2, 5, 4, 3];
        const O: &[u64] = &[2, 5, 4, 10];
        for (common_name, expected) in [
            ("bwcticlient.webex.com", "CN=bwcticlient.webex.com"),
            ("Jos\u{e9} Example 1 #2", "CN=Jos\u{e9} Example 1 #2"),
            ("a=b/c", "CN=a=b/c"),
            ("evil, CN=bwcticlient.webex.com", "CN=evil\\, CN=bwcticlient.webex.com"),
            ("a + O=b", "CN=a \\+ O=b"),
            ("\"a\" <b>; c\\", "CN=\\\"a\\\" \\<b\\>\\; c\\\\"),
            ("#a", "CN=\\#a"),
            (" a ", "CN=\\ a\\ "),
            ("  ", "CN=\\ \\ "),
            (" ", "CN=\\ "),
            ("\0", "CN=\\00"),
            ("", "CN="),
        ] {
            assert_eq!(told(&[(CN, common_name)], &[]), expected);
        }
        assert_eq!(told(&[(CN, "a"), (O, "b, c")], &["d.example.com"]), "CN=a, O=b\\, c");
        assert_eq!(told(&[(&[1, 2, 3, 4], "a"), (CN, "b")], &[]), "1.2.3.4=a, CN=b");
    }

    #[test]
    fn who_has_no_subject_is_told_by_another_name() {
        assert_eq!(told(&[], &["A.example.com", "b.example.com"]), "DNS:A.example.com");
        assert_eq!(told(&[], &["a, CN=b"]), "DNS:a\\, CN=b");
        assert_eq!(told(&[], &[]), "serial:AB01");
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        for der in [&b""[..], b"x", b"\x30\x00", b"\x30\x82\xff\xff"] {
            assert_eq!(facts(der).unwrap_err(), Unreadable);
        }
    }
}
