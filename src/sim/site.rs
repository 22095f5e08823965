//! Two simulated sites of two XSPs each with DNS, certificates and a configuration for the gateway in front of them.
//! Separate from its parts because only the whole needs addresses that share a port, and a folder.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::sim::cti;
use crate::sim::dns::{Nameserver, Zones};
use crate::sim::pki::Pki;
use crate::sim::xsp::{Farm, Xsp};

mod text;

pub use text::Text;

/// The name by which Webex's cloud reaches the gateway (R-TOP-4).
pub const CLOUD: &str = "webex-cloud-xsp.example.com";
/// The name by which the app reaches the gateway.
pub const APP: &str = "webex-app-xsp.example.com";
/// What the XSPs' certificates name (R-TLS-4).
pub const DOMAIN: &str = "xsp.example.com";
/// The DNS name of the first site's XSPs.
pub const SITE_A: &str = "xsp-a.internal.example.com";
/// The DNS name of the second site's XSPs.
pub const SITE_B: &str = "xsp-b.internal.example.com";
/// The DNS name of all XSPs.
pub const ALL: &str = "xsp-all.internal.example.com";

/// The SRV name of the XSPs that speak CTI.
pub const CTI_SRV: &str = "_cti._tcp.cti.internal.example.com";
/// The DNS name of all of them.
pub const CTI: &str = "cti.internal.example.com";
/// The name by which clients reach XSPs through a pass-through listener; the XSPs' own certificates don't have it.
pub const DIRECT: &str = "direct-xsp.example.com";

/// How often another port is tried when one is not free at all addresses.
const PORT_TRIES: usize = 20;
/// The last bytes of the XSPs' addresses.
const XSPS: [(&str, u8); 4] = [("a1", 11), ("a2", 12), ("b1", 21), ("b2", 22)];

/// Which addresses the XSPs get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// 127.0.0.11, .12, .21 and .22.
    Plain,
    /// The same in a network of 127.0.0.0/8 that no other simulation of this process has.
    Own,
    /// The same in a network that begins so, and that somebody else has made.
    At([u8; 3]),
}

/// How the farm of the configuration is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Two sites in order of preference, each an A name with two addresses.
    TwoSites,
    /// One site, an A name with all four addresses.
    OneSite,
}

/// The running simulation. Its folder is removed when it is dropped; its XSPs end with the runtime.
pub struct Simulation {
    /// The authorities that signed everything here.
    pub pki: Pki,
    /// The XSPs a1, a2, b1 and b2.
    pub xsps: Vec<Xsp>,
    /// The same machines as XSPs that speak CTI, at a port of their own.
    pub ctis: Vec<cti::Xsp>,
    /// The DNS server, with the zones as they are at first in it.
    pub dns: Nameserver,
    network: [u8; 3],
    folder: PathBuf,
}

