//! What becomes of endpoints, as gauges, log, time line and counters show it. Separate from who brings it about: the gauges are
//! set under the farm's lock, in the order of the changes, and what takes longer comes after it.

use std::sync::Arc;
use std::time::Instant;

use tracing::{debug, info, warn};

use super::{Endpoint, Farm, State};
use crate::config::error::printable;
use crate::policy::failover::News;
use crate::policy::health::Transition;
use crate::policy::health::blocklist::Standing;
use crate::telemetry::timeline::{Event, Kind};

/// What has become of endpoints, to be told.
#[must_use]
pub(super) struct Changes(Vec<(Arc<Endpoint>, Transition, &'static str)>);

impl Farm {
    /// Sets the gauges of those endpoints as they stand now.
    pub(super) fn publish(&self, state: &State, news: &News, now: Instant) -> Changes {
        let known = news.iter().filter_map(|(id, transition, reason)| {
            let endpoint = state.endpoints.get(id)?;
            set_gauges(endpoint, state, now);
            Some((Arc::clone(endpoint), *transition, *reason))
        });
        Changes(known.collect())
    }

    /// Sets the gauges of all endpoints, since blocks run out by themselves.
    pub(super) fn publish_all(&self, state: &State, now: Instant) {
        state.endpoints.values().for_each(|endpoint| set_gauges(endpoint, state, now));
    }

    /// Tells it. Not to be called with the farm's lock held.
    pub(super) fn tell(&self, Changes(changes): Changes) {
        if changes.is_empty() {
            return;
        }
        for (endpoint, ..) in changes.iter().filter(|(_, transition, _)| *transition == Transition::AddressInDoubt) {
            self.looks.doubt(endpoint.address.ip());
        }
        self.looks.call();
        for (endpoint, transition, reason) in changes {
            self.tell_one(&endpoint, transition, reason);
            if let Some(name) = transition.name() {
                endpoint.metrics.transition(name);
            }
        }
    }

    fn tell_one(&self, endpoint: &Endpoint, transition: Transition, reason: &'static str) {
        let (farm, label) = (self.name(), &*endpoint.label);
        let seconds = |until: Instant| until.saturating_duration_since(Instant::now()).as_secs_f64();
        match transition {
            Transition::Blocked { until } => {
                let seconds = seconds(until);
                let refusal = endpoint.refusal.load_full().filter(|_| reason.starts_with("certificate"));
                match refusal {
                    Some(why) => {
                        warn!(farm, endpoint = label, reason, seconds, why = %printable(&why), "endpoint blocked");
                        self.note(label, Kind::Blocked, format!("{reason}; for {seconds:.0} s: {}", printable(&why)));
                    }
                    None => {
                        warn!(farm, endpoint = label, reason, seconds, "endpoint blocked");
                        self.note(label, Kind::Blocked, format!("{reason}; for {seconds:.0} s"));
                    }
                }
            }
            Transition::TrialFailed { until } => {
                info!(farm, endpoint = label, reason, seconds = seconds(until), "endpoint still fails, blocked again");
            }
            Transition::Unblocked => {
                info!(farm, endpoint = label, "endpoint answers again, off the blocklist");
                self.note(label, Kind::Unblocked, "it answers again");
                self.take_back(endpoint);
            }
            Transition::Suspected { cause } => {
                debug!(farm, endpoint = label, cause = cause.name(), reason, "endpoint is suspect; the gateway looks");
            }
            Transition::Cleared => debug!(farm, endpoint = label, "endpoint is suspect no longer"),
            // One dead XSP fails many requests that were under way; saying it once is enough.
            Transition::Extended { .. } | Transition::TrialBegun | Transition::AddressInDoubt => {}
        }
    }

    pub(super) fn note(&self, endpoint: &str, kind: Kind, text: impl Into<String>) {
        self.timeline.add(Event::now(kind, text).of_farm(&self.name).of_endpoint(endpoint));
    }
}

/// As the endpoint stands.
pub(super) fn set_gauges(endpoint: &Endpoint, state: &State, now: Instant) {
    let standing = state.health.standing(endpoint.id, now);
    let (blocked, probation) = match standing {
        Standing::Up => (0, 0),
        Standing::Blocked { .. } => (1, 0),
        Standing::Probation | Standing::OnTrial => (1, 1),
    };
    endpoint.metrics.blocked.set(blocked);
    endpoint.metrics.probation.set(probation);
}
