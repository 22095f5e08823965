//! What may be in the place of a file or a socket: pipes that nobody writes to, folders, devices without an end, what a killed
//! process has left. Nothing of it may hang a start or go unnamed.

use std::fs::{self, set_permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use xspgate::sim::site::{Layout, Simulation, Text};

use crate::harness::{Ended, Program, Serving, Stage, eventually};

/// A user and a group that own nothing.
const NOBODY: u32 = 65_534;

/// What is put in a file's place, and what it is called.
const ODDITIES: [(&str, &str); 3] = [("pipe", "a pipe"), ("folder", "a folder"), ("endless", "a device")];

fn put(what: &str, path: &Path) {
    match what {
        "pipe" => assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
        "folder" => fs::create_dir(path).unwrap(),
        "endless" => symlink("/dev/zero", path).unwrap(),
        _ => panic!("{what}?"),
    }
}

fn run(stage: &Stage, arguments: &[&str]) -> Ended {
    Program::run_in(stage.sim.folder(), arguments)
}

/// Everything that names a file.
fn named(sim: &Simulation, text: &mut Text) {
    sim.serve_cti(text);
    let crl = sim.folder().join("revoked.pem").display().to_string();
    text.set("[trust.webex]", "crl", crl);
}

#[tokio::test]
async fn what_is_no_file_is_named_and_holds_up_nothing() {
    let stage = Stage::start().await;
    let mut text = stage.sim.config(Layout::OneSite);
    named(&stage.sim, &mut text);
    let text = text.to_string();
    let path = |name: &str| stage.sim.folder().join(name);
    for (what, called) in ODDITIES {
        put(what, &path(what));
        for command in ["check", "run"] {
            let ended = run(&stage, &[command, what]);
            assert!(ended.code == 2 && ended.stderr.contains(&format!("this is {called}")), "{}", ended.stderr);
        }
        let files: Vec<_> = text.split('"').filter(|value| value.contains("/xspgate-sim-")).collect();
        assert!(files.len() >= 8, "{files:?}");
        for file in files {
            fs::write(path("odd.toml"), text.replace(file, &path(what).display().to_string())).unwrap();
            let ended = run(&stage, &["run", "odd.toml"]);
            let said = format!("/{what} is {called}, not a file\n");
            assert!(ended.code == 2 && ended.stderr.contains(&said), "{file}: {}", ended.stderr);
        }
        let inspected = run(&stage, &["certs", "inspect", what]);
        assert!(inspected.code == 2 && inspected.stderr.contains(&format!("is {called}, not a file")));
        let (password, ca): ([&str; 4], _) = (["--user", "a@example.com", "--password-file", what], ["--ca", what]);
        for options in [&password[..], &ca] {
            let ended = run(&stage, &[&["doctor", "xspgate.toml"], options].concat());
            assert!(ended.stderr.contains(&format!("is {called}, not a file")), "{options:?}: {}", ended.stderr);
        }
    }
}

#[tokio::test]
async fn what_the_program_is_started_with_is_read_as_a_file() {
    let stage = Stage::start().await;
    let program = env!("CARGO_BIN_EXE_xspgate");
    for script in [
        format!("cat xspgate.toml | {program} check /dev/stdin"),
        format!("{program} check -c /dev/stdin < xspgate.toml"),
        format!("cat xspgate.toml | {program} check /dev/fd/3 3<&0"),
    ] {
        let output = Command::new("sh").args(["-c", &script]).current_dir(stage.sim.folder()).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let endless = format!("{program} check /dev/stdin < /dev/zero");
    let output = Command::new("sh").args(["-c", &endless]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("larger than 1 MiB"));
}

#[tokio::test]
async fn answers_that_could_not_be_saved_are_saved_once_they_can_be() {
    let stage = Stage::start().await;
    let state = stage.sim.folder().join("state");
    let file = state.join("discovery.json");
    fs::create_dir(&state).unwrap();
    let with_state = |text: String| format!("state_dir = {:?}\n{text}", state.display().to_string());
    // A pipe is not waited for, and makes way.
    put("pipe", &file);
    let serving = Serving::start_changed(&stage, &with_state).await;
    let unused = |line: &str| line.contains("are not used").then(|| line.to_owned());
    let said = serving.program.line("what became of the pipe", unused).await;
    assert!(said.contains("it is a pipe, not a file"), "{said}");
    eventually("saved answers", async || file.is_file()).await;
    drop(serving);
    fs::remove_file(&file).unwrap();
    put("folder", &file);
    let serving = Serving::start_changed(&stage, &with_state).await;
    let unsaved = async || serving.metrics().await.value("xspgate_state_unsaved", &[]);
    eventually("a failure", async || unsaved().await == Some(1.0)).await;
    let failed = |line: &str| line.contains("can't be saved").then(|| line.to_owned());
    let said = serving.program.line("what fails", failed).await;
    assert!(said.contains("(os error 21)") && said.contains(&file.display().to_string()), "{said}");
    fs::remove_dir(&file).unwrap();
    eventually("saved answers", async || file.is_file() && unsaved().await == Some(0.0)).await;
    let again = |line: &str| line.contains("are saved again").then_some(());
    serving.program.line("that they are saved again", again).await;
}

/// The stage's files and folder are `owner`'s from now on.
fn give(stage: &Stage, owner: u32) -> std::io::Result<()> {
    for entry in fs::read_dir(stage.sim.folder()).unwrap() {
        chown(entry.unwrap().path(), Some(owner), Some(owner))?;
    }
    chown(stage.sim.folder(), Some(owner), Some(owner))?;
    set_permissions(stage.sim.folder(), fs::Permissions::from_mode(0o755))
}

#[tokio::test]
async fn a_socket_that_a_killed_process_of_somebody_else_has_left_is_taken_over_or_its_owner_is_named() {
    let stage = Stage::start().await;
    let (config, socket) = stage.with_control();
    let program = env!("CARGO_BIN_EXE_xspgate");
    let as_nobody = |command: &str| {
        let mut setpriv = Command::new("setpriv");
        let id = NOBODY.to_string();
        setpriv.args(["--reuid", &id, "--regid", &id, "--clear-groups", program, command, &config]);
        setpriv
    };
    let is_possible =
        give(&stage, NOBODY).is_ok() && as_nobody("check").output().is_ok_and(|done| done.status.success());
    if !is_possible {
        return eprintln!("left out: it takes root and setpriv to be somebody else");
    }
    let leave = || {
        drop(UnixListener::bind(&socket).unwrap());
        set_permissions(&socket, fs::Permissions::from_mode(0o600)).unwrap();
    };
    leave();
    let serving = Serving::around(Program::spawn(&mut as_nobody("run"))).await;
    drop(serving);
    fs::remove_file(&socket).unwrap();
    let refused = || {
        let output = as_nobody("run").output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    // One that is there, though nobody else may ask it.
    let there = UnixListener::bind(&socket).unwrap();
    set_permissions(&socket, fs::Permissions::from_mode(0o600)).unwrap();
    let (code, said) = refused();
    assert!(
        code == Some(1) && said.contains("another gateway has its socket at") && said.contains("run by root"),
        "{said}"
    );
    drop(there);
    fs::remove_file(&socket).unwrap();
    leave();
    chown(stage.sim.folder(), Some(0), Some(0)).unwrap();
    let (code, said) = refused();
    assert!(code == Some(1) && said.contains("a gateway that root has run has left its socket"), "{said}");
    assert!(said.contains(&format!("`sudo rm {}`", socket.display())), "{said}");
    fs::remove_file(&socket).unwrap();
}
