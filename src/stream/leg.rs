//! One side of a bridged connection, in the clear or not. Separate from copying, which is the same for both.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

use crate::tls::stream::Stream;

/// The most that one read takes from a socket in the clear.
const READ_SIZE: usize = 64 * 1024;

/// What came from a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// At least one byte.
    Bytes,
    /// Its peer sends no more.
    End(End),
}

/// How a peer ended its direction. What it does to one leg is done to the other: who is told of a proper end where there
/// was none can be made to believe in half a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// As the protocol wants it: by close_notify, or in the clear by FIN.
    Proper,
    /// By FIN within TLS.
    Cut,
}

/// One side of a bridged connection.
pub(super) trait Leg {
    /// Appends what the peer has sent to `buffer`.
    fn poll_receive(&mut self, cx: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<io::Result<Received>>;
    /// Offers `bytes` to the socket once, and keeps what it does not take: [`Leg::poll_flush`] comes before the next.
    fn send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()>;
    /// Ready once the socket has taken everything.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Ends the sending direction; the other one goes on.
    fn poll_end(&mut self, cx: &mut Context<'_>, end: End) -> Poll<io::Result<()>>;
    /// The transport below.
    fn socket(&self) -> &TcpStream;

    /// Ends both directions at once, in a way that the peer can't take for a proper end.
    fn reset(self)
    where
        Self: Sized,
    {
        // A socket that can't be set up is broken already.
        drop(SockRef::from(self.socket()).set_linger(Some(Duration::ZERO)));
    }
}

impl Leg for Stream {
    fn poll_receive(&mut self, cx: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<io::Result<Received>> {
        match ready!(self.poll_read(cx, buffer)) {
            Ok(0) => Poll::Ready(Ok(Received::End(End::Proper))),
            Ok(_) => Poll::Ready(Ok(Received::Bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(Received::End(End::Cut))),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        self.write(cx, bytes)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_flush(self, cx)
    }

    fn poll_end(&mut self, cx: &mut Context<'_>, end: End) -> Poll<io::Result<()>> {
        match end {
            End::Proper => self.poll_shutdown(cx),
            End::Cut => self.poll_cut(cx),
        }
    }

    fn socket(&self) -> &TcpStream {
        self.io()
    }
}

/// A leg whose bytes are nobody's business.
#[derive(Debug)]
pub(super) struct Plain {
    tcp: TcpStream,
    /// What the socket did not take yet, from `sent` on.
    unsent: Vec<u8>,
    sent: usize,
}

impl Plain {
    pub(super) const fn new(tcp: TcpStream) -> Self {
        Self { tcp, unsent: Vec::new(), sent: 0 }
    }
}

impl Leg for Plain {
    fn poll_receive(&mut self, cx: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<io::Result<Received>> {
        buffer.reserve(READ_SIZE);
        let read = pin!(self.tcp.read_buf(buffer)).poll(cx);
        Poll::Ready(Ok(match ready!(read)? {
            0 => Received::End(End::Proper),
            _ => Received::Bytes,
        }))
    }

    fn send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        let taken = match Pin::new(&mut self.tcp).poll_write(cx, bytes) {
            Poll::Ready(taken) => taken?,
            Poll::Pending => 0,
        };
        self.unsent.extend_from_slice(&bytes[taken..]);
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.unsent.len() {
            self.sent += ready!(Pin::new(&mut self.tcp).poll_write(cx, &self.unsent[self.sent..]))?;
        }
        if !self.unsent.is_empty() {
            self.unsent = Vec::new();
            self.sent = 0;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_end(&mut self, cx: &mut Context<'_>, _: End) -> Poll<io::Result<()>> {
        ready!(Leg::poll_flush(self, cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    fn socket(&self) -> &TcpStream {
        &self.tcp
    }
}
