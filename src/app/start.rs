//! How a gateway is put together, up to the point where it could serve. Separate from what is asked of one that runs, because
//! there is a moment between the two when it takes another process' place.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};

use super::Gateway;
use super::assemble;
use super::control::{self, Socket};
use super::handover_state::{ForSuccessor, HandoverStatus, Inherited};
use super::lost;
use super::predecessor::Predecessor;
use super::reload::{Asked, Reload};
use super::running::{FIRST_XSP, LOOK_EVERY, Running};
use super::side_threads::{self, SideThreads};
use super::sockets::{Plan, Sockets, bind_admin};
use crate::config::Loaded;
use crate::config::model::{self, Config};
use crate::core::Core;
use crate::discover::dns::DnsResolver;
use crate::discover::{Answers, Discovery};
use crate::drain::{Cuts, Phase};
use crate::farm::{Farm, Looks};
use crate::handover;
use crate::policy::affinity::{Key, Keyring};
use crate::processes::Processes;
use crate::proxy::channels::Channels;
use crate::proxy::context::Shared;
use crate::registry::Registry;
use crate::telemetry::access::{self, AccessLog};
use crate::telemetry::lines;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::timeline::Timeline;
use crate::telemetry::traces::Traces;
use crate::tls::certs::Material;
use crate::worker::{self, Alive, Order};

/// What is left to do for a gateway to serve.
pub(super) struct Start {
    core: Core,
    asks: Sender<Asked>,
    plan: Plan,
    /// The control socket's file of the process that goes, if this one has another or none.
    abandoned: Option<PathBuf>,
    begun: oneshot::Sender<Option<Predecessor>>,
    opens: oneshot::Sender<()>,
    /// The farms of the process that goes of which nothing is here, and those here of which nothing was there.
    change: lost::Change,
}

impl Start {
    /// What all parts of the gateway share.
    pub(super) const fn core(&self) -> &Core {
        &self.core
    }

