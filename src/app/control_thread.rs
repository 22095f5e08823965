//! The control thread: status and metrics are gathered, and what control calls want is done. Separate
//! from discovery, and from the thread that hears the admin port and the control socket: whatever holds this one up, both go
//! on, and say so.

use std::sync::atomic::Ordering;

use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::control::Commands;
use super::peers;
use super::predecessor::Predecessor;
use super::reminder::remind;
use crate::admin::Admin;
use crate::core::Core;
use crate::drain::{Phase, reached};
use crate::supervisor::Pulse;

/// All of it, not yet running.
pub(super) struct ControlThread {
    pub(super) core: Core,
    pub(super) admin: Admin,
    pub(super) commands: Commands,
    /// Comes once this process serves, with the one whose place it has taken, if it has taken one's.
    pub(super) begun: oneshot::Receiver<Option<Predecessor>>,
    pub(super) pulse: Pulse,
}

impl ControlThread {
    /// Runs all of it until the process ends.
    pub(super) async fn run(self) {
        let Self { core, admin, commands, begun, pulse } = self;
        let peers_of = core.clone();
        let (phase, serving) = (core.shared.phase.clone(), core.shared.phase.clone());
        let following = async {
            // The error says that the process ends before it has begun.
            if let Ok(predecessor) = begun.await {
                follow(predecessor, core.clone());
                tokio::select! {
                    () = remind(&core.metrics) => {}
                    // From now on that is another process' to do.
                    () = reached(serving, Phase::HandedOver) => {}
                }
            }
            std::future::pending::<()>().await
        };
        tokio::select! {
            () = admin.run() => {}
            () = commands.run() => {}
            () = peers::run(&peers_of) => {}
            () = following => {}
            () = pulse.beats() => {}
            () = reached(phase, Phase::Forced) => {}
        }
    }
}

/// Goes along with `predecessor` until that has ended.
fn follow(predecessor: Option<Predecessor>, core: Core) {
    let Some(mut predecessor) = predecessor else { return core.is_alone.store(true, Ordering::Relaxed) };
    if let Some(report) = predecessor.report() {
        drop(spawn_blocking(move || report.tell()));
    }
    drop(spawn_blocking(move || {
        predecessor.follow(&core);
        core.is_alone.store(true, Ordering::Relaxed);
    }));
}
