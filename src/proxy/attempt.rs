//! One try of a request at one endpoint: dial or borrow a connection, send, wait for a response head. Its states are the
//! control flow, polled inside the task of the client's connection, so that several can run beside each other.

mod linger;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

pub(super) use self::linger::{count, report};
use super::failure::Failure;
use super::feed::{Feed, Outbound};
use crate::farm::{Farm, Overdue, Picked};
use crate::http1::head::{Expectation, HeadLimits, ResponseHead};
use crate::policy::failover::Clock;
use crate::policy::fault::AttemptEnd;
use crate::telemetry::access::Attempted;
use crate::upstream::connect::{ConnectError, Dial, connect};
use crate::upstream::connection::{AnswerError, Connection};
use crate::upstream::pool::{Pool, Repeat};

/// The most body bytes that are sealed at once.
const SLICE: usize = 64 * 1024;

/// What an attempt has come to.
#[derive(Debug)]
pub(super) enum Progress {
    /// A 1xx head, to be passed on.
    Informed(ResponseHead),
    /// The response's head; the body follows on [`Attempt::into_connection`].
    Answered(ResponseHead),
}

/// A running attempt.
pub(super) struct Attempt {
    pub(super) picked: Picked,
    farm: Arc<Farm>,
    outbound: Outbound,
    state: State,
    begun: Instant,
    /// When its connection was there, if it was dialled.
    connected: Option<Instant>,
    /// Its place in the request's journal.
    pub(super) entry: usize,
    /// Since when nobody but the XSP is awaited.
    awaited_since: Instant,
    /// Since when the XSP has had everything that the client has sent.
    since: Instant,
    timeout: Duration,
    patience: Duration,
    /// What the answer's head may have.
    limits: HeadLimits,
    reuse: Reuse,
    sent: u64,
    head_sent: bool,
    body_waits: bool,
    /// When the XSP was asked whether the body may come, until it has said so or the body comes unbidden.
    asked: Option<Instant>,
    /// Why the XSP takes no more of the request. It may have said more in an answer, which is then on its way.
    refused: Option<io::Error>,
    /// Held until it ends.
    overdue: Option<Overdue>,
}

enum State {
    Dialing(Pin<Box<dyn Future<Output = Result<Connection, ConnectError>> + Send>>),
    Talking(Box<Connection>),
    Over,
}

impl Attempt {
    /// Begins an attempt at `picked`, on an idle connection if there is one. The attempt is to be polled at once, before the
    /// XSP can close that.
    pub(super) fn begin(
        farm: &Arc<Farm>,
        picked: Picked,
        pool: &Pool,
        outbound: &Outbound,
        timeout: Duration,
        patience: Duration,
    ) -> Self {
        let repeat = if outbound.replayable { Repeat::Possible } else { Repeat::Never };
        match pool.take(&picked.endpoint, repeat) {
            Some(connection) => {
                Self::new(farm, picked, outbound, timeout, patience, State::Talking(connection), Reuse::Pooled)
            }
            None => Self::fresh(farm, picked, outbound, timeout, patience),
        }
    }

    /// Begins an attempt on a connection of its own.
    pub(super) fn fresh(
        farm: &Arc<Farm>,
        picked: Picked,
        outbound: &Outbound,
        timeout: Duration,
        patience: Duration,
    ) -> Self {
        let state = State::Dialing(dial(farm, &picked, patience));
        Self::new(farm, picked, outbound, timeout, patience, state, Reuse::Dialled)
    }

    fn new(
        farm: &Arc<Farm>,
        picked: Picked,
        outbound: &Outbound,
        timeout: Duration,
        patience: Duration,
        state: State,
        reuse: Reuse,
    ) -> Self {
        let now = Instant::now();
        Self {
            picked,
            farm: Arc::clone(farm),
            outbound: outbound.clone(),
            state,
            begun: now,
            connected: None,
            entry: 0,
            awaited_since: now,
            since: now,
            timeout,
            patience,
            limits: farm.config().response_limits,
            reuse,
            sent: 0,
            head_sent: false,
            body_waits: false,
            asked: None,
            refused: None,
            overdue: None,
        }
    }

