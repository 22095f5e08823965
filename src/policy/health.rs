//! What endpoints are worth: who is blocked, on probation, suspect, looked at. The one owner of it; all others report what they
//! saw, an [`Observation`], and are told what has come of it, as [`Transition`]s.
//!
//! One request says little about an XSP, since the request may be at fault, and what is done to an XSP is done to everybody's
//! sessions. So what was seen is weighed:
//!
//! - *Proof*: no connection, no TLS, or the wrong certificate. The endpoint is blocked at once (R-FAIL-1).
//! - *Suspicion*: a 5xx, silence, an end or a reset of a fresh connection, an answer that can't be read. The endpoint is the last
//!   choice from now on, and the gateway looks for itself: what answers the look is cleared, what doesn't is blocked.
//! - *Nothing*: it is counted, and blames nobody.
//! - *Health*: an answer below 500. The endpoint is off the blocklist (R-FAIL-8), and suspect no longer.

pub mod blocklist;
pub mod budget;
mod condition;
pub mod load;
mod look;
#[cfg(test)]
pub(in crate::policy) mod tests;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use rand::Rng;
use smallvec::SmallVec;

pub use self::blocklist::Claim;
use self::blocklist::{Blocklist, Standing, jittered};
use self::budget::Budget;
use self::condition::Condition;
pub use self::condition::Suspicion;
use self::load::Load;
pub use self::look::{Found, Order};
use super::classify::{On5xx, OnSilence};
use super::endpoint::{EndpointId, Member, Roster};
use super::fault::{Cause, Evidence, Fault, Scope};
use crate::broadworks::interface::Interface;

/// What an endpoint may do before it is blocked; a route's, or a farm's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How long a block lasts, give or take a tenth.
    pub block_for: Duration,
    /// How long an endpoint may be silent before it is suspect; `None`: until the attempt has failed.
    pub advance_after: Option<Duration>,
    /// What a 5xx amounts to.
    pub on_5xx: On5xx,
    /// What silence amounts to, and whatever else is a suspicion but no 5xx.
    pub on_silence: OnSilence,
}

/// What somebody has seen of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Which one.
    pub id: EndpointId,
    /// What was seen.
    pub seen: Seen,
    /// When the attempt that saw it began.
    pub begun: Instant,
    /// The interface that was asked; `None`: no HTTP is spoken there.
    pub interface: Option<Interface>,
}

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// An answer below 500, or a connection that it keeps.
    Answer,
    /// A 5xx.
    ServerError,
    /// No answer.
    Fault(Fault),
    /// A connection that it could have kept has ended, or an answer has broken off.
    Ended,
}

/// What has come of it: for the shell to log, to count and to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// It was not blocked, and is now.
    Blocked {
        /// The end of the block.
        until: Instant,
    },
    /// It was on the blocklist already, and stays there for longer.
    Extended {
        /// The new end of the block.
        until: Instant,
    },
    /// Its block has run out, and one request tries it now.
    TrialBegun,
    /// It failed while it was on probation, and is blocked again.
    TrialFailed {
        /// The end of the new block.
        until: Instant,
    },
    /// It worked, and is off the blocklist (R-FAIL-8).
    Unblocked,
    /// It is the last choice, until the gateway has looked at it.
    Suspected {
        /// Why.
        cause: Cause,
    },
    /// It is suspect no longer.
    Cleared,
    /// What failed may be more than one port: endpoints that other farms have at its address are to be looked at.
    AddressInDoubt,
}

impl Transition {
    /// The name in metrics and logs; `None`: it is not a change of how the endpoint stands.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Blocked { .. } => "blocked",
            Self::Extended { .. } => "extended",
            Self::TrialBegun => "trial-begun",
            Self::TrialFailed { .. } => "trial-failed",
            Self::Unblocked => "unblocked",
            Self::Suspected { .. } => "suspected",
            Self::Cleared => "cleared",
            Self::AddressInDoubt => return None,
        })
    }
}

/// What one observation has brought about, in order; all of it is about the endpoint that was observed.
pub type Transitions = SmallVec<[Transition; 2]>;

/// One farm's endpoints, and what is held against each.
#[derive(Clone, Debug)]
pub struct Health {
    blocklist: Blocklist,
    budget: Budget,
    /// Of each endpoint that has been heard of.
    conditions: BTreeMap<EndpointId, Condition>,
    /// How much each has to do.
    pub load: Load,
    /// The last number that a look or an overdue attempt was given.
    serial: u64,
}

impl Health {
    /// Everybody is up; no endpoint gets more than `max_in_flight` requests at a time.
    pub fn new(now: Instant, max_in_flight: Option<NonZeroU32>) -> Self {
        let (blocklist, budget, load) = (Blocklist::new(), Budget::new(now), Load::new(max_in_flight));
        Self { blocklist, budget, conditions: BTreeMap::new(), load, serial: 0 }
    }

