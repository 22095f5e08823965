//! pb: XSP, load generator, channel holder and crypto reference for the bench side by side.
//! HTTP/1.1 over TLS here, CTI in its own file, all on one tokio current_thread runtime; only paths are BroadWorks', bodies
//! are filler.
mod cti;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls_pki_types::pem::PemObject;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicU8, Ordering::Relaxed};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

type BoxErr = Box<dyn std::error::Error>;

/// 1 kB of answer.
const SMALL: &str = "/com.broadsoft.xsi-actions/v2.0/user/alice%40example.test/profile";
/// 1 MiB of answer.
const BIG: &str = "/com.broadsoft.xsi-actions/v2.0/user/alice%40example.test/directories/enterprise";
/// An event channel: an answer that does not end.
const CHANNEL: &str = "/com.broadsoft.async/com.broadsoft.xsi-events/v2.0/channel";
const CHANNEL_BODY: &str = "<Channel xmlns=\"http://schema.broadsoft.com/xsi\"><channelSetId>bench</channelSetId><priority>1</priority><weight>50</weight><expires>3600</expires></Channel>";

struct Args(HashMap<String, String>);
impl Args {
    fn parse() -> (String, Args) {
        let mut it = std::env::args().skip(1);
        let cmd = it.next().unwrap_or_default();
        let mut m = HashMap::new();
        let mut key: Option<String> = None;
        for a in it {
            if let Some(k) = a.strip_prefix("--") {
                if let Some(p) = key.take() { m.insert(p, "1".into()); }
                key = Some(k.to_string());
            } else if let Some(k) = key.take() { m.insert(k, a); }
        }
        if let Some(p) = key.take() { m.insert(p, "1".into()); }
        (cmd, Args(m))
    }
    fn s(&self, k: &str, d: &str) -> String { self.0.get(k).cloned().unwrap_or_else(|| d.into()) }
    fn f(&self, k: &str, d: f64) -> f64 { self.0.get(k).map(|v| v.parse().expect("number")).unwrap_or(d) }
    fn has(&self, k: &str) -> bool { self.0.contains_key(k) }
}

fn provider(pq: bool) -> rustls::crypto::CryptoProvider {
    let mut p = rustls::crypto::aws_lc_rs::default_provider();
    // one suite and one group, so every proxy does the same crypto on both sides
    p.cipher_suites = vec![
        rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
        rustls::crypto::aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ];
    if !pq { p.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519]; }
    p
}

#[derive(Debug)]
struct NoVerify;
impl ServerCertVerifier for NoVerify {
    fn verify_server_cert(&self, _: &CertificateDer<'_>, _: &[CertificateDer<'_>], _: &ServerName<'_>, _: &[u8], _: UnixTime) -> Result<ServerCertVerified, rustls::Error> { Ok(ServerCertVerified::assertion()) }
    fn verify_tls12_signature(&self, _: &[u8], _: &CertificateDer<'_>, _: &rustls::DigitallySignedStruct) -> Result<HandshakeSignatureValid, rustls::Error> { Ok(HandshakeSignatureValid::assertion()) }
    fn verify_tls13_signature(&self, _: &[u8], _: &CertificateDer<'_>, _: &rustls::DigitallySignedStruct) -> Result<HandshakeSignatureValid, rustls::Error> { Ok(HandshakeSignatureValid::assertion()) }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> { vec![rustls::SignatureScheme::ECDSA_NISTP256_SHA256, rustls::SignatureScheme::RSA_PSS_SHA256] }
}

fn client_cfg(a: &Args) -> Arc<rustls::ClientConfig> {
    let p = Arc::new(provider(a.has("pq")));
    let b = rustls::ClientConfig::builder_with_provider(p);
    let b = if a.has("tls12") { b.with_protocol_versions(&[&rustls::version::TLS12]) } else { b.with_protocol_versions(&[&rustls::version::TLS13]) }.unwrap();
    let mut c = if a.has("verify") {
        let mut roots = rustls::RootCertStore::empty();
        for c in CertificateDer::pem_file_iter(a.s("ca", "ca.pem")).unwrap() { roots.add(c.unwrap()).unwrap(); }
        b.with_root_certificates(roots).with_no_client_auth()
    } else {
        b.dangerous().with_custom_certificate_verifier(Arc::new(NoVerify)).with_no_client_auth()
    };
    if !a.has("resume") { c.resumption = rustls::client::Resumption::disabled(); }
    c.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(c)
}

/// A client's certificates and key.
fn client_identity(a: &Args) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), BoxErr> {
    let chain = CertificateDer::pem_file_iter(a.s("cert", "client.pem"))?.collect::<Result<_, _>>()?;
    Ok((chain, PrivateKeyDer::from_pem_file(a.s("key", "client.key"))?))
}

// ---------------------------------------------------------------- origin
static MODE: AtomicU8 = AtomicU8::new(0); // 0 ok, 1 = 503, 2 = hang (accept, read, never answer)
static REQS: AtomicU64 = AtomicU64::new(0);
static CONNS: AtomicU64 = AtomicU64::new(0);

fn find_head(b: &[u8]) -> Option<usize> { b.windows(4).position(|w| w == b"\r\n\r\n").map(|p| p + 4) }
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").skip(1).find_map(|l| { let (k, v) = l.split_once(':')?; if k.eq_ignore_ascii_case(name) { Some(v.trim()) } else { None } })
}
fn query<'a>(path: &'a str, k: &str) -> Option<&'a str> {
    path.split_once('?')?.1.split('&').find_map(|kv| { let (a, b) = kv.split_once('=')?; if a == k { Some(b) } else { None } })
}

