//! What is noted of one request that is traced, while it is served: its span, and one for each attempt. Separate from how it is
//! sent, because here a client waits.

use std::sync::Arc;
use std::time::SystemTime;

use http::Method;
use tokio::time::Instant;

use super::Tracer;
use super::context::{Parent, SpanId, TraceId, traceparent};
use crate::policy::headers::TraceContext;
use crate::telemetry::access::{Attempted, Attempts};
use crate::telemetry::metrics::Class;

/// A request that is traced, until it is told of.
#[derive(Debug)]
pub struct Trace {
    tracer: Arc<Tracer>,
    method: &'static str,
    id: TraceId,
    span: SpanId,
    parent: Option<Parent>,
    time: SystemTime,
    begun: Instant,
    tries: Vec<Try>,
}

/// The times of one attempt.
#[derive(Debug)]
struct Try {
    span: SpanId,
    begun: Instant,
    connected: Option<Instant>,
    /// `None`: it has ended with its request.
    ended: Option<Instant>,
}

/// What there is to tell of a request besides its attempts. Nothing in it comes from the client as it is: no path, no name, no
/// id, no field.
#[derive(Clone, Debug)]
pub struct Told {
    /// The listening address.
    pub listener: Arc<str>,
    /// The Host, as far as it is one of ours.
    pub host: Option<String>,
    /// The interface, once it is known.
    pub interface: Option<&'static str>,
    /// The farm, once it is known.
    pub farm: Option<String>,
    /// The status that the client got; `None`: none.
    pub status: Option<u16>,
    /// The same in short; aborted, if the client has not got all of it.
    pub class: Class,
    /// Who made the answer: `xsp` or `gateway`.
    pub origin: &'static str,
    /// Why the gateway answered itself, or why the answer broke off.
    pub reason: Option<&'static str>,
    /// What affinity decided.
    pub session: Option<&'static str>,
    /// How long the answer's body is, and the request's, in bytes; `None`: the answer is a stream of events, which is told of
    /// when it begins.
    pub lengths: Option<Lengths>,
}

/// Bytes of both bodies.
#[derive(Clone, Copy, Debug)]
pub struct Lengths {
    /// The request's.
    pub received: u64,
    /// The answer's.
    pub sent: u64,
}

/// All that is told of one request.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) method: &'static str,
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    pub(super) parent: Option<Parent>,
    pub(super) begun: SystemTime,
    pub(super) ended: SystemTime,
    pub(super) told: Told,
    pub(super) attempts: Vec<Attempt>,
}

/// All that is told of one attempt.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) span: SpanId,
    pub(super) begun: SystemTime,
    pub(super) connected: Option<SystemTime>,
    pub(super) ended: SystemTime,
    pub(super) told: Attempted,
}

impl Trace {
    pub(super) fn begin(tracer: Arc<Tracer>, parent: Option<Parent>, method: &Method) -> Self {
        Self {
            tracer,
            method: known(method),
            id: parent.map_or_else(TraceId::random, |parent| parent.trace),
            span: SpanId::random(),
            parent,
            time: SystemTime::now(),
            begun: Instant::now(),
            tries: Vec::new(),
        }
    }

    /// The trace's id.
    pub const fn id(&self) -> TraceId {
        self.id
    }

    /// What becomes of the trace context that the request has brought.
    pub const fn context(&self) -> TraceContext {
        match self.parent {
            Some(_) => TraceContext::Continued,
            None => TraceContext::Void,
        }
    }

    /// Begins the next attempt, and returns what it says to its XSP as [`super::TRACEPARENT`].
    pub fn attempt(&mut self) -> String {
        let span = SpanId::random();
        self.tries.push(Try { span, begun: Instant::now(), connected: None, ended: None });
        traceparent(self.id, span, self.parent)
    }

    /// The attempt of that place has ended; `connected` is when its connection was there, if it was not before.
    pub fn ended(&mut self, place: usize, connected: Option<Instant>) {
        if let Some(tried) = self.tries.get_mut(place) {
            (tried.connected, tried.ended) = (connected, Some(Instant::now()));
        }
    }

    /// Ends the request, of which that is told, and its attempts in their order.
    pub fn end(self, told: Told, attempts: &Attempts) {
        let now = Instant::now();
        let at = |instant: Instant| self.time + instant.saturating_duration_since(self.begun);
        let attempt = |(tried, told): (&Try, &Attempted)| Attempt {
            span: tried.span,
            begun: at(tried.begun),
            connected: tried.connected.map(at),
            ended: at(tried.ended.unwrap_or(now)),
            told: told.clone(),
        };
        let finished = Finished {
            method: self.method,
            trace: self.id,
            span: self.span,
            parent: self.parent,
            begun: self.time,
            ended: at(now),
            attempts: self.tries.iter().zip(attempts).map(attempt).collect(),
            told,
        };
        self.tracer.send(finished);
    }
}

/// A method that is nobody's own invention: what a client makes up could be anything.
fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}
