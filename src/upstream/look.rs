//! Looks of the gateway's own: whether an endpoint still takes connections. Separate from second looks, which ask an interface
//! for something: nothing here knows what an endpoint serves.

use std::future::poll_fn;
use std::io;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::connect::{ConnectError, Dial, connect, open};
use crate::farm::{Endpoint, Farm};
use crate::tls::stream::Stream;

/// Dials `endpoint`, and hangs up.
///
/// # Errors
/// See [`ConnectError`].
pub async fn look(farm: &Farm, endpoint: &Endpoint) -> Result<(), ConnectError> {
    let config = farm.config();
    let dial = Dial::to(farm, endpoint, config.failover.connect_timeout);
    match (&config.proof, &config.certificate) {
        (Some(_), None) => connect(dial).await.map(drop),
        (Some(_), Some(_)) => shake_hands(dial).await,
        // Its TLS is between it and the clients.
        (None, _) => open(&dial).await.map(drop),
    }
}

/// As [`connect`], of an endpoint that is shown a certificate: with TLS 1.3, what it thinks of that comes after the handshake, and
/// silence says that it has nothing against it.
async fn shake_hands(dial: Dial) -> Result<(), ConnectError> {
    let patience = dial.patience;
    let mut stream = connect(dial).await?;
    let mut said = Vec::new();
    match timeout(patience, poll_fn(|cx| stream.poll_read(cx, &mut said))).await {
        Ok(Ok(0)) => Err(ConnectError::Handshake(io::ErrorKind::UnexpectedEof.into())),
        Ok(Err(error)) => Err(ConnectError::Handshake(error)),
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}

/// As [`look`], at an endpoint whose TLS is between it and the clients: it gets `preamble` and a ClientHello, and any answer of
/// TLS will do. A kernel takes connections for a process that is frozen, and answers nothing for it.
///
/// # Errors
/// See [`ConnectError`].
pub async fn greet(farm: &Farm, endpoint: &Endpoint, preamble: &[u8]) -> Result<(), ConnectError> {
    let dial = Dial::to(farm, endpoint, farm.config().failover.connect_timeout);
    let mut tcp = open(&dial).await?;
    let answered = timeout(dial.patience, async {
        tcp.write_all(preamble).await?;
        let mut stream = Stream::client(tcp, dial.tls, dial.name).map_err(io::Error::other)?;
        poll_fn(|cx| stream.poll_handshake(cx)).await
    });
    match answered.await {
        Ok(Err(error)) if !speaks_tls(&error) => Err(ConnectError::Handshake(error)),
        Ok(Ok(()) | Err(_)) => Ok(()),
        Err(_) => Err(ConnectError::HandshakeTimeout(dial.patience)),
    }
}

/// Whether it is what TLS says of the peer's words: nobody here knows its certificate.
fn speaks_tls(error: &io::Error) -> bool {
    match error.get_ref().and_then(|source| source.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidMessage(_)) | None => false,
        Some(_) => true,
    }
}
