//! One name: its last good answer, how the newest look-ups went, and so when the next one is due. Separate from the table
//! of all names, because this is the schedule and that is who needs what.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::discover::resolve::{Outcome, Question, RecordKind, Records, ResolveError};
use crate::discover::status::NameStatus;

/// The first wait after a failure, and the longest between two look-ups while a site has no endpoint at all.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest wait after failures, while a site lives on a last good answer that is stale.
const RETRY_STALE: Duration = Duration::from_secs(5);
/// The longest wait after failures of what has no answer that is in use, and is not missed.
const RETRY_LAST: Duration = Duration::from_secs(30);
/// Most look-ups of one name under way at a time: while nothing is known, silence is no reason to wait.
const FLIGHTS: u32 = 8;

/// What is worth saving of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::discover) struct LastGood {
    /// The last good records.
    pub(in crate::discover) records: Option<Records>,
    /// The newest definite word was that there is none.
    pub(in crate::discover) denied: Denied,
}

/// Whether DNS said for certain that there is no such record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::discover) enum Denied {
    /// It said that there is.
    #[default]
    No,
    /// It said so, after the last good answer.
    Yes,
    /// It said after the last good answer that the service is not offered: SRV's target `.` (RFC 2782).
    NoService,
}

/// Why a name is asked for, which decides how soon a failure is followed by the next try. The order is by haste.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::discover) enum Urgency {
    /// A site has no endpoint without it.
    Starving,
    /// The site lives on what is known.
    Keeping,
    /// That there is none is normal here: something else supplies the site.
    Content,
}

/// What an answer changed that an operator should read.
#[derive(Debug)]
pub(in crate::discover) enum Notice {
    /// The first failure of a row; `kept` records of the last good answer stay in use.
    Failing { question: Question, error: ResolveError, kept: usize },
    /// SRV says that there is no target (R-DNS-3); `had` were known.
    NoTargets { question: Question, had: usize },
    /// SRV says that the service is not offered; `had` targets were known.
    NoService { question: Question, had: usize },
    /// Answers again, after `failures` that were told of.
    Recovered { question: Question, failures: u32, records: usize },
    /// An answer with more records than are used.
    TooMany { question: Question, records: usize },
}

/// What is known of one name, and how asking for it goes.
pub(super) struct Entry {
    pub(super) last_good: LastGood,
    last: Last,
    pub(super) urgency: Urgency,
    /// When the newest look-up was sent, and how many are under way.
    sent: Instant,
    flights: u32,
    /// Which look-ups may still answer.
    pub(super) epoch: u64,
    last_success: Option<Instant>,
    /// Of the last good answer.
    ttl: Duration,
    counts: [u64; Outcome::ALL.len()],
}

enum Last {
    Never,
    Answered { next: Instant },
    Failed(Failure),
}

/// When to ask again after an answer.
pub(super) struct Again {
    pub(super) ttl: Duration,
    /// So that gateways don't ask in step.
    pub(super) jitter: Duration,
}

struct Failure {
    at: Instant,
    since: Instant,
    outcome: Outcome,
    negative_ttl: Option<Duration>,
    failures: u32,
    told: Told,
    /// 0.9 to 1: shortens the wait, so that gateways don't ask in step.
    haste: f64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    No,
    Yes,
}

impl Entry {
    pub(super) fn new(restored: Option<LastGood>, urgency: Urgency, epoch: u64, now: Instant) -> Self {
        Self {
            last_good: restored.unwrap_or(LastGood { records: None, denied: Denied::No }),
            last: Last::Never,
            urgency,
            sent: now,
            flights: 0,
            epoch,
            last_success: None,
            ttl: Duration::ZERO,
            counts: [0; Outcome::ALL.len()],
        }
    }

    /// When to ask next; `None` while an answer is awaited.
    pub(super) fn next(&self, ttl: &RangeInclusive<Duration>) -> Option<Instant> {
        if self.flights > 0 {
            let again = self.urgency == Urgency::Starving && self.flights < FLIGHTS;
            return again.then_some(self.sent + RETRY_FIRST);
        }
        Some(match &self.last {
            Last::Never => self.sent,
            Last::Answered { next } => *next,
            Last::Failed(failure) => match self.urgency {
                Urgency::Starving => self.sent + RETRY_FIRST.mul_f64(failure.haste),
                Urgency::Keeping if self.last_good.records.is_some() => failure.at + failure.backoff(RETRY_STALE),
                Urgency::Keeping => failure.at + failure.backoff(RETRY_LAST),
                Urgency::Content => failure.at + failure.patience(ttl),
            },
        })
    }

    /// A look-up begins.
    pub(super) fn send(&mut self, now: Instant) {
        self.sent = now;
        self.flights += 1;
    }

    /// A look-up has ended.
    pub(super) fn land(&mut self) {
        self.flights = self.flights.saturating_sub(1);
    }

