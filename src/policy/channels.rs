//! Which endpoint each event channel lives on, and which channels were lost with theirs (R-AFF-2). Separate from the cookie's
//! affinity, because a channel has an owner for exactly as long as its stream lives, and many clients keep no cookies.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::{Duration, Instant};

use crate::broadworks::channel::ChannelId;

/// For how long a channel that was lost is remembered unless told otherwise: clients notice by a heartbeat, and the
/// slowest of them send one every 25 s.
pub const REMEMBER: Duration = Duration::from_secs(2 * 60);

/// How many lost channels one call forgets at most.
const FORGOTTEN_AT_ONCE: usize = 16;
/// Room for so many is never given back.
const LEAST_ROOM: usize = 64;

/// Where a request that names a channel belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home<E> {
    /// To this endpoint, and to no other.
    At(E),
    /// To none: the channel ended with its endpoint, and a prompt 404 makes the client open a new one.
    Lost,
    /// Nothing is known of the channel.
    Unknown,
}

/// One channel's stream, from [`Channels::opened`] to [`Channels::closed`] or [`Channels::lost`]. It speaks for the
/// channel until another stream opens under the same id; from then on it changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Stream {
    id: ChannelId,
    serial: u64,
}

impl Stream {
    /// The channel.
    pub fn id(&self) -> &ChannelId {
        &self.id
    }
}

/// The channels that are open, and those that were lost a short while ago. `E` names an endpoint.
#[derive(Clone, Debug)]
pub struct Channels<E> {
    entries: HashMap<ChannelId, Entry<E>>,
    /// The lost ones, by the end of their remembrance.
    lost: BTreeMap<(Instant, u64), ChannelId>,
    /// How many are open at each endpoint, never 0.
    open: HashMap<E, usize>,
    capacity: usize,
    remember: Duration,
    serial: u64,
    not_learnt: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry<E> {
    serial: u64,
    state: State<E>,
}

#[derive(Clone, Copy, Debug)]
enum State<E> {
    Open(E),
    Lost { until: Instant },
}

impl<E: Copy + Eq + Hash> Channels<E> {
    /// None yet. At most `capacity` are known at a time, open and lost together; a lost one is forgotten after `remember`.
    pub fn new(capacity: usize, remember: Duration) -> Self {
        Self {
            entries: HashMap::new(),
            lost: BTreeMap::new(),
            open: HashMap::new(),
            capacity,
            remember,
            serial: 0,
            not_learnt: 0,
        }
    }

    /// Those that are lost from now on are forgotten after `remember`.
    pub fn set_remember(&mut self, remember: Duration) {
        self.remember = remember;
    }

    /// A stream from `endpoint` says that it is channel `id`, and owns the id from now on, no matter who did before. Anyone who
    /// holds the stream tells how it ends. `None`: there is no room, although the oldest of the lost ones would have made
    /// some, and the channel stays unknown.
    pub fn opened(&mut self, id: ChannelId, endpoint: E, now: Instant) -> Option<Stream> {
        self.expire(now);
        self.remove(&id);
        if self.entries.len() >= self.capacity {
            let oldest = self.lost.pop_first().map(|(_, oldest)| self.entries.remove(&oldest));
            if oldest.is_none() || self.capacity == 0 {
                self.not_learnt += 1;
                return None;
            }
        }
        self.serial += 1;
        *self.open.entry(endpoint).or_default() += 1;
        self.entries.insert(id.clone(), Entry { serial: self.serial, state: State::Open(endpoint) });
        Some(Stream { id, serial: self.serial })
    }

    /// The stream has ended as streams do: its client went, or the channel was deleted or has run out.
    pub fn closed(&mut self, stream: &Stream) {
        if self.owned_at(stream).is_some() {
            self.remove(&stream.id);
        }
    }

