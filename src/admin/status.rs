//! What `/status` says: its schema, field for field. Separate from where it comes from, because programs and people rely on
//! these names; `docs/reference/status.md` lists them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;

use crate::broadworks::interface::Interface;
use crate::farm::EndpointState;
use crate::handover;
use crate::telemetry::timeline::Event;

/// Goes up when a field goes or changes its meaning; a field that is added does not count.
pub const SCHEMA: u32 = 1;

/// Everything that there is to see of a gateway that runs. Times are in seconds since 1970.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The version that runs.
    pub version: &'static str,
    /// The process.
    pub pid: u32,
    /// When this was said.
    pub time: f64,
    /// When the process began to serve.
    pub started: f64,
    /// `running`, `lame-duck`, `draining`, `cutting` or `forced`.
    pub phase: &'static str,
    /// Whether no process that this one has replaced holds anything yet, of which nothing is said here.
    pub alone: bool,
    /// This process, and those that it has replaced and that have streams still, newest first.
    pub processes: Vec<Process>,
    /// Whether requests should come here.
    pub ready: bool,
    /// Why not.
    pub unready: Option<String>,
    /// The process' threads, workers first.
    pub threads: Vec<Thread>,
    /// The hosts of `[[https]]` blocks, in file order.
    pub hosts: Vec<Host>,
    /// CTI and pass-through.
    pub streams: Vec<Stream>,
    /// The addresses that clients reach.
    pub listeners: Vec<Listener>,
    /// The farms, by name.
    pub farms: Vec<Farm>,
    /// What expires, first what does so first.
    pub certificates: Vec<Certificate>,
    /// The affinity keys, the signing one first; none if no block has sessions.
    pub affinity_keys: Vec<AffinityKey>,
    /// The names that are followed in DNS.
    pub discovery: Vec<Name>,
    /// What came of reading files while everything runs.
    pub reload: Reload,
    /// What has happened, newest first.
    pub events: Vec<Event>,
}

/// One process.
#[derive(Clone, Debug, Serialize)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// As of the status.
    pub phase: String,
    /// When it began to serve.
    pub started: f64,
    /// Since when it is in that phase.
    pub since: f64,
    /// When that ends at the latest; none while it serves.
    pub ends: Option<f64>,
    /// How many seconds ago it has said so; 0 for the one that answers.
    pub heard: f64,
    /// Its client connections.
    pub connections: u64,
    /// Its event channels.
    pub channels: u64,
    /// Its CTI connections.
    pub cti: u64,
    /// Its pass-through connections.
    pub passthrough: u64,
    /// The same by XSP.
    pub held: Vec<Held>,
}

/// What a process has at one XSP.
#[derive(Clone, Debug, Serialize)]
pub struct Held {
    /// Its farm.
    pub farm: String,
    /// `address:port`.
    pub endpoint: SocketAddr,
    /// Event channels.
    pub channels: u64,
    /// CTI connections.
    pub cti: u64,
    /// Pass-through connections.
    pub passthrough: u64,
}

/// One thread.
#[derive(Clone, Debug, Serialize)]
pub struct Thread {
    /// `worker-0` and so on, `discovery`, `control`, `admin`, `watcher`.
    pub name: String,
    /// Whether it moves; while one does not, `/livez` says 503.
    pub moves: bool,
}

/// One host, with its interfaces.
#[derive(Clone, Debug, Serialize)]
pub struct Host {
    /// Its name.
    pub host: String,
    /// What is served there.
    pub interfaces: Vec<Served>,
}

/// One interface of one host.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Served {
    /// `xsi-actions` and so on.
    pub interface: &'static str,
    /// Whether it is reachable.
    pub colour: Colour,
    /// Where its XSPs are.
    pub farm: String,
}

/// R-STAT-1: what Control Hub shows of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// It is reachable at one endpoint at least.
    Green,
    /// It is reachable at none.
    Red,
}

