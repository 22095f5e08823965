//! Streams in an operator's hands: event channels and CTI connections of all processes are counted, listed, drained and cut, and
//! nothing is lost that was not announced.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use xspgate::sim::cti::{Call, Ending};
use xspgate::sim::site::Text;

use crate::channels::Channel;
use crate::handover::{Heir, heir};
use crate::harness::{Client, Ctl, PROFILE, Serving, Stage, assert_bridged, dial, eventually, greeting, rest, signal};

/// A gateway for HTTPS and CTI, as a program of its own, and those that have taken its place.
pub(crate) struct Operated {
    // Dropped first, so that what stands behind the gateways outlives them.
    heirs: Vec<Heir>,
    pub(crate) serving: Serving,
    pub(crate) stage: Arc<Stage>,
    pub(crate) ctl: Ctl,
}

impl Operated {
    async fn start(change: impl FnOnce(&mut Text)) -> Self {
        Self::of(Arc::new(Stage::cti(|_, text| change(text)).await), "logged").await
    }

    /// The one by that name of several on a stage.
    pub(crate) async fn of(stage: Arc<Stage>, name: &str) -> Self {
        let socket = stage.sim.folder().join(format!("{name}.sock"));
        let section = format!("\n[control]\nsocket = {:?}\n", socket.display().to_string());
        let serving = Serving::start_named(&stage, name, |text| text + &section).await;
        Self { heirs: Vec::new(), serving, stage, ctl: Ctl(socket) }
    }

    /// The id of the process that serves.
    pub(crate) fn newest(&self) -> u32 {
        self.heirs.last().map_or_else(|| self.serving.program.id(), |heir| heir.0)
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.serving.https[0], self.stage.sim.pki.public_roots())
    }

    async fn call(&self) -> Call {
        let mut call = dial(&self.stage.webex(), self.serving.cti[0]).await.unwrap();
        greeting(&mut call).await;
        call
    }

    /// The address of the XSP by that name, as one that speaks CTI.
    fn speaker(&self, name: &str) -> String {
        self.stage.speaker(name).address().to_string()
    }

    pub(crate) async fn restart(&mut self) -> u32 {
        let said = self.ctl.done(&["restart"]).await;
        self.heirs.push(heir(&said));
        self.newest()
    }

    pub(crate) async fn status(&self) -> Value {
        serde_json::from_str(&self.ctl.done(&["status", "--json"]).await).unwrap()
    }

    /// What each process has: its id, event channels and CTI connections, newest first.
    async fn processes(&self) -> Vec<(u64, u64, u64)> {
        let status = self.status().await;
        let of = |process: &Value, field: &str| process[field].as_u64().unwrap();
        let processes = status["processes"].as_array().unwrap().iter();
        processes.map(|process| (of(process, "pid"), of(process, "channels"), of(process, "cti"))).collect()
    }

    pub(crate) async fn until_processes(&self, expected: &[(u32, u64, u64)]) {
        let expected: Vec<_> = expected.iter().map(|(pid, channels, cti)| (u64::from(*pid), *channels, *cti)).collect();
        let mut last = Vec::new();
        for _ in 0..200 {
            last = self.processes().await;
            if last == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{last:?} instead of {expected:?}");
    }

    /// What all processes have at a CTI XSP.
    async fn streams(&self, xsp: &str) -> u64 {
        let status = self.status().await;
        let farms = status["farms"].as_array().unwrap().iter();
        let endpoints = farms.flat_map(|farm| farm["endpoints"].as_array().unwrap());
        let mut meant = endpoints.filter(|one| one["endpoint"] == self.speaker(xsp));
        meant.next().unwrap()["streams"].as_u64().unwrap()
    }
}

