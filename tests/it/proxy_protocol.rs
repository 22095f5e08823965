//! Proxies before the gateway: whose PROXY protocol is understood, and what its word counts for.

use std::io;
use std::net::SocketAddr;

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use xspgate::proxy_protocol::{Header, v2};
use xspgate::sim::cti::{Call, Webex};
use xspgate::sim::site::{CLOUD, DIRECT, Simulation, Text};

use crate::harness::{PROFILE, Serving, Stage, answer_in_the_clear, dial, greeting, hello, refusal, within};

/// The three kinds of blocks.
const BLOCKS: [&str; 3] = ["[[https]]", "[[cti]]", "[[passthrough]]"];
/// A client that may connect, as a proxy tells of it.
const WELCOME: &str = "192.0.2.7:40000";
/// One that may not.
const UNWELCOME: &str = "198.51.100.7:40000";

/// A gateway that serves every kind, with these keys in every block.
async fn stage(keys: &[(&str, &str)]) -> Stage {
    let blocks = |sim: &Simulation, text: &mut Text| {
        sim.serve_passthrough(text);
        // An address of its own.
        text.set("[[passthrough]]", "listen", vec![sim.address(1).to_string().replace(&sim.port().to_string(), "0")]);
        for block in BLOCKS {
            for (key, value) in keys {
                text.set(block, key, vec![(*value).to_owned()]);
            }
        }
    };
    Stage::cti(blocks).await
}

/// Where that kind of block is served, and a client for it.
fn door(stage: &Stage, block: &str) -> (SocketAddr, Webex) {
    match block {
        "[[https]]" => (stage.gateway.https(), stage.webex().anonymous()),
        "[[cti]]" => (stage.gateway.cti(), stage.webex()),
        _ => (stage.gateway.passthrough(), stage.direct()),
    }
}

fn header(source: &str, to: SocketAddr) -> Header {
    Header::Proxied { source: source.parse().unwrap(), destination: to }
}

fn line(source: &str, to: SocketAddr) -> Vec<u8> {
    let source: SocketAddr = source.parse().unwrap();
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {family} {} {} {} {}\r\n", source.ip(), to.ip(), source.port(), to.port()).into_bytes()
}

/// The answer to a profile's request.
async fn ask(call: &mut Call) -> u16 {
    let request = format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\nConnection: close\r\n\r\n");
    within("the request", call.send(request)).await.unwrap();
    let (answer, _) = within("the answer", call.rest()).await;
    let status = answer.strip_prefix(b"HTTP/1.1 ").and_then(|rest| str::from_utf8(rest.get(..3)?).ok());
    status.and_then(|status| status.parse().ok()).unwrap_or_default()
}

/// Whether that client is served, by whatever block it is.
async fn is_served(webex: &Webex, block: &str, to: SocketAddr) -> bool {
    let Ok(mut call) = dial(webex, to).await else { return false };
    match block {
        "[[https]]" => ask(&mut call).await == StatusCode::OK,
        _ => within("the greeting", call.greeting()).await.is_ok(),
    }
}

#[tokio::test]
async fn a_trusted_proxys_word_counts_for_allow() {
    let stage = stage(&[("trusted_proxies", "127.0.0.0/8"), ("allow", "192.0.2.0/24")]).await;
    for block in BLOCKS {
        let (to, webex) = door(&stage, block);
        for (source, served) in [(WELCOME, true), (UNWELCOME, false), ("[2001:db8::1]:1", false)] {
            let v2 = v2(&header(source, to));
            assert_eq!(is_served(&webex.clone().behind(v2), block, to).await, served, "{block} {source}, version 2");
        }
        for (source, served) in [(WELCOME, true), (UNWELCOME, false)] {
            assert_eq!(is_served(&webex.clone().behind(line(source, to)), block, to).await, served, "{block} {source}");
        }
        // As itself: without a word, with one that says nothing, and with a local connection's.
        for preface in [&b""[..], b"PROXY UNKNOWN\r\n", &v2(&Header::Local)] {
            assert!(!is_served(&webex.clone().behind(preface), block, to).await, "{block} {preface:?}");
        }
    }
    let (rung, asked) = (stage.rung(), stage.asked());
    assert_eq!((rung, asked), (4, 2), "each kind of header, once each");
}

