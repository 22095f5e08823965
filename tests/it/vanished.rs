//! Peers that are gone without a word, behind a wire that is really cut: the kernel finds out within `[tcp] user_timeout`,
//! whether or not data is under way, and the gateway says whose connection broke.

use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use xspgate::sim::cti::{Behaviour, Call, Webex};
use xspgate::sim::site::{DOMAIN, Layout, Network, Simulation, Text};

use crate::channels::Channel;
use crate::harness::{Client, Program, Serving, Stage, Wire, dial, eventually, greeting, in_order, tiers, within};

/// `keepalive_idle` + `keepalive_interval` x `keepalive_probes` of the tests, which is what `user_timeout` is by default.
const USER_TIMEOUT: Duration = Duration::from_secs(3);
/// What may come on top of it: the time until there is something to say, and that of a busy machine.
const SLACK: Duration = Duration::from_secs(5);
/// How often somebody that talks says [`WORD`].
const PACE: Duration = Duration::from_millis(200);
const WORD: &[u8] = b"10";

/// What a connection's client does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Talks,
    Listens,
}

/// A site at the far end of the wire, and a gateway at the near one that serves everything and whose XSPs are asked in the
/// order a1, a2, b1, b2.
async fn scene(wire: &Wire, change: impl FnOnce(&mut Text)) -> (Simulation, Serving) {
    let sim = Simulation::start(Network::At(wire.network())).await.unwrap();
    let mut text = sim.config(Layout::OneSite);
    let addresses: Vec<_> = sim.xsps.iter().map(xspgate::sim::xsp::Xsp::address).collect();
    tiers(&mut text, &addresses);
    sim.serve_cti(&mut text);
    sim.serve_passthrough(&mut text);
    in_order(&mut text, "cti", &sim);
    in_order(&mut text, "direct", &sim);
    let listen = wire.gateway().to_string();
    text.set("[admin]", "listen", listen.clone()).set("[log]", "access", true);
    for block in ["[[https]]", "[[cti]]", "[[passthrough]]"] {
        text.set(block, "listen", vec![listen.clone()]);
    }
    text.set("[tcp]", "keepalive_idle", "1s").set("[tcp]", "keepalive_interval", "1s");
    text.set("[tcp]", "keepalive_probes", 2);
    change(&mut text);
    let path = sim.write_config(&text).unwrap();
    let program = wire.near(|| Program::start(&["run", path.to_str().unwrap()]));
    let serving = Serving::around(program).await;
    (sim, serving)
}

/// A client that passes through to the XSPs.
fn direct(sim: &Simulation) -> Webex {
    Webex::new(&sim.pki).trusting(sim.pki.internal_roots()).asking_for(DOMAIN).showing(sim.pki.cti_client())
}

fn client(sim: &Simulation, serving: &Serving) -> Client {
    Client::new(serving.https[0], sim.pki.public_roots()).from([0, 0, 0, 0])
}

/// When the connection has ended, which a client that talks says 10 bytes a second on.
async fn end(call: Call, client: Manner) -> Instant {
    let (mut reader, mut writer) = tokio::io::split(call.into_tls());
    let mut scratch = [0; 4096];
    let mut talk = tokio::time::interval(PACE);
    loop {
        tokio::select! {
            read = reader.read(&mut scratch) => if !matches!(read, Ok(1..)) {
                return Instant::now();
            },
            _ = talk.tick(), if client == Manner::Talks => {
                if writer.write_all(WORD).await.is_err() || writer.flush().await.is_err() {
                    return Instant::now();
                }
            }
        }
    }
}

/// How many lines of the access log are of that kind, and give that reason.
fn told(serving: &Serving, event: &str, reason: &str) -> usize {
    let lines = serving.program.output();
    let events = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|line| line["event"] == event && line["reason"] == reason).count()
}

/// Opens what stays open at a1: silent CTI, CTI and pass-through on which the client talks, when told to.
async fn calls(sim: &Simulation, serving: &Serving, talks: Manner) -> JoinSet<Instant> {
    let mut calls = JoinSet::new();
    let webex = Webex::new(&sim.pki);
    let doors = [(&webex, serving.cti[0], talks), (&webex, serving.cti[0], Manner::Listens)];
    let direct = direct(sim);
    for (webex, to, client) in doors.into_iter().chain([(&direct, serving.passthrough[0], talks)]) {
        let mut call = dial(webex, to).await.unwrap();
        assert_eq!(greeting(&mut call).await, "a1");
        calls.spawn(end(call, client));
    }
    calls
}

