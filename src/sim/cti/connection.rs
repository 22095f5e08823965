//! Connections of a simulated CTI XSP, from accept to their end. Separate from the XSP because it can break them at each step.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpListener;
use tokio_rustls::server::TlsStream;

use super::record::{End, Entry};
use super::{Behaviour, Cut, Manner, Noise, Preface, Shared, door, greeting};
use crate::proxy_protocol::{Read, read};
use crate::sim::accept::{self, Farewell, linger};
use crate::sim::pki::Show;
use crate::sim::socket::Socket;

/// The most that one read or write takes: a TLS record.
const PIECE: usize = 16 * 1024;
/// The receive buffer of a socket that is not to be read.
const NARROW: usize = 16 * 1024;

type Reader = ReadHalf<TlsStream<Socket>>;
type Writer = WriteHalf<TlsStream<Socket>>;

/// Accepts connections until it is aborted.
pub(super) async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let serve = |tcp, from| {
        let (entry, mut cut) = (shared.ledger.accepted(from), shared.cut.subscribe());
        let shared = Arc::clone(&shared);
        async move {
            let farewell = tokio::select! {
                served = serve(&shared, tcp, &entry) => served.unwrap_or(Farewell::Close),
                _ = cut.changed() => match *cut.borrow() {
                    Cut::Reset => Farewell::Reset,
                    Cut::Fin => Farewell::Close,
                },
            };
            (farewell, entry)
        }
    };
    accept::accept(listener, serve).await;
}

async fn serve(shared: &Shared, mut tcp: Socket, entry: &Entry) -> io::Result<Farewell> {
    tcp.options().set_tcp_nodelay(true)?;
    let Manner { behaviour, demand, preface } = shared.manner.lock().clone();
    if preface == Preface::Proxy && !take_preface(&mut tcp, entry).await? {
        return Ok(Farewell::Close);
    }
    if let Some(farewell) = before_the_handshake(&behaviour, &shared.name, &mut tcp).await? {
        return Ok(farewell);
    }
    let show = if let Behaviour::Certificate(show) = &behaviour { *show } else { Show::Good };
    let door = &shared.doors[&(show, demand)];
    let mut tls = match door.acceptor.accept(tcp).into_fallible().await {
        Ok(tls) => tls,
        Err((_, mut tcp)) => {
            entry.ended(End::NoHandshake);
            // What the client sends meanwhile must not turn the alert into a reset.
            tcp.shutdown().await?;
            return linger(&mut tcp).await;
        }
    };
    let session = tls.get_ref().1;
    let chain = session.peer_certificates();
    let peer = chain.and_then(|chain| chain.first()).and_then(door::common_name);
    entry.handshake(session.server_name().map(str::to_owned), peer);
    if !door.admits(chain) {
        tls.shutdown().await?;
        return linger(&mut tls).await;
    }
    converse(shared, behaviour, tls, entry).await
}

/// What an XSP does instead of shaking hands, if anything.
async fn before_the_handshake(behaviour: &Behaviour, name: &str, tcp: &mut Socket) -> io::Result<Option<Farewell>> {
    match behaviour {
        Behaviour::ResetOnAccept => return Ok(Some(Farewell::Reset)),
        Behaviour::SilentTcp => return linger(tcp).await.map(Some),
        Behaviour::PlainText => {
            tcp.write_all(greeting(name).as_bytes()).await?;
            return linger(tcp).await.map(Some);
        }
        Behaviour::SlowHandshake(delay) => tokio::time::sleep(*delay).await,
        Behaviour::Deaf => tcp.options().set_recv_buffer_size(NARROW)?,
        Behaviour::Greet
        | Behaviour::Echo
        | Behaviour::Answer(_)
        | Behaviour::EndFirst
        | Behaviour::Send(_)
        | Behaviour::Burst(_)
        | Behaviour::Flood
        | Behaviour::Refuse
        | Behaviour::Unreachable
        | Behaviour::Certificate(_)
        | Behaviour::ResetAfterHandshake
        | Behaviour::ResetOnData
        | Behaviour::AlertOnData
        | Behaviour::CloseAfterHandshake
        | Behaviour::VanishOnData => {}
    }
    Ok(None)
}

/// Reads the PROXY header; false if there is none.
async fn take_preface(tcp: &mut Socket, entry: &Entry) -> io::Result<bool> {
    let mut received = Vec::new();
    loop {
        match read(&received) {
            // Byte by byte, since what follows is not to be taken.
            Read::Incomplete => received.push(tcp.read_u8().await?),
            Read::Header(header, _) => {
                entry.preface(header);
                return Ok(true);
            }
            Read::None | Read::Malformed => return Ok(false),
        }
    }
}

