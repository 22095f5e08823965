//! `/events`: the status again and again, as server-sent events. Apart from what answers at once, because those who watch
//! stay: their number is limited, and all of them get the same bytes.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::{Admin, sampler};

/// Those who may watch at the same time.
const WATCHERS: usize = 16;
/// How long one may watch; a browser comes back by itself.
pub(super) const WATCH: Duration = Duration::from_secs(600);
/// The shortest time between two updates.
const AT_LEAST: Duration = Duration::from_millis(200);

/// The update that is newest, and the seats of those who watch.
#[derive(Debug)]
pub(super) struct Feed {
    newest: watch::Sender<Bytes>,
    seats: Arc<Semaphore>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { newest: watch::Sender::new(Bytes::new()), seats: Arc::new(Semaphore::new(WATCHERS)) }
    }
}

/// One who watches: first `first`, then every update; one who is slow misses some.
pub(super) struct Watcher {
    first: Option<Bytes>,
    next: Next,
    until: Instant,
    _seat: OwnedSemaphorePermit,
}

type Updates = watch::Receiver<Bytes>;
type Next = Pin<Box<dyn Future<Output = Option<Updates>> + Send>>;

impl Admin {
    /// Takes samples for ever, and sends an update whenever there is news, and each second, to those who watch.
    pub(super) async fn keep_telling(&self) {
        let mut news = self.timeline.news();
        let mut due = Instant::now();
        loop {
            tokio::select! {
                () = sleep_until(due) => {
                    self.sample();
                    due = Instant::now() + sampler::EVERY;
                }
                // The time line lives as long as this does.
                _ = news.changed() => {}
            }
            if self.feed.newest.receiver_count() > 0 {
                self.feed.newest.send_replace(self.update());
            }
            sleep(AT_LEAST).await;
        }
    }

    /// A seat for somebody who watches; `None`: all are taken.
    pub(super) fn watcher(&self) -> Option<Watcher> {
        let seat = Arc::clone(&self.feed.seats).try_acquire_owned().ok()?;
        let until = Instant::now() + WATCH;
        let next: Next = Box::pin(next(self.feed.newest.subscribe(), until));
        let first = [b"retry: 1000\n\n".as_slice(), &self.update()].concat();
        Some(Watcher { first: Some(first.into()), next, until, _seat: seat })
    }

    fn update(&self) -> Bytes {
        // On one line, as an event's data must be.
        format!("data: {}\n\n", self.status_line()).into()
    }
}

/// Waits for an update; `None`: it is time to go.
async fn next(mut updates: Updates, until: Instant) -> Option<Updates> {
    timeout_at(until, updates.changed()).await.ok()?.ok()?;
    Some(updates)
}

impl Body for Watcher {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let Some(mut updates) = ready!(self.next.as_mut().poll(context)) else { return Poll::Ready(None) };
        let update = updates.borrow_and_update().clone();
        self.next = Box::pin(next(updates, self.until));
        Poll::Ready(Some(Ok(Frame::data(update))))
    }
}