#[tokio::test]
async fn a_trusted_peer_without_a_header_is_served_as_itself() {
    let stage = stage(&[("trusted_proxies", "127.0.0.0/8"), ("allow", "127.0.0.1")]).await;
    for block in BLOCKS {
        let (to, webex) = door(&stage, block);
        for preface in [&b""[..], b"PROXY UNKNOWN ::1 ::1 1 1\r\n", &v2(&Header::Local)] {
            assert!(is_served(&webex.clone().behind(preface), block, to).await, "{block} {preface:?}");
        }
        assert!(!is_served(&webex.behind(line(WELCOME, to)), block, to).await, "{block}");
    }
}

#[tokio::test]
async fn who_is_no_trusted_proxy_has_no_word() {
    for keys in [&[][..], &[("trusted_proxies", "192.0.2.0/24")]] {
        let stage = stage(keys).await;
        for block in BLOCKS {
            let (to, webex) = door(&stage, block);
            for preface in [line(WELCOME, to), b"PROXY UNKNOWN\r\n".to_vec(), v2(&header(WELCOME, to))] {
                assert!(!is_served(&webex.clone().behind(preface), block, to).await, "{block}");
            }
            assert!(is_served(&webex, block, to).await, "{block}: it is served without");
        }
        assert_eq!((stage.rung(), stage.asked()), (2, 1));
    }
}

#[tokio::test]
async fn a_malformed_header_ends_the_connection() {
    let stage = stage(&[("trusted_proxies", "127.0.0.0/8")]).await;
    let mut count = 0.0;
    for block in BLOCKS {
        let (to, webex) = door(&stage, block);
        let malformed = [
            b"PROXY TCP4 192.0.2.7 127.0.0.1 1\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.07 127.0.0.1 1 2\r\n".to_vec(),
            [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 107]].concat(),
            [b"\r\n\r\n\0\r\nQUIT\n".to_vec(), vec![0x31]].concat(),
            [b"\r\n\r\n\0\r\nQUIT\n".to_vec(), vec![0x21, 0x11, 0, 11]].concat(),
        ];
        for preface in malformed {
            refusal(&webex.clone().behind(preface.clone()), to).await;
            count += 1.0;
            stage.until_failed("malformed-proxy-header", count).await;
        }
        // One is enough.
        let twice = [line(WELCOME, to), line(WELCOME, to)].concat();
        refusal(&webex.behind(twice), to).await;
    }
    assert_eq!((stage.rung(), stage.asked()), (0, 0));
}

#[tokio::test]
async fn a_header_is_read_however_it_comes() {
    let stage = stage(&[("trusted_proxies", "127.0.0.0/8"), ("allow", "192.0.2.0/24")]).await;
    let with_fields = |to: SocketAddr| {
        let mut header = v2(&header(WELCOME, to));
        header[14..16].copy_from_slice(&(12_u16 + 4000).to_be_bytes());
        header.extend([4; 4000]);
        header
    };
    for (block, name) in [("[[https]]", CLOUD), ("[[cti]]", CLOUD), ("[[passthrough]]", DIRECT)] {
        let (to, _) = door(&stage, block);
        for preface in [line(WELCOME, to), v2(&header(WELCOME, to)), with_fields(to)] {
            for size in [usize::MAX, 1, 7] {
                let bytes = [&preface[..], &hello(name)].concat();
                assert_eq!(begin(to, &bytes, size).await.unwrap(), 22, "{block} in pieces of {size}");
            }
        }
    }
}

