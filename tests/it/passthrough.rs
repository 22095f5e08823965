//! R-TOP-3: TLS that the gateway does not end, told apart by the name that the ClientHello asks for.

use std::net::SocketAddr;

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use xspgate::proxy_protocol::Header;
use xspgate::sim::cti::{Behaviour, End, Ending, Preface};
use xspgate::sim::pki::Show;
use xspgate::sim::site::{CLOUD, DIRECT, DOMAIN};

use crate::cti::resets;
use crate::harness::{
    DEADLINE, PROFILE, Serving, Stage, answer_in_the_clear, assert_bridged, dial, eventually, exchange, fragmented,
    greeting, hello, old_hello, padded, refusal, rest, until, within,
};

const MIB: u64 = 1024 * 1024;

#[tokio::test]
async fn r_top_3_tls_is_between_the_client_and_the_xsp() {
    let stage = Stage::passthrough(|_, _| ()).await;
    let mut call = dial(&stage.direct(), stage.gateway.passthrough()).await.unwrap();
    assert_eq!(greeting(&mut call).await, "a1");
    assert_bridged(&mut call, b"<Request/>").await;
    assert_eq!(call.tls().peer_certificates().map(<[_]>::len), Some(1), "the XSP's own, without an intermediate");
    let record = stage.speaker("a1").records().remove(0);
    assert_eq!(record.peer.as_deref(), Some("bwcticlient.webex.com"), "the client's own");
    assert_eq!((record.server_name.as_deref(), record.header), (Some(DOMAIN), None));
    // Who asks an XSP for something asks it alone: what it thinks of a client's certificate, the client learns from it.
    let ending = refusal(&stage.direct().anonymous(), stage.gateway.passthrough()).await;
    assert!(matches!(ending, Ending::Alert(_)), "{ending:?}");
    assert_eq!(stage.tried("direct", "a1", "success").await, 2.0);
}

#[tokio::test]
async fn r_top_3_hosts_that_are_bridged_and_hosts_that_are_passed_through_share_an_address() {
    let stage = Stage::passthrough(|_, _| ()).await;
    assert_eq!(stage.gateway.passthrough(), stage.gateway.https());
    assert_eq!(stage.client().get(PROFILE).await.status, StatusCode::OK);
    let mut call = dial(&stage.direct(), stage.gateway.passthrough()).await.unwrap();
    assert_eq!(greeting(&mut call).await, "a1");
    // A name of one kind is no way to the other.
    assert_eq!(refusal(&stage.direct().asking_for(CLOUD), stage.gateway.passthrough()).await, Ending::Broken);
}

