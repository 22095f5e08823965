//! What the service manager is told: that the gateway is ready, reads its configuration again, stops, and is alive. Does
//! nothing where nobody listens (`NOTIFY_SOCKET` is not set). Separate from those who tell, because a service manager that
//! does not read its socket holds up every thread that writes there: one thread of the process writes, and nothing waits
//! for it.

mod judge;
mod pulse;

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;

pub use pulse::{Pulse, Pulses, Watcher};

/// Notices that may wait to be written; those that come then are lost.
const QUEUED: usize = 64;
/// How long the hand-over may wait for its notice to be written.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same for the end.
const SHORTLY: Duration = Duration::from_millis(200);

/// Where notices go; `None`: nobody listens.
static OUT: LazyLock<Option<SyncSender<Notice>>> = LazyLock::new(start);
/// Whether the service manager is told that the process is alive: it is the one that serves.
static SERVES: AtomicBool = AtomicBool::new(false);

/// What is to be written, and who wants to know that it is.
struct Notice {
    states: Vec<NotifyState<'static>>,
    _written: SyncSender<()>,
}

/// Tells when a notice has been written, or was lost.
#[derive(Debug)]
pub struct Written(Receiver<()>);

impl Written {
    /// Waits for that.
    fn wait(&self, patience: Duration) {
        // Nothing is ever said there: it ends with the notice.
        self.0.recv_timeout(patience).ok();
    }

    /// Waits for it no longer than for a thread that is about to run: the process ends.
    pub fn wait_shortly(&self) {
        self.wait(SHORTLY);
    }

    fn is_done(&self) -> bool {
        self.0.try_recv() == Err(std::sync::mpsc::TryRecvError::Disconnected)
    }
}

/// It serves; also once it has read its configuration again.
pub fn ready() {
    tell(vec![NotifyState::Ready, NotifyState::Status("serving")]);
    SERVES.store(true, Ordering::Relaxed);
}

/// It reads its configuration again, and says [`ready`] when that is over.
pub fn reloading() {
    // Without the time, which no clock is known to refuse, it is a notice of the old kind.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(vec![NotifyState::Reloading, now]),
        Err(_) => tell(vec![NotifyState::Reloading]),
    };
}

/// It serves no more, and the process `pid` does in its place; nothing else is to be told from here. Waits until that is
/// written, because the other process is not heard before, but not for ever.
pub fn handed_over(pid: u32) {
    SERVES.store(false, Ordering::Relaxed);
    tell(vec![NotifyState::MainPid(pid)]).wait(PATIENCE);
}

/// It stops, and may take so long.
pub fn stopping(patience: Duration) -> Written {
    let micros = u32::try_from(patience.as_micros()).unwrap_or(u32::MAX);
    tell(vec![NotifyState::Stopping, NotifyState::Status("stopping"), NotifyState::ExtendTimeoutUsec(micros)])
}

/// It is alive; `None`: it is not this process that is asked.
fn alive() -> Option<Written> {
    SERVES.load(Ordering::Relaxed).then(|| tell(vec![NotifyState::Watchdog]))
}

fn tell(states: Vec<NotifyState<'static>>) -> Written {
    let (written, done) = sync_channel(1);
    if let Some(out) = &*OUT
        && out.try_send(Notice { states, _written: written }).is_err()
    {
        tracing::warn!("the service manager reads nothing, and is not notified");
    }
    Written(done)
}

fn start() -> Option<SyncSender<Notice>> {
    std::env::var_os("NOTIFY_SOCKET")?;
    let (out, notices) = sync_channel::<Notice>(QUEUED);
    let writing = move || {
        while let Ok(notice) = notices.recv() {
            if let Err(error) = sd_notify::notify(&notice.states) {
                tracing::warn!(error.message = %error, "the service manager can't be notified");
            }
        }
    };
    match thread::Builder::new().name("notify".to_owned()).spawn(writing) {
        Ok(_) => Some(out),
        Err(error) => {
            tracing::error!(error.message = %error, "the service manager can't be notified: no thread for it");
            None
        }
    }
}
