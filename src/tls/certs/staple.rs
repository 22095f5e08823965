//! OCSP responses that are stapled to certificates: is one for this certificate, good, and current? Separate from the
//! certificates, because a response lasts for days, and what is wrong with it harms nobody but itself.

use std::ops::Range;
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::sign::CertifiedKey;

use super::chain::Link;
use super::pem;
use crate::config::error::Problem;
use crate::config::model::{Certificate, Config};
use crate::config::place::Spot;
use crate::telemetry::metrics::Expiry;
use crate::telemetry::validity::Validity;
use crate::tls::der::{self, Parts, SEQUENCE};
use crate::tls::peer::day;

/// id-pkix-ocsp-basic (RFC 6960 section 4.2.1).
const BASIC: [u8; 9] = [0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1];
/// What hashes the issuer's name and key, by object identifier.
const HASHES: [(&[u8], &digest::Algorithm); 4] = [
    (&[0x2b, 0x0e, 3, 2, 0x1a], &digest::SHA1_FOR_LEGACY_USE_ONLY),
    (&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1], &digest::SHA256),
    (&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2], &digest::SHA384),
    (&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3], &digest::SHA512),
];
const MADE: &str = "have `openssl ocsp ... -respout FILE` write it anew";

/// A certificate with an OCSP response for it.
#[derive(Debug)]
pub struct Staple {
    /// Both.
    pub key: Arc<CertifiedKey>,
    /// When the response counts.
    pub validity: Validity,
}

/// What a response says of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Good,
    Revoked,
    Unknown,
}

/// Why a file can't be stapled, whatever the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error("is not an OCSP response in DER")]
    Malformed,
    #[error("is an OCSP responder's error, and not a response")]
    Unsuccessful,
    #[error("is an OCSP response for another certificate")]
    OtherCertificate,
}

/// The response that `certificate` names, for `chain`, and when it is due. `None`: there is none, or none that helps. Its
/// signature is for clients to check.
pub(super) fn load(
    config: &Config,
    certificate: &Certificate,
    chain: &[Link],
    now: i64,
    problems: &mut Vec<Problem>,
) -> Option<(Vec<u8>, Validity, Option<Expiry>)> {
    let path = certificate.ocsp.as_deref()?;
    let span = config.places.of(&Spot::CertificateOcsp(certificate.name.clone()));
    let shown = path.display();
    let bytes = pem::public(path, &span).map_err(|problem| problems.push(problem)).ok()?;
    let (status, validity) = match read(&bytes, chain) {
        Ok(single) => single,
        Err(fault) => {
            problems.push(Problem::error(span, format!("{shown} {fault}")).help(MADE));
            return None;
        }
    };
    let mut warn = |message: String, help| problems.push(Problem::warning(span.clone(), message).help(help));
    match status {
        Status::Good => {}
        Status::Revoked => {
            warn(
                format!("{shown} says that the certificate is revoked"),
                "the response is not shown to clients: have the certificate replaced",
            );
            return None;
        }
        Status::Unknown => {
            warn(
                format!("{shown} says that the responder does not know the certificate"),
                "the response is not shown to clients: was it asked of the certificate's own CA?",
            );
            return None;
        }
    }
    if !validity.holds(now) {
        overdue(&shown.to_string(), validity, now, &span, problems);
    }
    let facts = &chain.first()?.facts;
    let (section, subject) = (format!("certificate.{} ocsp", certificate.name), facts.subject_text.clone());
    let due = Validity { from: None, to: validity.to };
    let expiry = Expiry { section, file: path.to_owned(), subject, serial: facts.serial.clone(), validity: due };
    Some((bytes, validity, (validity.to < i64::MAX).then_some(expiry)))
}

fn overdue(shown: &str, validity: Validity, now: i64, span: &Option<Range<usize>>, problems: &mut Vec<Problem>) {
    let (message, help) = if now > validity.to {
        (
            format!("the OCSP response in {shown} was due to be replaced on {}", day(validity.to)),
            "it is no longer shown to clients: fetch a new one, every day best",
        )
    } else {
        (
            format!("the OCSP response in {shown} is not valid yet"),
            "it is shown once it is; is this machine's clock right?",
        )
    };
    problems.push(Problem::warning(span.clone(), message).help(help));
}

