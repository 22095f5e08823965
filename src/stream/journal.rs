//! What is remembered of one connection, for its access event and its counters. Told exactly once, when it is dropped.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::Arrival;
use super::block::Line;
use super::copy::{Outcome, Watch};
use super::leg::End;
use crate::drain::CutTurn;
use crate::farm::Picked;
use crate::policy::fault::AttemptEnd;
use crate::policy::health::Seen;
use crate::registry::{Registered, Why};
use crate::telemetry::access::{Attempted, Attempts, Connection, Opened, timestamp};
use crate::telemetry::metrics::Held;

/// One connection's story.
#[derive(Debug)]
pub(super) struct Journal {
    line: Arc<Line>,
    arrival: Arrival,
    begun: Instant,
    time: Duration,
    attempts: Attempts,
    end: StreamEnd,
    first_end: FirstEnd,
    received: u64,
    sent: u64,
    open: Option<Open>,
}

/// The end that came first. Anyone who cuts its direction off has broken the connection, whatever the other side makes of it:
/// the alert that answers a cut, say, is no fault of its sender.
#[derive(Clone, Copy, Debug)]
enum FirstEnd {
    None,
    Proper,
    CutByClient,
    CutByXsp,
}

/// Held while an XSP is reached. An endpoint that leaves DNS is not forgotten meanwhile, and its series stay.
#[derive(Debug)]
struct Open {
    _line: Held,
    registered: Registered,
    /// When it ends, once it is to.
    turn: CutTurn,
}

/// How a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StreamEnd {
    /// With the process.
    Cut,
    /// By an operator's word.
    CutByOperator,
    /// Its XSP was drained, and the time that it had was over.
    CutByDrain,
    /// No XSP was reached.
    NoXsp,
    /// In an orderly way.
    Ended,
    ClientBroke,
    XspBroke,
    /// Nothing was said for too long.
    Idle,
    /// The XSP stayed blocked.
    XspBlocked,
    /// The client is believed no longer.
    ClientUntrusted,
}

impl StreamEnd {
    const fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::CutByOperator => "cut-by-operator",
            Self::CutByDrain => "cut-by-drain",
            Self::NoXsp => "no-xsp",
            Self::Ended => "ended",
            Self::ClientBroke => "client-broke",
            Self::XspBroke => "xsp-broke",
            Self::Idle => "idle",
            Self::XspBlocked => "xsp-blocked",
            Self::ClientUntrusted => "client-untrusted",
        }
    }
}

impl Journal {
    pub(super) fn new(line: Arc<Line>, arrival: Arrival) -> Self {
        let time = if arrival.access.is_on() { timestamp() } else { Duration::ZERO };
        Self {
            line,
            arrival,
            begun: Instant::now(),
            time,
            attempts: Attempts::new(),
            // Unless somebody says otherwise, it ended with the process.
            end: StreamEnd::Cut,
            first_end: FirstEnd::None,
            received: 0,
            sent: 0,
            open: None,
        }
    }

    /// Takes note of what came of an attempt that took so long.
    pub(super) fn attempted(&mut self, picked: &Picked, took: Duration, outcome: AttemptEnd) {
        picked.endpoint.metrics().attempted(outcome);
        self.attempts.push(Attempted {
            endpoint: Arc::clone(picked.endpoint.label()),
            chosen: picked.reason.name(),
            outcome,
            status: None,
            reused: false,
            took,
        });
    }

    /// An XSP is reached.
    pub(super) fn bridged(&mut self, picked: &Picked) {
        let Arrival { client, peer, registry, .. } = &self.arrival;
        self.open = Some(Open {
            _line: Held::new(&self.line.metrics.open),
            registered: registry.register(self.line.kind, *client, peer.clone(), &picked.endpoint),
            turn: CutTurn::default(),
        });
    }

    /// It keeps the connection.
    pub(super) fn kept(&self) {
        let Some(open) = &self.open else { return };
        self.arrival.access.log(&Opened {
            time: timestamp(),
            kind: self.line.kind.name(),
            client: self.arrival.client,
            peer: self.arrival.peer.as_deref(),
            listener: &self.arrival.listener,
            farm: self.line.farm.name(),
            endpoint: open.registered.entry().endpoint().label(),
            tracking_id: None,
            channel: None,
        });
    }