async fn origin_conn<S: AsyncRead + AsyncWrite + Unpin>(mut s: S, name: Rc<String>, small: Rc<Vec<u8>>, big: Rc<Vec<u8>>) -> std::io::Result<()> {
    let mut buf: Vec<u8> = Vec::with_capacity(4096);
    loop {
        let he = loop {
            if let Some(p) = find_head(&buf) { break p; }
            let n = s.read_buf(&mut buf).await?;
            if n == 0 { return Ok(()); }
        };
        let head = String::from_utf8_lossy(&buf[..he]).into_owned();
        let path = head.split(' ').nth(1).unwrap_or("/").to_string();
        let close = header(&head, "connection").map(|v| v.eq_ignore_ascii_case("close")).unwrap_or(false);
        let mut used = he;
        if let Some(cl) = header(&head, "content-length").and_then(|v| v.parse::<usize>().ok()) {
            while buf.len() < he + cl { if s.read_buf(&mut buf).await? == 0 { return Ok(()); } }
            used = he + cl;
        } else if header(&head, "transfer-encoding").is_some() {
            loop {
                if let Some(p) = buf[he..].windows(5).position(|w| w == b"0\r\n\r\n") { used = he + p + 5; break; }
                if s.read_buf(&mut buf).await? == 0 { return Ok(()); }
            }
        }
        buf.drain(..used);
        let number = REQS.fetch_add(1, Relaxed);
        if let Some(m) = path.strip_prefix("/__ctl") {
            match query(m, "mode") { Some("ok") => MODE.store(0, Relaxed), Some("503") => MODE.store(1, Relaxed), Some("hang") => MODE.store(2, Relaxed), _ => {} }
            let b = format!("{{\"reqs\":{},\"conns\":{}}}\n", REQS.load(Relaxed), CONNS.load(Relaxed));
            s.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", b.len(), b).as_bytes()).await?;
            s.flush().await?;
            continue;
        }
        match MODE.load(Relaxed) {
            1 => { s.write_all(format!("HTTP/1.1 503 Service Unavailable\r\nX-Backend: {name}\r\nContent-Length: 5\r\n\r\nbusy\n").as_bytes()).await?; s.flush().await?; continue; }
            2 => { std::future::pending::<()>().await; }
            _ => {}
        }
        if path.starts_with(BIG) { s.write_all(&big).await?; }
        else if path.starts_with(CHANNEL) {
            let ms: u64 = query(&path, "ms").and_then(|v| v.parse().ok()).unwrap_or(5000);
            s.write_all(format!("HTTP/1.1 200 OK\r\nX-Backend: {name}\r\nContent-Type: application/xml\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes()).await?;
            let chunk = format!("1e\r\n<ChannelHeartBeat b=\"{:<4}\"/>\r\n\r\n", &name[..name.len().min(4)]);
            debug_assert_eq!(chunk.len(), 0x1e + 6);
            let origin: u32 = name.bytes().fold(0, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
            let id = format!("{origin:08x}-0000-4000-8000-{:012x}", number);
            let first = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Channel xmlns=\"http://schema.broadsoft.com/xsi\"><channelId>{id}</channelId><expires>3600</expires></Channel>");
            s.write_all(format!("{:x}\r\n{first}\r\n{chunk}", first.len()).as_bytes()).await?; s.flush().await?;
            let mut tmp = [0u8; 64];
            loop {
                tokio::select! {
                    r = s.read(&mut tmp) => { if r? == 0 { return Ok(()); } }
                    _ = tokio::time::sleep(Duration::from_millis(ms)) => { s.write_all(chunk.as_bytes()).await?; s.flush().await?; }
                }
            }
        } else {
            if let Some(ms) = query(&path, "slow").and_then(|v| v.parse().ok()) { tokio::time::sleep(Duration::from_millis(ms)).await; }
            s.write_all(&small).await?;
        }
        s.flush().await?;
        if close { let _ = s.shutdown().await; return Ok(()); }
    }
}

async fn origin(a: Args) -> Result<(), BoxErr> {
    let certs: Vec<_> = CertificateDer::pem_file_iter(a.s("cert", "server.pem"))?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(a.s("key", "server.key"))?;
    let mut cfg = rustls::ServerConfig::builder_with_provider(Arc::new(provider(a.has("pq")))).with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?.with_no_client_auth().with_single_cert(certs, key)?;
    cfg.alpn_protocols = vec![b"http/1.1".to_vec()];
    cfg.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    let acc = TlsAcceptor::from(Arc::new(cfg));
    let name = Rc::new(a.s("name", "b1"));
    let mk = |len: usize| { let mut v = format!("HTTP/1.1 200 OK\r\nX-Backend: {}\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n", name, len).into_bytes(); v.resize(v.len() + len, b'x'); v };
    let (small, big) = (Rc::new(mk(1024)), Rc::new(mk(1 << 20)));
    let addr: SocketAddr = a.s("listen", "127.0.0.11:9443").parse()?;
    let sock = TcpSocket::new_v4()?; sock.set_reuseaddr(true)?; sock.bind(addr)?;
    let l: TcpListener = sock.listen(8192)?;
    let plain = a.has("plain");
    tokio::task::LocalSet::new().run_until(async move {
        loop {
            let Ok((s, _)) = l.accept().await else { continue };
            CONNS.fetch_add(1, Relaxed);
            let _ = s.set_nodelay(true);
            let (acc, name, small, big) = (acc.clone(), name.clone(), small.clone(), big.clone());
            tokio::task::spawn_local(async move {
                if plain { let _ = origin_conn(s, name, small, big).await; return; }
                if let Ok(t) = acc.accept(s).await { let _ = origin_conn(t, name, small, big).await; }
            });
        }
    }).await
}

// ---------------------------------------------------------------- client
struct Resp { status: u16, body: usize, close: bool, set_cookie: Vec<String>, backend: Option<String> }

async fn read_resp<S: AsyncRead + Unpin>(s: &mut S, buf: &mut Vec<u8>) -> Result<Resp, &'static str> {
    let he = loop {
        if let Some(p) = find_head(buf) { break p; }
        match s.read_buf(buf).await { Ok(0) => return Err(if buf.is_empty() { "eof_before_head" } else { "eof_in_head" }), Ok(_) => {}, Err(_) => return Err("io_head") }
    };
    let (status, close, cl, chunked, set_cookie, backend) = {
        let head = std::str::from_utf8(&buf[..he]).map_err(|_| "bad_head")?;
        let status: u16 = head.get(9..12).and_then(|v| v.parse().ok()).ok_or("bad_status")?;
        let (mut close, mut cl, mut ch, mut sc, mut be) = (false, None, false, vec![], None);
        for l in head.split("\r\n").skip(1) {
            let Some((k, v)) = l.split_once(':') else { continue };
            let v = v.trim();
            if k.eq_ignore_ascii_case("content-length") { cl = v.parse::<usize>().ok(); }
            else if k.eq_ignore_ascii_case("transfer-encoding") { ch = v.eq_ignore_ascii_case("chunked"); }
            else if k.eq_ignore_ascii_case("connection") { close = v.eq_ignore_ascii_case("close"); }
            else if k.eq_ignore_ascii_case("set-cookie") { sc.push(v.split(';').next().unwrap_or("").to_string()); }
            else if k.eq_ignore_ascii_case("x-backend") { be = Some(v.to_string()); }
        }
        (status, close, cl, ch, sc, be)
    };
    buf.drain(..he);
    let mut body = 0usize;
    if chunked {
        loop {
            let lend = loop {
                if let Some(p) = buf.windows(2).position(|w| w == b"\r\n") { break p; }
                if s.read_buf(buf).await.map_err(|_| "io_body")? == 0 { return Err("eof_in_body"); }
            };
            let n = std::str::from_utf8(&buf[..lend]).ok().and_then(|v| usize::from_str_radix(v.split(';').next().unwrap().trim(), 16).ok()).ok_or("bad_chunk")?;
            let need = lend + 2 + n + 2;
            while buf.len() < need { if s.read_buf(buf).await.map_err(|_| "io_body")? == 0 { return Err("eof_in_body"); } }
            buf.drain(..need);
            body += n;
            if n == 0 { break; }
        }
    } else if let Some(cl) = cl {
        let have = buf.len().min(cl);
        buf.drain(..have);
        body = have;
        if body < cl {
            buf.clear();
            if buf.capacity() < 65536 { buf.reserve(65536); }
            while body < cl {
                let n = s.read_buf(buf).await.map_err(|_| "io_body")?;
                if n == 0 { return Err("eof_in_body"); }
                body += n; buf.clear();
            }
        }
    } else {
        body += buf.len(); buf.clear();
        while { let n = s.read_buf(buf).await.map_err(|_| "io_body")?; body += n; buf.clear(); n > 0 } {}
        return Ok(Resp { status, body, close: true, set_cookie, backend });
    }
    Ok(Resp { status, body, close, set_cookie, backend })
}

struct Shared { lat: Vec<u32>, first_err: Vec<String>, ok: u64, bytes: u64, conns: u64, status: BTreeMap<u16, u64>, errs: BTreeMap<&'static str, u64>, backend: BTreeMap<String, u64>, done_at: Vec<u32>, start: Instant, slow: u64, moved: u64 }

async fn dial(addr: SocketAddr, src: u32, tls: &TlsConnector, sni: &ServerName<'static>) -> Result<tokio_rustls::client::TlsStream<TcpStream>, &'static str> {
    let sock = TcpSocket::new_v4().map_err(|_| "socket")?;
    // spread over source addresses so that short connections don't run out of ports
    let ip = std::net::Ipv4Addr::new(127, 0, 1, 1 + (src % 24) as u8);
    let _ = sock.bind(SocketAddr::new(ip.into(), 0));
    let s = sock.connect(addr).await.map_err(|_| "connect")?;
    let _ = s.set_nodelay(true);
    tls.connect(sni.clone(), s).await.map_err(|_| "tls")
}

async fn load(a: Args) -> Result<(), BoxErr> {
    let addr: SocketAddr = a.s("connect", "127.0.0.1:8443").parse()?;
    let sni_s = a.s("sni", "xsp.example.test");
    let sni = ServerName::try_from(sni_s.clone())?;
    let tls = TlsConnector::from(client_cfg(&a));
    let conns = a.f("conns", 64.0) as usize;
    let dur = Duration::from_secs_f64(a.f("duration", 5.0));
    let warm = Duration::from_secs_f64(a.f("warmup", 0.0));
    let rate = a.f("rate", 0.0);
    let close = a.has("close");
    let cookies = a.has("cookies");
    let method = a.s("method", "GET");
    let path = a.s("path", SMALL);
    let tmo = Duration::from_secs_f64(a.f("timeout", 30.0));
    let body_len = a.f("body", 0.0) as usize;
    let want = if path.starts_with(BIG) { 1 << 20 } else { 1024 };
    let base = format!("{method} {path} HTTP/1.1\r\nHost: {sni_s}\r\nUser-Agent: pb\r\nAccept: */*\r\n{}{}", if close { "Connection: close\r\n" } else { "" }, if method != "GET" { format!("Content-Length: {body_len}\r\nContent-Type: application/xml\r\n") } else { String::new() });
    let start = Instant::now() + warm;
    let sh = Rc::new(RefCell::new(Shared { lat: Vec::with_capacity(1 << 20), first_err: vec![], ok: 0, bytes: 0, conns: 0, status: BTreeMap::new(), errs: BTreeMap::new(), backend: BTreeMap::new(), done_at: vec![], start, slow: 0, moved: 0 }));
    let end = start + dur;
    let local = tokio::task::LocalSet::new();
    for i in 0..conns {
        let (sh, tls, sni, base, method) = (sh.clone(), tls.clone(), sni.clone(), base.clone(), method.clone());
        local.spawn_local(async move {
            let mut conn = None;
            let mut jar: BTreeMap<String, String> = BTreeMap::new();
            let mut buf = Vec::with_capacity(8192);
            let mut k = 0u64;
            let mut last_be: Option<String> = None;
            let t0 = start - warm;
            loop {
                let due = if rate > 0.0 { t0 + Duration::from_secs_f64((k as f64 * conns as f64 + i as f64) / rate) } else { Instant::now() };
                if due >= end || Instant::now() >= end { break; }
                // late because the last answer was late: count from when it was due (no coordinated omission);
                // otherwise from the actual send, so that the 1 ms timer wheel does not show up as latency
                let early = rate > 0.0 && due > Instant::now();
                if early { tokio::time::sleep_until(due.into()).await; }
                k += 1;
                let begin = if rate > 0.0 && !early { due } else { Instant::now() };
                let mut newc = false;
                let r: Result<Result<Resp, &'static str>, _> = tokio::time::timeout(tmo, async {
                    if conn.is_none() { conn = Some(dial(addr, i as u32, &tls, &sni).await?); newc = true; buf.clear(); }
                    let c = conn.as_mut().unwrap();
                    let mut req = base.clone();
                    if cookies && !jar.is_empty() {
                        req.push_str("Cookie: ");
                        for (n, (k, v)) in jar.iter().enumerate() { if n > 0 { req.push_str("; "); } req.push_str(k); req.push('='); req.push_str(v); }
                        req.push_str("\r\n");
                    }
                    req.push_str("\r\n");
                    if method != "GET" { req.extend(std::iter::repeat('b').take(body_len)); }
                    c.write_all(req.as_bytes()).await.map_err(|_| "io_write")?;
                    c.flush().await.map_err(|_| "io_write")?;
                    read_resp(c, &mut buf).await
                }).await;
                let now = Instant::now();
                let mut s = sh.borrow_mut();
                if newc && begin >= s.start { s.conns += 1; }
                let note = |s: &mut Shared, e: &'static str| { if now >= s.start { *s.errs.entry(e).or_default() += 1; if s.first_err.len() < 8 { let t = now.duration_since(s.start).as_millis(); s.first_err.push(format!("{t}ms:{e}:{}ms", now.duration_since(begin).as_millis())); } } };
                match r {
                    Err(_) => { note(&mut s, "client_timeout"); conn = None; }
                    Ok(Err(e)) => { note(&mut s, e); conn = None; drop(s); if e == "connect" { tokio::time::sleep(Duration::from_millis(20)).await; } continue; }
                    Ok(Ok(rp)) => {
                        if cookies { for c in &rp.set_cookie { if let Some((k, v)) = c.split_once('=') { jar.insert(k.into(), v.into()); } } }
                        if begin >= s.start {
                            *s.status.entry(rp.status).or_default() += 1;
                            if rp.status == 200 {
                                if rp.body != want { note(&mut s, "short_body"); }
                                s.ok += 1; s.bytes += rp.body as u64;
                                let us = now.duration_since(begin).as_micros().min(u32::MAX as u128) as u32;
                                if us > 1_000_000 { s.slow += 1; }
                                s.lat.push(us);
                                let d = now.duration_since(s.start).as_micros() as u32; s.done_at.push(d);
                            } else if s.first_err.len() < 8 { let t = now.duration_since(s.start).as_millis(); s.first_err.push(format!("{t}ms:status{}:{}ms", rp.status, now.duration_since(begin).as_millis())); }
                            if let Some(b) = &rp.backend { *s.backend.entry(b.clone()).or_default() += 1; if last_be.is_some() && last_be.as_ref() != Some(b) { s.moved += 1; } }
                        }
                        if rp.backend.is_some() { last_be = rp.backend; }
                        drop(s);
                        if close || rp.close { if let Some(mut c) = conn.take() { let _ = tokio::time::timeout(Duration::from_millis(50), c.shutdown()).await; } }
                    }
                }
            }
        });
    }
    local.await;
    let mut s = sh.borrow_mut();
    let el = s.start.elapsed().as_secs_f64().min(dur.as_secs_f64().max(0.001) + 60.0);
    s.lat.sort_unstable(); s.done_at.sort_unstable();
    let q = |p: f64| if s.lat.is_empty() { 0 } else { s.lat[((s.lat.len() - 1) as f64 * p) as usize] };
    let mut gap = 0u32; let mut prev = 0u32; for &d in &s.done_at { gap = gap.max(d - prev); prev = d; }
    gap = gap.max(((dur.as_micros() as u32).saturating_sub(prev)).min(dur.as_micros() as u32));
    let errs: u64 = s.errs.values().sum();
    let non200: u64 = s.status.iter().filter(|(k, _)| **k != 200).map(|(_, v)| *v).sum();
    println!("{{\"ok\":{},\"elapsed\":{:.3},\"rps\":{:.1},\"bytes\":{},\"conns\":{},\"errors\":{},\"non200\":{},\"status\":{:?},\"errs\":{:?},\"p50_us\":{},\"p90_us\":{},\"p99_us\":{},\"p999_us\":{},\"max_us\":{},\"gap_us\":{},\"over1s\":{},\"moved\":{},\"backend\":{:?},\"notes\":{:?}}}",
        s.ok, el, s.ok as f64 / el, s.bytes, s.conns, errs, non200, Stat(&s.status), s.errs, q(0.5), q(0.9), q(0.99), q(0.999), s.lat.last().copied().unwrap_or(0), gap, s.slow, s.moved, s.backend, s.first_err);
    Ok(())
}
struct Stat<'a>(&'a BTreeMap<u16, u64>);
impl std::fmt::Debug for Stat<'_> { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { write!(f, "{{")?; for (i, (k, v)) in self.0.iter().enumerate() { if i > 0 { write!(f, ",")?; } write!(f, "\"{k}\":{v}")?; } write!(f, "}}") } }

