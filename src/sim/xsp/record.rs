//! What an XSP was asked, and its connections. Separate from the XSP because a test reads it while requests come in.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{HeaderMap, Method};

use crate::sim::watched::Watched;

/// How much of a request's body is kept, in bytes.
pub(super) const BODY_KEPT: usize = 64 * 1024;

/// One request that an XSP has seen.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The method.
    pub method: Method,
    /// Path and query as they came.
    pub target: String,
    /// The fields as they came; names are in lower case.
    pub headers: HeaderMap,
    /// The first 64 KiB of the body, as far as it has come.
    pub body: Vec<u8>,
    /// The length of the body, as far as it has come.
    pub body_length: u64,
    /// On which connection it came; they are counted from 1.
    pub connection: u64,
    /// When its head had come.
    pub at: Instant,
    /// What became of it.
    pub end: End,
}

impl Recorded {
    /// The path without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The first field of that name, as text; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its answer is not through yet.
    Pending,
    /// Its answer was sent whole.
    Answered,
    /// The caller left, or the connection was cut, before the answer was through.
    Abandoned,
}

/// Counts of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// TCP connections accepted.
    pub accepted: u64,
    /// TLS handshakes finished.
    pub handshakes: u64,
    /// Connections that are open now.
    pub open: u64,
}

#[derive(Default)]
struct Book {
    requests: Vec<Recorded>,
    /// Requests that are no longer in `requests`.
    forgotten: u64,
    keep_nothing: bool,
    accepted: u64,
    handshakes: u64,
    open: BTreeSet<u64>,
}

impl Book {
    fn request_count(&self) -> u64 {
        self.forgotten + self.requests.len() as u64
    }
}

/// The record of one XSP.
#[derive(Clone, Default)]
pub(super) struct Ledger(Arc<Watched<Book>>);

impl Ledger {
    pub(super) fn requests(&self) -> Vec<Recorded> {
        self.0.read(|book| book.requests.clone())
    }

    pub(super) fn request_count(&self) -> u64 {
        self.0.read(Book::request_count)
    }

    pub(super) fn connections(&self) -> Connections {
        self.0.read(|book| Connections {
            accepted: book.accepted,
            handshakes: book.handshakes,
            open: book.open.len() as u64,
        })
    }

    pub(super) fn count_only(&self) {
        self.0.write(|book| book.keep_nothing = true);
        self.forget();
    }

    pub(super) fn forget(&self) {
        self.0.write(|book| {
            book.forgotten += book.requests.len() as u64;
            book.requests.clear();
        });
    }

    /// A connection was accepted; it is open until the result is dropped.
    pub(super) fn accepted(&self) -> Open {
        let number = self.0.write(|book| {
            book.accepted += 1;
            book.open.insert(book.accepted);
            book.accepted
        });
        Open { ledger: self.clone(), number }
    }

    pub(super) fn handshake(&self) {
        self.0.write(|book| book.handshakes += 1);
    }

    /// A request's head has come.
    pub(super) fn begin(&self, head: &Parts, connection: u64) -> Exchange {
        let recorded = Recorded {
            method: head.method.clone(),
            target: head.uri.to_string(),
            headers: head.headers.clone(),
            body: Vec::new(),
            body_length: 0,
            connection,
            at: Instant::now(),
            end: End::Pending,
        };
        let position = self.0.write(|book| {
            let position = book.request_count();
            if book.keep_nothing {
                book.forgotten += 1;
            } else {
                book.requests.push(recorded);
            }
            position
        });
        Exchange { entry: Entry { ledger: self.clone(), position }, answered: false }
    }

    pub(super) async fn closed_up_to(&self, newest: u64) {
        self.0.until(|book| book.open.first().is_none_or(|&oldest| oldest > newest)).await;
    }

    pub(super) async fn until(&self, deadline: Duration, holds: impl Fn(&[Recorded]) -> bool) -> bool {
        self.0.within(deadline, |book| holds(&book.requests)).await
    }
}

/// An open connection.
pub(super) struct Open {
    ledger: Ledger,
    /// Counted from 1.
    pub(super) number: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.ledger.0.write(|book| book.open.remove(&self.number));
    }
}

/// The place of a request in the record.
#[derive(Clone)]
pub(super) struct Entry {
    ledger: Ledger,
    position: u64,
}

impl Entry {
    /// More of the body has come.
    pub(super) fn body(&self, data: &[u8]) {
        self.update(|recorded| {
            recorded.body_length += data.len() as u64;
            let room = BODY_KEPT.saturating_sub(recorded.body.len());
            recorded.body.extend_from_slice(&data[..data.len().min(room)]);
        });
    }

    fn update(&self, change: impl FnOnce(&mut Recorded)) {
        self.ledger.0.write(|book| {
            let index = self.position.checked_sub(book.forgotten).and_then(|index| usize::try_from(index).ok());
            if let Some(recorded) = index.and_then(|index| book.requests.get_mut(index)) {
                change(recorded);
            }
        });
    }
}

/// A request on its way; dropped before its answer is through, it counts as abandoned.
pub(super) struct Exchange {
    pub(super) entry: Entry,
    answered: bool,
}

impl Exchange {
    pub(super) fn answered(&mut self) {
        if !self.answered {
            self.answered = true;
            self.entry.update(|recorded| recorded.end = End::Answered);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.answered {
            self.entry.update(|recorded| recorded.end = End::Abandoned);
        }
    }
}
