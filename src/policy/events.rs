//! Where each event was seen that a client has yet to acknowledge: what acknowledges it names the event, and no channel
//! (R-AFF-2). Separate from the table of channels, because this one is no more than a preference: what is too much is forgotten.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;

use crate::broadworks::channel::event::EventId;

/// Room for so many is never given back.
const LEAST_ROOM: usize = 64;

/// The events that have been seen. `C` names a client, `E` an endpoint.
#[derive(Clone, Debug)]
pub struct Events<C, E> {
    seen: HashMap<(C, EventId), Sighting<E>>,
    /// The same by age.
    ages: BTreeMap<u64, (C, EventId)>,
    per_channel: usize,
    capacity: usize,
    serial: u64,
}

#[derive(Clone, Copy, Debug)]
struct Sighting<E> {
    serial: u64,
    endpoint: E,
}

/// The events of one channel's stream, from [`Events::saw`] to [`Events::ended`].
#[derive(Clone, Debug)]
pub struct Trail<C, E> {
    client: C,
    endpoint: E,
    /// Its latest events by age, from the oldest on that may still be known.
    serials: VecDeque<u64>,
}

impl<C, E> Trail<C, E> {
    /// No event yet of a channel from `endpoint` to `client`.
    pub const fn new(client: C, endpoint: E) -> Self {
        Self { client, endpoint, serials: VecDeque::new() }
    }

    /// Who gets its events.
    pub const fn client(&self) -> &C {
        &self.client
    }

    /// From where.
    pub const fn endpoint(&self) -> &E {
        &self.endpoint
    }
}

impl<C: Copy + Eq + Hash, E: Copy> Events<C, E> {
    /// None yet. At most the latest `per_channel` of each channel are known at a time, and at most the latest `capacity` of
    /// all channels.
    pub fn new(per_channel: usize, capacity: usize) -> Self {
        Self { seen: HashMap::new(), ages: BTreeMap::new(), per_channel, capacity, serial: 0 }
    }

    /// Event `id` has come on the channel of `trail`, which speaks for it from now on, whichever other channel of the same
    /// client did before.
    pub fn saw(&mut self, trail: &mut Trail<C, E>, id: EventId) {
        let key = (trail.client, id);
        self.acknowledged(&key);
        while let Some(oldest) = trail.serials.front().copied()
            && (trail.serials.len() >= self.per_channel || !self.ages.contains_key(&oldest))
        {
            trail.serials.pop_front();
            self.forget(oldest);
        }
        if self.ages.len() >= self.capacity
            && let Some((_, oldest)) = self.ages.pop_first()
        {
            self.seen.remove(&oldest);
        }
        if self.per_channel == 0 || self.capacity == 0 {
            return;
        }
        self.serial += 1;
        trail.serials.push_back(self.serial);
        self.ages.insert(self.serial, key.clone());
        self.seen.insert(key, Sighting { serial: self.serial, endpoint: trail.endpoint });
    }

    /// From which endpoint the event came to the client.
    pub fn seen(&self, event: &(C, EventId)) -> Option<E> {
        self.seen.get(event).map(|sighting| sighting.endpoint)
    }

    /// Every event that is known, by age, with its client, and from which endpoint it came.
    pub fn iter(&self) -> impl Iterator<Item = (&(C, EventId), E)> {
        self.ages.values().filter_map(|event| Some((event, self.seen(event)?)))
    }

    /// The client has acknowledged the event, and will not do so again.
    pub fn acknowledged(&mut self, event: &(C, EventId)) {
        if let Some(sighting) = self.seen.remove(event) {
            self.ages.remove(&sighting.serial);
        }
    }

