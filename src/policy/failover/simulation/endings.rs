//! How attempts and requests end, and that what they have claimed is given back, as `proxy::forward` and the guards of `farm` do it.
//! Separate from the driver, which begins them.

use http::StatusCode;

use super::Simulation;
use super::clients::{Kind, Request};
use super::driver::machine;
use super::judge::Occasion;
use super::model::Truth;
use super::mutation::Mutation;
use super::xsp::{Outcome, Owner};
use crate::policy::classify::Class;
use crate::policy::endpoint::EndpointId;
use crate::policy::failover::{Actions, Event, Target};
use crate::policy::fault::{Cause, Fault};
use crate::policy::health::{Observation, Seen};
use crate::policy::plan::Pick;

impl Simulation {
    /// An exchange has come to its end.
    pub(super) fn end(&mut self, number: u64, version: u32) {
        let Some(exchange) = self.exchanges.get(&number).copied().filter(|exchange| exchange.version == version) else {
            return;
        };
        let Some((_, outcome)) = exchange.end else { return };
        match exchange.owner {
            Owner::Look(order) => {
                self.exchanges.remove(&number);
                self.looked(&order, outcome);
            }
            Owner::Attempt { request, index } => self.attempt_ends(request, index, outcome),
        }
    }

    fn attempt_ends(&mut self, number: u64, index: usize, outcome: Outcome) {
        let Some(mut request) = self.requests.remove(&number) else { return };
        self.set_clocks(&mut request);
        let attempt = request.attempts[index];
        let xsp = self.places[&attempt.id];
        let body = self.body(&request);
        if outcome == Outcome::Fault(Fault::Stale) && request.terms.replayable && body.is_whole && !request.is_over {
            // It is nobody's fault; once more on a connection of its own.
            self.observe(&request, index, outcome);
            self.exchanges.remove(&attempt.exchange);
            let (path, owner) = (request.path_at(xsp), Owner::Attempt { request: number, index });
            self.requests.insert(number, request);
            self.dial(owner, xsp, path, None);
            return;
        }
        let is_delivered = self.end_attempt(&mut request, index);
        if matches!(outcome, Outcome::Answer(_) | Outcome::Redirect(_)) {
            self.keep_connection(xsp);
            self.end_overdue(&mut request, index);
        }
        if request.is_over {
            self.observe(&request, index, outcome);
            self.give_back(&mut request, index);
            self.act(number, request, Actions::new());
            return;
        }
        let event = match outcome {
            Outcome::Answer(_) if request.kind == Kind::Bytes => Event::Kept { attempt: index },
            Outcome::Answer(status) => Event::Head { attempt: index, status: status_of(status), hop: None, body },
            Outcome::Redirect(hop) => Event::Head { attempt: index, status: status_of(302), hop: Some(hop), body },
            Outcome::Fault(fault) => {
                let fault = self.mutated_fault(fault);
                Event::Failed { attempt: index, fault, delivered: is_delivered, body }
            }
        };
        self.conclude(number, request, index, event, outcome);
    }

    /// The machine is told how the attempt has ended; then what it has claimed is given back.
    pub(super) fn conclude(&mut self, number: u64, request: Request, index: usize, event: Event, outcome: Outcome) {
        let occasion = self.occasion(&request, index, outcome);
        self.tell(number, request, event, occasion);
        if let Some(mut request) = self.requests.remove(&number) {
            self.give_back(&mut request, index);
            self.requests.insert(number, request);
        }
    }

    fn occasion(&self, request: &Request, index: usize, outcome: Outcome) -> Occasion {
        let attempt = request.attempts[index];
        let is_channel = matches!(request.target, Target::Channel(_));
        let truth = self.truth(attempt.id, outcome, is_channel);
        Occasion::Seen { id: attempt.id, truth, begun: attempt.begun, interface: request.terms.interface }
    }

    /// What an attempt says of its endpoint as it is now. The silence of a busy one says nothing.
    fn truth(&self, id: EndpointId, outcome: Outcome, is_channel: bool) -> Truth {
        let is_busy = self.gateway.health.busy_until(id, &self.setup.rules, self.now).is_some();
        match Truth::of(outcome, &self.setup.rules, is_channel) {
            Truth::Suspicion(Cause::Silence) if is_busy => Truth::Nothing,
            truth @ (Truth::Proof | Truth::Suspicion(_) | Truth::Nothing | Truth::Health) => truth,
        }
    }

    /// What nobody waits for is told anyway.
    fn observe(&mut self, request: &Request, index: usize, outcome: Outcome) {
        let attempt = request.attempts[index];
        let seen = match outcome {
            Outcome::Answer(status) if status >= 500 => Seen::ServerError,
            Outcome::Answer(_) | Outcome::Redirect(_) => Seen::Answer,
            Outcome::Fault(fault) => Seen::Fault(self.mutated_fault(fault)),
        };
        let begun = self.mutated_begin(attempt.begun);
        let rules = self.told_rules();
        let observation = Observation { id: attempt.id, seen, begun, interface: request.terms.interface };
        let truth = self.truth(attempt.id, outcome, false);
        let ((), news) = self.with_farm(|farm| farm.observe(&observation, &rules));
        let interface = request.terms.interface;
        self.judge_news(Occasion::Seen { id: attempt.id, truth, begun: attempt.begun, interface }, &news);
    }

