//! A simulated XSP: TLS and HTTP/1.1 on one loopback address, with a behaviour that is switched while it runs and a
//! record of all that it was asked. What the applications on it say is in the files below this one.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::sim::pki::{Identity, Pki, Show};

mod answer;
mod channels;
mod connection;
mod dms;
mod documents;
mod limit;
mod record;
mod service;
#[cfg(test)]
mod tests;
mod xsi_actions;
mod xsi_events;

pub use channels::Farm;
pub use record::{Connections, End, Recorded};

/// How an XSP behaves. What concerns TCP and TLS goes for new connections, the rest for new requests.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Behaviour {
    /// As it should.
    #[default]
    Normal,
    /// Its port is closed; connections that are open live on.
    Refuse,
    /// It accepts TCP and answers no handshake.
    SilentTcp,
    /// It begins each handshake so much later.
    SlowHandshake(Duration),
    /// It speaks HTTP in the clear, before it is spoken to.
    PlainText,
    /// Its certificate is such.
    Certificate(Show),
    /// It reads requests and answers none.
    Hang,
    /// It answers each request so much later.
    Slow(Duration),
    /// It answers so many requests at a time, each after so long; others wait for their turn.
    Slots(usize, Duration),
    /// It reads a request and resets the connection.
    Reset,
    /// It sends a head and half of the body that the head promises, then resets the connection.
    ResetMidBody,
    /// It closes the connection in an orderly way instead of answering.
    Close,
    /// It answers everything with this status, as HTML.
    Status(StatusCode),
    /// It does so once it has read a request whose path begins with this, and is as it should be otherwise.
    On(String, Box<Self>),
    /// It answers so many requests of one user within a second, and the rest with 503, as HTML.
    PerUser(u32),
    /// It answers with these bytes, which need not be HTTP, and closes.
    Garbage(Vec<u8>),
    /// It sends everyone to this location (302).
    Redirect(String),
}

impl Behaviour {
    /// That where the path begins with `prefix`.
    pub fn on(prefix: impl Into<String>, behaviour: Self) -> Self {
        Self::On(prefix.into(), Box::new(behaviour))
    }

    /// What that is where a request asks for `path`.
    fn at(self, path: &str) -> Self {
        let Self::On(prefix, behaviour) = self else { return self };
        if path.starts_with(&prefix) { *behaviour } else { Self::Normal }
    }
}

/// A handle to a running XSP; clones are handles to the same one. It runs on the runtime on which it was started, until
/// that ends.
#[derive(Clone)]
pub struct Xsp(Arc<Shared>);

struct Shared {
    name: String,
    address: SocketAddr,
    tls: HashMap<Show, Arc<ServerConfig>>,
    certificates: HashMap<Show, String>,
    behaviour: Mutex<Behaviour>,
    ledger: record::Ledger,
    channels: channels::Channels,
    limit: limit::Limit,
    slots: limit::Slots,
    /// Each change breaks the connections that are open.
    cut: watch::Sender<u64>,
    accepting: Mutex<Option<JoinHandle<()>>>,
    runtime: Handle,
}

