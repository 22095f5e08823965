//! CA bundles, as they were downloaded: any number of certificates in any order (R-CTI-1). Apart from identities, because
//! a bad entry here does not spoil the others.

use std::ops::Range;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use super::bundle::{self, Sorted};
use super::chain::Link;
use super::{expiry, pem};
use crate::config::error::Problem;
use crate::telemetry::metrics::Expiry;
use crate::tls::peer::Role;

/// The CAs of one file, as far as they can be used.
pub(super) struct Bundle {
    pub(super) store: RootCertStore,
    /// Those that can sign, expired or not, in their order.
    pub(super) sorted: Sorted,
    /// When each of them expires; also of those that were left out because they have.
    pub(super) expiries: Vec<Expiry>,
}

/// Why a certificate is left out of a bundle.
#[derive(Debug, thiserror::Error)]
enum LeftOut {
    #[error("it expired on {0}")]
    Expired(String),
    #[error(transparent)]
    Refused(#[from] rustls::Error),
}

/// The CAs of one file; `None` after an error.
pub(super) fn load(
    section: &str,
    path: &Path,
    span: Option<Range<usize>>,
    now: i64,
    problems: &mut Vec<Problem>,
) -> Option<Bundle> {
    let certificates = certificates(path, &span).map_err(|problem| problems.push(problem)).ok()?;
    let warning = |message: String| Problem::warning(span.clone(), message);
    let mut store = RootCertStore::empty();
    let (mut authorities, mut expiries) = (Vec::new(), Vec::new());
    for (index, der) in certificates.into_iter().enumerate() {
        let which = format!("certificate {} in {}", index + 1, path.display());
        let link = match Link::read(der) {
            Ok(link) => link,
            Err(error) => {
                problems.push(warning(format!("{which} is left out: {error}")));
                continue;
            }
        };
        let which = format!("{which} ({})", link.facts.subject_text);
        let believed = believe(&mut store, &link, now);
        let expiry = expiry(section, &link.facts);
        if matches!(believed, Ok(()) | Err(LeftOut::Expired(_))) && !expiries.contains(&expiry) {
            expiries.push(expiry);
        }
        match believed {
            Ok(()) if link.facts.role == Role::EndEntity => {
                let help = "name the CA that signed it; nothing else is verified by this entry";
                problems.push(warning(format!("{which} is not a CA")).help(help));
            }
            Ok(()) => {}
            Err(why) => problems.push(warning(format!("{which} is left out: {why}"))),
        }
        if link.facts.role == Role::Authority {
            authorities.push(link);
        }
    }
    if store.is_empty() {
        let message = format!("{} has no CA certificate that can be used", path.display());
        problems.push(Problem::error(span, message));
        return None;
    }
    Some(Bundle { store, sorted: bundle::sort(authorities), expiries })
}

fn certificates(path: &Path, span: &Option<Range<usize>>) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let pem = pem::parse(path, &pem::public(path, span)?, span)?;
    if pem.certificates.is_empty() {
        let message = format!("{} has no CA certificate: {}", path.display(), pem.instead());
        return Err(Problem::error(span.clone(), message));
    }
    Ok(pem.certificates)
}

/// Takes a certificate among those that may have signed an XSP's.
fn believe(store: &mut RootCertStore, link: &Link, now: i64) -> Result<(), LeftOut> {
    if link.facts.not_after.unix < now {
        return Err(LeftOut::Expired(link.facts.not_after.day.clone()));
    }
    Ok(store.add(link.der.clone())?)
}
