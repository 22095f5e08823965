//! A farm that goes on in another process. Separate from discovery, because it brings what discovery can't know.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::info;

use super::publish::set_gauges;
use super::{Endpoint, Farm};
use crate::config::types::Leaf;
use crate::config::types::network::DrainedXsp;
use crate::handover::{self, Block};
use crate::policy::drained::Drained;
use crate::policy::endpoint::{Endpoint as Found, EndpointId, Member, Presence, Tier, Weight};
use crate::policy::health::Health;
use crate::policy::health::blocklist::Standing;

impl Farm {
    /// The endpoint at `address`, also one that has left.
    pub fn at(&self, address: SocketAddr) -> Option<Arc<Endpoint>> {
        self.state.with(|state| state.endpoints.get(&state.roster.at(address)?.id()).map(Arc::clone))
    }

    /// All that another process needs to go on with it.
    pub fn hand_over(&self) -> handover::Farm {
        let now = Instant::now();
        let endpoint = |health: &Health, member: &Member, known: &Endpoint| {
            let Found { address, tier: Tier { site, priority }, weight, ref target } = *member.endpoint();
            handover::Endpoint {
                address,
                site,
                priority,
                weight: match weight {
                    Weight::Equal => None,
                    Weight::Srv(weight) => Some(weight),
                },
                target: target.as_deref().map(str::to_owned),
                departed: member.presence() == Presence::Departed,
                block: block(health, member.id(), now),
                cut_in: known.cut_at().map(|at| at.saturating_duration_since(now).as_secs_f64()),
            }
        };
        self.state.with(|state| handover::Farm {
            name: self.name.clone(),
            endpoints: state
                .roster
                .members()
                .filter_map(|member| Some(endpoint(&state.health, member, state.endpoints.get(&member.id())?)))
                .collect(),
            drained: state.drained_by_operator.iter().map(ToString::to_string).collect(),
        })
    }

    /// Goes on where a farm was: that of its name in another process, or one that had its place under another name.
    pub fn take_over(&self, handed: &handover::Farm) {
        let found = |endpoint: &handover::Endpoint| Found {
            address: endpoint.address,
            tier: Tier { site: endpoint.site, priority: endpoint.priority },
            weight: endpoint.weight.map_or(Weight::Equal, Weight::Srv),
            target: endpoint.target.as_deref().map(Into::into),
        };
        let all = &handed.endpoints;
        // None of it is news: the other process has told it.
        drop(self.learn(all.iter().map(found).collect(), &[]));
        if all.iter().any(|endpoint| endpoint.departed) {
            drop(self.learn(all.iter().filter(|endpoint| !endpoint.departed).map(found).collect(), &[]));
        }
        let now = Instant::now();
        for endpoint in all {
            let Some(known) = self.at(endpoint.address) else { continue };
            if let Some(block) = &endpoint.block {
                self.go_on_blocking(&known, block, now);
            }
            let cut_in = endpoint.cut_in.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            known.cut_at.store(cut_in.and_then(|left| now.checked_add(left)).map(Arc::new));
        }
        info!(farm = self.name(), endpoints = all.len(), "farm taken over");
        let news = self.state.with(|state| {
            // What it was told when it had this place before counts no longer.
            state.drained_by_operator = Drained::default();
            for word in handed.drained.iter().filter_map(|word| DrainedXsp::text(word).ok()) {
                state.drained_by_operator.add(word.0);
            }
            self.drain(state)
        });
        // The other process has told that, too.
        drop(news);
    }

    fn go_on_blocking(&self, endpoint: &Endpoint, block: &Block, now: Instant) {
        // What is no time has none left.
        let left = Duration::try_from_secs_f64(block.seconds).unwrap_or_default();
        let until = now.checked_add(left).unwrap_or(now);
        self.state.with(|state| {
            match block.by_operator {
                true => drop(state.health.block_by_operator(endpoint.id, now, until)),
                false => state.health.inherit_block(endpoint.id, now, until),
            }
            set_gauges(endpoint, state, now);
        });
        info!(farm = self.name(), endpoint = &*endpoint.label, seconds = block.seconds, "endpoint stays blocked");
    }
}

fn block(health: &Health, id: EndpointId, now: Instant) -> Option<Block> {
    let seconds = match health.standing(id, now) {
        Standing::Up => return None,
        Standing::Blocked { until } => until.saturating_duration_since(now).as_secs_f64(),
        Standing::Probation | Standing::OnTrial => 0.0,
    };
    Some(Block { seconds, by_operator: health.is_blocked_by_operator(id) })
}
