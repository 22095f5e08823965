//! The soak: very many event channels on one worker live through a reload and a change of DNS, and all the while no
//! heartbeat lands on a wrong XSP (R-AFF-2). Separate from the channels' other tests, because the gateway must be a process of
//! its own: each channel takes two open files of it, and as many of the clients and XSPs together.

use std::collections::HashSet;
use std::fs;
use std::future::{Future, ready};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::StatusCode;
use rustls::ClientConfig;
use rustls::client::Resumption;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval};
use xspgate::sim::pki::Pki;
use xspgate::sim::site::{ALL, APP, CLOUD, DOMAIN, Layout, Network, Simulation};
use xspgate::sim::xsp::{Farm, Xsp};

use crate::channels::Channel;
use crate::harness::{Client, RawClient, Serving, eventually, tls_config};

/// Connections over which heartbeats come, each those of its share of the channels.
const BEATERS: u32 = 16;
/// How many channels a second are opened, for all XSPs together: fewer than the gateway lets through to one of them.
const OPENED: u32 = 800;
/// How often a channel beats if that is seldom enough.
const BEAT_EVERY: u32 = 10;
/// Heartbeats a second of all channels together, however few there are.
const BEATS: u32 = 300;
/// The XSP that leaves DNS.
const LEAVES: &str = "a1";
/// The XSP that joins.
const JOINS: &str = "c1";
/// Heartbeats that come during changes of a kind, at least.
const MEANWHILE: u32 = 100;
/// How many channels are opened after the changes, at most: so many miss one XSP of four once in 30 million times.
const NEWCOMERS: usize = 60;
/// Open files beside those of the channels that are there from the beginning.
const OTHER_FILES: usize = 2 * NEWCOMERS + 80;

/// How many channels there are.
fn channels() -> u32 {
    let given = std::env::var("XSPGATE_SOAK_CHANNELS").ok();
    given.map_or(300, |channels| channels.parse().expect("XSPGATE_SOAK_CHANNELS is a number"))
}

/// Fails unless this process, and the gateway as its child, may open so many files that each channel has two of them.
pub(crate) fn assert_open_files(channels: u32) {
    let output = Command::new("sh").args(["-c", "ulimit -n"]).output().unwrap();
    let allowed = match String::from_utf8(output.stdout).unwrap().trim() {
        "unlimited" => usize::MAX,
        files => files.parse().unwrap(),
    };
    let needed = 2 * channels as usize + OTHER_FILES;
    assert!(
        allowed >= needed,
        "{channels} channels need {needed} open files, and {allowed} are allowed: see `ulimit -n`"
    );
}

