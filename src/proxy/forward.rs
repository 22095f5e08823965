//! The failover loop: attempts, one after the other or beside each other, until an answer stands (R-FAIL-1 to R-FAIL-8,
//! and "The caller's patience": the next XSP is asked before the caller gives up).

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::LOCATION;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::attempt::{Attempt, Progress};
use super::context::Worker;
use super::error::Error;
use super::exchange::{ClientError, Exchange};
use super::failure::Failure;
use super::feed::{Feed, Outbound};
use super::journal::Journal;
use super::location;
use super::probe;
use super::request::{Aim, Request, Standing};
use super::snapshot::{Block, Route, Snapshot};
use super::turn::{Look, Turn};
use super::verdict::{self, Asked};
use crate::alarm::Alarm;
use crate::farm::{Endpoint, Picked};
use crate::http1::head::ResponseHead;
use crate::policy::classify::{Class, On5xx, Outcome, Replay, classify};
use crate::policy::plan::{Plan, Purpose, Trials};
use crate::upstream::connect::Scope;

/// One request on its way to an answer.
pub(super) struct Forward<'a> {
    worker: &'a Worker,
    snapshot: &'a Snapshot,
    block: &'a Block,
    route: &'a Arc<Route>,
    outbound: Outbound,
    authority: &'a str,
    journal: &'a mut Journal,
    plan: Plan,
    /// Where the request's event channel is, if it names one.
    channel: Option<Arc<Endpoint>>,
    turn: Turn,
    running: SmallVec<[Box<Attempt>; 2]>,
    fallback: Option<Standing>,
    failure: Option<Failure>,
    /// No further attempt will be begun beside a silent one.
    advanced: bool,
    redirected: bool,
}

/// What happened next.
enum Event {
    Progress(usize, Result<Progress, Failure>),
    /// The latest attempt has been silent for `advance_after`.
    Overdue,
    /// The request's turn to open a channel may have come.
    Turn,
    /// The client's body stalled.
    BodyStalled,
}

impl<'a> Forward<'a> {
    pub(super) fn new(request: Request<'a>, outbound: Outbound, aim: Aim, journal: &'a mut Journal) -> Self {
        let Request { worker, snapshot, block, route, authority } = request;
        let trials = if outbound.replayable { Trials::Taken } else { Trials::Left };
        let plan = |session| route.farm.plan(session, route.failover.tries, trials);
        let (plan, channel, turn) = match aim {
            Aim::Farm(session) => (plan(session), None, Turn::NotNeeded),
            Aim::NewChannel(session) => (plan(route.farm.opening_session(session)), None, Turn::needed()),
            Aim::Channel(endpoint) => (Plan::new(None, 0, Trials::Left), Some(endpoint), Turn::NotNeeded),
        };
        Self {
            worker,
            snapshot,
            block,
            route,
            outbound,
            authority,
            journal,
            plan,
            channel,
            turn,
            running: SmallVec::new(),
            fallback: None,
            failure: None,
            advanced: false,
            redirected: false,
        }
    }

    /// Runs until an answer stands.
    ///
    /// # Errors
    /// When none will, or the client has left.
    pub(super) async fn run<E: Exchange>(
        mut self,
        exchange: &mut E,
        feed: &mut Feed,
        alarm: &mut Alarm,
    ) -> Result<Standing, Error> {
        let Some(first) = self.first() else { return Err(Error::NoEndpoint) };
        self.begin_in_turn(first);
        let mut body_since = Instant::now();
        while !self.running.is_empty() || self.turn.at().is_some() {
            let event = poll_fn(|cx| self.poll_event(cx, exchange, feed, alarm, &mut body_since)).await;
            match event.inspect_err(|_| self.abandon())? {
                Event::Progress(_, Ok(Progress::Informed(head))) => exchange.inform(&head),
                Event::Progress(index, Ok(Progress::Answered(head))) => {
                    let attempt = self.running.remove(index);
                    if let Some(standing) = self.answered(*attempt, head, feed) {
                        return Ok(standing);
                    }
                }
                Event::Progress(index, Err(failure)) => {
                    let attempt = self.running.remove(index);
                    self.failed(&attempt, failure, feed);
                }
                Event::Overdue => self.overdue(feed),
                Event::Turn => self.await_turn(),
                Event::BodyStalled => {
                    self.abandon();
                    return Err(Error::Slow);
                }
            }
        }
        self.give_up()
    }

