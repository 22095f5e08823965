//! How fast an XSP is sent new event channels: when many are lost at once, their clients open new ones at once, and the
//! XSPs that are left must not fall too. Separate from the plan, which says where to, because this says when.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::endpoint::EndpointId;

/// The longest wait for a turn. Callers are patient for 2 s, and the XSP needs some of them.
pub const LONGEST_WAIT: Duration = Duration::from_millis(1500);

/// An endpoint that was left alone takes what comes in such a span at once.
const BURST: Duration = Duration::from_millis(100);

/// When each endpoint of one farm may be sent its next new channel. In any span at most `rate` times its seconds, and
/// a tenth of the rate, at least one, on top. Turns are given in the order in which they are asked for.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Between two turns; `None`: nobody ever waits.
    interval: Option<Duration>,
    /// When those who have had their turn would have used up the rate.
    spent: HashMap<EndpointId, Instant>,
}

/// When a new channel may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granted {
    /// At once.
    Now,
    /// Then, and not before.
    At(Instant),
    /// Not in time: too many wait already.
    Missed,
}

impl Pace {
    /// Up to `rate` new channels per endpoint and second; `None`: as many as come.
    pub fn new(rate: Option<NonZeroU32>) -> Self {
        // Rounded up, so that the rate is not exceeded.
        let interval = |rate: NonZeroU32| Duration::from_nanos(1_000_000_000_u64.div_ceil(u64::from(rate.get())));
        Self { interval: rate.map(interval), spent: HashMap::new() }
    }

    /// The next turn at `id`, which is then taken; none is that would be later than `latest`.
    pub fn take(&mut self, id: EndpointId, now: Instant, latest: Instant) -> Granted {
        let Some(interval) = self.interval else { return Granted::Now };
        let spent = self.spent.get(&id).map_or(now, |spent| now.max(*spent));
        let wait = (spent - now).saturating_sub(BURST.saturating_sub(interval));
        let at = now + wait;
        if !wait.is_zero() && at > latest {
            return Granted::Missed;
        }
        self.spent.insert(id, spent + interval);
        if wait.is_zero() { Granted::Now } else { Granted::At(at) }
    }

    /// Up to `rate` from now on. Turns that were given stay.
    pub fn set_rate(&mut self, rate: Option<NonZeroU32>) {
        self.interval = Self::new(rate).interval;
    }

    /// The endpoint is forgotten.
    pub fn forget(&mut self, id: EndpointId) {
        self.spent.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::endpoint::{Endpoint, Roster, Tier, Weight};

    fn endpoints(count: u8) -> Vec<EndpointId> {
        let endpoint = |last| Endpoint {
            address: ([10, 0, 0, last], 443).into(),
            tier: Tier::default(),
            weight: Weight::Equal,
            target: None,
        };
        Roster::new().update((0..count).map(endpoint).collect()).joined
    }

    fn pace(rate: u32) -> Pace {
        Pace::new(NonZeroU32::new(rate))
    }

    #[test]
    fn below_the_rate_nobody_waits() {
        let (id, start) = (endpoints(1)[0], Instant::now());
        for rate in [1, 3, 200, 100_000] {
            let mut pace = pace(rate);
            for index in 0..1_000 {
                let now = start + Duration::from_secs(1) / rate * index + Duration::from_micros(1) * index;
                assert_eq!(pace.take(id, now, now), Granted::Now, "{index} at {rate}/s");
            }
        }
    }

    #[test]
    fn a_stampede_is_drawn_out_and_its_tail_turned_away() {
        let (ids, start) = (endpoints(2), Instant::now());
        let latest = start + LONGEST_WAIT;
        let mut pace = pace(200);
        let turns: Vec<_> = (0..10_000).map(|_| pace.take(ids[0], start, latest)).collect();
        assert_eq!(turns.iter().filter(|turn| **turn == Granted::Now).count(), 20);
        assert_eq!(turns[20], Granted::At(start + Duration::from_millis(5)));
        assert_eq!(turns[319], Granted::At(latest));
        assert!(turns[320..].iter().all(|turn| *turn == Granted::Missed));
        assert_eq!(pace.take(ids[1], start, latest), Granted::Now, "the other one has a pace of its own");
        pace.forget(ids[0]);
        assert_eq!(pace.take(ids[0], start, latest), Granted::Now);
    }

    #[test]
    fn without_a_rate_nobody_waits() {
        let (id, now) = (endpoints(1)[0], Instant::now());
        let mut pace = Pace::new(None);
        assert!((0..100_000).all(|_| pace.take(id, now, now) == Granted::Now));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// However they come: each endpoint's turns keep to the rate in every span, are given in order and in time, and
        /// nobody is rejected or kept waiting while there is a turn to be had.
        #[test]
        fn turns_keep_to_the_rate_in_order(
            rate in 1u32..2_000,
            steps in prop::collection::vec((0u64..400_000, 0usize..3, 1usize..40), 1..60),
        ) {
            let ids = endpoints(3);
            let mut pace = pace(rate);
            let interval = pace.interval.unwrap();
            let turns_in = |span: Duration| span.as_secs_f64() / interval.as_secs_f64();
            let burst = turns_in(BURST).max(1.0);
            // With this one, how many there have been since each earlier one.
            let fits = |turns: &[Instant], at: Instant| {
                let mut counted = turns.iter().rev().zip(2..);
                counted.all(|(turn, count)| f64::from(count) <= burst + turns_in(at - *turn) + 1e-3)
            };
            let mut now = Instant::now();
            let mut turns = vec![Vec::new(); 3];
            for (pause, which, count) in steps {
                now += Duration::from_micros(pause);
                for _ in 0..count {
                    let (latest, turns) = (now + LONGEST_WAIT, &mut turns[which]);
                    let at = match pace.take(ids[which], now, latest) {
                        Granted::Now => now,
                        Granted::At(at) => at,
                        Granted::Missed => {
                            prop_assert!(!fits(turns, latest - interval / 100), "turned away at {rate}/s");
                            continue;
                        }
                    };
                    prop_assert!(now <= at && at <= latest && turns.last().is_none_or(|last| *last <= at));
                    prop_assert!(fits(turns, at), "too fast at {rate}/s");
                    let sooner = at.checked_sub(interval / 100).filter(|sooner| *sooner >= now);
                    prop_assert!(sooner.is_none_or(|at| !fits(turns, at)), "slower than need be at {rate}/s");
                    turns.push(at);
                }
            }
        }
    }
}
