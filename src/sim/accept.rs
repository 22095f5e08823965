//! Accepting connections that may be broken off at any step. Separate from what is said on them, because XSPs of HTTP and of
//! CTI accept them in the same way.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpListener;

use super::socket::Socket;

/// What becomes of a connection's socket.
pub(super) enum Farewell {
    Close,
    Reset,
}

/// Accepts connections until it is aborted, and serves each. What `serve` gives back with the farewell is dropped when the
/// socket is gone.
pub(super) async fn accept<S, Open>(listener: TcpListener, mut serve: impl FnMut(Socket, SocketAddr) -> S)
where
    S: Future<Output = (Farewell, Open)> + Send + 'static,
    Open: Send,
{
    loop {
        let Ok((tcp, from)) = listener.accept().await else {
            // Out of descriptors: the next try may find one.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let socket = Socket::new(tcp);
        // The one that is served is deep inside TLS when the connection is cut.
        let serving = serve(socket.clone(), from);
        tokio::spawn(async move {
            let (farewell, open) = serving.await;
            match farewell {
                Farewell::Close => {}
                Farewell::Reset => socket.reset_on_close(),
            }
            drop(socket);
            drop(open);
        });
    }
}

/// Reads and forgets, until the other side ends.
pub(super) async fn linger(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Farewell> {
    let mut scratch = [0; 1024];
    while stream.read(&mut scratch).await? > 0 {}
    Ok(Farewell::Close)
}
