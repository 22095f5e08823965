//! The gateway's own client certificate towards XSPs' CTI (R-CTI-3): what is said of each fault, and when it is let off.

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose as Usage};

use super::*;
use crate::tls::certs::fixture::Leaf;

const NOW: i64 = 1_800_000_000;
const TURNED_AWAY: &str = "XSPs will turn [certificate.cti-client] away on their CTI port: ";
const MAKE: &str = "`xspgate certs cti-client --ca internal-ca.pem --ca-key internal-ca-key.pem`";
/// The lines that every complaint about this certificate's chain is shown with.
const AT_CHAIN: &str =
    " --> x.toml:28:9\n  | chain = \"certs/cti-client-chain.pem\"\n  |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n";
const AT_KEY: &str = " --> x.toml:29:7\n  | key = \"certs/cti-client-key.pem\"\n  |       ^^^^^^^^^^^^^^^^^^^^^^^^^^\n";

/// The example's files with this client certificate in place of the right one.
struct Case {
    site: TempDir,
}

impl Case {
    fn of(client: &Leaf, issuers: &[&str], trust: &str) -> Self {
        let site = site();
        write(site.path(), "certs/cti-client-chain.pem", &format!("{}{}", client.pem, issuers.concat()));
        write(site.path(), "certs/cti-client-key.pem", &client.key);
        write(site.path(), "certs/internal-ca.pem", trust);
        Self { site }
    }

    /// A certificate that keeps every rule but those that `change` breaks.
    fn changed(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let root = Authority::root("Internal Root");
        let client = root.cti_client_with(change);
        Self::of(&client, &[], &root.pem)
    }

    /// What is said, and whether there is something to start with.
    fn loaded(&self, strict: &str) -> (String, bool) {
        let folder = self.site.path();
        let text = EXAMPLE.replace("cti-client-key.pem\"\n", &format!("cti-client-key.pem\"\n{strict}"));
        let config = parse(Source { path: folder.join("xspgate.toml"), text }).partial;
        let (material, problems) = load_at(&config, NOW);
        let report = Report::new(Source { path: "x.toml".into(), text: EXAMPLE.into() }, problems);
        let said = report.to_string().replace(&format!("{}/", folder.display()), "");
        let shown = material.is_some_and(|material| material.identities.contains_key("cti-client"));
        assert_eq!(shown, !report.is_fatal(), "{said}");
        (said, shown)
    }

    /// Asserts that this is all that is said, as an error, and as a warning where the certificate is let off.
    fn is_told(&self, expected: &[(&str, &str, &str)]) {
        self.is_told_as(
            [("error", "", false), ("error", "strict = true\n", false), ("warning", "strict = false\n", true)],
            expected,
        );
    }

    /// Asserts that this is all that is said, as a warning in any case.
    fn is_warned(&self, expected: &[(&str, &str, &str)]) {
        self.is_told_as(["", "strict = true\n", "strict = false\n"].map(|strict| ("warning", strict, true)), expected);
    }

    fn is_told_as(&self, cases: [(&str, &str, bool); 3], expected: &[(&str, &str, &str)]) {
        for (severity, strict, starts) in cases {
            let text: Vec<String> = expected
                .iter()
                .map(|(place, message, help)| format!("{severity}: {TURNED_AWAY}{message}\n{place}help: {help}\n"))
                .collect();
            assert_eq!(self.loaded(strict), (text.join("\n"), starts));
        }
    }
}

fn make(help: &str) -> String {
    help.replace("MAKE", MAKE)
}

#[test]
fn r_cti_3_a_certificate_that_keeps_the_rules_is_not_talked_about() {
    for strict in ["", "strict = false\n"] {
        assert_eq!(Case::changed(|_| {}).loaded(strict), (String::new(), true));
    }
}

#[test]
fn r_cti_3_each_fault_is_told_by_itself() {
    let fits = make("MAKE makes one that fits; with --csr your own CA signs it");
    type Change = fn(&mut CertificateParams);
    let table: [(Change, &str); 5] = [
        (
            |params| params.extended_key_usages.clear(),
            "it has no extended key usage; the rule is one that holds 1.3.6.1.4.1.6431.1.1.8.2.1.3 and TLS client \
             authentication",
        ),
        (
            |params| params.extended_key_usages = vec![Usage::ClientAuth, Usage::Any],
            "its extended key usage is anyExtendedKeyUsage, clientAuth; the rule is that it holds BroadWorks' \
             1.3.6.1.4.1.6431.1.1.8.2.1.3",
        ),
        (
            |params| params.extended_key_usages.retain(|usage| *usage != Usage::ClientAuth),
            "its extended key usage is BroadWorks CTI client (1.3.6.1.4.1.6431.1.1.8.2.1.3); the rule is that it holds \
             TLS client authentication by name (clientAuth)",
        ),
        (
            |params| params.distinguished_name.push(rcgen::DnType::CommonName, "gateway.example.com"),
            "its CN is gateway.example.com; the rule is one CN, bwcticlient.webex.com",
        ),
        (
            |params| {
                params.subject_alt_names = vec![rcgen::SanType::DnsName("bwcticlient.webex.com".try_into().unwrap())];
            },
            "it has a SAN (DNS bwcticlient.webex.com); the rule is none, of whatever kind",
        ),
    ];
    for (change, message) in table {
        Case::changed(change).is_told(&[(AT_CHAIN, message, &fits)]);
    }
}

