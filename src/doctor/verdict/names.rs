//! What DNS says (R-DNS-1 to R-DNS-4, R-TOP-7).

use std::net::IpAddr;

use super::Side;
use crate::discover::{Outcome, Question, ResolveError};
use crate::doctor::finding::Finding;
use crate::policy::srv::Target;

const CHECK: &str = "dns";

/// The addresses of a name.
pub(in crate::doctor) fn addresses(question: &Question, addresses: &[IpAddr]) -> Finding {
    Finding::ok(CHECK, format!("{} {}: {}", question.kind.name(), question.name, list(addresses)))
}

/// A name for which DNS has no answer.
pub(in crate::doctor) fn nothing(question: &Question, error: &ResolveError, side: Side) -> Finding {
    let found = format!("{} {}: {error}", question.kind.name(), question.name);
    let help = match (outage(error), side) {
        (Some(help), Side::Xsp) => format!("{help}; [dns] servers names others"),
        (Some(help), Side::Front | Side::Through) => format!("{help}; --dns names another"),
        (None, Side::Xsp) => "is the name in the configuration right? If it is, publish the record".to_owned(),
        (None, Side::Front | Side::Through) => {
            "publish an A record with the gateway's public address (R-DNS-1)".to_owned()
        }
    };
    Finding::fail(CHECK, found, help)
}

/// What to do about DNS servers that say nothing definite: the records may be as they should be. `None`: it is definite that
/// there is none.
fn outage(error: &ResolveError) -> Option<&'static str> {
    match error.outcome() {
        Outcome::Timeout => Some("does the DNS server run, and does a firewall let UDP and TCP port 53 through?"),
        Outcome::Unreachable => Some("is that a DNS server's address and port, and is there a route to it from here?"),
        Outcome::ServFail => Some("ask the owner of the DNS server: it may not reach the zone's own servers"),
        Outcome::Refused => Some("the DNS server must be told to serve this machine's address"),
        Outcome::Malformed => Some("something answers that is no DNS server, or a firewall rewrites its answers"),
        Outcome::NxDomain | Outcome::NoRecords | Outcome::NoService | Outcome::Answered => None,
    }
}

/// A public name that the gateway's own DNS does not know: it may be seen from outside only.
pub(in crate::doctor) fn unknown_inside(question: &Question, error: &ResolveError) -> Finding {
    let found = format!("{} {}: {error}", question.kind.name(), question.name);
    let elsewhere = "`xspgate doctor --from-outside` elsewhere, or --dns with a public server, tells";
    let help = match outage(error) {
        Some(help) => format!("{help}; {elsewhere}"),
        None => format!(
            "Webex must find it: publish an A record. If this DNS server merely does not see public names, {elsewhere}"
        ),
    };
    Finding::warn(CHECK, found, help)
}

/// An SRV record's targets.
pub(in crate::doctor) fn targets(question: &Question, targets: &[Target]) -> Finding {
    let shown = |target: &Target| {
        format!("{}:{} (priority {}, weight {})", target.name, target.port, target.priority, target.weight)
    };
    let shown = targets.iter().map(shown).collect::<Vec<_>>().join(", ");
    Finding::ok(CHECK, format!("SRV {}: {shown}", question.name))
}

/// An SRV record without targets: the domain's own addresses are used (R-DNS-3).
pub(in crate::doctor) fn no_targets(question: &Question, error: &ResolveError) -> Finding {
    let found = format!("SRV {}: {error}; the name behind it is used instead (R-DNS-3)", question.name);
    let publish = "publish the SRV record, or name the addresses by `a` in the configuration".to_owned();
    let help = outage(error).map_or(publish, |help| format!("{help}; [dns] servers names others"));
    Finding::warn(CHECK, found, help)
}

/// An SRV record whose only target is `.`: there is no service, and nothing else is used instead (RFC 2782).
pub(in crate::doctor) fn not_offered(question: &Question, error: &ResolveError) -> Finding {
    let found = format!("SRV {}: {error}; the name behind it is not used instead", question.name);
    Finding::fail(CHECK, found, "ask the owner of the zone to publish the XSPs as its targets, or use `a`")
}

