//! The configuration against the mistakes that operators make.

mod complete;
mod mistakes;
mod schema;

use super::error::{Report, Source};
use super::model::{Allow, Config};
use super::{Reading, load, parse};

const EXAMPLE: &str = include_str!("tests/example.toml");

fn reading(text: &str) -> Reading {
    parse(Source { path: "x.toml".into(), text: text.into() })
}

/// Everything that is said about a file, as it is shown.
fn said(text: &str) -> String {
    let reading = reading(text);
    Report::new(reading.source, reading.problems).to_string()
}

/// The model of a file that has no errors.
fn model(text: &str) -> Config {
    let reading = reading(text);
    let report = Report::new(reading.source, reading.problems);
    assert!(!report.is_fatal(), "{report}");
    reading.partial
}

#[test]
fn the_example_is_read_as_it_stands() {
    assert_eq!(said(EXAMPLE), "");
    let config = model(EXAMPLE);
    assert_eq!(config.https[0].interfaces.len(), 5);
    assert_eq!(config.https[0].interfaces[0].probe_path, "/com.broadsoft.xsi-actions/v2.0/versions");
    assert_eq!(config.https[0].interfaces[2].allow.resolved(None).len(), 21);
    assert_eq!(config.https[0].interfaces[0].allow, Allow::default());
    assert_eq!(config.farms["cti"].port, 8012);
    assert_eq!(config.farms["xsp"].sites.len(), 2);
    assert_eq!(config.certificates["public"].chain.to_str(), Some("certs/public-chain.pem"));
}

#[test]
fn a_key_in_place_of_a_configuration_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    std::fs::write(&path, "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n").unwrap();
    let said = load(&path).unwrap_err().to_string();
    assert!(said.contains("this is a PEM file") && !said.contains("c2VjcmV0"), "{said}");
}

#[test]
fn a_key_of_earlier_versions_keeps_no_gateway_from_starting() {
    let text = format!("drain_rate = 20\n{EXAMPLE}");
    let expected = "warning: `drain_rate` does nothing any more\n --> x.toml:1:1\n  | drain_rate = 20\n  | ^^^^^^^^^^\n\
        help: leave it out; `drain_spread` says over how long the ends of connections are spread\n";
    assert_eq!(said(&text), expected);
    assert_eq!(model(&text), model(EXAMPLE));
    assert!(said(&EXAMPLE.replace("[farm.xsp]\n", "[farm.xsp]\ndrain_rate = 20\n")).contains("unknown key"));
}

#[test]
fn line_ends_do_not_matter() {
    assert_eq!(said(&EXAMPLE.replace('\n', "\r\n")), "");
    assert_eq!(model(&EXAMPLE.replace('\n', "\r\n")), model(EXAMPLE));
    assert_eq!(model(&format!("\u{feff}{EXAMPLE}")), model(EXAMPLE));
}

#[test]
fn what_can_not_be_read_is_said_without_a_place() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain("[admin]".bytes().flat_map(|byte| [byte, 0])).collect();
    let table = [
        (folder.path().join("missing.toml"), "error: the file can't be read: No such file or directory\n --> "),
        (folder.path().to_owned(), "error: this is a folder\n --> "),
        (write("empty.toml", b""), "error: the file is empty\n --> "),
        (write("blank.toml", b" \r\n\n"), "error: the file is empty\n --> "),
        (
            write("comment.toml", b"# x\n"),
            "error: nothing is served: there is no [[https]], [[cti]] or [[passthrough]]\n",
        ),
        (write("utf16.toml", &utf16), "error: the file is UTF-16\n"),
        (write("large.toml", &vec![b'#'; 1 << 21]), "error: the file is larger than 1 MiB\n"),
        (write("latin1.toml", b"[log]\nlevel = \"\xe4\"\n"), "error: byte 0xe4 is not UTF-8\n"),
    ];
    for (path, expected) in table {
        let said = load(&path).unwrap_err().to_string();
        assert!(said.starts_with(expected), "{said}");
    }
}

#[test]
fn a_byte_that_is_not_utf_8_is_shown_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.toml");
    std::fs::write(&path, b"[log]\n\tlevel = \"in\xe4fo\" # \xff\n").unwrap();
    let said = load(&path).unwrap_err().to_string();
    let place =
        format!(" --> {}:2:13\n  | \tlevel = \"in\u{fffd}fo\" # \u{fffd}\n  | \t           ^\n", path.display());
    assert_eq!(said, format!("error: byte 0xe4 is not UTF-8\n{place}help: save the file as UTF-8\n"));
}

#[test]
fn relative_paths_start_from_the_files_folder() {
    let reading =
        parse(Source { path: "/etc/xspgate/x.toml".into(), text: EXAMPLE.replace("certs/internal", "/ca/internal") });
    assert_eq!(reading.partial.trusts["webex"].ca.to_str(), Some("/etc/xspgate/certs/CombinedCertChain.txt"));
    assert_eq!(reading.partial.trusts["internal"].ca.to_str(), Some("/ca/internal-ca.pem"));
}

#[test]
fn an_endless_or_bottomless_file_ends_in_a_problem() {
    let many: String = (0..5000).map(|number| format!("key-{number} = 1\n")).collect();
    let deep = format!("{} = 1\n", vec!["a"; 100_000].join("."));
    let nested = "a = [".repeat(10_000);
    let quotes = "\"\"\"".repeat(10_001);
    for text in [many, deep, nested, quotes] {
        assert!(reading(&text).problems.len() <= 210);
        assert!(said(&text).starts_with("error: "));
    }
}

/// Values that are right nearly nowhere.
const ODD: [&str; 12] = [
    "1",
    "99999999999999999999",
    "1.5",
    "true",
    "1979-05-27",
    "\"x\"",
    "\"\"",
    "[]",
    "[1, \"x\"]",
    "[[\"x\"]]",
    "{}",
    "{ x = { y = 1 } }",
];

/// What is of the file's shape is what serde reads, whatever the TOML crate would say of the rest: no text of its errors is
/// ever shown, and nothing is given up for lost because of one.
#[test]
fn what_is_left_of_any_nonsense_is_read() {
    let mut files: Vec<String> = mistakes::mistakes().map(|(_, text, _)| text).collect();
    for base in [EXAMPLE, super::COMPLETE] {
        let lines: Vec<&str> = base.lines().collect();
        for (place, line) in lines.iter().enumerate() {
            let odd = match line.split_once(" = ") {
                Some((key, _)) if !key.starts_with('#') => ODD.map(|odd| format!("{key} = {odd}")).to_vec(),
                _ if line.starts_with("[[") => vec![line.replace("[[", "[").replace("]]", "]"), "[[x.y]]".into()],
                _ if line.starts_with('[') => vec![format!("[{line}]"), line.replace(['[', ']'], "") + " = 1"],
                _ => continue,
            };
            files.extend(odd.into_iter().map(|odd| {
                let mut lines = lines.clone();
                lines[place] = &odd;
                lines.join("\n")
            }));
        }
    }
    assert!(files.len() > 500, "{}", files.len());
    for text in files {
        let source = Source { path: "x.toml".into(), text };
        let slips = !toml::de::DeTable::parse_recoverable(&source.text).1.is_empty();
        let gaps = super::recover::read(&source).gaps;
        assert_eq!(gaps.has_section("no such section"), slips, "{}", source.text);
    }
}
