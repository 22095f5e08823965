use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use super::fixture::{self, Authority, HOSTS, write};
mod client;
mod lapsed;

use super::*;
use crate::config::error::{Report, Source};
use crate::config::parse;

const EXAMPLE: &str = include_str!("../../config/tests/example.toml");
const DAY: i64 = 24 * 3600;

/// The example configuration's files, all as they should be.
fn site() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fixture::example(folder.path());
    folder
}

#[test]
fn r_tls_3_suites_that_the_key_can_not_sign_for_are_told() {
    let site = site();
    for (tls, expected) in [
        ("cipher_suites = [\"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\", \"TLS_AES_128_GCM_SHA256\"]", "warning: "),
        ("cipher_suites = [\"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"]\nmax_version = \"1.2\"", "error: "),
        ("cipher_suites = [\"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\", \"TLS_AES_128_GCM_SHA256\"]", ""),
    ] {
        let text = EXAMPLE.replace("[https.interface.auth", &format!("[https.tls]\n{tls}\n[https.interface.auth"));
        let config = parse(Source { path: site.path().join("xspgate.toml"), text }).partial;
        let (_, problems) = load_at(&config, 1_800_000_000);
        let message = "[certificate.public] has an ECDSA key, and no TLS 1.2 suite of its [[https]] block has";
        let said = Report::new(Source { path: "x.toml".into(), text: String::new() }, problems).to_string();
        match expected {
            "" => assert_eq!(said, ""),
            severity => assert!(said.starts_with(&format!("{severity}{message}\n")), "{said}"),
        }
    }
}

/// What is said of the example with this OCSP response for [certificate.public], and whether it is shown then.
fn stapled(site: &Path, response: &[u8], now: i64) -> (String, Option<bool>) {
    fs::write(site.join("certs/public-ocsp.der"), response).unwrap();
    let key = "key = \"certs/public-key.pem\"";
    let text = EXAMPLE.replacen(key, &format!("{key}\nocsp = \"certs/public-ocsp.der\""), 1);
    let config = parse(Source { path: site.join("xspgate.toml"), text }).partial;
    let (material, problems) = load_at(&config, now);
    let said = Report::new(Source { path: "x.toml".into(), text: String::new() }, problems).to_string();
    let shown = material.map(|material| material.identities["public"].shown_at(now).ocsp.is_some());
    (said.replace(&format!("{}/", site.display()), ""), shown)
}

#[test]
fn an_ocsp_response_is_shown_while_it_is_current() {
    let site = site();
    let chain = staple::tests::links(&read(site.path(), "certs/public-chain.pem"));
    let (sha_1, good) = (&[0x2b, 0x0e, 3, 2, 0x1a], &[0x80, 0]);
    let response = staple::tests::response(&chain, sha_1, good);
    let (before, within, after) = (1_767_225_599, 1_790_000_000, 1_798_761_601);
    assert_eq!(stapled(site.path(), &response, within), (String::new(), Some(true)));
    let (said, shown) = stapled(site.path(), &response, after);
    let overdue = "warning: the OCSP response in certs/public-ocsp.der was due to be replaced on 2027-01-01\n";
    assert!(said.starts_with(overdue) && shown == Some(false), "{said}");
    let (said, shown) = stapled(site.path(), &response, before);
    assert!(
        said.contains("the OCSP response in certs/public-ocsp.der is not valid yet") && shown == Some(false),
        "{said}"
    );
    let revoked = staple::tests::response(&chain, sha_1, &crate::tls::der::wrap(0xa1, b"\x18\x0f20260101000000Z"));
    let (said, shown) = stapled(site.path(), &revoked, within);
    assert!(said.starts_with("warning: certs/public-ocsp.der says that the certificate is revoked\n"), "{said}");
    assert_eq!(shown, Some(false));
}

