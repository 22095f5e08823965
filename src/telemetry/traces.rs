//! Traces for OpenTelemetry: which requests are traced, and what is noted of one that is. Separate from the access log, because
//! what is told here goes over the network, to a collector that may be slow, or gone.

mod context;
mod export;
mod otlp;
mod span;

use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc as threads;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::Method;
use tokio::sync::mpsc;

use super::metrics::{Counter, Metrics};
use crate::config::model;
use crate::http1::head::Fields;
use crate::lock::Locked;
pub use context::{Parent, TRACEPARENT, TraceId};
use export::Exporter;
use span::Finished;
pub use span::{Lengths, Told, Trace};

/// Traced requests that may wait for the collector; those that come after are dropped.
const BACKLOG: usize = 2048;
/// The longest that the end of the process waits until the collector has what waits for it.
const FLUSH: Duration = Duration::from_secs(2);

/// Whether requests are traced now, and how; to be changed while they are served.
#[derive(Debug)]
pub struct Traces {
    /// Whether there is a tracer; known without looking for it, since every request wants to know.
    is_on: AtomicBool,
    tracer: ArcSwapOption<Tracer>,
    /// `None`: the process ends.
    exporters: Locked<Option<Exporters>>,
}

/// The threads that send, which are known to have ended when `ended` says that nobody is left to send by it.
#[derive(Debug)]
struct Exporters {
    alive: threads::Sender<()>,
    ended: threads::Receiver<()>,
}

/// Picks requests, and takes what was noted of them. What waits is sent in peace once nobody holds it any more.
#[derive(Debug)]
struct Tracer {
    sample: NonZeroU32,
    seen: AtomicU32,
    queue: mpsc::Sender<Finished>,
    dropped: Counter,
}

/// How requests are traced, ready to be used.
#[derive(Debug)]
pub struct Next(Option<Arc<Tracer>>);

/// Whether it is believed that a request is traced, because its sender says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Believed {
    /// Its sender is one of the operator's proxies.
    Yes,
    /// Anybody could say so, of all requests.
    No,
}

impl Traces {
    /// Traces as `config` says; `None`: no request is.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(config: Option<&model::Traces>, metrics: &Metrics) -> io::Result<Self> {
        let (alive, ended) = threads::channel();
        let exporters = Locked::new(Some(Exporters { alive, ended }));
        let traces = Self { is_on: AtomicBool::new(false), tracer: ArcSwapOption::empty(), exporters };
        let next = traces.prepare(config, metrics)?;
        traces.replace(next);
        Ok(traces)
    }

    /// What it takes to go by `config`, for [`Self::replace`].
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn prepare(&self, config: Option<&model::Traces>, metrics: &Metrics) -> io::Result<Next> {
        let Some(config) = config else { return Ok(Next(None)) };
        let (queue, queued) = mpsc::channel(BACKLOG);
        let alive = self.exporters.with(|exporters| exporters.as_ref().map(|exporters| exporters.alive.clone()));
        Exporter::new(config, metrics).start(queued, alive)?;
        let (sample, dropped) = (config.sample, metrics.traces_dropped.clone());
        Ok(Next(Some(Arc::new(Tracer { sample, seen: AtomicU32::new(0), queue, dropped }))))
    }

    /// Goes by `next` from now on. Requests that are traced go on to be, and what is noted goes to where it would have gone.
    pub fn replace(&self, next: Next) {
        let is_on = next.0.is_some();
        self.tracer.store(next.0);
        self.is_on.store(is_on, Ordering::Relaxed);
    }

    /// Begins to note what becomes of a request, if it is its turn; costs next to nothing if it is not.
    ///
    /// A client must not be able to have everything traced, or nothing: what its traceparent says of that counts only if it is
    /// believed. The ids in it do in any case.
    pub fn begin(&self, method: &Method, fields: &Fields, believed: impl FnOnce() -> Believed) -> Option<Box<Trace>> {
        if !self.is_on.load(Ordering::Relaxed) {
            return None;
        }
        let tracer = self.tracer.load();
        let tracer = tracer.as_ref()?;
        let parent = match believed() {
            Believed::Yes => Parent::of(fields),
            Believed::No => None,
        };
        if !parent.map_or_else(|| tracer.is_due(), |parent| parent.is_sampled()) {
            return None;
        }
        let parent = parent.or_else(|| Parent::of(fields));
        Some(Box::new(Trace::begin(Arc::clone(tracer), parent, method)))
    }

    /// Traces no more, and gives what waits a moment to be sent.
    pub fn close(&self) {
        self.replace(Next(None));
        let Some(Exporters { alive, ended }) = self.exporters.with(Option::take) else { return };
        drop(alive);
        // Either they have all ended, or they have had their time.
        ended.recv_timeout(FLUSH).ok();
    }
}

impl Tracer {
    /// Whether it is the turn of the request that has come.
    fn is_due(&self) -> bool {
        self.sample.get() == 1 || self.seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.sample.get())
    }

    /// Queues what was noted of a request.
    fn send(&self, finished: Finished) {
        if self.queue.try_send(finished).is_err() {
            self.dropped.inc();
        }
    }
}

#[cfg(test)]
mod tests;
