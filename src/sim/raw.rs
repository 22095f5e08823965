//! An XSP whose answers are given byte for byte and which keeps the bytes it receives. Separate from the simulated XSP
//! because hyper would repair, or refuse, what is to be seen here.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::sim::pki::{Pki, Show};
use crate::sim::socket::Socket;
use crate::sim::xsp::{bind, server_config};

/// One step of an answer. An answer begins when a request's head has come in.
#[derive(Clone, Debug)]
pub enum Step {
    /// Waits for the whole of the request, by its Content-Length or its last chunk.
    Request,
    /// Sends these bytes, in one write and one TLS record if they fit.
    Send(Vec<u8>),
    /// Sends these bytes, and in the same segment some that are no TLS, which ends the connection.
    Spoil(Vec<u8>),
    /// Waits for the test.
    Gate(Gate),
    /// Waits for so long.
    Wait(Duration),
    /// Closes the connection in an orderly way.
    Close,
    /// Closes the connection without close_notify.
    Cut,
    /// Resets the connection.
    Reset,
}

impl Step {
    /// A step that sends `bytes`.
    pub fn send(bytes: impl AsRef<[u8]>) -> Self {
        Self::Send(bytes.as_ref().to_vec())
    }
}

/// Holds an answer back until the test opens it; each opening lets one step through. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Passage>);

