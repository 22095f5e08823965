//! One request from its head to the end of its answer. It reads like the rules: who is asked for, what for, by whom, in
//! which session; then forward, answer, tell.

use std::net::IpAddr;
use std::sync::Arc;

use super::answer::{Answer, Last};
use super::context::Worker;
use super::error::Error;
use super::exchange::Exchange;
use super::feed::{Feed, Outbound};
use super::forward::{Forward, Request, Standing};
use super::journal::{Journal, Origin};
use super::relay::{Patience, Relay};
use super::snapshot::{Block, Route, Snapshot};
use crate::alarm::Alarm;
use crate::broadworks::interface::Interface;
use crate::farm::Session;
use crate::http1::head::{Expectation, RequestFraming, RequestHead, ResponseFraming};
use crate::policy::affinity::{cookie_values, set_cookie};
use crate::policy::classify::Class;
use crate::policy::headers::{self, Downstream, Trusted};
use crate::policy::route::Unroutable;
use crate::telemetry::metrics::SessionEvent;

/// What a request's connection is known to be.
#[derive(Clone, Copy)]
pub(super) struct Origins<'a> {
    pub(super) worker: &'a Worker,
    pub(super) snapshot: &'a Snapshot,
    pub(super) block: &'a Block,
    pub(super) client: IpAddr,
    /// Whether this connection should end after the answer.
    pub(super) last: Last,
}

/// Whether a client's connection is still in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// The answer is through.
    Whole,
    /// It is not: the connection must be cut.
    Broken,
}

/// Serves one request.
pub(super) async fn serve<E: Exchange>(
    from: Origins<'_>,
    exchange: &mut E,
    head: &RequestHead,
    journal: &mut Journal,
    alarm: &mut Alarm,
) -> Served {
    journal.tracking_id = tracking_id(head);
    journal.request(head);
    let mut feed = Feed::new(head.framing, 0);
    // In a box of its own, which is gone when the answer's body begins: a channel lives for hours.
    match Box::pin(forward(from, exchange, head, journal, &mut feed, alarm)).await {
        Ok((route, standing, session)) => {
            relay(from, exchange, head, journal, &mut feed, alarm, (&route, standing, session)).await
        }
        Err(error) => refuse(exchange, journal, error, &feed, from.last).await,
    }
}

async fn forward<E: Exchange>(
    from: Origins<'_>,
    exchange: &mut E,
    head: &RequestHead,
    journal: &mut Journal,
    feed: &mut Feed,
    alarm: &mut Alarm,
) -> Result<(Arc<Route>, Standing, Session), Error> {
    if !from.block.serves(head.host()) {
        return Err(Error::Misdirected);
    }
    journal.host(head.host());
    let route = from.block.route(head.path()).map_err(|unroutable| match unroutable {
        Unroutable::Ambiguous => Error::AmbiguousPath,
        Unroutable::Unknown => Error::UnknownPath,
    })?;
    journal.route = Some(Arc::clone(route));
    if !route.allows(from.client) {
        return Err(Error::NotAllowed);
    }
    if matches!(head.framing, RequestFraming::Length(length) if length > from.snapshot.limits.request_body_size) {
        return Err(Error::BodyTooLong);
    }
    if route.farm.is_empty() {
        return Err(Error::NoEndpoint);
    }
    let session = route.farm.session(cookie_values(&head.fields, &route.cookie));
    *feed = Feed::new(head.framing, route.failover.replay_buffer_size);
    let outbound = outbound(from, head, route, &journal.tracking_id);
    let request =
        Request { worker: from.worker, snapshot: from.snapshot, block: from.block, route, authority: head.authority() };
    let standing = Forward::new(request, outbound, session, journal).run(exchange, feed, alarm).await?;
    Ok((Arc::clone(route), standing, session))
}

