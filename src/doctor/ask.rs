//! One request over a connection of its own, by the gateway's own strict codec: what it can't read, it would not pass on.
//! Separate from the checks, which only differ in what they ask.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use tokio::time::timeout;

use super::door::Door;
use crate::http1::chunked::Event;
use crate::http1::date;
use crate::http1::encode;
use crate::http1::head::{HeadLimits, ResponseHead};
use crate::policy::fault::HandshakeFault;
use crate::tls::certs::now;
use crate::upstream::connect::{ConnectError, handshake_fault};
use crate::upstream::connection::{AnswerError, BodyTurn, Connection};

/// What is asked.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    pub(super) path: &'a str,
    /// The Host field.
    pub(super) host: &'a str,
    /// Further fields. Values come from cookies, which the codec has read, and from base64.
    pub(super) fields: Vec<(&'static str, String)>,
    /// Sent with its length and as XML, unless it is empty.
    pub(super) body: &'a str,
}

impl<'a> Ask<'a> {
    /// A GET of `path` at `host`.
    pub(super) const fn get(host: &'a str, path: &'a str) -> Self {
        Self { method: Method::GET, path, host, fields: Vec::new(), body: "" }
    }

    fn head(&self) -> Vec<u8> {
        let mut head = Vec::with_capacity(512);
        encode::request_line(&mut head, &self.method, self.path.as_bytes());
        encode::field(&mut head, b"Host", self.host.as_bytes());
        encode::field(&mut head, b"User-Agent", concat!("xspgate-doctor/", env!("CARGO_PKG_VERSION")).as_bytes());
        encode::field(&mut head, b"Accept", b"*/*");
        encode::field(&mut head, b"Connection", b"close");
        for (name, value) in &self.fields {
            encode::field(&mut head, name.as_bytes(), value.as_bytes());
        }
        if !self.body.is_empty() {
            encode::field(&mut head, b"Content-Type", b"application/xml;charset=UTF-8");
        }
        if self.method != Method::GET {
            encode::field(&mut head, b"Content-Length", self.body.len().to_string().as_bytes());
        }
        encode::end(&mut head);
        head.extend_from_slice(self.body.as_bytes());
        head
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// Not even a connection.
    #[error("{}", .0.fault().name())]
    Connect(#[source] ConnectError),
    /// No answer that could be read.
    #[error("{}{}", .0, cause(.0))]
    Answer(#[source] AnswerError),
    /// No answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Silent(Duration),
}

impl Trouble {
    /// The alert by which the peer has ended the connection after the handshake, if it has: of TLS 1.3, that is how a server
    /// demands a certificate.
    pub(super) fn alert(&self) -> Option<&'static str> {
        let Self::Answer(AnswerError::Broken(error)) = self else { return None };
        Some(handshake_fault(error)).filter(|fault| fault.is_alert()).map(HandshakeFault::name)
    }
}

fn cause(error: &AnswerError) -> String {
    std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default()
}

/// An answer's head.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) location: Option<String>,
    /// Set-Cookie fields, as they came.
    pub(super) cookies: Vec<String>,
    /// How many seconds its Date is ahead of this machine's clock.
    pub(super) offset: Option<i64>,
    /// From the request to the head.
    pub(super) took: Duration,
}

impl Answer {
    fn of(head: &ResponseHead, took: Duration) -> Self {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        Self {
            status: head.status.as_u16(),
            location: head.fields.get("location").map(text),
            cookies: head.fields.get_all("set-cookie").map(text).collect(),
            offset: head.fields.get("date").and_then(date::read).map(|date| date - now()),
            took,
        }
    }
}

/// An answer whose body still comes.
pub(super) struct Stream {
    connection: Connection,
    patience: Duration,
}

/// Asks, and reads the answer's head. The connection is closed.
pub(super) async fn ask(door: &Door, ask: &Ask<'_>) -> Result<Answer, Trouble> {
    Ok(open(door, ask).await?.0)
}

/// Asks, and reads the answer's head; its body may be read on.
pub(super) async fn open(door: &Door, ask: &Ask<'_>) -> Result<(Answer, Stream), Trouble> {
    let stream = door.open().await.map_err(Trouble::Connect)?;
    let mut connection = Connection::new(stream, Arc::clone(&door.tls));
    let (bytes, begun) = (ask.head(), Instant::now());
    let head = timeout(door.patience, exchange(&mut connection, &bytes, &ask.method)).await;
    let head = head.map_err(|_| Trouble::Silent(door.patience))?.map_err(Trouble::Answer)?;
    Ok((Answer::of(&head, begun.elapsed()), Stream { connection, patience: door.patience }))
}

async fn exchange(connection: &mut Connection, bytes: &[u8], method: &Method) -> Result<ResponseHead, AnswerError> {
    poll_fn(|cx| std::task::Poll::Ready(connection.send(cx, bytes))).await.map_err(AnswerError::Broken)?;
    poll_fn(|cx| connection.poll_flush(cx)).await.map_err(AnswerError::Broken)?;
    loop {
        let head = poll_fn(|cx| connection.poll_head(cx, &HeadLimits::RESPONSE, method)).await?;
        if !head.status.is_informational() {
            return Ok(head);
        }
    }
}

impl Stream {
    /// Shows `look` the body piece by piece until it has made something of it; `None`: the body ended before, or took too
    /// long.
    pub(super) async fn until<T>(&mut self, mut look: impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
        let connection = &mut self.connection;
        let reading = async {
            loop {
                let mut seen = None;
                let relayed = connection.relay_body(|event| {
                    if let (Event::Data(bytes), None) = (event, &seen) {
                        seen = look(bytes);
                    }
                });
                if seen.is_some() || relayed.is_err() || connection.is_body_done() {
                    return seen;
                }
                match poll_fn(|cx| connection.poll_body(cx)).await {
                    Ok(BodyTurn::More) => {}
                    Ok(BodyTurn::Ended) | Err(_) => return None,
                }
            }
        };
        timeout(self.patience, reading).await.ok().flatten()
    }
}
