//! The search for an XSP that a connection can be bridged to: one endpoint after the other, within the caller's patience.
//! Separate from the dialling itself, which is not the same for CTI and pass-through.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Arrival;
use super::block::Line;
use super::journal::Journal;
use crate::farm::{Farm, Picked, Session};
use crate::policy::plan::{Plan, Purpose, Trials};
use crate::upstream::connect::{ConnectError, Scope};
use crate::upstream::verdict;

/// A search that goes on until an XSP keeps the connection.
#[derive(Debug)]
pub(super) struct Search {
    farm: Arc<Farm>,
    farms: Arc<[Arc<Farm>]>,
    plan: Plan,
    purpose: Purpose,
    deadline: Instant,
    begun: Instant,
}

impl Search {
    /// A search that lasts no longer than the farm's `response_timeout`. Nothing is lost by a failed attempt, so it takes
    /// endpoints on probation, too.
    pub(super) fn new(line: &Line, arrival: &Arrival) -> Self {
        let config = line.farm.config();
        let failover = &config.failover;
        let now = Instant::now();
        Self {
            plan: line.farm.plan(Session::New, failover.tries, Trials::Taken),
            farm: Arc::clone(&line.farm),
            farms: Arc::clone(&arrival.farms),
            purpose: Purpose::First,
            deadline: now + failover.response_timeout,
            begun: now,
        }
    }

    /// The next endpoint to try; `None`: the tries or the time are used up, or nothing is known.
    pub(super) fn next(&mut self) -> Option<Picked> {
        self.begun = Instant::now();
        if self.begun >= self.deadline {
            return None;
        }
        let purpose = std::mem::replace(&mut self.purpose, Purpose::Retry);
        self.farm.pick(&mut self.plan, purpose)
    }

    /// When the latest attempt began.
    pub(super) const fn begun(&self) -> Instant {
        self.begun
    }

    /// How long a step of the latest attempt may take.
    pub(super) fn patience(&self) -> Duration {
        let left = self.deadline.saturating_duration_since(Instant::now());
        left.min(self.connect_timeout())
    }

    /// Whose endpoints are searched.
    pub(super) const fn farm(&self) -> &Arc<Farm> {
        &self.farm
    }

    /// How long a step of an attempt may take while there is time.
    pub(super) fn connect_timeout(&self) -> Duration {
        self.farm.config().failover.connect_timeout
    }

    /// When the search is over.
    pub(super) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The latest attempt has failed.
    pub(super) fn failed(&self, picked: &Picked, error: &ConnectError, journal: &mut Journal) {
        journal.attempted(picked, self.begun.elapsed(), error.reason());
        tracing::debug!(
            farm = self.farm.name(),
            endpoint = &**picked.endpoint.label(),
            error = error as &dyn std::error::Error,
            "an XSP could not be reached"
        );
        // An attempt that was given less time than it is due says nothing of its endpoint by taking longer.
        let due = self.connect_timeout();
        let cut_short = error.is_timeout() && self.deadline.saturating_duration_since(self.begun) < due;
        let scope = if cut_short { Scope::Gateway } else { error.scope() };
        if error.scope() == Scope::Gateway {
            tracing::warn!(error = error as &dyn std::error::Error, "the gateway could not open a connection");
        }
        self.blame(picked, scope, error.reason());
    }

    /// The endpoint is held to account.
    pub(super) fn blame(&self, picked: &Picked, scope: Scope, reason: &'static str) {
        let block_for = self.farm.config().failover.block_for;
        verdict::failed(&self.farms, &self.farm, &picked.endpoint, block_for, scope, reason);
    }

    /// The endpoint keeps the connection.
    pub(super) fn succeeded(&self, picked: &Picked) {
        self.farm.succeeded(&picked.endpoint, self.begun.into_std());
    }
}
