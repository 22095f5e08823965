//! Which XSPs are believed, and when.

use std::time::Duration;

use rustls::pki_types::pem::PemObject;

use super::*;
use crate::config::error::Source;
use crate::config::parse;
use crate::tls::certs;
use crate::tls::certs::fixture::{self, Authority};

const DOMAIN: &str = "xsp.example.com";

/// 2027-01-15.
const NOW: u64 = 1_800_000_000;

/// Whether an XSP with that certificate is believed when these CAs have revoked what these lists say.
fn verdict(authorities: &[&Authority], lists: &[String], shown: &str) -> Result<(), Error> {
    let bundle: String = authorities.iter().map(|authority| authority.pem.as_str()).collect();
    verdict_at(NOW, &bundle, lists, "", shown)
}

/// The same, at another time, with more in the section.
fn verdict_at(now: u64, bundle: &str, lists: &[String], more: &str, shown: &str) -> Result<(), Error> {
    let folder = tempfile::tempdir().unwrap();
    fixture::write(folder.path(), "ca.pem", bundle);
    let mut text = format!("[trust.internal]\nca = \"ca.pem\"\n{more}");
    if !lists.is_empty() {
        fixture::write(folder.path(), "crl.pem", &lists.concat());
        text.push_str("crl = \"crl.pem\"\n");
    }
    let config = parse(Source { path: folder.path().join("xspgate.toml"), text }).partial;
    let material = certs::load(&config).0.unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let trust = &config.trusts["internal"];
    let verifier = XspVerifier::new(&material.authorities["internal"], trust, &provider).unwrap();
    let leaf = CertificateDer::from_pem_slice(shown.as_bytes()).unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
    verifier.verify_server_cert(&leaf, &[], &ServerName::try_from(DOMAIN).unwrap(), &[], now).map(|_| ())
}

#[test]
fn r_tls_4_an_xsp_whose_certificate_is_revoked_is_not_believed() {
    let (old, new) = (Authority::root("Internal"), Authority::root("Internal"));
    let other = Authority::root("Other");
    let leaf = |issuer: &Authority, serial: u64| {
        issuer.leaf_with("xsp1", &[DOMAIN], |params| params.serial_number = Some(serial.into())).pem
    };
    let revoked = Err(CertificateError::Revoked.into());
    assert_eq!(verdict(&[&old], &[old.revokes(&[7])], &leaf(&old, 7)), revoked);
    assert_eq!(verdict(&[&old], &[old.revokes(&[7])], &leaf(&old, 8)), Ok(()));
    // A CA that keeps no list has revoked nothing.
    assert_eq!(verdict(&[&old, &other], &[old.revokes(&[7])], &leaf(&other, 7)), Ok(()));
    // Two CAs of one name.
    let lists = [old.revokes(&[7]), new.revokes(&[8])];
    for (issuer, serial, expected) in [(&old, 7, &revoked), (&old, 8, &Ok(())), (&new, 7, &Ok(())), (&new, 8, &revoked)]
    {
        assert_eq!(verdict(&[&old, &new], &lists, &leaf(issuer, serial)), *expected, "{serial}");
    }
    // A list that somebody else has signed says nothing, and so nobody is believed whom it is about.
    let forged = verdict(&[&old], &[new.revokes(&[])], &leaf(&old, 7));
    assert!(matches!(forged, Err(Error::InvalidCertRevocationList(_))), "{forged:?}");
}

/// What the word for logs is made of, without the times.
fn kind(verdict: &Result<(), Error>) -> &'static str {
    match verdict {
        Ok(()) => "good",
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { .. })) => "expired",
        Err(Error::InvalidCertificate(CertificateError::NotValidYetContext { .. })) => "not yet valid",
        Err(Error::InvalidCertificate(CertificateError::ExpiredRevocationListContext { .. })) => "list overdue",
        Err(Error::InvalidCertificate(CertificateError::Revoked)) => "revoked",
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn r_tls_4_a_ca_is_believed_while_it_is_valid_whenever_its_file_was_read() {
    // From 2027 to 2030; both are loaded in 2026 or later, whatever the clock of this machine says.
    let (begin, end) = (1_798_761_600, 1_893_456_000);
    let valid = |params: &mut rcgen::CertificateParams| {
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2027, 1, 1), rcgen::date_time_ymd(2030, 1, 1));
    };
    let root = Authority::root_with("Internal", valid);
    let leaf = root.leaf("xsp1", &[DOMAIN]).pem;
    let successor = root.vouches_for("Internal", &root);
    for (now, expected) in [(begin - 1, "not yet valid"), (begin, "good"), (end, "good"), (end + 1, "expired")] {
        assert_eq!(kind(&verdict_at(now, &root.pem, &[], "", &leaf)), expected, "{now}");
        let lists = [root.revokes(&[])];
        assert_eq!(kind(&verdict_at(now, &root.pem, &lists, "", &leaf)), expected, "{now}, with a list");
    }
    // A CA of the same name and key that is valid for longer goes on, and one of another key changes nothing.
    let other = Authority::root("Internal");
    let (strange, renewed) = (format!("{}{}", other.pem, root.pem), format!("{}{successor}", root.pem));
    assert_eq!(kind(&verdict_at(end + 1, &strange, &[], "", &leaf)), "expired");
    assert_eq!(kind(&verdict_at(end + 1, &renewed, &[], "", &leaf)), "good");
}

