//! What every request of a worker can reach.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::channels::Channels;
use super::snapshot::Snapshot;
use crate::drain::{Bell, Cuts, Phase};
use crate::policy::health::Seen;
use crate::registry::Registry;
use crate::telemetry::access::AccessLog;
use crate::telemetry::traces::Traces;
use crate::upstream::pool::Pool;

/// Shared by all workers.
#[derive(Debug)]
pub struct Shared {
    /// The compiled configuration; loaded once per request.
    pub snapshot: ArcSwap<Snapshot>,
    /// Which event channels are open, and where.
    pub channels: Channels,
    /// Where requests are told about.
    pub access: AccessLog,
    /// Which of them are traced.
    pub traces: Traces,
    /// How far the process is on its way to its end.
    pub phase: watch::Receiver<Phase>,
    /// The connections that live long.
    pub registry: Arc<Registry>,
    /// When the connections that are left at its end are cut.
    pub cuts: Arc<Cuts>,
}

/// One worker's own.
#[derive(Clone, Debug)]
pub struct Worker {
    /// What it shares with the others.
    pub shared: Arc<Shared>,
    /// Its idle upstream connections.
    pub pool: Arc<Pool>,
    /// What tells its connections that the phase has changed.
    pub bell: Arc<Bell>,
}

impl Worker {
    /// XSPs have ended connections that have idled, those with these [`Endpoint::key`](crate::farm::Endpoint::key)s.
    pub fn ended(&self, keys: &[u64]) {
        let farms = &self.shared.snapshot.load().farms;
        for key in keys {
            let known = farms.iter().find_map(|farm| Some((farm, farm.by_key(*key)?)));
            if let Some((farm, endpoint)) = known {
                let rules = farm.config().failover.rules();
                farm.observe(&endpoint, Seen::Ended, Instant::now(), None, &rules);
            }
        }
    }
}
