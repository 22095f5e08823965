//! The discovery thread: DNS is followed, and what has left it is swept up. Separate from the control thread, because XSPs
//! must be followed whatever is asked over the admin port or read from a disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::handover_state::HandoverStatus;
use super::running::Farms;
use crate::discover::dns::DnsResolver;
use crate::discover::{Change, Discovery, Event};
use crate::drain::{Phase, reached};
use crate::supervisor::Pulse;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::timeline::{self, Kind, Timeline};

/// How often endpoints that have left DNS are looked over.
const SWEEP: Duration = Duration::from_secs(1);

/// All of it, not yet running.
pub(super) struct DiscoveryThread {
    pub(super) discovery: Discovery,
    pub(super) changes: mpsc::UnboundedReceiver<Change<DnsResolver>>,
    pub(super) resolver: DnsResolver,
    pub(super) told: Told,
    /// Whether no other process holds anything at an XSP, of which this one would not know.
    pub(super) is_alone: Arc<AtomicBool>,
    pub(super) handover: watch::Receiver<HandoverStatus>,
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) pulse: Pulse,
}

impl DiscoveryThread {
    /// Runs all of it until the process ends.
    pub(super) async fn run(self) {
        let Self { discovery, changes, resolver, told, is_alone, mut handover, phase, pulse } = self;
        let farms = Arc::clone(&told.farms);
        let sweeping = async {
            loop {
                tokio::time::sleep(SWEEP).await;
                sweep(&farms, &is_alone);
            }
        };
        // The other process has the names and `state_dir`.
        let discovering = async {
            tokio::select! {
                () = discovery.run(resolver, changes, move |event| told.take(event)) => {}
                _ = handover.wait_for(|handover| *handover == HandoverStatus::Done) => std::future::pending().await,
            }
        };
        tokio::select! {
            () = discovering => {}
            () = sweeping => {}
            () = pulse.beats() => {}
            () = reached(phase, Phase::Forced) => {}
        }
    }
}

fn sweep(farms: &Farms, is_alone: &AtomicBool) {
    for farm in farms.load().iter() {
        if is_alone.load(Ordering::Relaxed) {
            farm.tell_vacated();
        }
        farm.forget_departed(Instant::now());
    }
    if farms.load().iter().any(|farm| farm.is_done_with()) {
        farms.rcu(|farms| farms.iter().filter(|farm| !farm.is_done_with()).cloned().collect::<Vec<_>>());
    }
}

/// Those whom discovery's events are for.
pub(super) struct Told {
    pub(super) farms: Farms,
    pub(super) metrics: Arc<Metrics>,
    pub(super) timeline: Timeline,
}

impl Told {
    fn take(&self, event: Event) {
        match event {
            Event::Endpoints { farm, endpoints } => {
                for known in self.farms.load().iter().filter(|known| known.name() == farm.name) {
                    known.update(endpoints.clone());
                }
            }
            Event::LookedUp { question, outcome, .. } => {
                self.metrics.looked_up(&question.name, question.kind.name(), outcome.name());
            }
            Event::Failing { question, outcome, kept } => {
                let text = format!("{question}: {}; records kept: {kept}", outcome.name());
                self.timeline.add(timeline::Event::now(Kind::LookupFails, text));
            }
            Event::Recovered { question, records } => {
                let text = format!("{question}: records: {records}");
                self.timeline.add(timeline::Event::now(Kind::LookupWorks, text));
            }
        }
    }
}