/// What is said behind the handshake.
async fn converse(
    shared: &Shared,
    behaviour: Behaviour,
    mut tls: TlsStream<Socket>,
    entry: &Entry,
) -> io::Result<Farewell> {
    let greeting = greeting(&shared.name);
    match behaviour {
        Behaviour::ResetAfterHandshake => Ok(Farewell::Reset),
        Behaviour::CloseAfterHandshake => {
            tls.shutdown().await?;
            linger(&mut tls).await
        }
        Behaviour::Echo => echo(shared, b"", tls, entry).await,
        Behaviour::Answer(answer) => answer_late(&answer, tls, entry).await,
        Behaviour::EndFirst => end_first(greeting.as_bytes(), tls, entry).await,
        Behaviour::Send(length) => exchange(length, tls, entry).await,
        Behaviour::Flood => exchange(u64::MAX, tls, entry).await,
        Behaviour::Burst(length) => burst(length, tls, entry).await,
        Behaviour::Deaf => {
            tls.write_all(greeting.as_bytes()).await?;
            tls.flush().await?;
            std::future::pending().await
        }
        Behaviour::ResetOnData => {
            read_some(&mut tls, &mut [0; 1024], entry).await?;
            Ok(Farewell::Reset)
        }
        Behaviour::AlertOnData => {
            read_some(&mut tls, &mut [0; 1024], entry).await?;
            break_off(tls).await
        }
        Behaviour::VanishOnData => {
            read_some(&mut tls, &mut [0; 1024], entry).await?;
            Ok(Farewell::Close)
        }
        Behaviour::Greet
        | Behaviour::Refuse
        | Behaviour::Unreachable
        | Behaviour::SilentTcp
        | Behaviour::SlowHandshake(_)
        | Behaviour::PlainText
        | Behaviour::Certificate(_)
        | Behaviour::ResetOnAccept => echo(shared, greeting.as_bytes(), tls, entry).await,
    }
}

/// Ends a connection by the alert bad_record_mac, as if it had read a record that nobody sealed.
async fn break_off(mut tls: TlsStream<Socket>) -> io::Result<Farewell> {
    let mut unsealed = [0; 5 + 32];
    unsealed[..5].copy_from_slice(&[23, 3, 3, 0, 32]);
    let (tcp, session) = tls.get_mut();
    session.read_tls(&mut unsealed.as_slice())?;
    drop(session.process_new_packets());
    let mut alert = Vec::new();
    session.write_tls(&mut alert)?;
    tcp.write_all(&alert).await?;
    tcp.shutdown().await?;
    linger(tcp).await
}

async fn answer_late(answer: &[u8], tls: TlsStream<Socket>, entry: &Entry) -> io::Result<Farewell> {
    let (mut reader, mut writer) = tokio::io::split(tls);
    read_to_end(&mut reader, entry).await?;
    send(&mut writer, answer, entry).await?;
    writer.shutdown().await?;
    Ok(Farewell::Close)
}

async fn end_first(greeting: &[u8], tls: TlsStream<Socket>, entry: &Entry) -> io::Result<Farewell> {
    let (mut reader, mut writer) = tokio::io::split(tls);
    send(&mut writer, greeting, entry).await?;
    writer.shutdown().await?;
    read_to_end(&mut reader, entry).await?;
    Ok(Farewell::Close)
}

async fn exchange(length: u64, tls: TlsStream<Socket>, entry: &Entry) -> io::Result<Farewell> {
    let (mut reader, mut writer) = tokio::io::split(tls);
    let sending = async {
        send_noise(&mut writer, length, entry).await?;
        writer.shutdown().await
    };
    tokio::try_join!(sending, read_to_end(&mut reader, entry))?;
    Ok(Farewell::Close)
}

async fn burst(length: u64, tls: TlsStream<Socket>, entry: &Entry) -> io::Result<Farewell> {
    let (mut reader, mut writer) = tokio::io::split(tls);
    read_some(&mut reader, &mut [0; 1024], entry).await?;
    send_noise(&mut writer, length, entry).await?;
    writer.shutdown().await?;
    Ok(Farewell::Close)
}

/// Sends `first`, then what comes in and what the XSP is told to say, until the other side ends.
async fn echo(shared: &Shared, first: &[u8], tls: TlsStream<Socket>, entry: &Entry) -> io::Result<Farewell> {
    let mut says = shared.says.subscribe();
    let (mut reader, mut writer) = tokio::io::split(tls);
    send(&mut writer, first, entry).await?;
    let mut scratch = vec![0; PIECE];
    loop {
        tokio::select! {
            received = read_some(&mut reader, &mut scratch, entry) => {
                let length = received?;
                if length == 0 {
                    writer.shutdown().await?;
                    return Ok(Farewell::Close);
                }
                send(&mut writer, &scratch[..length], entry).await?;
            }
            Ok(said) = says.recv() => send(&mut writer, &said, entry).await?,
        }
    }
}

async fn send(writer: &mut Writer, bytes: &[u8], entry: &Entry) -> io::Result<()> {
    for piece in bytes.chunks(PIECE) {
        writer.write_all(piece).await?;
        entry.sent(piece.len());
    }
    writer.flush().await
}

async fn send_noise(writer: &mut Writer, length: u64, entry: &Entry) -> io::Result<()> {
    let mut noise = Noise::new();
    let mut left = length;
    while left > 0 {
        let piece = noise.take(left.min(PIECE as u64));
        writer.write_all(piece).await?;
        entry.sent(piece.len());
        left -= piece.len() as u64;
    }
    writer.flush().await
}

async fn read_to_end(reader: &mut Reader, entry: &Entry) -> io::Result<()> {
    let mut scratch = vec![0; PIECE];
    while read_some(reader, &mut scratch, entry).await? > 0 {}
    Ok(())
}

/// One read, for the record; 0: the other side has ended with close_notify.
async fn read_some(reader: &mut (impl AsyncRead + Unpin), into: &mut [u8], entry: &Entry) -> io::Result<usize> {
    let received = reader.read(into).await;
    match &received {
        Ok(0) => entry.ended(End::CloseNotify),
        Ok(length) => entry.received(&into[..*length]),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => entry.ended(End::Fin),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => entry.ended(End::Reset),
        Err(_) => entry.ended(End::Broken),
    }
    received
}
