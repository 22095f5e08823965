//! One request from its head to the end of its answer. It reads like the rules: who is asked for, what for, by whom, in
//! which session; then forward, answer, tell.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Instant;

use super::acknowledgement;
use super::answer::{Answer, Last};
use super::challenge::Challenge;
use super::channels::{Home, Reader};
use super::context::Shared;
use super::error::{Error, refuse};
use super::exchange::{Exchange, Retracted};
use super::feed::Feed;
use super::forward::Forward;
use super::ingress::Ingress;
use super::journal::{Journal, Origin};
use super::relay::{Patience, Relay, RelayError};
use super::request::{Accepted, Request};
use super::snapshot::Route;
use super::tracking::tracking_id;
use crate::alarm::Alarm;
use crate::broadworks::xsi::Intent;
use crate::farm::{Endpoint, Session};
use crate::http1::chunked::ChunkError;
use crate::http1::head::{Expectation, RequestFraming, RequestHead, ResponseFraming};
use crate::policy::affinity::{cookie_values, set_cookie};
use crate::policy::classify::Class;
use crate::policy::failover::Target;
use crate::policy::health::Seen;
use crate::policy::route::Unroutable;
use crate::policy::streams::StreamKind;
use crate::registry::Why;
use crate::telemetry::metrics::{ChannelEnd, ChannelEvent, Heartbeat, SessionEvent};
use crate::upstream::connection::{AnswerError, Connection};

/// Whether a client's connection is still in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// The answer is through.
    Whole,
    /// It is not: the connection must be cut.
    Broken,
}

/// One request and its answer, on the connection that it came over.
pub(super) struct Transaction<'a, E> {
    pub(super) from: Ingress<'a>,
    pub(super) exchange: &'a mut E,
    pub(super) journal: &'a mut Journal,
    pub(super) alarm: &'a mut Alarm,
    pub(super) challenge: &'a mut Challenge,
}

/// What has become of a request until its answer's body begins.
struct Answered {
    route: Arc<Route>,
    intent: Intent,
    session: Session,
    accepted: Box<Accepted>,
}

/// What is held while an answer's body lasts, and no more: a channel lives for hours.
struct Body {
    route: Arc<Route>,
    endpoint: Arc<Endpoint>,
    connection: Box<Connection>,
    /// The rest of the request's body, and how much of it has gone up.
    feed: Feed,
    sent: u64,
    patience: Patience,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The stream of an event channel, which says nothing for as long as nothing happens.
    Channel,
    Other,
}

impl Kind {
    fn of(intent: &Intent, accepted: &Accepted) -> Self {
        let has_end = matches!(accepted.head.framing, ResponseFraming::Empty | ResponseFraming::Length(_));
        let is_channel = *intent == Intent::OpenChannel && accepted.head.status.is_success() && !has_end;
        if is_channel { Self::Channel } else { Self::Other }
    }
}

