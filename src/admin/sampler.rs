//! What went on during the last seconds, endpoint by endpoint: counters are looked at once a second, and a few of these
//! samples are kept. Pure; separate from what is shown of it.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use crate::farm::{Described, EndpointState};
use crate::telemetry::metrics::Traffic;

/// How often samples are to be taken.
pub(super) const EVERY: Duration = Duration::from_secs(1);
/// Samples that are kept: rates are those of the last ten seconds.
const KEPT: usize = 10;

/// The samples of all endpoints of all farms.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    farms: HashMap<String, HashMap<SocketAddr, Track>>,
}

/// One endpoint's samples.
#[derive(Debug)]
struct Track {
    state: EndpointState,
    since: SystemTime,
    /// Since when it is out, while it is: failed trials don't start it again. In seconds since 1970.
    out: Option<f64>,
    /// Oldest first.
    samples: VecDeque<(Instant, Traffic)>,
}

/// What was added lately.
#[derive(Clone, Debug, Default)]
pub(super) struct Lately {
    pub(super) traffic: Traffic,
    /// In how much time; at least a second, so that one request is never a hundred a second.
    pub(super) seconds: f64,
}

impl Sampler {
    /// Takes a sample of a farm's endpoints, and forgets those that are not among them. `out_since` says of one that is out
    /// since when, in seconds since 1970; it is asked once.
    pub(super) fn sample(
        &mut self,
        farm: &str,
        endpoints: &[Described],
        now: Instant,
        out_since: impl Fn(SocketAddr) -> f64,
    ) {
        let mut tracks = self.farms.remove(farm).unwrap_or_default();
        let tracked = endpoints.iter().map(|endpoint| {
            let mut track = tracks.remove(&endpoint.address).unwrap_or_else(|| Track::new(endpoint.state, now));
            track.sample(endpoint, now);
            track.out = endpoint.state.is_out().then(|| track.out.unwrap_or_else(|| out_since(endpoint.address)));
            (endpoint.address, track)
        });
        let tracked = tracked.collect();
        self.farms.insert(farm.to_owned(), tracked);
    }

    /// Forgets all farms but those that `runs` is true of.
    pub(super) fn keep(&mut self, runs: impl Fn(&str) -> bool) {
        self.farms.retain(|farm, _| runs(farm));
    }

    /// What was added to an endpoint's traffic, which is `traffic` now, since the oldest sample.
    pub(super) fn lately(&self, farm: &str, endpoint: SocketAddr, traffic: &Traffic, now: Instant) -> Lately {
        let oldest = self.track(farm, endpoint).and_then(|track| track.samples.front());
        // One that has just been found had no traffic before.
        let Some((at, before)) = oldest else { return Lately { traffic: traffic.clone(), seconds: 1.0 } };
        let seconds = now.saturating_duration_since(*at).as_secs_f64().max(1.0);
        Lately { traffic: traffic.clone().since(before), seconds }
    }

    /// Since when an endpoint stands so; `None`: nobody has looked since it does.
    pub(super) fn since(&self, farm: &str, endpoint: SocketAddr, state: EndpointState) -> Option<SystemTime> {
        self.track(farm, endpoint).filter(|track| track.state == state).map(|track| track.since)
    }

    /// Since when an endpoint is out, in seconds since 1970; `None`: it was not when somebody looked.
    pub(super) fn out_since(&self, farm: &str, endpoint: SocketAddr) -> Option<f64> {
        self.track(farm, endpoint)?.out
    }

    fn track(&self, farm: &str, endpoint: SocketAddr) -> Option<&Track> {
        self.farms.get(farm)?.get(&endpoint)
    }
}

impl Track {
    fn new(state: EndpointState, now: Instant) -> Self {
        Self { state, since: SystemTime::now(), out: None, samples: VecDeque::from([(now, Traffic::default())]) }
    }

