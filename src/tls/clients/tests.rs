//! Every verdict on a client's certificate, by the word that an operator reads.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;
use std::time::Duration;

use proptest::prelude::*;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, SanType, date_time_ymd};
use rustls::pki_types::pem::PemObject;

use super::*;
use crate::config::error::Source;
use crate::config::model::{Config, CrlOverdue, Trust, Untrusted};
use crate::config::parse;
use crate::config::types::oid::Oid;
use crate::tls::certs::fixture::{Authority, Leaf};
use crate::tls::certs::{self, fixture};
use crate::tls::server::refusal;

const CTI: &str = "bwcticlient.webex.com";
/// 2027-01-15.
const NOW: u64 = 1_800_000_000;

const GOOD: &str = "good";
const ISSUER: &str = "client-certificate-issuer";
const NAME: &str = "client-certificate-name";
const EXPIRED: &str = "client-certificate-expired";
const NOT_YET: &str = "client-certificate-not-yet-valid";
const PURPOSE: &str = "client-certificate-purpose";
const DEPTH: &str = "client-certificate-depth";
const REVOKED: &str = "client-certificate-revoked";
const UNKNOWN: &str = "client-certificate-unknown-status";
const OVERDUE: &str = "client-certificate-crl-overdue";
const MALFORMED: &str = "client-certificate-malformed";

/// What a verifier is made of.
struct Demand {
    ca: String,
    crl: Option<String>,
    overdue: CrlOverdue,
    names: Vec<&'static str>,
    purpose: ClientPurpose,
    eku: Vec<Vec<u8>>,
}

impl Demand {
    fn of(ca: impl Into<String>) -> Self {
        let overdue = CrlOverdue::Accept;
        Self {
            ca: ca.into(),
            crl: None,
            overdue,
            names: vec![CTI],
            purpose: ClientPurpose::ClientAuth,
            eku: Vec::new(),
        }
    }

    fn crl(self, crl: impl Into<String>) -> Self {
        Self { crl: Some(crl.into()), ..self }
    }

    fn named(self, names: &[&'static str]) -> Self {
        Self { names: names.to_vec(), ..self }
    }

    fn verifier(&self) -> Result<Arc<ClientVerifier>, SetupError> {
        let folder = tempfile::tempdir().unwrap();
        fixture::write(folder.path(), "ca.pem", &self.ca);
        let crl = self.crl.as_ref().map(|crl| {
            fixture::write(folder.path(), "crl.pem", crl);
            "crl = \"crl.pem\"\n"
        });
        let text = format!("[trust.webex]\nca = \"ca.pem\"\n{}", crl.unwrap_or_default());
        let config: Config = parse(Source { path: folder.path().join("xspgate.toml"), text }).partial;
        let (material, problems) = certs::load(&config);
        let material = material.unwrap_or_else(|| panic!("{problems:?}"));
        let clients = Clients {
            trust: Arc::new(Trust { crl_overdue: self.overdue, ..(*config.trusts["webex"]).clone() }),
            names: self.names.iter().map(|name| (*name).to_owned()).collect(),
            purpose: self.purpose,
            untrusted: Untrusted::Kept,
            eku: self.eku.iter().map(|der| Oid { dotted: String::new(), der: der.clone() }).collect(),
        };
        let policy = &parse(Source { path: "x.toml".into(), text: EXAMPLE.into() }).partial.https[0].tls;
        ClientVerifier::new(&material.authorities["webex"], &clients, policy)
    }

    /// What becomes of a client that shows these PEM blocks, its own certificate first.
    fn verdict(&self, shown: &[&str]) -> &'static str {
        verdict(&self.verifier().unwrap(), shown, NOW)
    }
}

const EXAMPLE: &str = include_str!("../../config/tests/example.toml");

fn verdict(verifier: &ClientVerifier, shown: &[&str], now: u64) -> &'static str {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(shown.concat().as_bytes()).map(Result::unwrap).collect();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
    match verifier.verify_client_cert(&chain[0], &chain[1..], now) {
        Ok(_) => GOOD,
        Err(error) => refusal(&io::Error::new(io::ErrorKind::InvalidData, error)),
    }
}

