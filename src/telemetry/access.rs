//! The access log: one line a request, with every attempt in it. Separate from the other logs, because it is written a
//! hundred thousand times a second and must never make a request wait.

mod cut;
pub mod file;
mod human;
mod opened;

use std::cell::Cell;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

pub use opened::Opened;
use smallvec::SmallVec;

use super::json::Object;
use super::lines::{Kind, Lines};
use super::traces::TraceId;
use crate::config::model::LogFormat;
use crate::policy::fault::AttemptEnd;

/// What a thread keeps for the next line, in bytes. A usual line has 600.
const ROOM: usize = 16 * 1024;

/// One request's event.
#[derive(Debug)]
pub struct Access<'a> {
    /// When the request's head was complete, since 1970.
    pub time: Duration,
    /// The client.
    pub client: IpAddr,
    /// The subject of the certificate that the client has proved to own.
    pub peer: Option<&'a str>,
    /// The listening address.
    pub listener: &'a str,
    /// The Host, as far as it is one of ours.
    pub host: Option<&'a str>,
    /// The interface, once it is known.
    pub interface: Option<&'static str>,
    /// The farm, once it is known.
    pub farm: Option<&'a str>,
    /// The method.
    pub method: &'a str,
    /// The path without its query, which may hold secrets.
    pub path: &'a str,
    /// The status that the client got; absent when it got none.
    pub status: Option<u16>,
    /// Who made the answer: `xsp` or `gateway`.
    pub origin: &'static str,
    /// Why the gateway answered itself, or why the answer broke off.
    pub reason: Option<&'static str>,
    /// The request's TrackingID.
    pub tracking_id: &'a str,
    /// Its trace's id, if it is traced.
    pub trace_id: Option<TraceId>,
    /// What affinity decided.
    pub session: Option<&'static str>,
    /// The event channel that the request has opened.
    pub channel: Option<&'a str>,
    /// Bytes of the request's body, as they were framed.
    pub received: u64,
    /// Bytes of the answer's body, as they were framed.
    pub sent: u64,
    /// From the request's head to the answer's end.
    pub took: Duration,
    /// Every attempt, in order.
    pub attempts: &'a [Attempted],
}

/// One connection's event, for CTI and pass-through, when it ends.
#[derive(Debug)]
pub struct Connection<'a> {
    /// When it was accepted, since 1970.
    pub time: Duration,
    /// `cti` or `passthrough`.
    pub kind: &'static str,
    /// The client.
    pub client: IpAddr,
    /// The listening address.
    pub listener: &'a str,
    /// The name that the client asked for, if it asked for one.
    pub host: Option<&'a str>,
    /// The subject of the client's certificate, if it was verified.
    pub peer: Option<&'a str>,
    /// The farm.
    pub farm: &'a str,
    /// How it ended.
    pub reason: &'static str,
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
    /// From the handshake's end (the ClientHello, for pass-through) to the connection's.
    pub took: Duration,
    /// Every attempt to reach an XSP, in order.
    pub attempts: &'a [Attempted],
}

/// One attempt of a request or a connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempted {
    /// Where to: `address:port`.
    pub endpoint: Arc<str>,
    /// Why this endpoint was chosen.
    pub chosen: &'static str,
    /// What came of it: `success`, `status-503`, `refused`, `timeout`...
    pub outcome: AttemptEnd,
    /// The status, if there was one.
    pub status: Option<u16>,
    /// Whether the connection came from the pool.
    pub reused: bool,
    /// From the attempt's start to its outcome.
    pub took: Duration,
}

/// How grave each line of the access log is.
const LEVEL: &str = "INFO";
/// What part of the program says so.
const TARGET: &str = "xspgate::access";

/// What a line of the access log is made of.
pub trait Event {
    /// When it happened, since 1970.
    fn time(&self) -> Duration;

    /// Writes its fields for programs. The names with a dot are OpenTelemetry's.
    fn write(&self, object: &mut Object<'_>);

    /// Writes the same for people, after the time and the level.
    fn tell(&self, out: &mut Vec<u8>);
}

impl Event for Access<'_> {
    fn time(&self) -> Duration {
        self.time
    }