    /// It is no longer.
    pub(super) fn lost(&mut self) {
        self.open = None;
    }

    /// No XSP was reached.
    pub(super) fn unreached(&mut self) {
        self.end = StreamEnd::NoXsp;
    }

    /// Takes note of how it ended.
    pub(super) fn ended(&mut self, outcome: &Outcome) {
        let end = match outcome {
            Outcome::Ended => StreamEnd::Ended,
            Outcome::ClientBroke(error) => {
                tracing::debug!(client.address = %self.arrival.client, error.message = %error, "a client's connection broke");
                StreamEnd::ClientBroke
            }
            Outcome::XspBroke(error) => {
                tracing::debug!(farm = self.line.farm.name(), error.message = %error, "an XSP's connection broke");
                StreamEnd::XspBroke
            }
            Outcome::Idle => StreamEnd::Idle,
            Outcome::Cut(Why::GivenUp) => StreamEnd::XspBlocked,
            Outcome::Cut(Why::Operator) => StreamEnd::CutByOperator,
            Outcome::Cut(Why::Drained) => StreamEnd::CutByDrain,
            Outcome::ClientUntrusted => StreamEnd::ClientUntrusted,
        };
        self.end = match (self.first_end, outcome) {
            (FirstEnd::None | FirstEnd::Proper, _)
            | (_, Outcome::Idle | Outcome::ClientUntrusted | Outcome::Cut(_)) => end,
            (FirstEnd::CutByClient, _) => StreamEnd::ClientBroke,
            (FirstEnd::CutByXsp, _) => StreamEnd::XspBroke,
        };
        if let (StreamEnd::XspBroke, Some(open)) = (self.end, &self.open) {
            let (farm, rules) = (&self.line.farm, self.line.farm.config().failover.rules());
            // The farm that it was bridged in may have another name by now, and hands on what was seen.
            if let Some(endpoint) = farm.at(open.registered.entry().endpoint().address()) {
                farm.observe(&endpoint, Seen::Ended, std::time::Instant::now(), None, &rules);
            }
        }
    }

    fn moved(&self) {
        if let Some(open) = &self.open {
            open.registered.moved(self.received, self.sent);
        }
    }

    fn ends(&mut self, end: End, cut: FirstEnd) {
        if let FirstEnd::None = self.first_end {
            self.first_end = match end {
                End::Proper => FirstEnd::Proper,
                End::Cut => cut,
            };
        }
    }
}

impl Watch for Journal {
    fn up(&mut self, bytes: &[u8]) {
        self.received += bytes.len() as u64;
        self.line.metrics.received.inc_by(bytes.len() as u64);
        self.moved();
    }

    fn down(&mut self, bytes: &[u8]) {
        self.sent += bytes.len() as u64;
        self.line.metrics.sent.inc_by(bytes.len() as u64);
        if let Some(open) = &self.open {
            open.registered.entry().heard();
        }
        self.moved();
    }

    fn up_ends(&mut self, end: End) {
        self.ends(end, FirstEnd::CutByClient);
    }

    fn down_ends(&mut self, end: End) -> io::Result<()> {
        self.ends(end, FirstEnd::CutByXsp);
        Ok(())
    }

    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<Why> {
        match &mut self.open {
            Some(open) => open.registered.poll_cut(cx, &mut open.turn),
            None => Poll::Pending,
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if self.end == StreamEnd::Cut {
            self.arrival.registry.cut_short();
        }
        self.line.metrics.ended(self.end.name());
        self.arrival.access.log(&Connection {
            time: self.time,
            kind: self.line.kind.name(),
            client: self.arrival.client,
            listener: &self.arrival.listener,
            host: self.arrival.host.as_deref(),
            peer: self.arrival.peer.as_deref(),
            farm: self.line.farm.name(),
            reason: self.end.name(),
            received: self.received,
            sent: self.sent,
            took: self.begun.elapsed(),
            attempts: &self.attempts,
        });
    }
}