    /// The stream's endpoint died or broke it off. Until `remember` has passed the channel is [`Home::Lost`].
    pub fn lost(&mut self, stream: &Stream, now: Instant) {
        self.expire(now);
        if self.owned_at(stream).is_none() {
            return;
        }
        self.remove(&stream.id);
        if self.remember.is_zero() {
            return;
        }
        let until = now + self.remember;
        self.lost.insert((until, stream.serial), stream.id.clone());
        self.entries.insert(stream.id.clone(), Entry { serial: stream.serial, state: State::Lost { until } });
    }

    /// The channel `id`, which was none of those here, is lost.
    pub fn lost_elsewhere(&mut self, id: ChannelId, endpoint: E, now: Instant) {
        if let Some(stream) = self.opened(id, endpoint, now) {
            self.lost(&stream, now);
        }
    }

    /// Every channel that is known, and where a request belongs that names it.
    pub fn iter(&self, now: Instant) -> impl Iterator<Item = (&ChannelId, Home<E>)> {
        self.entries.keys().map(move |id| (id, self.home(id, now)))
    }

    /// Where a request that names `id` belongs.
    pub fn home(&self, id: &ChannelId, now: Instant) -> Home<E> {
        match self.entries.get(id).map(|entry| entry.state) {
            Some(State::Open(endpoint)) => Home::At(endpoint),
            Some(State::Lost { until }) if now < until => Home::Lost,
            Some(State::Lost { .. }) | None => Home::Unknown,
        }
    }

    /// How many channels are open at this endpoint.
    pub fn open_at(&self, endpoint: E) -> usize {
        self.open.get(&endpoint).copied().unwrap_or_default()
    }

    /// How many channels are open.
    pub fn open(&self) -> usize {
        self.entries.len() - self.lost.len()
    }