/// CTI on one address, or pass-through for one host on one address.
#[derive(Clone, Debug, Serialize)]
pub struct Stream {
    /// `cti` or `passthrough`.
    pub kind: &'static str,
    /// The name that clients ask for; none for CTI.
    pub host: Option<String>,
    /// The address that clients reach.
    pub listener: String,
    /// Whether it is reachable.
    pub colour: Colour,
    /// Where its XSPs are.
    pub farm: String,
    /// Connections that have reached an XSP, of all hosts of the block.
    pub open: i64,
}

/// One address that clients reach.
#[derive(Clone, Debug, Serialize)]
pub struct Listener {
    /// The address.
    pub address: SocketAddr,
    /// Open connections.
    pub open: i64,
    /// Connections that were ever accepted.
    pub accepted: u64,
    /// Those that were closed at once, because there were too many.
    pub refused: u64,
}

/// One farm.
#[derive(Clone, Debug, Serialize)]
pub struct Farm {
    /// Its name in the configuration.
    pub name: String,
    /// The names that it had before, by which it is known, too.
    pub formerly: Vec<String>,
    /// Whether a reload has taken it out of the configuration; it is there until nothing is left of it.
    pub retired: bool,
    /// Whether it is reachable.
    pub colour: Colour,
    /// The traffic of its endpoints together.
    pub traffic: Load,
    /// How often affinity decided what, since the start.
    pub sessions: BTreeMap<&'static str, u64>,
    /// Its event channels.
    pub channels: Channels,
    /// Heartbeats by what came of them, since the start.
    pub heartbeats: BTreeMap<&'static str, u64>,
    /// CTI and pass-through connections to its endpoints.
    pub streams: i64,
    /// What `drain` in the configuration names, and what is no XSP's.
    pub unknown_drains: Vec<String>,
    /// Its sites, in order of preference.
    pub sites: Vec<Site>,
    /// Its endpoints, by site and SRV priority.
    pub endpoints: Vec<Endpoint>,
}

/// One site of a farm.
#[derive(Clone, Debug, Serialize)]
pub struct Site {
    /// Its name.
    pub name: String,
    /// Whether it is reachable.
    pub colour: Colour,
    /// Its endpoints that are up.
    pub up: usize,
    /// Its endpoints that are known.
    pub known: usize,
}

/// A farm's event channels.
#[derive(Clone, Debug, Serialize)]
pub struct Channels {
    /// Those that are open, in all processes.
    pub open: i64,
    /// Those that were ever opened, at the endpoints that are still known.
    pub opened: u64,
    /// Those that have ended since the start, by whom or what ended them.
    pub closed: BTreeMap<&'static str, u64>,
}

/// One endpoint.
#[derive(Clone, Debug, Serialize)]
pub struct Endpoint {
    /// `address:port`.
    pub endpoint: SocketAddr,
    /// Its site's name.
    pub site: String,
    /// The SRV target that led to it, if one has.
    pub target: Option<String>,
    /// `up`, `blocked`, `probation`, `draining` or `departed`.
    pub state: EndpointState,
    /// Whether it gets no new sessions: it is drained, or departed, whatever its state says besides.
    pub leaving: bool,
    /// Whether it is the last choice until the gateway has looked at it.
    pub suspect: bool,
    /// Since when, to a second; none before somebody has looked.
    pub since: Option<f64>,
    /// Since when it is blocked or on probation without a break, in seconds since 1970.
    pub out_since: Option<f64>,
    /// Seconds until its block ends.
    pub blocked_for: Option<f64>,
    /// Seconds until what is left there is cut, if it is drained and that was asked for.
    pub cut_in: Option<f64>,
    /// Event channels on it, of all processes.
    pub channels: i64,
    /// CTI and pass-through connections on it, of all processes.
    pub streams: i64,
    /// Connections to it that wait for a request.
    pub idle: i64,
    /// What is asked of it.
    pub traffic: Load,
}

