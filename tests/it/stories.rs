//! Alerts held against what gateways really say while a story goes on: a pair in its usual work, an outage, an upgrade, a certificate's
//! last weeks. Gateways are scraped once, step by step, and a step counts as a minute; `promtool` then plays what they
//! said in virtual time. Each story is a file in `deploy/prometheus/stories`: its series, and below them, by hand, which alerts
//! fire when. This records the series anew, and leaves the rest as it is:
//!
//!     cargo nextest run --run-ignored only -E 'test(records_a_story)'

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval};
use xspgate::sim::site::{CLOUD, Layout, Network, Simulation};
use xspgate::telemetry::metrics::TABLE;

use crate::channels::Channel;
use crate::deployment::deployed;
use crate::handover::{Heir, heir};
use crate::harness::{
    Client, Clock, Ctl, PROFILE, Program, Serving, Tool, body, eventually, get_plain, request, signal, succeed,
};

/// Between two steps, as the gateways see it. `block_for` is a second where it is a minute by default.
const STEP: Duration = Duration::from_secs(1);
/// What stands between the series and what they are held against.
const BY_HAND: &str = "    # By hand from here on: what fires, and nothing else.\n";
/// Boundaries of histograms that alerts need to tell slow from fast; the others would fill the files with noise.
const BOUNDARIES: [&str; 6] = ["0.025", "0.1", "0.6", "1.2", "2", "+Inf"];

/// The metrics of which alerts are made.
fn wanted() -> BTreeSet<String> {
    let rules = fs::read_to_string(deployed("prometheus/xspgate.rules.yml")).unwrap();
    let lines = rules.lines().filter(|line| !["runbook:", "#"].iter().any(|other| line.trim().starts_with(other)));
    let words = lines.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
    words.filter(|word| word.starts_with("xspgate_")).map(str::to_owned).collect()
}

/// Each series with its values by step; `None`: there was none.
#[derive(Default)]
struct Recorder {
    series: BTreeMap<String, Vec<Option<i64>>>,
    steps: usize,
    /// Addresses, and what stands for them.
    names: Vec<(String, String)>,
}

impl Recorder {
    /// What `instance` says at this step; `None`: it does not answer.
    fn scraped(&mut self, instance: &str, text: Option<&str>, wanted: &BTreeSet<String>) {
        let target = format!("job=\"xspgate\", instance=\"{instance}\"");
        self.put(format!("up{{{target}}}"), i64::from(text.is_some()));
        for line in text.unwrap_or_default().lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let mut labels = labels.trim_end_matches('}').replace("\",", "\", ");
            let boundary = labels.split("le=\"").nth(1).and_then(|rest| rest.split('"').next());
            if !wanted.contains(name) || boundary.is_some_and(|boundary| !BOUNDARIES.contains(&boundary)) {
                continue;
            }
            for (address, stands_for) in &self.names {
                labels = labels.replace(address, stands_for);
            }
            let value: f64 = value.parse().unwrap();
            let separator = if labels.is_empty() { "" } else { ", " };
            self.put(format!("{name}{{{target}{separator}{labels}}}"), value.round() as i64);
        }
    }

    fn put(&mut self, series: String, value: i64) {
        let values = self.series.entry(series).or_default();
        values.resize(self.steps, None);
        values.push(Some(value));
    }

    fn step(&mut self) {
        self.steps += 1;
    }

    /// Writes the story called `name`, whose steps are so long.
    fn write(mut self, name: &str, about: &str, step: &str) {
        let path = deployed(&format!("prometheus/stories/{name}.yml"));
        let by_hand = fs::read_to_string(&path).ok();
        let by_hand = by_hand.as_deref().and_then(|text| text.split_once(BY_HAND)).map(|(_, rest)| rest);
        let mut text = format!(
            "# {about}\n# Recorded from gateways in front of a simulated site by tests/it/stories.rs, which says how.\n\
             rule_files:\n  - ../xspgate.rules.yml\nevaluation_interval: {step}\ntests:\n  - name: {name}\n    interval: \
             {step}\n    input_series:\n"
        );
        for (series, values) in &mut self.series {
            values.resize(self.steps, None);
            writeln!(text, "      - series: '{series}'\n        values: '{}'", notation(values)).unwrap();
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text + BY_HAND + by_hand.unwrap_or("    promql_expr_test: []\n")).unwrap();
    }
}

