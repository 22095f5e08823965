//! A gateway's status for people. Separate from asking for it, so that it can be tested without a gateway.

use std::fmt::Write;

use anyhow::Result;
use serde::Deserialize;

use crate::config::error::printable;

/// The part of `/status` that is shown.
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    version: String,
    pid: u32,
    ready: bool,
    /// Why it is not.
    #[serde(default)]
    unready: Option<String>,
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
    #[serde(default)]
    suspect: bool,
    since: Option<f64>,
    #[serde(default)]
    out_since: Option<f64>,
    blocked_for: Option<f64>,
    #[serde(default)]
    cut_in: Option<f64>,
    channels: i64,
    streams: i64,
    traffic: Traffic,
}

#[derive(Debug, Deserialize)]
struct Traffic {
    rate: f64,
    error_rate: f64,
}

/// How wide a terminal is at least.
const WIDTH: usize = 80;
/// How wide addresses are, unless one is longer: any of IPv4 with its port. So a line has at most [`WIDTH`] characters.
const ADDRESS: usize = 21;

/// One line for each XSP, in columns, below its site where the farm has several.
pub(super) fn of(status: &Status) -> Result<String> {
    let mut out = String::new();
    let ready = if status.ready { "ready" } else { "NOT READY" };
    let head = format!("xspgate {}, process {}, {ready}", status.version, status.pid);
    fitted(&mut out, &head, &status.unready.as_deref().map(|why| format!("({})", printable(why))).unwrap_or_default())?;
    for farm in &status.farms {
        let mark = if farm.retired { "(no longer in the configuration)" } else { "" };
        fitted(&mut out, &format!("\nfarm {}", farm.name), mark)?;
        for name in &farm.unknown_drains {
            fitted(&mut out, "  WARNING: `drain` in the configuration names no XSP:", &format!("\"{name}\""))?;
        }
        if farm.endpoints.is_empty() {
            writeln!(out, "  no XSP is known")?;
            continue;
        }
        row(&mut out, ["XSP", "state", "for", "req/s", "err/s", "chans", "conns"])?;
        let has_sites = farm.endpoints.iter().any(|endpoint| endpoint.site != farm.endpoints[0].site);
        for (index, endpoint) in farm.endpoints.iter().enumerate() {
            let is_next = index == 0 || farm.endpoints[index - 1].site != endpoint.site;
            if has_sites && is_next {
                writeln!(out, "  {}:", endpoint.site)?;
            }
            endpoint.row(&mut out, status.time)?;
        }
    }
    Ok(out)
}

impl Endpoint {
    fn row(&self, out: &mut String, now: f64) -> Result<()> {
        let state = match self.blocked_for {
            Some(seconds) => format!("{}, {seconds:.0}s", self.state),
            None if self.suspect => format!("{}, suspect", self.state),
            None => self.state.clone(),
        };
        let age = self.out_since.or(self.since).map(|at| span(now - at)).unwrap_or_default();
        let [rate, errors] = [self.traffic.rate, self.traffic.error_rate].map(|rate| format!("{rate:.1}"));
        let (channels, streams) = (self.channels.to_string(), self.streams.to_string());
        row(out, [&self.endpoint, &state, &age, &rate, &errors, &channels, &streams])?;
        if let Some(seconds) = self.cut_in {
            writeln!(out, "  {:ADDRESS$} what is left there is cut in {}", "", span(seconds.ceil()))?;
        }
        Ok(())
    }
}

/// A head and what belongs to it, on a line of its own if both are too long for one.
fn fitted(out: &mut String, head: &str, rest: &str) -> Result<()> {
    let between = match (rest.is_empty(), head.trim_start().len() + 2 + rest.len() < WIDTH) {
        (true, _) => "",
        (false, true) => " ",
        (false, false) => "\n    ",
    };
    writeln!(out, "{head}{between}{rest}")?;
    Ok(())
}

