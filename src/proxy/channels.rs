//! The event channels that are open, and where each of them is: what names a channel goes to its XSP (R-AFF-2). Shared by
//! all workers, since a channel's heartbeats come over other connections than its stream.

mod succession;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use tokio::sync::{mpsc, oneshot};

use super::documents::Assembly;
use crate::broadworks::channel::ChannelId;
use crate::broadworks::channel::event::{EventId, event_ids};
use crate::broadworks::channel::finder::{Finder, Found};
use crate::drain::CutTurn;
use crate::farm::{Endpoint, Farm};
use crate::handover::{Message, News, PeerProcess};
use crate::http1::chunked::Event;
use crate::lock::Locked;
use crate::policy::channels as policy;
use crate::policy::events::{Events, Trail};
use crate::registry::{Registered, Why};
use crate::telemetry::metrics::{ChannelEnd, ChannelEvent};
use succession::Inherited;
pub use succession::Told;

/// No gateway has so many connections.
const CAPACITY: usize = 10_000_000;
/// How many events of a channel may wait to be acknowledged; an XSP ends a channel that acknowledges none.
const EVENTS_PER_CHANNEL: usize = 64;
/// How many events of all channels; they take some 200 bytes each.
const EVENTS: usize = 200_000;

/// Every channel whose id is known.
#[derive(Debug)]
pub struct Channels(Locked<State>);

#[derive(Debug)]
struct State {
    /// Which endpoint has which channel, by [`Endpoint::key`].
    table: policy::Channels<u64>,
    /// The endpoints that have one.
    places: HashMap<u64, Place>,
    /// What is sent here ends the channel's stream.
    cuts: HashMap<ChannelId, oneshot::Sender<()>>,
    /// Which endpoint has sent which event to which client, by [`Endpoint::key`].
    events: Events<IpAddr, u64>,
    /// Those whose streams another process has, which drains.
    inherited: Inherited,
    /// Who is told of all this.
    peers: Vec<(PeerProcess, mpsc::UnboundedSender<Message>)>,
    /// The farms of which it was told that a channel could not be read.
    unread: HashSet<Box<str>>,
    /// Places that are needed no more, for [`Channels::with`] to drop.
    left: Vec<Place>,
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
    /// To an XSP of another farm than was asked for.
    Elsewhere(Arc<Farm>, Arc<Endpoint>),
    /// Nowhere: the channel's XSP is gone, and the channel with it.
    Lost,
    /// Nobody here knows of it.
    Unknown,
}

impl Channels {
    /// None yet; one that is lost is remembered for `remember`.
    pub fn new(remember: Duration) -> Self {
        let table = policy::Channels::new(CAPACITY, remember);
        let events = Events::new(EVENTS_PER_CHANNEL, EVENTS);
        Self(Locked::new(State {
            table,
            places: HashMap::new(),
            cuts: HashMap::new(),
            events,
            inherited: Inherited::default(),
            peers: Vec::new(),
            unread: HashSet::new(),
            left: Vec::new(),
        }))
    }

    /// As [`Locked::with`]. An endpoint that nobody else holds takes its metrics with it, which have a lock of their own: places
    /// are dropped once this one is free.
    fn with<R>(&self, body: impl FnOnce(&mut State) -> R) -> R {
        let (result, left) = self.0.with(|state| (body(state), std::mem::take(&mut state.left)));
        drop(left);
        result
    }

    /// One that is lost from now on is remembered for `remember`.
    pub fn set_remember(&self, remember: Duration) {
        self.with(|state| state.table.set_remember(remember));
    }

    /// The home of the channel `id`, as seen from `farm`.
    pub(super) fn home(&self, id: &ChannelId, farm: &Arc<Farm>) -> Home {
        self.with(|state| match state.table.home(id, Instant::now()) {
            policy::Home::At(key) => match state.places.get(&key) {
                Some(Place { farm: own, endpoint }) if Arc::ptr_eq(own, farm) => Home::At(Arc::clone(endpoint)),
                Some(Place { farm, endpoint }) => Home::Elsewhere(Arc::clone(farm), Arc::clone(endpoint)),
                None => Home::Unknown,
            },
            policy::Home::Lost => Home::Lost,
            policy::Home::Unknown => Home::Unknown,
        })
    }

