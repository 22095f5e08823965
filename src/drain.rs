//! The end of a process, in phases that only go one way. What is left at the end is cut one after the other, spread over a
//! time: clients whose connections are all cut at once all come to another gateway at once. So are streams that end before
//! that, because their XSP is given up or by an operator's word: their clients all come to the other XSPs.

mod bell;

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::lock::Locked;

pub use self::bell::{Bell, Cut, Ending, UntilCut};

/// Between two cuts at most: a few connections need no whole minute.
const FAR_ENOUGH: Duration = Duration::from_secs(1);

/// How far the process is on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It serves.
    Running,
    /// It says that it is not ready, serves, and ends each connection after its next answer.
    LameDuck,
    /// Another process takes new connections in its place, and it ends each of its own after the next answer.
    HandedOver,
    /// It takes no new connections, and ends those that stay idle.
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
            Self::Draining => "it takes no new connections, and ends those that stay idle",
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
pub struct Cuts {
    state: Locked<State>,
    /// How often connections were called to look whether they are to end.
    calls: AtomicU64,
    /// How many were cut short at the process' end.
    cut: AtomicU64,
}

#[derive(Debug)]
struct State {
    spread: Duration,
    interval: Duration,
    next: Option<Instant>,
}

impl Cuts {
    /// Whatever is to be cut at a time is spread over `spread`; 0: all at once.
    pub fn new(spread: Duration) -> Self {
        let state = State { spread, interval: Duration::ZERO, next: None };
        Self { state: Locked::new(state), calls: AtomicU64::new(0), cut: AtomicU64::new(0) }
    }

    /// As [`Cuts::new`], for what is to be cut from now on.
    pub fn set_spread(&self, spread: Duration) {
        self.state.with(|state| state.spread = spread);
    }

    /// How far apart the cuts of `count` connections are, so that all of them take the whole time, but no two are further
    /// apart than a second.
    pub fn interval(&self, count: usize) -> Duration {
        let spread = self.state.with(|state| state.spread);
        (spread / u32::try_from(count.max(1)).unwrap_or(u32::MAX)).min(FAR_ENOUGH)
    }

    /// So many connections are left, and take their turns from now on. Turns that have been given stay, and the others don't wait
    /// for them.
    pub fn begin(&self, count: usize) {
        let interval = self.interval(count);
        self.state.with(|state| (state.interval, state.next) = (interval, None));
    }

    /// A connection was cut while something was under way on it: a request without its whole answer, or a stream. One that idles, or
    /// that only waits for its client to have read the last answer, loses nothing.
    pub fn cut_short(&self) {
        self.cut.fetch_add(1, Ordering::Relaxed);
    }

    /// How many connections have been cut short at the process' end so far.
    pub fn cut(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }

    /// Has every connection of the process look, soon, whether it is to end.
    pub fn call(&self) {
        self.calls.fetch_add(1, Ordering::Release);
    }

    /// The next turn, which is then taken. The first is now.
    fn turn(&self, now: Instant) -> Instant {
        self.state.with(|state| {
            let turn = state.next.map_or(now, |next| next.max(now));
            state.next = Some(turn + state.interval);
            turn
        })
    }
}

/// When a connection is cut, once that is known. It takes eight bytes until then.
#[derive(Debug, Default)]
pub struct CutTurn(Option<Pin<Box<Sleep>>>);

impl CutTurn {
    /// Ready when the turn has come that `cuts` gives it at the first call.
    pub fn poll(&mut self, cx: &mut Context<'_>, cuts: &Cuts) -> Poll<()> {
        self.0.get_or_insert_with(|| Box::pin(sleep_until(cuts.turn(Instant::now())))).as_mut().poll(cx)
    }

    /// Ready at `at`.
    pub fn poll_at(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() != at {
            sleep.as_mut().reset(at);
        }
        sleep.as_mut().poll(cx)
    }

    /// It is not cut after all, for now.
    pub fn give_back(&mut self) {
        self.0 = None;
    }
}
