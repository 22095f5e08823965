//! CTI: mutual TLS, and a byte stream that nobody in between understands. Separate from the rest, which is all HTTP.
//! A client gives orders of 16 bytes, an operation and a length; the XSP at the other end of the bridge carries them out.
use crate::{client_identity, dial, provider, Args, BoxErr, NoVerify};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls_pki_types::pem::PemObject;
use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::LocalSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// An order's length, and an answer's to SINK.
const ORDER: usize = 16;
/// What one write holds: a full TLS record.
const WRITE: usize = 16 * 1024;
/// What one read takes at most.
const READ: usize = 64 * 1024;
/// Send the order back, and the `n - 16` bytes behind it: a document and its answer.
const ECHO: u8 = b'e';
/// Take `n` bytes, compare them, and say how many were right.
const SINK: u8 = b's';
/// Send `n` bytes.
const SOURCE: u8 = b'p';
/// Both at once.
const BOTH: u8 = b'b';

fn order(op: u8, n: u64) -> [u8; ORDER] {
    let mut order = [0; ORDER];
    order[0] = op;
    order[8..].copy_from_slice(&n.to_le_bytes());
    order
}
fn number(order: &[u8]) -> u64 { u64::from_le_bytes(order[8..ORDER].try_into().unwrap()) }

/// The stream that both ends know, so that each byte can be compared in its place: of a prime length, over and over.
struct Pattern(Vec<u8>);
impl Pattern {
    const PERIOD: usize = 65_521;
    fn new() -> Rc<Self> {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut bytes: Vec<u8> = (0..Self::PERIOD).map(|_| { state ^= state << 13; state ^= state >> 7; state ^= state << 17; state as u8 }).collect();
        bytes.extend_from_within(..READ.max(WRITE).min(Self::PERIOD));
        Rc::new(Self(bytes))
    }
    /// `len` bytes, READ at most, from `offset` of the stream.
    fn at(&self, offset: u64, len: usize) -> &[u8] {
        let start = (offset % Self::PERIOD as u64) as usize;
        &self.0[start..start + len.min(Self::PERIOD)]
    }
}
async fn pour<W: AsyncWrite + Unpin>(to: &mut W, pattern: &Pattern, n: u64) -> io::Result<()> {
    let mut at = 0;
    while at < n {
        let len = (n - at).min(WRITE as u64) as usize;
        to.write_all(pattern.at(at, len)).await?;
        at += len as u64;
    }
    to.flush().await
}
/// How many of `n` bytes were right.
async fn take<R: AsyncRead + Unpin>(from: &mut R, pattern: &Pattern, n: u64) -> io::Result<u64> {
    let mut buffer = vec![0; READ];
    let (mut at, mut right) = (0, 0);
    while at < n {
        let most = (n - at).min(READ as u64) as usize;
        let len = from.read(&mut buffer[..most]).await?;
        if len == 0 { return Err(ErrorKind::UnexpectedEof.into()); }
        for part in buffer[..len].chunks(Pattern::PERIOD) {
            if part == pattern.at(at, part.len()) { right += part.len() as u64; }
            at += part.len() as u64;
        }
    }
    Ok(right)
}
/// A document there and back.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(s: &mut S, pattern: &Pattern, size: usize) -> io::Result<()> {
    let mut document = order(ECHO, size as u64).to_vec();
    document.extend_from_slice(pattern.at(0, size - ORDER));
    s.write_all(&document).await?;
    s.flush().await?;
    let mut answer = vec![0; size];
    s.read_exact(&mut answer).await?;
    if answer == document { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
}

// ---------------------------------------------------------------- XSP
async fn obey<S: AsyncRead + AsyncWrite + Unpin>(mut s: S, pattern: Rc<Pattern>) -> io::Result<()> {
    loop {
        let mut head = [0; ORDER];
        s.read_exact(&mut head).await?;
        let n = number(&head);
        match head[0] {
            ECHO => {
                let mut document = head.to_vec();
                document.resize(n as usize, 0);
                s.read_exact(&mut document[ORDER..]).await?;
                s.write_all(&document).await?;
            }
            SINK => { let right = take(&mut s, &pattern, n).await?; s.write_all(&order(SINK, right)).await?; }
            SOURCE => pour(&mut s, &pattern, n).await?,
            BOTH => {
                let (mut from, mut to) = tokio::io::split(&mut s);
                let (right, sent) = tokio::join!(take(&mut from, &pattern, n), pour(&mut to, &pattern, n));
                sent?;
                to.write_all(&order(SINK, right?)).await?;
            }
            _ => return Err(ErrorKind::InvalidData.into()),
        }
        s.flush().await?;
    }
}

