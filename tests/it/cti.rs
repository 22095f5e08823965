//! CTI's byte stream: what goes in at one end comes out at the other, and so does each end's end.

use std::time::Duration;

use xspgate::sim::cti::{Behaviour, End, Ending, Hasher, Noise, Recorded};

use crate::harness::{
    Serving, Stage, assert_bridged, dial, eventually, exchange, greeting, refusal, rest, until, within,
};

const MIB: u64 = 1024 * 1024;

fn ended(end: End) -> impl Fn(&[Recorded]) -> bool {
    move |records| records.last().is_some_and(|record| record.end == end)
}

/// Connections that were reset. The gateway looks at an XSP itself when one breaks, so that their places say nothing.
pub(crate) fn resets(records: &[Recorded]) -> usize {
    records.iter().filter(|record| record.end == End::Reset).count()
}

#[tokio::test]
async fn r_cti_3_a_connection_is_bridged_with_the_gateways_own_certificate() {
    let stage = Stage::cti(|_, _| ()).await;
    let (mut call, xsp) = stage.greeted().await;
    assert_eq!(xsp, "a1");
    assert_bridged(&mut call, b"<Request/>").await;
    let record = stage.speaker("a1").records().remove(0);
    assert_eq!(record.peer.as_deref(), Some("bwcticlient.webex.com"));
    assert_eq!(record.server_name.as_deref(), Some("xsp.example.com"), "R-TLS-4");
    assert_eq!(record.bytes, b"<Request/>");
    assert_eq!(call.tls().alpn_protocol(), None);
}

#[tokio::test]
async fn r_cti_6_a_client_may_ask_for_any_name_or_none() {
    let stage = Stage::cti(|_, _| ()).await;
    for webex in [stage.webex().nameless(), stage.webex().asking_for("webex-app-xsp.example.com")] {
        let mut call = dial(&webex, stage.gateway.cti()).await.unwrap();
        assert_eq!(greeting(&mut call).await, "a1");
    }
}

async fn exchange_both_ways(bytes: u64) {
    let stage = Stage::cti(|_, _| ()).await;
    let xsp = stage.speaker("a1");
    xsp.behave(Behaviour::Send(bytes)).await;
    exchange(stage.call().await, xsp, bytes).await;
    stage.until_ended("ended", 1.0).await;
    for direction in ["received", "sent"] {
        let counted = stage.metrics().await.count("xspgate_stream_bytes_total", &[("direction", direction)]);
        assert_eq!(counted, bytes as f64, "{direction}");
    }
}

#[tokio::test]
async fn a_gigabyte_goes_both_ways_at_once_and_none_of_it_is_changed() {
    exchange_both_ways(1024 * MIB).await;
}

#[tokio::test]
async fn nothing_depends_on_how_bytes_are_cut() {
    let stage = Stage::cti(|_, _| ()).await;
    let (mut call, _) = stage.greeted().await;
    let document = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Event>\u{e4}</Event>\0\0\r\n\r\n\u{16}\u{3}\u{1}";
    for byte in document.bytes() {
        assert_bridged(&mut call, &[byte]).await;
    }
    for size in [1, 2, 1_000, 16_383, 16_384, 16_385, 65_536, 200_000] {
        let bytes: Vec<u8> = (0..size).map(|index| (index % 251) as u8).collect();
        // What comes back in the meantime would fill all buffers between.
        for piece in bytes.chunks(100_000) {
            assert_bridged(&mut call, piece).await;
        }
    }
}

#[tokio::test]
async fn the_client_may_end_its_direction_first() {
    let stage = Stage::cti(|_, _| ()).await;
    let xsp = stage.speaker("a1");
    xsp.behave(Behaviour::Answer(b"<Late/>".to_vec())).await;
    let mut call = stage.call().await;
    call.send("<Question/>").await.unwrap();
    call.finish().await.unwrap();
    assert_eq!(rest(&mut call).await, (b"<Late/>".to_vec(), Ending::CloseNotify));
    let record = xsp.records().remove(0);
    assert_eq!((record.bytes.as_slice(), record.end), (&b"<Question/>"[..], End::CloseNotify));
    stage.until_ended("ended", 1.0).await;
}

