//! The series of one block of byte streams. Separate from those of listeners, since a listening address may have several.

use prometheus::{IntCounter, IntCounterVec, IntGauge};

/// CTI or pass-through connections of one block on one listening address.
#[derive(Debug)]
pub struct StreamMetrics {
    /// Open connections that have reached an XSP.
    pub open: IntGauge,
    /// Bytes from clients.
    pub received: IntCounter,
    /// Bytes to clients.
    pub sent: IntCounter,
    pub(super) outcomes: IntCounterVec,
    pub(super) labels: [String; 2],
}

impl StreamMetrics {
    /// Counts a connection that has ended.
    pub fn ended(&self, outcome: &'static str) {
        self.outcomes.with_label_values(&[self.labels[0].as_str(), self.labels[1].as_str(), outcome]).inc();
    }
}