// hold N event channels; print ESTABLISHED when all have had their first chunk
async fn streams(a: Args) -> Result<(), BoxErr> {
    let addr: SocketAddr = a.s("connect", "127.0.0.1:8443").parse()?;
    let sni_s = a.s("sni", "xsp.example.test");
    let sni = ServerName::try_from(sni_s.clone())?;
    let tls = TlsConnector::from(client_cfg(&a));
    let n = a.f("n", 3000.0) as usize;
    let rate = a.f("rate", 500.0);
    let hold = Duration::from_secs_f64(a.f("hold", 10.0));
    let ms = a.f("ms", 5000.0) as u64;
    let est = Rc::new(RefCell::new((0usize, 0u64, 0usize, 0usize))); // established, chunks, dropped, failed
    let t0 = Instant::now();
    let local = tokio::task::LocalSet::new();
    local.run_until(async {
        for i in 0..n {
            let (est, tls, sni, sni_s) = (est.clone(), tls.clone(), sni.clone(), sni_s.clone());
            tokio::task::spawn_local(async move {
                let mut c = None;
                for _ in 0..3 { match dial(addr, i as u32, &tls, &sni).await { Ok(x) => { c = Some(x); break; } Err(_) => tokio::time::sleep(Duration::from_millis(300)).await } }
                let Some(mut c) = c else { est.borrow_mut().3 += 1; return };
                if c.write_all(format!("POST {CHANNEL}?ms={ms} HTTP/1.1\r\nHost: {sni_s}\r\nUser-Agent: pb\r\nAccept: */*\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n{CHANNEL_BODY}", CHANNEL_BODY.len()).as_bytes()).await.is_err() { est.borrow_mut().3 += 1; return; }
                let _ = c.flush().await;
                let mut buf = [0u8; 2048]; let mut seen = Vec::new(); let mut up = false;
                loop {
                    match c.read(&mut buf).await {
                        Ok(0) | Err(_) => { let mut e = est.borrow_mut(); if up { e.2 += 1 } else { e.3 += 1 } return; }
                        Ok(k) => {
                            let hits = if up { buf[..k].windows(10).filter(|w| w == b"HeartBeat ").count() } else { seen.extend_from_slice(&buf[..k]); seen.windows(10).filter(|w| w == b"HeartBeat ").count() };
                            let mut e = est.borrow_mut();
                            if !up && hits > 0 { up = true; e.0 += 1; seen = Vec::new(); }
                            e.1 += hits as u64;
                        }
                    }
                }
            });
            let due = t0 + Duration::from_secs_f64(i as f64 / rate);
            if due > Instant::now() { tokio::time::sleep_until(due.into()).await; } else { tokio::task::yield_now().await; }
        }
        let lim = Instant::now() + Duration::from_secs(30);
        loop { let e = *est.borrow(); if e.0 + e.3 >= n || Instant::now() > lim { break; } tokio::time::sleep(Duration::from_millis(50)).await; }
        let e = *est.borrow();
        println!("ESTABLISHED {} failed {} after {:.2}s", e.0, e.3, t0.elapsed().as_secs_f64());
        use std::io::Write; std::io::stdout().flush().ok();
        tokio::time::sleep(hold).await;
        let f = *est.borrow();
        println!("{{\"established\":{},\"failed\":{},\"dropped\":{},\"chunks\":{},\"chunks_in_hold\":{},\"hold\":{:.1}}}", f.0, f.3, f.2, f.1, f.1 - e.1, hold.as_secs_f64());
    }).await;
    std::process::exit(0)
}

