//! The threads beside the workers: discovery, control and admin. Separate from what each of them does, because here is who
//! shares what with whom.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::admin_thread::AdminThread;
use super::control::{Calls, Commands, Handles, Socket};
use super::control_thread::{ControlThread, SharedWithPeer};
use super::discovery_thread::{DiscoveryThread, Told};
use super::handover_state::HandoverStatus;
use super::predecessor::Predecessor;
use super::reload::Asked;
use crate::admin::{self, Sources};
use crate::discover::dns::DnsResolver;
use crate::discover::{Change, Discovery};
use crate::supervisor::Pulses;
use crate::worker::{self, Alive};

/// Follows DNS.
const DISCOVERY: &str = "discovery";
/// Gathers what is told, and does what is asked.
const CONTROL: &str = "control";
/// Hears the admin port and the control socket.
const ADMIN: &str = "admin";

/// All that they need, none of them running yet.
pub(super) struct SideThreads {
    pub(super) sources: Sources,
    pub(super) admin: Option<TcpListener>,
    /// The names by which the admin listener may be called.
    pub(super) admin_hosts: Vec<String>,
    pub(super) control: Option<Socket>,
    pub(super) asks: Sender<Asked>,
    pub(super) stop: Arc<Notify>,
    /// Comes once this process serves, with the one whose place it has taken, if it has taken one's.
    pub(super) begun: oneshot::Receiver<Option<Predecessor>>,
    /// Comes at the same time.
    pub(super) opens: oneshot::Receiver<()>,
    pub(super) handover: watch::Receiver<HandoverStatus>,
    pub(super) discovery: Discovery,
    pub(super) changes: mpsc::UnboundedReceiver<Change<DnsResolver>>,
    pub(super) resolver: DnsResolver,
}

/// The pulses of so many workers, and of these.
pub(super) fn pulses(workers: usize) -> Pulses {
    Pulses::new((0..workers).map(worker::name).chain([DISCOVERY, CONTROL, ADMIN].map(str::to_owned)))
}

impl SideThreads {
    /// Starts them.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(super) fn start(self, alive: Alive) -> Result<[JoinHandle<()>; 3]> {
        let Sources { metrics, farms, shared, timeline, pulses, .. } = self.sources.clone();
        // What another process still holds at an XSP is not known here.
        let is_alone = Arc::new(AtomicBool::new(false));
        let (admin, listener, gatherer) = admin::new(self.sources, &self.admin_hosts);
        let (commands, command_line) = Commands::new(Arc::clone(&farms));
        let admin_thread = AdminThread {
            admin: self.admin,
            listener,
            control: self.control,
            calls: Calls::new(Handles { gatherer, commands: command_line, asks: self.asks, stop: self.stop }),
            opens: self.opens,
            handover: self.handover.clone(),
            phase: shared.phase.clone(),
            pulse: pulses.of(ADMIN),
            pulses: pulses.clone(),
        };
        let discovery = DiscoveryThread {
            discovery: self.discovery,
            changes: self.changes,
            resolver: self.resolver,
            told: Told { farms: Arc::clone(&farms), metrics: Arc::clone(&metrics), timeline: timeline.clone() },
            is_alone: Arc::clone(&is_alone),
            handover: self.handover,
            phase: shared.phase.clone(),
            pulse: pulses.of(DISCOVERY),
        };
        let control = ControlThread {
            admin,
            commands,
            begun: self.begun,
            metrics,
            peer: SharedWithPeer { shared, farms, timeline, is_alone },
            pulse: pulses.of(CONTROL),
        };
        let no_thread = |name: &str| format!("can't start the {name} thread");
        Ok([
            worker::on_thread(DISCOVERY.to_owned(), alive.clone(), move || discovery.run())
                .with_context(|| no_thread(DISCOVERY))?,
            worker::on_thread(CONTROL.to_owned(), alive.clone(), move || control.run())
                .with_context(|| no_thread(CONTROL))?,
            worker::on_thread(ADMIN.to_owned(), alive, move || admin_thread.run()).with_context(|| no_thread(ADMIN))?,
        ])
    }
}
