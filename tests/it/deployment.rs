//! What is in `deploy`, held against the gateway and against the programs that will read it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use xspgate::cli::check;
use xspgate::config::Loaded;
use xspgate::sim::pki::Pki;
use xspgate::sim::site::{APP, CLOUD};

use crate::harness::{Tool, succeed};

/// A file below `deploy`.
pub(crate) fn deployed(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)
}

fn read(file: &str) -> String {
    fs::read_to_string(deployed(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// A configuration of `deploy` beside generated certificates; it must have no error.
fn checked(file: &str) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let certs = folder.path().join("certs");
    fs::create_dir(&certs).unwrap();
    Pki::new().write(&certs, &[CLOUD, APP]).unwrap();
    let path = folder.path().join("xspgate.toml");
    fs::write(&path, read(file)).unwrap();
    check::load(&path).unwrap_or_else(|report| panic!("{file}\n{report}")).0
}

/// Seconds that a stop takes at most, from the signal on.
fn stop(loaded: &Loaded) -> u64 {
    let config = &loaded.config;
    let cut = config.drain_rate.map_or(0, |rate| config.limits.connections as u64 / u64::from(rate.get()));
    1 + config.drain_timeout.as_secs() + cut
}

/// The value of `KEY=` in the systemd unit.
fn setting<'a>(unit: &'a str, key: &str) -> &'a str {
    let line = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("no {key}"))
}

#[test]
fn the_configuration_checks_clean() {
    assert_eq!(checked("debian/xspgate.toml").warnings, []);
}

#[test]
fn systemd_understands_the_unit_and_finds_it_well_shut_in() {
    let Some(analyze) = Tool::find("systemd-analyze", &["systemd", "libsystemd-shared"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("xspgate.service");
    fs::write(&unit, read("systemd/xspgate.service").replace("/usr/bin/xspgate", env!("CARGO_BIN_EXE_xspgate")))
        .unwrap();
    let verified = analyze.command().args(["verify", "--man=no"]).arg(&unit).output().unwrap();
    let said = String::from_utf8(verified.stderr).unwrap();
    // It reads the machine's other units too, and may find fault with those.
    assert!(!said.contains("xspgate") && verified.status.success(), "{said}");
    // In tenths.
    succeed(analyze.command().args(["security", "--offline=true", "--threshold=20", "--no-pager"]).arg(&unit));
}

#[test]
fn the_unit_gives_a_stop_its_time_and_connections_their_files() {
    let (unit, loaded) = (read("systemd/xspgate.service"), checked("debian/xspgate.toml"));
    assert!(setting(&unit, "TimeoutStopSec").parse::<u64>().unwrap() > stop(&loaded));
    assert!(setting(&unit, "LimitNOFILE").parse::<usize>().unwrap() > 2 * loaded.config.limits.connections);
    assert_eq!(setting(&unit, "RestartPreventExitStatus"), check::UNUSABLE.to_string());
    assert_eq!(setting(&unit, "CapabilityBoundingSet"), "CAP_NET_BIND_SERVICE");
    assert_eq!(setting(&unit, "AmbientCapabilities"), "CAP_NET_BIND_SERVICE");
    let state = Path::new("/var/lib").join(setting(&unit, "StateDirectory"));
    assert_eq!(loaded.config.state_dir, Some(state));
    let runtime = Path::new("/run").join(setting(&unit, "RuntimeDirectory"));
    assert_eq!(loaded.config.control, Some(runtime.join("control.sock")));
}

#[test]
fn the_scripts_are_scripts() {
    for script in ["debian/postinst", "debian/prerm", "debian/postrm"] {
        let path = deployed(script);
        succeed(Command::new("sh").arg("-n").arg(&path));
        assert!(read(script).starts_with("#!/bin/sh\n"), "{script}");
    }
}
