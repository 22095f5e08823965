//! A request that opens an event channel, and its turn: an XSP is sent new channels at a pace. Separate from the machine, since no
//! other request ever waits.

use std::time::{Duration, Instant};

use crate::policy::pace::{self, Pace};
use crate::policy::plan::Pick;

/// Who waits for an XSP that is blocked meanwhile notices that so soon.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Whether a request waits for its turn.
#[derive(Clone, Debug)]
pub(super) enum Turn {
    /// It opens no channel.
    NotNeeded,
    /// It takes one for each attempt.
    Needed { latest: Instant },
    /// It waits for the one that it has been given.
    Awaited(Box<Awaited>),
    /// There was none to be had in time.
    Missed,
}

/// The turn that a request has been given; few wait for one.
#[derive(Clone, Debug)]
pub(super) struct Awaited {
    latest: Instant,
    at: Instant,
    look_at: Instant,
    pick: Pick,
}

/// When an attempt may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Now,
    Later,
    Never,
}

/// What becomes of a request that waits.
pub(super) enum Look {
    /// It waits on.
    Wait,
    /// Its turn has come.
    Ask(Pick),
    /// The XSP that it waits for is blocked, or has left.
    Elsewhere(Pick),
}

impl Turn {
    /// Takes a turn at the endpoint that was picked.
    pub(super) fn take(&mut self, pick: Pick, pace: &mut Pace, now: Instant) -> Taken {
        let latest = match self {
            Self::NotNeeded => return Taken::Now,
            Self::Needed { latest } => *latest,
            Self::Awaited(awaited) => awaited.latest,
            Self::Missed => return Taken::Never,
        };
        match pace.take(pick.id, now, latest) {
            pace::Granted::Now => Taken::Now,
            pace::Granted::At(at) => {
                *self = Self::Awaited(Box::new(Awaited { latest, at, look_at: now + LOOK_EVERY, pick }));
                Taken::Later
            }
            pace::Granted::Missed => {
                *self = Self::Missed;
                Taken::Never
            }
        }
    }

    /// When to look, if it is awaited.
    pub(super) fn at(&self) -> Option<Instant> {
        match self {
            Self::Awaited(awaited) => Some(awaited.at.min(awaited.look_at)),
            Self::NotNeeded | Self::Needed { .. } | Self::Missed => None,
        }
    }

    /// Whom the request waits for.
    pub(super) fn pick(&self) -> Option<Pick> {
        match self {
            Self::Awaited(awaited) => Some(awaited.pick),
            Self::NotNeeded | Self::Needed { .. } | Self::Missed => None,
        }
    }

    /// What to do at that instant.
    pub(super) fn look(&mut self, is_bad: bool, now: Instant) -> Look {
        let Self::Awaited(awaited) = self else { return Look::Wait };
        if !is_bad && now < awaited.at {
            awaited.look_at = now + LOOK_EVERY;
            return Look::Wait;
        }
        let Awaited { latest, pick, .. } = **awaited;
        *self = Self::Needed { latest };
        if is_bad { Look::Elsewhere(pick) } else { Look::Ask(pick) }
    }

    /// Whether the request has waited in vain, or would.
    pub(super) const fn is_missed(&self) -> bool {
        matches!(self, Self::Missed)
    }
}
