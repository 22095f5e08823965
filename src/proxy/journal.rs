//! What is remembered of one request, for its access event and its counters. Told exactly once, when it is dropped, so that
//! a client that leaves is told of too.

mod traced;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::time::Instant;

use super::attempt::Attempt;
use super::channels::Identity;
use super::snapshot::Route;
use crate::broadworks::channel::ChannelId;
use crate::farm::Endpoint;
use crate::http1::head::RequestHead;
use crate::policy::fault::AttemptEnd;
use crate::policy::route::without_parameters;
use crate::policy::streams::StreamKind;
use crate::telemetry::access::{Access, AccessLog, Attempts, Opened, timestamp};
use crate::telemetry::metrics::{Class, ListenerMetrics, SessionEvent};
use crate::telemetry::traces::{Trace, TraceId};

/// One request's story.
#[derive(Debug)]
pub(super) struct Journal {
    access: AccessLog,
    listener: Arc<str>,
    metrics: Arc<ListenerMetrics>,
    client: IpAddr,
    peer: Option<Arc<str>>,
    begun: Instant,
    time: Duration,
    method: Option<Method>,
    names: Names,
    pub(super) tracking_id: String,
    pub(super) route: Option<Arc<Route>>,
    attempts: Attempts,
    /// What is noted of it if it is traced, until that is told.
    trace: Option<Box<Trace>>,
    trace_id: Option<TraceId>,
    /// From when others were first awaited to the latest end of an attempt: their time, not the gateway's.
    waited: Duration,
    awaiting_since: Option<Instant>,
    pub(super) session: Option<SessionEvent>,
    /// The event channel that the request has opened.
    pub(super) channel: Option<ChannelId>,
    pub(super) status: Option<u16>,
    pub(super) origin: Origin,
    /// Why the gateway has answered itself, or the answer broke off; `None`: neither.
    pub(super) reason: Option<&'static str>,
    pub(super) received: u64,
    pub(super) sent: u64,
}

/// The path without its parameters, which may hold a session's id, and the Host behind it once that is known to be one of ours: one piece of memory for both.
#[derive(Debug, Default)]
struct Names {
    text: String,
    path: usize,
}

impl Names {
    fn new(head: &RequestHead) -> Self {
        let path = without_parameters(head.path());
        let path = str::from_utf8(&path).map_or_else(|_| String::from_utf8_lossy(&path), Cow::Borrowed);
        let mut text = String::with_capacity(path.len() + head.host().map_or(0, str::len));
        text.push_str(&path);
        Self { path: text.len(), text }
    }

    fn add_host(&mut self, host: &str) {
        self.text.push_str(host);
        self.text[self.path..].make_ascii_lowercase();
    }

    fn path(&self) -> &str {
        &self.text[..self.path]
    }

    fn host(&self) -> Option<&str> {
        Some(&self.text[self.path..]).filter(|host| !host.is_empty())
    }
}

/// Who made the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Xsp,
    Gateway,
}

impl Origin {
    const fn name(self) -> &'static str {
        match self {
            Self::Xsp => "xsp",
            Self::Gateway => "gateway",
        }
    }
}

impl Journal {
    pub(super) fn new(
        access: &AccessLog,
        listener: &Arc<str>,
        metrics: &Arc<ListenerMetrics>,
        client: IpAddr,
        peer: Option<Arc<str>>,
    ) -> Self {
        Self {
            access: access.clone(),
            listener: Arc::clone(listener),
            metrics: Arc::clone(metrics),
            client,
            peer,
            begun: Instant::now(),
            time: if access.is_on() { timestamp() } else { Duration::ZERO },
            method: None,
            names: Names::default(),
            tracking_id: String::new(),
            route: None,
            attempts: Attempts::new(),
            trace: None,
            trace_id: None,
            waited: Duration::ZERO,
            awaiting_since: None,
            session: None,
            channel: None,
            status: None,
            origin: Origin::Gateway,
            // Unless somebody says otherwise, the gateway's own end cuts it off.
            reason: Some("cut"),
            received: 0,
            sent: 0,
        }
    }

