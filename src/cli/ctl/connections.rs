//! Connections that live long, for people. Separate from asking for them, so that it can be tested without a gateway.

use std::fmt::Write;

use anyhow::{Context, Result};

use super::table::span;
use crate::config::error::printable;
use crate::control::Connections;

/// One line for each of what is told in JSON.
pub(super) fn of(told: &str) -> Result<String> {
    let told: Connections = serde_json::from_str(told).context("the gateway's answer can't be read")?;
    let mut out = String::new();
    if told.connections.is_empty() {
        writeln!(out, "no event channel, CTI or pass-through connection is open")?;
    } else {
        writeln!(
            out,
            "{:15}  {:21}  {:11}  {:10}  {:>9}  {:>9}  {:>7}  peer",
            "client", "XSP", "kind", "for", "received", "sent", "process"
        )?;
    }
    for row in &told.connections {
        writeln!(
            out,
            "{:15}  {:21}  {:11}  {:10}  {:>9}  {:>9}  {:>7}  {}",
            row.client.to_string(),
            row.endpoint.to_string(),
            row.kind.name(),
            span(told.time - row.opened),
            row.received,
            row.sent,
            row.pid,
            row.peer.as_deref().map_or_else(|| "-".into(), printable)
        )?;
    }
    if told.left_out > 0 {
        match told.left_out {
            1 => writeln!(out, "1 more, which was opened later, is left out")?,
            more => writeln!(out, "{more} more, which were opened later, are left out")?,
        }
    }
    for unknown in &told.unknown {
        writeln!(out, "UNKNOWN: {unknown}")?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_is_a_line() {
        let told = r#"{"time": 10000.0, "left_out": 3, "unknown": ["process 9 has not answered"], "connections": [
            {"pid": 77, "kind": "cti", "client": "192.0.2.7", "peer": "CN=x", "farm": "cti", "endpoint": "10.0.0.1:8012",
                "opened": 9990.0, "received": 12, "sent": 3456}]}"#;
        let expected = "\
client           XSP                    kind         for          received       sent  process  peer
192.0.2.7        10.0.0.1:8012          cti          10s                12       3456       77  CN=x
3 more, which were opened later, are left out
UNKNOWN: process 9 has not answered
";
        assert_eq!(of(told).unwrap(), expected);
    }
}
