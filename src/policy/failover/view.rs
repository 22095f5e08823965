//! A farm as the machine sees and changes it. Separate from the machine, because a look and a stream report through it, too.

use std::time::Instant;

use rand::Rng;

use crate::policy::departed::Departed;
use crate::policy::endpoint::{EndpointId, Presence, Roster};
use crate::policy::health::blocklist::Standing;
use crate::policy::health::{Health, Observation, Rules, Seen, Transition};
use crate::policy::pace::Pace;
use crate::policy::plan::{Pick, Reason};

/// The farm that a request is served by, as it is now.
pub struct FarmView<'a, R> {
    /// Who is there.
    pub roster: &'a Roster,
    /// When those that have left were last used.
    pub departed: &'a mut Departed,
    /// What each is worth.
    pub health: &'a mut Health,
    /// When each may be sent a new channel.
    pub pace: &'a mut Pace,
    /// Chance.
    pub rng: &'a mut R,
    /// The time.
    pub now: Instant,
    /// What has come of it all, and the reason in a word.
    pub news: &'a mut News,
}

/// How endpoints have changed, in order, and why.
pub type News = Vec<(EndpointId, Transition, &'static str)>;

impl<R: Rng> FarmView<'_, R> {
    /// Takes note of what was seen.
    pub fn observe(&mut self, observation: &Observation, rules: &Rules) {
        let reason = match observation.seen {
            Seen::Answer => "answered",
            Seen::ServerError => "5xx",
            Seen::Fault(fault) => fault.name(),
            Seen::Ended => "ended",
        };
        let transitions = self.health.observe(observation, rules, self.roster, self.now, self.rng);
        self.news.extend(transitions.into_iter().map(|transition| (observation.id, transition, reason)));
    }
}

impl<R> FarmView<'_, R> {
    /// Whether an endpoint that was picked some time ago would be picked no more.
    pub(super) fn has_turned_bad(&self, pick: &Pick) -> bool {
        let is_leaving = self.roster.get(pick.id).is_none_or(|member| member.presence() != Presence::Present);
        is_leaving || self.is_lost(pick)
    }

    /// Whether not even a session that is at home there would stay.
    pub(super) fn is_lost(&self, pick: &Pick) -> bool {
        let is_gone = self.roster.get(pick.id).is_none();
        // Where nothing better was left, it was blocked already.
        let is_blocked = matches!(self.health.standing(pick.id, self.now), Standing::Blocked { .. });
        is_gone || is_blocked && pick.reason != Reason::LastResort
    }
}
