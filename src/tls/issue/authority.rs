//! A CA from an operator's files, which signs. Separate from what is signed, because files of others hold surprises: several
//! certificates, keys in old forms, names that no library writes the way it has read them.

use std::fmt;
use std::path::Path;

use rcgen::{CertificateParams, IsCa, Issuer, KeyIdMethod, KeyPair, PublicKeyData as _, SigningKey as _};
use rustls::pki_types::CertificateDer;
use time::Duration;

use super::{BEFORE, Error, Issued, KeyKind, block, cti_client, instant, xsp};
use crate::config::error::Problem;
use crate::config::types::name::HostName;
use crate::tls::certs::chain::{self, Chain, Link};
use crate::tls::certs::pem;
use crate::tls::der::{self, BIT_STRING, Parts, SEQUENCE};
use crate::tls::peer::{self, Presence, Role};
use crate::tls::portrait;
use crate::tls::signature::public_key;

/// A CA that can sign.
pub struct Authority {
    key: KeyPair,
    /// The CA, and those above it as far as they are known.
    chain: Vec<Link>,
    key_identifier: Option<Vec<u8>>,
    notes: Vec<String>,
    now: i64,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("subject", &self.subject()).finish_non_exhaustive()
    }
}

impl Authority {
    /// Reads a CA: `ca` holds its certificate, perhaps among others, and `key` its key, in any form that OpenSSL writes
    /// without a passphrase. `now`: seconds since 1970, UTC.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn load(ca: &Path, key: &Path, now: i64) -> Result<Self, Error> {
        let (ca_file, key_file) = (ca.display().to_string(), key.display().to_string());
        let links = certificates(ca)?;
        let found = pem::public(key, &None).and_then(|bytes| pem::parse(key, &bytes, &None)).map_err(Error::File)?;
        let [private] = found.keys.as_slice() else {
            return Err(Error::Keys { file: key_file, count: found.keys.len() });
        };
        let pair = KeyPair::try_from(private).map_err(|_| Error::KeyKind { file: key_file.clone() })?;
        let own = pair.subject_public_key_info();
        let own = der::next(&own).map(|(info, _)| info.content.to_vec());
        let signer = links.iter().position(|link| Some(public_key(&link.der)) == own);
        let signer = signer.ok_or(Error::OtherKey { ca: ca_file.clone(), key: key_file.clone() })?;
        let chain = Chain::of(links, signer).links;
        let key_identifier = entitled(&chain[0], &ca_file)?;
        for link in &chain {
            in_date(link, now)?;
        }
        let mut notes = Vec::new();
        if pem::is_exposed(key) {
            notes.push(format!("every user of this machine may read the CA's key: chmod o-rwx {key_file}"));
        }
        if let Some(last) = chain.last()
            && !last.is_self_signed()
        {
            notes.push(format!(
                "{ca_file} does not hold {}, who signed {}: the chain is complete only for those who have it, so name it \
                 in [trust.NAME] too",
                last.facts.issuer_text, last.facts.subject_text
            ));
        }
        Ok(Self { key: pair, chain, key_identifier, notes, now })
    }

    /// Whose name stands in what it signs.
    pub fn subject(&self) -> &str {
        &self.chain[0].facts.subject_text
    }

    /// The gateway's client certificate towards XSPs' CTI (R-CTI-3).
    ///
    /// # Errors
    /// The cryptography fails.
    pub fn cti_client(&self, days: u32, kind: KeyKind) -> Result<Issued, Error> {
        self.issue(cti_client()?, days, kind)
    }

    /// The server certificate of an XSP with the name `fqdn` that serves `domain` (R-TLS-4).
    ///
    /// # Errors
    /// `fqdn` is too long for a CN, or the cryptography fails.
    pub fn xsp(&self, domain: &HostName, fqdn: &HostName, days: u32, kind: KeyKind) -> Result<Issued, Error> {
        self.issue(xsp(domain, fqdn, kind)?, days, kind)
    }

    fn issue(&self, mut params: CertificateParams, days: u32, kind: KeyKind) -> Result<Issued, Error> {
        let (now, wanted) = (instant(self.now), instant(self.now) + Duration::days(i64::from(days)));
        let begin = self.chain.iter().map(|link| link.facts.not_before.unix).max().map_or(now, instant);
        let end = self.chain.iter().map(|link| link.facts.not_after.unix).min().map_or(wanted, instant);
        params.not_before = begin.max(now - BEFORE);
        params.not_after = end.min(wanted);
        params.is_ca = IsCa::ExplicitNoCa;
        let mut notes = self.notes.clone();
        let ends = params.not_after.date().to_string();
        if end < wanted {
            notes.push(format!("it ends with its CA on {ends}, and not only after {days} days"));
        }
        let key = kind.generate()?;
        let certificate = self.sign(params, &key)?;
        let subject = peer::facts(&certificate).map_or_else(|_| String::new(), |facts| facts.subject_text);
        let mut chain = block("CERTIFICATE", &certificate);
        chain.extend(self.chain.iter().map(|link| block("CERTIFICATE", &link.der)));
        Ok(Issued { chain, key: block("PRIVATE KEY", key.serialized_der()), subject, ends, notes })
    }

    /// Signs a certificate for `key`. The issuer's name in it is the CA's own, byte for byte: a name that was read and
    /// written again, with several organisational units, say, would be another one.
    fn sign(&self, mut params: CertificateParams, key: &KeyPair) -> Result<CertificateDer<'static>, Error> {
        params.use_authority_key_identifier_extension = self.key_identifier.is_some();
        let mut nameless = CertificateParams::default();
        if let Some(identifier) = &self.key_identifier {
            nameless.key_identifier_method = KeyIdMethod::PreSpecified(identifier.clone());
        }
        let draft = params.signed_by(key, &Issuer::new(nameless, &self.key)).map_err(Error::Crypto)?;
        let unreadable = || Error::Crypto(rcgen::Error::CouldNotParseCertificate);
        let parts = Parts::of(draft.der()).ok_or_else(unreadable)?;
        let mut fields: Vec<&[u8]> = parts.fields.iter().map(|field| field.whole).collect();
        fields[parts.issuer()] = &self.chain[0].facts.subject;
        let signed = der::wrap(SEQUENCE, &fields.concat());
        let mut signature = vec![0];
        signature.extend(self.key.sign(&signed).map_err(Error::Crypto)?);
        let whole = [signed, der::wrap(SEQUENCE, parts.algorithm), der::wrap(BIT_STRING, &signature)].concat();
        Ok(der::wrap(SEQUENCE, &whole).into())
    }
}