/// A long address has a line to itself.
fn row(out: &mut String, [address, state, age, rate, errors, channels, streams]: [&str; 7]) -> Result<()> {
    let mut address = address;
    if address.len() > ADDRESS {
        writeln!(out, "  {address}")?;
        address = "";
    }
    writeln!(out, "  {address:ADDRESS$} {state:15} {age:6} {rate:>7} {errors:>5} {channels:>6} {streams:>5}")?;
    Ok(())
}

/// The two largest units: who looks wants to know whether it was just now, or last week.
pub(super) fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    let (minutes, hours, days) = (whole / 60, whole / 3600, whole / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{whole}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", whole % 60),
        (0, _, _) => format!("{hours}h{:02}m", minutes % 60),
        (_, _, _) => format!("{days}d{:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_that_is_not_ready_says_why() {
        let of = |unready: &str| {
            let status = format!(r#"{{"version": "1", "pid": 2, "ready": false, {unready} "time": 0.0, "farms": []}}"#);
            super::of(&serde_json::from_str(&status).unwrap()).unwrap()
        };
        assert_eq!(of(r#""unready": "stopping\u001b","#), "xspgate 1, process 2, NOT READY (stopping\u{fffd})\n");
        assert_eq!(of(""), "xspgate 1, process 2, NOT READY\n", "one of an earlier version");
    }

    #[test]
    fn a_span_has_two_units() {
        for (seconds, expected) in
            [(-0.3, "0s"), (59.9, "59s"), (60.0, "1m00s"), (7_384.0, "2h03m"), (86_400.0 * 9.5, "9d12h")]
        {
            assert_eq!(span(seconds), expected);
        }
    }

    #[test]
    fn each_xsp_is_a_line() {
        let status = r#"{"version": "1.2.3", "pid": 77, "ready": true, "time": 10000.5, "farms": [
            {"name": "xsp", "endpoints": [
                {"endpoint": "10.0.0.1:443", "site": "site-a", "state": "up", "suspect": true, "since": 9000.0, "blocked_for": null,
                    "channels": 7, "streams": 0, "traffic": {"rate": 12.34, "error_rate": 0.0}},
                {"endpoint": "10.0.0.20:443", "site": "b", "state": "blocked", "since": 9990.0, "out_since": 100.0,
                    "blocked_for": 58.6, "cut_in": 271.4, "channels": 0, "streams": 12, "traffic": {"rate": 0.1, "error_rate": 0.1}}]},
            {"name": "cti", "retired": false, "endpoints": []},
            {"name": "old", "retired": true, "unknown_drains": ["10.0.0.7"], "endpoints": [
                {"endpoint": "[2001:db8:1234:5678:90ab:cdef:1234:5678]:443", "site": "default", "state": "departed", "since": null, "blocked_for": null,
                    "channels": 3, "streams": 0, "traffic": {"rate": 0.0, "error_rate": 0.0}}]}
            ]}"#;
        let expected = "\
xspgate 1.2.3, process 77, ready

farm xsp
  XSP                   state           for      req/s err/s  chans conns
  site-a:
  10.0.0.1:443          up, suspect     16m40s    12.3   0.0      7     0
  b:
  10.0.0.20:443         blocked, 59s    2h45m      0.1   0.1      0    12
                        what is left there is cut in 4m32s

farm cti
  no XSP is known

farm old (no longer in the configuration)
  WARNING: `drain` in the configuration names no XSP: \"10.0.0.7\"
  XSP                   state           for      req/s err/s  chans conns
  [2001:db8:1234:5678:90ab:cdef:1234:5678]:443
                        departed                   0.0   0.0      3     0
";
        let table = of(&serde_json::from_str(status).unwrap()).unwrap();
        assert_eq!(table, expected);
        let long = "a".repeat(60);
        let named = status.replace("\"old\"", &format!("\"{long}\"")).replace("10.0.0.7", &long);
        let wide = of(&serde_json::from_str(&named).unwrap()).unwrap();
        for table in [table, wide] {
            assert!(table.lines().all(|line| line.len() <= WIDTH && line == line.trim_end()), "{table}");
        }
    }
}