// hold N connections on which one request was answered; print ESTABLISHED when all have been
async fn idle(a: Args) -> Result<(), BoxErr> {
    let addr: SocketAddr = a.s("connect", "127.0.0.1:8443").parse()?;
    let sni_s = a.s("sni", "xsp.example.test");
    let sni = ServerName::try_from(sni_s.clone())?;
    let tls = TlsConnector::from(client_cfg(&a));
    let n = a.f("n", 3000.0) as usize;
    let hold = Duration::from_secs_f64(a.f("hold", 10.0));
    let request = format!("GET {SMALL} HTTP/1.1\r\nHost: {sni_s}\r\nUser-Agent: pb\r\nAccept: */*\r\n\r\n");
    let (mut kept, mut failed) = (Vec::with_capacity(n), 0);
    for i in 0..n {
        let Ok(mut c) = dial(addr, i as u32, &tls, &sni).await else { failed += 1; continue };
        let mut buf = Vec::new();
        let sent = c.write_all(request.as_bytes()).await.is_ok() && c.flush().await.is_ok();
        if sent && read_resp(&mut c, &mut buf).await.is_ok_and(|r| r.status == 200) { kept.push(c) } else { failed += 1 }
    }
    println!("ESTABLISHED {} failed {failed}", kept.len());
    use std::io::Write; std::io::stdout().flush().ok();
    tokio::time::sleep(hold).await;
    println!("{{\"established\":{},\"failed\":{failed},\"dropped\":0}}", kept.len());
    std::process::exit(0)
}

