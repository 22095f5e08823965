//! What the service manager is told: that the gateway is ready, reads its configuration again, stops, and is alive. Does
//! nothing where nobody listens (`NOTIFY_SOCKET` is not set). Apart from those who tell, so that all of it is in one place.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// A worker tells so often that it is alive; none is given up before it has missed a few.
const LEAST: Duration = Duration::from_secs(5);

/// It serves; also once it has read its configuration again.
pub fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// It reads its configuration again, and says [`ready`] when that is over.
pub fn reloading() {
    // Without the time, which no clock is known to refuse, it is a notice of the old kind.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// It serves no more, and the process `pid` does in its place; nothing else is to be told from here.
pub fn handed_over(pid: u32) {
    tell(&[NotifyState::MainPid(pid)]);
}

/// It stops, and may take so long.
pub fn stopping(patience: Duration) {
    let micros = u32::try_from(patience.as_micros()).unwrap_or(u32::MAX);
    let states = [NotifyState::Stopping, NotifyState::Status("stopping"), NotifyState::ExtendTimeoutUsec(micros)];
    tell(&states);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager can't be told");
    }
}

/// When each worker was last seen alive.
#[derive(Clone, Debug)]
pub struct Pulses {
    start: Instant,
    /// In milliseconds from `start`.
    beats: Arc<[AtomicU64]>,
}

/// One worker's; its drop says that the worker has ended.
#[derive(Debug)]
pub struct Pulse {
    of: Pulses,
    worker: usize,
}

impl Pulses {
    /// Of so many workers, all alive now.
    pub fn new(workers: usize) -> Self {
        Self { start: Instant::now(), beats: (0..workers).map(|_| AtomicU64::new(0)).collect() }
    }

    /// That of one worker.
    pub fn of(&self, worker: usize) -> Pulse {
        Pulse { of: self.clone(), worker }
    }

    /// Whether none has been silent for `patience`. One that has ended is not missed.
    fn all_within(&self, patience: Duration) -> bool {
        let now = self.start.elapsed().as_millis();
        self.beats
            .iter()
            .all(|beat| now.saturating_sub(u128::from(beat.load(Ordering::Relaxed))) <= patience.as_millis())
    }

    /// Tells the service manager that the gateway is alive, for as long as every worker is, if it wants to be told. Whoever
    /// does not hear of it any more ends the process and starts another.
    pub async fn watch(self) {
        let Some(period) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
        loop {
            if self.all_within(period.max(LEAST)) {
                tell(&[NotifyState::Watchdog]);
            } else {
                tracing::error!("a worker does not move any more");
            }
            tokio::time::sleep(period / 3).await;
        }
    }
}

impl Pulse {
    /// The worker is alive.
    pub fn beat(&self) {
        let now = u64::try_from(self.of.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.of.beats[self.worker].store(now, Ordering::Relaxed);
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.of.beats[self.worker].store(u64::MAX, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_stands_still_is_noticed_and_one_that_has_ended_is_not_missed() {
        let pulses = Pulses::new(2);
        let (one, two) = (pulses.of(0), pulses.of(1));
        std::thread::sleep(Duration::from_millis(20));
        let patience = Duration::from_millis(10);
        one.beat();
        assert!(!pulses.all_within(patience));
        drop(two);
        one.beat();
        assert!(pulses.all_within(patience));
    }
}
