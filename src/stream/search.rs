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
use crate::telemetry::Causes;

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
    /// How long its latest step may take.
    patience: Duration,
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
            precedence: None,
        };
        let (request, steps) = Forwarding::begin(&line.farm, terms, Target::Farm(None));
        let (farm, patience) = (Arc::clone(&line.farm), failover.connect_timeout);
        let mut search = Self { farm, request, next: None, attempt: 0, deadline, begun: now, patience };
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

    /// How long the next step of the latest attempt may take. The first attempt gets all that an attempt is due.
    pub(super) fn patience(&mut self) -> Duration {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let due = self.connect_timeout();
        self.patience = if self.attempt == 0 { due } else { left.min(due) };
        self.patience
    }

    /// Whose endpoints are searched.
    pub(super) const fn farm(&self) -> &Arc<Farm> {
        &self.farm
    }

    /// How long a step of an attempt may take while there is time.
    pub(super) fn connect_timeout(&self) -> Duration {
        self.farm.config().failover.connect_timeout
    }

    /// The latest attempt has failed.
    pub(super) fn failed(
        &mut self,
        picked: &Picked,
        fault: Fault,
        error: &(dyn std::error::Error + 'static),
        journal: &mut Journal,
    ) {
        journal.attempted(picked, self.begun.elapsed(), AttemptEnd::Fault(fault));
        tracing::debug!(
            farm = self.farm.name(),
            endpoint = &**picked.endpoint.label(),
            error.message = %Causes(error),
            "an XSP could not be reached"
        );
        if fault == Fault::Local {
            tracing::warn!(error.message = %Causes(error), "the gateway could not open a connection");
        }
        // A step that was given less time than it is due says nothing of the endpoint by taking longer.
        let is_cut_short = fault.is_silence() && self.patience < self.connect_timeout();
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

    /// The client has left, and nobody knows what the endpoint would have made of the connection.
    pub(super) fn abandoned(&mut self) {
        self.request.abandon();
    }

    /// The endpoint keeps the connection.
    pub(super) fn succeeded(&mut self) {
        drop(self.request.on(Event::Kept { attempt: self.attempt }));
    }
}
