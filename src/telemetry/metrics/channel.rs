//! What becomes of event channels. Apart from sessions, because a channel has a life of its own.

/// What became of an event channel, or of a request that names or opens one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelEvent {
    /// Its id was read on its stream.
    Opened,
    /// Its stream has ended.
    Closed,
    /// Its XSP has gone.
    Lost,
    /// A request that names it went to its XSP.
    Bound,
    /// A request that names it was told that it is lost.
    Refused,
    /// A request names a channel that is not known here.
    Unknown,
    /// One of its documents came in pieces, and was put together.
    Reassembled,
    /// A request that opens one waits for its turn.
    Queued,
    /// A request that opens one was turned away, since there was no turn in time.
    Rejected,
}

impl ChannelEvent {
    /// In the order of their values.
    pub(super) const ALL: [Self; 9] = [
        Self::Opened,
        Self::Closed,
        Self::Lost,
        Self::Bound,
        Self::Refused,
        Self::Unknown,
        Self::Reassembled,
        Self::Queued,
        Self::Rejected,
    ];

    /// The name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Closed => "closed",
            Self::Lost => "lost",
            Self::Bound => "bound",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
            Self::Reassembled => "reassembled",
            Self::Queued => "queued",
            Self::Rejected => "rejected",
        }
    }
}
