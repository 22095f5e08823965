//! Connections of a simulated XSP: accepted, handshaken, served, cut off. Separate from the requests on them because an
//! XSP can be broken at each of these steps.

use std::io;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::service::respond;
use super::{Behaviour, Shared};
use crate::sim::accept::{self, Farewell, linger};
use crate::sim::pki::Show;
use crate::sim::socket::Socket;

const PLAIN_ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nX-Xsp: plain\r\nContent-Length: 2\r\n\r\nok";

/// How a request ends its connection.
pub(super) enum Ending {
    /// With RST.
    Reset,
    /// With these bytes within TLS, and then in an orderly way.
    Bytes(Vec<u8>),
}

/// Accepts connections until it is aborted.
pub(super) async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let serve = |tcp, _| {
        let (open, mut cut) = (shared.ledger.accepted(), shared.cut.subscribe());
        let shared = Arc::clone(&shared);
        async move {
            let farewell = tokio::select! {
                served = serve(&shared, tcp, open.number) => served.unwrap_or(Farewell::Close),
                _ = cut.changed() => Farewell::Reset,
            };
            (farewell, open)
        }
    };
    accept::accept(listener, serve).await;
}

async fn serve(shared: &Arc<Shared>, mut tcp: Socket, number: u64) -> io::Result<Farewell> {
    tcp.options().set_tcp_nodelay(true)?;
    let behaviour = shared.behaviour.lock().clone();
    let mut show = Show::Good;
    match behaviour {
        Behaviour::SilentTcp => return linger(&mut tcp).await,
        Behaviour::PlainText => {
            tcp.write_all(PLAIN_ANSWER).await?;
            return linger(&mut tcp).await;
        }
        Behaviour::SlowHandshake(delay) => tokio::time::sleep(delay).await,
        Behaviour::Certificate(wrong) => show = wrong,
        Behaviour::Normal
        | Behaviour::Refuse
        | Behaviour::Hang
        | Behaviour::Slow(_)
        | Behaviour::Slots(..)
        | Behaviour::Reset
        | Behaviour::ResetMidBody
        | Behaviour::Close
        | Behaviour::Status(_)
        | Behaviour::On(..)
        | Behaviour::PerUser(_)
        | Behaviour::Garbage(_)
        | Behaviour::Redirect(_) => {}
    }
    let tls = TlsAcceptor::from(Arc::clone(&shared.tls[&show])).accept(tcp).await?;
    shared.ledger.handshake();

    let (ending, mut endings) = mpsc::unbounded_channel();
    let service = service_fn(|request| respond(Arc::clone(shared), number, ending.clone(), request));
    let mut connection = http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(tls), service);
    let ended = tokio::select! {
        biased;
        _ = &mut connection => return Ok(Farewell::Close),
        Some(ended) = endings.recv() => ended,
    };
    match ended {
        Ending::Reset => Ok(Farewell::Reset),
        Ending::Bytes(bytes) => {
            let mut tls = connection.into_parts().io.into_inner();
            tls.write_all(&bytes).await?;
            tls.shutdown().await?;
            Ok(Farewell::Close)
        }
    }
}
