//! The discovery thread: DNS is followed, what has left it is swept up, and XSPs are looked at. Separate from the control thread, because XSPs
//! must be followed whatever is asked over the admin port or read from a disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::handover_state::HandoverStatus;
use crate::core::Core;
use crate::discover::dns::DnsResolver;
use crate::discover::{Change, Discovery, Event};
use crate::drain::{Phase, reached};
use crate::proxy::looks;
use crate::supervisor::Pulse;
use crate::telemetry::timeline::{self, Kind};

/// How often endpoints that have left DNS are looked over.
const SWEEP: Duration = Duration::from_secs(1);

/// All of it, not yet running.
pub(super) struct DiscoveryThread {
    pub(super) core: Core,
    pub(super) discovery: Discovery,
    pub(super) changes: mpsc::UnboundedReceiver<Change<DnsResolver>>,
    pub(super) resolver: DnsResolver,
    pub(super) handover: watch::Receiver<HandoverStatus>,
    pub(super) pulse: Pulse,
}

impl DiscoveryThread {
    /// Runs all of it until the process ends.
    pub(super) async fn run(self) {
        let Self { core, discovery, changes, resolver, mut handover, pulse } = self;
        let looking = looks::run(Arc::clone(&core.shared), Arc::clone(&core.looks));
        let sweeping = async {
            loop {
                tokio::time::sleep(SWEEP).await;
                sweep(&core);
            }
        };
        // The other process has the names and `state_dir`.
        let discovering = async {
            tokio::select! {
                () = discovery.run(resolver, changes, |event| take(&core, event)) => {}
                _ = handover.wait_for(|handover| *handover == HandoverStatus::Done) => std::future::pending().await,
            }
        };
        tokio::select! {
            () = discovering => {}
            () = sweeping => {}
            () = looking => {}
            () = pulse.beats() => {}
            () = reached(core.shared.phase.clone(), Phase::Forced) => {}
        }
    }
}

fn sweep(core: &Core) {
    let farms = core.farms();
    for farm in farms.iter() {
        if core.is_alone() {
            farm.tell_vacated();
        }
        farm.tell_unknown_drains();
        farm.forget_departed(Instant::now());
    }
    if farms.iter().any(|farm| farm.is_done_with()) {
        core.change_farms(|farms| farms.iter().filter(|farm| !farm.is_done_with()).cloned().collect());
    }
}

/// What discovery tells is for the farms, the metrics and the time line.
fn take(core: &Core, event: Event) {
    match event {
        Event::Endpoints { farm, endpoints, missing } => {
            for known in core.farms().iter().filter(|known| known.name() == farm.name) {
                known.update(endpoints.clone(), &missing);
            }
        }
        Event::LookedUp { question, outcome, .. } => {
            core.metrics.looked_up(&question.name, question.kind.name(), outcome.name());
        }
        Event::Failing { question, outcome, kept } => {
            let text = format!("{question}: {}; records kept: {kept}", outcome.name());
            core.timeline.add(timeline::Event::now(Kind::LookupFails, text));
        }
        Event::Recovered { question, records } => {
            let text = format!("{question}: records: {records}");
            core.timeline.add(timeline::Event::now(Kind::LookupWorks, text));
        }
    }
}
