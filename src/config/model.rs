//! The configuration as the rest of the program sees it: resolved names, no strings left to parse. Separate from the file's
//! shape, so that the two can change on their own.

mod allow;
mod clients;
mod failover;
mod settings;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::place::Places;
use crate::broadworks::interface::Interface;
use crate::http1::head;
use crate::policy::drained::Drained;
use crate::policy::headers::Via;
use crate::policy::route::PathPrefix;

pub use allow::Allow;
pub use clients::{ClientPurpose, Clients, Nameless, Untrusted};
pub use failover::Failover;
pub use settings::{AccessLog, Admin, Affinity, Collector, Dns, Freebind, Limits, Log, LogFormat, Tcp, Traces};

/// Everything that one configuration file says, checked and with defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Number of worker threads (`workers`, default: the cores this process may use).
    pub workers: usize,
    /// Where what must survive a restart is kept (`state_dir`); `None`: nothing survives.
    pub state_dir: Option<PathBuf>,
    /// When the file is read again (`reload_on_change`).
    pub reloads: Reloads,
    /// How long a stop waits for what is in flight (`drain_timeout`).
    pub drain_timeout: Duration,
    /// How long the ends of what is left then are spread (`drain_spread`).
    pub drain_spread: Duration,
    /// Which messages say that they have come through a gateway (`via`).
    pub via: Via,
    /// How long a process that has been replaced keeps its streams (`handover_timeout`).
    pub handover_timeout: Duration,
    /// `[admin]`; `None`: no admin listener.
    pub admin: Option<Admin>,
    /// `[control] socket`: where control calls come in; `None`: nowhere.
    pub control: Option<PathBuf>,
    /// `[log]`.
    pub log: Log,
    /// `[traces]` with an endpoint; `None`: no request is traced.
    pub traces: Option<Traces>,
    /// `[dns]`.
    pub dns: Dns,
    /// `[limits]`.
    pub limits: Limits,
    /// `[tcp]`.
    pub tcp: Tcp,
    /// `[affinity]`.
    pub affinity: Affinity,
    /// `[webex] ranges`: the file of the ranges that `allow` names; `None`: those of [`ranges`](crate::broadworks::ranges).
    pub webex_ranges: Option<PathBuf>,
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

/// When the configuration is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reloads {
    /// When it has changed, and when somebody asks.
    OnChange,
    /// When somebody asks.
    WhenAsked,
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
    /// `ocsp`: an OCSP response in DER.
    pub ocsp: Option<PathBuf>,
    /// `strict`: what breaking R-CTI-3 amounts to. A key that does not fit is an error in any case.
    pub strict: Strictness,
}

/// What it amounts to when a rule is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// `true`: errors.
    Errors,
    /// `false`: warnings.
    Warnings,
}

/// `[trust.NAME]`: certification authorities that the gateway believes.
#[derive(Clone, Debug, PartialEq)]
pub struct Trust {
    /// NAME.
    pub name: String,
    /// `ca`: PEM, one or more.
    pub ca: PathBuf,
    /// `crl`: PEM, one or more certificate revocation lists of these CAs; `None`: nothing is revoked.
    pub crl: Option<PathBuf>,
    /// `crl_overdue`.
    pub crl_overdue: CrlOverdue,
}

/// `crl_overdue`: what becomes of peers whom only a revocation list that is overdue could vouch for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrlOverdue {
    /// The list goes on being used, and what was revoked since is not known.
    Accept,
    /// They are refused.
    Refuse,
}

/// `[farm.NAME]`: a set of interchangeable XSPs.
#[derive(Clone, Debug, PartialEq)]
pub struct Farm {
    /// NAME.
    pub name: String,
    /// `formerly`: the names that it had before, the newest first.
    pub formerly: Vec<String>,
    /// What an XSP's certificate must prove; `None`: only `[[passthrough]]` uses the farm, and its TLS is not the gateway's.
    pub proof: Option<Proof>,
    /// `certificate`: the gateway's client certificate towards these XSPs.
    pub certificate: Option<Arc<Certificate>>,
    /// `port`, where neither SRV nor an address says another.
    pub port: u16,
    /// `family` of the addresses that are looked up.
    pub family: AddressFamily,
    /// `drain`: XSPs that get no new sessions.
    pub drain: Drained,
    /// `channel_rate`: new event channels per XSP and second; `None` (`"off"`): as many as come.
    pub channel_rate: Option<NonZeroU32>,
    /// `max_in_flight`: requests in flight per XSP; `None` (`"off"`): as many as come.
    pub max_in_flight: Option<NonZeroU32>,
    /// `end_streams_after`: how long an XSP stays blocked until its streams are ended; `None` (`"off"`): they never are.
    pub end_streams_after: Option<Duration>,
    /// `look_when_idle`: how long an XSP may answer nobody before the gateway looks at it; `None` (`"off"`): for ever.
    pub look_when_idle: Option<Duration>,
    /// `ready`: how much of it `/readyz` asks for.
    pub ready: Needed,
    /// `response_head_size` and `response_fields`: what the head of an XSP's answer may have.
    pub response_limits: head::HeadLimits,
    /// `[farm.NAME.failover]`.
    pub failover: Failover,
    /// `[farm.NAME.pool]`.
    pub pool: Pool,
    /// `[farm.NAME.tls]`: protocol versions, suites and groups towards the XSPs.
    pub tls: TlsPolicy,
    /// `[tcp]`, for the connections to these XSPs.
    pub tcp: Tcp,
    /// `[[farm.NAME.site]]` in order of preference; at least one.
    pub sites: Vec<Site>,
}