#[test]
fn an_ocsp_response_that_can_not_be_used_is_refused() {
    let site = site();
    let root = Authority::root("Public Root");
    let other = staple::tests::links(&(root.leaf(HOSTS[0], &HOSTS).pem + &root.pem));
    let other = staple::tests::response(&other, &[0x2b, 0x0e, 3, 2, 0x1a], &[0x80, 0]);
    for (response, expected) in [
        (&b"hello"[..], "is not an OCSP response in DER"),
        (b"\x30\x03\x0a\x01\x06", "is an OCSP responder's error, and not a response"),
        (&other, "is an OCSP response for another certificate"),
    ] {
        let (said, shown) = stapled(site.path(), response, 1_790_000_000);
        assert!(said.starts_with(&format!("error: certs/public-ocsp.der {expected}\n")), "{said}");
        assert_eq!(shown, None);
    }
}

#[test]
fn two_certificates_of_a_block_have_keys_of_two_kinds() {
    let site = site();
    let root = Authority::root("Other Root");
    let leaf = root.leaf(HOSTS[0], &HOSTS);
    write(site.path(), "certs/other-chain.pem", &format!("{}{}", leaf.pem, root.pem));
    write(site.path(), "certs/other-key.pem", &leaf.key);
    let other = "[certificate.other]\nchain = \"certs/other-chain.pem\"\nkey = \"certs/other-key.pem\"\n[[https]]";
    let text = EXAMPLE.replacen("[[https]]", other, 1);
    let text = text.replacen("certificate = \"public\"", "certificate = [\"public\", \"other\"]", 1);
    let config = parse(Source { path: site.path().join("xspgate.toml"), text }).partial;
    let (material, problems) = load_at(&config, 1_800_000_000);
    let told: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
    let expected =
        "[certificate.other] has a key of the same kind as [certificate.public] (ECDSA), and one block shows both";
    assert_eq!(told, [expected]);
    assert!(material.is_none());
}

fn config(folder: &Path) -> Config {
    parse(Source { path: folder.join("xspgate.toml"), text: EXAMPLE.into() }).partial
}

/// Everything that is said, with the folder's name left out.
fn said(folder: &Path) -> String {
    said_at(folder, 1_800_000_000)
}

fn said_at(folder: &Path, now: i64) -> String {
    let (material, problems) = load_at(&config(folder), now);
    let report = Report::new(Source { path: "x.toml".into(), text: EXAMPLE.into() }, problems);
    assert_eq!(material.is_none(), report.is_fatal());
    report.to_string().replace(&format!("{}/", folder.display()), "")
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}

#[test]
fn what_is_right_is_not_talked_about() {
    let site = site();
    assert_eq!(said(site.path()), "");
    let (material, _) = load_at(&config(site.path()), 1_800_000_000);
    let material = material.unwrap();
    assert_eq!(material.identities["public"].key.cert.len(), 2);
    assert_eq!(material.authorities["internal"].roots.len(), 1);
    assert!(!format!("{material:?}").contains("0123"));
}

