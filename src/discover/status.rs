//! What can be watched of discovery: each name's freshness and outcomes. Read by the metrics and the status page, which
//! must not disturb the schedule.

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;

use super::resolve::{Outcome, Question};

/// The state of all names that are followed; cheap to clone, and to read at any time.
#[derive(Clone, Debug, Default)]
pub struct DiscoveryStatus(Arc<ArcSwap<Vec<NameStatus>>>);

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
        self.0.load_full()
    }

    pub(super) fn publish(&self, names: Vec<NameStatus>) {
        self.0.store(Arc::new(names));
    }
}
