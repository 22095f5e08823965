//! What time alone makes bad: it is served at a start and stays in use, and only files that come new to a gateway that runs
//! are refused for it.

use rcgen::{CertificateParams, date_time_ymd};

use super::*;
use crate::config::error::Severity;

/// 2027-01-15.
const NOW: i64 = 1_800_000_000;

/// Everything in the configuration's files that has a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    PublicLeaf,
    PublicIssuing,
    CtiClient,
    InternalCa,
    WebexRoot,
    WebexIssuing,
    WebexList,
    InternalList,
}

use What::{CtiClient, InternalCa, InternalList, PublicIssuing, PublicLeaf, WebexIssuing, WebexList, WebexRoot};

impl What {
    const ALL: [Self; 8] =
        [PublicLeaf, PublicIssuing, CtiClient, InternalCa, WebexRoot, WebexIssuing, WebexList, InternalList];

    const fn file(self) -> &'static str {
        match self {
            PublicLeaf | PublicIssuing => "certs/public-chain.pem",
            CtiClient => "certs/cti-client-chain.pem",
            InternalCa => "certs/internal-ca.pem",
            WebexRoot | WebexIssuing => "certs/CombinedCertChain.txt",
            WebexList => "certs/webex.crl",
            InternalList => "certs/internal.crl",
        }
    }

    /// What is said of it by name, before the dates.
    const fn told(self) -> &'static str {
        match self {
            PublicLeaf => "the certificate of CN=webex-cloud-xsp.example.com in certs/public-chain.pem",
            PublicIssuing => "the certificate of CN=Public Issuing in certs/public-chain.pem",
            CtiClient => "XSPs will turn [certificate.cti-client] away on their CTI port: it",
            InternalCa => "certificate 1 in certs/internal-ca.pem (CN=Internal Root)",
            WebexRoot => "certificate 2 in certs/CombinedCertChain.txt (CN=Webex Root)",
            WebexIssuing => "certificate 1 in certs/CombinedCertChain.txt (CN=Webex Issuing)",
            WebexList => "revocation list 1 in certs/webex.crl (CN=Webex Issuing)",
            InternalList => "revocation list 1 in certs/internal.crl (CN=Internal Root)",
        }
    }

    /// Whether a file that comes new is refused for it: the others of its file do without it, or it is a list.
    const fn refuses(self) -> bool {
        match self {
            PublicLeaf | PublicIssuing | CtiClient | InternalCa | WebexRoot => true,
            WebexIssuing | WebexList | InternalList => false,
        }
    }
}

/// From the first of January of one year to that of another.
type Years = (i32, i32);

