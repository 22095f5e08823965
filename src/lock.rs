//! The one kind of lock in the gateway. Separate from what it guards, so that all of it obeys the same two rules: a guard
//! never outlives the call that took it, and no lock is taken under another one.

use parking_lot::Mutex;

/// A value that several threads share, each for microseconds at a time.
///
/// There is no guard to keep: a guard in a temporary, such as one in a struct literal, lives until the end of its
/// statement, and a second call in the same statement would wait for the first one for ever.
#[derive(Debug, Default)]
pub struct Locked<T>(Mutex<T>);

impl<T> Locked<T> {
    /// Shares `value`.
    pub const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Calls `body` with the value, which no other thread sees meanwhile. `body` must neither block nor take another lock:
    /// two locks that are taken in both orders stop two threads for good. Log and count after it.
    ///
    /// # Panics
    /// In a build with debug assertions, when the calling thread holds a lock already.
    #[track_caller]
    pub fn with<R>(&self, body: impl FnOnce(&mut T) -> R) -> R {
        let _alone = alone::enter();
        body(&mut self.0.lock())
    }
}

/// That a thread holds one lock at a time, looked at in each test and left out of a release.
#[cfg(debug_assertions)]
mod alone {
    use std::cell::Cell;

    thread_local! {
        static HOLDS: Cell<bool> = const { Cell::new(false) };
    }

    /// Dropped when the lock is free again, also by a panic.
    pub(super) struct Alone;

    #[track_caller]
    pub(super) fn enter() -> Alone {
        // A panic is told of, which takes a lock, before the one that it happened under is free.
        assert!(!HOLDS.replace(true) || std::thread::panicking(), "a lock is taken under another one");
        Alone
    }

    impl Drop for Alone {
        fn drop(&mut self) {
            HOLDS.set(false);
        }
    }
}

#[cfg(not(debug_assertions))]
mod alone {
    pub(super) const fn enter() {}
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn a_lock_under_another_one_is_refused_and_both_are_free_again() {
        let (one, two) = (Locked::new(1), Locked::new(2));
        assert_eq!(one.with(|one| *one) + two.with(|two| *two), 3, "one after the other");
        for inner in [&one, &two] {
            let nested = catch_unwind(AssertUnwindSafe(|| one.with(|_| inner.with(|inner| *inner))));
            assert!(nested.is_err());
        }
        assert_eq!(one.with(|one| *one) + two.with(|two| *two), 3);
    }
}
