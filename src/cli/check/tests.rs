use std::fs;

use proptest::prelude::*;

use super::*;
use crate::config::error::Source;
use crate::tls::certs::fixture;

const EXAMPLE: &str = include_str!("../../config/tests/example.toml");

#[test]
fn the_example_checks_clean_as_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    fixture::example(folder.path());
    let path = fixture::write(folder.path(), "xspgate.toml", EXAMPLE);
    let (loaded, material) = load(&path).unwrap();
    let report = Report::new(loaded.source, loaded.warnings);
    assert_eq!(report.to_string(), "");
    assert_eq!(material.identities.keys().collect::<Vec<_>>(), ["cti-client", "public"]);
    assert_eq!(material.authorities["webex"].roots.len(), 2);
    assert_eq!(material.affinity_keys, [*b"0123456789abcdef0123456789abcdef"]);
    assert_eq!(
        summary::of(&loaded.config, &material, 0).replace(&material.webex_ranges.as_ref().unwrap().day(), "DAY"),
        "\
https 0.0.0.0:443
  hosts         webex-cloud-xsp.example.com, webex-app-xsp.example.com
  certificate   \"public\"
  xsi-actions   /com.broadsoft.xsi-actions/ -> farm xsp
  xsi-events    /com.broadsoft.xsi-events/ /com.broadsoft.async/ -> farm xsp
  auth-service  /authService -> farm xsp, from 3 ranges
  dms           /dms/ -> farm xsp
  call-settings /callsettings/ -> farm xsp
cti 0.0.0.0:8012 -> farm cti
  clients       bwcticlient.webex.com, signed by \"webex\", from 2 ranges
farm cti
  verified      xsp.example.com by \"internal\", shows \"cti-client\"
  default       SRV _cti._tcp.internal.example.com, else A internal.example.com, port 8012
  failover      3 tries of 500ms to connect and 500ms to shake hands, 2s in all, blocked for 1m
farm xsp
  verified      xsp.example.com by \"internal\"
  site-a        A xsp-a.internal.example.com, port 443
  site-b        A xsp-b.internal.example.com, port 443
  failover      3 tries of 2s, the next after 600ms, blocked for 1m, 5xx confirmed by a look, silence confirmed by a look
affinity cookie XSPGATE, key 3a302432
webex 2 ranges of DAY
admin 127.0.0.1:9901
ok
"
    );
}

#[test]
fn the_example_with_its_commented_lines_checks_clean_too() {
    let folder = tempfile::tempdir().unwrap();
    fixture::example(folder.path());
    let all = EXAMPLE
        .replace("\n# [", "\n[")
        .replace("\n# servers", "\nservers")
        .replace("\n# client_trust", "\nclient_trust");
    let all = all.replace("\n# listen", "\nlisten").replace("\n# hosts", "\nhosts").replace("\n# farm", "\nfarm");
    let path = fixture::write(folder.path(), "xspgate.toml", &all);
    let (loaded, _) = load(&path).map_err(|report| report.to_string()).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.passthrough.len(), 1);
    assert_eq!(loaded.config.dns.servers.len(), 1);
    assert!(loaded.config.https[0].interfaces[2].clients.is_some());
}

#[test]
fn the_summary_shows_which_block_serves_clients_without_a_name() {
    let folder = tempfile::tempdir().unwrap();
    fixture::example(folder.path());
    let hosts = "hosts = [\"webex-cloud-xsp.example.com\", \"webex-app-xsp.example.com\"]";
    let text = EXAMPLE.replace(hosts, &format!("{hosts}\ndefault = true"));
    let (loaded, material) = load(&fixture::write(folder.path(), "xspgate.toml", &text)).unwrap();
    let summary = summary::of(&loaded.config, &material, 0);
    let line = "  hosts         webex-cloud-xsp.example.com, webex-app-xsp.example.com (default)\n";
    assert!(summary.contains(line), "{summary}");
}

