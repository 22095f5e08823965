//! The README against the program: its configuration is checked, and its tables are held against what there is.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use xspgate::cli::check::load;
use xspgate::sim::pki::Pki;
use xspgate::telemetry::access::{Access, Attempted};
use xspgate::telemetry::metrics::TABLE;

const README: &str = include_str!("../README.md");

/// The rows below the table head that begins with `head`, without it and the line under it.
fn rows(head: &str) -> Vec<&'static str> {
    let table = README.lines().skip_while(|line| !line.starts_with(head));
    table.skip(2).take_while(|line| line.starts_with('|')).collect()
}

#[test]
fn the_configuration_checks_clean() {
    let (_, rest) = README.split_once("```toml\n").expect("a configuration");
    let (text, _) = rest.split_once("```").expect("the end of it");
    assert!(text.lines().count() <= 40, "{} lines", text.lines().count());
    let folder = tempfile::tempdir().expect("a folder");
    let certs = folder.path().join("certs");
    fs::create_dir(&certs).expect("a folder for certificates");
    Pki::new().write(&certs, &["webex-cloud-xsp.example.com", "webex-app-xsp.example.com"]).expect("certificates");
    let path = folder.path().join("xspgate.toml");
    fs::write(&path, text).expect("a configuration");
    let (loaded, _) = load(&path).unwrap_or_else(|report| panic!("\n{report}"));
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.config.farms.len(), 1);
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
fn every_field_of_the_access_log_is_listed() {
    let attempt = Attempted {
        endpoint: "192.0.2.10:443".into(),
        chosen: "random",
        outcome: "success",
        status: Some(200),
        reused: true,
        ms: 1.0,
    };
    let access = Access {
        time: 0.0,
        event: "access",
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        peer: None,
        listener: "",
        host: None,
        interface: None,
        farm: None,
        method: "GET",
        path: "/",
        status: None,
        origin: "xsp",
        reason: None,
        tracking_id: "",
        session: None,
        received: 0,
        sent: 0,
        ms: 0.0,
        attempts: &[attempt],
    };
    let line = serde_json::to_string(&access).expect("an event is JSON");
    // In order: a name stands between quotes before a colon.
    let names = line.split("\":").filter_map(|part| part.rsplit_once('"')).map(|(_, name)| name);
    let names: Vec<&str> = names.collect();
    let nested = names.iter().position(|name| *name == "endpoint").expect("an attempt has an endpoint");
    let outer = names[..nested].iter().map(|name| format!("`{name}`"));
    let inner = names[nested..].iter().map(|name| format!("`attempts[].{name}`"));
    let listed = rows("| field |").into_iter().filter_map(|row| row.split(" | ").next()?.strip_prefix("| "));
    assert_eq!(listed.collect::<Vec<_>>(), outer.chain(inner).collect::<Vec<_>>());
}
