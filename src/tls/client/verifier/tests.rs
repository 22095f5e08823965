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
    let verifier = XspVerifier::new(&material.authorities["internal"], trust.crl_overdue, &provider).unwrap();
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