#[test]
fn r_cti_3_its_dates_are_told_once() {
    Case::changed(|params| params.not_after = rcgen::date_time_ymd(2026, 1, 1)).is_warned(&[(
        AT_CHAIN,
        "it expired 379 days ago (2026-01-01)",
        &make("MAKE makes a new one"),
    )]);
    Case::changed(|params| params.not_before = rcgen::date_time_ymd(2028, 1, 1)).is_warned(&[(
        AT_CHAIN,
        "it is not valid before 2028-01-01 (in 350 days)",
        &make("is this machine's clock right? If it is: MAKE makes a new one"),
    )]);
}

#[test]
fn r_cti_3_a_key_that_does_not_fit_is_told_at_the_key() {
    let case = Case::changed(|_| {});
    write(case.site.path(), "certs/cti-client-key.pem", &Authority::root("x").cti_client().key);
    let message = "the key in certs/cti-client-key.pem does not belong to the certificate in \
                   certs/cti-client-chain.pem; the rule is that they are a pair";
    let help = make(
        "`xspgate certs inspect certs/cti-client-chain.pem --key certs/cti-client-key.pem` shows what belongs together; \
         MAKE makes a new pair",
    );
    let expected = format!("error: {TURNED_AWAY}{message}\n{AT_KEY}help: {help}\n");
    for strict in ["", "strict = true\n", "strict = false\n"] {
        assert_eq!(case.loaded(strict), (expected.clone(), false), "{strict}: no XSP takes it");
    }
}

#[test]
fn r_cti_3_the_chain_is_complete_up_to_its_ca() {
    let root = Authority::root("Internal Root");
    let issuing = root.intermediate("Internal Issuing");
    let client = issuing.cti_client();
    let stranger = Authority::root("Stranger").pem;
    // In the file, in the bundle of the farm, or in part in each.
    for (issuers, trust) in [
        (&[issuing.pem.as_str(), &root.pem][..], &stranger),
        (&[&issuing.pem], &root.pem),
        (&[], &issuing.pem),
        (&[&issuing.pem, &root.pem], &root.pem),
    ] {
        assert_eq!(Case::of(&client, issuers, trust).loaded(""), (String::new(), true));
    }
    let missing = |subject: &str, issuer: &str| {
        (
            format!(
                "its chain ends at {subject}, and its issuer {issuer} is missing; the rule is a chain that is complete \
                 up to its CA"
            ),
            format!(
                "append it: `cat leaf.pem issuing.pem > chain.pem`, where issuing.pem is the certificate of {issuer}; or \
                 add that one to the farm's `trust`"
            ),
        )
    };
    // XSPs that have its CA accept the leaf alone.
    let (message, _) = missing("CN=bwcticlient.webex.com", "CN=Internal Issuing");
    let (said, loaded) = Case::of(&client, &[], &root.pem).loaded("");
    let told = format!(
        "warning: XSPs that don't have its issuer will turn [certificate.cti-client] away on their CTI port: {message}"
    );
    assert!(loaded && said.starts_with(&told), "{said}");
    let (message, help) = missing("CN=Internal Issuing", "CN=Internal Root");
    Case::of(&client, &[&issuing.pem], &stranger).is_told(&[(AT_CHAIN, &message, &help)]);
}

#[test]
fn r_cti_3_a_ca_of_the_same_name_is_not_enough() {
    let (root, anew) = (Authority::root("Internal Root"), Authority::root("Internal Root"));
    let client = root.cti_client();
    let message = "CN=bwcticlient.webex.com was signed by another CN=Internal Root than the one that is there; the rule is \
                   a chain that is complete up to its CA";
    let help = make(
        "take the certificate of CN=Internal Root that has signed it: `cat leaf.pem issuing.pem > chain.pem`; or MAKE \
         makes a new one",
    );
    Case::of(&client, &[], &anew.pem).is_told(&[(AT_CHAIN, message, &help)]);
    Case::of(&client, &[&anew.pem], &Authority::root("x").pem).is_told(&[(AT_CHAIN, message, &help)]);
    // While both are in use, the right one is found, in whatever place.
    assert_eq!(Case::of(&client, &[], &format!("{}{}", anew.pem, root.pem)).loaded(""), (String::new(), true));
    assert_eq!(Case::of(&client, &[&anew.pem], &root.pem).loaded(""), (String::new(), true));
}

