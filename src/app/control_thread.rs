//! The control thread: status and metrics are gathered, and what control calls want is done. Separate
//! from discovery, and from the thread that hears the admin port and the control socket: whatever holds this one up, both go
//! on, and say so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::control::Commands;
use super::predecessor::Predecessor;
use super::reminder::remind;
use super::running::Farms;
use crate::admin::Admin;
use crate::drain::{Phase, reached};
use crate::proxy::context::Shared;
use crate::supervisor::Pulse;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::timeline::Timeline;

/// All of it, not yet running.
pub(super) struct ControlThread {
    pub(super) admin: Admin,
    pub(super) commands: Commands,
    /// Comes once this process serves, with the one whose place it has taken, if it has taken one's.
    pub(super) begun: oneshot::Receiver<Option<Predecessor>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) peer: SharedWithPeer,
    pub(super) pulse: Pulse,
}

/// What there is to share with the process whose place this one has taken.
pub(super) struct SharedWithPeer {
    pub(super) shared: Arc<Shared>,
    pub(super) farms: Farms,
    pub(super) timeline: Timeline,
    /// Set once no other process holds anything at an XSP, of which this one would not know.
    pub(super) is_alone: Arc<AtomicBool>,
}

impl ControlThread {
    /// Runs all of it until the process ends.
    pub(super) async fn run(self) {
        let Self { admin, commands, begun, metrics, peer, pulse } = self;
        let (phase, serving) = (peer.shared.phase.clone(), peer.shared.phase.clone());
        let following = async {
            // The error says that the process ends before it has begun.
            if let Ok(predecessor) = begun.await {
                peer.follow(predecessor);
                tokio::select! {
                    () = remind(&metrics) => {}
                    // From now on that is another process' to do.
                    () = reached(serving, Phase::HandedOver) => {}
                }
            }
            std::future::pending::<()>().await
        };
        tokio::select! {
            () = admin.run() => {}
            () = commands.run() => {}
            () = following => {}
            () = pulse.beats() => {}
            () = reached(phase, Phase::Forced) => {}
        }
    }
}

impl SharedWithPeer {
    /// Goes along with `predecessor` until that has ended.
    fn follow(self, predecessor: Option<Predecessor>) {
        let Self { shared, farms, timeline, is_alone } = self;
        let Some(mut predecessor) = predecessor else { return is_alone.store(true, Ordering::Relaxed) };
        if let Some(report) = predecessor.report() {
            drop(spawn_blocking(move || report.tell()));
        }
        drop(spawn_blocking(move || {
            predecessor.follow(&shared.channels, &farms, &timeline);
            is_alone.store(true, Ordering::Relaxed);
        }));
    }
}
