//! CA bundles, as they were downloaded: any number of certificates in any order (R-CTI-1). Apart from identities, because
//! a bad entry here does not spoil the others.

use std::ops::Range;
use std::path::Path;

use rustls::RootCertStore;

use super::bundle::{self, Authority, Sorted};
use super::{expiry, pem};
use crate::config::error::Problem;
use crate::telemetry::metrics::Expiry;
use crate::tls::peer::{self, Role};

/// The CAs of one file, as far as they can be used.
pub(super) struct Bundle {
    pub(super) store: RootCertStore,
    /// Those that can sign, expired or not, in their order.
    pub(super) sorted: Sorted,
    /// When each of them expires.
    pub(super) expiries: Vec<Expiry>,
}

/// The CAs of one file; `None` after an error.
pub(super) fn load(
    section: &str,
    path: &Path,
    span: Option<Range<usize>>,
    now: i64,
    problems: &mut Vec<Problem>,
) -> Option<Bundle> {
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
    let mut expiries = Vec::new();
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
            Ok(()) => expiries.push(expiry(section, &facts)),
            Err(error) => {
                problems.push(Problem::warning(span.clone(), format!("{which} is left out: {error}")));
            }
        }
    }
    if store.is_empty() {
        problems.push(Problem::error(span, format!("{shown} has no CA certificate that can be used")));
        return None;
    }
    Some(Bundle { store, sorted: bundle::sort(authorities), expiries })
}
