//! The search for an XSP that a connection can be bridged to: one endpoint after the other, within the caller's patience. The
//! machine decides (`policy::failover`). Separate from the dialling itself, which is not the same for CTI and pass-through.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::block::Line;
use super::journal::Journal;
use crate::farm::{Farm, Forwarding, Picked, Step, Steps};
use crate::policy::failover::{Body, Event, Target, Terms};
use crate::policy::fault::{AttemptEnd, Fault};
use crate::upstream::connect::ConnectError;

/// Nothing of a request is kept that could be lost.
const WHOLE: Body = Body { is_whole: true, is_complete: true };

/// A search that goes on until an XSP keeps the connection.
#[derive(Debug)]
pub(super) struct Search {
    farm: Arc<Farm>,
    request: Forwarding,
    next: Option<(usize, Picked)>,
    /// The number of the latest attempt.
    attempt: usize,
    deadline: Instant,
    begun: Instant,
}

impl Search {
    /// A search that lasts no longer than the farm's `response_timeout`. Nothing is lost by a failed attempt, so it takes
    /// endpoints on probation, too.
    pub(super) fn new(line: &Line) -> Self {
        let config = line.farm.config();
        let failover = &config.failover;
        let now = Instant::now();
        let deadline = now + failover.response_timeout;
        let terms = Terms {
            tries: failover.tries,
            rules: failover.rules(),
            replayable: true,
            safe: true,
            until: Some(deadline.into_std()),
            interface: None,
        };
        let (request, steps) = Forwarding::begin(&line.farm, terms, Target::Farm(None));
        let mut search = Self { farm: Arc::clone(&line.farm), request, next: None, attempt: 0, deadline, begun: now };
        search.take(steps);
        search
    }

    /// The next endpoint to try; `None`: the tries or the time are used up, or nothing is known.
    pub(super) fn next(&mut self) -> Option<Picked> {
        let (attempt, picked) = self.next.take()?;
        self.attempt = attempt;
        self.begun = Instant::now();
        Some(picked)
    }

    fn take(&mut self, steps: Steps) {
        for step in steps {
            if let Step::Begin { attempt, picked } = step {
                self.next = Some((attempt, picked));
            }
        }
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
    pub(super) fn failed(&mut self, picked: &Picked, error: &ConnectError, journal: &mut Journal) {
        let fault = error.fault();
        journal.attempted(picked, self.begun.elapsed(), AttemptEnd::Fault(fault));
        tracing::debug!(
            farm = self.farm.name(),
            endpoint = &**picked.endpoint.label(),
            error = error as &dyn std::error::Error,
            "an XSP could not be reached"
        );
        if fault == Fault::Local {
            tracing::warn!(error = error as &dyn std::error::Error, "the gateway could not open a connection");
        }
        // An attempt that was given less time than it is due says nothing of its endpoint by taking longer.
        let due = self.connect_timeout();
        let is_cut_short = fault.is_silence() && self.deadline.saturating_duration_since(self.begun) < due;
        let attempt = self.attempt;
        let steps = match is_cut_short {
            true => self.request.on(Event::CutShort { attempt }),
            false => self.request.on(Event::Failed { attempt, fault, delivered: false, body: WHOLE }),
        };
        self.take(steps);
    }

    /// The endpoint has turned the connection away, or has broken it when it may have been told something already.
    pub(super) fn lost(&mut self, fault: Fault, delivered: bool) {
        // What may have been read can't be said again to another one.
        let body = Body { is_whole: !delivered, is_complete: true };
        let steps = self.request.on(Event::Failed { attempt: self.attempt, fault, delivered, body });
        self.take(steps);
    }

    /// The endpoint keeps the connection.
    pub(super) fn succeeded(&mut self) {
        drop(self.request.on(Event::Kept { attempt: self.attempt }));
    }
}
