//! The composition root: a configuration becomes bound sockets, farms, workers and the admin listener, and the real
//! addresses are reported. Everything is bound before anything is served.

mod assemble;
mod renewing;

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use crate::admin::{self, Admin};
use crate::config::model::{self, Config};
use crate::discover::dns::DnsResolver;
use crate::discover::{Discovery, Event};
use crate::drain::{Cuts, Phase, reached};
use crate::proxy::channels::Channels;
use crate::proxy::context::Shared;
use crate::renewal;
use crate::telemetry::access::AccessLog;
use crate::telemetry::metrics::Metrics;
use crate::tls::certs::Material;
use crate::worker;
use renewing::Renewing;

/// How often endpoints that have left DNS are looked over.
const SWEEP: Duration = Duration::from_secs(1);

/// A gateway that runs. Dropping it ends it at once; [`Gateway::drain`] ends it gracefully.
#[derive(Debug)]
pub struct Gateway {
    https: Vec<SocketAddr>,
    cti: Vec<SocketAddr>,
    passthrough: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    phase: watch::Sender<Phase>,
    renewal: Arc<Notify>,
    access: AccessLog,
    threads: Vec<JoinHandle<()>>,
    workers: usize,
    ended: worker::Ended,
    drain_timeout: Duration,
}

/// A listening address: as it is configured, and as it is, which differs where the port is 0.
#[derive(Clone, Copy, Debug)]
struct Bound {
    configured: SocketAddr,
    tenant: Tenant,
    real: SocketAddr,
}

/// Whose a listening address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tenant {
    /// `[[https]]` and `[[passthrough]]` blocks, which SNI tells apart.
    Hosts,
    /// The `[[cti]]` block in this place of the file.
    Cti(usize),
}

impl Bound {
    /// Whether an `[[https]]` or `[[passthrough]]` block that names `listen` is reached here.
    fn is_of(&self, listen: &[SocketAddr]) -> bool {
        self.tenant == Tenant::Hosts && listen.contains(&self.configured)
    }
}

fn real(bound: &[Bound], wanted: impl Fn(&Bound) -> bool) -> Vec<SocketAddr> {
    bound.iter().filter(|bound| wanted(bound)).map(|bound| bound.real).collect()
}

