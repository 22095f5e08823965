//! What a certificate may be used for here, and what is wrong with it. Separate from the report, because this is what an
//! operator acts on.

use crate::broadworks::cti::{self, Fault};
use crate::tls::certs::chain::Link;
use crate::tls::peer::{Presence, Role};
use crate::tls::portrait::Portrait;

const DAY: i64 = 24 * 3600;
/// A certificate that ends sooner than this is worth a word, in days.
const SOON: i64 = 14;

/// What is to be said of a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) uses: Vec<String>,
    pub(super) faults: Vec<String>,
    /// What makes a right one.
    pub(super) remedies: Vec<String>,
}

/// Judges one certificate by itself. `now`: seconds since 1970, UTC.
pub(super) fn verdict(link: &Link, portrait: &Portrait, now: i64) -> Verdict {
    let mut verdict = Verdict::default();
    match (portrait.facts.role, portrait.cti) {
        (Role::Authority, _) => verdict.authority(portrait),
        (Role::EndEntity, Presence::Present) => verdict.cti_client(&cti::faults(&link.der, now)),
        (Role::EndEntity, Presence::Absent) => verdict.end_entity(portrait),
    }
    if portrait.facts.role == Role::Authority || portrait.cti == Presence::Absent {
        verdict.dates(portrait, now);
    }
    let facts = &portrait.facts;
    if (0..SOON * DAY).contains(&(facts.not_after.unix - now)) {
        verdict.faults.push(format!("it ends on {}", facts.not_after.day));
    }
    if facts.role == Role::EndEntity && link.is_self_signed() {
        verdict.faults.push("it has signed itself: neither Webex nor XSPs believe it".to_owned());
    }
    // What a root signs itself with does not matter: it is believed because it is there.
    let signature = portrait.signature.against.filter(|_| !link.is_self_signed());
    verdict.faults.extend(portrait.key.against.into_iter().chain(signature).map(str::to_owned));
    verdict
}

impl Verdict {
    fn authority(&mut self, portrait: &Portrait) {
        match portrait.signing {
            Presence::Present => self.uses.push("a CA in [trust.NAME]".to_owned()),
            Presence::Absent => {
                self.faults.push("it is a CA whose key usage doesn't let it sign certificates".to_owned());
            }
        }
    }

    fn cti_client(&mut self, faults: &[Fault]) {
        if faults.is_empty() {
            self.uses.push("the gateway's client certificate towards the XSPs' CTI".to_owned());
        }
        for fault in faults {
            self.faults.push(format!("as the gateway's client certificate towards the XSPs' CTI: {fault}"));
            let remedy = fault.remedy();
            if !self.remedies.contains(&remedy) {
                self.remedies.push(remedy);
            }
        }
    }

    fn end_entity(&mut self, portrait: &Portrait) {
        let facts = &portrait.facts;
        match (portrait.server, facts.dns_names.as_slice()) {
            (Presence::Present, []) => {
                self.faults
                    .push("it has no DNS name among its SANs: no client of TLS will know it by its name".to_owned());
            }
            (Presence::Present, names) => {
                let names = names.join(", ");
                self.uses
                    .push(format!("what clients see in [[https]] and [[cti]] as {names}, if a public CA signed it"));
                self.uses.push(format!("an XSP's server certificate for {names}, if a CA in [trust.NAME] signed it"));
            }
            (Presence::Absent, _) => {}
        }
        if portrait.client == Presence::Present {
            self.uses.push("a client certificate towards XSPs, but not towards their CTI".to_owned());
        }
    }

    fn dates(&mut self, portrait: &Portrait, now: i64) {
        let facts = &portrait.facts;
        if facts.not_before.unix > now {
            self.faults.push(format!("it is not valid before {}", facts.not_before.day));
        } else if facts.not_after.unix < now {
            self.faults.push(format!("it expired on {}", facts.not_after.day));
        }
    }
}

/// `120 days left`, or how long ago it was over.
pub(super) fn left(not_after: i64, now: i64) -> String {
    let days = (not_after - now).div_euclid(DAY);
    match days {
        1 => "1 day left".to_owned(),
        0.. => format!("{days} days left"),
        -1 => "over since today".to_owned(),
        -2 => "over for 1 day".to_owned(),
        _ => format!("over for {} days", -days - 1),
    }
}
