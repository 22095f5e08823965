//! What a service manager hears, and when.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::harness::{DEADLINE, Program, Stage};

/// Plays the service manager.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    /// Waits for a notice that holds `what` in a line of its own, and returns all that came until then.
    fn hears(&self, what: &str) -> Vec<String> {
        let mut heard = Vec::new();
        let mut buffer = [0; 4096];
        while !heard.iter().any(|line| line == what) {
            let length =
                self.socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{what}: {error}; heard {heard:?}"));
            heard.extend(String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned));
        }
        heard
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
