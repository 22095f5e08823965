//! When files have to be read again: because they have changed on disk, or because the operator says so. Separate from what
//! is then done with them, so that the decision can be tested without a file and without a clock.

use std::time::Duration;

/// How often files are looked at.
pub const EVERY: Duration = Duration::from_secs(1);
/// Files that change at each of so many looks are not waited for any longer.
const PATIENCE: u32 = 10;

/// How files look.
pub trait Look: PartialEq {
    /// How many looks in a row have to find them so before they are read, where `read` is how they looked then.
    fn looks(&self, _read: &Self) -> u32 {
        2
    }

    /// Whether they are waited for however long they go on changing: what is read too soon would do harm.
    fn is_waited_for(&self, _read: &Self) -> bool {
        false
    }
}

/// Decides when files are read again. `S` is how they look.
#[derive(Debug)]
pub struct Watch<S> {
    /// How they looked when they were last read.
    read: S,
    settling: Option<Settling<S>>,
}

#[derive(Debug)]
struct Settling<S> {
    seen: S,
    /// So many looks have found them so.
    same: u32,
    looks: u32,
}

/// What follows from a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing has to be done.
    Wait,
    /// The files are to be read.
    Read,
}

impl<S: Look> Watch<S> {
    /// For files that looked so when they were read.
    pub const fn new(read: S) -> Self {
        Self { read, settling: None }
    }

    /// Takes a look. Who renews a certificate writes several files, one after the other: they are read once they have looked
    /// the same often enough.
    pub fn look(&mut self, seen: S) -> Next {
        if seen == self.read {
            self.settling = None;
            return Next::Wait;
        }
        let (same, looks) = match &self.settling {
            Some(before) if before.seen == seen => (before.same + 1, before.looks + 1),
            Some(before) => (1, before.looks + 1),
            None => (1, 1),
        };
        if same >= seen.looks(&self.read) || looks >= PATIENCE && !seen.is_waited_for(&self.read) {
            *self = Self::new(seen);
            return Next::Read;
        }
        self.settling = Some(Settling { seen, same, looks });
        Next::Wait
    }

    /// How they looked when they were last read.
    pub const fn read(&self) -> &S {
        &self.read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Look for u32 {}

    /// Numbers that count down.
    #[derive(PartialEq)]
    struct Whole(u32);

    impl Look for Whole {
        fn looks(&self, read: &Self) -> u32 {
            if self.0 < read.0 { 4 } else { 2 }
        }

        fn is_waited_for(&self, _: &Self) -> bool {
            true
        }
    }

    /// At which of these looks files are read that looked like 0 at first.
    fn read_at(looks: &[u32]) -> Vec<usize> {
        let mut watch = Watch::new(0);
        let read = looks.iter().enumerate().filter(|(_, seen)| watch.look(**seen) == Next::Read);
        read.map(|(index, _)| index).collect()
    }

    #[test]
    fn files_are_read_once_they_have_changed_and_settled() {
        let table: [(&[u32], &[usize]); 9] = [
            (&[0, 0, 0], &[]),
            (&[1], &[]),
            (&[1, 1], &[1]),
            (&[1, 1, 1, 1], &[1]),
            (&[0, 1, 2, 3, 3, 3], &[4]),
            (&[1, 0, 1, 1], &[3]),
            (&[1, 0, 0], &[]),
            (&[1, 1, 2, 2, 1, 1], &[1, 3, 5]),
            (&[1, 1, 0, 0], &[1, 3]),
        ];
        for (looks, expected) in table {
            assert_eq!(read_at(looks), expected, "{looks:?}");
        }
    }

    #[test]
    fn what_must_be_whole_is_waited_for() {
        let table: [(&[u32], &[usize]); 4] = [
            (&[6, 6], &[1]),
            (&[4, 4, 4, 6, 6], &[4]),
            (&[4, 4, 4, 4], &[3]),
            (&[6, 7, 6, 7, 6, 7, 6, 7, 6, 7, 6, 7, 6, 7, 7], &[14]),
        ];
        for (looks, expected) in table {
            let mut watch = Watch::new(Whole(5));
            let read = looks.iter().enumerate().filter(|(_, seen)| watch.look(Whole(**seen)) == Next::Read);
            let read: Vec<_> = read.map(|(index, _)| index).collect();
            assert_eq!(read, expected, "{looks:?}");
        }
    }

    #[test]
    fn files_that_never_settle_are_read_all_the_same() {
        let looks: Vec<u32> = (1..=25).collect();
        assert_eq!(read_at(&looks), [9, 19]);
    }
}