impl<E: Exchange> Transaction<'_, E> {
    /// Serves the request.
    pub(super) async fn serve(&mut self, head: Box<RequestHead>) -> Served {
        // In a box of its own, which is gone with the head when the answer's body begins.
        let mut body = match Box::pin(self.answer(head)).await {
            Ok(body) => body,
            Err(served) => return served,
        };
        match self.relay(&mut body).await {
            Err(RelayError::Xsp(AnswerError::Body(fault))) if self.exchange.retract() == Retracted::Yes => {
                Box::pin(self.take_back(body, fault)).await
            }
            relayed => self.conclude(body, relayed),
        }
    }

    /// Has the request answered. The body is still to come, unless the gateway has answered itself.
    async fn answer(&mut self, head: Box<RequestHead>) -> Result<Body, Served> {
        self.journal.tracking_id = tracking_id(&head);
        self.journal.trace(&self.from, &head);
        self.journal.request(&head);
        let mut feed = Feed::new(head.framing, 0);
        match self.forward(&head, &mut feed).await {
            Ok(answered) => Ok(self.respond(&head, feed, answered)),
            Err(error) => {
                let patience = self.from.snapshot.limits.write_timeout;
                let last = if is_withheld(&head, &feed) { Last::Yes } else { self.from.last() };
                Err(refuse(self.exchange, self.journal, error, &mut feed, last, patience).await)
            }
        }
    }

    /// Finds out who is asked for what, in which session, and has an XSP answer it.
    async fn forward(&mut self, head: &RequestHead, feed: &mut Feed) -> Result<Answered, Error> {
        let admitted = self.admit(head)?;
        let intent = Intent::of(admitted.interface, &head.method, head.path());
        let mut route = Arc::clone(&admitted);
        let channel = self.channel(&mut route, &intent)?;
        self.journal.route = Some(Arc::clone(&route));
        if route.farm.is_empty() {
            return Err(Error::NoEndpoint);
        }
        let session = route.farm.session(cookie_values(&head.fields, &route.cookie));
        *feed = Feed::new(head.framing, route.failover.replay_buffer_size);
        let (session, target) = match (channel, &intent) {
            // No session begins at a farm that gets no new ones.
            (Some(endpoint), _) if !Arc::ptr_eq(&route, &admitted) => {
                (Session::At(endpoint.id()), Target::Channel(endpoint.id()))
            }
            (Some(endpoint), _) => (session.visiting(&endpoint), Target::Channel(endpoint.id())),
            (None, Intent::OpenChannel) => {
                let home = self.challenge.home(self.from.client, &route.farm, session, head);
                (session, Target::NewChannel(route.farm.opening_session(home).home()))
            }
            (None, Intent::Acknowledge) => {
                let home = self.challenge.home(self.from.client, &route.farm, session, head);
                let (session, home) = self.acknowledging(&mut route, session, home, head, feed).await?;
                (session, Target::Farm(home.home()))
            }
            (None, Intent::Heartbeat(_) | Intent::Channel(_) | Intent::Other) => {
                (session, Target::Farm(self.challenge.home(self.from.client, &route.farm, session, head).home()))
            }
        };
        let precedence = self.from.precedence(head, &intent, target);
        let outbound = self.from.outbound(head, &intent, &route, self.journal);
        let Ingress { worker, snapshot, block, .. } = self.from;
        let request = Request { worker, snapshot, block, route: &route };
        let (mut forward, first) = Forward::begin(request, outbound, target, precedence, self.journal);
        let forwarded = forward.run(first, self.exchange, feed, self.alarm).await;
        if let Some(id) = intent.channel() {
            let heartbeat = match &forwarded {
                Ok(accepted) => Heartbeat::answered(accepted.head.status.as_u16()),
                Err(Error::ChannelLost) => {
                    worker.shared.channels.cut(id);
                    Heartbeat::Lost
                }
                Err(_) => Heartbeat::Failed,
            };
            count(&route, &intent, heartbeat);
        }
        let accepted = forwarded?;
        if intent == Intent::Acknowledge && accepted.head.status.is_success() {
            worker.shared.channels.acknowledged(self.from.client, acknowledgement::events(head, feed));
        }
        if !accepted.is_awaited {
            let Accepted { endpoint, connection, sent, .. } = *accepted;
            // An XSP that has answered early would take the rest of the body, or its lack, for the next request's.
            if feed.is_sent(sent) && connection.is_reusable() {
                self.from.worker.pool.put(&endpoint, connection);
            }
            return Err(Error::ClientGone);
        }
        Ok(Answered { route, intent, session, accepted })
    }

    /// Where the event channel is that the request names, if anybody here knows; `route` then leads there, also if it leads
    /// new requests to another farm by now.
    fn channel(&self, route: &mut Arc<Route>, intent: &Intent) -> Result<Option<Arc<Endpoint>>, Error> {
        let Some(id) = intent.channel() else { return Ok(None) };
        let channels = &self.from.worker.shared.channels;
        let (event, channel) = match channels.home(id, &route.farm) {
            Home::At(endpoint) => (ChannelEvent::Bound, Ok(Some(endpoint))),
            Home::Elsewhere(farm, endpoint) if let Some(back) = route.back_to(&farm) => {
                *route = back;
                (ChannelEvent::Bound, Ok(Some(endpoint)))
            }
            // Another farm has the XSP by now: one that was renamed without `formerly`, for instance.
            Home::Elsewhere(_, endpoint) if let Some(same) = route.farm.at(endpoint.address()) => {
                (ChannelEvent::Bound, Ok(Some(same)))
            }
            Home::Lost => {
                count(route, intent, Heartbeat::Lost);
                (ChannelEvent::Refused, Err(Error::ChannelLost))
            }
            Home::Elsewhere(..) | Home::Unknown => (ChannelEvent::Unknown, Ok(None)),
        };
        route.farm.metrics().channel(event);
        channel
    }

    /// The route of a request that may take it.
    fn admit(&mut self, head: &RequestHead) -> Result<Arc<Route>, Error> {
        let from = self.from;
        let host = head.host().unwrap_or_else(|| from.host());
        if !from.block.serves(host, from.introduction) {
            return Err(Error::Misdirected);
        }
        self.journal.host(host);
        let route = from.block.route(head.path()).map_err(|unroutable| match unroutable {
            Unroutable::Ambiguous => Error::AmbiguousPath,
            Unroutable::Unknown if head.is_about_server() => Error::Options,
            Unroutable::Unknown => Error::UnknownPath,
        })?;
        self.journal.route = Some(Arc::clone(route));
        if !route.allows(from.client) {
            return Err(Error::NotAllowed);
        }
        route.admit(&from.introduction.peer)?;
        if matches!(head.framing, RequestFraming::Length(length) if length > from.snapshot.limits.request_body_size) {
            return Err(Error::BodyTooLong);
        }
        Ok(Arc::clone(route))
    }

    /// Queues the answer's head, and keeps what its body needs.
    fn respond(&mut self, head: &RequestHead, mut feed: Feed, answered: Answered) -> Body {
        let Answered { route, intent, session, accepted } = answered;
        let Self { from, exchange, journal, challenge, .. } = self;
        challenge.note(from.client, &route.farm, &accepted);
        let cookie =
            (accepted.class == Class::Success).then(|| remember(journal, head, &accepted, session, &route)).flatten();
        journal.origin = Origin::Xsp;
        journal.status = Some(accepted.head.status.as_u16());
        journal.received = feed.content();
        journal.responding();
        let last = if is_withheld(head, &feed) { Last::Yes } else { from.last() };
        let (head, tracking_id, via) = (&accepted.head, &journal.tracking_id, from.snapshot.via);
        exchange.respond(&Answer::Relayed { head, cookie, tracking_id, via, last });
        let kind = Kind::of(&intent, &accepted);
        let Accepted { endpoint, mut connection, sent, .. } = *accepted;
        // An XSP that answers before it has the whole request may close once it has, and one that ends a channel has had enough.
        if kind == Kind::Channel || !feed.is_sent(sent) || !connection.is_flushed() {
            connection.close_after();
        }
        feed.settle(sent);
        let limits = &from.snapshot.limits;
        let answer = match kind {
            Kind::Channel => {
                journal.told_of_stream();
                None
            }
            Kind::Other => Some(limits.response_idle_timeout),
        };
        let patience = Patience { answer, write: limits.write_timeout };
        Body { route, endpoint, connection, feed, sent, patience, kind }
    }

    /// Passes the answer's body on to its end.
    async fn relay(&mut self, body: &mut Body) -> Result<(), RelayError> {
        let Self { from, exchange, journal, alarm, .. } = self;
        let Body { route, endpoint, connection, feed, sent, patience, kind } = body;
        let peer = journal.peer();
        let Shared { channels, registry, .. } = &*from.worker.shared;
        let mut reader = (*kind == Kind::Channel).then(|| {
            let registered = registry.register(StreamKind::Channel, from.client, peer, endpoint);
            Box::new(Reader::new(channels, &route.farm, endpoint, registered))
        });
        let mut relay = Relay::new(endpoint, connection, feed, sent, *patience, reader.as_deref_mut());
        let relayed = poll_fn(|cx| {
            let relayed = relay.poll(cx, *exchange, alarm);
            // It may be cut off at any time.
            journal.sent = exchange.sent();
            relay.passed(journal.received, journal.sent);
            if let Some(opened) = relay.opened() {
                journal.opened(endpoint, opened);
            }
            relayed
        })
        .await;
        if let Some(reader) = &mut reader {
            reader.ended(match &relayed {
                Ok(()) => ChannelEnd::Xsp,
                Err(RelayError::Client(_) | RelayError::ClientStalled) => ChannelEnd::Client,
                Err(RelayError::Cut(Why::Operator | Why::Drained) | RelayError::ClientUntrusted) => ChannelEnd::Cut,
                Err(
                    RelayError::Xsp(_)
                    | RelayError::XspStalled
                    | RelayError::ChannelLost
                    | RelayError::Cut(Why::GivenUp),
                ) => ChannelEnd::Lost,
            });
        }
        relayed
    }

    /// Nothing of the answer has left, and it can't be read on: the client gets another one.
    async fn take_back(&mut self, mut body: Body, fault: ChunkError) -> Served {
        let Self { from, exchange, journal, .. } = self;
        tracing::info!(
            tracking_id = journal.tracking_id,
            farm = body.route.farm.name(),
            endpoint = &**body.endpoint.label(),
            reason = %fault,
            "answer of an XSP can't be read"
        );
        journal.origin = Origin::Gateway;
        journal.sent = 0;
        let patience = from.snapshot.limits.write_timeout;
        refuse(*exchange, journal, Error::Unreadable, &mut body.feed, from.last(), patience).await
    }

    fn conclude(&mut self, body: Body, relayed: Result<(), RelayError>) -> Served {
        self.journal.received = body.feed.content();
        match relayed {
            Ok(()) => {
                self.journal.reason = None;
                if body.connection.is_reusable() {
                    self.from.worker.pool.put(&body.endpoint, body.connection);
                }
                Served::Whole
            }
            Err(error) => {
                self.journal.reason = Some(error.reason());
                if let RelayError::Xsp(AnswerError::Broken(_) | AnswerError::Closed) = error {
                    let Body { route, endpoint, .. } = &body;
                    let rules = route.failover.rules();
                    route.farm.observe(endpoint, Seen::Ended, Instant::now(), Some(route.interface), &rules);
                }
                Served::Broken
            }
        }
    }
}

