//! The series of one interface. Separate from those of listeners and farms, which do without HTTP's classes of status.

use std::time::Duration;

use prometheus::{Histogram, IntCounter};

/// One interface on one listening address.
#[derive(Clone, Debug)]
pub struct RouteMetrics {
    pub(super) classes: [IntCounter; 6],
    pub(super) gateway_seconds: Histogram,
}

impl RouteMetrics {
    /// Counts a request.
    pub fn answered(&self, class: Class) {
        self.classes[class.index()].inc();
    }

    /// The gateway's own share of a request's time to its response head.
    pub fn own_time(&self, time: Duration) {
        self.gateway_seconds.observe(time.as_secs_f64());
    }
}

/// What became of a request, as far as its status tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// 1xx to 5xx.
    Status(u8),
    /// No whole answer reached the client.
    Aborted,
}

impl Class {
    pub(super) const ALL: [Self; 6] =
        [Self::Status(1), Self::Status(2), Self::Status(3), Self::Status(4), Self::Status(5), Self::Aborted];

    /// A word for metrics and traces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Status(1) => "1xx",
            Self::Status(2) => "2xx",
            Self::Status(3) => "3xx",
            Self::Status(4) => "4xx",
            Self::Status(_) => "5xx",
            Self::Aborted => "aborted",
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Status(class @ 1..=5) => class as usize - 1,
            Self::Status(_) => 4,
            Self::Aborted => 5,
        }
    }
}
