//! The README against the program: its configuration is checked, and its tables are held against what there is.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use xspgate::cli::check::load;
use xspgate::cli::guide::{self, Guide};
use xspgate::config::Loaded;
use xspgate::config::model::LogFormat;
use xspgate::doctor::finding::{Finding, Report, Subject};
use xspgate::policy::fault::AttemptEnd;
use xspgate::sim::pki::Pki;
use xspgate::telemetry::access::{Access, Attempted, Connection, Event, Opened, write_line};
use xspgate::telemetry::metrics::TABLE;
use xspgate::tls::certs::Material;

const README: &str = include_str!("../README.md");
const LOG: &str = include_str!("../docs/log.md");

/// The rows below the table head that begins with `head`, without it and the line under it.
fn rows(head: &str) -> Vec<&'static str> {
    let table = README.lines().chain(LOG.lines()).skip_while(|line| !line.starts_with(head));
    table.skip(2).take_while(|line| line.starts_with('|')).collect()
}

/// The configuration `text` beside generated certificates, which must have no error.
fn checked(text: &str) -> (Loaded, Material) {
    let folder = tempfile::tempdir().expect("a folder");
    let certs = folder.path().join("certs");
    fs::create_dir(&certs).expect("a folder for certificates");
    Pki::new().write(&certs, &["webex-cloud-xsp.example.com", "webex-app-xsp.example.com"]).expect("certificates");
    fs::write(folder.path().join("webex-ranges.txt"), "198.51.100.0/24\n").expect("ranges");
    let path = folder.path().join("xspgate.toml");
    fs::write(&path, text).expect("a configuration");
    load(&path).unwrap_or_else(|report| panic!("\n{report}"))
}

#[test]
fn the_configuration_checks_clean() {
    let (_, rest) = README.split_once("```toml\n").expect("a configuration");
    let (text, _) = rest.split_once("```").expect("the end of it");
    assert!(text.lines().count() <= 40, "{} lines", text.lines().count());
    let (loaded, _) = checked(text);
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.farms.len(), 1);
}

#[test]
fn the_further_parts_check_clean() {
    let mut texts = README.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let text: String = texts.by_ref().take(5).collect();
    let (loaded, _) = checked(&text);
    assert_eq!(loaded.warnings, []);
    assert_eq!((loaded.config.cti.len(), loaded.config.passthrough.len()), (1, 1));
    assert!(loaded.config.control.is_some() && loaded.config.traces.is_some());
    assert_eq!(texts.next(), None, "a part that is not checked");
}

#[test]
fn what_the_map_for_contributors_names_is_there() {
    let map = include_str!("../CONTRIBUTING.md").lines().filter(|line| line.starts_with("| `"));
    let places = map.flat_map(|line| line.split('|').nth(1).unwrap().split('`').skip(1).step_by(2));
    let places: Vec<_> = places.collect();
    assert!(places.len() > 10, "{places:?}");
    for place in places {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(place).exists(), "{place}");
    }
}

#[test]
fn every_exit_code_is_listed() {
    let row = |guide: &&Guide| {
        let command = format!("xspgate {}", guide.command);
        guide.exit.map(|exit| format!("| `{}` | {} |", command.trim_end(), exit.join(" | ")))
    };
    let expected: Vec<String> = guide::all().iter().filter_map(row).collect();
    let codes = guide::CODES.map(|code| code.to_string()).join(" | ");
    assert_eq!(rows(&format!("| exit code of | {codes} |")).join("\n"), expected.join("\n"));
}

#[test]
fn every_metric_is_listed() {
    let row = |(name, kind, labels, help): &(&str, &str, &str, &str)| {
        format!("| `{name}` | {kind} | {labels} | {help} |").replace("|  |", "| |")
    };
    let expected: Vec<String> = TABLE.iter().map(row).collect();
    assert_eq!(rows("| metric |").join("\n"), expected.join("\n"));
}