impl Simulation {
    /// Starts the XSPs and the DNS server, and writes certificates and keys to a new folder.
    ///
    /// # Errors
    /// Those of sockets and the file system.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start(network: Network) -> io::Result<Self> {
        let network = match network {
            Network::Plain => [127, 0, 0],
            Network::Own => own_network(),
            Network::At(network) => network,
        };
        let pki = Pki::new();
        let farm = Farm::default();
        let xsps = start_at_one_port(network, |name, address| {
            let xsp = Xsp::start(name, DOMAIN, address, &pki, &farm)?;
            let address = xsp.address();
            Ok((xsp, address))
        })?;
        let ctis = start_at_one_port(network, |name, address| {
            let xsp = cti::Xsp::start(name, DOMAIN, address, &pki)?;
            let address = xsp.address();
            Ok((xsp, address))
        })?;
        let dns = Nameserver::start().await?;
        let folder = new_folder()?;
        pki.write(&folder, &[CLOUD, APP])?;
        let simulation = Self { pki, xsps, ctis, dns, network, folder };
        simulation.publish_all();
        Ok(simulation)
    }

    /// The XSP of that name.
    ///
    /// # Panics
    /// If there is none.
    pub fn xsp(&self, name: &str) -> &Xsp {
        self.xsps.iter().find(|xsp| xsp.name() == name).expect("a1, a2, b1 or b2")
    }

    /// The XSP of that name as one that speaks CTI.
    ///
    /// # Panics
    /// If there is none.
    pub fn cti(&self, name: &str) -> &cti::Xsp {
        self.ctis.iter().find(|xsp| xsp.name() == name).expect("a1, a2, b1 or b2")
    }

    /// The names, addresses and faults of DNS.
    pub fn zones(&self) -> &Zones {
        self.dns.zones()
    }

    /// The port that all XSPs share.
    pub fn port(&self) -> u16 {
        self.xsps[0].address().port()
    }

    /// The port that all XSPs share for CTI.
    pub fn cti_port(&self) -> u16 {
        self.ctis[0].address().port()
    }

    /// An address of this simulation's network with the port that all XSPs share.
    pub fn address(&self, last: u8) -> SocketAddr {
        let [a, b, c] = self.network;
        SocketAddr::from((Ipv4Addr::new(a, b, c, last), self.port()))
    }

    /// Where certificates, keys and the configuration lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Puts all XSPs into DNS under the names of their sites and of all, with a TTL of 0, and for CTI into an SRV record, by
    /// priority a1, a2, b1, b2.
    pub fn publish_all(&self) {
        let addresses = |names: &[&str]| -> Vec<_> { names.iter().map(|name| self.xsp(name).address().ip()).collect() };
        self.zones().set_a(SITE_A, 0, addresses(&["a1", "a2"]));
        self.zones().set_a(SITE_B, 0, addresses(&["b1", "b2"]));
        self.zones().set_a(ALL, 0, addresses(&["a1", "a2", "b1", "b2"]));
        self.zones().set_a(CTI, 0, addresses(&["a1", "a2", "b1", "b2"]));
        let host = |xsp: &cti::Xsp| format!("{}.{CTI}", xsp.name());
        let hosts: Vec<String> = self.ctis.iter().map(host).collect();
        for (host, xsp) in hosts.iter().zip(&self.ctis) {
            self.zones().set_a(host, 0, [xsp.address().ip()]);
        }
        let port = self.cti_port();
        let srv = hosts.iter().zip(1..).map(|(host, priority)| (priority, 0, port, host.as_str()));
        self.zones().set_srv(CTI_SRV, 0, srv);
    }

    /// A configuration for a gateway in front of these XSPs, at any free port, to be changed as needed. The timings are
    /// shorter than the defaults: 300 ms until the next XSP is asked, 1 s until one has failed, 100 ms between DNS look-ups, and as
    /// long until an XSP that they lack has left.
    pub fn config(&self, layout: Layout) -> Text {
        let folder = self.folder.display();
        let mut text = Text::default();
        text.set("", "workers", 2).set("", "drain_timeout", "2s");
        text.set("[admin]", "listen", "127.0.0.1:0");
        text.set("[dns]", "servers", vec![self.dns.address().to_string()]);
        text.set("[dns]", "timeout", "500ms").set("[dns]", "min_ttl", "100ms");
        text.set("[dns]", "forget_after", "100ms");
        text.set("[log]", "access", false);
        text.set("[affinity]", "cookie", "XSPGATE");
        text.set("[affinity]", "key_file", format!("{folder}/affinity.key"));
        text.set("[certificate.public]", "chain", format!("{folder}/public-chain.pem"));
        text.set("[certificate.public]", "key", format!("{folder}/public-key.pem"));
        text.set("[trust.internal]", "ca", format!("{folder}/internal-ca.pem"));
        text.set("[farm.xsp]", "server_name", DOMAIN);
        text.set("[farm.xsp]", "trust", "internal");
        text.set("[farm.xsp]", "port", i64::from(self.port()));
        let failover = "[farm.xsp.failover]";
        text.set(failover, "connect_timeout", "500ms").set(failover, "response_timeout", "1s");
        text.set(failover, "advance_after", "300ms").set(failover, "block_for", "60s");
        match layout {
            Layout::OneSite => {
                text.set("[farm.xsp]", "a", ALL);
            }
            Layout::TwoSites => {
                for (name, address) in [("site-a", SITE_A), ("site-b", SITE_B)] {
                    text.push("[[farm.xsp.site]]").set("[[farm.xsp.site]]", "name", name);
                    text.set("[[farm.xsp.site]]", "a", address);
                }
            }
        }
        Self::serve(&mut text);
        text
    }

    /// Adds the `[[https]]` block of [`Simulation::config`] to the end of `text`.
    pub fn serve(text: &mut Text) {
        text.push("[[https]]");
        text.set("[[https]]", "listen", vec!["127.0.0.1:0".to_owned()]);
        text.set("[[https]]", "hosts", vec![CLOUD.to_owned(), APP.to_owned()]);
        text.set("[[https]]", "certificate", "public").set("[[https]]", "farm", "xsp");
        let interfaces = ["xsi-actions", "xsi-events", "auth-service", "dms", "call-settings"];
        text.set("[[https]]", "interfaces", interfaces.map(str::to_owned).to_vec());
    }

    /// Adds a `[[cti]]` block at any free port, with Webex's chain and a farm of the XSPs that speak CTI, to the end of
    /// `text`.
    pub fn serve_cti(&self, text: &mut Text) {
        let folder = self.folder.display();
        text.set("[trust.webex]", "ca", format!("{folder}/CombinedCertChain.txt"));
        text.set("[certificate.cti-client]", "chain", format!("{folder}/cti-client-chain.pem"));
        text.set("[certificate.cti-client]", "key", format!("{folder}/cti-client-key.pem"));
        text.set("[farm.cti]", "server_name", DOMAIN).set("[farm.cti]", "trust", "internal");
        text.set("[farm.cti]", "certificate", "cti-client").set("[farm.cti]", "srv", CTI_SRV);
        text.set("[farm.cti.failover]", "connect_timeout", "500ms").set("[farm.cti.failover]", "block_for", "60s");
        text.push("[[cti]]").set("[[cti]]", "listen", vec!["127.0.0.1:0".to_owned()]);
        text.set("[[cti]]", "certificate", "public").set("[[cti]]", "client_trust", "webex");
        text.set("[[cti]]", "farm", "cti");
    }

    /// Adds a `[[passthrough]]` block at any free port, with a farm of the XSPs that speak CTI, to the end of `text`.
    pub fn serve_passthrough(&self, text: &mut Text) {
        text.set("[farm.direct]", "a", CTI).set("[farm.direct]", "port", i64::from(self.cti_port()));
        text.set("[farm.direct.failover]", "connect_timeout", "500ms");
        text.set("[farm.direct.failover]", "block_for", "60s");
        text.push("[[passthrough]]").set("[[passthrough]]", "listen", vec!["127.0.0.1:0".to_owned()]);
        text.set("[[passthrough]]", "hosts", vec![DIRECT.to_owned(), DOMAIN.to_owned()]);
        text.set("[[passthrough]]", "farm", "direct");
    }

    /// Writes a configuration into the folder.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write_config(&self, text: &Text) -> io::Result<PathBuf> {
        let path = self.folder.join("xspgate.toml");
        std::fs::write(&path, text.to_string())?;
        Ok(path)
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        // What is left over lies in the system's folder for such things.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Starts the XSPs at one port that is free at all their addresses; each comes with the address that it has got.
fn start_at_one_port<T>(
    network: [u8; 3],
    start: impl Fn(&str, SocketAddr) -> io::Result<(T, SocketAddr)>,
) -> io::Result<Vec<T>> {
    let [a, b, c] = network;
    let mut tries = PORT_TRIES;
    loop {
        let mut port = 0;
        let started: io::Result<Vec<T>> = XSPS
            .into_iter()
            .map(|(name, last)| {
                let (xsp, address) = start(name, (Ipv4Addr::new(a, b, c, last), port).into())?;
                port = address.port();
                Ok(xsp)
            })
            .collect();
        tries -= 1;
        match started {
            Ok(xsps) => return Ok(xsps),
            Err(error) if error.kind() != io::ErrorKind::AddrInUse || tries == 0 => return Err(error),
            Err(_) => {}
        }
    }
}

fn next_number() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// 127.x.y with x and y from the process and a count, so that simulations side by side share no address.
fn own_network() -> [u8; 3] {
    let number = u32::from(next_number()) + std::process::id() * 251;
    let [_, _, high, low] = (number % (253 * 256) + 256).to_be_bytes();
    [127, high, low]
}

fn new_folder() -> io::Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("xspgate-sim-{}-{}", std::process::id(), next_number()));
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}
