//! One endpoint's series. Separate from the others, because they come and go with it.

use std::sync::{Arc, Weak};

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::{Live, Metrics};
use crate::policy::fault::AttemptEnd;

/// One endpoint of one farm.
#[derive(Debug)]
pub struct EndpointMetrics {
    /// Idle connections.
    pub pool_idle: IntGauge,
    /// 1 while blocked or on probation.
    pub blocked: IntGauge,
    /// 1 while its block has run out, and nothing has shown yet that it works.
    pub probation: IntGauge,
    /// Requests in flight; ten times a second.
    pub in_flight: IntGauge,
    /// How many there may be; -1: any number.
    pub in_flight_limit: IntGauge,
    /// CTI and pass-through connections.
    pub streams: IntGauge,
    /// Event channels.
    pub channels: IntGauge,
    /// Event channels that were ever opened.
    pub channels_opened: IntCounter,
    /// Time to the response head.
    pub xsp_seconds: Histogram,
    /// Attempts on a new connection.
    pub connections_new: IntCounter,
    /// Attempts on a connection from the pool.
    pub connections_reused: IntCounter,
    pub(super) success: IntCounter,
    /// The other attempts, whatever came of them; no series of its own.
    pub(super) failures: IntCounter,
    pub(super) attempts: IntCounterVec,
    pub(super) transitions: IntCounterVec,
    pub(super) probes: IntCounterVec,
    pub(super) opened: IntCounterVec,
    pub(super) gauges: [IntGaugeVec; 7],
    pub(super) seconds: HistogramVec,
    pub(super) upstream_connections: IntCounterVec,
    pub(super) live: Live,
    pub(super) name: (String, String),
}

impl Metrics {
    /// The handles of one endpoint; its series go when the last of them is dropped.
    pub fn endpoint(&self, farm: &str, endpoint: &str) -> Arc<EndpointMetrics> {
        let name = (farm.to_owned(), endpoint.to_owned());
        self.live.with(|live| {
            let known = live.get(&name).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let metrics = Arc::new(self.new_endpoint(&name));
                live.insert(name, Arc::downgrade(&metrics));
                metrics
            })
        })
    }

    fn new_endpoint(&self, name: &(String, String)) -> EndpointMetrics {
        let (farm, endpoint) = (name.0.as_str(), name.1.as_str());
        let labels = [farm, endpoint];
        // Alerts wait for these, and would not see the first one of a series that begins with it.
        for (counter, value) in
            [(&self.transitions, "blocked"), (&self.transitions, "trial-failed"), (&self.probes, "failed")]
        {
            drop(counter.with_label_values(&[farm, endpoint, value]));
        }
        EndpointMetrics {
            pool_idle: self.pool_idle.with_label_values(&labels),
            blocked: self.blocked.with_label_values(&labels),
            probation: self.probation.with_label_values(&labels),
            in_flight: self.in_flight.with_label_values(&labels),
            in_flight_limit: self.in_flight_limit.with_label_values(&labels),
            xsp_seconds: self.xsp_seconds.with_label_values(&labels),
            connections_new: self.upstream_connections.with_label_values(&[farm, endpoint, "new"]),
            connections_reused: self.upstream_connections.with_label_values(&[farm, endpoint, "reused"]),
            success: self.attempts.with_label_values(&[farm, endpoint, "success"]),
            failures: IntCounter::new("failures", "failures").expect("the name is a constant; a test makes it"),
            attempts: self.attempts.clone(),
            transitions: self.transitions.clone(),
            probes: self.probes.clone(),
            streams: self.endpoint_streams.with_label_values(&labels),
            channels: self.channels.with_label_values(&labels),
            channels_opened: self.channels_opened.with_label_values(&labels),
            opened: self.channels_opened.clone(),
            gauges: [
                &self.pool_idle,
                &self.blocked,
                &self.probation,
                &self.in_flight,
                &self.in_flight_limit,
                &self.endpoint_streams,
                &self.channels,
            ]
            .map(Clone::clone),
            seconds: self.xsp_seconds.clone(),
            upstream_connections: self.upstream_connections.clone(),
            live: Arc::clone(&self.live),
            name: name.clone(),
        }
    }
}

impl Drop for EndpointMetrics {
    fn drop(&mut self) {
        self.live.with(|live| {
            if live.get(&self.name).is_none_or(|known| known.strong_count() == 0) {
                live.remove(&self.name);
                self.remove_series();
            }
        });
    }
}

impl EndpointMetrics {
    fn remove_series(&self) {
        let (farm, endpoint) = (self.name.0.as_str(), self.name.1.as_str());
        for gauges in &self.gauges {
            drop(gauges.remove_label_values(&[farm, endpoint]));
        }
        drop(self.opened.remove_label_values(&[farm, endpoint]));
        drop(self.seconds.remove_label_values(&[farm, endpoint]));
        for counters in [&self.attempts, &self.upstream_connections, &self.transitions, &self.probes] {
            for last in last_labels(counters, &[("farm", farm), ("endpoint", endpoint)]) {
                drop(counters.remove_label_values(&[farm, endpoint, last.as_str()]));
            }
        }
    }
}

/// The values of the last label of the series whose others are `labels`; the library lists labels by name.
pub(super) fn last_labels(counters: &IntCounterVec, labels: &[(&str, &str)]) -> Vec<String> {
    let families = counters.collect();
    let series = families.iter().flat_map(|family| family.get_metric());
    let ours = series.filter(|one| {
        let is = |(name, value): &(&str, &str)| {
            one.get_label().iter().any(|label| label.name() == *name && label.value() == *value)
        };
        labels.iter().all(is)
    });
    let is_last = |name: &str| labels.iter().all(|(known, _)| *known != name);
    ours.filter_map(|one| one.get_label().iter().find(|label| is_last(label.name())))
        .map(|label| label.value().to_owned())
        .collect()
}

impl EndpointMetrics {
    /// Counts an attempt.
    pub fn attempted(&self, end: AttemptEnd) {
        if end == AttemptEnd::Success {
            self.success.inc();
        } else {
            self.failures.inc();
            self.attempts.with_label_values(&[self.name.0.as_str(), self.name.1.as_str(), end.name()]).inc();
        }
    }

    /// Counts a change of standing.
    pub fn transition(&self, to: &'static str) {
        self.transitions.with_label_values(&[self.name.0.as_str(), self.name.1.as_str(), to]).inc();
    }

    /// Counts a second look.
    pub fn probed(&self, outcome: &'static str) {
        self.probes.with_label_values(&[self.name.0.as_str(), self.name.1.as_str(), outcome]).inc();
    }
}
