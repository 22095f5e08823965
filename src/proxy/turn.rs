//! A request that opens an event channel, and its turn: an XSP is sent new channels at a pace. Apart from the failover loop,
//! since no other request ever waits.

use tokio::time::Instant;

use crate::farm::{Farm, Picked};
use crate::policy::pace::{self, LONGEST_WAIT};
use crate::telemetry::metrics::ChannelEvent;

/// Whether a request waits for its turn.
pub(super) enum Turn {
    /// It opens no channel.
    NotNeeded,
    /// It takes one for each attempt.
    Taken { latest: Instant },
    /// It waits for the one that it has been given.
    Awaited { latest: Instant, at: Instant, picked: Picked },
    /// There was none to be had in time.
    Missed,
}

impl Turn {
    /// For a request that opens a channel.
    pub(super) fn needed() -> Self {
        Self::Taken { latest: Instant::now() + LONGEST_WAIT }
    }

    /// Takes a turn at the endpoint that was picked, and gives it back if it may be asked at once.
    pub(super) fn take(&mut self, farm: &Farm, picked: Picked) -> Option<Picked> {
        let latest = match self {
            Self::NotNeeded => return Some(picked),
            Self::Taken { latest } | Self::Awaited { latest, .. } => *latest,
            Self::Missed => return None,
        };
        let event = match farm.channel_turn(&picked, latest.into_std()) {
            pace::Turn::Now => return Some(picked),
            pace::Turn::At(at) => {
                *self = Self::Awaited { latest, at: Instant::from_std(at), picked };
                ChannelEvent::Queued
            }
            pace::Turn::Missed => {
                *self = Self::Missed;
                ChannelEvent::Rejected
            }
        };
        farm.metrics().channel(event);
        None
    }

    /// When it comes, if it is awaited.
    pub(super) const fn at(&self) -> Option<Instant> {
        match self {
            Self::Awaited { at, .. } => Some(*at),
            Self::NotNeeded | Self::Taken { .. } | Self::Missed => None,
        }
    }

    /// It has come: whom to ask.
    pub(super) fn come(&mut self) -> Option<Picked> {
        match std::mem::replace(self, Self::NotNeeded) {
            Self::Awaited { latest, picked, .. } => {
                *self = Self::Taken { latest };
                Some(picked)
            }
            other @ (Self::NotNeeded | Self::Taken { .. } | Self::Missed) => {
                *self = other;
                None
            }
        }
    }

    /// Whether the request has waited in vain, or would.
    pub(super) const fn is_missed(&self) -> bool {
        matches!(self, Self::Missed)
    }
}