    /// The channel is no more.
    pub fn ended(&mut self, trail: &Trail<C, E>) {
        for serial in &trail.serials {
            self.forget(*serial);
        }
        if self.seen.capacity() > 4 * self.seen.len().max(LEAST_ROOM) {
            self.seen.shrink_to(2 * self.seen.len());
        }
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    fn forget(&mut self, serial: u64) {
        if let Some(event) = self.ages.remove(&serial) {
            self.seen.remove(&event);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(client: u8, name: impl ToString) -> (u8, EventId) {
        (client, EventId::new(name.to_string().as_bytes()).unwrap())
    }

    fn id(name: impl ToString) -> EventId {
        event(0, name).1
    }

    #[test]
    fn r_aff_2_an_event_belongs_where_its_channel_is_until_it_is_acknowledged() {
        let mut events = Events::new(64, 100);
        let (mut one, mut two) = (Trail::new(1, 'a'), Trail::new(2, 'b'));
        events.saw(&mut one, id("x"));
        events.saw(&mut two, id("x"));
        events.saw(&mut two, id("y"));
        assert_eq!(events.seen(&event(1, "x")), Some('a'));
        assert_eq!(events.seen(&event(2, "x")), Some('b'), "another client's event of that name");
        assert_eq!(events.seen(&event(1, "y")), None);
        events.acknowledged(&event(1, "x"));
        assert_eq!((events.seen(&event(1, "x")), events.seen(&event(2, "x"))), (None, Some('b')));
        events.ended(&two);
        assert!(events.is_empty());
    }

    #[test]
    fn the_latest_channel_speaks_for_an_event() {
        let mut events = Events::new(64, 100);
        let (mut old, mut new) = (Trail::new(1, 'a'), Trail::new(1, 'b'));
        events.saw(&mut old, id("x"));
        events.saw(&mut new, id("x"));
        events.ended(&old);
        assert_eq!(events.seen(&event(1, "x")), Some('b'));
    }

    #[test]
    fn the_oldest_events_are_forgotten_first() {
        let mut events = Events::new(3, 4);
        let (mut one, mut two) = (Trail::new(1, 'a'), Trail::new(2, 'b'));
        for name in 0..5 {
            events.saw(&mut one, id(name));
        }
        let known = |events: &Events<u8, char>, client| -> Vec<i32> {
            (0..9).filter(|name| events.seen(&event(client, name)).is_some()).collect()
        };
        assert_eq!(known(&events, 1), [2, 3, 4]);
        events.saw(&mut two, id(5));
        events.saw(&mut two, id(6));
        assert_eq!((known(&events, 1), known(&events, 2)), (vec![3, 4], vec![5, 6]));
        assert_eq!(events.len(), 4);
    }

    #[test]
    fn a_channel_keeps_nothing_of_what_was_acknowledged() {
        let mut events = Events::new(64, 100);
        let mut trail = Trail::new(1, 'a');
        for name in 0..1_000 {
            events.saw(&mut trail, id(name));
            events.acknowledged(&event(1, name));
        }
        assert!(events.is_empty() && trail.serials.capacity() <= 4);
    }

    #[test]
    fn room_is_given_back() {
        let mut events = Events::new(10_000, 10_000);
        let mut trail = Trail::new(1, 'a');
        for name in 0..10_000 {
            events.saw(&mut trail, id(name));
        }
        events.ended(&trail);
        assert!(events.is_empty() && events.seen.capacity() < 1_000);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Saw(usize, u8),
        Acknowledge(u8, u8),
        End(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..4usize, 0..8u8).prop_map(|(channel, name)| Step::Saw(channel, name)),
            2 => (0..2u8, 0..8u8).prop_map(|(client, name)| Step::Acknowledge(client, name)),
            1 => (0..4usize).prop_map(Step::End),
        ]
    }

    /// One event on a channel, for good.
    #[derive(Clone, Copy, Debug)]
    struct Seen {
        channel: usize,
        client: u8,
        name: u8,
        known: bool,
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn r_aff_2_matches_a_model_that_keeps_every_event(
            per_channel in 0..5usize, capacity in 0..8usize, steps in prop::collection::vec(step(), 1..120)
        ) {
            let mut events = Events::new(per_channel, capacity);
            // Of each client two channels, each at an endpoint of its own.
            let fresh = |channel: usize| Trail::new((channel % 2) as u8, channel);
            let mut trails: Vec<_> = (0..4).map(fresh).collect();
            let mut history: Vec<Seen> = Vec::new();
            for step in steps {
                match step {
                    Step::Saw(channel, name) => {
                        let client = (channel % 2) as u8;
                        let same = |seen: &&mut Seen| seen.client == client && seen.name == name;
                        history.iter_mut().filter(same).for_each(|seen| seen.known = false);
                        history.push(Seen { channel, client, name, known: true });
                        let own = history.iter_mut().rev().filter(|seen| seen.channel == channel);
                        own.skip(per_channel).for_each(|seen| seen.known = false);
                        let all = history.iter_mut().rev().filter(|seen| seen.known);
                        all.skip(capacity).for_each(|seen| seen.known = false);
                        events.saw(&mut trails[channel], id(name));
                    }
                    Step::Acknowledge(client, name) => {
                        let same = |seen: &&mut Seen| seen.client == client && seen.name == name;
                        history.iter_mut().filter(same).for_each(|seen| seen.known = false);
                        events.acknowledged(&event(client, name));
                    }
                    Step::End(channel) => {
                        history.iter_mut().filter(|seen| seen.channel == channel).for_each(|seen| seen.known = false);
                        events.ended(&std::mem::replace(&mut trails[channel], fresh(channel)));
                    }
                }
                for (client, name) in (0..2).flat_map(|client| (0..8).map(move |name| (client, name))) {
                    let known = history.iter().find(|seen| seen.known && seen.client == client && seen.name == name);
                    prop_assert_eq!(events.seen(&event(client, name)), known.map(|seen| seen.channel));
                }
                prop_assert_eq!(events.len(), history.iter().filter(|seen| seen.known).count());
                prop_assert_eq!(events.ages.len(), events.len());
                prop_assert!(trails.iter().all(|trail| trail.serials.len() <= per_channel));
            }
        }
    }
}
