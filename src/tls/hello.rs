//! The ClientHello, read before anybody answers it: which name does the client ask for, and what can it speak? Separate from
//! the server's configurations, because it decides which of them answers, or that none does.

use rustls::server::{Acceptor, ClientHello};
use rustls::{Error, PeerMisbehaved};

use crate::config::types::suite::{is_chacha20, is_known, is_tls13};

/// The longest ClientHello, as a handshake message.
const LONGEST: usize = 16 * 1024;
/// The longest that one may be on the wire, with the headers of the records that it is cut into.
const LONGEST_ON_WIRE: usize = 2 * LONGEST;
/// A record's type, version and length.
const RECORD_HEADER: usize = 5;
/// A handshake message's type and length.
const MESSAGE_HEADER: usize = 4;
/// The record type of handshakes.
const HANDSHAKE: u8 = 22;

/// The alert unrecognized_name (RFC 6066 section 3), fatal, as a whole record.
pub const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// What a client's first bytes ask for.
#[derive(Debug, PartialEq, Eq)]
pub enum Hello {
    /// More bytes are needed.
    Incomplete,
    /// A whole ClientHello.
    Whole(Greeting),
    /// A ClientHello of more than 16 KiB.
    TooLong,
    /// A ClientHello with a server name that is no name; these bytes say so to the client.
    NoSuchName(Vec<u8>),
    /// No ClientHello; these bytes say so to the client.
    Garbage(Vec<u8>),
    /// A ClientHello of a client that nobody here can agree with, such as one of TLS 1.1; these bytes say so to it.
    Incompatible(Vec<u8>),
}

/// What a whole ClientHello says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// In lower case and without a dot at its end. `None`: it asks for no name, or for an address.
    pub name: Option<String>,
    /// What the client can speak.
    pub offer: Offer,
}

/// What a client can speak, as far as that decides how it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The cipher that it likes best.
    pub favourite: Favourite,
    /// Whether it names a cipher suite of TLS 1.3.
    pub newest: Newest,
}

/// A client's first cipher among those that are known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Favourite {
    /// ChaCha20-Poly1305, as of a device that has no AES in its hardware.
    ChaCha20,
    /// Another one, or none.
    Other,
}

/// The newest version for which a client names a cipher suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newest {
    /// TLS 1.2 or older.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl Greeting {
    fn of(hello: &ClientHello<'_>) -> Self {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let name = name.map(|name| name.strip_suffix('.').map(str::to_owned).unwrap_or(name));
        // Browsers begin with a suite that nobody knows (RFC 8701).
        let mut known = hello.cipher_suites().iter().copied().filter(|suite| is_known(*suite));
        let newest = if known.clone().any(is_tls13) { Newest::Tls13 } else { Newest::Tls12 };
        let favourite = if known.next().is_some_and(is_chacha20) { Favourite::ChaCha20 } else { Favourite::Other };
        Self { name, offer: Offer { favourite, newest } }
    }
}

/// Reads the ClientHello at the beginning of `received`, across records, without answering it. May be asked again after
/// every byte: it looks at the message itself only once all of it is there.
pub fn peek(received: &[u8]) -> Hello {
    match extent(received) {
        Extent::Short if received.len() > LONGEST_ON_WIRE => Hello::TooLong,
        Extent::Short => Hello::Incomplete,
        Extent::TooLong => Hello::TooLong,
        Extent::Whole => parse(received),
    }
}

enum Extent {
    Short,
    TooLong,
    /// Whole, or nothing that more bytes could make whole.
    Whole,
}