fn speed() {
    use aws_lc_rs::{agreement, rand::SystemRandom, signature::{self, KeyPair, EcdsaKeyPair}};
    let t = |name: &str, f: &mut dyn FnMut()| { for _ in 0..200 { f(); } let s = Instant::now(); let mut n = 0u64; while s.elapsed() < Duration::from_secs(2) { for _ in 0..50 { f(); } n += 50; } let e = s.elapsed().as_secs_f64(); println!("{name}: {:.1} us/op ({:.0}/s)", e * 1e6 / n as f64, n as f64 / e); };
    let rng = SystemRandom::new();
    let alg = &signature::ECDSA_P256_SHA256_ASN1_SIGNING;
    let kp = EcdsaKeyPair::generate(alg).unwrap();
    let msg = [7u8; 130];
    let sig = kp.sign(&rng, &msg).unwrap();
    let pk = kp.public_key().as_ref().to_vec();
    t("p256-sign", &mut || { kp.sign(&rng, &msg).unwrap(); });
    t("p256-verify", &mut || { signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, &pk).verify(&msg, sig.as_ref()).unwrap(); });
    let peer = agreement::PrivateKey::generate(&agreement::X25519).unwrap();
    let pp = peer.compute_public_key().unwrap();
    t("x25519-keygen+derive (one side of a handshake)", &mut || { let k = agreement::EphemeralPrivateKey::generate(&agreement::X25519, &rng).unwrap(); let _ = k.compute_public_key().unwrap(); agreement::agree_ephemeral(k, agreement::UnparsedPublicKey::new(&agreement::X25519, pp.as_ref()), (), |_| Ok(())).unwrap(); });
    // a whole rustls handshake in memory, both halves
    let mut d = rustls_pair();
    t("rustls TLS1.3 X25519 P-256 handshake, client (no verify) + server, in memory", &mut || { d(); });
}
fn rustls_pair() -> impl FnMut() {
    let (_, a) = Args::parse();
    let certs: Vec<_> = CertificateDer::pem_file_iter(a.s("cert", "server.pem")).unwrap().collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(a.s("key", "server.key")).unwrap();
    let mut scfg = rustls::ServerConfig::builder_with_provider(Arc::new(provider(false))).with_safe_default_protocol_versions().unwrap().with_no_client_auth().with_single_cert(certs, key).unwrap();
    scfg.send_tls13_tickets = 2;
    let (ccfg, scfg) = (client_cfg(&a), Arc::new(scfg));
    let mut ct = Duration::ZERO; let mut st = Duration::ZERO; let mut n = 0u32;
    move || {
        let mut c = rustls::ClientConnection::new(ccfg.clone(), ServerName::try_from("xsp.example.test").unwrap()).unwrap();
        let mut s = rustls::ServerConnection::new(scfg.clone()).unwrap();
        let mut b = Vec::with_capacity(8192);
        while c.is_handshaking() || s.is_handshaking() {
            let t = Instant::now(); b.clear(); while c.wants_write() { c.write_tls(&mut b).unwrap(); } ct += t.elapsed();
            let t = Instant::now(); let mut r = &b[..]; while !r.is_empty() { s.read_tls(&mut r).unwrap(); s.process_new_packets().unwrap(); } b.clear(); while s.wants_write() { s.write_tls(&mut b).unwrap(); } st += t.elapsed();
            let t = Instant::now(); let mut r = &b[..]; while !r.is_empty() { c.read_tls(&mut r).unwrap(); c.process_new_packets().unwrap(); } ct += t.elapsed();
        }
        n += 1; if n % 5000 == 0 { println!("  server half {:.1} us, client half (no verify) {:.1} us", st.as_secs_f64() * 1e6 / n as f64, ct.as_secs_f64() * 1e6 / n as f64); }
    }
}

fn main() -> Result<(), BoxErr> {
    let (cmd, a) = Args::parse();
    if cmd == "speed" { speed(); return Ok(()); }
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().event_interval(31).build()?;
    rt.block_on(async move {
        match cmd.as_str() {
            "origin" => origin(a).await,
            "load" => load(a).await,
            "streams" => streams(a).await,
            "idle" => idle(a).await,
            "cti-origin" => cti::origin(a).await,
            "cti-load" => cti::load(a).await,
            _ => { eprintln!("pb origin|load|streams|idle|speed|cti-origin|cti-load [--k v]..."); Ok(()) }
        }
    })
}