#[tokio::test]
async fn what_each_of_three_processes_holds_is_told_and_drained_and_cut() {
    let mut operated = Operated::start(|_| ()).await;
    let first = operated.serving.program.id();
    let (mut old_call, mut channel) = (operated.call().await, Channel::of(operated.client()).await);
    let second = operated.restart().await;
    operated.until_processes(&[(second, 0, 0), (first, 1, 1)]).await;
    let mut call = operated.call().await;
    let third = operated.restart().await;
    operated.until_processes(&[(third, 0, 0), (second, 0, 1), (first, 1, 1)]).await;
    let mut new_call = operated.call().await;
    operated.until_processes(&[(third, 0, 1), (second, 0, 1), (first, 1, 1)]).await;
    assert_eq!(operated.streams("a1").await, 3, "of all processes");
    let table = operated.ctl.done(&["status"]).await;
    for pid in [first, second, third] {
        assert!(table.lines().any(|line| line.trim_start().starts_with(&pid.to_string())), "{table}");
    }
    let metrics = operated.serving.metrics().await;
    let pid = first.to_string();
    assert_eq!(metrics.count("xspgate_process_streams", &[("pid", &pid), ("kind", "cti")]), 1.0);
    assert_eq!(metrics.count("xspgate_endpoint_streams", &[]), 3.0);
    let status = operated.status().await;
    let oldest = &status["processes"][2];
    assert_eq!((&oldest["phase"], oldest["ends"].is_f64()), (&"handed-over".into(), true), "{oldest}");

    let listed: Value = serde_json::from_str(&operated.ctl.done(&["connections", "--json"]).await).unwrap();
    let rows = listed["connections"].as_array().unwrap();
    assert_eq!((rows.len(), &listed["left_out"], listed["unknown"].as_array().unwrap().len()), (4, &0.into(), 0));
    assert_eq!(rows.iter().filter(|row| row["peer"] == "CN=bwcticlient.webex.com").count(), 3, "{listed}");
    assert!(rows.iter().any(|row| row["kind"] == "channel" && row["pid"] == first && row["sent"].as_u64() > Some(0)));

    let said = operated.ctl.done(&["drain", &operated.speaker("a1")]).await;
    assert!(said.contains("3 CTI connections left") && !said.contains("may hold more"), "{said}");
    assert_bridged(&mut old_call, b"<Request/>").await;
    let said = operated.ctl.done(&["cut", "bwcticlient.webex.com"]).await;
    for pid in [first, second, third] {
        assert!(said.contains(&format!("process {pid}: cutting 1 CTI connection\n")), "{said}");
    }
    for call in [&mut old_call, &mut call, &mut new_call] {
        assert_eq!(rest(call).await, (vec![], Ending::CloseNotify));
    }
    // The second one tells the third of the first, and stays for that.
    operated.until_processes(&[(third, 0, 0), (second, 0, 0), (first, 1, 0)]).await;
    channel.receives(&operated.stage, "still there").await;
    assert!(operated.ctl.refused(&["cut", "192.0.2.200"]).await.contains("no XSP, and no client"));
    operated.ctl.done(&["cut", &operated.stage.xsp(&channel.xsp).address().to_string()]).await;
    let beat = channel.heartbeat();
    channel.cut().await;
    assert_eq!(operated.client().send(beat).await.status, StatusCode::NOT_FOUND);
    operated.until_processes(&[(third, 0, 0)]).await;
}

#[tokio::test]
async fn a_drain_reaches_the_old_process_and_cuts_what_stays_unless_it_is_taken_back() {
    let mut operated = Operated::start(|_| ()).await;
    let mut old_call = operated.call().await;
    let first = operated.serving.program.id();
    let second = operated.restart().await;
    operated.until_processes(&[(second, 0, 0), (first, 0, 1)]).await;
    let mut call = operated.call().await;
    let address = operated.speaker("a1");
    let said = operated.ctl.done(&["drain", &address, "--cut-after", "2s"]).await;
    assert!(said.contains("2 CTI connections left, and cut after 2s\n"), "{said}");
    operated.ctl.done(&["undrain", &address]).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_bridged(&mut old_call, b"<Request/>").await;
    assert_bridged(&mut call, b"<Request/>").await;
    let waiting =
        async { operated.ctl.done(&["drain", &address, "--cut-after", "500ms", "--wait", "--timeout", "20s"]).await };
    let ending = async {
        assert_eq!(rest(&mut old_call).await, (vec![], Ending::CloseNotify));
        assert_eq!(rest(&mut call).await, (vec![], Ending::CloseNotify));
    };
    let (said, ()) = tokio::join!(waiting, ending);
    assert!(said.ends_with("nothing is left\n"), "{said}");
    assert_eq!(operated.serving.event("connection").await["reason"], "cut-by-drain");
}

