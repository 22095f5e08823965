//! The event channels that are open on a simulated XSP. Separate from Xsi-Events because the heartbeats of a channel, the
//! test that publishes on it and the stream itself live at different times.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::connection::Ending;
use super::documents::{self, Event, Reason, text_of, uuid};

/// How long an event waits for its acknowledgement unless a test says otherwise. No public figure is known.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(10);

enum Item {
    Document(Bytes),
    End,
}

/// A channel set, as its channels name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChannelSet {
    /// Whose it is: one application has one channel set at a time.
    pub(super) application: Application,
    pub(super) id: String,
}

/// An application of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Application {
    /// `Authorization` as it came; empty without.
    pub(super) credentials: Vec<u8>,
    pub(super) id: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Acknowledged {
    Yes,
    No,
}

struct Channel {
    home: SocketAddr,
    set: Option<ChannelSet>,
    /// The same for all events, since one subscription is all that is simulated.
    subscription: String,
    items: mpsc::UnboundedSender<Item>,
    ending: mpsc::UnboundedSender<Ending>,
    /// How many events it has had from [`Channels::publish_event`].
    sequence_number: u64,
    events: HashMap<String, Acknowledged>,
}

impl Channel {
    fn is_ended_by(&self, other: &ChannelSet) -> bool {
        self.set.as_ref().is_some_and(|set| set.application == other.application && set.id != other.id)
    }

    fn send(&self, document: Bytes) -> bool {
        self.items.send(Item::Document(document)).is_ok()
    }

    /// Says why it ends, and ends its stream.
    fn terminate(self, id: &str, reason: Reason) -> bool {
        self.send(documents::terminated(id, reason)) && self.items.send(Item::End).is_ok()
    }
}

/// What the XSPs of one farm know together: the open channels by id, and so which channel set an application has. Clones
/// are the same farm.
#[derive(Clone, Default)]
pub struct Farm(Arc<Mutex<HashMap<String, Channel>>>);

impl Farm {
    fn terminate(&self, id: &str, reason: Reason) -> bool {
        let channel = self.0.lock().remove(id);
        channel.is_some_and(|channel| channel.terminate(id, reason))
    }

    /// Adds a channel, and ends those of its application's other channel sets.
    fn add(&self, id: String, channel: Channel) {
        let mut open = self.0.lock();
        if let Some(set) = &channel.set {
            for (id, other) in open.extract_if(|_, other| other.is_ended_by(set)) {
                other.terminate(&id, Reason::DuplicateChannelSet);
            }
        }
        open.insert(id, channel);
    }
}

/// The channels of one XSP. Clones are the same ones.
#[derive(Clone)]
pub(super) struct Channels(Arc<Own>);

struct Own {
    farm: Farm,
    home: SocketAddr,
    /// The ids of all channels that were ever opened here.
    opened: Mutex<HashSet<String>>,
    acknowledge_within: Mutex<Duration>,
    stray_heartbeats: AtomicU64,
    stray_acknowledgements: AtomicU64,
}

impl Channels {
    /// Those of the XSP at `home`, of which there are none yet.
    pub(super) fn new(farm: Farm, home: SocketAddr) -> Self {
        Self(Arc::new(Own {
            farm,
            home,
            opened: Mutex::default(),
            acknowledge_within: Mutex::new(ACKNOWLEDGE_WITHIN),
            stray_heartbeats: AtomicU64::new(0),
            stray_acknowledgements: AtomicU64::new(0),
        }))
    }

    /// Opens a channel; it is closed when the stream is dropped. Those of the same application's other channel sets end,
    /// at whichever XSP of the farm they are.
    pub(super) fn open(&self, set: Option<ChannelSet>, ending: mpsc::UnboundedSender<Ending>) -> Stream {
        let id = uuid();
        let (items, documents) = mpsc::unbounded_channel();
        items.send(Item::Document(documents::channel(&id))).expect("the receiver is in scope");
        self.0.opened.lock().insert(id.clone());
        let channel = Channel {
            home: self.0.home,
            set,
            subscription: uuid(),
            items,
            ending,
            sequence_number: 0,
            events: HashMap::new(),
        };
        self.0.farm.add(id.clone(), channel);
        Stream { documents, over: false, id, farm: self.0.farm.clone() }
    }