/// How much of the first handshake message is there.
fn extent(received: &[u8]) -> Extent {
    let mut header = [0; MESSAGE_HEADER];
    let mut have = 0;
    let mut rest = received;
    while let [kind, _, _, high, low, payload @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if *kind != HANDSHAKE || length == 0 {
            return Extent::Whole;
        }
        let here = &payload[..payload.len().min(length)];
        for (byte, place) in here.iter().zip(header.iter_mut().skip(have)) {
            *place = *byte;
        }
        have += here.len();
        rest = &payload[here.len()..];
        let [_, high, middle, low] = header;
        let message = MESSAGE_HEADER + u32::from_be_bytes([0, high, middle, low]) as usize;
        match have {
            0..MESSAGE_HEADER => {}
            _ if message > LONGEST + MESSAGE_HEADER => return Extent::TooLong,
            _ if have >= message => return Extent::Whole,
            _ => {}
        }
    }
    // A first byte that begins no handshake will not begin one with more bytes behind it.
    if received.len() < RECORD_HEADER && received.first().is_some_and(|kind| *kind != HANDSHAKE) {
        return Extent::Whole;
    }
    Extent::Short
}

#[expect(clippy::wildcard_enum_match_arm, reason = "rustls may add errors, and all others speak of bad bytes")]
fn parse(received: &[u8]) -> Hello {
    let mut acceptor = Acceptor::default();
    let mut rest = received;
    while !rest.is_empty() {
        if acceptor.read_tls(&mut rest).is_err() {
            return Hello::Garbage(Vec::new());
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => return Hello::Whole(Greeting::of(&accepted.client_hello())),
            Err((error, mut alert)) => {
                let mut bytes = Vec::new();
                // A Vec takes every byte.
                drop(alert.write_all(&mut bytes));
                return match error {
                    Error::PeerIncompatible(_) => Hello::Incompatible(bytes),
                    Error::PeerMisbehaved(PeerMisbehaved::ServerNameMustContainOneHostName) => Hello::NoSuchName(bytes),
                    _ => Hello::Garbage(bytes),
                };
            }
        }
    }
    Hello::Incomplete
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::crypto::aws_lc_rs::cipher_suite;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedCipherSuite};

    use super::*;

    fn named(name: Option<&str>) -> Hello {
        let offer = Offer { favourite: Favourite::Other, newest: Newest::Tls13 };
        Hello::Whole(Greeting { name: name.map(str::to_owned), offer })
    }

    /// The handshake message of a ClientHello for `name`.
    fn message(name: &'static str) -> Vec<u8> {
        message_of(name, rustls::crypto::aws_lc_rs::DEFAULT_CIPHER_SUITES)
    }

    fn message_of(name: &'static str, suites: &[SupportedCipherSuite]) -> Vec<u8> {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.cipher_suites = suites.to_vec();
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let name = ServerName::try_from(name).unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut record = Vec::new();
        client.write_tls(&mut record).unwrap();
        record.split_off(RECORD_HEADER)
    }

    /// The message in records of at most `size` bytes.
    fn records(message: &[u8], size: usize) -> Vec<u8> {
        let record = |piece: &[u8]| {
            let mut record = vec![HANDSHAKE, 3, 1];
            record.extend_from_slice(&u16::try_from(piece.len()).unwrap().to_be_bytes());
            record.extend_from_slice(piece);
            record
        };
        message.chunks(size).flat_map(record).collect()
    }

    /// The message with a padding extension that makes it `length` bytes long.
    fn padded(message: &[u8], length: usize) -> Vec<u8> {
        let mut padded = message.to_vec();
        // Version, random, session id, suites, compression: behind them are the extensions and their length.
        let session = MESSAGE_HEADER + 2 + 32;
        let suites = session + 1 + usize::from(message[session]);
        let compression = suites + 2 + usize::from(u16::from_be_bytes([message[suites], message[suites + 1]]));
        let extensions = compression + 1 + usize::from(message[compression]);
        let padding = length - message.len() - 4;
        padded.extend_from_slice(&[0, 21]);
        padded.extend_from_slice(&u16::try_from(padding).unwrap().to_be_bytes());
        padded.resize(length, 0);
        let inner = u16::try_from(length - extensions - 2).unwrap().to_be_bytes();
        padded[extensions..extensions + 2].copy_from_slice(&inner);
        let whole = u32::try_from(length - MESSAGE_HEADER).unwrap().to_be_bytes();
        padded[1..4].copy_from_slice(&whole[1..]);
        padded
    }

    #[test]
    fn a_hello_is_read_however_it_is_cut() {
        let message = message("XSP.Example.COM");
        for size in [1, 2, 3, 5, 100, 16_384] {
            let bytes = records(&message, size);
            for end in 0..bytes.len() {
                assert_eq!(peek(&bytes[..end]), Hello::Incomplete, "records of {size}, {end} bytes");
            }
            assert_eq!(peek(&bytes), named(Some("xsp.example.com")), "records of {size}");
        }
    }

    #[test]
    fn sixteen_kib_are_read_and_no_more() {
        let message = message("xsp.example.com");
        let longest = padded(&message, LONGEST + MESSAGE_HEADER);
        assert_eq!(peek(&records(&longest, 16_384)), named(Some("xsp.example.com")));
        assert_eq!(peek(&records(&longest, 100)), named(Some("xsp.example.com")));
        let longer = padded(&message, LONGEST + MESSAGE_HEADER + 1);
        assert_eq!(peek(&records(&longer, 16_384)), Hello::TooLong);
        assert_eq!(peek(&records(&longer, 16_384)[..20]), Hello::TooLong, "its header says so");
    }

    #[test]
    fn records_of_one_byte_do_not_go_on_for_ever() {
        let longest = padded(&message("xsp.example.com"), LONGEST);
        let bytes = records(&longest, 1);
        assert_eq!(peek(&bytes[..LONGEST_ON_WIRE]), Hello::Incomplete);
        assert_eq!(peek(&bytes[..LONGEST_ON_WIRE + 1]), Hello::TooLong);
    }

    #[test]
    fn what_is_no_hello_is_told_at_once() {
        for bytes in [
            &b"G"[..],
            b"GET / HTTP/1.1\r\n",
            b"PROXY TCP4",
            &[0x80, 0x2e, 1],
            &[21, 3, 3, 0, 2, 1, 0],
            &[22, 3, 1, 0, 0],
        ] {
            assert!(matches!(peek(bytes), Hello::Garbage(_)), "{bytes:?}");
        }
        assert_eq!(peek(b""), Hello::Incomplete);
    }

    #[test]
    fn a_hello_may_name_nobody() {
        let bytes = records(&message("192.0.2.1"), 16_384);
        assert_eq!(peek(&bytes), named(None));
    }

    #[test]
    fn a_hello_tells_what_its_client_likes_best() {
        let (aes, chacha) = (cipher_suite::TLS13_AES_128_GCM_SHA256, cipher_suite::TLS13_CHACHA20_POLY1305_SHA256);
        let old = cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256;
        for (suites, favourite, newest) in [
            (&[aes, chacha, old][..], Favourite::Other, Newest::Tls13),
            (&[chacha, aes], Favourite::ChaCha20, Newest::Tls13),
            (&[old], Favourite::ChaCha20, Newest::Tls12),
        ] {
            let hello = message_of("xsp.example.com", suites);
            let mut greased = hello.clone();
            // Version, random and session id come before the suites' length; the first suite becomes GREASE, in front.
            let at = MESSAGE_HEADER + 2 + 32;
            let at = at + 1 + usize::from(hello[at]);
            let length = u16::from_be_bytes([hello[at], hello[at + 1]]) + 2;
            greased[at..at + 2].copy_from_slice(&length.to_be_bytes());
            greased.splice(at + 2..at + 2, [0x0a, 0x0a]);
            let whole = u32::try_from(greased.len() - MESSAGE_HEADER).unwrap().to_be_bytes();
            greased[1..4].copy_from_slice(&whole[1..]);
            for message in [hello, greased] {
                let Hello::Whole(greeting) = peek(&records(&message, 16_384)) else { panic!("{suites:?}") };
                assert_eq!(greeting.offer, Offer { favourite, newest }, "{suites:?}");
            }
        }
    }
}
