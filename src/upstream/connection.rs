//! One HTTP/1.1 connection to an XSP: request bytes in, a strict response head and body out. It knows framing and nothing
//! of policy, so that an attempt, a probe and a relay can all drive it.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::Method;
use rustls::ClientConfig;
use tokio::time::Instant;

use crate::http1::body::Body;
use crate::http1::chunked::{ChunkError, Event};
use crate::http1::head::{FieldError, Garbage, HeadLimits, Persistence, ResponseHead, parse_response};
use crate::tls::stream::Stream;

/// The most interim answers (1xx) before one answer. Each of them is passed on at once, whether the client reads or not.
const MOST_INTERIM: u32 = 8;

/// Why an answer could not be read.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The connection broke.
    #[error("connection broke")]
    Broken(#[source] io::Error),
    /// The connection ended properly, but too early.
    #[error("connection closed before the answer was complete")]
    Closed,
    /// The connection ended without close_notify, and nothing else tells where the answer ends. It may be whole.
    #[error("connection closed without close_notify, which alone would end the answer")]
    Unconfirmed,
    /// What came is no HTTP/1.1 response head.
    #[error("malformed response head")]
    Head(#[source] Garbage),
    /// The head is longer, or has more fields, than the farm's limits allow. That says nothing against the XSP.
    #[error("response head above response_head_size or response_fields of its farm")]
    TooLarge,
    /// What came is no chunked body.
    #[error("malformed response body")]
    Body(#[source] ChunkError),
    /// Interim answers without end.
    #[error("more than {MOST_INTERIM} interim answers to one request")]
    Interim,
}

impl From<Garbage> for AnswerError {
    fn from(garbage: Garbage) -> Self {
        match garbage {
            Garbage::HeadTooLong | Garbage::Fields(FieldError::TooMany) => Self::TooLarge,
            Garbage::StatusLine | Garbage::SwitchingProtocols | Garbage::Fields(_) | Garbage::Framing(_) => {
                Self::Head(garbage)
            }
        }
    }
}

/// An upstream connection.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    /// What it was dialled with.
    tls: Arc<ClientConfig>,
    /// Received and not understood yet; empty and without capacity while idle.
    input: Vec<u8>,
    born: Instant,
    /// Interim answers since the last final one.
    interim: u32,
    body: Body,
    persistence: Persistence,
    closing: bool,
}

impl Connection {
    /// A connection on which nothing has been said, dialled with `tls`.
    pub fn new(stream: Stream, tls: Arc<ClientConfig>) -> Self {
        Self {
            stream,
            tls,
            input: Vec::new(),
            born: Instant::now(),
            interim: 0,
            body: Body::Done,
            persistence: Persistence::KeepAlive,
            closing: false,
        }
    }

    /// When it was opened.
    pub const fn born(&self) -> Instant {
        self.born
    }

    /// Trust and identity that it was dialled with.
    pub const fn tls(&self) -> &Arc<ClientConfig> {
        &self.tls
    }

    /// Writes request bytes; wait for [`Self::poll_flush`] before the next.
    ///
    /// # Errors
    /// The transport's.
    pub fn send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        self.stream.write(cx, bytes)
    }

    /// Whether all that was written has left.
    pub const fn is_flushed(&self) -> bool {
        self.stream.is_flushed()
    }

    /// Waits until what was written has left.
    ///
    /// # Errors
    /// The transport's.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_flush(cx)
    }

    /// Whether any byte of an answer waits to be understood.
    pub const fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// Whether anything has come since the last final answer: an interim one, or the beginning of one that is not whole.
    pub const fn has_begun_to_answer(&self) -> bool {
        self.interim > 0 || self.has_input() || self.stream.is_amid_record()
    }

    /// No further request goes over this connection, whatever the XSP says.
    pub const fn close_after(&mut self) {
        self.closing = true;
    }

    /// The next response head, 1xx ones included.
    ///
    /// # Errors
    /// See [`AnswerError`].
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        limits: &HeadLimits,
        method: &Method,
    ) -> Poll<Result<ResponseHead, AnswerError>> {
        loop {
            if self.has_input()
                && let Some((head, taken)) = parse_response(&self.input, limits, method).map_err(AnswerError::from)?
            {
                self.take(taken);
                if head.status.is_informational() {
                    self.interim += 1;
                    if self.interim > MOST_INTERIM {
                        return Poll::Ready(Err(AnswerError::Interim));
                    }
                } else {
                    self.interim = 0;
                    self.persistence = head.persistence;
                    self.body = Body::from(head.framing);
                }
                return Poll::Ready(Ok(head));
            }
            if ready!(self.stream.poll_read(cx, &mut self.input)).map_err(AnswerError::Broken)? == 0 {
                return Poll::Ready(Err(AnswerError::Closed));
            }
        }
    }

    /// Whether the body has been read to its end.
    pub const fn is_body_done(&self) -> bool {
        self.body.is_done()
    }

    /// Hands what has come of the body to `relay`, event by event.
    ///
    /// # Errors
    /// See [`AnswerError`].
    pub fn relay_body(&mut self, mut relay: impl FnMut(Event<'_>)) -> Result<(), AnswerError> {
        let mut taken = 0;
        loop {
            let (length, event) = self.body.next(&self.input[taken..]).map_err(AnswerError::Body)?;
            taken += length;
            match event {
                Some(event) => relay(event),
                None => break,
            }
        }
        self.take(taken);
        Ok(())
    }

    /// Waits for more of the body. Ready(false): a body that lasts until close has ended.
    ///
    /// # Errors
    /// [`AnswerError::Broken`] and [`AnswerError::Closed`] when the body was cut short, [`AnswerError::Unconfirmed`] when it
    /// may have been.
    pub fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyTurn, AnswerError>> {
        match (ready!(self.stream.poll_read(cx, &mut self.input)), &self.body) {
            (Ok(0), _) => {}
            (Ok(_), _) => return Poll::Ready(Ok(BodyTurn::More)),
            (Err(error), Body::UntilClose) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Poll::Ready(Err(AnswerError::Unconfirmed));
            }
            (Err(error), _) => return Poll::Ready(Err(AnswerError::Broken(error))),
        }
        if matches!(self.body, Body::UntilClose) {
            self.body = Body::Done;
            return Poll::Ready(Ok(BodyTurn::Ended));
        }
        Poll::Ready(Err(AnswerError::Closed))
    }

    /// Whether the next request may go over this connection: the last answer is through, nothing follows it, and
    /// neither side wants to close.
    pub fn is_reusable(&self) -> bool {
        self.body.is_done()
            && !self.has_begun_to_answer()
            && self.persistence == Persistence::KeepAlive
            && !self.closing
            && !self.stream.is_broken()
            && !self.stream.is_finished()
            && self.is_flushed()
    }

    /// Whether an idle connection can still be used, as far as the poll registration knows. An XSP that has closed it, or
    /// said something unasked, rules it out.
    pub fn poll_usable(&mut self, cx: &mut Context<'_>) -> bool {
        self.stream.poll_read(cx, &mut self.input).is_pending() && !self.has_begun_to_answer()
    }

    /// As [`Self::poll_usable`], and as the kernel knows: what has arrived counts, although nobody has been woken for it yet.
    /// Session tickets and the like are taken in; a close, or anything unasked, rules the connection out.
    pub fn is_open(&mut self, cx: &mut Context<'_>) -> bool {
        self.poll_usable(cx) && self.stream.read_now(cx, &mut self.input).is_pending() && !self.has_begun_to_answer()
    }

    fn take(&mut self, taken: usize) {
        if taken == self.input.len() {
            self.input = Vec::new();
        } else {
            self.input.drain(..taken);
        }
    }
}

/// What waiting for a body's next bytes came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyTurn {
    /// Bytes have come.
    More,
    /// The body ended with its connection.
    Ended,
}