/// What is asked of XSPs. Rates and times are of the last ten seconds; times are in milliseconds, and none if nothing was
/// answered.
#[derive(Clone, Debug, Serialize)]
pub struct Load {
    /// Attempts, since the endpoint is known.
    pub requests: u64,
    /// Those of them that failed, 5xx answers included.
    pub errors: u64,
    /// Attempts a second.
    pub rate: f64,
    /// Those of them that fail.
    pub error_rate: f64,
    /// The mean time to the response's head.
    pub mean_ms: Option<f64>,
    /// The time that 95 of 100 do not exceed.
    pub p95_ms: Option<f64>,
}

/// A certificate, or a revocation list.
#[derive(Clone, Debug, Serialize)]
pub struct Certificate {
    /// The section that names it.
    pub section: String,
    /// Whose it is.
    pub subject: String,
    /// Its serial number.
    pub serial: String,
    /// The file that it is in.
    pub file: String,
    /// The first instant at which it is valid, unless it is a list.
    pub begins: Option<i64>,
    /// The last one.
    pub expires: i64,
    /// Days until then; negative once that is past.
    pub days: f64,
    /// What the clock says of it.
    pub state: &'static str,
}

/// An affinity key.
#[derive(Clone, Debug, Serialize)]
pub struct AffinityKey {
    /// Its fingerprint, from which nothing of it can be learnt.
    pub fingerprint: String,
    /// `signs` or `accepted`.
    #[serde(rename = "use")]
    pub part: &'static str,
}

/// A name in DNS.
#[derive(Clone, Debug, Serialize)]
pub struct Name {
    /// The name.
    pub name: String,
    /// `A`, `AAAA` or `SRV`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Records of the last good answer.
    pub records: usize,
    /// Seconds since DNS last answered with some; none if it has not since the start.
    pub age: Option<f64>,
    /// How the newest look-up ended.
    pub outcome: Option<&'static str>,
}

/// What came of reading files while everything runs.
#[derive(Clone, Debug, Serialize)]
pub struct Reload {
    /// Whether the configuration on disk can't be used, and the previous one is in use.
    pub configuration_refused: bool,
    /// Whether the certificates, keys or CAs on disk can't be used, and the previous ones are in use.
    pub certificates_refused: bool,
    /// The last time that something was taken over or refused.
    pub last: Option<Event>,
}

impl From<handover::Process> for Process {
    fn from(process: handover::Process) -> Self {
        let [channels, cti, passthrough] = process.streams();
        let handover::Process { pid, version, phase, started, since, ends, connections, held, heard } = process;
        let held = held.into_iter().map(|handover::Held { farm, endpoint, streams: [channels, cti, passthrough] }| {
            Held { farm, endpoint, channels, cti, passthrough }
        });
        let held = held.collect();
        Self { pid, version, phase, started, since, ends, heard, connections, channels, cti, passthrough, held }
    }
}

impl Served {
    /// `interface`, which is served from `farm`.
    pub fn new(interface: Interface, farm: &Farm) -> Self {
        Self { interface: interface.name(), colour: farm.colour, farm: farm.name.clone() }
    }
}

impl Host {
    /// Adds those of `served` that it has not.
    pub fn add(&mut self, served: &[Served]) {
        for one in served {
            if !self.interfaces.contains(one) {
                self.interfaces.push(one.clone());
            }
        }
    }
}

impl Site {
    /// The site of that name, if these are its farm's endpoints.
    pub fn new(name: &str, endpoints: &[Endpoint]) -> Self {
        let known = endpoints.iter().filter(|endpoint| endpoint.site == name);
        let up = known.clone().filter(|endpoint| endpoint.state == EndpointState::Up).count();
        Self { name: name.to_owned(), colour: Colour::of(up), up, known: known.count() }
    }
}

impl Colour {
    /// R-STAT-1, where so many endpoints are up.
    pub const fn of(up: usize) -> Self {
        match up {
            0 => Self::Red,
            1.. => Self::Green,
        }
    }
}