fn certificates(ca: &Path) -> Result<Vec<Link>, Error> {
    let found = pem::public(ca, &None).and_then(|bytes| pem::parse(ca, &bytes, &None)).map_err(Error::File)?;
    if found.certificates.is_empty() {
        let message = format!("{} has no CA certificate: {}", ca.display(), found.instead());
        return Err(Error::File(Problem::error(None, message)));
    }
    chain::links(ca, found.certificates, &None).map_err(Error::File)
}

/// The CA's key identifier, if it may sign.
fn entitled(signer: &Link, ca: &str) -> Result<Option<Vec<u8>>, Error> {
    let refused = |why| {
        let subject = signer.facts.subject_text.clone();
        Err(Error::NoAuthority { subject, ca: ca.to_owned(), why })
    };
    let Ok(portrait) = portrait::portrait(&signer.der) else { return refused("it can't be read") };
    match (signer.facts.role, portrait.signing) {
        (Role::EndEntity, _) => refused("its basic constraints don't say so"),
        (Role::Authority, Presence::Absent) => refused("its key usage doesn't let it sign certificates"),
        (Role::Authority, Presence::Present) => Ok(portrait.key_identifier),
    }
}

fn in_date(link: &Link, now: i64) -> Result<(), Error> {
    let facts = &link.facts;
    let what = if facts.not_after.unix < now {
        format!("expired on {}", facts.not_after.day)
    } else if facts.not_before.unix > now {
        format!("is not valid before {}", facts.not_before.day)
    } else {
        return Ok(());
    };
    Err(Error::OutOfDate { subject: facts.subject_text.clone(), what })
}
