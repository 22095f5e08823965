//! What a service manager hears, and when.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use crate::handover::Heir;
use crate::harness::{Ctl, DEADLINE, Program, Stage, eventually, signal};

/// Plays the service manager.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    /// Waits for a notice that holds `what` in a line of its own, and returns all that came until then.
    fn hears(&self, what: &str) -> Vec<String> {
        let mut heard = Vec::new();
        while !heard.iter().any(|line| line == what) {
            heard.extend(self.hears_next());
        }
        heard
    }

    /// The lines of the next notice.
    fn hears_next(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("a notice");
        String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn the_service_manager_is_told_how_the_process_does() {
    let stage = Stage::start().await;
    let folder = stage.sim.folder();
    let path = folder.join("notify.sock");
    let manager = Manager { socket: UnixDatagram::bind(&path).unwrap() };
    manager.socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let socket = path.display().to_string();
    let period = Duration::from_millis(600).as_micros().to_string();
    let environment = [("NOTIFY_SOCKET", &*socket), ("WATCHDOG_USEC", &*period)];
    let config = folder.join("xspgate.toml").display().to_string();
    let program = Program::start_in(&environment, &["run", &config]);
    let heard = tokio::task::spawn_blocking(move || {
        let mut heard = vec![manager.hears("READY=1")];
        for _ in 0..3 {
            manager.hears("WATCHDOG=1");
        }
        program.signal("HUP");
        heard.push(manager.hears("RELOADING=1"));
        heard.push(manager.hears("READY=1"));
        program.signal("TERM");
        heard.push(manager.hears("STOPPING=1"));
        heard
    });
    let heard = heard.await.unwrap();
    assert!(heard[0].iter().all(|line| line != "STOPPING=1"), "{heard:?}");
    assert!(heard[1].iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "{heard:?}");
    assert!(heard[3].iter().any(|line| line.starts_with("EXTEND_TIMEOUT_USEC=")), "{heard:?}");
}

#[tokio::test]
async fn the_service_manager_is_told_which_process_has_taken_over_and_that_one_is_watched() {
    let stage = Stage::start().await;
    let folder = stage.sim.folder();
    let path = folder.join("notify.sock");
    let manager = Manager { socket: UnixDatagram::bind(&path).unwrap() };
    manager.socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut command = Command::new("sh");
    // As systemd says it: for this process, and no other.
    command.args(["-c", "WATCHDOG_PID=$$ exec \"$0\" run \"$1\"", env!("CARGO_BIN_EXE_xspgate")]);
    command.arg(folder.join("xspgate.toml")).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "600000");
    let mut program = Program::spawn(&mut command);
    let id = program.id();
    let heard = tokio::task::spawn_blocking(move || {
        manager.hears("READY=1");
        manager.hears("WATCHDOG=1");
        signal(id, "USR2");
        let (mut heard, mut heir) = (Vec::new(), None);
        // Nothing comes from the old process once the new one is named.
        while heir.is_none() {
            let notice = manager.hears_next();
            heir = notice.iter().find_map(|line| line.strip_prefix("MAINPID=")?.parse::<u32>().ok());
        }
        let heir = Heir(heir.unwrap());
        for _ in 0..6 {
            heard.extend(manager.hears_next());
        }
        signal(heir.0, "TERM");
        manager.hears("STOPPING=1");
        heard
    });
    let heard = heard.await.unwrap_or_else(|error| panic!("{error}\n{:#?}", program.lines()));
    let count = |what: &str| heard.iter().filter(|line| *line == what).count();
    assert_eq!((count("READY=1"), count("WATCHDOG=1"), count("STOPPING=1")), (1, 5, 0), "{heard:?}");
    eventually("the old process' end", async || program.code() == Some(0)).await;
}

/// Has as many notices sent to the socket as it takes until it takes no more.
fn fill(path: &std::path::Path) -> Vec<UnixDatagram> {
    let mut senders = Vec::new();
    loop {
        let sender = UnixDatagram::unbound().unwrap();
        sender.set_nonblocking(true).unwrap();
        sender.connect(path).unwrap();
        let mut sent = 0;
        while sender.send(b"X=1").is_ok() {
            sent += 1;
        }
        senders.push(sender);
        if sent == 0 {
            return senders;
        }
    }
}

#[tokio::test]
async fn a_service_manager_that_reads_nothing_holds_up_nothing() {
    let stage = Stage::start().await;
    let folder = stage.sim.folder();
    let path = folder.join("notify.sock");
    let manager = Manager { socket: UnixDatagram::bind(&path).unwrap() };
    let senders = fill(&path);
    let (socket, calls) = (path.display().to_string(), folder.join("calls.sock"));
    let text = std::fs::read_to_string(folder.join("xspgate.toml")).unwrap();
    let config = folder.join("watched.toml").display().to_string();
    std::fs::write(&config, format!("{text}\n[control]\nsocket = {:?}\n", calls.display().to_string())).unwrap();
    let environment = [("NOTIFY_SOCKET", &*socket), ("WATCHDOG_USEC", "30000")];
    let mut program = Program::start_in(&environment, &["run", &config]);
    let ctl = Ctl(calls);
    eventually("an answer", async || ctl.run(&["status"]).await.code == 0).await;
    for _ in 0..3 {
        assert_eq!(ctl.done(&["reload"]).await, "nothing has changed\n");
    }
    // What was sent before is read now, and then what the gateway has to say.
    let heard = tokio::task::spawn_blocking(move || {
        manager.socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let heard = [manager.hears("READY=1"), manager.hears("WATCHDOG=1")];
        (manager, heard)
    });
    let (manager, _) = heard.await.unwrap();
    drop(senders);
    let senders = fill(&path);
    ctl.done(&["stop"]).await;
    eventually("the end", async || program.code() == Some(0)).await;
    drop((manager, senders));
}
