//! An attempt after its request has been answered elsewhere. Separate from the attempt, which a client waits for.

use std::future::poll_fn;

use http::{Method, StatusCode};

use super::{Attempt, Failure, State};
use crate::http1::head::Limits;
use crate::upstream::connection::Connection;

impl Attempt {
    /// Waits for the end of an attempt whose request has been answered elsewhere, and hands it to `judge`: that an XSP stays
    /// silent counts all the same (R-FAIL-3). `None`: there was nothing to learn.
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

async fn final_status(connection: &mut Connection, limits: &Limits, method: &Method) -> Result<StatusCode, Failure> {
    loop {
        let head = poll_fn(|cx| connection.poll_head(cx, limits, method)).await?;
        if !head.status.is_informational() {
            return Ok(head.status);
        }
    }
}
