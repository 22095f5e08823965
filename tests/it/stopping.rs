//! The gateway's own stop: clients on kept connections hear of it by an answer, channels live on for a while, and what is left is
//! cut at a steady rate, not all at once.

use std::time::{Duration, Instant};

use http::Method;
use http_body_util::BodyExt;
use serde_json::Value;

use crate::channels::Channel;
use crate::harness::{CHANNEL, Client, Ctl, PROFILE, RawClient, Received, Serving, Stage, body, eventually, request};

use xspgate::sim::site::CLOUD;

/// Between two cuts.
const INTERVAL: Duration = Duration::from_millis(50);

#[tokio::test]
async fn channels_live_on_until_the_drain_is_over_and_are_cut_one_by_one() {
    const COUNT: usize = 12;
    let (stage, ()) = Stage::with(|_, text| {
        text.set("", "drain_timeout", "1s").set("", "drain_spread", "600ms").set("", "workers", 2_i64);
    })
    .await;
    let mut channels = Vec::new();
    for _ in 0..COUNT {
        channels.push(Channel::open(&stage).await);
    }
    stage.gateway.drain();
    let address = stage.gateway.https();
    eventually("no new connections", async || tokio::net::TcpStream::connect(address).await.is_err()).await;
    for (index, channel) in channels.iter_mut().enumerate() {
        channel.receives(&stage, &format!("event-{index}")).await;
    }
    let ends: Vec<_> = channels.into_iter().map(|channel| tokio::spawn(channel.cut())).collect();
    let Stage { gateway, sim } = stage;
    let begun = Instant::now();
    gateway.stop().await;
    let mut cuts = Vec::new();
    for end in ends {
        cuts.push(end.await.unwrap() - begun);
    }
    cuts.sort_unstable();
    assert!(cuts[0] >= Duration::from_millis(900), "cut too soon: {cuts:?}");
    assert!(cuts[COUNT - 1] - cuts[0] >= INTERVAL * 10, "cut too fast: {cuts:?}");
    eventually("the ends at the XSPs", async || sim.xsps.iter().all(|xsp| xsp.channels().is_empty())).await;
}

#[tokio::test]
async fn the_access_log_tells_of_what_a_stop_has_cut() {
    let (stage, ()) = Stage::with(|_, text| {
        text.set("", "drain_timeout", "0s");
    })
    .await;
    let mut serving = Serving::start(&stage).await;
    let mut client = Client::new(serving.https[0], stage.sim.pki.public_roots());
    let mut answer = client.open(request(Method::POST, CHANNEL, body("<Channel/>"))).await.unwrap();
    let xsp = answer.headers()["x-xsp"].to_str().unwrap().to_owned();
    let first = answer.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    let id = stage.xsp(&xsp).channels().pop().unwrap();
    serving.program.signal("TERM");
    let event = serving.event_of("access", |event| event["channel"] == *id).await;
    assert_eq!(
        (&event["http.response.status_code"], &event["reason"], &event["origin"]),
        (&200.into(), &"cut".into(), &"xsp".into())
    );
    assert_eq!(event["http.response.body.size"], Value::from(first.len()), "{event}");
    eventually("the end", async || serving.program.code() == Some(0)).await;
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let (stage, ()) = Stage::with(|_, text| {
        text.set("", "drain_timeout", "24h");
    })
    .await;
    let mut serving = Serving::start(&stage).await;
    let mut client = Client::new(serving.https[0], stage.sim.pki.public_roots());
    let answer = client.open(request(Method::POST, CHANNEL, body("<Channel/>"))).await.unwrap();
    serving.program.signal("TERM");
    let stopping = |line: &str| line.contains("a second signal ends at once").then_some(());
    serving.program.line("that it is stopping", stopping).await;
    serving.program.signal("TERM");
    eventually("the end", async || serving.program.code() == Some(0)).await;
    drop(answer);
}

fn get() -> String {
    format!("GET {PROFILE} HTTP/1.1\r\nHost: {CLOUD}\r\n\r\n")
}

/// Whether these bytes are one whole answer with a length.
fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    length == Some(body.len())
}

