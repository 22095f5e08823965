//! The client's side of HTTP/1.1: heads in, bodies both ways, one sealed write a turn. It holds no buffer between requests.

use std::cell::Cell;
use std::io;
use std::task::{Context, Poll, ready};

use http::{Method, StatusCode};
use rustls::CommonState;

use super::answer::{Answer, Hint, Last};
use super::clock;
use super::exchange::{ClientEnd, ClientError, Exchange, Retracted};
use super::feed::Feed;
use crate::http1::body::Body;
use crate::http1::chunked::Event;
use crate::http1::encode;
use crate::http1::head::{
    self, HeadLimits, Persistence, Refusal, RequestHead, ResponseFraming, ResponseHead, Version, parse_request,
};
use crate::policy::headers;
use crate::tls::clients::Trusted;
use crate::tls::stream::Stream;

/// From here on a body's bytes are sealed where they lie instead of being gathered first.
const DIRECT: usize = 4 * 1024;
/// Room for a response's head and a small body, so that it is gathered without growing.
const ROOM: usize = 2 * 1024;
/// The largest output whose memory is kept for the thread's next response.
const LARGEST_SPARE: usize = 64 * 1024;
/// What a client may send ahead while its request is being answered.
const AHEAD: usize = 16 * 1024;

thread_local! {
    /// Memory for a thread's next response, since most of them leave in the turn in which they begin.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Why no request was read.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeadError {
    /// The client left between requests.
    #[error("the client left")]
    Gone,
    /// It left, or broke off, within a head.
    #[error("the client's connection broke")]
    Broken(#[source] io::Error),
    /// What it sent is refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// One client connection.
#[derive(Debug)]
pub(super) struct Http1 {
    stream: Stream,
    input: Vec<u8>,
    output: Vec<u8>,
    body: Body,
    body_left: u64,
    version: Version,
    method: Method,
    persistence: Persistence,
    encoding: Encoding,
    /// Where the response begins in the output, until some of it has left.
    response: Option<usize>,
    sent: u64,
    /// Whether its client is still believed, if it has shown a certificate.
    trusted: Option<Box<Trusted>>,
}

/// How the response's body leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    /// Nothing leaves.
    Nothing,
    /// The bytes alone: a length, or the connection's end, frames them.
    Plain,
    /// Chunks as the XSP made them.
    Chunks,
    /// What the XSP sent until it closed, in chunks of our own.
    Wrapped,
}

impl Http1 {
    pub(super) const fn new(stream: Stream, trusted: Option<Box<Trusted>>) -> Self {
        Self {
            stream,
            trusted,
            input: Vec::new(),
            output: Vec::new(),
            body: Body::Done,
            body_left: 0,
            version: Version::Http11,
            method: Method::GET,
            persistence: Persistence::KeepAlive,
            encoding: Encoding::Nothing,
            response: None,
            sent: 0,
        }
    }

    /// What the handshake has agreed on.
    pub(super) fn session(&self) -> &CommonState {
        self.stream.common()
    }

    /// Whether the connection is to end because its client is believed no longer.
    pub(super) fn is_untrusted(&self) -> bool {
        self.trusted.as_ref().is_some_and(|trusted| trusted.has_ended())
    }

    /// Whether the next request's first bytes are there already. Empty lines are none: an old client ends its last request
    /// with one, and then waits like any other. So its time is that of an idle connection, which no such line extends.
    pub(super) fn has_begun(&self) -> bool {
        head::has_begun(&self.input)
    }

    /// The next request's head, whose body may have `body_size` bytes.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        limits: &HeadLimits,
        body_size: u64,
    ) -> Poll<Result<Box<RequestHead>, HeadError>> {
        // A head that is refused has no method and no version, and the answer to it has a body.
        self.method = Method::GET;
        self.version = Version::Http11;
        loop {
            if !self.input.is_empty()
                && let Some((head, taken)) = parse_request(&self.input, limits)?
            {
                self.take(taken);
                self.body = Body::from(head.framing);
                self.body_left = body_size;
                self.version = head.version;
                self.method = head.method.clone();
                self.persistence = head.persistence;
                self.encoding = Encoding::Nothing;
                self.sent = 0;
                return Poll::Ready(Ok(Box::new(head)));
            }
            let begun = self.has_begun();
            if !begun {
                self.input.shrink_to_fit();
            }
            match ready!(self.stream.poll_read(cx, &mut self.input)) {
                Ok(0) if begun => return Poll::Ready(Err(HeadError::Broken(io::ErrorKind::UnexpectedEof.into()))),
                Ok(0) => return Poll::Ready(Err(HeadError::Gone)),
                Ok(_) => {}
                Err(_) if !begun => return Poll::Ready(Err(HeadError::Gone)),
                Err(error) => return Poll::Ready(Err(HeadError::Broken(error))),
            }
        }
    }

    /// Whether another request may follow: both sides want it, and the request's body is through.
    pub(super) fn is_reusable(&self) -> bool {
        self.persistence == Persistence::KeepAlive && self.body.is_done()
    }

    /// Forbids another request.
    pub(super) const fn close_after(&mut self) {
        self.persistence = Persistence::Close;
    }

    /// Says close_notify and ends the sending direction.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        self.stream.poll_shutdown(cx)
    }

    /// Throws away what the client still sends; ready at its end.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.input.clear();
            match ready!(self.stream.poll_read(cx, &mut self.input)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
    }

    fn take(&mut self, taken: usize) {
        if taken == self.input.len() {
            self.input = Vec::new();
        } else {
            self.input.drain(..taken);
        }
    }

    /// Events of the request's body that lie in the input.
    fn feed(&mut self, feed: &mut Feed) -> Result<usize, ClientError> {
        let mut taken = 0;
        loop {
            let (length, event) = self.body.next(&self.input[taken..]).map_err(ClientError::Body)?;
            taken += length;
            let Some(event) = event else { break };
            if let Event::Data(data) = &event {
                self.body_left = self.body_left.checked_sub(data.len() as u64).ok_or(ClientError::BodyTooLong)?;
            }
            feed.push(event);
        }
        self.take(taken);
        Ok(taken)
    }

    fn frame(&mut self, head: &ResponseHead) -> headers::BodyFraming {
        let (encoding, framing) = match (head.framing, self.version) {
            (ResponseFraming::Empty, _) => (Encoding::Nothing, headers::BodyFraming::AsReceived),
            (ResponseFraming::Length(_), _) => (Encoding::Plain, headers::BodyFraming::AsReceived),
            (ResponseFraming::Chunked, Version::Http11) => (Encoding::Chunks, headers::BodyFraming::Chunked),
            (ResponseFraming::UntilClose, Version::Http11) => (Encoding::Wrapped, headers::BodyFraming::Chunked),
            (ResponseFraming::Chunked | ResponseFraming::UntilClose, Version::Http10) => {
                self.persistence = Persistence::Close;
                (Encoding::Plain, headers::BodyFraming::UntilClose)
            }
        };
        self.encoding = encoding;
        framing
    }

    fn respond_own(&mut self, status: StatusCode, text: &str, hint: Hint, tracking_id: &str) {
        let out = &mut self.output;
        encode::status_line(out, status, status.canonical_reason().unwrap_or_default().as_bytes());
        encode::field(out, b"Content-Type", b"text/plain; charset=utf-8");
        encode::field(out, b"Content-Length", (text.len() + 1).to_string().as_bytes());
        match hint {
            Hint::None => {}
            Hint::RetryAfter(seconds) => encode::field(out, b"Retry-After", seconds.to_string().as_bytes()),
            Hint::Allow(methods) => encode::field(out, b"Allow", methods.as_bytes()),
        }
        encode::field(out, b"Cache-Control", b"no-store");
        encode::field(out, b"Date", &clock::date());
        encode::field(out, b"TrackingID", tracking_id.as_bytes());
        if let Some(value) = headers::connection(self.version, self.persistence) {
            encode::field(out, b"Connection", value);
        }
        encode::end(out);
        if self.method != Method::HEAD {
            out.extend_from_slice(text.as_bytes());
            out.push(b'\n');
        }
    }
}

