//! The thread at the admin port and the control socket. Separate from the one that gathers and does what is asked there: this
//! one waits for nobody but the clients, so that `/livez`, `/readyz` and `ctl stop` are answered whatever the others do.

use std::net::TcpListener;

use tokio::sync::{oneshot, watch};

use super::control::{Calls, Socket};
use super::handover_state::HandoverStatus;
use crate::admin::Listener;
use crate::core::Core;
use crate::drain::{Phase, reached};
use crate::supervisor::Pulse;

/// All of it, not yet running.
pub(super) struct AdminThread {
    pub(super) core: Core,
    pub(super) admin: Option<TcpListener>,
    pub(super) listener: Listener,
    pub(super) control: Option<Socket>,
    pub(super) calls: Calls,
    /// Comes once this process serves.
    pub(super) opens: oneshot::Receiver<()>,
    pub(super) handover: watch::Receiver<HandoverStatus>,
    pub(super) pulse: Pulse,
}

impl AdminThread {
    /// Answers at both until another process does, and returns when the process ends.
    pub(super) async fn run(self) {
        let Self { core, admin, listener, mut control, calls, opens, mut handover, pulse } = self;
        let answering = async {
            // Until then all of it is another process' to answer.
            if opens.await.is_ok() {
                control.iter_mut().for_each(Socket::keep);
                tokio::select! {
                    () = listener.serve(admin) => {}
                    () = calls.serve(control.as_ref()) => {}
                    // From now on all of it is another process' again.
                    _ = handover.wait_for(|handover| *handover != HandoverStatus::Pending) => {}
                }
            }
            drop(control);
            std::future::pending().await
        };
        tokio::select! {
            () = answering => {}
            () = pulse.beats() => {}
            () = core.pulses.watch_the_watcher() => {}
            () = reached(core.shared.phase.clone(), Phase::Forced) => {}
        }
        calls.farewell().await;
    }
}
