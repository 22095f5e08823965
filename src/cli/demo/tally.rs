//! What the users saw, summed up between two moments.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

/// What users saw in one step of the story.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Requests that were answered, or failed.
    pub(super) requests: u64,
    /// Those among them that failed: no answer, or a 5xx.
    pub(super) errors: u64,
    /// The first failures in words.
    pub(super) complaints: Vec<String>,
    /// The longest time to an answer.
    pub(super) slowest: Duration,
    /// Who answered, by XSP.
    pub(super) answered_by: BTreeMap<String, u64>,
    /// Event channels that were reopened because the one before was lost.
    pub(super) reopened: u64,
    /// Heartbeats that found their channel.
    pub(super) heartbeats: u64,
    /// Those among them that round-robin would have sent to another XSP.
    pub(super) astray_in_rotation: u64,
    /// Requests on CTI connections that were answered.
    pub(super) said: u64,
    /// CTI connections that were lost.
    pub(super) lost: u64,
    /// Those that were reopened.
    pub(super) returned: u64,
    /// The longest time from the loss of one to its return.
    pub(super) slowest_return: Duration,
}

/// The tally that all users add to.
#[derive(Clone, Debug, Default)]
pub(super) struct Tallies(Arc<Mutex<Tally>>);

impl Tallies {
    /// A request was answered by `xsp`.
    pub(super) fn answered(&self, xsp: &str, took: Duration) {
        let mut tally = self.0.lock();
        tally.requests += 1;
        tally.slowest = tally.slowest.max(took);
        *tally.answered_by.entry(xsp.to_owned()).or_default() += 1;
    }

    /// A request failed.
    pub(super) fn failed(&self, why: String, took: Duration) {
        let mut tally = self.0.lock();
        tally.requests += 1;
        tally.errors += 1;
        tally.slowest = tally.slowest.max(took);
        if tally.complaints.len() < 3 {
            tally.complaints.push(why);
        }
    }

    /// A lost channel was replaced.
    pub(super) fn reopened(&self) {
        self.0.lock().reopened += 1;
    }

    /// A heartbeat found its channel at `home`; round-robin would have sent it to `turn`.
    pub(super) fn beat(&self, home: &str, turn: Option<&str>) {
        let mut tally = self.0.lock();
        tally.heartbeats += 1;
        tally.astray_in_rotation += u64::from(turn != Some(home));
    }

    /// A request on a CTI connection was answered.
    pub(super) fn said(&self) {
        self.0.lock().said += 1;
    }

    /// A CTI connection was lost.
    pub(super) fn lost(&self) {
        self.0.lock().lost += 1;
    }

    /// A lost CTI connection was reopened, so much later.
    pub(super) fn returned(&self, after: Duration) {
        let mut tally = self.0.lock();
        tally.returned += 1;
        tally.slowest_return = tally.slowest_return.max(after);
    }

    /// Requests and errors since the last call of [`Tallies::take`].
    pub(super) fn so_far(&self) -> (u64, u64) {
        let tally = self.0.lock();
        (tally.requests, tally.errors)
    }

    /// What there is since the last call.
    pub(super) fn take(&self) -> Tally {
        std::mem::take(&mut self.0.lock())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} requests, {} errors, slowest {} ms", self.requests, self.errors, self.slowest.as_millis())?;
        let counts: Vec<_> = self.answered_by.iter().map(|(xsp, count)| format!("{xsp} {count}")).collect();
        write!(out, "; {}", if counts.is_empty() { "no answers".to_owned() } else { counts.join(", ") })?;
        if self.reopened > 0 {
            write!(out, "; {} channels opened anew", self.reopened)?;
        }
        write!(out, "; CTI: {} answers", self.said)?;
        if self.lost > 0 {
            let slowest = self.slowest_return.as_millis();
            write!(out, ", {} of {} lost connections back, slowest {slowest} ms", self.returned, self.lost)?;
        }
        Ok(())
    }
}