    /// The client leaves. What changes something goes on if all of it is there.
    pub(super) fn leave(&mut self, number: u64) {
        let Some(mut request) = self.requests.remove(&number) else { return };
        if request.is_over {
            self.requests.insert(number, request);
            return;
        }
        let (_, news) = self.with_farm(|farm| machine(&mut request).abandon(farm));
        self.judge_news(Occasion::Pick, &news);
        let body = self.body(&request);
        let goes_on = !request.kind.is_safe() && body.is_whole && body.is_complete;
        self.finish(number, request, |_, _| goes_on);
    }

    pub(super) fn answered(&mut self, number: u64, index: usize, class: Class) {
        let request = self.requests.get_mut(&number).expect("it is under way");
        let (id, user, kind) = (request.attempts[index].id, request.user, request.kind);
        let is_bound = matches!(request.target, Target::Channel(_));
        self.judge_move(number, index);
        let is_served = class == Class::Success;
        if is_served && !is_bound && kind != Kind::Bytes {
            self.clients.homes[user] = Some(id);
        }
        if is_served && kind == Kind::Open {
            self.open_channel(id);
        }
        self.let_go(number);
    }

    /// The attempts that are left end without the client, if their XSPs have the whole request.
    pub(super) fn let_go(&mut self, number: u64) {
        let request = self.requests.remove(&number).expect("it is under way");
        let is_complete = self.now >= request.body_at;
        self.finish(number, request, |simulation, exchange| {
            is_complete && (simulation.is_delivered(exchange) || simulation.will_fail(exchange))
        });
    }

    fn finish(&mut self, number: u64, mut request: Request, goes_on: impl Fn(&Self, u64) -> bool) {
        request.is_over = true;
        let held = request.held.take();
        self.release(held);
        for index in 0..request.attempts.len() {
            let attempt = request.attempts[index];
            if !attempt.runs {
                continue;
            }
            if goes_on(self, attempt.exchange) {
                let deadline = self.now + self.setup.response_timeout;
                let exchange = self.exchanges.get_mut(&attempt.exchange).expect("it runs");
                exchange.deadline = Some(deadline);
                let end = exchange.end;
                self.set_end(attempt.exchange, end);
            } else {
                self.end_attempt(&mut request, index);
                self.give_back(&mut request, index);
            }
        }
        if request.is_running() {
            self.requests.insert(number, request);
        } else {
            self.give_back_whole(&mut request);
            self.judge_carried_out(&request);
        }
    }

    /// The attempt runs no more; whether its XSP has got any of the request.
    pub(super) fn end_attempt(&mut self, request: &mut Request, index: usize) -> bool {
        let attempt = &mut request.attempts[index];
        attempt.runs = false;
        let Some(exchange) = self.exchanges.remove(&attempt.exchange) else { return false };
        let is_delivered = exchange.delivered_at <= self.now;
        attempt.was_delivered = is_delivered;
        // What is redirected is carried out by another one.
        let is_redirected = matches!(exchange.end, Some((_, Outcome::Redirect(_))));
        if is_delivered && exchange.is_carried_out && !is_redirected {
            request.carried_out += 1;
        }
        is_delivered
    }

    pub(super) fn give_back_whole(&mut self, request: &mut Request) {
        (0..request.attempts.len()).for_each(|index| self.give_back(request, index));
    }

    fn give_back(&mut self, request: &mut Request, index: usize) {
        self.end_overdue(request, index);
        if request.attempts[index].runs {
            return;
        }
        if let Some(claim) = request.attempts[index].trial.take() {
            self.release_trial(claim);
        }
    }

    fn end_overdue(&mut self, request: &mut Request, index: usize) {
        let attempt = &mut request.attempts[index];
        if let Some(serial) = attempt.overdue.take_if(|_| self.mutation != Some(Mutation::OverdueNeverEnds)) {
            self.gateway.health.overdue_end(attempt.id, serial);
        }
    }

    pub(super) fn release(&mut self, held: Option<Pick>) {
        if let Some(claim) = held.and_then(|pick| pick.trial) {
            self.release_trial(claim);
        }
    }

    fn keep_connection(&mut self, xsp: usize) {
        let xsp = &mut self.xsps[xsp];
        let left = if xsp.is_idle_stale { 0 } else { xsp.idle };
        xsp.is_idle_stale = false;
        xsp.idle = (left + 1).min(8);
    }

    pub(super) fn is_delivered(&self, exchange: u64) -> bool {
        self.exchanges.get(&exchange).is_some_and(|exchange| exchange.delivered_at <= self.now)
    }

    /// Whether no connection will come of it.
    fn will_fail(&self, exchange: u64) -> bool {
        self.exchanges.get(&exchange).is_some_and(|exchange| !exchange.is_carried_out)
    }
}

fn status_of(status: u16) -> StatusCode {
    StatusCode::from_u16(status).expect("a status of HTTP")
}
