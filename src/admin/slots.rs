//! A few slots for connections of many sources. Separate from what they come for, because the admin port and the control
//! socket share the rules: a newcomer is not kept out by those that only wait, and no source takes all slots.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::lock::Locked;

/// How many slots there are, and for whom.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Places in all.
    pub all: usize,
    /// Of these, for one source.
    pub each: usize,
    /// A slot can't be taken away for so long.
    pub sheltered: Duration,
}

/// All slots of one kind; cheap to clone.
#[derive(Debug)]
pub struct Slots<S>(Arc<Locked<Occupants<S>>>);

/// One slot; free again when dropped.
#[derive(Debug)]
pub struct Slot<S> {
    slots: Slots<S>,
    number: u64,
    leave: Arc<Notify>,
}

#[derive(Debug)]
struct Occupants<S> {
    limits: Limits,
    /// How many there ever were.
    ever: u64,
    /// Those who came first are first.
    occupants: Vec<Occupant<S>>,
}

#[derive(Debug)]
struct Occupant<S> {
    number: u64,
    source: S,
    came: Instant,
    leave: Arc<Notify>,
}

/// A newcomer's slot.
struct Acquired {
    number: u64,
    leave: Arc<Notify>,
    /// What tells the one whose slot it was.
    instead: Option<Arc<Notify>>,
}

impl<S> Clone for Slots<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Copy + Eq> Slots<S> {
    /// All free.
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Locked::new(Occupants { limits, ever: 0, occupants: Vec::new() })))
    }

    /// A slot for a connection of `source`. If there is none, the one that came first gives up its own: of the same source
    /// if that has its share, or else of the source that holds the most. `None`: that one is still sheltered.
    pub fn acquire(&self, source: S, now: Instant) -> Option<Slot<S>> {
        let Acquired { number, leave, instead } = self.0.with(|occupants| occupants.acquire(source, now))?;
        instead.iter().for_each(|leaves| leaves.notify_one());
        Some(Slot { slots: self.clone(), number, leave })
    }
}

impl<S> Slots<S> {
    /// Whether all are free.
    pub fn is_empty(&self) -> bool {
        self.0.with(|occupants| occupants.occupants.is_empty())
    }
}

impl<S: Copy + Eq> Occupants<S> {
    fn acquire(&mut self, source: S, now: Instant) -> Option<Acquired> {
        let held = |source: S| self.occupants.iter().filter(|occupant| occupant.source == source).count();
        let greedy = if held(source) >= self.limits.each {
            Some(source)
        } else if self.occupants.len() >= self.limits.all {
            // Of several that hold as much, the one that has been here longest.
            self.occupants.iter().rev().map(|occupant| occupant.source).max_by_key(|source| held(*source))
        } else {
            None
        };
        let mut instead = None;
        if let Some(greedy) = greedy {
            let first = self.occupants.iter().position(|occupant| occupant.source == greedy)?;
            if now.saturating_duration_since(self.occupants[first].came) < self.limits.sheltered {
                return None;
            }
            instead = Some(self.occupants.remove(first).leave);
        }
        self.ever += 1;
        let leave = Arc::new(Notify::new());
        self.occupants.push(Occupant { number: self.ever, source, came: now, leave: Arc::clone(&leave) });
        Some(Acquired { number: self.ever, leave, instead })
    }
}

impl<S> Slot<S> {
    /// Ready when a newcomer has been given the slot.
    pub async fn is_taken(&self) {
        self.leave.notified().await;
    }
}

impl<S> Drop for Slot<S> {
    fn drop(&mut self) {
        self.slots.0.with(|occupants| occupants.occupants.retain(|occupant| occupant.number != self.number));
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
    fn left(limits: Limits, sources: &str) -> Vec<u64> {
        let mut occupants = Occupants { limits, ever: 0, occupants: Vec::new() };
        let start = Instant::now();
        for (index, source) in sources.chars().enumerate() {
            drop(occupants.acquire(source, start + Duration::from_millis(index as u64)));
        }
        occupants.occupants.iter().map(|occupant| occupant.number).collect()
    }

    #[test]
    fn the_source_that_holds_the_most_makes_way() {
        let limits = Limits { all: 4, each: 3, sheltered: Duration::ZERO };
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
            assert_eq!(left(limits, sources), expected, "{sources}");
        }
    }

    #[test]
    fn a_slot_can_not_be_taken_away_at_once() {
        let limits = Limits { all: 3, each: 2, sheltered: Duration::from_millis(4) };
        for (sources, expected) in
            [("aaa", &[1, 2][..]), ("aaaaa", &[2, 3]), ("aabc", &[1, 2, 3]), ("aabbbc", &[2, 3, 4])]
        {
            assert_eq!(left(limits, sources), expected, "{sources}");
        }
    }

    #[tokio::test]
    async fn who_has_to_leave_is_told_and_a_slot_that_is_left_is_free() {
        let slots = Slots::new(Limits { all: 1, each: 1, sheltered: Duration::ZERO });
        let first = slots.acquire('a', Instant::now()).unwrap();
        let second = slots.acquire('b', Instant::now()).unwrap();
        first.is_taken().await;
        drop(first);
        assert!(!slots.is_empty(), "that slot was no longer its own");
        drop(second);
        assert!(slots.is_empty());
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
