//! Webex's side of CTI: a client that connects to a gateway, or to an XSP, with whatever certificate a test gives it. Separate
//! from the XSPs, since the gateway stands between.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::{AlertDescription, ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::sim::pki::{Caller, Identity, Pki};
use crate::sim::site::CLOUD;

/// The buffers of a client that is to feel back-pressure soon.
const NARROW: u32 = 16 * 1024;

/// How Webex calls; it calls as often as it is asked to.
#[derive(Clone)]
pub struct Webex {
    roots: Arc<RootCertStore>,
    identity: Option<Arc<Identity>>,
    versions: Vec<&'static SupportedProtocolVersion>,
    name: &'static str,
    sni: Sni,
    preface: Vec<u8>,
    buffers: Buffers,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sni {
    Sent,
    Left,
}

#[derive(Clone, Copy)]
enum Buffers {
    AsTheSystemDoes,
    Narrow,
}

impl Webex {
    /// It trusts the public CA, shows a certificate of its chain, and asks for the cloud's name of the gateway.
    pub fn new(pki: &Pki) -> Self {
        Self {
            roots: pki.public_roots(),
            identity: Some(Arc::new(pki.caller(Caller::Webex))),
            versions: rustls::ALL_VERSIONS.to_vec(),
            name: CLOUD,
            sni: Sni::Sent,
            preface: Vec::new(),
            buffers: Buffers::AsTheSystemDoes,
        }
    }

    /// It trusts these roots.
    pub fn trusting(mut self, roots: Arc<RootCertStore>) -> Self {
        self.roots = roots;
        self
    }

    /// It shows this certificate.
    pub fn showing(mut self, identity: Identity) -> Self {
        self.identity = Some(Arc::new(identity));
        self
    }

    /// It shows none.
    pub fn anonymous(mut self) -> Self {
        self.identity = None;
        self
    }

    /// It speaks this version of TLS only.
    pub fn speaking(mut self, version: &'static SupportedProtocolVersion) -> Self {
        self.versions = vec![version];
        self
    }

    /// It asks for this name, and wants it proven.
    pub const fn asking_for(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// It sends no server name; the certificate must prove it anyway.
    pub const fn nameless(mut self) -> Self {
        self.sni = Sni::Left;
        self
    }

    /// It sends these bytes before its ClientHello.
    pub fn behind(mut self, preface: impl Into<Vec<u8>>) -> Self {
        self.preface = preface.into();
        self
    }

    /// Its socket's buffers are small, so that what it does not read is soon felt.
    pub const fn narrow(mut self) -> Self {
        self.buffers = Buffers::Narrow;
        self
    }

    /// What rustls is told.
    pub fn config(&self) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions)
            .expect("the provider has suites for TLS 1.2 and 1.3")
            .with_root_certificates(Arc::clone(&self.roots));
        let mut config = match &self.identity {
            Some(identity) => config
                .with_client_auth_cert(identity.chain(), identity.key())
                .expect("the key was made for the certificate"),
            None => config.with_no_client_auth(),
        };
        config.enable_sni = self.sni == Sni::Sent;
        Arc::new(config)
    }

    /// Connects. Under TLS 1.3 a certificate that is refused shows in what is read first.
    ///
    /// # Errors
    /// Those of the connection and the handshake.
    pub async fn call(&self, to: SocketAddr) -> io::Result<Call> {
        self.call_with(to, self.config()).await
    }

    /// As [`Webex::call`], with a configuration that the test holds, so that sessions may be resumed.
    ///
    /// # Errors
    /// As [`Webex::call`].
    pub async fn call_with(&self, to: SocketAddr, config: Arc<ClientConfig>) -> io::Result<Call> {
        let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        match self.buffers {
            Buffers::AsTheSystemDoes => {}
            Buffers::Narrow => {
                socket.set_recv_buffer_size(NARROW)?;
                socket.set_send_buffer_size(NARROW)?;
            }
        }
        let mut tcp = socket.connect(to).await?;
        tcp.set_nodelay(true)?;
        tcp.write_all(&self.preface).await?;
        let name = ServerName::try_from(self.name).map_err(io::Error::other)?;
        Ok(Call { tls: TlsConnector::from(config).connect(name, tcp).await? })
    }
}

/// A connection of Webex's.
pub struct Call {
    tls: TlsStream<TcpStream>,
}

/// How the other side ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By close_notify.
    CloseNotify,
    /// By FIN alone.
    Fin,
    /// By RST.
    Reset,
    /// By an alert.
    Alert(AlertDescription),
    /// In some other way.
    Broken,
}

impl Ending {
    /// The ending that an error of a read or of a handshake shows.
    pub fn of(error: &io::Error) -> Self {
        let kind = error.kind();
        let alert = error.get_ref().and_then(|error| error.downcast_ref());
        if let Some(rustls::Error::AlertReceived(alert)) = alert {
            Self::Alert(*alert)
        } else if kind == io::ErrorKind::UnexpectedEof {
            Self::Fin
        } else if matches!(kind, io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) {
            Self::Reset
        } else {
            Self::Broken
        }
    }
}

impl Call {
    /// The TLS connection's properties.
    pub fn tls(&self) -> &ClientConnection {
        self.tls.get_ref().1
    }

    /// Where the client is.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.tls.get_ref().0.local_addr()
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.tls.write_all(bytes.as_ref()).await?;
        self.tls.flush().await
    }

    /// Receives so many bytes.
    ///
    /// # Errors
    /// When the connection ends before.
    pub async fn receive(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.tls.read_exact(&mut bytes).await?;
        Ok(bytes)
    }

    /// The name of the XSP, from the document with which it greets.
    ///
    /// # Errors
    /// When the connection ends before.
    pub async fn greeting(&mut self) -> io::Result<String> {
        let mut document = Vec::new();
        while !document.ends_with(b"</Greeting>") {
            document.push(self.tls.read_u8().await?);
        }
        let document = String::from_utf8_lossy(&document);
        let name = document.split("<xsp>").nth(1).and_then(|rest| rest.split('<').next());
        name.map(str::to_owned).ok_or_else(|| io::Error::other("the greeting names no XSP"))
    }

    /// Receives until the other side ends: what has come, and how it ended.
    pub async fn rest(&mut self) -> (Vec<u8>, Ending) {
        let mut bytes = Vec::new();
        let ending = match self.tls.read_to_end(&mut bytes).await {
            Ok(_) => Ending::CloseNotify,
            Err(error) => Ending::of(&error),
        };
        (bytes, ending)
    }

    /// Ends its own direction: close_notify and FIN. What the other side has still to say can be received.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.tls.shutdown().await
    }

    /// Ends its own direction by FIN alone.
    ///
    /// # Errors
    /// Those of the connection.
    pub async fn vanish(&mut self) -> io::Result<()> {
        self.tls.get_mut().0.shutdown().await
    }

    /// Breaks the connection with RST.
    pub fn reset(self) {
        // A socket that is closed already needs no reset.
        let _ = socket2::SockRef::from(self.tls.get_ref().0).set_linger(Some(Duration::ZERO));
    }

    /// The TLS connection itself.
    pub fn into_tls(self) -> TlsStream<TcpStream> {
        self.tls
    }
}
