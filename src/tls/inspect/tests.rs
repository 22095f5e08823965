use std::fs;
use std::os::unix::fs::PermissionsExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{ExtendedKeyUsagePurpose as Usage, KeyPair};
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;

use super::*;
use crate::tls::certs::fixture::{self, Authority, write};

/// 2027-01-15.
const NOW: i64 = 1_800_000_000;

/// What is said of a file with this text, and a key file.
fn said(text: &str, key: Option<&str>) -> Result<String, Problem> {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "file.pem", text);
    let key = key.map(|key| write(folder.path(), "key.pem", key));
    let report = report(&file, key.as_deref(), NOW);
    report.map(|report| report.text.replace(&format!("{}/", folder.path().display()), ""))
}

fn told(text: &str, key: Option<&str>) -> String {
    said(text, key).unwrap()
}

fn assert_lines(said: &str, expected: &[(&str, &str)]) {
    for (label, value) in expected {
        let line = format!("    {label:<10} {value}\n");
        assert!(said.contains(&line), "{line}is missing in\n{said}");
    }
}

#[test]
fn r_cti_1_the_downloaded_chain_is_two_cas() {
    let root = Authority::root("Webex Root");
    let issuing = root.intermediate("Webex Issuing");
    let combined = format!("\u{feff}Issuing CA\r\n{}\r\nRoot CA: self-signed\r\n{}", issuing.pem, root.pem);
    let said = told(&combined, None);
    assert!(said.starts_with("file.pem: 2 blocks\n\n[1] certificate CN=Webex Issuing\n"), "{said}");
    assert!(said.contains("\n[2] certificate CN=Webex Root\n    issuer     itself\n"), "{said}");
    assert_eq!(said.matches("may be     a CA in [trust.NAME]\n    wrong      nothing\n").count(), 2, "{said}");
    assert!(!said.contains("    chain "), "{said}");
    assert_lines(&told(&issuing.pem, None), &[("chain", "[1]: its issuer CN=Webex Root is not in this file")]);
}

#[test]
fn r_cti_3_the_client_certificate_is_known_and_judged() {
    let root = Authority::root("Root");
    let good = root.cti_client();
    let said = told(&format!("{}{}", good.pem, root.pem), Some(&good.key));
    assert_lines(
        &said,
        &[
            ("usage", "clientAuth, BroadWorks CTI client (1.3.6.1.4.1.6431.1.1.8.2.1.3)"),
            ("may be", "the gateway's client certificate towards the XSPs' CTI"),
            ("wrong", "nothing"),
            ("chain", "[1] [2]: complete, in order"),
            ("key", "the key in key.pem (ECDSA P-256) belongs to [1]"),
        ],
    );
    let bad = root.cti_client_with(|params| {
        params.extended_key_usages = vec![Usage::ClientAuth];
        params.not_after = rcgen::date_time_ymd(2026, 1, 1);
    });
    let said = told(&bad.pem, Some(&good.key));
    let of = "as the gateway's client certificate towards the XSPs' CTI";
    assert_lines(
        &said,
        &[
            ("may be", "nothing here"),
            (
                "wrong",
                &format!(
                    "{of}: its extended key usage is clientAuth; the rule is that it holds BroadWorks' \
                 1.3.6.1.4.1.6431.1.1.8.2.1.3"
                ),
            ),
            ("wrong", &format!("{of}: it expired on 2026-01-01; the rule is that it is valid now")),
            ("chain", "[1]: ends before CN=Root, which is not in this file; [trust.NAME] may hold it"),
            ("key", "the key in key.pem (ECDSA P-256) belongs to none of them"),
        ],
    );
    assert!(said.contains("    help       `xspgate certs cti-client --ca"), "{said}");
    assert_eq!(said.matches("expired").count(), 1, "{said}");
}

#[test]
fn a_server_s_certificate_is_judged_by_its_names_dates_and_chain() {
    let root = Authority::root("Root");
    let issuing = root.intermediate("Issuing");
    let leaf = issuing.leaf_with("xsp1.example.com", &["xsp.example.com"], |params| {
        params.extended_key_usages = vec![Usage::ServerAuth];
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2026, 1, 1), rcgen::date_time_ymd(2027, 1, 20));
    });
    let said = told(&format!("{}{}{}{}", root.pem, leaf.key, leaf.pem, issuing.pem), None);
    assert_lines(
        &said,
        &[
            ("names", "DNS xsp.example.com"),
            ("valid", "2026-01-01 to 2027-01-20, 4 days left"),
            ("may be", "an XSP's server certificate for xsp.example.com, if a CA in [trust.NAME] signed it"),
            ("wrong", "it ends on 2027-01-20"),
            ("chain", "[3] [4] [1]: complete, out of order: each one's issuer should come after it"),
            ("key", "the key in block 2 (ECDSA P-256) belongs to [3]"),
        ],
    );
    assert!(!said.contains("PRIVATE") && !said.contains(leaf.key.lines().nth(1).unwrap()), "{said}");
    let nameless = fixture::self_signed("xsp.example.com", &[]);
    assert_lines(
        &told(&nameless.pem, None),
        &[
            ("usage", "any"),
            ("wrong", "it has no DNS name among its SANs: no client of TLS will know it by its name"),
            ("wrong", "it has signed itself: neither Webex nor XSPs believe it"),
            ("chain", "[1]: has signed itself"),
        ],
    );
}