#[test]
fn every_metric_that_is_spoken_of_is_there() {
    let words = README.split('`').filter(|word| word.starts_with("xspgate_"));
    for word in words {
        assert!(TABLE.iter().any(|(name, ..)| word == *name), "{word}");
    }
}

#[test]
fn every_field_of_the_access_log_is_listed() {
    let attempt = Attempted {
        endpoint: "192.0.2.10:443".into(),
        chosen: "random",
        outcome: AttemptEnd::Success,
        status: Some(200),
        reused: true,
        took: Duration::ZERO,
    };
    let access = Access {
        time: Duration::ZERO,
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        peer: Some(""),
        listener: "",
        host: Some(""),
        interface: Some(""),
        farm: Some(""),
        method: "GET",
        path: "/",
        status: Some(200),
        origin: "xsp",
        reason: Some(""),
        tracking_id: "",
        trace_id: None,
        session: Some(""),
        channel: Some(""),
        received: 0,
        sent: 0,
        took: Duration::ZERO,
        attempts: &[attempt],
    };
    let mut names = names(&access);
    // Only tracing gives a request one.
    let traced = names.iter().position(|name| name == "tracking_id").expect("each request has one") + 1;
    names.insert(traced, "trace_id".to_owned());
    let nested = names.iter().position(|name| name == "endpoint").expect("an attempt has an endpoint");
    let outer = names[..nested].iter().map(|name| format!("`{name}`"));
    let inner = names[nested..].iter().map(|name| format!("`attempts[].{name}`"));
    assert_eq!(listed("| request's field |"), outer.chain(inner).collect::<Vec<_>>());
}

#[test]
fn every_field_of_a_connections_event_is_listed() {
    let connection = Connection {
        time: Duration::ZERO,
        kind: "cti",
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        listener: "",
        host: Some(""),
        peer: Some(""),
        farm: "",
        reason: "ended",
        received: 0,
        sent: 0,
        took: Duration::ZERO,
        attempts: &[],
    };
    let names = names(&connection).into_iter().map(|name| format!("`{name}`"));
    assert_eq!(listed("| connection's field |"), names.collect::<Vec<_>>());
}

#[test]
fn every_field_of_an_openings_event_is_listed() {
    let opened = Opened {
        time: Duration::ZERO,
        kind: "cti",
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        peer: Some(""),
        listener: "",
        farm: "",
        endpoint: "",
        tracking_id: Some(""),
        channel: Some("1"),
    };
    let names = names(&opened).into_iter().map(|name| format!("`{name}`"));
    assert_eq!(listed("| opening's field |"), names.collect::<Vec<_>>());
}

#[test]
fn every_field_of_the_doctors_report_is_listed() {
    let subject = Subject::new("farm xsp").with([Finding::ok("dns", "")]);
    let report = Report::new(vec![subject], Duration::ZERO).json();
    let names = names_in(&report);
    let nested = names.iter().position(|name| name == "subject").expect("a finding has a subject");
    let outer = names[..nested].iter().map(|name| format!("`{name}`"));
    let inner = names[nested..].iter().map(|name| format!("`findings[].{name}`"));
    assert_eq!(listed("| doctor's field |"), outer.chain(inner).collect::<Vec<_>>());
}

/// The names of an event's fields, in order: each stands between quotes before a colon.
fn names(event: &impl Event) -> Vec<String> {
    let mut line = Vec::new();
    write_line(&mut line, LogFormat::Json, event);
    names_in(std::str::from_utf8(&line).expect("a line is ASCII"))
}

fn names_in(line: &str) -> Vec<String> {
    let (before, _) = line.rsplit_once("\":").expect("a line has a field");
    before.split("\":").filter_map(|part| part.rsplit_once('"')).map(|(_, name)| name.to_owned()).collect()
}

/// The first column of the table whose head begins with `head`.
fn listed(head: &str) -> Vec<&'static str> {
    rows(head).into_iter().filter_map(|row| row.split(" | ").next()?.strip_prefix("| ")).collect()
}
