//! The failover core: one request's way from endpoint to endpoint until an answer stands (R-FAIL-1 to R-FAIL-8). A machine that is
//! told what happened and says what to do; sockets, clocks and waiting are its driver's. Requests, CTI and pass-through drive the
//! same one, and so does a simulator in virtual time.

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod turn;
mod words;

use std::time::{Duration, Instant};

use http::StatusCode;
use rand::Rng;
use smallvec::SmallVec;

use self::turn::{Look, Turn};
pub use self::words::{Action, Actions, Body, Due, Event, GiveUp, Target, Terms};
use super::classify::{Class, On5xx, Outcome, classify};
use super::departed::Departed;
use super::endpoint::{EndpointId, Roster};
use super::fault::{Evidence, Fault};
use super::health::{Health, Observation, Rules, Seen, Transition};
use super::pace::Pace;
use super::plan::{Pick, Plan, Purpose, Reason, Trials};

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

    /// Whether an endpoint that was picked some time ago would be picked no more.
    fn has_turned_bad(&self, pick: &Pick) -> bool {
        use super::endpoint::Presence;
        use super::health::blocklist::Standing;
        let is_leaving = self.roster.get(pick.id).is_none_or(|member| member.presence() != Presence::Present);
        // Where nothing better was left, it was blocked already.
        let is_blocked = matches!(self.health.standing(pick.id, self.now), Standing::Blocked { .. });
        is_leaving || is_blocked && pick.reason != Reason::LastResort
    }
}

/// One request on its way to an answer.
#[derive(Debug)]
pub struct Failover {
    terms: Terms,
    channel: Option<EndpointId>,
    plan: Plan,
    turn: Turn,
    attempts: SmallVec<[Attempt; 2]>,
    /// The attempt whose answer is kept for want of a better one.
    fallback: Option<(usize, Class)>,
    fault: Option<Fault>,
    /// No further attempt will be begun beside a silent one.
    advanced: bool,
    redirected: bool,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    id: EndpointId,
    begun: Instant,
    runs: bool,
    is_overdue: bool,
    clock: Clock,
}

/// Since when an attempt's endpoint is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Since when nobody but the endpoint is awaited.
    pub since: Instant,
    /// Until when it may stay silent; `None` while the client's body is what is awaited.
    pub deadline: Option<Instant>,
}

impl Failover {
    /// Counts the request, and is ready to start.
    pub fn new<R: Rng>(terms: Terms, target: Target, latest_turn: Instant, farm: &mut FarmView<'_, R>) -> Self {
        farm.health.request(farm.now);
        let trials = if terms.replayable { Trials::Taken } else { Trials::Left };
        let plan = |pinned| Plan::new(pinned, terms.tries, trials);
        let (plan, channel, turn) = match target {
            Target::Farm(home) => (plan(home), None, Turn::NotNeeded),
            Target::NewChannel(home) => (plan(home), None, Turn::Needed { latest: latest_turn }),
            Target::Channel(id) => (Plan::new(None, 0, Trials::Left), Some(id), Turn::NotNeeded),
        };
        Self {
            terms,
            channel,
            plan,
            turn,
            attempts: SmallVec::new(),
            fallback: None,
            fault: None,
            advanced: false,
            redirected: false,
        }
    }

    /// What to do first.
    pub fn start<R: Rng>(&mut self, farm: &mut FarmView<'_, R>) -> Actions {
        let mut actions = Actions::new();
        match self.channel {
            Some(id) => {
                farm.departed.used(id, farm.now);
                self.begin(Pick { id, reason: Reason::Channel, trial: None }, farm, &mut actions);
            }
            None => {
                if !self.terms.replayable {
                    // It does not try an endpoint on probation; the gateway does that for itself.
                    farm.health.look_at_trials(farm.roster, farm.now);
                }
                self.advance(Purpose::First, farm, &mut actions);
            }
        }
        self.conclude(actions)
    }

    /// What to do now that this has happened.
    pub fn on<R: Rng>(&mut self, event: Event, farm: &mut FarmView<'_, R>) -> Actions {
        let mut actions = Actions::new();
        match event {
            Event::Head { attempt, status, hop, body } => self.head(attempt, status, hop, body, farm, &mut actions),
            Event::Kept { attempt } => {
                self.observe(attempt, Seen::Answer, farm);
                self.answer(attempt, Class::Success, &mut actions);
            }
            Event::Failed { attempt, fault, delivered, body } => {
                self.observe(attempt, Seen::Fault(fault), farm);
                self.fault = Some(fault);
                // The next one would say as much.
                let is_final = fault == Fault::TooLarge;
                if !is_final && self.may_move_on(delivered, body) {
                    self.advance(Purpose::Retry, farm, &mut actions);
                }
            }
            Event::CutShort { attempt } => {
                self.attempts[attempt].runs = false;
                self.fault = Some(Fault::Timeout);
                self.advance(Purpose::Retry, farm, &mut actions);
            }
            Event::Due { due, session, body } => self.on_due(due, session, body, farm, &mut actions),
        }
        self.conclude(actions)
    }