    /// Waits a moment for the first XSP of each farm.
    pub(super) fn find_xsps(&self) {
        let deadline = Instant::now() + FIRST_XSP;
        let is_awaited = |farm: &Arc<Farm>| !farm.is_retired() && farm.has_nobody();
        while self.core.farms().iter().any(is_awaited) && Instant::now() < deadline {
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Warns of sessions that are lost by another configuration than that of the process that goes, and returns the same. To be
    /// called once XSPs are found.
    pub(super) fn lost(&self) -> Vec<String> {
        self.change.tell()
    }

    /// Serves, in the place of `predecessor` if there is one.
    pub(super) fn now(self, predecessor: Option<Predecessor>) {
        // If nobody takes these, the process is about to end.
        drop(self.asks.send(Asked::Open(self.plan)));
        self.abandoned.iter().for_each(|path| control::remove(path));
        drop(self.begun.send(predecessor));
        self.opens.send(()).ok();
    }
}

/// A gateway that goes by what has been read, and serves nobody yet. Dropping it ends it.
///
/// # Errors
/// What could not be bound or set up, by name.
pub(super) fn prepare(loaded: &Loaded, material: &Material, mut inherited: Inherited) -> Result<(Gateway, Start)> {
    let config = &loaded.config;
    let keys = assemble::keys(config, material, inherited.affinity());
    let keyring = assemble::keyring(keys.iter().cloned()).expect("there is one at least");
    let (parts, change) = Parts::new(config, material, &keyring, &mut inherited)?;
    let (orders, ordered) = (0..config.workers).map(|_| mpsc::unbounded_channel()).unzip();
    let (handover_done, handover) = watch::channel(HandoverStatus::Pending);
    let bound = Bound::new(config, orders, &mut inherited, &handover)?;
    let (phase, phases) = watch::channel(Phase::Running);
    let (answers, state_dir) = (inherited.answers.take(), config.state_dir.as_deref());
    let discovery = Discovery::new(&config.dns, config.farms.values().cloned(), state_dir, answers);
    let core = parts.core(config, material, &bound.plan, &discovery, phases)?;
    let for_successor = bound.for_successor(config, keys, discovery.answers(), phase.clone(), handover_done)?;
    let Bound { sockets, plan, admin, control, abandoned } = bound;
    let (address, admin) = admin.unzip();

    let (changes, changed) = mpsc::unbounded_channel();
    let (asks, asked) = channel();
    let (begun, begins) = oneshot::channel();
    let (opens, opened) = oneshot::channel();
    let stop = Arc::clone(&core.processes.stop);
    let side_threads = SideThreads {
        core: core.clone(),
        admin,
        admin_hosts: config.admin.iter().flat_map(|admin| admin.hosts.iter().cloned()).collect(),
        control,
        asks: asks.clone(),
        stop: Arc::clone(&stop),
        begun: begins,
        opens: opened,
        handover: handover.clone(),
        discovery,
        changes: changed,
        resolver: DnsResolver::new(&config.dns),
    };
    let running = Running {
        core: core.clone(),
        config: config.clone(),
        source: loaded.source.clone(),
        material: Arc::new(material.clone()),
        keyring,
        sockets,
        discovery: changes,
        for_successor,
    };

    let watcher = core.pulses.watch().context("can't start the watcher")?;
    let (alive, ended) = worker::lifeline();
    let mut gateway = Gateway {
        core: core.clone(),
        addresses: plan.addresses(config, address),
        phase,
        asks: asks.clone(),
        stop,
        handover,
        threads: workers(&core, ordered, &alive)?,
        predecessor: None,
        working: config.workers,
        ended,
        _watcher: watcher,
    };
    gateway.threads.extend(side_threads.start(alive)?);
    let reload = Reload::new(loaded.source.path.clone(), running);
    gateway.threads.push(reload.start(asked).context("can't start the reload thread")?);
    Ok((gateway, Start { core, asks, plan, abandoned, begun, opens, change }))
}

/// What the core is made of, before there are sockets.
struct Parts {
    metrics: Arc<Metrics>,
    timeline: Timeline,
    looks: Arc<Looks>,
    farms: Vec<Arc<Farm>>,
}

impl Parts {
    fn new(
        config: &Config,
        material: &Material,
        keyring: &Arc<Keyring>,
        inherited: &mut Inherited,
    ) -> Result<(Self, lost::Change)> {
        let (metrics, timeline) = (Arc::new(Metrics::default()), Timeline::default());
        metrics.certificates_expire(material.expiries.iter().cloned());
        inherited.events.drain(..).for_each(|event| timeline.add(event));
        let looks = Arc::default();
        let mut farms = assemble::farms(config, material, keyring, &metrics, &timeline, &looks)?;
        assemble::tell_keys(config, keyring, &metrics);
        let mut change = lost::Change::default();
        for farm in &farms {
            let names = farm.names();
            match names.iter().find_map(|name| inherited.farms.iter().find(|handed| handed.name == *name)) {
                Some(handed) => farm.take_over(handed),
                None => change.new.push(Arc::clone(farm)),
            }
        }
        let is_known = |handed: &&handover::Farm| farms.iter().any(|farm| farm.is_called(&handed.name));
        let left: Vec<_> = inherited.farms.iter().filter(|handed| !is_known(handed)).collect();
        for handed in left {
            change.is_left(handed);
            farms.extend(assemble::retired(handed, config, keyring, &metrics, &timeline, &looks)?);
        }
        Ok((Self { metrics, timeline, looks, farms }, change))
    }

    /// The core of a gateway that serves where `plan` says.
    fn core(
        self,
        config: &Config,
        material: &Material,
        plan: &Plan,
        discovery: &Discovery,
        phase: watch::Receiver<Phase>,
    ) -> Result<Core> {
        let Self { metrics, timeline, looks, farms } = self;
        let cuts = Arc::new(Cuts::new(config.drain_spread));
        let shared = Shared {
            snapshot: ArcSwap::from_pointee(assemble::snapshot(config, material, &farms, &metrics, &plan.slots, None)?),
            channels: Channels::new(config.affinity.lost_channels_for),
            access: access_log(config)?,
            traces: Traces::start(config.traces.as_ref(), &metrics).context("can't start the traces")?,
            phase,
            registry: Registry::new(Arc::clone(&cuts)),
            cuts,
        };
        let (discovery, pulses) = (discovery.status(), side_threads::pulses(config.workers));
        Ok(Core {
            shared: Arc::new(shared),
            metrics,
            timeline,
            looks,
            discovery,
            pulses,
            processes: Processes::new(),
            is_alone: Arc::default(),
        })
    }
}

/// Everything that is listened on, bound or inherited.
struct Bound {
    sockets: Sockets,
    plan: Plan,
    admin: Option<(SocketAddr, TcpListener)>,
    control: Option<Socket>,
    /// The control socket's file of the process that goes, if this one has another or none.
    abandoned: Option<PathBuf>,
}

impl Bound {
    fn new(
        config: &Config,
        orders: Vec<mpsc::UnboundedSender<Order>>,
        inherited: &mut Inherited,
        handover: &watch::Receiver<HandoverStatus>,
    ) -> Result<Self> {
        let sockets = Sockets::new(orders);
        let plan = sockets.plan(config, inherited)?;
        let admin = bind_admin(config, inherited)?;
        let control = match &config.control {
            Some(path) => Some(Socket::bind(path, inherited.control(path), handover.clone())?),
            None => None,
        };
        Ok(Self { sockets, plan, admin, control, abandoned: inherited.abandoned() })
    }

    fn for_successor(
        &self,
        config: &Config,
        keys: Vec<Key>,
        answers: watch::Receiver<Answers>,
        phase: watch::Sender<Phase>,
        handover: watch::Sender<HandoverStatus>,
    ) -> Result<ForSuccessor> {
        let admin = match (&config.admin, &self.admin) {
            (Some(admin), Some((_, socket))) => Some((admin.listen, socket.try_clone()?)),
            (Some(_) | None, _) => None,
        };
        let control = self.control.as_ref().map(Socket::spare).transpose()?;
        Ok(ForSuccessor { admin, control, keys, answers, phase, handover })
    }
}

/// Starts the workers, which go by `ordered`.
fn workers(core: &Core, ordered: Vec<mpsc::UnboundedReceiver<Order>>, alive: &Alive) -> Result<Vec<JoinHandle<()>>> {
    let start = |(index, orders)| {
        let pulse = core.pulses.of(&worker::name(index));
        worker::start(index, Arc::clone(&core.shared), orders, pulse, alive.clone()).context("can't start a worker")
    };
    ordered.into_iter().enumerate().map(start).collect()
}

fn access_log(config: &Config) -> Result<AccessLog> {
    match config.log.access {
        model::AccessLog::On => {
            let lines = match &config.log.access_file {
                Some(path) => access::file::start(path)
                    .with_context(|| format!("[log] access_file {} can't be written to", path.display()))?,
                None => lines::output().context("can't start the access log")?.clone(),
            };
            Ok(AccessLog::new(lines, config.log.format, config.log.access_sample))
        }
        model::AccessLog::Off => Ok(AccessLog::off()),
    }
}
