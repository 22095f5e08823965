//! A configuration that changes while everything runs: taken over as a whole or not at all, and what has not changed lives on.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use xspgate::app::Outcome;
use xspgate::sim::site::{APP, CLOUD, DOMAIN, Text};
use xspgate::sim::xsp::Behaviour;

use crate::channels::{Channel, opened};
use crate::harness::{Client, PROFILE, Program, RawClient, Stage, body, eventually, request, tls_config};

/// A stage, and its configuration to be changed.
struct Changing {
    stage: Stage,
    text: Text,
}

impl Changing {
    async fn start(change: impl FnOnce(&mut Text)) -> Self {
        let (stage, text) = Stage::with(|_, text| {
            change(text);
            text.clone()
        })
        .await;
        Self { stage, text }
    }

    /// Writes the configuration after another change, and has it read.
    async fn reload(&mut self, change: impl FnOnce(&mut Text)) -> Outcome {
        change(&mut self.text);
        self.stage.sim.write_config(&self.text).unwrap();
        self.stage.gateway.reload().await
    }

    async fn applied(&mut self, change: impl FnOnce(&mut Text)) {
        let outcome = self.reload(change).await;
        assert!(is_applied(&outcome), "{outcome:?}");
    }

    async fn counted(&self, outcome: &str) -> f64 {
        self.stage.metrics().await.count("xspgate_reloads_total", &[("outcome", outcome)])
    }

    /// Where the listener is that is bound to any port of `ip`.
    async fn listener(&self, ip: &str) -> SocketAddr {
        let metrics = self.stage.metrics().await;
        let prefix = format!("{ip}:");
        let label = metrics.label_values("listener").into_iter().find(|label| label.starts_with(&prefix));
        label.unwrap().parse().unwrap()
    }
}

/// Whatever is odd about it.
fn is_applied(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Applied { needs_restart, lost, warnings: _ } => needs_restart.is_empty() && lost.is_empty(),
        Outcome::Unchanged { .. } | Outcome::Refused(_) => false,
    }
}

fn listens(text: &mut Text, addresses: &[&str]) {
    let addresses: Vec<_> = addresses.iter().map(|address| (*address).to_owned()).collect();
    text.set("[[https]]", "listen", addresses);
}

/// Whether an XSP is asked for `path`, whatever it makes of it.
async fn reaches(client: &mut Client, path: &str) -> bool {
    !client.get(path).await.xsp().is_empty()
}

#[tokio::test]
async fn what_has_changed_is_served_and_what_has_not_lives_on() {
    let mut changing = Changing::start(|text| {
        text.set("[[https]]", "hosts", vec![CLOUD.to_owned()]);
    })
    .await;
    let mut session = changing.stage.client();
    let home = session.get(PROFILE).await.xsp().to_owned();
    let mut channel = Channel::open(&changing.stage).await;
    let blocked = changing.stage.sim.xsps.iter().find(|xsp| xsp.name() != home && xsp.name() != channel.xsp).unwrap();
    blocked.behave(Behaviour::Refuse).await;
    eventually("a block", async || {
        changing.stage.client().get(PROFILE).await;
        changing.stage.metrics().await.count("xspgate_endpoint_blocked", &[]) == 1.0
    })
    .await;
    let app = |stage: &Stage| (stage.gateway.https(), stage.sim.pki.public_roots());
    let (address, roots) = app(&changing.stage);
    assert!(RawClient::try_connect(address, APP, tls_config(&roots)).await.is_err(), "not served yet");

    changing
        .applied(|text| {
            text.set("[[https]]", "hosts", vec![CLOUD.to_owned(), APP.to_owned()]);
            text.set("[[https]]", "interfaces", vec!["xsi-actions".to_owned(), "xsi-events".to_owned()]);
            text.set("[farm.xsp.failover]", "tries", 2);
        })
        .await;
    assert!(RawClient::try_connect(address, APP, tls_config(&roots)).await.is_ok());
    assert!(!reaches(&mut session, "/dms/x").await, "on a connection that was there before");
    assert_eq!(session.get(PROFILE).await.xsp(), home);
    channel.receives(&changing.stage, "after").await;
    assert_eq!(channel.beats(&changing.stage).await.xsp(), channel.xsp);
    let metrics = changing.stage.metrics().await;
    assert_eq!(metrics.count("xspgate_endpoint_blocked", &[]), 1.0, "the blocklist is kept");
    assert_eq!(metrics.count("xspgate_channels", &[]), 1.0);
    assert_eq!(changing.counted("applied").await, 1.0);

    assert_eq!(changing.reload(|_| ()).await, Outcome::Unchanged { needs_restart: vec![] });
    assert_eq!(changing.counted("unchanged").await, 1.0);
}

