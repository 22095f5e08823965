//! What is known of each name, and when to ask again. Pure: time and chance are arguments, so that the schedule can be
//! tested second by second; one entry per name and type however many farms use it, so that each is asked once per TTL.

mod entry;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

pub(super) use self::entry::{Denied, LastGood, Notice, Urgency};

use self::entry::{Again, Entry, clamp};
use super::resolve::{Answer, Extent, Question, RecordKind, Records, ResolveError};
use super::status::NameStatus;
use crate::policy::srv::{self, Target};

/// What is added to a TTL at most, so that a change is followed within TTL + 1 s.
const JITTER: Duration = Duration::from_millis(500);
/// Most records of one answer that are used; a farm is never that large, and a broken zone must not exhaust memory.
const RECORDS: usize = 256;

/// All names that the farms need now.
pub(super) struct Names {
    ttl: RangeInclusive<Duration>,
    entries: BTreeMap<Question, Entry>,
    restored: BTreeMap<Question, LastGood>,
    epochs: u64,
}

/// One look-up under way.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) question: Question,
    epoch: u64,
}

impl Names {
    /// No names yet; `restored` is used for those of them that are asked for, until DNS answers.
    pub(super) fn new(ttl: RangeInclusive<Duration>, restored: BTreeMap<Question, LastGood>) -> Self {
        Self { ttl, entries: BTreeMap::new(), restored, epochs: 0 }
    }

    /// The range of TTLs from now on.
    pub(super) fn set_ttl(&mut self, ttl: RangeInclusive<Duration>) {
        self.ttl = ttl;
    }

    /// Makes these the names that are followed; new ones are due at once. Whether that brought restored knowledge.
    pub(super) fn want(&mut self, wanted: &BTreeMap<Question, Urgency>, now: Instant) -> bool {
        self.entries.retain(|question, _| wanted.contains_key(question));
        let mut learned = false;
        for (question, &urgency) in wanted {
            if let Some(entry) = self.entries.get_mut(question) {
                entry.urgency = urgency;
                continue;
            }
            let restored = self.restored.remove(question);
            learned |= restored.is_some();
            self.epochs += 1;
            self.entries.insert(question.clone(), Entry::new(restored, urgency, self.epochs, now));
        }
        learned
    }

