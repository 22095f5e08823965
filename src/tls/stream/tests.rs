//! Against a buffered rustls peer, which is another reading of the same protocol, over in-memory pipes and, where it is the
//! kernel that matters, over sockets.

use std::future::poll_fn;
use std::io::Write;
use std::sync::{Arc, mpsc};
use std::task::Waker;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::sim::pki::Pki;

const NAME: &str = "xsp.example.com";

fn configs() -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let pki = Pki::new();
    let identity = pki.public(&[NAME]);
    let client = ClientConfig::builder().with_root_certificates(pki.public_roots()).with_no_client_auth();
    let server =
        ServerConfig::builder().with_no_client_auth().with_single_cert(identity.chain(), identity.key()).unwrap();
    (Arc::new(client), Arc::new(server))
}

fn name() -> ServerName<'static> {
    ServerName::try_from(NAME).unwrap()
}

async fn read_exactly(stream: &mut Stream<DuplexStream>, length: usize) -> Vec<u8> {
    let mut got = Vec::new();
    while got.len() < length {
        assert!(poll_fn(|cx| stream.poll_read(cx, &mut got)).await.unwrap() > 0, "the stream ended early");
    }
    got
}

async fn write_all(stream: &mut Stream<DuplexStream>, bytes: &[u8]) {
    poll_fn(|cx| Poll::Ready(stream.write(cx, bytes))).await.unwrap();
    poll_fn(|cx| stream.poll_flush(cx)).await.unwrap();
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

/// As server, with a pipe so narrow that every record is torn, and with bytes that were peeked at.
#[tokio::test]
async fn serves_a_buffered_client_through_a_narrow_pipe() {
    for pipe in [7, 100, 70_000] {
        let (client, server) = configs();
        let (ours, theirs) = duplex(pipe);
        let peer = tokio::spawn(async move {
            let mut stream = TlsConnector::from(client).connect(name(), theirs).await.unwrap();
            stream.write_all(&pattern(40_000)).await.unwrap();
            stream.flush().await.unwrap();
            let mut answer = vec![0; 50_000];
            stream.read_exact(&mut answer).await.unwrap();
            stream.shutdown().await.unwrap();
            answer
        });
        let mut ours = ours;
        let mut first = [0; 1];
        ours.read_exact(&mut first).await.unwrap();
        let mut stream = Stream::server(ours, server, first.to_vec()).unwrap();
        poll_fn(|cx| stream.poll_handshake(cx)).await.unwrap();
        assert_eq!(read_exactly(&mut stream, 40_000).await, pattern(40_000));
        write_all(&mut stream, &pattern(50_000)).await;
        assert_eq!(
            poll_fn(|cx| stream.poll_read(cx, &mut Vec::new())).await.unwrap(),
            0,
            "close_notify is a proper end"
        );
        assert_eq!(peer.await.unwrap(), pattern(50_000));
    }
}

#[tokio::test]
async fn speaks_to_a_buffered_server_and_ends_properly() {
    let (client, server) = configs();
    let (ours, theirs) = duplex(5_000);
    let peer = tokio::spawn(async move {
        let mut stream = TlsAcceptor::from(server).accept(theirs).await.unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.unwrap();
        stream.write_all(&got).await.unwrap();
        stream.shutdown().await.unwrap();
        got.len()
    });
    let mut stream = Stream::client(ours, client, name()).unwrap();
    poll_fn(|cx| stream.poll_handshake(cx)).await.unwrap();
    write_all(&mut stream, &pattern(20_000)).await;
    poll_fn(|cx| stream.poll_shutdown(cx)).await.unwrap();
    assert_eq!(read_exactly(&mut stream, 20_000).await, pattern(20_000), "the other direction goes on");
    assert_eq!(peer.await.unwrap(), 20_000);
    assert!(poll_fn(|cx| Poll::Ready(stream.write(cx, b"more"))).await.is_err(), "nothing follows close_notify");
}

#[tokio::test]
async fn a_cut_connection_is_not_a_proper_end() {
    let (client, server) = configs();
    let (ours, theirs) = duplex(5_000);
    let peer = tokio::spawn(async move {
        let mut stream = TlsAcceptor::from(server).accept(theirs).await.unwrap();
        stream.write_all(b"half of it").await.unwrap();
        stream.flush().await.unwrap();
    });
    let mut stream = Stream::client(ours, client, name()).unwrap();
    poll_fn(|cx| stream.poll_handshake(cx)).await.unwrap();
    assert_eq!(read_exactly(&mut stream, 10).await, b"half of it");
    peer.await.unwrap();
    let error = poll_fn(|cx| stream.poll_read(cx, &mut Vec::new())).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn holds_no_buffer_while_idle() {
    let (client, server) = configs();
    let (ours, theirs) = duplex(100_000);
    let peer = tokio::spawn(async move {
        let mut stream = TlsConnector::from(client).connect(name(), theirs).await.unwrap();
        stream.write_all(&pattern(30_000)).await.unwrap();
        stream.flush().await.unwrap();
        stream.read_u8().await.unwrap();
    });
    let mut stream = Stream::server(ours, server, Vec::new()).unwrap();
    poll_fn(|cx| stream.poll_handshake(cx)).await.unwrap();
    read_exactly(&mut stream, 30_000).await;
    assert_eq!((stream.partial.capacity(), stream.early.capacity(), stream.unsent.capacity()), (0, 0, 0));
    write_all(&mut stream, b"x").await;
    peer.await.unwrap();
}

#[tokio::test]
async fn plain_text_is_refused_with_an_alert() {
    let (_, server) = configs();
    let (ours, mut theirs) = duplex(5_000);
    theirs.write_all(b"GET / HTTP/1.1\r\nHost: xsp.example.com\r\n\r\n").await.unwrap();
    let mut stream = Stream::server(ours, server, Vec::new()).unwrap();
    let error = poll_fn(|cx| stream.poll_handshake(cx)).await.unwrap_err();
    assert!(error.get_ref().is_some_and(|source| source.is::<rustls::Error>()), "{error:?}");
    drop(stream);
    let mut alert = Vec::new();
    theirs.read_to_end(&mut alert).await.unwrap();
    assert_eq!(alert[0], 21, "an alert record");
}

#[tokio::test]
async fn a_client_that_speaks_another_protocol_is_told_so_whatever_the_version() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let (_, server) = configs();
        let mut server = Arc::unwrap_or_clone(server);
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        let pki = Pki::new();
        let client = ClientConfig::builder_with_protocol_versions(&[version]);
        let mut client = client.with_root_certificates(pki.public_roots()).with_no_client_auth();
        client.alpn_protocols = vec![b"h2".to_vec()];
        let (ours, theirs) = duplex(70_000);
        let peer = tokio::spawn(async move { TlsConnector::from(Arc::new(client)).connect(name(), theirs).await });
        let mut stream = Stream::server(ours, Arc::new(server), Vec::new()).unwrap();
        poll_fn(|cx| stream.poll_handshake(cx)).await.unwrap_err();
        drop(stream);
        let error = peer.await.unwrap().unwrap_err();
        let said = error.get_ref().and_then(|source| source.downcast_ref::<rustls::Error>());
        let expected = rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol);
        assert_eq!(said, Some(&expected), "{version:?}: {error}");
    }
}