#[derive(Debug)]
struct Passage {
    permits: Semaphore,
    reached: AtomicU64,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self(Arc::new(Passage { permits: Semaphore::new(0), reached: AtomicU64::new(0) }))
    }

    /// Lets one step through, now or when it comes.
    pub fn open(&self) {
        self.0.permits.add_permits(1);
    }

    /// How many steps have come to it, which shows that all before them is done.
    pub fn reached(&self) -> u64 {
        self.0.reached.load(Ordering::SeqCst)
    }

    async fn pass(&self) {
        self.0.reached.fetch_add(1, Ordering::SeqCst);
        self.0.permits.acquire().await.expect("the semaphore is never closed").forget();
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

/// A running raw XSP; clones are handles to the same one.
#[derive(Clone)]
pub struct Raw(Arc<Shared>);

struct Shared {
    address: SocketAddr,
    tls: Arc<ServerConfig>,
    script: Mutex<Script>,
    /// The bytes of each connection, in the order of their acceptance.
    received: Mutex<Vec<Vec<u8>>>,
    changed: watch::Sender<u64>,
    /// Connections that have ended.
    ended: AtomicUsize,
    /// Whether connections are read no further.
    deaf: AtomicBool,
    /// When it last sent anything over each connection.
    sent: Mutex<Vec<Instant>>,
    /// How long after that it closed those that it closed.
    closed: Mutex<Vec<Duration>>,
    /// Whether its process is dead.
    killed: watch::Sender<bool>,
}

#[derive(Default)]
struct Script {
    /// Answers to the next requests, on whatever connection.
    next: std::collections::VecDeque<Vec<Step>>,
    /// The answer to all others.
    always: Vec<Step>,
}

impl Raw {
    /// Starts an XSP at `address` (port 0: any) with a good certificate for `domain`. It answers 200 until told otherwise.
    ///
    /// # Errors
    /// Those of binding the address.
    pub fn start(domain: &str, address: SocketAddr, pki: &Pki) -> io::Result<Self> {
        Self::start_with(server_config(&pki.xsp(domain, "raw.sim.invalid", Show::Good)), address)
    }

    /// As [`Raw::start`] with a TLS configuration of the test's own.
    ///
    /// # Errors
    /// Those of binding the address.
    pub fn start_with(tls: Arc<ServerConfig>, address: SocketAddr) -> io::Result<Self> {
        let listener = bind(address)?;
        let raw = Self(Arc::new(Shared {
            address: listener.local_addr()?,
            tls,
            script: Mutex::default(),
            received: Mutex::default(),
            changed: watch::Sender::new(0),
            ended: AtomicUsize::new(0),
            deaf: AtomicBool::new(false),
            sent: Mutex::default(),
            closed: Mutex::default(),
            killed: watch::Sender::new(false),
        }));
        raw.always(vec![Step::Request, Step::send("HTTP/1.1 200 OK\r\nX-Xsp: raw\r\nContent-Length: 2\r\n\r\nok")]);
        tokio::spawn(accept(Arc::clone(&raw.0), listener));
        Ok(raw)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Answers every request so for which no other answer was given.
    pub fn always(&self, steps: Vec<Step>) {
        self.0.script.lock().always = steps;
    }

    /// Answers every whole request with `bytes`, and keeps the connection.
    pub fn answer(&self, bytes: impl AsRef<[u8]>) {
        self.always(vec![Step::Request, Step::send(bytes)]);
    }

    /// Answers one request so, after those that were given before.
    pub fn next(&self, steps: Vec<Step>) {
        self.0.script.lock().next.push_back(steps);
    }

    /// What each connection has received, in the order in which they were accepted.
    pub fn received(&self) -> Vec<Vec<u8>> {
        self.0.received.lock().clone()
    }

    /// What all connections have received, one after the other.
    pub fn all_received(&self) -> Vec<u8> {
        self.0.received.lock().concat()
    }

    /// How many connections have ended, by whomever.
    pub fn ended(&self) -> usize {
        self.0.ended.load(Ordering::Relaxed)
    }

    /// How many connections it has closed more than `time` after it last sent anything over them.
    pub fn closed_later_than(&self, time: Duration) -> usize {
        self.0.closed.lock().iter().filter(|took| **took > time).count()
    }

    /// Reads no further: of each connection, only what the first read brings.
    pub fn turn_deaf(&self) {
        self.0.deaf.store(true, Ordering::Relaxed);
    }

    /// Kills it: nothing listens any more, and every connection is reset.
    pub fn kill(&self) {
        self.0.killed.send_replace(true);
    }

    /// Waits until `holds` is true of what each connection has received; false if that took longer than `deadline`.
    pub async fn until(&self, deadline: Duration, holds: impl Fn(&[Vec<u8>]) -> bool) -> bool {
        let mut changed = self.0.changed.subscribe();
        let wait = async {
            while !holds(&self.0.received.lock()) {
                changed.changed().await.expect("the shared state holds the sender");
            }
        };
        tokio::time::timeout(deadline, wait).await.is_ok()
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let mut killed = shared.killed.subscribe();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = killed.wait_for(|killed| *killed) => return,
        };
        let Ok((tcp, _)) = accepted else { return };
        let index = {
            let mut received = shared.received.lock();
            received.push(Vec::new());
            shared.sent.lock().push(Instant::now());
            received.len() - 1
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let socket = Socket::new(tcp);
            let mut killed = shared.killed.subscribe();
            let farewell = tokio::select! {
                farewell = converse(&shared, socket.clone(), index) => farewell,
                _ = killed.wait_for(|killed| *killed) => Ok(Farewell::Reset),
            };
            if let Ok(Farewell::Reset) = farewell {
                socket.reset_on_close();
            }
            drop(socket);
            if let Ok(Farewell::Close | Farewell::Reset) = farewell {
                let took = shared.sent.lock()[index].elapsed();
                shared.closed.lock().push(took);
            }
            shared.ended.fetch_add(1, Ordering::Relaxed);
        });
    }
}

enum Farewell {
    /// The other side has left.
    Left,
    Close,
    Reset,
}

async fn converse(shared: &Shared, tcp: Socket, index: usize) -> io::Result<Farewell> {
    tcp.options().set_tcp_nodelay(true)?;
    let tls = TlsAcceptor::from(Arc::clone(&shared.tls)).accept(tcp.clone()).await?;
    let (reader, mut writer) = tokio::io::split(tls);
    // Reading goes on while an answer waits, so that all that comes is on record.
    tokio::select! {
        biased;
        ended = answer(shared, index, &mut writer, tcp) => ended,
        ended = read(shared, index, reader) => ended,
    }
}

