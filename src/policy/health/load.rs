//! How many requests an endpoint is sent at a time, and who waits for a place there. Kept on its own because it is no evidence: an
//! endpoint that can't follow is asked for less, and nothing is held against it.
//!
//! The bound finds itself. As long as half of the answers come within `advance_after`, an endpoint gets whatever comes. If they take
//! longer, and more than three times as long as they did at their best, requests queue at the endpoint: its bound shrinks until they
//! don't. A request over the bound waits here for [`PATIENCE`], where it can still be given up, or is refused.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use self::ages::Ages;
use self::latency::{Latencies, WINDOW};
use super::EndpointId;

mod ages;
mod latency;

/// How long a request may wait for a place.
pub const PATIENCE: Duration = Duration::from_millis(200);
/// What stands for `advance_after` where that is off.
pub const SLOW: Duration = Duration::from_millis(600);
/// An endpoint has too much to do if half of its answers take longer than `advance_after`, and so many times as long as at its best.
const STRETCHED: u32 = 3;
/// Nobody hedges away from an endpoint that answers others, if half of its answers take longer than this part of `advance_after`.
const PRESSED: u32 = 4;
/// How long it holds that it is so.
const PRESSED_FOR: Duration = Duration::from_secs(2);
/// A request that has been in flight for so many times the median is alone in its trouble.
const STUCK: u32 = 4;
/// But none that is younger than that.
const YOUNG: Duration = Duration::from_millis(64);
/// The bound to begin with.
const START: f64 = 24.0;
/// The least bound: an endpoint that can't follow that has another trouble.
const LEAST: f64 = 8.0;
/// Once the oldest has waited for so long, the newest go first: they have the best chance to be answered in time.
const NEWEST_FIRST_AFTER: Duration = Duration::from_millis(100);

/// Who gives way when an endpoint has too much to do, those first who lose least by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precedence {
    /// A session that is yet to begin.
    NewSession,
    /// A request that changes nothing.
    Safe,
    /// A request that changes something, and all from Webex: its cloud would block the gateway for everybody.
    Vital,
}

/// Whether a request takes one of its endpoint's places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It does.
    Taken,
    /// It has none, or has given it back.
    None,
}

/// What becomes of a request at an endpoint's door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// It may begin.
    Now,
    /// It waits, under this number.
    Later(u64),
    /// Too many wait already.
    Never,
}

/// How much there is to do at one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupancy {
    /// Requests that have not been answered.
    pub in_flight: u32,
    /// How many there may be; `None`: any number.
    pub bound: Option<u32>,
    /// Requests that wait for a place.
    pub waiting: usize,
}

/// What there is to do at the endpoints of a farm.
#[derive(Clone, Debug)]
pub struct Load {
    /// The highest bound; `None`: there is none, and nobody waits.
    ceiling: Option<NonZeroU32>,
    doors: BTreeMap<EndpointId, Door>,
    /// The last number that was given.
    serial: u64,
    /// Those who have a place to try for.
    knocks: Vec<u64>,
}

/// One endpoint's.
#[derive(Clone, Debug)]
struct Door {
    in_flight: Ages,
    bound: f64,
    /// Whether the bound has kept anybody out since it was last judged.
    has_bound: bool,
    waiting: VecDeque<(u64, Instant)>,
    latencies: Latencies,
}

impl Load {
    /// No endpoint takes more than `ceiling` requests at a time; `None`: as many as come.
    pub const fn new(ceiling: Option<NonZeroU32>) -> Self {
        Self { ceiling, doors: BTreeMap::new(), serial: 0, knocks: Vec::new() }
    }

    /// The same, from now on.
    pub fn set_ceiling(&mut self, ceiling: Option<NonZeroU32>) {
        self.ceiling = ceiling;
    }

    /// A request begins at `id`.
    pub fn begin(&mut self, id: EndpointId, now: Instant) {
        self.door(id, now).in_flight.begin(now);
    }

    /// A request at `id` that began at `begun` has ended, by an answer after `took`, which is slow beyond `slow`; `None`: without one. Its
    /// place is free, if it `had` one still.
    pub fn end(
        &mut self,
        id: EndpointId,
        (had, begun): (Place, Instant),
        took: Option<Duration>,
        slow: Duration,
        now: Instant,
    ) {
        let ceiling = self.ceiling;
        let Some(door) = self.doors.get_mut(&id) else { return };
        if let Some(took) = took
            && let Some(median) = door.latencies.add(took, now)
        {
            door.judge(median, slow);
        }
        if had == Place::Taken {
            door.in_flight.end(begun);
            if !door.waiting.is_empty() {
                door.call(ceiling, now, &mut self.knocks);
            }
        }
    }

    /// Whether `id` takes no further request.
    pub fn is_full(&self, id: EndpointId, now: Instant) -> bool {
        self.doors.get(&id).is_some_and(|door| door.is_full(self.ceiling, now))
    }

    /// A request of that precedence would begin at `id`.
    pub fn enter(&mut self, id: EndpointId, precedence: Precedence, now: Instant) -> Entered {
        let (serial, ceiling) = (self.serial + 1, self.ceiling);
        let door = self.door(id, now);
        if !door.is_full(ceiling, now) && door.waiting.is_empty() {
            return Entered::Now;
        }
        door.has_bound = true;
        if door.waiting.len() >= door.room(ceiling, precedence) {
            return Entered::Never;
        }
        door.waiting.push_back((serial, now));
        self.serial = serial;
        Entered::Later(serial)
    }