fn client(issuer: &Authority) -> Leaf {
    issuer.leaf_with(CTI, &[], |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth])
}

/// A client's certificate that is like [`client`]'s but for one thing.
fn client_with(issuer: &Authority, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
    issuer.leaf_with(CTI, &[], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(params);
    })
}

/// A root, its issuing CA, and the two as they are downloaded.
fn webex() -> (Authority, Authority, String) {
    let root = Authority::root("Webex Root");
    let issuing = root.intermediate("Webex Issuing");
    let bundle = format!("Issuing CA\r\n{}\r\nRoot CA: self-signed\r\n{}\r\n", issuing.pem, root.pem);
    (root, issuing, bundle)
}

#[test]
fn r_cti_1_whoever_signed_it_leads_to_a_ca_of_the_bundle() {
    let (root, issuing, bundle) = webex();
    let demand = Demand::of(&bundle);
    let good = client(&issuing);
    let stranger = Authority::root("Stranger");
    let namesake = Authority::root("Webex Root");
    let namesake_issuing = namesake.intermediate("Webex Issuing");
    let own = fixture::self_signed(CTI, &[]);
    let own_authority = Authority::root_with(CTI, |_| {});
    let no_authority = root.intermediate_with("Webex Issuing 2", |params| params.is_ca = IsCa::NoCa);
    let below_no_authority = client(&no_authority);
    let table: [(&str, &[&str], &str); 12] = [
        ("its leaf alone", &[&good.pem], GOOD),
        ("with the issuing CA", &[&good.pem, &issuing.pem], GOOD),
        ("with the root, and in disorder", &[&good.pem, &root.pem, &issuing.pem], GOOD),
        ("with what has nothing to do with it", &[&good.pem, &stranger.pem, &issuing.pem, &own.pem], GOOD),
        ("by the root itself", &[&client(&root).pem], GOOD),
        ("self-signed", &[&own.pem], ISSUER),
        ("self-signed, with our CAs", &[&own.pem, &issuing.pem, &root.pem], ISSUER),
        ("self-signed, as a CA", &[&own_authority.pem], ISSUER),
        ("by another CA", &[&client(&stranger).pem, &stranger.pem], ISSUER),
        ("by a CA of the same name", &[&client(&namesake).pem, &namesake.pem], ISSUER),
        ("through CAs of the same names", &[&client(&namesake_issuing).pem, &namesake_issuing.pem], ISSUER),
        ("by one that is no CA", &[&below_no_authority.pem, &no_authority.pem], ISSUER),
    ];
    for (what, shown, expected) in table {
        assert_eq!(demand.verdict(shown), expected, "{what}");
    }
    assert_eq!(demand.verdict(&[&issuing.pem]), PURPOSE, "a CA's own certificate");
}

#[test]
fn r_cti_1_what_is_no_ca_is_none_in_the_bundle_either() {
    let (root, _, bundle) = webex();
    let leaf = root.intermediate_with(CTI, |params| params.is_ca = IsCa::NoCa);
    let below = client(&leaf);
    let demand = Demand::of(format!("{bundle}{}", leaf.pem));
    assert_eq!(demand.verdict(&[&below.pem]), ISSUER);
    assert_eq!(demand.verdict(&[&below.pem, &leaf.pem]), ISSUER);
    let own = Authority::root_with("Self", |params| params.is_ca = IsCa::NoCa);
    assert_eq!(Demand::of(format!("{bundle}{}", own.pem)).verdict(&[&client(&own).pem]), ISSUER);
    assert!(matches!(Demand::of(own.pem).verifier(), Err(SetupError::NoAuthority)));
}

