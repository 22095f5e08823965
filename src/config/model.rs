//! The configuration as the rest of the program sees it: resolved names, no strings left to parse. Apart from the file's
//! shape, so that the two can change on their own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::place::Places;
use crate::broadworks::interface::Interface;
use crate::policy::classify::{On5xx, Replay};
use crate::policy::route::PathPrefix;

/// Everything that one configuration file says, checked and with defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Number of worker threads (`workers`, default: the cores this process may use).
    pub workers: usize,
    /// Where what must survive a restart is kept (`state_dir`); `None`: nothing survives.
    pub state_dir: Option<PathBuf>,
    /// How long a stop waits for what is in flight (`drain_timeout`).
    pub drain_timeout: Duration,
    /// `[admin]`; `None`: no admin listener.
    pub admin: Option<Admin>,
    /// `[log]`.
    pub log: Log,
    /// `[dns]`.
    pub dns: Dns,
    /// `[limits]`.
    pub limits: Limits,
    /// `[affinity]`.
    pub affinity: Affinity,
    /// `[certificate.NAME]`, by name.
    pub certificates: BTreeMap<String, Arc<Certificate>>,
    /// `[trust.NAME]`, by name.
    pub trusts: BTreeMap<String, Arc<Trust>>,
    /// `[farm.NAME]`, by name.
    pub farms: BTreeMap<String, Arc<Farm>>,
    /// `[[https]]`, in file order.
    pub https: Vec<Https>,
    /// `[[cti]]`, in file order.
    pub cti: Vec<Cti>,
    /// `[[passthrough]]`, in file order.
    pub passthrough: Vec<Passthrough>,
    /// Where the file says what; the same for all purposes of comparison.
    pub places: Places,
}

/// `[admin]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// Where `/metrics`, `/livez`, `/readyz` and `/status` are served, in the clear (`listen`).
    pub listen: SocketAddr,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// `level`: a filter such as `info` or `info,xspgate::discover=debug`.
    pub level: String,
    /// `format`.
    pub format: LogFormat,
    /// `access`: whether each request leaves one event.
    pub access: AccessLog,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `"json"`: one JSON object a line.
    Json,
    /// `"human"`: for a terminal.
    Human,
}

/// Whether requests are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// One JSON event per request.
    On,
    /// None.
    Off,
}

/// `[dns]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dns {
    /// `servers`; empty: the system's resolver configuration.
    pub servers: Vec<SocketAddr>,
    /// `timeout` of one query.
    pub timeout: Duration,
    /// `min_ttl`, the shortest time between two look-ups of a name.
    pub min_ttl: Duration,
    /// `max_ttl`, the longest.
    pub max_ttl: Duration,
}

/// `[limits]`: what one client may take, and how long it may take it.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// `tls_handshake_timeout`: from accept to the end of the TLS handshake.
    pub tls_handshake_timeout: Duration,
    /// `request_head_timeout`: from a request's first byte (or the handshake's end) to the end of its head.
    pub request_head_timeout: Duration,
    /// `request_body_idle_timeout`: silence within a request body.
    pub request_body_idle_timeout: Duration,
    /// `response_idle_timeout`: silence within a response body; event channels have none.
    pub response_idle_timeout: Duration,
    /// `keep_alive_timeout`: between two requests of a connection.
    pub keep_alive_timeout: Duration,
    /// `write_timeout`: a client that takes no byte for so long is cut off.
    pub write_timeout: Duration,
    /// `request_head_size`, in bytes.
    pub request_head_size: usize,
    /// `request_fields`: header fields in one head.
    pub request_fields: usize,
    /// `request_body_size`, in bytes.
    pub request_body_size: u64,
    /// `connections`: open client connections of the whole process.
    pub connections: usize,
}

/// `[affinity]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Affinity {
    /// `cookie`: the name of the gateway's cookie.
    pub cookie: String,
    /// `key_file`; `None`: a random key, so sessions do not outlive this process.
    pub key_file: Option<PathBuf>,
}

/// `[certificate.NAME]`: an identity that the gateway shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificate {
    /// NAME.
    pub name: String,
    /// `chain`: PEM, leaf first.
    pub chain: PathBuf,
    /// `key`: PEM.
    pub key: PathBuf,
}

/// `[trust.NAME]`: certification authorities that the gateway believes.
#[derive(Clone, Debug, PartialEq)]
pub struct Trust {
    /// NAME.
    pub name: String,
    /// `ca`: PEM, one or more.
    pub ca: PathBuf,
}

/// `[farm.NAME]`: a set of interchangeable XSPs.
#[derive(Clone, Debug, PartialEq)]
pub struct Farm {
    /// NAME.
    pub name: String,
    /// `server_name`: what an XSP's certificate must name (R-TLS-4).
    pub server_name: String,
    /// `trust`: who signs the XSPs' certificates.
    pub trust: Arc<Trust>,
    /// `certificate`: the gateway's client certificate towards these XSPs.
    pub certificate: Option<Arc<Certificate>>,
    /// `port`, where neither SRV nor an address says another.
    pub port: u16,
    /// `family` of the addresses that are looked up.
    pub family: AddressFamily,
    /// `[farm.NAME.failover]`.
    pub failover: Failover,
    /// `[farm.NAME.pool]`.
    pub pool: Pool,
    /// `[farm.NAME.tls]`: protocol versions, suites and groups towards the XSPs.
    pub tls: TlsPolicy,
    /// `[[farm.NAME.site]]` in order of preference; at least one.
    pub sites: Vec<Site>,
}