    /// Whether the one that waits under `number` may begin now. It goes on waiting otherwise.
    pub fn try_again(&mut self, id: EndpointId, number: u64, since: Instant, now: Instant) -> bool {
        let ceiling = self.ceiling;
        let Some(door) = self.doors.get_mut(&id) else { return true };
        let may_begin = !door.is_full(ceiling, now);
        door.waiting.retain(|(waiting, _)| *waiting != number);
        if !may_begin {
            let place = door.waiting.partition_point(|(_, other)| *other < since);
            door.waiting.insert(place, (number, since));
        }
        may_begin
    }

    /// It waits no longer.
    pub fn leave(&mut self, id: EndpointId, number: u64, now: Instant) {
        let ceiling = self.ceiling;
        let Some(door) = self.doors.get_mut(&id) else { return };
        let waited = door.waiting.len();
        door.waiting.retain(|(waiting, _)| *waiting != number);
        // It may have been called, and another one has its place then.
        if door.waiting.len() == waited {
            door.call(ceiling, now, &mut self.knocks);
        }
    }

    /// Those who are to try again, each told once.
    pub fn take_knocks(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.knocks)
    }

    /// Whether `id`'s answers take long, lately, if they are slow beyond `slow`.
    pub fn is_pressed(&self, id: EndpointId, slow: Duration, now: Instant) -> bool {
        self.doors.get(&id).is_some_and(|door| {
            let median = door.latencies.median();
            median
                .is_some_and(|(median, at)| median > slow / PRESSED && now.saturating_duration_since(at) < PRESSED_FOR)
        })
    }

    /// `id` has failed: it starts again when it is back.
    pub fn failed(&mut self, id: EndpointId) {
        if let Some(door) = self.doors.get_mut(&id) {
            door.bound = door.bound.min(START);
        }
    }

    /// How much there is to do at `id`.
    pub fn occupancy(&self, id: EndpointId) -> Occupancy {
        let bound = |bound: f64| self.ceiling.map(|ceiling| ceiling.get().min(bound as u32));
        let nobody = Occupancy { in_flight: 0, bound: bound(START), waiting: 0 };
        self.doors.get(&id).map_or(nobody, |door| Occupancy {
            in_flight: door.in_flight.total(),
            bound: bound(door.bound),
            waiting: door.waiting.len(),
        })
    }

    /// Forgets `id`.
    pub fn forget(&mut self, id: EndpointId) {
        self.doors.remove(&id);
    }

    fn door(&mut self, id: EndpointId, now: Instant) -> &mut Door {
        self.doors.entry(id).or_insert_with(|| Door {
            in_flight: Ages::new(now),
            bound: START,
            has_bound: false,
            waiting: VecDeque::new(),
            latencies: Latencies::new(now),
        })
    }
}

impl Door {
    fn is_full(&self, ceiling: Option<NonZeroU32>, now: Instant) -> bool {
        self.free(ceiling, now) == 0
    }

    /// How many more requests may begin. Those that are much older than what others get take no place: one slow page, asked for by many,
    /// keeps nobody out.
    fn free(&self, ceiling: Option<NonZeroU32>, now: Instant) -> u32 {
        let places = self.places(ceiling);
        let free = places.saturating_sub(self.in_flight.total());
        match self.latencies.median() {
            Some((median, _)) if free == 0 => {
                places.saturating_sub(self.in_flight.younger_than((median * STUCK).max(YOUNG), now))
            }
            Some(_) | None => free,
        }
    }

    fn places(&self, ceiling: Option<NonZeroU32>) -> u32 {
        ceiling.map_or(u32::MAX, |ceiling| ceiling.get().min(self.bound as u32))
    }

    /// How many may wait, for one of that precedence to be among them. An endpoint that is quick serves several times its bound within
    /// [`PATIENCE`].
    fn room(&self, ceiling: Option<NonZeroU32>, precedence: Precedence) -> usize {
        let bound = self.places(ceiling) as usize;
        match precedence {
            Precedence::NewSession => bound,
            Precedence::Safe => bound * 2,
            Precedence::Vital => bound * 4,
        }
    }

    /// Calls as many of those who wait as there are places.
    fn call(&mut self, ceiling: Option<NonZeroU32>, now: Instant, knocks: &mut Vec<u64>) {
        let mut places = self.free(ceiling, now);
        while places > 0
            && let Some((_, since)) = self.waiting.front()
        {
            let is_late = now.saturating_duration_since(*since) >= NEWEST_FIRST_AFTER;
            let next = if is_late { self.waiting.pop_back() } else { self.waiting.pop_front() };
            knocks.extend(next.map(|(number, _)| number));
            places -= 1;
        }
    }

    /// Half of the answers came within `median`; they are slow beyond `slow`.
    fn judge(&mut self, median: Duration, slow: Duration) {
        let best = self.latencies.best();
        let was_bound = std::mem::take(&mut self.has_bound) || f64::from(self.in_flight.total()) >= self.bound * 0.9;
        if median > slow && median > best * STRETCHED {
            let shrunk = self.bound * (slow.as_secs_f64() / median.as_secs_f64()).max(0.7);
            self.bound = shrunk.max(LEAST);
        } else if was_bound && median < slow / 2 {
            self.bound *= 1.5;
        } else if was_bound && median < slow {
            self.bound += self.bound.sqrt() / 2.0;
        }
        // So that what has grown for a moment's sake does not stand for ever; no farm has more.
        self.bound = self.bound.min(1e6);
    }
}

const _: () =
    assert!(WINDOW.as_millis() < PATIENCE.as_millis() * 2, "the bound follows before those who wait have given up");

#[cfg(test)]
mod tests;
