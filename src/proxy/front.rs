//! From an accepted socket to anyone who serves it: PROXY protocol, ClientHello, block, handshake. Separate from all that follows,
//! because until here nobody knows who asks for what; every wait in it has an end, and the same one.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::ProtocolVersion;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connection::{Accepted, serve_https};
use super::context::Worker;
use super::listener::{open, refuse};
use super::shares::Share;
use super::snapshot::{Introduction, Listener, Served, Snapshot};
use crate::drain::{Cut, Ending};
use crate::proxy_protocol::{self, Header, Read};
use crate::stream::block::{Cti, Line, Passthrough};
use crate::stream::{Arrival, cti, passthrough};
use crate::tcp;
use crate::tls::clients::{Fault, Peer, Shown, TrustWatch, Trusted};
use crate::tls::hello::{Greeting, Hello, Offer, UNRECOGNIZED_NAME, peek};
use crate::tls::server::{ServerTls, refusal};
use crate::tls::stream::Stream;

/// How long a client may take to read a last answer, while what it still sends is thrown away.
const FAREWELL: Duration = Duration::from_secs(1);

/// What serves a connection from now on. Boxed, so that a connection's task never holds more than its present phase: what
/// welcoming takes is given back before the connection falls silent.
pub(super) enum Service {
    Cti(cti::Serving),
    Other(Pin<Box<dyn Future<Output = ()> + Send>>),
}

/// A connection's life.
pub(super) enum Serving {
    Welcoming(Pin<Box<dyn Future<Output = Option<Service>> + Send>>),
    Welcome(Service),
}

/// Serves the connection to its end; `listener` is its index in the snapshot.
pub(super) fn serve(worker: Worker, listener: usize, tcp: TcpStream, peer: SocketAddr) -> Serving {
    Serving::Welcoming(Box::pin(welcome(worker, listener, tcp, peer)))
}

impl Future for Serving {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            *self = match &mut *self {
                Self::Welcoming(welcoming) => match ready!(welcoming.as_mut().poll(cx)) {
                    Some(service) => Self::Welcome(service),
                    None => return Poll::Ready(()),
                },
                Self::Welcome(Service::Cti(serving)) => return Pin::new(serving).poll(cx),
                Self::Welcome(Service::Other(serving)) => return serving.as_mut().poll(cx),
            }
        }
    }
}

impl Cut for Serving {
    fn cut(&mut self) -> Ending {
        match self {
            Self::Welcome(Service::Cti(serving)) => serving.cut(),
            Self::Welcome(Service::Other(_)) | Self::Welcoming(_) => Ending::None,
        }
    }
}

/// Who serves the connection; `None`: it is over already.
async fn welcome(worker: Worker, listener: usize, tcp: TcpStream, peer: SocketAddr) -> Option<Service> {
    let snapshot = worker.shared.snapshot.load_full();
    let here = &snapshot.listeners[listener];
    // A socket that can't be set up is broken and will say so.
    drop(tcp::set_up(&tcp, &snapshot.tcp));
    let guest = Guest { tcp, peer: peer.ip(), header: None, received: Vec::with_capacity(1024) };
    let mut caller = Caller { client: peer.ip(), shown: None, share: None };
    let arriving = timeout(snapshot.limits.tls_handshake_timeout, arrive(&snapshot, here, guest, &mut caller)).await;
    let arrived = match arriving.unwrap_or(Err("timeout")) {
        Ok(arrived) => arrived,
        Err(reason) => {
            here.metrics.handshake_failed(reason);
            tell(here, &caller, reason);
            return None;
        }
    };
    let arrival = |client, host, peer| Arrival {
        client,
        listener: Arc::clone(&here.label),
        host,
        peer,
        registry: Arc::clone(&worker.shared.registry),
        access: worker.shared.access.clone(),
    };
    Some(match arrived {
        Arrived::Https(mut accepted, trust) => {
            count_version(here, &accepted.stream);
            let (peer, judge) = (&accepted.introduction.peer, accepted.clients.verifier());
            let cuts = &worker.shared.cuts;
            accepted.trusted = Trusted::of(trust.as_ref(), judge, peer, cuts, accepted.client, &here.metrics);
            holding(caller.share, serve_https(worker, listener, accepted))
        }
        Arrived::Cti(block, client, stream) => {
            count_version(here, &stream);
            let (peer, cuts) = (Peer::verified(stream.common()), &worker.shared.cuts);
            let trusted = Trusted::of(Some(&block.trust), Some(&block.verifier), &peer, cuts, client, &here.metrics);
            let arrival = arrival(client, None, peer.subject().cloned());
            Service::Cti(cti::serve(&block, arrival, stream, trusted))
        }
        Arrived::Passthrough(block, client, host, through) => {
            let arrival = arrival(client, host, None);
            holding(caller.share, passthrough::serve(&block, arrival, through))
        }
    })
}

