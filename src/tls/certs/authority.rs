//! CA bundles, as they were downloaded: any number of certificates in any order (R-CTI-1). Separate from identities, because
//! a bad entry here does not spoil the others.

use std::ops::Range;
use std::path::Path;

use rustls::pki_types::CertificateDer;

use super::bundle::{self, Sorted};
use super::chain::Link;
use super::{Anchor, expiry, pem};
use crate::config::error::Problem;
use crate::telemetry::metrics::Expiry;
use crate::telemetry::validity::Standing;
use crate::tls::peer::{Role, day};
use crate::tls::refusal::unusable;

/// The CAs of one file, as far as they can be used. Which of them are valid is for each handshake to find out.
pub(super) struct Bundle {
    /// Any of these may have signed an XSP's certificate; each once.
    pub(super) roots: Vec<Anchor>,
    /// Those that can sign.
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
    let certificates = certificates(path, &span).map_err(|problem| problems.push(problem)).ok()?;
    let warning = |message: String| Problem::warning(span.clone(), message);
    let (mut usable, mut roots): (Vec<Link>, Vec<Anchor>) = (Vec::new(), Vec::new());
    for (index, der) in certificates.into_iter().enumerate() {
        let which = format!("certificate {} in {}", index + 1, path.display());
        let link = match Link::read(der) {
            Ok(link) => link,
            Err(error) => {
                problems.push(warning(format!("{which} is left out: {error}")));
                continue;
            }
        };
        if usable.iter().any(|known| known.der == link.der) {
            continue;
        }
        let which = format!("{which} ({})", link.facts.subject_text);
        match Anchor::of(&link) {
            Ok(root) => roots.push(root),
            Err(error) => {
                let help = "ask the CA for another one; what it has signed is refused";
                problems.push(warning(format!("{which} is left out: {}", unusable(&error))).help(help));
                continue;
            }
        }
        if link.facts.role == Role::EndEntity {
            let help = "name the CA that signed it; nothing else is verified by this entry";
            problems.push(warning(format!("{which} is not a CA")).help(help));
        }
        problems.extend(dates(&link, &which, now).map(|(message, help)| warning(message).help(help)));
        usable.push(link);
    }
    if usable.is_empty() {
        let message = format!("{} has no CA certificate that can be used", path.display());
        problems.push(Problem::error(span, message));
        return None;
    }
    if !usable.iter().any(|link| link.facts.validity().holds(now)) {
        let message = format!("{} has no CA certificate that is valid now", path.display());
        let help = "what they have signed is refused: put the CAs in use now into the file";
        problems.push(Problem::lapsed(span, message).help(help));
    }
    let expiries = usable.iter().map(|link| expiry(section, path, &link.facts)).collect();
    let authorities = usable.into_iter().filter(|link| link.facts.role == Role::Authority);
    Some(Bundle { roots, sorted: bundle::sort(authorities.collect()), expiries })
}

fn certificates(path: &Path, span: &Option<Range<usize>>) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let pem = pem::parse(path, &pem::public(path, span)?, span)?;
    if pem.certificates.is_empty() {
        let message = format!("{} has no CA certificate: {}", path.display(), pem.instead());
        return Err(Problem::error(span.clone(), message));
    }
    Ok(pem.certificates)
}

/// What the calendar says of one of them, and what follows.
fn dates(link: &Link, which: &str, now: i64) -> Option<(String, &'static str)> {
    let validity = link.facts.validity();
    let help = match validity.standing(now) {
        Standing::NotYetValid => "is this machine's clock right? Until then, what it has signed is refused",
        Standing::Expired => "what it has signed is refused; take it out once its successor is in the file",
        Standing::EndsSoon => "add its successor to the file before that",
        Standing::Valid => return None,
    };
    Some((format!("{which} {}", validity.told(now, day)?), help))
}
