//! The gateway's own looks at a farm's endpoints: what wakes the task that makes them, and the right to make one. Separate from what is
//! asked in a look, which depends on what clients may ask.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;

use super::{Endpoint, Farm};
use crate::broadworks::interface::Interface;
use crate::lock::Locked;
use crate::policy::failover::{Actions, News};
use crate::policy::health::blocklist::Standing;
use crate::policy::health::{Found, Order, Rules};

/// What wakes the task that looks; shared by all farms.
#[derive(Debug, Default)]
pub struct Looks {
    due: Notify,
    /// Addresses of which more than one port may be gone.
    in_doubt: Locked<Vec<IpAddr>>,
}

impl Looks {
    /// Returns once a look may be due.
    pub async fn due(&self) {
        self.due.notified().await;
    }

    /// The addresses at which the endpoints of all farms are to be looked at; each is told once.
    pub fn in_doubt(&self) -> Vec<IpAddr> {
        self.in_doubt.with(std::mem::take)
    }

    pub(super) fn doubt(&self, address: IpAddr) {
        self.in_doubt.with(|in_doubt| {
            if !in_doubt.contains(&address) {
                in_doubt.push(address);
            }
        });
    }

    pub(super) fn call(&self) {
        self.due.notify_one();
    }
}

/// The right to look at an endpoint; nobody else may while it is held.
#[derive(Debug)]
pub struct Looking {
    farm: Arc<Farm>,
    /// At which one.
    pub endpoint: Arc<Endpoint>,
    order: Order,
}

impl Looking {
    /// Of which farm it is.
    pub const fn farm(&self) -> &Arc<Farm> {
        &self.farm
    }

    /// The interface that is to be asked for something; `None`: whichever there is.
    pub fn interface(&self) -> Option<Interface> {
        self.order.interface()
    }

    /// Another look begins, by the same right.
    pub fn begin_again(&mut self) {
        self.order.begin_again(Instant::now());
    }

    /// What has been found: what answers is cleared, what doesn't is blocked.
    pub fn ended(&self, found: Found, rules: &Rules) {
        match found {
            _ if found.is_nothing() => {}
            Found::Well => self.endpoint.metrics.probed("cleared"),
            Found::ServerError | Found::Fault(_) => self.endpoint.metrics.probed("failed"),
        }
        self.farm.act(|view| {
            let transitions = view.health.looked(&self.order, found, rules, view.roster, view.now, view.rng);
            let told = transitions.into_iter().map(|transition| (self.order.id, transition, found.name()));
            view.news.extend(told);
            ((), Actions::new())
        });
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.farm.state.with(|state| state.health.release_look(&self.order));
    }
}

impl Farm {
    /// What the passing of time brings about, and the looks that are due. To be called ten times a second, and when
    /// [`Looks::due`] says so.
    pub fn due_looks(self: &Arc<Self>) -> Vec<Looking> {
        let now = Instant::now();
        let idle = self.config.load().look_when_idle;
        let (due, changes) = self.state.with(|state| {
            let super::State { health, roster, rng, .. } = state;
            let ticked = health.tick(roster, idle, now, rng);
            let news: News = ticked.into_iter().map(|(id, transition)| (id, transition, "silent")).collect();
            let orders = health.due_looks(now);
            let due = orders.into_iter().filter_map(|order| {
                let endpoint = Arc::clone(state.endpoints.get(&order.id)?);
                Some(Looking { farm: Arc::clone(self), endpoint, order })
            });
            let due: Vec<_> = due.collect();
            (due, self.publish_all(state, &news, now))
        });
        self.tell(changes);
        due
    }

    /// When the next look is due.
    pub fn next_look(&self) -> Option<Instant> {
        self.state.with(|state| state.health.next_look())
    }

    /// The right to look at `endpoint` now, unless somebody does so.
    pub fn claim_look(self: &Arc<Self>, endpoint: &Arc<Endpoint>) -> Option<Looking> {
        let order = self.state.with(|state| state.health.claim_look(endpoint.id, Instant::now()))?;
        Some(Looking { farm: Arc::clone(self), endpoint: Arc::clone(endpoint), order })
    }

    /// Has the gateway look at the endpoints at `address` that nothing is held against.
    pub fn look_at_address(&self, address: IpAddr) {
        let now = Instant::now();
        self.state.with(|state| {
            let there = state.endpoints.values().filter(|endpoint| endpoint.address.ip() == address);
            for endpoint in there {
                if state.health.standing(endpoint.id, now) == Standing::Up {
                    state.health.look_soon(endpoint.id, now);
                }
            }
        });
    }

    /// Has the gateway look at the endpoints that are not up: what was held against them may be gone.
    pub fn look_at_blocked(&self) {
        let now = Instant::now();
        self.state.with(|state| state.health.look_at_all(|_| true, &state.roster, now));
        self.looks.call();
    }
}