/// As `promtool` reads series: `5+2x3` is 5 7 9 11, and `_x3` three times nothing.
fn notation(values: &[Option<i64>]) -> String {
    let mut words = Vec::new();
    let mut at = 0;
    while at < values.len() {
        let Some(first) = values[at] else {
            let gap = values[at..].iter().take_while(|value| value.is_none()).count();
            // A scrape that finds a series no longer, or nobody at all, ends it.
            if at > 0 {
                words.push("stale".to_owned());
            }
            if gap > usize::from(at > 0) {
                words.push(format!("_x{}", gap - usize::from(at > 0)));
            }
            at += gap;
            continue;
        };
        let by = values.get(at + 1).copied().flatten().map_or(0, |next| next - first);
        let fits = |(index, value): &(usize, &Option<i64>)| **value == Some(first + by * *index as i64);
        let run = values[at..].iter().enumerate().take_while(fits).count();
        words.push(match (run, by) {
            (1, _) => first.to_string(),
            (_, 0..) => format!("{first}+{by}x{}", run - 1),
            (_, _) => format!("{first}{by}x{}", run - 1),
        });
        at += run;
    }
    words.join(" ")
}

#[test]
fn series_are_written_as_promtool_reads_them() {
    let some = |values: &[i64]| values.iter().copied().map(Some).collect::<Vec<_>>();
    assert_eq!(notation(&some(&[5, 7, 9, 11, 4, 4, 4, 1])), "5+2x3 4+0x2 1");
    assert_eq!(notation(&some(&[9, 6, 3])), "9-3x2");
    assert_eq!(notation(&[None, None, Some(1), Some(1), None, None, None, Some(2)]), "_x2 1+0x1 stale _x2 2");
}

/// Two gateways before one site, and a balancer before both: each request of a client comes to the other one than the last.
struct Pair {
    gateways: [Option<Serving>; 2],
    /// The processes that have taken their places.
    heirs: [Option<Heir>; 2],
    sim: Simulation,
    clients: Vec<Client>,
    channels: Vec<Channel>,
    recorder: Recorder,
    wanted: BTreeSet<String>,
}

impl Pair {
    async fn start() -> Self {
        let sim = Simulation::start(Network::Own).await.unwrap();
        let mut text = sim.config(Layout::OneSite);
        text.set("", "workers", 1).set("", "drain_timeout", "1s").set("[farm.xsp.failover]", "block_for", "1s").set(
            "[farm.xsp]",
            "look_when_idle",
            "1s",
        );
        for index in 0..2 {
            let socket = sim.folder().join(format!("gw{}.sock", index + 1));
            text.set("[control]", "socket", socket.display().to_string());
            fs::write(Self::config(&sim, index), text.to_string()).unwrap();
        }
        let mut pair = Self {
            gateways: [None, None],
            heirs: [None, None],
            recorder: Recorder::default(),
            wanted: wanted(),
            clients: Vec::new(),
            channels: Vec::new(),
            sim,
        };
        pair.begin(0).await;
        pair.begin(1).await;
        for (index, xsp) in pair.sim.xsps.iter().enumerate() {
            pair.recorder.names.push((xsp.address().to_string(), format!("192.0.2.{}:443", 11 + index)));
        }
        for _ in 0..20 {
            pair.clients.push(Client::new(pair.address(0), pair.sim.pki.public_roots()));
        }
        pair
    }

    fn config(sim: &Simulation, index: usize) -> PathBuf {
        sim.folder().join(format!("gw{}.toml", index + 1))
    }

    async fn begin(&mut self, index: usize) {
        let serving = Serving::of(&Self::config(&self.sim, index)).await;
        eventually("the farm", async || serving.metrics().await.count("xspgate_endpoints", &[]) >= 4.0).await;
        self.recorder.names.push((serving.https[0].to_string(), "0.0.0.0:443".to_owned()));
        self.gateways[index] = Some(serving);
    }

    fn address(&self, index: usize) -> std::net::SocketAddr {
        let serving = self.gateways[index].as_ref().or(self.gateways[1 - index].as_ref());
        serving.unwrap().https[0]
    }

    /// As `ctl restart` and an upgrade of the package do it.
    async fn restart(&mut self, index: usize) {
        let ctl = Ctl(self.sim.folder().join(format!("gw{}.sock", index + 1)));
        self.heirs[index] = Some(heir(&ctl.done(&["restart"]).await));
    }

