use rcgen::{CertificateParams, CustomExtension, DnType, DnValue, ExtendedKeyUsagePurpose as Usage, KeyPair, SanType};

use super::*;

/// 2027-01-15.
const NOW: i64 = 1_800_000_000;

/// A certificate that keeps every rule, but for what `change` does to it.
fn certificate(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, CLIENT_NAME);
    params.extended_key_usages = vec![Usage::ClientAuth, broadworks()];
    (params.not_before, params.not_after) = (rcgen::date_time_ymd(2026, 1, 1), rcgen::date_time_ymd(2028, 1, 1));
    change(&mut params);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

fn broadworks() -> Usage {
    Usage::Other(CLIENT_USAGE_ARCS.to_vec())
}

fn said(der: &[u8]) -> Vec<String> {
    faults(der, NOW).iter().map(ToString::to_string).collect()
}

#[test]
fn r_cti_3_a_certificate_that_keeps_the_rules_has_no_fault() {
    assert_eq!(faults(&certificate(|_| {}), NOW), []);
    let more = certificate(|params| {
        params.extended_key_usages = vec![broadworks(), Usage::ServerAuth, Usage::ClientAuth];
        params.distinguished_name.push(DnType::OrganizationName, "Example");
    });
    assert_eq!(faults(&more, NOW), []);
    let printable = certificate(|params| {
        let name = DnValue::PrintableString(CLIENT_NAME.try_into().unwrap());
        params.distinguished_name.push(DnType::CommonName, name);
    });
    assert_eq!(faults(&printable, NOW), []);
}

#[test]
fn r_cti_3_each_extended_key_usage_is_named() {
    let broadworks_text = "BroadWorks CTI client (1.3.6.1.4.1.6431.1.1.8.2.1.3)";
    let not_for_cti = |found: &str| {
        format!("its extended key usage is {found}; the rule is that it holds BroadWorks' 1.3.6.1.4.1.6431.1.1.8.2.1.3")
    };
    let not_for_clients = |found: &str| {
        format!(
            "its extended key usage is {found}; the rule is that it holds TLS client authentication by name (clientAuth)"
        )
    };
    let nothing = "it has no extended key usage; the rule is one that holds 1.3.6.1.4.1.6431.1.1.8.2.1.3 and TLS client \
                   authentication";
    let near = || Usage::Other(vec![1, 3, 6, 1, 4, 1, 6431, 1, 1, 8, 2, 1]);
    for (usages, expected) in [
        (vec![], vec![nothing.to_owned()]),
        (vec![Usage::ClientAuth], vec![not_for_cti("clientAuth")]),
        (vec![broadworks()], vec![not_for_clients(broadworks_text)]),
        (
            vec![Usage::ServerAuth, near()],
            vec![
                not_for_cti("serverAuth, 1.3.6.1.4.1.6431.1.1.8.2.1"),
                not_for_clients("serverAuth, 1.3.6.1.4.1.6431.1.1.8.2.1"),
            ],
        ),
        (vec![Usage::Any, broadworks()], vec![not_for_clients(&format!("anyExtendedKeyUsage, {broadworks_text}"))]),
        (vec![Usage::Any], vec![not_for_cti("anyExtendedKeyUsage"), not_for_clients("anyExtendedKeyUsage")]),
    ] {
        assert_eq!(said(&certificate(|params| params.extended_key_usages = usages)), expected);
    }
}

#[test]
fn r_cti_3_an_extended_key_usage_that_can_not_be_read_is_none() {
    let broken = certificate(|params| {
        params.extended_key_usages.clear();
        params.custom_extensions.push(CustomExtension::from_oid_content(&[2, 5, 29, 37], vec![0x30, 0x05, 1]));
    });
    assert_eq!(faults(&broken, NOW), [Fault::NoUsage]);
    let twice = certificate(|params| {
        let content = vec![0x30, 0x0a, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2];
        params.custom_extensions.push(CustomExtension::from_oid_content(&[2, 5, 29, 37], content));
    });
    // Where an extension stands twice, none of the two counts.
    assert!(!faults(&twice, NOW).is_empty());
}