/// The first byte that comes back for these bytes, sent in pieces of `size`.
async fn begin(to: SocketAddr, bytes: &[u8], size: usize) -> Option<u8> {
    let exchange = async {
        let mut tcp = TcpStream::connect(to).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        for piece in bytes.chunks(size) {
            // The gateway may have heard enough already.
            if tcp.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let mut first = [0];
        tcp.read_exact(&mut first).await.ok().map(|_| first[0])
    };
    within("an answer to a ClientHello", exchange).await
}

#[tokio::test]
async fn r_top_3_a_client_hello_is_read_however_it_comes() {
    const HANDSHAKE: Option<u8> = Some(22);
    let stage = Stage::passthrough(|_, _| ()).await;
    let to = stage.gateway.passthrough();
    let whole = hello(DIRECT);
    let mut count = 0;
    for size in [usize::MAX, 1000, 7, 1] {
        assert_eq!(begin(to, &whole, size).await, HANDSHAKE, "in pieces of {size}");
        count += 1;
    }
    for size in [1, 2, 3, 5, 100] {
        assert_eq!(begin(to, &fragmented(&whole, size), usize::MAX).await, HANDSHAKE, "records of {size}");
        assert_eq!(begin(to, &fragmented(&whole, size), 3).await, HANDSHAKE, "records of {size}, in pieces");
        count += 2;
    }
    assert_eq!(begin(to, &hello(&DIRECT.to_ascii_uppercase()), usize::MAX).await, HANDSHAKE, "in capitals");
    // As long as a ClientHello may be: its own header, and one extension's, stand before the padding.
    let longest = 16 * 1024 - (whole.len() - 5 - 4) - 4;
    for more in [1000, longest] {
        assert_eq!(begin(to, &fragmented(&padded(&whole, more), 16_000), 999).await, HANDSHAKE, "{more} bytes more");
    }
    assert_eq!(stage.rung(), count + 3);
    assert_ne!(begin(to, &fragmented(&padded(&whole, longest + 1), 16_000), 999).await, HANDSHAKE);
    stage.until_failed("hello-too-long", 1.0).await;
    assert_eq!(stage.rung(), count + 3);
}

#[tokio::test]
async fn r_top_3_what_asks_for_nobody_touches_no_xsp() {
    let stage = Stage::passthrough(|_, text| {
        text.set("[limits]", "tls_handshake_timeout", "500ms");
    })
    .await;
    let to = stage.gateway.passthrough();
    let plain = format!("GET {PROFILE} HTTP/1.1\r\nHost: {DIRECT}\r\n\r\n");
    let nameless = refusal(&stage.direct().nameless(), to).await;
    assert!(matches!(nameless, Ending::Alert(_)), "{nameless:?}");
    stage.until_failed("no-name", 1.0).await;
    for (count, name) in ["other.example.com", "example.com", "x.direct-xsp.example.com"].into_iter().enumerate() {
        let unknown = refusal(&stage.direct().asking_for(name), to).await;
        assert!(matches!(unknown, Ending::Alert(_)), "{name}: {unknown:?}");
        stage.until_failed("unknown-name", count as f64 + 1.0).await;
    }
    let noise: Vec<u8> = (0..5000).map(|index| (index * 31 % 256) as u8).collect();
    let garbage = [plain.as_bytes(), b"SSH-2.0-x\r\n", &noise, &[21, 3, 3, 0, 2, 1, 0], &[22, 3, 1, 0, 4, 14, 0, 0, 0]];
    for (count, bytes) in garbage.into_iter().enumerate() {
        let answer = answer_in_the_clear(to, bytes).await;
        assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
        stage.until_failed("not-tls", count as f64 + 1.0).await;
    }
    // The deadline is for what doesn't say who it asks for.
    let whole = hello(DIRECT);
    for said in [&b""[..], &whole[..1], &whole[..whole.len() - 1]] {
        answer_in_the_clear(to, said).await;
    }
    stage.until_failed("timeout", 3.0).await;
    assert_eq!((stage.rung(), stage.asked()), (0, 0));
}

#[tokio::test]
async fn r_tls_1_nothing_earlier_than_1_2_is_passed_through() {
    let stage = Stage::with(|sim, text| {
        // The old ClientHello asks for the cloud's name.
        text.remove_section("[[https]]");
        sim.serve_passthrough(text);
        text.set("[[passthrough]]", "hosts", vec![CLOUD.to_owned()]);
    })
    .await
    .0;
    let answer = answer_in_the_clear(stage.gateway.passthrough(), &old_hello()).await;
    assert_eq!(answer.first(), Some(&21), "no alert: {answer:?}");
    stage.until_failed("incompatible", 1.0).await;
    assert_eq!(stage.rung(), 0);
}

#[tokio::test]
async fn r_top_3_bytes_pass_unread() {
    // An XSP that says one byte and then nothing, so that all that comes can be seen.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stage = Stage::with(|sim, text| {
        sim.serve_passthrough(text);
        text.remove("[farm.direct]", "a").set("[farm.direct]", "addresses", vec![address]);
    })
    .await
    .0;
    stage.until_found("direct").await;
    let said = [&fragmented(&hello(DIRECT), 50)[..], b"\0\0 no TLS at all, and nobody minds", &[0xff; 70_000]].concat();
    let mut client = TcpStream::connect(stage.gateway.passthrough()).await.unwrap();
    let heard = async {
        let (mut xsp, _) = listener.accept().await.unwrap();
        xsp.write_all(b"?").await.unwrap();
        let mut heard = Vec::new();
        xsp.read_to_end(&mut heard).await.unwrap();
        xsp.write_all(b"!").await.unwrap();
        heard
    };
    let talk = async {
        client.write_all(&said).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let (heard, answer) = within("the conversation", async { tokio::join!(heard, talk) }).await;
    assert!(heard == said, "{} bytes of {}", heard.len(), said.len());
    assert_eq!(answer, b"?!");
}

