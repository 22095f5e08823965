//! Promise 14 where the gateway is looked at: nothing that somebody does there, and nothing that stands still inside, keeps
//! the admin port, the control socket or the end waiting.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use xspgate::control::{Request, Whom};
use xspgate::sim::site::{Simulation, Text};
use xspgate::telemetry::timeline::KEPT;

use crate::harness::{Ctl, Serving, Stage, eventually, within};

/// What a prober waits for at most, when nothing else keeps the machine busy.
const PROMPT: Duration = Duration::from_millis(200);
/// Descriptors that the admin port may cost.
const DESCRIPTORS: usize = 300;

/// A gateway in this process that hears control calls.
pub(crate) async fn controlled(change: impl FnOnce(&Simulation, &mut Text)) -> (Stage, Ctl) {
    Stage::with(|sim, text| {
        let socket = sim.folder().join("control.sock");
        text.set("[control]", "socket", socket.display().to_string());
        change(sim, text);
        Ctl(socket)
    })
    .await
}

/// An XSP, as a control call names it.
pub(crate) fn whom(stage: &Stage, xsp: &str) -> Whom {
    Whom { xsp: stage.xsp(xsp).address().to_string(), farm: None, formerly: Vec::new() }
}

#[tokio::test]
async fn an_xsp_is_out_for_longer_than_its_event_is_kept() {
    let (stage, ctl) = controlled(|_, _| ()).await;
    ctl.ask(&Request::Block(whom(&stage, "a1"), Some(3600.0))).await;
    let address = stage.xsp("a1").address().to_string();
    let look = async || {
        let status: Value = serde_json::from_str(&stage.gateway.admin("/status").await.1).unwrap();
        let endpoints = status["farms"][0]["endpoints"].as_array().unwrap();
        let endpoint = endpoints.iter().find(|one| one["endpoint"] == *address).unwrap().clone();
        let blocks = status["events"].as_array().unwrap().iter().filter(|event| event["kind"] == "blocked");
        (endpoint, blocks.filter(|event| event["endpoint"] == *address).count())
    };
    // Samples are taken once a second.
    eventually("a sample of the block", async || look().await.0["since"].is_f64()).await;
    let (before, events) = look().await;
    assert!(before["out_since"].is_f64() && events == 1, "{before}");
    for _ in 0..KEPT / 2 + 1 {
        ctl.ask(&Request::Block(whom(&stage, "a2"), Some(60.0))).await;
        ctl.ask(&Request::Unblock(whom(&stage, "a2"))).await;
    }
    let (after, events) = look().await;
    assert_eq!((&after["out_since"], events), (&before["out_since"], 0));
    assert_eq!(stage.gateway.admin("/livez").await.0, 200);
}

/// Idle and half-sent connections, each kind, and requests whose answer is not read.
fn crowd() -> usize {
    std::env::var("XSPGATE_CROWD").map_or(200, |text| text.parse().unwrap())
}

fn descriptors(serving: &Serving) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", serving.program.id())).unwrap().count()
}

/// Waits until the gateway has closed all of these, whatever it has said before.
async fn until_closed(connections: Vec<TcpStream>) {
    within("the end of all connections", async {
        for mut connection in connections {
            // A reset is an end, too.
            drop(connection.read_to_end(&mut Vec::new()).await);
        }
    })
    .await;
}

#[tokio::test]
async fn promise_14_a_crowd_at_the_admin_port_keeps_no_prober_waiting() {
    let stage = Stage::start().await;
    let serving = Serving::start(&stage).await;
    let before = descriptors(&serving);
    let connect = async || within("a connection", TcpStream::connect(serving.admin_address())).await.unwrap();
    let (mut idle, mut unread) = (Vec::new(), Vec::new());
    let begun = Instant::now();
    for _ in 0..crowd() {
        idle.push(connect().await);
        let mut half = connect().await;
        // It may have made way already.
        drop(half.write_all(b"GET /livez HTTP/1.1\r\nHost: a").await);
        idle.push(half);
    }
    for _ in 0..64 {
        let mut one = connect().await;
        drop(one.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await);
        unread.push(one);
    }
    let mut waits = Vec::new();
    for _ in 0..10 {
        for path in ["/livez", "/readyz"] {
            let asked = Instant::now();
            assert_eq!(serving.admin(path).await.0, 200, "{path}");
            waits.push(asked.elapsed());
        }
    }
    waits.sort_unstable();
    assert!(waits[waits.len() / 2] < PROMPT, "{waits:?}");
    let held = descriptors(&serving);
    assert!(held < before + DESCRIPTORS, "{held} descriptors, {before} before");
    eventually("a scrape", async || serving.admin("/metrics").await.0 == 200).await;
    // An idle connection is closed 5 s after it has come, if it was not closed before for a newcomer.
    until_closed(idle).await;
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    until_closed(unread).await;
    eventually("all descriptors back", async || descriptors(&serving) <= before + 2).await;
}

