//! What all parts of a running gateway share. Separate from what requests reach, which is a part of it, because the threads
//! beside the workers tell and change what goes on, and all of them must see the same.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::discover::DiscoveryStatus;
use crate::drain::Phase;
use crate::farm::{Farm, Looks};
use crate::handover::{Held, Process};
use crate::policy::streams::StreamKind;
use crate::processes::{Processes, own};
use crate::proxy::context::Shared;
use crate::proxy::listener;
use crate::supervisor::Pulses;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::timeline::Timeline;

/// The one of a gateway; cheap to clone.
#[derive(Clone, Debug)]
pub struct Core {
    /// What the workers share.
    pub shared: Arc<Shared>,
    /// All metrics.
    pub metrics: Arc<Metrics>,
    /// What has happened lately.
    pub timeline: Timeline,
    /// What wakes the task that looks at XSPs.
    pub looks: Arc<Looks>,
    /// The names that are followed in DNS.
    pub discovery: DiscoveryStatus,
    /// Which threads move.
    pub pulses: Pulses,
    /// The processes that share this one's place.
    pub processes: Arc<Processes>,
    /// Whether no other process holds anything at an XSP, of which this one would not know.
    pub is_alone: Arc<AtomicBool>,
}

impl Core {
    /// Every farm that runs, those that are retired too. Takes no lock.
    pub fn farms(&self) -> Arc<[Arc<Farm>]> {
        Arc::clone(&self.shared.snapshot.load().farms)
    }

    /// Has the farms run that `change` makes of those that do. It may be called again if they change meanwhile.
    pub fn change_farms(&self, mut change: impl FnMut(&[Arc<Farm>]) -> Arc<[Arc<Farm>]>) {
        self.shared.snapshot.rcu(|snapshot| snapshot.with_farms(change(&snapshot.farms)));
    }

    /// The farm that has one of `names`, or had it: of those that run, one that the configuration has comes first.
    pub fn farm_called(&self, names: &[&str]) -> Option<Arc<Farm>> {
        let farms = self.farms();
        let called = farms.iter().filter(|farm| names.iter().any(|name| farm.is_called(name)));
        called.min_by_key(|farm| farm.is_retired()).map(Arc::clone)
    }

    /// Every name of the farms that have one of `names`, or had it: one process may know a farm by another name than the next.
    pub fn names_of(&self, names: &[&str]) -> BTreeSet<String> {
        let farms = self.farms();
        let called = farms.iter().filter(|farm| names.iter().any(|name| farm.is_called(name)));
        called.flat_map(|farm| farm.names()).chain(names.iter().map(|name| (*name).to_owned())).collect()
    }

    /// The farms that are meant by `names`, those of other names that are the same among them; none: every farm. One that has gone
    /// on under another name is meant only if that one is not there.
    pub fn farms_meant(&self, names: &[&str]) -> Vec<Arc<Farm>> {
        let (farms, all) = (self.farms(), self.names_of(names));
        let is_meant = |farm: &&Arc<Farm>| names.is_empty() || all.iter().any(|name| farm.is_called(name));
        let (gone, meant): (Vec<_>, Vec<_>) =
            farms.iter().filter(is_meant).map(Arc::clone).partition(|farm| farm.has_gone_on());
        if meant.is_empty() { gone } else { meant }
    }

    /// How many streams this process has, by [`StreamKind`].
    pub fn held(&self) -> [u64; StreamKind::ALL.len()] {
        let mut all = [0; StreamKind::ALL.len()];
        for endpoint in self.farms().iter().flat_map(|farm| farm.endpoints()) {
            all.iter_mut().zip(endpoint.held()).for_each(|(all, its)| *all += its);
        }
        all
    }

    /// How many streams all processes have at one endpoint of a farm, as far as they have said, by [`StreamKind`].
    pub fn held_at(&self, farm: &Farm, endpoint: SocketAddr) -> [u64; StreamKind::ALL.len()] {
        let processes = self.all_processes();
        let held = processes.iter().flat_map(|process| &process.held);
        let mut all = [0; StreamKind::ALL.len()];
        for held in held.filter(|held| held.farm == farm.name() && held.endpoint == endpoint) {
            all.iter_mut().zip(held.streams).for_each(|(all, its)| *all += its);
        }
        all
    }

    /// This process and those before it, newest first.
    pub fn all_processes(&self) -> Vec<Process> {
        let phase = self.phase();
        let (since, ends) = self.processes.since(phase);
        let farms = self.farms();
        let held = farms.iter().flat_map(|farm| {
            farm.endpoints().into_iter().filter_map(|endpoint| {
                let streams = endpoint.held();
                let held = Held { farm: farm.name().to_owned(), endpoint: endpoint.address(), streams };
                streams.iter().any(|count| *count > 0).then_some(held)
            })
        });
        let mut held: Vec<Held> = held.collect();
        held.sort_by(|one, other| (&one.farm, one.endpoint).cmp(&(&other.farm, other.endpoint)));
        let this = Process {
            pid: own(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            phase: phase.name().to_owned(),
            started: self.processes.started(),
            since,
            ends,
            connections: u64::try_from(listener::open()).unwrap_or(u64::MAX),
            held,
            heard: 0.0,
        };
        [vec![this], self.processes.heard()].concat()
    }

    /// Whether no process that has been replaced drains yet.
    pub fn is_alone(&self) -> bool {
        self.is_alone.load(Ordering::Relaxed)
    }

    /// How far the process is on its way to its end.
    pub fn phase(&self) -> Phase {
        *self.shared.phase.borrow()
    }
}
