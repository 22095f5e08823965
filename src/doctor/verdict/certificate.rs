//! Certificates: whose, until when, and why one is not believed (R-TLS-2, R-TLS-4).

use super::Side;
use crate::doctor::finding::Finding;
use crate::tls::peer::{Facts, Naming};

const CHECK: &str = "certificate";
/// A certificate that ends sooner is worth a warning, in seconds: `check` says the same of files.
const SOON: i64 = 14 * DAY;
const DAY: i64 = 24 * 3600;

/// Who had to prove what to whom.
#[derive(Clone, Debug)]
pub(in crate::doctor) struct Demand<'a> {
    /// The name that the certificate must prove.
    pub(in crate::doctor) name: &'a str,
    /// Who had to sign it, such as `[trust.internal]`.
    pub(in crate::doctor) trust: &'a str,
    pub(in crate::doctor) side: Side,
    /// Seconds since 1970, UTC.
    pub(in crate::doctor) now: i64,
}

/// What to think of a chain that was believed, the leaf first.
pub(in crate::doctor) fn believed(chain: &[Facts], demand: &Demand<'_>) -> Finding {
    let Some(leaf) = chain.first() else { return Finding::skip(CHECK, "none was shown") };
    let days = (leaf.not_after.unix - demand.now) / DAY;
    let names = match leaf.naming(demand.name) {
        Naming::Exact => "names",
        Naming::Wildcard => "names by a wildcard",
        // An address, or what rustls believes for reasons of its own.
        Naming::CommonName | Naming::No => "proves",
    };
    let found = format!(
        "{} {names} {}, signed by {}; {days} days left ({})",
        leaf.subject_text, demand.name, leaf.issuer_text, leaf.not_after.day
    );
    let ends_first = chain.iter().map(|link| link.not_after.unix).min().unwrap_or(leaf.not_after.unix);
    if leaf.not_after.unix - demand.now < SOON {
        return Finding::warn(CHECK, found, renewal(demand));
    }
    if ends_first - demand.now < SOON {
        return Finding::warn(CHECK, format!("{found}; an issuer of it ends sooner"), renewal(demand));
    }
    if demand.side != Side::Xsp && leaf.naming(demand.name) == Naming::Wildcard {
        return Finding::warn(CHECK, found, "Cisco advises against wildcard certificates");
    }
    Finding::ok(CHECK, found)
}

/// What to think of a chain that was not believed, for the reason that
/// [`handshake_reason`](crate::upstream::connect::handshake_reason) gives, and that `detail` words; the chain is empty if no
/// second look was had.
pub(in crate::doctor) fn refused(reason: &str, detail: &str, chain: &[Facts], demand: &Demand<'_>) -> Finding {
    let Some(leaf) = chain.first() else {
        return Finding::fail(CHECK, format!("it is not believed ({detail})"), replacement(demand));
    };
    match reason {
        "certificate-expired" => {
            // It may be the issuer's that has expired, or that of a CA that no XSP sends.
            let Some(ended) = chain.iter().find(|link| link.not_after.unix < demand.now) else {
                let found = format!("that of {} leads to a CA in {} that has expired", leaf.subject_text, demand.trust);
                return Finding::fail(CHECK, found, "put the certificate that the CA has now into that file");
            };
            let found = format!("that of {} expired on {}", ended.subject_text, ended.not_after.day);
            Finding::fail(CHECK, found, renewal(demand))
        }
        "certificate-not-yet-valid" => {
            let help = "is this machine's clock right? If it is, wait, or get another certificate";
            let Some(early) = chain.iter().find(|link| link.not_before.unix > demand.now) else {
                let found =
                    format!("that of {} leads to a CA in {} that is not valid yet", leaf.subject_text, demand.trust);
                return Finding::fail(CHECK, found, help);
            };
            let found = format!("that of {} is not valid before {}", early.subject_text, early.not_before.day);
            Finding::fail(CHECK, found, help)
        }
        "certificate-crl-overdue" => {
            let found = format!("the revocation list of {} for {} is overdue", demand.trust, leaf.subject_text);
            Finding::fail(CHECK, found, "fetch the CA's current list; `crl_overdue` says what an overdue one is worth")
        }
        "certificate-name" => {
            let found = format!("it names {}, and not {}", named(leaf), demand.name);
            Finding::fail(CHECK, found, replacement(demand))
        }
        // Most are marked as a CA, and refused for that rather than for their issuer.
        _ if leaf.is_self_issued() => {
            let found = format!("{} has signed itself, and {} does not hold it", leaf.subject_text, demand.trust);
            Finding::fail(CHECK, found, replacement(demand))
        }
        "certificate-issuer" => {
            let last = chain.last().unwrap_or(leaf);
            let found = format!("it was signed by {}, which {} does not lead to", last.issuer_text, demand.trust);
            Finding::fail(CHECK, found, issuer(chain, demand))
        }
        _ => {
            // "What is wrong: what to do."
            match detail.rsplit_once(": ") {
                Some((found, help)) => Finding::fail(CHECK, found, help),
                None if detail.is_empty() => {
                    let found = format!("that of {} is not believed", leaf.subject_text);
                    Finding::fail(CHECK, found, replacement(demand))
                }
                None => Finding::fail(CHECK, detail, replacement(demand)),
            }
        }
    }
}

fn named(leaf: &Facts) -> String {
    match (leaf.dns_names.as_slice(), &leaf.common_name) {
        ([], Some(name)) => format!("{name} in its CN only"),
        ([], None) => "nothing".to_owned(),
        (names, _) => names.join(", "),
    }
}

