//! What becomes of event channels. Separate from sessions, because a channel has a life of its own.

use serde::{Deserialize, Serialize};

/// What became of a request that names or opens an event channel, or of one of its documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelEvent {
    /// A request that names one went to its XSP.
    Bound,
    /// A request that names one was told that it is lost.
    Refused,
    /// A request names a channel that is not known here.
    Unknown,
    /// A document came in pieces, and was put together.
    Reassembled,
    /// A channel's id can't be read from what its XSP sends.
    Unread,
    /// A request that opens one waits for its turn.
    Queued,
    /// A request that opens one was rejected, since there was no turn in time.
    Rejected,
}

impl ChannelEvent {
    /// In the order of their values.
    pub(super) const ALL: [Self; 7] =
        [Self::Bound, Self::Refused, Self::Unknown, Self::Reassembled, Self::Unread, Self::Queued, Self::Rejected];

    /// The name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bound => "bound",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
            Self::Reassembled => "reassembled",
            Self::Unread => "unread",
            Self::Queued => "queued",
            Self::Rejected => "rejected",
        }
    }
}

/// Who or what ended an event channel whose id was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelEnd {
    /// The client: it has left, or took no more bytes.
    Client,
    /// The XSP, properly: it was deleted, or has run out.
    Xsp,
    /// The XSP is gone, or broke the stream.
    Lost,
    /// The gateway's own end.
    Cut,
}

impl ChannelEnd {
    /// In the order of their values.
    pub(super) const ALL: [Self; 4] = [Self::Client, Self::Xsp, Self::Lost, Self::Cut];

    /// The name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Xsp => "xsp",
            Self::Lost => "lost",
            Self::Cut => "cut",
        }
    }
}

/// What came of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heartbeat {
    /// An XSP took it: its channel's, or, where the channel is not known, the one that its cookie named, or any.
    Taken,
    /// The XSP does not know the channel: 404.
    NotFound,
    /// The XSP answered 5xx.
    Error,
    /// The XSP answered something else: 401, say.
    Other,
    /// No XSP gave an answer, or the client did not wait for one.
    Failed,
    /// The gateway answered 404, since the channel is lost.
    Lost,
}

impl Heartbeat {
    /// In the order of their values.
    pub(super) const ALL: [Self; 6] = [Self::Taken, Self::NotFound, Self::Error, Self::Other, Self::Failed, Self::Lost];

    /// What its channel's XSP means by this status.
    pub const fn answered(status: u16) -> Self {
        match status {
            200..=299 => Self::Taken,
            404 => Self::NotFound,
            500..=599 => Self::Error,
            _ => Self::Other,
        }
    }

    /// The name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::NotFound => "not-found",
            Self::Error => "error",
            Self::Other => "other",
            Self::Failed => "failed",
            Self::Lost => "lost",
        }
    }
}
