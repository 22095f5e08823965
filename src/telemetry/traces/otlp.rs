//! Spans as OTLP has them: the messages of `opentelemetry/proto/collector/trace/v1`, as far as they are sent here. Declared
//! here rather than taken from a crate, because those that have them bring a whole SDK along.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use prost::{Message, Oneof};

use super::span::{Attempt, Finished};
use crate::policy::fault::AttemptEnd;
use crate::telemetry::metrics::Class;

/// `ExportTraceServiceRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Export {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

/// Who sends.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, repeated, tag = "11")]
    events: Vec<Event>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
    #[prost(fixed32, tag = "16")]
    flags: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(fixed64, tag = "1")]
    time_unix_nano: u64,
    #[prost(string, tag = "2")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "Value", tags = "1, 2, 3")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Value {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Truth(bool),
    #[prost(int64, tag = "3")]
    Number(i64),
}

const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const ERROR: i32 = 2;
/// The trace goes on, and it is known whether its parent is elsewhere.
const LOCAL_PARENT: u32 = 0x101;
/// Likewise, and it is.
const REMOTE_PARENT: u32 = 0x301;

impl Resource {
    /// The gateway of that name on this machine.
    pub(super) fn new(service_name: &str, host: Option<String>) -> Self {
        let mut attributes = Attributes::default();
        attributes.text("service.name", service_name);
        attributes.text("service.version", env!("CARGO_PKG_VERSION"));
        attributes.maybe("host.name", host.as_deref());
        Self { attributes: attributes.0 }
    }
}

impl Export {
    /// All spans of some requests.
    pub(super) fn new(resource: &Resource, finished: &[Finished]) -> Self {
        let spans = finished.iter().flat_map(|finished| {
            let attempts = finished.attempts.iter().enumerate();
            std::iter::once(server(finished)).chain(attempts.map(|(place, attempt)| client(finished, place, attempt)))
        });
        let scope = Scope { name: env!("CARGO_PKG_NAME").to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans: spans.collect() }];
        Self { resource_spans: vec![ResourceSpans { resource: Some(resource.clone()), scope_spans }] }
    }
}

/// The request's span.
fn server(finished: &Finished) -> Span {
    let told = &finished.told;
    let mut attributes = Attributes::default();
    attributes.text("http.request.method", finished.method);
    attributes.text("url.scheme", "https");
    attributes.maybe("http.route", told.interface);
    attributes.maybe("server.address", told.host.as_deref());
    if let Ok(listener) = told.listener.parse::<SocketAddr>() {
        attributes.number("server.port", listener.port());
    }
    if let Some(status) = told.status {
        attributes.number("http.response.status_code", status);
    }
    if let Some(lengths) = told.lengths {
        attributes.number("http.request.body.size", i64::try_from(lengths.received).unwrap_or(i64::MAX));
        attributes.number("http.response.body.size", i64::try_from(lengths.sent).unwrap_or(i64::MAX));
    }
    attributes.text("xspgate.listener", &told.listener);
    attributes.maybe("xspgate.interface", told.interface);
    attributes.maybe("xspgate.farm", told.farm.as_deref());
    attributes.text("xspgate.origin", told.origin);
    attributes.maybe("xspgate.reason", told.reason);
    attributes.maybe("xspgate.session", told.session);
    attributes.truth("xspgate.stream", told.lengths.is_none());
    attributes.text("xspgate.class", told.class.name());
    let has_failed = matches!(told.class, Class::Status(5) | Class::Aborted);
    if has_failed {
        let status = told.status.map(|status| status.to_string());
        attributes.maybe("error.type", told.reason.or(status.as_deref()));
    }
    let name = [Some(finished.method), told.interface];
    Span {
        trace_id: finished.trace.bytes(),
        span_id: finished.span.bytes(),
        parent_span_id: finished.parent.map(|parent| parent.span.bytes()).unwrap_or_default(),
        name: name.into_iter().flatten().collect::<Vec<_>>().join(" "),
        kind: SERVER,
        start_time_unix_nano: nanoseconds(finished.begun),
        end_time_unix_nano: nanoseconds(finished.ended),
        attributes: attributes.0,
        events: Vec::new(),
        status: has_failed.then_some(Status { code: ERROR }),
        flags: if finished.parent.is_some() { REMOTE_PARENT } else { LOCAL_PARENT },
    }
}

/// The span of one of its attempts.
fn client(finished: &Finished, place: usize, attempt: &Attempt) -> Span {
    let told = &attempt.told;
    let mut attributes = Attributes::default();
    attributes.text("http.request.method", finished.method);
    if let Ok(endpoint) = told.endpoint.parse::<SocketAddr>() {
        attributes.text("server.address", &endpoint.ip().to_string());
        attributes.number("server.port", endpoint.port());
    }
    if let Some(status) = told.status {
        attributes.number("http.response.status_code", status);
    }
    if place > 0 {
        attributes.number("http.request.resend_count", i64::try_from(place).unwrap_or(i64::MAX));
    }
    attributes.maybe("xspgate.farm", finished.told.farm.as_deref());
    attributes.text("xspgate.endpoint", &told.endpoint);
    attributes.text("xspgate.chosen", told.chosen);
    attributes.text("xspgate.outcome", told.outcome.name());
    attributes.truth("xspgate.reused", told.reused);
    // What is given up because another XSP was faster, or the client has left, is nobody's failure.
    let has_failed = match told.outcome {
        AttemptEnd::Success | AttemptEnd::Overtaken | AttemptEnd::Abandoned => false,
        AttemptEnd::ServerError | AttemptEnd::Fault(_) => true,
    };
    if has_failed {
        let status = told.status.map(|status| status.to_string());
        attributes.text("error.type", status.as_deref().unwrap_or(told.outcome.name()));
    }
    let connected = attempt.connected.map(|at| Event { time_unix_nano: nanoseconds(at), name: "connected".to_owned() });
    Span {
        trace_id: finished.trace.bytes(),
        span_id: attempt.span.bytes(),
        parent_span_id: finished.span.bytes(),
        name: finished.method.to_owned(),
        kind: CLIENT,
        start_time_unix_nano: nanoseconds(attempt.begun),
        end_time_unix_nano: nanoseconds(attempt.ended),
        attributes: attributes.0,
        events: connected.into_iter().collect(),
        status: has_failed.then_some(Status { code: ERROR }),
        flags: LOCAL_PARENT,
    }
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[derive(Default)]
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn add(&mut self, key: &str, value: Value) {
        self.0.push(KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) });
    }

    fn text(&mut self, key: &str, value: &str) {
        self.add(key, Value::Text(value.to_owned()));
    }

    fn maybe(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    fn number(&mut self, key: &str, value: impl Into<i64>) {
        self.add(key, Value::Number(value.into()));
    }

    fn truth(&mut self, key: &str, value: bool) {
        self.add(key, Value::Truth(value));
    }
}
