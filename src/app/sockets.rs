//! The addresses that clients reach: which are bound, and who accepts on them. Separate from what is served there, because a
//! socket that stays is never touched, whatever else changes.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tokio::sync::{mpsc, watch};

use super::handover_state::Inherited;
use crate::config::model::{Config, Freebind};
use crate::handover::Listening;
use crate::worker::{self, Order};

/// How long it may take to take in those who have come to an address that is given up.
const LAST_ONES: Duration = Duration::from_millis(500);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// A listening address: as it is configured, and as it is, which differs where the port is 0. Its place in the list is its
/// place in every snapshot, so that a connection finds its listener for as long as it lives.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) configured: SocketAddr,
    pub(super) tenant: Tenant,
    pub(super) real: SocketAddr,
    /// `None`: the address is no longer served.
    open: Option<Open>,
}

/// An address that is served.
#[derive(Clone, Debug)]
struct Open {
    /// Accepting goes on while this is held.
    accepting: watch::Sender<()>,
    /// The workers' sockets, for a process that takes this one's place.
    sockets: Vec<Weak<TcpListener>>,
}

/// Whose a listening address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tenant {
    /// `[[https]]` and `[[passthrough]]` blocks, which SNI tells apart.
    Hosts,
    /// The `[[cti]]` block in this place of the file.
    Cti(usize),
}

impl Tenant {
    const fn cti(self) -> Option<usize> {
        match self {
            Self::Hosts => None,
            Self::Cti(index) => Some(index),
        }
    }
}

/// Every address that was ever bound, and the workers that accept on them.
#[derive(Debug)]
pub(super) struct Sockets {
    slots: Vec<Slot>,
    workers: Vec<mpsc::UnboundedSender<Order>>,
}

/// What a configuration takes: bound, and not yet in use.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) slots: Vec<Slot>,
    /// New slots, and their sockets for the workers to accept on.
    fresh: Vec<(usize, Vec<Arc<TcpListener>>)>,
}

/// The real addresses that are served, kind by kind, in file order.
#[derive(Debug)]
pub(super) struct Addresses {
    pub(super) https: Vec<SocketAddr>,
    pub(super) cti: Vec<SocketAddr>,
    pub(super) passthrough: Vec<SocketAddr>,
    pub(super) admin: Option<SocketAddr>,
}

impl Plan {
    /// Those of `config`'s blocks, and of the admin listener, which is at `admin`.
    pub(super) fn addresses(&self, config: &Config, admin: Option<SocketAddr>) -> Addresses {
        let hosts = |slot: &Slot, listen: &[SocketAddr]| slot.is_of(Tenant::Hosts, listen);
        Addresses {
            https: self.real(|slot| config.https.iter().any(|block| hosts(slot, &block.listen))),
            cti: self.real(|slot| slot.tenant != Tenant::Hosts),
            passthrough: self.real(|slot| config.passthrough.iter().any(|block| hosts(slot, &block.listen))),
            admin,
        }
    }

    fn real(&self, wanted: impl Fn(&Slot) -> bool) -> Vec<SocketAddr> {
        self.slots.iter().filter(|slot| wanted(slot)).map(|slot| slot.real).collect()
    }
}

impl Slot {
    /// Whether a block of `tenant` that names `listen` is reached here.
    pub(super) fn is_of(&self, tenant: Tenant, listen: &[SocketAddr]) -> bool {
        self.open.is_some() && self.tenant == tenant && listen.contains(&self.configured)
    }

    /// Whether the socket here is in the way of one at `address`.
    fn overlaps(&self, address: SocketAddr) -> bool {
        let any = self.real.ip().is_unspecified() || address.ip().is_unspecified();
        self.open.is_some() && self.real.port() == address.port() && any
    }

    /// Whether what is configured so is or was reached here. A port that the configuration names is the same in every process.
    fn is_for(&self, configured: SocketAddr, tenant: Tenant) -> bool {
        self.configured == configured && (self.tenant == tenant || configured.port() != 0)
    }
}

impl Sockets {
    /// None yet, for these workers.
    pub(super) const fn new(workers: Vec<mpsc::UnboundedSender<Order>>) -> Self {
        Self { slots: Vec::new(), workers }
    }