#[test]
fn the_first_to_expire_counts() {
    let site = site();
    let ends =
        |day: u8| move |params: &mut rcgen::CertificateParams| params.not_after = rcgen::date_time_ymd(2031, 1, day);
    let root = Authority::root("Public Root");
    let leaf = root.leaf_with(HOSTS[0], &HOSTS, ends(3));
    write(site.path(), "certs/public-chain.pem", &format!("{}{}", leaf.pem, root.pem));
    write(site.path(), "certs/public-key.pem", &leaf.key);
    let (late, soon) = (Authority::root_with("Late", ends(9)), Authority::root_with("Soon", ends(2)));
    write(site.path(), "certs/internal-ca.pem", &format!("{}{}", late.pem, soon.pem));
    let client = late.cti_client();
    write(site.path(), "certs/cti-client-chain.pem", &client.pem);
    write(site.path(), "certs/cti-client-key.pem", &client.key);
    let (material, _) = load_at(&config(site.path()), 1_800_000_000);
    let mut expiries = material.unwrap().expiries;
    expiries.sort_by(|one, other| one.section.cmp(&other.section));
    let listed: Vec<_> = expiries.iter().map(|expiry| (expiry.section.as_str(), expiry.subject.as_str())).collect();
    let public = format!("CN={}", HOSTS[0]);
    let expected = [
        ("certificate.cti-client", "CN=bwcticlient.webex.com"),
        ("certificate.public", &public),
        ("certificate.public", "CN=Public Root"),
        ("trust.internal", "CN=Late"),
        ("trust.internal", "CN=Soon"),
        ("trust.webex", "CN=Webex Issuing"),
        ("trust.webex", "CN=Webex Root"),
    ];
    assert_eq!(listed, expected);
    let january = 1_924_992_000;
    assert_eq!([1, 3, 4].map(|index| expiries[index].validity.to), [2, 8, 1].map(|days| january + days * DAY));
    let mut serials: Vec<_> = expiries.iter().map(|expiry| &expiry.serial).collect();
    serials.sort_unstable();
    serials.dedup();
    assert_eq!(serials.len(), expected.len());
}

