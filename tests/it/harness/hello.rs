//! ClientHellos as bytes, likely and unlikely ones.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::RootCertStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use xspgate::sim::site::CLOUD;

use super::{tls_config, within};

/// A ClientHello of TLS 1.1 with one suite, and SNI.
pub(crate) fn old_hello() -> Vec<u8> {
    let name = CLOUD.as_bytes();
    let mut sni = vec![0, 0];
    sni.extend(u16::try_from(name.len() + 5).unwrap().to_be_bytes());
    sni.extend(u16::try_from(name.len() + 3).unwrap().to_be_bytes());
    sni.push(0);
    sni.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
    sni.extend(name);
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x09, 1, 0]);
    hello.extend(u16::try_from(sni.len()).unwrap().to_be_bytes());
    hello.extend(sni);
    let mut record = vec![22, 3, 1];
    record.extend(u16::try_from(hello.len() + 4).unwrap().to_be_bytes());
    record.extend([1, 0]);
    record.extend(u16::try_from(hello.len()).unwrap().to_be_bytes());
    record.extend(hello);
    record
}

/// The ClientHello that a real client sends for this name, in one record.
pub(crate) fn hello(sni: &str) -> Vec<u8> {
    let name = rustls_pki_types::ServerName::try_from(sni.to_owned()).unwrap();
    let mut client = rustls::ClientConnection::new(tls_config(&Arc::new(RootCertStore::empty())), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// The same handshake message, cut into records of `size` bytes.
pub(crate) fn fragmented(record: &[u8], size: usize) -> Vec<u8> {
    let fragments = record[5..].chunks(size);
    fragments.flat_map(|piece| [&[22, 3, 1, (piece.len() >> 8) as u8, piece.len() as u8][..], piece].concat()).collect()
}

/// A ClientHello in one record, with an extension of so many bytes that nobody knows.
pub(crate) fn padded(record: &[u8], more: usize) -> Vec<u8> {
    let mut hello = record[9..].to_vec();
    let session = usize::from(hello[34]);
    let suites = 35 + session;
    let compression = suites + 2 + usize::from(u16::from_be_bytes([hello[suites], hello[suites + 1]]));
    let extensions = compression + 1 + usize::from(hello[compression]);
    let length = u16::from_be_bytes([hello[extensions], hello[extensions + 1]]) as usize + 4 + more;
    hello[extensions..extensions + 2].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
    let padding = [&[0xfa, 0xfa][..], &u16::try_from(more).unwrap().to_be_bytes(), &vec![0; more]].concat();
    hello.splice(extensions + 2..extensions + 2, padding);
    let length = u32::try_from(hello.len()).unwrap().to_be_bytes();
    [&[22, 3, 1, 0, 0, 1], &length[1..], &hello].concat()
}

/// What comes back for bytes that are sent to a TLS port in the clear, until the gateway closes.
pub(crate) async fn answer_in_the_clear(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let exchange = async {
        let mut tcp = TcpStream::connect(to).await.unwrap();
        tcp.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        // A reset is a way of closing, too.
        let _ = tcp.read_to_end(&mut answer).await;
        answer
    };
    within("the end of the connection", exchange).await
}
