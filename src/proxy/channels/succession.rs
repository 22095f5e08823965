//! The table of event channels when one process takes another's place: the streams stay where they are until they end, and
//! whatever names them comes to the new process, or to the old one over a connection that was left open. Separate from the table in ordinary life, which none of it concerns.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use super::{Channels, Place, State, text};
use crate::broadworks::channel::ChannelId;
use crate::broadworks::channel::event::EventId;
use crate::farm::{Endpoint, Farm};
use crate::handover::{self, Message, News, PeerProcess};
use crate::policy::channels::{self as policy, Home};
use crate::policy::events::Trail;
use crate::telemetry::metrics::{ChannelEnd, Held};

/// The key of no endpoint: there are never so many.
const NOWHERE: u64 = u64::MAX;

/// What another process is told.
#[derive(Debug)]
pub struct Told {
    /// Where it goes in.
    pub sender: mpsc::UnboundedSender<Message>,
    /// Where it comes out.
    pub messages: mpsc::UnboundedReceiver<Message>,
}

/// The channels whose streams another process has.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    channels: HashMap<ChannelId, Channel>,
    /// The events of channels that nobody knows any more.
    loose: Vec<Trail<IpAddr, u64>>,
}

#[derive(Debug)]
struct Channel {
    stream: policy::Stream,
    farm: Arc<Farm>,
    key: u64,
    trail: Option<Trail<IpAddr, u64>>,
    /// Who has told of it.
    from: PeerProcess,
    _open: Held,
}

impl Channels {
    /// Whatever is known, and from then on whatever happens, for the process that takes this one's place; what else it is told
    /// goes the same way.
    pub fn follow(&self) -> (Vec<News>, Told) {
        self.with(|state| {
            let told = state.tell_from_now_on(PeerProcess::Successor);
            (state.known(), told)
        })
    }

    /// Nobody takes this process' place, after all.
    pub fn follow_no_more(&self) {
        self.with(|state| state.peers.retain(|(peer, _)| *peer != PeerProcess::Successor));
    }

    /// Whatever happens from now on here, or in those who take this process' place, for the one whose place it has taken.
    pub fn report(&self) -> Told {
        self.with(|state| state.tell_from_now_on(PeerProcess::Predecessor))
    }

    /// Something has happened in the process `from`, or beyond it. `find` finds an endpoint by its names.
    pub fn take(
        &self,
        from: PeerProcess,
        news: News,
        find: impl Fn(&handover::Place) -> Option<(Arc<Farm>, Arc<Endpoint>)>,
    ) {
        match news {
            News::Opened { channel, at } => {
                let (id, place) = (ChannelId::new(channel.as_bytes()), find(&at));
                match (id, place) {
                    (Some(id), Some((farm, endpoint))) => self.with(|state| state.inherit(from, id, farm, endpoint)),
                    // Its XSP can't be found from here: a prompt 404 is better than a heartbeat that lands elsewhere.
                    (Some(id), None) => {
                        self.with(|state| state.table.lost_elsewhere(id, NOWHERE, Instant::now()));
                    }
                    (None, _) => {}
                }
            }
            News::Ended { channel, end } => {
                let Some(id) = ChannelId::new(channel.as_bytes()) else { return };
                self.with(|state| {
                    if state.inherited.channels.contains_key(&id) {
                        state.inherited_ended(&id, end);
                    } else if is_lost(end) && matches!(state.table.home(&id, Instant::now()), Home::Unknown) {
                        state.table.lost_elsewhere(id, NOWHERE, Instant::now());
                    }
                });
            }
            News::Saw { channel, client, event, at } => {
                let Some((event, (farm, endpoint))) = EventId::new(event.as_bytes()).zip(find(&at)) else { return };
                let channel = channel.and_then(|channel| ChannelId::new(channel.as_bytes()));
                self.with(|state| state.saw_elsewhere(from, channel.as_ref(), client, event, farm, endpoint));
            }
        }
    }

    /// Whatever is at `old` is at `endpoint` of `farm` from now on, as which that goes on.
    pub fn go_on(&self, old: &Endpoint, farm: &Arc<Farm>, endpoint: &Arc<Endpoint>) {
        self.with(|state| {
            let Some(place) = state.places.get_mut(&old.key()) else { return };
            let place = std::mem::replace(place, Place { farm: Arc::clone(farm), endpoint: Arc::clone(endpoint) });
            state.left.push(place);
            for channel in state.inherited.channels.values_mut().filter(|channel| channel.key == old.key()) {
                channel.farm = Arc::clone(farm);
                channel._open = Held::new(&endpoint.metrics().channels);
            }
        });
    }

    /// The process `from` has ended, and what it had has ended with it.
    pub fn orphaned(&self, from: PeerProcess) {
        self.with(|state| state.orphaned(from));
    }
}