    /// The XSP of the channel `id` takes no connections any more: the channel's stream ends, and the channel with it.
    pub(super) fn cut(&self, id: &ChannelId) {
        self.with(|state| match state.cuts.remove(id) {
            // The error says that it has just ended by itself.
            Some(cut) => drop(cut.send(())),
            None => state.inherited_ended(id, ChannelEnd::Lost),
        });
    }

    /// The XSP from which the first of `events` that is known came to `client`, and its farm.
    pub(super) fn sender(&self, client: IpAddr, events: &[EventId]) -> Option<(Arc<Farm>, Arc<Endpoint>)> {
        if events.is_empty() {
            return None;
        }
        self.with(|state| {
            let key = events.iter().find_map(|id| state.events.seen(&(client, id.clone())))?;
            let Place { farm, endpoint } = state.places.get(&key)?;
            Some((Arc::clone(farm), Arc::clone(endpoint)))
        })
    }

    /// `client` has acknowledged `events`.
    pub(super) fn acknowledged(&self, client: IpAddr, events: Vec<EventId>) {
        if events.is_empty() {
            return;
        }
        self.with(|state| {
            for id in events {
                state.events.acknowledged(&(client, id));
            }
        });
    }

    /// `document` is about to leave on the channel of `trail`.
    fn saw(&self, channel: &ChannelId, trail: &mut Trail<IpAddr, u64>, document: &[u8]) {
        let ids: SmallVec<[EventId; 1]> = event_ids(document).collect();
        if ids.is_empty() {
            return;
        }
        self.with(|state| {
            for id in ids {
                state.tell_of_event(None, Some(channel), *trail.client(), &id, *trail.endpoint());
                state.events.saw(trail, id);
            }
        });
    }
}

impl State {
    /// The endpoint `key` is held for the sake of its channels.
    fn forget_place(&mut self, key: u64) {
        if self.table.open_at(key) == 0 {
            self.left.extend(self.places.remove(&key));
        }
    }
}

/// An id for another process.
fn text(id: &ChannelId) -> String {
    String::from_utf8_lossy(id.as_bytes()).into_owned()
}

/// Reads along on the answer to a channel request, and keeps the channel in the table while its stream lives.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    channels: &'a Channels,
    farm: &'a Arc<Farm>,
    endpoint: &'a Arc<Endpoint>,
    registered: Registered,
    /// When it ends, once it is told to.
    turn: CutTurn,
    /// Which channel it is, until that has been told.
    identity: Option<Identity>,
    reading: Reading,
    assembly: Assembly,
}

/// Which channel an answer is.
#[derive(Debug)]
pub(super) enum Identity {
    Known(ChannelId),
    /// Its id can't be read.
    Unread,
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
    trail: Trail<IpAddr, u64>,
    /// `None`: nobody can tell any more.
    cut: Option<oneshot::Receiver<()>>,
}

impl<'a> Reader<'a> {
    /// Nothing is known yet of a channel that `endpoint` of `farm` opens, and that is `registered`.
    pub(super) fn new(
        channels: &'a Channels,
        farm: &'a Arc<Farm>,
        endpoint: &'a Arc<Endpoint>,
        registered: Registered,
    ) -> Self {
        let (reading, turn) = (Reading::Searching(Finder::new()), CutTurn::default());
        Self { channels, farm, endpoint, registered, turn, identity: None, reading, assembly: Assembly::default() }
    }

    /// Takes note of how many bytes have come from the client, and gone to it.
    pub(super) fn moved(&self, received: u64, sent: u64) {
        self.registered.moved(received, sent);
    }

    /// Which channel it is, once that is known; told once.
    pub(super) const fn identity(&mut self) -> Option<Identity> {
        self.identity.take()
    }

    /// Ready when it is to end before its time.
    pub(super) fn poll_told(&mut self, cx: &mut Context<'_>) -> Poll<Why> {
        self.registered.poll_cut(cx, &mut self.turn)
    }

