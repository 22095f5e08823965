//! An answer's body on its way to the client, while the rest of the request's body may still go up. Nothing is gathered:
//! what one read brings leaves in one write, and chunk boundaries stay where the XSP made them.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::attempt::send_body;
use super::channels::{Identity, Reader};
use super::exchange::{ClientEnd, ClientError, Exchange};
use super::feed::Feed;
use crate::alarm::Alarm;
use crate::farm::Endpoint;
use crate::http1::chunked::Event;
use crate::http1::head::Fields;
use crate::registry::Why;
use crate::upstream::connection::{AnswerError, BodyTurn, Connection};

/// Why an answer broke off. The client's connection is then cut without a proper end, since the answer has none.
#[derive(Debug, thiserror::Error)]
pub(super) enum RelayError {
    /// The client has left, or its body can't be read on.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The client takes nothing.
    #[error("the client accepts no more bytes")]
    ClientStalled,
    /// The XSP's connection broke within the answer.
    #[error(transparent)]
    Xsp(#[from] AnswerError),
    /// The XSP said nothing for too long.
    #[error("silence within the answer")]
    XspStalled,
    /// The answer is an event channel's, and its XSP is gone.
    #[error("the channel is lost")]
    ChannelLost,
    /// The answer is a stream, and was told to end.
    #[error("the stream was told to end")]
    Cut(Why),
    /// The answer is a stream, and its client is believed no longer.
    #[error("the client's certificate is no longer trusted")]
    ClientUntrusted,
}

impl RelayError {
    /// A word for logs.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::Client(_) => "client-gone",
            Self::ClientStalled => "client-stalled",
            Self::Xsp(AnswerError::Unconfirmed) => "xsp-unconfirmed",
            Self::Xsp(_) => "xsp-broke",
            Self::XspStalled => "xsp-stalled",
            Self::ChannelLost => "channel-lost",
            Self::Cut(Why::GivenUp) => "xsp-blocked",
            Self::Cut(Why::Operator) => "cut-by-operator",
            Self::Cut(Why::Drained) => "cut-by-drain",
            Self::ClientUntrusted => "client-untrusted",
        }
    }
}

/// How long either side may keep still.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Silence within the answer; `None`: it is a stream, which may be silent until its endpoint is given up.
    pub(super) answer: Option<Duration>,
    /// A client that takes nothing.
    pub(super) write: Duration,
}

/// A body in motion.
pub(super) struct Relay<'a, 'c> {
    endpoint: &'a Endpoint,
    connection: &'a mut Connection,
    feed: &'a mut Feed,
    sent: &'a mut u64,
    patience: Patience,
    body: RequestBody,
    /// Reads along, if the answer is an event channel's.
    channel: Option<&'a mut Reader<'c>>,
    /// What the client had not taken when it was last looked at.
    backlog: usize,
    /// When either side last did something.
    moved: Instant,
}

/// What becomes of the rest of the request's body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RequestBody {
    GoesUp,
    /// The XSP takes no more of it, or has missed some: no further byte goes up.
    Abandoned,
}

impl<'a, 'c> Relay<'a, 'c> {
    /// The answer that comes from `endpoint` over `connection`, and the rest of the request's body, of which `sent` bytes have
    /// gone up; `channel` reads along.
    pub(super) fn new(
        endpoint: &'a Endpoint,
        connection: &'a mut Connection,
        feed: &'a mut Feed,
        sent: &'a mut u64,
        patience: Patience,
        channel: Option<&'a mut Reader<'c>>,
    ) -> Self {
        // Other attempts may have gone on to where this one can't follow; a body with a gap would be another request.
        let body = if feed.reaches(*sent) { RequestBody::GoesUp } else { RequestBody::Abandoned };
        Self { endpoint, connection, feed, sent, patience, body, channel, backlog: 0, moved: Instant::now() }
    }

