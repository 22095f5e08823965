//! What is remembered of one connection, for its access event and its counters. Told exactly once, when it is dropped.

use std::sync::Arc;

use tokio::time::Instant;

use super::Arrival;
use super::block::Line;
use super::copy::{Outcome, Watch};
use crate::farm::{Endpoint, Picked};
use crate::telemetry::access::{Attempted, Attempts, Connection, timestamp};
use crate::telemetry::metrics::Held;

/// One connection's story.
#[derive(Debug)]
pub(super) struct Journal {
    line: Arc<Line>,
    arrival: Arrival,
    begun: Instant,
    time: f64,
    attempts: Attempts,
    reason: &'static str,
    received: u64,
    sent: u64,
    open: Option<Open>,
}

/// Held while an XSP is reached. An endpoint that leaves DNS is not forgotten meanwhile, and its series stay.
#[derive(Debug)]
struct Open {
    _line: Held,
    _at: Held,
    _endpoint: Arc<Endpoint>,
}

impl Journal {
    pub(super) fn new(line: Arc<Line>, arrival: Arrival) -> Self {
        let time = if arrival.access.is_on() { timestamp() } else { 0.0 };
        Self {
            line,
            arrival,
            begun: Instant::now(),
            time,
            attempts: Attempts::new(),
            // Unless somebody says otherwise, it ended with the process.
            reason: "cut",
            received: 0,
            sent: 0,
            open: None,
        }
    }

    /// Takes note of what came of an attempt that began at `begun`.
    pub(super) fn attempted(&mut self, picked: &Picked, begun: Instant, outcome: &'static str) {
        picked.endpoint.metrics().attempted(outcome);
        self.attempts.push(Attempted {
            endpoint: Arc::clone(picked.endpoint.label()),
            chosen: picked.reason.name(),
            outcome,
            status: None,
            reused: false,
            ms: begun.elapsed().as_secs_f64() * 1e3,
        });
    }

    /// An XSP is reached.
    pub(super) fn bridged(&mut self, picked: &Picked) {
        self.open = Some(Open {
            _line: Held::new(&self.line.metrics.open),
            _at: Held::new(&picked.endpoint.metrics().streams),
            _endpoint: Arc::clone(&picked.endpoint),
        });
    }

    /// It is no longer.
    pub(super) fn lost(&mut self) {
        self.open = None;
    }

    /// No XSP was reached.
    pub(super) fn unreached(&mut self) {
        self.reason = "no-xsp";
    }

    /// Takes note of how it ended.
    pub(super) fn ended(&mut self, outcome: &Outcome) {
        self.reason = match outcome {
            Outcome::Ended => "ended",
            Outcome::ClientBroke(error) => {
                tracing::debug!(client = %self.arrival.client, %error, "a client's connection broke");
                "client-broke"
            }
            Outcome::XspBroke(error) => {
                tracing::debug!(farm = self.line.farm.name(), %error, "an XSP's connection broke");
                "xsp-broke"
            }
            Outcome::Idle => "idle",
        };
    }
}

impl Watch for Journal {
    fn up(&mut self, bytes: &[u8]) {
        self.received += bytes.len() as u64;
        self.line.metrics.received.inc_by(bytes.len() as u64);
    }

    fn down(&mut self, bytes: &[u8]) {
        self.sent += bytes.len() as u64;
        self.line.metrics.sent.inc_by(bytes.len() as u64);
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.line.metrics.ended(self.reason);
        self.arrival.access.log(&Connection {
            time: self.time,
            event: "connection",
            kind: self.line.kind,
            client: self.arrival.client,
            listener: &self.arrival.listener,
            host: self.arrival.host.as_deref(),
            peer: self.arrival.peer.as_deref(),
            farm: self.line.farm.name(),
            reason: self.reason,
            received: self.received,
            sent: self.sent,
            ms: self.begun.elapsed().as_secs_f64() * 1e3,
            attempts: &self.attempts,
        });
    }
}
