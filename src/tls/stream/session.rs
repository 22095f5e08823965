//! rustls' unbuffered sessions, client's and server's, behind one pair of verbs: digest what came, seal what goes. Separate from
//! the stream, so that this file knows rustls and no sockets, and that one sockets and little of rustls.

use rustls::CommonState;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};

/// One side of a TLS session.
pub(super) enum Session {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

/// Whether the peer may send more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    Open,
    /// The peer said close_notify: nothing was cut off.
    Finished,
}

/// What a session made of received bytes.
pub(super) struct Digested {
    /// How many it is done with; the rest is to be shown again with what follows.
    pub(super) consumed: usize,
    pub(super) reading: Reading,
}

/// Sealed records on their way out. Bytes that were used once are not wiped for the next record, which overwrites them
/// anyway: wiping 64 KiB with each turn is as dear as copying them.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    bytes: Vec<u8>,
    len: usize,
}

impl Sealed {
    /// Empties it; the space stays.
    pub(super) const fn clear(&mut self) {
        self.len = 0;
    }

    /// The records.
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Appends what `encode` writes into `room` bytes, or into as many as it then says it needs.
    fn append(
        &mut self,
        mut room: usize,
        mut encode: impl FnMut(&mut [u8]) -> Result<usize, Shortage>,
    ) -> Result<(), rustls::Error> {
        loop {
            let end = self.len + room;
            if self.bytes.len() < end {
                self.bytes.resize(end, 0);
            }
            match encode(&mut self.bytes[self.len..end]) {
                Ok(written) => {
                    self.len += written;
                    return Ok(());
                }
                Err(Shortage::Room(required)) if required > room => room = required,
                Err(Shortage::Room(_) | Shortage::Never) => return Err(rustls::Error::EncryptError),
            }
        }
    }
}

/// What is to be sealed.
#[derive(Clone, Copy)]
pub(super) enum Seal<'a> {
    Data(&'a [u8]),
    CloseNotify,
}

impl Seal<'_> {
    /// Room that is enough: a record holds 16 KiB and adds less than 64 bytes.
    const fn room(self) -> usize {
        match self {
            Self::Data(plaintext) => plaintext.len() + (plaintext.len() / 16_384 + 2) * 64,
            Self::CloseNotify => 128,
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Server(_) => "Server",
            Self::Client(_) => "Client",
        })
    }
}

impl Session {
    /// What the handshake agreed on.
    pub(super) fn common(&self) -> &CommonState {
        match self {
            Self::Server(session) => session,
            Self::Client(session) => session,
        }
    }

    /// Feeds `incoming` to the session until it wants more. On an error, the alert that says so is in `sealed`.
    pub(super) fn digest(
        &mut self,
        incoming: &mut [u8],
        plaintext: &mut Vec<u8>,
        sealed: &mut Sealed,
    ) -> Result<Digested, rustls::Error> {
        match self {
            Self::Server(session) => digest(session.as_mut(), incoming, plaintext, sealed),
            Self::Client(session) => digest(session.as_mut(), incoming, plaintext, sealed),
        }
    }

    /// Appends sealed records to `sealed`: the session's own that are due, and then `what`.
    pub(super) fn seal(
        &mut self,
        partial: &mut Vec<u8>,
        what: Seal<'_>,
        sealed: &mut Sealed,
    ) -> Result<(), rustls::Error> {
        match self {
            Self::Server(session) => seal(session.as_mut(), partial, what, sealed),
            Self::Client(session) => seal(session.as_mut(), partial, what, sealed),
        }
    }
}

