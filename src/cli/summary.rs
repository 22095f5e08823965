//! What a configuration serves, in a screenful. Separate from `check`, because it is about the model and not about problems.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use crate::broadworks::ranges::EDITION;
use crate::config::model::{
    Allow, ClientPurpose, Clients, Config, Failover, Farm, Https, Nameless, Route, Source, Speaks,
};
use crate::config::types::amount::shown_time;
use crate::policy::affinity::{Key, Keyring};
use crate::policy::classify::{On5xx, OnSilence};
use crate::tls::certs::Material;

/// The summary; ends with a newline.
pub(super) fn of(config: &Config, material: &Material, warnings: usize) -> String {
    let mut out = String::new();
    let ranges = |allow: &Allow| self::ranges(allow.resolved(material.webex_ranges()).len());
    for block in &config.https {
        https(&mut out, block, &ranges);
    }
    for block in &config.cti {
        section(&mut out, "cti", &block.listen, &format!("-> farm {}", block.farm.name));
        line(&mut out, "clients", &format!("{}{}", clients(&block.clients), ranges(&block.allow)));
        idle(&mut out, block.idle_timeout);
    }
    for block in &config.passthrough {
        section(&mut out, "passthrough", &block.listen, &format!("-> farm {}", block.farm.name));
        let hosts = format!("{}{}{}", block.hosts.join(", "), nameless(block.nameless), ranges(&block.allow));
        line(&mut out, "hosts", &hosts);
        idle(&mut out, block.idle_timeout);
    }
    for farm in config.farms.values() {
        self::farm(&mut out, farm);
    }
    affinity(&mut out, config, material);
    if let Some(webex) = material.webex_ranges.as_ref().filter(|_| config.names_webex_ranges()) {
        let _ = writeln!(out, "webex {} ranges of {}", webex.ranges.len(), webex.day());
    } else if config.names_webex_ranges() {
        let _ = writeln!(out, "webex built-in ranges of {EDITION}");
    }
    if let Some(admin) = &config.admin {
        section(&mut out, "admin", &[admin.listen], "");
    }
    if let Some(traces) = &config.traces {
        let _ = writeln!(out, "traces to {}, of one request in {}", traces.collector, traces.sample);
    }
    let _ = writeln!(out, "{}", verdict(0, warnings));
    out
}

/// The keys, which must be the same on all gateways.
fn affinity(out: &mut String, config: &Config, material: &Material) {
    let mut keys = material.affinity_keys.iter().copied().map(Key::new);
    let keyring = keys.next().map(|signing| Keyring::new(signing, keys));
    let prints: Vec<String> = keyring.iter().flat_map(Keyring::prints).map(|(print, _)| print.to_string()).collect();
    let told = match prints.as_slice() {
        [] if config.https.is_empty() => return,
        [] => "a key of this gateway's own, made at each start".to_owned(),
        [signs] => format!("key {signs}"),
        [signs, accepted @ ..] => format!("key {signs} signs, {} accepted too", accepted.join(", ")),
    };
    let _ = writeln!(out, "affinity cookie {}, {told}", config.affinity.cookie);
}

/// `2 errors, 1 warning`.
pub(super) fn verdict(errors: usize, warnings: usize) -> String {
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    match (errors, warnings) {
        (0, 0) => "ok".to_owned(),
        (0, warnings) => format!("ok, {}", count(warnings, "warning")),
        (errors, 0) => count(errors, "error"),
        (errors, warnings) => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
    }
}

fn section(out: &mut String, kind: &str, listen: &[SocketAddr], rest: &str) {
    let listen = listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let _ = writeln!(out, "{}", format!("{kind} {listen} {rest}").trim_end());
}

fn line(out: &mut String, label: &str, value: &str) {
    let _ = writeln!(out, "  {label:<13} {value}");
}

const fn nameless(nameless: Nameless) -> &'static str {
    match nameless {
        Nameless::Served => " (default)",
        Nameless::LeftToOthers => "",
    }
}

fn ranges(allowed: usize) -> String {
    match allowed {
        0 => String::new(),
        1 => ", from 1 range".to_owned(),
        allowed => format!(", from {allowed} ranges"),
    }
}

