//! A second look: one harmless request of the gateway's own, before an endpoint is blocked for everyone. Apart from
//! attempts for clients, because nobody waits for it.

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;

use http::Method;

use super::attempt::{Attempt, Progress};
use super::failure::Failure;
use super::feed::{Feed, Outbound};
use super::snapshot::{Route, Snapshot};
use crate::farm::{Farm, Picked, Probing};
use crate::http1::encode;
use crate::http1::head::{Expectation, Limits, RequestFraming};
use crate::upstream::connect::{Dial, Scope, connect};

/// Asks `picked` for the interface's probe path: any answer below 500 clears it, everything else blocks it. At most one
/// probe at a time runs per endpoint.
pub(super) fn second_look(route: &Arc<Route>, picked: Picked, authority: &str) {
    let Some(probing) = Probing::begin(&picked.endpoint) else { return };
    let route = Arc::clone(route);
    let mut head = Vec::with_capacity(256);
    encode::request_line(&mut head, &Method::GET, route.probe_path.as_bytes());
    encode::field(&mut head, b"Host", authority.as_bytes());
    encode::field(&mut head, b"User-Agent", concat!("xspgate/", env!("CARGO_PKG_VERSION")).as_bytes());
    encode::field(&mut head, b"Connection", b"close");
    encode::end(&mut head);
    let outbound =
        Outbound { head: head.into(), method: Method::GET, replayable: true, expectation: Expectation::None };
    tokio::spawn(async move {
        let _probing = probing;
        let endpoint = Arc::clone(&picked.endpoint);
        let failover = &route.failover;
        let mut attempt =
            Attempt::fresh(&route.farm, picked, &outbound, failover.response_timeout, failover.connect_timeout);
        match answer(&mut attempt).await {
            Ok(status) if status < 500 => {
                endpoint.metrics().probed("cleared");
                route.farm.succeeded(&endpoint, attempt.begun().into_std());
            }
            Ok(_) => {
                endpoint.metrics().probed("failed");
                route.farm.failed(&endpoint, failover.block_for, "5xx");
            }
            Err(failure) if failure.scope() == Scope::Gateway => {}
            Err(failure) => {
                endpoint.metrics().probed("failed");
                route.farm.failed(&endpoint, failover.block_for, failure.reason());
            }
        }
    });
}

async fn answer(attempt: &mut Attempt) -> Result<u16, Failure> {
    let deadline = attempt.deadline().expect("a request without a body never waits for a client");
    let mut feed = Feed::new(RequestFraming::None, 0);
    let limits = Limits::default();
    let answered = tokio::time::timeout_at(deadline, async {
        loop {
            match poll_fn(|cx| attempt.poll(cx, &mut feed, &limits)).await? {
                Progress::Informed(_) => {}
                Progress::Answered(head) => return Ok(head.status.as_u16()),
            }
        }
    });
    answered.await.unwrap_or(Err(Failure::Timeout(deadline.saturating_duration_since(attempt.begun()))))
}

/// One port's failure showed that a whole XSP is gone: the endpoints that other farms have at the same address are dialled
/// at once, instead of letting a client find out.
pub(super) fn address_lost(snapshot: &Snapshot, farm: &Arc<Farm>, ip: IpAddr) {
    for other in snapshot.farms.iter().filter(|other| !Arc::ptr_eq(other, farm)) {
        for endpoint in other.up_at(ip) {
            let Some(probing) = Probing::begin(&endpoint) else { continue };
            let other = Arc::clone(other);
            let failover = other.config().failover.clone();
            let dial = Dial {
                address: endpoint.address(),
                name: other.tls().name().clone(),
                tls: endpoint.tls(),
                tcp: other.config().tcp,
                patience: failover.connect_timeout,
            };
            tokio::spawn(async move {
                let _probing = probing;
                match connect(dial).await {
                    Ok(_) => endpoint.metrics().probed("cleared"),
                    Err(error) if error.scope() == Scope::Gateway => {}
                    Err(error) => {
                        endpoint.metrics().probed("failed");
                        other.failed(&endpoint, failover.block_for, error.reason());
                    }
                }
            });
        }
    }
}
