//! Another process takes a gateway's place, and nobody notices but those who look: no connection is refused or reset, event
//! channels live on in the process that goes, and whatever names them finds them from the one that has come (R-AFF-2).

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::Value;
use tokio::task::JoinHandle;
use xspgate::handover::link::Link;
use xspgate::handover::{Answer, HandoverState, LAYOUT, Word};
use xspgate::sim::site::{ALL, Text};

use crate::acknowledgements::acknowledged;
use crate::channels::Channel;
use crate::harness::{
    Browser, Client, Ctl, DEADLINE, PROFILE, Program, Serving, Stage, assert_bridged, body, client_requests, dial,
    eventually, greeting, request, rest, signal,
};

/// A gateway that is a program of its own, and those that have taken its place.
struct Succession {
    // Dropped first, so that what stands behind the gateways outlives them.
    heirs: Vec<Heir>,
    serving: Serving,
    stage: Stage,
    ctl: Ctl,
    config: PathBuf,
}

/// A process that has taken over; killed when dropped.
pub(crate) struct Heir(pub(crate) u32);

impl Drop for Heir {
    fn drop(&mut self) {
        signal(self.0, "KILL");
    }
}

/// Waits until another process has taken over from `program`.
async fn successor(program: &Program) -> Heir {
    let pid = |line: &str| {
        let pid = line.split_once("another process has taken over")?.1.split_once("\"process.pid\":")?.1;
        pid.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
    };
    Heir(program.line("who takes over", pid).await)
}

/// Who has taken over, by what `ctl restart` says.
pub(crate) fn heir(said: &str) -> Heir {
    let pid = said.strip_prefix("process ").and_then(|rest| rest.split(' ').next()?.parse().ok());
    Heir(pid.unwrap_or_else(|| panic!("no process: {said}")))
}

impl Stage {
    /// The path of a configuration of this stage with a control socket, and the socket's.
    pub(crate) fn with_control(&self) -> (String, PathBuf) {
        let folder = self.sim.folder();
        let (config, socket) = (folder.join("controlled.toml"), folder.join("control.sock"));
        let text = fs::read_to_string(folder.join("xspgate.toml")).unwrap();
        let section = format!("\n[control]\nsocket = {:?}\n", socket.display().to_string());
        fs::write(&config, text + &section).unwrap();
        (config.display().to_string(), socket)
    }
}

impl Succession {
    async fn start(change: impl FnOnce(&mut Text)) -> Self {
        let (stage, ()) = Stage::with(|_, text| change(text)).await;
        let (socket, config) = (stage.sim.folder().join("control.sock"), stage.sim.folder().join("logged.toml"));
        let section = format!("\n[control]\nsocket = {:?}\n", socket.display().to_string());
        let serving = Serving::start_changed(&stage, |text| text + &section).await;
        Self { heirs: Vec::new(), serving, stage, ctl: Ctl(socket), config }
    }

    /// As [`Succession::start`]; no test sees the end of what an old process has.
    async fn patient() -> Self {
        Self::start(|text| {
            text.set("", "handover_timeout", "5m");
        })
        .await
    }

    fn https(&self) -> SocketAddr {
        self.serving.https[0]
    }

    fn client(&self) -> Client {
        Client::new(self.https(), self.stage.sim.pki.public_roots())
    }

    /// Has another process take over.
    async fn restart(&mut self) {
        let said = self.ctl.done(&["restart"]).await;
        self.heirs.push(heir(&said));
    }

    async fn status(&self) -> Value {
        serde_json::from_str(&self.ctl.done(&["status", "--json"]).await).unwrap()
    }

    async fn until_ended(&mut self) {
        eventually("the old process' end", async || self.serving.program.code().is_some()).await;
        assert_eq!(self.serving.program.code(), Some(0));
    }

    async fn channels(&self, count: usize) -> Vec<Channel> {
        let mut channels = Vec::new();
        for _ in 0..count {
            channels.push(Channel::of(self.client()).await);
        }
        channels
    }

    /// Each beats from a connection of its own, without cookies, and its stream shows that it has reached its XSP.
    async fn all_beat(&self, channels: &mut [Channel]) {
        for channel in channels {
            let answer = self.client().send(channel.heartbeat()).await;
            assert_eq!((answer.status, answer.xsp()), (StatusCode::OK, &*channel.xsp));
            channel.is_alive().await;
        }
    }

    fn rewrite(&self, change: impl FnOnce(&str) -> String) {
        fs::write(&self.config, change(&fs::read_to_string(&self.config).unwrap())).unwrap();
    }
}

/// Requests at a steady pace, over connections that are kept and over new ones; none may fail.
struct Load {
    tasks: Vec<JoinHandle<()>>,
    served: Arc<AtomicU64>,
    failed: Arc<std::sync::Mutex<Vec<String>>>,
}

