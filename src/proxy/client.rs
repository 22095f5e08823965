//! Whether anybody waits for a request's answer. Separate from the failover loop, which asks for that and for no more.

use std::task::{Context, Poll};

use tokio::time::Instant;

use super::exchange::{ClientEnd, ClientError, Exchange};
use super::feed::Feed;

/// Whether anybody waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// As far as is known.
    Waits,
    /// It sends no more, and may wait; `None`: for as long as it takes.
    Finished { until: Option<Instant> },
    /// It has left, and believes that what it has asked for is done.
    Left,
}

/// What the client has asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// An event channel: a client that has left has no use for one.
    pub(super) opens_channel: bool,
    /// The request is there as a whole, and changes something.
    pub(super) changes: bool,
}

impl Client {
    /// What becomes of a client whose side has ended; it has patience for a safe request until then.
    ///
    /// An end of data is no end of interest: scripts and load balancers wait for their answer behind one. What changes something
    /// is carried out even if nobody waits.
    ///
    /// # Errors
    /// When the request ends with it.
    pub(super) fn ended(end: ClientEnd, asked: Asked, patience: Option<Instant>) -> Result<Self, ClientError> {
        match end {
            _ if asked.opens_channel => Err(end.into()),
            ClientEnd::Finished if asked.changes => Ok(Self::Finished { until: None }),
            ClientEnd::Finished => Ok(Self::Finished { until: patience }),
            ClientEnd::Broken(_) if asked.changes => Ok(Self::Left),
            ClientEnd::Broken(_) => Err(end.into()),
        }
    }

    /// Until when it waits, if its patience has an end.
    pub(super) fn waits_until(self) -> Option<Instant> {
        match self {
            Self::Finished { until } => until,
            Self::Waits | Self::Left => None,
        }
    }
}

/// Reads what has come of a request before any of it is sent on, and says whether its client has left after a whole one. This is for
/// requests that open an event channel: nobody would read it, and a second one of an application ends the first.
///
/// # Errors
/// When the body can't be read on.
pub(super) fn hear_first<E: Exchange>(
    cx: &mut Context<'_>,
    exchange: &mut E,
    feed: &mut Feed,
) -> Result<Option<ClientEnd>, ClientError> {
    while !feed.is_complete() && feed.wants_more(0) {
        match exchange.poll_body(cx, feed) {
            Poll::Ready(result) => result?,
            Poll::Pending => return Ok(None),
        }
    }
    Ok(match exchange.poll_end(cx) {
        Poll::Ready(end) if feed.is_complete() => Some(end),
        Poll::Ready(_) | Poll::Pending => None,
    })
}