#[test]
fn what_has_expired_in_a_bundle_is_listed_once() {
    let site = site();
    let good = read(site.path(), "certs/internal-ca.pem");
    let old = Authority::root_with("Old", |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    write(site.path(), "certs/internal-ca.pem", &format!("{}{good}{garbage}{}{good}", old.pem, old.pem));
    let (material, _) = load_at(&config(site.path()), 1_800_000_000);
    let material = material.unwrap();
    let bundle = material.expiries.iter().filter(|expiry| expiry.section == "trust.internal");
    let listed: Vec<_> = bundle.map(|expiry| (expiry.subject.as_str(), expiry.validity.to < 1_800_000_000)).collect();
    assert_eq!(listed, [("CN=Old", true), ("CN=Internal Root", false)]);
    assert_eq!(material.authorities["internal"].roots.len(), 2, "each once");
}

#[test]
fn what_was_read_is_recognized_by_its_bytes() {
    let site = site();
    let reading = || files::Reading::now(&config(site.path()));
    let first = reading();
    let (chain, key) = ("certs/public-chain.pem", "certs/public-key.pem");
    let text = read(site.path(), chain);
    write(site.path(), chain, &text);
    assert!(first.is_current(), "the same bytes in a file that was written again");
    assert_ne!(first.stamps(), reading().stamps());
    let moved: Vec<String> = vec![read(site.path(), key), text];
    for (name, text) in [chain, key].into_iter().zip(&moved) {
        write(site.path(), name, text);
    }
    assert_eq!(reading().changed(&first).collect::<Vec<_>>(), ["certificate.public"], "the same bytes elsewhere");
    fs::remove_file(site.path().join("certs/internal-ca.pem")).unwrap();
    write(site.path(), "certs/affinity.key", "#\n");
    let sections = ["affinity", "certificate.public", "trust.internal"];
    assert_eq!(reading().changed(&first).collect::<Vec<_>>(), sections);
    assert!(!first.is_current());
}

#[test]
fn stamps_tell_every_kind_of_change() {
    let site = site();
    let path = |name: &str| site.path().join(name);
    let stamps = || files::Files::of(&config(site.path())).stamps();
    let mut seen = vec![stamps()];
    assert_eq!(stamps(), seen[0]);
    let mut changed = |what: &str| {
        let now = stamps();
        assert!(!seen.contains(&now), "{what}");
        seen.push(now);
    };
    let (chain, text) = (path("certs/public-chain.pem"), read(site.path(), "certs/public-chain.pem"));
    fs::set_permissions(&chain, fs::Permissions::from_mode(0o640)).unwrap();
    changed("permissions");
    fs::write(path("new"), &text).unwrap();
    fs::rename(path("new"), &chain).unwrap();
    changed("another file of the same name and size");
    fs::remove_file(&chain).unwrap();
    changed("no file");
    std::os::unix::fs::symlink(path("certs/internal-ca.pem"), &chain).unwrap();
    changed("a link");
    std::os::unix::fs::symlink(path("certs/affinity.key"), path("new")).unwrap();
    fs::rename(path("new"), &chain).unwrap();
    changed("a link to another file");
}

#[test]
fn a_problem_is_told_with_its_section_and_file() {
    let site = site();
    let config = config(site.path());
    let foreign = Authority::root("Root").leaf("x.example.com", &["x.example.com"]);
    write(site.path(), "certs/public-chain.pem", &foreign.pem);
    write(site.path(), "certs/public-key.pem", &foreign.key);
    fs::remove_file(site.path().join("certs/internal-ca.pem")).unwrap();
    fs::remove_file(site.path().join("certs/cti-client-key.pem")).unwrap();
    write(site.path(), "certs/affinity.key", "#\n");
    let (_, problems) = load_at(&config, 1_800_000_000);
    let files = files::Files::of(&config);
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    let told: Vec<_> = errors.map(|problem| files.origin(&config, problem).unwrap()).collect();
    let at = |name: &str| site.path().join("certs").join(name);
    let expected = [
        ("trust.internal", at("internal-ca.pem")),
        ("certificate.cti-client", at("cti-client-key.pem")),
        ("certificate.public", at("public-chain.pem")),
        ("certificate.public", at("public-chain.pem")),
        ("affinity", at("affinity.key")),
    ];
    assert_eq!(told, expected.iter().map(|(section, path)| (*section, path.as_path())).collect::<Vec<_>>());
}

#[test]
fn what_has_not_changed_is_kept_as_it_is() {
    let site = site();
    let load = || load_at(&config(site.path()), 1_800_000_000).0.unwrap();
    let old = load();
    let ca = Authority::root("New Root");
    write(site.path(), "certs/internal-ca.pem", &ca.pem);
    let client = ca.cti_client();
    write(site.path(), "certs/cti-client-chain.pem", &client.pem);
    write(site.path(), "certs/cti-client-key.pem", &client.key);
    let new = load().keeping(&old);
    for (name, kept) in [("public", true), ("cti-client", false)] {
        assert_eq!(Arc::ptr_eq(&old.identities[name], &new.identities[name]), kept, "{name}");
    }
    for (name, kept) in [("webex", true), ("internal", false)] {
        assert_eq!(Arc::ptr_eq(&old.authorities[name], &new.authorities[name]), kept, "{name}");
    }
    let expiries = |material: &Material, section: &str| -> Vec<_> {
        material.expiries.iter().filter(|expiry| expiry.section == section).cloned().collect()
    };
    assert_eq!(expiries(&new, "trust.webex"), expiries(&old, "trust.webex"));
    assert_ne!(expiries(&new, "trust.internal"), expiries(&old, "trust.internal"));
    assert_eq!(new.expiries.len(), old.expiries.len());
}

#[test]
fn r_cti_1_the_downloaded_chain_is_taken_as_it_is() {
    let site = site();
    let combined = read(site.path(), "certs/CombinedCertChain.txt");
    let blocks: Vec<&str> = combined.split_inclusive("-----END CERTIFICATE-----").take(2).collect();
    let reversed = format!("{}{}", blocks[1], blocks[0]);
    let glued: String = blocks.iter().map(|block| &block[block.find("-----BEGIN").unwrap()..]).collect();
    assert!(glued.contains("----------BEGIN"));
    for text in
        [reversed, glued, format!("\u{feff}{combined}"), combined.replace("\r\n", "\n"), combined.replace('\n', "\r\n")]
    {
        write(site.path(), "certs/CombinedCertChain.txt", &text);
        assert_eq!(said(site.path()), "");
        let (material, _) = load_at(&config(site.path()), 1_800_000_000);
        assert_eq!(material.unwrap().authorities["webex"].roots.len(), 2, "{text}");
    }
}

/// What one file holds instead, and the first line of what is said.
#[test]
fn a_file_that_is_not_what_it_should_be_is_told_so() {
    let key = read(site().path(), "certs/public-key.pem");
    let certificate = read(site().path(), "certs/internal-ca.pem");
    let damaged = certificate.replacen("MII", "M!!", 1);
    let endless = certificate.replace("-----END CERTIFICATE-----", "");
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let request = "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n";
    let two_keys = format!("{key}{key}");
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let table = [
        ("public-chain.pem", "", "certs/public-chain.pem is empty"),
        ("public-chain.pem", "hello", "certs/public-chain.pem is not PEM"),
        ("public-chain.pem", &key, "certs/public-chain.pem has no certificate: it holds a private key"),
        ("public-chain.pem", request, "certs/public-chain.pem has no certificate: it holds a certificate request"),
        ("public-chain.pem", &damaged, "certs/public-chain.pem is damaged: block 1 is not base64, or has no end"),
        ("public-chain.pem", &endless, "certs/public-chain.pem is damaged: block 1 is not base64, or has no end"),
        ("public-chain.pem", garbage, "block 1 in certs/public-chain.pem is not an X.509 certificate"),
        ("public-key.pem", &certificate, "certs/public-key.pem has no private key: it holds certificates only"),
        ("public-key.pem", encrypted, "the key in certs/public-key.pem is encrypted"),
        ("public-key.pem", &two_keys, "certs/public-key.pem has several private keys"),
        (
            "public-key.pem",
            &key,
            "the key in certs/public-key.pem does not belong to the certificate in certs/public-chain.pem",
        ),
        ("internal-ca.pem", &key, "certs/internal-ca.pem has no CA certificate: it holds a private key"),
        ("internal-ca.pem", "\u{30}\u{82}", "certs/internal-ca.pem is not PEM"),
        ("affinity.key", "\n# nothing\n", "certs/affinity.key holds no key"),
        ("affinity.key", "c2hvcnQ=\n", "line 1 of certs/affinity.key is not a key: it has 5 bytes"),
        ("affinity.key", "\nfoo bar\n", "line 2 of certs/affinity.key is not a key: it is not base64"),
    ];
    for (name, text, expected) in table {
        let site = site();
        write(site.path(), &format!("certs/{name}"), text);
        let said = said(site.path());
        assert_eq!(said.lines().next(), Some(format!("error: {expected}").as_str()), "{name}");
        assert!(!said.contains("PRIVATE") && !said.contains("foo bar"), "{said}");
    }
}

#[test]
fn a_missing_file_is_shown_where_it_is_named() {
    let site = site();
    fs::remove_file(site.path().join("certs/internal-ca.pem")).unwrap();
    assert_eq!(
        said(site.path()),
        "error: certs/internal-ca.pem can't be read: No such file or directory\n \
         --> x.toml:35:6\n  | ca = \"certs/internal-ca.pem\"\n  |      ^^^^^^^^^^^^^^^^^^^^^^^\n\
         help: the folder certs is there, the file is not\n"
    );
    fs::create_dir(site.path().join("certs/internal-ca.pem")).unwrap();
    assert!(said(site.path()).starts_with("error: certs/internal-ca.pem is a folder, not a file\n"));
    fs::remove_dir(site.path().join("certs/internal-ca.pem")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(site.path().join("certs/internal-ca.pem")).status();
    if made.is_ok_and(|status| status.success()) {
        assert!(
            said(site.path()).starts_with("error: certs/internal-ca.pem is a pipe, not a file\n"),
            "not waited for"
        );
    }
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    for name in ["public-key.pem", "cti-client-key.pem", "affinity.key"] {
        let site = site();
        let path = site.path().join("certs").join(name);
        for (mode, refused) in [(0o644, true), (0o604, true), (0o640, false), (0o400, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let said = said(site.path());
            assert_eq!(said.contains("every user of this machine may read it"), refused, "{said}");
            assert_eq!(said.contains(&format!("help: chmod o-rwx certs/{name}\n")), refused, "{said}");
        }
    }
}

#[test]
fn a_chain_file_with_its_key_in_it_is_a_secret_too() {
    let site = site();
    let both = format!("{}{}", read(site.path(), "certs/public-chain.pem"), read(site.path(), "certs/public-key.pem"));
    let path = write(site.path(), "certs/public-chain.pem", &both);
    assert_eq!(said(site.path()), "");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(said(site.path()).contains("every user of this machine"));
}

#[test]
fn r_tls_2_the_public_certificate_is_signed_complete_and_in_order() {
    let site = site();
    let chain = read(site.path(), "certs/public-chain.pem");
    let end = chain.find("-----END CERTIFICATE-----\n").unwrap() + "-----END CERTIFICATE-----\n".len();
    let (leaf, issuing) = chain.split_at(end);

    write(site.path(), "certs/public-chain.pem", leaf);
    assert!(said(site.path()).starts_with("warning: certs/public-chain.pem holds no intermediate certificate\n"));

    write(site.path(), "certs/public-chain.pem", &format!("{issuing}{leaf}"));
    assert!(said(site.path()).starts_with("warning: certs/public-chain.pem is out of order\n"));
    let (material, _) = load_at(&config(site.path()), 1_800_000_000);
    let sent = &material.unwrap().identities["public"].key.cert;
    assert_eq!(crate::tls::peer::facts(&sent[0]).unwrap().common_name.as_deref(), Some(HOSTS[0]));

    let stray = Authority::root("Somebody Else").pem;
    write(site.path(), "certs/public-chain.pem", &format!("{leaf}{issuing}{stray}"));
    assert!(said(site.path()).contains("holds a certificate that is not part of the chain: CN=Somebody Else"));

    let own = fixture::self_signed(HOSTS[0], &HOSTS);
    write(site.path(), "certs/public-chain.pem", &own.pem);
    write(site.path(), "certs/public-key.pem", &own.key);
    assert!(said(site.path()).starts_with("warning: the certificate in certs/public-chain.pem is self-signed\n"));
}

#[test]
fn r_tls_2_the_public_certificate_names_the_hosts_that_it_serves() {
    let table: [(&str, &[&str], &str); 4] = [
        ("x", &[HOSTS[0]], "error: [certificate.public] does not name webex-app-xsp.example.com\n"),
        (
            "x",
            &["*.example.com"],
            "warning: [certificate.public] names webex-cloud-xsp.example.com by a wildcard only\n",
        ),
        (HOSTS[0], &[HOSTS[1]], "warning: [certificate.public] names webex-cloud-xsp.example.com in its CN only\n"),
        ("x", &[], "error: [certificate.public] does not name webex-cloud-xsp.example.com\n"),
    ];
    for (common_name, names, expected) in table {
        let site = site();
        let issuing = Authority::root("Root").intermediate("Issuing");
        let leaf = issuing.leaf(common_name, names);
        write(site.path(), "certs/public-chain.pem", &format!("{}{}", leaf.pem, issuing.pem));
        write(site.path(), "certs/public-key.pem", &leaf.key);
        let said = said(site.path());
        assert!(said.starts_with(expected), "{said}");
        assert!(said.contains(" --> x.toml:65:"), "{said}");
    }
}

#[test]
fn a_certificate_is_valid_now_and_for_a_while() {
    let issuing = Authority::root("Root").intermediate("Issuing");
    let leaf = issuing.leaf_with(HOSTS[0], &HOSTS, |params| {
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
    });
    let site = site();
    write(site.path(), "certs/public-chain.pem", &format!("{}{}", leaf.pem, issuing.pem));
    write(site.path(), "certs/public-key.pem", &leaf.key);
    let (begin, end) = (1_767_225_600, 1_798_761_600);
    let of = format!("the certificate of CN={} in certs/public-chain.pem", HOSTS[0]);
    for (now, expected) in [
        (begin - 1, format!("warning: {of} is not valid before 2026-01-01 (in less than a day)")),
        (begin, String::new()),
        (end - 14 * DAY, String::new()),
        (end - 14 * DAY + 1, format!("warning: {of} ends in 13 days (2027-01-01)")),
        (end, format!("warning: {of} ends in less than a day (2027-01-01)")),
        (end + 1, format!("warning: {of} expired less than a day ago (2027-01-01)")),
        (end + 12 * DAY, format!("warning: {of} expired 12 days ago (2027-01-01)")),
    ] {
        assert_eq!(said_at(site.path(), now).lines().next().unwrap_or_default(), expected);
    }
}

#[test]
fn a_bundle_s_bad_entries_do_not_spoil_the_others() {
    let site = site();
    let good = read(site.path(), "certs/internal-ca.pem");
    let old = Authority::root_with("Old Root", |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let leaf = Authority::root("Root").leaf("xsp.example.com", &["xsp.example.com"]);
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    write(site.path(), "certs/internal-ca.pem", &format!("{}{}{garbage}{good}", old.pem, leaf.pem));
    let said = said(site.path());
    for expected in [
        "warning: certificate 1 in certs/internal-ca.pem (CN=Old Root) expired 2571 days ago (2020-01-01)\n",
        "warning: certificate 2 in certs/internal-ca.pem (CN=xsp.example.com) is not a CA\n",
        "warning: certificate 3 in certs/internal-ca.pem is left out: not an X.509 certificate\n",
    ] {
        assert!(said.contains(expected), "{said}");
    }
    write(site.path(), "certs/internal-ca.pem", &old.pem);
    assert!(
        self::said(site.path()).contains("warning: certs/internal-ca.pem has no CA certificate that is valid now\n")
    );
    write(site.path(), "certs/internal-ca.pem", garbage);
    assert!(self::said(site.path()).contains("error: certs/internal-ca.pem has no CA certificate that can be used\n"));
}

#[test]
fn r_cti_1_clients_can_not_be_verified_without_a_valid_ca() {
    let said_of = |text: &str| {
        let site = site();
        write(site.path(), "certs/CombinedCertChain.txt", text);
        said(site.path())
    };
    let expired = Authority::root_with("Old Root", |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let below = expired.intermediate("Issuing");
    let leaf = below.leaf("bwcticlient.webex.com", &[]);
    let message = "certs/CombinedCertChain.txt has no valid CA that a client's certificate can lead to\n";
    assert!(said_of(&leaf.pem).contains(&format!("error: {message}")));
    let time_alone = said_of(&format!("{}{}", below.pem, expired.pem));
    assert!(time_alone.contains(&format!("warning: {message}")), "its root has expired: {time_alone}");
    assert_eq!(said_of(&below.pem), "", "its root is nowhere");
    // The same file is good enough for XSPs.
    let site = site();
    write(site.path(), "certs/internal-ca.pem", &leaf.pem);
    assert!(said(site.path()).contains("warning: certificate 1 in certs/internal-ca.pem"));
}

/// The example's site with these revocation lists of the CAs in `CombinedCertChain.txt`, and what is said of them.
fn said_of_lists(authorities: &[&Authority], lists: &str) -> (String, Option<usize>) {
    let site = site();
    let bundle: String = authorities.iter().map(|authority| authority.pem.as_str()).collect();
    write(site.path(), "certs/CombinedCertChain.txt", &bundle);
    write(site.path(), "certs/webex.crl", lists);
    let text = EXAMPLE.replace("[trust.webex]\n", "[trust.webex]\ncrl = \"certs/webex.crl\"\n");
    let config = parse(Source { path: site.path().join("xspgate.toml"), text: text.clone() }).partial;
    let (material, problems) = load_at(&config, 1_800_000_000);
    let report = Report::new(Source { path: "x.toml".into(), text }, problems).to_string();
    let count = material.map(|material| material.authorities["webex"].revoked.iter().map(Vec::len).sum());
    (report.replace(&format!("{}/", site.path().display()), ""), count)
}

#[test]
fn revocation_lists_are_taken_as_they_are() {
    let root = Authority::root("Root");
    let issuing = root.intermediate("Issuing");
    let lists = format!("Root:\r\n{}\r\nIssuing:\r\n{}", root.revokes(&[1]), issuing.revokes(&[2, 3]));
    assert_eq!(said_of_lists(&[&root, &issuing], &lists), (String::new(), Some(2)));
    let place = " --> x.toml:33:7\n  | crl = \"certs/webex.crl\"\n  |       ^^^^^^^^^^^^^^^^^\n";

    let (said, count) = said_of_lists(&[&root], &lists);
    let expected = "revocation list 2 in certs/webex.crl (CN=Issuing) is of a CA that `ca` does not hold, so that its \
                    signature could not be checked\n";
    let help = "help: it is used for clients of that CA that bring the CA's certificate along; the signature is checked \
                then\n";
    assert_eq!(said, format!("warning: {expected}{place}{help}"));
    assert_eq!(count, Some(2), "it is used");
    let (said, _) = said_of_lists(&[&root, &issuing], &Authority::root("Root").revokes(&[]));
    let expected =
        "the signature of revocation list 1 in certs/webex.crl (CN=Root) does not fit the CA of that name in `ca`\n";
    let help = "help: that CA's clients are refused unless there is a list that it has signed\n";
    assert!(said.starts_with(&format!("warning: {expected}{place}{help}")), "{said}");

    let old = root.revokes_with(&[], |params| params.next_update = rcgen::date_time_ymd(2026, 3, 1));
    let (said, count) = said_of_lists(&[&root, &issuing], &old);
    let expected = "revocation list 1 in certs/webex.crl (CN=Root) expired 320 days ago (2026-03-01)\n";
    assert!(said.starts_with(&format!("warning: {expected}{place}")), "{said}");
    assert!(said.contains("help: it is still used"), "{said}");
    assert_eq!(count, Some(1));
    let expected = "certs/webex.crl has no revocation list of CN=Issuing\n";
    assert!(
        said.contains(&format!("warning: {expected}{place}help: clients whose certificates it has signed")),
        "{said}"
    );
}

#[test]
fn a_revocation_list_that_can_not_be_read_is_not_left_out() {
    let root = Authority::root("Root");
    let good = root.revokes(&[1]);
    let garbage = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
    let table = [
        (format!("{good}{garbage}"), "revocation list 2 in certs/webex.crl is not a certificate revocation list"),
        (good.replacen("\nMI", "\nM!", 1), "certs/webex.crl is damaged: block 1 is not base64, or has no end"),
        (root.pem.clone(), "certs/webex.crl has no certificate revocation list: it holds certificates only"),
        (String::new(), "certs/webex.crl is empty"),
        ("none".to_owned(), "certs/webex.crl is not PEM"),
    ];
    for (text, message) in table {
        let (said, count) = said_of_lists(&[&root], &text);
        assert_eq!(said.lines().next(), Some(format!("error: {message}").as_str()));
        assert!(said.contains(" --> x.toml:33:7\n") && said.contains("help: ") || text.is_empty(), "{said}");
        assert_eq!(count, None);
    }
}

#[test]
fn r_aff_1_affinity_keys_rotate() {
    let site = site();
    let (old, new) = ("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=");
    write(site.path(), "certs/affinity.key", &format!("# since May\r\n{new}\r\n\n  {old}  \n{new}"));
    assert!(said(site.path()).starts_with("warning: line 5 of certs/affinity.key repeats an earlier key\n"));
    let (material, _) = load_at(&config(site.path()), 1_800_000_000);
    let keys = material.unwrap().affinity_keys;
    assert_eq!(keys, [*b"fedcba9876543210fedcba9876543210", *b"0123456789abcdef0123456789abcdef"]);
}
