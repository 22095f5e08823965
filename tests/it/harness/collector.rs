//! A collector of traces that understands OTLP over HTTP, by OpenTelemetry's own definition of it, and may be in a bad mood.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1;
use parking_lot::Mutex;
use prost::Message;
use tokio::net::TcpListener;

use super::eventually;

/// The kind of a span for a request that is served.
pub(crate) const SERVER: i32 = v1::span::SpanKind::Server as i32;

/// How a collector takes what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It takes it.
    Takes,
    /// It answers with this status.
    Answers(StatusCode),
    /// It reads, and never answers.
    Silent,
}

/// What became of a request or an attempt, as a span has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Unset,
    Error,
}

/// One span, in words.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) kind: i32,
    pub(crate) status: Status,
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    pub(crate) events: Vec<String>,
    attributes: Vec<(String, String)>,
}

impl Span {
    /// An attribute's value as text; empty if there is none.
    pub(crate) fn get(&self, key: &str) -> &str {
        self.attributes.iter().find(|(own, _)| own == key).map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// What its attributes are called.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.attributes.iter().map(|(key, _)| key.as_str())
    }
}

/// A running collector.
pub(crate) struct Collector {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    mood: Mood,
    requests: Vec<Request<Bytes>>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { mood: Mood::Takes, requests: Vec::new() }));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let state = Arc::clone(&shared);
                let service = service_fn(move |request| answer(Arc::clone(&state), request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(tcp), service));
            }
        });
        Self { address, state }
    }

    /// What `[traces] endpoint` says.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn gets_into(&self, mood: Mood) {
        self.state.lock().mood = mood;
    }

    /// What it has been asked, whether it has taken it or not.
    pub(crate) fn requests(&self) -> Vec<Request<Bytes>> {
        self.state.lock().requests.clone()
    }

    /// All spans that it was ever sent; the last ones first.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.requests().iter().rev().flat_map(|request| spans(request.body())).collect()
    }

    /// What the senders say of themselves.
    pub(crate) fn resource(&self, key: &str) -> Vec<String> {
        let resources = self.requests().into_iter().flat_map(|request| decoded(request.body()).resource_spans);
        let attributes = resources.flat_map(|spans| spans.resource.unwrap().attributes).map(attribute);
        attributes.filter(|(own, _)| own == key).map(|(_, value)| value).collect()
    }

    /// The spans of the first request of that trace, in the order of their beginning: the request's own is the first.
    pub(crate) async fn trace(&self, id: &str) -> Vec<Span> {
        self.first(&format!("the trace {id}"), |span| span.trace == id).await
    }

    /// The spans of the first request whose own span is such.
    pub(crate) async fn first(&self, what: &str, wanted: impl Fn(&Span) -> bool) -> Vec<Span> {
        let find = || self.spans().into_iter().find(|span| span.kind == SERVER && wanted(span));
        eventually(what, async || find().is_some()).await;
        let server = find().unwrap();
        let mut spans = self.spans();
        spans.retain(|span| span.id == server.id || span.parent == server.id);
        spans.sort_by_key(|span| (span.kind != SERVER, span.begun));
        spans
    }
}

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let mood = {
        let mut state = state.lock();
        state.requests.push(Request::from_parts(head, body));
        state.mood
    };
    let status = match mood {
        Mood::Takes => StatusCode::OK,
        Mood::Answers(status) => status,
        Mood::Silent => std::future::pending().await,
    };
    Ok(Response::builder().status(status).body(Full::default()).unwrap())
}

fn decoded(body: &Bytes) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest::decode(body.clone()).unwrap()
}

fn spans(body: &Bytes) -> Vec<Span> {
    let scopes = decoded(body).resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).map(span).collect()
}

fn span(span: v1::Span) -> Span {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let failed = span.status.is_some_and(|status| status.code == v1::status::StatusCode::Error as i32);
    Span {
        name: span.name,
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        kind: span.kind,
        status: if failed { Status::Error } else { Status::Unset },
        begun: span.start_time_unix_nano,
        ended: span.end_time_unix_nano,
        events: span.events.into_iter().map(|event| event.name).collect(),
        attributes: span.attributes.into_iter().map(attribute).collect(),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "OTLP's values are not ours and may grow")]
fn attribute(attribute: KeyValue) -> (String, String) {
    let value = match attribute.value.unwrap().value.unwrap() {
        Value::StringValue(text) => text,
        Value::BoolValue(truth) => truth.to_string(),
        Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    };
    (attribute.key, value)
}
