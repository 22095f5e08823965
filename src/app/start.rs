//! How a gateway is put together, up to the point where it could serve. Separate from what is asked of one that runs, because
//! there is a moment between the two when it takes another process' place.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::Gateway;
use super::assemble;
use super::control::{self, Socket};
use super::handover_state::{ForSuccessor, HandoverStatus, Inherited};
use super::predecessor::Predecessor;
use super::reload::{Asked, Reload};
use super::running::{FIRST_XSP, Farms, LOOK_EVERY, Running};
use super::side_threads::{self, SideThreads};
use super::sockets::{Plan, Sockets, Tenant, bind_admin};
use crate::admin::Sources;
use crate::config::Loaded;
use crate::config::model::{self, Config};
use crate::discover::Discovery;
use crate::discover::dns::DnsResolver;
use crate::drain::{Cuts, Phase};
use crate::proxy::channels::Channels;
use crate::proxy::context::Shared;
use crate::telemetry::access::AccessLog;
use crate::telemetry::lines;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::timeline::Timeline;
use crate::telemetry::traces::Traces;
use crate::tls::certs::Material;
use crate::worker;

/// What is left to do for a gateway to serve.
pub(super) struct Start {
    farms: Farms,
    asks: Sender<Asked>,
    plan: Plan,
    /// The control socket's file of the process that goes, if this one has another or none.
    abandoned: Option<PathBuf>,
    begun: oneshot::Sender<Option<Predecessor>>,
    opens: oneshot::Sender<()>,
}

impl Start {
    /// Every farm.
    pub(super) const fn farms(&self) -> &Farms {
        &self.farms
    }

    /// Waits a moment for the first XSP of each farm.
    pub(super) fn find_xsps(&self) {
        let deadline = Instant::now() + FIRST_XSP;
        while self.farms.load().iter().any(|farm| farm.has_nobody()) && Instant::now() < deadline {
            std::thread::sleep(LOOK_EVERY);
        }
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
    let Loaded { config, source, .. } = loaded;
    let metrics = Arc::new(Metrics::default());
    metrics.certificates_expire(material.expiries.iter().cloned());
    let keys = assemble::keys(config, material, inherited.affinity());
    let keyring = assemble::keyring(keys.iter().cloned()).expect("there is one at least");
    let timeline = Timeline::default();
    inherited.events.drain(..).for_each(|event| timeline.add(event));
    let farms = assemble::farms(config, material, &keyring, &metrics, &timeline)?;
    for handed in &inherited.farms {
        farms.iter().filter(|farm| farm.name() == handed.name).for_each(|farm| farm.take_over(handed));
    }
    let (orders, ordered): (Vec<_>, Vec<_>) = (0..config.workers).map(|_| mpsc::unbounded_channel()).unzip();
    let sockets = Sockets::new(orders);
    let plan = sockets.plan(config, &mut inherited)?;
    let (admin, admin_socket) = bind_admin(config, &mut inherited)?.unzip();
    let (handover_done, handover) = watch::channel(HandoverStatus::Pending);
    let control = match &config.control {
        Some(path) => Some(Socket::bind(path, inherited.control(path), handover.clone())?),
        None => None,
    };
    let abandoned = inherited.abandoned();
    let snapshot = assemble::snapshot(config, material, &farms, &metrics, &plan.slots, None)?;
    let access = access_log(config)?;
    let traces = Traces::start(config.traces.as_ref(), &metrics).context("can't start the traces")?;
    let (phase, phases) = watch::channel(Phase::Running);
    let shared = Arc::new(Shared {
        snapshot: ArcSwap::from_pointee(snapshot),
        channels: Channels::new(config.affinity.lost_channels_for),
        access,
        traces,
        phase: phases,
        cuts: Arc::new(Cuts::new(config.drain_rate)),
    });
    let discovery = Discovery::new(
        &config.dns,
        config.farms.values().cloned(),
        config.state_dir.as_deref(),
        inherited.answers.take(),
    );
    let spare =
        |(configured, socket): (_, &std::net::TcpListener)| Ok::<_, std::io::Error>((configured, socket.try_clone()?));
    let for_successor = ForSuccessor {
        admin: config.admin.as_ref().map(|admin| admin.listen).zip(admin_socket.as_ref()).map(spare).transpose()?,
        control: control.as_ref().map(Socket::spare).transpose()?,
        keys,
        answers: discovery.answers(),
        phase: phase.clone(),
        handover: handover_done,
    };
    let (alive, ended) = worker::lifeline();
    let pulses = side_threads::pulses(config.workers);
    let watcher = pulses.watch().context("can't start the watcher")?;
    let mut threads = Vec::new();
    for (index, orders) in ordered.into_iter().enumerate() {
        let pulse = pulses.of(&worker::name(index));
        let thread = worker::start(index, Arc::clone(&shared), orders, pulse, alive.clone());
        threads.push(thread.context("can't start a worker")?);
    }
    let (changes, changed) = mpsc::unbounded_channel();
    let (asks, asked) = channel();
    let (begun, begins) = oneshot::channel();
    let (opens, opened) = oneshot::channel();
    let farms = Arc::new(ArcSwap::from_pointee(farms));
    let https = plan.real(|slot| config.https.iter().any(|block| slot.is_of(Tenant::Hosts, &block.listen)));
    let cti = plan.real(|slot| slot.tenant != Tenant::Hosts);
    let passthrough = plan.real(|slot| config.passthrough.iter().any(|block| slot.is_of(Tenant::Hosts, &block.listen)));
    let reload = Reload::new(
        source.path.clone(),
        Running {
            config: config.clone(),
            text: source.text.clone(),
            material: Arc::new(material.clone()),
            keyring,
            farms: Arc::clone(&farms),
            metrics: Arc::clone(&metrics),
            timeline: timeline.clone(),
            shared: Arc::clone(&shared),
            sockets,
            discovery: changes,
            for_successor,
        },
    );
    let stop = Arc::new(Notify::new());
    let side_threads = SideThreads {
        sources: Sources {
            metrics,
            farms: Arc::clone(&farms),
            discovery: discovery.status(),
            shared: Arc::clone(&shared),
            timeline: timeline.clone(),
            pulses: pulses.clone(),
        },
        admin: admin_socket,
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
    let mut gateway = Gateway {
        https,
        cti,
        passthrough,
        admin,
        phase,
        shared,
        asks: asks.clone(),
        stop,
        handover,
        timeline,
        threads,
        predecessor: None,
        working: config.workers,
        ended,
        pulses,
        _watcher: watcher,
    };
    gateway.threads.extend(side_threads.start(alive)?);
    gateway.threads.push(reload.start(asked).context("can't start the reload thread")?);
    Ok((gateway, Start { farms, asks, plan, abandoned, begun, opens }))
}

fn access_log(config: &Config) -> Result<AccessLog> {
    match config.log.access {
        model::AccessLog::On => {
            let output = lines::output().context("can't start the access log")?;
            Ok(AccessLog::new(output.clone(), config.log.access_sample))
        }
        model::AccessLog::Off => Ok(AccessLog::off()),
    }
}
