//! What wakes the connections of one worker when the phase changes, and cuts them. Separate from the watch of the phase, because a
//! waiter of its own would make each connection's task a quarter of a KiB larger, and there are very many.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};

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

/// A connection that may be cut.
pub trait Cut: Future<Output = ()> {
    /// It is to end. One that has an end of its own, such as a last word to its peers, begins it, and is soon over.
    fn cut(&mut self) -> Ending;
}

/// What a connection does when it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It ends by itself in a moment.
    Begun,
    /// Nothing: it may be dropped.
    None,
}

impl<F: Future<Output = ()> + ?Sized> Cut for Pin<Box<F>> {
    fn cut(&mut self) -> Ending {
        Ending::None
    }
}

/// A connection that is served to its end, or until it is cut.
#[derive(Debug)]
pub struct UntilCut<F, H> {
    connection: F,
    slot: WakerSlot,
    turn: CutTurn,
    /// Its turn has come, and it ends by itself.
    is_ending: bool,
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
            is_ending: false,
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

impl<F: Cut + Unpin, H: Unpin> Future for UntilCut<F, H> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { connection, slot, turn, is_ending, .. } = &mut *self;
        if Pin::new(&mut *connection).poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if slot.index.is_none() {
            slot.register(cx.waker());
        }
        if *is_ending || !slot.bell.cutting.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        ready!(turn.poll(cx, &slot.bell.cuts));
        match connection.cut() {
            Ending::None => Poll::Ready(()),
            Ending::Begun => {
                *is_ending = true;
                Pin::new(connection).poll(cx)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_left_is_spread_over_a_time() {
        for (spread, took) in [(1000, 900), (10, 9), (0, 0), (60_000, 9000)] {
            let cuts = Arc::new(Cuts::new(Duration::from_millis(spread)));
            let bell = Bell::new(Arc::clone(&cuts));
            let cut = |_| tokio::spawn(bell.until_cut(Box::pin(pending()), ()));
            let connections: Vec<_> = (0..10).map(cut).collect();
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(connections.iter().all(|connection| !connection.is_finished()));
            cuts.begin(connections.len());
            bell.ring(Phase::Cutting);
            let begun = Instant::now();
            let mut ends = Vec::new();
            for connection in connections {
                connection.await.unwrap();
                ends.push(begun.elapsed());
            }
            let last = *ends.iter().max().unwrap();
            assert!(last >= Duration::from_millis(took), "{spread}: {ends:?}");
            assert!(last < Duration::from_millis(took + 10), "{spread}: {ends:?}");
            assert_eq!(bell.slots.with(|slots| slots.free.len()), 10);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_does_not_wait_for_turns_that_were_given_before() {
        let cuts = Arc::new(Cuts::new(Duration::from_secs(60)));
        cuts.begin(60);
        let mut turns: Vec<_> = (0..60).map(|_| CutTurn::default()).collect();
        for turn in &mut turns {
            // Clients that are believed no longer; the last one goes in a minute.
            poll_fn(|cx| Poll::Ready(turn.poll(cx, &cuts).is_ready())).await;
        }
        let bell = Bell::new(Arc::clone(&cuts));
        let connection = tokio::spawn(bell.until_cut(Box::pin(pending()), ()));
        tokio::task::yield_now().await;
        cuts.begin(1);
        bell.ring(Phase::Cutting);
        let begun = Instant::now();
        connection.await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn a_connection_is_polled_when_the_phase_changes() {
        let bell = Bell::new(Arc::new(Cuts::new(Duration::ZERO)));
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
        let (cuts, given_up) = (Arc::new(Cuts::new(Duration::from_secs(1))), Arc::new(AtomicBool::new(false)));
        cuts.begin(10);
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

    /// Ends by itself, a second after it is told to.
    struct Polite(Option<Pin<Box<tokio::time::Sleep>>>);

    impl Future for Polite {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            self.0.as_mut().map_or(Poll::Pending, |farewell| farewell.as_mut().poll(cx))
        }
    }

    impl Cut for Polite {
        fn cut(&mut self) -> Ending {
            self.0 = Some(Box::pin(tokio::time::sleep(Duration::from_secs(1))));
            Ending::Begun
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_has_an_end_of_its_own_comes_to_it() {
        let bell = Bell::new(Arc::new(Cuts::new(Duration::ZERO)));
        let connection = tokio::spawn(bell.until_cut(Polite(None), ()));
        tokio::task::yield_now().await;
        bell.ring(Phase::Cutting);
        let begun = Instant::now();
        connection.await.unwrap();
        assert_eq!(begun.elapsed().as_millis(), 1000);
    }

    #[tokio::test]
    async fn places_are_used_again() {
        let bell = Bell::new(Arc::new(Cuts::new(Duration::ZERO)));
        for _ in 0..3 {
            let task = tokio::spawn(bell.until_cut(Box::pin(tokio::task::yield_now()), ()));
            task.await.unwrap();
        }
        assert_eq!(bell.slots.with(|slots| slots.wakers.len()), 1);
    }
}
