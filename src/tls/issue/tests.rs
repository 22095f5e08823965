use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, DnType, Issuer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;

use super::authority::Authority;
use super::*;
use crate::broadworks::cti;
use crate::tls::certs::chain::{Chain, Link};
use crate::tls::certs::fixture::write;
use crate::tls::der;
use crate::tls::peer;
use crate::tls::portrait::portrait;

/// 2027-01-15.
const NOW: i64 = 1_800_000_000;
const DAY: i64 = 24 * 3600;

/// A CA's files.
struct Files {
    folder: TempDir,
    ca: PathBuf,
    key: PathBuf,
}

impl Files {
    fn of(ca: &str, key: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (ca, key) = (write(folder.path(), "ca.pem", ca), write(folder.path(), "ca-key.pem", key));
        Self { folder, ca, key }
    }

    fn load(&self) -> Result<Authority, Error> {
        Authority::load(&self.ca, &self.key, NOW)
    }

    /// What is said when it is no CA, with the folder's name left out.
    fn refused(&self) -> String {
        let error = self.load().unwrap_err();
        let said = format!("{error}; {}", error.help().unwrap_or_default());
        said.replace(&format!("{}/", self.folder.path().display()), "")
    }
}

/// A CA that `change` has changed, as PEM, and its key.
fn authority_with(change: impl FnOnce(&mut CertificateParams)) -> (CertificateParams, KeyPair, String) {
    let mut params = named("CA").unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (params, key, pem)
}

fn links(pem: &str) -> Vec<Link> {
    let link = |der: CertificateDer<'static>| Link { facts: peer::facts(&der).unwrap(), der };
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(|der| link(der.unwrap())).collect()
}

fn host(name: &str) -> HostName {
    HostName(name.to_owned())
}

#[test]
fn r_cti_3_the_client_certificate_keeps_the_rules() {
    for kind in [KeyKind::P256, KeyKind::Rsa2048] {
        let ca = authority("Internal", 100, kind, NOW).unwrap();
        let issued = Files::of(&ca.chain, &ca.key).load().unwrap().cti_client(30, kind).unwrap();
        let links = links(&issued.chain);
        assert_eq!(cti::faults(&links[0].der, NOW), []);
        assert_eq!(links.len(), 2);
        assert_eq!(Chain::of(links, 0).fault(&[]), None);
        assert_eq!((issued.subject.as_str(), issued.ends.as_str()), ("CN=bwcticlient.webex.com", "2027-02-14"));
        assert_eq!(issued.notes, [] as [String; 0]);
        assert!(!format!("{issued:?}").contains("PRIVATE"));
    }
}

#[test]
fn r_tls_4_an_xsp_has_the_domain_and_its_own_name() {
    let ca = authority("Internal", 100, KeyKind::P256, NOW).unwrap();
    let ca = Files::of(&ca.chain, &ca.key).load().unwrap();
    let issued = ca.xsp(&host("xsp.example.com"), &host("xsp1.example.com"), 30, KeyKind::P256).unwrap();
    let drawn = portrait(&links(&issued.chain)[0].der).unwrap();
    assert_eq!(drawn.facts.common_name.as_deref(), Some("xsp1.example.com"));
    assert_eq!(drawn.facts.dns_names, ["xsp.example.com", "xsp1.example.com"]);
    assert_eq!(drawn.usages, Some(vec!["serverAuth".to_owned()]));
    let same = ca.xsp(&host("xsp.example.com"), &host("xsp.example.com"), 30, KeyKind::P256).unwrap();
    assert_eq!(links(&same.chain)[0].facts.dns_names, ["xsp.example.com"]);
    let long = host(&format!("{}.example.com", "x".repeat(60)));
    let error = ca.xsp(&host("xsp.example.com"), &long, 30, KeyKind::P256).unwrap_err();
    assert!(error.to_string().ends_with("is longer than a CN may be, which is 64 characters"), "{error}");
}