#[tokio::test]
async fn a_time_that_a_drain_has_set_is_shown_and_stays_with_a_later_drain_that_sets_none() {
    let operated = Operated::start(|_| ()).await;
    let _call = operated.call().await;
    let address = operated.speaker("a1");
    operated.ctl.done(&["drain", &address, "--cut-after", "1h"]).await;
    let table = operated.ctl.done(&["status"]).await;
    assert!(table.contains("what is left there is cut in "), "{table}");
    let said = operated.ctl.done(&["drain", &address]).await;
    assert!(said.contains("1 CTI connection left, and cut in ") && said.contains("earlier --cut-after"), "{said}");
    operated.ctl.done(&["undrain", &address]).await;
    assert_eq!(operated.ctl.done(&["drain", &address]).await.matches("cut").count(), 0);
    assert!(!operated.ctl.done(&["status"]).await.contains("is cut in"));
}

#[tokio::test]
async fn a_farm_of_cti_that_is_renamed_keeps_what_it_holds_under_its_new_name() {
    let operated = Operated::start(|_| ()).await;
    let mut call = operated.call().await;
    let config = operated.stage.sim.folder().join("logged.toml");
    let renamed = fs::read_to_string(&config).unwrap().replace("[farm.cti", "[farm.phone");
    let renamed = renamed.replace("farm = \"cti\"", "farm = \"phone\"");
    fs::write(&config, renamed.replace("[farm.phone]\n", "[farm.phone]\nformerly = \"cti\"\n")).unwrap();
    assert_eq!(operated.ctl.done(&["reload"]).await, "reloaded\n");
    let address = operated.speaker("a1");
    let metrics = operated.serving.metrics().await;
    let streams = |farm| metrics.count("xspgate_endpoint_streams", &[("farm", farm), ("endpoint", &address)]);
    assert_eq!((streams("phone"), streams("cti")), (1.0, 0.0));
    let said = operated.ctl.done(&["drain", &address, "--farm", "phone"]).await;
    assert_eq!(said, format!("{address} of farm phone: draining: 1 CTI connection left\n"));
    let waited = operated.ctl.run(&["drain", &address, "--farm", "phone", "--wait", "--timeout", "10ms"]).await;
    assert_eq!(waited.code, 1, "{}", waited.stdout);
    assert_bridged(&mut call, b"<Request/>").await;
    // What came after it is counted with it.
    operated.ctl.done(&["undrain", &address]).await;
    let mut later = operated.call().await;
    let listed = operated.ctl.done(&["connections", "--farm", "phone"]).await;
    assert_eq!(listed.lines().filter(|line| line.contains(&address)).count(), 2, "{listed}");
    let said = operated.ctl.done(&["cut", &address, "--farm", "phone"]).await;
    assert!(said.ends_with(": cutting 2 CTI connections\n"), "{said}");
    for call in [&mut call, &mut later] {
        assert_eq!(rest(call).await, (vec![], Ending::CloseNotify));
    }
    eventually("that nothing is left", async || {
        operated.serving.metrics().await.count("xspgate_endpoint_streams", &[]) == 0.0
    })
    .await;
}

