//! A TLS connection that holds no buffer while idle: each turn does one large read and one write, in scratch space that
//! belongs to the worker's thread. Separate from rustls' own buffered connections, which keep their buffers for life; an edge
//! holds a hundred thousand connections that mostly say nothing.

mod session;

use std::cell::RefCell;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, CommonState, ServerConfig};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use self::session::{Digested, Reading, Seal, Sealed, Session};

/// The most that one read takes from a socket.
const READ_SIZE: usize = 64 * 1024;
/// The longest unfinished input that is carried over between reads: a handshake message and a record.
const CARRY_SIZE: usize = 96 * 1024;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch { incoming: vec![0; CARRY_SIZE + READ_SIZE], sealed: Sealed::default() });
}

/// What a thread's connections share, since only one of them moves at a time.
struct Scratch {
    incoming: Vec<u8>,
    sealed: Sealed,
}

/// One side of a TLS connection over `Io`.
#[derive(Debug)]
pub struct Stream<Io = TcpStream> {
    io: Io,
    session: Session,
    /// Received bytes that do not make a whole record yet.
    partial: Vec<u8>,
    /// Application data that came with the end of the handshake.
    early: Vec<u8>,
    /// Sealed records that the socket did not take yet, from `sent` on.
    unsent: Vec<u8>,
    sent: usize,
    reading: Reading,
    writing: Writing,
    /// What broke the connection, behind bytes that had come before.
    broken: Option<io::Error>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    Open,
    /// Our close_notify is sealed.
    Finished,
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Stream<Io> {
    /// The server's side of a connection of which `received` has been read already.
    ///
    /// # Errors
    /// When `config` can't make a connection.
    pub fn server(io: Io, config: Arc<ServerConfig>, received: Vec<u8>) -> Result<Self, rustls::Error> {
        let session = Session::Server(Box::new(UnbufferedServerConnection::new(config)?));
        Ok(Self::new(io, session, received))
    }

    /// The client's side, towards the peer that must prove to be `name`.
    ///
    /// # Errors
    /// When `config` can't make a connection.
    pub fn client(io: Io, config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, rustls::Error> {
        let session = Session::Client(Box::new(UnbufferedClientConnection::new(config, name)?));
        Ok(Self::new(io, session, Vec::new()))
    }

    fn new(io: Io, session: Session, partial: Vec<u8>) -> Self {
        Self {
            io,
            session,
            partial,
            early: Vec::new(),
            unsent: Vec::new(),
            sent: 0,
            reading: Reading::Open,
            writing: Writing::Open,
            broken: None,
        }
    }

    /// What the handshake agreed on.
    pub fn common(&self) -> &CommonState {
        self.session.common()
    }

    /// The transport below.
    pub const fn io(&self) -> &Io {
        &self.io
    }

    /// The transport below, for last words outside of TLS.
    pub fn into_io(self) -> Io {
        self.io
    }

    /// Runs the handshake to its end.
    ///
    /// # Errors
    /// `InvalidData` with the [`rustls::Error`] inside, or the transport's own; `UnexpectedEof` when the peer went away.
    pub fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.partial.is_empty() || matches!(self.session, Session::Client(_)) {
            self.digest_partial(cx)?;
        }
        loop {
            // What is left to send, such as session tickets, must not keep the peer's first request waiting.
            // A peer that has left meanwhile may have sent one anyway.
            let flushed = self.poll_flush(cx);
            if !self.common().is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            ready!(flushed)?;
            let mut early = std::mem::take(&mut self.early);
            let turn = self.poll_turn(cx, &mut early, |io, cx, room| Pin::new(io).poll_read(cx, room));
            self.early = early;
            if ready!(turn)? == Turn::End {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Appends what the peer has sent to `plaintext`: at least one byte, unless the peer has ended the stream properly. What came
    /// before the connection broke is read before that is told.
    ///
    /// # Errors
    /// `UnexpectedEof` when the transport ended without close_notify, so that what was read may be cut short.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, plaintext: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        if !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            plaintext.extend_from_slice(&early);
            return Poll::Ready(Ok(early.len()));
        }
        self.read_from(cx, plaintext, |io, cx, room| Pin::new(io).poll_read(cx, room))
    }

    /// As [`Self::poll_read`], by `read`.
    fn read_from(
        &mut self,
        cx: &mut Context<'_>,
        plaintext: &mut Vec<u8>,
        read: impl Fn(&mut Io, &mut Context<'_>, &mut ReadBuf<'_>) -> Poll<io::Result<()>>,
    ) -> Poll<io::Result<usize>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Err(error));
        }
        let before = plaintext.len();
        if !self.is_flushed() {
            // The session's own records may be what waits, and nobody else may be writing just now. A peer that takes
            // nothing more may still have said something: anyone who writes learns of the error, anyone who reads of that.
            drop(self.poll_flush(cx));
        }
        loop {
            if self.reading == Reading::Finished {
                return Poll::Ready(Ok(plaintext.len() - before));
            }
            let turn = ready!(self.poll_turn(cx, plaintext, &read));
            if plaintext.len() > before {
                self.broken = turn.err();
                return Poll::Ready(Ok(plaintext.len() - before));
            }
            if turn? == Turn::End && self.reading == Reading::Open {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Seals `plaintext` and offers it to the socket once. What the socket does not take is kept: further writes must
    /// wait for [`Self::poll_flush`], or memory grows.
    ///
    /// # Errors
    /// The transport's, or `BrokenPipe` after [`Self::poll_shutdown`].
    pub fn write(&mut self, cx: &mut Context<'_>, plaintext: &[u8]) -> io::Result<()> {
        if self.writing == Writing::Finished {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.sealed.clear();
            self.seal(Seal::Data(plaintext), &mut scratch.sealed)?;
            self.offer(cx, scratch.sealed.as_slice())
        })
    }

    /// Sealed bytes that the socket has not taken yet.
    pub const fn backlog(&self) -> usize {
        self.unsent.len() - self.sent
    }

    /// Whether the socket has taken everything that was written.
    pub const fn is_flushed(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Whether the peer has said close_notify.
    pub const fn is_finished(&self) -> bool {
        matches!(self.reading, Reading::Finished)
    }

    /// Whether the connection broke behind what has been read.
    pub const fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Whether the peer has begun a record that it has not ended yet.
    pub const fn is_amid_record(&self) -> bool {
        !self.partial.is_empty()
    }

    /// Hands what was written to the socket.
    ///
    /// # Errors
    /// The transport's.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.unsent.len() {
            let taken = ready!(Pin::new(&mut self.io).poll_write(cx, &self.unsent[self.sent..]))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += taken;
        }
        if !self.unsent.is_empty() {
            self.unsent = Vec::new();
            self.sent = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Says close_notify, flushes, and ends the sending direction.
    ///
    /// # Errors
    /// The transport's.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.writing == Writing::Open {
            self.writing = Writing::Finished;
            let mut sealed = Sealed::default();
            self.seal(Seal::CloseNotify, &mut sealed)?;
            self.unsent.extend_from_slice(sealed.as_slice());
        }
        ready!(self.poll_flush(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    /// Flushes and ends the sending direction without close_notify: the peer learns that the stream was cut short.
    ///
    /// # Errors
    /// The transport's.
    pub fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writing = Writing::Finished;
        ready!(self.poll_flush(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    /// One read from the socket, and all that follows from it.
    fn poll_turn(
        &mut self,
        cx: &mut Context<'_>,
        plaintext: &mut Vec<u8>,
        read: impl Fn(&mut Io, &mut Context<'_>, &mut ReadBuf<'_>) -> Poll<io::Result<()>>,
    ) -> Poll<io::Result<Turn>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let carried = self.partial.len();
            if carried > CARRY_SIZE {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "TLS message too long")));
            }
            let mut room = ReadBuf::new(&mut scratch.incoming[carried..carried + READ_SIZE]);
            ready!(read(&mut self.io, cx, &mut room))?;
            let read = room.filled().len();
            if read == 0 {
                return Poll::Ready(Ok(Turn::End));
            }
            scratch.incoming[..carried].copy_from_slice(&self.partial);
            let incoming = &mut scratch.incoming[..carried + read];
            scratch.sealed.clear();
            let digested = self.session.digest(incoming, plaintext, &mut scratch.sealed);
            // A peer that has left takes no answer to what it said; anyone who writes the next time learns of that.
            drop(self.offer(cx, scratch.sealed.as_slice()));
            let digested = digested.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            self.keep(digested, incoming);
            Poll::Ready(Ok(Turn::Read))
        })
    }

    /// Lets the session act on what is there already, such as a ClientHello that was peeked at.
    fn digest_partial(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let (mut partial, mut early, mut sealed) =
            (std::mem::take(&mut self.partial), std::mem::take(&mut self.early), Sealed::default());
        let digested = self.session.digest(&mut partial, &mut early, &mut sealed);
        self.early = early;
        drop(self.offer(cx, sealed.as_slice()));
        let digested = digested.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.keep(digested, &partial);
        Ok(())
    }

    fn keep(&mut self, digested: Digested, incoming: &[u8]) {
        if digested.reading == Reading::Finished {
            self.reading = Reading::Finished;
        }
        let rest = &incoming[digested.consumed..];
        if rest.is_empty() {
            self.partial = Vec::new();
        } else {
            self.partial.clear();
            self.partial.extend_from_slice(rest);
        }
    }

    /// Appends sealed records to `sealed`: the session's own that are due, and then what is asked for.
    fn seal(&mut self, what: Seal<'_>, sealed: &mut Sealed) -> io::Result<()> {
        self.session
            .seal(&mut self.partial, what, sealed)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Offers sealed records to the socket once, behind those that wait.
    fn offer(&mut self, cx: &mut Context<'_>, sealed: &[u8]) -> io::Result<()> {
        if sealed.is_empty() {
            return Ok(());
        }
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(sealed);
            return match self.poll_flush(cx) {
                Poll::Ready(result) => result,
                Poll::Pending => Ok(()),
            };
        }
        let taken = match Pin::new(&mut self.io).poll_write(cx, sealed) {
            Poll::Ready(taken) => taken?,
            Poll::Pending => 0,
        };
        if taken < sealed.len() {
            self.unsent.extend_from_slice(&sealed[taken..]);
        }
        Ok(())
    }
}

impl Stream {
    /// As [`Self::poll_read`], of what the kernel has at this moment, although the poll registration may not know of it yet.
    /// Nobody is woken later on.
    ///
    /// # Errors
    /// As [`Self::poll_read`].
    pub fn read_now(&mut self, cx: &mut Context<'_>, plaintext: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        self.read_from(cx, plaintext, |io, _, room| {
            let socket = SockRef::from(&*io);
            match (&*socket).read(room.initialize_unfilled()) {
                Ok(length) => {
                    room.advance(length);
                    Poll::Ready(Ok(()))
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            }
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Read,
    End,
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests;