#[tokio::test]
async fn what_was_held_against_xsps_before_the_reload_that_mends_it_is_looked_at_at_once() {
    let mut changing = Changing::start(|text| {
        text.set("[farm.xsp]", "server_name", "wrong.example.com");
    })
    .await;
    let blocked = async |stage: &Stage| stage.metrics().await.count("xspgate_endpoint_blocked", &[]);
    eventually("all are blocked", async || {
        assert_eq!(changing.stage.client().get(PROFILE).await.status, StatusCode::BAD_GATEWAY);
        blocked(&changing.stage).await == 4.0
    })
    .await;
    changing
        .applied(|text| {
            text.set("[farm.xsp]", "server_name", DOMAIN);
        })
        .await;
    // No client asks for anything, and no block has run out.
    eventually("all are up", async || blocked(&changing.stage).await == 0.0).await;
}

#[tokio::test]
async fn a_configuration_that_can_not_be_used_changes_nothing() {
    let mut changing = Changing::start(|_| ()).await;
    let good = changing.text.clone();
    let refused = async |changing: &mut Changing, change: &dyn Fn(&mut Text), why: &str| {
        match changing.reload(change).await {
            Outcome::Refused(report) => assert!(report.contains(why), "{report}"),
            outcome @ (Outcome::Applied { .. } | Outcome::Unchanged { .. }) => panic!("{outcome:?}"),
        }
        assert_eq!(changing.stage.client().get(PROFILE).await.status, StatusCode::OK, "{why}");
        let metrics = changing.stage.metrics().await;
        assert_eq!(metrics.value("xspgate_reload_refused", &[]), Some(1.0), "{why}");
        changing.text = good.clone();
    };
    let mistake = |text: &mut Text| {
        text.set("[farm.xsp.failover]", "tries", 11);
    };
    refused(&mut changing, &mistake, "tries = 11").await;
    let no_such_file = |text: &mut Text| {
        text.set("[trust.internal]", "ca", "nowhere.pem");
    };
    refused(&mut changing, &no_such_file, "nowhere.pem").await;
    let in_use = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = in_use.local_addr().unwrap().to_string();
    let bound = |text: &mut Text| listens(text, &["127.0.0.1:0", "127.0.0.2:0", &taken]);
    refused(&mut changing, &bound, &format!("can't listen on {taken}")).await;
    drop(in_use);
    fs::write(changing.stage.sim.folder().join("xspgate.toml"), "[[https]\n").unwrap();
    assert!(matches!(changing.stage.gateway.reload().await, Outcome::Refused(_)));
    assert_eq!(changing.counted("refused").await, 4.0);

    assert_eq!(changing.reload(|_| ()).await, Outcome::Unchanged { needs_restart: vec![] });
    assert_eq!(changing.stage.metrics().await.value("xspgate_reload_refused", &[]), Some(0.0));
    // What was bound for nothing is free again.
    changing.applied(|text| listens(text, &["127.0.0.1:0", "127.0.0.2:0", &taken])).await;
}

#[tokio::test]
async fn a_gateway_that_stops_takes_over_nothing_any_more() {
    let mut changing = Changing::start(|text| {
        text.set("", "drain_timeout", "1m");
    })
    .await;
    let mut channel = Channel::open(&changing.stage).await;
    changing.stage.gateway.drain();
    let outcome = changing.reload(|text| listens(text, &["127.0.0.1:0", "127.0.0.6:0"])).await;
    assert_eq!(outcome, Outcome::Refused("the gateway is stopping".into()));
    channel.receives(&changing.stage, "still there").await;
}

