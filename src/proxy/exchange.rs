//! The seam between a request's life and the protocol that the client speaks: a request's body in, a response out. HTTP/1
//! implements it; the service knows no other way to a client.

use std::io;
use std::task::{Context, Poll};

use super::answer::Answer;
use super::feed::Feed;
use crate::http1::chunked::Event;
use crate::http1::head::ResponseHead;

/// Why a client's request can't be read on, or its answer not be delivered.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// The client has left.
    #[error("the client left")]
    Gone,
    /// The connection broke.
    #[error("the client's connection broke")]
    Broken(#[source] io::Error),
    /// The body is malformed.
    #[error("malformed request body")]
    Body(#[source] crate::http1::chunked::ChunkError),
    /// The body is longer than `limits.request_body_size`.
    #[error("request body too long")]
    BodyTooLong,
}

/// How a client's side of a connection has ended.
#[derive(Debug)]
pub(super) enum ClientEnd {
    /// It sends no more, and may still read.
    Finished,
    /// The connection broke: it reads nothing either.
    Broken(io::Error),
}

impl From<ClientEnd> for ClientError {
    fn from(end: ClientEnd) -> Self {
        match end {
            ClientEnd::Finished => Self::Gone,
            ClientEnd::Broken(error) => Self::Broken(error),
        }
    }
}

/// Whether a response can still be another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retracted {
    /// Nothing of it has left, or will.
    Yes,
    /// Some of it has left.
    No,
}

/// One request and its response, on the client's side.
pub(super) trait Exchange {
    /// Moves what has come of the request's body into `feed`; ready when something has, or the body is complete.
    fn poll_body(&mut self, cx: &mut Context<'_>, feed: &mut Feed) -> Poll<Result<(), ClientError>>;

    /// Ready once the client's side has ended, while nothing is expected from it.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<ClientEnd>;

    /// Ready when the client's connection is to end, since its certificate is believed no longer.
    fn poll_untrusted(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    /// Queues a 1xx head.
    fn inform(&mut self, head: &ResponseHead);

    /// Queues the response's head.
    fn respond(&mut self, answer: &Answer<'_>);

    /// Takes the queued response back, if the client's socket has got nothing of it.
    fn retract(&mut self) -> Retracted;

    /// Passes one event of the response's body on.
    ///
    /// # Errors
    /// The connection's.
    fn push(&mut self, cx: &mut Context<'_>, event: Event<'_>) -> io::Result<()>;

    /// Waits until the client's socket has taken what was queued.
    ///
    /// # Errors
    /// The connection's.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Bytes that were queued and that the client's socket has not taken.
    fn backlog(&self) -> usize;

    /// Bytes of the response's body so far.
    fn sent(&self) -> u64;
}