/// The addresses of an SRV target: one is right, since only one is used (R-DNS-2).
pub(in crate::doctor) fn target(question: &Question, addresses: &[IpAddr]) -> Finding {
    match addresses {
        [_] => self::addresses(question, addresses),
        _ => Finding::warn(
            CHECK,
            format!("{} {}: several addresses, {}", question.kind.name(), question.name, list(addresses)),
            "an SRV target has a single address, and only one is used: give each XSP a name of its own (R-DNS-2)",
        ),
    }
}

/// A public name that has IPv6 addresses, too.
pub(in crate::doctor) fn ipv6(question: &Question, addresses: &[IpAddr]) -> Finding {
    let found = format!("AAAA {}: {}", question.name, list(addresses));
    Finding::warn(CHECK, found, "Webex for BroadWorks supports IPv4 (R-TOP-7): remove the record, or be sure of it")
}

/// A public name with several addresses and without SRV, to which the app's own rule applies.
pub(in crate::doctor) fn app_wants_one(question: &Question, addresses: &[IpAddr]) -> Finding {
    let found = format!("A {}: {} addresses, and no SRV record", question.name, addresses.len());
    let help = format!(
        "the cloud uses them all; the app takes one only. If the app uses this name, publish _xsi-client._tcp.{} with \
         a target for each (R-DNS-2, R-DNS-3)",
        question.name
    );
    Finding::warn(CHECK, found, help)
}

fn list(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discover::RecordKind;
    use crate::doctor::finding::Standing;

    fn question(kind: RecordKind) -> Question {
        Question::new("a.example.com", kind)
    }

    #[test]
    fn r_dns_2_a_target_has_a_single_address() {
        let one: [IpAddr; 1] = [[192, 0, 2, 1].into()];
        let two: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        assert_eq!(target(&question(RecordKind::A), &one).found, "A a.example.com: 192.0.2.1");
        let several = target(&question(RecordKind::A), &two);
        assert_eq!(several.standing, Standing::Warn);
        assert!(several.found.ends_with("192.0.2.1, 192.0.2.2"));
        assert!(app_wants_one(&question(RecordKind::A), &two).help.unwrap().contains("_xsi-client._tcp.a.example.com"));
    }

    #[test]
    fn r_dns_1_a_name_without_addresses_fails() {
        let gone = ResolveError::NxDomain { ttl: None };
        let nothing = nothing(&question(RecordKind::A), &gone, Side::Front);
        assert_eq!(nothing.standing, Standing::Fail);
        assert!(nothing.found.contains("NXDOMAIN"));
        assert_eq!(unknown_inside(&question(RecordKind::A), &gone).standing, Standing::Warn);
        let withdrawn = super::not_offered(&question(RecordKind::Srv), &ResolveError::NoService { ttl: None });
        assert!(withdrawn.standing == Standing::Fail && withdrawn.found.contains("not offered"), "{withdrawn:?}");
        let silent = super::nothing(&question(RecordKind::A), &ResolveError::Timeout, Side::Xsp);
        assert!(silent.help.unwrap().contains("does the DNS server run"));
    }

    #[test]
    fn an_outage_of_dns_asks_nobody_to_publish_a_record() {
        let outages = [
            ResolveError::Timeout,
            ResolveError::ServFail("SERVFAIL".into()),
            ResolveError::Refused,
            ResolveError::Malformed("x".into()),
            ResolveError::Unreachable("x".into()),
            ResolveError::NoneHelped { last: Box::new(ResolveError::Timeout), said: "192.0.2.53:53: silent".into() },
        ];
        for error in outages {
            let (a, srv) = (question(RecordKind::A), question(RecordKind::Srv));
            let all = [nothing(&a, &error, Side::Xsp), nothing(&a, &error, Side::Front), no_targets(&srv, &error)];
            for finding in all.into_iter().chain([unknown_inside(&a, &error)]) {
                let help = finding.help.unwrap();
                assert!(!help.contains("publish") && help.contains("DNS server"), "{error}: {help}");
            }
        }
        let gone = ResolveError::NxDomain { ttl: None };
        assert!(no_targets(&question(RecordKind::Srv), &gone).help.unwrap().starts_with("publish the SRV record"));
    }
}
