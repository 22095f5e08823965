//! Which threads stand still. Pure: the time and what was seen of each thread are arguments, so that a machine that pauses
//! can be played.

use std::time::{Duration, Instant};

/// A thread that has not moved for so long, in the judge's own running time, stands still once that is seen twice in a row.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// What is seen of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It has moved so often.
    Moved(u64),
    /// It has ended, and is not missed.
    Ended,
}

/// Judges threads by what is seen of them now and then.
#[derive(Debug)]
pub(super) struct Judge {
    /// Of the time between two looks, no more counts than this: what is longer, the judge itself did not run either.
    longest: Duration,
    last: Instant,
    threads: Vec<Thread>,
}

#[derive(Clone, Debug)]
struct Thread {
    seen: Seen,
    still: Duration,
    /// Looks in a row that have found it still for too long.
    looks: u32,
}

impl Judge {
    /// Looks about every `tick` at so many threads, from `now` on.
    pub(super) fn new(threads: usize, tick: Duration, now: Instant) -> Self {
        let unseen = Thread { seen: Seen::Moved(0), still: Duration::ZERO, looks: 0 };
        Self { longest: tick * 2, last: now, threads: vec![unseen; threads] }
    }

    /// Takes a look at all of them: whether each stands still.
    pub(super) fn look(&mut self, now: Instant, seen: impl IntoIterator<Item = Seen>) -> Vec<bool> {
        let passed = now.saturating_duration_since(self.last).min(self.longest);
        self.last = now;
        self.threads.iter_mut().zip(seen).map(|(thread, seen)| thread.look(passed, seen)).collect()
    }
}

impl Thread {
    fn look(&mut self, passed: Duration, seen: Seen) -> bool {
        if seen == Seen::Ended || seen != self.seen {
            *self = Self { seen, still: Duration::ZERO, looks: 0 };
            return false;
        }
        self.still = self.still.saturating_add(passed);
        self.looks = if self.still >= PATIENCE { self.looks.saturating_add(1) } else { 0 };
        self.looks >= 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(500);

    /// At which of these looks a thread stands still that is seen so after so many milliseconds each.
    fn still_at(looks: &[(u64, Seen)]) -> Vec<usize> {
        let mut now = Instant::now();
        let mut judge = Judge::new(1, TICK, now);
        let mut still = Vec::new();
        for (index, (passed, seen)) in looks.iter().enumerate() {
            now += Duration::from_millis(*passed);
            if judge.look(now, [*seen])[0] {
                still.push(index);
            }
        }
        still
    }

    #[test]
    fn a_thread_stands_still_once_it_has_not_moved_for_two_seconds_twice_in_a_row() {
        use Seen::{Ended, Moved};
        let stands = |count: usize| vec![(500, Moved(7)); count];
        type Case = (&'static str, Vec<(u64, Seen)>, &'static [usize]);
        let table: [Case; 9] = [
            ("it moves", (1..20).map(|beat| (500, Moved(beat))).collect(), &[]),
            ("it never begins", vec![(500, Moved(0)); 6], &[4, 5]),
            ("it stops", stands(7), &[5, 6]),
            ("it moves at the last moment", [stands(5), vec![(500, Moved(8)); 5]].concat(), &[]),
            ("it comes back", [stands(6), vec![(500, Moved(8))], stands(6)].concat(), &[5, 12]),
            ("it has ended", vec![(500, Ended); 20], &[]),
            ("it ends while it stands still", [stands(6), vec![(500, Ended); 3]].concat(), &[5]),
            ("the machine pauses", vec![(500, Moved(7)), (60_000, Moved(7)), (500, Moved(8))], &[]),
            ("the machine pauses again and again", [vec![(500, Moved(7))], vec![(60_000, Moved(7)); 3]].concat(), &[3]),
        ];
        for (what, looks, expected) in table {
            assert_eq!(still_at(&looks), expected, "{what}");
        }
    }

    #[test]
    fn the_time_goes_back_and_nothing_comes_of_it() {
        let now = Instant::now();
        let mut judge = Judge::new(1, TICK, now);
        for _ in 0..20 {
            assert_eq!(judge.look(now, [Seen::Moved(0)]), [false]);
        }
    }

    #[test]
    fn each_thread_is_judged_for_itself() {
        let mut now = Instant::now();
        let mut judge = Judge::new(3, TICK, now);
        let mut last = Vec::new();
        for beat in 0..10 {
            now += TICK;
            last = judge.look(now, [Seen::Moved(beat), Seen::Moved(0), Seen::Ended]);
        }
        assert_eq!(last, [false, true, false]);
    }
}