    pub(super) fn ids(&self) -> Vec<String> {
        let open = self.0.farm.0.lock();
        open.iter().filter(|(_, channel)| channel.home == self.0.home).map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn is_open(&self, id: &str) -> bool {
        self.with(id, |_| ()).is_some()
    }

    /// Sends a document as it is. The events in it may be acknowledged, and need not be.
    pub(super) fn publish(&self, id: &str, document: Bytes) -> bool {
        let event = std::str::from_utf8(&document).ok().and_then(|document| text_of(document, "eventID"));
        let sent = self.with(id, |channel| {
            channel.events.extend(event.map(|event| (event, Acknowledged::No)));
            channel.send(document)
        });
        sent == Some(true)
    }

    /// Sends an event; with its id, how long it may stay without an acknowledgement.
    pub(super) fn publish_event(&self, id: &str, user: &str, data: &str) -> Option<(String, Duration)> {
        let event_id = uuid();
        self.with(id, |channel| {
            channel.sequence_number += 1;
            channel.events.insert(event_id.clone(), Acknowledged::No);
            let event = Event {
                id: &event_id,
                sequence_number: channel.sequence_number,
                user,
                subscription: &channel.subscription,
                channel: id,
                data,
            };
            channel.send(event.document())
        })
        .filter(|sent| *sent)
        .map(|_| (event_id, *self.0.acknowledge_within.lock()))
    }

    /// Ends a channel whose event was not acknowledged.
    pub(super) fn expect_acknowledged(&self, id: &str, event: &str) {
        let missing = self.with(id, |channel| channel.events.get(event) == Some(&Acknowledged::No));
        if missing == Some(true) {
            self.0.farm.terminate(id, Reason::NonResponsiveChannel);
        }
    }

    /// An event was acknowledged; false, and counted, if no channel here has had it.
    pub(super) fn acknowledge(&self, event: &str) -> bool {
        let mut open = self.0.farm.0.lock();
        let mut here = open.values_mut().filter(|channel| channel.home == self.0.home);
        let found = here.find_map(|channel| channel.events.get_mut(event));
        if let Some(acknowledged) = found {
            *acknowledged = Acknowledged::Yes;
            return true;
        }
        self.0.stray_acknowledgements.fetch_add(1, Ordering::Relaxed);
        false
    }

    /// A heartbeat has come, whether or not it will be answered; counted if the channel never was open here.
    pub(super) fn note_heartbeat(&self, id: &str) {
        if !self.0.opened.lock().contains(id) {
            self.0.stray_heartbeats.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Shows a heartbeat on the stream; false if the channel is not open here.
    pub(super) fn heartbeat(&self, id: &str) -> bool {
        self.with(id, |channel| channel.send(documents::heartbeat())) == Some(true)
    }

    /// Ends a channel at its client's wish.
    pub(super) fn delete(&self, id: &str) -> bool {
        self.is_open(id) && self.0.farm.terminate(id, Reason::ExplicitDelete)
    }

    pub(super) fn end(&self, id: &str) -> bool {
        self.take(id).is_some_and(|channel| channel.items.send(Item::End).is_ok())
    }

    pub(super) fn break_off(&self, id: &str) -> bool {
        self.take(id).is_some_and(|channel| channel.ending.send(Ending::Reset).is_ok())
    }

    pub(super) fn acknowledge_within(&self, time: Duration) {
        *self.0.acknowledge_within.lock() = time;
    }

    pub(super) fn stray_heartbeats(&self) -> u64 {
        self.0.stray_heartbeats.load(Ordering::Relaxed)
    }

    pub(super) fn stray_acknowledgements(&self) -> u64 {
        self.0.stray_acknowledgements.load(Ordering::Relaxed)
    }

    fn take(&self, id: &str) -> Option<Channel> {
        let mut open = self.0.farm.0.lock();
        if open.get(id)?.home == self.0.home { open.remove(id) } else { None }
    }

    fn with<R>(&self, id: &str, look: impl FnOnce(&mut Channel) -> R) -> Option<R> {
        let mut open = self.0.farm.0.lock();
        open.get_mut(id).filter(|channel| channel.home == self.0.home).map(look)
    }
}

/// The documents of one channel, each to be sent as a chunk.
pub(super) struct Stream {
    documents: mpsc::UnboundedReceiver<Item>,
    over: bool,
    id: String,
    farm: Farm,
}

impl Stream {
    /// The next document; `None` at the end.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.over {
            return Poll::Ready(None);
        }
        match self.documents.poll_recv(context) {
            Poll::Ready(Some(Item::Document(document))) => Poll::Ready(Some(document)),
            Poll::Ready(Some(Item::End)) => {
                self.over = true;
                Poll::Ready(None)
            }
            // Broken off: the connection is about to be reset.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.farm.0.lock().remove(&self.id);
    }
}
