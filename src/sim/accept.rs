//! Accepting connections that may be broken off at any step. Apart from what is said on them, because XSPs of HTTP and of
//! CTI accept them in the same way.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};

/// What becomes of a connection's socket.
pub(super) enum Farewell {
    Close,
    Reset,
}

/// Accepts connections until it is aborted, and serves each. What `serve` gives back with the farewell is dropped when the
/// socket is gone.
pub(super) async fn accept<S, Open>(listener: TcpListener, mut serve: impl FnMut(TcpStream, SocketAddr) -> S)
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
        // A second handle to the same socket: the first one is deep inside TLS when the connection is cut.
        let Ok(socket) = socket2::SockRef::from(&tcp).try_clone() else { continue };
        let serving = serve(tcp, from);
        tokio::spawn(async move {
            let (farewell, open) = serving.await;
            match farewell {
                Farewell::Close => {}
                Farewell::Reset => {
                    let _ = socket.set_linger(Some(Duration::ZERO));
                }
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
