//! A client that sends bytes as they are given and shows the bytes that come back.

use std::io::Write as _;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use xspgate::sim::site::CLOUD;

use super::within;

/// TLS 1.2 and 1.3 with the default suites and groups.
pub(crate) fn tls_config(roots: &Arc<RootCertStore>) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(Arc::clone(roots)).with_no_client_auth())
}

/// What has come from the gateway, and whether it has closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// The connection is still open.
    Open(Vec<u8>),
    /// It was closed in an orderly way: TLS close_notify.
    Closed(Vec<u8>),
    /// It broke.
    Broken(Vec<u8>),
}

impl Received {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Open(bytes) | Self::Closed(bytes) | Self::Broken(bytes) => bytes,
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// The first answer's status; 0 if there is none.
    pub(crate) fn status(&self) -> u16 {
        self.text().strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0)
    }
}

/// A TLS connection to the gateway.
pub(crate) struct RawClient {
    tls: TlsStream<TcpStream>,
    received: Vec<u8>,
}

impl RawClient {
    pub(crate) async fn connect(to: SocketAddr, roots: &Arc<RootCertStore>) -> Self {
        Self::try_connect(to, CLOUD, tls_config(roots)).await.unwrap()
    }

    pub(crate) async fn try_connect(to: SocketAddr, sni: &str, tls: Arc<ClientConfig>) -> std::io::Result<Self> {
        let connection = async {
            let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            // Small, so that what is not read is soon felt by the gateway.
            socket.set_recv_buffer_size(64 * 1024)?;
            socket.set_send_buffer_size(64 * 1024)?;
            let tcp = socket.connect(to).await?;
            tcp.set_nodelay(true)?;
            TlsConnector::from(tls).connect(ServerName::try_from(sni.to_owned()).unwrap(), tcp).await
        };
        Ok(Self { tls: within("the handshake", connection).await?, received: Vec::new() })
    }

    /// The TLS connection's properties.
    pub(crate) fn tls(&self) -> &rustls::ClientConnection {
        self.tls.get_ref().1
    }

    /// Sends bytes; that the gateway has closed already shows when reading.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = async {
            self.tls.write_all(bytes.as_ref()).await?;
            self.tls.flush().await
        };
        let _ = within("sending", sent).await;
    }

    /// Reads until what has come since the last call satisfies `enough`, or the gateway closes.
    pub(crate) async fn until(&mut self, enough: impl Fn(&[u8]) -> bool) -> Received {
        let mut scratch = [0; 16 * 1024];
        let reading = async {
            loop {
                if enough(&self.received) {
                    return Received::Open(std::mem::take(&mut self.received));
                }
                match self.tls.read(&mut scratch).await {
                    Ok(0) => return Received::Closed(std::mem::take(&mut self.received)),
                    Ok(length) => self.received.extend_from_slice(&scratch[..length]),
                    Err(_) => return Received::Broken(std::mem::take(&mut self.received)),
                }
            }
        };
        within("the gateway's bytes", reading).await
    }

    /// Reads until what has come ends with `tail`.
    pub(crate) async fn until_tail(&mut self, tail: &str) -> Received {
        self.until(|bytes| bytes.ends_with(tail.as_bytes())).await
    }

    /// Reads until the gateway closes.
    pub(crate) async fn until_closed(&mut self) -> Received {
        self.until(|_| false).await
    }

    /// Sends bytes, close_notify and FIN, so that they arrive together.
    pub(crate) async fn send_and_finish(&mut self, bytes: impl AsRef<[u8]>) {
        let (tcp, session) = self.tls.get_mut();
        session.writer().write_all(bytes.as_ref()).unwrap();
        session.send_close_notify();
        let mut records = Vec::new();
        while session.wants_write() {
            session.write_tls(&mut records).unwrap();
        }
        let sent = async {
            tcp.write_all(&records).await?;
            tcp.shutdown().await
        };
        let _ = within("sending", sent).await;
    }

    /// Ends its sending direction: close_notify, then FIN. It still reads.
    pub(crate) async fn finish(&mut self) {
        let _ = within("the end", self.tls.shutdown()).await;
    }

    /// Ends its sending direction by FIN alone, as clients do that know nothing of close_notify. It still reads.
    pub(crate) fn finish_abruptly(&mut self) {
        let _ = SockRef::from(self.tls.get_ref().0).shutdown(Shutdown::Write);
    }

    /// Breaks the connection with RST.
    pub(crate) fn reset(self) {
        let _ = self.tls.get_ref().0.set_zero_linger();
    }
}
