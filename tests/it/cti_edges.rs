//! CTI at the moments between: words and ends that come along with a handshake or while an XSP is still sought, and ends
//! behind ends.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use xspgate::sim::cti::{self, Behaviour, Demand, End, Ending};
use xspgate::sim::pki::Flaw;
use xspgate::sim::site::{CLOUD, DOMAIN};

use crate::harness::{
    PROFILE, Stage, assert_bridged, dial, eventually, exchange, greeting, rest, tiers, until, within,
};

const MIB: u64 = 1024 * 1024;

/// Says `words` and ends, all in the flight that ends the handshake; what comes back within TLS.
fn all_at_once(to: SocketAddr, config: Arc<ClientConfig>, words: &[u8]) -> Vec<u8> {
    let mut tcp = std::net::TcpStream::connect(to).unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp.set_read_timeout(Some(crate::harness::DEADLINE)).unwrap();
    let mut tls = ClientConnection::new(config, ServerName::try_from(CLOUD).unwrap()).unwrap();
    tls.write_tls(&mut tcp).unwrap();
    let mut flight = Vec::new();
    while tls.is_handshaking() {
        assert_ne!(tls.read_tls(&mut tcp).unwrap(), 0);
        tls.process_new_packets().unwrap();
        if tls.is_handshaking() {
            while tls.wants_write() {
                tls.write_tls(&mut flight).unwrap();
            }
            // TLS 1.2 has one more turn.
            tcp.write_all(&flight).unwrap();
            flight.clear();
        }
    }
    tls.writer().write_all(words).unwrap();
    tls.send_close_notify();
    while tls.wants_write() {
        tls.write_tls(&mut flight).unwrap();
    }
    tcp.write_all(&flight).unwrap();
    tcp.shutdown(std::net::Shutdown::Write).unwrap();
    let mut heard = Vec::new();
    rustls::Stream::new(&mut tls, &mut tcp).read_to_end(&mut heard).unwrap();
    heard
}

#[tokio::test]
async fn words_and_an_end_that_come_with_the_handshake_are_passed_on() {
    let stage = Stage::cti(|_, _| ()).await;
    let xsp = stage.speaker("a1");
    xsp.behave(Behaviour::Echo).await;
    for version in [&TLS12, &TLS13] {
        let (to, config) = (stage.gateway.cti(), stage.webex().speaking(version).config());
        let words: Vec<u8> = (0..40_000_u32).map(|index| (index % 251) as u8).collect();
        let said = words.clone();
        let heard = tokio::task::spawn_blocking(move || all_at_once(to, config, &said)).await.unwrap();
        assert!(heard == words, "{version:?}: {} bytes came back", heard.len());
    }
    until(xsp, "both ends", |records| records.iter().all(|record| record.end == End::CloseNotify)).await;
}

#[tokio::test]
async fn words_and_an_end_that_come_while_an_xsp_is_sought_are_passed_on() {
    let stage = Stage::cti(|_, _| ()).await;
    stage.speaker("a1").behave(Behaviour::SilentTcp).await;
    stage.speaker("a2").behave(Behaviour::Answer(b"<Late/>".to_vec())).await;
    let mut call = stage.call().await;
    call.send("<Question/>").await.unwrap();
    call.finish().await.unwrap();
    assert_eq!(rest(&mut call).await, (b"<Late/>".to_vec(), Ending::CloseNotify));
    let record = stage.speaker("a2").records().remove(0);
    assert_eq!((record.bytes.as_slice(), record.end), (&b"<Question/>"[..], End::CloseNotify));
}

#[tokio::test]
async fn a_client_that_leaves_while_an_xsp_is_sought_leaves_nothing_behind() {
    let stage = Stage::cti(|_, _| ()).await;
    for xsp in &stage.sim.ctis {
        xsp.behave(Behaviour::SilentTcp).await;
    }
    for _ in 0..20 {
        stage.call().await.reset();
    }
    let listener = stage.gateway.cti().to_string();
    let open = async || stage.metrics().await.count("xspgate_connections", &[("listener", &listener)]);
    eventually("the end of all", async || open().await == 0.0).await;
    assert_eq!(stage.metrics().await.count("xspgate_streams", &[]), 0.0);
}