/// Serves the connection, and holds its share for as long as that lasts.
fn holding(share: Option<Share>, serving: impl Future<Output = ()> + Send + 'static) -> Service {
    match share {
        None => Service::Other(Box::pin(serving)),
        Some(share) => Service::Other(Box::pin(async move {
            let _share = share;
            serving.await;
        })),
    }
}

/// Who has a wrong certificate or address is told of even if nobody asks, but not each time: it may come again and again.
fn tell(here: &Listener, caller: &Caller, reason: &'static str) {
    let (listener, client) = (&*here.label, caller.client);
    let Shown { subject, issuer } = caller.shown.as_deref().cloned().unwrap_or_default();
    let ours = reason.starts_with("client-certificate") || matches!(reason, "not-allowed" | "untrusted-proxy");
    if ours && here.is_news(reason) {
        tracing::info!(
            client.address = %client,
            listener,
            reason,
            tls.client.subject = subject,
            tls.client.issuer = issuer,
            "client rejected; further ones are counted, and logged again after 10 s"
        );
    } else {
        tracing::debug!(client.address = %client, listener, reason, tls.client.subject = subject, tls.client.issuer = issuer, "a client did not get through its handshake");
    }
}

/// The same for a client that goes on as one without a certificate.
fn doubt(here: &Listener, client: IpAddr, fault: Fault, stream: &Stream) {
    let (listener, reason) = (&*here.label, fault.reason());
    let leaf = stream.common().peer_certificates().and_then(<[_]>::first);
    let Shown { subject, issuer } = leaf.and_then(|leaf| Shown::of(leaf)).unwrap_or_default();
    if here.is_news(reason) {
        tracing::info!(
            client.address = %client,
            listener,
            reason,
            tls.client.subject = subject,
            tls.client.issuer = issuer,
            "client certificate not trusted: {fault}; interfaces that demand one answer 403; further ones are logged again after 10 s"
        );
    } else {
        tracing::debug!(client.address = %client, listener, reason, "a client's certificate is not believed: {fault}");
    }
}

fn count_version(here: &Listener, stream: &Stream) {
    match stream.common().protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => here.metrics.tls12.inc(),
        Some(_) | None => here.metrics.tls13.inc(),
    }
}

/// Who came, and to whom.
enum Arrived {
    Https(Accepted, Option<Arc<TrustWatch>>),
    Cti(Arc<Cti>, IpAddr, Stream),
    Passthrough(Arc<Passthrough>, IpAddr, Option<String>, passthrough::Client),
}

/// A connection of which nothing is known yet but where it comes from.
struct Guest {
    tcp: TcpStream,
    /// Who has connected.
    peer: IpAddr,
    /// What a proxy there says of the client, if it is believed and has said it.
    header: Option<Header>,
    /// What came so far.
    received: Vec<u8>,
}

/// What is known of a client that does not get in.
struct Caller {
    client: IpAddr,
    /// The certificate that was refused.
    shown: Option<Box<Shown>>,
    /// That of a client whom a trusted proxy has named.
    share: Option<Share>,
}

/// What is found out of the client on the way goes to `caller`.
async fn arrive(
    snapshot: &Snapshot,
    here: &Listener,
    mut guest: Guest,
    caller: &mut Caller,
) -> Result<Arrived, &'static str> {
    if here.trusts(guest.peer) {
        guest.read_header().await?;
        caller.client = guest.client();
        caller.share = guest.share(snapshot, here)?;
    }
    if let Some(block) = here.cti() {
        let client = guest.client();
        guest.admit(&block.line)?;
        // It may ask for any name, or for none.
        let Greeting { offer, .. } = guest.read_hello().await?;
        let stream = guest.shake_hands(&block.tls, offer, caller).await?;
        return Ok(Arrived::Cti(Arc::clone(block), client, stream));
    }
    let Greeting { name, offer } = guest.read_hello().await?;
    match here.served(name.as_deref()) {
        None => {
            guest.turn_away(&UNRECOGNIZED_NAME).await;
            Err(if name.is_some() { "unknown-name" } else { "no-name" })
        }
        Some(Served::Https(block)) => {
            guest.believe(|peer| block.trusts(peer))?;
            let (client, address) = (guest.client(), guest.address()?);
            let stream = guest.shake_hands(&block.tls, offer, caller).await?;
            let peer = block.clients.peer(stream.common());
            if let Peer::Doubted(fault) = peer {
                doubt(here, client, fault, &stream);
            }
            let (introduction, clients) = (Introduction { name, address, peer }, block.clients.clone());
            let accepted = Accepted { stream, introduction, clients, trusted: None, client };
            Ok(Arrived::Https(accepted, block.trust.clone()))
        }
        Some(Served::Passthrough(block)) => {
            guest.admit(&block.line)?;
            let client = guest.client();
            let through = passthrough::Client::new(guest.tcp, guest.header, guest.received).map_err(|_| "closed")?;
            Ok(Arrived::Passthrough(Arc::clone(block), client, name, through))
        }
    }
}

