//! TCP connect and TLS handshake towards one endpoint. Separate from what is then said on the connection, because a failure
//! here is always safe to move on from: nothing of a request has been sent.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::model::Tcp;
use crate::farm::{Endpoint, Farm};
use crate::tcp;
use crate::tls::client::ClientTls;
use crate::tls::stream::Stream;

/// What a connection needs to know before it is dialled.
#[derive(Clone, Debug)]
pub struct Dial {
    /// Where to.
    pub address: SocketAddr,
    /// The name that the certificate must prove (R-TLS-4), whatever the address.
    pub name: ServerName<'static>,
    /// Trust, identity and sessions of this endpoint.
    pub tls: Arc<ClientConfig>,
    /// What a session that is resumed is held against; `None`: none is.
    pub resumed: Option<Arc<ClientTls>>,
    /// `[tcp]`.
    pub tcp: Tcp,
    /// The longest that TCP connect may take, and then the longest that the handshake may take.
    pub patience: Duration,
}

impl Dial {
    /// What it takes to dial `endpoint` of `farm`.
    pub fn to(farm: &Farm, endpoint: &Endpoint, patience: Duration) -> Self {
        let tls = farm.tls();
        Self {
            address: endpoint.address(),
            name: tls.name().clone(),
            tls: endpoint.tls(),
            resumed: Some(tls),
            tcp: farm.config().tcp,
            patience,
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The gateway itself has no socket, port or memory left: not the endpoint's fault.
    #[error("no socket to connect from")]
    Local(#[source] io::Error),
    /// TCP connect failed.
    #[error("TCP connect failed")]
    Connect(#[source] io::Error),
    /// TCP connect got no answer.
    #[error("TCP connect took longer than {0:?}")]
    ConnectTimeout(Duration),
    /// The TLS handshake failed.
    #[error("TLS handshake failed")]
    Handshake(#[source] io::Error),
    /// The TLS handshake did not end.
    #[error("TLS handshake took longer than {0:?}")]
    HandshakeTimeout(Duration),
}

/// How much of an XSP a failure speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// None of it: the gateway's own trouble.
    Gateway,
    /// One port.
    Port,
    /// One port, which answers nothing although its kernel does: if a process hangs, it may have other ports.
    Silence,
    /// The whole address: other ports are likely gone too.
    Address,
}

impl ConnectError {
    /// How much of the XSP this failure speaks of.
    pub fn scope(&self) -> Scope {
        match self {
            Self::Local(_) => Scope::Gateway,
            Self::ConnectTimeout(_) => Scope::Address,
            Self::Connect(error) if is_unreachable(error) => Scope::Address,
            Self::Connect(_) => Scope::Port,
            Self::Handshake(_) => Scope::Port,
            Self::HandshakeTimeout(_) => Scope::Silence,
        }
    }

    /// Whether it was silence rather than an error.
    pub const fn is_timeout(&self) -> bool {
        matches!(self, Self::ConnectTimeout(_) | Self::HandshakeTimeout(_))
    }

    /// A word for logs and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Local(_) => "local",
            Self::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused => "refused",
            Self::Connect(error) if error.kind() == io::ErrorKind::ConnectionReset => "reset",
            Self::Connect(_) => "unreachable",
            Self::ConnectTimeout(_) => "connect-timeout",
            Self::Handshake(error) => handshake_reason(error),
            Self::HandshakeTimeout(_) => "handshake-timeout",
        }
    }
}

/// What was wrong with a handshake, or what the peer's alert says of ours: a word for logs and metrics.
#[expect(clippy::wildcard_enum_match_arm, reason = "rustls::Error is not ours and may grow")]
pub fn handshake_reason(error: &io::Error) -> &'static str {
    let Some(tls) = error.get_ref().and_then(|source| source.downcast_ref::<rustls::Error>()) else {
        return "handshake-closed";
    };
    match tls {
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "certificate-expired"
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => "certificate-not-yet-valid",
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "certificate-name",
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => "certificate-issuer",
        rustls::Error::InvalidCertificate(
            CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. },
        ) => "certificate-crl-overdue",
        rustls::Error::InvalidCertificate(_) => "certificate",
        rustls::Error::InvalidMessage(_) => "not-tls",
        rustls::Error::AlertReceived(alert) => alert_reason(*alert),
        _ => "tls",
    }
}

/// What an XSP thinks of the gateway's certificate, if that is what its alert says.
#[expect(clippy::wildcard_enum_match_arm, reason = "AlertDescription is not ours and may grow")]
const fn alert_reason(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::UnknownCA => "tls-alert-unknown-ca",
        AlertDescription::BadCertificate => "tls-alert-bad-certificate",
        AlertDescription::UnsupportedCertificate => "tls-alert-unsupported-certificate",
        AlertDescription::CertificateExpired => "tls-alert-certificate-expired",
        AlertDescription::CertificateRevoked => "tls-alert-certificate-revoked",
        AlertDescription::CertificateUnknown => "tls-alert-certificate-unknown",
        AlertDescription::CertificateRequired => "tls-alert-certificate-required",
        AlertDescription::AccessDenied => "tls-alert-access-denied",
        AlertDescription::HandshakeFailure => "tls-alert-handshake-failure",
        AlertDescription::ProtocolVersion => "tls-alert-protocol-version",
        _ => "tls-alert",
    }
}

/// Dials.
///
/// # Errors
/// The kinds of [`ConnectError`] that are not about TLS.
pub async fn open(dial: &Dial) -> Result<TcpStream, ConnectError> {
    let tcp = match timeout(dial.patience, TcpStream::connect(dial.address)).await {
        Ok(Ok(tcp)) => tcp,
        Ok(Err(error)) if is_local(&error) => return Err(ConnectError::Local(error)),
        Ok(Err(error)) => return Err(ConnectError::Connect(error)),
        Err(_) => return Err(ConnectError::ConnectTimeout(dial.patience)),
    };
    tcp::set_up(&tcp, &dial.tcp).map_err(ConnectError::Connect)?;
    Ok(tcp)
}

/// Dials, shakes hands and verifies the certificate. Not a byte of a request goes out before that.
///
/// # Errors
/// See [`ConnectError`].
pub async fn connect(dial: Dial) -> Result<Stream, ConnectError> {
    let tcp = open(&dial).await?;
    let stream = Stream::client(tcp, dial.tls, dial.name);
    let mut stream = stream.map_err(|error| ConnectError::Handshake(io::Error::other(error)))?;
    match timeout(dial.patience, poll_fn(|cx| stream.poll_handshake(cx))).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(ConnectError::Handshake(error)),
        Err(_) => return Err(ConnectError::HandshakeTimeout(dial.patience)),
    }
    let verified = dial.resumed.map_or(Ok(()), |tls| tls.verify_resumed(stream.common()));
    verified.map_err(|error| ConnectError::Handshake(io::Error::other(error)))?;
    Ok(stream)
}

fn is_unreachable(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::TimedOut)
}

/// Descriptors, ports and buffers run out on this side; blaming the endpoint would block a healthy farm.
fn is_local(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE | ENOBUFS))
        || matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory)
}