impl Load {
    /// 500 requests a second.
    fn on(succession: &Succession) -> Self {
        let (served, failed) = (Arc::<AtomicU64>::default(), Arc::<std::sync::Mutex<Vec<String>>>::default());
        let (address, roots) = (succession.https(), succession.stage.sim.pki.public_roots());
        let task = |_| {
            let (served, failed, roots) = (Arc::clone(&served), Arc::clone(&failed), roots.clone());
            tokio::spawn(async move {
                let mut pace = tokio::time::interval(Duration::from_millis(10));
                let mut kept = Client::new(address, roots.clone());
                for number in 0_u32.. {
                    pace.tick().await;
                    let mut fresh = Client::new(address, roots.clone());
                    let client = if number % 4 == 0 { &mut fresh } else { &mut kept };
                    match client.try_send(request(Method::POST, "/dms/x", body("content"))).await {
                        Ok(answer) if answer.status == StatusCode::OK => {
                            served.fetch_add(1, Ordering::Relaxed);
                            if answer.header("connection") == "close" {
                                client.disconnect();
                            }
                        }
                        Ok(answer) => failed.lock().unwrap().push(answer.status.to_string()),
                        Err(error) => failed.lock().unwrap().push(error),
                    }
                }
            })
        };
        Self { tasks: (0..5).map(task).collect(), served, failed }
    }

    async fn until_served(&self, more: u64) {
        let wanted = self.served.load(Ordering::Relaxed) + more;
        eventually("requests", async || self.served.load(Ordering::Relaxed) >= wanted).await;
    }

    fn stop(self) -> u64 {
        self.tasks.iter().for_each(JoinHandle::abort);
        assert_eq!(*self.failed.lock().unwrap(), [""; 0]);
        self.served.load(Ordering::Relaxed)
    }
}

/// How often another process takes over: `XSPGATE_HANDOVERS` times.
fn handovers() -> usize {
    std::env::var("XSPGATE_HANDOVERS").map_or(2, |count| count.parse().expect("XSPGATE_HANDOVERS is a number"))
}

#[tokio::test]
async fn promise_9_no_request_fails_and_no_channel_breaks_while_others_take_over() {
    let mut succession = Succession::start(|text| {
        text.set("", "handover_timeout", "5m").set("", "workers", 2_i64);
    })
    .await;
    let mut channels = succession.channels(if handovers() > 2 { 1000 } else { 40 }).await;
    let load = Load::on(&succession);
    load.until_served(100).await;
    for round in 1..=handovers() {
        succession.restart().await;
        assert_eq!(succession.heirs.iter().map(|heir| heir.0).collect::<HashSet<_>>().len(), round);
        load.until_served(200).await;
        // Those of the first process, by way of however many others.
        succession.all_beat(&mut channels).await;
        channels.extend(succession.channels(2).await);
    }
    load.stop();
    succession.all_beat(&mut channels).await;
    for (index, channel) in channels.iter_mut().enumerate() {
        channel.receives(&succession.stage, &format!("event-{index}")).await;
    }
    assert!(succession.serving.program.code().is_none(), "channels live on where they are");
    assert_eq!(succession.serving.metrics().await.count("xspgate_channels", &[]), channels.len() as f64);
}

#[tokio::test]
async fn r_aff_2_channels_end_with_the_old_process_and_none_of_them_is_looked_for_elsewhere() {
    let mut succession = Succession::start(|text| {
        text.set("", "handover_timeout", "2s").set("", "drain_spread", "500ms");
    })
    .await;
    let mut channels = succession.channels(12).await;
    succession.restart().await;
    succession.all_beat(&mut channels).await;
    let (gone, left) = (channels.pop().unwrap(), channels);
    let deletion = request(Method::DELETE, &gone.path(), body(""));
    assert_eq!(succession.client().send(deletion).await.status, StatusCode::OK);
    let paths: Vec<_> = left.iter().map(|channel| channel.heartbeat().uri().path().to_owned()).collect();
    for channel in left {
        channel.cut().await;
    }
    succession.until_ended().await;
    let asked = |stage: &Stage| stage.sim.xsps.iter().map(client_requests).sum::<usize>();
    let before = asked(&succession.stage);
    eventually("every channel's end", async || {
        succession.serving.metrics().await.count("xspgate_channels", &[]) == 0.0
    })
    .await;
    for path in paths {
        let answer = succession.client().send(request(Method::PUT, &path, body(""))).await;
        assert_eq!((answer.status, answer.xsp()), (StatusCode::NOT_FOUND, ""), "{path}");
    }
    assert_eq!(asked(&succession.stage), before, "a heartbeat has come to an XSP");
    let closed = succession.serving.metrics().await;
    assert_eq!(closed.count("xspgate_channels_closed_total", &[("reason", "cut")]), 11.0);
    assert_eq!(closed.count("xspgate_channels_closed_total", &[("reason", "xsp")]), 1.0);
}