#[test]
fn r_cti_1_a_ca_without_its_root_is_believed_and_one_with_it_only_through_it() {
    let (root, issuing, _) = webex();
    let good = client(&issuing);
    assert_eq!(Demand::of(&issuing.pem).verdict(&[&good.pem]), GOOD, "its root is nowhere");
    assert_eq!(Demand::of(&root.pem).verdict(&[&good.pem, &issuing.pem]), GOOD, "the client sends it");
    assert_eq!(Demand::of(&root.pem).verdict(&[&good.pem]), ISSUER, "nobody has it");
    // A root of the same name that has not signed it is not its root.
    let namesake = Authority::root("Webex Root");
    assert_eq!(Demand::of(format!("{}{}", namesake.pem, issuing.pem)).verdict(&[&good.pem]), GOOD);
    // Below a CA without its root, it is an intermediate like any other.
    let lower = issuing.intermediate("Lower");
    let both = Demand::of(format!("{}{}", lower.pem, issuing.pem)).verifier().unwrap();
    assert_eq!((both.anchors.all().len(), both.intermediates.len()), (1, 1));
    assert_eq!(verdict(&both, &[&client(&lower).pem], NOW), GOOD);
    // CAs that have signed one another lead nowhere else.
    let (a, b) = (Authority::root("A"), Authority::root("B"));
    let circle = format!("{}{}", a.vouches_for("B", &b), b.vouches_for("A", &a));
    assert_eq!(Demand::of(&circle).verdict(&[&client(&a).pem]), GOOD);
    let crossed = format!("{}{}", a.pem, a.vouches_for("B", &b));
    let crossed = Demand::of(crossed).verifier().unwrap();
    assert_eq!((crossed.anchors.all().len(), crossed.intermediates.len()), (1, 1));
    assert_eq!(verdict(&crossed, &[&client(&b).pem], NOW), GOOD);
}

#[test]
fn r_cti_1_up_to_two_intermediates() {
    let root = Authority::root("Root");
    let first = root.intermediate("First");
    let second = first.intermediate("Second");
    let third = second.intermediate("Third");
    let (two, three) = (client(&second), client(&third));
    let whole = format!("{}{}{}{}", third.pem, first.pem, root.pem, second.pem);
    let table: [(&str, &str, &[&str], &str); 8] = [
        ("two from the client", &root.pem, &[&two.pem, &second.pem, &first.pem], GOOD),
        ("two in the bundle", &whole, &[&two.pem], GOOD),
        ("one here, one there", &format!("{}{}", root.pem, first.pem), &[&two.pem, &second.pem], GOOD),
        ("three from the client", &root.pem, &[&three.pem, &third.pem, &second.pem, &first.pem], DEPTH),
        ("three in the bundle", &whole, &[&three.pem], DEPTH),
        ("three, here and there", &format!("{}{}", root.pem, first.pem), &[&three.pem, &third.pem, &second.pem], DEPTH),
        ("two below a CA whose root is missing", &first.pem, &[&three.pem, &third.pem, &second.pem], GOOD),
        ("two, and one is missing", &root.pem, &[&two.pem, &second.pem], ISSUER),
    ];
    for (what, bundle, shown, expected) in table {
        assert_eq!(Demand::of(bundle).verdict(shown), expected, "{what}");
    }
}

#[test]
fn a_client_that_sends_a_heap_of_certificates_costs_little() {
    let (root, issuing, _) = webex();
    // All of one name, so that every order of them could be a chain.
    let heap: Vec<Authority> = (0..16).map(|_| Authority::root("Heap")).collect();
    let shown: Vec<String> = heap.iter().map(|authority| heap[0].vouches_for("Heap", authority)).collect();
    let leaf = client(&heap[0]);
    let mut chain: Vec<&str> = vec![&leaf.pem];
    chain.extend(shown.iter().map(String::as_str));
    let verifier = Demand::of(&root.pem).verifier().unwrap();
    for length in [6, 10, 17] {
        assert_eq!(verdict(&verifier, &chain[..length], NOW), DEPTH, "{length}");
    }
    assert_eq!(verdict(&verifier, &chain[..5], NOW), ISSUER);
    // The same heap behind an honest chain is left aside.
    let good = client(&issuing);
    let mut honest: Vec<&str> = vec![&good.pem, &issuing.pem];
    honest.extend(&chain[1..15]);
    assert_eq!(verdict(&verifier, &honest, NOW), GOOD);
}