/// How much of a farm must be there for the gateway to count as ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// Any XSP that is up, or on probation.
    Any,
    /// None.
    None,
}

/// What an XSP's certificate must prove (R-TLS-4).
#[derive(Clone, Debug, PartialEq)]
pub struct Proof {
    /// `server_name`: the name that it holds.
    pub server_name: String,
    /// `trust`: who signed it.
    pub trust: Arc<Trust>,
    /// What is said on a connection then.
    pub speaks: Speaks,
}

/// What a farm's XSPs are spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1, which ALPN says in the handshake.
    Http,
    /// CTI, which has no name there.
    Cti,
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
    /// `default`.
    pub nameless: Nameless,
    /// `certificate`; at least one, the preferred one first.
    pub certificates: Vec<Arc<Certificate>>,
    /// `client_trust`: such a client certificate is demanded in the handshake.
    pub clients: Option<Clients>,
    /// `[https.tls]`.
    pub tls: TlsPolicy,
    /// `trusted_proxies`: peers whose PROXY protocol is understood, and whose X-Forwarded-* is believed and appended to:
    /// the client is the last one that is no such peer.
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
    pub allow: Allow,
    /// `client_trust`: such a client certificate is demanded by this interface (R-AUTH-2). All interfaces of a block that
    /// demand one demand the same.
    pub clients: Option<Clients>,
    /// The farm's `failover` with the interface's `[https.interface.NAME.failover]` over it.
    pub failover: Failover,
    /// Whether channel requests may be sent twice.
    pub channel_replay: ChannelReplay,
}

/// Whether a request for an event channel may be sent again after it may have been delivered. A second channel set of an
/// application ends the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelReplay {
    /// It may not, whatever `replay` of the farm says.
    Never,
    /// `replay = "all"` stands under `[https.interface.xsi-events.failover]` itself.
    Allowed,
}

/// `[[cti]]`: mutual TLS on both sides, and an opaque byte stream between.
#[derive(Clone, Debug, PartialEq)]
pub struct Cti {
    /// `listen`; at least one.
    pub listen: Vec<SocketAddr>,
    /// `certificate`; at least one, the preferred one first.
    pub certificates: Vec<Arc<Certificate>>,
    /// `client_trust` and what else a client's certificate must be like (R-CTI-1, R-CTI-2).
    pub clients: Clients,
    /// `farm`.
    pub farm: Arc<Farm>,
    /// `allow`; empty: anyone.
    pub allow: Allow,
    /// `trusted_proxies`: peers whose PROXY protocol is understood.
    pub trusted_proxies: Vec<IpNet>,
    /// `idle_timeout`: silence in both directions; `None` (`"off"`): none.
    pub idle_timeout: Option<Duration>,
    /// `[cti.tls]`.
    pub tls: TlsPolicy,
}

/// `[[passthrough]]`: TLS bytes unread, routed by SNI (R-TOP-3).
#[derive(Clone, Debug, PartialEq)]
pub struct Passthrough {
    /// `listen`; at least one.
    pub listen: Vec<SocketAddr>,
    /// `hosts`, lower case; at least one.
    pub hosts: Vec<String>,
    /// `default`.
    pub nameless: Nameless,
    /// `farm`.
    pub farm: Arc<Farm>,
    /// `allow`; empty: anyone.
    pub allow: Allow,
    /// `trusted_proxies`: peers whose PROXY protocol is understood.
    pub trusted_proxies: Vec<IpNet>,
    /// `proxy_protocol`: what tells XSPs of the client.
    pub proxy_protocol: ProxyProtocol,
    /// `idle_timeout`: silence in both directions; `None` (`"off"`): none.
    pub idle_timeout: Option<Duration>,
}

/// Whether connections to XSPs begin with the client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// `"off"`: they don't.
    Off,
    /// `"v2"`: as version 2 of HAProxy's PROXY protocol has it.
    V2,
}
