//! What drives a request to an answer: sockets and waiting. The machine decides (`policy::failover`), attempts run one after the
//! other or beside each other, and what they come to is told to it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::StatusCode;
use http::header::LOCATION;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::attempt::{Attempt, Progress, count, report};
use super::client::{Asked, Client, hear_first};
use super::context::Worker;
use super::error::Error;
use super::exchange::{ClientEnd, ClientError, Exchange};
use super::failure::Failure;
use super::feed::{Feed, Outbound};
use super::journal::Journal;
use super::location;
use super::request::{Accepted, Request};
use super::snapshot::{Block, Route, Snapshot};
use crate::alarm::Alarm;
use crate::farm::{Forwarding, Picked, Step, Steps};
use crate::http1::head::ResponseHead;
use crate::policy::classify::{Class, Replay};
use crate::policy::endpoint::EndpointId;
use crate::policy::failover::{Due, Event, GiveUp, Target, Terms};
use crate::policy::fault::{AttemptEnd, Fault};
use crate::policy::health::load::Precedence;
use crate::telemetry::Causes;
use crate::telemetry::metrics::ChannelEvent;

/// One request on its way to an answer.
pub(super) struct Forward<'a> {
    worker: &'a Worker,
    snapshot: &'a Snapshot,
    block: &'a Block,
    route: &'a Arc<Route>,
    outbound: Outbound,
    journal: &'a mut Journal,
    request: Forwarding,
    /// Whether it asks for an event channel: a client that has left has no use for one.
    opens_channel: bool,
    client: Client,
    /// Where the request waits for its turn to open a channel, or for a place.
    held: Option<Box<Picked>>,
    running: SmallVec<[(usize, Box<Attempt>); 2]>,
    /// The answer that is passed on if there is no better one.
    fallback: Option<Box<Accepted>>,
}

/// What happened next.
enum Happened {
    Progress(usize, Result<Progress, Failure>),
    Due(Due),
    /// The client's body stalled.
    BodyStalled,
}

impl<'a> Forward<'a> {
    /// A request to be sent, and what is to be done first.
    pub(super) fn begin(
        request: Request<'a>,
        outbound: Outbound,
        target: Target,
        precedence: Option<Precedence>,
        journal: &'a mut Journal,
    ) -> (Self, Steps) {
        let Request { worker, snapshot, block, route } = request;
        let failover = &route.failover;
        let terms = Terms {
            tries: failover.tries,
            rules: failover.rules(),
            replayable: outbound.replayable,
            safe: Replay::Safe.allows(&outbound.method),
            until: None,
            interface: Some(route.interface),
            precedence,
        };
        let opens_channel = matches!(target, Target::NewChannel(_));
        let (request, first) = Forwarding::begin(&route.farm, terms, target);
        let (held, running, fallback) = (None, SmallVec::new(), None);
        let forward = Self {
            worker,
            snapshot,
            block,
            route,
            outbound,
            journal,
            request,
            opens_channel,
            client: Client::Waits,
            held,
            running,
            fallback,
        };
        (forward, first)
    }

    /// Runs until an answer stands.
    ///
    /// # Errors
    /// When none will, or the client has left.
    pub(super) async fn run<E: Exchange>(
        &mut self,
        mut steps: Steps,
        exchange: &mut E,
        feed: &mut Feed,
        alarm: &mut Alarm,
    ) -> Result<Box<Accepted>, Error> {
        let mut answer = None;
        let mut body_since = Instant::now();
        loop {
            if let Some(end) = self.take(steps, answer, feed) {
                return end;
            }
            let happened = poll_fn(|cx| self.poll(cx, exchange, feed, alarm, &mut body_since)).await;
            (steps, answer) = match happened.inspect_err(|_| self.abandon())? {
                Happened::Progress(_, Ok(Progress::Informed(head))) => {
                    exchange.inform(&head);
                    (Steps::new(), None)
                }
                Happened::Progress(index, Ok(Progress::Answered(head))) => self.answered(index, head, feed),
                Happened::Progress(index, Err(failure)) => (self.failed(index, &failure, feed), None),
                Happened::Due(Due::Silent(attempt)) => {
                    match self.running.iter().position(|(known, _)| *known == attempt) {
                        Some(index) => {
                            let failure = Failure::Timeout(self.route.failover.response_timeout);
                            (self.failed(index, &failure, feed), None)
                        }
                        None => (Steps::new(), None),
                    }
                }
                Happened::Due(due) => {
                    // No other request has this address meanwhile.
                    let session = std::ptr::from_ref(exchange).addr() as u64;
                    (self.request.on(Event::Due { due, session, body: feed.state() }), None)
                }
                Happened::BodyStalled => {
                    self.abandon();
                    return Err(Error::Slow);
                }
            };
        }
    }