fn outbound(from: Origins<'_>, head: &RequestHead, route: &Route, tracking_id: &str) -> Outbound {
    let downstream = Downstream {
        peer: from.client,
        trusted: if from.block.trusts(from.client) { Trusted::Yes } else { Trusted::No },
        tracking_id,
        cookie: &route.cookie,
    };
    let mut bytes = Vec::with_capacity(1024);
    headers::request_head(head, &downstream, head.framing, &mut bytes);
    Outbound { head: bytes.into(), method: head.method.clone(), replayable: route.failover.replay.allows(&head.method) }
}

async fn relay<E: Exchange>(
    from: Origins<'_>,
    exchange: &mut E,
    request: &RequestHead,
    journal: &mut Journal,
    feed: &mut Feed,
    alarm: &mut Alarm,
    (route, mut standing, session): (&Arc<Route>, Standing, Session),
) -> Served {
    let cookie =
        (standing.class == Class::Success).then(|| remember(journal, &standing, session, &route.cookie)).flatten();
    journal.origin = Origin::Xsp;
    journal.status = Some(standing.head.status.as_u16());
    journal.responding();
    let abandoned = request.expectation == Expectation::Continue && !feed.is_complete() && feed.content() == 0;
    let last = if abandoned { Last::Yes } else { from.last };
    exchange.respond(&Answer::Relayed { head: &standing.head, cookie, tracking_id: &journal.tracking_id, last });
    let patience = Patience {
        answer: (!is_channel(route, &standing)).then_some(from.snapshot.limits.response_idle_timeout),
        write: from.snapshot.limits.write_timeout,
    };
    feed.settle(standing.sent);
    let relay = Relay { connection: &mut standing.connection, feed, sent: standing.sent, patience };
    let relayed = relay.run(exchange, alarm).await;
    journal.received = feed.content();
    journal.sent = exchange.sent();
    match relayed {
        Ok(()) => {
            if feed.is_complete() && standing.connection.is_reusable() {
                from.worker.pool.put(&standing.endpoint, standing.connection);
            }
            Served::Whole
        }
        Err(error) => {
            journal.reason = Some(error.reason());
            Served::Broken
        }
    }
}

/// An event channel says nothing for as long as nothing happens.
fn is_channel(route: &Route, standing: &Standing) -> bool {
    route.interface == Interface::XsiEvents
        && matches!(standing.head.framing, ResponseFraming::Chunked | ResponseFraming::UntilClose)
}

/// What affinity makes of the answer: the cookie to set, when the session is new or has moved (R-AFF-1, R-APP-1).
fn remember(journal: &mut Journal, standing: &Standing, session: Session, cookie: &str) -> Option<String> {
    let event = match session {
        Session::At(id) if id == standing.endpoint.id() => SessionEvent::Kept,
        Session::At(_) => SessionEvent::Moved,
        Session::New => SessionEvent::New,
        Session::Unknown => SessionEvent::Unknown,
    };
    journal.session(event);
    (event != SessionEvent::Kept).then(|| set_cookie(cookie, standing.endpoint.tag()))
}

/// The gateway's own answer.
pub(super) async fn refuse<E: Exchange>(
    exchange: &mut E,
    journal: &mut Journal,
    error: Error,
    feed: &Feed,
    last: Last,
) -> Served {
    journal.reason = Some(error.reason());
    journal.received = feed.content();
    let text = error.to_string();
    let unread = if feed.is_complete() { last } else { Last::Yes };
    let Some(answer) = error.into_response(&text, &journal.tracking_id, unread) else { return Served::Broken };
    if let Answer::Own { status, .. } = &answer {
        journal.status = Some(status.as_u16());
    }
    exchange.respond(&answer);
    match std::future::poll_fn(|cx| exchange.poll_flush(cx)).await {
        Ok(()) => Served::Whole,
        Err(_) => Served::Broken,
    }
}

/// The request's TrackingID, or a new one; one that a log could be fooled with counts as none.
fn tracking_id(head: &RequestHead) -> String {
    let sane = |value: &&[u8]| (1..=128).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic);
    match head.fields.get("trackingid").filter(sane).and_then(|value| std::str::from_utf8(value).ok()) {
        Some(given) => given.to_owned(),
        None => format!("XSPGATE_{:032x}", rand::random::<u128>()),
    }
}
