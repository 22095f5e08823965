//! The certificates, keys and CAs that a configuration names, read from disk and checked against it. Apart from the
//! configuration, because files change while it stays as it is.

mod authority;
mod bundle;
pub(in crate::tls) mod chain;
mod cti;
pub mod files;
#[cfg(test)]
pub(crate) mod fixture;
mod identity;
mod keyring;
pub(in crate::tls) mod pem;
mod revocation;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{DistinguishedName, RootCertStore};

use crate::config::error::{Problem, Severity};
use crate::config::model::{Config, Trust};
use crate::config::place::Spot;
use crate::telemetry::metrics::Expiry;
use crate::tls::peer::Facts;

use chain::Link;
use files::Reading;

/// What the files hold, ready for use.
#[derive(Clone)]
pub struct Material {
    /// `[certificate.NAME]` by name: the chain leaf first, and its key.
    pub identities: BTreeMap<String, Arc<CertifiedKey>>,
    /// `[trust.NAME]` by name.
    pub authorities: BTreeMap<String, Arc<Authorities>>,
    /// When each certificate expires, CAs included, and when each revocation list is due.
    pub expiries: Vec<Expiry>,
    /// `[affinity] key_file`: the first signs, all are accepted. Empty: no key file is named.
    pub affinity_keys: Vec<[u8; 32]>,
    /// What the files were like.
    pub read: Reading,
}

/// The CAs of one `[trust.NAME]`.
#[derive(Debug)]
pub struct Authorities {
    /// Each of them, whether it signed itself or another did: any of these may have signed an XSP's certificate.
    pub roots: Arc<RootCertStore>,
    /// Those that a client's chain must end at.
    pub anchors: Vec<Anchor>,
    /// Those that help a client's chain to get there, also when the client does not send them.
    pub intermediates: Vec<CertificateDer<'static>>,
    /// The subjects of both, for clients that choose a certificate by them.
    pub subjects: Vec<DistinguishedName>,
    /// What they have revoked: nothing if there is no list, else any one of these sets of lists decides. There are several
    /// only if CAs of different keys share a name.
    pub revoked: Vec<Vec<CertificateRevocationListDer<'static>>>,
}

/// A CA that is believed by itself, while it is valid.
#[derive(Clone, Debug)]
pub struct Anchor {
    /// Its name and key.
    pub anchor: TrustAnchor<'static>,
    /// The first instant at which it is valid.
    pub not_before: UnixTime,
    /// The last one.
    pub not_after: UnixTime,
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material")
            .field("identities", &self.identities.keys())
            .field("authorities", &self.authorities.keys())
            .finish_non_exhaustive()
    }
}

impl Material {
    /// This, with what `old` holds wherever the files are the same as they were then: what has not changed is not made
    /// anew, and stays comparable by its address.
    #[must_use]
    pub fn keeping(mut self, old: &Self) -> Self {
        let kept = |section: &str| old.read.agrees(&self.read, section);
        for (name, identity) in self.identities.iter_mut().filter(|(name, _)| kept(&format!("certificate.{name}"))) {
            old.identities.get(name).into_iter().for_each(|old| identity.clone_from(old));
        }
        for (name, authorities) in self.authorities.iter_mut().filter(|(name, _)| kept(&format!("trust.{name}"))) {
            old.authorities.get(name).into_iter().for_each(|old| authorities.clone_from(old));
        }
        let known = |expiry: &&Expiry| kept(expiry.section.trim_end_matches(" crl"));
        self.expiries.retain(|expiry| !known(&expiry));
        self.expiries.extend(old.expiries.iter().filter(known).cloned());
        self
    }
}

/// Reads all files that `config` names, and says what is wrong with them; the problems have the places of the keys that
/// name the files. No material if one of the problems is an error.
pub fn load(config: &Config) -> (Option<Material>, Vec<Problem>) {
    load_at(config, now())
}

/// Seconds since 1970, UTC.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    i64::try_from(since).unwrap_or(i64::MAX)
}

