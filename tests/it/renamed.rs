//! A farm that gets another name: what belongs to it goes on under the new one, if the configuration says that it is the same.

use std::fs;
use std::path::PathBuf;

use http::StatusCode;
use serde_json::Value;

use crate::channels::Channel;
use crate::handover::heir;
use crate::harness::{Client, Ctl, PROFILE, Serving, Stage, eventually};

/// A gateway whose configuration changes, with XSPs that are done something to.
struct Renaming {
    // Dropped first, so that what stands behind the gateway outlives it.
    serving: Serving,
    stage: Stage,
    ctl: Ctl,
    config: PathBuf,
}

impl Renaming {
    async fn start() -> Self {
        let stage = Stage::start().await;
        let (config, socket) = stage.with_control();
        let serving = Serving::of(config.as_ref()).await;
        Self { serving, stage, ctl: Ctl(socket), config: config.into() }
    }

    /// A client that has this session.
    fn client(&self, session: &str) -> Client {
        let mut client = Client::new(self.serving.https[0], self.stage.sim.pki.public_roots());
        client.set_cookie("XSPGATE", session);
        client
    }

    /// The farm's sections, and all that names it, have another name from now on.
    fn rename(&self, old: &str, new: &str, more: &str) {
        let text = fs::read_to_string(&self.config).unwrap();
        let kept: Vec<_> = text.lines().filter(|line| !line.starts_with("formerly")).collect();
        let text = kept.join("\n").replace(&format!("[farm.{old}"), &format!("[farm.{new}"));
        let text = text.replace(&format!("farm = \"{old}\""), &format!("farm = \"{new}\""));
        let header = format!("[farm.{new}]\n");
        assert!(text.contains(&header), "{text}");
        fs::write(&self.config, text.replace(&header, &format!("{header}{more}\n"))).unwrap();
    }