#[test]
fn r_cti_3_the_common_name_is_one_and_exact() {
    let rule = "; the rule is one CN, bwcticlient.webex.com";
    for (name, expected) in [
        (Some("gateway.example.com"), "its CN is gateway.example.com"),
        (Some("BWCTICLIENT.webex.com"), "its CN is BWCTICLIENT.webex.com"),
        (Some("bwcticlient.webex.com "), "its CN is bwcticlient.webex.com "),
        (None, "it has no CN"),
    ] {
        let der = certificate(|params| {
            params.distinguished_name.remove(DnType::CommonName);
            params.distinguished_name.push(DnType::OrganizationName, CLIENT_NAME);
            if let Some(name) = name {
                params.distinguished_name.push(DnType::CommonName, name);
            }
        });
        assert_eq!(said(&der), [format!("{expected}{rule}")]);
    }
    // The same type by its numbers stands beside the other: two CNs.
    let two = certificate(|params| {
        params.distinguished_name.push(DnType::CustomDnType(vec![2, 5, 4, 3]), "other.example.com");
    });
    assert_eq!(said(&two), [format!("its CNs are bwcticlient.webex.com, other.example.com{rule}")]);
}

#[test]
fn r_cti_3_no_kind_of_subject_alternative_name_is_let_through() {
    let name = || CLIENT_NAME.try_into().unwrap();
    for (alternative, expected) in [
        (SanType::DnsName(name()), "DNS bwcticlient.webex.com"),
        (SanType::IpAddress([192, 0, 2, 1].into()), "IP 192.0.2.1"),
        (SanType::IpAddress(std::net::IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)), "IP ::1"),
        (SanType::Rfc822Name("a@example.com".try_into().unwrap()), "e-mail a@example.com"),
        (SanType::URI("urn:x".try_into().unwrap()), "URI urn:x"),
        (SanType::OtherName((vec![1, 2, 3], "x".into())), "other name 1.2.3"),
    ] {
        let der = certificate(|params| params.subject_alt_names = vec![alternative]);
        assert_eq!(said(&der), [format!("it has a SAN ({expected}); the rule is none, of whatever kind")]);
    }
    let broken = certificate(|params| {
        params.custom_extensions.push(CustomExtension::from_oid_content(&[2, 5, 29, 17], vec![0x30, 0x00]));
    });
    assert_eq!(said(&broken), ["it has a SAN (which can't be read); the rule is none, of whatever kind"]);
}

#[test]
fn r_cti_3_it_is_valid_now() {
    let der = certificate(|_| {});
    let (begin, end) = (1_767_225_600, 1_830_297_600);
    let expired = Fault::Expired { on: "2028-01-01".into() };
    let early = Fault::NotYetValid { from: "2026-01-01".into() };
    assert_eq!(early.to_string(), "it is not valid before 2026-01-01; the rule is that it is valid now");
    assert_eq!(expired.to_string(), "it expired on 2028-01-01; the rule is that it is valid now");
    for (now, expected) in [(begin - 1, vec![early]), (begin, vec![]), (end, vec![]), (end + 1, vec![expired])] {
        assert_eq!(faults(&der, now), expected);
    }
}

#[test]
fn all_faults_are_told_together() {
    let der = certificate(|params| {
        params.extended_key_usages = vec![Usage::ServerAuth];
        params.distinguished_name.push(DnType::CommonName, "x");
        params.subject_alt_names = vec![SanType::DnsName("x".try_into().unwrap())];
        params.not_after = rcgen::date_time_ymd(2026, 2, 1);
    });
    assert_eq!(faults(&der, NOW).len(), 5, "{:?}", said(&der));
    for garbage in [&b""[..], b"\x30\x00", b"hello"] {
        assert_eq!(faults(garbage, NOW), [Fault::Unreadable]);
    }
}

#[test]
fn each_remedy_is_a_command() {
    let text = String::new;
    for fault in [
        Fault::Unreadable,
        Fault::NoUsage,
        Fault::NotForCti { found: vec![] },
        Fault::NotForClients { found: vec![] },
        Fault::CommonName { found: vec![] },
        Fault::AlternativeNames { found: vec![] },
        Fault::NotYetValid { from: text() },
        Fault::Expired { on: text() },
        Fault::OtherKey { key: text(), chain: text() },
        Fault::SelfSigned,
        Fault::IssuerMissing { subject: text(), issuer: text() },
        Fault::IssuerDiffers { subject: text(), issuer: text() },
        Fault::IssuerIsNoCa { issuer: text() },
    ] {
        let remedy = fault.remedy();
        let makes = remedy.contains("`xspgate certs cti-client --ca internal-ca.pem --ca-key internal-ca-key.pem`");
        assert!(makes || remedy.contains("`cat leaf.pem issuing.pem > chain.pem`"), "{remedy}");
    }
}