#[test]
fn a_ca_made_anew_is_told_from_the_old_one() {
    let (old, new) = (Authority::root("Root"), Authority::root("Root"));
    let leaf = old.cti_client();
    let said = told(&format!("{}{}", leaf.pem, new.pem), None);
    let message = "[1] [2]: CN=bwcticlient.webex.com was signed by another CN=Root than the one that is there; the rule is \
                   a chain that is complete up to its CA";
    assert_lines(&said, &[("chain", message)]);
}

#[test]
fn whatever_else_is_in_a_file_is_named() {
    let key = KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["a.example.com".to_owned()]).unwrap();
    let request = params.serialize_request(&key).unwrap().pem().unwrap();
    let said = told(&format!("{request}{}", key.serialize_pem()), None);
    assert_lines(&said, &[("names", "DNS a.example.com"), ("key", "the key in block 2 (ECDSA P-256) belongs to [1]")]);
    for (label, expected) in [
        ("PUBLIC KEY", "[1] public key, of a kind unknown here\n"),
        ("PKCS7", "[1] PKCS #7\n"),
        ("EC PARAMETERS", "[1] EC PARAMETERS, of no use here\n"),
        ("CERTIFICATE", "[1] certificate that can't be read\n"),
        ("X509 CRL", "[1] certificate revocation list that can't be read\n"),
        ("CERTIFICATE REQUEST", "[1] certificate request that can't be read\n"),
        ("ENCRYPTED PRIVATE KEY", "[1] an encrypted private key\n"),
        ("PRIVATE KEY", "[1] private key\n    key        of a kind unknown here\n"),
    ] {
        let said = told(&format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n"), None);
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_revocation_list_tells_when_the_next_one_is_due() {
    use rcgen::{CertificateRevocationListParams, Issuer, KeyIdMethod, KeyUsagePurpose};
    let mut params = rcgen::CertificateParams::default();
    params.key_usages = vec![KeyUsagePurpose::CrlSign];
    let list = CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2026, 1, 1),
        next_update: rcgen::date_time_ymd(2026, 2, 1),
        crl_number: 1.into(),
        issuing_distribution_point: None,
        revoked_certs: vec![],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&Issuer::new(params, KeyPair::generate().unwrap())).unwrap().pem().unwrap();
    assert_lines(
        &told(&list, None),
        &[
            ("revoked", "0 certificates"),
            ("made", "on 2026-01-01; the next one is due on 2026-02-01"),
            ("may be", "`crl` of [trust.NAME]"),
            ("wrong", "it is out of date"),
        ],
    );
    let mut followed = CertificateRevocationListDer::from_pem_slice(list.as_bytes()).unwrap().to_vec();
    followed.push(0);
    let followed = format!("-----BEGIN X509 CRL-----\n{}\n-----END X509 CRL-----\n", STANDARD.encode(followed));
    assert!(told(&followed, None).contains("[1] certificate revocation list that can't be read\n"));
}

#[test]
fn what_can_not_be_read_is_refused() {
    for (text, expected) in [
        ("hello", "file.pem is not PEM"),
        ("\u{30}\u{82}", "file.pem is not PEM"),
        ("-----BEGIN \n", "file.pem is damaged: block 1 is not base64, or has no end"),
    ] {
        let problem = said(text, None).unwrap_err();
        assert!(problem.message.ends_with(expected), "{problem:?}");
    }
    let ca = Authority::root("Root").pem;
    let problem = said(&ca, Some(&ca)).unwrap_err();
    assert!(problem.message.ends_with("key.pem has no private key that can be read"), "{problem:?}");
}

#[test]
fn a_key_that_others_may_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "key.pem", &KeyPair::generate().unwrap().serialize_pem());
    for (mode, expected) in [(0o644, true), (0o600, false)] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(report(&file, None, NOW).unwrap().text.contains("every user of this machine may read it"), expected);
    }
}

#[test]
fn nothing_in_a_certificate_steers_the_terminal() {
    let leaf = fixture::self_signed("\u{1b}[31mred\nline", &[]);
    let said = told(&leaf.pem, None);
    assert!(!said.contains('\u{1b}') && !said.contains("\nline"), "{said:?}");
}

#[test]
fn days_are_counted_as_people_count_them() {
    let day = 24 * 3600;
    for (not_after, expected) in [
        (2 * day, "2 days left"),
        (2 * day - 1, "1 day left"),
        (day, "1 day left"),
        (0, "0 days left"),
        (-1, "over since today"),
        (-day, "over since today"),
        (-day - 1, "over for 1 day"),
        (-2 * day, "over for 1 day"),
        (-2 * day - 1, "over for 2 days"),
    ] {
        assert_eq!(left(NOW + not_after, NOW), expected, "{not_after}");
    }
}
