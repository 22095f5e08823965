//! What it costs requests that the gateway is looked at: Prometheus scrapes it, and people watch its status page, while 200
//! XSPs carry event channels and requests. Windows with and without those who look take turns, so that both see the same
//! machine; requests, channels, and those who look have a thread each, so that they meet in the gateway and nowhere else.
//! Speed is printed and not asserted; that everybody is answered is.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::StatusCode;
use rustls::ClientConfig;
use rustls::client::Resumption;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use xspgate::sim::site::{DOMAIN, Layout, Network, Simulation};
use xspgate::sim::xsp::{Farm, Xsp};

use crate::harness::{Client, PROFILE, Serving, get_plain, tls_config};
use crate::soak::{assert_open_files, beating, open};

/// XSPs of the site.
const XSPS: u8 = 200;
/// Those who follow the status page.
const WATCHERS: u32 = 8;
/// Those who ask for `/status` each second.
const ASKERS: u32 = 4;
/// How long each window is.
const WINDOW: Duration = Duration::from_secs(4);
/// What of a window is not measured, since those who look have just come or gone.
const SETTLING: Duration = Duration::from_millis(500);

fn given(variable: &str, otherwise: u32) -> u32 {
    let given = std::env::var(variable).ok();
    given.map_or(otherwise, |number| number.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// A thread of its own, so that what it does is not measured with what others do.
struct Aside(Option<Runtime>);

impl Aside {
    fn start() -> Self {
        Self(Some(Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()))
    }

    fn runtime(&self) -> &Runtime {
        self.0.as_ref().expect("it is there until it is dropped")
    }

    async fn run<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> T {
        self.runtime().spawn(task).await.unwrap()
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Requests at an even pace for so long, each of a session of its own; how long each took.
async fn requests(mut idle: Vec<Client>, rate: u32, time: Duration) -> (Vec<Client>, Vec<Duration>) {
    let mut ticks = interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let begun = Instant::now();
    let (mut running, mut took) = (JoinSet::new(), Vec::new());
    while begun.elapsed() < time {
        tokio::select! {
            _ = ticks.tick() => {
                // All are busy: the gateway is late, which will show.
                let Some(mut client) = idle.pop() else { continue };
                running.spawn(async move {
                    let at = begun.elapsed();
                    client.forget_cookies();
                    let answer = client.get(PROFILE).await;
                    assert_eq!(answer.status, StatusCode::OK);
                    (client, at, answer.took)
                });
            }
            Some(ended) = running.join_next() => {
                let (client, at, time) = ended.unwrap();
                idle.push(client);
                took.extend((at > SETTLING).then_some(time));
            }
        }
    }
    for (client, _, time) in running.join_all().await {
        idle.push(client);
        took.push(time);
    }
    (idle, took)
}

/// Watches until the other end of `over` is gone; how many updates have come.
async fn watches(admin: SocketAddr, over: watch::Receiver<()>) -> usize {
    let mut over = over;
    let mut stream = TcpStream::connect(admin).await.unwrap();
    // Under HTTP/1.0 nothing is in chunks.
    stream.write_all(b"GET /events HTTP/1.0\r\nHost: admin\r\n\r\n").await.unwrap();
    let (mut buffer, mut line_ends) = (vec![0; 256 * 1024], 0);
    loop {
        tokio::select! {
            read = stream.read(&mut buffer) => {
                let read = read.unwrap();
                assert!(read > 0, "nobody is cut off");
                line_ends += buffer[..read].iter().filter(|byte| **byte == b'\n').count();
            }
            _ = over.changed() => return line_ends / 2,
        }
    }
}

/// Asks for `path` each second, until the other end of `over` is gone; how often it was answered.
async fn asks(admin: SocketAddr, path: &'static str, holds: &'static str, over: watch::Receiver<()>) -> usize {
    let (mut ticks, mut answers) = (interval(Duration::from_secs(1)), 0);
    while over.has_changed().is_ok() {
        ticks.tick().await;
        let (status, body) = get_plain(admin, path).await;
        assert_eq!((status, body.matches(holds).count() >= usize::from(XSPS)), (200, true), "{path}");
        answers += 1;
    }
    answers
}

/// All those who look, until the other end of `over` is gone; the least that one of them has got.
async fn audience(admin: SocketAddr, over: watch::Receiver<()>) -> usize {
    let mut audience = JoinSet::new();
    for _ in 0..WATCHERS {
        audience.spawn(watches(admin, over.clone()));
    }
    for _ in 0..ASKERS {
        audience.spawn(asks(admin, "/status", "\"blocked_for\"", over.clone()));
    }
    audience.spawn(asks(admin, "/metrics", "xspgate_endpoint_blocked{", over));
    audience.join_all().await.into_iter().min().unwrap_or_default()
}

/// What so many in a thousand did not exceed, in milliseconds.
fn quantile(took: &mut [Duration], thousandths: usize) -> f64 {
    took.sort_unstable();
    took[(took.len() * thousandths / 1000).min(took.len() - 1)].as_secs_f64() * 1e3
}

fn tell(quiet: &mut [Duration], watched: &mut [Duration]) {
    let usual = quantile(quiet, 990);
    for (name, thousandths) in [("median", 500), ("p99", 990), ("p99.9", 999)] {
        let (before, now) = (quantile(quiet, thousandths), quantile(watched, thousandths));
        eprintln!("{name}: {before:.3} ms alone, {now:.3} ms looked at, ratio {:.2}", now / before);
    }
    let above = watched.iter().filter(|took| took.as_secs_f64() * 1e3 > usual).count();
    let share = above as f64 / watched.len() as f64 * 100.0;
    eprintln!(
        "{share:.2} % of {} requests that were looked at took longer than the p99 of {} alone",
        watched.len(),
        quiet.len()
    );
}

/// A site of as many addresses as there are XSPs, with event channels at one port and everything else at another. What
/// answers at a port does so at every address.
struct Site {
    // Dropped first, so that what stands behind the gateway outlives it.
    serving: Serving,
    sim: Simulation,
    tls: Arc<ClientConfig>,
    /// Where requests come from and where they are answered.
    requests: Aside,
}

impl Site {
    async fn start() -> Self {
        let sim = Simulation::start(Network::Own).await.unwrap();
        let requests = Aside::start();
        let start = |name| {
            let xsp = Xsp::start(name, DOMAIN, (Ipv4Addr::UNSPECIFIED, 0).into(), &sim.pki, &Farm::default()).unwrap();
            xsp.count_only();
            xsp.address().port()
        };
        let channels_at = start("channels");
        let requests_at = {
            let _there = requests.runtime().enter();
            start("requests")
        };
        let mut text = sim.config(Layout::OneSite);
        text.set("", "workers", 1);
        text.remove("[farm.xsp]", "a");
        text.set("[farm.events]", "server_name", DOMAIN).set("[farm.events]", "trust", "internal");
        for (farm, port) in [("xsp", requests_at), ("events", channels_at)] {
            let address = |last| SocketAddr::new(sim.address(last).ip(), port).to_string();
            let (section, failover) = (format!("[farm.{farm}]"), format!("[farm.{farm}.failover]"));
            text.set(&section, "addresses", (1..=XSPS).map(address).collect::<Vec<_>>());
            text.set(&format!("[farm.{farm}.pool]"), "idle_per_endpoint", 2);
            // On a machine that is busy nobody is to be taken for dead.
            text.set(&failover, "connect_timeout", "10s").set(&failover, "response_timeout", "10s");
            text.set(&failover, "advance_after", "off");
        }
        text.set("[https.interface.xsi-events]", "farm", "events");
        let serving = Serving::of(&sim.write_config(&text).unwrap()).await;
        let mut tls = ClientConfig::clone(&tls_config(&sim.pki.public_roots()));
        tls.resumption = Resumption::disabled();
        Self { serving, sim, tls: Arc::new(tls), requests }
    }

    fn client(&self) -> Client {
        Client::new(self.serving.https[0], self.sim.pki.public_roots()).tls(Arc::clone(&self.tls))
    }
}

#[tokio::test]
async fn whoever_looks_takes_nothing_from_requests() {
    let channels = given("XSPGATE_WATCHED_CHANNELS", 100);
    let (rate, pairs) = (given("XSPGATE_WATCHED_RATE", 100), given("XSPGATE_WATCHED_PAIRS", 1));
    assert_open_files(channels);
    let site = Site::start().await;
    let beats = Arc::new(AtomicU32::new(0));
    let beaters = open(channels, || site.client(), &beats).await;
    let (load, public) = (&site.requests, Aside::start());
    let admin = site.serving.admin_address();
    let windows = async {
        let mut clients: Vec<_> = (0..rate.min(64)).map(|_| site.client()).collect();
        // The connections of both sides are opened before anything is measured.
        clients = load.run(requests(clients, rate, WINDOW)).await.0;
        let (mut quiet, mut watched) = (Vec::new(), Vec::new());
        for _ in 0..pairs {
            let (back, took) = load.run(requests(clients, rate, WINDOW)).await;
            quiet.extend(took);
            let (looking, over) = watch::channel(());
            let measured = async {
                let measured = load.run(requests(back, rate, WINDOW)).await;
                drop(looking);
                measured
            };
            let ((back, took), seen) = tokio::join!(measured, public.run(audience(admin, over)));
            watched.extend(took);
            clients = back;
            assert!(seen > 0, "somebody who looked saw nothing");
        }
        (quiet, watched)
    };
    let (beaters, (mut quiet, mut watched)) = beating(beaters, windows).await;
    eprintln!("{channels} channels, {} heartbeats, {rate} requests a second", beats.load(Ordering::Relaxed));
    tell(&mut quiet, &mut watched);
    let metrics = site.serving.metrics().await;
    assert_eq!(metrics.count("xspgate_channels", &[]), f64::from(channels));
    assert_eq!(metrics.count("xspgate_channels_closed_total", &[]), 0.0);
    assert_eq!(metrics.count("xspgate_blocklist_transitions_total", &[]), 0.0);
    drop(beaters);
}
