//! A DNS server over real sockets whose zones and faults change while it runs. Written against DNS messages alone, not
//! against the gateway's resolver, so that the two can't agree on a mistake.

mod zones;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::{JoinHandle, JoinSet};

pub use self::zones::{Fault, Srv, Transport, Zones};

/// How often another port is tried when the one that UDP got is taken for TCP.
const BIND_TRIES: usize = 16;
/// A TCP connection that says nothing for so long is closed.
const TCP_IDLE: Duration = Duration::from_secs(10);
/// After an error of a socket, before it is used again, so that a lasting one does not eat the processor.
const PAUSE: Duration = Duration::from_millis(10);

/// A running DNS server. It answers every question itself, with NXDOMAIN for what it was not told of. Stops when dropped.
#[derive(Debug)]
pub struct Nameserver {
    address: SocketAddr,
    zones: Zones,
    udp: JoinHandle<()>,
    tcp: JoinHandle<()>,
}

impl Nameserver {
    /// Starts on 127.0.0.1 at a free port, with empty zones.
    ///
    /// # Errors
    /// When no socket can be bound.
    pub async fn start() -> io::Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), Zones::default()).await
    }

    /// Starts at `address`, port 0 for a free one, the same for UDP and TCP. `zones` may be those of an earlier one.
    ///
    /// # Errors
    /// When `address` can't be bound.
    pub async fn start_at(address: SocketAddr, zones: Zones) -> io::Result<Self> {
        let (udp, tcp) = bind(address).await?;
        let address = udp.local_addr()?;
        let (udp, tcp) = (tokio::spawn(serve_udp(udp, zones.clone())), tokio::spawn(serve_tcp(tcp, zones.clone())));
        Ok(Self { address, zones, udp, tcp })
    }

    /// Where it really listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The handle through which zones, faults and counts are reached; it may be cloned, and outlives the server.
    pub fn zones(&self) -> &Zones {
        &self.zones
    }

    /// Stops, and returns once the port is free again.
    pub async fn stop(mut self) {
        self.udp.abort();
        self.tcp.abort();
        // Both were aborted: that is the only way they end.
        let _ = (&mut self.udp).await;
        let _ = (&mut self.tcp).await;
    }
}

impl Drop for Nameserver {
    fn drop(&mut self) {
        self.udp.abort();
        self.tcp.abort();
    }
}

async fn bind(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = BIND_TRIES;
    loop {
        let udp = UdpSocket::bind(address).await?;
        tries -= 1;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if address.port() != 0 || tries == 0 => return Err(error),
            Err(_) => {}
        }
    }
}

async fn serve_udp(socket: UdpSocket, zones: Zones) {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, peer)) => {
                if let Some(answer) = zones.answer(&buffer[..length], Transport::Udp) {
                    // A peer that is gone asks again or doesn't care.
                    let _ = socket.send_to(&answer, peer).await;
                }
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn serve_tcp(listener: TcpListener, zones: Zones) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(serve_connection(stream, zones.clone()))),
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(mut stream: TcpStream, zones: Zones) -> io::Result<()> {
    loop {
        let length = tokio::time::timeout(TCP_IDLE, stream.read_u16()).await??;
        let mut query = vec![0; usize::from(length)];
        tokio::time::timeout(TCP_IDLE, stream.read_exact(&mut query)).await??;
        if let Some(answer) = zones.answer(&query, Transport::Tcp) {
            let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
            let framed: Vec<u8> = length.to_be_bytes().into_iter().chain(answer).collect();
            stream.write_all(&framed).await?;
        }
    }
}

#[cfg(test)]
mod tests;
