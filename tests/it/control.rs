//! `xspgate ctl` against a gateway that runs: what an operator does by hand, who may, and what is said of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use http::StatusCode;
use serde_json::Value;
use xspgate::sim::site::{ALL, Text};

use crate::channels::Channel;
use crate::harness::{Client, Ctl, Gateway, PROFILE, Program, Serving, Stage, eventually};

/// A gateway that hears control calls, as a program of its own.
struct Controlled {
    stage: Stage,
    serving: Serving,
    ctl: Ctl,
}

impl Controlled {
    async fn start() -> Self {
        let stage = Stage::start().await;
        let socket = stage.sim.folder().join("control.sock");
        let section = format!("\n[control]\nsocket = {:?}\n", socket.display().to_string());
        let serving = Serving::start_changed(&stage, |text| text + &section).await;
        Self { stage, serving, ctl: Ctl(socket) }
    }

    fn client(&self) -> Client {
        Client::new(self.serving.https[0], self.stage.sim.pki.public_roots())
    }

    async fn said(&self, parts: &[&str]) {
        let all = |line: &str| parts.iter().all(|part| line.contains(part)).then_some(());
        self.serving.program.line(&format!("{parts:?}"), all).await;
    }

    fn address(&self, xsp: &str) -> String {
        self.stage.xsp(xsp).address().to_string()
    }
}

#[tokio::test]
async fn the_status_is_the_one_of_the_admin_listener() {
    let controlled = Controlled::start().await;
    let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let asked = parsed(&controlled.ctl.done(&["status", "--json"]).await);
    let served = parsed(&controlled.serving.admin("/status").await.1);
    for key in ["version", "ready"] {
        assert_eq!(asked[key], served[key], "{asked}");
    }
    let endpoints = |status: &Value| status["farms"][0]["endpoints"].as_array().unwrap().len();
    assert_eq!((endpoints(&asked), endpoints(&served)), (4, 4));
    let table = controlled.ctl.done(&["status"]).await;
    for xsp in ["a1", "a2", "b1", "b2"] {
        let line = table.lines().find(|line| line.contains(&controlled.address(xsp))).unwrap();
        assert!(line.contains(" up "), "{table}");
    }
}

#[tokio::test]
async fn an_xsp_is_taken_out_by_hand_and_brought_back() {
    let controlled = Controlled::start().await;
    let mut session = controlled.client();
    let home = session.get(PROFILE).await.xsp().to_owned();
    let mut channel = Channel::of(controlled.client()).await;
    while channel.xsp != home {
        channel = Channel::of(controlled.client()).await;
    }
    let address = controlled.address(&home);
    let said = controlled.ctl.done(&["drain", &address]).await;
    let held = |said: &str| {
        let words = said.strip_prefix(&format!("{address} of farm xsp: draining: "))?;
        let number =
            words.strip_suffix(" event channel left\n").or_else(|| words.strip_suffix(" event channels left\n"));
        number?.parse::<u32>().ok()
    };
    assert!(held(&said).is_some_and(|channels| channels >= 1), "{said}");
    for _ in 0..30 {
        assert_ne!(controlled.client().get(PROFILE).await.xsp(), home);
    }
    assert_eq!(session.get(PROFILE).await.xsp(), home);
    channel.receives(&controlled.stage, "still there").await;
    let table = controlled.ctl.done(&["status"]).await;
    assert!(table.lines().any(|line| line.contains(&address) && line.contains("draining")), "{table}");
    controlled.said(&["control call", "\"drain\"", &address, "\"user.id\"", "\"process.pid\""]).await;
    // A reload is no reason to forget it.
    assert_eq!(controlled.ctl.done(&["reload"]).await, "nothing has changed\n");
    let ended = controlled.ctl.run(&["drain", &address, "--wait", "--timeout", "10ms"]).await;
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("the time is over, and the XSP is not empty"), "{}", ended.stderr);
    let waiting = async { controlled.ctl.done(&["drain", &address, "--wait"]).await };
    let leaving = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        drop(channel);
    };
    let (said, ()) = tokio::join!(waiting, leaving);
    assert!(said.ends_with("nothing is left\n"), "{said}");
    controlled.said(&["holds no event channel", &address]).await;
    let said = controlled.ctl.done(&["drain", &address]).await;
    assert_eq!(said, format!("{address} of farm xsp: drained: nothing is left there\n"));

    controlled.ctl.done(&["undrain", &address, "--farm", "xsp"]).await;
    eventually("it is back", async || controlled.client().get(PROFILE).await.xsp() == home).await;
}

