//! The event channels that are open, and where each of them is: what names a channel goes to its XSP (R-AFF-2). Shared by
//! all workers, since a channel's heartbeats come over other connections than its stream.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::documents::Assembly;
use crate::broadworks::channel::ChannelId;
use crate::broadworks::channel::finder::{Finder, Found};
use crate::farm::{Endpoint, Farm};
use crate::http1::chunked::Event;
use crate::policy::channels as policy;
use crate::telemetry::metrics::{ChannelEvent, Held};

/// No gateway has so many connections.
const CAPACITY: usize = 10_000_000;

/// Every channel whose id is known.
#[derive(Debug)]
pub struct Channels(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Which endpoint has which channel, by [`Endpoint::key`].
    table: policy::Channels<u64>,
    /// The endpoints that have one.
    places: HashMap<u64, Place>,
    /// Dropping one ends the channel's stream.
    alive: HashMap<ChannelId, oneshot::Sender<()>>,
}

#[derive(Debug)]
struct Place {
    farm: Arc<Farm>,
    endpoint: Arc<Endpoint>,
}

/// Where a request goes that names a channel.
#[derive(Debug)]
pub(super) enum Home {
    /// To the XSP where the channel is.
    At(Arc<Endpoint>),
    /// Nowhere: the channel's XSP is gone, and the channel with it.
    Lost,
    /// Nobody here knows of it.
    Unknown,
}

impl Channels {
    /// None yet; one that is lost is remembered for `remember`.
    pub fn new(remember: Duration) -> Self {
        let table = policy::Channels::new(CAPACITY, remember);
        Self(Mutex::new(State { table, places: HashMap::new(), alive: HashMap::new() }))
    }

    /// The home of the channel `id`, if it is one of `farm`.
    pub(super) fn home(&self, id: &ChannelId, farm: &Arc<Farm>) -> Home {
        let state = self.0.lock();
        match state.table.home(id, Instant::now()) {
            policy::Home::At(key) => match state.places.get(&key) {
                Some(place) if Arc::ptr_eq(&place.farm, farm) => Home::At(Arc::clone(&place.endpoint)),
                Some(_) | None => Home::Unknown,
            },
            policy::Home::Lost => Home::Lost,
            policy::Home::Unknown => Home::Unknown,
        }
    }

    /// The XSP of the channel `id` takes no connections any more: the channel's stream ends, and the channel with it.
    pub(super) fn cut(&self, id: &ChannelId) {
        drop(self.0.lock().alive.remove(id));
    }
}

/// Reads along on the answer to a channel request, and keeps the channel in the table while its stream lives.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    channels: &'a Channels,
    farm: &'a Arc<Farm>,
    endpoint: &'a Arc<Endpoint>,
    /// Gets the id, once it is known.
    note: &'a mut Option<ChannelId>,
    reading: Reading,
    assembly: Assembly,
}

#[derive(Debug)]
enum Reading {
    Searching(Finder),
    Known(Box<Known>),
    /// There is no id, or the channel has ended.
    Over,
}

#[derive(Debug)]
struct Known {
    stream: policy::Stream,
    cut: oneshot::Receiver<()>,
    _open: Held,
}

/// How a channel's stream has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client has left, or the XSP has ended it.
    Closed,
    /// The XSP is gone.
    Lost,
}

impl<'a> Reader<'a> {
    /// Nothing is known yet of a channel that `endpoint` of `farm` opens; `note` gets its id.
    pub(super) fn new(
        channels: &'a Channels,
        farm: &'a Arc<Farm>,
        endpoint: &'a Arc<Endpoint>,
        note: &'a mut Option<ChannelId>,
    ) -> Self {
        let reading = Reading::Searching(Finder::new());
        Self { channels, farm, endpoint, note, reading, assembly: Assembly::default() }
    }

    /// Takes one event of the XSP's body, and gives `out` those of the client's: a chunk for each document.
    pub(super) fn pass(&mut self, event: Event<'_>, out: &mut impl FnMut(Event<'_>)) {
        if let Event::Data(bytes) = &event {
            self.read(bytes);
        }
        self.assembly.pass(event, out);
        for _ in 0..self.assembly.assembled() {
            self.farm.metrics().channel(ChannelEvent::Reassembled);
        }
    }

    fn read(&mut self, bytes: &[u8]) {
        let Reading::Searching(finder) = &mut self.reading else { return };
        self.reading = match finder.read(bytes) {
            Found::Searching => return,
            Found::Id(id) => {
                *self.note = Some(id.clone());
                self.opened(id)
            }
            Found::GivenUp => Reading::Over,
        };
    }

    fn opened(&self, id: ChannelId) -> Reading {
        let (alive, cut) = oneshot::channel();
        let (farm, endpoint) = (Arc::clone(self.farm), Arc::clone(self.endpoint));
        let mut state = self.channels.0.lock();
        let Some(stream) = state.table.opened(id.clone(), endpoint.key(), Instant::now()) else { return Reading::Over };
        state.places.insert(endpoint.key(), Place { farm, endpoint });
        // An older stream of that id is a channel's that is no more.
        state.alive.insert(id, alive);
        drop(state);
        self.farm.metrics().channel(ChannelEvent::Opened);
        Reading::Known(Box::new(Known { stream, cut, _open: Held::new(&self.endpoint.metrics().channels) }))
    }

    /// Ready once the channel is known to be lost though its stream is not.
    pub(super) fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.reading {
            Reading::Known(known) => Pin::new(&mut known.cut).poll(cx).map(drop),
            Reading::Searching(_) | Reading::Over => Poll::Pending,
        }
    }

    /// The channel's stream has ended.
    pub(super) fn ended(&mut self, end: End) {
        let Reading::Known(known) = std::mem::replace(&mut self.reading, Reading::Over) else { return };
        let mut state = self.channels.0.lock();
        let event = match end {
            End::Closed => {
                state.table.closed(&known.stream);
                ChannelEvent::Closed
            }
            End::Lost => {
                state.table.lost(&known.stream, Instant::now());
                ChannelEvent::Lost
            }
        };
        let id = known.stream.id();
        if !matches!(state.table.home(id, Instant::now()), policy::Home::At(_)) {
            state.alive.remove(id);
        }
        let left = state.table.open_at(self.endpoint.key());
        if left == 0 {
            state.places.remove(&self.endpoint.key());
        }
        drop(state);
        if left == 0 && self.endpoint.is_departed() {
            let (farm, endpoint) = (self.farm.name(), &**self.endpoint.label());
            tracing::info!(farm, endpoint, "the last event channel on an endpoint that left has gone");
        }
        self.farm.metrics().channel(event);
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        self.ended(End::Closed);
    }
}