    /// Moves the body to its end.
    ///
    /// # Errors
    /// See [`RelayError`].
    pub(super) fn poll<E: Exchange>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut E,
        alarm: &mut Alarm,
    ) -> Poll<Result<(), RelayError>> {
        loop {
            self.pass_on(cx, exchange)?;
            if self.channel.as_mut().is_some_and(|channel| channel.poll_cut(cx).is_ready()) {
                return Poll::Ready(Err(RelayError::ChannelLost));
            }
            match exchange.poll_flush(cx) {
                Poll::Ready(result) => result.map_err(ClientError::Broken)?,
                Poll::Pending => {
                    // A client may read nothing before it has sent everything.
                    self.poll_up(cx, exchange)?;
                    // One that reads slowly is still reading.
                    let backlog = exchange.backlog();
                    if backlog < std::mem::replace(&mut self.backlog, backlog) {
                        self.moved = Instant::now();
                    }
                    ready!(alarm.poll_at(cx, self.moved + self.patience.write));
                    return Poll::Ready(Err(RelayError::ClientStalled));
                }
            }
            if self.connection.is_body_done() {
                return Poll::Ready(Ok(()));
            }
            let going_up = self.poll_up(cx, exchange)?;
            match self.connection.poll_body(cx)? {
                Poll::Ready(turn) => {
                    if turn == BodyTurn::Ended {
                        exchange.push(cx, Event::End(Fields::default())).map_err(ClientError::Broken)?;
                    }
                    self.moved = Instant::now();
                    if self.patience.answer.is_none() {
                        self.endpoint.heard();
                    }
                }
                Poll::Pending => {
                    if going_up == Up::Through
                        && let Poll::Ready(end) = exchange.poll_end(cx)
                    {
                        match end {
                            // It may wait for the rest; but a stream has none.
                            ClientEnd::Finished if self.patience.answer.is_some() => {}
                            ClientEnd::Finished | ClientEnd::Broken(_) => {
                                return Poll::Ready(Err(ClientError::from(end).into()));
                            }
                        }
                    }
                    let Some(patience) = self.patience.answer else {
                        if exchange.poll_untrusted(cx).is_ready() {
                            return Poll::Ready(Err(RelayError::ClientUntrusted));
                        }
                        let Some(channel) = &mut self.channel else { return Poll::Pending };
                        return Poll::Ready(Err(RelayError::Cut(ready!(channel.poll_told(cx)))));
                    };
                    ready!(alarm.poll_at(cx, self.moved + patience));
                    return Poll::Ready(Err(RelayError::XspStalled));
                }
            }
        }
    }

    /// Which event channel is open, once that is known: told once.
    pub(super) fn opened(&mut self) -> Option<Identity> {
        self.channel.as_mut()?.identity()
    }

    /// Takes note of how many bytes of bodies have come from the client so far, and gone to it.
    pub(super) fn passed(&self, received: u64, sent: u64) {
        if let Some(channel) = &self.channel {
            channel.moved(received, sent);
        }
    }

    fn pass_on<E: Exchange>(&mut self, cx: &mut Context<'_>, exchange: &mut E) -> Result<(), RelayError> {
        let mut pushed: io::Result<()> = Ok(());
        let mut push = |event: Event<'_>, leaves: Leaves| {
            if pushed.is_ok() {
                pushed = exchange.push(cx, event);
            }
            if pushed.is_ok()
                && leaves == Leaves::AtOnce
                && let Poll::Ready(Err(error)) = exchange.poll_flush(cx)
            {
                pushed = Err(error);
            }
        };
        let channel = &mut self.channel;
        self.connection.relay_body(|event| match channel.as_mut() {
            Some(channel) => channel.pass(event, &mut |event| {
                // Each document in a write of its own, though several have come together.
                let leaves = if matches!(event, Event::ChunkEnd) { Leaves::AtOnce } else { Leaves::Later };
                push(event, leaves);
            }),
            None => push(event, Leaves::Later),
        })?;
        Ok(pushed.map_err(ClientError::Broken)?)
    }

    /// The rest of the request's body, for which some clients keep their request open while they read.
    fn poll_up<E: Exchange>(&mut self, cx: &mut Context<'_>, exchange: &mut E) -> Result<Up, RelayError> {
        loop {
            if self.body == RequestBody::Abandoned || self.feed.is_sent(*self.sent) && self.connection.is_flushed() {
                return Ok(Up::Through);
            }
            let mut since = Instant::now();
            if send_body(cx, self.connection, self.feed, self.sent, &mut since).is_err() {
                // Its answer may be whole anyway.
                self.body = RequestBody::Abandoned;
                continue;
            }
            self.feed.release(*self.sent);
            if !self.feed.wants_more(*self.sent) {
                return Ok(if self.feed.is_sent(*self.sent) { Up::Through } else { Up::Waiting });
            }
            match exchange.poll_body(cx, self.feed) {
                Poll::Ready(result) => result?,
                Poll::Pending => return Ok(Up::Waiting),
            }
            self.moved = Instant::now();
        }
    }
}

/// When what is pushed is handed to the client's socket.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaves {
    AtOnce,
    /// With what else the same read has brought.
    Later,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Up {
    Through,
    Waiting,
}