impl Xsp {
    /// Starts an XSP of `farm` at `address` (port 0: any) which calls itself `name` and whose certificate names `domain`.
    ///
    /// # Errors
    /// Those of binding the address.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(name: &str, domain: &str, address: SocketAddr, pki: &Pki, farm: &Farm) -> io::Result<Self> {
        let listener = bind(address)?;
        let address = listener.local_addr()?;
        let shows = Show::WRONG.into_iter().chain([Show::Good]);
        let identities: Vec<_> = shows.map(|show| (show, pki.xsp(domain, name, show))).collect();
        let tls = identities.iter().map(|(show, identity)| (*show, server_config(identity))).collect();
        let certificates = identities.into_iter().map(|(show, identity)| (show, identity.chain_pem)).collect();
        let xsp = Self(Arc::new(Shared {
            name: name.to_owned(),
            address,
            tls,
            certificates,
            behaviour: Mutex::default(),
            ledger: record::Ledger::default(),
            channels: channels::Channels::new(farm.clone(), address),
            limit: limit::Limit::default(),
            slots: limit::Slots::default(),
            cut: watch::Sender::new(0),
            accepting: Mutex::default(),
            runtime: Handle::current(),
        }));
        xsp.accept_from(listener);
        Ok(xsp)
    }

    /// What it shows as its certificate when it behaves so, as PEM.
    pub fn certificate(&self, show: Show) -> &str {
        self.0.certificates.get(&show).map_or("", String::as_str)
    }

    /// What it calls itself; each answer carries it as `X-Xsp`.
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
        let refuse = behaviour == Behaviour::Refuse;
        *self.0.behaviour.lock() = behaviour;
        if refuse {
            self.stop_accepting().await;
        } else if self.0.accepting.lock().is_none() {
            let _runtime = self.0.runtime.enter();
            self.accept_from(bind(self.0.address).expect("nobody else takes this address"));
        }
    }

    /// Whether its port is open.
    pub fn is_listening(&self) -> bool {
        self.0.accepting.lock().is_some()
    }

    /// Dies: closes the port and resets all connections.
    pub async fn kill(&self) {
        self.behave(Behaviour::Refuse).await;
        self.disconnect().await;
    }

    /// Comes back to life at the same address, behaving normally.
    pub async fn revive(&self) {
        self.behave(Behaviour::Normal).await;
    }

    /// Resets the connections that are open, and returns when they are gone.
    pub async fn disconnect(&self) {
        let newest = self.0.ledger.connections().accepted;
        self.0.cut.send_modify(|cuts| *cuts += 1);
        self.0.ledger.closed_up_to(newest).await;
    }

    /// What it was asked so far, in the order in which the heads came in.
    pub fn requests(&self) -> Vec<Recorded> {
        self.0.ledger.requests()
    }

    /// How many requests came in.
    pub fn request_count(&self) -> u64 {
        self.0.ledger.request_count()
    }

    /// How many connections it has had and has.
    pub fn connections(&self) -> Connections {
        self.0.ledger.connections()
    }

    /// Keeps counting requests but no longer keeps them, for long or fast runs.
    pub fn count_only(&self) {
        self.0.ledger.count_only();
    }

    /// Forgets what it was asked, not the counts.
    pub fn forget_requests(&self) {
        self.0.ledger.forget();
    }

    /// Waits until `holds` is true of what it was asked; false if that took longer than `deadline`.
    pub async fn until(&self, deadline: Duration, holds: impl Fn(&[Recorded]) -> bool) -> bool {
        self.0.ledger.until(deadline, holds).await
    }

    /// The ids of the event channels that are open here.
    pub fn channels(&self) -> Vec<String> {
        self.0.channels.ids()
    }

    /// Sends `document` on a channel's stream, as one chunk; false if the channel is not open here.
    pub fn publish(&self, channel: &str, document: impl Into<bytes::Bytes>) -> bool {
        self.0.channels.publish(channel, document.into())
    }

    /// Sends an event of `user` on a channel's stream, with `data` (XML) within; its eventID, or `None` if the channel is not
    /// open here. If it is not acknowledged in time, the channel ends (NonResponsiveChannel).
    pub fn publish_event(&self, channel: &str, user: &str, data: &str) -> Option<String> {
        let (event, time) = self.0.channels.publish_event(channel, user, data)?;
        let (channels, channel, expected) = (self.0.channels.clone(), channel.to_owned(), event.clone());
        self.0.runtime.spawn(async move {
            tokio::time::sleep(time).await;
            channels.expect_acknowledged(&channel, &expected);
        });
        Some(event)
    }

    /// How long events that are sent from now on wait for their acknowledgements; 10 s at first.
    pub fn acknowledge_within(&self, time: Duration) {
        self.0.channels.acknowledge_within(time);
    }

    /// Heartbeats that came here for channels that never were this XSP's, whatever its behaviour.
    pub fn stray_heartbeats(&self) -> u64 {
        self.0.channels.stray_heartbeats()
    }

    /// Acknowledgements that came here for events that no channel open here has had.
    pub fn stray_acknowledgements(&self) -> u64 {
        self.0.channels.stray_acknowledgements()
    }

    /// Ends a channel's stream as HTTP ends it; false if the channel is not open here.
    pub fn end_channel(&self, channel: &str) -> bool {
        self.0.channels.end(channel)
    }

    /// Resets the connection of a channel's stream; false if the channel is not open here.
    pub fn break_channel(&self, channel: &str) -> bool {
        self.0.channels.break_off(channel)
    }

    fn accept_from(&self, listener: TcpListener) {
        let task = self.0.runtime.spawn(connection::accept(Arc::clone(&self.0), listener));
        *self.0.accepting.lock() = Some(task);
    }

    async fn stop_accepting(&self) {
        let task = self.0.accepting.lock().take();
        if let Some(task) = task {
            task.abort();
            // Being cancelled is what was asked for.
            let _ = task.await;
        }
    }
}

/// Binds a listener that may take an address again at once.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

/// TLS 1.2 and 1.3 with `identity` and without client certificates.
pub(super) fn server_config(identity: &Identity) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(identity.chain(), identity.key())
        .expect("the key was made for the certificate");
    Arc::new(config)
}