/// Whose certificates are taken.
fn clients(clients: &Clients) -> String {
    let purpose = match clients.purpose {
        ClientPurpose::ClientAuth => "",
        ClientPurpose::Any => ", for any purpose",
    };
    let usages: String = clients.eku.iter().map(|usage| format!(", with {}", usage.dotted)).collect();
    let revoked = if clients.trust.crl.is_some() { ", held against its revocation lists" } else { "" };
    format!("{}, signed by \"{}\"{purpose}{usages}{revoked}", clients.names.join(", "), clients.trust.name)
}

fn idle(out: &mut String, timeout: Option<Duration>) {
    if let Some(timeout) = timeout {
        line(out, "idle", &format!("for {} at most", plain(timeout)));
    }
}

fn https(out: &mut String, block: &Https, ranges: &dyn Fn(&Allow) -> String) {
    section(out, "https", &block.listen, "");
    line(out, "hosts", &format!("{}{}", block.hosts.join(", "), nameless(block.nameless)));
    let client = match &block.clients {
        Some(clients) => format!(", client certificates of \"{}\" demanded", clients.trust.name),
        None => String::new(),
    };
    let shown = block.certificates.iter().map(|certificate| format!("\"{}\"", certificate.name));
    line(out, "certificate", &format!("{}{client}", shown.collect::<Vec<_>>().join(", ")));
    for route in &block.interfaces {
        line(out, route.interface.name(), &self::route(route, ranges));
    }
}

fn route(route: &Route, ranges: &dyn Fn(&Allow) -> String) -> String {
    let paths = route.paths.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let client = match &route.clients {
        Some(clients) => format!(", client certificates of \"{}\" demanded", clients.trust.name),
        None => String::new(),
    };
    let own = if route.failover == route.farm.failover { "" } else { ", failover of its own" };
    format!("{paths} -> farm {}{}{client}{own}", route.farm.name, ranges(&route.allow))
}

fn farm(out: &mut String, farm: &Farm) {
    let client = match &farm.certificate {
        Some(certificate) => format!(", shows \"{}\"", certificate.name),
        None => String::new(),
    };
    let _ = writeln!(out, "farm {}", farm.name);
    match &farm.proof {
        Some(proof) => line(out, "verified", &format!("{} by \"{}\"{client}", proof.server_name, proof.trust.name)),
        None => line(out, "verified", "by the clients: the gateway does not read its TLS"),
    }
    for site in &farm.sites {
        line(out, &site.name, &source(&site.source, farm.port));
    }
    let failover = &farm.failover;
    let (response, block) = (plain(failover.response_timeout), plain(failover.block_for));
    let tries = failover.tries;
    let told = match farm.proof.as_ref().map(|proof| proof.speaks) {
        Some(Speaks::Http) => {
            let (advance, on_5xx, on_silence) = (advance(failover), on_5xx(failover), on_silence(failover));
            format!("{tries} tries of {response}, {advance}, blocked for {block}, {on_5xx}, {on_silence}")
        }
        Some(Speaks::Cti) | None => {
            let connect = plain(failover.connect_timeout);
            format!(
                "{tries} tries of {connect} to connect and {connect} to shake hands, {response} in all, blocked for {block}"
            )
        }
    };
    line(out, "failover", &told);
}

fn advance(failover: &Failover) -> String {
    match failover.advance_after {
        Some(after) => format!("the next after {}", plain(after)),
        None => "one at a time".to_owned(),
    }
}

const fn on_5xx(failover: &Failover) -> &'static str {
    match failover.on_5xx {
        On5xx::Confirm => "5xx confirmed by a look",
        On5xx::Block => "5xx blocks",
        On5xx::Answer => "5xx is an answer",
    }
}

const fn on_silence(failover: &Failover) -> &'static str {
    match failover.on_silence {
        OnSilence::Confirm => "silence confirmed by a look",
        OnSilence::Block => "silence blocks",
    }
}

fn plain(time: Duration) -> String {
    shown_time(time).replace('"', "")
}

fn source(source: &Source, port: u16) -> String {
    match source {
        Source::Address(name) => format!("A {name}, port {port}"),
        Source::Srv { name, fallback } => format!("SRV {name}, else A {fallback}, port {port}"),
        Source::Static(addresses) => addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}