/// What the response says of the chain's first certificate, and when.
fn read(bytes: &[u8], chain: &[Link]) -> Result<(Status, Validity), Fault> {
    let singles = singles(bytes)?;
    let leaf = chain.first().ok_or(Fault::OtherCertificate)?;
    let leaf = Parts::of(&leaf.der).ok_or(Fault::OtherCertificate)?;
    let issuer = chain.get(1).and_then(|issuer| Parts::of(&issuer.der));
    for single in singles {
        let fields = der::values(single.content).ok_or(Fault::Malformed)?;
        let [id, status, this_update, rest @ ..] = &fields[..] else { return Err(Fault::Malformed) };
        if !names(id.content, &leaf, issuer.as_ref()).ok_or(Fault::Malformed)? {
            continue;
        }
        let status = match status.tag {
            0x80 => Status::Good,
            0xa1 => Status::Revoked,
            0x82 => Status::Unknown,
            _ => return Err(Fault::Malformed),
        };
        let from = Some(time_of(this_update).ok_or(Fault::Malformed)?);
        // Without one, there is always newer information, and no end.
        let to = match rest.first().filter(|field| field.tag == 0xa0) {
            Some(next) => der::next(next.content).and_then(|(next, _)| time_of(&next)).ok_or(Fault::Malformed)?,
            None => i64::MAX,
        };
        return Ok((status, Validity { from, to }));
    }
    Err(Fault::OtherCertificate)
}

/// Each certificate's part of a successful, basic response (RFC 6960 section 4.2.1).
fn singles(bytes: &[u8]) -> Result<Vec<der::Value<'_>>, Fault> {
    let sequence = |bytes| match der::next(bytes) {
        Some((value, [])) if value.tag == SEQUENCE => der::values(value.content),
        Some(_) | None => None,
    };
    let response = sequence(bytes).ok_or(Fault::Malformed)?;
    let (status, body) = response.split_first().ok_or(Fault::Malformed)?;
    match (status.tag, status.content) {
        (0x0a, [0]) => {}
        (0x0a, [_]) => return Err(Fault::Unsuccessful),
        _ => return Err(Fault::Malformed),
    }
    let singles = || {
        let [kind, basic] = sequence(body.first()?.content)?.try_into().ok()?;
        let basic = (kind.content == BASIC).then(|| sequence(basic.content))??;
        let data = der::values(basic.first()?.content)?;
        // Version (if it is not the first), responder, time, responses.
        let start = usize::from(data.first()?.tag == 0xa0);
        der::values(data.get(start + 2).filter(|responses| responses.tag == SEQUENCE)?.content)
    };
    singles().ok_or(Fault::Malformed)
}

/// Whether a CertID is that of `leaf`; `None`: it is none.
fn names(id: &[u8], leaf: &Parts<'_>, issuer: Option<&Parts<'_>>) -> Option<bool> {
    let [algorithm, name, key, serial] = der::values(id)?.try_into().ok()?;
    let (algorithm, _) = der::next(algorithm.content)?;
    let Some((_, hash)) = HASHES.into_iter().find(|(oid, _)| *oid == algorithm.content) else { return Some(false) };
    let is_hash_of = |hashed: &[u8], bytes: &[u8]| digest::digest(hash, bytes).as_ref() == hashed;
    // A BIT STRING begins with the number of bits that are left over.
    let public_key = |issuer: &Parts<'_>| Some(der::values(issuer.public_key())?.get(1)?.content.get(1..)?.to_vec());
    let same_key = match issuer {
        Some(issuer) => is_hash_of(key.content, &public_key(issuer)?),
        None => true,
    };
    let same_issuer = is_hash_of(name.content, leaf.fields[leaf.issuer()].whole) && same_key;
    Some(same_issuer && serial.content == leaf.serial_number())
}

/// A GeneralizedTime as DER has it, `20260102030405Z`.
fn time_of(value: &der::Value<'_>) -> Option<i64> {
    let text = std::str::from_utf8(value.content).ok()?.strip_suffix('Z')?;
    if value.tag != 0x18 || text.len() != 14 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |range: Range<usize>| text[range].parse::<u8>().ok();
    let month = time::Month::try_from(part(4..6)?).ok()?;
    let date = time::Date::from_calendar_date(text[..4].parse().ok()?, month, part(6..8)?).ok()?;
    let time = time::Time::from_hms(part(8..10)?, part(10..12)?, part(12..14)?).ok()?;
    Some(time::PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp())
}

#[cfg(test)]
pub(in crate::tls) mod tests;