#[test]
fn r_cti_2_the_name_is_the_cn_or_a_dns_name() {
    let (_, issuing, bundle) = webex();
    let demand = Demand::of(&bundle);
    let second_name = DnType::CustomDnType(vec![2, 5, 4, 3]);
    let named = |common_name: &str, names: &[&str]| issuing.leaf(common_name, names).pem;
    let table: Vec<(&str, String, &str)> = vec![
        ("CN", named(CTI, &[]), GOOD),
        ("CN in capitals", named("BwCtiClient.WEBEX.com", &[]), GOOD),
        ("CN, beside a SAN", named(CTI, &["other.example.com"]), GOOD),
        ("SAN", named("x", &["a.example.com", CTI]), GOOD),
        ("SAN in capitals", named("x", &["BWCTICLIENT.webex.com"]), GOOD),
        ("wrong CN", named("other.webex.com", &[]), NAME),
        ("CN that only begins so", named("bwcticlient.webex.com.evil.example", &[]), NAME),
        ("CN that only ends so", named("x.bwcticlient.webex.com", &[]), NAME),
        ("CN with a space", named(" bwcticlient.webex.com", &[]), NAME),
        ("CN with NUL", named("bwcticlient.webex.com\0.evil.example", &[]), NAME),
        ("CN with NUL at its end", named("bwcticlient.webex.com\0", &[]), NAME),
        ("wildcard CN", named("*.webex.com", &[]), NAME),
        ("wildcard SAN", named("x", &["*.webex.com"]), NAME),
        ("empty CN", named("", &[]), NAME),
        ("two CNs", client_with(&issuing, |params| params.distinguished_name.push(second_name.clone(), "x")).pem, NAME),
        (
            "two CNs, and a SAN",
            issuing.leaf_with("x", &[CTI], |params| params.distinguished_name.push(second_name.clone(), CTI)).pem,
            GOOD,
        ),
        (
            "CN in another alphabet",
            client_with(&issuing, |params| {
                let name = rcgen::string::BmpString::try_from(CTI).unwrap();
                params.distinguished_name.push(DnType::CommonName, rcgen::DnValue::BmpString(name));
            })
            .pem,
            NAME,
        ),
        (
            "O instead of CN",
            issuing.leaf_with("x", &[], |params| params.distinguished_name.push(DnType::OrganizationName, CTI)).pem,
            NAME,
        ),
        (
            "e-mail and URI of that text",
            issuing
                .leaf_with("x", &[], |params| {
                    params.subject_alt_names =
                        vec![SanType::Rfc822Name(CTI.try_into().unwrap()), SanType::URI(CTI.try_into().unwrap())];
                })
                .pem,
            NAME,
        ),
    ];
    for (what, leaf, expected) in &table {
        assert_eq!(demand.verdict(&[leaf]), *expected, "{what}");
    }
    let anybody = Demand::of(&bundle).named(&[]);
    assert_eq!(anybody.verdict(&[&named("whoever", &[])]), GOOD);
    let several = Demand::of(&bundle).named(&["a.example.com", "b.example.com"]);
    assert_eq!(several.verdict(&[&named("b.example.com", &[])]), GOOD);
    assert_eq!(several.verdict(&[&named(CTI, &[])]), NAME);
}

#[test]
fn r_cti_2_an_address_is_no_name() {
    let (_, issuing, bundle) = webex();
    let demand = Demand::of(&bundle).named(&["192.0.2.1"]);
    let address = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    let leaf = issuing.leaf_with("x", &[], |params| params.subject_alt_names = vec![SanType::IpAddress(address)]);
    assert_eq!(demand.verdict(&[&leaf.pem]), NAME);
}

