//! The admin listener: metrics, liveness, readiness, status and its page. What there is to tell is gathered on the control
//! thread; the listener is on a thread of its own, which waits for nothing but its clients: `/livez` and `/readyz` are
//! answered whatever the others do.

mod answer;
mod feed;
mod gather;
mod guard;
pub mod line;
mod listener;
mod page;
mod sampler;
pub mod slots;
pub mod status;

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use tokio::sync::watch;

use crate::core::Core;
use crate::drain::Phase;
use crate::policy::streams::StreamKind;
use crate::proxy::listener::is_out_of_descriptors;
use crate::worker;
use line::{Calls, Line};
pub use listener::Listener;
use sampler::Sampler;

/// What may be asked of the control thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// What a scraper gets.
    Metrics,
    /// How everything stands: JSON over several lines.
    Status,
    /// The page that shows it.
    Page,
    /// The same as an update of the feed.
    Update,
}

/// What gathers it; the control thread's own.
#[derive(Debug)]
pub struct Admin {
    core: Core,
    readiness: Readiness,
    sampler: Sampler,
    updates: Arc<watch::Sender<Bytes>>,
    calls: Calls<Wanted, Bytes>,
    started: SystemTime,
}

/// Whether requests should come here; looked at without a lock.
#[derive(Clone, Debug)]
struct Readiness(Core);

/// Tells of `core`, and of now as the start, to those who call by an address or by one of `hosts`, in lower case: what
/// gathers it, what answers, and the line between the two.
pub fn new(core: Core, hosts: &[String]) -> (Admin, Listener, Line<Wanted, Bytes>) {
    let (line, calls) = line::line();
    let updates = Arc::new(watch::Sender::new(Bytes::new()));
    let readiness = Readiness(core.clone());
    let listener = Listener::new(hosts, line.clone(), Arc::clone(&updates), readiness.clone());
    let (sampler, started) = (Sampler::default(), SystemTime::now());
    (Admin { core, readiness, sampler, updates, calls, started }, listener, line)
}

impl Admin {
    fn told(&self, wanted: Wanted) -> Bytes {
        match wanted {
            Wanted::Metrics => self.metrics().into(),
            Wanted::Status => self.status_json().into(),
            Wanted::Page => page::render(&self.status_line()).into(),
            Wanted::Update => self.update(),
        }
    }

    /// JSON over several lines, each with its end.
    fn status_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(&self.status()).expect("names are text, and numbers are JSON's");
        text.push('\n');
        text
    }

    /// The same on one line, without an end.
    fn status_line(&self) -> String {
        serde_json::to_string(&self.status()).expect("names are text, and numbers are JSON's")
    }

    fn metrics(&self) -> String {
        let metrics = &self.core.metrics;
        metrics.ready.set(i64::from(self.readiness.unready().is_none()));
        let limit = self.core.shared.snapshot.load().limits.connections;
        metrics.connections_limit.set(i64::try_from(limit).unwrap_or(i64::MAX));
        metrics.threads(self.core.pulses.threads());
        let processes = self.core.all_processes();
        metrics.processes(processes.iter().map(|process| {
            let [channels, cti, passthrough] = process.streams();
            let [channel, cti_name, passed] = StreamKind::ALL.map(StreamKind::name);
            (process.pid, process.heard, [(channel, channels), (cti_name, cti), (passed, passthrough)])
        }));
        metrics.forget_discovered();
        metrics.state_unsaved.set(i64::from(self.core.discovery.is_unsaved()));
        for name in self.core.discovery.names().iter() {
            let age = name.last_success.map(|at| at.elapsed());
            metrics.discovered(&name.question.name, name.question.kind.name(), age, name.records);
        }
        metrics.refresh_certificates();
        metrics.render()
    }
}

impl Readiness {
    /// Why new requests should go elsewhere; `None`: they should not.
    fn unready(&self) -> Option<String> {
        let Self(core) = self;
        if core.phase() != Phase::Running {
            return Some("stopping".into());
        }
        let mut workers = core.pulses.threads().filter(|(thread, _)| worker::is_worker(thread));
        if let Some((thread, _)) = workers.find(|(_, moves)| !moves) {
            return Some(format!("{thread} does not move, and with it its part of all requests"));
        }
        if is_out_of_descriptors() {
            return Some("out of file descriptors: connections can't be accepted; raise LimitNOFILE in the service, or `ulimit -n`".into());
        }
        let farms = core.farms();
        let empty: Vec<&str> = farms.iter().filter(|farm| farm.is_empty()).map(|farm| farm.name()).collect();
        if empty.len() == farms.len() {
            return Some(format!("no endpoint known yet in: {}", empty.join(", ")));
        }
        let lost: Vec<&str> =
            farms.iter().filter(|farm| !farm.is_retired() && !farm.is_ready()).map(|farm| farm.name()).collect();
        (!lost.is_empty()).then(|| format!("no XSP is up in: {}", lost.join(", ")))
    }

    /// The threads that do not move; `None`: all do.
    fn standing_still(&self) -> Option<String> {
        self.0.pulses.standing_still()
    }

    /// Ready when another process takes connections in this one's place.
    async fn handed_over(&self) {
        // The error says that the process ends.
        drop(self.0.shared.phase.clone().wait_for(|phase| *phase == Phase::HandedOver).await);
    }
}
