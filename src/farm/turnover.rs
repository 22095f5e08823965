//! Endpoints that come, go, come back and are forgotten. Apart from the farm's part in requests, because it happens at
//! discovery's pace.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tracing::info;

use super::{Endpoint, Farm, State};
use crate::policy::endpoint::{Endpoint as Found, EndpointId};
use crate::telemetry::timeline::{Event, Kind};

/// Endpoints that have an event each when the same happens to several at once; more share one.
const EACH: usize = 5;

impl Farm {
    /// Takes over what discovery found; endpoints that stay keep their standing, connections and sessions.
    pub fn update(&self, found: Vec<Found>) {
        let state = &mut *self.state.lock();
        let changes = state.roster.update(found);
        for id in &changes.joined {
            let Some(member) = state.roster.get(*id) else { continue };
            let endpoint = Arc::new(self.endpoint(*id, member.endpoint()));
            info!(farm = self.name(), endpoint = &*endpoint.label, "endpoint found");
            state.endpoints.insert(*id, endpoint);
        }
        self.note_all(state, &changes.joined, Kind::Found);
        let now = Instant::now();
        for endpoint in changes.left.iter().filter_map(|id| state.endpoints.get(id)) {
            info!(farm = self.name(), endpoint = &*endpoint.label, "endpoint left; it gets no new sessions");
            endpoint.leaving.store(true, Ordering::Relaxed);
            state.vacating.insert(endpoint.id);
            state.departed.left(endpoint.id, now);
        }
        self.note_all(state, &changes.left, Kind::Left);
        for endpoint in changes.returned.iter().filter_map(|id| state.endpoints.get(id)) {
            info!(farm = self.name(), endpoint = &*endpoint.label, "endpoint is back");
            endpoint.leaving.store(false, Ordering::Relaxed);
            state.vacating.remove(&endpoint.id);
            state.departed.remove(endpoint.id);
        }
        self.note_all(state, &changes.returned, Kind::Returned);
        self.drain(state);
        self.metrics.endpoints.set(i64::try_from(state.roster.named()).unwrap_or(i64::MAX));
        self.retag(state);
    }

    /// Has the endpoints picked no more that the configuration drains.
    pub(super) fn drain(&self, state: &mut State) {
        let drains = state.roster.drain(&self.config.load().drain, &state.by_hand);
        for endpoint in drains.begun.iter().filter_map(|id| state.endpoints.get(id)) {
            info!(farm = self.name(), endpoint = &*endpoint.label, "endpoint is drained; it gets no new sessions");
            endpoint.leaving.store(true, Ordering::Relaxed);
            state.vacating.insert(endpoint.id);
        }
        self.note_all(state, &drains.begun, Kind::Draining);
        for endpoint in drains.ended.iter().filter_map(|id| state.endpoints.get(id)) {
            info!(farm = self.name(), endpoint = &*endpoint.label, "endpoint is drained no more");
            endpoint.leaving.store(false, Ordering::Relaxed);
            state.vacating.remove(&endpoint.id);
        }
        self.note_all(state, &drains.ended, Kind::Undrained);
    }

    /// Tells those who look at the time line that this has happened to all of `ids`.
    fn note_all(&self, state: &State, ids: &[EndpointId], kind: Kind) {
        if ids.len() > EACH {
            return self.timeline.add(Event::now(kind, format!("{} endpoints", ids.len())).of_farm(&self.name));
        }
        for endpoint in ids.iter().filter_map(|id| state.endpoints.get(id)) {
            self.note(&endpoint.label, kind, "");
        }
    }

    /// Says of each endpoint that is leaving, once, that it holds no event channel and no connection any more: whoever has
    /// waited for that may take it down. To be called every second or so.
    pub fn tell_vacated(&self) {
        let State { vacating, endpoints, .. } = &mut *self.state.lock();
        vacating.retain(|id| {
            let Some(endpoint) = endpoints.get(id) else { return false };
            let is_held = endpoint.metrics.channels.get() > 0 || endpoint.metrics.streams.get() > 0;
            if !is_held {
                let (farm, endpoint) = (self.name(), &*endpoint.label);
                info!(farm, endpoint, "endpoint that is leaving holds no event channel and no connection any more");
                self.note(endpoint, Kind::Vacated, "it holds no event channel and no connection any more");
            }
            is_held
        });
    }

    /// Forgets the endpoints that discovery no longer names and that nobody will miss, and their series with them. To be
    /// called every second or so.
    pub fn forget_departed(&self, now: Instant) {
        let state = &mut *self.state.lock();
        let departed: Vec<EndpointId> = state.departed.ids().collect();
        let mut forgotten = 0;
        for id in departed {
            // Requests, streams and probes hold their endpoint; besides them only the farm itself does.
            if state.endpoints.get(&id).is_some_and(|endpoint| Arc::strong_count(endpoint) > 1) {
                state.departed.used(id, now);
            } else if state.departed.is_done_with(id, &state.blocklist, now) {
                state.roster.forget(id);
                state.departed.remove(id);
                state.blocklist.forget(id);
                state.pace.forget(id);
                if let Some(endpoint) = state.endpoints.remove(&id) {
                    info!(farm = self.name(), endpoint = &*endpoint.label, "endpoint that left is forgotten");
                    self.note(&endpoint.label, Kind::Forgotten, "");
                }
                forgotten += 1;
            }
        }
        if forgotten > 0 {
            self.retag(state);
        }
    }

    pub(super) fn retag(&self, state: &State) {
        let keyring = self.keyring.load();
        let tags = state
            .endpoints
            .values()
            .flat_map(|endpoint| keyring.accepted_tags(&self.name, endpoint.address).map(|tag| (tag, endpoint.id)));
        self.tags.store(Arc::new(tags.collect()));
    }

    fn endpoint(&self, id: EndpointId, found: &Found) -> Endpoint {
        static KEYS: AtomicU64 = AtomicU64::new(0);
        let label: Arc<str> = found.address.to_string().into();
        Endpoint {
            id,
            key: KEYS.fetch_add(1, Ordering::Relaxed),
            address: found.address,
            tag: ArcSwap::from_pointee(self.keyring.load().tag(&self.name, found.address)),
            tls: ArcSwap::new(self.tls.load().for_endpoint()),
            pool: ArcSwap::from_pointee(self.config.load().pool.clone()),
            metrics: self.all_metrics.endpoint(&self.name, &label),
            label,
            probing: AtomicBool::new(false),
            hints: Mutex::default(),
            leaving: AtomicBool::new(false),
        }
    }
}