    /// The client is not there for an answer any more. That is no XSP's fault; but one that it has waited long for is looked at.
    pub fn abandon<R: Rng>(&mut self, farm: &mut FarmView<'_, R>) {
        for attempt in self.attempts.iter().filter(|attempt| attempt.runs && attempt.is_overdue) {
            farm.health.abandoned(attempt.id, self.terms.interface, farm.now);
        }
    }

    /// Takes note of whom an attempt waits for.
    pub fn clock(&mut self, attempt: usize, clock: Clock) {
        self.attempts[attempt].clock = clock;
    }

    /// When something is due next, as far as it is known now.
    pub fn wake_at(&self) -> Option<Instant> {
        self.next_due().map(|(at, _)| at)
    }

    /// What is due at `now`.
    pub fn due(&self, now: Instant) -> Option<Due> {
        self.next_due().filter(|(at, _)| *at <= now).map(|(_, due)| due)
    }

    /// Whether anything may still come of it.
    pub fn is_under_way(&self) -> bool {
        self.attempts.iter().any(|attempt| attempt.runs) || self.turn.at().is_some()
    }

    /// When the attempt began.
    pub fn begun(&self, attempt: usize) -> Instant {
        self.attempts[attempt].begun
    }

    fn next_due(&self) -> Option<(Instant, Due)> {
        let running = self.attempts.iter().enumerate().filter(|(_, attempt)| attempt.runs);
        let overdue = running.clone().filter_map(|(index, attempt)| {
            let after = self.terms.rules.advance_after.filter(|_| !attempt.is_overdue)?;
            attempt.clock.deadline.map(|_| (attempt.clock.since + after, Due::Overdue(index)))
        });
        let silent = running.filter_map(|(index, attempt)| Some((attempt.clock.deadline?, Due::Silent(index))));
        let turn = self.turn.at().map(|at| (at, Due::Turn));
        silent.chain(overdue).chain(turn).min_by_key(|(at, _)| *at)
    }

    fn observe<R: Rng>(&mut self, attempt: usize, seen: Seen, farm: &mut FarmView<'_, R>) {
        let Attempt { id, begun, runs, .. } = &mut self.attempts[attempt];
        *runs = false;
        let observation = Observation { id: *id, seen, begun: *begun, interface: self.terms.interface };
        farm.observe(&observation, &self.terms.rules);
    }

    fn head<R: Rng>(
        &mut self,
        attempt: usize,
        status: StatusCode,
        hop: Option<EndpointId>,
        body: Body,
        farm: &mut FarmView<'_, R>,
        actions: &mut Actions,
    ) {
        match (status.as_u16() < 500, self.channel) {
            (true, _) => self.observe(attempt, Seen::Answer, farm),
            (false, None) => self.observe(attempt, Seen::ServerError, farm),
            // What it says of one channel says nothing of others.
            (false, Some(_)) => self.attempts[attempt].runs = false,
        }
        // Whatever an XSP says of its own channel is an answer.
        let on_5xx = if self.channel.is_some() { On5xx::Answer } else { self.terms.rules.on_5xx };
        let class = classify(Outcome::Answered(status), on_5xx);
        let may_hop = class == Class::Success && !self.redirected && body.is_whole && body.is_complete;
        if let Some(id) = hop.filter(|id| may_hop && self.channel.is_none() && self.plan.spend(*id)) {
            self.redirected = true;
            farm.departed.used(id, farm.now);
            self.begin_in_turn(Pick { id, reason: Reason::Redirected, trial: None }, farm, actions);
            return;
        }
        // What has been answered has been delivered.
        if class == Class::Success || !self.may_move_on(true, body) {
            self.answer(attempt, class, actions);
        } else {
            self.fallback = Some((attempt, class));
            actions.push(Action::Keep { attempt });
            self.advance(Purpose::Retry, farm, actions);
        }
    }

    fn answer(&mut self, attempt: usize, class: Class, actions: &mut Actions) {
        self.turn = Turn::NotNeeded;
        self.attempts.iter_mut().for_each(|attempt| attempt.runs = false);
        actions.push(Action::Answer { attempt, class });
    }