#[tokio::test]
async fn who_waits_for_a_drain_learns_that_somebody_has_undrained_it() {
    let controlled = Controlled::start().await;
    let channel = Channel::of(controlled.client()).await;
    let address = controlled.address(&channel.xsp);
    // Also when it is blocked, which its state says before all else.
    for command in [None, Some(["block", address.as_str(), "--for", "1h"])] {
        if let Some(command) = command {
            controlled.ctl.done(&command).await;
        }
        let waiting = async { controlled.ctl.run(&["drain", &address, "--wait", "--timeout", "20s"]).await };
        let undraining = async {
            let drained = ["draining: 1 event channel", &address];
            eventually("the drain", async || {
                let said = controlled.ctl.done(&["status", "--json"]).await;
                let status: Value = serde_json::from_str(&said).unwrap();
                let endpoints = status["farms"][0]["endpoints"].as_array().unwrap();
                endpoints.iter().any(|one| one["endpoint"] == *drained[1] && one["leaving"] == true)
            })
            .await;
            controlled.ctl.done(&["undrain", &address]).await;
        };
        let (ended, ()) = tokio::join!(waiting, undraining);
        assert_eq!(ended.code, 1, "{}", ended.stdout);
        assert!(ended.stdout.contains("draining: 1 event channel left\n"), "{}", ended.stdout);
        assert!(ended.stderr.contains("undrained meanwhile") && ended.stderr.contains(&address), "{}", ended.stderr);
        assert!(!ended.stderr.contains("stays drained"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn a_name_that_means_nobody_is_told_from_an_xsp_that_holds_nothing() {
    let controlled = Controlled::start().await;
    let address = controlled.address("a1");
    let said = controlled.ctl.done(&["connections", &address]).await;
    assert_eq!(said, "no event channel, CTI or pass-through connection is open\n");
    for name in ["192.0.2.200", "xsp9.example.com", "CN=nobody"] {
        for arguments in [vec!["connections", name], vec!["connections", name, "--json"], vec!["cut", name]] {
            let said = controlled.ctl.refused(&arguments).await;
            assert!(said.contains(&format!("is called \"{name}\"")) && said.contains(&address), "{said}");
            assert!(said.contains("a client is known only while"), "{said}");
            assert!(said.lines().all(|line| line.len() < 120), "{said}");
        }
    }
    for arguments in [["connections", &*address], ["cut", &*address], ["drain", &*address]] {
        let said = controlled.ctl.refused(&[arguments.as_slice(), &["--farm", "nofarm"]].concat()).await;
        assert!(said.contains("there is no farm \"nofarm\"; there are xsp"), "{said}");
    }
    assert!(controlled.ctl.refused(&["connections", "--farm", "nofarm"]).await.contains("there is no farm"));
    let said = controlled.ctl.refused(&["cut", &address]).await;
    assert!(said.contains(&format!("connection is open at the XSP {address}")), "{said}");
}

#[tokio::test]
async fn an_xsp_that_was_down_for_maintenance_is_looked_at_when_it_is_drained_no_more() {
    let controlled = Controlled::start().await;
    let address = controlled.address("a1");
    controlled.stage.xsp("a1").kill().await;
    let blocked =
        async || controlled.serving.metrics().await.count("xspgate_endpoint_blocked", &[("endpoint", &address)]) == 1.0;
    eventually("its block", async || {
        controlled.client().get(PROFILE).await;
        blocked().await
    })
    .await;
    controlled.ctl.done(&["drain", &address]).await;
    controlled.stage.xsp("a1").revive().await;
    controlled.ctl.done(&["undrain", &address]).await;
    // Its block would last for a minute.
    eventually("it is up", async || !blocked().await).await;
}

#[tokio::test]
async fn all_xsps_are_unblocked_at_once() {
    let controlled = Controlled::start().await;
    let addresses = ["a1", "b2"].map(|xsp| controlled.address(xsp));
    for address in &addresses {
        controlled.ctl.done(&["block", address]).await;
    }
    let nobody = controlled.ctl.refused(&["unblock", "--all", "other"]).await;
    assert!(nobody.contains("there is no farm \"other\""), "{nobody}");
    let said = controlled.ctl.done(&["unblock", "--all", "xsp"]).await;
    let mut lines: Vec<_> = addresses.iter().map(|address| format!("{address} of farm xsp: unblocked\n")).collect();
    lines.sort();
    assert_eq!(said, lines.concat());
    assert_eq!(controlled.serving.metrics().await.count("xspgate_endpoint_blocked", &[]), 0.0);
    assert_eq!(controlled.ctl.done(&["unblock", "--all"]).await, "nothing was blocked\n");
}

#[tokio::test]
async fn an_xsp_is_blocked_and_unblocked_by_hand() {
    let controlled = Controlled::start().await;
    let address = controlled.address("a1");
    let mut channel = Channel::of(controlled.client()).await;
    while channel.xsp != "a1" {
        channel = Channel::of(controlled.client()).await;
    }
    let blocked =
        async || controlled.serving.metrics().await.count("xspgate_endpoint_blocked", &[("endpoint", &address)]);
    controlled.ctl.done(&["block", &address, "--for", "1h"]).await;
    assert_eq!(blocked().await, 1.0);
    let status: Value = serde_json::from_str(&controlled.ctl.done(&["status", "--json"]).await).unwrap();
    let endpoints = status["farms"][0]["endpoints"].as_array().unwrap();
    let one = endpoints.iter().find(|one| one["endpoint"] == *address).unwrap();
    assert!((3500.0..=3600.0).contains(&one["blocked_for"].as_f64().unwrap()), "{one}");
    // What it answers says nothing: it is out because somebody wants it out.
    assert_eq!(controlled.client().send(channel.heartbeat()).await.xsp(), "a1");
    assert_eq!(blocked().await, 1.0);
    for _ in 0..20 {
        assert_ne!(controlled.client().get(PROFILE).await.xsp(), "a1");
    }
    controlled.ctl.done(&["unblock", &address]).await;
    assert_eq!(blocked().await, 0.0);
    eventually("it is back", async || controlled.client().get(PROFILE).await.xsp() == "a1").await;
}

#[tokio::test]
async fn who_is_drained_by_hand_stays_so_over_absence_and_reload() {
    let controlled = Controlled::start().await;
    let address = controlled.address("a1");
    controlled.ctl.done(&["drain", &address]).await;
    let zones = controlled.stage.sim.zones();
    let ips = |with: bool| {
        let xsps = controlled.stage.sim.xsps.iter().filter(move |xsp| with || xsp.name() != "a1");
        xsps.map(|xsp| xsp.address().ip()).collect::<Vec<_>>()
    };
    zones.set_a(ALL, 0, ips(false));
    controlled.said(&["endpoint left", &address]).await;
    let path = controlled.stage.sim.folder().join("logged.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        text.replace("[farm.xsp]", "[farm.other]")
            .replace("[farm.xsp.", "[farm.other.")
            .replace("farm = \"xsp\"", "farm = \"other\""),
    )
    .unwrap();
    assert!(controlled.ctl.done(&["reload"]).await.starts_with("reloaded\nWARNING: farm "));
    assert!(controlled.ctl.done(&["status"]).await.contains("farm xsp"), "what is left of it is shown");
    fs::write(&path, text).unwrap();
    assert!(controlled.ctl.done(&["reload"]).await.starts_with("reloaded\nWARNING: farm "));
    zones.set_a(ALL, 0, ips(true));
    let row = async || {
        let table = controlled.ctl.done(&["status"]).await;
        table.lines().find(|line| line.contains(&address)).unwrap_or_default().to_owned()
    };
    eventually("it is back, and drained", async || row().await.contains("draining")).await;
    for _ in 0..20 {
        assert_ne!(controlled.client().get(PROFILE).await.xsp(), "a1");
    }
    controlled.ctl.done(&["undrain", &address]).await;
    eventually("it is up", async || row().await.contains(" up ")).await;
}

#[tokio::test]
async fn what_can_not_be_done_is_said_with_what_could() {
    let controlled = Controlled::start().await;
    let address = controlled.address("b2");
    let said = controlled.ctl.refused(&["drain", "192.0.2.200"]).await;
    assert!(said.contains("no XSP is called \"192.0.2.200\"") && said.contains(&address), "{said}");
    assert!(controlled.ctl.refused(&["drain", "not an xsp"]).await.contains("is no XSP"));
    assert!(controlled.ctl.refused(&["drain", &address, "--farm", "xps"]).await.contains("there is no farm \"xps\""));
    for level in ["loud==", "inof", ""] {
        let said = controlled.ctl.refused(&["log", level]).await;
        assert!(
            said.contains(&format!("\"{level}\" is not a log level")) && said.contains("levels are off, error"),
            "{said}"
        );
    }
    assert_eq!(controlled.ctl.run(&["block", &address, "--for", "soon"]).await.code, 2);

    let path = controlled.stage.sim.folder().join("logged.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("tries", "trys").replace("[dns]", "[dns]\ntrys = 3")).unwrap();
    let said = controlled.ctl.refused(&["reload"]).await;
    assert!(said.contains("refused, nothing has changed") && said.contains("logged.toml:"), "{said}");
    fs::write(&path, text.replace("[farm.xsp]\n", &format!("[farm.xsp]\ndrain = [{address:?}]\n"))).unwrap();
    assert_eq!(controlled.ctl.done(&["reload"]).await, "reloaded\n");
    assert!(controlled.ctl.refused(&["undrain", &address]).await.contains("STILL drained"));
    let said = controlled.ctl.done(&["unblock", &address]).await;
    assert_eq!(said, format!("{address} of farm xsp: it was not blocked\n"));
    let said = controlled.ctl.done(&["undrain", &controlled.address("a1")]).await;
    assert_eq!(said, format!("{} of farm xsp: it was not drained\n", controlled.address("a1")));
    let ended = controlled.ctl.run(&["unblock"]).await;
    assert!(ended.code == 2 && ended.stderr.contains("--all"), "{}", ended.stderr);
    assert_eq!(controlled.ctl.done(&["unblock", "--all", "--farm", "xsp"]).await, "nothing was blocked\n");
    assert!(controlled.ctl.refused(&["unblock", "--all", "xsp", "--farm", "cti"]).await.contains("two farms"));
    assert_eq!(controlled.client().get(PROFILE).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_last_xsp_that_is_up_is_drained_by_force_alone() {
    let controlled = Controlled::start().await;
    controlled.ctl.done(&["block", &controlled.address("b2")]).await;
    for xsp in ["a1", "a2"] {
        controlled.ctl.done(&["drain", &controlled.address(xsp)]).await;
    }
    let last = controlled.address("b1");
    let said = controlled.ctl.refused(&["drain", &last]).await;
    assert!(said.contains("no other XSP of farm xsp is up") && said.contains("--force"), "{said}");
    assert_eq!(controlled.client().get(PROFILE).await.status, StatusCode::OK);
    controlled.ctl.done(&["drain", &last, "--force"]).await;
    let table = controlled.ctl.done(&["status"]).await;
    assert_eq!(table.lines().filter(|line| line.contains("draining")).count(), 3, "{table}");
}

#[tokio::test]
async fn r_fail_7_a_block_says_how_long_it_lasts_and_what_it_replaces_and_that_it_was_the_last_xsp() {
    let controlled = Controlled::start().await;
    let address = controlled.address("a1");
    let block = async |xsp: &str, time: &str| controlled.ctl.done(&["block", xsp, "--for", time]).await;
    assert_eq!(block(&address, "10m").await, format!("{address} of farm xsp: blocked for 10m\n"));
    let said = block(&address, "1m").await;
    assert_eq!(said, format!("{address} of farm xsp: blocked for 1m, instead of 10m more\n"));
    for xsp in ["a2", "b1"] {
        assert!(!block(&controlled.address(xsp), "1m").await.contains("WARNING"));
    }
    let said = block(&controlled.address("b2"), "1m").await;
    assert!(said.contains("\nWARNING: no other XSP of farm xsp is up: "), "{said}");
    assert_eq!(controlled.client().get(PROFILE).await.status, StatusCode::OK, "one that is blocked answers");
}

#[tokio::test]
async fn a_drain_says_that_an_earlier_one_cuts_even_if_nothing_is_there() {
    let controlled = Controlled::start().await;
    let address = controlled.address("a1");
    let said = controlled.ctl.done(&["drain", &address, "--cut-after", "5m"]).await;
    assert_eq!(said, format!("{address} of farm xsp: drained: nothing is left there; what is there in 5m is cut\n"));
    let said = controlled.ctl.done(&["drain", &address]).await;
    assert!(said.contains("what is there in 5m is cut, as an earlier --cut-after has it"), "{said}");
}

#[tokio::test]
async fn what_the_configuration_drains_and_nobody_is_is_told_of() {
    let controlled = Controlled::start().await;
    let path = controlled.stage.sim.folder().join("logged.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("[farm.xsp]\n", "[farm.xsp]\ndrain = [\"192.0.2.200\"]\n")).unwrap();
    assert_eq!(controlled.ctl.done(&["reload"]).await, "reloaded\n");
    controlled.said(&["WARN", "192.0.2.200", "`drain` names something that is not an XSP"]).await;
    let table = controlled.ctl.done(&["status"]).await;
    assert!(table.contains("WARNING: `drain` in the configuration names no XSP: \"192.0.2.200\""), "{table}");
}

#[tokio::test]
async fn the_log_is_as_loud_as_it_is_told_to_be() {
    let controlled = Controlled::start().await;
    let lines = |what: &str| controlled.serving.program.lines().iter().filter(|line| line.contains(what)).count();
    assert_eq!(lines("DEBUG"), 0);
    let said = controlled.ctl.done(&["log", "xspgate::discover=debug"]).await;
    assert!(said.contains("of all other modules, nothing is logged"), "{said}");
    let said = controlled.ctl.done(&["log", "info,xspgate::discover=debug"]).await;
    assert_eq!(said, "the log's level is info,xspgate::discover=debug until the next restart\n");
    let said = controlled.ctl.done(&["log", "info,xspgate::discovr=debug"]).await;
    assert!(said.contains("WARNING: there is no module xspgate::discovr; there are admin, "), "{said}");
    assert!(said.contains(" discover, "), "{said}");
    let said = controlled.ctl.done(&["log"]).await;
    assert_eq!(said, "the log's level is info, as the configuration says\n");
    controlled.ctl.done(&["log", "info,xspgate::discover=debug"]).await;
    controlled.said(&["DEBUG", "looked up"]).await;
    // However quiet it is, who has done what is in it.
    controlled.ctl.done(&["log", "off"]).await;
    controlled.ctl.done(&["block", &controlled.address("a1"), "--for", "7s", "--farm", "xsp"]).await;
    controlled.said(&["control call", "\"block\"", "7.0", "\"xsp\""]).await;
    assert_eq!(lines("endpoint blocked by hand"), 0);
    controlled.ctl.done(&["log"]).await;
    controlled.ctl.done(&["unblock", &controlled.address("a1")]).await;
    controlled.said(&["unblocked by hand"]).await;
}

#[tokio::test]
async fn who_watches_sees_changes_and_the_end_and_goes_on_watching() {
    let controlled = Controlled::start().await;
    let socket = controlled.ctl.0.display().to_string();
    let mut view = Program::start(&["ctl", "--socket", &socket, "status", "--watch"]);
    let shows = async |parts: &[&str]| {
        let all = |line: &str| parts.iter().all(|part| line.contains(part)).then_some(());
        view.line(&format!("{parts:?}"), all).await;
    };
    let address = controlled.address("a1");
    shows(&[&address, " up "]).await;
    assert!(view.lines().iter().all(|line| !line.contains('\x1b')), "what goes into a pipe is plain");
    controlled.ctl.done(&["drain", &address]).await;
    shows(&[&address, " draining "]).await;
    controlled.ctl.done(&["stop"]).await;
    shows(&["no gateway answers", "trying again"]).await;
    assert_eq!(view.code(), None);
}

#[tokio::test]
async fn a_gateway_that_says_nothing_is_not_waited_for_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let said = Ctl(socket).refused(&["status"]).await;
    assert!(said.contains("has not answered within 5 s"), "{said}");
}

#[tokio::test]
async fn the_socket_is_found_by_the_environment_unless_it_is_named() {
    let controlled = Controlled::start().await;
    let asked = |arguments: &[&str], variable: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xspgate"));
        let output = command.arg("ctl").args(arguments).env("XSPGATE_SOCKET", variable).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let socket = controlled.ctl.0.display().to_string();
    let (by_name, by_variable, nowhere) = tokio::task::spawn_blocking(move || {
        let nowhere = "/nowhere/control.sock";
        (asked(&["--socket", &socket, "status"], nowhere), asked(&["status"], &socket), asked(&["status"], nowhere))
    })
    .await
    .unwrap();
    assert!(by_name.contains("farm xsp"), "{by_name}");
    assert!(by_variable.contains("farm xsp"), "{by_variable}");
    assert!(nowhere.contains("no gateway answers at /nowhere/control.sock"), "{nowhere}");
}

#[tokio::test]
async fn a_stop_is_asked_for_once_and_then_insisted_on() {
    let mut controlled = Controlled::start().await;
    let channel = Channel::of(controlled.client()).await;
    assert!(controlled.ctl.done(&["stop"]).await.contains("stopping"));
    controlled.said(&["stopping; a second signal ends at once"]).await;
    controlled.ctl.done(&["stop"]).await;
    eventually("the end", async || controlled.serving.program.code() == Some(0)).await;
    assert!(!controlled.ctl.0.exists(), "the socket is left behind");
    drop(channel);
}

#[tokio::test]
async fn only_the_owner_and_root_are_heard() {
    let controlled = Controlled::start().await;
    assert_eq!(fs::metadata(&controlled.ctl.0).unwrap().permissions().mode() & 0o777, 0o600);
    // Whoever could open it all the same: this needs another user, which only root can be.
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if !is_root {
        eprintln!("skipped: only root can try it as another user");
        return;
    }
    let program = controlled.stage.sim.folder().join("xspgate");
    fs::copy(env!("CARGO_BIN_EXE_xspgate"), &program).unwrap();
    for path in [controlled.stage.sim.folder(), &controlled.ctl.0, &program] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let mut command = Command::new(&program);
    command.args(["ctl", "--socket"]).arg(&controlled.ctl.0).arg("stop").uid(65_534).gid(65_534);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("its own user and root"), "{said}");
    controlled.said(&["WARN", "refused", "65534"]).await;
    assert_eq!(controlled.client().get(PROFILE).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_socket_belongs_to_one_gateway() {
    let (stage, text) = Stage::with(|sim, text| {
        let socket = sim.folder().join("control.sock");
        // One that a gateway has left behind.
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        text.set("[control]", "socket", socket.display().to_string());
        text.clone()
    })
    .await;
    let path = stage.sim.folder().join("second.toml");
    fs::write(&path, Text::to_string(&text)).unwrap();
    let Err(said) = Gateway::try_start(&path).await else { panic!("two gateways have one socket") };
    assert!(said.contains("another gateway has its socket"), "{said}");
    // What is no socket is not removed for one.
    let precious = stage.sim.folder().join("affinity.key");
    let mut text = text.clone();
    text.set("[control]", "socket", precious.display().to_string());
    let before = fs::read(&precious).unwrap();
    fs::write(&path, text.to_string()).unwrap();
    let Err(said) = Gateway::try_start(&path).await else { panic!("a key has become a socket") };
    assert!(said.contains("can't make the socket"), "{said}");
    assert_eq!(fs::read(&precious).unwrap(), before);
    assert_eq!(stage.client().get(PROFILE).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_a_gateway_that_hangs_has_not_begun_is_dropped_when_its_caller_has_given_up() {
    let mut controlled = Controlled::start().await;
    let mut channel = Channel::of(controlled.client()).await;
    let xsp = controlled.address(&channel.xsp);
    controlled.serving.program.signal("STOP");
    let ctl = &controlled.ctl;
    let (cut, drain) = (["cut", &*xsp], ["drain", &*xsp]);
    let (stopped, cut, drained) = tokio::join!(ctl.refused(&["stop"]), ctl.refused(&cut), ctl.refused(&drain));
    for said in [stopped, cut, drained] {
        assert!(
            said.contains("has not answered within 5 s") && said.contains("it drops the call when it goes on"),
            "{said}"
        );
    }
    controlled.serving.program.signal("CONT");
    for what in ["stop", "cut", "drain"] {
        controlled
            .said(&["control call refused", &format!("\"what\":\"{what}\""), "has hung up before it was begun"])
            .await;
    }
    let status: Value = serde_json::from_str(&controlled.ctl.done(&["status", "--json"]).await).unwrap();
    let endpoints = status["farms"][0]["endpoints"].as_array().unwrap();
    assert!(endpoints.iter().all(|endpoint| endpoint["leaving"] == false), "{status}");
    channel.receives(&controlled.stage, "event").await;
    assert_eq!(controlled.serving.program.code(), None);
}

#[tokio::test]
async fn a_restart_at_a_gateway_that_hangs_is_told_of_soon_and_comes_to_the_right_end() {
    let controlled = Controlled::start().await;
    controlled.serving.program.signal("STOP");
    let socket = controlled.ctl.0.display().to_string();
    let asking = Program::start(&["ctl", "--socket", &socket, "reload"]);
    asking
        .line("that it waits", |line| {
            ["`reload` has taken 5 s so far", "waiting up to 30 s"].iter().all(|part| line.contains(part)).then_some(())
        })
        .await;
    controlled.serving.program.signal("CONT");
    asking.line("what has come of it", |line| line.contains("nothing has changed").then_some(())).await;
}

#[tokio::test]
async fn a_socket_that_is_none_is_said_to_be_what_it_is_and_others_are_named_as_what_they_may_be() {
    let controlled = Controlled::start().await;
    let folder = controlled.stage.sim.folder();
    let socket = folder.join("control.sock");
    for (path, expected) in [
        (
            folder.to_owned(),
            format!("is a folder; sockets in that folder, of this or of other programs: {}", socket.display()),
        ),
        (folder.join("logged.toml"), "is a file, and no socket".to_owned()),
        (
            folder.join("contrl.sock"),
            "contrl.sock does not exist; sockets in that folder, of this or of other programs: ".to_owned(),
        ),
    ] {
        let said = Ctl(path).refused(&["status"]).await;
        assert!(said.contains(&expected) && !said.contains("did you mean"), "{said}");
    }
}

#[tokio::test]
async fn a_full_disk_is_no_success_and_a_reader_that_has_enough_is_no_failure() {
    let controlled = Controlled::start().await;
    let command = |redirection: &str| {
        let (program, socket) = (env!("CARGO_BIN_EXE_xspgate"), controlled.ctl.0.display().to_string());
        let script = format!("{program} ctl --socket {socket} status {redirection}");
        tokio::task::spawn_blocking(move || {
            Command::new("bash").args(["-o", "pipefail", "-c", &script]).output().unwrap()
        })
    };
    let full = command("> /dev/full").await.unwrap();
    let said = String::from_utf8_lossy(&full.stderr).into_owned();
    assert_eq!(full.status.code(), Some(1));
    assert!(said.contains("error: standard output can't be written: No space left on device"), "{said}");
    let enough = command("| true").await.unwrap();
    assert_eq!((enough.status.code(), &*enough.stderr), (Some(0), &b""[..]));
}

#[tokio::test]
async fn a_restart_without_the_program_says_where_it_was_and_that_all_goes_on() {
    let stage = Stage::start().await;
    let program = stage.sim.folder().join("program");
    fs::copy(env!("CARGO_BIN_EXE_xspgate"), &program).unwrap();
    let (config, socket) = stage.with_control();
    let gateway = Program::spawn(Command::new(&program).args(["run", &config]));
    gateway.line("that it serves", |line| line.starts_with("serving /metrics").then_some(())).await;
    fs::remove_file(&program).unwrap();
    let said = Ctl(socket).refused(&["restart"]).await;
    let parts =
        [format!("can't start {}: No such file", program.display()), "help: put the program there again".to_owned()];
    assert!(parts.iter().all(|part| said.contains(part)), "{said}");
}
