//! When an endpoint that discovery no longer names is forgotten. Separate from the roster, which knows who is who, because
//! this is about time: cookies that name an endpoint have no end, and memory and series for it must have one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::endpoint::EndpointId;
use super::health::Health;
use super::health::blocklist::Standing;

/// How long nothing may have used a departed endpoint before it is forgotten. A session that rests for longer begins
/// again at another one, as it would if the endpoint had failed.
pub const UNUSED_FOR: Duration = Duration::from_secs(60 * 60);

/// The departed endpoints of one farm, and when each was last used.
#[derive(Clone, Debug, Default)]
pub struct Departed {
    last_used: BTreeMap<EndpointId, Instant>,
}

impl Departed {
    /// Discovery no longer names `id`.
    pub fn left(&mut self, id: EndpointId, now: Instant) {
        self.last_used.insert(id, now);
    }

    /// Discovery names `id` again, or it is forgotten.
    pub fn remove(&mut self, id: EndpointId) {
        self.last_used.remove(&id);
    }

    /// A request goes to `id`, or a stream lives on it; nothing changes if it has not departed.
    pub fn used(&mut self, id: EndpointId, now: Instant) {
        if let Some(last_used) = self.last_used.get_mut(&id) {
            *last_used = now;
        }
    }

    /// All of them.
    pub fn ids(&self) -> impl Iterator<Item = EndpointId> {
        self.last_used.keys().copied()
    }

    /// Whether nothing is missed if `id` is forgotten at `now`: it has failed and its block has run out, so that its
    /// sessions have moved, or nothing has used it for [`UNUSED_FOR`]. A block that still runs is kept, for an endpoint
    /// that fails does so too when DNS brings it back.
    pub fn is_done_with(&self, id: EndpointId, health: &Health, now: Instant) -> bool {
        let Some(last_used) = self.last_used.get(&id) else { return false };
        match health.standing(id, now) {
            Standing::Blocked { .. } | Standing::OnTrial => false,
            Standing::Probation => true,
            Standing::Up => now.saturating_duration_since(*last_used) >= UNUSED_FOR,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::endpoint::{Endpoint, Roster, Tier, Weight};

    fn one() -> EndpointId {
        let endpoint = Endpoint {
            address: ([10, 0, 0, 1], 443).into(),
            tier: Tier::default(),
            weight: Weight::Equal,
            target: None,
        };
        Roster::new().update(vec![endpoint]).joined[0]
    }

    #[test]
    fn an_endpoint_that_left_is_kept_for_an_hour_after_its_last_use() {
        let (id, start, health) = (one(), Instant::now(), Health::new(Instant::now(), None));
        let mut departed = Departed::default();
        departed.used(id, start);
        assert!(!departed.is_done_with(id, &health, start + 9 * UNUSED_FOR), "it has not left");
        departed.left(id, start);
        let later = start + UNUSED_FOR / 2;
        departed.used(id, later);
        assert!(!departed.is_done_with(id, &health, start + UNUSED_FOR));
        assert!(departed.is_done_with(id, &health, later + UNUSED_FOR));
        departed.remove(id);
        assert_eq!(departed.ids().count(), 0);
        assert!(!departed.is_done_with(id, &health, later + UNUSED_FOR), "it is back");
    }

    #[test]
    fn one_that_failed_is_kept_as_long_as_its_block_runs() {
        let (id, start, mut health) = (one(), Instant::now(), Health::new(Instant::now(), None));
        let mut departed = Departed::default();
        departed.left(id, start);
        let until = start + Duration::from_secs(30);
        health.inherit_block(id, start, until);
        assert!(!departed.is_done_with(id, &health, start + Duration::from_secs(29)));
        assert!(departed.is_done_with(id, &health, until));
        let trial = health.claim_trial(id, until).unwrap();
        assert!(!departed.is_done_with(id, &health, until), "a session tries it just now");
        health.release_trial(trial);
        health.lift(id);
        assert!(!departed.is_done_with(id, &health, until), "and it answered");
    }
}
