//! The composition root: a configuration becomes bound sockets, farms, workers and the admin listener, and the real
//! addresses are reported. Everything is bound before anything is served.

mod assemble;
mod control;
mod housekeeping;
mod reload;
mod running;
mod sockets;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::config::Loaded;
use crate::config::model::{self, Config};
use crate::discover::Discovery;
use crate::discover::dns::DnsResolver;
use crate::drain::{Cuts, Phase};
use crate::proxy::channels::Channels;
use crate::proxy::context::Shared;
use crate::supervisor::{self, Pulses};
use crate::telemetry::access::AccessLog;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::timeline::{Event, Kind, Timeline};
use crate::telemetry::traces::Traces;
use crate::tls::certs::Material;
use crate::worker;
use control::Socket;
use housekeeping::Housekeeping;
pub use reload::Outcome;
use reload::{Asked, Reload};
use running::Running;
use sockets::{Sockets, Tenant, bind_admin};

/// How often the service manager is told that the end takes its time, and how long it is to be patient then.
const STOPPING: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(40));

/// A gateway that runs. Dropping it ends it at once; [`Gateway::drain`] ends it gracefully.
#[derive(Debug)]
pub struct Gateway {
    https: Vec<SocketAddr>,
    cti: Vec<SocketAddr>,
    passthrough: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    phase: watch::Sender<Phase>,
    shared: Arc<Shared>,
    reload: mpsc::UnboundedSender<Asked>,
    stop: Arc<Notify>,
    access: AccessLog,
    timeline: Timeline,
    threads: Vec<JoinHandle<()>>,
    workers: usize,
    ended: worker::Ended,
}

impl Gateway {
    /// Binds everything and starts serving what has been read; it will be read from the same place again.
    ///
    /// # Errors
    /// What could not be bound or set up, by name. Nothing is served then.
    pub fn start(loaded: &Loaded, material: &Material) -> Result<Self> {
        let Loaded { config, source, .. } = loaded;
        let metrics = Arc::new(Metrics::default());
        metrics.certificates_expire(material.expiries.iter().cloned());
        let keyring = assemble::shared_keyring(material).unwrap_or_else(|| assemble::own_keyring(config));
        let timeline = Timeline::default();
        timeline.add(Event::now(Kind::Started, env!("CARGO_PKG_VERSION")));
        let farms = assemble::farms(config, material, &keyring, &metrics, &timeline)?;
        let (orders, ordered): (Vec<_>, Vec<_>) = (0..config.workers).map(|_| mpsc::unbounded_channel()).unzip();
        let mut sockets = Sockets::new(orders);
        let plan = sockets.plan(config)?;
        let (admin, admin_socket) = bind_admin(config)?.unzip();
        let control = config.control.as_deref().map(Socket::bind).transpose()?;
        let snapshot = assemble::snapshot(config, material, &farms, &metrics, &plan.slots, None)?;
        let access = access_log(config, &metrics)?;
        let traces = Traces::start(config.traces.as_ref(), &metrics).context("can't start the traces")?;
        let (phase, phases) = watch::channel(Phase::Running);
        let shared = Arc::new(Shared {
            snapshot: ArcSwap::from_pointee(snapshot),
            channels: Channels::new(config.affinity.lost_channels_for),
            access: access.clone(),
            traces,
            phase: phases,
            cuts: Cuts::new(config.drain_rate),
        });
        let (alive, ended) = worker::lifeline();
        let pulses = Pulses::new(config.workers);
        let mut threads = Vec::new();
        for (index, orders) in ordered.into_iter().enumerate() {
            let thread = worker::start(index, Arc::clone(&shared), orders, pulses.of(index), alive.clone());
            threads.push(thread.context("can't start a worker")?);
        }
        sockets.adopt(plan);
        let (discovery, changes) = mpsc::unbounded_channel();
        let (reload, asked) = mpsc::unbounded_channel();
        let https = sockets.real(|slot| config.https.iter().any(|block| slot.is_of(Tenant::Hosts, &block.listen)));
        let cti = sockets.real(|slot| slot.tenant != Tenant::Hosts);
        let passthrough =
            sockets.real(|slot| config.passthrough.iter().any(|block| slot.is_of(Tenant::Hosts, &block.listen)));
        let running = Running {
            config: config.clone(),
            text: source.text.clone(),
            material: Arc::new(material.clone()),
            keyring,
            farms: Arc::new(ArcSwap::from_pointee(farms)),
            metrics,
            timeline: timeline.clone(),
            shared: Arc::clone(&shared),
            sockets,
            discovery,
        };
        let stop = Arc::new(Notify::new());
        let housekeeping = Housekeeping {
            admin: admin_socket,
            admin_hosts: config.admin.iter().flat_map(|admin| admin.hosts.iter().cloned()).collect(),
            control,
            asks: reload.clone(),
            stop: Arc::clone(&stop),
            pulses,
            discovery: Discovery::new(&config.dns, config.farms.values().cloned(), config.state_dir.as_deref()),
            changes,
            resolver: DnsResolver::new(&config.dns),
            farms: Arc::clone(&running.farms),
            metrics: Arc::clone(&running.metrics),
            timeline: timeline.clone(),
            shared: Arc::clone(&shared),
            reload: Arc::new(Reload::new(source.path.clone(), running)),
            asked,
        };
        let main = worker::on_thread("main".into(), alive, move || housekeeping.run())
            .context("can't start the main runtime")?;
        threads.push(main);
        let workers = config.workers;
        Ok(Self {
            https,
            cti,
            passthrough,
            admin,
            phase,
            shared,
            reload,
            stop,
            access,
            timeline,
            threads,
            workers,
            ended,
        })
    }

