//! What an operator does to single endpoints while the farm runs. Apart from what requests and discovery do, because it is
//! done on somebody's word, and undone only by it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tracing::info;

use super::{Endpoint, Farm, State};
use crate::policy::drained::{Drained, Whom};
use crate::policy::endpoint::EndpointId;
use crate::telemetry::timeline::Kind;

/// What is done to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByHand {
    /// It gets no new sessions.
    Drain,
    /// It gets them again, unless the configuration drains it.
    Undrain,
    /// It is blocked for so long; `None`: as long as if it had failed.
    Block(Option<Duration>),
    /// It is taken off the blocklist.
    Unblock,
}

impl Farm {
    /// Does that to the endpoints that `whom` means; these, by their labels. Those for which it changes nothing are among them.
    pub fn by_hand(&self, whom: &Whom, what: ByHand) -> Vec<Arc<str>> {
        let one = Drained::new(vec![whom.clone()]);
        let meant: Vec<Arc<Endpoint>> = {
            let state = self.state.lock();
            let known = state.endpoints.values();
            known.filter(|endpoint| one.has(endpoint.address, endpoint.target.as_deref())).map(Arc::clone).collect()
        };
        for endpoint in &meant {
            match what {
                ByHand::Drain => self.drains_by_hand(|by_hand| by_hand.insert(endpoint.id)),
                ByHand::Undrain => self.drains_by_hand(|by_hand| by_hand.remove(&endpoint.id)),
                ByHand::Block(time) => {
                    let time = time.unwrap_or_else(|| self.config.load().failover.block_for);
                    self.failed(endpoint, time, "by hand");
                }
                ByHand::Unblock => self.unblock(endpoint),
            }
        }
        meant.iter().map(|endpoint| Arc::clone(&endpoint.label)).collect()
    }

    /// Whether the configuration drains an endpoint that `whom` means, whatever is done by hand.
    pub fn is_drained_by_configuration(&self, whom: &Whom) -> bool {
        let (one, config) = (Drained::new(vec![whom.clone()]), self.config());
        let state = self.state.lock();
        let mut known = state.endpoints.values().map(|endpoint| (endpoint.address, endpoint.target.as_deref()));
        known.any(|(address, target)| one.has(address, target) && config.drain.has(address, target))
    }

    /// Its endpoints by their labels, in order, for whoever has named none of them.
    pub fn labels(&self) -> Vec<Arc<str>> {
        let state = self.state.lock();
        let mut labels: Vec<_> = state.endpoints.values().map(|endpoint| Arc::clone(&endpoint.label)).collect();
        labels.sort();
        labels
    }

    fn unblock(&self, endpoint: &Endpoint) {
        let lifted = self.state.lock().blocklist.lift(endpoint.id);
        if let Some(transition) = lifted {
            info!(farm = self.name(), endpoint = &*endpoint.label, "endpoint is off the blocklist by hand");
            self.note(&endpoint.label, Kind::Unblocked, "by hand");
            endpoint.metrics.blocked.set(0);
            endpoint.metrics.transition(transition.name());
        }
    }

    fn drains_by_hand(&self, change: impl FnOnce(&mut BTreeSet<EndpointId>) -> bool) {
        let state: &mut State = &mut self.state.lock();
        if change(&mut state.by_hand) {
            self.drain(state);
        }
    }
}
