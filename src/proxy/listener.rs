//! Accepting: one loop per worker and listening address.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::context::Worker;
use super::front::serve;
use crate::drain::{Phase, reached};
use crate::telemetry::metrics::Held;

/// How long to wait when the process is out of descriptors.
const OUT_OF_SOCKETS: Duration = Duration::from_millis(50);

/// More than a socket's queue holds; another process may go on filling it.
const MOST_WAITING: usize = 8192;

/// How often that is said while it lasts.
const SAID_AGAIN: Duration = Duration::from_secs(10);

/// Open client connections of the whole process.
static OPEN: AtomicUsize = AtomicUsize::new(0);

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
    let (open, alive) = (Held::new(&metrics.open), alive.clone());
    let serving = serve(worker.clone(), listener, tcp, peer);
    tokio::spawn(worker.bell.until_cut(serving, (seat, open, alive)));
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

    /// Tokio adds 88 bytes to a task's future, and rounds up to a multiple of 128.
    #[test]
    fn a_connections_task_takes_a_quarter_of_a_kib() {
        let taken = size_of::<UntilCut<Serving, (Seat, Held, mpsc::Sender<()>)>>();
        assert!(taken + 88 <= 256, "{taken}");
    }
}
