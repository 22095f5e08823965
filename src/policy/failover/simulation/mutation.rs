//! Faults of the core that the simulator must find, made in what its driver tells the core and keeps from it. Separate from the
//! driver, which is right without them; and so the core itself holds nothing of them.

use std::time::Instant;

use super::Simulation;
use super::clients::{Kind, Request};
use crate::policy::classify::{On5xx, OnSilence};
use crate::policy::endpoint::EndpointId;
use crate::policy::failover::{Target, Terms};
use crate::policy::fault::Fault;
use crate::policy::health::tests::inside::Suspicions;
use crate::policy::health::{Found, Rules};

/// What the core does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mutation {
    /// Blocks an endpoint that has been silent once.
    BlocksOnSilence,
    /// Blocks an endpoint for one 5xx.
    BlocksOn5xx,
    /// Does nothing when a look has failed.
    NoBlockAfterFailedLook,
    /// Does nothing when a look has found an endpoint well.
    NotClearedByLook,
    /// Sends what changes something once more.
    RetriesUnsafe,
    /// Sends what changes something to two at once.
    UnsafeTwiceAtOnce,
    OneTryMore,
    OneTryLess,
    /// Never asks another one while the first is silent.
    NeverAdvances,
    /// Picks suspects as if nothing had been seen.
    IgnoresSuspicion,
    /// Sessions leave as soon as their endpoint is suspect.
    PinnedLeaveAtOnce,
    /// Forgets where sessions are at home.
    IgnoresHomes,
    /// New sessions go to the next site when those of the first are suspect.
    SuspicionLeavesSite,
    /// What names a channel goes anywhere.
    HeartbeatElsewhere,
    /// A trial stays claimed.
    TrialsNotReleased,
    /// Two requests try an endpoint on probation.
    TwoTrialsAtOnce,
    /// An overdue attempt stays overdue for ever.
    OverdueNeverEnds,
    /// Looks don't wait for each other.
    TwoLooksAtOnce,
    /// That a look has found an endpoint well holds for ever.
    FoundWellNeverEnds,
    /// It does not hold at all.
    FoundWellForgotten,
    /// An endpoint is back when its block has run out, without an answer.
    UnblockedWithoutAnswer,
    /// An answer that was on its way when an endpoint failed takes it off the list.
    OldAnswerUnblocks,
    /// The endpoint is blamed for a connection that had idled for too long.
    StaleBlamed,
    /// The endpoint is blamed for the gateway's own shortage.
    LocalBlamed,
    /// New channels don't wait for their turn.
    TurnIgnored,
    /// Doubtful retries have no limit.
    BudgetIgnored,
}

/// What a mutation has taken from the core, to be given back.
pub(super) struct Hidden {
    suspicions: Option<Suspicions>,
    left_out: Vec<EndpointId>,
}

impl Mutation {
    pub(super) const ALL: [Self; 26] = [
        Self::BlocksOnSilence,
        Self::BlocksOn5xx,
        Self::NoBlockAfterFailedLook,
        Self::NotClearedByLook,
        Self::RetriesUnsafe,
        Self::UnsafeTwiceAtOnce,
        Self::OneTryMore,
        Self::OneTryLess,
        Self::NeverAdvances,
        Self::IgnoresSuspicion,
        Self::PinnedLeaveAtOnce,
        Self::IgnoresHomes,
        Self::SuspicionLeavesSite,
        Self::HeartbeatElsewhere,
        Self::TrialsNotReleased,
        Self::TwoTrialsAtOnce,
        Self::OverdueNeverEnds,
        Self::TwoLooksAtOnce,
        Self::FoundWellNeverEnds,
        Self::FoundWellForgotten,
        Self::UnblockedWithoutAnswer,
        Self::OldAnswerUnblocks,
        Self::StaleBlamed,
        Self::LocalBlamed,
        Self::TurnIgnored,
        Self::BudgetIgnored,
    ];
}

impl Simulation {
    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// The rules as the core is told them.
    pub(super) fn told_rules(&self) -> Rules {
        let mut rules = self.setup.rules;
        if self.is(Mutation::BlocksOnSilence) {
            rules.on_silence = OnSilence::Block;
        }
        if self.is(Mutation::BlocksOn5xx) {
            rules.on_5xx = On5xx::Block;
        }
        if self.is(Mutation::NeverAdvances) {
            rules.advance_after = None;
        }
        rules
    }

