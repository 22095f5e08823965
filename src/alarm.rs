//! One timer for a whole connection, set again only when it must ring earlier. Separate from `tokio::time::timeout`, which
//! costs a timer a request: a connection's deadlines mostly move outwards, and a wake-up too many every now and then is
//! cheaper than a timer moved with each of them.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that wakes its task at a deadline that may change from poll to poll.
#[derive(Debug, Default)]
pub struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    /// Ready once `at` has come; until then the task will be woken in time, and perhaps before.
    pub fn poll_at(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        if Instant::now() >= at {
            return Poll::Ready(());
        }
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() > at {
            sleep.as_mut().reset(at);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= at {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rings_at_the_deadline_of_the_latest_poll() {
        let mut alarm = Alarm::default();
        let start = Instant::now();
        for after in [50, 20, 400, 100] {
            let at = Instant::now() + Duration::from_millis(after);
            poll_fn(|cx| alarm.poll_at(cx, at)).await;
            assert!(Instant::now() >= at && Instant::now() < at + Duration::from_millis(3), "after {after} ms");
        }
        assert!(start.elapsed() < Duration::from_millis(600));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_moves_outwards_rings_late_only() {
        let mut alarm = Alarm::default();
        let near = Instant::now() + Duration::from_millis(10);
        let far = Instant::now() + Duration::from_millis(200);
        assert!(poll_fn(|cx| Poll::Ready(alarm.poll_at(cx, near))).await.is_pending());
        poll_fn(|cx| alarm.poll_at(cx, far)).await;
        assert!(Instant::now() >= far);
    }
}