#[tokio::test]
async fn a_time_that_a_drain_has_set_outlives_a_restart() {
    let mut operated = Operated::start(|_| ()).await;
    let mut old_call = operated.call().await;
    operated.ctl.done(&["drain", &operated.speaker("a1"), "--cut-after", "3s"]).await;
    operated.restart().await;
    let status = operated.status().await;
    let endpoints = status["farms"].as_array().unwrap().iter().flat_map(|farm| farm["endpoints"].as_array().unwrap());
    let mut timed = endpoints.filter(|one| one["cut_in"].is_f64());
    assert_eq!(timed.next().unwrap()["endpoint"], operated.speaker("a1"));
    assert_eq!(rest(&mut old_call).await, (vec![], Ending::CloseNotify));
}

#[tokio::test]
async fn a_process_that_hangs_between_two_others_hides_no_connection_of_the_oldest() {
    let mut operated = Operated::start(|_| ()).await;
    let mut call = operated.call().await;
    let first = operated.serving.program.id();
    let second = operated.restart().await;
    operated.until_processes(&[(second, 0, 0), (first, 0, 1)]).await;
    let third = operated.restart().await;
    operated.until_processes(&[(third, 0, 0), (second, 0, 0), (first, 0, 1)]).await;
    assert!(signal(second, "STOP"));
    let unknown = [
        format!("UNKNOWN: process {second} has not answered within a second"),
        format!("UNKNOWN: process {first} can't be asked while process {second} does not answer"),
    ];
    let speaker = operated.speaker("a1");
    for (arguments, nothing) in [
        (["connections"].as_slice(), "in the processes that have answered, no event channel"),
        (&["connections", "--json"], "in the processes that have answered, no event channel"),
        (&["connections", &speaker], "in the processes that have answered, no event channel"),
        (&["cut", &speaker], "in the processes that have answered, no event channel"),
        (&["cut", "192.0.2.99"], "of the processes that have answered, no XSP, and no client"),
    ] {
        let said = operated.ctl.refused(arguments).await;
        assert!(said.contains(nothing) && unknown.iter().all(|unknown| said.contains(unknown)), "{said}");
    }
    let said = operated.ctl.done(&["drain", &speaker]).await;
    eventually("that both are old", async || {
        let said = operated.ctl.done(&["drain", &speaker]).await;
        said.contains("draining: 1 CTI connection left")
            && [first, second].iter().all(|pid| said.contains(&format!("process {pid} has said nothing for")))
    })
    .await;
    assert!(said.contains("draining: 1 CTI connection left"), "{said}");
    assert!(signal(second, "CONT"));
    eventually("that they are heard again", async || operated.ctl.run(&["connections"]).await.code == 0).await;
    operated.ctl.done(&["cut", &speaker]).await;
    assert_eq!(rest(&mut call).await.1, Ending::CloseNotify);
}

#[tokio::test]
async fn an_old_process_that_hangs_holds_up_nothing_and_its_numbers_are_told_to_be_old() {
    let mut operated = Operated::start(|_| ()).await;
    let _call = operated.call().await;
    let first = operated.serving.program.id();
    let second = operated.restart().await;
    operated.until_processes(&[(second, 0, 0), (first, 0, 1)]).await;
    assert!(signal(first, "STOP"));
    let listed = operated.ctl.refused(&["connections"]).await;
    assert!(listed.contains(&format!("UNKNOWN: process {first} has not answered within a second")), "{listed}");
    eventually("that its numbers are old", async || {
        operated.ctl.done(&["status"]).await.contains("UNKNOWN: it has said nothing for")
    })
    .await;
    let said = operated.ctl.done(&["drain", &operated.speaker("a1")]).await;
    assert!(
        said.contains(&format!("UNKNOWN: what replaced processes hold there: process {first} has said nothing for")),
        "{said}"
    );
    assert_eq!(operated.client().get(PROFILE).await.status, StatusCode::OK);
    assert!(signal(first, "CONT"));
    eventually("that it is heard of again", async || !operated.ctl.done(&["status"]).await.contains("UNKNOWN")).await;
    // What was said meanwhile is done.
    let listed = operated.ctl.done(&["connections"]).await;
    assert!(listed.lines().any(|line| line.contains(&operated.speaker("a1"))), "{listed}");
}