impl Gateway {
    /// Binds everything and starts serving.
    ///
    /// # Errors
    /// What could not be bound or set up, by name. Nothing is served then.
    pub fn start(config: &Config, material: &Material) -> Result<Self> {
        let metrics = Arc::new(Metrics::default());
        metrics.certificates_expire(material.expiries.iter().cloned());
        let farms = assemble::farms(config, material, &metrics)?;
        let (bound, sockets) = bind_all(config)?;
        let (admin, admin_socket) = bind_admin(config)?.unzip();
        let snapshot = assemble::snapshot(config, material, &farms, &metrics, &bound, &[])?;
        let access = access_log(config, &metrics)?;
        let (phase, phases) = watch::channel(Phase::Running);
        let shared = Arc::new(Shared {
            snapshot: ArcSwap::from_pointee(snapshot),
            channels: Channels::new(config.affinity.lost_channels_for),
            access: access.clone(),
            phase: phases,
            cuts: Cuts::new(config.drain_rate),
        });
        let (alive, ended) = worker::lifeline();
        let mut threads = Vec::new();
        for (index, sockets) in sockets.into_iter().enumerate() {
            let thread = worker::start(index, Arc::clone(&shared), sockets, alive.clone());
            threads.push(thread.context("can't start a worker")?);
        }
        let renewal = Arc::new(Notify::new());
        let housekeeping = Housekeeping {
            renewal: Arc::clone(&renewal),
            admin: admin_socket,
            discovery: Discovery::new(&config.dns, config.farms.values().cloned(), config.state_dir.as_deref()),
            resolver: DnsResolver::new(&config.dns),
            renewing: Renewing {
                config: config.clone(),
                farms,
                metrics,
                shared,
                bound: bound.clone(),
                material: ArcSwap::from_pointee(material.clone()),
            },
        };
        let main = worker::on_thread("main".into(), alive, move || housekeeping.run())
            .context("can't start the main runtime")?;
        threads.push(main);
        Ok(Self {
            https: real(&bound, |bound| config.https.iter().any(|block| bound.is_of(&block.listen))),
            cti: real(&bound, |bound| bound.tenant != Tenant::Hosts),
            passthrough: real(&bound, |bound| config.passthrough.iter().any(|block| bound.is_of(&block.listen))),
            admin,
            phase,
            renewal,
            access,
            threads,
            workers: config.workers,
            ended,
            drain_timeout: config.drain_timeout,
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
        self.phase.send_replace(phase);
    }

    /// Has the files that the configuration names read again at once, whether they look changed or not.
    pub fn renew(&self) {
        self.renewal.notify_one();
    }

    /// Returns when a thread has ended: while the gateway should be running, that is a fault.
    pub async fn ended(&mut self) {
        self.ended.first().await;
    }

    /// Takes no new connections, and returns once the last one has gone: by itself within `drain_timeout`, or cut
    /// after it, at `drain_rate`.
    pub async fn drain(&mut self) {
        self.enter(Phase::Draining);
        let mut left = self.workers;
        let drained = async {
            while left > 0 {
                self.ended.first().await;
                left -= 1;
            }
        };
        if tokio::time::timeout(self.drain_timeout, drained).await.is_ok() {
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
    }
}

/// Every address that clients reach, in file order, kind by kind.
fn listen(config: &Config) -> Vec<(SocketAddr, Tenant)> {
    let https = config.https.iter().flat_map(|block| &block.listen);
    let hosts = https.chain(config.passthrough.iter().flat_map(|block| &block.listen));
    let cti = config
        .cti
        .iter()
        .enumerate()
        .flat_map(|(index, block)| block.listen.iter().map(move |address| (*address, Tenant::Cti(index))));
    hosts.map(|address| (*address, Tenant::Hosts)).chain(cti).collect()
}

fn access_log(config: &Config, metrics: &Metrics) -> Result<AccessLog> {
    match config.log.access {
        model::AccessLog::On => {
            AccessLog::start(metrics.access_dropped.clone(), std::io::stdout()).context("can't start the access log")
        }
        model::AccessLog::Off => Ok(AccessLog::off()),
    }
}

/// Binds every address that clients reach; each worker gets a socket of each.
fn bind_all(config: &Config) -> Result<(Vec<Bound>, Vec<Vec<TcpListener>>)> {
    let mut bound: Vec<Bound> = Vec::new();
    let mut sockets: Vec<Vec<TcpListener>> = (0..config.workers).map(|_| Vec::new()).collect();
    for (configured, tenant) in listen(config) {
        if bound.iter().any(|bound| bound.configured == configured && bound.tenant == tenant) {
            continue;
        }
        let (real, listeners) = bind(configured, config.workers)?;
        bound.push(Bound { configured, tenant, real });
        sockets.iter_mut().zip(listeners).for_each(|(worker, listener)| worker.push(listener));
    }
    Ok((bound, sockets))
}

fn bind_admin(config: &Config) -> Result<Option<(SocketAddr, TcpListener)>> {
    let Some(admin) = &config.admin else { return Ok(None) };
    let (real, listeners) = bind(admin.listen, 1).context("[admin]")?;
    Ok(listeners.into_iter().next().map(|listener| (real, listener)))
}

fn bind(address: SocketAddr, count: usize) -> Result<(SocketAddr, Vec<TcpListener>)> {
    worker::bind(address, count).map_err(|error| {
        let hints = [
            (ErrorKind::AddrInUse, "; another gateway or server listens there"),
            (ErrorKind::PermissionDenied, "; ports below 1024 take root or CAP_NET_BIND_SERVICE"),
            (ErrorKind::AddrNotAvailable, "; it is no address of this machine"),
        ];
        let hint = hints.into_iter().find(|(kind, _)| *kind == error.kind()).map_or("", |(_, hint)| hint);
        anyhow!("can't listen on {address}: {error}{hint}")
    })
}

/// What runs beside the workers, on a thread of its own: discovery, renewal and the admin listener.
struct Housekeeping {
    renewing: Renewing,
    renewal: Arc<Notify>,
    admin: Option<TcpListener>,
    discovery: Discovery,
    resolver: DnsResolver,
}

impl Housekeeping {
    async fn run(self) {
        let Self { renewing, renewal, admin, discovery, resolver } = self;
        let (farms, metrics) = (renewing.farms.clone(), Arc::clone(&renewing.metrics));
        let phase = renewing.shared.phase.clone();
        let status = discovery.status();
        let told = Arc::clone(&metrics);
        let updated = farms.clone();
        let (_unused, changes) = tokio::sync::mpsc::unbounded_channel();
        let discovering = discovery.run(resolver, changes, move |event| match event {
            Event::Endpoints { farm, endpoints } => {
                for known in updated.iter().filter(|known| known.name() == farm.name) {
                    known.update(endpoints.clone());
                }
            }
            Event::LookedUp { question, outcome, .. } => {
                told.looked_up(&question.name, question.kind.name(), outcome.name())
            }
        });
        let swept = farms.clone();
        let sweeping = async {
            loop {
                tokio::time::sleep(SWEEP).await;
                for farm in &swept {
                    farm.tell_vacated();
                    farm.forget_departed(std::time::Instant::now());
                }
            }
        };
        let read = renewing.material.load().read.clone();
        let renew = Arc::new(move || renewing.renew());
        let renewing = renewal::watch(read.files().clone(), read.stamps().clone(), renewal, renew);
        let admin = admin::serve(admin, Admin::new(metrics, farms, status, phase.clone()));
        let forced = reached(phase, Phase::Forced);
        tokio::select! {
            () = discovering => {}
            () = admin => {}
            () = sweeping => {}
            () = renewing => {}
            () = forced => {}
        }
    }
}
