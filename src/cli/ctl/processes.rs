//! The processes of a gateway for people, while there is more than one. Separate from the table of XSPs, because they come and
//! go with restarts.

use std::fmt::Write;

use anyhow::Result;
use serde::Deserialize;

use super::table::span;
use crate::processes::STALE;

/// The part of `/status` that is shown.
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    time: f64,
    /// A gateway of an older version does not say.
    #[serde(default = "yes")]
    alone: bool,
    #[serde(default)]
    processes: Vec<Process>,
}

const fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
struct Process {
    pid: u32,
    version: String,
    phase: String,
    since: f64,
    ends: Option<f64>,
    heard: f64,
    connections: u64,
    channels: u64,
    cti: u64,
    passthrough: u64,
}

/// One line for each process; empty while there is one alone.
pub(super) fn of(status: &Status) -> Result<String> {
    let mut out = String::new();
    if status.alone && status.processes.len() < 2 {
        return Ok(out);
    }
    writeln!(
        out,
        "\n{:>8}  {:8}  {:11}  {:9}  {:9}  {:>5}  {:>8}  {:>5}",
        "process", "version", "phase", "for", "ends in", "conns", "channels", "other"
    )?;
    for process in &status.processes {
        writeln!(
            out,
            "{:>8}  {:8}  {:11}  {:9}  {:9}  {:>5}  {:>8}  {:>5}",
            process.pid,
            process.version,
            process.phase,
            span(status.time - process.since),
            process.ends.map(|ends| span(ends - status.time)).unwrap_or_default(),
            process.connections,
            process.channels,
            process.cti + process.passthrough
        )?;
        if process.heard > STALE.as_secs_f64() {
            writeln!(out, "          UNKNOWN: it has said nothing for {}", span(process.heard))?;
        }
    }
    if !status.alone && status.processes.len() < 2 {
        writeln!(out, "  UNKNOWN: what a replaced process holds; it has not said so")?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_is_a_line_of_eighty_columns() {
        let status = r#"{"time": 10000.0, "alone": false, "processes": [
            {"pid": 4194304, "version": "1.2.3", "phase": "running", "since": 9000.0, "ends": null, "heard": 0.0,
                "connections": 20000, "channels": 10000, "cti": 7, "passthrough": 1},
            {"pid": 77, "version": "1.2.2", "phase": "handed-over", "since": 9000.0, "ends": 12600.0, "heard": 12.0,
                "connections": 12, "channels": 10, "cti": 0, "passthrough": 2}]}"#;
        let expected = "
 process  version   phase        for        ends in    conns  channels  other
 4194304  1.2.3     running      16m40s                20000     10000      8
      77  1.2.2     handed-over  16m40s     43m20s        12        10      2
          UNKNOWN: it has said nothing for 12s
";
        let shown = of(&serde_json::from_str(status).unwrap()).unwrap();
        assert_eq!(shown, expected);
        assert!(shown.lines().all(|line| line.len() <= 80));
        let alone = r#"{"time": 1.0, "alone": true, "processes": []}"#;
        assert_eq!(of(&serde_json::from_str(alone).unwrap()).unwrap(), "");
    }
}
