//! The caller of a control call, as the threads see it that carry the call out. Separate from hearing the call, because a caller
//! that has given up was told so: its call must not be carried out afterwards, on any thread.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// One that asks for something.
#[derive(Debug)]
pub(in crate::app) struct Caller(OwnedFd);

impl Caller {
    /// Why nothing is done for one that waits no longer.
    pub(in crate::app) const GONE: &str = "the caller has hung up before it was begun";

    /// The one at the other end of `call`.
    ///
    /// # Errors
    /// The system's.
    pub(in crate::app) fn of(call: impl AsFd) -> io::Result<Self> {
        call.as_fd().try_clone_to_owned().map(Self)
    }

    /// Whether it waits for the answer still. One that has only ended its side, since it has nothing more to say, does.
    pub(in crate::app) fn waits(&self) -> bool {
        let mut looked_at = [PollFd::new(&self.0, PollFlags::empty())];
        // What can't be looked at is done: the caller may wait for it.
        poll(&mut looked_at, Some(&Timespec::default())).is_err()
            || !looked_at[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_caller_waits_until_it_hangs_up() {
        let (call, caller) = UnixStream::pair().unwrap();
        let seen = Caller::of(&call).unwrap();
        assert!(seen.waits());
        caller.shutdown(Shutdown::Write).unwrap();
        assert!(seen.waits(), "it has only said all that it has to say");
        drop(caller);
        assert!(!seen.waits());
    }
}
