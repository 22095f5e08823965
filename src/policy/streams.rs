//! The kinds of connections that live long. Separate from those who serve them, because control calls, processes and metrics
//! have to mean the same.

use serde::{Deserialize, Serialize};

/// What lives long at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StreamKind {
    /// An event channel.
    Channel,
    /// A CTI connection.
    Cti,
    /// A connection that passes through.
    Passthrough,
}

impl StreamKind {
    /// In the order of their values.
    pub const ALL: [Self; 3] = [Self::Channel, Self::Cti, Self::Passthrough];

    /// A word for people, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Channel => "channel",
            Self::Cti => "cti",
            Self::Passthrough => "passthrough",
        }
    }
}
