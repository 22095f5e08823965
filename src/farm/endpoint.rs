//! One endpoint of a farm that runs: what it takes to dial it, and to tell of it. Separate from the farm, because requests
//! hold endpoints longer than the farm does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::ClientConfig;

use crate::config::model;
use crate::drain::{CutTurn, Cuts};
use crate::policy::affinity::Tag;
use crate::policy::endpoint::EndpointId;
use crate::telemetry::metrics::EndpointMetrics;

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
    /// What gives its streams their turns to end, while it is given up.
    pub(super) given_up: ArcSwapOption<Cuts>,
    /// Why its certificate was refused when it was dialled last.
    pub(super) refusal: Arc<ArcSwapOption<String>>,
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
        // Mostly it is known already, and a line of the cache that nobody writes to is cheap to share.
        if !self.heard.load(Ordering::Relaxed) {
            self.heard.store(true, Ordering::Relaxed);
        }
    }

    /// Ready when a stream at it is to end, since it is given up; `turn` is the stream's own. Nobody is woken when that
    /// begins: the stream finds out by looking.
    pub fn poll_given_up(&self, cx: &mut Context<'_>, turn: &mut CutTurn) -> Poll<()> {
        match &*self.given_up.load() {
            Some(cuts) if !self.heard.load(Ordering::Relaxed) => turn.poll(cx, cuts),
            Some(_) | None => {
                turn.give_back();
                Poll::Pending
            }
        }
    }

    /// Whether it gets no new sessions: discovery no longer names it, or the operator drains it.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }
}
