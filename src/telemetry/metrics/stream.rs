//! The series of one block of byte streams. Separate from those of listeners, since a listening address may have several.

use prometheus::{IntCounter, IntCounterVec, IntGauge};

use super::Metrics;

/// CTI or pass-through connections of one block on one listening address.
#[derive(Debug)]
pub struct StreamMetrics {
    /// Open connections that have reached an XSP.
    pub open: IntGauge,
    /// Bytes from clients.
    pub received: IntCounter,
    /// Bytes to clients.
    pub sent: IntCounter,
    outcomes: IntCounterVec,
    labels: [String; 2],
}

impl Metrics {
    /// The handles of one block of byte streams on one listening address.
    pub fn stream(&self, listener: &str, farm: &str) -> StreamMetrics {
        // An alert waits for it, and would not see the first one of a series that begins with it.
        drop(self.streams_total.with_label_values(&[listener, farm, "no-xsp"]));
        StreamMetrics {
            open: self.streams.with_label_values(&[listener, farm]),
            received: self.stream_bytes.with_label_values(&[listener, farm, "received"]),
            sent: self.stream_bytes.with_label_values(&[listener, farm, "sent"]),
            outcomes: self.streams_total.clone(),
            labels: [listener.to_owned(), farm.to_owned()],
        }
    }
}

impl StreamMetrics {
    /// Counts a connection that has ended.
    pub fn ended(&self, outcome: &'static str) {
        self.outcomes.with_label_values(&[self.labels[0].as_str(), self.labels[1].as_str(), outcome]).inc();
    }
}