/// `now`: seconds since 1970, UTC.
fn load_at(config: &Config, now: i64) -> (Option<Material>, Vec<Problem>) {
    let mut problems = Vec::new();
    let read = Reading::now(config);
    let mut expiries = Vec::new();
    let mut authorities = BTreeMap::new();
    for (name, trust) in &config.trusts {
        if let Some((loaded, dates)) = trusted(config, trust, now, &mut problems) {
            authorities.insert(name.clone(), Arc::new(loaded));
            expiries.extend(dates);
        }
    }
    let mut identities = BTreeMap::new();
    for (name, certificate) in &config.certificates {
        if let Some(identity) = identity::load(config, certificate, &authorities, now, &mut problems) {
            identities.insert(name.clone(), identity.key);
            expiries.extend(identity.expiries);
        }
    }
    let key_file = config.affinity.key_file.as_deref();
    let affinity_keys = key_file
        .and_then(|path| keyring::load(path, config.places.of(&Spot::AffinityKeyFile), &mut problems))
        .unwrap_or_default();
    let fatal = problems.iter().any(|problem| problem.severity == Severity::Error);
    ((!fatal).then_some(Material { identities, authorities, expiries, affinity_keys, read }), problems)
}

fn expiry(section: &str, facts: &Facts) -> Expiry {
    let (subject, serial) = (facts.subject_text.clone(), facts.serial.clone());
    Expiry { section: section.to_owned(), subject, serial, at: facts.not_after.unix }
}

/// The CAs of one trust with what they have revoked, and when each of them expires.
fn trusted(
    config: &Config,
    trust: &Trust,
    now: i64,
    problems: &mut Vec<Problem>,
) -> Option<(Authorities, Vec<Expiry>)> {
    let span = config.places.of(&Spot::TrustCa(trust.name.clone()));
    let section = format!("trust.{}", trust.name);
    let mut bundle = authority::load(&section, &trust.ca, span.clone(), now, problems)?;
    let believed = |anchor: &Link| anchor.facts.not_after.unix >= now;
    if verifies_clients(config, &trust.name) && !bundle.sorted.anchors.iter().any(believed) {
        let message = format!("{} has no valid CA that a client's certificate can lead to", trust.ca.display());
        let help = "name the CA that signs the clients' certificates, and the one that signed it, up to the root";
        problems.push(Problem::error(span, message).help(help));
        return None;
    }
    let revoked = match &trust.crl {
        Some(crl) => {
            let span = config.places.of(&Spot::TrustCrl(trust.name.clone()));
            let revoked = revocation::load(&section, crl, &bundle.sorted, span, now, problems)?;
            bundle.expiries.extend(revoked.expiries);
            revoked.alternatives
        }
        None => Vec::new(),
    };
    let valid = bundle.sorted.iter().filter(|authority| authority.facts.not_after.unix >= now);
    let mut subjects: Vec<_> = valid.map(|authority| authority.facts.subject.clone()).collect();
    subjects.sort();
    subjects.dedup();
    let authorities = Authorities {
        roots: Arc::new(bundle.store),
        anchors: bundle.sorted.anchors.iter().filter_map(anchor).collect(),
        intermediates: bundle.sorted.intermediates.into_iter().map(|authority| authority.der).collect(),
        subjects: subjects.into_iter().map(DistinguishedName::from).collect(),
        revoked,
    };
    Some((authorities, bundle.expiries))
}

fn verifies_clients(config: &Config, trust: &str) -> bool {
    let https = config.https.iter().flat_map(|block| {
        block.clients.iter().chain(block.interfaces.iter().filter_map(|route| route.clients.as_ref()))
    });
    https.chain(config.cti.iter().map(|block| &block.clients)).any(|clients| clients.trust.name == trust)
}

/// `None` for what the handshake can't read, which was left out of the roots with a warning.
fn anchor(authority: &Link) -> Option<Anchor> {
    let at = |seconds: i64| UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
    Some(Anchor {
        anchor: webpki::anchor_from_trusted_cert(&authority.der).ok()?.to_owned(),
        not_before: at(authority.facts.not_before.unix),
        not_after: at(authority.facts.not_after.unix),
    })
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests;
