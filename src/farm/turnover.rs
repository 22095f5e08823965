//! Endpoints that come, go, come back and are forgotten. Separate from the farm's part in requests, because it happens at
//! discovery's pace.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};

use super::news::{News, What};
use super::{Endpoint, Farm, State};
use crate::policy::endpoint::{Endpoint as Found, EndpointId, Member};
use crate::telemetry::metrics::EndpointMetrics;

impl Farm {
    /// Takes over what discovery found; endpoints that stay keep their standing, connections and sessions, and so do those at
    /// `missing` addresses, which get no new sessions.
    pub fn update(&self, found: Vec<Found>, missing: &[SocketAddr]) {
        let news = self.learn(found, missing);
        self.tell_all(news);
    }

    /// As [`Farm::update`], and what there is to tell.
    pub(super) fn learn(&self, found: Vec<Found>, missing: &[SocketAddr]) -> Vec<News> {
        // Made before the farm is locked, since the metrics have a lock of their own.
        let handles =
            |found: &Found| (found.address, self.all_metrics.endpoint(&self.name, &found.address.to_string()));
        let mut handles: HashMap<_, _> = found.iter().map(handles).collect();
        self.state.with(|state| self.learn_into(state, found, missing, &mut handles))
    }

    fn learn_into(
        &self,
        state: &mut State,
        found: Vec<Found>,
        missing: &[SocketAddr],
        handles: &mut HashMap<SocketAddr, Arc<EndpointMetrics>>,
    ) -> Vec<News> {
        let changes = state.roster.update(found);
        for id in &changes.joined {
            let Some(found) = state.roster.get(*id).map(Member::endpoint) else { continue };
            let metrics = handles.remove(&found.address).expect("each that was found has its own");
            state.endpoints.insert(*id, Arc::new(self.endpoint(*id, found, metrics)));
        }
        let now = Instant::now();
        changes.left.iter().for_each(|&id| state.departed.left(id, now));
        let returned: Vec<_> = changes.returned.iter().copied().filter(|id| !state.missing.contains(id)).collect();
        let left = state.part_with(&changes.left, &changes.returned, missing);
        for endpoint in left.iter().filter_map(|id| state.endpoints.get(id)) {
            endpoint.leaving.store(true, Ordering::Relaxed);
            state.vacating.insert(endpoint.id);
        }
        for endpoint in changes.returned.iter().filter_map(|id| state.endpoints.get(id)) {
            endpoint.leaving.store(false, Ordering::Relaxed);
            state.vacating.remove(&endpoint.id);
            state.departed.remove(endpoint.id);
        }
        let changed = [(What::Found, &changes.joined), (What::Left, &left), (What::Returned, &returned)];
        let mut news: Vec<_> = changed.into_iter().map(|(what, ids)| News::of(what, state, ids)).collect();
        news.extend(self.drain(state));
        self.metrics.endpoints.set(i64::try_from(state.roster.named()).unwrap_or(i64::MAX));
        self.retag(state);
        news
    }

    /// Has the endpoints picked no more that the configuration drains. The caller tells the news.
    pub(super) fn drain(&self, state: &mut State) -> [News; 2] {
        let drains = state.roster.drain(&self.config.load().drain, &state.drained_by_operator);
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

    /// Says of each endpoint that is leaving, once, that it holds no event channel and no connection any more: anyone who has
    /// waited for that may take it down. To be called every second or so.
    pub fn tell_vacated(&self) {
        let mut vacated = Vec::new();
        self.state.with(|State { vacating, endpoints, .. }| {
            vacating.retain(|id| {
                // What it held is held under the farm's new name.
                let Some(endpoint) = endpoints.get(id).filter(|endpoint| !endpoint.has_heir()) else { return false };
                let is_held = endpoint.metrics.channels.get() > 0 || endpoint.metrics.streams.get() > 0;
                if !is_held {
                    vacated.push(Arc::clone(&endpoint.label));
                }
                is_held
            });
        });
        self.tell_all([News::new(What::Vacated, vacated)]);
    }

    /// Forgets the endpoints that discovery no longer names and that nobody will miss, and their series with them. To be
    /// called every second or so.
    pub fn forget_departed(&self, now: Instant) {
        let mut forgotten = Vec::new();
        self.state.with(|state| {
            let departed: Vec<EndpointId> = state.departed.ids().collect();
            for id in departed {
                // Requests, streams and probes hold their endpoint; besides them only the farm itself does.
                if state.missing.contains(&id) {
                    continue;
                }
                if state.endpoints.get(&id).is_some_and(|endpoint| Arc::strong_count(endpoint) > 1) {
                    state.departed.used(id, now);
                } else if state.departed.is_done_with(id, &state.health, now) {
                    state.roster.forget(id);
                    state.departed.remove(id);
                    state.health.forget(id);
                    state.pace.forget(id);
                    forgotten.extend(state.endpoints.remove(&id));
                }
            }
            if !forgotten.is_empty() {
                self.retag(state);
            }
        });
        // Their series go with them, and the metrics have a lock of their own.
        let labels = forgotten.into_iter().map(|endpoint| Arc::clone(&endpoint.label)).collect();
        self.tell_all([News::new(What::Forgotten, labels)]);
    }

    pub(super) fn retag(&self, state: &State) {
        let (keyring, config) = (self.keyring.load(), self.config.load());
        let mut tags = HashMap::new();
        // Its own name comes last, and wins.
        for name in config.formerly.iter().rev().chain([&self.name]) {
            for endpoint in state.endpoints.values() {
                tags.extend(keyring.accepted_tags(name, endpoint.address).map(|tag| (tag, endpoint.id)));
            }
        }
        self.tags.store(Arc::new(tags));
    }

    fn endpoint(&self, id: EndpointId, found: &Found, metrics: Arc<EndpointMetrics>) -> Endpoint {
        static KEYS: AtomicU64 = AtomicU64::new(0);
        let label: Arc<str> = found.address.to_string().into();
        Endpoint {
            id,
            key: KEYS.fetch_add(1, Ordering::Relaxed),
            address: found.address,
            tag: ArcSwap::from_pointee(self.keyring.load().tag(&self.name, found.address)),
            tls: ArcSwap::new(self.tls.load().for_endpoint()),
            pool: Arc::new(ArcSwap::from_pointee(self.config.load().pool.clone())),
            metrics,
            label,
            leaving: AtomicBool::new(false),
            heard: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            held: Default::default(),
            cut_at: ArcSwapOption::empty(),
            refusal: Arc::default(),
            heir: ArcSwapOption::empty(),
        }
    }
}

impl State {
    /// Which endpoints have left for good: of those that discovery has just stopped naming, and those that it stopped naming
    /// earlier, all that are not at `missing` addresses.
    fn part_with(
        &mut self,
        unnamed: &[EndpointId],
        returned: &[EndpointId],
        missing: &[SocketAddr],
    ) -> Vec<EndpointId> {
        self.missing.extend(unnamed);
        self.missing.retain(|id| !returned.contains(id));
        let is_missing = |id: &EndpointId| self.endpoints.get(id).is_some_and(|known| missing.contains(&known.address));
        let (stays, left) = self.missing.iter().copied().partition(is_missing);
        self.missing = stays;
        let left: BTreeSet<EndpointId> = left;
        left.into_iter().collect()
    }
}