#[tokio::test]
async fn r_fail_1_an_xsp_that_cannot_be_reached_is_passed_over() {
    let faults = [
        (Behaviour::Refuse, "refused"),
        (Behaviour::Unreachable, "connect-timeout"),
        (Behaviour::SilentTcp, "timeout"),
        // It may show in the connect already.
        (Behaviour::ResetOnAccept, ""),
    ];
    for (fault, reason) in faults {
        let stage = Stage::passthrough(|_, _| ()).await;
        stage.speaker("a1").behave(fault.clone()).await;
        for _ in 0..3 {
            let mut call = dial(&stage.direct(), stage.gateway.passthrough()).await.unwrap();
            assert_eq!(greeting(&mut call).await, "a2", "{fault:?}");
            assert_bridged(&mut call, b"<Request/>").await;
        }
        // Silence is proof only once it has met the gateway's own look as well, and no site is left on suspicion.
        let most = if fault == Behaviour::SilentTcp { 2.0 } else { 1.0 };
        let tried = stage.tried("direct", "a1", reason).await;
        assert!((1.0..=most).contains(&tried), "{fault:?}: {tried}");
    }
}

/// What an XSP does with the words of those clients that ask for a name.
#[derive(Clone, Copy, Debug)]
enum Picky {
    Ends,
    Resets,
    SaysNothing,
}

/// An XSP that shakes hands with whoever asks for no name of clients, as the gateway itself does; `speaker` is behind it.
async fn picky(at: SocketAddr, speaker: SocketAddr, picky: Picky) {
    let listener = TcpListener::bind(at).await.unwrap();
    loop {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut hello = [0; 2048];
            let length = tcp.peek(&mut hello).await.unwrap_or_default();
            let asks_for = |name: &str| hello[..length].windows(name.len()).any(|bytes| bytes == name.as_bytes());
            if !asks_for(DIRECT) {
                let mut xsp = TcpStream::connect(speaker).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut tcp, &mut xsp).await;
                return;
            }
            match picky {
                Picky::Ends => drop(tcp.read(&mut hello).await),
                Picky::Resets => drop(tcp.set_zero_linger()),
                Picky::SaysNothing => tokio::time::sleep(DEADLINE).await,
            }
        });
    }
}

#[tokio::test]
async fn what_an_xsp_makes_of_one_clients_words_blocks_nobody() {
    for manner in [Picky::Ends, Picky::Resets, Picky::SaysNothing] {
        let mut door = None;
        let stage = Stage::passthrough(|sim, text| {
            let at = sim.address(31);
            door = Some(tokio::spawn(picky(at, sim.ctis[0].address(), manner)));
            let site = "[[farm.direct.site]]";
            text.remove_section(site).set(site, "name", "door").set(site, "addresses", vec![at.to_string()]);
        })
        .await;
        refusal(&stage.direct().asking_for(DIRECT), stage.gateway.passthrough()).await;
        let looked = async || stage.metrics().await.count("xspgate_probes_total", &[("outcome", "cleared")]) >= 1.0;
        eventually(&format!("the gateway's own look: {manner:?}"), looked).await;
        let blocked = stage.metrics().await.count("xspgate_blocklist_transitions_total", &[("to", "blocked")]);
        assert_eq!(blocked, 0.0, "{manner:?}");
        door.unwrap().abort();
    }
}

#[tokio::test]
async fn r_fail_4_a_client_is_told_when_all_tries_have_failed() {
    let stage = Stage::passthrough(|_, _| ()).await;
    for xsp in &stage.sim.ctis {
        xsp.kill().await;
    }
    let refused = refusal(&stage.direct(), stage.gateway.passthrough()).await;
    assert!(!matches!(refused, Ending::Alert(_)), "nobody speaks for the XSP: {refused:?}");
    stage.until_ended("no-xsp", 1.0).await;
    for (name, tries) in [("a1", 1.0), ("a2", 1.0), ("b1", 1.0), ("b2", 0.0)] {
        assert_eq!(stage.tried("direct", name, "").await, tries, "{name}");
    }
}

#[tokio::test]
async fn r_top_3_an_xsps_certificate_is_the_clients_business() {
    let stage = Stage::passthrough(|_, _| ()).await;
    stage.speaker("a1").behave(Behaviour::Certificate(Show::Expired)).await;
    assert!(dial(&stage.direct(), stage.gateway.passthrough()).await.is_err());
    stage.speaker("a1").revive().await;
    let mut call = dial(&stage.direct(), stage.gateway.passthrough()).await.unwrap();
    assert_eq!(greeting(&mut call).await, "a1", "it is not blocked for what the gateway can't read");
}