    /// One step: each client asks once, each channel beats through the other gateway, and both gateways are scraped.
    async fn step(&mut self) {
        let (steps, addresses) = (self.recorder.steps, [self.address(0), self.address(1)]);
        for (index, client) in self.clients.iter_mut().enumerate() {
            client.goes_to(addresses[(index + steps) % 2]);
            drop(client.try_send(request(Method::GET, PROFILE, body(""))).await);
        }
        let mut kept = Vec::new();
        for (index, channel) in std::mem::take(&mut self.channels).into_iter().enumerate() {
            let mut client = Client::new(addresses[(index + steps) % 2], self.sim.pki.public_roots());
            client.set_cookie("XSPGATE", channel.session());
            if client.try_send(channel.heartbeat()).await.is_ok_and(|answer| answer.status == StatusCode::OK) {
                kept.push(channel);
            }
        }
        while kept.len() < 8 {
            let client = Client::new(addresses[kept.len() % 2], self.sim.pki.public_roots());
            // While nobody is there to have it, its client tries again later.
            match tokio::spawn(Channel::of(client)).await {
                Ok(channel) => kept.push(channel),
                Err(_) => break,
            }
        }
        self.channels = kept;
        for (index, gateway) in self.gateways.iter().enumerate() {
            let text = match gateway {
                Some(serving) => Some(get_plain(serving.admin_address(), "/metrics").await.1),
                None => None,
            };
            self.recorder.scraped(&format!("gw{}", index + 1), text.as_deref(), &self.wanted);
        }
        self.recorder.step();
    }

    async fn steps(&mut self, count: usize, every: Duration) {
        let mut pace = interval(every);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for _ in 0..count {
            pace.tick().await;
            self.step().await;
        }
    }
}

#[tokio::test]
#[ignore = "it records what the other tests read"]
async fn records_a_story_of_a_pair() {
    let mut pair = Pair::start().await;
    pair.steps(180, STEP / 5).await;
    pair.recorder.write("pair", "A pair behind a balancer, in its usual work, for three hours.", "1m");
}

#[tokio::test]
#[ignore = "it records what the other tests read"]
async fn records_a_story_of_an_outage() {
    let mut pair = Pair::start().await;
    pair.steps(10, STEP).await;
    pair.sim.xsps[0].kill().await;
    pair.steps(30, STEP).await;
    pair.sim.xsps[0].revive().await;
    pair.steps(20, STEP).await;
    for xsp in &pair.sim.xsps {
        xsp.kill().await;
    }
    pair.steps(15, STEP).await;
    for xsp in &pair.sim.xsps {
        xsp.revive().await;
    }
    pair.steps(25, STEP).await;
    let about = "One XSP of four is out from minute 10 to 40, and all of them are from 60 to 75.";
    pair.recorder.write("outage", about, "1m");
}

#[tokio::test]
#[ignore = "it records what the other tests read"]
async fn records_a_story_of_an_upgrade() {
    let mut pair = Pair::start().await;
    pair.steps(10, STEP).await;
    for index in 0..2 {
        pair.restart(index).await;
        pair.steps(10, STEP).await;
    }
    // Another way: one is stopped, and started a minute later, then the other.
    for index in 0..2 {
        let stopped = pair.gateways[index].take().unwrap();
        let heir = pair.heirs[index].take().unwrap();
        assert!(signal(heir.0, "TERM"));
        eventually("the end", async || TcpStream::connect(stopped.admin_address()).await.is_err()).await;
        pair.steps(1, STEP).await;
        pair.begin(index).await;
        pair.steps(10, STEP).await;
    }
    let about =
        "Both gateways are replaced by ctl restart, at minutes 10 and 20, and stopped and started, at 30 and 41.";
    pair.recorder.write("upgrade", about, "1m");
}

