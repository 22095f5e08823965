//! The event channels that are open on a simulated XSP. Apart from Xsi-Events because the heartbeats of a channel, the
//! test that publishes on it and the stream itself live at different times.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::connection::Ending;

enum Item {
    Document(Bytes),
    End,
}

struct Channel {
    items: mpsc::UnboundedSender<Item>,
    ending: mpsc::UnboundedSender<Ending>,
}

/// The open channels by id.
#[derive(Clone, Default)]
pub(super) struct Channels(Arc<Mutex<HashMap<String, Channel>>>);

impl Channels {
    /// Opens a channel whose stream begins with `first`; it is closed when the stream is dropped.
    pub(super) fn open(&self, id: &str, first: Bytes, ending: mpsc::UnboundedSender<Ending>) -> Stream {
        let (items, documents) = mpsc::unbounded_channel();
        items.send(Item::Document(first)).expect("the receiver is in scope");
        self.0.lock().insert(id.to_owned(), Channel { items, ending });
        Stream { documents, over: false, id: id.to_owned(), channels: self.clone() }
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.0.lock().keys().cloned().collect()
    }

    pub(super) fn is_open(&self, id: &str) -> bool {
        self.0.lock().contains_key(id)
    }

    pub(super) fn publish(&self, id: &str, document: Bytes) -> bool {
        self.0.lock().get(id).is_some_and(|channel| channel.items.send(Item::Document(document)).is_ok())
    }

    pub(super) fn end(&self, id: &str) -> bool {
        self.0.lock().remove(id).is_some_and(|channel| channel.items.send(Item::End).is_ok())
    }

    pub(super) fn break_off(&self, id: &str) -> bool {
        self.0.lock().remove(id).is_some_and(|channel| channel.ending.send(Ending::Reset).is_ok())
    }
}

/// The documents of one channel, each to be sent as a chunk.
pub(super) struct Stream {
    documents: mpsc::UnboundedReceiver<Item>,
    over: bool,
    id: String,
    channels: Channels,
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
        self.channels.0.lock().remove(&self.id);
    }
}
