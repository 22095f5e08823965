//! How a TCP connection of the gateway is set up, whichever side opened it.

use std::io;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::config::model::Tcp;

/// Sends small writes at once, and has the kernel find out when the peer's host is gone: a stream in which neither side
/// has anything to say would outlive it for ever.
///
/// # Errors
/// The system's, for a connection that has broken already.
pub fn set_up(tcp: &TcpStream, settings: &Tcp) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(settings.keepalive_idle)
        .with_interval(settings.keepalive_interval)
        .with_retries(settings.keepalive_probes);
    SockRef::from(tcp).set_tcp_keepalive(&keepalive)
}
