//! What every request of a worker can reach.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::channels::Channels;
use super::snapshot::Snapshot;
use crate::drain::{Bell, Cuts, Phase};
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