#[test]
fn r_cti_3_only_cas_sign() {
    let alone = fixture::self_signed_with("bwcticlient.webex.com", &[], fixture::for_cti);
    let (said, _) = Case::of(&alone, &[], &Authority::root("x").pem).loaded("");
    assert!(
        said.starts_with(&format!(
            "error: {TURNED_AWAY}it has signed itself; the rule is that a CA has, which the XSPs trust\n"
        )),
        "{said}"
    );
    let root = Authority::root("Internal Root");
    let no_ca = root.no_ca("Somebody");
    let client = no_ca.cti_client();
    Case::of(&client, &[&no_ca.pem], &root.pem).is_told(&[(
        AT_CHAIN,
        "its issuer CN=Somebody is no CA by its basic constraints; the rule is a chain that is complete up to its CA",
        &make("MAKE makes a new one, signed by a CA"),
    )]);
}

#[test]
fn r_cti_3_all_faults_are_told_together() {
    let issuing = Authority::root("Internal Root").intermediate("Internal Issuing");
    let client = issuing.leaf_with("gateway.example.com", &["gateway.example.com"], |params| {
        params.extended_key_usages = vec![Usage::ServerAuth];
        params.not_after = rcgen::date_time_ymd(2026, 1, 1);
    });
    let case = Case::of(&client, &[], &Authority::root("x").pem);
    write(case.site.path(), "certs/cti-client-key.pem", &issuing.cti_client().key);
    // Of the other key's, nobody is let off.
    for (strict, errors, warnings) in [("", 5, 1), ("strict = false\n", 1, 5)] {
        let (said, started) = case.loaded(strict);
        let count = |severity: &str| said.matches(&format!("{severity}: {TURNED_AWAY}")).count();
        assert_eq!((count("error"), count("warning"), started), (errors, warnings, false), "{said}");
    }
}

#[test]
fn r_cti_3_issuers_out_of_date_are_told_too() {
    let root = Authority::root("Internal Root");
    let issuing = root.intermediate_with("Internal Issuing", |params| {
        params.not_after = rcgen::date_time_ymd(2026, 1, 1);
    });
    let case = Case::of(&issuing.cti_client(), &[&issuing.pem], &root.pem);
    let message =
        "the certificate of CN=Internal Issuing in certs/cti-client-chain.pem expired 379 days ago (2026-01-01)\n";
    for strict in ["", "strict = false\n"] {
        let (said, started) = case.loaded(strict);
        assert!(said.starts_with(&format!("warning: {message}")) && started, "{said}");
    }
}

#[test]
fn r_cti_3_its_rules_are_told_without_its_key_and_without_its_bundle() {
    let case = Case::changed(|params| params.extended_key_usages.clear());
    fs::remove_file(case.site.path().join("certs/cti-client-key.pem")).unwrap();
    fs::remove_file(case.site.path().join("certs/internal-ca.pem")).unwrap();
    let (said, _) = case.loaded("strict = false\n");
    assert!(said.contains(&format!("warning: {TURNED_AWAY}it has no extended key usage")), "{said}");
    assert!(said.contains("error: certs/cti-client-key.pem can't be read"), "{said}");
    // Of a bundle that can't be read nothing follows for the chain.
    assert!(said.contains("error: certs/internal-ca.pem can't be read") && !said.contains("is missing"), "{said}");
}

#[test]
fn r_cti_3_is_for_certificates_of_cti_farms_only() {
    let site = site();
    let other = Authority::root("Other").leaf("gateway.example.com", &["gateway.example.com"]);
    write(site.path(), "certs/cti-client-chain.pem", &other.pem);
    write(site.path(), "certs/cti-client-key.pem", &other.key);
    let start = EXAMPLE.find("[[cti]]").unwrap();
    let end = EXAMPLE[start + 2..].find("\n[").map_or(EXAMPLE.len(), |end| start + 2 + end);
    let text = format!("{}{}", &EXAMPLE[..start], &EXAMPLE[end..]);
    let config = parse(Source { path: site.path().join("xspgate.toml"), text }).partial;
    assert!(config.cti.is_empty() && config.farms["cti"].certificate.is_some());
    assert_eq!(load_at(&config, NOW).1, []);
}
