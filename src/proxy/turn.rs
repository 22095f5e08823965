//! A request that opens an event channel, and its turn: an XSP is sent new channels at a pace. Separate from the failover loop,
//! since no other request ever waits.

use std::time::Duration;

use tokio::time::Instant;

use crate::farm::{Farm, Picked};
use crate::policy::pace::{self, LONGEST_WAIT};
use crate::telemetry::metrics::ChannelEvent;

/// Who waits for an XSP that is blocked meanwhile notices that so soon.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Whether a request waits for its turn.
pub(super) enum Turn {
    /// It opens no channel.
    NotNeeded,
    /// It takes one for each attempt.
    Needed { latest: Instant },
    /// It waits for the one that it has been given.
    Awaited { latest: Instant, at: Instant, look_at: Instant, picked: Picked },
    /// There was none to be had in time.
    Missed,
}

/// What becomes of a request that waits.
pub(super) enum Look {
    /// It waits on.
    Wait,
    /// Its turn has come.
    Ask(Picked),
    /// The XSP that it waits for is blocked, or has left.
    Elsewhere,
}

impl Turn {
    /// For a request that opens a channel.
    pub(super) fn needed() -> Self {
        Self::Needed { latest: Instant::now() + LONGEST_WAIT }
    }

    /// Takes a turn at the endpoint that was picked, and returns it if it may be asked at once.
    pub(super) fn take(&mut self, farm: &Farm, picked: Picked) -> Option<Picked> {
        let latest = match self {
            Self::NotNeeded => return Some(picked),
            Self::Needed { latest } | Self::Awaited { latest, .. } => *latest,
            Self::Missed => return None,
        };
        let event = match farm.channel_turn(&picked, latest.into_std()) {
            pace::Turn::Now => return Some(picked),
            pace::Turn::At(at) => {
                let look_at = Instant::now() + LOOK_EVERY;
                *self = Self::Awaited { latest, at: Instant::from_std(at), look_at, picked };
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

    /// When to look, if it is awaited.
    pub(super) fn at(&self) -> Option<Instant> {
        match self {
            Self::Awaited { at, look_at, .. } => Some((*at).min(*look_at)),
            Self::NotNeeded | Self::Needed { .. } | Self::Missed => None,
        }
    }

    /// What to do at that instant.
    pub(super) fn look(&mut self, farm: &Farm) -> Look {
        let Self::Awaited { latest, at, look_at, picked } = self else { return Look::Wait };
        let (latest, now) = (*latest, Instant::now());
        let is_bad = farm.has_turned_bad(picked);
        if !is_bad && now < *at {
            *look_at = now + LOOK_EVERY;
            return Look::Wait;
        }
        match std::mem::replace(self, Self::Needed { latest }) {
            Self::Awaited { picked, .. } if !is_bad => Look::Ask(picked),
            Self::Awaited { .. } | Self::NotNeeded | Self::Needed { .. } | Self::Missed => Look::Elsewhere,
        }
    }

    /// Whether the request has waited in vain, or would.
    pub(super) const fn is_missed(&self) -> bool {
        matches!(self, Self::Missed)
    }
}
