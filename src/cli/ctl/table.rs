//! A gateway's status for people. Separate from asking for it, so that it can be tested without a gateway.

use std::fmt::Write;

use anyhow::Result;
use serde::Deserialize;

/// The part of `/status` that is shown.
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    version: String,
    pid: u32,
    ready: bool,
    time: f64,
    farms: Vec<Farm>,
}

#[derive(Debug, Deserialize)]
struct Farm {
    name: String,
    /// A gateway of an older version does not say.
    #[serde(default)]
    retired: bool,
    #[serde(default)]
    unknown_drains: Vec<String>,
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    endpoint: String,
    site: String,
    state: String,
    since: Option<f64>,
    #[serde(default)]
    out_since: Option<f64>,
    blocked_for: Option<f64>,
    channels: i64,
    streams: i64,
    traffic: Traffic,
}

#[derive(Debug, Deserialize)]
struct Traffic {
    rate: f64,
    error_rate: f64,
}

/// One line for each XSP, in columns.
pub(super) fn of(status: &Status) -> Result<String> {
    let mut out = String::new();
    let ready = if status.ready { "ready" } else { "NOT READY" };
    writeln!(out, "xspgate {}, process {}, {ready}", status.version, status.pid)?;
    for farm in &status.farms {
        let mark = if farm.retired { ", no longer in the configuration" } else { "" };
        writeln!(out, "\nfarm {}{mark}", farm.name)?;
        for name in &farm.unknown_drains {
            writeln!(out, "  WARNING: drain names \"{name}\" in the configuration, and no XSP is meant by that")?;
        }
        if farm.endpoints.is_empty() {
            writeln!(out, "  no XSP is known")?;
            continue;
        }
        let wide = |column: fn(&Endpoint) -> &str, least| {
            farm.endpoints.iter().map(|endpoint| column(endpoint).chars().count()).max().unwrap_or(0).max(least)
        };
        let (address, site) = (wide(|endpoint| &endpoint.endpoint, 3), wide(|endpoint| &endpoint.site, 4));
        writeln!(
            out,
            "  {:address$}  {:site$}  {:20}  {:12}  {:>10}  {:>8}  {:>8}  {:>11}",
            "XSP", "site", "state", "for", "requests/s", "errors/s", "channels", "connections"
        )?;
        for endpoint in &farm.endpoints {
            let state = match endpoint.blocked_for {
                Some(seconds) => format!("{}, {seconds:.0} s left", endpoint.state),
                None => endpoint.state.clone(),
            };
            let since = endpoint.out_since.or(endpoint.since);
            writeln!(
                out,
                "  {:address$}  {:site$}  {state:20}  {:12}  {:>10.1}  {:>8.1}  {:>8}  {:>11}",
                endpoint.endpoint,
                endpoint.site,
                since.map(|at| span(status.time - at)).unwrap_or_default(),
                endpoint.traffic.rate,
                endpoint.traffic.error_rate,
                endpoint.channels,
                endpoint.streams
            )?;
        }
    }
    Ok(out)
}

/// The two largest units: who looks wants to know whether it was just now, or last week.
pub(super) fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    let (minutes, hours, days) = (whole / 60, whole / 3600, whole / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{whole} s"),
        (0, 0, _) => format!("{minutes} min {} s", whole % 60),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        (_, _, _) => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_two_units() {
        for (seconds, expected) in
            [(-0.3, "0 s"), (59.9, "59 s"), (60.0, "1 min 0 s"), (7_384.0, "2 h 3 min"), (86_400.0 * 9.5, "9 d 12 h")]
        {
            assert_eq!(span(seconds), expected);
        }
    }

    #[test]
    fn each_xsp_is_a_line() {
        let status = r#"{"version": "1.2.3", "pid": 77, "ready": true, "time": 10000.5, "farms": [
            {"name": "xsp", "endpoints": [
                {"endpoint": "10.0.0.1:443", "site": "site-a", "state": "up", "since": 9000.0, "blocked_for": null,
                    "channels": 7, "streams": 0, "traffic": {"rate": 12.34, "error_rate": 0.0}},
                {"endpoint": "10.0.0.20:443", "site": "b", "state": "blocked", "since": 9990.0, "out_since": 100.0,
                    "blocked_for": 58.6, "channels": 0, "streams": 12, "traffic": {"rate": 0.1, "error_rate": 0.1}}]},
            {"name": "cti", "retired": false, "endpoints": []},
            {"name": "old", "retired": true, "endpoints": [
                {"endpoint": "10.0.0.9:443", "site": "default", "state": "departed", "since": null, "blocked_for": null,
                    "channels": 3, "streams": 0, "traffic": {"rate": 0.0, "error_rate": 0.0}}]}
            ]}"#;
        let expected = "\
xspgate 1.2.3, process 77, ready

farm xsp
  XSP            site    state                 for           requests/s  errors/s  channels  connections
  10.0.0.1:443   site-a  up                    16 min 40 s         12.3       0.0         7            0
  10.0.0.20:443  b       blocked, 59 s left    2 h 45 min           0.1       0.1         0           12

farm cti
  no XSP is known

farm old, no longer in the configuration
  XSP           site     state                 for           requests/s  errors/s  channels  connections
  10.0.0.9:443  default  departed                                   0.0       0.0         3            0
";
        assert_eq!(of(&serde_json::from_str(status).unwrap()).unwrap(), expected);
    }
}
