//! One worker's idle upstream connections, last in first out. Per worker, so that taking one is a hash look-up under a lock
//! that nobody else wants.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::model;
use crate::farm::Endpoint;
use crate::lock::Locked;
use crate::telemetry::metrics::Held;
use crate::upstream::connection::Connection;

/// How often all of them are looked over, and not the newest of each endpoint alone.
const ALL: Duration = Duration::from_secs(1);

/// Idle connections by endpoint.
#[derive(Debug)]
pub struct Pool(Locked<Shelves>);

#[derive(Debug)]
struct Shelves {
    idle: HashMap<u64, Shelf>,
    /// When all of them were last looked over.
    swept: Instant,
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

/// What can be seen of an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Usable,
    /// It has idled or lived for too long, or the XSP has said something unasked.
    Spent,
    /// The XSP has ended it.
    Ended,
}

impl Idle {
    fn state(&mut self, limits: &model::Pool, now: Instant) -> State {
        let is_young = now.duration_since(self.since) < limits.idle_timeout
            && now.duration_since(self.connection.born()) < limits.max_age;
        match is_young {
            false => State::Spent,
            true if self.connection.poll_usable(&mut Context::from_waker(Waker::noop())) => State::Usable,
            true if self.connection.has_input() => State::Spent,
            true => State::Ended,
        }
    }

    fn is_usable(&mut self, limits: &model::Pool, now: Instant) -> bool {
        self.state(limits, now) == State::Usable
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self(Locked::new(Shelves { idle: HashMap::new(), swept: Instant::now() }))
    }
}

impl Pool {
    /// The connection to `endpoint` that was used last, if it still can be used.
    pub fn take(&self, endpoint: &Endpoint) -> Option<Box<Connection>> {
        let now = Instant::now();
        self.0.with(|Shelves { idle, .. }| {
            let shelf = idle.get_mut(&endpoint.key())?;
            while let Some(mut candidate) = shelf.connections.pop() {
                // The trust and identity of a connection that was dialled before a renewal are not those of now.
                if endpoint.dials_with(candidate.connection.tls()) && candidate.is_usable(&shelf.limits, now) {
                    return Some(candidate.connection);
                }
            }
            None
        })
    }

    /// Keeps `connection` for the next request to `endpoint`; the oldest gives way.
    pub fn put(&self, endpoint: &Endpoint, connection: Box<Connection>) {
        let limits = endpoint.pool_limits();
        if limits.idle_per_endpoint == 0 || !endpoint.dials_with(connection.tls()) {
            return;
        }
        let counted = Held::new(&endpoint.metrics().pool_idle);
        self.0.with(|Shelves { idle, .. }| {
            let fresh = || Shelf { limits: Arc::clone(&limits), connections: Vec::new() };
            let shelf = idle.entry(endpoint.key()).or_insert_with(fresh);
            shelf.limits = Arc::clone(&limits);
            if shelf.connections.len() >= limits.idle_per_endpoint {
                shelf.connections.remove(0);
            }
            shelf.connections.push(Idle { connection, since: Instant::now(), _counted: counted });
        });
    }

    /// Closes what has grown old or was closed by its XSP. To be called a few times a second.
    ///
    /// Returns those, by [`Endpoint::key`], that have ended the newest connection to them: whoever dies ends all, and whoever
    /// has enough of idle ones ends that one last.
    pub fn sweep(&self) -> Vec<u64> {
        let now = Instant::now();
        self.0.with(|Shelves { idle, swept }| {
            let all = now.duration_since(*swept) >= ALL;
            if all {
                *swept = now;
            }
            let mut ended = Vec::new();
            idle.retain(|key, Shelf { limits, connections }| {
                let newest = connections.last_mut().map(|newest| newest.state(limits, now));
                if newest == Some(State::Ended) {
                    ended.push(*key);
                }
                if all || newest == Some(State::Ended) {
                    connections.retain_mut(|candidate| candidate.is_usable(limits, now));
                }
                !connections.is_empty()
            });
            ended
        })
    }
}