#[tokio::test]
async fn words_in_bulk_while_an_xsp_is_sought_are_passed_on_whole() {
    let stage = Stage::cti(|_, _| ()).await;
    stage.speaker("a1").behave(Behaviour::SilentTcp).await;
    let xsp = stage.speaker("a2");
    xsp.behave(Behaviour::Send(4 * MIB)).await;
    exchange(stage.call().await, xsp, 4 * MIB).await;
}

#[tokio::test]
async fn no_word_reaches_two_xsps() {
    // Refused in the handshake, which TLS 1.3 lets the gateway learn only after it: what was read goes on to the next.
    for bytes in [1, 1000, 16_000] {
        let stage = Stage::cti(|sim, text| {
            sim.pki.flawed_cti_client(Flaw::WrongName).write(sim.folder(), "flawed").unwrap();
            let (section, folder) = ("[certificate.cti-client]", sim.folder().display());
            text.set(section, "chain", format!("{folder}/flawed-chain.pem"));
            text.set(section, "key", format!("{folder}/flawed-key.pem")).set(section, "strict", false);
        })
        .await;
        stage.speaker("b1").demand(Demand::Nothing);
        stage.speaker("b1").behave(Behaviour::Echo).await;
        let mut call = stage.call().await;
        // The client's end, too, has been read by the time of the refusal.
        call.send(vec![7; bytes]).await.unwrap();
        call.finish().await.unwrap();
        assert_eq!(rest(&mut call).await, (vec![7; bytes], Ending::CloseNotify));
        for name in ["a1", "a2"] {
            assert_eq!(stage.speaker(name).records()[0].received, 0, "{name}");
        }
        assert_eq!(stage.speaker("b1").records()[0].received, bytes as u64);
    }
    // Broken after it has read something: what it made of that, nobody knows.
    for (fault, version) in [
        (Behaviour::ResetOnData, "1.3"),
        (Behaviour::VanishOnData, "1.3"),
        (Behaviour::AlertOnData, "1.3"),
        (Behaviour::AlertOnData, "1.2"),
    ] {
        let stage = Stage::cti(|_, text| {
            text.set("[farm.cti.tls]", "min_version", version).set("[farm.cti.tls]", "max_version", version);
        })
        .await;
        stage.speaker("a1").behave(fault.clone()).await;
        let mut call = stage.call().await;
        call.send("<Transfer/>").await.unwrap();
        let (heard, ending) = rest(&mut call).await;
        assert!(heard.is_empty() && matches!(ending, Ending::Reset | Ending::Fin), "{fault:?}: {ending:?}");
        // The gateway looks at the XSP, and tells it nothing.
        let records = ["a1", "a2", "b1", "b2"].map(|name| stage.speaker(name).records());
        let told = records.iter().flatten().filter(|one| one.received > 0).count();
        assert_eq!(told, 1, "{fault:?}: another XSP was told");
    }
}

#[tokio::test]
async fn a_reset_behind_an_end_is_passed_on() {
    let stage = Stage::cti(|_, _| ()).await;
    let xsp = stage.speaker("a1");
    // The XSP's direction has ended; then its machine dies.
    xsp.behave(Behaviour::EndFirst).await;
    let (mut call, _) = stage.greeted().await;
    assert_eq!(rest(&mut call).await.1, Ending::CloseNotify);
    xsp.disconnect().await;
    eventually("the reset", async || call.send("<Anybody/>").await.is_err()).await;
    // The client's direction has ended; then the client dies.
    xsp.behave(Behaviour::Flood).await;
    let mut call = stage.call().await;
    call.finish().await.unwrap();
    call.reset();
    // The gateway itself may have looked at the XSP meanwhile.
    let over = |records: &[xspgate::sim::cti::Recorded]| records.len() > 1 && records.iter().all(|one| !one.is_open());
    until(xsp, "the XSP's end", over).await;
    stage.until_ended("client-broke", 1.0).await;
}

#[tokio::test]
async fn keys_may_be_changed_in_mid_life() {
    let stage = Stage::cti(|_, _| ()).await;
    let mut call = dial(&stage.webex().speaking(&TLS13), stage.gateway.cti()).await.unwrap();
    greeting(&mut call).await;
    let mut tls = call.into_tls();
    for round in 0..20_u8 {
        tls.get_mut().1.refresh_traffic_keys().unwrap();
        tls.write_all(&[round; 5000]).await.unwrap();
        let mut echo = [0; 5000];
        within("the echo", tls.read_exact(&mut echo)).await.unwrap();
        assert_eq!(echo, [round; 5000]);
    }
}