#[tokio::test]
async fn the_xsp_may_end_its_direction_first() {
    let stage = Stage::cti(|_, _| ()).await;
    let xsp = stage.speaker("a1");
    xsp.behave(Behaviour::EndFirst).await;
    let (mut call, _) = stage.greeted().await;
    assert_eq!(rest(&mut call).await, (vec![], Ending::CloseNotify));
    for piece in ["<More/>", "<Still/>"] {
        call.send(piece).await.unwrap();
    }
    until(xsp, "what the client says later", |records| records[0].bytes == b"<More/><Still/>").await;
    assert!(xsp.records()[0].is_open());
    call.finish().await.unwrap();
    until(xsp, "the client's end", ended(End::CloseNotify)).await;
    stage.until_ended("ended", 1.0).await;
}

#[tokio::test]
async fn an_end_without_close_notify_is_passed_on_as_one() {
    let stage = Stage::cti(|_, _| ()).await;
    let xsp = stage.speaker("a1");
    let (mut call, _) = stage.greeted().await;
    call.vanish().await.unwrap();
    until(xsp, "the client's end", ended(End::Fin)).await;
    drop(call);
    stage.until_ended("client-broke", 1.0).await;
    // The XSP's process ends.
    let (mut call, _) = stage.greeted().await;
    xsp.vanish().await;
    assert_eq!(rest(&mut call).await, (vec![], Ending::Fin));
    // Whatever its client makes of it.
    drop(call);
    stage.until_ended("xsp-broke", 1.0).await;
    xsp.behave(Behaviour::VanishOnData).await;
    let mut call = stage.call().await;
    call.send("<Request/>").await.unwrap();
    assert_eq!(rest(&mut call).await, (vec![], Ending::Fin));
}

#[tokio::test]
async fn a_reset_is_passed_on_at_once() {
    let stage = Stage::cti(|_, _| ()).await;
    let xsp = stage.speaker("a1");
    let (mut call, _) = stage.greeted().await;
    xsp.disconnect().await;
    assert_eq!(rest(&mut call).await, (vec![], Ending::Reset));
    stage.until_ended("xsp-broke", 1.0).await;
    let (call, name) = stage.greeted().await;
    assert_eq!(name, "a1", "a connection that breaks later says nothing of the XSP");
    let before = resets(&xsp.records());
    call.reset();
    until(xsp, "the client's end", |records| resets(records) > before).await;
    stage.until_ended("client-broke", 1.0).await;
    xsp.behave(Behaviour::ResetOnData).await;
    let mut call = stage.call().await;
    call.send("<Request/>").await.unwrap();
    assert_eq!(rest(&mut call).await, (vec![], Ending::Reset));
}

#[tokio::test]
async fn a_reset_behind_back_pressure_is_passed_on() {
    let stage = Stage::cti(|_, _| ()).await;
    let xsp = stage.speaker("a1");
    xsp.behave(Behaviour::Flood).await;
    let deaf = dial(&stage.webex().narrow(), stage.gateway.cti()).await.unwrap();
    until_still(|| xsp.records().first().map_or(0, |record| record.sent)).await;
    deaf.reset();
    until(xsp, "the flood's end", |records| !records[0].is_open()).await;
    stage.until_ended("client-broke", 1.0).await;
}

/// Waits until `count` is above nothing and grows no more.
async fn until_still(count: impl Fn() -> u64) -> u64 {
    let (mut last, mut same) = (0, 0);
    eventually("back-pressure", async || {
        let now = count();
        same = if now > 0 && now == last { same + 1 } else { 0 };
        last = now;
        // Half a second without a byte.
        same > 50
    })
    .await;
    last
}

/// More than the systems' buffers between hold, and less than a gateway holds that takes whatever comes.
const PILE: u64 = 32 * MIB;