#[tokio::test]
async fn key_updates_are_answered() {
    let (client, server) = configs();
    let (ours, theirs) = duplex(100_000);
    let peer = tokio::spawn(async move {
        let mut stream = TlsConnector::from(client).connect(name(), theirs).await.unwrap();
        for _ in 0..3 {
            stream.get_mut().1.refresh_traffic_keys().unwrap();
            stream.write_all(b"ping").await.unwrap();
            stream.flush().await.unwrap();
            let mut pong = [0; 4];
            stream.read_exact(&mut pong).await.unwrap();
            assert_eq!(&pong, b"pong");
        }
    });
    let mut stream = Stream::server(ours, server, Vec::new()).unwrap();
    poll_fn(|cx| stream.poll_handshake(cx)).await.unwrap();
    for _ in 0..3 {
        assert_eq!(read_exactly(&mut stream, 4).await, b"ping");
        write_all(&mut stream, b"pong").await;
    }
    peer.await.unwrap();
}

/// What a peer does while nobody is woken.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    Nothing,
    NewKeys,
    Data,
    Notify,
    Cut,
}

/// A peer on a socket that says "answer", then does that once told to, and tells when it is done.
fn peer_on_a_socket(
    server: Arc<ServerConfig>,
    meanwhile: Meanwhile,
) -> (std::net::SocketAddr, mpsc::Sender<()>, mpsc::Receiver<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let ((go, may_go), (done, is_done)) = (mpsc::channel(), mpsc::channel());
    std::thread::spawn(move || {
        let (mut tcp, _) = listener.accept().unwrap();
        let mut session = rustls::ServerConnection::new(server).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut tcp).unwrap();
        }
        session.writer().write_all(b"answer").unwrap();
        session.complete_io(&mut tcp).unwrap();
        may_go.recv().unwrap();
        match meanwhile {
            Meanwhile::Nothing => {}
            Meanwhile::NewKeys => session.refresh_traffic_keys().unwrap(),
            Meanwhile::Data => session.writer().write_all(b"unasked").unwrap(),
            Meanwhile::Notify => session.send_close_notify(),
            Meanwhile::Cut => tcp.shutdown(std::net::Shutdown::Write).unwrap(),
        }
        while session.wants_write() {
            session.write_tls(&mut tcp).unwrap();
        }
        done.send(()).unwrap();
        // It stays open until the test has seen what it wants to see.
        let _ = may_go.recv();
    });
    (address, go, is_done)
}

#[tokio::test]
async fn what_the_kernel_has_is_read_though_nobody_was_woken() {
    let (client, server) = configs();
    for meanwhile in [Meanwhile::Nothing, Meanwhile::NewKeys, Meanwhile::Data, Meanwhile::Notify, Meanwhile::Cut] {
        let (address, go, is_done) = peer_on_a_socket(Arc::clone(&server), meanwhile);
        let tcp = TcpStream::connect(address).await.unwrap();
        let mut stream = Stream::client(tcp, Arc::clone(&client), name()).unwrap();
        poll_fn(|cx| stream.poll_handshake(cx)).await.unwrap();
        let mut got = Vec::new();
        while got.len() < 6 {
            poll_fn(|cx| stream.poll_read(cx, &mut got)).await.unwrap();
        }
        let mut idle = Context::from_waker(Waker::noop());
        assert!(stream.poll_read(&mut idle, &mut got).is_pending());
        // Nothing is awaited from here on, so that the runtime hears nothing of the socket.
        go.send(()).unwrap();
        is_done.recv().unwrap();
        assert!(stream.poll_read(&mut idle, &mut got).is_pending(), "{meanwhile:?}");
        let read = stream.read_now(&mut idle, &mut got);
        let is_as_expected = match meanwhile {
            Meanwhile::Nothing | Meanwhile::NewKeys => read.is_pending(),
            Meanwhile::Data => matches!(read, Poll::Ready(Ok(7))),
            Meanwhile::Notify => matches!(read, Poll::Ready(Ok(0))),
            Meanwhile::Cut => matches!(read, Poll::Ready(Err(_))),
        };
        assert!(is_as_expected, "{meanwhile:?}: {read:?}");
    }
}