#[tokio::test]
async fn r_aff_2_the_loss_of_a_channel_of_the_old_process_is_known_to_the_new_one() {
    let mut succession = Succession::patient().await;
    let mut channels = succession.channels(8).await;
    succession.restart().await;
    succession.all_beat(&mut channels).await;
    let dead = channels[0].xsp.clone();
    succession.stage.xsp(&dead).kill().await;
    let (lost, mut others): (Vec<_>, Vec<_>) = channels.into_iter().partition(|channel| channel.xsp == dead);
    for channel in lost {
        let heartbeat = channel.heartbeat();
        let path = heartbeat.uri().path().to_owned();
        channel.cut().await;
        eventually("404", async || {
            let answer = succession.client().send(request(Method::PUT, &path, body(""))).await;
            (answer.status, answer.xsp()) == (StatusCode::NOT_FOUND, "")
        })
        .await;
    }
    succession.all_beat(&mut others).await;
}

#[tokio::test]
async fn r_aff_2_events_of_the_old_process_are_acknowledged_through_the_new_one() {
    let mut succession = Succession::patient().await;
    let mut channels = succession.channels(8).await;
    for (index, channel) in channels.iter_mut().enumerate() {
        channel.receives(&succession.stage, &format!("before-{index}")).await;
    }
    succession.restart().await;
    for (index, channel) in channels.iter_mut().enumerate() {
        channel.receives(&succession.stage, &format!("after-{index}")).await;
    }
    for (index, channel) in channels.iter().enumerate() {
        for event in [format!("before-{index}"), format!("after-{index}")] {
            let answer = succession.client().send(acknowledged(&event)).await;
            assert_eq!((answer.status, answer.xsp()), (StatusCode::OK, &*channel.xsp), "{event}");
        }
    }
}

#[tokio::test]
async fn what_was_done_by_hand_and_what_is_blocked_stays_so() {
    let mut succession = Succession::start(|_| ()).await;
    let address = |name: &str| succession.stage.xsp(name).address().to_string();
    let (drained, blocked, failed) = (address("a1"), address("a2"), address("b1"));
    succession.ctl.done(&["drain", &drained]).await;
    succession.ctl.done(&["block", &blocked, "--for", "1h"]).await;
    succession.stage.xsp("b1").kill().await;
    eventually("a failure", async || {
        succession.client().get(PROFILE).await;
        succession.serving.metrics().await.value("xspgate_endpoint_blocked", &[("endpoint", &failed)]) == Some(1.0)
    })
    .await;
    succession.restart().await;
    let status = succession.status().await;
    let endpoints = status["farms"][0]["endpoints"].as_array().unwrap();
    let state = |address: &str| {
        let endpoint = endpoints.iter().find(|endpoint| endpoint["endpoint"] == *address);
        endpoint.unwrap_or_else(|| panic!("{status}"))["state"].as_str().unwrap().to_owned()
    };
    assert_eq!([state(&drained), state(&blocked), state(&failed)], ["draining", "blocked", "blocked"]);
    for _ in 0..20 {
        assert_eq!(succession.client().get(PROFILE).await.xsp(), "b2");
    }
    let kinds: Vec<_> = status["events"].as_array().unwrap().iter().map(|event| &event["kind"]).collect();
    for kind in ["took-over", "blocked", "draining", "started"] {
        assert!(kinds.contains(&&Value::from(kind)), "{kind}: {kinds:?}");
    }
    let found = kinds.iter().filter(|kind| **kind == "found").count();
    assert_eq!(found, 4, "what is known is no news: {kinds:?}");
    succession.ctl.done(&["undrain", &drained]).await;
    eventually("its first request", async || succession.client().get(PROFILE).await.xsp() == "a1").await;
}

