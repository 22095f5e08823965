//! The log as its readers find it: one frame for every line, text for people, and a file of its own for the access log.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use http::StatusCode;
use rustix::fs::{CWD, FileType, Mode};
use serde_json::Value;
use xspgate::sim::site::Layout;

use crate::harness::{Client, Ctl, PROFILE, Program, Serving, Stage, eventually};

/// A gateway with a folder for logs, and what is asked of it by hand.
struct Logging {
    stage: Stage,
    serving: Serving,
    ctl: Ctl,
    file: PathBuf,
}

impl Logging {
    async fn start() -> Self {
        let stage = Stage::start().await;
        let (file, socket) = (stage.sim.folder().join("access.log"), stage.sim.folder().join("control.sock"));
        let (log, control) = (format!("[log]\naccess_file = {file:?}"), format!("\n[control]\nsocket = {socket:?}\n"));
        let changed = |text: String| text.replace("[log]", &log) + &control;
        let serving = Serving::start_changed(&stage, changed).await;
        Self { stage, serving, ctl: Ctl(socket), file }
    }

    async fn asks(&self, path: &str) -> StatusCode {
        Client::new(self.serving.https[0], self.stage.sim.pki.public_roots()).get(path).await.status
    }
}

/// The paths that the access log at `file` tells of, in order.
fn paths(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| line["url.path"].as_str().unwrap().to_owned()).collect()
}

async fn told(file: &Path, expected: &[&str]) {
    eventually(&format!("{expected:?} in {}", file.display()), async || paths(file) == expected).await;
}

#[tokio::test]
async fn every_line_has_the_same_frame() {
    let stage = Stage::start().await;
    let serving = Serving::start_changed(&stage, |text| text.replace("level = \"warn\"", "level = \"debug\"")).await;
    stage.xsp("a1").kill().await;
    for _ in 0..10 {
        let mut client = Client::new(serving.https[0], stage.sim.pki.public_roots());
        assert_eq!(client.get(PROFILE).await.status, StatusCode::OK);
    }
    serving.event("access").await;
    let lines = serving.program.output();
    let mut kinds = BTreeSet::new();
    for line in &lines {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("not one JSON object: {line}"));
        let text = |field: &str| line[field].as_str().unwrap_or_else(|| panic!("no {field}: {line}"));
        let time = text("time").as_bytes();
        assert!(time.len() == "2026-12-01T09:30:00.000250Z".len() && time[10] == b'T' && time[26] == b'Z', "{line}");
        assert!(["ERROR", "WARN", "INFO", "DEBUG"].contains(&text("level")), "{line}");
        assert!(text("target").starts_with("xspgate::"), "{line}");
        assert!(line["event"].is_string() != line["message"].is_string(), "{line}");
        assert!(line.get("timestamp").is_none(), "{line}");
        kinds.insert(line["event"].is_string());
    }
    assert_eq!(kinds.len(), 2, "messages and access lines: {lines:?}");
}

#[tokio::test]
async fn a_log_for_people_has_readable_access_lines() {
    let stage = Stage::in_order(|_, _| ()).await;
    let changed = |text: String| text.replace("[log]", "[log]\nformat = \"human\"");
    let serving = Serving::start_changed(&stage, changed).await;
    stage.xsp("a1").kill().await;
    let mut client = Client::new(serving.https[0], stage.sim.pki.public_roots());
    assert_eq!(client.get(&format!("{PROFILE}?token=secret")).await.status, StatusCode::OK);
    let line = serving.program.line("the request", |line| line.contains("xspgate::access: ").then(|| line.to_owned()));
    let line = line.await;
    let (a1, a2) = (stage.xsp("a1").address(), stage.xsp("a2").address());
    for part in [&format!(" INFO xspgate::access: GET {PROFILE} 200 in "), " client=127.0.0.1 ", " origin=xsp "] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let tried = line.split_once(" tried=[").unwrap().1.split_once(']').unwrap().0;
    let (first, second) = tried.split_once(", ").unwrap();
    assert!(first.starts_with(&format!("{a1} random refused ")) && second.starts_with(&format!("{a2} ")), "{line}");
    assert!(!line.contains("secret") && line.is_ascii(), "{line}");
}

#[tokio::test]
async fn an_access_file_is_followed_through_its_rotations() {
    let logging = Logging::start().await;
    let (file, old) = (&logging.file, logging.file.with_extension("log.1"));
    logging.asks("/one").await;
    told(file, &["/one"]).await;
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o640);
    // Nobody says so: it is noticed before the next line.
    fs::rename(file, &old).unwrap();
    logging.asks("/two").await;
    told(file, &["/two"]).await;
    assert_eq!(paths(&old), ["/one"]);
    // As logrotate does it: another file is there already, and the gateway is asked.
    fs::rename(file, &old).unwrap();
    fs::write(file, "").unwrap();
    let said = logging.ctl.done(&["reopen"]).await;
    assert!(said.contains(&format!("{} reopened", file.display())), "{said}");
    let held = held_files(logging.serving.program.id());
    assert!(held.contains(file) && !held.contains(&old), "{held:?}");
    logging.asks("/three").await;
    told(file, &["/three"]).await;
    // Truncated in its place.
    fs::write(file, "").unwrap();
    logging.asks("/four").await;
    told(file, &["/four"]).await;
    let access = logging.serving.program.output().iter().filter(|line| line.contains("\"access\"")).count();
    assert_eq!(access, 0, "it is no part of standard output");
}

