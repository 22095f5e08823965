//! The threads beside the workers: discovery, control and admin. Separate from what each of them does, because here is who
//! shares what with whom.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::admin_thread::AdminThread;
use super::control::{Calls, Commands, Handles, Socket};
use super::control_thread::ControlThread;
use super::discovery_thread::DiscoveryThread;
use super::handover_state::HandoverStatus;
use super::predecessor::Predecessor;
use super::reload::Asked;
use crate::admin;
use crate::core::Core;
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
    pub(super) core: Core,
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
        let (discovery, control, admin) = self.threads();
        let no_thread = |name: &str| format!("can't start the {name} thread");
        Ok([
            worker::on_thread(DISCOVERY.to_owned(), alive.clone(), move || discovery.run())
                .with_context(|| no_thread(DISCOVERY))?,
            worker::on_thread(CONTROL.to_owned(), alive.clone(), move || control.run())
                .with_context(|| no_thread(CONTROL))?,
            worker::on_thread(ADMIN.to_owned(), alive, move || admin.run()).with_context(|| no_thread(ADMIN))?,
        ])
    }

    /// What each of them does, and the lines between them.
    fn threads(self) -> (DiscoveryThread, ControlThread, AdminThread) {
        let Self { core, handover, .. } = self;
        let pulse = |thread: &str| core.pulses.of(thread);
        let (admin, listener, gatherer) = admin::new(core.clone(), &self.admin_hosts);
        let (commands, command_line) = Commands::new(core.clone());
        let handles = Handles { gatherer, commands: command_line, asks: self.asks, stop: self.stop };
        let discovery = DiscoveryThread {
            core: core.clone(),
            discovery: self.discovery,
            changes: self.changes,
            resolver: self.resolver,
            handover: handover.clone(),
            pulse: pulse(DISCOVERY),
        };
        let control = ControlThread { core: core.clone(), admin, commands, begun: self.begun, pulse: pulse(CONTROL) };
        let admin = AdminThread {
            core: core.clone(),
            admin: self.admin,
            listener,
            control: self.control,
            calls: Calls::new(handles),
            opens: self.opens,
            handover,
            pulse: pulse(ADMIN),
        };
        (discovery, control, admin)
    }
}
