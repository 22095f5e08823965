//! A day of a pair: two gateways with one affinity key, on both of which clients are, through all that an operator does to them
//! and to their XSPs. Whatever ends was announced, and each gateway's status is true at every step.

use std::collections::BTreeMap;
use std::fs;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use xspgate::sim::cti::{Call, Ending};
use xspgate::sim::site::{APP, CLOUD, CTI};

use crate::channels::Channel;
use crate::harness::{Client, PROFILE, Stage, assert_bridged, dial, eventually, greeting, rest};
use crate::maintenance::Operated;

/// How many channels and half as many CTI connections the pair has: `XSPGATE_STREAMS` channels.
fn size() -> usize {
    std::env::var("XSPGATE_STREAMS").map_or(20, |count| count.parse().expect("XSPGATE_STREAMS is a number"))
}

/// Two gateways, or the one that is left, and the streams of their clients.
struct Pair {
    gateways: Vec<Operated>,
    stage: Arc<Stage>,
    channels: Vec<Held<Channel>>,
    calls: Vec<Held<Call>>,
}

/// A stream, and where it is: which gateway, which process of it, and which XSP.
struct Held<T> {
    gateway: usize,
    process: u32,
    xsp: String,
    stream: T,
}

/// What a gateway's status says of each endpoint: its state, event channels and CTI connections.
type Endpoints = BTreeMap<String, (String, usize, usize)>;

impl Pair {
    async fn start() -> Self {
        let (stage, ()) = Stage::with(|sim, text| {
            sim.serve_cti(text);
            // Without an order, so that each XSP gets CTI.
            text.remove("[farm.cti]", "srv").set("[farm.cti]", "a", CTI);
            text.set("[farm.cti]", "port", i64::from(sim.cti_port()));
            text.set("", "drain_spread", "1s").set("", "drain_timeout", "1s").set("", "handover_timeout", "10m");
        })
        .await;
        let stage = Arc::new(stage);
        let mut gateways = Vec::new();
        for name in ["first", "second"] {
            gateways.push(Operated::of(Arc::clone(&stage), name).await);
        }
        Self { gateways, stage, channels: Vec::new(), calls: Vec::new() }
    }

    /// A new channel at that gateway, or at the one that is left.
    async fn open(&mut self, gateway: usize) {
        let gateway = gateway % self.gateways.len();
        let operated = &self.gateways[gateway];
        let stream = Channel::of(operated.client()).await;
        self.channels.push(Held { gateway, process: operated.newest(), xsp: stream.xsp.clone(), stream });
    }

    /// The same for CTI.
    async fn call(&mut self, gateway: usize) {
        let gateway = gateway % self.gateways.len();
        let operated = &self.gateways[gateway];
        let mut stream = dial(&self.stage.webex(), operated.serving.cti[0]).await.unwrap();
        let xsp = greeting(&mut stream).await;
        self.calls.push(Held { gateway, process: operated.newest(), xsp, stream });
    }

