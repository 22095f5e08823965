//! The access log: one JSON object a request on standard output, with every attempt in it. Apart from the other logs,
//! because it is written a hundred thousand times a second and must never make a request wait.

use std::io::{self, Write};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use parking_lot::{Condvar, Mutex};
use serde::{Serialize, Serializer};
use serde_json::ser::Formatter;
use smallvec::SmallVec;

use super::metrics::Counter;
use super::traces::TraceId;

/// What may wait to be written before events are dropped, in bytes.
const BACKLOG: usize = 8 * 1024 * 1024;

/// One request's event.
#[derive(Debug, Serialize)]
pub struct Access<'a> {
    /// When the request's head was complete: seconds since 1970.
    pub time: f64,
    /// Always `access`, which tells these lines from the others.
    pub event: &'static str,
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
    /// From the request's head to the answer's end, in milliseconds.
    #[serde(serialize_with = "to_the_microsecond")]
    pub ms: f64,
    /// Every attempt, in order.
    pub attempts: &'a [Attempted],
}

/// One connection's event, for CTI and pass-through, when it ends.
#[derive(Debug, Serialize)]
pub struct Connection<'a> {
    /// When it was accepted: seconds since 1970.
    pub time: f64,
    /// Always `connection`, which tells these lines from the others.
    pub event: &'static str,
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
    /// From the handshake's end (the ClientHello, for pass-through) to the connection's, in milliseconds.
    #[serde(serialize_with = "to_the_microsecond")]
    pub ms: f64,
    /// Every attempt to reach an XSP, in order.
    pub attempts: &'a [Attempted],
}

/// One attempt of a request or a connection.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Attempted {
    /// Where to: `address:port`.
    pub endpoint: Arc<str>,
    /// Why this endpoint was chosen.
    pub chosen: &'static str,
    /// What came of it: `success`, `status-503`, `refused`, `timeout`...
    pub outcome: &'static str,
    /// The status, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Whether the connection came from the pool.
    pub reused: bool,
    /// From the attempt's start to its outcome, in milliseconds.
    #[serde(serialize_with = "to_the_microsecond")]
    pub ms: f64,
}

fn to_the_microsecond<S: Serializer>(milliseconds: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((milliseconds * 1e3).round() / 1e3)
}

/// The attempts of one request; most requests have one.
pub type Attempts = SmallVec<[Attempted; 2]>;

/// Takes events from every worker and writes them from a thread of its own.
#[derive(Clone, Debug)]
pub struct AccessLog(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    /// Of so many events that need not be told, one is.
    sample: NonZeroU32,
    seen: AtomicU32,
    state: Mutex<State>,
    arrived: Condvar,
    dropped: Counter,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<u8>,
    closed: bool,
}

impl AccessLog {
    /// No access log.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Starts the writing thread; what does not fit into the backlog is counted in `dropped`. Of `sample` events that need
    /// not be told, one is.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(dropped: Counter, sample: NonZeroU32, mut sink: impl Write + Send + 'static) -> io::Result<Self> {
        let seen = AtomicU32::new(0);
        let shared = Arc::new(Shared { sample, seen, state: Mutex::default(), arrived: Condvar::new(), dropped });
        let writer = Arc::clone(&shared);
        thread::Builder::new().name("access-log".into()).spawn(move || writer.write_to(&mut sink))?;
        Ok(Self(Some(shared)))
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

    /// Queues one event.
    pub fn log(&self, access: &impl Serialize) {
        let Some(shared) = &self.0 else { return };
        let mut state = shared.state.lock();
        if state.lines.len() > BACKLOG {
            shared.dropped.inc();
            return;
        }
        let first = state.lines.is_empty();
        write_line(&mut state.lines, access);
        drop(state);
        if first {
            shared.arrived.notify_one();
        }
    }

    /// Lets the writer end once everything is written.
    pub fn close(&self) {
        if let Some(shared) = &self.0 {
            shared.state.lock().closed = true;
            shared.arrived.notify_one();
        }
    }
}

/// Appends one event, in ASCII.
fn write_line(lines: &mut Vec<u8>, access: &impl Serialize) {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *lines, Ascii);
    access.serialize(&mut serializer).expect("strings, numbers and lists always serialise");
    lines.push(b'\n');
}

/// JSON that a terminal shows as it is: text may be a peer's, and what lies beyond ASCII has controls of its own, and
/// characters that turn the direction of writing around.
struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if fragment.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return writer.write_all(fragment.as_bytes());
        }
        for character in fragment.chars() {
            let mut units = [0; 2];
            match character {
                ' '..='~' => writer.write_all(&[character as u8])?,
                _ => character.encode_utf16(&mut units).iter().try_for_each(|unit| write!(writer, "\\u{unit:04x}"))?,
            }
        }
        Ok(())
    }
}

impl Shared {
    /// Lines are gathered for a few milliseconds, so that a busy gateway makes few system calls.
    fn write_to(&self, sink: &mut impl Write) {
        loop {
            let mut state = self.state.lock();
            while state.lines.is_empty() {
                if state.closed {
                    return;
                }
                self.arrived.wait(&mut state);
            }
            let lines = std::mem::take(&mut state.lines);
            drop(state);
            // A closed standard output must not end the gateway.
            drop(sink.write_all(&lines).and_then(|()| sink.flush()));
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Seconds since 1970, for [`Access::time`].
pub fn timestamp() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::write_line;

    #[test]
    fn a_line_is_ascii_and_says_the_same() {
        let text = "plain \"\\ \x1b[31m\x7f \u{9b}2J \u{202e} Jos\u{e9} \u{1f4de}";
        let mut line = Vec::new();
        write_line(&mut line, &[text]);
        let (end, shown) = line.split_last().unwrap();
        assert_eq!(*end, b'\n');
        assert!(shown.iter().all(|byte| matches!(byte, b' '..=b'~')), "{}", line.escape_ascii());
        assert_eq!(serde_json::from_slice::<[String; 1]>(&line).unwrap(), [text]);
    }
}
