//! Simulated XSPs that speak CTI: mutual TLS on one loopback address, and behind it XML documents and arbitrary binary,
//! since CTI's framing is not public and nothing may depend on it. Separate from the XSPs that speak HTTP, because here a
//! connection is all there is: what it received and how it ended is the record.
//!
//! [`Webex`] is the client of the other side.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use crate::sim::pki::{Pki, Show};
use crate::sim::xsp::{Connections, bind};

mod client;
mod connection;
mod door;
mod noise;
mod queue;
mod record;
#[cfg(test)]
mod tests;

pub use client::{Call, Ending, Webex};
pub use noise::{Hasher, Noise};
pub use record::{End, Recorded};

use self::queue::FullQueue;

/// Unheard documents that a connection may fall behind before it misses some.
const UNHEARD: usize = 1024;

/// How an XSP behaves. It counts for new connections.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Behaviour {
    /// It sends an XML document that names it, and then all that it receives, to the other side's end.
    #[default]
    Greet,
    /// It sends all that it receives.
    Echo,
    /// It sends nothing until the other side has ended, then this, and ends.
    Answer(Vec<u8>),
    /// It greets, ends its own direction, and goes on reading.
    EndFirst,
    /// It sends so many bytes of [`Noise`] while it reads, ends its direction behind them, and goes on reading.
    Send(u64),
    /// It sends so many bytes of [`Noise`] once it has received anything, and closes at once.
    Burst(u64),
    /// It sends [`Noise`] without an end while it reads.
    Flood,
    /// It greets and reads nothing.
    Deaf,
    /// Its port is closed; connections that are open live on.
    Refuse,
    /// It never accepts, and so many wait already that a connect runs out of time.
    Unreachable,
    /// It accepts TCP and answers no handshake.
    SilentTcp,
    /// It begins each handshake so much later.
    SlowHandshake(Duration),
    /// It speaks in the clear, before it is spoken to.
    PlainText,
    /// Its certificate is such.
    Certificate(Show),
    /// It resets a connection that it has accepted.
    ResetOnAccept,
    /// It resets a connection when the handshake is through.
    ResetAfterHandshake,
    /// It resets a connection when it has received anything.
    ResetOnData,
    /// It ends a connection by a fatal alert, which speaks of no certificate, when it has received anything.
    AlertOnData,
    /// It closes in an orderly way when the handshake is through.
    CloseAfterHandshake,
    /// As an XSP's process that ends: FIN without close_notify when it has received anything.
    VanishOnData,
}

/// When a client is told that its certificate is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Demand {
    /// In the handshake, by a TLS alert. Under TLS 1.3 it reaches the client after its own handshake is through.
    #[default]
    InHandshake,
    /// After it, by closing.
    Afterwards,
    /// Never: none is needed.
    Nothing,
}

/// Whether connections begin with a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Preface {
    /// They don't.
    #[default]
    None,
    /// They do; one without is closed.
    Proxy,
}

/// A handle to a running XSP; clones are handles to the same one. It runs on the runtime on which it was started, until
/// that ends.
#[derive(Clone)]
pub struct Xsp(Arc<Shared>);

struct Shared {
    name: String,
    address: SocketAddr,
    doors: HashMap<(Show, Demand), door::Door>,
    manner: Mutex<Manner>,
    ledger: record::Ledger,
    says: broadcast::Sender<Arc<[u8]>>,
    /// Each change ends the connections that are open.
    cut: watch::Sender<Cut>,
    port: Mutex<Port>,
    runtime: Handle,
}

/// What a connection finds when it is accepted.
#[derive(Clone, Debug, Default)]
struct Manner {
    behaviour: Behaviour,
    demand: Demand,
    preface: Preface,
}

/// How connections are ended that nobody has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Reset,
    Fin,
}

enum Port {
    Open(JoinHandle<()>),
    Closed,
    #[expect(dead_code, reason = "it is held to be there")]
    Full(FullQueue),
}