fn issuer(chain: &[Facts], demand: &Demand<'_>) -> String {
    match (demand.side, chain.len()) {
        (Side::Through, 1) => {
            "it comes without its intermediates: append them on the XSPs, whose certificate this is (pass-through)"
                .to_owned()
        }
        (Side::Front, 1) => "it comes without its intermediates: append them to `chain` (R-TLS-2). For a CA of your \
                             own, --ca names it"
            .to_owned(),
        (Side::Front | Side::Through, _) => {
            "Webex trusts publicly signed certificates only. For a CA of your own, use --ca".to_owned()
        }
        (Side::Xsp, _) => format!(
            "add that CA to the file of {}, or let one that is in there sign the XSP's certificate (`xspgate certs xsp`)",
            demand.trust
        ),
    }
}

fn renewal(demand: &Demand<'_>) -> String {
    match demand.side {
        Side::Front => "renew it: a gateway that runs takes the new file over by itself".to_owned(),
        Side::Through => "renew it on the XSPs, whose certificate this is (pass-through)".to_owned(),
        Side::Xsp => "renew it on the XSP: `xspgate certs xsp` makes one, or your own CA does".to_owned(),
    }
}

fn replacement(demand: &Demand<'_>) -> String {
    match demand.side {
        Side::Front => format!("get one with {} among its DNS names, signed by a public CA", demand.name),
        Side::Through => format!(
            "get one with {} among its DNS names, signed by a public CA, for the XSPs, whose certificate this is (pass-through)",
            demand.name
        ),
        Side::Xsp => format!(
            "`xspgate certs xsp --domain {}` makes one for the XSP; or is `server_name` of the farm another name?",
            demand.name
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Standing;
    use crate::tls::peer::{Instant, Role};

    const NOW: i64 = 1_800_000_000;

    fn facts(subject: &str, issuer: &str, names: &[&str], days: i64) -> Facts {
        let instant = |unix: i64| Instant::of(unix).unwrap();
        Facts {
            subject: subject.into(),
            issuer: issuer.into(),
            subject_text: format!("CN={subject}"),
            issuer_text: format!("CN={issuer}"),
            serial: String::new(),
            common_name: Some(subject.into()),
            dns_names: names.iter().map(|name| (*name).to_owned()).collect(),
            role: Role::EndEntity,
            not_before: instant(NOW - 100 * DAY),
            not_after: instant(NOW + days * DAY),
        }
    }

    fn demand(side: Side) -> Demand<'static> {
        Demand { name: "a.example.com", trust: "[trust.internal]", side, now: NOW }
    }

    #[test]
    fn r_tls_4_a_believed_certificate_is_well_unless_it_ends_soon() {
        for (names, days, side, expected) in [
            (&["a.example.com"][..], 90, Side::Xsp, Standing::Ok),
            (&["a.example.com"], 13, Side::Xsp, Standing::Warn),
            (&["*.example.com"], 90, Side::Xsp, Standing::Ok),
            (&["*.example.com"], 90, Side::Front, Standing::Warn),
        ] {
            let finding = believed(&[facts("xsp1", "ca", names, days)], &demand(side));
            assert_eq!(finding.standing, expected, "{finding:?}");
            assert!(finding.found.contains(&format!("{days} days left")), "{finding:?}");
        }
        let chain = [facts("xsp1", "ca", &["a.example.com"], 90), facts("ca", "root", &[], 3)];
        assert_eq!(believed(&chain, &demand(Side::Front)).standing, Standing::Warn);
    }

    #[test]
    fn r_tls_2_a_refusal_says_what_is_wrong_and_what_would_be_right() {
        let good = facts("xsp1", "ca", &["b.example.com"], 90);
        for (reason, chain, found, help) in [
            ("certificate-expired", vec![facts("xsp1", "ca", &[], -1)], "expired on", "renew"),
            ("certificate-expired", vec![good.clone(), facts("ca", "r", &[], -1)], "CN=ca expired", "renew"),
            ("certificate-expired", vec![good.clone()], "leads to a CA in ", "put the certificate"),
            ("certificate-not-yet-valid", vec![good.clone()], "leads to a CA in ", "clock"),
            ("certificate-crl-overdue", vec![good.clone()], "is overdue", "current list"),
            (
                "certificate-name",
                vec![good.clone()],
                "names b.example.com, and not a.example.com",
                "--domain a.example.com",
            ),
            ("certificate-issuer", vec![good.clone()], "signed by CN=ca, which [trust.internal]", "add that CA"),
            ("certificate-issuer", vec![facts("x", "x", &[], 9)], "signed itself", "certs xsp"),
            ("certificate", vec![facts("x", "x", &[], 9)], "signed itself", "certs xsp"),
            ("certificate", vec![good], "Revoked", "certs xsp"),
            ("certificate", vec![], "not believed (Revoked)", "certs xsp"),
        ] {
            let finding = refused(reason, "Revoked", &chain, &demand(Side::Xsp));
            assert_eq!(finding.standing, Standing::Fail);
            assert!(finding.found.contains(found), "{finding:?}");
            assert!(finding.help.as_deref().unwrap().contains(help), "{finding:?}");
        }
    }

    #[test]
    fn r_tls_2_a_front_without_its_intermediates_is_told_so() {
        let ended = refused("certificate-expired", "", &[facts("xsp1", "ca", &[], -1)], &demand(Side::Through));
        assert!(ended.help.unwrap().contains("on the XSPs, whose certificate this is"));
        let finding = refused("certificate-issuer", "", &[facts("x", "ca", &[], 90)], &demand(Side::Front));
        assert!(finding.help.unwrap().contains("intermediates"));
    }
}