    async fn state(&self, farm: &str, xsp: &str) -> String {
        let status: Value = serde_json::from_str(&self.ctl.done(&["status", "--json"]).await).unwrap();
        let address = self.stage.xsp(xsp).address().to_string();
        let farm = status["farms"].as_array().unwrap().iter().find(|known| known["name"] == *farm);
        let endpoints = farm.unwrap_or_else(|| panic!("{status}"))["endpoints"].as_array().unwrap();
        endpoints.iter().find(|one| one["endpoint"] == *address).unwrap()["state"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn r_aff_1_what_belongs_to_a_farm_goes_on_under_its_new_name() {
    let renaming = Renaming::start().await;
    let mut session = renaming.client("");
    session.forget_cookies();
    let home = session.get(PROFILE).await.xsp().to_owned();
    let old = session.session().unwrap().to_owned();
    let mut channel = Channel::of(renaming.client(&old)).await;
    let others: Vec<_> = ["a1", "a2", "b1", "b2"].into_iter().filter(|name| *name != home).collect();
    let address = |name: &str| renaming.stage.xsp(name).address().to_string();
    renaming.ctl.done(&["drain", &address(others[0])]).await;
    renaming.ctl.done(&["block", &address(others[1]), "--for", "1h"]).await;
    renaming.rename("xsp", "new", "formerly = \"xsp\"");
    assert_eq!(renaming.ctl.done(&["reload"]).await, "reloaded\n");
    assert_eq!(renaming.state("new", others[0]).await, "draining");
    assert_eq!(renaming.state("new", others[1]).await, "blocked");
    // The old cookie is good, and makes way for the new one.
    let mut renewed = renaming.client(&old);
    let answer = renewed.get(PROFILE).await;
    assert_eq!(answer.xsp(), home);
    assert!(answer.session().is_some());
    let new = renewed.session().unwrap().to_owned();
    assert_ne!(new, old);
    let answer = renewed.get(PROFILE).await;
    assert_eq!((answer.xsp(), answer.session()), (&*home, None));
    // So is the channel.
    assert_eq!(renaming.client(&old).send(channel.heartbeat()).await.status, StatusCode::OK);
    channel.is_alive().await;
    channel.receives(&renaming.stage, "event-1").await;
    // And once more, in another process.
    renaming.rename("new", "newest", "formerly = [\"new\", \"xsp\"]");
    let _heir = heir(&renaming.ctl.done(&["restart"]).await);
    for cookie in [&old, &new] {
        let answer = renaming.client(cookie).get(PROFILE).await;
        assert_eq!(answer.xsp(), home);
        assert!(answer.session().is_some());
    }
    assert_eq!(renaming.state("newest", others[0]).await, "draining");
    assert_eq!(renaming.state("newest", others[1]).await, "blocked");
    assert_eq!(renaming.client(&new).send(channel.heartbeat()).await.status, StatusCode::OK);
    channel.is_alive().await;
}

#[tokio::test]
async fn a_farm_that_comes_in_the_place_of_another_is_told_of_with_the_key_that_keeps_sessions() {
    let renaming = Renaming::start().await;
    let mut session = renaming.client("");
    session.forget_cookies();
    session.get(PROFILE).await;
    let old = session.session().unwrap().to_owned();
    renaming.rename("xsp", "new", "");
    let said = renaming.ctl.done(&["reload"]).await;
    assert!(said.starts_with("reloaded\nWARNING: farm xsp -> farm new: "), "{said}");
    let warned = |line: &str| line.contains("their sessions start anew").then(|| line.to_owned());
    let said = renaming.serving.program.line("the warning", warned).await;
    assert!(said.contains("WARN") && said.replace('\\', "").contains("`formerly = \"xsp\"` in [farm.new]"), "{said}");
    assert!(renaming.client(&old).get(PROFILE).await.session().is_some());
    // It is put right by saying so: nothing has ended yet.
    renaming.rename("new", "new", "formerly = \"xsp\"");
    assert_eq!(renaming.ctl.done(&["reload"]).await, "reloaded\n");
    eventually("the old session", async || {
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(renaming.client(&old).get(PROFILE).await.xsp().to_owned());
        }
        seen.windows(2).all(|pair| pair[0] == pair[1])
    })
    .await;
}

#[tokio::test]
async fn a_restart_in_which_a_farm_loses_its_sessions_warns_of_it() {
    let renaming = Renaming::start().await;
    renaming.rename("xsp", "new", "");
    let said = renaming.ctl.done(&["restart"]).await;
    let _heir = heir(&said);
    assert!(said.contains("\nWARNING: farm xsp -> farm new: ") && said.contains("formerly = \"xsp\""), "{said}");
    let warned = |line: &str| (line.contains("WARN") && line.contains("their sessions start anew")).then_some(());
    renaming.serving.program.line("the warning", warned).await;
}

#[tokio::test]
async fn r_aff_2_a_restart_that_renames_a_farm_without_saying_so_keeps_what_is_open_in_sight() {
    let renaming = Renaming::start().await;
    let client = || {
        let mut client = renaming.client("");
        client.forget_cookies();
        client
    };
    let mut channel = Channel::of(client()).await;
    let address = renaming.stage.xsp(&channel.xsp).address().to_string();
    renaming.rename("xsp", "new", "");
    let _heir = heir(&renaming.ctl.done(&["restart"]).await);
    // Its XSP is found though its farm is another one's now.
    assert_eq!(client().send(channel.heartbeat()).await.status, StatusCode::OK);
    channel.is_alive().await;
    let table = async || renaming.ctl.done(&["status"]).await;
    eventually("what the old process has", async || {
        let table = table().await;
        let (_, old) = table.split_once("farm xsp (no longer in the configuration)").unwrap_or_default();
        let row =
            old.lines().find(|line| line.contains(&address)).map(|line| line.split_whitespace().collect::<Vec<_>>());
        row.is_some_and(|row| row[row.len() - 2..] == ["1", "0"])
    })
    .await;
    for arguments in [["drain", &*address].as_slice(), &["drain", &address, "--farm", "xsp"]] {
        let said = renaming.ctl.done(arguments).await;
        assert!(
            said.contains(&format!("{address} of farm xsp: ")) && said.contains("draining: 1 event channel left"),
            "{said}"
        );
    }
    let ended = renaming.ctl.run(&["drain", &address, "--wait", "--timeout", "10ms"]).await;
    assert_eq!(
        (ended.code, ended.stdout.contains("draining: 1 event channel, 0 other")),
        (1, true),
        "{}",
        ended.stdout
    );
    let waiting = async { renaming.ctl.done(&["drain", &address, "--wait"]).await };
    let cutting = async {
        let said = renaming.ctl.done(&["cut", &address]).await;
        assert!(said.contains(": cutting 1 event channel\n"), "{said}");
        channel.cut().await;
    };
    let (said, ()) = tokio::join!(waiting, cutting);
    assert!(said.ends_with("nothing is left\n"), "{said}");
    assert_eq!(client().get(PROFILE).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_a_farm_holds_is_counted_drained_and_cut_under_its_new_name() {
    let renaming = Renaming::start().await;
    let client = || {
        let mut client = renaming.client("");
        client.forget_cookies();
        client
    };
    let channel = Channel::of(client()).await;
    let address = renaming.stage.xsp(&channel.xsp).address().to_string();
    renaming.rename("xsp", "new", "formerly = \"xsp\"");
    renaming.ctl.done(&["reload"]).await;
    let channels = async |farm: &str| {
        let metrics = renaming.serving.metrics().await;
        metrics.count("xspgate_channels", &[("farm", farm), ("endpoint", &address)])
    };
    assert_eq!((channels("new").await, channels("xsp").await), (1.0, 0.0));
    let rows = async |arguments: &[&str]| {
        let said = renaming.ctl.done(&[&["connections", "--json"], arguments].concat()).await;
        let listed: Value = serde_json::from_str(&said).unwrap();
        let rows = listed["connections"].as_array().unwrap().iter();
        rows.map(|row| row["farm"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    for name in ["new", "xsp"] {
        assert_eq!(rows(&[&address, "--farm", name]).await, ["new"], "by its former name, too");
        let ended = renaming.ctl.run(&["drain", &address, "--farm", name, "--wait", "--timeout", "10ms"]).await;
        assert_eq!((ended.code, ended.stdout.contains("1 event channel left")), (1, true), "{}", ended.stdout);
    }
    let said = renaming.ctl.done(&["drain", &address]).await;
    assert_eq!(said, format!("{address} of farm new: draining: 1 event channel left\n"));

    // A process that knows the farm by its former name only is told by that one.
    renaming.rename("new", "newest", "formerly = [\"new\", \"xsp\"]");
    let _heir = heir(&renaming.ctl.done(&["restart"]).await);
    eventually("what the old process has", async || channels("newest").await == 1.0).await;
    assert_eq!(rows(&["--farm", "newest"]).await, ["newest"]);
    let status: Value = serde_json::from_str(&renaming.ctl.done(&["status", "--json"]).await).unwrap();
    assert_eq!(status["processes"][1]["held"][0]["farm"], "newest", "{status}");
    let said = renaming.ctl.done(&["drain", &address, "--farm", "newest"]).await;
    assert!(said.contains("of farm newest: draining: 1 event channel left"), "{said}");
    let vacated = |line: &&String| line.contains("holds no event channel") && line.contains(&address);
    assert_eq!(renaming.serving.program.lines().iter().filter(vacated).count(), 0);
    let waiting = async { renaming.ctl.done(&["drain", &address, "--farm", "newest", "--wait"]).await };
    let cutting = async {
        let said = renaming.ctl.done(&["cut", &address, "--farm", "newest"]).await;
        assert!(said.contains(": cutting 1 event channel\n"), "{said}");
        channel.cut().await;
    };
    let (said, ()) = tokio::join!(waiting, cutting);
    assert!(said.ends_with("nothing is left\n"), "{said}");
}

#[tokio::test]
async fn what_a_new_process_opens_is_found_by_an_old_one_that_knows_the_farm_by_its_former_name() {
    let renaming = Renaming::start().await;
    let mut kept = renaming.client("");
    kept.forget_cookies();
    kept.get(PROFILE).await;
    renaming.rename("xsp", "new", "formerly = \"xsp\"");
    let _heir = heir(&renaming.ctl.done(&["restart"]).await);
    let mut channel = Channel::of(renaming.client("")).await;
    // The old process answers this after it has heard of the channel.
    renaming.ctl.done(&["connections"]).await;
    // Its connection is the old process' still, and the answer is its last there.
    let answer = kept.send(channel.heartbeat()).await;
    assert_eq!((answer.status, answer.header("connection")), (StatusCode::OK, "close"));
    channel.is_alive().await;
}
