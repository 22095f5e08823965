//! TCP connect and TLS handshake towards one endpoint. Separate from what is then said on the connection, because a failure
//! here is always safe to move on from: nothing of a request has been sent.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::model::Tcp;
use crate::farm::{Endpoint, Farm};
use crate::policy::fault::{Fault, HandshakeFault};
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
    /// Where it is kept why the certificate is refused.
    pub refusal: Arc<ArcSwapOption<String>>,
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
            refusal: Arc::clone(endpoint.refusal()),
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

impl ConnectError {
    /// What it is in a word.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Local(_) => Fault::Local,
            Self::ConnectTimeout(_) => Fault::ConnectTimeout,
            Self::Connect(error) if is_unreachable(error) => Fault::Unreachable,
            Self::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused => Fault::Refused,
            Self::Connect(error) if error.kind() == io::ErrorKind::ConnectionReset => Fault::ConnectReset,
            Self::Connect(_) => Fault::NoConnection,
            Self::Handshake(error) => Fault::Handshake(handshake_fault(error)),
            Self::HandshakeTimeout(_) => Fault::HandshakeTimeout,
        }
    }
}

/// What was wrong with a handshake, or what the peer's alert says of ours.
#[expect(clippy::wildcard_enum_match_arm, reason = "rustls::Error is not ours and may grow")]
pub fn handshake_fault(error: &io::Error) -> HandshakeFault {
    let Some(tls) = error.get_ref().and_then(|source| source.downcast_ref::<rustls::Error>()) else {
        return HandshakeFault::Closed;
    };
    match tls {
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            HandshakeFault::CertificateExpired
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => HandshakeFault::CertificateNotYetValid,
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => HandshakeFault::CertificateName,
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => HandshakeFault::CertificateIssuer,
        rustls::Error::InvalidCertificate(
            CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. },
        ) => HandshakeFault::CertificateCrlOverdue,
        rustls::Error::InvalidCertificate(_) => HandshakeFault::Certificate,
        rustls::Error::InvalidMessage(_) => HandshakeFault::NotTls,
        rustls::Error::AlertReceived(alert) => alert_fault(*alert),
        _ => HandshakeFault::Tls,
    }
}

/// What an XSP thinks of the gateway's certificate, if that is what its alert says.
#[expect(clippy::wildcard_enum_match_arm, reason = "AlertDescription is not ours and may grow")]
const fn alert_fault(alert: AlertDescription) -> HandshakeFault {
    match alert {
        AlertDescription::UnknownCA => HandshakeFault::AlertUnknownCa,
        AlertDescription::BadCertificate => HandshakeFault::AlertBadCertificate,
        AlertDescription::UnsupportedCertificate => HandshakeFault::AlertUnsupportedCertificate,
        AlertDescription::CertificateExpired => HandshakeFault::AlertCertificateExpired,
        AlertDescription::CertificateRevoked => HandshakeFault::AlertCertificateRevoked,
        AlertDescription::CertificateUnknown => HandshakeFault::AlertCertificateUnknown,
        AlertDescription::CertificateRequired => HandshakeFault::AlertCertificateRequired,
        AlertDescription::AccessDenied => HandshakeFault::AlertAccessDenied,
        AlertDescription::HandshakeFailure => HandshakeFault::AlertHandshakeFailure,
        AlertDescription::ProtocolVersion => HandshakeFault::AlertProtocolVersion,
        _ => HandshakeFault::Alert,
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
    let mut shake_hands = |cx: &mut Context<'_>| {
        let shaken = stream.poll_handshake(cx);
        if let Poll::Ready(result) = &shaken {
            let words = ClientTls::take_refusal().filter(|_| result.is_err());
            dial.refusal.store(words.map(Arc::new));
        }
        shaken
    };
    match timeout(dial.patience, poll_fn(&mut shake_hands)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(ConnectError::Handshake(error)),
        Err(_) => return Err(ConnectError::HandshakeTimeout(dial.patience)),
    }
    let verified = dial.resumed.map_or(Ok(()), |tls| tls.verify_resumed(stream.common()));
    if let Err(error) = verified {
        dial.refusal.store(ClientTls::take_refusal().map(Arc::new));
        return Err(ConnectError::Handshake(io::Error::other(error)));
    }
    Ok(stream)
}

fn is_unreachable(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::TimedOut)
}

/// Descriptors, ports and buffers run out on this side; blaming the endpoint would block a healthy farm.
fn is_local(error: &io::Error) -> bool {
    // The machine's own packet filter, whose table may be full.
    const EPERM: i32 = 1;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    matches!(error.raw_os_error(), Some(EPERM | ENFILE | EMFILE | ENOBUFS))
        || matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory)
}
