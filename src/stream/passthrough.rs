//! TLS that passes through unread (R-TOP-3): the ClientHello chose the farm, and an XSP gets it as it came. An XSP that says
//! nothing to it has done nothing either, so that until its first byte the next one can be asked.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Arrival;
use super::block::{Line, Passthrough};
use super::copy::{Copying, Outcome, Watch};
use super::journal::Journal;
use super::leg::{Leg, Plain};
use super::search::Search;
use crate::config::model::ProxyProtocol;
use crate::farm::Picked;
use crate::policy::fault::{AttemptEnd, Fault};
use crate::proxy_protocol::{self, Header};
use crate::registry::Why;
use crate::upstream::connect::{ConnectError, Dial, open};

/// A client that is to be passed through.
#[derive(Debug)]
pub struct Client {
    /// Its connection.
    tcp: TcpStream,
    /// Where it comes from, and where it went.
    header: Header,
    /// What it has sent: its whole ClientHello, and perhaps more.
    hello: Vec<u8>,
}

/// Why an XSP has not answered a ClientHello.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the connection ended without an answer")]
    Broken(#[source] io::Error),
    #[error("no answer in {0:?}")]
    Silent(Duration),
}

impl Unanswered {
    /// What is held against the XSP. What it makes of one client's words may be the client's fault.
    fn fault(&self) -> Fault {
        match self {
            Self::Connect(error) => error.fault(),
            Self::Broken(error) if error.kind() == io::ErrorKind::ConnectionReset => Fault::Reset,
            Self::Broken(_) => Fault::Closed,
            Self::Silent(_) => Fault::Timeout,
        }
    }
}

/// Serves `client` to its end.
pub fn serve(block: &Passthrough, arrival: Arrival, client: Client) -> impl Future<Output = ()> + use<> {
    let bridging = Box::pin(bridge(Arc::clone(&block.line), block.proxy_protocol, arrival, client));
    async move {
        if let Some(bridge) = bridging.await {
            bridge.run().await;
        }
    }
}

/// A client and the XSP that has begun to answer it. Lives in a box, since most of the time it only lives.
struct Bridge {
    copying: Copying<Plain, Plain>,
    journal: Journal,
}

impl Bridge {
    async fn run(mut self: Box<Self>) {
        let outcome = poll_fn(|cx| self.copying.poll(cx, &mut self.journal)).await;
        self.journal.ended(&outcome);
        match outcome {
            Outcome::Ended | Outcome::Idle | Outcome::ClientUntrusted | Outcome::Cut(Why::Operator | Why::Drained) => {}
            Outcome::ClientBroke(_) => self.copying.xsp.reset(),
            Outcome::XspBroke(_) => self.copying.client.reset(),
            Outcome::Cut(Why::GivenUp) => {
                self.copying.client.reset();
                self.copying.xsp.reset();
            }
        }
    }
}

/// Bridges the client to the first XSP that answers it; `None`: none did.
async fn bridge(line: Arc<Line>, told: ProxyProtocol, arrival: Arrival, client: Client) -> Option<Box<Bridge>> {
    let mut search = Search::new(&line);
    let mut journal = Journal::new(Arc::clone(&line), arrival);
    let mut preamble = match told {
        ProxyProtocol::Off => Vec::new(),
        ProxyProtocol::V2 => proxy_protocol::v2(&client.header),
    };
    preamble.extend_from_slice(&client.hello);
    let Some((picked, xsp)) = reach(&mut search, &mut journal, &preamble).await else {
        journal.unreached();
        return None;
    };
    search.succeeded();
    journal.bridged(&picked);
    journal.kept();
    journal.up(&client.hello);
    let copying = Copying::new(Plain::new(client.tcp), Plain::new(xsp), line.idle_timeout);
    Some(Box::new(Bridge { copying, journal }))
}

/// An XSP that has begun to answer.
async fn reach(search: &mut Search, journal: &mut Journal, preamble: &[u8]) -> Option<(Picked, TcpStream)> {
    loop {
        let picked = search.next()?;
        let patience = search.patience();
        let dial = Dial::to(search.farm(), &picked.endpoint, patience);
        let reached = match open(&dial).await {
            Ok(tcp) => ask(tcp, preamble, search.patience()).await,
            Err(error) => Err(error.into()),
        };
        match reached {
            Ok(tcp) => {
                picked.endpoint.metrics().connections_new.inc();
                journal.attempted(&picked, search.begun().elapsed(), AttemptEnd::Success);
                return Some((picked, tcp));
            }
            Err(error) => search.failed(&picked, error.fault(), &error, journal),
        }
    }
}

/// Sends the ClientHello and waits for the XSP's first byte, without taking it.
async fn ask(mut tcp: TcpStream, preamble: &[u8], patience: Duration) -> Result<TcpStream, Unanswered> {
    let asked = timeout(patience, async {
        tcp.write_all(preamble).await?;
        match tcp.peek(&mut [0]).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    });
    match asked.await {
        Ok(Ok(())) => Ok(tcp),
        Ok(Err(error)) => Err(Unanswered::Broken(error)),
        Err(_) => Err(Unanswered::Silent(patience)),
    }
}

impl Client {
    /// A client at `tcp` whose ClientHello is in `hello`; `header` is what a proxy before the gateway said of it, if one did.
    ///
    /// # Errors
    /// When the connection is broken already.
    pub fn new(tcp: TcpStream, header: Option<Header>, hello: Vec<u8>) -> io::Result<Self> {
        let header = match header {
            Some(header) => header,
            None => {
                let (source, destination): (SocketAddr, SocketAddr) = (tcp.peer_addr()?, tcp.local_addr()?);
                Header::Proxied { source, destination }
            }
        };
        Ok(Self { tcp, header, hello })
    }
}
