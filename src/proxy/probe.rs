//! A second look: one harmless request of the gateway's own, before an endpoint is blocked for everyone. Separate from
//! attempts for clients, because nobody waits for it.

use std::future::poll_fn;
use std::sync::Arc;

use http::Method;

use super::attempt::{Attempt, Progress};
use super::failure::Failure;
use super::feed::{Feed, Outbound};
use super::snapshot::Route;
use crate::farm::{Picked, Probing, Sign};
use crate::http1::encode;
use crate::http1::head::{Expectation, RequestFraming};
use crate::upstream::connect::Scope;

/// What a look has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The endpoint answers.
    Works,
    /// It does not, or with a 5xx.
    Fails(Sign),
    /// Nothing: the gateway could not ask.
    Nothing,
}

/// Asks `picked` for the interface's probe path: any answer below 500 clears it, everything else blocks it. At most one
/// probe at a time runs per endpoint.
pub(super) fn second_look(route: &Arc<Route>, picked: Picked, authority: &str) {
    let Some(probing) = Probing::begin(&picked.endpoint) else { return };
    let (route, authority) = (Arc::clone(route), authority.to_owned());
    tokio::spawn(async move {
        let _probing = probing;
        look(&route, picked, &authority).await;
    });
}

/// As [`second_look`], by a caller that waits for it and sees to it that nobody else looks meanwhile.
pub(super) async fn look(route: &Route, picked: Picked, authority: &str) -> Seen {
    let endpoint = Arc::clone(&picked.endpoint);
    let (outbound, failover) = (outbound(route, authority), &route.failover);
    let mut attempt =
        Attempt::fresh(&route.farm, picked, &outbound, failover.response_timeout, failover.connect_timeout);
    let (failed, sign) = match answer(&mut attempt).await {
        Ok(status) if status < 500 => {
            endpoint.metrics().probed("cleared");
            route.farm.succeeded(&endpoint, attempt.begun().into_std());
            return Seen::Works;
        }
        Ok(_) => ("5xx", Sign::Refusal),
        Err(failure) if failure.scope() == Scope::Gateway => return Seen::Nothing,
        Err(failure) => (failure.reason(), sign_of(failure.scope())),
    };
    endpoint.metrics().probed("failed");
    route.farm.failed(&endpoint, failover.block_for, failed);
    Seen::Fails(sign)
}

/// What a failure with that scope says of the endpoint's life.
pub(super) const fn sign_of(scope: Scope) -> Sign {
    match scope {
        Scope::Silence | Scope::Address => Sign::Silence,
        Scope::Port | Scope::Gateway => Sign::Refusal,
    }
}

fn outbound(route: &Route, authority: &str) -> Outbound {
    let mut head = Vec::with_capacity(256);
    encode::request_line(&mut head, &Method::GET, route.probe_path.as_bytes());
    encode::field(&mut head, b"Host", authority.as_bytes());
    encode::field(&mut head, b"User-Agent", concat!("xspgate/", env!("CARGO_PKG_VERSION")).as_bytes());
    encode::field(&mut head, b"Connection", b"close");
    encode::end(&mut head);
    Outbound { head: head.into(), method: Method::GET, replayable: true, expectation: Expectation::None }
}

async fn answer(attempt: &mut Attempt) -> Result<u16, Failure> {
    let deadline = attempt.deadline().expect("a request without a body never waits for a client");
    let mut feed = Feed::new(RequestFraming::None, 0);
    let answered = tokio::time::timeout_at(deadline, async {
        loop {
            match poll_fn(|cx| attempt.poll(cx, &mut feed)).await? {
                Progress::Informed(_) => {}
                Progress::Answered(head) => return Ok(head.status.as_u16()),
            }
        }
    });
    answered.await.unwrap_or(Err(Failure::Timeout(deadline.saturating_duration_since(attempt.begun()))))
}