/// Which address records are looked up (R-TOP-7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFamily {
    /// `"ipv4"`: A.
    Ipv4,
    /// `"ipv6"`: AAAA.
    Ipv6,
    /// `"both"`: A and AAAA.
    Both,
}

/// One preference tier of a farm.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// `name`; a farm's only site is called `default`.
    pub name: String,
    /// How its endpoints are found.
    pub source: Source,
}

/// How a site's endpoints are found. Names are lower case, without a trailing dot.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// `a = "name"`: A/AAAA records (R-DNS-1).
    Address(String),
    /// `srv = "_service._proto.name"` (R-DNS-2), with A/AAAA of `fallback`, the name behind the two labels, when it
    /// has no target (R-DNS-3).
    Srv {
        /// The whole SRV name.
        name: String,
        /// The domain alone.
        fallback: String,
    },
    /// `addresses = ["ip", "ip:port"]`.
    Static(Vec<SocketAddr>),
}

/// `[farm.NAME.failover]`, and `[https.interface.NAME.failover]` where it differs. Rules R-FAIL-1 to R-FAIL-8.
#[derive(Clone, Debug, PartialEq)]
pub struct Failover {
    /// `connect_timeout`: TCP connect, and then the TLS handshake, of one attempt each.
    pub connect_timeout: Duration,
    /// `response_timeout`: one attempt, from its start to the response's head (R-FAIL-3).
    pub response_timeout: Duration,
    /// `advance_after`: when a safe request starts its next attempt beside a silent one; `None` (`"off"`): never.
    pub advance_after: Option<Duration>,
    /// `tries` in all (R-FAIL-4); at least 1.
    pub tries: u8,
    /// `block_for`: how long a failed endpoint is left out (R-FAIL-6).
    pub block_for: Duration,
    /// `on_5xx` (R-FAIL-2).
    pub on_5xx: On5xx,
    /// `replay`: which methods may be sent again after they may have been delivered.
    pub replay: Replay,
    /// `replay_buffer_size`, in bytes: the longest request body that can be sent again.
    pub replay_buffer_size: usize,
}

/// `[farm.NAME.pool]`: idle upstream connections of one worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// `idle_per_endpoint`: connections kept idle to one endpoint, per worker.
    pub idle_per_endpoint: usize,
    /// `idle_timeout`: how long one is kept idle.
    pub idle_timeout: Duration,
    /// `max_age`: how old one may grow.
    pub max_age: Duration,
}

/// Protocol versions, cipher suites and key exchange groups, by IANA name (R-TLS-1, R-TLS-3).
#[derive(Clone, Debug, PartialEq)]
pub struct TlsPolicy {
    /// `min_version`.
    pub min_version: TlsVersion,
    /// `max_version`.
    pub max_version: TlsVersion,
    /// `cipher_suites` in order of preference; never empty.
    pub cipher_suites: Vec<rustls::CipherSuite>,
    /// `groups` in order of preference; never empty.
    pub groups: Vec<rustls::NamedGroup>,
}

/// A TLS protocol version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// `"1.2"`.
    Tls12,
    /// `"1.3"`.
    Tls13,
}

/// `[[https]]`: hosts on listeners, and what is served there.
#[derive(Clone, Debug, PartialEq)]
pub struct Https {
    /// `listen`; at least one. Several blocks may name the same address; SNI tells them apart.
    pub listen: Vec<SocketAddr>,
    /// `hosts`, lower case; at least one.
    pub hosts: Vec<String>,
    /// `certificate`.
    pub certificate: Arc<Certificate>,
    /// `client_trust`: a client certificate of these CAs is demanded in the handshake.
    pub client_trust: Option<Arc<Trust>>,
    /// `[https.tls]`.
    pub tls: TlsPolicy,
    /// `trusted_proxies`: peers whose X-Forwarded-* is believed and appended to.
    pub trusted_proxies: Vec<IpNet>,
    /// `interfaces`, each with what differs from its defaults.
    pub interfaces: Vec<Route>,
}

/// One interface of an `[[https]]` block.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Which BroadWorks application.
    pub interface: Interface,
    /// `farm`: the block's, or the interface's own.
    pub farm: Arc<Farm>,
    /// `paths`; at least one.
    pub paths: Vec<PathPrefix>,
    /// `probe_path`: what the second look at an endpoint asks for.
    pub probe_path: String,
    /// `allow`: the block's, or the interface's own; empty: anyone.
    pub allow: Vec<IpNet>,
    /// `client_trust`: a client certificate of these CAs is demanded by this interface (R-AUTH-2).
    pub client_trust: Option<Arc<Trust>>,
    /// The farm's `failover` with the interface's `[https.interface.NAME.failover]` over it.
    pub failover: Failover,
}

/// `[[cti]]`: parsed and checked; not served yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Cti {
    /// `listen`; at least one.
    pub listen: Vec<SocketAddr>,
    /// `certificate`.
    pub certificate: Arc<Certificate>,
    /// `client_trust` (R-CTI-1).
    pub client_trust: Arc<Trust>,
    /// `client_names` (R-CTI-2); at least one.
    pub client_names: Vec<String>,
    /// `farm`.
    pub farm: Arc<Farm>,
    /// `allow`; empty: anyone.
    pub allow: Vec<IpNet>,
}

/// `[[passthrough]]`: parsed and checked; not served yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Passthrough {
    /// `listen`; at least one.
    pub listen: Vec<SocketAddr>,
    /// `hosts`, lower case; at least one.
    pub hosts: Vec<String>,
    /// `farm`.
    pub farm: Arc<Farm>,
    /// `allow`; empty: anyone.
    pub allow: Vec<IpNet>,
}