#[tokio::test]
async fn bytes_go_both_ways_at_once_and_none_is_changed() {
    let stage = Stage::passthrough(|_, _| ()).await;
    let xsp = stage.speaker("a1");
    xsp.behave(Behaviour::Send(32 * MIB)).await;
    exchange(dial(&stage.direct(), stage.gateway.passthrough()).await.unwrap(), xsp, 32 * MIB).await;
}

#[tokio::test]
async fn each_end_is_passed_on_as_it_is() {
    let stage = Stage::passthrough(|_, _| ()).await;
    let xsp = stage.speaker("a1");
    let dial = async || dial(&stage.direct(), stage.gateway.passthrough()).await.unwrap();
    xsp.behave(Behaviour::Answer(b"<Late/>".to_vec())).await;
    let mut call = dial().await;
    call.send("<Question/>").await.unwrap();
    call.finish().await.unwrap();
    assert_eq!(rest(&mut call).await, (b"<Late/>".to_vec(), Ending::CloseNotify));

    xsp.behave(Behaviour::EndFirst).await;
    let mut call = dial().await;
    greeting(&mut call).await;
    assert_eq!(rest(&mut call).await, (vec![], Ending::CloseNotify));
    call.send("<Still/>").await.unwrap();
    until(xsp, "what the client says later", |records| records[1].bytes == b"<Still/>").await;
    call.vanish().await.unwrap();
    until(xsp, "the client's end", |records| records[1].end == End::Fin).await;

    xsp.behave(Behaviour::Greet).await;
    let mut call = dial().await;
    greeting(&mut call).await;
    xsp.disconnect().await;
    assert_eq!(rest(&mut call).await, (vec![], Ending::Reset));
    let mut call = dial().await;
    greeting(&mut call).await;
    let before = resets(&xsp.records());
    call.reset();
    until(xsp, "the client's reset", |records| resets(records) > before).await;
    stage.until_ended("ended", 2.0).await;
    stage.until_ended("xsp-broke", 1.0).await;
    stage.until_ended("client-broke", 1.0).await;
}

#[tokio::test]
async fn silence_ends_a_connection_after_the_idle_timeout() {
    let stage = Stage::passthrough(|_, text| {
        text.set("[[passthrough]]", "idle_timeout", "1s");
    })
    .await;
    let mut call = dial(&stage.direct(), stage.gateway.passthrough()).await.unwrap();
    greeting(&mut call).await;
    rest(&mut call).await;
    stage.until_ended("idle", 1.0).await;
    let gone = |records: &[xspgate::sim::cti::Recorded]| !records[0].is_open();
    assert!(stage.speaker("a1").until(DEADLINE, gone).await);
}

#[tokio::test]
async fn xsps_learn_of_the_client_where_the_operator_wants_it() {
    let stage = Stage::passthrough(|_, text| {
        text.set("[[passthrough]]", "proxy_protocol", "v2");
    })
    .await;
    for xsp in &stage.sim.ctis {
        xsp.expect(Preface::Proxy);
    }
    stage.speaker("a1").behave(Behaviour::SilentTcp).await;
    let mut call = dial(&stage.direct(), stage.gateway.passthrough()).await.unwrap();
    assert_eq!(greeting(&mut call).await, "a2");
    let header = Header::Proxied { source: call.local_address().unwrap(), destination: stage.gateway.passthrough() };
    for name in ["a1", "a2"] {
        assert_eq!(stage.speaker(name).records()[0].header.as_ref(), Some(&header), "{name}");
    }
}

#[tokio::test]
async fn the_access_log_tells_each_connection() {
    let stage = Stage::passthrough(|_, _| ()).await;
    let serving = Serving::start(&stage).await;
    let mut call = dial(&stage.direct(), serving.passthrough[0]).await.unwrap();
    greeting(&mut call).await;
    call.reset();
    let event = serving.event("connection").await;
    let expected = [
        ("kind", "passthrough"),
        ("client.address", "127.0.0.1"),
        ("farm", "direct"),
        ("server.address", DOMAIN),
        ("reason", "client-broke"),
    ];
    for (key, value) in expected {
        assert_eq!(event[key], value, "{event}");
    }
    assert!(event["tls.client.subject"].is_null(), "{event}");
    assert_eq!(event["attempts"][0]["endpoint"], stage.speaker("a1").address().to_string());
    eventually("the end of the XSP's connection", async || stage.speaker("a1").connections().open == 0).await;
}
