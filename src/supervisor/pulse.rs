//! The pulse of each thread, and the thread that feels it. Separate from the judgement, which is pure, and from what the
//! service manager is told, because a client that asks for `/livez` is told the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};
use std::{io, iter};

use super::judge::{Judge, PATIENCE, Seen};
use super::{Written, alive};

/// How often a thread shows that it moves.
const BEAT: Duration = Duration::from_millis(250);
/// How often all of them are looked at.
const TICK: Duration = Duration::from_millis(500);
/// The thread that looks at the others.
const WATCHER: &str = "watcher";
/// What a thread's pulse says that has ended.
const ENDED: u64 = u64::MAX;

/// The pulses of all threads of a gateway; cheap to clone, and to read without a lock.
#[derive(Clone, Debug)]
pub struct Pulses(Arc<[Heart]>);

#[derive(Debug)]
struct Heart {
    thread: String,
    beats: AtomicU64,
    stands_still: AtomicBool,
}

/// One thread's own; its drop says that the thread has ended.
#[derive(Debug)]
pub struct Pulse {
    of: Pulses,
    heart: usize,
}

/// The thread that looks at all the others, until this is dropped.
#[derive(Debug)]
pub struct Watcher(#[expect(dead_code, reason = "its drop is the signal")] SyncSender<()>);

impl Pulses {
    /// Those of the threads of these names, and of the watcher's own.
    pub fn new(threads: impl IntoIterator<Item = String>) -> Self {
        let threads = threads.into_iter().chain(iter::once(WATCHER.to_owned()));
        let heart = |thread| Heart { thread, beats: AtomicU64::new(0), stands_still: AtomicBool::new(false) };
        Self(threads.map(heart).collect())
    }

    /// That of one thread.
    ///
    /// # Panics
    /// When there is no such thread.
    pub fn of(&self, thread: &str) -> Pulse {
        let heart =
            self.0.iter().position(|heart| heart.thread == thread).expect("it is one of the names of Pulses::new");
        Pulse { of: self.clone(), heart }
    }

    /// Each thread that has not ended, and whether it moves.
    pub fn threads(&self) -> impl Iterator<Item = (&str, bool)> {
        let alive = self.0.iter().filter(|heart| heart.seen() != Seen::Ended);
        alive.map(|heart| (heart.thread.as_str(), !heart.stands_still.load(Ordering::Relaxed)))
    }

    /// The threads that stand still, as a reader is told of them; `None`: all move.
    pub fn standing_still(&self) -> Option<String> {
        let still: Vec<_> = self.threads().filter(|(_, moves)| !moves).map(|(thread, _)| thread).collect();
        (!still.is_empty()).then(|| still.join(", "))
    }

    /// Starts the thread that looks at all of them. While all move, it tells the service manager that the gateway is alive,
    /// if that wants to know: one that does not hear of it any more ends the process and starts another.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn watch(&self) -> io::Result<Watcher> {
        let (end, ended) = sync_channel::<()>(0);
        let (pulses, mut watchdog) = (self.clone(), Watchdog::new());
        let tick = watchdog.as_ref().map_or(TICK, |watchdog| watchdog.period.min(TICK));
        let watching = move || {
            let pulse = pulses.of(WATCHER);
            let mut judge = Judge::new(pulses.0.len(), tick, Instant::now());
            while ended.recv_timeout(tick) == Err(RecvTimeoutError::Timeout) {
                pulse.beat();
                pulses.judged(&judge.look(Instant::now(), pulses.0.iter().map(Heart::seen)));
                if let Some(watchdog) = &mut watchdog
                    && pulses.standing_still().is_none()
                {
                    watchdog.tell(Instant::now());
                }
            }
        };
        thread::Builder::new().name(WATCHER.to_owned()).spawn(watching)?;
        Ok(Watcher(end))
    }

    /// Looks after the watcher itself, for ever.
    pub async fn watch_the_watcher(&self) {
        let Some(watcher) = self.0.iter().find(|heart| heart.thread == WATCHER) else { return };
        // Tokio's clock, so that a test may pause it.
        let now = || tokio::time::Instant::now().into_std();
        let mut judge = Judge::new(1, TICK, now());
        loop {
            tokio::time::sleep(TICK).await;
            watcher.judged(judge.look(now(), [watcher.seen()])[0]);
        }
    }

    fn judged(&self, verdicts: &[bool]) {
        self.0.iter().zip(verdicts).for_each(|(heart, stands_still)| heart.judged(*stands_still));
    }
}

