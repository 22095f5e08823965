//! When files have to be read again: because they have changed on disk, or because the operator says so. Apart from what
//! is then done with them, so that the decision can be tested without a file and without a clock.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::spawn_blocking;

use crate::tls::certs::files::{Files, Stamps};

/// How often files are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// Files that change at each of so many looks are not waited for any longer.
const PATIENCE: u32 = 10;

/// Watches `files`, which looked like `read` when they were read, and calls `renew` whenever they have to be read again.
///
/// All that touches files runs on a thread of its own: a network file system that hangs must not hold up what else runs
/// here, which is discovery and the admin listener.
pub async fn watch<R>(files: Files, read: Stamps, asked: Arc<Notify>, renew: Arc<R>)
where
    R: Fn() + Send + Sync + 'static,
{
    let files = Arc::new(files);
    let mut watch = Watch::new(read);
    loop {
        let look = |files: &Arc<Files>| {
            let files = Arc::clone(files);
            spawn_blocking(move || files.stamps())
        };
        let next = tokio::select! {
            () = asked.notified() => look(&files).await.map(|seen| watch.asked(seen)),
            () = tokio::time::sleep(EVERY) => look(&files).await.map(|seen| watch.look(seen)),
        };
        let done = match next {
            Ok(Next::Wait) => Ok(()),
            Ok(Next::Read) => {
                let renew = Arc::clone(&renew);
                spawn_blocking(move || renew()).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            tracing::error!(%error, "certificates could not be renewed, the old ones stay in use");
        }
    }
}

/// Decides when files are read again. `S` is how they look.
#[derive(Debug)]
struct Watch<S> {
    /// How they looked when they were last read.
    read: S,
    settling: Option<Settling<S>>,
}

#[derive(Debug)]
struct Settling<S> {
    seen: S,
    looks: u32,
}

/// What follows from a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Nothing has to be done.
    Wait,
    /// The files are to be read.
    Read,
}

impl<S: PartialEq> Watch<S> {
    /// For files that looked so when they were read.
    const fn new(read: S) -> Self {
        Self { read, settling: None }
    }

    /// Takes a look. Who renews a certificate writes several files, one after the other: they are read once they look the
    /// same twice.
    fn look(&mut self, seen: S) -> Next {
        if seen == self.read {
            self.settling = None;
            return Next::Wait;
        }
        let (settled, looks) = match &self.settling {
            Some(before) => (before.seen == seen, before.looks + 1),
            None => (false, 1),
        };
        if settled || looks >= PATIENCE {
            return self.asked(seen);
        }
        self.settling = Some(Settling { seen, looks });
        Next::Wait
    }

    /// Somebody asks for it: they are read whatever they look like.
    fn asked(&mut self, seen: S) -> Next {
        *self = Self::new(seen);
        Next::Read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At which of these looks files are read that looked like 0 at first.
    fn read_at(looks: &[u32]) -> Vec<usize> {
        let mut watch = Watch::new(0);
        let read = looks.iter().enumerate().filter(|(_, seen)| watch.look(**seen) == Next::Read);
        read.map(|(index, _)| index).collect()
    }

    #[test]
    fn files_are_read_once_they_have_changed_and_settled() {
        let table: [(&[u32], &[usize]); 9] = [
            (&[0, 0, 0], &[]),
            (&[1], &[]),
            (&[1, 1], &[1]),
            (&[1, 1, 1, 1], &[1]),
            (&[0, 1, 2, 3, 3, 3], &[4]),
            (&[1, 0, 1, 1], &[3]),
            (&[1, 0, 0], &[]),
            (&[1, 1, 2, 2, 1, 1], &[1, 3, 5]),
            (&[1, 1, 0, 0], &[1, 3]),
        ];
        for (looks, expected) in table {
            assert_eq!(read_at(looks), expected, "{looks:?}");
        }
    }

    #[test]
    fn files_that_never_settle_are_read_all_the_same() {
        let looks: Vec<u32> = (1..=25).collect();
        assert_eq!(read_at(&looks), [9, 19]);
    }

    #[test]
    fn who_asks_waits_for_nothing() {
        let mut watch = Watch::new(0);
        assert_eq!(watch.asked(0), Next::Read);
        assert_eq!(watch.look(1), Next::Wait);
        assert_eq!(watch.asked(2), Next::Read);
        assert_eq!([2, 2, 1].map(|seen| watch.look(seen)), [Next::Wait; 3]);
        assert_eq!(watch.look(1), Next::Read);
    }
}
