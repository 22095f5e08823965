//! How a farm, or an interface, fails over. Separate from the rest of the model, since it is what the failover core goes by.

use std::time::Duration;

use crate::policy::classify::{On5xx, OnSilence, Replay};
use crate::policy::health::Rules;

/// `[farm.NAME.failover]`, and `[https.interface.NAME.failover]` where it differs. Rules R-FAIL-1 to R-FAIL-8.
#[derive(Clone, Debug, PartialEq)]
pub struct Failover {
    /// `connect_timeout`: TCP connect, and then the TLS handshake, of one attempt each.
    pub connect_timeout: Duration,
    /// `response_timeout`: one attempt, from its start to the response's head (R-FAIL-3).
    pub response_timeout: Duration,
    /// `advance_after`: when a safe request starts its next attempt beside a silent one; `None` (`"off"`): never.
    pub advance_after: Option<Duration>,
    /// `tries` in all (R-FAIL-4); at least 1.
    pub tries: u8,
    /// `block_for`: how long a failed endpoint is left out (R-FAIL-6).
    pub block_for: Duration,
    /// `on_5xx` (R-FAIL-2).
    pub on_5xx: On5xx,
    /// `on_silence` (R-FAIL-3).
    pub on_silence: OnSilence,
    /// `replay`: which methods may be sent again after they may have been delivered.
    pub replay: Replay,
    /// `replay_buffer_size`, in bytes: the longest request body that can be sent again.
    pub replay_buffer_size: usize,
}

impl Failover {
    /// What is held against endpoints.
    pub const fn rules(&self) -> Rules {
        Rules {
            block_for: self.block_for,
            advance_after: self.advance_after,
            on_5xx: self.on_5xx,
            on_silence: self.on_silence,
        }
    }
}
