//! Accepting: one loop per worker and listening address.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::context::Worker;
use super::front::serve;
use super::shares::Share;
use super::snapshot::Listener;
use crate::drain::{Phase, reached};
use crate::policy::shares::Over;
use crate::telemetry::metrics::Held;

/// How long to wait when the process is out of descriptors.
const OUT_OF_SOCKETS: Duration = Duration::from_millis(50);

/// More than a socket's queue holds; another process may go on filling it.
const MOST_WAITING: usize = 8192;

/// How often that is said while it lasts.
const SAID_AGAIN: Duration = Duration::from_secs(10);

/// Open client connections of the whole process.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// When the process was out of descriptors the last time, in milliseconds from [`BEGUN`]; 0: never.
static OUT: AtomicU64 = AtomicU64::new(0);
/// When times began to be told.
static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);
/// For so long it counts as being so still: it tries again more often.
const STILL_OUT: Duration = Duration::from_secs(1);

/// Whether connections could not be accepted within the last second, for want of descriptors.
pub fn is_out_of_descriptors() -> bool {
    is_out_at(milliseconds())
}

fn is_out_at(now: u64) -> bool {
    let out = OUT.load(Ordering::Relaxed);
    out != 0 && u128::from(now.saturating_sub(out)) <= STILL_OUT.as_millis()
}

fn milliseconds() -> u64 {
    u64::try_from(BEGUN.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

/// Takes note of why a connection could not be accepted.
fn failed(error: &io::Error) {
    if [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error())).contains(&error.raw_os_error()) {
        OUT.store(milliseconds(), Ordering::Relaxed);
    }
}

/// How many client connections of the whole process are open.
pub fn open() -> usize {
    OPEN.load(Ordering::Relaxed)
}

/// One of [`OPEN`].
struct Seat;

impl Seat {
    fn take(limit: usize) -> Option<Self> {
        let seat = Self;
        (OPEN.fetch_add(1, Ordering::Relaxed) < limit).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves a connection that has been accepted, on a task of its own.
fn begin(worker: &Worker, listener: usize, tcp: TcpStream, peer: SocketAddr, alive: &mpsc::Sender<()>) {
    let snapshot = worker.shared.snapshot.load();
    let metrics = &snapshot.listeners[listener].metrics;
    metrics.accepted.inc();
    let Some(seat) = Seat::take(snapshot.limits.connections) else {
        metrics.refused_connections.inc();
        return;
    };
    let client = peer.ip();
    // What a proxy brings is counted by whom it names.
    let is_counted = !snapshot.is_exempt(client) && !snapshot.listeners[listener].trusts(client);
    let share = match is_counted.then(|| Share::take(client, open(), snapshot.limits.connections)).transpose() {
        Ok(share) => share,
        Err(over) => return refuse(&snapshot.listeners[listener], client, over),
    };
    let (open, alive) = (Held::new(&metrics.open), alive.clone());
    let serving = serve(worker.clone(), listener, tcp, peer);
    tokio::spawn(worker.bell.until_cut(serving, (seat, share, open, alive)));
}

/// Closes a connection of `client`, which has more than its share.
pub(super) fn refuse(here: &Listener, client: IpAddr, over: Over) {
    here.metrics.over_share(over);
    if here.is_news("over-share") {
        tracing::warn!(
            client.address = %client,
            listener = &*here.label,
            reason = over.name(),
            "connection closed, since the client's address or network has more than its share of limits.connections; further ones \
             are counted, and logged again after 10 s"
        );
    }
}

/// Accepts until the process drains or is taken over, or the other end of `open` is gone. `same` is held until then, so that
/// others know the socket. Each connection holds `alive` for as long as it lives.
pub async fn accept(
    worker: Worker,
    listener: usize,
    socket: TcpListener,
    same: Arc<std::net::TcpListener>,
    mut open: watch::Receiver<()>,
    alive: mpsc::Sender<()>,
) {
    let draining = reached(worker.shared.phase.clone(), Phase::HandedOver);
    let accepting = async {
        let mut told = None;
        loop {
            match socket.accept().await {
                Ok((tcp, peer)) => begin(&worker, listener, tcp, peer, &alive),
                Err(error) => {
                    failed(&error);
                    if told.is_none_or(|told: Instant| told.elapsed() >= SAID_AGAIN) {
                        tracing::warn!(error.message = %error, "connections can't be accepted");
                        told = Some(Instant::now());
                    }
                    tokio::time::sleep(OUT_OF_SOCKETS).await;
                }
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = draining => {}
        // Nothing is ever said there.
        _ = open.changed() => {}
    }
    drop(same);
    // Who has come already would be reset. Tokio's own accepting ends when its budget for a turn does.
    let Ok(socket) = socket.into_std() else { return };
    for (tcp, peer) in std::iter::from_fn(|| socket.accept().ok()).take(MOST_WAITING) {
        if let Ok(tcp) = tcp.set_nonblocking(true).and_then(|()| TcpStream::from_std(tcp)) {
            begin(&worker, listener, tcp, peer, &alive);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drain::UntilCut;
    use crate::proxy::front::Serving;

    #[test]
    fn the_process_is_out_of_descriptors_for_a_second_after_it_could_accept_nobody() {
        failed(&io::ErrorKind::ConnectionAborted.into());
        assert!(!is_out_of_descriptors(), "that is the client's fault");
        failed(&Errno::MFILE.into());
        assert!(is_out_of_descriptors() && is_out_at(milliseconds() + 900));
        assert!(!is_out_at(milliseconds() + 1100));
    }

    /// Tokio adds 88 bytes to a task's future, and rounds up to a multiple of 128.
    #[test]
    fn a_connections_task_takes_a_quarter_of_a_kib() {
        let taken = size_of::<UntilCut<Serving, (Seat, Option<Share>, Held, mpsc::Sender<()>)>>();
        assert!(taken + 88 <= 256, "{taken}");
    }
}
