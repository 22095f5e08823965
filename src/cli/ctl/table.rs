//! A gateway's status for people. Apart from asking for it, so that it can be tested without a gateway.

use std::fmt::Write;

use anyhow::Result;
use serde::Deserialize;

/// The part of `/status` that is shown.
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    version: String,
    pid: u32,
    ready: bool,
    farms: Vec<Farm>,
}

#[derive(Debug, Deserialize)]
struct Farm {
    name: String,
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    endpoint: String,
    site: String,
    state: String,
    blocked_for: Option<f64>,
    channels: i64,
    streams: i64,
}

/// One line for each XSP, in columns.
pub(super) fn of(status: &Status) -> Result<String> {
    let mut out = String::new();
    let ready = if status.ready { "ready" } else { "NOT READY" };
    writeln!(out, "xspgate {}, process {}, {ready}", status.version, status.pid)?;
    for farm in &status.farms {
        writeln!(out, "\nfarm {}", farm.name)?;
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
            "  {:address$}  {:site$}  {:18}  {:>8}  {:>11}",
            "XSP", "site", "state", "channels", "connections"
        )?;
        for endpoint in &farm.endpoints {
            let state = match endpoint.blocked_for {
                Some(seconds) => format!("{} for {seconds:.0} s", endpoint.state),
                None => endpoint.state.clone(),
            };
            writeln!(
                out,
                "  {:address$}  {:site$}  {state:18}  {:>8}  {:>11}",
                endpoint.endpoint, endpoint.site, endpoint.channels, endpoint.streams
            )?;
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_xsp_is_a_line() {
        let status = r#"{"version": "1.2.3", "pid": 77, "ready": true, "farms": [
            {"name": "xsp", "endpoints": [
                {"endpoint": "10.0.0.1:443", "site": "site-a", "state": "up", "blocked_for": null, "channels": 7, "streams": 0},
                {"endpoint": "10.0.0.20:443", "site": "b", "state": "blocked", "blocked_for": 58.6, "channels": 0, "streams": 12}]},
            {"name": "cti", "endpoints": []}]}"#;
        let expected = "\
xspgate 1.2.3, process 77, ready

farm xsp
  XSP            site    state               channels  connections
  10.0.0.1:443   site-a  up                         7            0
  10.0.0.20:443  b       blocked for 59 s           0           12

farm cti
  no XSP is known
";
        assert_eq!(of(&serde_json::from_str(status).unwrap()).unwrap(), expected);
    }
}
