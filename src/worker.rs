//! The threads: each worker is a current-thread runtime with listening sockets and an upstream pool of its own. The only
//! file that knows of threads; everything else is futures that could run anywhere.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use crate::drain::{Bell, Phase, reached};
use crate::proxy::context::{Shared, Worker};
use crate::proxy::listener::accept;
use crate::supervisor::Pulse;
use crate::upstream::look;

/// Connections that the kernel may hold before they are accepted.
const BACKLOG: i32 = 4096;
/// How often idle upstream connections are looked over.
const SWEEP: Duration = Duration::from_millis(250);

/// Dropped when a thread ends: whoever waits for [`Ended`] learns of it.
#[derive(Clone, Debug)]
pub struct Alive(mpsc::UnboundedSender<()>);

/// Tells that a thread has ended.
#[derive(Debug)]
pub struct Ended(mpsc::UnboundedReceiver<()>);

/// One token for each thread, and who waits for the first to be dropped.
pub fn lifeline() -> (Alive, Ended) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Alive(sender), Ended(receiver))
}

impl Drop for Alive {
    fn drop(&mut self) {
        // The error says that nobody waits any more.
        self.0.send(()).ok();
    }
}

impl Ended {
    /// Returns once a token has been dropped.
    pub async fn first(&mut self) {
        self.0.recv().await;
    }
}

/// Binds `address` once for each of `count` workers; port 0 gets one port for all. A first socket that shares with nobody
/// makes sure that no other process serves the address.
///
/// # Errors
/// The first that the system reports, `AddrInUse` for a second gateway on the same address.
pub fn bind(address: SocketAddr, count: usize) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    let alone = socket(address)?;
    alone.bind(&address.into())?;
    let bound = alone.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    drop(alone);
    let sockets = bind_more(bound, Vec::new(), count)?;
    sockets.iter().try_for_each(listen)?;
    Ok((bound, sockets))
}

/// `sockets`, which are bound to `address`, and as many more as it takes to have one for each of `count` workers. These are
/// reached once their workers accept: clients would wait at them in vain while another process serves the address, and be
/// reset if it goes on.
///
/// # Errors
/// The first that the system reports.
pub fn bind_more(address: SocketAddr, mut sockets: Vec<TcpListener>, count: usize) -> io::Result<Vec<TcpListener>> {
    while sockets.len() < count {
        let socket = socket(address)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        sockets.push(socket.into());
    }
    Ok(sockets)
}

fn listen(socket: &TcpListener) -> io::Result<()> {
    SockRef::from(socket).listen(BACKLOG)
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// Runs `body` on a thread with a runtime of its own, and holds `alive` meanwhile, even if it panics.
///
/// # Errors
/// When the system has no thread or no epoll instance left.
pub fn on_thread<F>(name: String, alive: Alive, body: impl FnOnce() -> F + Send + 'static) -> io::Result<JoinHandle<()>>
where
    F: Future<Output = ()>,
{
    let runtime = Detached(Some(tokio::runtime::Builder::new_current_thread().enable_all().build()?));
    thread::Builder::new().name(name).spawn(move || {
        let _alive = alive;
        runtime.0.as_ref().expect("it is there until it is dropped").block_on(body());
    })
}

/// A runtime that nobody waits for at its end, nor at a panic's: a file that is being read then may be on a file system that
/// hangs, and another process that is listened to may drain for hours.
struct Detached(Option<Runtime>);

impl Drop for Detached {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A socket to accept on.
#[derive(Debug)]
pub struct Order {
    /// Its listener in the snapshot.
    pub listener: usize,
    /// The worker's own, and nobody's once it accepts no more.
    pub socket: Arc<TcpListener>,
    /// Once the other end is gone, nobody is accepted any more.
    pub open: watch::Receiver<()>,
}

/// Starts one worker, which accepts as `orders` say. It ends once the process drains and its connections are gone, or are
/// forced to go.
///
/// # Errors
/// As [`on_thread`].
pub fn start(
    index: usize,
    shared: Arc<Shared>,
    orders: mpsc::UnboundedReceiver<Order>,
    pulse: Pulse,
    alive: Alive,
) -> io::Result<JoinHandle<()>> {
    on_thread(format!("worker-{index}"), alive, move || async move {
        let bell = Bell::new(Arc::clone(&shared.cuts));
        let worker = Worker { shared, pool: Arc::default(), bell };
        let forced = reached(worker.shared.phase.clone(), Phase::Forced);
        let sweeping = async {
            loop {
                tokio::time::sleep(SWEEP).await;
                pulse.beat();
                look::hints(&worker.shared.snapshot.load().farms, &worker.pool.sweep());
            }
        };
        let mut phase = worker.shared.phase.clone();
        let ringing = async {
            // The error says that its owner is gone, which is forced then.
            while phase.changed().await.is_ok() {
                worker.bell.ring(*phase.borrow_and_update());
            }
            std::future::pending().await
        };
        tokio::select! {
            () = serve(&worker, orders) => {}
            () = ringing => {}
            () = forced => {}
            () = sweeping => {}
        }
    })
}

/// Accepts as `orders` say until the process drains, and returns once the last connection has gone.
async fn serve(worker: &Worker, mut orders: mpsc::UnboundedReceiver<Order>) {
    let (alive, mut gone) = mpsc::channel(1);
    let accepting = async {
        while let Some(Order { listener, socket, open }) = orders.recv().await {
            let accepted =
                listen(&socket).and_then(|()| socket.try_clone()).and_then(tokio::net::TcpListener::from_std);
            match accepted {
                Ok(accepted) => {
                    drop(tokio::spawn(accept(worker.clone(), listener, accepted, socket, open, alive.clone())));
                }
                Err(error) => tracing::error!(%error, "a listening socket could not be used"),
            }
        }
        // Nobody gives orders any more, and what is served is served.
        std::future::pending().await
    };
    tokio::select! {
        () = accepting => {}
        () = reached(worker.shared.phase.clone(), Phase::HandedOver) => {}
    }
    drop((alive, orders));
    gone.recv().await;
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn a_thread_ends_whatever_it_has_set_going() {
        for panics in [false, true] {
            let (alive, _ended) = lifeline();
            let (release, released) = sync_channel::<()>(0);
            let thread = on_thread("test".into(), alive, move || async move {
                // As a file that is read from a disk that does not answer, or a process that drains for hours.
                drop(tokio::task::spawn_blocking(move || released.recv()));
                assert!(!panics, "as it should");
            });
            let (joined, told) = sync_channel(1);
            thread::spawn(move || joined.send(thread.unwrap().join().is_ok()));
            assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok(!panics), "it waits");
            drop(release);
        }
    }
}
