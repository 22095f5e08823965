//! Whether versions of TLS before 1.2 are rejected (R-TLS-1). Separate from other handshakes, because rustls can't even ask
//! for them: a ClientHello of TLS 1.1 goes out as bytes, and the first record of the answer says it all.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::door::Door;
use super::finding::Finding;

const CHECK: &str = "old-tls";
/// Suites that servers of TLS 1.1 have: ECDHE and RSA with AES in CBC.
const SUITES: [u16; 6] = [0xc00a, 0xc009, 0xc014, 0xc013, 0x0035, 0x002f];
/// secp256r1, secp384r1 and x25519.
const GROUPS: [u16; 3] = [0x0017, 0x0018, 0x001d];
const HANDSHAKE: u8 = 22;

/// Tries it; nothing if no answer could be had.
pub(super) async fn look(door: &Door, host: &str) -> Option<Finding> {
    let name = host.split(':').next().unwrap_or_default();
    let answer = timeout(door.patience, exchange(door, &hello(name))).await;
    Some(verdict(answer.ok()?.ok()?))
}

/// The kind of the first record of the answer; `None`: the connection was closed without one.
async fn exchange(door: &Door, hello: &[u8]) -> io::Result<Option<u8>> {
    let mut tcp = TcpStream::connect(door.address).await?;
    tcp.write_all(hello).await?;
    let mut kind = [0];
    match tcp.read_exact(&mut kind).await {
        Ok(_) => Ok(Some(kind[0])),
        Err(_) => Ok(None),
    }
}

fn verdict(kind: Option<u8>) -> Finding {
    if kind == Some(HANDSHAKE) {
        let help = "Webex uses TLS 1.2 or later (R-TLS-1): switch TLS 1.1 and 1.0 off";
        return Finding::warn(CHECK, "TLS 1.1 is spoken, too", help);
    }
    Finding::ok(CHECK, "TLS 1.1 is rejected")
}

/// A ClientHello of TLS 1.1 in one record.
fn hello(name: &str) -> Vec<u8> {
    let pairs = |values: &[u16]| values.iter().flat_map(|value| value.to_be_bytes()).collect::<Vec<u8>>();
    let server_name = sized::<2>(&[&[0][..], &sized::<2>(name.as_bytes())].concat());
    let extensions = [
        (0u16, server_name),
        (10, sized::<2>(&pairs(&GROUPS))),
        // Uncompressed points.
        (11, vec![1, 0]),
    ];
    let extensions: Vec<u8> =
        extensions.iter().flat_map(|(kind, body)| [&kind.to_be_bytes()[..], &sized::<2>(body)].concat()).collect();
    let body = [
        &[3, 2][..],
        &rand::random::<[u8; 32]>(),
        // No session.
        &[0],
        &sized::<2>(&pairs(&SUITES)),
        // No compression.
        &[1, 0],
        &sized::<2>(&extensions),
    ];
    let message = [&[1][..], &sized::<3>(&body.concat())].concat();
    [&[HANDSHAKE, 3, 1][..], &sized::<2>(&message)].concat()
}

/// The bytes behind their length in `N` bytes; none of them is longer than a host name and some.
fn sized<const N: usize>(bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len().to_be_bytes();
    [&length[length.len() - N..], bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Standing;

    #[test]
    fn r_tls_1_a_server_hello_is_one_too_many() {
        assert_eq!(verdict(Some(HANDSHAKE)).standing, Standing::Warn);
        assert_eq!(verdict(Some(21)).standing, Standing::Ok);
        assert_eq!(verdict(None).standing, Standing::Ok);
    }

    #[test]
    fn lengths_add_up() {
        let hello = hello("a.example.com");
        assert_eq!(usize::from(u16::from_be_bytes([hello[3], hello[4]])), hello.len() - 5);
        assert_eq!(usize::from(u16::from_be_bytes([hello[7], hello[8]])), hello.len() - 9);
        assert!(hello.windows(13).any(|window| window == b"a.example.com"));
    }
}