    fn poll_event<E: Exchange>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut E,
        feed: &mut Feed,
        alarm: &mut Alarm,
        body_since: &mut Instant,
    ) -> Poll<Result<Event, ClientError>> {
        loop {
            for (index, attempt) in self.running.iter_mut().enumerate() {
                if let Poll::Ready(progress) = attempt.poll(cx, feed) {
                    return Poll::Ready(Ok(Event::Progress(index, progress)));
                }
            }
            let sent = self.running.iter().map(|attempt| attempt.sent()).min().unwrap_or_default();
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
            if let Poll::Ready(error) = exchange.poll_gone(cx) {
                return Poll::Ready(Err(error));
            }
            break;
        }
        // A 1xx head may wait to leave; whether it has is of no interest here.
        if let Poll::Ready(Err(error)) = exchange.poll_flush(cx) {
            return Poll::Ready(Err(ClientError::Broken(error)));
        }
        self.poll_clock(cx, feed, alarm, *body_since).map(Ok)
    }

    fn poll_clock(&mut self, cx: &mut Context<'_>, feed: &Feed, alarm: &mut Alarm, body_since: Instant) -> Poll<Event> {
        let latest = self.running.last();
        let overdue_at = latest.filter(|attempt| !attempt.is_overdue()).and_then(|attempt| {
            let after = self.route.failover.advance_after?;
            attempt.deadline().map(|_| attempt.awaited_since() + after)
        });
        let stalled_at = (!feed.is_complete()).then(|| body_since + self.snapshot.limits.request_body_idle_timeout);
        let silent =
            self.running.iter().enumerate().filter_map(|(index, attempt)| Some((attempt.deadline()?, index))).min();
        let silent_at = silent.map(|(at, _)| at);
        let Some(at) = [overdue_at, stalled_at, silent_at, self.turn.at()].into_iter().flatten().min() else {
            return Poll::Pending;
        };
        std::task::ready!(alarm.poll_at(cx, at));
        Poll::Ready(match silent {
            Some((deadline, index)) if deadline <= at => {
                Event::Progress(index, Err(Failure::Timeout(self.route.failover.response_timeout)))
            }
            Some(_) | None if overdue_at == Some(at) => Event::Overdue,
            Some(_) | None if self.turn.at() == Some(at) => Event::Turn,
            Some(_) | None => Event::BodyStalled,
        })
    }

    fn first(&mut self) -> Option<Picked> {
        if let Some(endpoint) = &self.channel {
            return Some(Picked::for_channel(Arc::clone(endpoint)));
        }
        self.leave_trials_to_probes();
        self.route.farm.pick(&mut self.plan, Purpose::First)
    }

    /// Begins an attempt, or waits for its turn.
    fn begin_in_turn(&mut self, picked: Picked) {
        if let Some(picked) = self.turn.take(&self.route.farm, picked) {
            self.begin(picked);
        }
    }

    fn await_turn(&mut self) {
        match self.turn.look(&self.route.farm) {
            Look::Wait => {}
            Look::Ask(picked) => self.begin(picked),
            Look::Elsewhere => self.advance(Purpose::Retry),
        }
    }

    fn begin(&mut self, picked: Picked) {
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
        self.running.push(Box::new(attempt));
    }

    /// A request that could not be sent again does not try an endpoint on probation; the gateway does it for itself.
    fn leave_trials_to_probes(&self) {
        if !self.outbound.replayable
            && let Some(due) = self.route.farm.due_trial()
        {
            probe::second_look(self.route, due, self.authority);
        }
    }

    /// Moves on to the next endpoint, if there is one.
    fn advance(&mut self, purpose: Purpose) {
        match self.route.farm.pick(&mut self.plan, purpose) {
            Some(picked) => self.begin_in_turn(picked),
            None => self.advanced = true,
        }
    }

    /// The latest attempt has been silent for long: its endpoint is picked last from now on, and a safe request asks the
    /// next one while this one runs on.
    fn overdue(&mut self, feed: &Feed) {
        if let Some(attempt) = self.running.last_mut() {
            attempt.mark_overdue();
        }
        let safe = Replay::Safe.allows(&self.outbound.method) && self.outbound.replayable;
        if safe && !self.advanced && feed.is_complete() && feed.is_whole() {
            self.advance(Purpose::Advance);
        }
    }

    fn may_move_on(&self, attempt: &Attempt, feed: &Feed) -> bool {
        feed.is_whole() && (!attempt.may_be_delivered() || self.outbound.replayable)
    }

    fn failed(&mut self, attempt: &Attempt, failure: Failure, feed: &Feed) {
        self.journal.ended(attempt, failure.reason(), None);
        verdict::blame(self.snapshot, self.route, &attempt.picked.endpoint, &failure);
        tracing::debug!(
            tracking_id = self.journal.tracking_id,
            endpoint = &**attempt.picked.endpoint.label(),
            error = &failure as &dyn std::error::Error,
            "attempt failed"
        );
        let is_final = failure.is_final();
        self.failure = Some(failure);
        if !is_final && self.may_move_on(attempt, feed) {
            self.advance(Purpose::Retry);
        }
    }

    /// Judges an answer; `None`: it does not stand yet, and another endpoint is asked.
    fn answered(&mut self, attempt: Attempt, head: ResponseHead, feed: &Feed) -> Option<Standing> {
        let status = head.status.as_u16();
        // Whatever an XSP says of its own channel is an answer.
        let on_5xx = if self.channel.is_some() { On5xx::Answer } else { self.route.failover.on_5xx };
        let class = classify(Outcome::Answered(head.status), on_5xx);
        let outcome = match class {
            Class::Success => "success",
            Class::Suspect | Class::Failure => "5xx",
        };
        self.journal.ended(&attempt, outcome, Some(status));
        verdict::report(self.route, Asked::of(&attempt), head.status, on_5xx, self.authority);
        let hop = (class == Class::Success && self.channel.is_none()).then(|| self.redirection(&head, feed)).flatten();
        if let Some(picked) = hop {
            self.begin_in_turn(picked);
            return None;
        }
        let may_move_on = self.may_move_on(&attempt, feed);
        let (picked, connection, sent) = attempt.into_connection();
        let standing = Standing { head, endpoint: Arc::clone(&picked.endpoint), connection: connection?, sent, class };
        match class {
            Class::Success => {
                self.let_go(feed);
                Some(standing)
            }
            Class::Suspect | Class::Failure if may_move_on => {
                self.fallback = Some(standing);
                self.advance(Purpose::Retry);
                None
            }
            Class::Suspect | Class::Failure => Some(standing),
        }
    }

    /// Whether the XSP sends the request to another XSP of the farm, which the gateway then asks itself: the caller follows
    /// no redirect (R-TOP-6).
    fn redirection(&mut self, head: &ResponseHead, feed: &Feed) -> Option<Picked> {
        if !matches!(head.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
            return None;
        }
        // The others do not ask for the same request again: after a 303 it has even been carried out.
        let same_request = matches!(head.status.as_u16(), 301 | 302 | 307 | 308);
        let location = head.fields.get(LOCATION.as_str())?;
        let metrics = self.route.farm.metrics();
        let hop = Some(location)
            .filter(|_| same_request && !self.redirected && feed.is_whole() && feed.is_complete())
            .and_then(|location| {
                let (name, port, target) = location::parse(location)?;
                let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
                let same = self.block.route(path).is_ok_and(|route| Arc::ptr_eq(route, self.route));
                let picked = self.route.farm.find(name, port).filter(|_| same)?;
                self.plan.spend(picked.endpoint.id()).then(|| (picked, target.to_vec()))
            });
        let Some((picked, target)) = hop else {
            metrics.redirects_passed.inc();
            tracing::info!(
                tracking_id = self.journal.tracking_id,
                farm = self.route.farm.name(),
                status = head.status.as_u16(),
                "an XSP redirects; Webex follows no redirect"
            );
            return None;
        };
        metrics.redirects_followed.inc();
        self.redirected = true;
        self.outbound = self.outbound.with_target(&target);
        Some(picked)
    }

    /// Lets the attempts that are still running end without the client.
    fn let_go(&mut self, feed: &Feed) {
        for attempt in self.running.drain(..) {
            self.journal.ended(&attempt, "overtaken", None);
            if !feed.is_sent(attempt.sent()) {
                // Its XSP still waits for the body, and says nothing of itself by its silence.
                attempt.picked.endpoint.metrics().attempted("overtaken");
                continue;
            }
            let (route, authority) = (Arc::clone(self.route), self.authority.to_owned());
            let snapshot = self.worker.shared.snapshot.load_full();
            tokio::spawn(attempt.linger(move |attempt, end| match end {
                Some(Ok(status)) => {
                    verdict::report(&route, Asked::of(attempt), status, route.failover.on_5xx, &authority)
                }
                Some(Err(failure)) => verdict::blame(&snapshot, &route, &attempt.picked.endpoint, &failure),
                None => attempt.picked.endpoint.metrics().attempted("overtaken"),
            }));
        }
    }

    /// The client is not there for an answer any more. That is no XSP's fault; but one that it has waited long for is
    /// looked at, since callers whose patience is shorter than `response_timeout` would never find it out.
    fn abandon(&mut self) {
        for attempt in self.running.drain(..) {
            self.journal.ended(&attempt, "abandoned", None);
            attempt.picked.endpoint.metrics().attempted("abandoned");
            if attempt.is_overdue() {
                probe::second_look(self.route, attempt.picked, self.authority);
            }
        }
    }

    fn give_up(self) -> Result<Standing, Error> {
        if let Some(fallback) = self.fallback {
            return Ok(fallback);
        }
        Err(match self.failure {
            // Nobody listens where the channel was.
            Some(Failure::Connect(error)) if self.channel.is_some() && error.scope() != Scope::Gateway => {
                Error::ChannelLost
            }
            Some(_) | None if self.turn.is_missed() => Error::ChannelsBusy,
            Some(failure) => failure.into(),
            None => Error::NoEndpoint,
        })
    }
}
