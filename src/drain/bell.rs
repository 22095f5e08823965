//! What wakes the connections of one worker when the phase changes. Apart from the watch of the phase, because a waiter of its
//! own in each connection's task would make that a quarter of a KiB larger, and there are very many.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use parking_lot::Mutex;

use super::Phase;

/// Rung at each change of the phase.
#[derive(Debug, Default)]
pub struct Bell {
    cutting: AtomicBool,
    ropes: Mutex<Ropes>,
}

#[derive(Debug, Default)]
struct Ropes {
    wakers: Vec<Option<Waker>>,
    /// Places in `wakers` that hold none.
    free: Vec<usize>,
}

/// A task's place; free again when dropped.
#[derive(Debug)]
pub(super) struct Rope<'a> {
    bell: &'a Bell,
    place: usize,
}

impl Bell {
    /// The process has come to `phase`.
    pub fn ring(&self, phase: Phase) {
        self.cutting.store(phase >= Phase::Cutting, Ordering::Release);
        self.ropes.lock().wakers.iter().flatten().for_each(Waker::wake_by_ref);
    }

    /// Whether what is left is cut by now.
    pub(super) fn is_cutting(&self) -> bool {
        self.cutting.load(Ordering::Acquire)
    }

    /// From now on, `waker` is woken whenever it rings.
    pub(super) fn rope(&self, waker: &Waker) -> Rope<'_> {
        let ropes = &mut *self.ropes.lock();
        let place = ropes.free.pop().unwrap_or_else(|| {
            ropes.wakers.push(None);
            ropes.wakers.len() - 1
        });
        ropes.wakers[place] = Some(waker.clone());
        Rope { bell: self, place }
    }
}

impl Drop for Rope<'_> {
    fn drop(&mut self) {
        let ropes = &mut *self.bell.ropes.lock();
        ropes.wakers[self.place] = None;
        ropes.free.push(self.place);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn whoever_holds_a_rope_is_woken_and_places_are_used_again() {
        let (bell, counts) = (Bell::default(), [Arc::<Count>::default(), Arc::<Count>::default(), Arc::default()]);
        let rope = |which: usize| bell.rope(&Waker::from(Arc::clone(&counts[which])));
        let (first, second) = (rope(0), rope(1));
        bell.ring(Phase::Draining);
        assert!(!bell.is_cutting());
        drop(first);
        let third = rope(2);
        bell.ring(Phase::Cutting);
        assert!(bell.is_cutting());
        drop((second, third));
        bell.ring(Phase::Forced);
        assert_eq!(counts.map(|count| count.0.load(Ordering::Relaxed)), [1, 2, 1]);
        assert_eq!(bell.ropes.lock().wakers.len(), 2);
    }
}