    /// How many lost channels are held in memory; these may include some whose time has just passed.
    pub fn remembered(&self) -> usize {
        self.lost.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many channels stayed unknown for want of room.
    pub fn not_learnt(&self) -> u64 {
        self.not_learnt
    }

    /// The endpoint of the channel, if `stream` is its owner and it is open.
    fn owned_at(&self, stream: &Stream) -> Option<E> {
        let entry = self.entries.get(&stream.id).filter(|entry| entry.serial == stream.serial)?;
        match entry.state {
            State::Open(endpoint) => Some(endpoint),
            State::Lost { .. } => None,
        }
    }

    fn remove(&mut self, id: &ChannelId) {
        let Some(entry) = self.entries.remove(id) else { return };
        match entry.state {
            State::Lost { until } => {
                self.lost.remove(&(until, entry.serial));
            }
            State::Open(endpoint) => {
                if let Some(open) = self.open.get_mut(&endpoint) {
                    *open -= 1;
                    if *open == 0 {
                        self.open.remove(&endpoint);
                    }
                }
            }
        }
    }

    /// Forgets a few of the lost ones whose time has passed: more than come in one call, and so few that a farm's worth
    /// of channels that were lost at once holds nobody up.
    fn expire(&mut self, now: Instant) {
        for _ in 0..FORGOTTEN_AT_ONCE {
            match self.lost.first_entry() {
                Some(first) if first.key().0 <= now => self.entries.remove(&first.remove()),
                Some(_) | None => break,
            };
        }
        // Nor is their memory kept for the next time.
        if self.entries.capacity() > 4 * self.entries.len().max(LEAST_ROOM) {
            self.entries.shrink_to(2 * self.entries.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(name: impl ToString) -> ChannelId {
        ChannelId::new(name.to_string().as_bytes()).unwrap()
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn r_aff_2_a_channel_belongs_to_its_endpoint_while_its_stream_lives() {
        let now = Instant::now();
        let mut channels = Channels::new(10, REMEMBER);
        assert_eq!(channels.home(&id(1), now), Home::Unknown);
        let one = channels.opened(id(1), 'a', now).unwrap();
        let two = channels.opened(id(2), 'b', now).unwrap();
        let later = now + seconds(86_400);
        assert_eq!(channels.home(&id(1), later), Home::At('a'));
        assert_eq!(channels.home(&id(2), later), Home::At('b'));
        channels.closed(&one);
        assert_eq!(channels.home(&id(1), later), Home::Unknown);
        channels.lost(&two, later);
        assert_eq!(channels.home(&id(2), later), Home::Lost);
        assert_eq!((channels.open_at('a'), channels.open_at('b')), (0, 0));
    }

    #[test]
    fn r_aff_2_a_lost_channel_is_remembered_to_the_nanosecond() {
        let now = Instant::now();
        let mut channels = Channels::new(10, REMEMBER);
        let one = channels.opened(id(1), 'a', now).unwrap();
        channels.lost(&one, now);
        channels.closed(&one);
        channels.lost(&one, now + seconds(60));
        assert_eq!(channels.home(&id(1), now + REMEMBER - Duration::from_nanos(1)), Home::Lost);
        assert_eq!(channels.home(&id(1), now + REMEMBER), Home::Unknown);
        let two = channels.opened(id(2), 'a', now + REMEMBER).unwrap();
        assert_eq!((channels.open(), channels.remembered()), (1, 0), "it is forgotten without being asked for");
        channels.closed(&two);

        let mut forgetful = Channels::new(10, Duration::ZERO);
        let one = forgetful.opened(id(1), 'a', now).unwrap();
        forgetful.lost(&one, now);
        assert!(forgetful.is_empty());
    }

    #[test]
    fn r_aff_2_a_stream_that_was_replaced_changes_nothing() {
        let now = Instant::now();
        let mut channels = Channels::new(10, REMEMBER);
        let old = channels.opened(id(1), 'a', now).unwrap();
        let new = channels.opened(id(1), 'b', now).unwrap();
        assert_eq!((channels.open_at('a'), channels.open_at('b')), (0, 1));
        channels.closed(&old);
        channels.lost(&old, now);
        assert_eq!(channels.home(&id(1), now), Home::At('b'));
        channels.lost(&new, now);
        let newest = channels.opened(id(1), 'a', now).unwrap();
        channels.closed(&new);
        assert_eq!(channels.home(&id(1), now + 2 * REMEMBER), Home::At('a'));
        assert_eq!((channels.open(), channels.remembered()), (1, 0));
        channels.closed(&newest);
        assert!(channels.is_empty());
    }

    #[test]
    fn a_full_table_forgets_lost_channels_and_then_learns_no_more() {
        let now = Instant::now();
        let mut channels = Channels::new(3, REMEMBER);
        let streams: Vec<_> = (0..3).map(|name| channels.opened(id(name), 'a', now).unwrap()).collect();
        assert_eq!(channels.opened(id(3), 'a', now), None);
        assert_eq!((channels.not_learnt(), channels.open_at('a')), (1, 3));
        assert!(channels.opened(id(0), 'b', now).is_some(), "one that is known needs no more room");
        channels.lost(&streams[2], now);
        channels.lost(&streams[1], now + seconds(1));
        assert!(channels.opened(id(4), 'a', now + seconds(1)).is_some());
        assert_eq!(channels.home(&id(2), now + seconds(1)), Home::Unknown, "the oldest goes first");
        assert_eq!(channels.home(&id(1), now + seconds(1)), Home::Lost);
        assert_eq!((channels.not_learnt(), channels.open(), channels.remembered()), (1, 2, 1));
        assert_eq!(Channels::new(0, REMEMBER).opened(id(0), 'a', now), None);
    }

    #[test]
    fn a_channel_takes_little_memory() {
        assert!(size_of::<(ChannelId, Entry<u32>)>() <= 48);
    }

    #[test]
    fn room_is_given_back_after_a_great_loss() {
        let now = Instant::now();
        let mut channels = Channels::new(20_000, REMEMBER);
        let streams: Vec<_> = (0..10_000).map(|name| channels.opened(id(name), 'a', now).unwrap()).collect();
        for stream in &streams {
            channels.lost(stream, now);
        }
        assert_eq!((channels.open(), channels.remembered()), (0, 10_000));
        let later = now + REMEMBER;
        assert_eq!(channels.home(&id(9_999), later), Home::Unknown);
        for left in (0..10_000 / FORGOTTEN_AT_ONCE).rev() {
            let stream = channels.opened(id("new"), 'b', later).unwrap();
            assert_eq!((channels.open(), channels.remembered()), (1, left * FORGOTTEN_AT_ONCE), "a few at a time");
            channels.closed(&stream);
        }
        assert!(channels.is_empty() && channels.entries.capacity() < 1_000);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Wait(u64),
        Open(u8, u8),
        Close(usize),
        Lose(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            2 => (0..5u64).prop_map(Step::Wait),
            4 => (0..8u8, 0..3u8).prop_map(|(name, endpoint)| Step::Open(name, endpoint)),
            1 => (0..60usize).prop_map(Step::Close),
            2 => (0..60usize).prop_map(Step::Lose),
        ]
    }

    /// One stream and its end. The last stream of a name is the one that counts.
    #[derive(Clone, Copy, Debug)]
    struct Life {
        name: u8,
        endpoint: u8,
        end: End,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum End {
        None,
        Closed,
        Lost(Instant),
    }

    fn last(lives: &[Life], name: u8) -> Option<Life> {
        lives.iter().rev().find(|life| life.name == name).copied()
    }

    fn home(lives: &[Life], name: u8, now: Instant) -> Home<u8> {
        match last(lives, name) {
            Some(Life { endpoint, end: End::None, .. }) => Home::At(endpoint),
            Some(Life { end: End::Lost(at), .. }) if now < at + seconds(10) => Home::Lost,
            Some(_) | None => Home::Unknown,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn r_aff_2_matches_a_model_that_keeps_every_stream(
            capacity in 1..8usize, steps in prop::collection::vec(step(), 1..120)
        ) {
            let mut channels = Channels::new(capacity, seconds(10));
            let mut streams: Vec<Stream> = Vec::new();
            let mut lives: Vec<Life> = Vec::new();
            let mut now = Instant::now();
            let mut refused = 0;
            for step in steps {
                match step {
                    Step::Wait(pause) => now += seconds(pause),
                    Step::Open(name, endpoint) => {
                        let others = |lives: &[Life]| -> Vec<u8> {
                            (0..8).filter(|other| *other != name && home(lives, *other, now) != Home::Unknown).collect()
                        };
                        if others(&lives).len() >= capacity {
                            // Of those lost in the same instant, the one that opened first.
                            let lost = others(&lives).into_iter().filter_map(|other| {
                                let index = lives.iter().rposition(|life| life.name == other)?;
                                match lives[index].end {
                                    End::Lost(at) => Some((at, index)),
                                    End::None | End::Closed => None,
                                }
                            });
                            if let Some((_, index)) = lost.min() {
                                lives[index].end = End::Closed;
                            }
                        }
                        let room = others(&lives).len() < capacity;
                        match channels.opened(id(name), endpoint, now) {
                            Some(stream) if room => {
                                streams.push(stream);
                                lives.push(Life { name, endpoint, end: End::None });
                            }
                            None if !room => refused += 1,
                            opened => prop_assert!(false, "{opened:?}"),
                        }
                    }
                    Step::Close(which) | Step::Lose(which) if which >= streams.len() => {}
                    Step::Close(which) => {
                        channels.closed(&streams[which]);
                        if lives[which].end == End::None {
                            lives[which].end = End::Closed;
                        }
                    }
                    Step::Lose(which) => {
                        channels.lost(&streams[which], now);
                        if lives[which].end == End::None {
                            lives[which].end = End::Lost(now);
                        }
                    }
                }
                for name in 0..8 {
                    prop_assert_eq!(channels.home(&id(name), now), home(&lives, name, now));
                }
                for endpoint in 0..3 {
                    let open = (0..8).filter(|name| home(&lives, *name, now) == Home::At(endpoint)).count();
                    prop_assert_eq!(channels.open_at(endpoint), open);
                }
                prop_assert!(channels.entries.len() <= capacity);
                prop_assert_eq!(channels.not_learnt(), refused);
                prop_assert_eq!(channels.entries.len(), channels.open() + channels.remembered());
            }
        }
    }
}
