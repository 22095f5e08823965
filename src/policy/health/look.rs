//! The gateway's own looks at endpoints: when each is due, and what has come of it. Separate from what clients' requests have
//! shown, since nobody waits for a look.

use std::time::{Duration, Instant};

use rand::Rng;

use super::condition::Suspicion;
use super::{
    EndpointId, Fault, Health, Member, Roster, Rules, Standing, Transition, Transitions, is_expected, jittered,
};
use crate::broadworks::interface::Interface;
use crate::policy::classify::On5xx;
use crate::policy::fault::{Evidence, Scope};

/// How long an endpoint whose block has run out waits for a client's request to try it.
const WAIT_FOR_CLIENTS: Duration = Duration::from_secs(1);

/// A look that is to be made now, by anyone who has been given this: only one is at an endpoint at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Order {
    /// At which endpoint.
    pub id: EndpointId,
    serial: u64,
    begun: Instant,
    suspicion: Option<Suspicion>,
}

impl Order {
    /// The interface that is to be asked for something; `None`: whichever there is.
    pub fn interface(&self) -> Option<Interface> {
        self.suspicion?.interface
    }

    /// The same order for another look, which begins at `now`.
    pub fn begin_again(&mut self, now: Instant) {
        self.begun = now;
    }
}

/// What a look has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The endpoint answers.
    Well,
    /// It answers with a 5xx.
    ServerError,
    /// It does not answer.
    Fault(Fault),
}

impl Found {
    /// Whether it says nothing, because the gateway could not ask.
    pub fn is_nothing(self) -> bool {
        matches!(self, Self::Fault(fault) if fault.evidence() == Evidence::Nothing)
    }

    /// The name in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Well => "answered",
            Self::ServerError => "5xx",
            Self::Fault(fault) => fault.name(),
        }
    }
}