    /// When it began.
    pub(super) const fn begun(&self) -> Instant {
        self.begun
    }

    /// When its connection was there; `None`: from the beginning, or never.
    pub(super) const fn connected(&self) -> Option<Instant> {
        self.connected
    }

    /// Until when the XSP may stay silent; `None` while the client's body is what is awaited. A client that expects a
    /// 100 sends none before the XSP has spoken.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let since = if self.body_waits { self.asked } else { Some(self.since) };
        since.map(|since| since + self.timeout)
    }

    /// How much of the body it has sent.
    pub(super) const fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether the XSP may have got any of the request.
    pub(super) const fn may_be_delivered(&self) -> bool {
        self.head_sent
    }

    /// It is overdue, as long as it runs.
    pub(super) fn mark_overdue(&mut self, overdue: Overdue) {
        self.overdue = Some(overdue);
    }

    /// Whom it waits for.
    pub(super) fn clock(&self) -> Clock {
        Clock { since: self.awaited_since.into_std(), deadline: self.deadline().map(Instant::into_std) }
    }

    /// What the access log says of it.
    pub(super) fn log(&self, outcome: AttemptEnd, status: Option<u16>) -> Attempted {
        Attempted {
            endpoint: Arc::clone(self.picked.endpoint.label()),
            chosen: self.picked.reason.name(),
            outcome,
            status,
            reused: self.reuse == Reuse::Pooled,
            took: self.begun.elapsed(),
        }
    }

    /// Drives the attempt; also called when `feed` has more.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, feed: &mut Feed) -> Poll<Result<Progress, Failure>> {
        loop {
            match &mut self.state {
                State::Dialing(dialing) => {
                    let connection = ready!(dialing.as_mut().poll(cx))?;
                    self.picked.endpoint.metrics().connections_new.inc();
                    self.connected = Some(Instant::now());
                    self.state = State::Talking(Box::new(connection));
                }
                State::Talking(_) => match ready!(self.poll_talk(cx, feed)) {
                    Err(Failure::Stale(_)) if self.may_repeat(feed) => self.redial(),
                    result => return Poll::Ready(result),
                },
                State::Over => return Poll::Pending,
            }
            if let Some(deadline) = self.deadline()
                && Instant::now() >= deadline
            {
                return Poll::Ready(Err(Failure::Timeout(self.timeout)));
            }
        }
    }

    fn poll_talk(&mut self, cx: &mut Context<'_>, feed: &mut Feed) -> Poll<Result<Progress, Failure>> {
        let talked = ready!(self.poll_words(cx, feed));
        Poll::Ready(match &self.state {
            State::Talking(connection) => talked.map_err(|failure| self.weighed(failure, connection)),
            State::Dialing(_) | State::Over => talked,
        })
    }

    fn poll_words(&mut self, cx: &mut Context<'_>, feed: &mut Feed) -> Poll<Result<Progress, Failure>> {
        let State::Talking(connection) = &mut self.state else { return Poll::Pending };
        if !self.head_sent {
            let body = feed.after(0);
            if body.is_empty() {
                connection.send(cx, &self.outbound.head).map_err(Failure::Send)?;
            } else {
                let body = &body[..body.len().min(SLICE)];
                connection.send(cx, &[&self.outbound.head, body].concat()).map_err(Failure::Send)?;
                self.sent = body.len() as u64;
            }
            self.head_sent = true;
            if self.reuse == Reuse::Pooled {
                self.picked.endpoint.metrics().connections_reused.inc();
            }
            self.since = Instant::now();
            self.asked = (self.outbound.expectation == Expectation::Continue).then_some(self.since);
        }
        let waited = self.body_waits;
        if self.refused.is_some() {
            self.body_waits = false;
        } else if !feed.is_sent(self.sent) || !connection.is_flushed() {
            match send_body(cx, connection, feed, &mut self.sent, &mut self.since) {
                Ok(body_waits) => self.body_waits = body_waits,
                Err(error) => self.refused = Some(error),
            }
            if waited || self.body_waits {
                self.awaited_since = self.since;
            }
        } else if self.body_waits {
            self.body_waits = false;
            self.since = Instant::now();
            self.awaited_since = self.since;
        }
        if self.sent > 0 {
            self.asked = None;
        }
        let head = match (ready!(connection.poll_head(cx, &self.limits, &self.outbound.method)), self.refused.take()) {
            (Ok(head), refused) => {
                self.refused = refused;
                head
            }
            (Err(AnswerError::Broken(_) | AnswerError::Closed), Some(refused)) => {
                return Poll::Ready(Err(Failure::Send(refused)));
            }
            (Err(error), _) => {
                if let AnswerError::Head(garbage) = error {
                    tracing::info!(
                        farm = self.farm.name(),
                        endpoint = &**self.picked.endpoint.label(),
                        reason = %garbage,
                        "answer of an XSP can't be read"
                    );
                }
                return Poll::Ready(Err(error.into()));
            }
        };
        if head.status == StatusCode::CONTINUE {
            self.asked = None;
        }
        Poll::Ready(Ok(if head.status.is_informational() {
            Progress::Informed(head)
        } else {
            Progress::Answered(head)
        }))
    }

    /// Another failure, if the connection is one that had idled, and has ended before a byte of the answer: the XSP may have
    /// closed it just before the request came.
    fn weighed(&self, failure: Failure, connection: &Connection) -> Failure {
        let ended = match &failure {
            Failure::Send(_) | Failure::Answer(AnswerError::Broken(_) | AnswerError::Closed) => true,
            Failure::Connect(_)
            | Failure::Answer(
                AnswerError::Unconfirmed
                | AnswerError::Head(_)
                | AnswerError::TooLarge
                | AnswerError::Body(_)
                | AnswerError::Interim,
            )
            | Failure::Stale(_)
            | Failure::Timeout(_) => false,
        };
        let is_stale = ended && self.reuse == Reuse::Pooled && !connection.has_begun_to_answer();
        if is_stale { Failure::Stale(Box::new(failure)) } else { failure }
    }

    /// Whether a fresh connection to the same endpoint is worth a try: the request can't have been carried out, or may be
    /// carried out twice.
    const fn may_repeat(&self, feed: &Feed) -> bool {
        !self.head_sent || self.outbound.replayable && feed.is_whole()
    }

    fn redial(&mut self) {
        self.state = State::Dialing(dial(&self.farm, &self.picked, self.patience));
        self.reuse = Reuse::Dialled;
        self.sent = 0;
        self.head_sent = false;
        self.body_waits = false;
        self.asked = None;
        self.refused = None;
    }

    /// The connection on which the answer's body follows.
    pub(super) fn into_connection(mut self) -> (Picked, Option<Box<Connection>>, u64) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Talking(connection) => (self.picked, Some(connection), self.sent),
            State::Dialing(_) | State::Over => (self.picked, None, self.sent),
        }
    }
}

/// Where an attempt's connection came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reuse {
    Pooled,
    Dialled,
}

fn dial(
    farm: &Farm,
    picked: &Picked,
    patience: Duration,
) -> Pin<Box<dyn Future<Output = Result<Connection, ConnectError>> + Send>> {
    let dial = Dial::to(farm, &picked.endpoint, patience);
    let tls = Arc::clone(&dial.tls);
    Box::pin(async { Ok(Connection::new(connect(dial).await?, tls)) })
}

/// Sends what can be sent of the body; true: the client's bytes are what is awaited.
pub(super) fn send_body(
    cx: &mut Context<'_>,
    connection: &mut Connection,
    feed: &mut Feed,
    sent: &mut u64,
    since: &mut Instant,
) -> io::Result<bool> {
    loop {
        match connection.poll_flush(cx) {
            Poll::Ready(result) => result?,
            Poll::Pending => return Ok(false),
        }
        let ready = feed.after(*sent);
        if ready.is_empty() {
            *since = Instant::now();
            return Ok(!feed.is_complete());
        }
        let slice = &ready[..ready.len().min(SLICE)];
        connection.send(cx, slice)?;
        *sent += slice.len() as u64;
        *since = Instant::now();
    }
}