/// Asks again and again on one connection, and looks at nothing but the answer; how many there were until one said that it
/// is the last, and what came behind that.
async fn ask_until_last(mut client: RawClient, pause: Duration) -> (usize, Received) {
    for count in 1.. {
        client.send(get()).await;
        let answer = client.until(is_whole).await;
        assert!(matches!(answer, Received::Open(_)), "request {count} is lost, every {pause:?}: {answer:?}");
        let text = answer.text();
        assert!(text.starts_with("HTTP/1.1 200 "), "request {count}: {text}");
        if text.to_ascii_lowercase().contains("\r\nconnection: close\r\n") {
            return (count, client.until_closed().await);
        }
        tokio::time::sleep(pause).await;
    }
    unreachable!("it asks until it is told")
}

#[tokio::test]
async fn no_request_on_a_kept_connection_is_lost_at_a_stop() {
    for stop in ["TERM", "ctl"] {
        let stage = Stage::start().await;
        let (_, socket) = stage.with_control();
        let section = format!("\n[control]\nsocket = {:?}\n", socket.display().to_string());
        let mut serving = Serving::start_changed(&stage, |text| text + &section).await;
        // The last ones come when no new connection is accepted any more.
        let pauses = [2, 10, 50, 250, 1100, 1600].map(Duration::from_millis);
        let mut clients = Vec::new();
        for pause in pauses.into_iter().cycle().take(60) {
            let mut client = RawClient::connect(serving.https[0], &stage.sim.pki.public_roots()).await;
            client.send(get()).await;
            client.until(is_whole).await;
            clients.push(tokio::spawn(ask_until_last(client, pause)));
        }
        eventually("requests", async || stage.asked() > 600).await;
        match stop {
            "TERM" => serving.program.signal("TERM"),
            _ => drop(Ctl(socket).done(&["stop"]).await),
        }
        for client in clients {
            let (count, end) = client.await.unwrap();
            assert_eq!(end, Received::Closed(Vec::new()), "after {count} requests");
        }
        eventually("the end", async || serving.program.code() == Some(0)).await;
    }
}

#[tokio::test]
async fn the_last_answer_arrives_whatever_the_client_goes_on_sending() {
    let stage = Stage::start().await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(stage.raw_client().await);
    }
    stage.gateway.lame_duck();
    for (index, client) in clients.iter_mut().enumerate() {
        // More than one read takes.
        client.send(get().repeat(if index % 2 == 0 { 2 } else { 1500 })).await;
    }
    for client in &mut clients {
        client.send(get()).await;
        let Received::Closed(answer) = client.until_closed().await else { panic!("it is reset") };
        assert!(is_whole(&answer), "{}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(stage.asked(), clients.len(), "what comes behind the last answer is not served");
}

#[tokio::test]
async fn a_connection_that_has_asked_for_nothing_yet_is_served_once_more() {
    let stage = Stage::start().await;
    let (mut fresh, mut kept) = (stage.raw_client().await, stage.raw_client().await);
    kept.send(get()).await;
    kept.until(is_whole).await;
    stage.gateway.drain();
    let address = stage.gateway.https();
    eventually("no new connections", async || tokio::net::TcpStream::connect(address).await.is_err()).await;
    for client in [&mut fresh, &mut kept] {
        client.send(get()).await;
        let answer = client.until_closed().await;
        assert!(matches!(answer, Received::Closed(_)) && is_whole(answer.bytes()), "{answer:?}");
    }
}

#[tokio::test]
async fn connections_that_idle_are_not_counted_as_cut() {
    let (stage, ()) = Stage::with(|_, text| {
        text.set("", "drain_timeout", "0s").set("[log]", "level", "info");
    })
    .await;
    let mut serving = Serving::start(&stage).await;
    let mut idle = Client::new(serving.https[0], stage.sim.pki.public_roots());
    idle.get(PROFILE).await;
    let channel = Channel::of(Client::new(serving.https[0], stage.sim.pki.public_roots())).await;
    serving.program.signal("TERM");
    channel.cut().await;
    let end = |line: &str| line.contains("nothing is left").then(|| line.to_owned());
    let end = serving.program.line("the end", end).await;
    assert!(end.contains("\"connections\":2") && end.contains("\"cut\":1"), "{end}");
    eventually("the end", async || serving.program.code() == Some(0)).await;
}
