//! What wakes the connections of one worker when the phase changes, and cuts them. Separate from the watch of the phase, because a
//! waiter of its own would make each connection's task a quarter of a KiB larger, and there are very many.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use super::{CutTurn, Cuts, Phase};
use crate::lock::Locked;

/// Rung at each change of the phase, and when connections are called to look whether they are to end.
#[derive(Debug)]
pub struct Bell {
    cuts: Arc<Cuts>,
    cutting: AtomicBool,
    /// The calls that have woken them.
    answered: AtomicU64,
    slots: Locked<WakerSlots>,
}

#[derive(Debug, Default)]
struct WakerSlots {
    wakers: Vec<Option<Waker>>,
    /// Indices into `wakers` that hold none.
    free: Vec<usize>,
}

/// A task's slot; free again when dropped.
#[derive(Debug)]
struct WakerSlot {
    bell: Arc<Bell>,
    index: Option<usize>,
}

/// A connection that is served to its end, or until it is cut.
#[derive(Debug)]
pub struct UntilCut<F, H> {
    connection: F,
    slot: WakerSlot,
    turn: CutTurn,
    _held: H,
}

impl Bell {
    /// Not rung yet; those whom it wakes are cut as `cuts` says.
    pub fn new(cuts: Arc<Cuts>) -> Arc<Self> {
        let answered = AtomicU64::new(cuts.calls.load(Ordering::Acquire));
        Arc::new(Self { cuts, cutting: AtomicBool::new(false), answered, slots: Locked::default() })
    }

    /// The process has come to `phase`.
    pub fn ring(&self, phase: Phase) {
        self.cutting.store(phase >= Phase::Cutting, Ordering::Release);
        self.wake();
    }

    /// Wakes the connections if they were called since the last time (see [`Cuts::call`]). To be called a few times a second.
    pub fn answer(&self) {
        let calls = self.cuts.calls.load(Ordering::Acquire);
        if self.answered.swap(calls, Ordering::Relaxed) != calls {
            self.wake();
        }
    }

    fn wake(&self) {
        self.slots.with(|slots| slots.wakers.iter().flatten().for_each(Waker::wake_by_ref));
    }

    /// Runs `connection` to its end, or until it is cut, and holds `held` meanwhile. It is polled whenever the bell is rung,
    /// so that it notices by looking. To be a task's all, since that is what is woken.
    pub fn until_cut<F, H>(self: &Arc<Self>, connection: F, held: H) -> UntilCut<F, H> {
        UntilCut {
            connection,
            slot: WakerSlot { bell: Arc::clone(self), index: None },
            turn: CutTurn::default(),
            _held: held,
        }
    }
}

impl WakerSlot {
    /// From now on, `waker` is woken whenever the bell rings.
    fn register(&mut self, waker: &Waker) {
        self.index = Some(self.bell.slots.with(|slots| {
            let index = slots.free.pop().unwrap_or_else(|| {
                slots.wakers.push(None);
                slots.wakers.len() - 1
            });
            slots.wakers[index] = Some(waker.clone());
            index
        }));
    }
}

impl Drop for WakerSlot {
    fn drop(&mut self) {
        let Some(index) = self.index else { return };
        self.bell.slots.with(|slots| {
            slots.wakers[index] = None;
            slots.free.push(index);
        });
    }
}

impl<F: Future<Output = ()> + Unpin, H: Unpin> Future for UntilCut<F, H> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { connection, slot, turn, .. } = &mut *self;
        if Pin::new(connection).poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if slot.index.is_none() {
            slot.register(cx.waker());
        }
        if !slot.bell.cutting.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        turn.poll(cx, &slot.bell.cuts)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::num::NonZeroU32;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_left_is_cut_at_a_steady_rate() {
        for (rate, took) in [(Some(10), 900), (Some(1000), 9), (None, 0)] {
            let bell = Bell::new(Arc::new(Cuts::new(rate.and_then(NonZeroU32::new))));
            let cut = |_| tokio::spawn(bell.until_cut(Box::pin(pending()), ()));
            let connections: Vec<_> = (0..10).map(cut).collect();
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
            assert_eq!(bell.slots.with(|slots| slots.free.len()), 10);
        }
    }

    #[tokio::test]
    async fn a_connection_is_polled_when_the_phase_changes() {
        let bell = Bell::new(Arc::new(Cuts::new(None)));
        let (polls, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let seen = (Arc::clone(&polls), Arc::clone(&over));
        let connection = Box::pin(poll_fn(move |_| {
            seen.0.fetch_add(1, Ordering::Relaxed);
            if seen.1.load(Ordering::Relaxed) { Poll::Ready(()) } else { Poll::Pending }
        }));
        let held = Arc::new(());
        let task = tokio::spawn(bell.until_cut(connection, Arc::clone(&held)));
        tokio::task::yield_now().await;
        assert_eq!((polls.load(Ordering::Relaxed), Arc::strong_count(&held)), (1, 2));
        over.store(true, Ordering::Relaxed);
        bell.ring(Phase::Draining);
        task.await.unwrap();
        assert_eq!((polls.load(Ordering::Relaxed), Arc::strong_count(&held)), (2, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_are_called_look_and_take_turns() {
        let (cuts, given_up) = (Arc::new(Cuts::new(NonZeroU32::new(10))), Arc::new(AtomicBool::new(false)));
        let bell = Bell::new(Arc::clone(&cuts));
        let connection = |_| {
            let (cuts, given_up, mut turn) = (Arc::clone(&cuts), Arc::clone(&given_up), CutTurn::default());
            let looking = poll_fn(move |cx| match given_up.load(Ordering::Relaxed) {
                true => turn.poll(cx, &cuts),
                false => {
                    turn.give_back();
                    Poll::Pending
                }
            });
            tokio::spawn(bell.until_cut(Box::pin(looking), ()))
        };
        let connections: Vec<_> = (0..10).map(connection).collect();
        let ended = || connections.iter().filter(|connection| connection.is_finished()).count();
        tokio::time::sleep(Duration::from_secs(1)).await;
        given_up.store(true, Ordering::Relaxed);
        bell.answer();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(ended(), 0, "nobody has called them");
        cuts.call();
        bell.answer();
        tokio::time::sleep(Duration::from_millis(450)).await;
        assert_eq!(ended(), 5, "10 a second");
        given_up.store(false, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(ended(), 5, "the others live on");
    }

    #[tokio::test]
    async fn places_are_used_again() {
        let bell = Bell::new(Arc::new(Cuts::new(None)));
        for _ in 0..3 {
            let task = tokio::spawn(bell.until_cut(Box::pin(tokio::task::yield_now()), ()));
            task.await.unwrap();
        }
        assert_eq!(bell.slots.with(|slots| slots.wakers.len()), 1);
    }
}