#[test]
fn a_client_s_certificate_is_valid_now() {
    let (root, issuing, bundle) = webex();
    let valid = |from: i32, to: i32| {
        move |params: &mut CertificateParams| {
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(to, 1, 1);
        }
    };
    let demand = Demand::of(&bundle);
    for (from, to, expected) in [(2025, 2030, GOOD), (2025, 2026, EXPIRED), (2028, 2030, NOT_YET)] {
        assert_eq!(demand.verdict(&[&client_with(&issuing, valid(from, to)).pem]), expected, "leaf");
        let other = root.intermediate_with("Other Issuing", valid(from, to));
        assert_eq!(demand.verdict(&[&client(&other).pem, &other.pem]), expected, "intermediate, from the client");
        let demand = Demand::of(format!("{}{}", other.pem, root.pem));
        assert_eq!(demand.verdict(&[&client(&other).pem]), expected, "intermediate, in the bundle");
        let anchor = Authority::root_with("Old Root", valid(from, to));
        // Another CA stands beside it, or the file would not be taken.
        let demand = Demand::of(format!("{}{bundle}", anchor.pem));
        assert_eq!(demand.verdict(&[&client(&anchor).pem]), expected, "root");
        let below = anchor.intermediate("Below");
        let demand = Demand::of(format!("{}{}{bundle}", below.pem, anchor.pem));
        assert_eq!(demand.verdict(&[&client(&below).pem]), expected, "root, through an intermediate of the bundle");
    }
}

#[test]
fn a_ca_that_expires_while_the_gateway_runs_is_believed_no_longer() {
    let end = 1_893_456_000;
    let root = Authority::root_with("Root", |params| params.not_after = date_time_ymd(2030, 1, 1));
    let renewed = Authority::root("Root");
    let issuing = root.intermediate("Issuing");
    let good = client(&issuing);
    let verifier = Demand::of(format!("{}{}{}", renewed.pem, issuing.pem, root.pem)).verifier().unwrap();
    assert_eq!(verdict(&verifier, &[&good.pem], end), GOOD);
    assert_eq!(verdict(&verifier, &[&good.pem], end + 1), EXPIRED);
    // The same CA with a later certificate goes on.
    let longer = renewed.vouches_for("Root", &root);
    let verifier = Demand::of(format!("{}{}{}{longer}", renewed.pem, issuing.pem, root.pem)).verifier().unwrap();
    assert_eq!(verdict(&verifier, &[&good.pem], end + 1), GOOD);
}

#[test]
fn the_purpose_is_client_authentication_or_whatever_is_waived() {
    let (root, issuing, bundle) = webex();
    let broadworks = vec![0x2b, 6, 1, 4, 1, 0xb2, 0x1f, 1, 1, 8, 2, 1, 3];
    let other = ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 4, 1, 6431, 1, 1, 8, 2, 1, 3]);
    let (client_auth, server_auth) = (ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth);
    let server = vec![0x2b, 6, 1, 5, 5, 7, 3, 1];
    // What the certificate names; whether it comes in: as it is by default, with any purpose, with BroadWorks' demanded, with
    // any purpose and both BroadWorks' and servers' demanded.
    let table: [(Vec<ExtendedKeyUsagePurpose>, [bool; 4]); 7] = [
        (vec![], [true, true, false, false]),
        (vec![client_auth.clone()], [true, true, false, false]),
        (vec![server_auth.clone()], [false, true, false, false]),
        (vec![server_auth.clone(), client_auth.clone()], [true, true, false, false]),
        (vec![ExtendedKeyUsagePurpose::Any], [false, true, false, false]),
        (vec![other.clone()], [false, true, false, false]),
        (vec![other, client_auth, server_auth.clone()], [true, true, true, true]),
    ];
    for (usages, expected) in table {
        let leaf = client_with(&issuing, |params| params.extended_key_usages = usages.clone()).pem;
        let any = || Demand { purpose: ClientPurpose::Any, ..Demand::of(&bundle) };
        let demands = [
            Demand::of(&bundle),
            any(),
            Demand { eku: vec![broadworks.clone()], ..Demand::of(&bundle) },
            Demand { eku: vec![broadworks.clone(), server.clone()], ..any() },
        ];
        let verdicts = demands.map(|demand| demand.verdict(&[&leaf]));
        assert_eq!(verdicts, expected.map(|fits| if fits { GOOD } else { PURPOSE }), "{usages:?}");
    }
    // A CA for servers can't sign clients, and one for anything can.
    for (usage, expected) in [(server_auth, PURPOSE), (ExtendedKeyUsagePurpose::Any, GOOD)] {
        let limited = root.intermediate_with("Limited", |params| params.extended_key_usages = vec![usage.clone()]);
        assert_eq!(Demand::of(&bundle).verdict(&[&client(&limited).pem, &limited.pem]), expected, "{usage:?}");
        let any = Demand { purpose: ClientPurpose::Any, ..Demand::of(&bundle) };
        assert_eq!(any.verdict(&[&client(&limited).pem, &limited.pem]), GOOD);
    }
}

