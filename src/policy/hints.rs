//! When the gateway looks at an endpoint because of a hint that it may be gone. Separate from the blocklist, since a hint holds
//! nothing against anybody: an XSP may end connections because they have idled for long.

use std::time::{Duration, Instant};

/// The shortest time between two looks at one endpoint.
const APART: Duration = Duration::from_secs(10);

/// The hints that concern one endpoint. A look is followed by another one only if a hint has come since it began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hints {
    /// When the latest look began, or is to begin.
    latest: Option<Instant>,
}

impl Hints {
    /// When to look, after a hint that has come at `now`; `None`: a look is to come anyway.
    pub fn hint(&mut self, now: Instant) -> Option<Instant> {
        let at = match self.latest {
            None => now,
            Some(latest) if latest > now => return None,
            Some(latest) => now.max(latest + APART),
        };
        self.latest = Some(at);
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_apart_and_no_hint_is_lost() {
        let (mut hints, start) = (Hints::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        for (ms, expected) in [
            (0, Some(0)),
            // The first look has begun already, and may have come too early.
            (1, Some(10_000)),
            (2, None),
            (9_999, None),
            (10_000, Some(20_000)),
            (12_000, None),
            (60_000, Some(60_000)),
        ] {
            assert_eq!(hints.hint(at(ms)), expected.map(at), "{ms}");
        }
    }
}
