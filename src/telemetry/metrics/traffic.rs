//! What an endpoint's series say at one instant, to be compared with another. Separate from the series, because those who look
//! want to know what went on lately, and counters only know what ever went on.

use super::BUCKETS;
use super::endpoint::EndpointMetrics;

/// Attempts at one endpoint, or at several, since their series began; or what was added between two instants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Attempts that have ended.
    pub attempts: u64,
    /// Those of them that did not succeed, 5xx answers included.
    pub failures: u64,
    /// Response heads whose time was measured.
    measured: u64,
    /// Their time in all.
    seconds: f64,
    /// How many of them took at most as long as the bucket of the same place says.
    buckets: [u64; BUCKETS.len()],
}

impl Traffic {
    /// The sum of both.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        self.attempts += other.attempts;
        self.failures += other.failures;
        self.measured += other.measured;
        self.seconds += other.seconds;
        for (bucket, more) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket += more;
        }
        self
    }

    /// What was added since `earlier`; nothing where the series started again.
    #[must_use]
    pub fn since(mut self, earlier: &Self) -> Self {
        self.attempts = self.attempts.saturating_sub(earlier.attempts);
        self.failures = self.failures.saturating_sub(earlier.failures);
        self.measured = self.measured.saturating_sub(earlier.measured);
        self.seconds = (self.seconds - earlier.seconds).max(0.0);
        for (bucket, before) in self.buckets.iter_mut().zip(earlier.buckets) {
            *bucket = bucket.saturating_sub(before);
        }
        self
    }

    /// The mean time to the response head in seconds; `None`: nothing was measured.
    pub fn mean(&self) -> Option<f64> {
        (self.measured > 0).then(|| self.seconds / self.measured as f64)
    }

    /// The time in seconds that 95 of 100 did not exceed, within its bucket as if times were spread evenly; `None`: nothing
    /// was measured. What took longer than the last bucket counts as that long.
    pub fn p95(&self) -> Option<f64> {
        let rank = self.measured as f64 * 0.95;
        let index = self.buckets.iter().position(|upto| *upto as f64 >= rank);
        let (_, Some(index)) = (self.mean()?, index) else { return self.mean().map(|_| BUCKETS[BUCKETS.len() - 1]) };
        let (from, below) = index.checked_sub(1).map_or((0.0, 0), |before| (BUCKETS[before], self.buckets[before]));
        let within = (rank - below as f64) / (self.buckets[index] - below).max(1) as f64;
        Some(from + (BUCKETS[index] - from) * within)
    }
}

impl EndpointMetrics {
    /// What the series say now.
    pub fn traffic(&self) -> Traffic {
        let times = prometheus::core::Metric::metric(&self.xsp_seconds);
        let times = times.get_histogram();
        let mut buckets = [0; BUCKETS.len()];
        for (count, bucket) in buckets.iter_mut().zip(times.get_bucket()) {
            *count = bucket.cumulative_count();
        }
        let failures = self.failures.get();
        Traffic {
            attempts: self.success.get() + failures,
            failures,
            measured: times.get_sample_count(),
            seconds: times.get_sample_sum(),
            buckets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::fault::{AttemptEnd, Fault};
    use crate::telemetry::metrics::Metrics;

    #[test]
    fn what_was_added_lately_is_told_apart() {
        let metrics = Metrics::default();
        let endpoint = metrics.endpoint("xsp", "192.0.2.10:443");
        let attempt = |outcome, seconds| {
            endpoint.attempted(outcome);
            endpoint.xsp_seconds.observe(seconds);
        };
        attempt(AttemptEnd::Fault(Fault::Timeout), 3.0);
        let earlier = endpoint.traffic();
        assert_eq!((earlier.attempts, earlier.failures), (1, 1));
        attempt(AttemptEnd::Success, 0.010);
        attempt(AttemptEnd::ServerError, 0.030);
        let lately = endpoint.traffic().since(&earlier);
        assert_eq!((lately.attempts, lately.failures), (2, 1));
        assert!((lately.mean().unwrap() - 0.020).abs() < 1e-9, "{lately:?}");
        assert!((0.025..=0.1).contains(&lately.p95().unwrap()), "{lately:?}");
        let both = lately.clone().plus(&lately);
        assert_eq!((both.attempts, both.mean()), (4, lately.mean()));
        // Series that started again.
        assert_eq!(earlier.since(&endpoint.traffic()).attempts, 0);
    }

    #[test]
    fn the_95th_lies_within_its_bucket() {
        assert_eq!((Traffic::default().mean(), Traffic::default().p95()), (None, None));
        let metrics = Metrics::default();
        let observed = |seconds: &[f64]| {
            let endpoint = metrics.endpoint("xsp", "192.0.2.10:443");
            seconds.iter().for_each(|seconds| endpoint.xsp_seconds.observe(*seconds));
            endpoint.traffic().p95().unwrap()
        };
        let mut times = vec![0.002; 95];
        times.extend([5.0; 5]);
        assert_eq!(observed(&times), 0.0025);
        assert_eq!(observed(&[60.0]), 10.0, "as long as the last bucket");
        assert!((0.0..=0.000_1).contains(&observed(&[0.000_05])));
    }
}
