//! A port at which a connect runs out of time. Separate from the XSP because it is made of sockets that nobody serves.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

/// A listener that accepts nothing, and connections that fill its queue.
pub(super) struct FullQueue {
    _listener: Socket,
    _waiting: Vec<Socket>,
}

impl FullQueue {
    /// How many fill the shortest queue that the system makes, and one more.
    const WAITING: usize = 3;

    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        listener.set_reuse_address(true)?;
        listener.bind(&address.into())?;
        listener.listen(0)?;
        let waiting = (0..Self::WAITING).map(|_| {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            // It can't be through at once.
            drop(socket.connect(&address.into()));
            Ok(socket)
        });
        Ok(Self { _waiting: waiting.collect::<io::Result<_>>()?, _listener: listener })
    }
}