    fn sample(&mut self, endpoint: &Described, now: Instant) {
        if self.state != endpoint.state {
            self.state = endpoint.state;
            self.since = SystemTime::now();
        }
        if self.samples.len() == KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back((now, endpoint.metrics.traffic()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::policy::fault::{AttemptEnd, Fault};
    use crate::telemetry::metrics::{EndpointMetrics, Metrics};

    fn described(metrics: &Arc<EndpointMetrics>, state: EndpointState) -> Described {
        Described {
            address: SocketAddr::from(([192, 0, 2, 10], 443)),
            site: "default".to_owned(),
            target: None,
            state,
            leaving: false,
            suspect: false,
            blocked_for: None,
            cut_in: None,
            metrics: Arc::clone(metrics),
        }
    }

    fn never(endpoint: SocketAddr) -> f64 {
        panic!("{endpoint} is not out")
    }

    #[test]
    fn rates_are_those_of_the_last_seconds() {
        let metrics = Metrics::default().endpoint("xsp", "192.0.2.10:443");
        let (mut sampler, endpoint) = (Sampler::default(), described(&metrics, EndpointState::Up));
        let start = Instant::now();
        let lately = |sampler: &Sampler, now| {
            let lately = sampler.lately("xsp", endpoint.address, &metrics.traffic(), now);
            (lately.traffic.attempts, lately.seconds)
        };
        metrics.attempted(AttemptEnd::Success);
        assert_eq!(lately(&sampler, start), (1, 1.0), "it has just been found");
        sampler.sample("xsp", std::slice::from_ref(&endpoint), start, never);
        assert_eq!(lately(&sampler, start), (1, 1.0), "nor does a sample lose what was there before");
        for second in 0..60 {
            sampler.sample("xsp", std::slice::from_ref(&endpoint), start + Duration::from_secs(second), never);
            (0..second).for_each(|_| metrics.attempted(AttemptEnd::Fault(Fault::Timeout)));
        }
        // The oldest sample is that of the 50th second.
        assert_eq!(lately(&sampler, start + Duration::from_secs(60)), ((50..60).sum(), 10.0));
        sampler.sample("xsp", &[], start, never);
        assert!(sampler.farms["xsp"].is_empty());
        sampler.keep(|_| false);
        assert!(sampler.farms.is_empty());
    }

    #[test]
    fn a_state_is_known_since_it_was_seen_first() {
        let metrics = Metrics::default().endpoint("xsp", "192.0.2.10:443");
        let (mut sampler, now) = (Sampler::default(), Instant::now());
        let address = described(&metrics, EndpointState::Up).address;
        sampler.sample("xsp", &[described(&metrics, EndpointState::Up)], now, never);
        let up = sampler.since("xsp", address, EndpointState::Up).unwrap();
        assert_eq!(sampler.since("xsp", address, EndpointState::Blocked), None);
        sampler.sample("xsp", &[described(&metrics, EndpointState::Up)], now, never);
        assert_eq!(sampler.since("xsp", address, EndpointState::Up), Some(up));
        sampler.sample("xsp", &[described(&metrics, EndpointState::Blocked)], now, |_| 1.0);
        assert!(sampler.since("xsp", address, EndpointState::Blocked).unwrap() >= up);
        assert_eq!(sampler.since("xsp", address, EndpointState::Up), None);
    }
    #[test]
    fn an_endpoint_is_out_until_it_works_whatever_trials_fail() {
        let metrics = Metrics::default().endpoint("xsp", "192.0.2.10:443");
        let (mut sampler, now) = (Sampler::default(), Instant::now());
        let mut out_since = |state, said| {
            let endpoint = described(&metrics, state);
            sampler.sample("xsp", std::slice::from_ref(&endpoint), now, |_| said);
            sampler.out_since("xsp", endpoint.address)
        };
        for (state, said, expected) in [
            (EndpointState::Up, 1.0, None),
            (EndpointState::Blocked, 2.0, Some(2.0)),
            (EndpointState::Probation, 3.0, Some(2.0)),
            (EndpointState::Blocked, 4.0, Some(2.0)),
            (EndpointState::Draining, 5.0, None),
            (EndpointState::Probation, 6.0, Some(6.0)),
        ] {
            assert_eq!(out_since(state, said), expected, "{state:?}, {said}");
        }
    }
}