impl Xsp {
    /// Starts an XSP at `address` (port 0: any) which calls itself `name` and whose certificate names `domain`.
    ///
    /// # Errors
    /// Those of binding the address.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(name: &str, domain: &str, address: SocketAddr, pki: &Pki) -> io::Result<Self> {
        let listener = bind(address)?;
        let xsp = Self(Arc::new(Shared {
            name: name.to_owned(),
            address: listener.local_addr()?,
            doors: door::all(pki, domain, name),
            manner: Mutex::default(),
            ledger: record::Ledger::default(),
            says: broadcast::Sender::new(UNHEARD),
            cut: watch::Sender::new(Cut::Reset),
            port: Mutex::new(Port::Closed),
            runtime: Handle::current(),
        }));
        xsp.accept_from(listener);
        Ok(xsp)
    }

    /// What it calls itself.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Switches the behaviour. Opens or closes the port as needed, and has done so on return.
    ///
    /// # Panics
    /// If the port can't be opened again.
    pub async fn behave(&self, behaviour: Behaviour) {
        let shut = matches!(behaviour, Behaviour::Refuse | Behaviour::Unreachable);
        let unreachable = behaviour == Behaviour::Unreachable;
        self.0.manner.lock().behaviour = behaviour;
        if matches!(*self.0.port.lock(), Port::Open(_)) && !shut {
            return;
        }
        self.close_port().await;
        let _runtime = self.0.runtime.enter();
        if unreachable {
            let queue = FullQueue::bind(self.0.address).expect("nobody else takes this address");
            *self.0.port.lock() = Port::Full(queue);
        } else if !shut {
            self.accept_from(bind(self.0.address).expect("nobody else takes this address"));
        }
    }

    /// When clients of new connections are told that their certificates are refused.
    pub fn demand(&self, demand: Demand) {
        self.0.manner.lock().demand = demand;
    }

    /// Whether new connections begin with a PROXY header.
    pub fn expect(&self, preface: Preface) {
        self.0.manner.lock().preface = preface;
    }

    /// Dies: closes the port and resets all connections.
    pub async fn kill(&self) {
        self.behave(Behaviour::Refuse).await;
        self.disconnect().await;
    }

    /// Comes back to life at the same address, greeting.
    pub async fn revive(&self) {
        self.behave(Behaviour::Greet).await;
    }

    /// Resets the connections that are open, and returns when they are gone.
    pub async fn disconnect(&self) {
        self.end_all(Cut::Reset).await;
    }

    /// Ends the connections that are open by FIN without close_notify, as the end of a process does, and returns when they
    /// are gone.
    pub async fn vanish(&self) {
        self.end_all(Cut::Fin).await;
    }

    /// Sends `bytes` on all connections that are open, provided that it greets or echoes.
    pub fn say(&self, bytes: &[u8]) {
        // That nobody listens is no fault.
        let _ = self.0.says.send(bytes.into());
    }

    /// How many connections it has had and has.
    pub fn connections(&self) -> Connections {
        self.0.ledger.connections()
    }

    /// Its connections, in the order in which they were accepted.
    pub fn records(&self) -> Vec<Recorded> {
        self.0.ledger.records()
    }

    /// Waits until `holds` is true of its connections; false if that took longer than `deadline`.
    pub async fn until(&self, deadline: Duration, holds: impl Fn(&[Recorded]) -> bool) -> bool {
        self.0.ledger.until(deadline, holds).await
    }

    async fn end_all(&self, cut: Cut) {
        let newest = self.0.ledger.connections().accepted;
        self.0.cut.send_replace(cut);
        self.0.ledger.closed_up_to(newest).await;
    }

    fn accept_from(&self, listener: TcpListener) {
        let task = self.0.runtime.spawn(connection::accept(Arc::clone(&self.0), listener));
        *self.0.port.lock() = Port::Open(task);
    }

    async fn close_port(&self) {
        let port = std::mem::replace(&mut *self.0.port.lock(), Port::Closed);
        match port {
            Port::Open(task) => {
                task.abort();
                // Being cancelled is what was asked for.
                let _ = task.await;
            }
            Port::Closed | Port::Full(_) => {}
        }
    }
}

/// The document with which an XSP of that name greets.
fn greeting(name: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Greeting xmlns=\"urn:simulated:cti\"><xsp>{name}</xsp></Greeting>"
    )
}