impl Guest {
    /// Whom the connection is from, as far as is known.
    fn client(&self) -> IpAddr {
        match self.header {
            Some(Header::Proxied { source, .. }) => source.ip(),
            Some(Header::Local) | None => self.peer,
        }
    }

    /// The address that the client has connected to, as far as is known.
    fn address(&self) -> Result<IpAddr, &'static str> {
        match self.header {
            Some(Header::Proxied { destination, .. }) => Ok(destination.ip()),
            Some(Header::Local) | None => Ok(self.tcp.local_addr().map_err(|_| "broken")?.ip()),
        }
    }

    /// Refuses what a proxy says that the block does not trust, though another block of the address does.
    fn believe(&self, trusts: impl Fn(IpAddr) -> bool) -> Result<(), &'static str> {
        if self.header.is_some() && !trusts(self.peer) { Err("untrusted-proxy") } else { Ok(()) }
    }

    /// The share of a client that a proxy has named; the proxy itself was not counted.
    fn share(&self, snapshot: &Snapshot, here: &Listener) -> Result<Option<Share>, &'static str> {
        let client = self.client();
        if client == self.peer || snapshot.is_exempt(client) {
            return Ok(None);
        }
        let share = Share::take(client, open(), snapshot.limits.connections);
        share.map(Some).map_err(|over| {
            refuse(here, client, over);
            "over-share"
        })
    }

    fn admit(&self, line: &Line) -> Result<(), &'static str> {
        self.believe(|peer| line.trusts(peer))?;
        if line.allows(self.client()) { Ok(()) } else { Err("not-allowed") }
    }

    async fn read(&mut self) -> Result<(), &'static str> {
        match self.tcp.read_buf(&mut self.received).await {
            Ok(0) => Err(if self.received.is_empty() { "closed" } else { "closed-in-hello" }),
            Ok(_) => Ok(()),
            Err(_) => Err("broken"),
        }
    }

    /// Takes the PROXY protocol's header off the front, if there is one.
    async fn read_header(&mut self) -> Result<(), &'static str> {
        loop {
            match proxy_protocol::read(&self.received) {
                Read::Incomplete => self.read().await?,
                Read::None => return Ok(()),
                Read::Malformed => return Err("malformed-proxy-header"),
                Read::Header(header, length) => {
                    self.header = Some(header);
                    self.received.drain(..length);
                    return Ok(());
                }
            }
        }
    }

    /// Waits for a whole ClientHello, and for no more than one. Who has sent something else has been told so by an alert.
    async fn read_hello(&mut self) -> Result<Greeting, &'static str> {
        let (alert, reason) = loop {
            match peek(&self.received) {
                Hello::Incomplete => self.read().await?,
                Hello::TooLong => return Err("hello-too-long"),
                Hello::Whole(greeting) => return Ok(greeting),
                Hello::NoSuchName(alert) => break (alert, "malformed-name"),
                Hello::Garbage(alert) => break (alert, "not-tls"),
                Hello::Incompatible(alert) => break (alert, "incompatible"),
            }
        };
        self.turn_away(&alert).await;
        Err(reason)
    }

    async fn shake_hands(self, tls: &ServerTls, offer: Offer, caller: &mut Caller) -> Result<Stream, &'static str> {
        let mut stream =
            Stream::server(self.tcp, Arc::clone(tls.for_client(offer)), self.received).map_err(|_| "setup")?;
        match poll_fn(|cx| stream.poll_handshake(cx)).await {
            Ok(()) => Ok(stream),
            Err(error) => {
                // What was refused on this thread before anything else happens there.
                caller.shown = Shown::refused().filter(|_| is_of_certificate(&error)).map(Box::new);
                say_goodbye(&mut stream.into_io(), &[]).await;
                Err(refusal(&error))
            }
        }
    }

    async fn turn_away(&mut self, alert: &[u8]) {
        say_goodbye(&mut self.tcp, alert).await;
    }
}

/// Whether a handshake has failed for the client's certificate.
fn is_of_certificate(error: &io::Error) -> bool {
    refusal(error).starts_with("client-certificate")
}

/// Says why, and waits a moment for the client to read it: closing a socket with unread bytes would take it back.
async fn say_goodbye(tcp: &mut TcpStream, alert: &[u8]) {
    let said = async {
        tcp.write_all(alert).await?;
        tcp.shutdown().await?;
        let mut sink = [0; 1024];
        while tcp.read(&mut sink).await? > 0 {}
        io::Result::Ok(())
    };
    // Whether the client has read it or not, this was the last word.
    drop(timeout(FAREWELL, said).await);
}