#[test]
fn an_xsp_that_is_gone_is_found_out_whatever_is_under_way() {
    let Some(wire) = Wire::lay() else { return };
    wire.far(async || {
        let (sim, serving) = scene(&wire, |_| ()).await;
        let mut ends = calls(&sim, &serving, Manner::Talks).await;
        let channel = Channel::of(client(&sim, &serving)).await;
        assert_eq!(channel.xsp, "a1");
        let heartbeat = channel.heartbeat();
        let (xsp, id) = (sim.xsp("a1").clone(), channel.id.clone());
        let publishing = tokio::spawn(async move {
            loop {
                xsp.publish(&id, "<Event/>");
                tokio::time::sleep(PACE).await;
            }
        });
        wire.take_away(11);
        let gone = Instant::now();
        ends.spawn(channel.broken_off());
        while let Some(end) = within("the ends of all connections", ends.join_next()).await {
            let took = end.unwrap().duration_since(gone);
            assert!(took < USER_TIMEOUT + SLACK, "{took:?}");
        }
        publishing.abort();
        // The client opens another one, elsewhere.
        assert_eq!(client(&sim, &serving).send(heartbeat).await.status, StatusCode::NOT_FOUND);
        assert_eq!(Channel::of(client(&sim, &serving)).await.xsp, "a2");
        eventually("the access log", async || {
            told(&serving, "connection", "xsp-broke") == 3 && told(&serving, "access", "xsp-broke") == 1
        })
        .await;
        let metrics = serving.metrics().await;
        assert_eq!(metrics.count("xspgate_streams_total", &[("outcome", "xsp-broke")]), 3.0);
        assert_eq!(metrics.count("xspgate_channels_closed_total", &[("reason", "lost")]), 1.0);
    });
}

#[test]
fn a_client_that_is_gone_is_found_out_whatever_is_under_way() {
    let Some(wire) = Wire::lay() else { return };
    wire.far(async || {
        let (sim, serving) = scene(&wire, |_| ()).await;
        let mut calls = calls(&sim, &serving, Manner::Listens).await;
        let channel = Channel::of(client(&sim, &serving)).await;
        let (xsp, cti, id) = (sim.xsp("a1").clone(), sim.cti("a1").clone(), channel.id.clone());
        let talking = tokio::spawn(async move {
            loop {
                cti.say(WORD);
                xsp.publish(&id, "<Event/>");
                tokio::time::sleep(PACE).await;
            }
        });
        wire.take_away(1);
        let gone = Instant::now();
        eventually("the end of all connections", async || {
            let metrics = serving.metrics().await;
            metrics.count("xspgate_streams_total", &[("outcome", "client-broke")]) == 3.0
                && metrics.count("xspgate_channels_closed_total", &[("reason", "client")]) == 1.0
        })
        .await;
        assert!(gone.elapsed() < USER_TIMEOUT + SLACK, "{:?}", gone.elapsed());
        talking.abort();
        eventually("the access log", async || {
            told(&serving, "connection", "client-broke") == 3 && told(&serving, "access", "client-gone") == 1
        })
        .await;
        // They learn of it as little as those at the other end did.
        assert!(calls.try_join_next().is_none());
        drop(channel);
    });
}

#[test]
fn a_reload_changes_when_new_connections_end_and_off_leaves_it_to_the_kernel() {
    let Some(wire) = Wire::lay() else { return };
    wire.far(async || {
        let (sim, serving) = scene(&wire, |text| {
            text.set("[tcp]", "user_timeout", "off");
        })
        .await;
        let call = async || {
            let mut call = dial(&Webex::new(&sim.pki), serving.cti[0]).await.unwrap();
            assert_eq!(greeting(&mut call).await, "a1");
            call
        };
        let before = tokio::spawn(end(call().await, Manner::Talks));
        let path = sim.folder().join("xspgate.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("user_timeout = \"off\"", "user_timeout = \"2500ms\"")).unwrap();
        serving.program.signal("HUP");
        eventually("the reload", async || {
            serving.metrics().await.count("xspgate_reloads_total", &[("outcome", "applied")]) == 1.0
        })
        .await;
        let after = tokio::spawn(end(call().await, Manner::Talks));
        wire.take_away(11);
        let gone = Instant::now();
        let took = within("the end of the new one", after).await.unwrap().duration_since(gone);
        assert!(took < USER_TIMEOUT + SLACK, "{took:?}");
        assert!(!before.is_finished(), "the kernel goes on for a quarter of an hour");
        before.abort();
    });
}

#[tokio::test]
async fn a_peer_that_has_no_room_for_a_byte_is_given_up_in_the_same_time() {
    let stage = Stage::cti(|_, text| {
        text.set("[tcp]", "user_timeout", "1s").set("[tcp]", "keepalive_probes", 1);
    })
    .await;
    stage.speaker("a1").behave(Behaviour::Deaf).await;
    let (mut call, xsp) = stage.greeted().await;
    assert_eq!(xsp, "a1");
    let flood = vec![0; 64 * 1024];
    let sending = async { while call.send(&flood).await.is_ok() {} };
    within("the end", sending).await;
    stage.until_ended("xsp-broke", 1.0).await;
}
