//! The composition root: a configuration becomes bound sockets, farms, workers and the admin listener, and the real
//! addresses are reported. Everything is bound before anything is served, or is taken over from a process that goes.

mod admin_thread;
mod assemble;
mod control;
mod control_thread;
mod discovery_thread;
mod handover_state;
mod lost;
mod outcome;
mod peers;
mod predecessor;
mod reload;
mod reminder;
mod running;
mod side_threads;
mod sockets;
mod start;
mod successor;

use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::sync::{Notify, oneshot, watch};

use crate::config::Loaded;
use crate::core::Core;
use crate::drain::Phase;
use crate::handover::Talk;
use crate::processes::Serving;
use crate::proxy::listener;
use crate::supervisor::{self, Watcher};
use crate::telemetry::timeline::{Event, Kind};
use crate::tls::certs::Material;
use crate::worker;
use handover_state::{HandoverStatus, Inherited};
pub use outcome::Outcome;
use predecessor::Gone;
pub use predecessor::Predecessor;
use reload::Asked;
use sockets::Addresses;
use start::prepare;
use successor::Successor;

/// How long all threads together may take to end once nothing is waited for any more.
const LAST_THREAD: Duration = Duration::from_secs(2);
/// How often it is looked whether any worker moves.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often the service manager is told that the end takes its time, and how long it is to be patient then.
const STOPPING: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(40));

/// A gateway that runs. Dropping it ends it at once; [`Gateway::drain`] ends it gracefully.
#[derive(Debug)]
pub struct Gateway {
    core: Core,
    addresses: Addresses,
    phase: watch::Sender<Phase>,
    asks: Sender<Asked>,
    stop: Arc<Notify>,
    threads: Vec<JoinHandle<()>>,
    handover: watch::Receiver<HandoverStatus>,
    /// The end of the process whose place this one has taken.
    predecessor: Option<Gone>,
    /// Workers that have not ended.
    working: usize,
    ended: worker::Ended,
    _watcher: Watcher,
}

impl Gateway {
    /// Binds everything and starts serving what has been read; it will be read from the same place again.
    ///
    /// # Errors
    /// What could not be bound or set up, by name. Nothing is served then.
    pub fn start(loaded: &Loaded, material: &Material) -> Result<Self> {
        let (gateway, start) = prepare(loaded, material, Inherited::of_nobody())?;
        start.now(None);
        Ok(gateway)
    }

    /// Takes the place of `predecessor`, which drains from then on, and starts serving what has been read.
    ///
    /// # Errors
    /// What could not be taken over, bound or set up, by name. The other process has been told, and goes on.
    pub fn take_over(loaded: &Loaded, material: &Material, mut predecessor: Predecessor) -> Result<Self> {
        let inherited = predecessor.handover_state();
        let prepared = inherited.and_then(|inherited| prepare(loaded, material, inherited)).and_then(|prepared| {
            let (_, start) = &prepared;
            predecessor.hear_of_channels(start.core())?;
            start.find_xsps();
            predecessor.until_go(start.core(), start.lost())?;
            Ok(prepared)
        });
        match prepared {
            Ok((mut gateway, start)) => {
                gateway.predecessor = predecessor.gone();
                let text = format!("{} from {}", env!("CARGO_PKG_VERSION"), predecessor.name());
                gateway.core.timeline.add(Event::now(Kind::TookOver, text));
                start.now(Some(predecessor));
                Ok(gateway)
            }
            Err(error) => {
                predecessor.refuse(&format!("{error:#}"));
                Err(error)
            }
        }
    }

    /// The addresses that `[[https]]` blocks are really served on, in file order.
    pub fn https(&self) -> &[SocketAddr] {
        &self.addresses.https
    }

    /// The addresses that `[[cti]]` blocks are really served on, in file order.
    pub fn cti(&self) -> &[SocketAddr] {
        &self.addresses.cti
    }