#[tokio::test]
async fn a_client_that_reads_nothing_holds_its_xsp_up() {
    let stage = Stage::cti(|_, _| ()).await;
    let xsp = stage.speaker("a1");
    xsp.behave(Behaviour::Flood).await;
    let mut call = dial(&stage.webex().narrow(), stage.gateway.cti()).await.unwrap();
    let sent = until_still(|| xsp.records().first().map_or(0, |record| record.sent)).await;
    assert!(sent < PILE, "{sent} bytes lie between");
    // And goes on where it was.
    let received = within("the flood", call.receive(usize::try_from(sent + MIB).unwrap())).await.unwrap();
    let mut hasher = Hasher::new();
    hasher.update(&received);
    assert!(hasher.digest() == Noise::digest(sent + MIB), "what was held up has changed");
}

#[tokio::test]
async fn an_xsp_that_reads_nothing_holds_its_client_up() {
    let stage = Stage::cti(|_, _| ()).await;
    stage.speaker("a1").behave(Behaviour::Deaf).await;
    let mut call = dial(&stage.webex().narrow(), stage.gateway.cti()).await.unwrap();
    greeting(&mut call).await;
    let sent = std::sync::atomic::AtomicU64::new(0);
    let count = || sent.load(std::sync::atomic::Ordering::Relaxed);
    let sending = async {
        while call.send([7; 10_000]).await.is_ok() {
            sent.fetch_add(10_000, std::sync::atomic::Ordering::Relaxed);
        }
    };
    let still = tokio::select! {
        () = sending => panic!("the connection broke"),
        still = until_still(count) => still,
    };
    assert!(still < PILE, "{still} bytes lie between");
}

#[tokio::test]
async fn a_burst_before_the_end_arrives_whole_however_slowly_it_is_read() {
    let stage = Stage::cti(|_, _| ()).await;
    let xsp = stage.speaker("a1");
    let bytes = 3 * MIB + 17;
    xsp.behave(Behaviour::Burst(bytes)).await;
    for webex in [stage.webex(), stage.webex().narrow()] {
        let mut call = dial(&webex, stage.gateway.cti()).await.unwrap();
        call.send("<Go/>").await.unwrap();
        // Some of it waits on the way by the time the XSP is gone.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let (received, ending) = rest(&mut call).await;
        let mut hasher = Hasher::new();
        hasher.update(&received);
        assert_eq!((received.len() as u64, ending), (bytes, Ending::CloseNotify));
        assert!(hasher.digest() == Noise::digest(bytes));
    }
}

#[tokio::test]
async fn silence_ends_nothing_unless_it_is_asked_to() {
    let stage = Stage::cti(|_, text| {
        let limits = "[limits]";
        text.set(limits, "tls_handshake_timeout", "300ms").set(limits, "request_head_timeout", "300ms");
        text.set(limits, "keep_alive_timeout", "1s");
        let failover = "[farm.cti.failover]";
        text.set(failover, "connect_timeout", "300ms").set(failover, "response_timeout", "700ms");
    })
    .await;
    let xsp = stage.speaker("a1");
    xsp.behave(Behaviour::Echo).await;
    let mut call = stage.call().await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_bridged(&mut call, b"<First/>").await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    xsp.say(b"<Event/>");
    assert_eq!(within("the event", call.receive(8)).await.unwrap(), b"<Event/>");
    assert_bridged(&mut call, b"<Last/>").await;
}

#[tokio::test]
async fn silence_ends_a_connection_after_the_idle_timeout() {
    let stage = Stage::cti(|_, text| {
        text.set("[[cti]]", "idle_timeout", "1s");
    })
    .await;
    let xsp = stage.speaker("a1");
    let (mut call, _) = stage.greeted().await;
    // One direction is enough to be no silence.
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        xsp.say(b"<Event/>");
        assert_eq!(within("an event", call.receive(8)).await.unwrap(), b"<Event/>");
    }
    assert_eq!(rest(&mut call).await, (vec![], Ending::CloseNotify));
    until(xsp, "the end of the XSP's connection", ended(End::CloseNotify)).await;
    stage.until_ended("idle", 1.0).await;
}

