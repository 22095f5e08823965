//! When files have to be read again: because they have changed on disk, or because the operator says so. Separate from what
//! is then done with them, so that the decision can be tested without a file and without a clock.

use std::time::Duration;

/// How often files are looked at.
pub const EVERY: Duration = Duration::from_secs(1);
/// Files that change at each of so many looks are not waited for any longer.
const PATIENCE: u32 = 10;

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

impl<S: PartialEq> Watch<S> {
    /// For files that looked so when they were read.
    pub const fn new(read: S) -> Self {
        Self { read, settling: None }
    }

    /// Takes a look. Who renews a certificate writes several files, one after the other: they are read once they look the
    /// same twice.
    pub fn look(&mut self, seen: S) -> Next {
        if seen == self.read {
            self.settling = None;
            return Next::Wait;
        }
        let (settled, looks) = match &self.settling {
            Some(before) => (before.seen == seen, before.looks + 1),
            None => (false, 1),
        };
        if settled || looks >= PATIENCE {
            *self = Self::new(seen);
            return Next::Read;
        }
        self.settling = Some(Settling { seen, looks });
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
    fn files_that_never_settle_are_read_all_the_same() {
        let looks: Vec<u32> = (1..=25).collect();
        assert_eq!(read_at(&looks), [9, 19]);
    }
}