#[test]
fn a_request_asks_for_what_the_rules_demand() {
    let requested = cti_client_request(KeyKind::P256).unwrap();
    let body: String = requested.request.lines().filter(|line| !line.starts_with('-')).collect();
    let asked = crate::tls::portrait::request(&STANDARD.decode(body).unwrap()).unwrap();
    assert_eq!(asked.subject, "CN=bwcticlient.webex.com");
    assert_eq!(asked.alternatives, [] as [String; 0]);
    let usages = ["clientAuth", "BroadWorks CTI client (1.3.6.1.4.1.6431.1.1.8.2.1.3)"];
    assert_eq!(asked.usages.unwrap(), usages);
}

#[test]
fn the_issuer_s_name_is_kept_byte_for_byte() {
    let (_, key, pem) = authority_with(|params| {
        let name = &mut params.distinguished_name;
        name.push(DnType::CountryName, rcgen::DnValue::PrintableString("DE".try_into().unwrap()));
        // A custom type is one that the library doesn't know again when it reads it.
        name.push(DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, 25]), "example");
        name.push(DnType::OrganizationalUnitName, "one");
        name.push(DnType::CustomDnType(vec![2, 5, 4, 11]), "two");
    });
    let issued = Files::of(&pem, &key.serialize_pem()).load().unwrap().cti_client(30, KeyKind::P256).unwrap();
    let links = links(&issued.chain);
    assert_eq!(links[0].facts.issuer, links[1].facts.subject);
    assert_eq!(Chain::of(links, 0).fault(&[]), None);
}

#[test]
fn an_issuing_ca_brings_those_above_it() {
    let (root, root_key, root_pem) =
        authority_with(|params| params.distinguished_name.push(DnType::CommonName, "Root"));
    let (issuing, key, _) = authority_with(|_| {});
    let pem = issuing.signed_by(&key, &Issuer::new(root, root_key)).unwrap().pem();
    let other = authority_with(|_| {}).2;
    for (ca, count, noted) in
        [(format!("{pem}{root_pem}"), 3, false), (format!("junk\n{root_pem}{other}{pem}"), 3, false), (pem, 2, true)]
    {
        let issued = Files::of(&ca, &key.serialize_pem()).load().unwrap().cti_client(30, KeyKind::P256).unwrap();
        let links = links(&issued.chain);
        assert_eq!(links.len(), count);
        assert_eq!(links[1].facts.subject_text, "CN=CA");
        assert_eq!(issued.notes.iter().any(|note| note.contains("does not hold CN=Root, who signed CN=CA")), noted);
    }
}

/// The key inside PKCS #8: PKCS #1 for RSA, SEC 1 for ECDSA.
fn inside(key: &KeyPair, label: &str) -> String {
    let (whole, _) = der::next(key.serialized_der()).unwrap();
    block(label, der::values(whole.content).unwrap()[2].content)
}

#[test]
fn keys_are_taken_in_every_form_that_openssl_writes() {
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let rsa = KeyKind::Rsa2048.generate().unwrap();
    let parameters = "-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n";
    for (key, text) in [
        (&rsa, rsa.serialize_pem()),
        (&rsa, inside(&rsa, "RSA PRIVATE KEY")),
        (&p384, p384.serialize_pem()),
        (&p384, format!("{parameters}{}", inside(&p384, "EC PRIVATE KEY"))),
        (&ed25519, ed25519.serialize_pem()),
    ] {
        let (mut params, ..) = authority_with(|_| {});
        params.key_identifier_method = rcgen::KeyIdMethod::Sha256;
        let ca = params.self_signed(key).unwrap().pem();
        let issued = Files::of(&ca, &text).load().unwrap().cti_client(30, KeyKind::P256).unwrap();
        assert_eq!(Chain::of(links(&issued.chain), 0).fault(&[]), None, "{text}");
    }
}

