//! Drives the machine as `proxy::forward` does: begins attempts, tells what has come of them, gives back what was claimed.
//! Separate from the world, which knows nothing of machines.

use std::time::Instant;

use rand::RngExt;

use super::clients::{Attempt, Kind, Request};
use super::judge::Occasion;
use super::mutation::Mutation;
use super::xsp::{Outcome, Owner};
use super::{Simulation, What};
use crate::policy::endpoint::EndpointId;
use crate::policy::failover::{Action, Actions, Clock, Due, Event, Failover, GiveUp};
use crate::policy::fault::Fault;
use crate::policy::plan::Pick;

impl Simulation {
    pub(super) fn begin_request(&mut self, number: u64, mut request: Request, latest_turn: Instant) {
        let (terms, target) = self.mutated(&request);
        let hidden = self.hide_suspicions(request.home);
        let ((machine, actions), news) = self.with_farm(|farm| {
            let mut machine = Failover::new(terms, target, latest_turn, farm);
            let actions = machine.start(farm);
            (machine, actions)
        });
        self.show_suspicions(hidden);
        self.judge_news(Occasion::Pick, &news);
        request.machine = Some(machine);
        self.act(number, request, actions);
    }

    /// Tells the machine what has happened, and does as it says.
    pub(super) fn tell(&mut self, number: u64, mut request: Request, event: Event, occasion: Occasion) {
        let (actions, news) = self.with_farm(|farm| machine(&mut request).on(event, farm));
        let is_overdue = actions.iter().any(|action| matches!(action, Action::Overdue { .. }));
        match occasion {
            Occasion::Silent { id, .. } if !is_overdue => {
                let is_busy = self.gateway.health.busy_until(id, &self.setup.rules, self.now).is_some();
                self.require(is_busy, || format!("silence at {id:?}, and nobody takes note of it"));
                self.judge_news(Occasion::Pick, &news);
            }
            Occasion::Silent { .. }
            | Occasion::Pick
            | Occasion::Seen { .. }
            | Occasion::Tick
            | Occasion::Looked { .. } => self.judge_news(occasion, &news),
        }
        if is_overdue {
            self.judge_advance(&request, &actions);
        }
        self.act(number, request, actions);
    }

    pub(super) fn act(&mut self, number: u64, request: Request, actions: Actions) {
        self.requests.insert(number, request);
        for action in actions {
            self.act_once(number, action);
        }
        let Some(mut request) = self.requests.remove(&number) else { return };
        if request.is_over && !request.is_running() {
            self.give_back_whole(&mut request);
            self.judge_carried_out(&request);
            return;
        }
        if !request.is_over {
            self.set_clocks(&mut request);
            if let Some(at) = machine(&mut request).wake_at().filter(|at| request.wake.is_none_or(|wake| *at < wake)) {
                request.wake = Some(at);
                self.at(at.max(self.now), What::Wake(number));
            }
        }
        self.requests.insert(number, request);
    }

    fn act_once(&mut self, number: u64, action: Action) {
        let request = self.requests.get_mut(&number).expect("it is under way");
        match action {
            Action::Begin { pick, .. } => {
                let held = request.held.take();
                self.release(held);
                self.judge_pick(number, pick);
                self.begin_attempt(number, pick);
            }
            Action::Queue { pick } => {
                let held = request.held.replace(pick);
                self.release(held);
                self.judge_pick(number, pick);
            }
            Action::Wait { pick, .. } => {
                request.held = Some(pick);
                self.judge_pick(number, pick);
                // It has taken nobody's time.
                self.requests.get_mut(&number).expect("it is under way").is_picked_for = false;
            }
            Action::Ask { .. } => {
                let pick = request.held.take().expect("what was queued is held");
                request.is_picked_for = true;
                self.begin_attempt(number, pick);
            }
            Action::Missed => self.judge.trials_missed(),
            Action::Keep { .. } => {}
            Action::Overdue { attempt, serial, .. } => {
                request.attempts[attempt].overdue = Some(serial);
                request.attempts[attempt].has_been_overdue = true;
            }
            Action::Answer { attempt, class } => self.answered(number, attempt, class),
            Action::GiveUp(why) => {
                if let (GiveUp::ChannelLost, Kind::Named(channel)) = (why, request.kind) {
                    self.cut_channel(channel);
                }
                self.judge_given_up(number, why);
                self.let_go(number);
            }
        }
    }