/// What client and server sessions have in common; rustls names no trait for it.
trait Machine {
    type Data;
    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Machine for UnbufferedServerConnection {
    type Data = ServerConnectionData;
    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

impl Machine for UnbufferedClientConnection {
    type Data = ClientConnectionData;
    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

/// Feeds `incoming` to the session until it wants more. On an error, the alert that says so is in `sealed`.
fn digest<M: Machine>(
    machine: &mut M,
    incoming: &mut [u8],
    plaintext: &mut Vec<u8>,
    sealed: &mut Sealed,
) -> Result<Digested, rustls::Error> {
    let mut digested = Digested { consumed: 0, reading: Reading::Open };
    loop {
        let UnbufferedStatus { mut discard, state } = machine.process(&mut incoming[digested.consumed..]);
        let more = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    discard += record.discard;
                    plaintext.extend_from_slice(record.payload);
                }
                true
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                sealed.append(512, |room| data.encode(room).map_err(Shortage::from))?;
                true
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                true
            }
            Ok(ConnectionState::PeerClosed) => {
                digested.reading = Reading::Finished;
                true
            }
            Ok(ConnectionState::Closed | ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => false,
            // Early data is never offered, and states that rustls may add are not known to be safe to skip.
            Ok(_) => return Err(rustls::Error::General("unexpected TLS state".into())),
            Err(error) => {
                append_alert(machine, &mut incoming[digested.consumed + discard..], sealed);
                return Err(error);
            }
        };
        digested.consumed += discard;
        if !more {
            return Ok(digested);
        }
    }
}

/// The first bytes of records of a handshake and of its change of keys, as an alert's is not.
const FLIGHT: [u8; 2] = [22, 20];

/// What rustls has queued with an error: the flight that it was about to send, and the alert. Asked until there is an alert and
/// no longer, since a session with nothing queued looks at the offending bytes again; and shown the rest of the buffer, since it
/// may refer to a handshake message in there.
fn append_alert<M: Machine>(machine: &mut M, incoming: &mut [u8], sealed: &mut Sealed) {
    loop {
        let start = sealed.len;
        match machine.process(incoming).state {
            // The alert is a courtesy: the error stands without it.
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                drop(sealed.append(512, |room| data.encode(room).map_err(Shortage::from)));
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                continue;
            }
            Ok(_) | Err(_) => return,
        }
        if !sealed.bytes[..sealed.len].get(start).is_some_and(|kind| FLIGHT.contains(kind)) {
            return;
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "rustls may add states, and none that is unknown is safe to skip")]
fn seal<M: Machine>(
    machine: &mut M,
    partial: &mut Vec<u8>,
    what: Seal<'_>,
    sealed: &mut Sealed,
) -> Result<(), rustls::Error> {
    loop {
        // The session may refer to the unfinished message that it has seen, so it sees it again.
        let UnbufferedStatus { discard, state } = machine.process(partial);
        let done = match state? {
            ConnectionState::WriteTraffic(mut traffic) => {
                sealed.append(what.room(), |room| match what {
                    Seal::Data(plaintext) => traffic.encrypt(plaintext, room).map_err(Shortage::from),
                    Seal::CloseNotify => traffic.queue_close_notify(room).map_err(Shortage::from),
                })?;
                true
            }
            ConnectionState::EncodeTlsData(mut data) => {
                sealed.append(512, |room| data.encode(room).map_err(Shortage::from))?;
                false
            }
            ConnectionState::TransmitTlsData(data) => {
                data.done();
                false
            }
            ConnectionState::PeerClosed => false,
            ConnectionState::Closed | ConnectionState::BlockedHandshake => true,
            _ => return Err(rustls::Error::General("unexpected TLS state".into())),
        };
        partial.drain(..discard);
        if done {
            return Ok(());
        }
    }
}

/// Why bytes could not be encoded: for want of room, or for good.
enum Shortage {
    Room(usize),
    Never,
}

impl From<EncodeError> for Shortage {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(size) => Self::Room(size.required_size),
            EncodeError::AlreadyEncoded => Self::Never,
        }
    }
}

impl From<EncryptError> for Shortage {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(size) => Self::Room(size.required_size),
            EncryptError::EncryptExhausted => Self::Never,
        }
    }
}
