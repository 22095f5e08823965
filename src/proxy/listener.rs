//! Accepting: one loop per worker and listening address.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::context::Worker;
use super::front::serve;
use crate::drain::{Phase, reached, until_cut};
use crate::telemetry::metrics::Held;

/// How long to wait when the process is out of descriptors.
const OUT_OF_SOCKETS: Duration = Duration::from_millis(50);

/// How often that is said while it lasts.
const SAID_AGAIN: Duration = Duration::from_secs(10);

/// Open client connections of the whole process.
static OPEN: AtomicUsize = AtomicUsize::new(0);

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

/// Accepts until the process drains, or the other end of `open` is gone. Each connection holds `alive` for as long as it
/// lives.
pub async fn accept(
    worker: Worker,
    listener: usize,
    socket: TcpListener,
    mut open: watch::Receiver<()>,
    alive: mpsc::Sender<()>,
) {
    let draining = reached(worker.shared.phase.clone(), Phase::Draining);
    let accepting = async {
        let mut told = None;
        loop {
            let (tcp, peer) = match socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    if told.is_none_or(|told: Instant| told.elapsed() >= SAID_AGAIN) {
                        tracing::warn!(%error, "connections can't be accepted");
                        told = Some(Instant::now());
                    }
                    tokio::time::sleep(OUT_OF_SOCKETS).await;
                    continue;
                }
            };
            let snapshot = worker.shared.snapshot.load();
            let metrics = &snapshot.listeners[listener].metrics;
            metrics.accepted.inc();
            let Some(seat) = Seat::take(snapshot.limits.connections) else {
                metrics.refused_connections.inc();
                continue;
            };
            let open = Held::new(&metrics.open);
            let alive = alive.clone();
            let serving = serve(worker.clone(), listener, tcp, peer);
            let shared = Arc::clone(&worker.shared);
            tokio::spawn(async move {
                until_cut(serving, shared.phase.clone(), &shared.cuts).await;
                drop((seat, open, alive));
            });
        }
    };
    tokio::select! {
        () = accepting => {}
        () = draining => {}
        // Nothing is ever said there.
        _ = open.changed() => {}
    }
}