#[tokio::test]
async fn a_request_with_a_body_is_answered_and_one_that_never_ends_is_not_waited_for() {
    let stage = Stage::start().await;
    let asked = async |request: &str| {
        let mut stream = TcpStream::connect(stage.gateway.admin_address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let begun = Instant::now();
        within(request, stream.read_to_string(&mut answer)).await.unwrap();
        (answer.split(' ').nth(1).unwrap_or_default().to_owned(), begun.elapsed())
    };
    let get = |body: &str| format!("GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n{body}");
    assert_eq!(asked(&get("hello")).await.0, "200");
    let (answer, took) = asked(&get("hell")).await;
    assert_eq!(answer, "");
    assert!(took >= Duration::from_secs(4), "{took:?}");
}

/// A running program that hears control calls.
async fn commanded() -> (Stage, Serving, Ctl) {
    let stage = Stage::start().await;
    let socket = stage.sim.folder().join("calls.sock");
    let section = format!("\n[control]\nsocket = {:?}\n", socket.display().to_string());
    let serving = Serving::start_changed(&stage, |text| text + &section).await;
    (stage, serving, Ctl(socket))
}

#[tokio::test]
async fn whatever_callers_wait_for_others_are_heard() {
    let (stage, mut serving, ctl) = commanded().await;
    let mut silent = Vec::new();
    for said in [&b""[..], b"\"sta"].repeat(100) {
        let mut call = UnixStream::connect(&ctl.0).await.unwrap();
        // It may have made way already.
        drop(call.write_all(said).await);
        silent.push(call);
    }
    assert!(ctl.done(&["status"]).await.contains("farm xsp"), "silent callers keep nobody out");
    // Nobody answers there, and a reload waits for a new farm's first XSP.
    let path = stage.sim.folder().join("logged.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let farm = "\n[farm.lost]\na = \"lost.example.com\"\nserver_name = \"lost.example.com\"\ntrust = \"internal\"\n";
    std::fs::write(&path, text + farm).unwrap();
    let mut waiting = Vec::new();
    for _ in 0..50 {
        let mut call = UnixStream::connect(&ctl.0).await.unwrap();
        call.write_all(b"\"reload\"\n").await.unwrap();
        waiting.push(call);
    }
    let address = stage.xsp("a1").address().to_string();
    let begun = Instant::now();
    ctl.ask(&Request::Status).await;
    ctl.ask(&Request::Drain(Whom { xsp: address, farm: None, formerly: Vec::new() })).await;
    let (mut first, mut said) = (waiting.remove(0), String::new());
    let early = tokio::time::timeout(Duration::ZERO, first.read_to_string(&mut said)).await;
    assert!(early.is_err() && begun.elapsed() < Duration::from_secs(2), "they are heard while reloads wait: {said}");
    within("the reload", first.read_to_string(&mut said)).await.unwrap();
    assert!(said.contains("reloaded"), "{said}");
    // One that wants to take over, and then says nothing.
    let mut heir = UnixStream::connect(&ctl.0).await.unwrap();
    heir.write_all(b"\"take-over\"\n").await.unwrap();
    serving.program.line("that it is heard", |line| line.contains("take-over").then_some(())).await;
    assert!(ctl.done(&["stop"]).await.contains("stopping"));
    eventually("the end", async || serving.program.code() == Some(0)).await;
    drop((silent, waiting, heir));
}