#[test]
fn crl_overdue_says_what_a_list_past_its_next_update_is_worth() {
    let due = 1_830_297_600;
    let (root, other) = (Authority::root("Internal"), Authority::root("Other"));
    let bundle = format!("{}{}", root.pem, other.pem);
    let leaf = |issuer: &Authority, serial: u64| {
        issuer.leaf_with("xsp1", &[DOMAIN], |params| params.serial_number = Some(serial.into())).pem
    };
    let lists = [root.revokes_with(&[7], |params| params.next_update = rcgen::date_time_ymd(2028, 1, 1))];
    let (good, revoked, uncovered) = (leaf(&root, 8), leaf(&root, 7), leaf(&other, 8));
    let (accept, refuse) = ("crl_overdue = \"accept\"\n", "crl_overdue = \"refuse\"\n");
    for (more, now, shown, expected) in [
        ("", due + 1, &good, "good"),
        ("", due + 1, &revoked, "revoked"),
        (accept, due + 1, &good, "good"),
        (refuse, due - 1, &good, "good"),
        (refuse, due - 1, &revoked, "revoked"),
        (refuse, due + 1, &good, "list overdue"),
        (refuse, due + 1, &uncovered, "good"),
    ] {
        assert_eq!(kind(&verdict_at(now, &bundle, &lists, more, shown)), expected, "{more}{now}");
    }
}

/// What is said of a chain that is refused; "" of one that is not.
fn words(bundle: &str, chain: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    fixture::write(folder.path(), "ca.pem", bundle);
    let text = "[trust.internal]\nca = \"ca.pem\"\n".to_owned();
    let config = parse(Source { path: folder.path().join("xspgate.toml"), text }).partial;
    let material = certs::load(&config).0.unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let trust = &config.trusts["internal"];
    let verifier = XspVerifier::new(&material.authorities["internal"], trust, &provider).unwrap();
    let chain: Vec<_> = chain.iter().map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).collect();
    let name = ServerName::try_from(DOMAIN).unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW));
    let verdict = verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], now);
    let words = take_refusal();
    assert_eq!(verdict.is_err(), words.is_some());
    words.unwrap_or_default()
}

fn authority(params: &mut rcgen::CertificateParams) {
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
}

fn critical(oid: &[u64], content: Vec<u8>) -> impl Fn(&mut rcgen::CertificateParams) {
    let mut extension = rcgen::CustomExtension::from_oid_content(oid, content);
    extension.set_criticality(true);
    move |params| params.custom_extensions.push(extension.clone())
}

#[test]
fn an_xsps_own_certificate_in_the_trust_is_believed_as_it_is() {
    for marked in [false, true] {
        let change = |params: &mut rcgen::CertificateParams| {
            if marked {
                authority(params);
            }
        };
        let own = fixture::self_signed_with("xsp1", &[DOMAIN], change);
        let again = fixture::self_signed_with("xsp1", &[DOMAIN], change);
        assert_eq!(words(&own.pem, &[&own.pem]), "", "CA:{marked}");
        assert!(words(&again.pem, &[&own.pem]).contains("put this very certificate there"), "{marked}: another one");
        let misnamed = fixture::self_signed_with("xsp1", &["xsp9.example.com"], change);
        assert!(
            words(&misnamed.pem, &[&misnamed.pem]).contains("xsp9.example.com, and not xsp.example.com"),
            "{marked}: another name"
        );
        let nameless = fixture::self_signed_with(DOMAIN, &[], change);
        let said = words(&nameless.pem, &[&nameless.pem]);
        assert!(said.contains("has the CN xsp.example.com and no SAN"), "{marked}: {said}");
        let ended = fixture::self_signed_with("xsp1", &[DOMAIN], |params| {
            change(params);
            params.not_after = rcgen::date_time_ymd(2026, 12, 1);
        });
        assert!(words(&ended.pem, &[&ended.pem]).contains("expired on "), "{marked}: over");
    }
    let ca = Authority::root("Internal");
    assert!(!words(&ca.pem, &[&ca.leaf("xsp1", &["other.example.com"]).pem]).is_empty());
}

#[test]
fn a_refusal_names_the_certificate_and_what_is_wrong_with_it() {
    let root = Authority::root("Internal");
    let leaf = |issuer: &Authority| issuer.leaf("xsp1", &[DOMAIN]).pem;
    // anyPolicy.
    let policies = critical(&[2, 5, 29, 32], vec![0x30, 0x08, 0x30, 0x06, 0x06, 0x04, 0x55, 0x1d, 0x20, 0x00]);
    let policed = root.intermediate_with("Policed", policies);
    let odd = root.intermediate_with("Odd", critical(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]));
    let issuing = root.intermediate("Issuing");
    let narrow = root.intermediate_with("Narrow", |params| {
        let permitted_subtrees = vec![rcgen::GeneralSubtree::DnsName("other.example".into())];
        params.name_constraints = Some(rcgen::NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
    });
    let client = root
        .leaf_with("xsp1", &[DOMAIN], |params| {
            params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        })
        .pem;
    let marked = root.leaf_with("xsp1", &[DOMAIN], authority).pem;
    let table = [
        (
            vec![leaf(&policed), policed.pem.clone()],
            "certificate 2 of the chain (CN=Policed) has the critical extension certificate policies",
        ),
        (vec![leaf(&odd), odd.pem.clone()], "has the critical extension 1.3.6.1.4.1.99999.1"),
        (vec![leaf(&issuing)], "CN=xsp1) was signed by CN=Issuing, which was not sent"),
        (vec![leaf(&narrow), narrow.pem.clone()], "certificate 2 of the chain (CN=Narrow) may not sign for the names"),
        (vec![client], "is not for TLS servers (its extended key usage is "),
        (vec![marked], "is marked as a CA (CA:TRUE)"),
    ];
    for (chain, expected) in table {
        let chain: Vec<&str> = chain.iter().map(String::as_str).collect();
        let said = words(&root.pem, &chain);
        assert!(said.contains(expected), "{expected}: {said}");
        assert!(!said.contains("Error") && !said.contains('{'), "{said}");
    }
}