impl Heart {
    fn seen(&self) -> Seen {
        match self.beats.load(Ordering::Relaxed) {
            ENDED => Seen::Ended,
            beats => Seen::Moved(beats),
        }
    }

    fn judged(&self, stands_still: bool) {
        let thread = &*self.thread;
        match (self.stands_still.swap(stands_still, Ordering::Relaxed), stands_still) {
            (false, true) => {
                tracing::error!(thread.name = thread, "a thread has not moved for {PATIENCE:?}: /livez says 503")
            }
            (true, false) => tracing::info!(thread.name = thread, "the thread moves again, or has ended"),
            (false, false) | (true, true) => {}
        }
    }
}

impl Pulse {
    /// The thread moves.
    pub fn beat(&self) {
        self.of.0[self.heart].beats.fetch_add(1, Ordering::Relaxed);
    }

    /// Beats for ever, as long as the runtime of its thread runs what is due.
    pub async fn beats(&self) {
        loop {
            self.beat();
            tokio::time::sleep(BEAT).await;
        }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.of.0[self.heart].beats.store(ENDED, Ordering::Relaxed);
    }
}

/// The service manager's wish to be told that the process is alive.
struct Watchdog {
    /// How often.
    period: Duration,
    due: Instant,
    /// The last time that it was told: one that reads nothing is not told again.
    told: Option<Written>,
}

impl Watchdog {
    fn new() -> Option<Self> {
        let period = sd_notify::watchdog_enabled()? / 3;
        Some(Self { period, due: Instant::now(), told: None })
    }

    fn tell(&mut self, now: Instant) {
        if now < self.due || self.told.as_ref().is_some_and(|told| !told.is_done()) {
            return;
        }
        self.told = alive();
        self.due = now + self.period;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_still_is_named_until_it_moves_or_ends() {
        let pulses = Pulses::new(["worker-0", "worker-1", "control"].map(str::to_owned));
        let (_worker, other, control) = (pulses.of("worker-0"), pulses.of("worker-1"), pulses.of("control"));
        assert_eq!((pulses.standing_still(), pulses.threads().count()), (None, 4));
        pulses.judged(&[false, true, true, false]);
        assert_eq!(pulses.standing_still().as_deref(), Some("worker-1, control"));
        pulses.judged(&[false, true, false, false]);
        assert_eq!(pulses.standing_still().as_deref(), Some("worker-1"));
        drop(other);
        assert_eq!((pulses.standing_still(), pulses.threads().count()), (None, 3));
        control.beat();
        assert!(pulses.threads().all(|(_, moves)| moves));
    }

    #[tokio::test(start_paused = true)]
    async fn the_watcher_is_watched_too() {
        let pulses = Pulses::new([]);
        let pulse = pulses.of(WATCHER);
        let watched = async |beats: usize, looks: u32| {
            let beating = async {
                for _ in 0..beats {
                    pulse.beat();
                    tokio::time::sleep(TICK).await;
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = pulses.watch_the_watcher() => {}
                () = beating => {}
                () = tokio::time::sleep(TICK * looks) => {}
            }
            pulses.standing_still()
        };
        assert_eq!(watched(20, 20).await, None);
        assert_eq!(watched(1, 8).await.as_deref(), Some(WATCHER));
        assert_eq!(watched(20, 8).await, None);
    }
}
