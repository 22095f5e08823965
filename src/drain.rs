//! The end of a process, in phases that only go one way. What is left at the end is cut at a steady rate: clients whose
//! connections are all cut at once all come to another gateway at once.

mod bell;

use std::future::poll_fn;
use std::num::NonZeroU32;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

pub use self::bell::Bell;

/// How far the process is on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It serves.
    Running,
    /// It says that it is not ready, and serves.
    LameDuck,
    /// Another process takes new connections in its place, and it ends each of its own after the next answer.
    HandedOver,
    /// It takes no new connections, and ends idle ones.
    Draining,
    /// It cuts what is left, one connection after the other.
    Cutting,
    /// It ends at once.
    Forced,
}

impl Phase {
    /// A word for people and programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::LameDuck => "lame-duck",
            Self::HandedOver => "handed-over",
            Self::Draining => "draining",
            Self::Cutting => "cutting",
            Self::Forced => "forced",
        }
    }

    /// What it means, for people.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Running => "it serves",
            Self::LameDuck => "it says that it is not ready, and serves",
            Self::HandedOver => "another process takes new connections in its place",
            Self::Draining => "it takes no new connections, and ends idle ones",
            Self::Cutting => "it cuts what is left, one connection after the other",
            Self::Forced => "it ends at once",
        }
    }
}

/// Waits until `phase` has come at least to `wanted`. A phase whose owner is gone counts as [`Phase::Forced`].
pub async fn reached(mut phase: watch::Receiver<Phase>, wanted: Phase) {
    // The error says that the owner is gone.
    drop(phase.wait_for(|phase| *phase >= wanted).await);
}

/// Whose turn it is to be cut, of all the connections of a process.
#[derive(Debug)]
pub struct Cuts(Mutex<State>);

#[derive(Debug)]
struct State {
    interval: Duration,
    next: Option<Instant>,
}

impl Cuts {
    /// Up to `rate` connections a second; `None`: all at once.
    pub fn new(rate: Option<NonZeroU32>) -> Self {
        Self(Mutex::new(State { interval: interval(rate), next: None }))
    }

    /// As [`Cuts::new`], from now on.
    pub fn set_rate(&self, rate: Option<NonZeroU32>) {
        self.0.lock().interval = interval(rate);
    }

    /// The next turn, which is then taken. The first is now.
    fn turn(&self, now: Instant) -> Instant {
        let mut state = self.0.lock();
        let turn = state.next.map_or(now, |next| next.max(now));
        state.next = Some(turn + state.interval);
        turn
    }
}

fn interval(rate: Option<NonZeroU32>) -> Duration {
    rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.get())
}

/// Runs `connection` to its end, or until it is cut. It is polled whenever the phase changes, so that it notices by looking. To
/// be a task's all, since that is what `bell` wakes.
pub async fn until_cut(connection: impl Future<Output = ()>, bell: &Bell, cuts: &Cuts) {
    let mut connection = pin!(connection);
    let (mut rope, mut turn) = (None, None);
    poll_fn(|cx| {
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if rope.is_none() {
            rope = Some(bell.rope(cx.waker()));
        }
        if !bell.is_cutting() {
            return Poll::Pending;
        }
        turn.get_or_insert_with(|| Box::pin(sleep_until(cuts.turn(Instant::now())))).as_mut().poll(cx)
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_left_is_cut_at_a_steady_rate() {
        for (rate, took) in [(Some(10), 900), (Some(1000), 9), (None, 0)] {
            let (bell, cuts) = (Arc::<Bell>::default(), Arc::new(Cuts::new(rate.and_then(NonZeroU32::new))));
            let connections: Vec<_> = (0..10)
                .map(|_| {
                    let (bell, cuts) = (Arc::clone(&bell), Arc::clone(&cuts));
                    tokio::spawn(async move { until_cut(std::future::pending(), &bell, &cuts).await })
                })
                .collect();
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(connections.iter().all(|connection| !connection.is_finished()));
            bell.ring(Phase::Cutting);
            let begun = Instant::now();
            let mut ends = Vec::new();
            for connection in connections {
                connection.await.unwrap();
                ends.push(begun.elapsed());
            }
            let last = *ends.iter().max().unwrap();
            assert!(last >= Duration::from_millis(took), "{rate:?}: {ends:?}");
            assert!(last < Duration::from_millis(took + 10), "{rate:?}: {ends:?}");
        }
    }

    #[tokio::test]
    async fn a_connection_is_polled_when_the_phase_changes() {
        let (owner, phase) = watch::channel(Phase::Running);
        let (bell, polls) = (Arc::<Bell>::default(), Arc::new(AtomicUsize::new(0)));
        let seen = (phase, Arc::clone(&polls));
        let connection = poll_fn(move |_| {
            seen.1.fetch_add(1, Ordering::Relaxed);
            if *seen.0.borrow() >= Phase::Draining { Poll::Ready(()) } else { Poll::Pending }
        });
        let (cuts, rung) = (Cuts::new(None), Arc::clone(&bell));
        let task = tokio::spawn(async move { until_cut(connection, &rung, &cuts).await });
        tokio::task::yield_now().await;
        assert_eq!(polls.load(Ordering::Relaxed), 1);
        owner.send_replace(Phase::Draining);
        bell.ring(Phase::Draining);
        task.await.unwrap();
        assert_eq!(polls.load(Ordering::Relaxed), 2);
    }
}
