//! The certificates, keys and CAs that a configuration names, read from disk and checked against it. Apart from the
//! configuration, because files change while it stays as it is.

mod authority;
pub(in crate::tls) mod chain;
mod cti;
#[cfg(test)]
pub(crate) mod fixture;
mod identity;
mod keyring;
pub(in crate::tls) mod pem;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::RootCertStore;
use rustls::sign::CertifiedKey;

use crate::config::error::{Problem, Severity};
use crate::config::model::Config;
use crate::config::place::Spot;

/// What the files hold, ready for use.
#[derive(Clone)]
pub struct Material {
    /// `[certificate.NAME]` by name: the chain leaf first, and its key.
    pub identities: BTreeMap<String, Arc<CertifiedKey>>,
    /// `[trust.NAME]` by name.
    pub authorities: BTreeMap<String, Arc<Authorities>>,
    /// When the first certificate of a file expires, in seconds since 1970: `NAME` for `[certificate.NAME]`, and
    /// `trust NAME` for `[trust.NAME]`.
    pub expiries: BTreeMap<String, i64>,
    /// `[affinity] key_file`: the first signs, all are accepted. Empty: no key file is named.
    pub affinity_keys: Vec<[u8; 32]>,
}

/// The CAs of one `[trust.NAME]`.
#[derive(Debug)]
pub struct Authorities {
    /// Each of them, whether it signed itself or another did.
    pub roots: Arc<RootCertStore>,
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material")
            .field("identities", &self.identities.keys())
            .field("authorities", &self.authorities.keys())
            .finish_non_exhaustive()
    }
}

/// Reads all files that `config` names, and says what is wrong with them; the problems have the places of the keys that
/// name the files. No material if one of the problems is an error.
pub fn load(config: &Config) -> (Option<Material>, Vec<Problem>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    load_at(config, i64::try_from(now).unwrap_or(i64::MAX))
}

/// `now`: seconds since 1970, UTC.
fn load_at(config: &Config, now: i64) -> (Option<Material>, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut expiries = BTreeMap::new();
    let mut authorities = BTreeMap::new();
    for (name, trust) in &config.trusts {
        let span = config.places.of(&Spot::TrustCa(name.clone()));
        if let Some(bundle) = authority::load(&trust.ca, span, now, &mut problems) {
            authorities.insert(name.clone(), Arc::new(Authorities { roots: Arc::new(bundle.store) }));
            expiries.insert(format!("trust {name}"), bundle.expires);
        }
    }
    let mut identities = BTreeMap::new();
    for (name, certificate) in &config.certificates {
        if let Some(identity) = identity::load(config, certificate, &authorities, now, &mut problems) {
            identities.insert(name.clone(), identity.key);
            expiries.insert(name.clone(), identity.expires);
        }
    }
    let key_file = config.affinity.key_file.as_deref();
    let affinity_keys = key_file
        .and_then(|path| keyring::load(path, config.places.of(&Spot::AffinityKeyFile), &mut problems))
        .unwrap_or_default();
    let fatal = problems.iter().any(|problem| problem.severity == Severity::Error);
    ((!fatal).then_some(Material { identities, authorities, expiries, affinity_keys }), problems)
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests;