    /// Takes one event of the XSP's body, and gives `out` those of the client's: a chunk for each document.
    pub(super) fn pass(&mut self, event: Event<'_>, out: &mut impl FnMut(Event<'_>)) {
        if let Event::Data(bytes) = &event {
            self.read(bytes);
        }
        let Self { channels, reading, assembly, .. } = self;
        assembly.pass(event, &mut |event| {
            // Before it leaves, since the answer to it may come over another connection at once.
            if let (Event::Data(document), Reading::Known(known)) = (&event, &mut *reading) {
                channels.saw(known.stream.id(), &mut known.trail, document);
            }
            out(event);
        });
        for _ in 0..self.assembly.assembled() {
            self.farm.metrics().channel(ChannelEvent::Reassembled);
        }
    }

    fn read(&mut self, bytes: &[u8]) {
        let Reading::Searching(finder) = &mut self.reading else { return };
        self.reading = match finder.read(bytes) {
            Found::Searching => return,
            Found::Id(id) => {
                self.identity = Some(Identity::Known(id.clone()));
                self.opened(id)
            }
            Found::GivenUp => {
                self.unread();
                self.identity = Some(Identity::Unread);
                Reading::Over
            }
        };
    }

    /// The channel goes on, though nobody here knows its id: what names it goes by its cookie, or anywhere.
    fn unread(&self) {
        self.farm.metrics().channel(ChannelEvent::Unread);
        if self.channels.with(|state| state.unread.insert(self.farm.name().into())) {
            tracing::warn!(
                farm = self.farm.name(),
                endpoint = &**self.endpoint.label(),
                "no id can be read from an event channel: its documents are compressed, or neither XML nor JSON; heartbeats \
                 without a cookie reach its XSP by chance only; switch off compression of Xsi-Events (told once a farm)"
            );
        }
    }

    /// Where it is by now: its farm may have another name than when it was asked for.
    fn place(&self) -> Place {
        match self.endpoint.heir_and_farm() {
            Some((farm, endpoint)) => Place { farm, endpoint },
            None => Place { farm: Arc::clone(self.farm), endpoint: Arc::clone(self.endpoint) },
        }
    }

    fn opened(&self, id: ChannelId) -> Reading {
        let (cut, told) = oneshot::channel();
        let (key, place) = (self.endpoint.key(), self.place());
        let opened = self.channels.with(|state| {
            let stream = state.table.opened(id.clone(), key, Instant::now())?;
            state.left.extend(state.places.insert(key, place));
            // An older stream of that id goes on, though nothing finds it any more.
            state.cuts.insert(id.clone(), cut);
            state.inherited_ended(&id, ChannelEnd::Xsp);
            state.tell(None, |state| Some(News::Opened { channel: text(&id), at: state.names(self.endpoint.key())? }));
            Some(stream)
        });
        let Some(stream) = opened else { return Reading::Over };
        self.endpoint.metrics().channels_opened.inc();
        let trail = Trail::new(self.registered.entry().client, self.endpoint.key());
        Reading::Known(Box::new(Known { stream, trail, cut: Some(told) }))
    }

    /// Ready once the channel is known to be lost though its stream is not.
    pub(super) fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Reading::Known(known) = &mut self.reading else { return Poll::Pending };
        let Some(cut) = &mut known.cut else { return Poll::Pending };
        match ready!(Pin::new(cut).poll(cx)) {
            Ok(()) => Poll::Ready(()),
            Err(_) => {
                known.cut = None;
                Poll::Pending
            }
        }
    }

    /// The channel's stream has ended.
    pub(super) fn ended(&mut self, end: ChannelEnd) {
        let Reading::Known(known) = std::mem::replace(&mut self.reading, Reading::Over) else { return };
        self.channels.with(|state| {
            state.tell(None, |_| Some(News::Ended { channel: text(known.stream.id()), end }));
            match end {
                ChannelEnd::Client | ChannelEnd::Xsp => state.table.closed(&known.stream),
                // Its client learns of it by a heartbeat at the latest.
                ChannelEnd::Lost | ChannelEnd::Cut => state.table.lost(&known.stream, Instant::now()),
            }
            state.events.ended(&known.trail);
            let id = known.stream.id();
            if !matches!(state.table.home(id, Instant::now()), policy::Home::At(_)) {
                state.cuts.remove(id);
            }
            state.forget_place(self.endpoint.key());
        });
        self.place().farm.metrics().channel_closed(end);
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        self.ended(ChannelEnd::Cut);
    }
}
