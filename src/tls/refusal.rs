//! Why a server's certificate is refused, in words: which certificate of the chain, what is wrong with it, and what to ask whom
//! for. Separate from the verdict, which is webpki's: nothing here decides, it only finds what the verdict may speak of.

use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, Error, OtherError};

use super::peer::{Facts, Naming, Role};
use super::portrait::{Portrait, portrait};

/// What there is to be said of a refusal.
#[derive(Clone, Copy, Debug)]
pub struct Refused<'a> {
    /// What rustls or webpki said.
    pub error: &'a Error,
    /// What the server showed, its own certificate first.
    pub chain: &'a [CertificateDer<'a>],
    /// The name that it had to prove.
    pub name: &'a str,
    /// Who had to sign it, such as `[trust.internal]`.
    pub trust: &'a str,
    /// Seconds since 1970, UTC.
    pub now: i64,
}

/// A certificate of the chain, and its place.
struct Shown {
    place: String,
    portrait: Portrait,
}

/// The refusal as a sentence or two.
#[expect(clippy::wildcard_enum_match_arm, reason = "rustls::Error is not ours and may grow")]
pub fn explain(refused: &Refused<'_>) -> String {
    let shown: Vec<Shown> = refused.chain.iter().enumerate().filter_map(|(index, der)| Shown::of(index, der)).collect();
    if let (Some(unread), true) = (unreadable(refused.chain), shown.len() < refused.chain.len()) {
        return format!("{unread} can't be read: ask its issuer for a new one");
    }
    let Some(leaf) = shown.first() else {
        return "no certificate was shown: see the server's own configuration".to_owned();
    };
    match refused.error {
        Error::InvalidCertificate(error) => explain_certificate(error, refused, &shown, leaf),
        Error::InvalidCertRevocationList(_) => {
            format!("the revocation list of {} can't be used: ask the CA for its current one", refused.trust)
        }
        other => format!("{} is refused: {other}", leaf.place),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "CertificateError is not ours and may grow")]
fn explain_certificate(error: &CertificateError, refused: &Refused<'_>, shown: &[Shown], leaf: &Shown) -> String {
    use CertificateError as E;
    let Refused { name, trust, now, .. } = *refused;
    match error {
        E::Expired | E::ExpiredContext { .. } => match shown.iter().find(|one| one.facts().not_after.unix < now) {
            Some(old) => format!("{} expired on {}: renew it", old.place, old.facts().not_after.day),
            None => format!("the CA in {trust} that {} leads to has expired: put its successor there", leaf.place),
        },
        E::NotValidYet | E::NotValidYetContext { .. } => {
            let help = "check this machine's clock; if it is right, wait, or ask the CA for another one";
            match shown.iter().find(|one| one.facts().not_before.unix > now) {
                Some(new) => format!("{} is not valid before {}: {help}", new.place, new.facts().not_before.day),
                None => format!("the CA in {trust} that {} leads to is not valid yet: {help}", leaf.place),
            }
        }
        E::NotValidForName | E::NotValidForNameContext { .. } => unnamed(leaf, name),
        _ if leaf.facts().is_self_issued() && is_about_issuer(error) => own(leaf, trust),
        E::UnknownIssuer => unknown_issuer(shown, leaf, trust),
        E::BadSignature => bad_signature(shown, leaf, trust),
        E::Revoked => format!("{} or an issuer of it is revoked by a list of {trust}: replace it", leaf.place),
        E::UnknownRevocationStatus => {
            format!("no revocation list of {trust} speaks of {}: ask the CA for its current list", leaf.place)
        }
        E::ExpiredRevocationList | E::ExpiredRevocationListContext { .. } => format!(
            "the revocation list of {trust} for {} is overdue: ask the CA for its current one; `crl_overdue` says what an \
             overdue one is worth",
            leaf.place
        ),
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            let usages = leaf.portrait.usages.clone().unwrap_or_default().join(", ");
            format!(
                "{} is not for TLS servers (its extended key usage is {usages}): ask the CA for one with serverAuth",
                leaf.place
            )
        }
        E::Other(OtherError(other)) => match other.downcast_ref::<webpki::Error>() {
            Some(fault) => odd(fault, shown, leaf, trust),
            None => format!("{} is refused: {other}", leaf.place),
        },
        E::UnhandledCriticalExtension => odd(&webpki::Error::UnsupportedCriticalExtension, shown, leaf, trust),
        E::BadEncoding => format!("{} can't be read: ask its issuer for a new one", leaf.place),
        _ => format!("{} is not accepted: ask the CA for another one", leaf.place),
    }
}