async fn read(shared: &Shared, index: usize, mut reader: ReadHalf<TlsStream<Socket>>) -> io::Result<Farewell> {
    let mut scratch = vec![0; 16 * 1024];
    loop {
        let length = reader.read(&mut scratch).await?;
        if length == 0 {
            return Ok(Farewell::Left);
        }
        shared.received.lock()[index].extend_from_slice(&scratch[..length]);
        shared.changed.send_modify(|version| *version = version.wrapping_add(1));
        if shared.deaf.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }
}

async fn answer(
    shared: &Shared,
    index: usize,
    writer: &mut WriteHalf<TlsStream<Socket>>,
    mut tcp: Socket,
) -> io::Result<Farewell> {
    let mut changed = shared.changed.subscribe();
    let mut begin = 0;
    loop {
        wait(&mut changed, || head_end(&shared.received.lock()[index][begin..])).await;
        let steps = {
            let mut script = shared.script.lock();
            script.next.pop_front().unwrap_or_else(|| script.always.clone())
        };
        for step in steps {
            match step {
                Step::Request => {
                    wait(&mut changed, || request_end(&shared.received.lock()[index][begin..])).await;
                }
                Step::Send(bytes) => {
                    writer.write_all(&bytes).await?;
                    writer.flush().await?;
                    shared.sent.lock()[index] = Instant::now();
                }
                Step::Spoil(bytes) => {
                    tcp.options().set_tcp_cork(true)?;
                    writer.write_all(&bytes).await?;
                    writer.flush().await?;
                    tcp.write_all(b"no TLS").await?;
                    tcp.options().set_tcp_cork(false)?;
                    return Ok(Farewell::Close);
                }
                Step::Gate(gate) => gate.pass().await,
                Step::Wait(time) => tokio::time::sleep(time).await,
                Step::Close => {
                    writer.shutdown().await?;
                    return Ok(Farewell::Close);
                }
                Step::Cut => return Ok(Farewell::Close),
                Step::Reset => return Ok(Farewell::Reset),
            }
        }
        begin += wait(&mut changed, || request_end(&shared.received.lock()[index][begin..])).await;
    }
}

async fn wait(changed: &mut watch::Receiver<u64>, find: impl Fn() -> Option<usize>) -> usize {
    loop {
        changed.borrow_and_update();
        if let Some(found) = find() {
            return found;
        }
        changed.changed().await.expect("the shared state holds the sender");
    }
}

/// The length of the head that `bytes` begin with, if it is whole.
fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|position| position + 4)
}

/// The length of the request that `bytes` begin with, if it is whole.
fn request_end(bytes: &[u8]) -> Option<usize> {
    let head = head_end(bytes)?;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    if field("transfer-encoding:").is_some() {
        let body = &bytes[head..];
        let last = body
            .windows(3)
            .enumerate()
            .position(|(index, window)| window == b"0\r\n" && (index == 0 || body[..index].ends_with(b"\r\n")))?;
        // From the line break of the last chunk on: an empty line ends the trailers.
        return Some(head + last + 1 + head_end(&body[last + 1..])?);
    }
    let length = field("content-length:").and_then(|length| length.parse().ok()).unwrap_or(0);
    (bytes.len() >= head + length).then_some(head + length)
}

#[cfg(test)]
mod tests {
    use super::request_end;

    #[test]
    fn the_end_of_a_request_is_found_by_its_framing() {
        let cases: [(&str, Option<usize>); 7] = [
            ("GET / HTTP/1.1\r\n\r\n", Some(18)),
            ("GET / HTTP/1.1\r\n", None),
            ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc+", Some(41)),
            ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab", None),
            ("P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n+", Some(55)),
            ("P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\n", Some(55)),
            ("P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n", None),
        ];
        for (bytes, end) in cases {
            assert_eq!(request_end(bytes.as_bytes()), end, "{bytes:?}");
        }
    }
}
