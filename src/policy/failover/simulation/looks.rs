//! The gateway's own looks, as `proxy::looks` has them made. Separate from the driver, since no client waits for them.

use super::judge::Occasion;
use super::mutation::Mutation;
use super::xsp::{Outcome, Owner, Path};
use super::{Simulation, What};
use crate::policy::classify::On5xx;
use crate::policy::failover::News;
use crate::policy::fault::Fault;
use crate::policy::health::{Found, Order};

impl Simulation {
    /// What the passing of time brings about, and the looks that are due.
    pub(super) fn tick(&mut self) {
        self.mutate_at_tick();
        let idle = self.setup.look_when_idle;
        let (orders, mut news) = self.with_farm(|farm| {
            let ticked = farm.health.tick(farm.roster, idle, farm.now, farm.rng);
            farm.news.extend(ticked.into_iter().map(|(id, transition)| (id, transition, "silent")));
            farm.health.due_looks(farm.now)
        });
        self.lift_what_ran_out(&mut news);
        self.judge_news(Occasion::Tick, &news);
        orders.into_iter().for_each(|order| self.look(order));
        if let Some(next) = self.gateway.health.next_look().filter(|next| *next < self.now + super::TICK)
            && !self.is_ticking_soon
        {
            self.is_ticking_soon = true;
            self.at(next.max(self.now), What::TickSoon);
        }
        self.judge_time();
    }

    fn look(&mut self, order: Order) {
        let xsp = self.places[&order.id];
        self.judge_look(order.id);
        if self.mutation == Some(Mutation::TwoLooksAtOnce) {
            self.gateway.health.release_look(&order);
        }
        let deadline = self.now + self.setup.response_timeout;
        self.dial(Owner::Look(order), xsp, Path::Plain, Some(deadline));
    }

    /// A look has ended.
    pub(super) fn looked(&mut self, order: &Order, outcome: Outcome) {
        let truth = match outcome {
            Outcome::Answer(status) if status >= 500 && self.setup.rules.on_5xx != On5xx::Answer => Found::ServerError,
            Outcome::Answer(_) | Outcome::Redirect(_) => Found::Well,
            Outcome::Fault(fault) => Found::Fault(fault),
        };
        self.judge.look_ended(order, truth, self.now);
        let Some(found) = self.mutated_found(truth) else {
            self.gateway.health.release_look(order);
            return;
        };
        let rules = self.told_rules();
        let (transitions, mut news) =
            self.with_farm(|farm| farm.health.looked(order, found, &rules, farm.roster, farm.now, farm.rng));
        self.gateway.health.release_look(order);
        news.extend(transitions.into_iter().map(|transition| (order.id, transition, found.name())));
        self.judge_news(Occasion::Looked { id: order.id, found: truth, begun: self.judge.look_begun(order.id) }, &news);
        if !news.is_empty() {
            self.after(std::time::Duration::ZERO, What::TickSoon);
        }
    }

    fn lift_what_ran_out(&mut self, news: &mut News) {
        if self.mutation != Some(Mutation::UnblockedWithoutAnswer) {
            return;
        }
        let out: Vec<_> = self.places.keys().copied().filter(|id| self.judge.has_run_out(*id, self.now)).collect();
        for id in out {
            news.extend(self.gateway.health.lift(id).map(|transition| (id, transition, "lifted")));
        }
    }
}

/// Whether the gateway could not ask.
pub(super) fn is_nothing(found: Found) -> bool {
    matches!(found, Found::Fault(Fault::Local | Fault::TooLarge))
}
