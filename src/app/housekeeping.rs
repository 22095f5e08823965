//! What runs beside the workers, on a thread of its own: discovery, reloading, the admin listener and control calls. Apart from the
//! composition root, which has put them together by then.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::spawn_blocking;

use super::control::{Control, Seats, Socket};
use super::estate::Handed;
use super::predecessor::Predecessor;
use super::reload::{Asked, Reload};
use super::reminder;
use super::running::Farms;
use super::sockets::Plan;
use crate::admin::{self, Admin};
use crate::discover::dns::DnsResolver;
use crate::discover::{Change, Discovery, Event};
use crate::drain::{Phase, reached};
use crate::proxy::context::Shared;
use crate::supervisor::Pulses;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::timeline::{self, Kind, Timeline};

/// How often endpoints that have left DNS are looked over.
const SWEEP: Duration = Duration::from_secs(1);

/// All of it, not yet running.
pub(super) struct Housekeeping {
    pub(super) admin: Option<TcpListener>,
    /// The names by which the admin listener may be called.
    pub(super) admin_hosts: Vec<String>,
    pub(super) control: Option<Socket>,
    pub(super) asks: mpsc::UnboundedSender<Asked>,
    pub(super) stop: Arc<Notify>,
    /// Comes once this process serves, with the one whose place it has taken, if it has taken one's.
    pub(super) begun: oneshot::Receiver<Option<Predecessor>>,
    pub(super) handed: watch::Receiver<Handed>,
    pub(super) pulses: Pulses,
    pub(super) discovery: Discovery,
    pub(super) changes: mpsc::UnboundedReceiver<Change<DnsResolver>>,
    pub(super) resolver: DnsResolver,
    pub(super) farms: Farms,
    pub(super) metrics: Arc<Metrics>,
    pub(super) timeline: Timeline,
    pub(super) shared: Arc<Shared>,
    pub(super) reload: Reload,
    /// Comes once connections are to be accepted.
    pub(super) opened: oneshot::Receiver<Plan>,
    pub(super) asked: mpsc::UnboundedReceiver<Asked>,
}

impl Housekeeping {
    /// Runs all of it until the process ends.
    pub(super) async fn run(self) {
        let Self {
            admin,
            admin_hosts,
            mut control,
            asks,
            stop,
            begun,
            mut handed,
            pulses,
            discovery,
            changes,
            resolver,
            farms,
            metrics,
            timeline,
            shared,
            reload,
            opened,
            asked,
        } = self;
        let (phase, mut over) = (shared.phase.clone(), handed.clone());
        let status = discovery.status();
        let told = Told { farms: Arc::clone(&farms), metrics: Arc::clone(&metrics), timeline: timeline.clone() };
        // What another process still holds at an XSP is not known here.
        let alone = Arc::new(AtomicBool::new(false));
        let (swept, is_alone) = (Arc::clone(&farms), Arc::clone(&alone));
        let sweeping = async {
            loop {
                tokio::time::sleep(SWEEP).await;
                for farm in swept.load().iter() {
                    if is_alone.load(Ordering::Relaxed) {
                        farm.tell_vacated();
                    }
                    farm.forget_departed(Instant::now());
                }
                if swept.load().iter().any(|farm| farm.is_done_with()) {
                    swept.rcu(|farms| farms.iter().filter(|farm| !farm.is_done_with()).cloned().collect::<Vec<_>>());
                }
            }
        };
        let (seats, news) = (Seats::default(), timeline.clone());
        let measured = Arc::clone(&metrics);
        let told_of = Admin::new(metrics, Arc::clone(&farms), status, Arc::clone(&shared), timeline, &admin_hosts);
        let calls = Control { farms: Arc::clone(&farms), admin: told_of.clone(), asks, stop, seats: seats.clone() };
        let serving = async {
            // Until then all of it is another process' to answer.
            if let Ok(Some(mut predecessor)) = begun.await {
                if let Some(report) = predecessor.report() {
                    drop(spawn_blocking(move || report.tell()));
                }
                drop(spawn_blocking(move || {
                    predecessor.follow(&shared.channels, &farms, &news);
                    alone.store(true, Ordering::Relaxed);
                }));
            } else {
                alone.store(true, Ordering::Relaxed);
            }
            control.iter_mut().for_each(Socket::keep);
            let answering = async {
                let reminding = reminder::remind(&measured);
                tokio::join!(admin::serve(admin, told_of), calls.serve(control.as_ref()), pulses.watch(), reminding);
            };
            tokio::select! {
                () = answering => {}
                // From now on all of it is another process' again.
                _ = handed.wait_for(|handed| *handed != Handed::NotYet) => {}
            }
            drop(control);
            std::future::pending().await
        };
        // The other process has the names and `state_dir`.
        let discovering = async {
            tokio::select! {
                () = discovery.run(resolver, changes, move |event| told.take(event)) => {}
                _ = over.wait_for(|handed| *handed == Handed::Over) => std::future::pending().await,
            }
        };
        tokio::select! {
            () = discovering => {}
            () = serving => {}
            () = sweeping => {}
            () = reload.watch(opened, asked) => {}
            () = reached(phase, Phase::Forced) => {}
        }
        seats.empty().await;
    }
}

/// Those whom discovery's events are for.
struct Told {
    farms: Farms,
    metrics: Arc<Metrics>,
    timeline: Timeline,
}

impl Told {
    fn take(&self, event: Event) {
        match event {
            Event::Endpoints { farm, endpoints } => {
                for known in self.farms.load().iter().filter(|known| known.name() == farm.name) {
                    known.update(endpoints.clone());
                }
            }
            Event::LookedUp { question, outcome, .. } => {
                self.metrics.looked_up(&question.name, question.kind.name(), outcome.name());
            }
            Event::Failing { question, outcome, kept } => {
                let text = format!("{question}: {}; records kept: {kept}", outcome.name());
                self.timeline.add(timeline::Event::now(Kind::LookupFails, text));
            }
            Event::Recovered { question, records } => {
                let text = format!("{question}: records: {records}");
                self.timeline.add(timeline::Event::now(Kind::LookupWorks, text));
            }
        }
    }
}