#[tokio::test]
async fn an_access_file_that_can_not_be_opened_anew_loses_nothing() {
    let logging = Logging::start().await;
    let (file, old) = (&logging.file, logging.file.with_extension("log.1"));
    logging.asks("/one").await;
    told(file, &["/one"]).await;
    fs::rename(file, &old).unwrap();
    fs::create_dir(file).unwrap();
    let said = logging.ctl.refused(&["reopen"]).await;
    assert!(said.contains("Is a directory") && said.contains("stays in use"), "{said}");
    logging.asks("/two").await;
    told(&old, &["/one", "/two"]).await;
    let warned = |line: &str| (line.contains("access_file") && line.contains("Is a directory")).then_some(());
    logging.serving.program.line("what is wrong", warned).await;
    // A FIFO that nobody reads holds up nothing either.
    fs::remove_dir(file).unwrap();
    rustix::fs::mknodat(CWD, file, FileType::Fifo, Mode::RWXU, 0).unwrap();
    logging.ctl.refused(&["reopen"]).await;
    logging.asks("/three").await;
    told(&old, &["/one", "/two", "/three"]).await;
    fs::remove_file(file).unwrap();
    logging.ctl.done(&["reopen"]).await;
    logging.asks("/four").await;
    told(file, &["/four"]).await;
}

#[tokio::test]
async fn an_access_file_is_opened_anew_under_load() {
    let logging = Logging::start().await;
    let busy = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut client = Client::new(logging.serving.https[0], logging.stage.sim.pki.public_roots());
        let busy = std::sync::Arc::clone(&busy);
        clients.spawn(async move {
            let mut asked = 0;
            while busy.load(std::sync::atomic::Ordering::Relaxed) {
                assert_eq!(client.get("/nothing").await.status, StatusCode::NOT_FOUND);
                asked += 1;
            }
            asked
        });
    }
    let rotated = |number| logging.file.with_extension(format!("log.{number}"));
    for number in 1..=5 {
        eventually("lines in the file", async || fs::metadata(&logging.file).is_ok_and(|file| file.len() > 0)).await;
        fs::rename(&logging.file, rotated(number)).unwrap();
        logging.ctl.done(&["reopen"]).await;
    }
    busy.store(false, std::sync::atomic::Ordering::Relaxed);
    let asked: usize = clients.join_all().await.into_iter().sum();
    let files: Vec<_> = (1..=5).map(rotated).chain([logging.file.clone()]).collect();
    let lines = async || files.iter().map(|file| paths(file).len()).sum::<usize>();
    eventually("a line for each request, in one of the files", async || lines().await == asked).await;
}

#[tokio::test]
async fn a_file_that_was_rotated_is_let_go_though_nothing_is_written() {
    let logging = Logging::start().await;
    let (file, old) = (&logging.file, logging.file.with_extension("log.1"));
    logging.asks("/one").await;
    told(file, &["/one"]).await;
    fs::rename(file, &old).unwrap();
    eventually("the new file is open, the old one is not", async || {
        let held = held_files(logging.serving.program.id());
        held.contains(file) && !held.contains(&old)
    })
    .await;
}

#[tokio::test]
async fn a_new_access_file_may_be_read_by_its_group_whatever_the_umask() {
    let stage = Stage::start().await;
    let (config, file) = (stage.sim.folder().join("logging.toml"), stage.sim.folder().join("access.log"));
    let mut text = stage.sim.config(Layout::OneSite);
    text.set("[log]", "access", true).set("[log]", "access_file", file.display().to_string());
    fs::write(&config, text.to_string()).unwrap();
    // As the service does.
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "umask 077; exec \"$0\" run \"$1\"", env!("CARGO_BIN_EXE_xspgate")]).arg(&config);
    let _serving = Serving::around(Program::spawn(&mut command)).await;
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
}

#[tokio::test]
async fn where_there_is_no_access_file_there_is_nothing_to_reopen() {
    let stage = Stage::start().await;
    let socket = stage.sim.folder().join("control.sock");
    let section = format!("\n[control]\nsocket = {socket:?}\n");
    let _serving = Serving::start_changed(&stage, |text| text + &section).await;
    let said = Ctl(socket).done(&["reopen"]).await;
    assert!(said.contains("no access_file"), "{said}");
}

#[tokio::test]
async fn an_access_file_that_can_not_be_made_is_a_reason_not_to_start() {
    let stage = Stage::start().await;
    let (config, file) = (stage.sim.folder().join("logging.toml"), stage.sim.folder().join("missing/access.log"));
    let mut text = stage.sim.config(Layout::OneSite);
    text.set("[log]", "access", true).set("[log]", "access_file", file.display().to_string());
    fs::write(&config, text.to_string()).unwrap();
    let ended = Program::run_with(&[], &["run", config.to_str().unwrap()]);
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    let expected = format!("[log] access_file {} can't be written to: No such file or directory", file.display());
    assert!(ended.stderr.contains(&expected), "{}", ended.stderr);
}

/// What that process has open, by path.
fn held_files(pid: u32) -> Vec<PathBuf> {
    let folder = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    folder.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok()).collect()
}
