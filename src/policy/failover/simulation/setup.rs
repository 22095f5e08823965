//! What kind of farm is simulated. Separate from the simulation, which plays whatever it is given.

use std::num::NonZeroU32;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::policy::classify::{On5xx, OnSilence};
use crate::policy::health::Rules;

/// A farm, and how much is asked of it.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    /// The site of each XSP.
    pub(super) sites: Vec<u16>,
    pub(super) rules: Rules,
    pub(super) tries: u8,
    pub(super) response_timeout: Duration,
    pub(super) connect_timeout: Duration,
    /// New channels per XSP and second.
    pub(super) rate: Option<NonZeroU32>,
    pub(super) look_when_idle: Option<Duration>,
    pub(super) users: usize,
    /// Between two requests, on average.
    pub(super) pause: Duration,
    /// Between two changes of the world, on average.
    pub(super) calm: Duration,
    /// How many of a hundred requests are odd.
    pub(super) odd: u32,
    /// Requests in flight per XSP.
    pub(super) max_in_flight: Option<NonZeroU32>,
    /// No HTTP is spoken.
    pub(super) is_bytes: bool,
}

impl Setup {
    pub(super) fn random(rng: &mut StdRng) -> Self {
        let farms: [&[u16]; 8] =
            [&[0, 0, 0], &[0, 0, 0], &[0, 0], &[0, 0, 1, 1], &[0, 0, 0, 1], &[0, 0, 0, 1, 1, 1], &[0], &[0, 1]];
        let mut rules = Rules {
            block_for: Duration::from_secs(rng.random_range(2..12)),
            advance_after: Some(Duration::from_millis(600)),
            on_5xx: On5xx::Confirm,
            on_silence: OnSilence::Confirm,
        };
        match rng.random_range(0..10) {
            0 => rules.on_5xx = On5xx::Block,
            1 => rules.on_5xx = On5xx::Answer,
            2 => rules.on_silence = OnSilence::Block,
            3 => rules.advance_after = None,
            _ => {}
        }
        Self {
            sites: farms[rng.random_range(0..farms.len())].to_vec(),
            rules,
            tries: if rng.random_bool(0.7) { 3 } else { rng.random_range(1..5) },
            response_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_millis(500),
            rate: NonZeroU32::new(rng.random_range(0..8)),
            look_when_idle: rng.random_bool(0.7).then(|| Duration::from_secs(rng.random_range(5..30))),
            users: rng.random_range(1..100),
            pause: Duration::from_millis(rng.random_range(3..80)),
            calm: Duration::from_millis(rng.random_range(1_000..12_000)),
            odd: rng.random_range(0..20),
            is_bytes: rng.random_bool(0.1),
            max_in_flight: NonZeroU32::new(if rng.random_bool(0.6) { 2048 } else { rng.random_range(0..6) }),
        }
    }
}
