//! How a TCP connection of the gateway is set up, whichever side opened it. Kept on its own because accepting and dialling
//! must not differ in it.

use std::io;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::config::model::Tcp;

/// Sends small writes at once, and has the kernel find out when the peer's host is gone: by keepalive while neither side has
/// anything to say, or the stream would outlive the host for ever; and by the user timeout while data is under way, when
/// keepalive doesn't ask, and the kernel would send again for a quarter of an hour. The user timeout also ends a connection
/// whose peer acknowledges, but has no room for a byte for so long.
///
/// # Errors
/// The system's, for a connection that has broken already.
pub fn set_up(tcp: &TcpStream, settings: &Tcp) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(settings.keepalive_idle)
        .with_interval(settings.keepalive_interval)
        .with_retries(settings.keepalive_probes);
    let socket = SockRef::from(tcp);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(settings.user_timeout)
}
