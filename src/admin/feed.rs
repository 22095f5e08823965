//! `/events`: the status again and again, as server-sent events. Separate from what answers at once, because those who
//! watch stay, and all of them get the same bytes.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Admin, sampler};

/// How long one may watch; a browser comes back by itself.
pub(super) const WATCH: Duration = Duration::from_secs(600);
/// The shortest time between two updates.
const AT_LEAST: Duration = Duration::from_millis(200);

/// One who watches: first `first`, then every update; one who is slow misses some.
pub(super) struct Watcher {
    first: Option<Bytes>,
    next: Next,
    until: Instant,
}

type Updates = watch::Receiver<Bytes>;
type Next = Pin<Box<dyn Future<Output = Option<Updates>> + Send>>;

impl Admin {
    /// Takes samples for ever, sends an update whenever there is news, and each second, to those who watch, and answers.
    pub async fn run(mut self) {
        let mut news = self.core.timeline.news();
        let (mut due, mut earliest, mut is_news) = (Instant::now(), Instant::now(), false);
        loop {
            tokio::select! {
                () = sleep_until(due) => {
                    self.sample();
                    due = Instant::now() + sampler::EVERY;
                    is_news = true;
                }
                Ok(()) = news.changed(), if !is_news => is_news = true,
                () = sleep_until(earliest), if is_news => {
                    // What comes from here on is the next update's.
                    news.mark_unchanged();
                    is_news = false;
                    earliest = Instant::now() + AT_LEAST;
                    if self.updates.receiver_count() > 0 {
                        self.updates.send_replace(self.update());
                    }
                }
                call = self.calls.next() => {
                    let told = self.told(call.question);
                    call.answer(told);
                }
            }
        }
    }

    /// How everything stands, for those who watch.
    pub(super) fn update(&self) -> Bytes {
        // On one line, as an event's data must be.
        format!("data: {}\n\n", self.status_line()).into()
    }
}

impl Watcher {
    /// One who has been told `first`, and gets `updates` from then on.
    pub(super) fn new(first: &Bytes, updates: Updates) -> Self {
        let until = Instant::now() + WATCH;
        let first = [b"retry: 1000\n\n".as_slice(), first].concat();
        Self { first: Some(first.into()), next: Box::pin(next(updates, until)), until }
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
