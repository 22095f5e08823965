//! One worker's idle upstream connections, last in first out. Per worker, so that taking one is a hash look-up under a lock
//! that nobody else wants. No idle connection is safe: its XSP may be closing it at this moment. So a request that can't be
//! repeated gets one that has rested and that the kernel says is open, or none.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use crate::config::model;
use crate::farm::Endpoint;
use crate::lock::Locked;
use crate::telemetry::metrics::Held;
use crate::upstream::connection::Connection;

/// How often all of them are looked over, and not the newest of each endpoint alone.
const ALL: Duration = Duration::from_secs(1);
/// An XSP that closes a connection after an answer, without having said so, does it within this time.
const REST: Duration = Duration::from_millis(10);

/// Whether a request can be sent again when its connection turns out to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// It can, so a connection that is closed costs a moment only.
    Possible,
    /// It can't: it may have been carried out.
    Never,
}

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
    /// The endpoint's own, which a reload changes.
    limits: Arc<ArcSwap<model::Pool>>,
    /// In the order in which they were put here.
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
    fn is_young(&self, limits: &model::Pool, now: Instant) -> bool {
        now.duration_since(self.since) < limits.idle_timeout
            && now.duration_since(self.connection.born()) < limits.max_age
    }

    fn state(&mut self, limits: &model::Pool, now: Instant) -> State {
        match self.is_young(limits, now) {
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

impl Shelf {
    /// The newest one that a request may try.
    fn pop(&mut self, repeat: Repeat, now: Instant) -> Option<Idle> {
        match repeat {
            Repeat::Possible => self.connections.pop(),
            Repeat::Never => {
                let rested = |idle: &Idle| now.duration_since(idle.since) >= REST;
                self.connections.iter().rposition(rested).map(|index| self.connections.remove(index))
            }
        }
    }

    /// Closes those that are too many, or too old.
    fn shrink(&mut self, limits: &model::Pool, now: Instant) {
        let excess = self.connections.len().saturating_sub(limits.idle_per_endpoint);
        self.connections.drain(..excess);
        self.connections.retain(|idle| idle.is_young(limits, now));
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self(Locked::new(Shelves { idle: HashMap::new(), swept: Instant::now() }))
    }
}

impl Pool {
    /// The connection to `endpoint` that was used last, if it still can be used. For a request that can't be repeated, its
    /// socket is read once more, so that the request is to be written at once.
    pub fn take(&self, endpoint: &Endpoint, repeat: Repeat) -> Option<Box<Connection>> {
        let now = Instant::now();
        self.0.with(|Shelves { idle, .. }| {
            let shelf = idle.get_mut(&endpoint.key())?;
            let limits = shelf.limits.load_full();
            while let Some(mut candidate) = shelf.pop(repeat, now) {
                // The trust and identity of a connection that was dialled before a renewal are not those of now.
                if !endpoint.dials_with(candidate.connection.tls()) || !candidate.is_usable(&limits, now) {
                    continue;
                }
                let is_open = match repeat {
                    Repeat::Possible => true,
                    Repeat::Never => candidate.connection.is_open(&mut Context::from_waker(Waker::noop())),
                };
                if is_open {
                    return Some(candidate.connection);
                }
            }
            None
        })
    }

    /// Keeps `connection` for the next request to `endpoint`; the oldest gives way.
    pub fn put(&self, endpoint: &Endpoint, connection: Box<Connection>) {
        let idle_per_endpoint = endpoint.pool_limits().load().idle_per_endpoint;
        if idle_per_endpoint == 0 || !endpoint.dials_with(connection.tls()) {
            return;
        }
        let counted = Held::new(&endpoint.metrics().pool_idle);
        self.0.with(|Shelves { idle, .. }| {
            let fresh = || Shelf { limits: Arc::clone(endpoint.pool_limits()), connections: Vec::new() };
            let shelf = idle.entry(endpoint.key()).or_insert_with(fresh);
            if shelf.connections.len() >= idle_per_endpoint {
                shelf.connections.remove(0);
            }
            shelf.connections.push(Idle { connection, since: Instant::now(), _counted: counted });
        });
    }

    /// Closes what has grown old, is too much since a reload, or was closed by its XSP. To be called a few times a second.
    ///
    /// Returns those, by [`Endpoint::key`], that have ended the newest connection to them: anyone who dies ends all, and anyone who
    /// has enough of idle ones ends that one last.
    pub fn sweep(&self) -> Vec<u64> {
        let now = Instant::now();
        self.0.with(|Shelves { idle, swept }| {
            let all = now.duration_since(*swept) >= ALL;
            if all {
                *swept = now;
            }
            let mut ended = Vec::new();
            idle.retain(|key, shelf| {
                let limits = shelf.limits.load_full();
                shelf.shrink(&limits, now);
                let connections = &mut shelf.connections;
                let newest = connections.last_mut().map(|newest| newest.state(&limits, now));
                if newest == Some(State::Ended) {
                    ended.push(*key);
                }
                if all || newest == Some(State::Ended) {
                    connections.retain_mut(|candidate| candidate.is_usable(&limits, now));
                }
                !connections.is_empty()
            });
            ended
        })
    }
}
