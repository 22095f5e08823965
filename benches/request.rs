//! What one proxied request costs from end to end: a client, a gateway with one worker and an XSP that answers with fixed
//! bytes, over real TLS on loopback, all connections kept. The three take turns, so the time is that of the whole round.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::ServerName;
use xspgate::app::Gateway;
use xspgate::drain::Phase;
use xspgate::sim::pki::{Pki, Show};

const NAME: &str = "xsp.example.test";
const GET: &[u8] = b"GET /com.broadsoft.xsi-actions/v2.0/user/alice%40example.com/profile HTTP/1.1\r\n\
    Host: xsp.example.test\r\n\
    User-Agent: Webex/44.6\r\n\
    Accept: application/xml\r\n\
    Authorization: Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl\r\n\
    \r\n";
const POST: &[u8] = b"POST /com.broadsoft.xsi-actions/v2.0/user/alice%40example.com/calls/new?address=100 HTTP/1.1\r\n\
    Host: xsp.example.test\r\n\
    User-Agent: Webex/44.6\r\n\
    Content-Type: application/xml\r\n\
    Content-Length: 64\r\n\
    \r\n\
    <Call xmlns=\"http://schema.broadsoft.com/xsi\"><a>100</a></Call>\n";

/// Reads one message with a Content-Length, or none; false at the end of the connection.
fn read_message(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    let mut filled = 0;
    loop {
        let length = stream.read(&mut buffer[filled..])?;
        if length == 0 {
            return Ok(false);
        }
        filled += length;
        let received = &buffer[..filled];
        let Some(head) = received.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4) else {
            continue;
        };
        let text = String::from_utf8_lossy(&received[..head]).to_ascii_lowercase();
        let field = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        if filled >= head + field.and_then(|length| length.parse().ok()).unwrap_or(0) {
            return Ok(true);
        }
    }
}

/// An XSP that answers every request with 1 kB, each connection on a thread of its own.
fn start_xsp(pki: &Pki) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let identity = pki.xsp(NAME, NAME, Show::Good);
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider speaks TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(identity.chain(), identity.key())
        .expect("the key fits its certificate");
    let config = Arc::new(config);
    let mut answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: 1024\r\n\r\n".to_vec();
    answer.resize(answer.len() + 1024, b'x');
    std::thread::spawn(move || {
        for tcp in listener.incoming().map_while(Result::ok) {
            let (config, answer) = (Arc::clone(&config), answer.clone());
            std::thread::spawn(move || -> io::Result<()> {
                tcp.set_nodelay(true)?;
                let session = ServerConnection::new(config).map_err(io::Error::other)?;
                let mut stream = StreamOwned::new(session, tcp);
                let mut buffer = vec![0; 16 * 1024];
                while read_message(&mut stream, &mut buffer)? {
                    stream.write_all(&answer)?;
                }
                Ok(())
            });
        }
    });
    port
}

fn start_gateway(pki: &Pki, folder: &std::path::Path, port: u16) -> Gateway {
    pki.write(folder, &[NAME]).expect("the folder is writable");
    let folder_name = folder.display();
    let text = format!(
        r#"
        workers = 1
        [log]
        access = false
        [affinity]
        key_file = "{folder_name}/affinity.key"
        [certificate.public]
        chain = "{folder_name}/public-chain.pem"
        key = "{folder_name}/public-key.pem"
        [trust.internal]
        ca = "{folder_name}/internal-ca.pem"
        [farm.xsp]
        server_name = "{NAME}"
        trust = "internal"
        addresses = ["127.0.0.1:{port}"]
        [[https]]
        listen = ["127.0.0.1:0"]
        hosts = ["{NAME}"]
        certificate = "public"
        farm = "xsp"
        interfaces = ["xsi-actions"]
        "#
    );
    let path: PathBuf = folder.join("xspgate.toml");
    std::fs::write(&path, text).expect("the folder is writable");
    let loaded = xspgate::config::load(&path).unwrap_or_else(|report| panic!("{report}"));
    let (material, problems) = xspgate::tls::certs::load(&loaded.config);
    let material = material.unwrap_or_else(|| panic!("{problems:?}"));
    Gateway::start(&loaded, &material).expect("loopback has a free port")
}

fn connect(pki: &Pki, gateway: &Gateway) -> StreamOwned<ClientConnection, TcpStream> {
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider speaks TLS 1.3")
        .with_root_certificates(pki.public_roots())
        .with_no_client_auth();
    let name = ServerName::try_from(NAME).expect("it is a name");
    let session = ClientConnection::new(Arc::new(config), name).expect("the configuration is sound");
    let tcp = TcpStream::connect(gateway.https()[0]).expect("the gateway listens");
    tcp.set_nodelay(true).expect("the socket is new");
    tcp.set_read_timeout(Some(Duration::from_secs(5))).expect("the socket is new");
    StreamOwned::new(session, tcp)
}

fn requests(criterion: &mut Criterion) {
    let pki = Pki::new();
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let port = start_xsp(&pki);
    let gateway = start_gateway(&pki, folder.path(), port);
    let mut group = criterion.benchmark_group("request");
    for (name, request) in [("GET of 1 kB", GET), ("POST of 64 bytes", POST)] {
        let mut client = connect(&pki, &gateway);
        let mut buffer = vec![0; 16 * 1024];
        let mut round = || {
            client.write_all(request).expect("the gateway keeps the connection");
            assert!(read_message(&mut client, &mut buffer).expect("the gateway answers"), "the gateway has closed");
            buffer.starts_with(b"HTTP/1.1 200")
        };
        // The farm is learnt beside the start; until then the gateway answers itself.
        let deadline = Instant::now() + Duration::from_secs(5);
        while !round() {
            assert!(Instant::now() < deadline, "the gateway reaches its XSP");
        }
        group.bench_function(name, |bencher| bencher.iter(|| assert!(round(), "the answer is the XSP's")));
    }
    group.finish();
    gateway.enter(Phase::Draining);
}

criterion_group!(benches, requests);
criterion_main!(benches);