#[test]
fn what_is_revoked_does_not_come_in() {
    let root = Authority::root("Root");
    let issuing = root.intermediate_with("Issuing", |params| params.serial_number = Some(5.into()));
    let bundle = format!("{}{}", root.pem, issuing.pem);
    let leaf = client_with(&issuing, |params| params.serial_number = Some(7.into())).pem;
    let table: [(&str, &[String], &str); 9] = [
        ("nothing is", &[issuing.revokes(&[]), root.revokes(&[])], GOOD),
        ("others are", &[issuing.revokes(&[6, 8]), root.revokes(&[7])], GOOD),
        ("the client is", &[issuing.revokes(&[6, 7]), root.revokes(&[])], REVOKED),
        ("its issuer is", &[issuing.revokes(&[]), root.revokes(&[5])], REVOKED),
        ("a list of the issuing CA is enough", &[issuing.revokes(&[])], GOOD),
        ("one of the root is not", &[root.revokes(&[])], UNKNOWN),
        ("one of another CA is not", &[Authority::root("Other").revokes(&[])], UNKNOWN),
        ("one that another CA of that name has signed is not", &[Authority::root("Issuing").revokes(&[])], UNKNOWN),
        (
            "an expired one holds all the same",
            &[issuing.revokes_with(&[7], |params| params.next_update = date_time_ymd(2026, 2, 1))],
            REVOKED,
        ),
    ];
    for (what, lists, expected) in table {
        assert_eq!(Demand::of(&bundle).crl(lists.concat()).verdict(&[&leaf]), expected, "{what}");
    }
    // Of several lists of a CA, the newest counts.
    let newer = issuing.revokes_with(&[7], |params| params.this_update = date_time_ymd(2026, 6, 1));
    for lists in [[issuing.revokes(&[]), newer.clone()], [newer, issuing.revokes(&[])]] {
        assert_eq!(Demand::of(&bundle).crl(lists.concat()).verdict(&[&leaf]), REVOKED);
    }
    // A list of a CA that is not in the bundle is used when a client sends the CA.
    let outside = Demand::of(&root.pem).crl(issuing.revokes(&[7]));
    assert_eq!(outside.verdict(&[&leaf, &issuing.pem]), REVOKED);
    let spared = client(&issuing);
    assert_eq!(outside.verdict(&[&spared.pem, &issuing.pem]), GOOD);
    // Without it, nothing is known of that CA's clients; and its signature counts.
    for list in [root.revokes(&[]), Authority::root("Issuing").revokes(&[])] {
        assert_eq!(Demand::of(&root.pem).crl(list).verdict(&[&spared.pem, &issuing.pem]), UNKNOWN);
    }
}

#[test]
fn crl_overdue_says_what_a_list_past_its_next_update_is_worth() {
    let root = Authority::root("Root");
    let issuing = root.intermediate_with("Issuing", |params| params.serial_number = Some(5.into()));
    let bundle = format!("{}{}", root.pem, issuing.pem);
    let leaf = |serial: u64| client_with(&issuing, |params| params.serial_number = Some(serial.into())).pem;
    let (good, revoked) = (leaf(8), leaf(7));
    let until = |year: i32| {
        move |params: &mut rcgen::CertificateRevocationListParams| {
            params.next_update = date_time_ymd(year, 1, 1);
        }
    };
    let demand = |lists: &[String], overdue| Demand { overdue, ..Demand::of(&bundle).crl(lists.concat()) };
    let lists = [issuing.revokes_with(&[7], until(2029)), root.revokes_with(&[], until(2031))];
    let (issuing_due, root_due) = (1_861_920_000, 1_924_992_000);
    let accepting = demand(&lists, CrlOverdue::Accept).verifier().unwrap();
    let refusing = demand(&lists, CrlOverdue::Refuse).verifier().unwrap();
    for (now, shown, accepted, refused) in [
        (issuing_due - 1, &good, GOOD, GOOD),
        (issuing_due - 1, &revoked, REVOKED, REVOKED),
        (issuing_due + 1, &good, GOOD, OVERDUE),
        (issuing_due + 1, &revoked, REVOKED, OVERDUE),
        (root_due + 1, &good, GOOD, OVERDUE),
    ] {
        assert_eq!(verdict(&accepting, &[shown], now), accepted, "{now}");
        assert_eq!(verdict(&refusing, &[shown], now), refused, "{now}");
    }
    // Of the root, no list need be there; one that is there and overdue vouches for nobody.
    let lists = [issuing.revokes_with(&[], until(2031)), root.revokes_with(&[], until(2029))];
    let refusing = demand(&lists, CrlOverdue::Refuse).verifier().unwrap();
    assert_eq!(verdict(&refusing, &[&good], issuing_due - 1), GOOD);
    assert_eq!(verdict(&refusing, &[&good], issuing_due + 1), OVERDUE);
}