#[tokio::test]
async fn promise_7_sessions_stay_put_also_without_a_key_file_and_at_an_xsp_that_has_left_dns() {
    let mut succession = Succession::start(|text| {
        text.remove("[affinity]", "key_file");
    })
    .await;
    let mut clients: Vec<_> = (0..6).map(|_| succession.client()).collect();
    let mut homes = Vec::new();
    for client in &mut clients {
        homes.push(client.get(PROFILE).await.xsp().to_owned());
    }
    let gone = homes[0].clone();
    let zones = succession.stage.sim.zones();
    let others = succession.stage.sim.xsps.iter().filter(|xsp| xsp.name() != gone);
    zones.set_a(ALL, 0, others.map(|xsp| xsp.address().ip()));
    let departed = succession.stage.xsp(&gone).address().to_string();
    eventually("its departure", async || {
        let status = succession.status().await;
        let endpoints = status["farms"][0]["endpoints"].as_array().unwrap().clone();
        endpoints.iter().any(|endpoint| endpoint["endpoint"] == *departed && endpoint["state"] == "departed")
    })
    .await;
    succession.restart().await;
    for (client, home) in clients.iter_mut().zip(&homes) {
        client.disconnect();
        assert_eq!(client.get(PROFILE).await.xsp(), home);
    }
    for _ in 0..10 {
        assert_ne!(succession.client().get(PROFILE).await.xsp(), gone);
    }
}