/// Whether the client waits for a 100 before it sends the body. An answer instead may have it send none, so that nobody knows where
/// the next request begins.
fn is_withheld(head: &RequestHead, feed: &Feed) -> bool {
    head.expectation == Expectation::Continue && !feed.is_complete() && feed.content() == 0
}

/// Counts what came of the request, if it is a heartbeat.
fn count(route: &Route, intent: &Intent, heartbeat: Heartbeat) {
    if let Intent::Heartbeat(_) = intent {
        route.farm.metrics().heartbeat(heartbeat);
    }
}

/// What affinity makes of the answer: the cookie to set, when the session is new or has moved (R-AFF-1, R-APP-1), or the farm has
/// another name now.
fn remember(
    journal: &mut Journal,
    head: &RequestHead,
    accepted: &Accepted,
    session: Session,
    route: &Route,
) -> Option<String> {
    let event = match session {
        Session::At(id) if id == accepted.endpoint.id() => SessionEvent::Kept,
        Session::At(_) => SessionEvent::Moved,
        Session::New => SessionEvent::New,
        Session::Unknown => SessionEvent::Unknown,
    };
    journal.session(event);
    let is_told = event != SessionEvent::Kept
        || route.farm.is_outdated(cookie_values(&head.fields, &route.cookie), &accepted.endpoint);
    is_told.then(|| set_cookie(&route.cookie, &accepted.endpoint.tag()))
}

#[cfg(test)]
mod tests {
    use super::super::http1::Http1;
    use super::super::{AT_HAND, footprint};
    use super::*;

    #[test]
    fn a_request_that_is_being_answered_takes_memory_that_is_at_hand() {
        type Asked = (&'static mut Transaction<'static, Http1>, Box<RequestHead>);
        let size = footprint(&|(transaction, head): Asked| transaction.answer(head));
        assert!(size <= AT_HAND, "{size} bytes");
    }
}