/// Faults for which rustls has no word.
#[expect(clippy::wildcard_enum_match_arm, reason = "webpki may add faults")]
fn odd(fault: &webpki::Error, shown: &[Shown], leaf: &Shown, trust: &str) -> String {
    use webpki::Error as E;
    match fault {
        E::CaUsedAsEndEntity => format!(
            "{} is marked as a CA (CA:TRUE) and shown by a server: ask the CA for a server certificate, or put this very \
             certificate into the file of {trust}",
            leaf.place
        ),
        E::EndEntityUsedAsCa => {
            let issuer = shown.iter().skip(1).find(|one| one.facts().role == Role::EndEntity);
            let place =
                issuer.map_or_else(|| format!("the issuer of {} in {trust}", leaf.place), |one| one.place.clone());
            format!("{place} has signed a certificate and is not a CA: ask the CA for the right intermediate")
        }
        E::UnsupportedCriticalExtension => {
            let all = shown.iter().flat_map(|one| one.portrait.critical.iter().map(move |name| (one, name)));
            let found = all.map(|(one, name)| format!("{} has the critical extension {name}", one.place)).next();
            let found = found.unwrap_or_else(|| format!("{} has a critical extension", leaf.place));
            format!("{found}, which is not understood here: ask the CA for one in which it is not critical")
        }
        E::UnsupportedCertVersion => {
            "a certificate of the chain is of an old version of X.509: ask the CA for one of version 3".to_owned()
        }
        E::NameConstraintViolation => {
            let by = shown.iter().find(|one| one.portrait.constraints.is_some());
            let by = by.map_or_else(|| format!("a CA in {trust}"), |one| one.place.clone());
            format!("{by} may not sign for the names of {} (name constraints): ask the CA for other names", leaf.place)
        }
        E::MalformedNameConstraint | E::UnsupportedNameType | E::InvalidNetworkMaskConstraint => {
            let by = shown.iter().find_map(|one| Some((one, one.portrait.constraints.as_deref()?)));
            let by = by.map_or_else(
                || format!("a CA in {trust} has name constraints"),
                |(one, kinds)| format!("{} has name constraints ({kinds})", one.place),
            );
            format!("{by} of a kind that is not understood: ask the CA for an intermediate without them")
        }
        E::PathLenConstraintViolated => {
            format!(
                "a CA above {} may not have so many CAs below it: ask the CA for the right intermediate",
                leaf.place
            )
        }
        E::MaximumPathDepthExceeded
        | E::MaximumPathBuildCallsExceeded
        | E::MaximumSignatureChecksExceeded
        | E::MaximumNameConstraintComparisonsExceeded => {
            format!(
                "{} is too far from a CA of {trust}: have the server send its own issuers and nothing else",
                leaf.place
            )
        }
        E::UnsupportedSignatureAlgorithmContext(_)
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
        | E::SignatureAlgorithmMismatch => {
            let weak = shown.iter().find(|one| one.portrait.signature.against.is_some()).unwrap_or(leaf);
            let algorithm = &weak.portrait.signature.name;
            format!(
                "{} is signed with {algorithm}, which is not accepted: ask the CA for one signed with SHA-256 or better",
                weak.place
            )
        }
        other => format!("{} is refused: {}: ask the CA for another one", leaf.place, unusable(other)),
    }
}

/// What is wrong with a certificate that can't be used as a CA or be read at all.
#[expect(clippy::wildcard_enum_match_arm, reason = "webpki may add faults")]
pub(super) fn unusable(fault: &webpki::Error) -> &'static str {
    use webpki::Error as E;
    match fault {
        E::UnsupportedCertVersion => "it is of an old version of X.509, and not of version 3",
        E::UnsupportedCriticalExtension => "it has a critical extension that is not understood",
        E::InvalidSerialNumber => "its serial number is not one",
        E::BadDerTime | E::InvalidCertValidity => "its dates make no sense",
        E::MalformedExtensions | E::ExtensionValueInvalid => "its extensions are malformed",
        E::TrailingData(_) => "there is something behind its end",
        E::SignatureAlgorithmMismatch => "it names two signature algorithms",
        E::UnsupportedDeltaCrl => "it is a delta list, which says only what has changed",
        E::UnsupportedIndirectCrl => "it speaks of other CAs' certificates",
        E::UnsupportedCrlVersion => "it is of an old version, and not of version 2",
        E::InvalidCrlNumber => "its number is not one",
        E::UnsupportedRevocationReasonsPartitioning | E::UnsupportedRevocationReason => "it is for some reasons only",
        E::UnsupportedCrlIssuingDistributionPoint => "it is for some certificates only",
        E::EmptyEkuExtension => "its extended key usage is empty",
        _ => "it is malformed",
    }
}

