//! An attempt after its request has been answered elsewhere, and what comes of attempts. Separate from the attempt itself, which a
//! client waits for.

use std::future::poll_fn;

use http::{Method, StatusCode};

use super::{Attempt, Failure, State};
use crate::http1::head::HeadLimits;
use crate::policy::fault::AttemptEnd;
use crate::policy::health::Seen;
use crate::proxy::snapshot::Route;
use crate::upstream::connection::Connection;

impl Attempt {
    /// Waits for the end of an attempt whose request has been answered elsewhere, and hands it to `judge`: that an XSP stays
    /// silent counts anyway (R-FAIL-3). `None`: there was nothing to learn.
    pub(in crate::proxy) async fn linger(
        mut self: Box<Self>,
        judge: impl FnOnce(&Self, Option<Result<StatusCode, Failure>>) + Send,
    ) {
        let end = match std::mem::replace(&mut self.state, State::Over) {
            State::Dialing(dialing) => dialing.await.err().map(|error| Err(error.into())),
            // An XSP that did not take the whole request owes no answer.
            State::Talking(connection) if !connection.is_flushed() => None,
            State::Talking(mut connection) => {
                let status = final_status(&mut connection, &self.limits, &self.outbound.method);
                let timeout = self.timeout;
                let in_time = tokio::time::timeout_at(self.since + timeout, status).await;
                let end = in_time.unwrap_or(Err(Failure::Timeout(timeout)));
                Some(end.map_err(|failure| self.weighed(failure, &connection)))
            }
            State::Over => None,
        };
        judge(&self, end);
    }
}

async fn final_status(
    connection: &mut Connection,
    limits: &HeadLimits,
    method: &Method,
) -> Result<StatusCode, Failure> {
    loop {
        let head = poll_fn(|cx| connection.poll_head(cx, limits, method)).await?;
        if !head.status.is_informational() {
            return Ok(head.status);
        }
    }
}

/// Counts what came of an attempt.
pub(in crate::proxy) fn count(attempt: &Attempt, end: AttemptEnd) {
    let metrics = attempt.picked.endpoint.metrics();
    if let AttemptEnd::Success | AttemptEnd::ServerError = end {
        metrics.xsp_seconds.observe(attempt.begun().elapsed().as_secs_f64());
    }
    metrics.attempted(end);
}

/// What came of an attempt that nobody waits for.
pub(in crate::proxy) fn report(route: &Route, attempt: &Attempt, end: Result<StatusCode, Failure>) {
    let (end, seen) = match end.map_err(|failure| failure.fault()) {
        Ok(status) if status.as_u16() < 500 => (AttemptEnd::Success, Seen::Answer),
        Ok(_) => (AttemptEnd::ServerError, Seen::ServerError),
        Err(fault) => (AttemptEnd::Fault(fault), Seen::Fault(fault)),
    };
    count(attempt, end);
    let (endpoint, begun) = (&attempt.picked.endpoint, attempt.begun().into_std());
    route.farm.observe(endpoint, seen, begun, Some(route.interface), &route.failover.rules());
}
