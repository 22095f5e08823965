//! One endpoint's series. Separate from the others, because they come and go with it.

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::Live;

/// One endpoint of one farm.
#[derive(Debug)]
pub struct EndpointMetrics {
    /// Idle connections.
    pub pool_idle: IntGauge,
    /// 1 while blocked.
    pub blocked: IntGauge,
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
    pub(super) gauges: [IntGaugeVec; 4],
    pub(super) seconds: HistogramVec,
    pub(super) upstream_connections: IntCounterVec,
    pub(super) live: Live,
    pub(super) name: (String, String),
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
    pub fn attempted(&self, outcome: &'static str) {
        if outcome == "success" {
            self.success.inc();
        } else {
            self.failures.inc();
            self.attempts.with_label_values(&[self.name.0.as_str(), self.name.1.as_str(), outcome]).inc();
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