    /// The addresses that `[[passthrough]]` blocks are really served on, in file order.
    pub fn passthrough(&self) -> &[SocketAddr] {
        &self.addresses.passthrough
    }

    /// The address that `[admin]` is really served on.
    pub const fn admin(&self) -> Option<SocketAddr> {
        self.addresses.admin
    }

    /// Moves on to `phase`.
    pub fn enter(&self, phase: Phase) {
        let advance = |at: &mut Phase| {
            let is_further = phase > *at;
            *at = phase.max(*at);
            is_further
        };
        if self.phase.send_if_modified(advance) {
            self.core.timeline.add(Event::now(Kind::Stopping, phase.meaning()));
        }
    }

    /// Has the processes that this one has replaced cut what they have, as they would by a signal.
    pub fn stop_those_before(&self) {
        self.core.processes.tell_before(Talk::Stop);
    }

    /// Tells those processes that share this one's place that it ends as it was to.
    pub fn take_leave(&self) {
        self.core.processes.farewell();
    }

    /// What says in the log that `signal`, which asks for something, has come to a process that another one has replaced.
    pub fn misdirected(&self) -> impl Fn(&str) + use<> {
        let processes = Arc::clone(&self.core.processes);
        move |signal| match processes.serving() {
            Some(Serving::Successor(pid)) => tracing::warn!(
                signal,
                process.pid = pid,
                "a signal is ignored, since another process serves in this one's place: send it there, or use `xspgate ctl`"
            ),
            Some(Serving::Nobody(pid)) => tracing::warn!(
                signal,
                process.pid = pid,
                "a signal is ignored: the process that had taken this one's place has ended; if `xspgate ctl status` finds no \
                 gateway, start it"
            ),
            None => tracing::warn!(signal, "a signal is ignored, since the gateway is stopping"),
        }
    }

    /// Returns once the process that this one has replaced has ended, if there is one: the process that has replaced this one hears
    /// of it only from here.
    pub async fn outlived(&mut self) {
        if let Some(predecessor) = &mut self.predecessor {
            predecessor.wait().await;
        }
    }

    /// Has the configuration and the files that it names read again, whether they look changed or not; what comes of it is
    /// for those who want to know. `None`: the process ends.
    pub fn reload(&self) -> impl Future<Output = Option<Outcome>> + use<> {
        let (asked, outcome) = oneshot::channel();
        // If nobody takes it, it is dropped, and says so.
        drop(self.asks.send(Asked::Reload(None, asked)));
        async { outcome.await.ok() }
    }

    /// Has the program started again, to take this process' place. What comes of it is in the log, and if it comes to something,
    /// [`Gateway::succeeded`] tells.
    pub fn restart(&self) {
        let (asked, _) = oneshot::channel();
        // If nobody takes it, the process ends anyway.
        drop(self.asks.send(Asked::HandOver(Successor::Program(None), asked)));
    }