    /// Binds what `config` takes and is neither bound yet nor `inherited`.
    ///
    /// # Errors
    /// What could not be bound. Nothing has changed then.
    pub(super) fn plan(&self, config: &Config, inherited: &mut Inherited) -> Result<Plan> {
        let mut plan = Plan { slots: self.slots.clone(), fresh: Vec::new() };
        let (wanted, free) = (listen(config), config.tcp.freebind);
        let is_wanted = |slot: &Slot| wanted.iter().any(|(configured, tenant)| slot.is_for(*configured, *tenant));
        plan.slots.iter_mut().filter(|slot| !is_wanted(slot)).for_each(|slot| slot.open = None);
        for (configured, tenant) in wanted {
            let known = plan.slots.iter().position(|slot| slot.is_for(configured, tenant));
            if let Some(slot) = known.map(|index| &mut plan.slots[index]).filter(|slot| slot.open.is_some()) {
                slot.tenant = tenant;
                continue;
            }
            let bound = match inherited.sockets(configured, tenant.cti()) {
                Some((real, sockets)) => worker::bind_more(real, sockets, self.workers.len(), free)
                    .map(|sockets| (real, sockets))
                    .with_context(|| format!("can't listen on {configured} with more workers")),
                None => bind(configured, self.workers.len(), free),
            };
            let (real, sockets) = match self.slots.iter().find(|slot| slot.overlaps(configured)) {
                Some(slot) if bound.is_err() => bound.with_context(|| {
                    format!("{} is served until now; give it up in a reload of its own first", slot.real)
                })?,
                Some(_) | None => bound?,
            };
            let sockets: Vec<_> = sockets.into_iter().map(Arc::new).collect();
            let open =
                Open { accepting: watch::Sender::new(()), sockets: sockets.iter().map(Arc::downgrade).collect() };
            let slot = Slot { configured, tenant, real, open: Some(open) };
            let index = known.unwrap_or(plan.slots.len());
            match plan.slots.get_mut(index) {
                Some(closed) => *closed = slot,
                None => plan.slots.push(slot),
            }
            plan.fresh.push((index, sockets));
        }
        Ok(plan)
    }

    /// Accepts no more where `plan` does not say so, and returns once those who had come there already are taken in.
    pub(super) fn close(&self, plan: &Plan) {
        let closing = self.slots.iter().zip(&plan.slots).filter(|(_, next)| next.open.is_none());
        let closing: Vec<_> = closing.filter_map(|(slot, _)| Some(&slot.open.as_ref()?.accepting)).collect();
        closing.iter().for_each(|accepting| accepting.send_replace(()));
        let deadline = Instant::now() + LAST_ONES;
        while closing.iter().any(|accepting| accepting.receiver_count() > 0) && Instant::now() < deadline {
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Accepts where `plan` says, and nowhere else.
    pub(super) fn adopt(&mut self, plan: Plan) {
        for (listener, sockets) in plan.fresh {
            let Some(open) = &plan.slots[listener].open else { continue };
            // There are more sockets than workers if another process, which had more of these, has handed them over.
            for (worker, socket) in self.workers.iter().cycle().zip(sockets) {
                // The error says that the worker has ended, and the process is about to.
                worker.send(Order { listener, socket, open: open.accepting.subscribe() }).ok();
            }
        }
        self.slots = plan.slots;
    }

    /// Every address that is served, and its sockets, for a process that takes this one's place.
    pub(super) fn all(&self) -> Vec<(Listening, Vec<Arc<TcpListener>>)> {
        let listening = |slot: &Slot| {
            let sockets: Vec<_> = slot.open.as_ref()?.sockets.iter().filter_map(Weak::upgrade).collect();
            let Slot { configured, real, tenant, .. } = *slot;
            Some((Listening { configured, real, cti: tenant.cti(), count: sockets.len() }, sockets))
        };
        self.slots.iter().filter_map(listening).collect()
    }
}

/// Every address that clients reach, in file order, kind by kind, once.
fn listen(config: &Config) -> Vec<(SocketAddr, Tenant)> {
    let https = config.https.iter().flat_map(|block| &block.listen);
    let hosts = https.chain(config.passthrough.iter().flat_map(|block| &block.listen));
    let cti = config
        .cti
        .iter()
        .enumerate()
        .flat_map(|(index, block)| block.listen.iter().map(move |address| (*address, Tenant::Cti(index))));
    let mut all: Vec<(SocketAddr, Tenant)> = Vec::new();
    for wanted in hosts.map(|address| (*address, Tenant::Hosts)).chain(cti) {
        if !all.contains(&wanted) {
            all.push(wanted);
        }
    }
    all
}

/// The admin listener's socket, and its real address.
pub(super) fn bind_admin(config: &Config, inherited: &mut Inherited) -> Result<Option<(SocketAddr, TcpListener)>> {
    let Some(admin) = &config.admin else { return Ok(None) };
    if let Some(socket) = inherited.admin(admin.listen) {
        return Ok(Some((socket.local_addr()?, socket)));
    }
    let (real, listeners) = bind(admin.listen, 1, config.tcp.freebind).context("[admin]")?;
    Ok(listeners.into_iter().next().map(|listener| (real, listener)))
}

fn bind(address: SocketAddr, count: usize, free: Freebind) -> Result<(SocketAddr, Vec<TcpListener>)> {
    worker::bind(address, count, free).map_err(|error| {
        let hints = [
            (ErrorKind::AddrInUse, "; another gateway or server listens there"),
            (ErrorKind::PermissionDenied, "; ports below 1024 take root or CAP_NET_BIND_SERVICE"),
            (
                ErrorKind::AddrNotAvailable,
                "; it is no address of this machine (if it will be, see `freebind` under [tcp])",
            ),
        ];
        let hint = hints.into_iter().find(|(kind, _)| *kind == error.kind()).map_or("", |(_, hint)| hint);
        anyhow!("can't listen on {address}: {error}{hint}")
    })
}