    /// The event channel that the request opens is open at `endpoint`.
    pub(super) fn opened(&mut self, endpoint: &Endpoint, opened: Identity) {
        self.channel = match opened {
            Identity::Known(id) => Some(id),
            Identity::Unread => None,
        };
        let channel = self.channel.as_ref().map(|id| String::from_utf8_lossy(id.as_bytes()));
        self.access.log(&Opened {
            time: timestamp(),
            kind: StreamKind::Channel.name(),
            client: self.client,
            peer: self.peer.as_deref(),
            listener: &self.listener,
            farm: self.route.as_ref().map_or("", |route| route.farm.name()),
            endpoint: endpoint.label(),
            tracking_id: Some(&self.tracking_id),
            channel: channel.as_deref(),
        });
    }

    /// The subject of the client's certificate, if it was verified.
    pub(super) fn peer(&self) -> Option<Arc<str>> {
        self.peer.clone()
    }

    /// When the request's head was there.
    pub(super) const fn begun(&self) -> Instant {
        self.begun
    }

    /// Takes note of the request, if anybody will read it.
    pub(super) fn request(&mut self, head: &RequestHead) {
        if self.access.is_on() {
            self.method = Some(head.method.clone());
            self.names = Names::new(head);
        }
    }

    /// Takes note of the Host, once it is known to be one of ours.
    pub(super) fn host(&mut self, host: &str) {
        if self.access.is_on() || self.trace.is_some() {
            self.names.add_host(host);
        }
    }

    /// Takes note of what affinity decided.
    pub(super) fn session(&mut self, event: SessionEvent) {
        self.session = Some(event);
        if let Some(route) = &self.route {
            route.farm.metrics().session(event);
        }
    }

    /// Takes note that the client's body is awaited before the first attempt.
    pub(super) fn awaits_body(&mut self) {
        self.awaiting_since.get_or_insert_with(Instant::now);
    }

    /// Takes note of an attempt that begins, and returns its place: attempts are told of in the order of their beginning.
    pub(super) fn began(&mut self, attempt: &Attempt) -> usize {
        self.awaiting_since.get_or_insert(attempt.begun());
        self.attempts.push(attempt.log(AttemptEnd::Abandoned, None));
        self.attempts.len() - 1
    }

    /// Takes note of what came of an attempt.
    pub(super) fn ended(&mut self, attempt: &Attempt, end: AttemptEnd, status: Option<u16>) {
        if let Some(entry) = self.attempts.get_mut(attempt.entry) {
            *entry = attempt.log(end, status);
        }
        if let Some(trace) = &mut self.trace {
            trace.ended(attempt.entry, attempt.connected());
        }
        self.waited = self.awaiting_since.map_or(Duration::ZERO, |since| since.elapsed());
    }

    /// The response's head is on its way: what is the gateway's own share of the time until now?
    pub(super) fn responding(&self) {
        if let Some(route) = &self.route {
            route.metrics.own_time(self.begun.elapsed().saturating_sub(self.waited));
        }
    }

    /// Whether nobody would miss it in the log: it went as it should.
    fn is_routine(&self) -> bool {
        self.reason.is_none()
            && self.channel.is_none()
            && self.attempts.len() <= 1
            && self.status.is_some_and(|status| status < 400)
    }

    fn class(&self, reason: Option<&'static str>) -> Class {
        match (self.status, reason) {
            (Some(status), None) => Class::Status((status / 100) as u8),
            (Some(status), Some(_)) if self.origin == Origin::Gateway => Class::Status((status / 100) as u8),
            (Some(_), Some(_)) | (None, _) => Class::Aborted,
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Some(route) = &self.route {
            route.metrics.answered(self.class(self.reason));
        }
        if self.origin == Origin::Gateway {
            self.metrics.refused(self.reason.unwrap_or_default());
        }
        self.told_whole();
        if self.is_routine() && !self.access.is_sampled() {
            return;
        }
        let channel = self.channel.as_ref().map(|id| String::from_utf8_lossy(id.as_bytes()));
        self.access.log(&Access {
            time: self.time,
            client: self.client,
            peer: self.peer.as_deref(),
            listener: &self.listener,
            host: self.names.host(),
            interface: self.route.as_ref().map(|route| route.interface.name()),
            farm: self.route.as_ref().map(|route| route.farm.name()),
            method: self.method.as_ref().map_or("", Method::as_str),
            path: self.names.path(),
            status: self.status,
            origin: self.origin.name(),
            reason: self.reason,
            tracking_id: &self.tracking_id,
            trace_id: self.trace_id,
            session: self.session.map(SessionEvent::name),
            channel: channel.as_deref(),
            received: self.received,
            sent: self.sent,
            took: self.begun.elapsed(),
            attempts: &self.attempts,
        });
    }
}
