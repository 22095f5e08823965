//! Endpoints that come, go, come back and are forgotten. Apart from the farm's part in requests, because it happens at
//! discovery's pace.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::news::{News, What};
use super::{Endpoint, Farm, State};
use crate::policy::endpoint::{Endpoint as Found, EndpointId};

impl Farm {
    /// Takes over what discovery found; endpoints that stay keep their standing, connections and sessions.
    pub fn update(&self, found: Vec<Found>) {
        let news = self.learn(found);
        self.tell_all(news);
    }

    /// As [`Farm::update`], and what there is to tell.
    pub(super) fn learn(&self, found: Vec<Found>) -> Vec<News> {
        let state = &mut *self.state.lock();
        let changes = state.roster.update(found);
        for id in &changes.joined {
            let Some(member) = state.roster.get(*id) else { continue };
            let endpoint = Arc::new(self.endpoint(*id, member.endpoint()));
            state.endpoints.insert(*id, endpoint);
        }
        let now = Instant::now();
        for endpoint in changes.left.iter().filter_map(|id| state.endpoints.get(id)) {
            endpoint.leaving.store(true, Ordering::Relaxed);
            state.vacating.insert(endpoint.id);
            state.departed.left(endpoint.id, now);
        }
        for endpoint in changes.returned.iter().filter_map(|id| state.endpoints.get(id)) {
            endpoint.leaving.store(false, Ordering::Relaxed);
            state.vacating.remove(&endpoint.id);
            state.departed.remove(endpoint.id);
        }
        let changed =
            [(What::Found, &changes.joined), (What::Left, &changes.left), (What::Returned, &changes.returned)];
        let mut news: Vec<_> = changed.into_iter().map(|(what, ids)| News::of(what, state, ids)).collect();
        news.extend(self.drain(state));
        self.metrics.endpoints.set(i64::try_from(state.roster.named()).unwrap_or(i64::MAX));
        self.retag(state);
        news
    }

    /// Has the endpoints picked no more that the configuration drains. The caller tells the news.
    pub(super) fn drain(&self, state: &mut State) -> [News; 2] {
        let drains = state.roster.drain(&self.config.load().drain, &state.by_hand);
        for endpoint in drains.begun.iter().filter_map(|id| state.endpoints.get(id)) {
            endpoint.leaving.store(true, Ordering::Relaxed);
            state.vacating.insert(endpoint.id);
        }
        for endpoint in drains.ended.iter().filter_map(|id| state.endpoints.get(id)) {
            endpoint.leaving.store(false, Ordering::Relaxed);
            state.vacating.remove(&endpoint.id);
        }
        [News::of(What::Drained, state, &drains.begun), News::of(What::Undrained, state, &drains.ended)]
    }

    /// Says of each endpoint that is leaving, once, that it holds no event channel and no connection any more: whoever has
    /// waited for that may take it down. To be called every second or so.
    pub fn tell_vacated(&self) {
        let mut vacated = Vec::new();
        {
            let State { vacating, endpoints, .. } = &mut *self.state.lock();
            vacating.retain(|id| {
                let Some(endpoint) = endpoints.get(id) else { return false };
                let is_held = endpoint.metrics.channels.get() > 0 || endpoint.metrics.streams.get() > 0;
                if !is_held {
                    vacated.push(Arc::clone(&endpoint.label));
                }
                is_held
            });
        }
        self.tell_all([News::new(What::Vacated, vacated)]);
    }

    /// Forgets the endpoints that discovery no longer names and that nobody will miss, and their series with them. To be
    /// called every second or so.
    pub fn forget_departed(&self, now: Instant) {
        let mut forgotten = Vec::new();
        {
            let state = &mut *self.state.lock();
            let departed: Vec<EndpointId> = state.departed.ids().collect();
            for id in departed {
                // Requests, streams and probes hold their endpoint; besides them only the farm itself does.
                if state.endpoints.get(&id).is_some_and(|endpoint| Arc::strong_count(endpoint) > 1) {
                    state.departed.used(id, now);
                } else if state.departed.is_done_with(id, &state.blocklist, now) {
                    state.roster.forget(id);
                    state.departed.remove(id);
                    state.blocklist.forget(id);
                    state.pace.forget(id);
                    forgotten.extend(state.endpoints.remove(&id).map(|endpoint| Arc::clone(&endpoint.label)));
                }
            }
            if !forgotten.is_empty() {
                self.retag(state);
            }
        }
        self.tell_all([News::new(What::Forgotten, forgotten)]);
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