impl Health {
    /// What the passing of time brings about: looks at endpoints that nobody else would find out about. `idle` is how long an
    /// endpoint may answer nobody before it is looked at.
    pub fn tick(
        &mut self,
        roster: &Roster,
        idle: Option<Duration>,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Vec<(EndpointId, Transition)> {
        let mut transitions = Vec::new();
        for member in roster.members().filter(|member| is_expected(member)) {
            let id = member.id();
            let ran_out = self.blocklist.ran_out(id, now);
            let standing = self.standing(id, now);
            let is_up = standing == Standing::Up;
            let is_blocked = matches!(standing, Standing::Blocked { .. });
            let condition = self.condition(id, now);
            if let Some((suspicion, patience)) = condition.silent_suspicion(now)
                && !is_blocked
                && condition.suspect(suspicion, Some(patience), now)
            {
                transitions.push((id, Transition::Suspected { cause: suspicion.cause }));
            }
            match (ran_out, idle) {
                (Some(since), _) if now >= since + WAIT_FOR_CLIENTS => condition.look_at(now, None),
                (None, Some(idle)) if is_up => {
                    let heard = condition.heard;
                    let at = *condition.idle_at.get_or_insert_with(|| heard + jittered(idle, rng));
                    if now >= at {
                        let is_idle = now.saturating_duration_since(heard) >= idle.mul_f64(0.9);
                        condition.idle_at = Some(if is_idle { now } else { heard } + jittered(idle, rng));
                        if is_idle {
                            condition.look_at(now, None);
                        }
                    }
                }
                (Some(_) | None, _) => {}
            }
        }
        transitions
    }

    /// The looks that are due. Each is to be made, reported to [`Health::looked`], and given back.
    pub fn due_looks(&mut self, now: Instant) -> Vec<Order> {
        let Self { conditions, serial, .. } = self;
        let due = conditions.iter_mut().filter_map(|(&id, condition)| {
            let due = condition.due.filter(|due| due.at <= now && condition.running.is_none())?;
            *serial += 1;
            condition.due = None;
            condition.running = Some(*serial);
            condition.looked = Some(now);
            Some(Order { id, serial: *serial, begun: now, suspicion: condition.to_settle(due.suspicion) })
        });
        due.collect()
    }

    /// When the next look is due.
    pub fn next_look(&self) -> Option<Instant> {
        let waiting = self.conditions.values().filter(|condition| condition.running.is_none());
        waiting.filter_map(|condition| condition.due.map(|due| due.at)).min()
    }

    /// The right to look at `id` now, for another reason, unless somebody does so.
    pub fn claim_look(&mut self, id: EndpointId, now: Instant) -> Option<Order> {
        self.serial += 1;
        let serial = self.serial;
        let condition = self.condition(id, now);
        if condition.running.is_some() {
            return None;
        }
        condition.running = Some(serial);
        condition.looked = Some(now);
        Some(Order { id, serial, begun: now, suspicion: None })
    }

    /// What came of a look: what answers it is cleared, what doesn't is blocked. Anyone who has the order may look again, or gives it
    /// back with [`Health::release_look`].
    pub fn looked(
        &mut self,
        order: &Order,
        found: Found,
        rules: &Rules,
        roster: &Roster,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Transitions {
        let id = order.id;
        match found {
            _ if found.is_nothing() => {
                // As soon as the gateway can.
                if self.is_suspect(id) || self.standing(id, now) != Standing::Up {
                    self.condition(id, now).look_at(now, order.suspicion);
                }
                Transitions::new()
            }
            // It is an answer like any other there.
            Found::ServerError if rules.on_5xx == On5xx::Answer => {
                self.looked(order, Found::Well, rules, roster, now, rng)
            }
            Found::Well => {
                let was_cleared = self.condition(id, now).found_well(order.suspicion, now);
                let is_suspect_still = self.is_suspect(id);
                let mut transitions = match is_suspect_still {
                    false => self.answered(id, order.begun, roster, now),
                    true => Transitions::new(),
                };
                if was_cleared {
                    transitions.insert(0, Transition::Cleared);
                }
                transitions
            }
            // It has failed and been blocked since the look began, of which this is no news.
            Found::ServerError | Found::Fault(_) if self.blocklist.has_failed_since(id, order.begun, now) => {
                Transitions::new()
            }
            Found::ServerError => self.block(id, rules, now, rng),
            Found::Fault(fault) => {
                let scope = match fault.evidence() {
                    Evidence::Proof(scope) => scope,
                    Evidence::Suspicion(_) if fault.is_silence() => Scope::Silence,
                    Evidence::Suspicion(_) | Evidence::Hint | Evidence::Nothing => Scope::Port,
                };
                self.proved(id, scope, rules, now, rng)
            }
        }
    }

    /// Anyone who had that order looks no more.
    pub fn release_look(&mut self, order: &Order) {
        if let Some(condition) = self.conditions.get_mut(&order.id)
            && condition.running == Some(order.serial)
        {
            condition.running = None;
        }
    }

    /// The endpoints whose blocks have run out are looked at as soon as may be: anyone who asks can't try them.
    pub fn look_at_trials(&mut self, roster: &Roster, now: Instant) {
        if !self.blocklist.is_empty() {
            let due: Vec<_> =
                roster.present().map(Member::id).filter(|&id| self.blocklist.ran_out(id, now).is_some()).collect();
            due.into_iter().for_each(|id| self.look_soon(id, now));
        }
    }

    /// What is held against `id` may be gone: the gateway looks as soon as it may.
    pub fn look_soon(&mut self, id: EndpointId, now: Instant) {
        self.condition(id, now).look_at(now, None);
    }

    /// The same of those endpoints that are not up, and for which `is_meant` holds.
    pub fn look_at_all(&mut self, is_meant: impl Fn(EndpointId) -> bool, roster: &Roster, now: Instant) {
        let out = |member: &&Member| is_expected(member) && self.standing(member.id(), now) != Standing::Up;
        let meant: Vec<_> = roster
            .members()
            .filter(out)
            .map(Member::id)
            .filter(|&id| is_meant(id) && !self.is_blocked_by_operator(id))
            .collect();
        meant.into_iter().for_each(|id| self.look_soon(id, now));
    }
}
