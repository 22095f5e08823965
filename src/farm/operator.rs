//! What an operator does to single endpoints while the farm runs. Separate from what requests and discovery do, because it is
//! done on somebody's word, and undone only by it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::publish::set_gauges;
use super::{Endpoint, Farm, State};
use crate::policy::drained::Whom;
use crate::policy::endpoint::{EndpointId, Member, Presence};
use crate::policy::health::blocklist::Standing;
use crate::telemetry::timeline::Kind;

/// What is done to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It gets no new sessions, also if it goes and comes back; but the last one that is up stays. What is there after so long
    /// is cut; `None`: when it was to be, and if it never was, it may stay.
    Drain(Option<Duration>),
    /// The same, even if nobody is up then.
    ForceDrain(Option<Duration>),
    /// It gets them again, unless something else drains it.
    Undrain,
    /// It is blocked for so long, whatever it answers; `None`: for `block_for`.
    Block(Option<Duration>),
    /// It is taken off the blocklist.
    Unblock,
}

/// An endpoint that was meant, and how it stands then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meant {
    /// `address:port`.
    pub endpoint: Arc<str>,
    /// Whether it may be picked.
    pub presence: Presence,
    /// Whether it might be picked before.
    pub was: Presence,
    /// How it stands with the blocklist.
    pub standing: Standing,
    /// How it stood before.
    pub stood: Standing,
    /// Where it is.
    pub address: SocketAddr,
    /// Event channels that are there, of all processes.
    pub channels: i64,
    /// How long until what is there is cut, if that was asked for, now or earlier.
    pub cut_in: Option<Duration>,
}

impl Farm {
    /// Does that to the endpoints that `whom` means, and returns these. Those for which it changes nothing are among them.
    pub fn operate(&self, whom: &Whom, what: Operation) -> Vec<Meant> {
        let meant = self.meant(whom);
        if meant.is_empty() {
            return Vec::new();
        }
        let now = Instant::now();
        let before = self.stand(&meant, now);
        match what {
            Operation::Drain(cut_after) | Operation::ForceDrain(cut_after) => {
                let news = self.state.with(|state| {
                    state.drained_by_operator.add(whom.clone());
                    self.drain(state)
                });
                self.tell_all(news);
                if let Some(at) = cut_after.and_then(|after| now.checked_add(after)) {
                    meant.iter().for_each(|endpoint| endpoint.cut_at.store(Some(Arc::new(at))));
                }
            }
            Operation::Undrain => {
                meant.iter().for_each(|endpoint| endpoint.cut_at.store(None));
                self.undrain(whom);
            }
            Operation::Block(time) => meant.iter().for_each(|endpoint| self.block(endpoint, time)),
            Operation::Unblock => meant.iter().for_each(|endpoint| self.unblock(endpoint)),
        }
        let after = self.stand(&meant, now);
        let told = meant.iter().filter_map(|endpoint| {
            let (was, stood) = *before.get(&endpoint.id)?;
            let (presence, standing) = *after.get(&endpoint.id)?;
            Some(Meant {
                endpoint: Arc::clone(&endpoint.label),
                presence,
                was,
                standing,
                stood,
                address: endpoint.address,
                channels: endpoint.metrics.channels.get(),
                cut_in: endpoint.cut_at().map(|at| at.saturating_duration_since(now)),
            })
        });
        told.collect()
    }

    fn stand(&self, endpoints: &[Arc<Endpoint>], now: Instant) -> HashMap<EndpointId, (Presence, Standing)> {
        self.state.with(|state| {
            let stands = |endpoint: &Arc<Endpoint>| {
                let presence = state.roster.get(endpoint.id)?.presence();
                Some((endpoint.id, (presence, state.health.standing(endpoint.id, now))))
            };
            endpoints.iter().filter_map(stands).collect()
        })
    }

    /// Whether `whom` means all that are up, and somebody is.
    pub fn is_last(&self, whom: &Whom) -> bool {
        let now = Instant::now();
        self.state.with(|state| {
            let mut up = state
                .roster
                .present()
                .filter(|member| state.health.standing(member.id(), now) == Standing::Up)
                .peekable();
            up.peek().is_some() && up.all(|member| means(whom, member))
        })
    }

    /// What `drain` in the configuration names, and what is no XSP's: it has gone, or was never right.
    pub fn unknown_drains(&self) -> Vec<String> {
        let config = self.config();
        self.state.with(|state| {
            let is_unknown = |whom: &&Whom| !state.roster.members().any(|member| means(whom, member));
            config.drain.iter().filter(is_unknown).map(Whom::to_string).collect()
        })
    }