    /// Ready when another process has this one's place: it takes all new connections, and what is left here is to be drained by
    /// [`Gateway::outlive`].
    pub fn succeeded(&self) -> impl Future<Output = ()> + use<> {
        let mut phase = self.core.shared.phase.clone();
        async move {
            // The sender goes with the gateway itself.
            if phase.wait_for(|phase| *phase == Phase::HandedOver).await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// Ready when somebody has asked for a stop over the control socket.
    pub fn asked_to_stop(&self) -> impl Future<Output = ()> + use<> {
        let stop = Arc::clone(&self.stop);
        async move { stop.notified().await }
    }

    /// Returns when a thread has ended: while the gateway should be running, that is a fault.
    pub async fn ended(&mut self) {
        self.ended.first().await;
        self.working = self.working.saturating_sub(1);
    }

    /// How far it is on its way to its end.
    pub fn phase(&self) -> Phase {
        self.core.phase()
    }

    /// Takes no new connections, and returns once the last one has gone: by itself within `drain_timeout`, or cut
    /// after it, spread over `drain_spread`.
    pub async fn drain(&mut self) {
        self.enter(Phase::Draining);
        // Also if nothing is left to wait for.
        let told = supervisor::stopping(STOPPING.1);
        let patience = self.core.shared.snapshot.load().drain_timeout;
        tokio::select! {
            () = self.wind_down(patience, "drain_timeout") => {}
            () = tell_of_stopping() => {}
        }
        told.wait_shortly();
    }

    /// As [`Gateway::drain`], with new connections and the service manager's attention another process' already, so that there
    /// is more time: `handover_timeout`. It outlives its own predecessor.
    ///
    /// # Errors
    /// The other process has ended when it was to begin. Nobody serves then, and anyone who starts this one should at once.
    pub async fn outlive(&mut self) -> Result<()> {
        match self.handover.wait_for(|handover| *handover != HandoverStatus::Pending).await.as_deref() {
            Ok(HandoverStatus::Lost) => bail!("the process that was to take over has ended"),
            // The error says that all that runs beside the workers has ended.
            Ok(HandoverStatus::Done | HandoverStatus::Pending) | Err(_) => {}
        }
        let patience = self.core.shared.snapshot.load().handover_timeout;
        self.wind_down(patience, "handover_timeout").await;
        self.outlived().await;
        Ok(())
    }

    /// Waits for `patience`, which is what `key` says, and cuts what is left then.
    async fn wind_down(&mut self, patience: Duration, key: &'static str) {
        self.core.processes.ends_in(patience);
        if tokio::time::timeout(patience, self.emptied()).await.is_err() {
            tracing::info!("{key} is over: what is left is cut");
            self.cut().await;
        }
    }

    /// Cuts what is left, spread over `drain_spread`, and returns once the last connection has gone. A worker that does not
    /// move cuts nothing, and is waited for no longer once it is the last.
    pub async fn cut(&mut self) {
        let left = listener::open();
        let [channels, cti, passthrough] = self.core.held();
        let shared = &self.core.shared;
        let takes = shared.cuts.interval(left) * u32::try_from(left).unwrap_or(u32::MAX);
        let seconds = takes.as_secs_f64().round();
        tracing::info!(
            connections = left,
            channels,
            cti,
            passthrough,
            seconds,
            "cutting the remaining connections, one after the other"
        );
        self.core.processes.ends_in(Duration::from_secs_f64(seconds));
        let before = shared.cuts.cut();
        shared.cuts.begin(left);
        self.enter(Phase::Cutting);
        self.until_cut().await;
        let cut = self.core.shared.cuts.cut() - before;
        tracing::info!(
            connections = left,
            cut,
            "nothing is left; those that were not cut short had ended by themselves, were idle, or had their last answer"
        );
    }

    async fn until_cut(&mut self) {
        let pulses = self.core.pulses.clone();
        let nobody_moves = async {
            while pulses.threads().any(|(thread, moves)| moves && worker::is_worker(thread)) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            // Those that have ended are told of in this way, too.
            tokio::time::sleep(LOOK_EVERY).await;
        };
        tokio::select! {
            () = self.emptied() => {}
            () = nobody_moves => {}
        }
    }

    /// Returns once the workers have no connections any more, and have ended.
    async fn emptied(&mut self) {
        while self.working > 0 {
            self.ended().await;
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.enter(Phase::Forced);
        // The error says that it has ended.
        self.asks.send(Asked::End).ok();
        let left = worker::end(mem::take(&mut self.threads), LAST_THREAD);
        if !left.is_empty() {
            tracing::error!(threads = left.join(", "), "threads did not end in time");
        }
        self.core.shared.traces.close();
    }
}

/// For as long as it is asked.
async fn tell_of_stopping() {
    let (every, patience) = STOPPING;
    loop {
        tokio::time::sleep(every).await;
        supervisor::stopping(patience);
    }
}
