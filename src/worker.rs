//! The threads: each worker is a current-thread runtime with listening sockets and an upstream pool of its own. The only
//! file that knows of threads; everything else is futures that could run anywhere.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use crate::config::model::Freebind;
use crate::drain::{Bell, Phase, reached};
use crate::proxy::context::{Shared, Worker};
use crate::proxy::lifeless;
use crate::proxy::listener::accept;
use crate::supervisor::Pulse;

/// Connections that the kernel may hold before they are accepted.
const BACKLOG: i32 = 4096;
/// How often it is looked whether threads have ended.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How often idle upstream connections are looked over.
const SWEEP: Duration = Duration::from_millis(250);

/// Dropped when a thread ends: anyone who waits for [`Ended`] learns of it.
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
pub fn bind(address: SocketAddr, count: usize, free: Freebind) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    let alone = socket(address, free)?;
    alone.bind(&address.into())?;
    let bound = alone.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    drop(alone);
    let sockets = bind_more(bound, Vec::new(), count, free)?;
    sockets.iter().try_for_each(listen)?;
    Ok((bound, sockets))
}

/// `sockets`, which are bound to `address`, and as many more as it takes to have one for each of `count` workers. These are
/// reached once their workers accept: clients would wait at them in vain while another process serves the address, and be
/// reset if it goes on.
///
/// # Errors
/// The first that the system reports.
pub fn bind_more(
    address: SocketAddr,
    mut sockets: Vec<TcpListener>,
    count: usize,
    free: Freebind,
) -> io::Result<Vec<TcpListener>> {
    while sockets.len() < count {
        let socket = socket(address, free)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        sockets.push(socket.into());
    }
    Ok(sockets)
}

fn listen(socket: &TcpListener) -> io::Result<()> {
    SockRef::from(socket).listen(BACKLOG)
}

fn socket(address: SocketAddr, free: Freebind) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    match (free, address) {
        (Freebind::Off, _) => {}
        (Freebind::On, SocketAddr::V4(_)) => socket.set_freebind_v4(true)?,
        (Freebind::On, SocketAddr::V6(_)) => socket.set_freebind_v6(true)?,
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

/// Waits until all of `threads` have ended, for `patience` at most: the names of those that have not. They are left behind.
pub fn end(threads: Vec<JoinHandle<()>>, patience: Duration) -> Vec<String> {
    let deadline = Instant::now() + patience;
    while !threads.iter().all(JoinHandle::is_finished) && Instant::now() < deadline {
        thread::sleep(LOOK_EVERY);
    }
    let (ended, left): (Vec<_>, Vec<_>) = threads.into_iter().partition(JoinHandle::is_finished);
    for thread in ended {
        // A thread that panicked has said so.
        drop(thread.join());
    }
    left.iter().map(|thread| thread.thread().name().unwrap_or("unnamed").to_owned()).collect()
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

/// What the names of workers' threads begin with.
const WORKER: &str = "worker-";

/// The name of a worker's thread.
pub fn name(index: usize) -> String {
    format!("{WORKER}{index}")
}

/// Whether a worker's thread has that name.
pub fn is_worker(name: &str) -> bool {
    name.starts_with(WORKER)
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
    on_thread(name(index), alive, move || async move {
        let bell = Bell::new(Arc::clone(&shared.cuts));
        let worker = Worker { shared, pool: Arc::default(), bell };
        let forced = reached(worker.shared.phase.clone(), Phase::Forced);
        let sweeping = async {
            loop {
                tokio::time::sleep(SWEEP).await;
                pulse.beat();
                worker.ended(&worker.pool.sweep());
                lifeless::watch(&worker);
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
                Err(error) => tracing::error!(error.message = %error, "a listening socket could not be used"),
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
    fn a_thread_that_hangs_is_left_behind_and_named() {
        let (release, released) = sync_channel::<()>(0);
        let thread = |name: &str, body: Box<dyn FnOnce() + Send>| {
            thread::Builder::new().name(name.to_owned()).spawn(body).unwrap()
        };
        let hangs = thread("hangs", Box::new(move || released.recv().unwrap_or_default()));
        let ends = thread("ends", Box::new(|| {}));
        let panics = thread("panics", Box::new(|| panic!("as it should")));
        while !(ends.is_finished() && panics.is_finished()) {
            thread::sleep(LOOK_EVERY);
        }
        let begun = Instant::now();
        assert_eq!(end(vec![hangs, ends, panics], Duration::from_millis(200)), ["hangs"]);
        assert!(begun.elapsed() >= Duration::from_millis(200));
        drop(release);
        assert!(end(vec![thread("ends", Box::new(|| {}))], Duration::from_secs(20)).is_empty());
        assert!(begun.elapsed() < Duration::from_secs(20), "it waits no longer than it must");
    }

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
