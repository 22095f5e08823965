//! Waiting until an XSP that is drained holds nothing any more. Separate from asking for that, which is done at once.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{EVERY, ask, done};
use crate::cli::check::print;
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
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    endpoint: std::net::SocketAddr,
    target: Option<String>,
    channels: i64,
    streams: i64,
}

/// What is left at the XSPs that are drained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Left {
    channels: i64,
    streams: i64,
    /// An older process drains yet, and has not said what it has.
    more: bool,
}

/// Waits until nothing is left, and says how much is whenever that changes: 0 when nothing is, 1 when the time is over or no
/// gateway answers any more.
pub(super) fn wait(socket: &Path, whom: &Whom, timeout: Option<Duration>) -> ExitCode {
    let until = timeout.map(|timeout| Instant::now() + timeout);
    let mut before = None;
    loop {
        let left = match left(socket, whom) {
            Ok(left) => left,
            Err(error) => return done(Err(error)),
        };
        if left == Left::default() {
            return print("nothing is left\n");
        }
        if before.replace(left) != Some(left) {
            let Left { channels, streams, more } = left;
            let more = if more { "; a process that was replaced drains yet, and may hold more" } else { "" };
            let said = print(&format!("draining: {channels} event channels, {streams} other connections left{more}\n"));
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

fn left(socket: &Path, whom: &Whom) -> Result<Left> {
    let status = ask(socket, &Request::Status)?;
    let status: Status = serde_json::from_str(&status).context("the gateway's status can't be read")?;
    status.of(whom).context("the gateway knows no such XSP any more, and can't say what is left there")
}

impl Status {
    fn of(&self, whom: &Whom) -> Option<Left> {
        let DrainedXsp(meant) = DrainedXsp::text(&whom.xsp).ok()?;
        let farms = self.farms.iter().filter(|farm| whom.farm.as_ref().is_none_or(|name| *name == farm.name));
        let meant = farms
            .flat_map(|farm| &farm.endpoints)
            .filter(|one| meant.means(one.endpoint, one.target.as_deref()))
            .map(|one| (one.channels, one.streams));
        let (channels, streams) = meant.reduce(|all, one| (all.0 + one.0, all.1 + one.1))?;
        // What is counted is of all processes, unless one has not said what it has.
        let all_are_heard =
            self.processes.len() > 1 && self.processes.iter().all(|process| process.heard < STALE.as_secs_f64());
        Some(Left { channels, streams, more: !self.alone && !all_are_heard })
    }
}
