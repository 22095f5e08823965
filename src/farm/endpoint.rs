//! One endpoint of a farm that runs: what it takes to dial it, and to tell of it. Separate from the farm, because requests
//! hold endpoints longer than the farm does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::ClientConfig;

use super::renamed::Heir;
use crate::config::model;
use crate::policy::affinity::Tag;
use crate::policy::endpoint::EndpointId;
use crate::policy::streams::StreamKind;
use crate::telemetry::metrics::{EndpointMetrics, Gauge};

/// One endpoint of a farm that runs.
#[derive(Debug)]
pub struct Endpoint {
    pub(super) id: EndpointId,
    pub(super) key: u64,
    pub(super) address: SocketAddr,
    pub(super) label: Arc<str>,
    pub(super) tag: ArcSwap<Tag>,
    pub(super) tls: ArcSwap<ClientConfig>,
    pub(super) pool: Arc<ArcSwap<model::Pool>>,
    pub(super) metrics: Arc<EndpointMetrics>,
    pub(super) leaving: AtomicBool,
    /// Whether anything has come from it since somebody asked.
    pub(super) heard: AtomicBool,
    /// Whether its streams are to end, unless something comes from it.
    pub(super) given_up: AtomicBool,
    /// What this process has there, by [`StreamKind`].
    pub(super) held: [AtomicU64; StreamKind::ALL.len()],
    /// When what is left there is cut, if it is drained still.
    pub(super) cut_at: ArcSwapOption<Instant>,
    /// Why its certificate was refused when it was dialled last.
    pub(super) refusal: Arc<ArcSwapOption<String>>,
    /// What goes on in its place, if its farm has another name by now.
    pub(super) heir: ArcSwapOption<Heir>,
}

impl Endpoint {
    /// A number that no other endpoint of this process has or will have.
    pub const fn key(&self) -> u64 {
        self.key
    }

    /// Where it is dialled.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `address:port`, for logs and metrics.
    pub const fn label(&self) -> &Arc<str> {
        &self.label
    }

    /// Its place in its farm.
    pub const fn id(&self) -> EndpointId {
        self.id
    }

    /// What the affinity cookie says for it.
    pub fn tag(&self) -> Tag {
        **self.tag.load()
    }

    /// Trust, identity and sessions for dialling it, as they are now.
    pub fn tls(&self) -> Arc<ClientConfig> {
        self.tls.load_full()
    }

    /// Whether that is still what a connection was dialled with.
    pub fn dials_with(&self, tls: &Arc<ClientConfig>) -> bool {
        Arc::ptr_eq(&self.tls.load(), tls)
    }

    /// How many connections to it may idle, and how long, as a reload may change it at any time.
    pub const fn pool_limits(&self) -> &Arc<ArcSwap<model::Pool>> {
        &self.pool
    }

    /// Why its certificate was refused when it was dialled last, in words; empty: it was not.
    pub const fn refusal(&self) -> &Arc<ArcSwapOption<String>> {
        &self.refusal
    }

    /// Its counters.
    pub fn metrics(&self) -> &EndpointMetrics {
        &self.metrics
    }

    /// Something has come from it over a stream: its process lives.
    pub fn heard(&self) {
        if let Some(heir) = self.heir() {
            return heir.heard();
        }
        // Mostly it is known already, and a line of the cache that nobody writes to is cheap to share.
        if !self.heard.load(Ordering::Relaxed) {
            self.heard.store(true, Ordering::Relaxed);
        }
    }

    /// Whether its streams are to end, since it is given up, and nothing has come from it.
    pub fn gives_up_streams(&self) -> bool {
        self.given_up.load(Ordering::Relaxed) && !self.heard.load(Ordering::Relaxed)
    }

    /// A stream of this process has reached it.
    pub fn holds(&self, kind: StreamKind) {
        self.held[kind as usize].fetch_add(1, Ordering::Relaxed);
        self.gauge(kind).inc();
    }

    /// A stream of this process has ended.
    pub fn lets_go(&self, kind: StreamKind) {
        self.held[kind as usize].fetch_sub(1, Ordering::Relaxed);
        self.gauge(kind).dec();
    }

    /// When what is left there is cut, if it is drained still; `None`: never.
    pub fn cut_at(&self) -> Option<Instant> {
        self.cut_at.load().as_deref().copied()
    }

    /// How many streams of this process are there, by [`StreamKind`].
    pub fn held(&self) -> [u64; StreamKind::ALL.len()] {
        StreamKind::ALL.map(|kind| self.held[kind as usize].load(Ordering::Relaxed))
    }

    fn gauge(&self, kind: StreamKind) -> &Gauge {
        match kind {
            StreamKind::Channel => &self.metrics.channels,
            StreamKind::Cti | StreamKind::Passthrough => &self.metrics.streams,
        }
    }

    /// Whether it gets no new sessions: discovery no longer names it, or the operator drains it.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }
}
