//! What an attempt's end says of its endpoint. Separate from the failover loop, because attempts that nobody waits for any
//! more are judged by the same measure.

use std::sync::Arc;

use http::StatusCode;
use tokio::time::Instant;

use super::attempt::Attempt;
use super::failure::Failure;
use super::probe;
use super::snapshot::{Route, Snapshot};
use crate::farm::{Endpoint, Picked};
use crate::policy::classify::{Class, On5xx, Outcome, classify};
use crate::upstream::{self, connect::Scope};

/// Who was asked, and when.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    picked: &'a Picked,
    begun: Instant,
}

impl<'a> Asked<'a> {
    /// The endpoint of `attempt`.
    pub(super) const fn of(attempt: &'a Attempt) -> Self {
        Self { picked: &attempt.picked, begun: attempt.begun() }
    }
}

/// An answer came; `on_5xx` is what a 5xx amounts to.
pub(super) fn report(route: &Arc<Route>, asked: Asked<'_>, status: StatusCode, on_5xx: On5xx, authority: &str) {
    let endpoint = &asked.picked.endpoint;
    endpoint.metrics().xsp_seconds.observe(asked.begun.elapsed().as_secs_f64());
    match classify(Outcome::Answered(status), on_5xx) {
        Class::Success => {
            endpoint.metrics().attempted("success");
            route.farm.succeeded(endpoint, asked.begun.into_std());
        }
        // What a second look protects is the sessions there; an endpoint on trial has none left, and is asked once only.
        Class::Suspect if !asked.picked.is_trial() => {
            endpoint.metrics().attempted("5xx");
            tracing::debug!(endpoint = &**endpoint.label(), status = status.as_u16(), "5xx; looking a second time");
            probe::second_look(route, Picked::for_probe(Arc::clone(endpoint)), authority);
        }
        Class::Suspect | Class::Failure => {
            endpoint.metrics().attempted("5xx");
            route.farm.failed(endpoint, route.failover.block_for, "5xx");
        }
    }
}

/// No answer came: blocks the endpoint, unless the failure was the gateway's own.
pub(super) fn blame(snapshot: &Snapshot, route: &Arc<Route>, endpoint: &Arc<Endpoint>, failure: &Failure) {
    endpoint.metrics().attempted(failure.reason());
    let scope = failure.scope();
    match failure {
        Failure::Connect(_) if scope == Scope::Gateway => {
            tracing::warn!(error = failure as &dyn std::error::Error, "the gateway could not open a connection");
        }
        // One that dies ends its connections, too.
        Failure::Stale(_) => upstream::look::hint(&snapshot.farms, &route.farm, endpoint),
        Failure::Connect(_) | Failure::Send(_) | Failure::Answer(_) | Failure::Timeout(_) => {}
    }
    let block_for = route.failover.block_for;
    upstream::verdict::failed(&snapshot.farms, &route.farm, endpoint, block_for, scope, failure.reason());
}
