//! What tests read while it grows, and wait for. Separate from what is recorded, because XSPs of HTTP and of CTI record other
//! things in the same way.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

/// A record whose changes can be waited for.
#[derive(Default)]
pub(super) struct Watched<T> {
    record: Mutex<T>,
    changed: watch::Sender<u64>,
}

impl<T> Watched<T> {
    pub(super) fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.record.lock())
    }

    pub(super) fn write<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.record.lock());
        self.changed.send_modify(|version| *version = version.wrapping_add(1));
        result
    }

    /// Returns when `holds` is true of the record.
    pub(super) async fn until(&self, holds: impl Fn(&T) -> bool) {
        let mut changed = self.changed.subscribe();
        while !self.read(&holds) {
            changed.changed().await.expect("the record holds the sender");
        }
    }

    /// Likewise; false if that took longer than `deadline`.
    pub(super) async fn within(&self, deadline: Duration, holds: impl Fn(&T) -> bool) -> bool {
        tokio::time::timeout(deadline, self.until(holds)).await.is_ok()
    }
}