    /// The addresses that `[[https]]` blocks are really served on, in file order.
    pub fn https(&self) -> &[SocketAddr] {
        &self.https
    }

    /// The addresses that `[[cti]]` blocks are really served on, in file order.
    pub fn cti(&self) -> &[SocketAddr] {
        &self.cti
    }

    /// The addresses that `[[passthrough]]` blocks are really served on, in file order.
    pub fn passthrough(&self) -> &[SocketAddr] {
        &self.passthrough
    }

    /// The address that `[admin]` is really served on.
    pub const fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Moves on to `phase`.
    pub fn enter(&self, phase: Phase) {
        if self.phase.send_replace(phase) != phase {
            self.timeline.add(Event::now(Kind::Stopping, phase.meaning()));
        }
    }

    /// Has the configuration and the files that it names read again, whether they look changed or not; what comes of it is
    /// for whoever wants to know. `None`: the process ends.
    pub fn reload(&self) -> impl Future<Output = Option<Outcome>> + use<> {
        let (asked, outcome) = oneshot::channel();
        // If nobody takes it, it is dropped, and says so.
        drop(self.reload.send(asked));
        async { outcome.await.ok() }
    }

    /// Ready when somebody has asked for a stop over the control socket.
    pub fn asked_to_stop(&self) -> impl Future<Output = ()> + use<> {
        let stop = Arc::clone(&self.stop);
        async move { stop.notified().await }
    }

    /// Returns when a thread has ended: while the gateway should be running, that is a fault.
    pub async fn ended(&mut self) {
        self.ended.first().await;
    }

    /// Takes no new connections, and returns once the last one has gone: by itself within `drain_timeout`, or cut
    /// after it, at `drain_rate`.
    pub async fn drain(&mut self) {
        tokio::select! {
            () = self.wind_down() => {}
            () = tell_of_stopping() => {}
        }
    }

    async fn wind_down(&mut self) {
        self.enter(Phase::Draining);
        let mut left = self.workers;
        let drained = async {
            while left > 0 {
                self.ended.first().await;
                left -= 1;
            }
        };
        if tokio::time::timeout(self.shared.snapshot.load().drain_timeout, drained).await.is_ok() {
            return;
        }
        tracing::info!("drain_timeout is over: what is left is cut");
        self.enter(Phase::Cutting);
        for _ in 0..left {
            self.ended.first().await;
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.enter(Phase::Forced);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            drop(thread.join());
        }
        self.access.close();
        self.shared.traces.close();
    }
}

/// For as long as it is asked.
async fn tell_of_stopping() {
    let (every, patience) = STOPPING;
    loop {
        supervisor::stopping(patience);
        tokio::time::sleep(every).await;
    }
}

fn access_log(config: &Config, metrics: &Metrics) -> Result<AccessLog> {
    match config.log.access {
        model::AccessLog::On => {
            AccessLog::start(metrics.access_dropped.clone(), config.log.access_sample, std::io::stdout())
                .context("can't start the access log")
        }
        model::AccessLog::Off => Ok(AccessLog::off()),
    }
}