    /// Warns of these, once each time that they change. To be called every second or so.
    pub fn tell_unknown_drains(&self) {
        if self.is_empty() {
            return;
        }
        let unknown = self.unknown_drains();
        let are_news =
            self.state.with(|state| std::mem::replace(&mut state.unknown_drains, unknown.clone()) != unknown);
        if are_news && !unknown.is_empty() {
            warn!(
                farm = self.name(),
                drain = unknown.join(", "),
                "`drain` names something that is not an XSP: it drains nothing"
            );
        }
    }

    /// All endpoints that are known, those that have left too.
    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.state.with(|state| state.endpoints.values().map(Arc::clone).collect())
    }

    /// The labels of its endpoints, in order.
    pub fn labels(&self) -> Vec<Arc<str>> {
        let mut labels: Vec<_> =
            self.state.with(|state| state.endpoints.values().map(|endpoint| Arc::clone(&endpoint.label)).collect());
        labels.sort();
        labels
    }

    /// Takes all endpoints off the blocklist, and returns those that were on it.
    pub fn unblock_all(&self) -> Vec<Arc<str>> {
        let now = Instant::now();
        let out: Vec<_> = self.state.with(|state| {
            let out = |endpoint: &&Arc<Endpoint>| state.health.standing(endpoint.id, now) != Standing::Up;
            state.endpoints.values().filter(out).map(Arc::clone).collect()
        });
        out.iter().for_each(|endpoint| self.unblock(endpoint));
        let mut labels: Vec<_> = out.into_iter().map(|endpoint| Arc::clone(&endpoint.label)).collect();
        labels.sort();
        labels
    }

    /// Those whose streams have had their time, and are to be cut now: each is told of once.
    pub fn due_cuts(&self, now: Instant) -> Vec<Arc<Endpoint>> {
        let is_due = |endpoint: &Arc<Endpoint>| {
            let is_due = endpoint.cut_at().is_some_and(|at| at <= now);
            is_due && endpoint.cut_at.swap(None).is_some() && endpoint.is_leaving()
        };
        self.endpoints().into_iter().filter(is_due).collect()
    }

    /// The endpoints that `whom` means.
    pub fn meant(&self, whom: &Whom) -> Vec<Arc<Endpoint>> {
        self.state.with(|state| {
            let meant = state.roster.members().filter(|member| means(whom, member));
            meant.filter_map(|member| state.endpoints.get(&member.id()).map(Arc::clone)).collect()
        })
    }

    /// Every word by which only endpoints are drained that `whom` means is taken back.
    fn undrain(&self, whom: &Whom) {
        let news = self.state.with(|state| {
            let State { drained_by_operator, roster, health, .. } = state;
            // While it was drained, nobody has found out whether it works again.
            health.look_at_all(|id| roster.get(id).is_some_and(|member| means(whom, member)), roster, Instant::now());
            drained_by_operator
                .retain(|word| roster.members().any(|member| means(word, member) && !means(whom, member)));
            self.drain(state)
        });
        self.tell_all(news);
        self.looks.call();
    }

    fn block(&self, endpoint: &Endpoint, time: Option<Duration>) {
        let (now, time) = (Instant::now(), time.unwrap_or_else(|| self.config.load().failover.block_for));
        let transition = self.state.with(|state| {
            let transition = state.health.block_by_operator(endpoint.id, now, now + time);
            set_gauges(endpoint, state, now);
            transition
        });
        info!(
            farm = self.name(),
            endpoint = &*endpoint.label,
            seconds = time.as_secs_f64(),
            "endpoint blocked by hand"
        );
        self.note(&endpoint.label, Kind::Blocked, format!("by hand; for {:.0} s", time.as_secs_f64()));
        transition.name().into_iter().for_each(|name| endpoint.metrics.transition(name));
    }

    fn unblock(&self, endpoint: &Endpoint) {
        let lifted = self.state.with(|state| {
            let lifted = state.health.lift(endpoint.id);
            set_gauges(endpoint, state, Instant::now());
            lifted
        });
        if let Some(transition) = lifted {
            info!(farm = self.name(), endpoint = &*endpoint.label, "endpoint unblocked by hand");
            self.note(&endpoint.label, Kind::Unblocked, "by hand");
            self.take_back(endpoint);
            transition.name().into_iter().for_each(|name| endpoint.metrics.transition(name));
        }
    }
}

fn means(whom: &Whom, member: &Member) -> bool {
    whom.means(member.endpoint().address, member.endpoint().target.as_deref())
}
