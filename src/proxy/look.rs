//! What is asked in a look of the gateway's own: one harmless request, or a handshake where no HTTP is spoken. Separate from
//! attempts for clients, because nobody waits for it.

use std::future::poll_fn;
use std::sync::Arc;

use http::Method;

use super::attempt::{Attempt, Progress};
use super::failure::Failure;
use super::feed::{Feed, Outbound};
use super::snapshot::{Route, Way};
use crate::config::model::ProxyProtocol;
use crate::farm::{Endpoint, Farm, Looking, Picked};
use crate::http1::encode;
use crate::http1::head::{Expectation, RequestFraming};
use crate::policy::health::Found;
use crate::proxy_protocol::{self, Header};
use crate::upstream::connect::ConnectError;
use crate::upstream::look;

/// Looks as `looking` has the right to, and reports what has been found.
pub(super) async fn look(way: &Way, looking: &Looking) -> Found {
    let (farm, endpoint) = (looking.farm(), &looking.endpoint);
    let (found, rules) = match way {
        Way::Http(route, authority) => (ask(farm, endpoint, route, authority).await, route.failover.rules()),
        Way::Handshake => (reached(look::look(farm, endpoint).await), farm.config().failover.rules()),
        Way::Hello(told) => {
            let preamble = match told {
                ProxyProtocol::Off => Vec::new(),
                ProxyProtocol::V2 => proxy_protocol::v2(&Header::Local),
            };
            (reached(look::greet(farm, endpoint, &preamble).await), farm.config().failover.rules())
        }
    };
    looking.ended(found, &rules);
    found
}

fn reached(reached: Result<(), ConnectError>) -> Found {
    match reached {
        Ok(()) => Found::Well,
        Err(error) => Found::Fault(error.fault()),
    }
}

/// Asks for the interface's probe path, on a connection of its own.
async fn ask(farm: &Arc<Farm>, endpoint: &Arc<Endpoint>, route: &Route, authority: &str) -> Found {
    let (outbound, failover) = (outbound(route, authority), &route.failover);
    let picked = Picked::for_look(Arc::clone(endpoint));
    let mut attempt = Attempt::fresh(farm, picked, &outbound, failover.response_timeout, failover.connect_timeout);
    match answer(&mut attempt).await {
        Ok(status) if status < 500 => Found::Well,
        Ok(_) => Found::ServerError,
        Err(failure) => Found::Fault(failure.fault()),
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
