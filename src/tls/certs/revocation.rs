//! Certificate revocation lists, as they were downloaded: any number of them, of any CA (R-CTI-1 has old and new chains side
//! by side). Separate from the CAs, because a list that can't be read must not be left out: what it revokes would come in.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Range;
use std::path::Path;

use rustls::pki_types::CertificateRevocationListDer;
use webpki::OwnedCertRevocationList;

use super::bundle::Sorted;
use super::chain::Link;
use super::pem;
use crate::config::error::Problem;
use crate::config::model::{CrlOverdue, Trust};
use crate::telemetry::metrics::Expiry;
use crate::telemetry::validity::{Standing, Validity};
use crate::tls::peer::{self, Facts, ListFacts, day};
use crate::tls::refusal::unusable;
use crate::tls::signature::{Verdict, public_key, verdict};

/// Lists that belong together: never two of CAs that share a name and not a key.
pub(super) type Lists = Vec<CertificateRevocationListDer<'static>>;

/// More alternatives are not made. Who is covered by none of them is refused.
const ALTERNATIVES: usize = 64;

struct List {
    der: CertificateRevocationListDer<'static>,
    facts: ListFacts,
    signer: Signer,
}

/// Who has signed a list, as far as the bundle tells. Only a client that brings other CAs along can tell more.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Signer {
    /// A CA of the bundle with this key: the contents of its SubjectPublicKeyInfo.
    Known(Vec<u8>),
    /// None of those that have its issuer's name.
    Other,
    /// None of the bundle has its issuer's name.
    Absent,
}

/// What one file of lists amounts to.
pub(super) struct Revoked {
    /// Every way to choose them.
    pub(super) alternatives: Vec<Lists>,
    /// When each of them is due to be replaced.
    pub(super) expiries: Vec<Expiry>,
}

/// The lists of one file: every way to choose them, as [`Lists`] does; one way, unless CAs share a name. `None` after an
/// error.
pub(super) fn load(
    trust: &Trust,
    path: &Path,
    authorities: &Sorted,
    span: Option<Range<usize>>,
    now: i64,
    problems: &mut Vec<Problem>,
) -> Option<Revoked> {
    let shown = path.display();
    let pem = match pem::lists(path, &span).and_then(|bytes| pem::parse(path, &bytes, &span)) {
        Ok(pem) => pem,
        Err(problem) => {
            problems.push(problem);
            return None;
        }
    };
    if pem.lists.is_empty() {
        let message = format!("{shown} has no certificate revocation list: {}", pem.instead());
        problems.push(Problem::error(span, message).help("its blocks begin with -----BEGIN X509 CRL-----"));
        return None;
    }
    let (mut lists, mut expiries) = (Vec::new(), Vec::new());
    let mut fault = false;
    for (index, der) in pem.lists.into_iter().enumerate() {
        let which = format!("revocation list {} in {shown}", index + 1);
        match list(der, authorities, &which) {
            Ok(list) => {
                let which = format!("{which} ({})", list.facts.issuer_text);
                warn_of_signer(&list, &which, &span, problems);
                let expiry = expiry(trust, path, &list.facts);
                problems.extend(expiry.as_ref().and_then(|expiry| overdue(expiry, &which, trust, &span, now)));
                expiries.extend(expiry);
                lists.push(list);
            }
            Err(message) => {
                let help = "copy it again, as a complete list of its CA, in version 2 and with a next update";
                problems.push(Problem::error(span.clone(), message).help(help));
                fault = true;
            }
        }
    }
    if !fault {
        warn_of_uncovered(&lists, authorities, &shown, &span, now, problems);
    }
    (!fault).then(|| Revoked { alternatives: alternatives(lists), expiries })
}

fn list(der: CertificateRevocationListDer<'static>, authorities: &Sorted, which: &str) -> Result<List, String> {
    let facts = peer::list_facts(&der).ok_or_else(|| format!("{which} is not a certificate revocation list"))?;
    // What the handshake reads it with has rules of its own: no delta lists, for one.
    OwnedCertRevocationList::from_der(&der)
        .map_err(|error| format!("{which} ({}) can't be used: {}", facts.issuer_text, unusable(&error)))?;
    let issuers = authorities.iter().filter(|authority| authority.facts.subject == facts.issuer);
    let keys: Vec<_> = issuers.map(|issuer| public_key(&issuer.der)).collect();
    let none = if keys.is_empty() { Signer::Absent } else { Signer::Other };
    let signer = keys.into_iter().find(|key| verdict(&der, key) == Verdict::Fits).map_or(none, Signer::Known);
    Ok(List { der, facts, signer })
}

