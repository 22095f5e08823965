//! What the connections of a CTI XSP brought, and how they ended. Separate from the XSP because a test reads it while bytes
//! come in.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Hasher;
use crate::proxy_protocol::Header;
use crate::sim::watched::Watched;
use crate::sim::xsp::Connections;

/// How much of what a connection receives is kept, in bytes.
const KEPT: usize = 64 * 1024;

/// One connection that an XSP has accepted.
#[derive(Clone)]
pub struct Recorded {
    /// Where it came from.
    pub from: SocketAddr,
    /// The PROXY header in front of it, where one was expected and came.
    pub header: Option<Header>,
    /// The server name that the client asked for.
    pub server_name: Option<String>,
    /// The common name of the certificate that the client showed; `None` before the handshake is through, and where none
    /// was shown.
    pub peer: Option<String>,
    /// Bytes received behind the handshake.
    pub received: u64,
    /// The first 64 KiB of them.
    pub bytes: Vec<u8>,
    /// Bytes that could be sent; what lies in the buffers of the system between is among them.
    pub sent: u64,
    /// How it ended.
    pub end: End,
    hasher: Hasher,
    open: Open,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Yes,
    No,
}

impl Recorded {
    /// SHA-256 of all that was received.
    pub fn digest(&self) -> [u8; 32] {
        self.hasher.digest()
    }

    /// Whether the connection is still there.
    pub fn is_open(&self) -> bool {
        self.open == Open::Yes
    }
}

/// How a connection ended on the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Not yet; a connection that is gone was ended by the XSP.
    None,
    /// No handshake came about.
    NoHandshake,
    /// By close_notify.
    CloseNotify,
    /// By FIN alone.
    Fin,
    /// By RST.
    Reset,
    /// In some other way, such as an alert.
    Broken,
}

#[derive(Default)]
struct Book {
    records: Vec<Recorded>,
    handshakes: u64,
}

/// The record of one XSP.
#[derive(Clone, Default)]
pub(super) struct Ledger(Arc<Watched<Book>>);

impl Ledger {
    pub(super) fn records(&self) -> Vec<Recorded> {
        self.0.read(|book| book.records.clone())
    }

    pub(super) fn connections(&self) -> Connections {
        self.0.read(|book| {
            let open = book.records.iter().filter(|record| record.is_open()).count();
            Connections { accepted: book.records.len() as u64, handshakes: book.handshakes, open: open as u64 }
        })
    }

    /// A connection was accepted; it is open until the result is dropped.
    pub(super) fn accepted(&self, from: SocketAddr) -> Entry {
        let record = Recorded {
            from,
            header: None,
            server_name: None,
            peer: None,
            received: 0,
            bytes: Vec::new(),
            sent: 0,
            end: End::None,
            hasher: Hasher::new(),
            open: Open::Yes,
        };
        let index = self.0.write(|book| {
            book.records.push(record);
            book.records.len() - 1
        });
        Entry { ledger: self.clone(), index }
    }

    /// Returns when the first `count` connections are gone.
    pub(super) async fn closed_up_to(&self, count: u64) {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        self.0.until(|book| !book.records.iter().take(count).any(Recorded::is_open)).await;
    }

    pub(super) async fn until(&self, deadline: Duration, holds: impl Fn(&[Recorded]) -> bool) -> bool {
        self.0.within(deadline, |book| holds(&book.records)).await
    }
}

/// The place of a connection in the record.
pub(super) struct Entry {
    ledger: Ledger,
    index: usize,
}

impl Entry {
    pub(super) fn preface(&self, header: Header) {
        self.update(|record| record.header = Some(header));
    }

    pub(super) fn handshake(&self, server_name: Option<String>, peer: Option<String>) {
        self.ledger.0.write(|book| {
            book.handshakes += 1;
            let record = &mut book.records[self.index];
            (record.server_name, record.peer) = (server_name, peer);
        });
    }

    pub(super) fn received(&self, bytes: &[u8]) {
        self.update(|record| {
            record.received += bytes.len() as u64;
            record.hasher.update(bytes);
            let room = KEPT.saturating_sub(record.bytes.len());
            record.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        });
    }

    pub(super) fn sent(&self, length: usize) {
        self.update(|record| record.sent += length as u64);
    }

    pub(super) fn ended(&self, end: End) {
        self.update(|record| record.end = end);
    }

    fn update(&self, change: impl FnOnce(&mut Recorded)) {
        self.ledger.0.write(|book| change(&mut book.records[self.index]));
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.update(|record| record.open = Open::No);
    }
}