/// Issues the gateway's certificate, valid for so many days.
fn issue(folder: &Path, days: &str) {
    let run = |arguments: &[&str]| {
        let ended = Program::run_in(folder, arguments);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
    };
    if !folder.join("issued/internal-ca.pem").exists() {
        run(&["certs", "ca", "--out", "issued", "--days", "3650"]);
    }
    run(&[
        "certs",
        "xsp",
        "--domain",
        CLOUD,
        "--fqdn",
        CLOUD,
        "--out",
        "issued",
        "--ca",
        "issued/internal-ca.pem",
        "--ca-key",
        "issued/internal-ca-key.pem",
        "--days",
        days,
        "--force",
    ]);
    for part in ["key", "chain"] {
        fs::rename(folder.join(format!("issued/{CLOUD}-{part}.pem")), folder.join(format!("public-{part}.pem")))
            .unwrap();
    }
}

#[tokio::test]
#[ignore = "it records what the other tests read"]
async fn records_a_story_of_a_certificate() {
    let sim = Simulation::start(Network::Own).await.unwrap();
    let Some(clock) = Clock::wrong_by("+0d", sim.folder()) else { return };
    issue(sim.folder(), "16");
    let mut text = sim.config(Layout::OneSite);
    text.remove_section("[[https]]");
    Simulation::serve(&mut text);
    text.set("[[https]]", "hosts", vec![CLOUD.to_owned()]);
    let serving = Serving::of_in(&clock.environment(), &sim.write_config(&text).unwrap()).await;
    eventually("XSPs that are up", async || serving.metrics().await.count("xspgate_endpoints_up", &[]) >= 1.0).await;
    let (mut recorder, wanted) = (Recorder::default(), wanted());
    // Of the CA in the chain, too.
    let left = async || {
        let metrics = serving.metrics().await;
        metrics.count("xspgate_certificate_expiry_seconds", &[("section", "certificate.public")])
    };
    // Each step is an hour; at day 15 it is renewed, and then not.
    for hour in 0..24 * 33 {
        clock.set(&format!("+{hour}h"));
        if hour == 24 * 15 {
            let before = left().await;
            issue(sim.folder(), "32");
            eventually("the renewal", async || left().await > before + 86400.0).await;
        }
        let text = serving.admin("/metrics").await.1;
        let text = text.lines().map(|line| match line.rsplit_once(' ') {
            // To the minute, since a step takes no hour.
            Some((series, seconds)) if series.starts_with("xspgate_certificate") => {
                format!("{series} {}", (seconds.parse::<f64>().unwrap() / 60.0).round() * 60.0)
            }
            Some(_) | None => line.to_owned(),
        });
        recorder.scraped("gw1", Some(&text.collect::<Vec<_>>().join("\n")), &wanted);
        recorder.step();
    }
    let about =
        "A certificate that ends on day 16 is renewed on day 15, and the next one, which ends on day 32, is not.";
    recorder.write("certificate", about, "1h");
}

fn stories() -> Vec<PathBuf> {
    let entries = fs::read_dir(deployed("prometheus/stories")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn the_alerts_of_each_story_are_those_that_are_meant() {
    let Some(promtool) = Tool::find("promtool", &["prometheus"]) else { return };
    assert_eq!(stories().len(), 4);
    for story in stories() {
        let text = fs::read_to_string(&story).unwrap();
        let held = text.split_once(BY_HAND).map(|(_, held)| held.matches("eval_time").count());
        assert!(held.is_some_and(|held| held > 0), "{} is held against nothing", story.display());
        succeed(promtool.command().args(["test", "rules"]).arg(story));
    }
}

#[test]
fn stories_are_of_metrics_and_labels_that_there_are() {
    for story in stories() {
        let text = fs::read_to_string(&story).unwrap();
        let mut seen = BTreeSet::new();
        for series in text.lines().filter_map(|line| line.trim().strip_prefix("- series: '")) {
            let (name, labels) = series.trim_end_matches("}'").split_once('{').unwrap();
            let name = name.strip_suffix("_bucket").unwrap_or(name);
            if name == "up" {
                continue;
            }
            let row = TABLE.iter().find(|row| row.0 == name).unwrap_or_else(|| panic!("{name}: record it anew"));
            let labels: BTreeSet<_> = labels.split("\", ").map(|pair| pair.split('=').next().unwrap()).collect();
            let known: BTreeSet<_> =
                row.2.split(", ").filter(|label| !label.is_empty()).chain(["job", "instance"]).collect();
            assert_eq!(labels.difference(&known).copied().filter(|label| *label != "le").count(), 0, "{series}");
            seen.insert(name);
        }
        assert!(seen.contains("xspgate_ready"), "{}", story.display());
    }
}
