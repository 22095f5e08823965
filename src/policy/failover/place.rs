//! A request that waits for a place at an endpoint that has as much to do as it can. Separate from the machine, since hardly a request
//! ever waits.

use std::time::{Duration, Instant};

use super::FarmView;
use crate::policy::health::load::PATIENCE;
use crate::policy::plan::{Pick, Reason};

/// A place may be free without anybody's going: what is old takes none.
const LOOK_EVERY: Duration = Duration::from_millis(32);

/// Whether a request waits for a place.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// It has not waited.
    NotNeeded,
    /// It waits there.
    Awaited(Box<Awaited>),
    /// It waits no longer, and will not again.
    Over,
    /// There was none to be had in time.
    Refused,
}

#[derive(Clone, Debug)]
pub(super) struct Awaited {
    pick: Pick,
    number: u64,
    since: Instant,
    look_at: Instant,
}

/// What becomes of a request that waits.
pub(super) enum Look {
    /// It waits on.
    Wait,
    /// It has a place.
    Ask(Pick),
    /// The XSP that it waits for is blocked, or has left.
    Elsewhere(Pick),
    /// It has waited long enough.
    GivenUp,
}

impl Place {
    /// A request that waits for `pick` under `number` from `now` on.
    pub(super) fn awaited(pick: Pick, number: u64, now: Instant) -> Self {
        Self::Awaited(Box::new(Awaited { pick, number, since: now, look_at: now + LOOK_EVERY }))
    }

    pub(super) const fn is_awaited(&self) -> bool {
        matches!(self, Self::Awaited(_))
    }

    pub(super) const fn has_not_waited(&self) -> bool {
        matches!(self, Self::NotNeeded)
    }

    pub(super) const fn is_refused(&self) -> bool {
        matches!(self, Self::Refused)
    }

    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Self::Awaited(awaited) => Some(awaited.number),
            Self::NotNeeded | Self::Over | Self::Refused => None,
        }
    }

    /// When to look, if it waits.
    pub(super) fn until(&self) -> Option<Instant> {
        match self {
            Self::Awaited(awaited) => Some(awaited.look_at.min(awaited.since + PATIENCE)),
            Self::NotNeeded | Self::Over | Self::Refused => None,
        }
    }

    /// What to do now: it was called, or the time is over.
    pub(super) fn look<R>(&mut self, farm: &mut FarmView<'_, R>) -> Look {
        let Self::Awaited(awaited) = self else { return Look::Wait };
        let Awaited { pick, number, since, .. } = **awaited;
        awaited.look_at = farm.now + LOOK_EVERY;
        // Sessions stay at an endpoint that is drained.
        let is_bad = if pick.reason == Reason::Pinned { farm.is_lost(&pick) } else { farm.has_turned_bad(&pick) };
        if is_bad {
            self.leave(farm);
            return Look::Elsewhere(pick);
        }
        if farm.health.load.try_again(pick.id, number, since, farm.now) {
            *self = Self::Over;
            return Look::Ask(pick);
        }
        if farm.now < since + PATIENCE {
            return Look::Wait;
        }
        self.leave(farm);
        *self = Self::Refused;
        Look::GivenUp
    }

    /// It waits no longer.
    pub(super) fn leave<R>(&mut self, farm: &mut FarmView<'_, R>) {
        if let Self::Awaited(awaited) = self {
            farm.health.load.leave(awaited.pick.id, awaited.number, farm.now);
            *self = Self::Over;
        }
    }
}