/// An XSP's CTI port: demands a certificate that the internal CA signed, and resumes nothing, so that every bridge costs
/// two whole handshakes.
pub async fn origin(a: Args) -> Result<(), BoxErr> {
    let mut roots = rustls::RootCertStore::empty();
    for c in CertificateDer::pem_file_iter(a.s("client-ca", "ca.pem"))? { roots.add(c?)?; }
    let provider = Arc::new(provider(a.has("pq")));
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
    let certs: Vec<_> = CertificateDer::pem_file_iter(a.s("cert", "server.pem"))?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(a.s("key", "server.key"))?;
    let mut cfg = rustls::ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?.with_client_cert_verifier(clients).with_single_cert(certs, key)?;
    cfg.send_tls13_tickets = 0;
    cfg.session_storage = Arc::new(NoServerSessionStorage {});
    let acc = TlsAcceptor::from(Arc::new(cfg));
    let pattern = Pattern::new();
    let addr: SocketAddr = a.s("listen", "127.0.0.11:9012").parse()?;
    let sock = TcpSocket::new_v4()?; sock.set_reuseaddr(true)?; sock.bind(addr)?;
    let l: TcpListener = sock.listen(8192)?;
    LocalSet::new().run_until(async move {
        loop {
            let Ok((s, _)) = l.accept().await else { continue };
            let _ = s.set_nodelay(true);
            let (acc, pattern) = (acc.clone(), pattern.clone());
            tokio::task::spawn_local(async move { if let Ok(t) = acc.accept(s).await { let _ = obey(t, pattern).await; } });
        }
    }).await
}

// ---------------------------------------------------------------- Webex
type Tls = tokio_rustls::client::TlsStream<TcpStream>;

