//! Connections that live long, for people. Separate from asking for them, so that it can be tested without a gateway.

use std::fmt::Write;

use anyhow::{Context, Result};

use super::table::span;
use crate::config::error::printable;
use crate::control::{Connections, Row};

/// One line for each of what is told in JSON.
pub(super) fn of(told: &str) -> Result<String> {
    let told: Connections = serde_json::from_str(told).context("the gateway's answer can't be read")?;
    let mut out = String::new();
    if told.connections.is_empty() {
        writeln!(out, "no event channel, CTI or pass-through connection is open")?;
    } else {
        row(&mut out, ["client", "XSP", "kind", "for", "in", "out", "process"])?;
    }
    for told_row in &told.connections {
        let Row { client, endpoint, kind, opened, received, sent, pid, peer, .. } = told_row;
        let (client, endpoint, pid) = (client.to_string(), endpoint.to_string(), pid.to_string());
        let (age, received, sent) = (span(told.time - opened), size(*received), size(*sent));
        row(&mut out, [&client, &endpoint, kind.name(), &age, &received, &sent, &pid])?;
        if let Some(peer) = peer {
            writeln!(out, "    {}", printable(peer))?;
        }
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

/// A long address has a line to itself.
fn row(out: &mut String, [client, xsp, kind, age, received, sent, pid]: [&str; 7]) -> Result<()> {
    const CLIENT: usize = 15;
    const XSP: usize = 21;
    let mut columns = [client, xsp];
    for (column, width) in columns.iter_mut().zip([CLIENT, XSP]) {
        if column.len() > width {
            writeln!(out, "{column}")?;
            *column = "";
        }
    }
    let [client, xsp] = columns;
    writeln!(out, "{client:CLIENT$} {xsp:XSP$} {kind:11} {age:6} {received:>6} {sent:>6} {pid:>8}")?;
    Ok(())
}

/// Bytes in four digits at most.
fn size(bytes: u64) -> String {
    let units = ["B", "K", "M", "G", "T"];
    let (mut size, mut unit) = (bytes, 0);
    while size >= 10_000 && unit + 1 < units.len() {
        size = size.div_ceil(1024);
        unit += 1;
    }
    format!("{size}{}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_is_a_line_of_eighty_columns() {
        let told = r#"{"time": 10000.0, "left_out": 3, "unknown": ["process 9 has not answered"], "connections": [
            {"pid": 4194304, "kind": "passthrough", "client": "192.168.100.200", "peer": null, "farm": "cti",
                "endpoint": "192.168.100.201:48012", "opened": 0.0, "received": 12, "sent": 34567890},
            {"pid": 77, "kind": "cti", "client": "2001:db8:0:1::7", "peer": "CN=x", "farm": "cti",
                "endpoint": "[2001:db8:1111:2222:3333::1]:8012", "opened": 9990.0, "received": 12, "sent": 3456}]}"#;
        let expected = "\
client          XSP                   kind        for        in    out  process
192.168.100.200 192.168.100.201:48012 passthrough 2h46m     12B    33M  4194304
[2001:db8:1111:2222:3333::1]:8012
2001:db8:0:1::7                       cti         10s       12B  3456B       77
    CN=x
3 more, which were opened later, are left out
UNKNOWN: process 9 has not answered
";
        let shown = of(told).unwrap();
        assert_eq!(shown, expected);
        assert!(shown.lines().all(|line| line.len() <= 80));
    }

    #[test]
    fn a_size_has_four_digits_at_most() {
        for (bytes, expected) in
            [(0, "0B"), (9_999, "9999B"), (10_000, "10K"), (34_567_890, "33M"), (u64::MAX, "16777216T")]
        {
            assert_eq!(size(bytes), expected);
        }
    }
}
