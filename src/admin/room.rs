//! A room with few places, for connections of many sources. Separate from what they come for, because the admin port and
//! the control socket share the rules: a newcomer is not kept out by those that only wait, and no source takes all places.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::lock::Locked;

/// How many places there are, and for whom.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Places in all.
    pub all: usize,
    /// Of these, for one source.
    pub each: usize,
    /// A place can't be taken away for so long.
    pub sheltered: Duration,
}

/// The room; cheap to clone.
#[derive(Debug)]
pub struct Room<S>(Arc<Locked<Guests<S>>>);

/// A place; free again when dropped.
#[derive(Debug)]
pub struct Place<S> {
    room: Room<S>,
    number: u64,
    leave: Arc<Notify>,
}

#[derive(Debug)]
struct Guests<S> {
    rules: Rules,
    /// How many there ever were.
    ever: u64,
    /// Those who came first are first.
    guests: Vec<Guest<S>>,
}

#[derive(Debug)]
struct Guest<S> {
    number: u64,
    source: S,
    came: Instant,
    leave: Arc<Notify>,
}

/// A newcomer's place.
struct Entered {
    number: u64,
    leave: Arc<Notify>,
    /// What tells the one whose place it was.
    instead: Option<Arc<Notify>>,
}

impl<S> Clone for Room<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Copy + Eq> Room<S> {
    /// An empty one.
    pub fn new(rules: Rules) -> Self {
        Self(Arc::new(Locked::new(Guests { rules, ever: 0, guests: Vec::new() })))
    }

    /// A place for a connection of `source`. If there is none, the one that came first gives up its own: of the same source
    /// if that has its share, or else of the source that holds the most. `None`: that one is still sheltered.
    pub fn enter(&self, source: S, now: Instant) -> Option<Place<S>> {
        let Entered { number, leave, instead } = self.0.with(|guests| guests.enter(source, now))?;
        instead.iter().for_each(|leaves| leaves.notify_one());
        Some(Place { room: self.clone(), number, leave })
    }
}

impl<S> Room<S> {
    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.0.with(|guests| guests.guests.is_empty())
    }
}

impl<S: Copy + Eq> Guests<S> {
    fn enter(&mut self, source: S, now: Instant) -> Option<Entered> {
        let held = |source: S| self.guests.iter().filter(|guest| guest.source == source).count();
        let greedy = if held(source) >= self.rules.each {
            Some(source)
        } else if self.guests.len() >= self.rules.all {
            // Of several that hold as much, the one that has been here longest.
            self.guests.iter().rev().map(|guest| guest.source).max_by_key(|source| held(*source))
        } else {
            None
        };
        let mut instead = None;
        if let Some(greedy) = greedy {
            let first = self.guests.iter().position(|guest| guest.source == greedy)?;
            if now.saturating_duration_since(self.guests[first].came) < self.rules.sheltered {
                return None;
            }
            instead = Some(self.guests.remove(first).leave);
        }
        self.ever += 1;
        let leave = Arc::new(Notify::new());
        self.guests.push(Guest { number: self.ever, source, came: now, leave: Arc::clone(&leave) });
        Some(Entered { number: self.ever, leave, instead })
    }
}

impl<S> Place<S> {
    /// Ready when a newcomer has been given the place.
    pub async fn is_taken(&self) {
        self.leave.notified().await;
    }
}

impl<S> Drop for Place<S> {
    fn drop(&mut self) {
        self.room.0.with(|guests| guests.guests.retain(|guest| guest.number != self.number));
    }
}

/// Who an address stands for: an IPv6 host has a network of its own to take addresses from.
pub(super) fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => std::net::Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Connections of these sources come one after the other, a millisecond apart, and stay: the numbers of those that are
    /// left.
    fn left(rules: Rules, sources: &str) -> Vec<u64> {
        let mut guests = Guests { rules, ever: 0, guests: Vec::new() };
        let start = Instant::now();
        for (index, source) in sources.chars().enumerate() {
            drop(guests.enter(source, start + Duration::from_millis(index as u64)));
        }
        guests.guests.iter().map(|guest| guest.number).collect()
    }

    #[test]
    fn the_source_that_holds_the_most_makes_way() {
        let rules = Rules { all: 4, each: 3, sheltered: Duration::ZERO };
        let table: [(&str, &[u64]); 7] = [
            ("aaa", &[1, 2, 3]),
            ("aaaa", &[2, 3, 4]),
            ("aaaaaaaaaa", &[8, 9, 10]),
            ("aaab", &[1, 2, 3, 4]),
            ("aaabc", &[2, 3, 4, 5]),
            ("abcde", &[2, 3, 4, 5]),
            ("baaac", &[1, 3, 4, 5]),
        ];
        for (sources, expected) in table {
            assert_eq!(left(rules, sources), expected, "{sources}");
        }
    }

    #[test]
    fn a_place_can_not_be_taken_away_at_once() {
        let rules = Rules { all: 3, each: 2, sheltered: Duration::from_millis(4) };
        for (sources, expected) in
            [("aaa", &[1, 2][..]), ("aaaaa", &[2, 3]), ("aabc", &[1, 2, 3]), ("aabbbc", &[2, 3, 4])]
        {
            assert_eq!(left(rules, sources), expected, "{sources}");
        }
    }

    #[tokio::test]
    async fn who_has_to_leave_is_told_and_a_place_that_is_left_is_free() {
        let room = Room::new(Rules { all: 1, each: 1, sheltered: Duration::ZERO });
        let first = room.enter('a', Instant::now()).unwrap();
        let second = room.enter('b', Instant::now()).unwrap();
        first.is_taken().await;
        drop(first);
        assert!(!room.is_empty(), "that place was no longer its own");
        drop(second);
        assert!(room.is_empty());
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        let of = |address: &str| source(address.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
