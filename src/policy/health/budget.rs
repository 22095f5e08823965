//! How many doubtful retries a farm may see: at most a fifth of its requests. Separate from the plan, because it is shared
//! by all requests of a farm, and keeps retries from multiplying a failure.

use std::time::{Duration, Instant};

/// The span that is looked back on.
pub const WINDOW: Duration = Duration::from_secs(10);

/// In any [`WINDOW`] this many tokens may be taken, however few requests there were.
pub const FLOOR: u64 = 20;

/// One token for so many requests.
pub const REQUESTS_PER_TOKEN: u64 = 5;

/// One bucket a second. The eleventh is there because the current second has only begun: tokens are counted over a
/// little more than the window, and requests over a little less, so that the limit holds for every window of 10 s.
const BUCKETS: usize = 11;

/// Tokens for retries of one farm: in any 10 s at most 20 % of the requests of those 10 s, or 20 if that is more.
#[derive(Clone, Debug)]
pub struct Budget {
    start: Instant,
    /// Seconds since `start` of the newest bucket.
    newest: u64,
    /// The bucket of second `s` is at `s % BUCKETS`.
    buckets: [Bucket; BUCKETS],
    /// Sums over `buckets`, so that a request costs the same whatever the span.
    total: Bucket,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    requests: u64,
    tokens: u64,
}

impl Budget {
    /// No requests yet.
    pub fn new(now: Instant) -> Self {
        Self { start: now, newest: 0, buckets: [Bucket::default(); BUCKETS], total: Bucket::default() }
    }

    /// Counts one request of a client, whatever becomes of it.
    pub fn request(&mut self, now: Instant) {
        let bucket = self.advance(now);
        bucket.requests += 1;
        self.total.requests += 1;
    }

    /// Takes a token, the right to one doubtful retry, and says whether there was one.
    #[must_use]
    pub fn take(&mut self, now: Instant) -> bool {
        self.advance(now);
        let oldest = self.buckets[self.slot(self.newest + 1)];
        let requests = self.total.requests - oldest.requests;
        if self.total.tokens >= FLOOR.max(requests / REQUESTS_PER_TOKEN) {
            return false;
        }
        self.total.tokens += 1;
        self.advance(now).tokens += 1;
        true
    }

    /// Empties the buckets of the seconds that have passed and returns the current one. An instant before the last one
    /// counts as the last one: several threads bring their own clocks' readings.
    fn advance(&mut self, now: Instant) -> &mut Bucket {
        let second = now.saturating_duration_since(self.start).as_secs();
        let stale = second.saturating_sub(self.newest).min(BUCKETS as u64);
        for age in 1..=stale {
            let slot = self.slot(self.newest + age);
            let bucket = std::mem::take(&mut self.buckets[slot]);
            self.total.requests -= bucket.requests;
            self.total.tokens -= bucket.tokens;
        }
        self.newest = self.newest.max(second);
        let slot = self.slot(self.newest);
        &mut self.buckets[slot]
    }

    fn slot(&self, second: u64) -> usize {
        (second % BUCKETS as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn r_fail_4_a_quiet_farm_has_twenty_doubtful_retries_in_ten_seconds() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let taken = (0..100).filter(|_| budget.take(start)).count();
        assert_eq!(taken, 20);
        assert!(!budget.take(start + WINDOW));
        assert!(budget.take(start + WINDOW + Duration::from_secs(1)));
    }

    #[test]
    fn r_fail_4_a_busy_farm_has_a_fifth_of_its_requests() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        for _ in 0..1_000 {
            budget.request(start);
        }
        let taken = (0..1_000).filter(|_| budget.take(start + Duration::from_secs(9))).count();
        assert_eq!(taken, 200);
    }

    #[test]
    fn an_old_farm_is_not_slower_than_a_new_one() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        budget.request(start);
        let later = start + Duration::from_secs(100 * 365 * 86_400);
        assert_eq!((0..30).filter(|_| budget.take(later)).count(), 20);
        assert!(!budget.take(start), "an earlier instant counts as the latest one");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// The model keeps every instant. The budget is never more generous than the model over exactly ten seconds, and
        /// never stricter than the one over nine seconds of requests and eleven of tokens.
        #[test]
        fn r_fail_4_matches_a_model_that_remembers_everything(
            steps in prop::collection::vec((0u64..700, 0usize..40, 0usize..30), 1..60)
        ) {
            let start = Instant::now();
            let mut budget = Budget::new(start);
            let (mut requests, mut tokens) = (Vec::new(), Vec::new());
            let mut now = start;
            let within = |instants: &[Instant], now: Instant, seconds: u64| {
                instants.iter().filter(|&&at| now - at < Duration::from_secs(seconds)).count() as u64
            };
            for (pause, arriving, asking) in steps {
                now += Duration::from_millis(pause);
                for _ in 0..arriving {
                    budget.request(now);
                    requests.push(now);
                }
                for _ in 0..asking {
                    let generous = within(&tokens, now, 10) < (within(&requests, now, 10) / 5).max(20);
                    let strict = within(&tokens, now, 11) < (within(&requests, now, 9) / 5).max(20);
                    let taken = budget.take(now);
                    prop_assert!(generous || !taken);
                    prop_assert!(taken || !strict);
                    if taken {
                        tokens.push(now);
                    }
                }
            }
        }
    }
}
