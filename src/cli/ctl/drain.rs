//! Waiting until an XSP that is drained holds nothing any more. Separate from asking for that, which is done at once.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::asking::ask;
use super::{EVERY, done};
use crate::cli::check::print;
use crate::config::error::printable;
use crate::config::types::Leaf;
use crate::config::types::network::DrainedXsp;
use crate::control::{Request, Whom};
use crate::processes::STALE;

/// The part of `/status` that counts.
#[derive(Debug, Deserialize)]
struct Status {
    /// Whether there is no older process that may hold more.
    #[serde(default = "yes")]
    alone: bool,
    /// Those that have said what they hold; the first one answers.
    #[serde(default)]
    processes: Vec<Process>,
    farms: Vec<Farm>,
}

/// An older gateway does not say.
const fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
struct Process {
    heard: f64,
}

#[derive(Debug, Deserialize)]
struct Farm {
    name: String,
    #[serde(default)]
    formerly: Vec<String>,
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    endpoint: SocketAddr,
    target: Option<String>,
    state: String,
    /// A gateway of an older version does not say.
    leaving: Option<bool>,
    channels: i64,
    streams: i64,
}

/// What is left at the XSPs that are drained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Left {
    channels: i64,
    streams: i64,
    /// An older process has not said what it holds.
    more: bool,
}

/// The XSPs that are meant.
#[derive(Debug, Default)]
struct Seen {
    left: Left,
    /// Those that get no new sessions, and those that do, each with its farm.
    leaving: BTreeSet<(String, SocketAddr)>,
    serving: BTreeSet<(String, SocketAddr)>,
}

/// Waits until nothing is left, and prints each change: 0 when nothing is left; 1 when the time is over, the XSP was undrained, or
/// the gateway no longer answers.
pub(super) fn wait(socket: &Path, whom: &Whom, timeout: Option<Duration>) -> ExitCode {
    let until = timeout.map(|timeout| Instant::now() + timeout);
    let (mut drained, mut before) = (BTreeSet::new(), None);
    loop {
        let left = match look(socket, whom, &mut drained) {
            Ok(left) => left,
            Err(error) => return done(Err(error)),
        };
        if left == Left::default() {
            return print("nothing is left\n");
        }
        if before.replace(left) != Some(left) {
            let said = print(&format!("draining: {left}\n"));
            if said != ExitCode::SUCCESS {
                return said;
            }
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            return done(Err(anyhow::anyhow!("the time is over, and the XSP is not empty; it stays drained")));
        }
        std::thread::sleep(EVERY);
    }
}

/// What is left, as long as those that have been seen `drained` are so still.
fn look(socket: &Path, whom: &Whom, drained: &mut BTreeSet<(String, SocketAddr)>) -> Result<Left> {
    let status = ask(socket, &Request::Status)
        .context("the XSP stays drained while the gateway runs, but is no longer waited for")?;
    let status: Status = serde_json::from_str(&status).context("the gateway's status can't be read")?;
    let seen = status.of(whom).context("the gateway knows no such XSP any more, and can't say what is left there")?;
    drained.extend(seen.leaving);
    // Before the first look, too, somebody may have undrained it.
    let undrained: Vec<_> =
        seen.serving.iter().filter(|one| drained.contains(*one) || drained.is_empty()).map(named).collect();
    if !undrained.is_empty() {
        bail!("{}: undrained meanwhile, and gets new sessions again; it is waited for no longer", undrained.join(", "));
    }
    Ok(seen.left)
}

fn named((farm, xsp): &(String, SocketAddr)) -> String {
    format!("{xsp} of farm {}", printable(farm))
}

impl Status {
    fn of(&self, whom: &Whom) -> Option<Seen> {
        let DrainedXsp(meant) = DrainedXsp::text(&whom.xsp).ok()?;
        let farms = self.farms.iter().filter(|farm| whom.farm.as_ref().is_none_or(|name| farm.is_called(name)));
        let mut seen = Seen::default();
        for farm in farms {
            for one in farm.endpoints.iter().filter(|one| meant.means(one.endpoint, one.target.as_deref())) {
                seen.left.channels += one.channels;
                seen.left.streams += one.streams;
                let kept = if one.is_leaving() { &mut seen.leaving } else { &mut seen.serving };
                kept.insert((farm.name.clone(), one.endpoint));
            }
        }
        // What is counted is of all processes, unless one has not said what it has.
        let all_are_heard =
            self.processes.len() > 1 && self.processes.iter().all(|process| process.heard < STALE.as_secs_f64());
        seen.left.more = !self.alone && !all_are_heard;
        (!seen.leaving.is_empty() || !seen.serving.is_empty()).then_some(seen)
    }
}

impl Farm {
    fn is_called(&self, name: &str) -> bool {
        self.name == name || self.formerly.iter().any(|former| former == name)
    }
}

impl Endpoint {
    fn is_leaving(&self) -> bool {
        self.leaving.unwrap_or(self.state != "up")
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { channels, streams, more } = *self;
        let plural = |count: i64| if count == 1 { "" } else { "s" };
        let (channel, stream) = (plural(channels), plural(streams));
        write!(f, "{channels} event channel{channel}, {streams} other connection{stream} left")?;
        if more {
            f.write_str("; a replaced process may hold more, and has not said so lately")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(status: &str, farm: Option<&str>) -> Seen {
        let whom = Whom { xsp: "192.0.2.1".into(), farm: farm.map(str::to_owned), formerly: Vec::new() };
        serde_json::from_str::<Status>(status).unwrap().of(&whom).unwrap()
    }

    #[test]
    fn a_farm_is_waited_for_by_its_former_name_too() {
        let status = r#"{"farms": [{"name": "new", "formerly": ["old"], "endpoints": [
            {"endpoint": "192.0.2.1:443", "state": "blocked", "leaving": true, "channels": 1, "streams": 2}]}]}"#;
        for farm in [None, Some("new"), Some("old")] {
            let seen = seen(status, farm);
            assert_eq!(seen.left.to_string(), "1 event channel, 2 other connections left");
            assert_eq!((seen.leaving.len(), seen.serving.len()), (1, 0), "whatever is held against it");
        }
    }

    #[test]
    fn an_older_gateway_says_by_its_state_whether_an_xsp_is_drained() {
        for (state, leaving) in [("up", 0), ("draining", 1), ("blocked", 1)] {
            let status = format!(
                r#"{{"farms": [{{"name": "xsp", "endpoints": [
                {{"endpoint": "192.0.2.1:443", "state": "{state}", "channels": 0, "streams": 0}}]}}]}}"#
            );
            assert_eq!(seen(&status, None).leaving.len(), leaving, "{state}");
        }
    }
}
