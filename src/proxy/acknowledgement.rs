//! Acknowledgements of events, which name no channel: their bodies are read before an XSP is chosen. Apart from the life of
//! all other requests, whose bodies are on their way to an XSP while they come in.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use super::exchange::{ClientError, Exchange};
use super::feed::Feed;
use super::snapshot::Route;
use crate::alarm::Alarm;
use crate::broadworks::channel::event::{EventId, event_ids};
use crate::broadworks::channel::is_event_response;
use crate::broadworks::interface::Interface;
use crate::http1::body::Body;
use crate::http1::chunked::Event;
use crate::http1::head::{Expectation, RequestFraming, RequestHead};

/// The longest body that is looked at, in bytes as they go over the wire.
const LONGEST: usize = 16 * 1024;

/// Whether this request acknowledges an event.
pub(super) fn is_one(route: &Route, head: &RequestHead) -> bool {
    route.interface == Interface::XsiEvents && is_event_response(&head.method, head.path())
}

/// Moves the body of an acknowledgement into `feed`, unless it is long or takes longer than `patience`, or its client
/// waits to be told to send it.
///
/// # Errors
/// The client's.
pub(super) async fn read<E: Exchange>(
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