#[tokio::test]
async fn listeners_come_and_go() {
    let mut changing = Changing::start(|text| listens(text, &["127.0.0.1:0"])).await;
    let first = changing.stage.gateway.https();
    changing.applied(|text| listens(text, &["127.0.0.1:0", "127.0.0.3:0"])).await;
    let second = changing.listener("127.0.0.3").await;
    let roots = changing.stage.sim.pki.public_roots();
    let client = |address| Client::new(address, roots.clone());
    for address in [first, second] {
        for _ in 0..4 {
            assert_eq!(client(address).get(PROFILE).await.status, StatusCode::OK, "{address}");
        }
    }
    let mut channel = Channel::of(client(second)).await;
    let mut kept = client(second);
    assert_eq!(kept.get(PROFILE).await.status, StatusCode::OK);

    changing.applied(|text| listens(text, &["127.0.0.1:0"])).await;
    eventually("no new connections", async || tokio::net::TcpStream::connect(second).await.is_err()).await;
    channel.receives(&changing.stage, "still there").await;
    assert_eq!(channel.beats(&changing.stage).await.status, StatusCode::OK);
    channel.is_alive().await;
    let last = kept.get(PROFILE).await;
    assert_eq!((last.status, last.header("connection")), (StatusCode::OK, "close"), "who is there is served once more");
    assert_eq!(client(first).get(PROFILE).await.status, StatusCode::OK);

    // It comes back at the port that it has been given.
    changing.applied(|text| listens(text, &["127.0.0.1:0", &second.to_string()])).await;
    assert_eq!(client(second).get(PROFILE).await.status, StatusCode::OK);
    channel.receives(&changing.stage, "and now").await;
}

