//! One attempt of a request, as the machine keeps it. Separate from the machine, since it is small on purpose: each request that is
//! being answered has room for two.

use std::time::{Duration, Instant};

use super::Clock;
use crate::broadworks::interface::Interface;
use crate::policy::endpoint::EndpointId;
use crate::policy::health::load::Place;

#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) id: EndpointId,
    pub(super) begun: Instant,
    pub(super) runs: bool,
    pub(super) place: Place,
    pub(super) is_overdue: bool,
    /// How long after it began its endpoint is known to be busy, in milliseconds: it is not overdue before.
    busy_for: u32,
    pub(super) clock: Clock,
}

impl Attempt {
    /// One that begins at `begun`. Where no HTTP is spoken, it takes no place.
    pub(super) fn new(id: EndpointId, begun: Instant, interface: Option<Interface>) -> Self {
        let place = interface.map_or(Place::None, |_| Place::Taken);
        let clock = Clock { since: begun, deadline: None };
        Self { id, begun, runs: true, place, is_overdue: false, busy_for: 0, clock }
    }

    /// When it is overdue, if an endpoint may be silent for `after`.
    pub(super) fn overdue_at(&self, after: Duration) -> Instant {
        let busy_until = self.begun + Duration::from_millis(self.busy_for.into());
        busy_until.max(self.clock.since + after)
    }

    /// Its endpoint is busy until then.
    pub(super) fn is_busy_until(&mut self, until: Instant) {
        let busy_for = until.saturating_duration_since(self.begun).as_millis();
        self.busy_for = u32::try_from(busy_for).unwrap_or(u32::MAX).saturating_add(1);
    }
}