    /// Nothing is lost, sessions are known to both gateways, and what each says of itself is so, with one XSP drained or none.
    async fn is_whole(&mut self, drained: Option<&str>) {
        for (number, held) in self.channels.iter_mut().enumerate() {
            held.stream.receives(&self.stage, &format!("event-{number}")).await;
        }
        for held in &mut self.calls {
            assert_bridged(&mut held.stream, b"<Request/>").await;
        }
        for held in self.channels.iter_mut().take(4) {
            let mut client = self.gateways[(held.gateway + 1) % self.gateways.len()].client();
            client.set_cookie("XSPGATE", held.stream.session());
            let answer = client.send(held.stream.heartbeat()).await;
            assert_eq!((answer.status, answer.xsp()), (StatusCode::OK, &*held.xsp));
            held.stream.is_alive().await;
        }
        for (number, gateway) in self.gateways.iter().enumerate() {
            gateway.until_processes(&self.processes(number)).await;
            let (expected, mut told) = (self.endpoints(number, drained), Endpoints::new());
            for _ in 0..200 {
                told = endpoints(&gateway.status().await);
                if told == expected {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            assert_eq!(told, expected, "gateway {number}");
        }
    }

    /// What the processes of a gateway hold: the newest one, and the old one as long as it holds anything.
    fn processes(&self, gateway: usize) -> Vec<(u32, u64, u64)> {
        let (newest, first) = (self.gateways[gateway].newest(), self.gateways[gateway].serving.program.id());
        let of = |process| {
            let channels =
                self.channels.iter().filter(|held| (held.gateway, held.process) == (gateway, process)).count();
            let calls = self.calls.iter().filter(|held| (held.gateway, held.process) == (gateway, process)).count();
            (process, channels as u64, calls as u64)
        };
        let old = (first != newest).then(|| of(first)).filter(|(_, channels, calls)| channels + calls > 0);
        [of(newest)].into_iter().chain(old).collect()
    }

    /// What a gateway is to say of the endpoints.
    fn endpoints(&self, gateway: usize, drained: Option<&str>) -> Endpoints {
        let xsps = self.stage.sim.xsps.iter().map(|xsp| {
            let is_there = |held: &&Held<Channel>| (held.gateway, &*held.xsp) == (gateway, xsp.name());
            (xsp.address(), xsp.name(), self.channels.iter().filter(is_there).count(), 0)
        });
        let speakers = self.stage.sim.ctis.iter().map(|xsp| {
            let is_there = |held: &&Held<Call>| (held.gateway, &*held.xsp) == (gateway, xsp.name());
            (xsp.address(), xsp.name(), 0, self.calls.iter().filter(is_there).count())
        });
        let all = xsps.chain(speakers).map(|(address, name, channels, calls)| {
            let state = if drained == Some(name) { "draining" } else { "up" };
            (address.to_string(), (state.to_owned(), channels, calls))
        });
        all.collect()
    }

    /// Takes an XSP out of service on both gateways as the book says, and puts it back.
    async fn maintain(&mut self, xsp: &str) {
        let address = self.stage.xsp(xsp).address().ip().to_string();
        for gateway in &self.gateways {
            gateway.ctl.done(&["drain", &address]).await;
        }
        self.is_whole(Some(xsp)).await;
        let (channels, calls) = self.take(|_, at| at == xsp);
        let emptied = ["drain", &address, "--cut-after", "300ms", "--wait", "--timeout", "60s"];
        let [first, second] = &self.gateways[..] else { panic!("a pair") };
        let (first, second, came_from) =
            tokio::join!(first.ctl.done(&emptied), second.ctl.done(&emptied), ends(channels, calls));
        for said in [first, second] {
            assert!(said.ends_with("nothing is left\n"), "{said}");
        }
        self.come_again(came_from).await;
        self.is_whole(Some(xsp)).await;
        for gateway in &self.gateways {
            gateway.ctl.done(&["undrain", &address]).await;
        }
        self.is_whole(None).await;
    }

    /// The streams, by gateway and XSP, that are about to end.
    fn take(&mut self, meant: impl Fn(usize, &str) -> bool) -> (Vec<Held<Channel>>, Vec<Held<Call>>) {
        let channels = mem::take(&mut self.channels).into_iter().partition(|held| meant(held.gateway, &held.xsp));
        let calls = mem::take(&mut self.calls).into_iter().partition(|held| meant(held.gateway, &held.xsp));
        (self.channels, self.calls) = (channels.1, calls.1);
        (channels.0, calls.0)
    }

    /// The clients of streams that have ended, by their gateways: each comes to the other gateway.
    async fn come_again(&mut self, (channels, calls): (Vec<usize>, Vec<usize>)) {
        for gateway in channels {
            self.open(gateway + 1).await;
        }
        for gateway in calls {
            self.call(gateway + 1).await;
        }
    }

    /// Stops the second gateway.
    async fn stop(&mut self) {
        let (channels, calls) = self.take(|gateway, _| gateway == 1);
        let mut stopped = self.gateways.pop().unwrap();
        stopped.ctl.done(&["stop"]).await;
        let came_from = ends(channels, calls).await;
        self.come_again(came_from).await;
        eventually("the old process' end", async || stopped.serving.program.code() == Some(0)).await;
        eventually("the new process' end", async || fs::metadata(&stopped.ctl.0).is_err()).await;
    }
}

/// Waits for the announced end of each; the gateways where they were.
async fn ends(channels: Vec<Held<Channel>>, calls: Vec<Held<Call>>) -> (Vec<usize>, Vec<usize>) {
    let mut came_from = (Vec::new(), Vec::new());
    for held in channels {
        held.stream.cut().await;
        came_from.0.push(held.gateway);
    }
    for mut held in calls {
        assert_eq!(rest(&mut held.stream).await, (vec![], Ending::CloseNotify), "announced, and with a proper end");
        came_from.1.push(held.gateway);
    }
    came_from
}

fn endpoints(status: &Value) -> Endpoints {
    let farms = status["farms"].as_array().unwrap().iter();
    let all = farms.flat_map(|farm| farm["endpoints"].as_array().unwrap()).map(|endpoint| {
        let text = |field: &str| endpoint[field].as_str().unwrap().to_owned();
        let count = |field: &str| usize::try_from(endpoint[field].as_u64().unwrap()).unwrap();
        (text("endpoint"), (text("state"), count("channels"), count("streams")))
    });
    all.collect()
}

/// The serial number of the certificate that a gateway shows, as it says.
fn serial(status: &Value) -> String {
    let mut certificates = status["certificates"].as_array().unwrap().iter();
    let leaf = certificates.find(|one| one["subject"] == format!("CN={CLOUD}")).unwrap();
    leaf["serial"].as_str().unwrap().to_owned()
}

/// Requests without an end, each over a connection of its own, of which none may fail.
struct Traffic {
    enough: oneshot::Sender<()>,
    asking: JoinHandle<u32>,
}

impl Traffic {
    fn start(mut client: Client) -> Self {
        let (enough, mut is_enough) = oneshot::channel();
        let asking = tokio::spawn(async move {
            let mut asked = 0;
            while is_enough.try_recv().is_err() {
                assert_eq!(client.get(PROFILE).await.status, StatusCode::OK);
                client.disconnect();
                asked += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            asked
        });
        Self { enough, asking }
    }

    /// It ends, and all was well.
    async fn end(self) {
        self.enough.send(()).expect("no request has failed");
        assert!(self.asking.await.unwrap() > 0);
    }
}

/// A pair's day: maintenance of each XSP, an upgrade of one gateway and then of the other, a new certificate, and a stop of one.
#[tokio::test]
async fn promise_9_nothing_is_lost_that_was_not_announced() {
    let mut pair = Pair::start().await;
    let [first, second] = [0, 1].map(|number| Traffic::start(pair.gateways[number].client()));
    for number in 0..size() {
        pair.open(number).await;
        if number % 2 == 0 {
            pair.call(number / 2).await;
        }
    }
    pair.is_whole(None).await;
    pair.maintain("a1").await;
    pair.gateways[0].restart().await;
    pair.is_whole(None).await;
    // Of an upgraded gateway and one that is not, of old processes and new ones.
    pair.maintain("b1").await;
    pair.gateways[1].restart().await;
    pair.is_whole(None).await;
    for xsp in ["a2", "b2"] {
        pair.maintain(xsp).await;
    }

    let before = serial(&pair.gateways[0].status().await);
    pair.stage.sim.pki.public(&[CLOUD, APP]).write(pair.stage.sim.folder(), "public").unwrap();
    let mut shown = Vec::new();
    for gateway in &pair.gateways {
        gateway.ctl.done(&["reload"]).await;
        shown.push(serial(&gateway.status().await));
    }
    assert!(shown[0] == shown[1] && shown[0] != before, "{shown:?}, and {before} before");
    pair.is_whole(None).await;

    // Its address is out of DNS before it stops.
    second.end().await;
    pair.stop().await;
    pair.is_whole(None).await;
    assert_eq!(pair.channels.len() + pair.calls.len(), size() + size().div_ceil(2));
    first.end().await;
}