#[test]
fn r_cti_1_old_and_new_cas_of_one_name_have_lists_of_their_own() {
    let (old_root, new_root) = (Authority::root("Root"), Authority::root("Root"));
    let issuers = [old_root.intermediate("Issuing"), new_root.intermediate("Issuing")];
    let bundle = format!("{}{}{}{}", old_root.pem, new_root.pem, issuers[0].pem, issuers[1].pem);
    let lists = [old_root.revokes(&[]), new_root.revokes(&[]), issuers[0].revokes(&[7]), issuers[1].revokes(&[8])];
    let verifier = Demand::of(&bundle).crl(lists.concat()).verifier().unwrap();
    let leaf =
        |issuer: &Authority, serial: u64| client_with(issuer, |params| params.serial_number = Some(serial.into())).pem;
    for (issuer, serial, expected) in
        [(0, 7, REVOKED), (0, 8, GOOD), (0, 9, GOOD), (1, 7, GOOD), (1, 8, REVOKED), (1, 9, GOOD)]
    {
        assert_eq!(verdict(&verifier, &[&leaf(&issuers[issuer], serial)], NOW), expected, "{issuer} {serial}");
    }
    assert_eq!(verdict(&verifier, &[&leaf(&Authority::root("Issuing"), 9)], NOW), ISSUER);
}

#[test]
fn what_can_not_be_read_is_refused() {
    let (_, issuing, bundle) = webex();
    let verifier = Demand::of(&bundle).verifier().unwrap();
    let good = CertificateDer::from_pem_slice(client(&issuing).pem.as_bytes()).unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW));
    for length in [0, 1, 50, good.len() - 1] {
        let cut = CertificateDer::from(good[..length].to_vec());
        let error = verifier.verify_client_cert(&cut, &[], now).unwrap_err();
        assert_eq!(refusal(&io::Error::new(io::ErrorKind::InvalidData, error)), MALFORMED, "{length}");
    }
    let longer = CertificateDer::from([&good[..], b"x"].concat());
    assert!(verifier.verify_client_cert(&longer, &[], now).is_err());
    // One that can't be read beside the client's own is left aside.
    assert!(verifier.verify_client_cert(&good, &[CertificateDer::from(b"x".to_vec())], now).is_ok());
}

#[test]
fn clients_are_told_whose_certificates_are_believed() {
    let (root, issuing, bundle) = webex();
    let verifier = Demand::of(&bundle).verifier().unwrap();
    let subject = |pem: &str| {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        peer::facts(&der).unwrap().subject
    };
    let mut expected = [subject(&root.pem), subject(&issuing.pem)];
    expected.sort();
    let hints: Vec<&[u8]> = verifier.root_hint_subjects().iter().map(AsRef::as_ref).collect();
    assert_eq!(hints, expected);
    // Those of a CA that has expired are not wanted, whenever the file was read.
    let end = 1_893_456_000;
    let old = Authority::root_with("Old Root", |params| params.not_after = date_time_ymd(2030, 1, 1));
    let verifier = Demand::of(format!("{}{bundle}", old.pem)).verifier().unwrap();
    assert_eq!([end, end + 1].map(|now| verifier.hints(now).len()), [3, 2]);
    assert!(verifier.hints(end + 1).iter().all(|hint| hint.as_ref() != subject(&old.pem)));
    let renewed = old.vouches_for("Old Root", &old);
    let verifier = Demand::of(format!("{}{renewed}", old.pem)).verifier().unwrap();
    assert_eq!(verifier.hints(end + 1).len(), 1, "a successor of that name is there");
}

