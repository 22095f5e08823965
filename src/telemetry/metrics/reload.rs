//! What came of reading the configuration again. Separate from certificates, which are renewed without it, too.

use super::Metrics;

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// It is in use.
    Applied,
    /// It is what was in use already.
    Unchanged,
    /// It can't be used; what was in use stays.
    Refused,
}

impl Reloaded {
    /// In the order of their values.
    pub(super) const ALL: [Self; 3] = [Self::Applied, Self::Unchanged, Self::Refused];

    /// The name in metrics.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
        }
    }
}

impl Metrics {
    /// Whether the configuration on disk can't be used, and the previous one is in use.
    pub fn is_reload_refused(&self) -> bool {
        self.reload_refused.get() != 0
    }

    /// Counts an attempt to read the configuration again.
    pub fn reloaded(&self, outcome: Reloaded) {
        self.reloads[outcome as usize].inc();
    }
}
