//! Acknowledgements of events, which name no channel: their bodies are read before an XSP is chosen. Separate from the life of
//! all other requests, whose bodies are on their way to an XSP while they come in.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use super::error::Error;
use super::exchange::{ClientError, Exchange};
use super::feed::Feed;
use super::service::Transaction;
use super::snapshot::Route;
use crate::alarm::Alarm;
use crate::broadworks::channel::event::{EventId, event_ids};
use crate::farm::Session;
use crate::http1::body::Body;
use crate::http1::chunked::Event;
use crate::http1::head::{Expectation, RequestFraming, RequestHead};

/// The longest body that is looked at, in bytes as they go over the wire.
const LONGEST: usize = 16 * 1024;

impl<E: Exchange> Transaction<'_, E> {
    /// The session of an acknowledgement, and where that is at home for once: to `home` if that binds it, and otherwise rather to the XSP from which
    /// the client has the event, unless that is blocked. `route` then leads there, also if it leads new requests to another
    /// farm by now.
    pub(super) async fn acknowledging(
        &mut self,
        route: &mut Arc<Route>,
        session: Session,
        home: Session,
        head: &RequestHead,
        feed: &mut Feed,
    ) -> Result<(Session, Session), Error> {
        if let Session::At(_) = home {
            return Ok((session, home));
        }
        let from = self.from;
        let patience = from.snapshot.limits.request_body_idle_timeout;
        self.journal.awaits_body();
        read(head, self.exchange, feed, self.alarm, patience).await?;
        let sender = from.worker.shared.channels.sender(from.client, &events(head, feed));
        let Some((farm, endpoint)) = sender else { return Ok((session, session)) };
        let at_sender = Session::At(endpoint.id());
        if Arc::ptr_eq(&farm, &route.farm) {
            return Ok((session, at_sender));
        }
        let Some(back) = route.back_to(&farm).filter(|_| farm.is_up(&endpoint)) else {
            // Another farm may have the XSP by now.
            let same = route.farm.at(endpoint.address());
            return Ok((session, same.map_or(session, |same| Session::At(same.id()))));
        };
        *route = back;
        self.journal.route = Some(Arc::clone(route));
        // No session begins at a farm that gets no new ones.
        Ok((at_sender, at_sender))
    }
}

/// Moves the body of an acknowledgement into `feed`, unless it is long or takes longer than `patience`, or its client
/// waits to be told to send it.
///
/// # Errors
/// The client's.
async fn read<E: Exchange>(
    head: &RequestHead,
    exchange: &mut E,
    feed: &mut Feed,
    alarm: &mut Alarm,
    patience: Duration,
) -> Result<(), ClientError> {
    let long = matches!(head.framing, RequestFraming::Length(length) if length > LONGEST as u64);
    if long || head.expectation == Expectation::Continue {
        return Ok(());
    }
    let until = Instant::now() + patience;
    poll_fn(|cx| {
        while !feed.is_complete() && feed.after(0).len() <= LONGEST {
            match exchange.poll_body(cx, feed) {
                Poll::Ready(result) => result?,
                Poll::Pending => return alarm.poll_at(cx, until).map(Ok),
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
}

/// The events that the body in `feed` names, if it is there as a whole.
pub(super) fn events(head: &RequestHead, feed: &Feed) -> Vec<EventId> {
    let mut rest = feed.after(0);
    if !feed.is_complete() || !feed.is_whole() || rest.len() > LONGEST {
        return Vec::new();
    }
    let mut body = Body::from(head.framing);
    let mut content = Vec::with_capacity(rest.len());
    while let Ok((taken, Some(event))) = body.next(rest) {
        rest = &rest[taken..];
        if let Event::Data(data) = event {
            content.extend_from_slice(data);
        }
    }
    event_ids(&content).collect()
}
