//! How long an endpoint takes to answer, lately and at its best. Separate from what follows from it: the median of some answers, since
//! one slow page says nothing.

use std::time::{Duration, Instant};

/// So long are answers gathered for a median, at least.
pub(super) const WINDOW: Duration = Duration::from_millis(100);
/// And so many.
const SAMPLES: u32 = 8;
/// For how long the best median is remembered, at least: an endpoint may have become another one.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Four buckets for each doubling of the time.
const BUCKETS: usize = 4 * 16;
/// The first doubling is that of this power of two, in microseconds.
const FIRST: u32 = 10;

/// Those of one endpoint.
#[derive(Clone, Debug)]
pub(super) struct Latencies {
    since: Instant,
    count: u32,
    buckets: [u16; BUCKETS],
    /// The latest, and when it was found.
    median: Option<(Duration, Instant)>,
    /// The best one of this span, and of the one before.
    best: [Duration; 2],
    best_since: Instant,
}

impl Latencies {
    pub(super) fn new(now: Instant) -> Self {
        let best = [Duration::MAX; 2];
        Self { since: now, count: 0, buckets: [0; BUCKETS], median: None, best, best_since: now }
    }

    /// An answer took so long. The median, whenever there is a new one.
    pub(super) fn add(&mut self, took: Duration, now: Instant) -> Option<Duration> {
        let bucket = &mut self.buckets[bucket(took)];
        *bucket = bucket.saturating_add(1);
        self.count += 1;
        if self.count < SAMPLES || now.saturating_duration_since(self.since) < WINDOW {
            return None;
        }
        let median = self.middle();
        (self.since, self.count, self.buckets) = (now, 0, [0; BUCKETS]);
        self.median = Some((median, now));
        if now.saturating_duration_since(self.best_since) >= REMEMBERED {
            (self.best, self.best_since) = ([Duration::MAX, self.best[0]], now);
        }
        self.best[0] = self.best[0].min(median);
        Some(median)
    }

    /// The latest median, and when it was found.
    pub(super) const fn median(&self) -> Option<(Duration, Instant)> {
        self.median
    }

    /// The best one that is remembered.
    pub(super) fn best(&self) -> Duration {
        self.best[0].min(self.best[1])
    }

    fn middle(&self) -> Duration {
        let total: u32 = self.buckets.iter().map(|count| u32::from(*count)).sum();
        let mut seen = 0;
        let reaches = |count: &u16| {
            seen += u32::from(*count);
            seen * 2 >= total
        };
        within(self.buckets.iter().position(reaches).unwrap_or(BUCKETS - 1))
    }
}

/// The bucket of answers that took so long. Each doubling, from 1.024 ms on, has four of the same width.
fn bucket(took: Duration) -> usize {
    let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1 << FIRST);
    let doublings = microseconds.ilog2();
    let quarter = microseconds >> (doublings - 2) & 3;
    (((doublings - FIRST) as usize) << 2 | quarter as usize).min(BUCKETS - 1)
}

/// What none of that bucket has reached.
fn within(bucket: usize) -> Duration {
    let (doublings, quarter) = (bucket >> 2, bucket as u64 & 3);
    Duration::from_micros((quarter + 5) << (doublings as u32 + FIRST - 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_takes_no_longer_than_it_says() {
        for microseconds in [1, 999, 1_000, 1_001, 20_000, 600_000, 2_000_000, 30_000_000] {
            let took = Duration::from_micros(microseconds);
            let said = within(bucket(took));
            assert!(
                said >= took && (took < Duration::from_micros(1 << FIRST) || said <= took.mul_f64(1.2)),
                "{took:?}: {said:?}"
            );
        }
        assert_eq!(bucket(Duration::from_secs(100_000)), BUCKETS - 1);
    }

    #[test]
    fn a_median_is_of_some_answers_and_of_some_time_and_the_best_is_remembered() {
        let start = Instant::now();
        let mut latencies = Latencies::new(start);
        let (quick, slow) = (Duration::from_millis(10), Duration::from_secs(3));
        for _ in 0..100 {
            assert_eq!(latencies.add(quick, start), None, "too soon");
        }
        assert!(latencies.add(slow, start + WINDOW).unwrap() < Duration::from_millis(13), "one slow page says nothing");
        let later = start + 2 * WINDOW;
        for _ in 1..SAMPLES {
            assert_eq!(latencies.add(slow, later), None, "too few");
        }
        assert!(latencies.add(slow, later).unwrap() >= slow);
        assert!(latencies.best() < Duration::from_millis(13));
        let mut now = later;
        for _ in 0..2 {
            now += REMEMBERED;
            (0..SAMPLES).for_each(|_| _ = latencies.add(slow, now));
        }
        assert!(latencies.best() >= slow, "it has become another one");
    }
}