    /// Takes note of what was seen.
    pub fn observe(
        &mut self,
        observation: &Observation,
        rules: &Rules,
        roster: &Roster,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Transitions {
        let Observation { id, seen, begun, interface } = *observation;
        match seen {
            Seen::Answer => self.answered(id, begun, roster, now),
            Seen::ServerError => match rules.on_5xx {
                On5xx::Answer => self.answered(id, begun, roster, now),
                On5xx::Block => self.block(id, rules, now, rng),
                On5xx::Confirm => {
                    self.condition(id, now).heard = now;
                    self.suspect(id, Suspicion { cause: Cause::ServerError, interface }, rules, now)
                }
            },
            Seen::Fault(fault) => match fault.evidence() {
                Evidence::Proof(scope) => self.proved(id, scope, rules, now, rng),
                Evidence::Suspicion(cause) => match (rules.on_silence, cause) {
                    (OnSilence::Block, Cause::Silence) => self.proved(id, Scope::Silence, rules, now, rng),
                    (OnSilence::Block, Cause::Broken | Cause::ServerError) => self.block(id, rules, now, rng),
                    (OnSilence::Confirm, Cause::Silence) if self.busy_until(id, rules, now).is_some() => {
                        Transitions::new()
                    }
                    (OnSilence::Confirm, _) => self.suspect(id, Suspicion { cause, interface }, rules, now),
                },
                Evidence::Hint => self.hinted(id, now),
                Evidence::Nothing => Transitions::new(),
            },
            Seen::Ended => self.hinted(id, now),
        }
    }

    /// An answer that stands, to an attempt that began at `begun`: `id` leaves the blocklist (R-FAIL-8), unless it has failed
    /// since then, and is suspect no longer.
    fn answered(&mut self, id: EndpointId, begun: Instant, roster: &Roster, now: Instant) -> Transitions {
        let mut transitions = Transitions::new();
        let condition = self.condition(id, now);
        condition.heard = now;
        if condition.clear() {
            transitions.push(Transition::Cleared);
        }
        let was_whole = !self.blocklist.is_empty() && self.is_blocked_whole(roster, now);
        if let Some(unblocked) = self.blocklist.succeed(id, begun) {
            transitions.push(unblocked);
            if was_whole {
                // What held all of them down may be over for the others, too.
                self.look_at_all(|other| other != id, roster, now);
            }
        }
        transitions
    }

    fn is_blocked_whole(&self, roster: &Roster, now: Instant) -> bool {
        roster.present().all(|member| self.standing(member.id(), now) != Standing::Up)
    }

    fn proved(&mut self, id: EndpointId, scope: Scope, rules: &Rules, now: Instant, rng: &mut impl Rng) -> Transitions {
        let mut transitions = self.block(id, rules, now, rng);
        match scope {
            Scope::Port => {}
            Scope::Silence | Scope::Address => transitions.push(Transition::AddressInDoubt),
        }
        transitions
    }

    fn block(&mut self, id: EndpointId, rules: &Rules, now: Instant, rng: &mut impl Rng) -> Transitions {
        let until = now + jittered(rules.block_for, rng);
        // What is proved needs no suspicion, and no look before its time.
        let condition = self.condition(id, now);
        condition.clear();
        condition.due = None;
        self.load.failed(id);
        self.blocklist.block(id, now, until).into_iter().collect()
    }

    /// Makes `id` the last choice until a look has settled what is wrong, unless it is blocked anyway, or a look has just found
    /// it well in this respect.
    fn suspect(&mut self, id: EndpointId, suspicion: Suspicion, rules: &Rules, now: Instant) -> Transitions {
        let is_blocked = matches!(self.standing(id, now), Standing::Blocked { .. });
        let condition = self.condition(id, now);
        let mut transitions = Transitions::new();
        if !is_blocked && condition.suspect(suspicion, rules.advance_after, now) {
            transitions.push(Transition::Suspected { cause: suspicion.cause });
        }
        transitions
    }

    fn hinted(&mut self, id: EndpointId, now: Instant) -> Transitions {
        // What is blocked already is left alone for its time.
        if self.standing(id, now) == Standing::Up {
            self.condition(id, now).hint(now);
        }
        Transitions::new()
    }

    /// An attempt at `id` for `session` has been silent for `advance_after`. The caller ends it by the number, with
    /// [`Health::overdue_end`].
    pub fn overdue_begin(
        &mut self,
        id: EndpointId,
        session: u64,
        interface: Option<Interface>,
        rules: &Rules,
        now: Instant,
    ) -> (u64, Transitions) {
        self.serial += 1;
        let serial = self.serial;
        self.condition(id, now).overdue_begin(serial, session, interface, rules);
        let transitions = match rules.on_silence {
            OnSilence::Confirm => self.suspect(id, Suspicion { cause: Cause::Silence, interface }, rules, now),
            OnSilence::Block => Transitions::new(),
        };
        (serial, transitions)
    }

    /// An overdue attempt has ended, however it did.
    pub fn overdue_end(&mut self, id: EndpointId, serial: u64) {
        if let Some(condition) = self.conditions.get_mut(&id) {
            condition.overdue_end(serial);
        }
    }

    /// A client has left before its overdue attempt at `id` was through: callers whose patience is shorter than the gateway's
    /// would never find out that an XSP hangs.
    pub fn abandoned(&mut self, id: EndpointId, interface: Option<Interface>, now: Instant) {
        let is_blocked = matches!(self.standing(id, now), Standing::Blocked { .. });
        let condition = self.condition(id, now);
        let suspicion = Suspicion { cause: Cause::Silence, interface };
        if !is_blocked && !condition.is_found_well(suspicion, now) {
            condition.look_at(now, Some(suspicion));
        }
    }

    /// Until when `id` is busy, unless it answers somebody meanwhile: it has answered within the last `advance_after`, and its
    /// answers take long. Its silence towards one request is no sign then, and what is sent elsewhere adds to what there is to do.
    pub fn busy_until(&self, id: EndpointId, rules: &Rules, now: Instant) -> Option<Instant> {
        let patience = rules.advance_after?;
        let until = self.conditions.get(&id)?.heard + patience;
        (until > now && self.load.is_pressed(id, patience, now)).then_some(until)
    }

    /// How `id` stands.
    pub fn standing(&self, id: EndpointId, now: Instant) -> Standing {
        self.blocklist.standing(id, now)
    }

    /// Whether `id` is rather not asked, although it is not blocked.
    pub fn is_last_choice(&self, id: EndpointId) -> bool {
        self.conditions.get(&id).is_some_and(Condition::is_last_choice)
    }

    /// Whether `id` waits for a look to settle what is wrong.
    pub fn is_suspect(&self, id: EndpointId) -> bool {
        self.conditions.get(&id).is_some_and(Condition::is_suspect)
    }

    /// Whether sessions that are at home at `id` stay there: nobody suspects it, or it has answered somebody just now.
    pub fn keeps_sessions(&self, id: EndpointId, now: Instant) -> bool {
        self.conditions.get(&id).is_none_or(|condition| condition.keeps_sessions(now))
    }

    /// Claims the trial of `id`, if it is on probation.
    pub fn claim_trial(&mut self, id: EndpointId, now: Instant) -> Option<Claim> {
        self.blocklist.claim_trial(id, now)
    }

    /// Gives a trial back; there may have been a verdict.
    pub fn release_trial(&mut self, claim: Claim) {
        self.blocklist.release_trial(claim);
    }

    /// Counts one request of a client.
    pub fn request(&mut self, now: Instant) {
        self.budget.request(now);
    }

    /// Takes the right to one doubtful retry.
    #[must_use]
    pub fn take_token(&mut self, now: Instant) -> bool {
        self.budget.take(now)
    }

    /// The operator has `id` left out for `time`, whatever it answers.
    pub fn block_by_operator(&mut self, id: EndpointId, now: Instant, until: Instant) -> Transition {
        self.condition(id, now).clear();
        self.blocklist.block_by_operator(id, now, until)
    }

    /// The operator takes `id` off the list.
    pub fn lift(&mut self, id: EndpointId) -> Option<Transition> {
        self.blocklist.lift(id)
    }

    /// Whether it is the operator who has `id` left out.
    pub fn is_blocked_by_operator(&self, id: EndpointId) -> bool {
        self.blocklist.is_blocked_by_operator(id)
    }

    /// Another process has blocked `id`.
    pub fn inherit_block(&mut self, id: EndpointId, now: Instant, until: Instant) {
        self.blocklist.block(id, now, until);
    }

    /// Something came from `id` over a connection that it had before it failed: its process lives.
    pub fn heard(&mut self, id: EndpointId, now: Instant) {
        self.blocklist.heard(id, now);
    }

    /// Since when `id` has failed every time, and nothing has come from it.
    pub fn lifeless_since(&self, id: EndpointId) -> Option<Instant> {
        self.blocklist.lifeless_since(id)
    }

    /// The endpoints of which [`Health::lifeless_since`] is known.
    pub fn lifeless(&self) -> impl Iterator<Item = EndpointId> {
        self.blocklist.lifeless()
    }

    /// Forgets `id`: its endpoint is gone for good.
    pub fn forget(&mut self, id: EndpointId) {
        self.blocklist.forget(id);
        self.conditions.remove(&id);
        self.load.forget(id);
    }

    fn condition(&mut self, id: EndpointId, now: Instant) -> &mut Condition {
        self.conditions.entry(id).or_insert_with(|| Condition::new(now))
    }
}

/// Those that are looked at when they are not up: of departed endpoints nobody expects that they come back.
fn is_expected(member: &Member) -> bool {
    member.presence() != super::endpoint::Presence::Departed
}
