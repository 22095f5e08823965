//! What an operator reads when a file, a limit or a name server is in the way: the cause, and the command that mends it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use xspgate::sim::site::{CTI_SRV, Layout};

use crate::harness::{Program, Stage, examine};

/// A user and a group that own nothing.
const NOBODY: &str = "65534";

/// What `check` says of the stage's file to somebody who is not root; `None`: it can't be tried here.
fn checked_as_nobody(config: &Path) -> Option<String> {
    let program = env!("CARGO_BIN_EXE_xspgate");
    let mut command = Command::new("setpriv");
    let output = command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", program, "check"]).arg(config);
    let output = output.output().ok().filter(|output| output.status.code() == Some(2));
    if output.is_none() {
        eprintln!("left out: it takes root and setpriv to be somebody else");
    }
    output.map(|output| String::from_utf8(output.stderr).unwrap())
}

#[tokio::test]
async fn a_file_that_the_process_may_not_read_comes_with_the_command_that_mends_it() {
    let stage = Stage::start().await;
    let (folder, config) = (stage.sim.folder(), stage.sim.folder().join("xspgate.toml"));
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mode = if path.is_dir() { 0o755 } else { 0o640 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        // Without root there is nobody else to be.
        drop(chown(&path, None, NOBODY.parse().ok()));
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let private = folder.join("private");
    fs::create_dir(&private).unwrap();
    fs::rename(folder.join("public-key.pem"), private.join("public-key.pem")).unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
    let text = fs::read_to_string(&config).unwrap().replace("public-key.pem", "private/public-key.pem");
    fs::write(&config, text).unwrap();
    let Some(said) = checked_as_nobody(&config) else { return };
    let shown = private.display();
    assert!(said.contains("private/public-key.pem can't be read: Permission denied\n"), "{said}");
    assert!(said.contains(&format!("may not enter {shown} (drwx------ root root): `chgrp ")), "{said}");
    let command = said.split('`').nth(1).unwrap();
    assert!(Command::new("sh").args(["-c", command]).status().unwrap().success(), "{command}");
    assert_eq!(checked_as_nobody(&config), None, "what the command mends is mended");
}

#[tokio::test]
async fn a_missing_file_is_named_with_what_is_there_instead() {
    let stage = Stage::start().await;
    let folder = stage.sim.folder();
    let text = fs::read_to_string(folder.join("xspgate.toml")).unwrap();
    let said = |text: &str| {
        fs::write(folder.join("other.toml"), text).unwrap();
        Program::run_in(folder, &["check", "other.toml"]).stderr
    };
    let typo = said(&text.replace("public-key.pem", "public-kye.pem"));
    let expected = format!("help: did you mean \"public-key.pem\"? It is in {}\n", folder.display());
    assert!(
        typo.contains("public-kye.pem can't be read: No such file or directory\n") && typo.contains(&expected),
        "{typo}"
    );
    let elsewhere = said(&text.replace(&format!("{}/public-key.pem", folder.display()), "/nowhere/tls/public-key.pem"));
    assert!(elsewhere.contains("help: there is no folder /nowhere\n"), "{elsewhere}");
    let unnamed = Program::run_in(folder, &["check", "xspgatee.toml"]).stderr;
    assert!(unnamed.contains("help: did you mean \"xspgate.toml\"?"), "{unnamed}");
}

#[tokio::test]
async fn a_limit_of_open_files_that_is_too_low_is_said_first_and_once() {
    let stage = Stage::start().await;
    let mut text = stage.sim.config(Layout::OneSite);
    // A warning, which is not to come first.
    let ca = stage.sim.folder().join("internal-ca.pem").display().to_string();
    text.set("[trust.unused]", "ca", ca);
    let config = stage.sim.folder().join("limited.toml");
    fs::write(&config, text.to_string()).unwrap();
    let script = format!("ulimit -n 512; exec {} run {}", env!("CARGO_BIN_EXE_xspgate"), config.display());
    let program = Program::spawn(Command::new("sh").args(["-c", &script]));
    program.line("what is served", |line| line.starts_with("serving HTTPS").then_some(())).await;
    let said: Vec<String> = program.lines().into_iter().filter(|line| !line.starts_with('{')).collect();
    assert!(said[0].starts_with("warning: 512 open files are allowed, and limits.connections = "), "{said:#?}");
    assert!(said[1].starts_with("help: `ulimit -n "), "{said:#?}");
    assert_eq!(said.iter().filter(|line| line.contains("open files")).count(), 1, "{said:#?}");
}

#[tokio::test]
async fn a_state_folder_that_can_not_be_written_says_why() {
    let stage = Stage::start().await;
    let mut text = stage.sim.config(Layout::OneSite);
    let folder = stage.sim.folder().join("xspgate.toml/state");
    text.set("", "state_dir", folder.display().to_string());
    let config = stage.sim.folder().join("stateless.toml");
    fs::write(&config, text.to_string()).unwrap();
    let program = Program::start(&["run", config.to_str().unwrap()]);
    let saved = |line: &str| line.contains("can't be saved").then(|| line.to_owned());
    let said = program.line("what became of the state", saved).await;
    assert!(said.contains("(os error 20)") && said.contains("xspgate.toml is not a folder"), "{said}");
}

#[tokio::test]
async fn an_outage_of_dns_is_told_by_its_cause_and_asks_nobody_to_publish() {
    let (stage, closed) = Stage::unready(|sim, text| {
        let closed = sim.address(55);
        text.set("[dns]", "servers", vec![closed.to_string()]).remove("[farm.xsp]", "a");
        text.set("[farm.xsp]", "srv", CTI_SRV);
        closed
    })
    .await;
    let said = examine(&stage, &["xspgate.toml"]).await;
    let failed: Vec<_> = said.with("fail").into_iter().chain(said.with("warn")).filter(|f| f.check == "dns").collect();
    assert!(!failed.is_empty());
    for finding in failed {
        assert!(finding.found.contains(&format!("{closed}: connection refused")), "{finding:?}");
        assert!(!finding.help.as_deref().unwrap_or_default().contains("publish"), "{finding:?}");
    }
}

#[tokio::test]
async fn places_that_can_not_be_written_are_named_by_check() {
    let stage = Stage::start().await;
    let folder = stage.sim.folder();
    let base = stage.sim.config(Layout::OneSite).to_string().replace("[log]\naccess = false", "[log]\naccess = true");
    let check = |text: String| {
        fs::write(folder.join("placed.toml"), text).unwrap();
        let ended = Program::run_in(folder, &["check", "placed.toml"]);
        (ended.code, ended.stderr)
    };
    let with_log = |path: &str| base.replace("[log]\n", &format!("[log]\naccess_file = \"{path}\"\n"));
    let with_socket = |path: &str| format!("{base}\n[control]\nsocket = \"{path}\"\n");
    let with_state = |path: &str| format!("state_dir = \"{path}\"\n{base}");
    fs::create_dir(folder.join("folder")).unwrap();
    fs::write(folder.join("file"), "").unwrap();
    std::os::unix::fs::symlink("file", folder.join("link")).unwrap();
    assert!(Command::new("mkfifo").arg(folder.join("pipe")).status().unwrap().success());
    fs::create_dir(folder.join("open")).unwrap();
    fs::set_permissions(folder.join("open"), fs::Permissions::from_mode(0o777)).unwrap();
    let both = |path: &str| with_socket(path).replace("[log]\n", &format!("[log]\naccess_file = \"{path}\"\n"));
    let long = format!("/run/{}/control.sock", "x".repeat(100));
    for (text, code, said) in [
        (with_log("access.log"), 0, ""),
        (with_log("placed.toml"), 2, "placed.toml is a file that the gateway reads"),
        (with_log("affinity.key"), 2, "affinity.key is a file that the gateway reads"),
        (with_log("folder"), 2, "folder is a folder"),
        (with_log("missing/access.log"), 0, "missing/access.log can't be written: No such file or directory"),
        (with_log("missing/access.log"), 0, "help: make the folder: `install -d -o xspgate "),
        (with_log("/var/log/xspgate/access.log"), 0, ""),
        (with_socket("control.sock"), 0, ""),
        (with_socket("/run/xspgate/control.sock"), 0, ""),
        (with_socket("file"), 2, "at the control socket's path"),
        (with_socket("file"), 2, "is a file that is no socket"),
        (with_socket("folder"), 2, "is a folder"),
        (with_socket("link"), 2, "is a symbolic link"),
        (with_socket("missing/control.sock"), 0, "the control socket "),
        (with_socket(&long), 2, "has 118 bytes, and a Unix socket's has 107 at most"),
        (with_socket("folder"), 2, "help: name a path in it, such as "),
        (both("both.sock"), 2, "both.sock is that of [log] access_file"),
        (with_log("pipe"), 2, "pipe is a pipe, whose reader could stop the log"),
        (with_log("/dev/null"), 0, ""),
        (with_log("open/access.log"), 0, "every user of this machine may write to the folder "),
        (with_socket("open/control.sock"), 0, "every user of this machine may write to the folder "),
        (with_state("open"), 0, "help: chmod o-w "),
        (with_state("/proc"), 2, "state_dir /proc is the kernel's, and holds no files"),
        (with_state("folder"), 0, ""),
        (with_state("made/when/needed"), 0, ""),
        (with_state("file"), 2, "file is not a folder"),
    ] {
        let (ended, stderr) = check(text.clone());
        assert_eq!(ended, code, "{said}: {stderr}\n{text}");
        let is_silent = said.is_empty() && stderr.is_empty();
        assert!(is_silent || !said.is_empty() && stderr.contains(said), "{said}: {stderr}");
    }
}

#[tokio::test]
async fn texts_that_windows_has_written_are_read() {
    let stage = Stage::start().await;
    let (folder, written) =
        (stage.sim.folder(), ["xspgate.toml", "affinity.key", "internal-ca.pem", "public-chain.pem"]);
    for name in written {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        fs::write(folder.join(name), format!("\u{feff}{}", text.replace('\n', "\r\n"))).unwrap();
    }
    let ranges = "\u{feff}# date: 2026-11-01\r\n198.51.100.0/24\r\n";
    fs::write(folder.join("ranges.txt"), ranges).unwrap();
    let text = fs::read_to_string(folder.join("xspgate.toml")).unwrap();
    let text =
        text.replace("[[https]]\r\n", "[webex]\r\nranges = \"ranges.txt\"\r\n[[https]]\r\nallow = [\"webex-usa\"]\r\n");
    fs::write(folder.join("xspgate.toml"), text).unwrap();
    let ended = Program::run_in(folder, &["check", "xspgate.toml"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
}