#[tokio::test]
async fn a_drain_leaves_connections_until_its_time_is_over() {
    let stage = Stage::cti(|_, text| {
        text.set("", "drain_timeout", "1s");
    })
    .await;
    let (mut call, _) = stage.greeted().await;
    stage.gateway.drain();
    let address = stage.gateway.cti();
    eventually("no new connections", async || tokio::net::TcpStream::connect(address).await.is_err()).await;
    assert_bridged(&mut call, b"<Request/>").await;
    let Stage { gateway, sim } = stage;
    gateway.stop().await;
    assert_eq!(rest(&mut call).await, (vec![], Ending::CloseNotify));
    until(sim.cti("a1"), "the end of the XSP's connection", ended(End::CloseNotify)).await;
}

#[tokio::test]
async fn connections_are_counted() {
    let stage = Stage::cti(|_, _| ()).await;
    let open_now = async || stage.metrics().await.count("xspgate_streams", &[("farm", "cti")]);
    let (first, _) = stage.greeted().await;
    let (mut second, _) = stage.greeted().await;
    assert_eq!(open_now().await, 2.0);
    let listener = stage.gateway.cti().to_string();
    let open = stage.metrics().await.count("xspgate_connections", &[("listener", &listener)]);
    assert_eq!(open, 2.0);
    let status: serde_json::Value = serde_json::from_str(&stage.gateway.admin("/status").await.1).unwrap();
    let farm = status["farms"].as_array().unwrap().iter().find(|farm| farm["name"] == "cti").unwrap();
    let streams = farm["endpoints"].as_array().unwrap().iter().map(|endpoint| endpoint["streams"].as_i64().unwrap());
    assert_eq!(streams.collect::<Vec<_>>(), [2, 0, 0, 0]);
    first.reset();
    second.finish().await.unwrap();
    rest(&mut second).await;
    stage.until_ended("ended", 1.0).await;
    stage.until_ended("client-broke", 1.0).await;
    eventually("none is left", async || open_now().await == 0.0).await;
    assert_eq!(stage.tried("cti", "a1", "success").await, 2.0);
}

#[tokio::test]
async fn the_access_log_tells_each_connection_with_all_its_attempts() {
    let stage = Stage::cti(|_, _| ()).await;
    stage.speaker("a1").behave(Behaviour::Refuse).await;
    let serving = Serving::start(&stage).await;
    let mut call = dial(&stage.webex(), serving.cti[0]).await.unwrap();
    assert_eq!(greeting(&mut call).await, "a2");
    let greeted = stage.speaker("a2").records()[0].sent;
    assert_bridged(&mut call, b"<Secret/>").await;
    call.finish().await.unwrap();
    rest(&mut call).await;
    let event = serving.event("connection").await;
    let expected = [("kind", "cti"), ("client.address", "127.0.0.1"), ("farm", "cti"), ("reason", "ended")];
    for (key, value) in expected {
        assert_eq!(event[key], value, "{event}");
    }
    assert_eq!(event["listener"], serving.cti[0].to_string());
    assert_eq!(event["tls.client.subject"], "CN=bwcticlient.webex.com");
    assert_eq!((&event["received"], &event["sent"]), (&9.into(), &(greeted + 9).into()), "{event}");
    let attempts = event["attempts"].as_array().unwrap();
    for (attempt, (name, outcome)) in attempts.iter().zip([("a1", "refused"), ("a2", "success")]) {
        assert_eq!(attempt["endpoint"], stage.speaker(name).address().to_string(), "{event}");
        assert_eq!(attempt["outcome"], outcome, "{event}");
    }
    assert_eq!(attempts.len(), 2);
    assert!(!serving.program.lines().iter().any(|line| line.contains("Secret")), "what was said is in the log");
}

#[tokio::test]
async fn who_may_not_connect_reaches_no_xsp() {
    let stage = Stage::cti(|_, text| {
        text.set("[[cti]]", "allow", vec!["192.0.2.0/24".to_owned()]);
    })
    .await;
    refusal(&stage.webex(), stage.gateway.cti()).await;
    stage.until_failed("not-allowed", 1.0).await;
    assert_eq!(stage.rung(), 0);
}