/// A bundle of old and new chains, with a CA whose root is missing, an expired one and one that is none; and the clients
/// that come with what is expected of them.
struct Scene {
    blocks: Vec<String>,
    clients: Vec<(String, &'static str)>,
}

static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let (old, new) = (Authority::root("Root"), Authority::root("Root"));
    let (old_issuing, new_issuing) = (old.intermediate("Issuing"), new.intermediate("Issuing"));
    let orphan = Authority::root("Missing").intermediate("Orphan");
    let lower = orphan.intermediate("Lower");
    let expired = Authority::root_with("Expired", |params| params.not_after = date_time_ymd(2020, 1, 1));
    let below_expired = expired.intermediate("Below Expired");
    let deep = new_issuing.intermediate("Deep").intermediate("Deeper");
    let no_authority = new.intermediate_with("None", |params| params.is_ca = IsCa::NoCa);
    let stranger = Authority::root("Stranger");
    let issuers = [&old, &old_issuing, &new, &new_issuing, &orphan, &lower, &expired, &below_expired, &no_authority];
    let expected = [GOOD, GOOD, GOOD, GOOD, GOOD, GOOD, EXPIRED, EXPIRED, ISSUER];
    let mut clients: Vec<_> =
        issuers.iter().zip(expected).map(|(issuer, expected)| (client(issuer).pem, expected)).collect();
    clients.extend([(client(&deep).pem, ISSUER), (client(&stranger).pem, ISSUER)]);
    Scene { blocks: issuers.iter().map(|issuer| issuer.pem.clone()).collect(), clients }
});

proptest! {
    #[test]
    fn damage_lets_nobody_in(at in any::<prop::sample::Index>(), byte in any::<u8>(), length in 0..3_usize) {
        static GOOD_CLIENT: LazyLock<(Arc<ClientVerifier>, CertificateDer<'static>)> = LazyLock::new(|| {
            let (_, issuing, bundle) = webex();
            let leaf = client_with(&issuing, |params| {
                params.subject_alt_names = vec![SanType::DnsName("a.example.com".try_into().unwrap())];
            });
            let der = CertificateDer::from_pem_slice(leaf.pem.as_bytes()).unwrap();
            (Demand::of(&bundle).verifier().unwrap(), der)
        });
        let (verifier, good) = &*GOOD_CLIENT;
        let mut damaged = good.to_vec();
        let at = at.index(damaged.len());
        damaged.splice(at..at + 1, std::iter::repeat_n(byte, length));
        let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW));
        let shown = CertificateDer::from(damaged);
        let verdict = verifier.verify_client_cert(&shown, &[], now);
        prop_assert_eq!(verdict.is_ok(), shown == *good);
        // Nor does it bring down what reads it, no matter who has signed it.
        drop((peer::credentials(&shown), peer::facts(&shown)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn r_cti_1_the_order_of_a_bundle_does_not_matter(
        blocks in Just(SCENE.blocks.clone()).prop_shuffle(),
        again in 0..SCENE.blocks.len(),
        junk in prop::sample::select(vec!["", "\n", "Issuing CA:\n", "# \u{fc}\r\n\r\n", "\u{feff}"]),
        breaks in prop::sample::select(vec!["\n", "\r\n"]),
    ) {
        let mut text: String = blocks.iter().map(|block| format!("{junk}{}", block.trim_end_matches('\n'))).collect();
        text.push_str(&blocks[again]);
        let verifier = Demand::of(text.replace("\r\n", "\n").replace('\n', breaks)).verifier().unwrap();
        for (shown, expected) in &SCENE.clients {
            prop_assert_eq!(verdict(&verifier, &[shown], NOW), *expected);
        }
    }
}