#[tokio::test]
async fn a_connection_carries_on_through_many_turns() {
    let stage = Stage::cti(|_, text| {
        text.set("", "workers", 4);
    })
    .await;
    let mut calls = Vec::new();
    for _ in 0..40 {
        calls.push(stage.greeted().await.0);
    }
    for round in 0..25 {
        for (index, call) in calls.iter_mut().enumerate() {
            assert_bridged(call, format!("<Request round=\"{round}\" call=\"{index}\"/>").as_bytes()).await;
        }
    }
    assert_eq!(stage.speaker("a1").connections().open, 40);
}

#[tokio::test]
async fn an_xsp_that_is_gone_for_https_is_looked_at_for_cti() {
    let (stage, silent) = Stage::with(|sim, text| {
        // The HTTPS port of a1's machine: a connect to it runs out of time.
        let address = SocketAddr::new(sim.cti("a1").address().ip(), 0);
        let silent = cti::Xsp::start("a1", DOMAIN, address, &sim.pki).unwrap();
        tiers(text, &[silent.address(), sim.xsp("a2").address()]);
        sim.serve_cti(text);
        silent
    })
    .await;
    stage.until_found("cti").await;
    silent.behave(Behaviour::Unreachable).await;
    stage.speaker("a1").kill().await;
    assert_eq!(stage.client().get(PROFILE).await.xsp(), "a2");
    let endpoint = stage.speaker("a1").address().to_string();
    let blocked = async || {
        let labels = [("farm", "cti"), ("endpoint", endpoint.as_str())];
        stage.metrics().await.value("xspgate_endpoint_blocked", &labels) == Some(1.0)
    };
    eventually("the CTI farm's block", blocked).await;
    for _ in 0..5 {
        assert_eq!(stage.greeted().await.1, "a2");
    }
    assert_eq!(stage.tried("cti", "a1", "").await, 0.0, "no client had to find out");
}

#[tokio::test]
async fn names_of_cti_and_https_are_no_way_to_each_other() {
    let stage = Stage::cti(|_, _| ()).await;
    // HTTP on the CTI port goes to the XSP as any bytes do, and only with a certificate.
    let mut call = stage.call().await;
    greeting(&mut call).await;
    assert_bridged(&mut call, format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n").as_bytes()).await;
    assert_eq!(stage.asked(), 0);
    // CTI on the HTTPS port is no HTTP.
    let mut call = dial(&stage.webex(), stage.gateway.https()).await.unwrap();
    call.send("<?xml version=\"1.0\"?>\r\n<Request/>\r\n\r\n").await.unwrap();
    let (answer, _) = rest(&mut call).await;
    assert!(answer.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(stage.rung(), 1);
}

/// Whether the kernel's list of connections has one between these two, seen from the first, with a timer that asks the other
/// side whether it is there.
#[cfg(target_os = "linux")]
fn is_kept_alive(here: SocketAddr, there: SocketAddr) -> bool {
    let shown = |address: SocketAddr| match address {
        SocketAddr::V4(address) => format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port()),
        SocketAddr::V6(_) => unreachable!("the tests' addresses are IPv4"),
    };
    let (here, there) = (shown(here), shown(there));
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let mut rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.get(1) == Some(&here.as_str()) && row.get(2) == Some(&there.as_str()));
    // Timers: none 00, retransmission 01, keep-alive 02.
    row.expect("the connection is there").get(5).is_some_and(|timer| timer.starts_with("02:"))
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn both_legs_are_asked_now_and_then_whether_they_are_there() {
    let stage = Stage::cti(|_, _| ()).await;
    let (call, _) = stage.greeted().await;
    let (client, xsp) = (call.local_address().unwrap(), stage.speaker("a1").address());
    let to_xsp = stage.speaker("a1").records()[0].from;
    // Until what was sent last is acknowledged, another timer is in its place.
    eventually("the client's leg", async || is_kept_alive(stage.gateway.cti(), client)).await;
    eventually("the XSP's leg", async || is_kept_alive(to_xsp, xsp)).await;
    assert!(!is_kept_alive(client, stage.gateway.cti()), "this one is the test's own, and not kept alive");
}