#[tokio::test]
async fn farms_change_and_their_channels_and_sessions_stay() {
    let mut changing = Changing::start(|_| ()).await;
    let mut session = changing.stage.client();
    let home = session.get(PROFILE).await.xsp().to_owned();
    let mut channel = Channel::open(&changing.stage).await;
    let addresses = |stage: &Stage, without: &[&str]| -> Vec<String> {
        let xsps = stage.sim.xsps.iter().filter(|xsp| !without.contains(&xsp.name()));
        xsps.map(|xsp| xsp.address().to_string()).collect()
    };
    let others = addresses(&changing.stage, &[&home, &channel.xsp]);
    let to_others = |text: &mut Text| {
        text.remove("[farm.xsp]", "a").set("[farm.xsp]", "addresses", others.clone());
    };
    changing.applied(to_others).await;
    for _ in 0..20 {
        let xsp = changing.stage.client().get(PROFILE).await.xsp().to_owned();
        assert!(xsp != home && xsp != channel.xsp, "{xsp}");
    }
    assert_eq!(session.get(PROFILE).await.xsp(), home);
    assert_eq!(channel.beats(&changing.stage).await.xsp(), channel.xsp);
    channel.is_alive().await;
    channel.receives(&changing.stage, "from afar").await;

    // A farm that is new is there for the first request, and all go to the one XSP that it has.
    let one = changing.stage.xsp(&home).address().to_string();
    let another = |text: &mut Text| {
        text.push("[farm.other]").set("[farm.other]", "addresses", vec![one]);
        text.set("[farm.other]", "server_name", xspgate::sim::site::DOMAIN).set("[farm.other]", "trust", "internal");
        text.set("[[https]]", "farm", "other");
    };
    changing.applied(another).await;
    for _ in 0..5 {
        assert_eq!(changing.stage.client().get(PROFILE).await.xsp(), home);
    }
    // The channel is where it was, though new requests go to another farm by now.
    let mut cookieless = changing.stage.client();
    let answer = cookieless.send(channel.heartbeat()).await;
    assert_eq!((answer.status, answer.xsp()), (StatusCode::OK, &*channel.xsp));
    assert_eq!(cookieless.session(), None, "a session at a farm that gets none");
    channel.is_alive().await;

    // And drained while it runs, as its own section says.
    let drained = vec![changing.stage.xsp(&home).address().ip().to_string()];
    let outcome = changing
        .reload(|text| {
            text.set("[farm.other]", "drain", drained);
        })
        .await;
    assert!(is_applied(&outcome), "{outcome:?}");
    assert_eq!(changing.stage.client().get(PROFILE).await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn what_takes_a_restart_is_named_and_the_rest_is_taken_over() {
    let mut changing = Changing::start(|_| ()).await;
    let outcome = changing
        .reload(|text| {
            text.set("", "workers", 3).set("", "drain_timeout", "3s").set("[log]", "level", "error");
            text.set("[[https]]", "interfaces", vec!["dms".to_owned()]);
        })
        .await;
    assert_eq!(outcome, Outcome::Applied { needs_restart: vec!["workers", "[log]"], lost: vec![], warnings: None });
    // Whoever asks again is reminded.
    assert_eq!(changing.reload(|_| ()).await, Outcome::Unchanged { needs_restart: vec!["workers", "[log]"] });
    let pair = changing.stage.sim.pki.public(&[CLOUD, APP]);
    pair.write(changing.stage.sim.folder(), "public").unwrap();
    assert_eq!(
        changing.reload(|_| ()).await,
        Outcome::Applied { needs_restart: vec!["workers", "[log]"], lost: vec![], warnings: None }
    );
    assert!(!reaches(&mut changing.stage.client(), PROFILE).await);
    assert!(reaches(&mut changing.stage.client(), "/dms/x").await);
}

#[tokio::test]
async fn with_reload_on_change_nobody_has_to_ask() {
    let mut changing = Changing::start(|text| {
        text.set("", "reload_on_change", true);
    })
    .await;
    changing.text.set("[[https]]", "interfaces", vec!["dms".to_owned()]);
    changing.stage.sim.write_config(&changing.text).unwrap();
    eventually("the reload", async || changing.counted("applied").await == 1.0).await;
    assert!(!reaches(&mut changing.stage.client(), PROFILE).await);
    fs::write(changing.stage.sim.folder().join("xspgate.toml"), "nonsense").unwrap();
    eventually("its refusal", async || changing.counted("refused").await >= 1.0).await;
    assert!(reaches(&mut changing.stage.client(), "/dms/x").await);
}

#[tokio::test]
async fn a_configuration_that_is_being_written_is_not_taken_over_by_halves() {
    let limit = |connections: u32| format!("\n[limits]\nconnections = {connections}\n");
    let (stage, ()) = Stage::with(|_, text| {
        text.set("", "reload_on_change", true);
    })
    .await;
    let path = stage.sim.folder().join("xspgate.toml");
    let half = fs::read_to_string(&path).unwrap();
    let limits = async || stage.metrics().await.count("xspgate_connections_limit", &[]);
    let applied = async || stage.metrics().await.count("xspgate_reloads_total", &[("outcome", "applied")]);
    fs::write(&path, half.clone() + &limit(777)).unwrap();
    eventually("the first reload", async || limits().await == 777.0).await;
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(half.as_bytes()).unwrap();
    // Whoever writes may have to wait for a disk, or for a network.
    tokio::time::sleep(Duration::from_millis(1800)).await;
    assert_eq!(limits().await, 777.0);
    file.write_all(limit(778).as_bytes()).unwrap();
    eventually("the second reload", async || limits().await != 777.0).await;
    assert_eq!((limits().await, applied().await), (778.0, 2.0));
    // In one step, and shorter for good.
    let draft = stage.sim.folder().join("draft");
    fs::write(&draft, &half).unwrap();
    fs::rename(&draft, &path).unwrap();
    eventually("the third reload", async || limits().await != 778.0).await;
    assert_eq!(applied().await, 3.0);
}

#[tokio::test]
async fn sighup_reloads_and_the_log_says_why_not() {
    let (stage, text) = Stage::with(|_, text| text.clone()).await;
    let path = stage.sim.folder().join("own.toml");
    let write = |change: &dyn Fn(&mut Text)| {
        let mut text = text.clone();
        change(&mut text);
        fs::write(&path, text.to_string()).unwrap();
    };
    write(&|_| ());
    let program = Program::start(&["run", path.to_str().unwrap()]);
    let https = program.line("the address", |line| line.strip_prefix("serving HTTPS on ")?.parse().ok()).await;
    let said = async |what: &str, parts: &[&str]| {
        program.line(what, |line| parts.iter().all(|part| line.contains(part)).then_some(())).await;
    };
    said("the start", &["started"]).await;
    write(&|text| {
        text.set("[farm.xsp.failover]", "tries", 0);
    });
    program.signal("HUP");
    said("why not", &["WARN", "not reloaded", "own.toml:"]).await;
    write(&|text| {
        text.set("", "workers", 1).set("[[https]]", "interfaces", vec!["xsi-actions".to_owned()]);
    });
    program.signal("HUP");
    said("that it is in use", &["INFO", "configuration reloaded"]).await;
    said("what is not", &["WARN", "takes a restart", "workers"]).await;
    let mut client = Client::new(https, stage.sim.pki.public_roots());
    assert!(!reaches(&mut client, "/dms/x").await);
}

/// How many reloads there are, and requests meanwhile: `XSPGATE_RELOADS` of them, a tenth of a second apart.
fn reloads() -> u32 {
    std::env::var("XSPGATE_RELOADS").map_or(15, |count| count.parse().expect("XSPGATE_RELOADS is a number"))
}

#[tokio::test]
async fn promise_9_no_request_fails_and_no_channel_breaks_while_everything_is_reloaded() {
    let mut changing = Changing::start(|text| listens(text, &["127.0.0.1:0", "127.0.0.4:0"])).await;
    let count = if reloads() > 100 { 1000 } else { 40 };
    let mut channels = Vec::new();
    for _ in 0..count {
        channels.push(Channel::open(&changing.stage).await);
    }
    let (served, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (address, roots) = (changing.stage.gateway.https(), changing.stage.sim.pki.public_roots());
    let load: Vec<_> = (0..5)
        .map(|_| {
            let (served, failed, roots) = (Arc::clone(&served), Arc::clone(&failed), roots.clone());
            tokio::spawn(async move {
                let mut pace = tokio::time::interval(Duration::from_millis(10));
                let mut kept = Client::new(address, roots.clone());
                for number in 0.. {
                    pace.tick().await;
                    let mut fresh = Client::new(address, roots.clone());
                    let client = if number % 4 == 0 { &mut fresh } else { &mut kept };
                    let answer = client.send(request(Method::POST, "/dms/x", body("content"))).await;
                    let counter = if answer.status == StatusCode::OK { &served } else { &failed };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    for number in 0..reloads() {
        pace.tick().await;
        let other = [["127.0.0.1:0", "127.0.0.4:0"], ["127.0.0.1:0", "127.0.0.5:0"]][number as usize % 2];
        let tries = 2 + i64::from(number % 3);
        changing
            .applied(|text| {
                listens(text, &other);
                text.set("[farm.xsp.failover]", "tries", tries).set("[farm.xsp]", "channel_rate", 900 + tries);
            })
            .await;
    }
    load.iter().for_each(tokio::task::JoinHandle::abort);
    assert_eq!(failed.load(Ordering::Relaxed), 0);
    assert!(served.load(Ordering::Relaxed) >= u64::from(reloads()), "{served:?}");
    for (index, channel) in channels.iter_mut().enumerate() {
        channel.receives(&changing.stage, &format!("event-{index}")).await;
    }
    assert_eq!(opened(&changing.stage).await, f64::from(count));
    assert_eq!(changing.stage.metrics().await.count("xspgate_channels_closed_total", &[]), 0.0);
}

#[tokio::test]
async fn a_key_that_everybody_may_read_by_now_is_refused_with_its_place_and_help() {
    use std::os::unix::fs::PermissionsExt;
    let changing = Changing::start(|_| ()).await;
    let key = changing.stage.sim.folder().join("public-key.pem");
    let allow = |mode| fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
    allow(0o644);
    let Outcome::Refused(why) = changing.stage.gateway.reload().await else { panic!("it was taken over") };
    for part in ["every user of this machine may read it", " --> ", "help: chmod o-rwx"] {
        assert!(why.contains(part), "{why}");
    }
    allow(0o600);
    assert_eq!(changing.stage.gateway.reload().await, Outcome::Unchanged { needs_restart: vec![] });
}

#[tokio::test]
async fn what_is_odd_about_new_files_is_in_the_answer() {
    let mut changing = Changing::start(|_| ()).await;
    let ranges = changing.stage.sim.folder().join("ranges.txt");
    let shown = ranges.display().to_string();
    fs::write(&ranges, "198.51.100.0/24\n").unwrap();
    changing.reload(|text| _ = text.set("[webex]", "ranges", shown)).await;
    fs::write(&ranges, "0.0.0.0/0\n").unwrap();
    let Outcome::Applied { warnings: Some(warnings), .. } = changing.stage.gateway.reload().await else { panic!() };
    assert!(
        warnings.contains("0.0.0.0/0") && warnings.starts_with("warning: ") && warnings.contains(" --> "),
        "{warnings}"
    );
}
