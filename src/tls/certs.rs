//! The certificates, keys and CAs that a configuration names, read from disk and checked against it. Separate from the
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
mod ranges;
mod revocation;
mod staple;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;
use rustls::DistinguishedName;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor, UnixTime};

use crate::config::error::{Problem, Severity};
use crate::config::model::{Config, Trust};
use crate::config::place::Spot;
use crate::telemetry::metrics::Expiry;
use crate::tls::peer::Facts;

use authority::Bundle;
use bundle::Sorted;
use chain::Link;
use files::Reading;
pub use identity::Identity;
pub use ranges::WebexRanges;

/// What the files hold, ready for use.
#[derive(Clone)]
pub struct Material {
    /// `[certificate.NAME]` by name: the chain leaf first, and its key.
    pub identities: BTreeMap<String, Arc<Identity>>,
    /// `[trust.NAME]` by name.
    pub authorities: BTreeMap<String, Arc<Authorities>>,
    /// When each certificate expires, CAs included, and when each revocation list is due.
    pub expiries: Vec<Expiry>,
    /// `[affinity] key_file`: the first signs, all are accepted. Empty: no key file is named.
    pub affinity_keys: Vec<[u8; 32]>,
    /// `[webex] ranges`; `None`: no file is named.
    pub webex_ranges: Option<WebexRanges>,
    /// What the files were like.
    pub read: Reading,
}

/// The CAs of one `[trust.NAME]`.
#[derive(Debug)]
pub struct Authorities {
    /// Each of them, whether it signed itself or another did: any of these may have signed an XSP's certificate.
    pub roots: Vec<Anchor>,
    /// Those that a client's chain must end at.
    pub anchors: Vec<Anchor>,
    /// Those that help a client's chain to get there, also when the client does not send them.
    pub intermediates: Vec<CertificateDer<'static>>,
    /// The subjects of both, for clients that choose a certificate by them, and when each expires, in seconds since 1970:
    /// the last one to do so first.
    pub subjects: Vec<(i64, DistinguishedName)>,
    /// What they have revoked: nothing if there is no list, else any one of these sets of lists decides. There are several
    /// only if CAs of different keys share a name.
    pub revoked: Vec<Vec<CertificateRevocationListDer<'static>>>,
}

/// A CA that is believed by itself, while it is valid.
#[derive(Clone, Debug)]
pub struct Anchor {
    /// As it stands in the file.
    pub der: CertificateDer<'static>,
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
    /// The ranges that Webex's names in `allow` stand for, if a file says so.
    pub fn webex_ranges(&self) -> Option<&[IpNet]> {
        self.webex_ranges.as_ref().map(|webex| webex.ranges.as_slice())
    }

    /// This, with what `old` holds wherever the files are the same as they were then: what has not changed is not made
    /// again, and stays comparable by its address.
    #[must_use]
    pub fn keeping(mut self, old: &Self) -> Self {
        let kept = |section: &str| old.read.agrees(&self.read, section);
        for (name, identity) in self.identities.iter_mut().filter(|(name, _)| kept(&format!("certificate.{name}"))) {
            old.identities.get(name).into_iter().for_each(|old| identity.clone_from(old));
        }
        for (name, authorities) in self.authorities.iter_mut().filter(|(name, _)| kept(&format!("trust.{name}"))) {
            old.authorities.get(name).into_iter().for_each(|old| authorities.clone_from(old));
        }
        let known = |expiry: &&Expiry| kept(expiry.section.split(' ').next().unwrap_or_default());
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

/// As [`load`], for a gateway that runs with `used`: what only time has made bad is an error in files that come new to it,
/// and a warning in those whose bytes it uses already, whichever section names them.
pub fn renew(config: &Config, used: &Material) -> (Option<Material>, Vec<Problem>) {
    renew_at(config, &used.read, now())
}

fn renew_at(config: &Config, used: &Reading, now: i64) -> (Option<Material>, Vec<Problem>) {
    let (material, mut problems) = load_at(config, now);
    let Some(material) = material else { return (None, problems) };
    let read = &material.read;
    for problem in problems.iter_mut().filter(|problem| problem.severity == Severity::Lapsed) {
        let origin = read.files().origin(config, problem);
        if !origin.is_some_and(|(_, path)| used.holds_the_bytes_of(path, read)) {
            problem.severity = Severity::Error;
            problem.message.push_str(", and the file is new");
        }
    }
    let fatal = problems.iter().any(|problem| problem.severity == Severity::Error);
    ((!fatal).then_some(material), problems)
}

/// `now`: seconds since 1970, UTC. Whether there is material, and what it is, never depends on it.
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
        if let Some((identity, dates)) = identity::load(config, certificate, &authorities, now, &mut problems) {
            identities.insert(name.clone(), Arc::new(identity));
            expiries.extend(dates);
        }
    }
    identity::kinds(config, &identities, &mut problems);
    let key_file = config.affinity.key_file.as_deref();
    let affinity_keys = key_file
        .and_then(|path| keyring::load(path, config.places.of(&Spot::AffinityKeyFile), &mut problems))
        .unwrap_or_default();
    let webex_ranges = config.webex_ranges.as_deref();
    let webex_ranges =
        webex_ranges.and_then(|path| ranges::load(path, &config.places.of(&Spot::WebexRanges), now, &mut problems));
    let fatal = problems.iter().any(|problem| problem.severity == Severity::Error);
    let material = Material { identities, authorities, expiries, affinity_keys, webex_ranges, read };
    ((!fatal).then_some(material), problems)
}

