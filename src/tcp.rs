//! How a TCP connection of the gateway is set up, whichever side opened it.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Silence after which the kernel asks whether the peer's host is still there.
const IDLE: Duration = Duration::from_secs(60);
/// How often it asks again.
const INTERVAL: Duration = Duration::from_secs(15);
/// Unanswered questions that end the connection.
const QUESTIONS: u32 = 4;

/// Sends small writes at once, and has the kernel find out when the peer's host is gone: a stream in which neither side
/// has anything to say would outlive it for ever.
///
/// # Errors
/// The system's, for a connection that has broken already.
pub fn set_up(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(IDLE).with_interval(INTERVAL).with_retries(QUESTIONS);
    SockRef::from(tcp).set_tcp_keepalive(&keepalive)
}
