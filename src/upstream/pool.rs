//! One worker's idle upstream connections, last in first out. Per worker, so that taking one is a hash look-up under a lock
//! that nobody else wants.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Waker};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::model;
use crate::farm::Endpoint;
use crate::telemetry::metrics::Held;
use crate::upstream::connection::Connection;

/// Idle connections by endpoint.
#[derive(Debug, Default)]
pub struct Pool {
    idle: Mutex<HashMap<u64, Shelf>>,
}

#[derive(Debug)]
struct Shelf {
    limits: Arc<model::Pool>,
    connections: Vec<Idle>,
}

#[derive(Debug)]
struct Idle {
    connection: Box<Connection>,
    since: Instant,
    _counted: Held,
}

impl Idle {
    fn is_usable(&mut self, limits: &model::Pool, now: Instant) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        now.duration_since(self.since) < limits.idle_timeout
            && now.duration_since(self.connection.born()) < limits.max_age
            && self.connection.poll_usable(&mut cx)
    }
}

impl Pool {
    /// The connection to `endpoint` that was used last, if it still can be used.
    pub fn take(&self, endpoint: &Endpoint) -> Option<Box<Connection>> {
        let now = Instant::now();
        let mut idle = self.idle.lock();
        let shelf = idle.get_mut(&endpoint.key())?;
        while let Some(mut candidate) = shelf.connections.pop() {
            // The trust and identity of a connection that was dialled before a renewal are not those of now.
            if endpoint.dials_with(candidate.connection.tls()) && candidate.is_usable(&shelf.limits, now) {
                return Some(candidate.connection);
            }
        }
        None
    }

    /// Keeps `connection` for the next request to `endpoint`; the oldest gives way.
    pub fn put(&self, endpoint: &Endpoint, connection: Box<Connection>) {
        let limits = endpoint.pool_limits();
        if limits.idle_per_endpoint == 0 || !endpoint.dials_with(connection.tls()) {
            return;
        }
        let mut idle = self.idle.lock();
        let fresh = || Shelf { limits: Arc::clone(&limits), connections: Vec::new() };
        let shelf = idle.entry(endpoint.key()).or_insert_with(fresh);
        shelf.limits = Arc::clone(&limits);
        if shelf.connections.len() >= limits.idle_per_endpoint {
            shelf.connections.remove(0);
        }
        let counted = Held::new(&endpoint.metrics().pool_idle);
        shelf.connections.push(Idle { connection, since: Instant::now(), _counted: counted });
    }

    /// Closes what has grown old or was closed by its XSP. To be called every second or so.
    pub fn sweep(&self) {
        let now = Instant::now();
        let mut idle = self.idle.lock();
        idle.retain(|_, shelf| {
            shelf.connections.retain_mut(|candidate| candidate.is_usable(&shelf.limits, now));
            !shelf.connections.is_empty()
        });
    }
}