/// So many times a second, shared by all beaters.
fn pace(times: u32) -> Interval {
    let mut ticks = interval(Duration::from_secs(1) * BEATERS / times);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// A simulated site, a gateway in front of it that is a process of its own, and an XSP that joins later.
struct Soak {
    // Dropped first, so that what stands behind the gateway outlives it.
    serving: Serving,
    sim: Simulation,
    joins: Xsp,
    authority: Pki,
    tls: Arc<ClientConfig>,
    /// Heartbeats that were answered by their channel's XSP, and seen on its stream.
    beats: Arc<AtomicU32>,
}

impl Soak {
    async fn start() -> Self {
        let sim = Simulation::start(Network::Own).await.unwrap();
        let authority = Pki::new();
        let joins = Xsp::start(JOINS, DOMAIN, sim.address(31), &authority, &Farm::default()).unwrap();
        let mut text = sim.config(Layout::OneSite);
        text.set("", "workers", 1);
        // On a machine that is busy nobody is to be taken for dead.
        text.set("[farm.xsp.failover]", "connect_timeout", "10s").set("[farm.xsp.failover]", "response_timeout", "10s");
        let serving = Serving::of(&sim.write_config(&text).unwrap()).await;
        // So many clients share no sessions of TLS.
        let mut tls = ClientConfig::clone(&tls_config(&sim.pki.public_roots()));
        tls.resumption = Resumption::disabled();
        Self { serving, sim, joins, authority, tls: Arc::new(tls), beats: Arc::default() }
    }

    fn xsps(&self) -> impl Iterator<Item = &Xsp> {
        self.sim.xsps.iter().chain([&self.joins])
    }

    /// A client without cookies that has no connection yet.
    fn client(&self) -> Client {
        Client::new(self.serving.https[0], self.sim.pki.public_roots()).tls(Arc::clone(&self.tls))
    }

    fn beats(&self) -> u32 {
        self.beats.load(Ordering::Relaxed)
    }

    /// Another CA to believe, another key for sessions, and new certificates again and again, each of which is taken over on
    /// SIGHUP, until so many heartbeats have come meanwhile.
    async fn reload(&self) {
        let folder = self.sim.folder();
        let both = format!("{}{}", self.sim.pki.internal_ca(), self.authority.internal_ca());
        fs::write(folder.join("internal-ca.pem"), both).unwrap();
        let key = fs::read_to_string(folder.join("affinity.key")).unwrap();
        fs::write(folder.join("affinity.key"), format!("{}=\n{key}", "A".repeat(43))).unwrap();
        let (begun, mut times) = (self.beats(), 0.0);
        while self.beats() < begun + MEANWHILE {
            let public = self.sim.pki.public(&[CLOUD, APP]);
            public.write(folder, "public").unwrap();
            self.serving.program.signal("HUP");
            eventually("the new certificate", async || {
                let tls = Arc::clone(&self.tls);
                let client = RawClient::try_connect(self.serving.https[0], CLOUD, tls).await.unwrap();
                client.tls().peer_certificates().unwrap() == public.chain()
            })
            .await;
            times += 1.0;
        }
        let metrics = self.serving.metrics().await;
        assert!(metrics.count("xspgate_renewals_total", &[("outcome", "renewed")]) >= times);
        assert_eq!(metrics.value("xspgate_renewal_refused", &[]), Some(0.0));
        eprintln!("{} heartbeats during {times} reloads", self.beats() - begun);
    }

    /// One XSP leaves DNS and another joins, and the other way round, again and again, until so many heartbeats have come
    /// meanwhile; at the end the one has left. The one that joins is of the other CA.
    async fn change_dns(&self) {
        let (begun, zones) = (self.beats(), self.sim.zones());
        for (absent, times) in [LEAVES, JOINS].into_iter().cycle().zip(1..) {
            let present = self.xsps().filter(|xsp| xsp.name() != absent);
            zones.set_a(ALL, 0, present.map(|xsp| xsp.address().ip()));
            // The next query gets the new answer; the one behind it shows that this answer has been taken over.
            let asked = zones.queries(ALL, "A");
            eventually("the change of DNS", async || zones.queries(ALL, "A") >= asked + 2).await;
            if absent == LEAVES && self.beats() >= begun + MEANWHILE {
                eprintln!("{} heartbeats during {times} changes of DNS", self.beats() - begun);
                break;
            }
        }
    }

    /// Channels that are opened until the XSP that has joined has one; the XSP that has left gets none of them.
    async fn open_where_it_joined(&self) -> Vec<Channel> {
        let mut opened: Vec<Channel> = Vec::new();
        while opened.last().is_none_or(|channel| channel.xsp != JOINS) {
            assert!(opened.len() < NEWCOMERS, "no channel is opened at the XSP that has joined");
            opened.push(Channel::of(self.client()).await);
        }
        assert!(opened.iter().all(|channel| channel.xsp != LEAVES));
        opened
    }

    /// Every channel is still open where it was opened, and all heartbeats have come there, and nowhere else.
    async fn assert_all_well(&self, beaters: &[Beater]) {
        let channels: Vec<_> = beaters.iter().flat_map(|beater| &beater.channels).collect();
        let (metrics, beats, mut came) = (self.serving.metrics().await, self.beats(), 0);
        for xsp in self.xsps() {
            let (name, endpoint) = (xsp.name(), xsp.address().to_string());
            let own: HashSet<_> = channels.iter().filter(|channel| channel.xsp == name).map(|one| &*one.id).collect();
            assert!(!own.is_empty(), "{name} has no channel");
            let open = xsp.channels();
            assert_eq!(open.iter().map(String::as_str).collect::<HashSet<_>>(), own, "{name}");
            assert_eq!(metrics.count("xspgate_channels", &[("endpoint", &endpoint)]), own.len() as f64, "{name}");
            let requests = xsp.requests();
            let heartbeats = requests.iter().filter_map(|request| request.path().strip_suffix("/heartbeat"));
            let named: Vec<_> = heartbeats.filter_map(|path| path.rsplit('/').next()).collect();
            let wrong = named.iter().filter(|id| !own.contains(**id)).count();
            assert_eq!((wrong, xsp.stray_heartbeats()), (0, 0), "{name}");
            came += named.len();
        }
        assert_eq!(came, beats as usize);
        assert_eq!(metrics.count("xspgate_channels", &[]), channels.len() as f64);
        assert_eq!(metrics.count("xspgate_channels_opened_total", &[]), channels.len() as f64);
        assert_eq!(metrics.count("xspgate_channels_closed_total", &[]), 0.0);
        let heartbeats = |labels: &[_]| metrics.count("xspgate_heartbeats_total", labels);
        assert_eq!((heartbeats(&[("outcome", "taken")]), heartbeats(&[])), (f64::from(beats), f64::from(beats)));
        assert_eq!(metrics.count("xspgate_channel_events_total", &[("event", "rejected")]), 0.0);
        eprintln!("{} channels, {beats} heartbeats in all", channels.len());
    }
}

/// Opens so many channels, each over a connection of its own; `beats` counts their heartbeats.
pub(crate) async fn open(channels: u32, client: impl Fn() -> Client, beats: &Arc<AtomicU32>) -> Vec<Beater> {
    let mut opening = JoinSet::new();
    for number in 0..BEATERS {
        let share = channels / BEATERS + u32::from(number < channels % BEATERS);
        let clients: Vec<_> = (0..share).map(|_| client()).collect();
        let (client, beats) = (client(), Arc::clone(beats));
        opening.spawn(async move {
            let (mut ticks, mut channels) = (pace(OPENED), Vec::new());
            for client in clients {
                ticks.tick().await;
                channels.push(Channel::of(client).await);
            }
            Beater { client, channels, beats }
        });
    }
    opening.join_all().await
}

/// All channels beat before `change`, while it happens, and after it.
pub(crate) async fn beating<T>(beaters: Vec<Beater>, change: impl Future<Output = T>) -> (Vec<Beater>, T) {
    let channels: usize = beaters.iter().map(|beater| beater.channels.len()).sum();
    let rate = BEATS.max(u32::try_from(channels).unwrap() / BEAT_EVERY);
    let (changing, over) = watch::channel(());
    let beats = Arc::clone(&beaters[0].beats);
    let before = beats.load(Ordering::Relaxed);
    let mut beating: JoinSet<_> = beaters.into_iter().map(|beater| beater.beat(pace(rate), over.clone())).collect();
    let change = async {
        eventually("heartbeats", async || beats.load(Ordering::Relaxed) > before).await;
        change.await
    };
    let changed = tokio::select! {
        changed = change => changed,
        _ = beating.join_next() => panic!("a channel could not beat"),
    };
    drop(changing);
    (beating.join_all().await, changed)
}

/// A connection that is kept, and the channels whose heartbeats come over it.
pub(crate) struct Beater {
    client: Client,
    channels: Vec<Channel>,
    beats: Arc<AtomicU32>,
}

impl Beater {
    /// A heartbeat of each channel, round after round at an even pace, until one round has begun after the change was over.
    async fn beat(mut self, mut ticks: Interval, over: watch::Receiver<()>) -> Self {
        loop {
            let last = over.has_changed().is_err();
            for channel in &mut self.channels {
                ticks.tick().await;
                self.client.forget_cookies();
                let answer = self.client.send(channel.heartbeat()).await;
                assert_eq!((answer.status, answer.xsp()), (StatusCode::OK, &*channel.xsp));
                channel.is_alive().await;
                self.beats.fetch_add(1, Ordering::Relaxed);
            }
            if last {
                return self;
            }
        }
    }
}

#[tokio::test]
async fn r_aff_2_very_many_channels_outlive_a_reload_and_a_change_of_dns() {
    let wanted = channels();
    assert_open_files(wanted);
    let soak = Soak::start().await;
    let beaters = open(wanted, || soak.client(), &soak.beats).await;
    let (beaters, ()) = beating(beaters, ready(())).await;
    let (beaters, ()) = beating(beaters, soak.reload()).await;
    let change = async {
        soak.change_dns().await;
        soak.open_where_it_joined().await
    };
    let (mut beaters, opened) = beating(beaters, change).await;
    beaters[0].channels.extend(opened);
    let (beaters, ()) = beating(beaters, ready(())).await;
    soak.assert_all_well(&beaters).await;
}