#[test]
fn what_is_no_ca_is_told_so() {
    let (_, key, pem) = authority_with(|_| {});
    let key = key.serialize_pem();
    let other = KeyPair::generate().unwrap().serialize_pem();
    let changed = |change: fn(&mut CertificateParams)| {
        let (_, key, pem) = authority_with(change);
        Files::of(&pem, &key.serialize_pem()).refused()
    };
    let make = "`xspgate certs ca` makes one, or see --csr";
    let clock = "is this machine's clock right? If it is: `xspgate certs ca` makes a CA";
    for (said, expected) in [
        (
            Files::of(&pem, &other).refused(),
            "the key in ca-key.pem does not belong to any certificate in ca.pem; `xspgate certs inspect ca.pem --key \
             ca-key.pem` shows what belongs together"
                .to_owned(),
        ),
        (
            Files::of(&pem, &pem).refused(),
            "ca-key.pem has 0 private keys; it should hold the key of the CA that signs, and no other".to_owned(),
        ),
        (
            Files::of(&pem, &format!("{key}{other}")).refused(),
            "ca-key.pem has 2 private keys; it should hold the key of the CA that signs, and no other".to_owned(),
        ),
        (Files::of(&key, &key).refused(), "ca.pem has no CA certificate: it holds a private key; ".to_owned()),
        (
            changed(|params| params.is_ca = IsCa::NoCa),
            format!("CN=CA in ca.pem is no CA: its basic constraints don't say so; {make}"),
        ),
        (
            changed(|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]),
            format!("CN=CA in ca.pem is no CA: its key usage doesn't let it sign certificates; {make}"),
        ),
        (
            changed(|params| params.not_after = rcgen::date_time_ymd(2026, 1, 1)),
            format!("the CA CN=CA expired on 2026-01-01; {clock}"),
        ),
        (
            changed(|params| params.not_before = rcgen::date_time_ymd(2028, 1, 1)),
            format!("the CA CN=CA is not valid before 2028-01-01; {clock}"),
        ),
    ] {
        assert_eq!(said, expected);
    }
    let missing = Authority::load(Path::new("/nonexistent"), Path::new("/nonexistent"), NOW).unwrap_err();
    assert_eq!(missing.to_string(), "/nonexistent can't be read: No such file or directory");
}

#[test]
fn nothing_outlives_its_ca() {
    let ca = authority("Internal", 20, KeyKind::P256, NOW).unwrap();
    let files = Files::of(&ca.chain, &ca.key);
    let issued = files.load().unwrap().cti_client(30, KeyKind::P256).unwrap();
    let facts = &links(&issued.chain)[0].facts;
    assert_eq!((facts.not_before.unix, facts.not_after.unix), (NOW - 3600, NOW + 20 * DAY));
    assert_eq!(issued.notes[0], "it ends with its CA on 2027-02-04, and not only after 30 days");
    // One that is a minute old has no certificates that are older.
    let (_, key, pem) = authority_with(|params| params.not_before = instant(NOW - 60));
    let issued = Files::of(&pem, &key.serialize_pem()).load().unwrap().cti_client(30, KeyKind::P256).unwrap();
    assert_eq!(links(&issued.chain)[0].facts.not_before.unix, NOW - 60);
}

#[test]
fn a_ca_s_key_that_others_may_read_is_worth_a_word() {
    use std::os::unix::fs::PermissionsExt;
    let ca = authority("Internal", 20, KeyKind::P256, NOW).unwrap();
    let files = Files::of(&ca.chain, &ca.key);
    for (mode, noted) in [(0o644, true), (0o600, false)] {
        fs::set_permissions(&files.key, fs::Permissions::from_mode(mode)).unwrap();
        let notes = files.load().unwrap().cti_client(5, KeyKind::P256).unwrap().notes;
        assert_eq!(notes.iter().any(|note| note.contains("may read the CA's key")), noted, "{notes:?}");
    }
}

#[test]
fn affinity_keys_are_ever_new() {
    let keys = [affinity_key().unwrap(), affinity_key().unwrap()];
    assert_ne!(keys[0], keys[1]);
    assert_eq!(STANDARD.decode(&keys[0]).unwrap().len(), 32);
}