fn expiry(trust: &Trust, file: &Path, facts: &ListFacts) -> Option<Expiry> {
    let (section, subject) = (format!("trust.{} crl", trust.name), facts.issuer_text.clone());
    // A list says when it was made, and not from when it holds.
    let validity = Validity { from: None, to: facts.next_update.as_ref()?.unix };
    Some(Expiry { section, file: file.to_owned(), subject, serial: facts.number.clone(), validity })
}

/// What there is to say of a list whose successor is missing.
fn overdue(expiry: &Expiry, which: &str, trust: &Trust, span: &Option<Range<usize>>, now: i64) -> Option<Problem> {
    let (Standing::Expired, Some(told)) = (expiry.validity.standing(now), expiry.validity.told(now, day)) else {
        return None;
    };
    let help = match trust.crl_overdue {
        CrlOverdue::Accept => "it is still used; later revocations are unknown",
        CrlOverdue::Refuse => {
            "`crl_overdue` refuses those whom it would have to vouch for: fetch the CA's current list"
        }
    };
    Some(Problem::warning(span.clone(), format!("{which} {told}")).help(help))
}

fn warn_of_signer(list: &List, which: &str, span: &Option<Range<usize>>, problems: &mut Vec<Problem>) {
    match list.signer {
        Signer::Known(_) => {}
        Signer::Other => {
            let message = format!("the signature of {which} does not fit the CA of that name in `ca`");
            let help = "that CA's clients are refused unless there is a list that it has signed";
            problems.push(Problem::warning(span.clone(), message).help(help));
        }
        Signer::Absent => {
            let message =
                format!("{which} is of a CA that `ca` does not hold, so that its signature could not be checked");
            let help = "it is used for clients of that CA that bring the CA's certificate along; the signature is \
                        checked then";
            problems.push(Problem::warning(span.clone(), message).help(help));
        }
    }
}

/// Clients of a CA that has no list are refused, which is easily forgotten when a new chain comes to stand beside the old
/// one. Of CAs that have signed others of the bundle, it is not known whether they sign clients, too.
fn warn_of_uncovered(
    lists: &[List],
    authorities: &Sorted,
    shown: &impl Display,
    span: &Option<Range<usize>>,
    now: i64,
    problems: &mut Vec<Problem>,
) {
    let covered = |subject: &[u8]| lists.iter().any(|list| list.facts.issuer == subject);
    let signs_others = |facts: &Facts| {
        authorities.iter().any(|other| other.facts.issuer == facts.subject && other.facts.subject != facts.subject)
    };
    for Link { facts, .. } in authorities.iter().filter(|authority| authority.facts.not_after.unix >= now) {
        if !covered(&facts.subject) && !signs_others(facts) {
            let message = format!("{shown} has no revocation list of {}", facts.subject_text);
            let help = "clients whose certificates it has signed are refused: add its list, or leave `crl` out";
            problems.push(Problem::warning(span.clone(), message).help(help));
        }
    }
}

/// Within one choice, the first list of a CA's name that covers a certificate decides: so no choice has lists of two keys
/// for one name, and a newer list stands before an older one.
fn alternatives(mut lists: Vec<List>) -> Vec<Lists> {
    lists.sort_by(|a, b| b.facts.this_update.unix.cmp(&a.facts.this_update.unix).then_with(|| a.der.cmp(&b.der)));
    let mut names: BTreeMap<Vec<u8>, BTreeMap<Signer, Lists>> = BTreeMap::new();
    for list in lists {
        names.entry(list.facts.issuer).or_default().entry(list.signer).or_default().push(list.der);
    }
    let none = vec![Lists::new()];
    names.into_values().fold(none, |alternatives, keys| {
        let joined = |chosen: &Lists| keys.values().map(|more| [&chosen[..], more].concat()).collect::<Vec<_>>();
        alternatives.iter().flat_map(joined).take(ALTERNATIVES).collect()
    })
}