/// The files of the example's configuration, with lists, of which each has its years.
fn site_of(years: impl Fn(What) -> Years) -> TempDir {
    let site = site();
    let during = |what: What| {
        let (from, to) = years(what);
        move |params: &mut CertificateParams| {
            (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        }
    };
    let public = Authority::root("Public Root").intermediate_with("Public Issuing", during(PublicIssuing));
    let leaf = public.leaf_with(HOSTS[0], &HOSTS, during(PublicLeaf));
    let internal = Authority::root_with("Internal Root", during(InternalCa));
    let client = internal.cti_client_with(during(CtiClient));
    let webex = Authority::root_with("Webex Root", during(WebexRoot));
    let issuing = webex.intermediate_with("Webex Issuing", during(WebexIssuing));
    let list = |authority: &Authority, what: What| {
        authority.revokes_with(&[7], |params| params.next_update = date_time_ymd(years(what).1, 1, 1))
    };
    for (name, text) in [
        ("certs/public-chain.pem", format!("{}{}", leaf.pem, public.pem)),
        ("certs/public-key.pem", leaf.key),
        ("certs/cti-client-chain.pem", client.pem),
        ("certs/cti-client-key.pem", client.key),
        ("certs/CombinedCertChain.txt", format!("{}{}", issuing.pem, webex.pem)),
        ("certs/internal-ca.pem", internal.pem.clone()),
        ("certs/webex.crl", list(&issuing, WebexList)),
        ("certs/internal.crl", list(&internal, InternalList)),
    ] {
        write(site.path(), name, &text);
    }
    site
}

/// As [`site_of`], where `lapsed` have ended on 2027-01-01.
fn lapsed(lapsed: &[What]) -> TempDir {
    site_of(|what| if lapsed.contains(&what) { (2020, 2027) } else { (2020, 2040) })
}

/// The example's configuration with lists, and with what `change` makes of it.
fn config_with(folder: &Path, change: impl FnOnce(String) -> String) -> Config {
    let text = EXAMPLE
        .replace("[trust.webex]\n", "[trust.webex]\ncrl = \"certs/webex.crl\"\n")
        .replace("[trust.internal]\n", "[trust.internal]\ncrl = \"certs/internal.crl\"\n");
    parse(Source { path: folder.join("xspgate.toml"), text: change(text) }).partial
}

fn config(folder: &Path) -> Config {
    config_with(folder, |text| text)
}

/// All that is said, line by line, with the folder's name left out.
fn lines(folder: &Path, problems: &[Problem]) -> Vec<String> {
    problems.iter().map(|problem| problem.message.replace(&format!("{}/", folder.display()), "")).collect()
}

/// Everything that requests could be served by, as text.
fn content(material: &Material) -> String {
    let identities: Vec<_> = material.identities.iter().map(|(name, key)| (name, &key.key.cert)).collect();
    format!("{identities:?} {:?} {:?}", material.authorities, material.expiries)
}

#[test]
fn what_has_expired_is_served_and_told_of_with_the_days() {
    let each = What::ALL.map(|what| vec![what]);
    for expired in each.into_iter().chain([What::ALL.to_vec()]) {
        let site = lapsed(&expired);
        let (material, problems) = load_at(&config(site.path()), NOW);
        assert!(material.is_some(), "{problems:?}");
        assert!(problems.iter().all(|problem| problem.severity != Severity::Error), "{problems:?}");
        let lines = lines(site.path(), &problems);
        for what in &expired {
            let expected = format!("{} expired 14 days ago (2027-01-01)", what.told());
            assert!(lines.contains(&expected), "{expected}: {lines:#?}");
        }
        let dates = lines.iter().filter(|line| line.contains("expired")).count();
        assert_eq!(dates, expired.len(), "{lines:#?}");
    }
}

#[test]
fn what_is_not_yet_valid_is_served_and_told_of_with_the_days() {
    for early in [PublicLeaf, PublicIssuing, CtiClient, InternalCa, WebexRoot, WebexIssuing] {
        let site = site_of(|what| if what == early { (2028, 2040) } else { (2020, 2040) });
        let (material, problems) = load_at(&config(site.path()), NOW);
        assert!(material.is_some(), "{early:?}: {problems:?}");
        let expected = format!("{} is not valid before 2028-01-01 (in 350 days)", early.told());
        assert!(lines(site.path(), &problems).contains(&expected), "{problems:#?}");
    }
}

#[test]
fn when_a_file_is_read_changes_nothing_about_what_is_served() {
    let site = site_of(|_| (2027, 2030));
    let config = config(site.path());
    let content = |now: i64| {
        let (material, problems) = load_at(&config, now);
        content(&material.unwrap_or_else(|| panic!("{now}: {problems:?}")))
    };
    let usual = content(NOW);
    // A clock that was never set, one that is a month behind and so before all of it, and ones that are ahead.
    for now in [0, NOW - 30 * DAY, NOW + 400 * DAY, NOW + 4000 * DAY, i64::from(u32::MAX)] {
        assert_eq!(content(now), usual, "{now}");
    }
}

/// What a gateway that has read the files of `site` before they lapsed says of those that are there now.
struct Renewal {
    site: TempDir,
    used: Material,
}

impl Renewal {
    fn of(site: TempDir) -> Self {
        let used = load_at(&config(site.path()), NOW - 30 * DAY).0.unwrap();
        Self { site, used }
    }

    fn errors(&self, config: &Config) -> Vec<String> {
        let (material, problems) = renew_at(config, &self.used.read, NOW);
        let errors: Vec<_> = problems.into_iter().filter(|problem| problem.severity == Severity::Error).collect();
        assert_eq!(material.is_none(), !errors.is_empty());
        lines(self.site.path(), &errors)
    }

    /// The errors of the files as they are.
    fn refused(&self) -> Vec<String> {
        self.errors(&config(self.site.path()))
    }

    fn append(&self, name: &str, text: &str) {
        let old = read(self.site.path(), name);
        write(self.site.path(), name, &format!("{old}{text}"));
    }
}

#[test]
fn what_was_in_use_when_it_expired_refuses_no_renewal() {
    let renewal = Renewal::of(lapsed(&What::ALL));
    let folder = renewal.site.path();
    let copy = |name: &str, to: &str| drop(write(folder, to, &read(folder, name)));
    assert_eq!(renewal.refused(), [""; 0]);
    // The same bytes, written again.
    What::ALL.iter().for_each(|what| copy(what.file(), what.file()));
    assert_eq!(renewal.refused(), [""; 0]);
    // Another configuration, also one whose new sections use the same files, or the same bytes in other files.
    copy("certs/public-chain.pem", "certs/other-chain.pem");
    copy("certs/CombinedCertChain.txt", "certs/other-ca.pem");
    let changed = config_with(folder, |text| {
        let other = "[certificate.other]\nchain = \"certs/other-chain.pem\"\nkey = \"certs/public-key.pem\"\n\
                     [certificate.again]\nchain = \"certs/public-chain.pem\"\nkey = \"certs/public-key.pem\"\n\
                     [trust.other]\nca = \"certs/other-ca.pem\"\n";
        format!("{}{other}", text.replace("client_trust = \"webex\"", "client_trust = \"other\""))
    });
    assert!(changed.certificates.len() == 4 && changed.cti[0].clients.trust.name == "other");
    assert_eq!(renewal.errors(&changed), [""; 0]);
    // Other files, too.
    renewal.append("certs/affinity.key", "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=\n");
    assert_eq!(renewal.refused(), [""; 0]);
    fs::write(folder.join("certs/affinity.key"), "#\n").unwrap();
    assert_eq!(renewal.refused(), ["certs/affinity.key holds no key"], "nothing else becomes lenient");
}

#[test]
fn a_file_that_comes_new_and_has_expired_is_refused() {
    for what in What::ALL {
        let renewal = Renewal::of(lapsed(&[what]));
        renewal.append(what.file(), "\n");
        let refused = renewal.refused();
        assert_eq!(refused.is_empty(), !what.refuses(), "{what:?}: {refused:?}");
        assert!(refused.iter().all(|error| error.contains(what.file()) || what == CtiClient), "{refused:?}");
        // A start takes it anyway, since nobody knows what was in use.
        assert!(load_at(&config(renewal.site.path()), NOW).0.is_some());
    }
    // Of several changed files, those that have expired are named, and nothing else is.
    let renewal = Renewal::of(lapsed(&[PublicLeaf, InternalCa]));
    renewal.append(PublicLeaf.file(), "\n");
    renewal.append(CtiClient.file(), "\n");
    assert_eq!(
        renewal.refused(),
        [format!("{} expired 14 days ago (2027-01-01), and the file is new", PublicLeaf.told())]
    );
}

#[test]
fn another_certificate_that_is_not_valid_now_is_refused_and_a_good_one_is_taken() {
    for (from, to, accepted) in [(2020, 2026, false), (2028, 2040, false), (2020, 2040, true)] {
        let renewal = Renewal::of(lapsed(&[PublicLeaf]));
        let other = site_of(|what| if what == PublicLeaf { (from, to) } else { (2020, 2040) });
        for name in ["certs/public-chain.pem", "certs/public-key.pem"] {
            write(renewal.site.path(), name, &read(other.path(), name));
        }
        assert_eq!(renewal.refused().is_empty(), accepted, "{from} to {to}");
    }
}

#[test]
fn a_new_ca_beside_one_that_has_expired_is_taken() {
    let renewal = Renewal::of(lapsed(&[InternalCa, WebexRoot]));
    let (internal, webex) = (Authority::root("New Internal Root"), Authority::root("New Webex Root"));
    renewal.append("certs/internal-ca.pem", &internal.pem);
    renewal.append("certs/CombinedCertChain.txt", &webex.pem);
    assert_eq!(renewal.refused(), [""; 0]);
    let expired = Authority::root_with("Old", |params| params.not_after = date_time_ymd(2020, 1, 1));
    let renewal = Renewal::of(lapsed(&[InternalCa]));
    renewal.append("certs/internal-ca.pem", &expired.pem);
    assert_eq!(
        renewal.refused(),
        ["certs/internal-ca.pem has no CA certificate that is valid now, and the file is new"]
    );
}

#[test]
fn a_client_certificate_that_is_let_off_is_let_off_its_dates() {
    let renewal = Renewal::of(lapsed(&[CtiClient]));
    renewal.append(CtiClient.file(), "\n");
    let lenient = config_with(renewal.site.path(), |text| {
        text.replace("cti-client-key.pem\"\n", "cti-client-key.pem\"\nstrict = false\n")
    });
    assert_eq!(renewal.errors(&lenient), [""; 0]);
    assert_eq!(renewal.refused().len(), 1);
}
