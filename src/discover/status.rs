//! What can be watched of discovery: each name's freshness and outcomes. Read by the metrics and the status page, which
//! must not disturb the schedule.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;

use super::resolve::{Outcome, Question};

/// The state of all names that are followed; cheap to clone, and to read at any time.
#[derive(Clone, Debug, Default)]
pub struct DiscoveryStatus {
    names: Arc<ArcSwap<Vec<NameStatus>>>,
    is_unsaved: Arc<AtomicBool>,
}

/// One name's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameStatus {
    /// Which name, and which record type.
    pub question: Question,
    /// Records of the last good answer; 0 while nothing is known.
    pub records: usize,
    /// When DNS last answered with records; `None`: not since the start.
    pub last_success: Option<Instant>,
    /// How the newest look-up ended; `None`: none has ended yet.
    pub last_outcome: Option<Outcome>,
    /// Look-ups by [`Outcome::index`], since the name is followed.
    pub counts: [u64; Outcome::ALL.len()],
}

impl DiscoveryStatus {
    /// The names, in order, as of the newest answer.
    pub fn names(&self) -> Arc<Vec<NameStatus>> {
        self.names.load_full()
    }

    pub(super) fn publish(&self, names: Vec<NameStatus>) {
        self.names.store(Arc::new(names));
    }

    /// Whether the last good answers can't be written to `state_dir`.
    pub fn is_unsaved(&self) -> bool {
        self.is_unsaved.load(Ordering::Relaxed)
    }

    pub(super) fn saved(&self, saved: Result<(), ()>) {
        self.is_unsaved.store(saved.is_err(), Ordering::Relaxed);
    }
}
