//! CA bundles, as they were downloaded: any number of certificates in any order (R-CTI-1). Apart from identities, because
//! a bad entry here does not spoil the others.

use std::ops::Range;
use std::path::Path;

use rustls::RootCertStore;

use super::bundle::{self, Authority, Sorted};
use super::pem;
use crate::config::error::Problem;
use crate::tls::peer::{self, Role};

/// The CAs of one file, as far as they can be used.
pub(super) struct Bundle {
    pub(super) store: RootCertStore,
    /// Those that can sign, expired or not, in their order.
    pub(super) sorted: Sorted,
    /// When the first of them expires, in seconds since 1970.
    pub(super) expires: i64,
}

/// The CAs of one file; `None` after an error.
pub(super) fn load(path: &Path, span: Option<Range<usize>>, now: i64, problems: &mut Vec<Problem>) -> Option<Bundle> {
    let read = pem::public(path, &span).and_then(|bytes| pem::parse(path, &bytes, &span));
    let pem = match read {
        Ok(pem) => pem,
        Err(problem) => {
            problems.push(problem);
            return None;
        }
    };
    let shown = path.display();
    if pem.certificates.is_empty() {
        let message = format!("{shown} has no CA certificate: {}", pem.instead());
        problems.push(Problem::error(span, message));
        return None;
    }
    let mut store = RootCertStore::empty();
    let mut expires = i64::MAX;
    let mut authorities = Vec::new();
    for (index, certificate) in pem.certificates.into_iter().enumerate() {
        let which = format!("certificate {} in {shown}", index + 1);
        let facts = match peer::facts(&certificate) {
            Ok(facts) => facts,
            Err(error) => {
                problems.push(Problem::warning(span.clone(), format!("{which} is left out: {error}")));
                continue;
            }
        };
        let which = format!("{which} ({})", facts.subject_text);
        if facts.role == Role::Authority {
            authorities.push(Authority { der: certificate.clone(), facts: facts.clone() });
        }
        if facts.not_after.unix < now {
            let message = format!("{which} is left out: it expired on {}", facts.not_after.day);
            problems.push(Problem::warning(span.clone(), message));
            continue;
        }
        if facts.role == Role::EndEntity {
            let help = "name the CA that signed it; nothing else is verified by this entry";
            problems.push(Problem::warning(span.clone(), format!("{which} is not a CA")).help(help));
        }
        match store.add(certificate) {
            Ok(()) => expires = expires.min(facts.not_after.unix),
            Err(error) => {
                problems.push(Problem::warning(span.clone(), format!("{which} is left out: {error}")));
            }
        }
    }
    if store.is_empty() {
        problems.push(Problem::error(span, format!("{shown} has no CA certificate that can be used")));
        return None;
    }
    Some(Bundle { store, sorted: bundle::sort(authorities), expires })
}