    /// Takes in an answer; `epoch` makes void what other look-ups are still under way.
    pub(super) fn succeed(
        &mut self,
        question: &Question,
        records: Records,
        now: Instant,
        again: Again,
        epoch: u64,
    ) -> Option<Notice> {
        let count = records.len();
        (self.epoch, self.flights) = (epoch, 0);
        self.last_good = LastGood { records: Some(records), denied: Denied::No };
        self.last_success = Some(now);
        self.ttl = again.ttl;
        self.counts[Outcome::Answered.index()] += 1;
        match std::mem::replace(&mut self.last, Last::Answered { next: now + again.ttl + again.jitter }) {
            Last::Failed(Failure { told: Told::Yes, failures, .. }) => {
                Some(Notice::Recovered { question: question.clone(), failures, records: count })
            }
            Last::Failed(_) | Last::Never | Last::Answered { .. } => None,
        }
    }

    /// Takes in a failure. `company`: the other address family supplies the name, so that having none of this one is no news.
    pub(super) fn fail(
        &mut self,
        question: &Question,
        error: ResolveError,
        company: bool,
        now: Instant,
        haste: f64,
    ) -> Option<Notice> {
        let outcome = error.outcome();
        self.counts[outcome.index()] += 1;
        let denied = match outcome {
            Outcome::NxDomain | Outcome::NoRecords => Denied::Yes,
            Outcome::NoService => Denied::NoService,
            Outcome::Answered
            | Outcome::Timeout
            | Outcome::ServFail
            | Outcome::Refused
            | Outcome::Malformed
            | Outcome::Unreachable => self.last_good.denied,
        };
        let withdrawn = denied == Denied::NoService && self.last_good.denied != denied;
        self.last_good.denied = denied;
        let (since, failures, told) = match &self.last {
            Last::Failed(row) => (row.since, row.failures.saturating_add(1), row.told),
            Last::Never | Last::Answered { .. } => (now, 1, Told::No),
        };
        let quiet = told == Told::Yes || (outcome == Outcome::NoRecords && company);
        let told = if quiet { told } else { Told::Yes };
        let negative_ttl = error.negative_ttl();
        self.last = Last::Failed(Failure { at: now, since, outcome, negative_ttl, failures, told, haste });
        let kept = self.last_good.records.as_ref().map_or(0, Records::len);
        if withdrawn {
            return Some(Notice::NoService { question: question.clone(), had: kept });
        }
        match (quiet, question.kind) {
            (true, _) => None,
            // Told when it began.
            (false, RecordKind::Srv) if outcome == Outcome::NoService => None,
            (false, RecordKind::Srv) if outcome.is_definite_none() => {
                Some(Notice::NoTargets { question: question.clone(), had: kept })
            }
            (false, RecordKind::Srv | RecordKind::A | RecordKind::Aaaa) => {
                Some(Notice::Failing { question: question.clone(), error, kept })
            }
        }
    }

    /// Whether the newest look-up failed, in whatever way.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.last, Last::Failed(_))
    }

    /// The TTL of the last good answer.
    pub(super) fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Whether it has records, or may yet have some.
    pub(super) fn may_supply(&self) -> bool {
        matches!(self.last, Last::Never) || self.last_good.records.is_some()
    }

    /// The name is there, but says that it has no records of this type any more.
    pub(super) fn given_up(&self) -> bool {
        matches!(&self.last, Last::Failed(Failure { outcome: Outcome::NoRecords, .. }))
    }

    /// Whether this one has answered well after `other` began to fail.
    pub(super) fn answered_since(&self, other: &Self) -> bool {
        let Last::Failed(failure) = &other.last else { return false };
        matches!(self.last, Last::Answered { .. }) && self.last_success.is_some_and(|at| at > failure.since)
    }

    pub(super) fn status(&self, question: &Question) -> NameStatus {
        NameStatus {
            question: question.clone(),
            records: self.last_good.records.as_ref().map_or(0, Records::len),
            last_success: self.last_success,
            last_outcome: match &self.last {
                Last::Never => None,
                Last::Answered { .. } => Some(Outcome::Answered),
                Last::Failed(failure) => Some(failure.outcome),
            },
            counts: self.counts,
        }
    }
}

impl Failure {
    /// 1 s, doubled by each failure of the row up to `longest`.
    fn backoff(&self, longest: Duration) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(5);
        (RETRY_FIRST * (1 << doublings)).min(longest).mul_f64(self.haste)
    }

    /// As long as a definite "there is none" may be believed (RFC 2308), and otherwise as after any failure.
    fn patience(&self, ttl: &RangeInclusive<Duration>) -> Duration {
        match (self.outcome.is_definite_none(), self.negative_ttl) {
            (true, Some(negative)) => clamp(negative, ttl),
            (true, None) => clamp(RETRY_LAST, ttl),
            (false, _) => self.backoff(RETRY_LAST),
        }
    }
}

pub(super) fn clamp(ttl: Duration, within: &RangeInclusive<Duration>) -> Duration {
    ttl.max(*within.start()).min(*within.end())
}