    /// Does as the machine says; an end, if it says so. `answer` is what has just come.
    fn take(
        &mut self,
        steps: Steps,
        mut answer: Option<Box<Accepted>>,
        feed: &mut Feed,
    ) -> Option<Result<Box<Accepted>, Error>> {
        for step in steps {
            match step {
                Step::Begin { attempt, picked } => {
                    self.held = None;
                    self.begin_attempt(attempt, picked);
                }
                Step::Queue(picked) => {
                    self.held = Some(Box::new(picked));
                    self.route.farm.metrics().channel(ChannelEvent::Queued);
                }
                Step::Wait(picked) => {
                    self.held = Some(Box::new(picked));
                    self.route.farm.metrics().waited.inc();
                }
                Step::Ask { attempt } => {
                    let picked = self.held.take().expect("what was queued is held");
                    self.begin_attempt(attempt, *picked);
                }
                Step::Missed => self.route.farm.metrics().channel(ChannelEvent::Rejected),
                Step::Overdue { attempt, overdue } => {
                    if let Some((_, running)) = self.running.iter_mut().find(|(known, _)| *known == attempt) {
                        running.mark_overdue(overdue);
                    }
                }
                Step::Keep { .. } => self.fallback = answer.take(),
                Step::Answer { attempt, class } => {
                    let mut accepted = answer.filter(|answer| answer.attempt == attempt).or(self.fallback.take())?;
                    accepted.class = class;
                    accepted.is_awaited = self.client != Client::Left;
                    self.let_go(feed);
                    return Some(Ok(accepted));
                }
                Step::GiveUp(why) => {
                    if why == GiveUp::Overloaded {
                        self.route.farm.metrics().overloaded.inc();
                    }
                    return Some(Err(why.into()));
                }
            }
        }
        None
    }