    /// What the core is told of a request.
    pub(super) fn mutated(&mut self, request: &Request) -> (Terms, Target) {
        let mut terms = Terms { rules: self.told_rules(), ..request.terms };
        let mut target = request.target;
        match self.mutation {
            Some(Mutation::RetriesUnsafe) => terms.replayable = true,
            Some(Mutation::UnsafeTwiceAtOnce) => terms.safe = true,
            Some(Mutation::OneTryMore) => terms.tries += 1,
            Some(Mutation::OneTryLess) => terms.tries = terms.tries.saturating_sub(1).max(1),
            Some(Mutation::HeartbeatElsewhere) if matches!(request.kind, Kind::Named(_)) => {
                target = Target::Farm(None);
            }
            Some(Mutation::IgnoresHomes) => {
                if let Target::Farm(_) = target {
                    target = Target::Farm(None);
                }
            }
            Some(Mutation::PinnedLeaveAtOnce) => {
                if let Target::Farm(Some(home)) = target
                    && self.gateway.health.is_suspect(home)
                {
                    target = Target::Farm(None);
                }
            }
            Some(Mutation::TurnIgnored) => {
                if let Target::NewChannel(home) = target {
                    target = Target::Farm(home);
                }
            }
            Some(Mutation::BudgetIgnored) => {
                (0..100).for_each(|_| self.gateway.health.request(self.now));
            }
            _ => {}
        }
        (terms, target)
    }

    /// Keeps from the core what it should look at in its first pick.
    pub(super) fn hide_suspicions(&mut self, home: Option<EndpointId>) -> Hidden {
        let mut hidden = Hidden { suspicions: None, left_out: Vec::new() };
        let health = &mut self.gateway.health;
        match self.mutation {
            Some(Mutation::IgnoresSuspicion) => hidden.suspicions = Some(health.take_suspicions()),
            Some(Mutation::SuspicionLeavesSite) => {
                let ids = self.gateway.roster.present().map(crate::policy::endpoint::Member::id);
                let is_suspect = |id: &EndpointId| health.is_suspect(*id) && Some(*id) != home;
                let suspects = ids.filter(is_suspect);
                let is_up =
                    |id: &EndpointId| health.standing(*id, self.now) == crate::policy::health::blocklist::Standing::Up;
                hidden.left_out = suspects.filter(is_up).collect();
                hidden.suspicions = Some(health.take_suspicions());
                for id in &hidden.left_out {
                    health.inherit_block(*id, self.now, self.now + std::time::Duration::from_secs(1));
                }
            }
            _ => {}
        }
        hidden
    }

    pub(super) fn show_suspicions(&mut self, hidden: Hidden) {
        for id in hidden.left_out {
            self.gateway.health.lift(id);
        }
        if let Some(suspicions) = hidden.suspicions {
            self.gateway.health.put_suspicions(suspicions);
        }
    }

    pub(super) fn mutated_fault(&self, fault: Fault) -> Fault {
        if fault == Fault::Stale && self.is(Mutation::StaleBlamed) {
            return Fault::Closed;
        }
        if fault == Fault::Local && self.is(Mutation::LocalBlamed) {
            return Fault::Refused;
        }
        fault
    }

    pub(super) fn mutated_begin(&self, begun: Instant) -> Instant {
        if self.is(Mutation::OldAnswerUnblocks) { self.now } else { begun }
    }

    /// What the core is told of a look; `None`: nothing.
    pub(super) fn mutated_found(&self, found: Found) -> Option<Found> {
        let is_lost = match found {
            Found::Well => self.is(Mutation::NotClearedByLook),
            Found::ServerError | Found::Fault(_) => self.is(Mutation::NoBlockAfterFailedLook),
        };
        (!is_lost).then_some(found)
    }

    pub(super) fn mutate_at_tick(&mut self) {
        if self.is(Mutation::FoundWellNeverEnds) {
            self.gateway.health.set_found_well(Some(self.now));
        }
        if self.is(Mutation::FoundWellForgotten) {
            self.gateway.health.set_found_well(None);
        }
    }

    pub(super) fn release_trial(&mut self, claim: crate::policy::health::Claim) {
        if !self.is(Mutation::TrialsNotReleased) {
            self.gateway.health.release_trial(claim);
        }
        self.judge.released(claim);
    }
}
