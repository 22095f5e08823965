//! What becomes of endpoints, as gauges, log, time line and counters show it. Separate from who brings it about: the gauges are
//! set under the farm's lock, in the order of the changes, and what takes longer comes after it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tracing::{debug, error, info, warn};

use super::{Endpoint, Farm, State};
use crate::config::error::printable;
use crate::policy::endpoint::Member;
use crate::policy::failover::News;
use crate::policy::health::Transition;
use crate::policy::health::blocklist::Standing;
use crate::policy::health::load::Occupancy;
use crate::telemetry::timeline::{Event, Kind};

/// What has become of endpoints, to be told.
#[must_use]
pub(super) struct Changes {
    endpoints: Vec<(Arc<Endpoint>, Transition, &'static str)>,
    outage: Option<Outage>,
}

/// What has become of a farm as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outage {
    /// None is up any more.
    Begins,
    /// None is left that new sessions could go to, because somebody wants it so.
    Drained,
    /// One is up again.
    Ends,
}

impl Farm {
    /// Sets the gauges of those endpoints as they stand now.
    pub(super) fn publish(&self, state: &State, news: &News, now: Instant) -> Changes {
        let known = news.iter().filter_map(|(id, transition, reason)| {
            let endpoint = state.endpoints.get(id)?;
            set_gauges(endpoint, state, now);
            Some((Arc::clone(endpoint), *transition, *reason))
        });
        let outage = if news.is_empty() { None } else { self.outage(state, now) };
        Changes { endpoints: known.collect(), outage }
    }

    /// The same of all endpoints, since blocks run out by themselves, and members come and go.
    pub(super) fn publish_all(&self, state: &State, news: &News, now: Instant) -> Changes {
        state.endpoints.values().for_each(|endpoint| set_gauges(endpoint, state, now));
        let outage = self.outage(state, now);
        Changes { outage, ..self.publish(state, news, now) }
    }

    /// Takes note of how much of the farm is there, and says whether its last XSP has gone, or one is back.
    fn outage(&self, state: &State, now: Instant) -> Option<Outage> {
        let standing = |member: &Member| state.health.standing(member.id(), now);
        let up = state.roster.present().filter(|member| standing(member) == Standing::Up).count();
        let is_tried =
            |member: &Member| matches!(standing(member), Standing::Up | Standing::Probation | Standing::OnTrial);
        self.metrics.endpoints_up.set(i64::try_from(up).unwrap_or(i64::MAX));
        self.has_hope.store(state.roster.members().any(is_tried), Ordering::Relaxed);
        // Before discovery has named anybody, nobody has gone; and nobody misses what the configuration has no longer.
        let is_known = state.roster.members().next().is_some() && !self.is_retired();
        let was_out = self.is_out.load(Ordering::Relaxed);
        let outage = match (was_out, up) {
            (false, 0) if is_known && state.roster.is_empty() => Outage::Drained,
            (false, 0) if is_known => Outage::Begins,
            (true, 1..) => Outage::Ends,
            (_, _) => return None,
        };
        self.is_out.store(outage != Outage::Ends, Ordering::Relaxed);
        Some(outage)
    }

    /// Tells it. Not to be called with the farm's lock held.
    pub(super) fn tell(&self, Changes { endpoints: changes, outage }: Changes) {
        if !changes.is_empty() {
            self.tell_each(changes);
        }
        let farm = self.name();
        match outage {
            None => {}
            Some(Outage::Drained) => {
                warn!(farm, "every XSP of the farm is drained: new sessions get 503");
                self.timeline.add(Event::now(Kind::FarmDown, "every XSP is drained").of_farm(farm));
            }
            Some(Outage::Begins) => {
                error!(farm, "no XSP of the farm is up: requests fail, or go to XSPs that have failed");
                self.timeline.add(Event::now(Kind::FarmDown, "no XSP is up any more").of_farm(farm));
            }
            // At the same level, so that a log of errors alone shows both ends of an outage.
            Some(Outage::Ends) => {
                error!(farm, "XSP of the farm up again");
                self.timeline.add(Event::now(Kind::FarmUp, "an XSP is up again").of_farm(farm));
            }
        }
    }

    fn tell_each(&self, changes: Vec<(Arc<Endpoint>, Transition, &'static str)>) {
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
        // To a tenth: nobody reads nanoseconds.
        let seconds =
            |until: Instant| (until.saturating_duration_since(Instant::now()).as_secs_f64() * 10.0).round() / 10.0;
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
                info!(farm, endpoint = label, reason, seconds = seconds(until), "endpoint still fails: blocked again");
            }
            Transition::Unblocked => {
                info!(farm, endpoint = label, "endpoint answers again: unblocked");
                self.note(label, Kind::Unblocked, "it answers again");
                self.take_back(endpoint);
            }
            Transition::Suspected { cause } => {
                debug!(farm, endpoint = label, cause = cause.name(), reason, "endpoint is suspect; the gateway looks");
            }
            Transition::Cleared => debug!(farm, endpoint = label, "endpoint no longer suspect"),
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
    let Occupancy { in_flight, bound, .. } = state.health.load.occupancy(endpoint.id);
    endpoint.metrics.in_flight.set(in_flight.into());
    endpoint.metrics.in_flight_limit.set(bound.map_or(-1, i64::from));
}