#[tokio::test]
async fn a_cut_that_an_old_process_has_not_answered_is_not_done_when_that_goes_on() {
    let mut operated = Operated::start(|_| ()).await;
    let mut call = operated.call().await;
    let first = operated.serving.program.id();
    let second = operated.restart().await;
    operated.until_processes(&[(second, 0, 0), (first, 0, 1)]).await;
    assert!(signal(first, "STOP"));
    let said = operated.ctl.refused(&["cut", &operated.speaker("a1")]).await;
    let unanswered = format!("process {first} has not answered within a second: it drops the call when it goes on");
    assert!(said.contains(&unanswered), "{said}");
    assert!(signal(first, "CONT"));
    let dropped = |line: &str| line.contains("a cut is dropped, since nobody waits for it any more").then_some(());
    operated.serving.program.line("that it is dropped", dropped).await;
    assert_bridged(&mut call, b"<Request/>").await;
    // One that is answered is done.
    let said = operated.ctl.done(&["cut", &operated.speaker("a1")]).await;
    assert!(said.contains(&format!("process {first}: cutting")), "{said}");
    rest(&mut call).await;
}

#[tokio::test]
async fn what_is_left_after_a_hand_over_is_cut_with_numbers_in_the_log() {
    let mut operated = Operated::start(|text| {
        text.set("", "handover_timeout", "1s").set("[log]", "level", "info");
    })
    .await;
    let mut calls = [operated.call().await, operated.call().await];
    let channel = Channel::of(operated.client()).await;
    operated.restart().await;
    for call in &mut calls {
        assert_eq!(rest(call).await, (vec![], Ending::CloseNotify));
    }
    channel.cut().await;
    let has = |parts: &[&str]| {
        let parts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
        move |line: &str| parts.iter().all(|part| line.contains(part)).then_some(())
    };
    let program = &operated.serving.program;
    program.line("its time", has(&["handover_timeout is over"])).await;
    program.line("numbers", has(&["cutting the remaining connections", "\"channels\":1", "\"cti\":2"])).await;
    program.line("the end", has(&["nothing is left", "\"cut\":3"])).await;
}

#[tokio::test]
async fn a_connection_is_told_of_when_it_is_open() {
    let operated = Operated::start(|_| ()).await;
    let _call = operated.call().await;
    let open = operated.serving.event_of("open", |event| event["kind"] == "cti").await;
    assert_eq!(open["tls.client.subject"], "CN=bwcticlient.webex.com");
    assert_eq!(open["endpoint"], operated.speaker("a1"));
    let channel = Channel::of(operated.client()).await;
    let open = operated.serving.event_of("open", |event| event["kind"] == "channel").await;
    assert_eq!(open["channel"], *channel.id);
    assert_eq!(open["endpoint"], operated.stage.xsp(&channel.xsp).address().to_string());
}

#[tokio::test]
async fn a_stop_of_the_newest_process_ends_what_the_old_one_has() {
    let mut operated = Operated::start(|text| {
        text.set("", "drain_timeout", "1s").set("[log]", "level", "info");
    })
    .await;
    let mut old_calls = [operated.call().await, operated.call().await];
    operated.restart().await;
    let mut call = operated.call().await;
    operated.ctl.done(&["stop"]).await;
    let cutting = |line: &str| line.contains("cutting the remaining connections").then_some(());
    operated.serving.program.line("that it cuts", cutting).await;
    // The service manager signals all processes of the unit: to this one that is no second word.
    operated.serving.program.signal("TERM");
    for old_call in &mut old_calls {
        assert_eq!(rest(old_call).await, (vec![], Ending::CloseNotify));
    }
    assert_eq!(rest(&mut call).await, (vec![], Ending::CloseNotify));
    eventually("the old one's end", async || operated.serving.program.code() == Some(0)).await;
}