/// The first byte that comes back for these bytes, sent in pieces of `size`.
async fn begin(to: SocketAddr, bytes: &[u8], size: usize) -> io::Result<u8> {
    let exchange = async {
        let mut tcp = TcpStream::connect(to).await?;
        tcp.set_nodelay(true)?;
        for piece in bytes.chunks(size) {
            tcp.write_all(piece).await?;
            tokio::task::yield_now().await;
        }
        tcp.read_u8().await
    };
    within("an answer to a ClientHello", exchange).await
}

#[tokio::test]
async fn a_header_has_as_much_time_as_a_handshake() {
    let stage = Stage::cti(|_, text| {
        text.set("[[cti]]", "trusted_proxies", vec!["127.0.0.0/8".to_owned()]);
        text.set("[limits]", "tls_handshake_timeout", "300ms");
    })
    .await;
    for said in ["", "P", "PROXY TCP4 192.0.2.7"] {
        answer_in_the_clear(stage.gateway.cti(), said.as_bytes()).await;
    }
    stage.until_failed("timeout", 3.0).await;
    assert_eq!(stage.rung(), 0);
}

#[tokio::test]
async fn xsps_and_the_access_log_learn_of_the_client() {
    let stage = stage(&[("trusted_proxies", "127.0.0.1")]).await;
    let serving = Serving::start(&stage).await;
    let to = serving.https[0];
    let mut call = dial(&stage.webex().anonymous().behind(line(WELCOME, to)), to).await.unwrap();
    assert_eq!(ask(&mut call).await, 200);
    assert_eq!(serving.event("access").await["client.address"], "192.0.2.7");
    let asked: Vec<_> = stage.sim.xsps.iter().flat_map(|xsp| xsp.requests()).collect();
    assert_eq!(asked.iter().map(|request| request.header("x-forwarded-for")).collect::<Vec<_>>(), ["192.0.2.7"]);
    for (kind, to, webex) in
        [("cti", serving.cti[0], stage.webex()), ("passthrough", serving.passthrough[0], stage.direct())]
    {
        let mut call = dial(&webex.behind(v2(&header("[2001:db8::7]:1", to))), to).await.unwrap();
        greeting(&mut call).await;
        call.reset();
        let event = serving.event_of("connection", |event| event["kind"] == kind).await;
        assert_eq!(event["client.address"], "2001:db8::7", "{kind}");
    }
}

#[tokio::test]
async fn a_client_behind_a_proxy_is_shown_to_xsps_that_want_to_know() {
    let stage = Stage::passthrough(|_, text| {
        text.set("[[passthrough]]", "proxy_protocol", "v2");
        text.set("[[passthrough]]", "trusted_proxies", vec!["127.0.0.1".to_owned()]);
    })
    .await;
    let (to, xsp) = (stage.gateway.passthrough(), stage.speaker("a1"));
    xsp.expect(xspgate::sim::cti::Preface::Proxy);
    let headers = [header(WELCOME, to), header("[2001:db8::7]:1", to), Header::Local];
    for (index, header) in headers.into_iter().enumerate() {
        let mut call = dial(&stage.direct().behind(v2(&header)), to).await.unwrap();
        assert_eq!(greeting(&mut call).await, "a1");
        assert_eq!(xsp.records()[index].header.as_ref(), Some(&header));
    }
}

#[tokio::test]
async fn a_claim_of_the_client_itself_is_not_believed_behind_a_trusted_proxy() {
    let stage = stage(&[("trusted_proxies", "127.0.0.1")]).await;
    let to = stage.gateway.https();
    let mut call = dial(&stage.webex().anonymous().behind(line(UNWELCOME, to)), to).await.unwrap();
    let request =
        format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\nX-Forwarded-For: 192.0.2.7\r\nConnection: close\r\n\r\n");
    call.send(request).await.unwrap();
    within("the answer", call.rest()).await;
    let asked: Vec<_> = stage.sim.xsps.iter().flat_map(|xsp| xsp.requests()).collect();
    assert_eq!(asked[0].header("x-forwarded-for"), "198.51.100.7");
}