fn unnamed(leaf: &Shown, name: &str) -> String {
    let facts = leaf.facts();
    let place = &leaf.place;
    match (facts.dns_names.as_slice(), &facts.common_name) {
        ([], Some(common)) if leaf.portrait.alternatives.is_empty() => format!(
            "{place} has the CN {common} and no SAN, where names must be: ask the CA for one with {name} among its SANs"
        ),
        _ if leaf.portrait.alternatives.is_empty() => {
            format!("{place} names nothing: ask the CA for one with {name} among its SANs")
        }
        _ if facts.naming(name) == Naming::CommonName => format!(
            "{place} has {name} in its CN alone and not among its SANs: ask the CA for one with it among the SANs"
        ),
        _ => format!(
            "{place} names {}, and not {name}: ask the CA for one that does, or set `server_name` of the farm",
            leaf.portrait.alternatives.join(", ")
        ),
    }
}

/// Whether it says that nobody who is believed has signed the certificate, or, in webpki's order of things, that it is a CA's.
fn is_about_issuer(error: &CertificateError) -> bool {
    let CertificateError::Other(OtherError(other)) = error else {
        return matches!(error, CertificateError::UnknownIssuer | CertificateError::BadSignature);
    };
    matches!(other.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

fn own(leaf: &Shown, trust: &str) -> String {
    format!(
        "{} has signed itself, and {trust} does not hold it: put this very certificate there, or have a CA that is there sign \
         another",
        leaf.place
    )
}

/// What there is to be said of a server that has not proved that the key is its own.
pub fn unproven(certificate: &CertificateDer<'_>) -> String {
    let Some(leaf) = Shown::of(0, certificate) else { return "the server's certificate can't be read".to_owned() };
    let (place, key) = (&leaf.place, &leaf.portrait.key);
    match key.against {
        Some(_) => {
            format!(
                "{place} has a key that is not accepted ({}): ask for one with RSA of 2048 bits or ECDSA P-256",
                key.name
            )
        }
        None => {
            format!("the server does not prove that the key of {place} is its own: its certificate and key are no pair")
        }
    }
}

fn unknown_issuer(shown: &[Shown], leaf: &Shown, trust: &str) -> String {
    let last = shown.last().unwrap_or(leaf);
    let issuer = &last.facts().issuer_text;
    if last.facts().is_self_issued() {
        return format!(
            "the chain ends at {issuer}, which {trust} does not hold: add that CA's certificate to its file"
        );
    }
    format!(
        "{} was signed by {issuer}, which was not sent and is not in {trust}: have the server send its intermediates, or add \
         that CA to the file",
        last.place
    )
}

fn bad_signature(shown: &[Shown], leaf: &Shown, trust: &str) -> String {
    // A signature by a key that is too short fails like any other.
    if let Some(short) = shown.iter().find(|one| one.portrait.key.against.is_some()) {
        let (place, key) = (&short.place, &short.portrait.key.name);
        return format!(
            "{place} has a key that is not accepted ({key}): ask for one with RSA of 2048 bits or ECDSA P-256"
        );
    }
    format!(
        "the signature on {} is not by the CA of that name in the chain or in {trust}: that CA may have a new key; put its \
         certificate of now there",
        leaf.place
    )
}

fn unreadable(chain: &[CertificateDer<'_>]) -> Option<String> {
    let index = chain.iter().position(|der| portrait(der).is_err())?;
    Some(format!("certificate {} of the chain", index + 1))
}

impl Shown {
    fn of(index: usize, der: &CertificateDer<'_>) -> Option<Self> {
        let portrait = portrait(der).ok()?;
        let subject = &portrait.facts.subject_text;
        let place = match index {
            0 => format!("the server's certificate ({subject})"),
            _ => format!("certificate {} of the chain ({subject})", index + 1),
        };
        Some(Self { place, portrait })
    }

    const fn facts(&self) -> &Facts {
        &self.portrait.facts
    }
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests;