impl State {
    fn orphaned(&mut self, from: PeerProcess) {
        self.peers.retain(|(peer, _)| *peer != from);
        let its = self.inherited.channels.iter().filter(|(_, channel)| channel.from == from);
        let ids: Vec<_> = its.map(|(id, _)| id.clone()).collect();
        for id in ids {
            self.inherited_ended(&id, ChannelEnd::Cut);
        }
        if from == PeerProcess::Successor {
            return;
        }
        for trail in std::mem::take(&mut self.inherited.loose) {
            self.events.ended(&trail);
            self.forget_place(*trail.endpoint());
        }
    }

    fn tell_from_now_on(&mut self, peer: PeerProcess) -> Told {
        let (sender, messages) = mpsc::unbounded_channel();
        self.peers.push((peer, sender.clone()));
        Told { sender, messages }
    }

    /// Tells the processes before and after this one, but for the one that it comes `from`.
    pub(super) fn tell(&self, from: Option<PeerProcess>, news: impl FnOnce(&Self) -> Option<News>) {
        let mut others = self.peers.iter().filter(|(peer, _)| Some(*peer) != from).peekable();
        if others.peek().is_none() {
            return;
        }
        let Some(news) = news(self) else { return };
        for (_, other) in others {
            // The error says that it has gone, and somebody else notices.
            other.send(Message::News(news.clone())).ok();
        }
    }

    pub(super) fn tell_of_event(
        &self,
        from: Option<PeerProcess>,
        channel: Option<&ChannelId>,
        client: IpAddr,
        event: &EventId,
        endpoint: u64,
    ) {
        self.tell(from, |state| {
            let event = String::from_utf8_lossy(event.as_bytes()).into_owned();
            Some(News::Saw { channel: channel.map(text), client, event, at: state.names(endpoint)? })
        });
    }

    /// What the endpoint `key` is called.
    pub(super) fn names(&self, key: u64) -> Option<handover::Place> {
        let Place { farm, endpoint } = self.places.get(&key)?;
        Some(handover::Place {
            farm: farm.name().to_owned(),
            formerly: farm.config().formerly.clone(),
            endpoint: endpoint.address(),
        })
    }

    fn known(&self) -> Vec<News> {
        let channels = self.table.iter(Instant::now()).filter_map(|(id, home)| match home {
            Home::At(key) => Some(News::Opened { channel: text(id), at: self.names(key)? }),
            Home::Lost => Some(News::Ended { channel: text(id), end: ChannelEnd::Lost }),
            Home::Unknown => None,
        });
        let events = self.events.iter().filter_map(|((client, event), key)| {
            let event = String::from_utf8_lossy(event.as_bytes()).into_owned();
            Some(News::Saw { channel: None, client: *client, event, at: self.names(key)? })
        });
        channels.chain(events).collect()
    }

    fn inherit(&mut self, from: PeerProcess, id: ChannelId, farm: Arc<Farm>, endpoint: Arc<Endpoint>) {
        let key = endpoint.key();
        let Some(stream) = self.table.opened(id.clone(), key, Instant::now()) else { return };
        let open = Held::new(&endpoint.metrics().channels);
        self.places.insert(key, Place { farm: Arc::clone(&farm), endpoint });
        self.tell(Some(from), |state| Some(News::Opened { channel: text(&id), at: state.names(key)? }));
        self.inherited.channels.insert(id, Channel { stream, farm, key, trail: None, from, _open: open });
    }

    /// The channel `id` has ended, if it is one of those that another process has.
    pub(super) fn inherited_ended(&mut self, id: &ChannelId, end: ChannelEnd) {
        let Some(channel) = self.inherited.channels.remove(id) else { return };
        self.tell(Some(channel.from), |_| Some(News::Ended { channel: text(id), end }));
        match is_lost(end) {
            true => self.table.lost(&channel.stream, Instant::now()),
            false => self.table.closed(&channel.stream),
        }
        if let Some(trail) = &channel.trail {
            self.events.ended(trail);
        }
        // The place holds the farm, too.
        self.forget_place(channel.key);
        channel.farm.metrics().channel_closed(end);
    }

    fn saw_elsewhere(
        &mut self,
        from: PeerProcess,
        channel: Option<&ChannelId>,
        client: IpAddr,
        event: EventId,
        farm: Arc<Farm>,
        endpoint: Arc<Endpoint>,
    ) {
        let key = endpoint.key();
        self.tell_of_event(Some(from), channel, client, &event, key);
        let Some(channel) = channel else {
            let mut trail = Trail::new(client, key);
            self.events.saw(&mut trail, event);
            self.inherited.loose.push(trail);
            self.places.entry(key).or_insert(Place { farm, endpoint });
            return;
        };
        if let Some(channel) = self.inherited.channels.get_mut(channel) {
            self.events.saw(channel.trail.get_or_insert_with(|| Trail::new(client, key)), event);
        }
    }
}

/// Whether heartbeats of a channel that has ended so are answered here. Those of one that was cut at a process' end are, too:
/// nobody else would know of it.
const fn is_lost(end: ChannelEnd) -> bool {
    match end {
        ChannelEnd::Lost | ChannelEnd::Cut => true,
        ChannelEnd::Client | ChannelEnd::Xsp => false,
    }
}