    fn on_due<R: Rng>(
        &mut self,
        due: Due,
        session: u64,
        body: Body,
        farm: &mut FarmView<'_, R>,
        actions: &mut Actions,
    ) {
        match due {
            Due::Silent(_) => {}
            Due::Overdue(index) => {
                let attempt = &mut self.attempts[index];
                attempt.is_overdue = true;
                let (id, interface) = (attempt.id, self.terms.interface);
                let begun = farm.health.overdue_begin(id, session, interface, &self.terms.rules, farm.now);
                let (serial, transitions) = begun;
                farm.news.extend(transitions.into_iter().map(|transition| (id, transition, "silent")));
                actions.push(Action::Overdue { attempt: index, id, serial });
                let may_be_twice = self.terms.safe && self.terms.replayable && body.is_complete && body.is_whole;
                // A later one has been begun already.
                let is_last = self.attempts[index + 1..].iter().all(|attempt| !attempt.runs);
                if may_be_twice && is_last && !self.advanced {
                    self.advance(Purpose::Advance, farm, actions);
                }
            }
            Due::Turn => {
                let is_bad = self.turn.pick().is_some_and(|pick| farm.has_turned_bad(&pick));
                match self.turn.look(is_bad, farm.now) {
                    Look::Wait => {}
                    Look::Ask(pick) => actions.push(Action::Ask { attempt: self.add(pick.id, farm.now) }),
                    Look::Elsewhere(pick) => {
                        // Nobody has tried it.
                        if let Some(claim) = pick.trial {
                            farm.health.release_trial(claim);
                        }
                        self.advance(Purpose::Retry, farm, actions);
                    }
                }
            }
        }
    }

    fn may_move_on(&self, delivered: bool, body: Body) -> bool {
        body.is_whole && (!delivered || self.terms.replayable)
    }

    /// Moves on to the next endpoint, if there is one.
    fn advance<R: Rng>(&mut self, purpose: Purpose, farm: &mut FarmView<'_, R>, actions: &mut Actions) {
        let is_late = self.terms.until.is_some_and(|until| farm.now >= until);
        let pick = match is_late || self.channel.is_some() {
            true => None,
            false => self.plan.next(purpose, farm.roster, farm.health, farm.now, farm.rng),
        };
        match pick {
            Some(pick) => {
                farm.departed.used(pick.id, farm.now);
                if pick.trial.is_some() {
                    farm.news.push((pick.id, Transition::TrialBegun, "trial"));
                }
                self.begin_in_turn(pick, farm, actions);
            }
            None => self.advanced = true,
        }
    }

    /// Begins an attempt, or waits for its turn.
    fn begin_in_turn<R: Rng>(&mut self, pick: Pick, farm: &mut FarmView<'_, R>, actions: &mut Actions) {
        match self.turn.take(pick, farm.pace, farm.now) {
            turn::Taken::Now => self.begin(pick, farm, actions),
            turn::Taken::Later => actions.push(Action::Queue { pick }),
            turn::Taken::Never => {
                // Nobody tries it.
                if let Some(claim) = pick.trial {
                    farm.health.release_trial(claim);
                }
                actions.push(Action::Missed);
            }
        }
    }

    fn begin<R: Rng>(&mut self, pick: Pick, farm: &FarmView<'_, R>, actions: &mut Actions) {
        actions.push(Action::Begin { attempt: self.add(pick.id, farm.now), pick });
    }

    fn add(&mut self, id: EndpointId, begun: Instant) -> usize {
        let clock = Clock { since: begun, deadline: None };
        self.attempts.push(Attempt { id, begun, runs: true, is_overdue: false, clock });
        self.attempts.len() - 1
    }

    /// Gives up, unless something may still come of it.
    fn conclude(&self, mut actions: Actions) -> Actions {
        let is_answered = matches!(actions.last(), Some(Action::Answer { .. }));
        if !is_answered && !self.is_under_way() {
            actions.push(match self.fallback {
                Some((attempt, class)) => Action::Answer { attempt, class },
                None => Action::GiveUp(self.give_up()),
            });
        }
        actions
    }

    fn give_up(&self) -> GiveUp {
        match self.fault {
            Some(fault) if self.channel.is_some() && matches!(fault.evidence(), Evidence::Proof(_)) => {
                GiveUp::ChannelLost
            }
            Some(_) | None if self.turn.is_missed() => GiveUp::ChannelsBusy,
            Some(Fault::TooLarge) => GiveUp::TooLarge,
            Some(Fault::Stale) => GiveUp::Stale,
            Some(fault) if fault.is_silence() => GiveUp::Silent,
            Some(_) => GiveUp::Unreachable,
            None => GiveUp::NoEndpoint,
        }
    }
}

/// The longest that a request waits for its turn to open a channel.
pub const LONGEST_TURN: Duration = super::pace::LONGEST_WAIT;