    fn poll<E: Exchange>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut E,
        feed: &mut Feed,
        alarm: &mut Alarm,
        body_since: &mut Instant,
    ) -> Poll<Result<Happened, ClientError>> {
        if self.opens_channel
            && self.client == Client::Waits
            && !self.running.iter().any(|(_, attempt)| attempt.may_be_delivered())
            && let Some(end) = hear_first(cx, exchange, feed)?
        {
            self.client_ended(end, feed)?;
        }
        loop {
            for (index, (number, attempt)) in self.running.iter_mut().enumerate() {
                if let Poll::Ready(progress) = attempt.poll(cx, feed) {
                    return Poll::Ready(Ok(Happened::Progress(index, progress)));
                }
                self.request.machine.clock(*number, attempt.clock());
            }
            let sent = self.running.iter().map(|(_, attempt)| attempt.sent()).min().unwrap_or_default();
            if !feed.is_complete() {
                feed.release(sent);
                if !feed.wants_more(sent) {
                    *body_since = Instant::now();
                    break;
                }
                match exchange.poll_body(cx, feed) {
                    Poll::Ready(result) => {
                        result?;
                        *body_since = Instant::now();
                        continue;
                    }
                    Poll::Pending => break,
                }
            }
            if self.client == Client::Waits
                && let Poll::Ready(end) = exchange.poll_end(cx)
            {
                self.client_ended(end, feed)?;
            }
            break;
        }
        // A 1xx head may wait to leave; whether it has is of no interest here.
        if self.client != Client::Left
            && let Poll::Ready(Err(error)) = exchange.poll_flush(cx)
        {
            self.client_ended(ClientEnd::Broken(error), feed)?;
        }
        if self.request.poll_place(cx).is_ready() {
            return Poll::Ready(Ok(Happened::Due(Due::Place)));
        }
        self.poll_clock(cx, feed, alarm, *body_since)
    }

    fn poll_clock(
        &self,
        cx: &mut Context<'_>,
        feed: &Feed,
        alarm: &mut Alarm,
        body_since: Instant,
    ) -> Poll<Result<Happened, ClientError>> {
        let stalled_at = (!feed.is_complete()).then(|| body_since + self.snapshot.limits.request_body_idle_timeout);
        let due_at = self.request.machine.wake_at().map(Instant::from_std);
        let left_at = self.client.waits_until();
        let Some(at) = [stalled_at, due_at, left_at].into_iter().flatten().min() else { return Poll::Pending };
        std::task::ready!(alarm.poll_at(cx, at));
        Poll::Ready(match self.request.machine.due(at.into_std()) {
            Some(due) => Ok(Happened::Due(due)),
            None if left_at == Some(at) => Err(ClientError::Gone),
            None => Ok(Happened::BodyStalled),
        })
    }

    fn client_ended(&mut self, end: ClientEnd, feed: &Feed) -> Result<(), ClientError> {
        let asked = Asked {
            opens_channel: self.opens_channel,
            changes: feed.is_complete() && !Replay::Safe.allows(&self.outbound.method),
        };
        let patience = self.route.failover.advance_after.map(|after| self.journal.begun() + after);
        self.client = Client::ended(end, asked, patience)?;
        Ok(())
    }

    fn begin_attempt(&mut self, number: usize, picked: Picked) {
        let failover = &self.route.failover;
        let mut attempt = Attempt::begin(
            &self.route.farm,
            picked,
            &self.worker.pool,
            &self.journal.outbound(&self.outbound),
            failover.response_timeout,
            failover.connect_timeout,
        );
        attempt.entry = self.journal.began(&attempt);
        self.request.machine.clock(number, attempt.clock());
        self.running.push((number, Box::new(attempt)));
    }

    fn failed(&mut self, index: usize, failure: &Failure, feed: &Feed) -> Steps {
        let (number, attempt) = self.running.remove(index);
        let fault = failure.fault();
        let end = AttemptEnd::Fault(fault);
        self.journal.ended(&attempt, end, None);
        count(&attempt, end);
        tracing::debug!(
            tracking_id = self.journal.tracking_id,
            endpoint = &**attempt.picked.endpoint.label(),
            error.message = %Causes(failure),
            "attempt failed"
        );
        if fault == Fault::Local {
            tracing::warn!(error.message = %Causes(failure), "the gateway could not open a connection");
        }
        self.request.on(Event::Failed {
            attempt: number,
            fault,
            delivered: attempt.may_be_delivered(),
            body: feed.state(),
        })
    }

    fn answered(&mut self, index: usize, head: ResponseHead, feed: &Feed) -> (Steps, Option<Box<Accepted>>) {
        let (number, attempt) = self.running.remove(index);
        let status = head.status;
        let end = AttemptEnd::answered(status.as_u16());
        self.journal.ended(&attempt, end, Some(status.as_u16()));
        count(&attempt, end);
        let hop = self.hop(&head);
        let is_redirection = head.fields.get(LOCATION.as_str()).is_some() && location::is_redirection(status);
        let (picked, connection, sent) = attempt.into_connection();
        let endpoint = Arc::clone(&picked.endpoint);
        let connection = connection.expect("the answer has come over it");
        let (class, is_awaited) = (Class::Success, true);
        let accepted = Accepted { attempt: number, head, endpoint, connection, sent, class, is_awaited };
        let next = hop.as_ref().map(|(id, _)| *id);
        let steps = self.request.on(Event::Head { attempt: number, status, hop: next, body: feed.state() });
        let metrics = self.route.farm.metrics();
        match hop {
            Some((_, target)) if matches!(steps.first(), Some(Step::Begin { .. } | Step::Queue(_))) => {
                metrics.redirects_followed.inc();
                self.outbound = self.outbound.with_target(&target);
            }
            Some(_) | None if is_redirection => {
                metrics.redirects_passed.inc();
                tracing::info!(
                    tracking_id = self.journal.tracking_id,
                    farm = self.route.farm.name(),
                    http.response.status_code = status.as_u16(),
                    "XSP answered with a redirect, which Webex does not follow"
                );
            }
            Some(_) | None => {}
        }
        (steps, Some(Box::new(accepted)))
    }

    /// Where the XSP sends the request, if that is another XSP of the farm, which the gateway then asks itself: the caller follows
    /// no redirect (R-TOP-6).
    fn hop(&self, head: &ResponseHead) -> Option<(EndpointId, Vec<u8>)> {
        // After a 303 the request has been carried out, and the client is to ask for something else.
        if !location::is_redirection(head.status) || head.status == StatusCode::SEE_OTHER {
            return None;
        }
        let (name, port, target) = location::parse(head.fields.get(LOCATION.as_str())?)?;
        let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
        let is_same = self.block.route(path).is_ok_and(|route| Arc::ptr_eq(route, self.route));
        let id = self.route.farm.find(name, port).filter(|_| is_same)?;
        Some((id, target.to_vec()))
    }

    /// Lets the attempts that are still running end without the client.
    fn let_go(&mut self, feed: &Feed) {
        for (_, attempt) in self.running.drain(..) {
            self.journal.ended(&attempt, AttemptEnd::Overtaken, None);
            if !feed.is_sent(attempt.sent()) {
                // Its XSP still waits for the body, and says nothing of itself by its silence.
                attempt.picked.endpoint.metrics().attempted(AttemptEnd::Overtaken);
                continue;
            }
            let route = Arc::clone(self.route);
            tokio::spawn(attempt.linger(move |attempt, end| match end {
                Some(end) => report(&route, attempt, end),
                None => attempt.picked.endpoint.metrics().attempted(AttemptEnd::Overtaken),
            }));
        }
    }

    /// The request ends here: nobody waits for an answer, and nothing is changed by it.
    fn abandon(&mut self) {
        self.request.abandon();
        for (_, attempt) in self.running.drain(..) {
            self.journal.ended(&attempt, AttemptEnd::Abandoned, None);
            attempt.picked.endpoint.metrics().attempted(AttemptEnd::Abandoned);
        }
    }
}
