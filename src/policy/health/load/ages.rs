//! How long requests in flight have been so. Separate from their number, because one that is much older than others get waits for
//! something of its own, and takes nobody's place.

use std::time::{Duration, Instant};

/// How finely ages are told.
const SLOT: u64 = 32;
/// Older ones are as old as can be: a second.
const SLOTS: usize = 32;

/// The requests in flight at one endpoint, by when they began.
#[derive(Clone, Debug)]
pub(super) struct Ages {
    base: Instant,
    /// The number of the newest slot since `base`.
    newest: u64,
    slots: [u32; SLOTS],
    total: u32,
}

impl Ages {
    pub(super) const fn new(now: Instant) -> Self {
        Self { base: now, newest: 0, slots: [0; SLOTS], total: 0 }
    }

    /// All of them.
    pub(super) const fn total(&self) -> u32 {
        self.total
    }

    /// One begins.
    pub(super) fn begin(&mut self, now: Instant) {
        self.advance(now);
        let slot = self.newest.max(self.slot(now));
        self.slots[place(slot)] += 1;
        self.total += 1;
    }

    /// One ends that began at `begun`.
    pub(super) fn end(&mut self, begun: Instant) {
        self.total = self.total.saturating_sub(1);
        let slot = self.slot(begun);
        if slot + SLOTS as u64 > self.newest {
            let count = &mut self.slots[place(slot)];
            *count = count.saturating_sub(1);
        }
    }

    /// Those that are no older than `age`, give or take a slot.
    pub(super) fn younger_than(&self, age: Duration, now: Instant) -> u32 {
        let oldest = self.slot(now.checked_sub(age).unwrap_or(now));
        let first = oldest.max((self.newest + 1).saturating_sub(SLOTS as u64));
        (first..=self.newest).map(|slot| self.slots[place(slot)]).sum()
    }

    fn advance(&mut self, now: Instant) {
        let slot = self.slot(now);
        let passed = slot.saturating_sub(self.newest).min(SLOTS as u64);
        for number in 1..=passed {
            self.slots[place(slot - passed + number)] = 0;
        }
        self.newest = self.newest.max(slot);
    }

    fn slot(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.base).as_millis()).unwrap_or(u64::MAX) / SLOT
    }
}

const fn place(slot: u64) -> usize {
    (slot % SLOTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// The model keeps every instant.
        #[test]
        fn matches_a_model_that_remembers_everything(steps in prop::collection::vec((0u64..120, any::<bool>(), 0usize..9), 1..80)) {
            let start = Instant::now();
            let (mut ages, mut model, mut now) = (Ages::new(start), Vec::new(), start);
            for (pause, begins, which) in steps {
                now += Duration::from_millis(pause);
                if begins || model.is_empty() {
                    ages.begin(now);
                    model.push(now);
                } else {
                    ages.end(model.remove(which % model.len()));
                }
                prop_assert_eq!(ages.total() as usize, model.len());
                for age in [64u64, 200, 900] {
                    let younger = |milliseconds| {
                        model.iter().filter(|begun| now - **begun <= Duration::from_millis(milliseconds)).count() as u32
                    };
                    let told = ages.younger_than(Duration::from_millis(age), now);
                    prop_assert!((younger(age)..=younger(age + SLOT)).contains(&told), "{} of {:?}", told, model.len());
                }
            }
        }
    }
}
