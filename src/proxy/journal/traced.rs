//! The journal of a request that is traced. Separate from the journal, since few requests are.

use std::borrow::Cow;
use std::sync::Arc;

use super::Journal;
use crate::http1::head::RequestHead;
use crate::policy::headers::TraceContext;
use crate::proxy::feed::Outbound;
use crate::proxy::ingress::Ingress;
use crate::telemetry::metrics::SessionEvent;
use crate::telemetry::traces::{Believed, Lengths, TRACEPARENT, Told};

impl Journal {
    /// Has the request traced, if it is its turn.
    pub(in crate::proxy) fn trace(&mut self, from: &Ingress<'_>, head: &RequestHead) {
        let believed = || if from.block.trusts(from.sender) { Believed::Yes } else { Believed::No };
        self.trace = from.worker.shared.traces.begin(&head.method, &head.fields, believed);
        self.trace_id = self.trace.as_ref().map(|trace| trace.id());
    }

    /// What becomes of the trace context that the request has brought.
    pub(in crate::proxy) fn trace_context(&self) -> TraceContext {
        self.trace.as_ref().map_or(TraceContext::AsReceived, |trace| trace.context())
    }

    /// The request as its next attempt sends it: one that is traced says whose it is.
    pub(in crate::proxy) fn outbound<'o>(&mut self, outbound: &'o Outbound) -> Cow<'o, Outbound> {
        match &mut self.trace {
            Some(trace) => Cow::Owned(outbound.with_field(TRACEPARENT, &trace.attempt())),
            None => Cow::Borrowed(outbound),
        }
    }

    /// Tells the trace of a request whose answer is a stream of events: its head is what was waited for, and its end may be
    /// days away.
    pub(in crate::proxy) fn told_of_stream(&mut self) {
        if let Some(trace) = self.trace.take() {
            trace.end(self.told(None, None), &self.attempts);
        }
    }

    /// Tells the trace of a request that is through.
    pub(super) fn told_whole(&mut self) {
        if let Some(trace) = self.trace.take() {
            let lengths = Lengths { received: self.received, sent: self.sent };
            trace.end(self.told(self.reason, Some(lengths)), &self.attempts);
        }
    }

    fn told(&self, reason: Option<&'static str>, lengths: Option<Lengths>) -> Told {
        Told {
            listener: Arc::clone(&self.listener),
            host: self.names.host().map(str::to_owned),
            interface: self.route.as_ref().map(|route| route.interface.name()),
            farm: self.route.as_ref().map(|route| route.farm.name().to_owned()),
            status: self.status,
            class: self.class(reason),
            origin: self.origin.name(),
            reason,
            session: self.session.map(SessionEvent::name),
            lengths,
        }
    }
}