fn expiry(section: &str, file: &Path, facts: &Facts) -> Expiry {
    let (subject, serial) = (facts.subject_text.clone(), facts.serial.clone());
    Expiry { section: section.to_owned(), file: file.to_owned(), subject, serial, validity: facts.validity() }
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
    if verifies_clients(config, &trust.name) {
        problems.extend(leads_nowhere(&bundle, trust, now).map(|problem| Problem { span, ..problem }));
        if bundle.sorted.anchors.is_empty() {
            return None;
        }
    }
    let revoked = match &trust.crl {
        Some(crl) => {
            let span = config.places.of(&Spot::TrustCrl(trust.name.clone()));
            let revoked = revocation::load(trust, crl, &bundle.sorted, span, now, problems)?;
            bundle.expiries.extend(revoked.expiries);
            revoked.alternatives
        }
        None => Vec::new(),
    };
    let authorities = Authorities {
        roots: bundle.roots,
        subjects: subjects(&bundle.sorted),
        // What the handshake can't read was left out with a warning.
        anchors: bundle.sorted.anchors.iter().filter_map(|authority| Anchor::of(authority).ok()).collect(),
        intermediates: bundle.sorted.intermediates.into_iter().map(|authority| authority.der).collect(),
        revoked,
    };
    Some((authorities, bundle.expiries))
}

/// What there is to say of CAs that no client's certificate can lead to.
fn leads_nowhere(bundle: &Bundle, trust: &Trust, now: i64) -> Option<Problem> {
    let message = format!("{} has no valid CA that a client's certificate can lead to", trust.ca.display());
    if bundle.sorted.anchors.is_empty() {
        let help = "name the CA that signs the clients' certificates, and the one that signed it, up to the root";
        return Some(Problem::error(None, message).help(help));
    }
    let leads = bundle.sorted.anchors.iter().any(|anchor| anchor.facts.validity().holds(now));
    // If none of the file is valid, that has been told.
    let told = !bundle.expiries.iter().any(|expiry| expiry.validity.holds(now));
    let help = "clients are refused: put the CAs that sign their certificates now into the file, up to the root";
    (!leads && !told).then(|| Problem::lapsed(None, message).help(help))
}

/// Each subject once, by the last of its CAs to expire.
fn subjects(authorities: &Sorted) -> Vec<(i64, DistinguishedName)> {
    let mut ends: BTreeMap<&[u8], i64> = BTreeMap::new();
    for Link { facts, .. } in authorities.iter() {
        let end = ends.entry(&facts.subject).or_insert(facts.not_after.unix);
        *end = facts.not_after.unix.max(*end);
    }
    let mut subjects: Vec<_> = ends.into_iter().collect();
    subjects.sort_by_key(|(_, end)| Reverse(*end));
    subjects.into_iter().map(|(subject, end)| (end, DistinguishedName::from(subject.to_vec()))).collect()
}

fn verifies_clients(config: &Config, trust: &str) -> bool {
    let https = config.https.iter().flat_map(|block| {
        block.clients.iter().chain(block.interfaces.iter().filter_map(|route| route.clients.as_ref()))
    });
    https.chain(config.cti.iter().map(|block| &block.clients)).any(|clients| clients.trust.name == trust)
}

impl Anchor {
    /// # Errors
    /// The handshake can't read it.
    fn of(authority: &Link) -> Result<Self, webpki::Error> {
        let at = |seconds: i64| UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
        Ok(Self {
            der: authority.der.clone(),
            anchor: webpki::anchor_from_trusted_cert(&authority.der)?.to_owned(),
            not_before: at(authority.facts.not_before.unix),
            not_after: at(authority.facts.not_after.unix),
        })
    }
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests;