#[test]
fn problems_of_the_file_and_of_certificates_are_reported_together() {
    let folder = tempfile::tempdir().unwrap();
    fixture::example(folder.path());
    fs::remove_file(folder.path().join("certs/internal-ca.pem")).unwrap();
    let path = fixture::write(folder.path(), "xspgate.toml", &EXAMPLE.replace("\"2s\"", "\"2\""));
    let report = load(&path).unwrap_err();
    assert_eq!(report.errors(), 2, "{report}");
}

#[test]
fn the_complete_file_checks_clean_with_its_certificates() {
    let folder = tempfile::tempdir().unwrap();
    fixture::example(folder.path());
    let path = fixture::write(folder.path(), "xspgate.toml", config::COMPLETE);
    let (loaded, _) = load(&path).map_err(|report| report.to_string()).unwrap();
    assert_eq!(Report::new(loaded.source, loaded.warnings).to_string(), "");
}

/// One thing that slips happen to be.
#[derive(Clone, Debug)]
enum Slip {
    Delete { at: usize, length: usize },
    Insert { at: usize, text: String },
    Swap { line: usize, with: usize },
}

fn slip() -> impl Strategy<Value = Slip> {
    let fragment = prop_oneof![
        "[ -~]{0,6}",
        "\\PC{0,3}",
        proptest::sample::select(vec![
            "\"", "'", "'''", "\"\"\"", "[", "]", "[[", "]]", "{", "}", "=", ".", "#", "\n", "\r\n", "\t", "\0"
        ])
        .prop_map(str::to_owned),
        proptest::sample::select(vec![
            "\"-1s\"",
            "1e400",
            "0x",
            "99999999999999999999",
            "nan",
            "1979-05-27",
            "[[[]]]",
            "{a={}}"
        ])
        .prop_map(str::to_owned),
    ];
    prop_oneof![
        (any::<usize>(), 1usize..40).prop_map(|(at, length)| Slip::Delete { at, length }),
        (any::<usize>(), fragment).prop_map(|(at, text)| Slip::Insert { at, text }),
        (any::<usize>(), any::<usize>()).prop_map(|(line, with)| Slip::Swap { line, with }),
    ]
}

fn slipped(text: &str, slip: &Slip) -> String {
    let floor = |at: usize| text.floor_char_boundary(at % (text.len() + 1));
    match slip {
        Slip::Delete { at, length } => {
            let start = floor(*at);
            let end = text.floor_char_boundary(start + length);
            format!("{}{}", &text[..start], &text[end.max(start)..])
        }
        Slip::Insert { at, text: inserted } => {
            let at = floor(*at);
            format!("{}{inserted}{}", &text[..at], &text[at..])
        }
        Slip::Swap { line, with } => {
            let mut lines: Vec<&str> = text.split('\n').collect();
            let count = lines.len();
            lines.swap(line % count, with % count);
            lines.join("\n")
        }
    }
}

proptest! {
    #[test]
    fn any_slips_end_in_a_problem_or_a_valid_configuration(slips in proptest::collection::vec(slip(), 1..6)) {
        let text = slips.iter().fold(EXAMPLE.to_owned(), |text, slip| slipped(&text, slip));
        let reading = config::parse(Source { path: "/x/xspgate.toml".into(), text });
        let report = Report::new(reading.source, reading.problems);
        for problem in &report.problems {
            if let Some(span) = &problem.span {
                prop_assert!(span.start <= span.end && span.end <= report.source.text.len(), "{problem:?}");
            }
        }
        let rendered = report.to_string();
        if report.is_fatal() {
            prop_assert!(rendered.contains("error: "));
        } else {
            let served = &reading.partial;
            prop_assert!(served.https.len() + served.cti.len() + served.passthrough.len() > 0);
            prop_assert!(served.farms.values().all(|farm| !farm.sites.is_empty()));
        }
    }
}
