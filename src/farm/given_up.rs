//! Endpoints that stay blocked until the gateway gives them up, so that their streams end. Separate from the blocklist's part
//! in requests: a stream asks nothing of its endpoint, and would stay at one that is frozen for as long as its kernel answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tracing::{info, warn};

use super::{Endpoint, Farm, State};
use crate::policy::health::blocklist::Standing;
use crate::telemetry::timeline::Kind;

/// How a look has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Nothing has come: clients that stay have nothing, though the gateway may know no other endpoint for them.
    Silence,
    /// It was rejected. That is a sign of life: if all endpoints do so, the gateway may be at fault, whose certificate has
    /// expired, say, and streams that work must not pay for it.
    Refusal,
}

impl Farm {
    /// The endpoints that are to be given up unless a look finds them well: they hold streams, they have been lifeless for
    /// `end_streams_after`. Takes back those of which that is true no longer. To be called a few times
    /// a second.
    pub fn lifeless(&self) -> Vec<Arc<Endpoint>> {
        let now = Instant::now();
        let (mut lifeless, mut taken_back) = (Vec::new(), Vec::new());
        self.state.with(|state| {
            let ids: Vec<_> = state.health.lifeless().collect();
            for endpoint in ids.iter().filter_map(|id| state.endpoints.get(id)) {
                let heard = endpoint.heard.load(Ordering::Relaxed);
                if heard {
                    state.health.heard(endpoint.id, now);
                }
                match (endpoint.is_given_up(), self.is_to_end(state, endpoint, now)) {
                    (true, false) => {
                        endpoint.given_up.store(false, Ordering::Relaxed);
                        taken_back.push(Arc::clone(endpoint));
                    }
                    (false, true) if holds_streams(endpoint) => lifeless.push(Arc::clone(endpoint)),
                    (true, true) | (false, _) => {}
                }
                // Until here it has kept the streams.
                if heard {
                    endpoint.heard.store(false, Ordering::Relaxed);
                }
            }
        });
        taken_back.iter().for_each(|endpoint| self.tell_taken_back(endpoint));
        lifeless
    }

    /// A look at `endpoint` has failed as well, by `sign`: its streams are to end, unless something has come from it
    /// meanwhile; whether they are.
    pub fn give_up(&self, endpoint: &Arc<Endpoint>, sign: Sign) -> bool {
        let now = Instant::now();
        let is_given_up = self.state.with(|state| {
            if sign == Sign::Refusal && !has_another(state, endpoint, now) {
                state.health.heard(endpoint.id, now);
            }
            let is_it = !endpoint.heard.load(Ordering::Relaxed)
                && !endpoint.is_given_up()
                && self.is_to_end(state, endpoint, now);
            if is_it {
                endpoint.given_up.store(true, Ordering::Relaxed);
            }
            is_it
        });
        if !is_given_up {
            return false;
        }
        let (channels, streams) = (endpoint.metrics.channels.get(), endpoint.metrics.streams.get());
        warn!(
            farm = self.name(),
            endpoint = &*endpoint.label,
            channels,
            streams,
            "endpoint stays blocked: its event channels, CTI and pass-through connections are ended"
        );
        self.note(&endpoint.label, Kind::GivenUp, format!("event channels: {channels}, connections: {streams}"));
        true
    }

    /// `endpoint` is given up no longer: the streams that it still has stay.
    pub(super) fn take_back(&self, endpoint: &Endpoint) {
        if endpoint.given_up.swap(false, Ordering::Relaxed) {
            self.tell_taken_back(endpoint);
        }
    }

    fn tell_taken_back(&self, endpoint: &Endpoint) {
        info!(
            farm = self.name(),
            endpoint = &*endpoint.label,
            "the endpoint answers again: its remaining streams stay"
        );
    }

    /// Whether `endpoint` has been lifeless for long enough.
    fn is_to_end(&self, state: &State, endpoint: &Endpoint, now: Instant) -> bool {
        let Some(after) = self.config.load().end_streams_after else { return false };
        let since = state.health.lifeless_since(endpoint.id);
        since.is_some_and(|since| now.saturating_duration_since(since) >= after)
    }
}

/// Whether clients that leave `endpoint` would find another one.
fn has_another(state: &State, endpoint: &Endpoint, now: Instant) -> bool {
    let mut others = state.roster.present().filter(|member| member.id() != endpoint.id);
    others.any(|member| state.health.standing(member.id(), now) == Standing::Up)
}

impl Endpoint {
    fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }
}

fn holds_streams(endpoint: &Endpoint) -> bool {
    endpoint.held().iter().any(|held| *held > 0)
}
