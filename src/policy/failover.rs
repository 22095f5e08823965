//! The failover core: one request's way from endpoint to endpoint until an answer stands (R-FAIL-1 to R-FAIL-8). A machine that is
//! told what happened and says what to do; sockets, clocks and waiting are its driver's. Requests, CTI and pass-through drive the
//! same one, and so does a simulator in virtual time.

mod attempt;
mod place;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod turn;
mod view;
mod words;

use std::time::{Duration, Instant};

use http::StatusCode;
use rand::Rng;
use smallvec::SmallVec;

use self::attempt::Attempt;
use self::place::Place;
use self::turn::{Look, Turn};
pub use self::view::{FarmView, News};
pub use self::words::{Action, Actions, Body, Clock, Due, Event, GiveUp, Target, Terms};
use super::classify::{Class, On5xx, Outcome, classify};
use super::endpoint::EndpointId;
use super::fault::{Evidence, Fault};
use super::health::load::{self, Entered};
use super::health::{Observation, Seen, Transition};
use super::plan::{Pick, Plan, Purpose, Reason, Trials};

/// One request on its way to an answer.
#[derive(Debug)]
pub struct Failover {
    terms: Terms,
    channel: Option<EndpointId>,
    plan: Plan,
    turn: Turn,
    place: Place,
    attempts: SmallVec<[Attempt; 2]>,
    /// The attempt whose answer is kept for want of a better one.
    fallback: Option<(usize, Class)>,
    fault: Option<Fault>,
    /// No further attempt will be begun beside a silent one.
    advanced: bool,
    redirected: bool,
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
            place: Place::NotNeeded,
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
                self.answer(attempt, Class::Success, farm, &mut actions);
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
                self.end(attempt, None, farm);
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
        self.let_go(farm);
    }

    /// Gives back all places that it has or waits for. To be called before it is dropped, if it [has](Self::holds_places) any.
    pub fn let_go<R>(&mut self, farm: &mut FarmView<'_, R>) {
        (0..self.attempts.len()).for_each(|attempt| self.end(attempt, None, farm));
        self.place.leave(farm);
    }

    /// Whether there are places to give back.
    pub fn holds_places(&self) -> bool {
        self.place.is_awaited() || self.attempts.iter().any(|attempt| attempt.place == load::Place::Taken)
    }

    /// Whether it waits for a place, under which number.
    pub fn waits_under(&self) -> Option<u64> {
        self.place.number()
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
        self.attempts.iter().any(|attempt| attempt.runs) || self.turn.at().is_some() || self.place.is_awaited()
    }

    /// When the attempt began.
    pub fn begun(&self, attempt: usize) -> Instant {
        self.attempts[attempt].begun
    }

    fn next_due(&self) -> Option<(Instant, Due)> {
        let running = self.attempts.iter().enumerate().filter(|(_, attempt)| attempt.runs);
        let overdue = running.clone().filter_map(|(index, attempt)| {
            let after = self.terms.rules.advance_after.filter(|_| !attempt.is_overdue)?;
            let at = attempt.overdue_at(after);
            attempt.clock.deadline.map(|_| (at, Due::Overdue(index)))
        });
        let silent = running.filter_map(|(index, attempt)| Some((attempt.clock.deadline?, Due::Silent(index))));
        let turn = self.turn.at().map(|at| (at, Due::Turn));
        let place = self.place.until().map(|at| (at, Due::Place));
        silent.chain(overdue).chain(turn).chain(place).min_by_key(|(at, _)| *at)
    }

    fn observe<R: Rng>(&mut self, attempt: usize, seen: Seen, farm: &mut FarmView<'_, R>) {
        let Attempt { id, begun, .. } = self.attempts[attempt];
        let observation = Observation { id, seen, begun, interface: self.terms.interface };
        farm.observe(&observation, &self.terms.rules);
        self.end(attempt, Some(seen), farm);
    }

    /// The attempt runs no longer.
    fn end<R>(&mut self, attempt: usize, seen: Option<Seen>, farm: &mut FarmView<'_, R>) {
        self.attempts[attempt].runs = false;
        let Attempt { id, begun, clock, place, .. } = self.attempts[attempt];
        let took = match seen {
            Some(Seen::Answer | Seen::ServerError) if self.terms.interface.is_some() => {
                Some(farm.now.saturating_duration_since(clock.since))
            }
            Some(_) | None => None,
        };
        if took.is_some() || place == load::Place::Taken {
            self.attempts[attempt].place = load::Place::None;
            let slow = self.terms.rules.advance_after.unwrap_or(load::SLOW);
            farm.health.load.end(id, (place, begun), took, slow, farm.now);
        }
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
            (false, Some(_)) => self.end(attempt, Some(Seen::ServerError), farm),
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
            self.answer(attempt, class, farm, actions);
        } else {
            self.fallback = Some((attempt, class));
            actions.push(Action::Keep { attempt });
            self.advance(Purpose::Retry, farm, actions);
        }
    }

    fn answer<R>(&mut self, attempt: usize, class: Class, farm: &mut FarmView<'_, R>, actions: &mut Actions) {
        self.turn = Turn::NotNeeded;
        self.let_go(farm);
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
                if let Some(until) = farm.health.busy_until(attempt.id, &self.terms.rules, farm.now) {
                    attempt.is_busy_until(until);
                    return;
                }
                attempt.is_overdue = true;
                // It is alone in its trouble: others need not wait for that.
                let place = std::mem::replace(&mut attempt.place, load::Place::None);
                farm.health.load.end(attempt.id, (place, attempt.begun), None, load::SLOW, farm.now);
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
            Due::Place => match self.place.look(farm) {
                place::Look::Wait | place::Look::GivenUp => {}
                place::Look::Ask(pick) => actions.push(Action::Ask { attempt: self.add(pick.id, farm) }),
                place::Look::Elsewhere(pick) => self.leave(pick, Purpose::First, farm, actions),
            },
            Due::Turn => {
                let is_bad = self.turn.pick().is_some_and(|pick| farm.has_turned_bad(&pick));
                match self.turn.look(is_bad, farm.now) {
                    Look::Wait => {}
                    Look::Ask(pick) => actions.push(Action::Ask { attempt: self.add(pick.id, farm) }),
                    Look::Elsewhere(pick) => self.leave(pick, Purpose::Retry, farm, actions),
                }
            }
        }
    }

    /// Moves on from an endpoint that nobody has tried.
    fn leave<R: Rng>(&mut self, pick: Pick, purpose: Purpose, farm: &mut FarmView<'_, R>, actions: &mut Actions) {
        pick.trial.into_iter().for_each(|claim| farm.health.release_trial(claim));
        self.plan.take_back();
        self.advance(purpose, farm, actions);
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
                // The one that tries an endpoint is alone there, and a retry has waited already.
                let is_bound = purpose == Purpose::First && pick.trial.is_none() && self.place.has_not_waited();
                let precedence = self.terms.precedence.filter(|_| is_bound);
                match precedence.map_or(Entered::Now, |rank| farm.health.load.enter(pick.id, rank, farm.now)) {
                    Entered::Now => self.begin_in_turn(pick, farm, actions),
                    Entered::Later(number) => {
                        self.place = Place::awaited(pick, number, farm.now);
                        actions.push(Action::Wait { pick, number });
                    }
                    Entered::Never => self.place = Place::Refused,
                }
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
                pick.trial.into_iter().for_each(|claim| farm.health.release_trial(claim));
                actions.push(Action::Missed);
            }
        }
    }

    fn begin<R: Rng>(&mut self, pick: Pick, farm: &mut FarmView<'_, R>, actions: &mut Actions) {
        actions.push(Action::Begin { attempt: self.add(pick.id, farm), pick });
    }

    fn add<R>(&mut self, id: EndpointId, farm: &mut FarmView<'_, R>) -> usize {
        let attempt = Attempt::new(id, farm.now, self.terms.interface);
        if attempt.place == load::Place::Taken {
            farm.health.load.begin(id, farm.now);
        }
        self.attempts.push(attempt);
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
            Some(_) | None if self.place.is_refused() => GiveUp::Overloaded,
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