impl Exchange for Http1 {
    fn poll_untrusted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.trusted {
            Some(trusted) => trusted.poll(cx, self.stream.common()),
            None => Poll::Pending,
        }
    }

    fn poll_body(&mut self, cx: &mut Context<'_>, feed: &mut Feed) -> Poll<Result<(), ClientError>> {
        if !self.input.is_empty() && self.feed(feed)? > 0 || feed.is_complete() {
            return Poll::Ready(Ok(()));
        }
        match ready!(self.stream.poll_read(cx, &mut self.input)) {
            Ok(0) => Poll::Ready(Err(ClientError::Gone)),
            Ok(_) => {
                self.feed(feed)?;
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(Err(ended(error).into())),
        }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<ClientEnd> {
        while self.input.len() < AHEAD {
            match ready!(self.stream.poll_read(cx, &mut self.input)) {
                Ok(0) => return Poll::Ready(ClientEnd::Finished),
                Ok(_) => {}
                Err(error) => return Poll::Ready(ended(error)),
            }
        }
        Poll::Pending
    }

    fn inform(&mut self, head: &ResponseHead) {
        if self.version == Version::Http11 {
            headers::informational_head(head, &mut self.output);
        }
    }

    fn respond(&mut self, answer: &Answer<'_>) {
        if self.output.capacity() == 0 {
            self.output = SPARE.take();
        }
        self.output.reserve(ROOM);
        self.response = Some(self.output.len());
        match answer {
            Answer::Relayed { head, cookie, tracking_id, via, last } => {
                if *last == Last::Yes {
                    self.persistence = Persistence::Close;
                }
                let framing = self.frame(head);
                let added = headers::Added {
                    connection: headers::connection(self.version, self.persistence),
                    set_cookie: cookie.as_deref().map(str::as_bytes),
                    tracking_id,
                    date: clock::date,
                    via: *via,
                };
                headers::response_head(head, framing, &added, &mut self.output);
            }
            Answer::Own { status, text, hint, tracking_id, last } => {
                if *last == Last::Yes {
                    self.persistence = Persistence::Close;
                }
                self.respond_own(*status, text, *hint, tracking_id);
            }
        }
    }

    fn retract(&mut self) -> Retracted {
        let Some(start) = self.response.take() else { return Retracted::No };
        self.output.truncate(start);
        self.encoding = Encoding::Nothing;
        self.sent = 0;
        Retracted::Yes
    }

    fn push(&mut self, cx: &mut Context<'_>, event: Event<'_>) -> io::Result<()> {
        match (self.encoding, event) {
            (Encoding::Nothing, _) => {}
            (Encoding::Plain, Event::Data(data)) => {
                self.sent += data.len() as u64;
                if self.output.is_empty() && data.len() >= DIRECT {
                    return self.stream.write(cx, data);
                }
                self.output.extend_from_slice(data);
            }
            (Encoding::Plain, Event::Chunk(_) | Event::ChunkEnd | Event::End(_)) => {}
            (Encoding::Chunks, Event::Chunk(size)) => encode::chunk_start(&mut self.output, size),
            (Encoding::Chunks, Event::Data(data)) => {
                self.sent += data.len() as u64;
                self.output.extend_from_slice(data);
            }
            (Encoding::Chunks, Event::ChunkEnd) => encode::chunk_end(&mut self.output),
            (Encoding::Chunks | Encoding::Wrapped, Event::End(trailers)) => {
                encode::last_chunk(&mut self.output, &trailers)
            }
            (Encoding::Wrapped, Event::Data(data)) => {
                self.sent += data.len() as u64;
                encode::chunk_start(&mut self.output, data.len() as u64);
                self.output.extend_from_slice(data);
                encode::chunk_end(&mut self.output);
            }
            (Encoding::Wrapped, Event::Chunk(_) | Event::ChunkEnd) => {}
        }
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.output.is_empty() {
            let mut output = std::mem::take(&mut self.output);
            self.response = None;
            self.stream.write(cx, &output)?;
            if output.capacity() <= LARGEST_SPARE {
                output.clear();
                SPARE.set(output);
            }
        }
        self.stream.poll_flush(cx)
    }

    fn backlog(&self) -> usize {
        self.output.len() + self.stream.backlog()
    }

    fn sent(&self) -> u64 {
        self.sent
    }
}

/// Many clients end a connection without close_notify.
fn ended(error: io::Error) -> ClientEnd {
    if error.kind() == io::ErrorKind::UnexpectedEof { ClientEnd::Finished } else { ClientEnd::Broken(error) }
}