    /// The questions to ask now; each is under way from here on.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Flight> {
        let mut due = Vec::new();
        for (question, entry) in &mut self.entries {
            if entry.next(&self.ttl).is_some_and(|next| next <= now) {
                entry.send(now);
                due.push(Flight { question: question.clone(), epoch: entry.epoch });
            }
        }
        due
    }

    /// When [`Self::take_due`] will have something; `None`: not before an answer comes.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.entries.values().filter_map(|entry| entry.next(&self.ttl)).min()
    }

    /// Takes in how a look-up ended. One that is no longer asked for, or that another one overtook with an answer,
    /// is dropped.
    pub(super) fn answered(
        &mut self,
        flight: &Flight,
        result: Result<Answer, ResolveError>,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Vec<Notice> {
        let question = &flight.question;
        let company = self.has_company(question);
        let mut notices = Vec::new();
        let Some(entry) = self.entries.get_mut(question).filter(|entry| entry.epoch == flight.epoch) else {
            return notices;
        };
        entry.land();
        match result.and_then(|answer| usable(answer, question, &mut notices)) {
            Ok(answer) => {
                let ttl = clamp(answer.ttl, &self.ttl);
                let jitter = ttl.div_f64(10.0).min(JITTER).mul_f64(rng.random());
                self.epochs += 1;
                let records = match (answer.extent, entry.last_good.records.take()) {
                    (Extent::Part, Some(known)) => together(answer.records, known),
                    (Extent::Part, None) | (Extent::Whole, _) => answer.records,
                };
                notices.extend(entry.succeed(question, records, now, Again { ttl, jitter }, self.epochs));
            }
            Err(error) => notices.extend(entry.fail(question, error, company, now, rng.random_range(0.9..=1.0))),
        }
        notices
    }

    /// The last good addresses of a name, those of `kinds` in order. A family that the name has given up while the
    /// other answers is left out.
    pub(super) fn addresses(&self, kinds: &[RecordKind], name: &str) -> Vec<IpAddr> {
        kinds.iter().flat_map(|&kind| self.addresses_of(&Question::new(name, kind))).copied().collect()
    }

    /// The last good answer to a question, and whether DNS has since said that there is none.
    pub(super) fn last_good_of(&self, question: &Question) -> Option<&LastGood> {
        self.entries.get(question).map(|entry| &entry.last_good)
    }

    /// Whether the newest look-up failed, in whatever way.
    pub(super) fn has_failed(&self, question: &Question) -> bool {
        self.entries.get(question).is_some_and(Entry::has_failed)
    }

    /// How long the last good answer holds; `None`: there is none.
    pub(super) fn ttl_of(&self, question: &Question) -> Option<Duration> {
        let entry = self.entries.get(question)?;
        entry.last_good.records.as_ref().map(|_| entry.ttl())
    }

    /// Whether a definite "there is none" is a fine answer to an address question: the other family has addresses, and
    /// this one never had, or has given them up.
    pub(super) fn content(&self, question: &Question) -> bool {
        let sibling = question.sibling().and_then(|sibling| self.entries.get(&sibling));
        self.addresses_of(question).is_empty() && sibling.is_some_and(|entry| entry.last_good.records.is_some())
    }

    /// What there is to save: the names that something is known of.
    pub(super) fn last_good(&self) -> impl Iterator<Item = (&Question, &LastGood)> {
        let known = |question: &Question, good: &LastGood| {
            good.records.is_some() || (question.kind == RecordKind::Srv && good.denied != Denied::No)
        };
        let all = self.entries.iter().map(|(question, entry)| (question, &entry.last_good));
        all.filter(move |(question, good)| known(question, good))
    }

    /// Each name's state, for those who watch.
    pub(super) fn statuses(&self) -> Vec<NameStatus> {
        self.entries.iter().map(|(question, entry)| entry.status(question)).collect()
    }

    /// Whether the other family of the same name has addresses, or may yet have some.
    fn has_company(&self, question: &Question) -> bool {
        let sibling = question.sibling().and_then(|sibling| self.entries.get(&sibling));
        sibling.is_some_and(Entry::may_supply)
    }

    fn addresses_of(&self, question: &Question) -> &[IpAddr] {
        let Some(entry) = self.entries.get(question) else { return &[] };
        let sibling = question.sibling().and_then(|sibling| self.entries.get(&sibling));
        if entry.given_up() && sibling.is_some_and(|sibling| sibling.answered_since(entry)) {
            return &[];
        }
        entry.last_good.records.as_ref().map_or(&[], Records::addresses)
    }
}

/// The answer in a stable order, without duplicates and without what can't be dialled; if nothing is left, that.
fn usable(answer: Answer, question: &Question, notices: &mut Vec<Notice>) -> Result<Answer, ResolveError> {
    let received = answer.records.len();
    let mut records = answer.records.clone();
    match &mut records {
        Records::Addresses(addresses) => {
            addresses.retain(|&address| dialable(address));
            addresses.sort_unstable();
            addresses.dedup();
            addresses.truncate(RECORDS);
        }
        Records::Targets(targets) => {
            targets.retain(|target| target.port != 0);
            *targets = srv::in_order(std::mem::take(targets));
            targets.truncate(RECORDS);
        }
    }
    if records.is_empty() {
        return Err(ResolveError::NoRecords { ttl: Some(answer.ttl) });
    }
    if records.len() == RECORDS && received > RECORDS {
        notices.push(Notice::TooMany { question: question.clone(), records: received });
    }
    Ok(Answer { records, ..answer })
}

/// An answer that was cut off, and what was known before: it adds records and removes none.
fn together(part: Records, known: Records) -> Records {
    match (part, known) {
        (Records::Addresses(mut part), Records::Addresses(known)) => {
            part.extend(known);
            part.sort_unstable();
            part.dedup();
            part.truncate(RECORDS);
            Records::Addresses(part)
        }
        (Records::Targets(part), Records::Targets(known)) => {
            // What the answer says of a target counts, and not what it was before.
            let is_new = |target: &Target| !part.iter().any(|new| new.name == target.name && new.port == target.port);
            let kept: Vec<Target> = known.into_iter().filter(is_new).collect();
            let mut targets = srv::in_order(part.into_iter().chain(kept));
            targets.truncate(RECORDS);
            Records::Targets(targets)
        }
        (part, _) => part,
    }
}

/// Whether a connection to it could reach an XSP: dialling 0.0.0.0 would reach the gateway itself.
fn dialable(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !address.is_unspecified() && !address.is_multicast() && !broadcast
}