#[tokio::test]
async fn what_keeps_another_process_from_taking_over_is_said_and_the_old_one_goes_on() {
    let mut succession = Succession::start(|_| ()).await;
    let mut channels = succession.channels(2).await;
    let good = fs::read_to_string(&succession.config).unwrap();
    succession.rewrite(|text| text.replace("[control]", "tries = 3\n[control]"));
    let why = succession.ctl.refused(&["restart"]).await;
    assert!(why.contains("tries"), "{why}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("[\"{}\", ", taken.local_addr().unwrap());
    succession.rewrite(|_| good.replacen("listen = [", &format!("listen = {place}"), 1));
    let why = succession.ctl.refused(&["restart"]).await;
    assert!(why.contains("another gateway or server listens there"), "{why}");
    succession.all_beat(&mut channels).await;
    assert_eq!(succession.client().get(PROFILE).await.status, StatusCode::OK);
    succession.rewrite(|_| good);
    succession.restart().await;
    succession.all_beat(&mut channels).await;
}

#[tokio::test]
async fn the_program_is_started_as_it_is_on_disk_then() {
    let (stage, ()) = Stage::with(|_, _| ()).await;
    let folder = stage.sim.folder();
    let (program, config) = (folder.join("xspgate"), folder.join("xspgate.toml"));
    symlink(env!("CARGO_BIN_EXE_xspgate"), &program).unwrap();
    let mut old = Program::spawn(Command::new(&program).arg("run").arg(&config));
    old.line("that it serves", |line| line.starts_with("serving /metrics").then_some(())).await;
    fs::remove_file(&program).unwrap();
    fs::write(&program, "#!/bin/sh\nexit 3\n").unwrap();
    assert!(Command::new("chmod").arg("+x").arg(&program).status().unwrap().success());
    old.signal("USR2");
    let refused = |line: &str| (line.contains("this one goes on") && line.contains("exit status: 3")).then_some(());
    old.line("why it goes on", refused).await;
    fs::remove_file(&program).unwrap();
    symlink(env!("CARGO_BIN_EXE_xspgate"), &program).unwrap();
    old.signal("USR2");
    let _heir = successor(&old).await;
    eventually("the end", async || old.code() == Some(0)).await;
}

#[tokio::test]
async fn workers_and_addresses_may_change_on_the_way() {
    let mut succession = Succession::start(|text| {
        text.set("", "workers", 3_i64).set("", "handover_timeout", "5m");
        text.set("[[https]]", "listen", vec!["127.0.0.1:0".to_owned(), "127.0.0.2:0".to_owned()]);
    })
    .await;
    let mut channels = succession.channels(6).await;
    let (kept, dropped) = (succession.serving.https[0], succession.serving.https[1]);
    for (from, to) in [("workers = 3", "workers = 1"), ("workers = 1", "workers = 4")] {
        succession.rewrite(|text| text.replace(from, to).replace("127.0.0.2:0", "127.0.0.3:0"));
        succession.restart().await;
        for _ in 0..20 {
            assert_eq!(succession.client().get(PROFILE).await.status, StatusCode::OK);
        }
        succession.all_beat(&mut channels).await;
        let refused = async || tokio::net::TcpStream::connect(dropped).await.is_err();
        eventually("nobody at the address that was dropped", refused).await;
        let lines = succession.serving.program.lines();
        let served: Vec<SocketAddr> =
            lines.iter().filter_map(|line| line.strip_prefix("serving HTTPS on ")?.parse().ok()).collect();
        let [.., first, second] = served[..] else { panic!("{lines:?}") };
        assert_eq!(first, kept);
        let mut client = Client::new(second, succession.stage.sim.pki.public_roots());
        assert_eq!(client.get(PROFILE).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_process_that_somebody_else_has_started_may_take_over() {
    let mut succession = Succession::start(|_| ()).await;
    let (config, socket) = (succession.config.display().to_string(), succession.ctl.0.display().to_string());
    let first = Program::start(&["run", "--take-over", &config]);
    first.line("that it serves", |line| line.starts_with("serving /metrics").then_some(())).await;
    succession.until_ended().await;
    assert_eq!(succession.client().get(PROFILE).await.status, StatusCode::OK);
    assert_eq!(succession.status().await["ready"], true);
    let mut second = Program::start(&["run", &format!("--take-over={socket}"), &config]);
    second.line("that it serves", |line| line.starts_with("serving /metrics").then_some(())).await;
    assert_eq!(succession.client().get(PROFILE).await.status, StatusCode::OK);
    second.signal("TERM");
    eventually("the end", async || second.code() == Some(0)).await;
    assert!(!succession.ctl.0.exists(), "the socket's file is the last one's to remove");
    let alone = Program::start(&["run", "--take-over", &config]);
    alone.line("that nobody is there", |line| line.contains("nothing to take over").then_some(())).await;
    alone.line("that it serves", |line| line.starts_with("serving /metrics").then_some(())).await;
}

#[tokio::test]
async fn a_signal_cuts_what_an_old_process_has_and_a_second_one_ends_it() {
    let mut succession = Succession::start(|text| {
        text.set("", "handover_timeout", "24h");
    })
    .await;
    let mut channels = succession.channels(8).await;
    succession.restart().await;
    succession.all_beat(&mut channels).await;
    succession.serving.program.signal("TERM");
    channels.remove(0).cut().await;
    assert_eq!(succession.serving.program.code(), None, "eight seconds at least");
    succession.serving.program.signal("TERM");
    succession.until_ended().await;
    for channel in channels {
        channel.cut().await;
    }
    assert_eq!(succession.client().get(PROFILE).await.status, StatusCode::OK);
}

/// Whether a line has all of these parts.
fn has(parts: &[&str]) -> impl Fn(&str) -> Option<()> {
    let parts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
    move |line: &str| parts.iter().all(|part| line.contains(part)).then_some(())
}

#[tokio::test]
async fn the_end_of_a_new_process_that_is_killed_is_told_with_what_to_do_and_so_is_a_signal_to_the_old_one() {
    let mut succession = Succession::patient().await;
    let _channels = succession.channels(1).await;
    succession.restart().await;
    let heir = succession.heirs[0].0;
    let (program, pid) = (&succession.serving.program, format!("\"process.pid\":{heir}"));
    for name in ["USR2", "HUP"] {
        program.signal(name);
        let parts = ["WARN", &format!("\"SIG{name}\""), &pid, "another process serves in this one's place"];
        program.line("who serves", has(&parts)).await;
    }
    assert!(signal(heir, "KILL"));
    let parts = ["WARN", &pid, "the process that had taken over is no longer heard from", "start it"];
    program.line("its end", has(&parts)).await;
    program.signal("USR2");
    program
        .line("that nobody serves", has(&["WARN", &pid, "has ended; if `xspgate ctl status` finds no gateway"]))
        .await;
    let warnings = program.lines().iter().filter(|line| line.contains("is no longer heard from")).count();
    assert_eq!(warnings, 1, "{:?}", program.lines());
}

#[tokio::test]
async fn the_end_of_a_new_process_that_is_stopped_is_no_warning() {
    let mut succession = Succession::patient().await;
    let _channels = succession.channels(4).await;
    succession.restart().await;
    let pid = format!("\"process.pid\":{}", succession.heirs[0].0);
    succession.ctl.done(&["stop"]).await;
    let program = &succession.serving.program;
    program.line("its end", has(&["INFO", &pid, "the process that had taken over has ended"])).await;
    assert!(program.lines().iter().all(|line| !line.contains("is no longer heard from")), "{:?}", program.lines());
}

#[tokio::test]
async fn the_end_of_an_old_process_is_told_with_what_is_lost_unless_it_was_to_end() {
    let mut succession = Succession::patient().await;
    let first = succession.serving.program.id();
    let pid = format!("\"process.pid\":{first}");
    let _channels = succession.channels(2).await;
    succession.restart().await;
    eventually("that it says what it has", async || succession.status().await["processes"][1]["channels"] == 2).await;
    assert!(signal(first, "KILL"));
    let program = &succession.serving.program;
    let parts =
        ["WARN", &pid, "\"channels\":2", "the replaced process is no longer heard from, and has not said that it ends"];
    program.line("its end", has(&parts)).await;

    let mut succession = Succession::start(|text| {
        text.set("", "handover_timeout", "1s");
    })
    .await;
    let pid = format!("\"process.pid\":{}", succession.serving.program.id());
    let _channels = succession.channels(1).await;
    succession.restart().await;
    let program = &succession.serving.program;
    program.line("its end", has(&["INFO", &pid, "the replaced process has ended"])).await;
    assert!(program.lines().iter().all(|line| !line.contains("is no longer heard from")), "{:?}", program.lines());
}

#[tokio::test]
async fn a_process_between_two_others_that_is_signalled_goes_on_telling_of_the_one_before_it() {
    let mut succession = Succession::patient().await;
    let first = succession.serving.program.id();
    let mut channels = succession.channels(1).await;
    succession.restart().await;
    channels.extend(succession.channels(1).await);
    succession.restart().await;
    let (second, third) = (succession.heirs[0].0, succession.heirs[1].0);
    let pids = async |succession: &Succession| -> Vec<u64> {
        let status = succession.status().await;
        status["processes"].as_array().unwrap().iter().map(|process| process["pid"].as_u64().unwrap()).collect()
    };
    let all = [third, second, first].map(u64::from);
    eventually("all three", async || pids(&succession).await == all).await;
    assert!(signal(second, "TERM"));
    channels.remove(1).cut().await;
    // It has nothing any more, and says so at least.
    eventually("that it holds nothing", async || {
        let status = succession.status().await;
        status["processes"][1]["pid"] == second && status["processes"][1]["channels"] == 0
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(pids(&succession).await, all);
    succession.all_beat(&mut channels).await;
}

#[tokio::test]
async fn cti_connections_live_on_in_the_old_process_and_come_to_the_new_one() {
    let stage = Stage::cti(|_, text| {
        text.set("", "handover_timeout", "3s");
    })
    .await;
    let mut serving = Serving::start(&stage).await;
    let webex = stage.webex();
    let mut before = dial(&webex, serving.cti[0]).await.unwrap();
    assert_eq!(greeting(&mut before).await, "a1");
    serving.program.signal("USR2");
    let _heir = successor(&serving.program).await;
    assert_bridged(&mut before, b"<Request/>").await;
    let mut after = dial(&webex, serving.cti[0]).await.unwrap();
    assert_eq!(greeting(&mut after).await, "a1");
    assert_bridged(&mut before, b"<Request/>").await;
    rest(&mut before).await;
    eventually("the old process' end", async || serving.program.code() == Some(0)).await;
    assert_bridged(&mut after, b"<Request/>").await;
}

#[tokio::test]
async fn whoever_watches_the_page_goes_on_with_the_new_process() {
    let Some(mut browser) = Browser::start().await else { return };
    let mut succession = Succession::patient().await;
    let _channels = succession.channels(1).await;
    browser.open(&format!("http://{}/", succession.serving.admin_address())).await;
    let shows = |what: &str| format!("document.body.textContent.includes({what:?})");
    browser.until("the old process", &shows(&format!("process {} runs", succession.serving.program.id()))).await;
    succession.restart().await;
    let heir = succession.heirs[0].0;
    browser.until("the new process", &shows(&format!("process {heir} runs"))).await;
    browser.until("its first event", &shows("took over")).await;
    succession.ctl.done(&["block", &succession.stage.xsp("a1").address().to_string()]).await;
    browser.until("what happens there", &shows("by hand; for")).await;
}

#[tokio::test]
async fn r_aff_2_of_two_restarts_at_once_one_is_refused_and_the_other_keeps_its_channels() {
    let mut succession = Succession::patient().await;
    let mut channels = succession.channels(4).await;
    let load = Load::on(&succession);
    load.until_served(50).await;
    let (one, two) = tokio::join!(succession.ctl.run(&["restart"]), succession.ctl.run(&["restart"]));
    for ended in [one, two] {
        match ended.code {
            // Who comes late asks the one that has taken over.
            0 => succession.heirs.push(heir(&ended.stdout)),
            _ => assert_eq!(ended.stderr, "error: another process has taken over already\n"),
        }
    }
    assert!(!succession.heirs.is_empty());
    load.until_served(100).await;
    succession.all_beat(&mut channels).await;
    let lines = succession.serving.program.lines();
    assert!(lines.iter().all(|line| !line.contains("this one goes on")), "{lines:?}");
    load.stop();
}

#[tokio::test]
async fn nobody_waits_for_a_process_that_is_not_ready_yet_whatever_it_has_bound() {
    let mut succession = Succession::start(|text| {
        text.set("", "workers", 1_i64);
    })
    .await;
    // It waits two seconds for the first XSP of this farm.
    let late =
        "[farm.late]\nserver_name = \"late.example.com\"\ntrust = \"internal\"\na = \"late.example.com\"\n\n[control]";
    succession.rewrite(|text| text.replace("workers = 1", "workers = 8").replace("[control]", late));
    let asking = async {
        loop {
            let asked = tokio::time::timeout(Duration::from_secs(1), succession.client().get(PROFILE)).await;
            assert_eq!(asked.expect("an answer at once").status, StatusCode::OK);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let said = tokio::select! {
        said = succession.ctl.done(&["restart"]) => said,
        () = asking => unreachable!(),
    };
    succession.heirs.push(heir(&said));
}

#[tokio::test]
async fn what_the_new_configuration_serves_no_more_is_given_up_at_once() {
    let mut succession = Succession::patient().await;
    let mut channels = succession.channels(1).await;
    let status = succession.status().await;
    let lines = succession.serving.program.lines();
    let admin = lines.iter().find_map(|line| line.strip_prefix("serving /metrics")?.rsplit(' ').next()?.parse().ok());
    let admin: SocketAddr = admin.unwrap_or_else(|| panic!("{status}"));
    let moved = succession.stage.sim.folder().join("moved.sock");
    let socket = succession.ctl.0.display().to_string();
    succession.rewrite(|text| {
        text.replace("[admin]\nlisten = \"127.0.0.1:0\"\n", "").replace(&socket, &moved.display().to_string())
    });
    succession.restart().await;
    eventually("nobody at [admin]", async || tokio::net::TcpStream::connect(admin).await.is_err()).await;
    eventually("no control socket", async || !succession.ctl.0.exists()).await;
    succession.ctl.0 = moved;
    succession.all_beat(&mut channels).await;
    assert_eq!(succession.status().await["phase"], "running");
}

/// A gateway that only plays one, to hand over as it likes at `path`.
struct Player(UnixListener);

impl Player {
    fn at(path: &Path) -> Self {
        Self(UnixListener::bind(path).unwrap())
    }

    /// Gives whoever comes the control socket, and nothing else; what it says then is for the caller to choose.
    fn gives(&self, path: &Path, before: impl FnOnce()) -> Link {
        let (call, _) = self.0.accept().unwrap();
        self.0.set_nonblocking(true).unwrap();
        let mut request = String::new();
        BufReader::new(&call).read_line(&mut request).unwrap();
        let link = Link::new(call, DEADLINE).unwrap();
        before();
        link.send_descriptors(&[self.0.as_fd()]).unwrap();
        let state = HandoverState {
            layout: LAYOUT,
            pid: 1,
            version: "0".into(),
            sockets: Vec::new(),
            admin: None,
            control: Some(path.to_owned()),
            affinity: Vec::new(),
            farms: Vec::new(),
            answers: String::new(),
            events: Vec::new(),
            talks: 0,
        };
        link.send([state]).unwrap();
        link
    }
}

#[tokio::test]
async fn a_process_that_can_not_take_over_leaves_the_control_socket_where_it_is() {
    let (stage, ()) = Stage::with(|_, _| ()).await;
    let (config, path) = stage.with_control();
    let player = Player::at(&path);
    let mut taking = Program::start(&["run", "--take-over", &config]);
    let at = path.clone();
    let refuse = move || {
        let why = Word::Refused("it has thought better of it".into());
        player.gives(&at, || ()).send([Word::Complete, why]).unwrap();
    };
    tokio::task::spawn_blocking(refuse).await.unwrap();
    taking.line("why not", |line| line.contains("it has thought better of it").then_some(())).await;
    eventually("the end", async || taking.code() == Some(1)).await;
    assert!(path.exists(), "it was not its own");
}

#[tokio::test]
async fn a_process_that_is_about_to_take_over_does_not_end_by_a_signal_to_reload() {
    let (stage, ()) = Stage::with(|_, _| ()).await;
    let (config, path) = stage.with_control();
    let player = Player::at(&path);
    let mut taking = Program::start(&["run", "--take-over", &config]);
    let id = taking.id();
    let give = move || {
        let link = player.gives(&path, || ());
        link.send([Word::Complete]).unwrap();
        assert!(signal(id, "HUP"));
        link.send([Word::Go]).unwrap();
        link
    };
    let _link = tokio::task::spawn_blocking(give).await.unwrap();
    let reloaded = |line: &str| line.contains("configuration unchanged").then_some(());
    taking.line("that it has read the configuration again", reloaded).await;
    assert_eq!(taking.code(), None);
}

#[tokio::test]
async fn a_hand_over_outlives_a_moment_in_which_a_process_is_stopped() {
    let (stage, ()) = Stage::with(|_, _| ()).await;
    let (config, path) = stage.with_control();
    let player = Player::at(&path);
    let mut taking = Program::start(&["run", "--take-over", &config]);
    let id = taking.id();
    let give = move || {
        let pause = || {
            for name in ["STOP", "CONT"] {
                // For it to wait for what comes next.
                std::thread::sleep(Duration::from_millis(20));
                assert!(signal(id, name));
            }
        };
        let link = player.gives(&path, pause);
        pause();
        link.send([Word::Complete, Word::Go]).unwrap();
        link
    };
    let _link = tokio::task::spawn_blocking(give).await.unwrap();
    taking.line("that it serves", |line| line.starts_with("serving /metrics").then_some(())).await;
    assert_eq!(taking.code(), None);
}

#[tokio::test]
async fn r_aff_2_channels_of_the_new_process_are_known_to_those_before_it_for_the_sake_of_kept_connections() {
    let mut succession = Succession::patient().await;
    let (mut kept, mut channels) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        for _ in 0..16 {
            let mut client = succession.client();
            assert_eq!(client.get(PROFILE).await.status, StatusCode::OK);
            client.forget_cookies();
            kept.push(client);
        }
        if kept.len() < 48 {
            succession.restart().await;
        }
    }
    channels.extend(succession.channels(16).await);
    for (index, channel) in channels.iter_mut().enumerate() {
        channel.receives(&succession.stage, &format!("event-{index}")).await;
    }
    // The processes tell each other in a moment, and a client's next request comes ten seconds later.
    tokio::time::sleep(Duration::from_millis(100)).await;
    // Two thirds of these are with the first process and the second one.
    for (index, client) in kept.iter_mut().enumerate() {
        let channel = &mut channels[index % 16];
        let answer = if index % 2 == 0 {
            client.send(channel.heartbeat()).await
        } else {
            client.send(acknowledged(&format!("event-{}", index % 16))).await
        };
        assert_eq!((answer.status, answer.xsp()), (StatusCode::OK, &*channel.xsp), "{index}");
        if index % 2 == 0 {
            channel.is_alive().await;
        }
    }
}

#[tokio::test]
async fn an_xsp_is_vacated_once_the_old_process_has_gone_too() {
    let stage = Stage::cti(|_, text| {
        text.set("", "handover_timeout", "4s");
    })
    .await;
    let (config, socket) = stage.with_control();
    let old = Serving::of(Path::new(&config)).await;
    let mut before = dial(&stage.webex(), old.cti[0]).await.unwrap();
    assert_eq!(greeting(&mut before).await, "a1");
    let ctl = Ctl(socket);
    ctl.done(&["drain", &stage.speaker("a1").address().to_string()]).await;
    let _heir = heir(&ctl.done(&["restart"]).await);
    let events = async || {
        let status: Value = serde_json::from_str(&ctl.done(&["status", "--json"]).await).unwrap();
        let kinds = status["events"].as_array().unwrap().iter().rev().map(|event| event["kind"].clone());
        kinds.collect::<Vec<_>>()
    };
    let vacated = async || events().await.contains(&"vacated".into());
    eventually("that nothing is held there", vacated).await;
    let kinds = events().await;
    let place = |kind: &str| kinds.iter().position(|one| one == kind).unwrap_or_else(|| panic!("{kind}: {kinds:?}"));
    assert!(place("predecessor-gone") < place("vacated"), "{kinds:?}");
    rest(&mut before).await;
}

#[tokio::test]
async fn a_process_of_an_earlier_version_is_told_nothing_new_and_what_it_has_is_said_to_be_unknown() {
    let (stage, ()) = Stage::with(|_, _| ()).await;
    let (config, path) = stage.with_control();
    let player = Player::at(&path);
    let taking = Program::start(&["run", "--take-over", &config]);
    let at = path.clone();
    let give = move || {
        let link = player.gives(&at, || ());
        link.send([Word::Complete, Word::Go]).unwrap();
        link
    };
    let mut link = tokio::task::spawn_blocking(give).await.unwrap();
    taking.line("that it serves", |line| line.starts_with("serving /metrics").then_some(())).await;
    let ctl = Ctl(path);
    let xsp = stage.xsp("a1").address().to_string();
    let drained = async || ctl.run(&["drain", &xsp]).await;
    eventually("its XSPs", async || drained().await.code == 0).await;
    let said = drained().await.stdout;
    assert!(
        said.contains("UNKNOWN: what replaced processes hold there: process 1 (version 0) has not said what it holds"),
        "{said}"
    );
    assert!(ctl.done(&["status"]).await.contains("UNKNOWN: what a replaced process holds"));
    let listed = ctl.refused(&["connections"]).await;
    assert!(listed.contains("in the processes that have answered, no event channel"), "{listed}");
    assert!(listed.contains("UNKNOWN: process 1 (version 0) can't be asked, since its version is older"), "{listed}");
    assert!(matches!(link.receive(), Ok(Answer::Ready { .. })));
    drop(taking);
    assert!(link.receive::<Answer>().is_err(), "it is told nothing but the end");
}