    fn begin_attempt(&mut self, number: u64, pick: Pick) {
        self.judge_attempt(number, pick);
        if self.mutation == Some(Mutation::TwoTrialsAtOnce)
            && let Some(claim) = pick.trial
        {
            self.gateway.health.release_trial(claim);
        }
        let request = self.requests.get_mut(&number).expect("it is under way");
        request.attempts.push(Attempt {
            id: pick.id,
            trial: pick.trial,
            overdue: None,
            has_been_overdue: false,
            exchange: 0,
            begun: self.now,
            noted: self.now,
            runs: true,
            was_delivered: false,
        });
        let (index, xsp) = (request.attempts.len() - 1, self.places[&pick.id]);
        let (path, is_replayable, is_bytes) =
            (request.path_at(xsp), request.kind.is_replayable(), request.kind == Kind::Bytes);
        let owner = Owner::Attempt { request: number, index };
        while self.xsps[xsp].idle > 0 && !is_bytes && self.rng.random_bool(0.7) {
            if is_replayable || !self.xsps[xsp].is_idle_stale || self.rng.random_bool(0.2) {
                self.reuse(owner, xsp, path);
                return;
            }
            // The kernel says that it has been closed.
            self.xsps[xsp].idle -= 1;
        }
        self.dial(owner, xsp, path, None);
    }

    /// Something may be due.
    pub(super) fn wake(&mut self, number: u64) {
        let Some(request) = self.requests.get_mut(&number) else { return };
        if request.wake == Some(self.now) {
            request.wake = None;
        }
        for _ in 0..10 {
            let Some(mut request) = self.requests.remove(&number) else { return };
            if request.is_over {
                self.requests.insert(number, request);
                return;
            }
            self.set_clocks(&mut request);
            let body = self.body(&request);
            match machine(&mut request).due(self.now) {
                None => {
                    self.act(number, request, Actions::new());
                    return;
                }
                Some(Due::Silent(index)) => {
                    let delivered = self.end_attempt(&mut request, index);
                    let event = Event::Failed { attempt: index, fault: Fault::Timeout, delivered, body };
                    self.conclude(number, request, index, event, Outcome::Fault(Fault::Timeout));
                }
                Some(due @ Due::Overdue(index)) => {
                    request.attempts[index].noted = self.now;
                    let (id, interface) = (request.attempts[index].id, request.terms.interface);
                    let event = Event::Due { due, session: number, body };
                    self.tell(number, request, event, Occasion::Silent { id, interface });
                }
                Some(due @ (Due::Turn | Due::Place)) => {
                    self.tell(number, request, Event::Due { due, session: number, body }, Occasion::Pick);
                }
            }
        }
        self.require(false, || "something is due without end".into());
    }

    /// Who waits for a place under `number` tries again.
    pub(super) fn knock(&mut self, number: u64) {
        let waits =
            |request: &Request| request.machine.as_ref().is_some_and(|machine| machine.waits_under() == Some(number));
        let Some(called) = self.requests.iter().find(|(_, request)| waits(request)).map(|(&called, _)| called) else {
            return;
        };
        let request = self.requests.remove(&called).expect("it has just been there");
        let body = self.body(&request);
        self.tell(called, request, Event::Due { due: Due::Place, session: called, body }, Occasion::Pick);
    }

    /// The last of a request's body is there: from now on its XSPs are awaited.
    pub(super) fn body_ends(&mut self, number: u64) {
        if let Some(request) = self.requests.remove(&number) {
            self.act(number, request, Actions::new());
        }
    }

    pub(super) fn set_clocks(&mut self, request: &mut Request) {
        let timeout = self.setup.response_timeout;
        let Some(machine) = &mut request.machine else { return };
        for (index, attempt) in request.attempts.iter().enumerate().filter(|(_, attempt)| attempt.runs) {
            let Some(exchange) = self.exchanges.get(&attempt.exchange) else { continue };
            let sent = if exchange.delivered_at <= self.now { exchange.delivered_at } else { attempt.begun };
            let clock = match self.now >= request.body_at {
                true => Clock {
                    since: attempt.begun.max(request.body_at),
                    deadline: Some(sent.max(request.body_at) + timeout),
                },
                false => Clock { since: attempt.begun, deadline: None },
            };
            machine.clock(index, clock);
        }
    }

    /// How many requests wait at `id` for longer than they should.
    pub(super) fn waiting(&self, id: EndpointId) -> usize {
        let is_late = |attempt: &Attempt| attempt.runs && attempt.id == id && attempt.overdue.is_some();
        self.requests.values().filter(|request| request.attempts.iter().any(is_late)).count()
    }
}

pub(super) fn machine(request: &mut Request) -> &mut Failover {
    request.machine.as_mut().expect("it has begun")
}