    fn write(&self, object: &mut Object<'_>) {
        object.word("event", "access");
        object.address("client.address", self.client);
        object.text_if_any("tls.client.subject", self.peer);
        object.word("listener", self.listener);
        object.text_if_any("server.address", self.host);
        object.word_if_any("interface", self.interface);
        object.word_if_any("farm", self.farm);
        object.word("http.request.method", self.method);
        object.text("url.path", &cut::path(self.path));
        object.number_if_any("http.response.status_code", self.status);
        object.word("origin", self.origin);
        object.word_if_any("reason", self.reason);
        object.text("tracking_id", &cut::tracking_id(self.tracking_id));
        object.shown_if_any("trace_id", self.trace_id);
        object.word_if_any("session", self.session);
        object.text_if_any("channel", self.channel);
        object.number("http.request.body.size", self.received);
        object.number("http.response.body.size", self.sent);
        object.milliseconds("ms", self.took);
        object.objects("attempts", self.attempts, Attempted::write);
    }

    fn tell(&self, out: &mut Vec<u8>) {
        human::request(self, out);
    }
}

impl Event for Connection<'_> {
    fn time(&self) -> Duration {
        self.time
    }

    fn write(&self, object: &mut Object<'_>) {
        object.word("event", "connection");
        object.word("kind", self.kind);
        object.address("client.address", self.client);
        object.text_if_any("tls.client.subject", self.peer);
        object.word("listener", self.listener);
        object.text_if_any("server.address", self.host);
        object.word("farm", self.farm);
        object.word("reason", self.reason);
        object.number("received", self.received);
        object.number("sent", self.sent);
        object.milliseconds("ms", self.took);
        object.objects("attempts", self.attempts, Attempted::write);
    }

    fn tell(&self, out: &mut Vec<u8>) {
        human::connection(self, out);
    }
}

impl Attempted {
    fn write(&self, object: &mut Object<'_>) {
        object.word("endpoint", &self.endpoint);
        object.word("chosen", self.chosen);
        object.word("outcome", self.outcome.name());
        object.number_if_any("http.response.status_code", self.status);
        object.truth("reused", self.reused);
        object.milliseconds("ms", self.took);
    }
}

/// The attempts of one request; most requests have one.
pub type Attempts = SmallVec<[Attempted; 2]>;

/// Takes events from every worker.
#[derive(Clone, Debug)]
pub struct AccessLog(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    lines: Lines,
    format: LogFormat,
    /// Of so many events that need not be told, one is.
    sample: NonZeroU32,
    seen: AtomicU32,
}

thread_local! {
    /// The line that is being made; only one is at a time.
    static LINE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl AccessLog {
    /// No access log.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Events go to `lines` as `format` says; of `sample` that need not be told, one is.
    pub fn new(lines: Lines, format: LogFormat, sample: NonZeroU32) -> Self {
        Self(Some(Arc::new(Shared { lines, format, sample, seen: AtomicU32::new(0) })))
    }

    /// Whether events are wanted at all.
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether it is the turn of an event that need not be told.
    pub fn is_sampled(&self) -> bool {
        let Some(shared) = &self.0 else { return false };
        shared.sample.get() == 1 || shared.seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(shared.sample.get())
    }

    /// Queues one event. The line is made before the queue is locked, in memory that its thread uses again and again.
    pub fn log(&self, event: &impl Event) {
        let Some(shared) = &self.0 else { return };
        let mut line = LINE.take();
        line.clear();
        write_line(&mut line, shared.format, event);
        shared.lines.push(Kind::Access, &line);
        // One endless path must not be paid for for ever.
        line.shrink_to(ROOM);
        LINE.set(line);
    }
}

/// Appends one event, in ASCII.
pub fn write_line(line: &mut Vec<u8>, format: LogFormat, event: &impl Event) {
    match format {
        LogFormat::Json => event.write(&mut Object::line(line, event.time(), LEVEL, TARGET)),
        LogFormat::Human => {
            human::begin(line, event.time());
            event.tell(line);
        }
    }
    line.push(b'\n');
}

/// The time since 1970, for [`Access::time`].
pub fn timestamp() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