struct Webex { addr: SocketAddr, name: ServerName<'static>, tls: TlsConnector, pattern: Rc<Pattern>, size: usize, errors: Cell<u64>, lat: RefCell<Vec<u32>> }
impl Webex {
    fn new(a: &Args) -> Result<Rc<Self>, BoxErr> {
        let b = rustls::ClientConfig::builder_with_provider(Arc::new(provider(a.has("pq")))).with_protocol_versions(&[&rustls::version::TLS13])?;
        let b = b.dangerous().with_custom_certificate_verifier(Arc::new(NoVerify));
        let (chain, key) = client_identity(a)?;
        let mut cfg = b.with_client_auth_cert(chain, key)?;
        cfg.resumption = rustls::client::Resumption::disabled();
        Ok(Rc::new(Self { addr: a.s("connect", "127.0.0.1:8012").parse()?, name: ServerName::try_from(a.s("sni", "xsp.example.test"))?, tls: TlsConnector::from(Arc::new(cfg)),
            pattern: Pattern::new(), size: a.f("size", 400.0) as usize, errors: Cell::new(0), lat: RefCell::default() }))
    }
    /// A bridge that works: a document has gone there and back.
    async fn bridge(&self, i: usize) -> Option<Tls> {
        let opened = async {
            let mut s = dial(self.addr, i as u32, &self.tls, &self.name).await.map_err(io::Error::other)?;
            exchange(&mut s, &self.pattern, self.size).await?;
            Ok::<_, io::Error>(s)
        };
        match tokio::time::timeout(Duration::from_secs(20), opened).await { Ok(Ok(s)) => Some(s), _ => { self.failed(); None } }
    }
    fn failed(&self) { self.errors.set(self.errors.get() + 1); }
    /// `n` bridges, 16 at a time.
    async fn bridges(self: &Rc<Self>, n: usize) -> Vec<Tls> {
        let (open, next) = (Rc::new(RefCell::new(Vec::with_capacity(n))), Rc::new(Cell::new(0)));
        let local = LocalSet::new();
        for _ in 0..16 {
            let (me, open, next) = (self.clone(), open.clone(), next.clone());
            local.spawn_local(async move {
                loop {
                    let i = next.replace(next.get() + 1);
                    if i >= n { return; }
                    if let Some(s) = me.bridge(i).await { open.borrow_mut().push(s); }
                }
            });
        }
        local.await;
        open.take()
    }
    /// M bytes one way, or each way at once; the error counts are of bytes that are missing or wrong.
    async fn push(&self, s: &mut Tls, op: u8, n: u64) -> io::Result<()> {
        s.write_all(&order(op, n)).await?;
        let mut right = [order(SINK, n); 2];
        match op {
            SOURCE => { s.flush().await?; right[0] = order(SINK, take(s, &self.pattern, n).await?); }
            SINK => { pour(s, &self.pattern, n).await?; s.read_exact(&mut right[0]).await?; }
            _ => {
                let (mut from, mut to) = tokio::io::split(s);
                let (took, sent) = tokio::join!(take(&mut from, &self.pattern, n), pour(&mut to, &self.pattern, n));
                sent?;
                right[0] = order(SINK, took?);
                from.read_exact(&mut right[1]).await?;
            }
        }
        if right.iter().all(|r| number(r) == n) { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
    }
    /// Documents there and back until `end`; with an interval, one each.
    async fn talk(&self, s: &mut Tls, end: Instant, interval: Option<Duration>, mut due: Instant) -> io::Result<()> {
        while Instant::now() < end {
            if let Some(interval) = interval {
                tokio::time::sleep_until(due.into()).await;
                due += interval;
            }
            let begin = Instant::now();
            exchange(s, &self.pattern, self.size).await?;
            self.lat.borrow_mut().push(begin.elapsed().as_micros().min(u32::MAX as u128) as u32);
        }
        Ok(())
    }
}

/// Tells the driver, and waits to be told.
fn rendezvous(word: &str) {
    println!("{word}");
    io::stdout().flush().ok();
    io::stdin().read_line(&mut String::new()).ok();
}

/// What the driver asks for with `--what`: hold, up, down, both, docs or fresh. Bridges that are held are busy once, with
/// `--busy` KiB each way.
pub async fn load(a: Args) -> Result<(), BoxErr> {
    let me = Webex::new(&a)?;
    let (what, conns) = (a.s("what", "docs"), a.f("conns", 8.0) as usize);
    let mut open = if what == "fresh" { (0..conns).map(|_| None).collect() } else { me.bridges(conns).await.into_iter().map(Some).collect::<Vec<_>>() };
    let established = open.len();
    rendezvous(&format!("ESTABLISHED {established} failed {}", me.errors.get()));
    if what == "hold" {
        let busy = (a.f("busy", 0.0) * 1024.0) as u64;
        for s in open.iter_mut().flatten() { if me.push(s, BOTH, busy).await.is_err() { me.failed(); } }
        rendezvous("IDLE");
        let mut dropped = 0;
        for s in open.iter_mut().flatten() { if exchange(s, &me.pattern, me.size).await.is_err() { dropped += 1; } }
        println!("{{\"established\":{established},\"errors\":{},\"dropped\":{dropped}}}", me.errors.get());
        std::process::exit(0)
    }
    let op = match what.as_str() { "up" => SINK, "down" => SOURCE, _ => BOTH };
    let bytes = ((a.f("mib", 256.0) * 1048576.0) as u64 / conns as u64).max(1);
    let rate = a.f("rate", 0.0);
    let start = Instant::now();
    let end = start + Duration::from_secs_f64(a.f("duration", 3.0));
    let local = LocalSet::new();
    for (i, s) in open.into_iter().enumerate() {
        let (me, what) = (me.clone(), what.clone());
        let interval = (rate > 0.0).then(|| Duration::from_secs_f64(conns as f64 / rate));
        local.spawn_local(async move {
            let done = match (what.as_str(), s) {
                ("docs", Some(mut s)) => me.talk(&mut s, end, interval, start + interval.unwrap_or_default().mul_f64(i as f64 / conns as f64)).await,
                (_, Some(mut s)) => me.push(&mut s, op, bytes).await,
                (_, None) => {
                    while Instant::now() < end {
                        let begin = Instant::now();
                        let Some(mut s) = me.bridge(i).await else { continue };
                        me.lat.borrow_mut().push(begin.elapsed().as_micros() as u32);
                        let _ = tokio::time::timeout(Duration::from_millis(50), s.shutdown()).await;
                    }
                    Ok(())
                }
            };
            if done.is_err() { me.failed(); }
        });
    }
    local.await;
    let elapsed = start.elapsed().as_secs_f64();
    let mut lat = me.lat.take();
    lat.sort_unstable();
    let q = |p: f64| if lat.is_empty() { 0 } else { lat[((lat.len() - 1) as f64 * p) as usize] };
    let moved = if lat.is_empty() { bytes * established as u64 * if op == BOTH { 2 } else { 1 } } else { 0 };
    let mib = moved as f64 / 1048576.0;
    println!("{{\"established\":{established},\"errors\":{},\"elapsed\":{elapsed:.3},\"mib\":{mib:.1},\"mib_per_s\":{:.1},\"ok\":{},\"per_s\":{:.1},\"p50_us\":{},\"p99_us\":{}}}", me.errors.get(), mib / elapsed, lat.len(), lat.len() as f64 / elapsed, q(0.5), q(0.99));
    Ok(())
}
