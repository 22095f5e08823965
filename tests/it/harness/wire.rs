//! Two network namespaces with a wire between them: the gateway at the near end, XSPs and clients at the far one. Kept on its
//! own because only there can a machine be gone: on the loopback interface the kernel always answers for a peer.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::tool::{Tool, left_out, succeed};

/// The network of the wire. Nothing but the two namespaces ever sees it.
const NETWORK: [u8; 3] = [10, 99, 0];
/// The last bytes of the addresses at the far end: clients have the first, XSPs the others.
const FAR: [u8; 5] = [1, 11, 12, 21, 22];
/// The last byte of the gateway's address.
const NEAR: u8 = 2;
/// What the names of all namespaces begin with, before the process that has made them.
const PREFIX: &str = "xspgate-it-";

/// The wire; its namespaces are gone when it is dropped.
pub(crate) struct Wire {
    ip: Tool,
    near: String,
    far: String,
}

impl Wire {
    /// A new one. `None`: the test has to be left out, which standard error has been told; in CI that is a failure.
    pub(crate) fn lay() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let libraries = ["libbpf1", "libbsd0", "libelf1", "libmd0", "libmnl0"];
        let ip = Tool::find("ip", &[&["iproute2"], &libraries[..]].concat())?;
        remove_orphans(&ip);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = |end: &str| format!("{PREFIX}{}-{number}-{end}", std::process::id());
        let wire = Self { ip, near: name("near"), far: name("far") };
        for end in [&wire.near, &wire.far] {
            let added = wire.ip.command().args(["netns", "add", end]).output().unwrap();
            if !added.status.success() {
                left_out(
                    "network of its own",
                    &format!("run as root: {}", String::from_utf8_lossy(&added.stderr).trim()),
                );
                return None;
            }
        }
        wire.connect();
        Some(wire)
    }

    fn connect(&self) {
        let [a, b, c] = NETWORK;
        self.ip(&self.near, &["link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", &self.far]);
        self.ip(&self.near, &["address", "add", &format!("{a}.{b}.{c}.{NEAR}/24"), "dev", "wire"]);
        for end in [&self.near, &self.far] {
            self.ip(end, &["link", "set", "lo", "up"]);
            self.ip(end, &["link", "set", "wire", "up"]);
        }
        // Each in a network of its own, since the others of a network go with its first address.
        for last in FAR {
            self.ip(&self.far, &["address", "add", &format!("{a}.{b}.{c}.{last}/32"), "dev", "wire"]);
        }
        self.ip(&self.far, &["route", "add", &format!("{a}.{b}.{c}.{NEAR}/32"), "dev", "wire"]);
    }

    /// The first bytes of all addresses.
    pub(crate) const fn network(&self) -> [u8; 3] {
        NETWORK
    }

    /// Any free port at the gateway's end.
    pub(crate) fn gateway(&self) -> SocketAddr {
        let [a, b, c] = NETWORK;
        (Ipv4Addr::new(a, b, c, NEAR), 0).into()
    }

    /// Runs `body` at the gateway's end; what it starts is there, too.
    pub(crate) fn near<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        within(&self.near, body)
    }

    /// Runs `body` at the other end.
    pub(crate) fn far(&self, body: impl AsyncFnOnce() + Send) {
        within(&self.far, || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(body());
        });
    }

    /// The machine at the far end whose address ends in `last` is gone: nothing answers for it any more.
    pub(crate) fn take_away(&self, last: u8) {
        let [a, b, c] = NETWORK;
        self.ip(&self.far, &["address", "del", &format!("{a}.{b}.{c}.{last}/32"), "dev", "wire"]);
    }

    fn ip(&self, namespace: &str, arguments: &[&str]) {
        succeed(self.ip.command().args(["-netns", namespace]).args(arguments));
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for end in [&self.near, &self.far] {
            // One that could not be made need not be removed.
            let _ = self.ip.command().args(["netns", "del", end]).output();
        }
    }
}

/// Removes what a test process has left behind that was killed.
fn remove_orphans(ip: &Tool) {
    let names = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    for name in names.filter_map(|entry| entry.file_name().into_string().ok()) {
        let maker = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if maker.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            // Another process may have removed it just now.
            let _ = ip.command().args(["netns", "del", &name]).output();
        }
    }
}

/// Runs `body` on a thread in that namespace. Threads and processes that it starts are there as well.
fn within<T: Send>(namespace: &str, body: impl FnOnce() -> T + Send) -> T {
    let path = Path::new("/run/netns").join(namespace);
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let inside = move || {
        let namespace = File::open(path).unwrap();
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(LinkNameSpaceType::Network)).unwrap();
        body()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(name).spawn_scoped(scope, inside).unwrap();
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
