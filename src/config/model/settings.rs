//! The sections that stand by themselves. Separate from farms and blocks, which refer to one another.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

/// `[admin]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// Where the status page, `/status`, `/metrics`, `/livez` and `/readyz` are served, in the clear (`listen`).
    pub listen: SocketAddr,
    /// `hosts`, lower case: names by which it may be called, besides IP addresses and names without a dot.
    pub hosts: Vec<String>,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// `level`: a filter such as `info` or `info,xspgate::discover=debug`.
    pub level: String,
    /// `format`.
    pub format: LogFormat,
    /// `access`: whether each request, and each connection of CTI and pass-through, leaves one event.
    pub access: AccessLog,
    /// `access_sample`: of so many requests that went as they should, one leaves an event.
    pub access_sample: NonZeroU32,
    /// `access_file`: where the access log goes; `None`: to standard output.
    pub access_file: Option<PathBuf>,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `"json"`: one JSON object a line.
    Json,
    /// `"human"`: for a terminal.
    Human,
}

/// Whether requests and connections without requests are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// One line for each.
    On,
    /// None.
    Off,
}

/// `[traces]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Traces {
    /// `endpoint`.
    pub collector: Collector,
    /// `sample`: of so many requests, one is traced.
    pub sample: NonZeroU32,
    /// `service_name`.
    pub service_name: String,
}

/// Where traces go: an OpenTelemetry collector that takes OTLP over HTTP, in the clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// A name, or an address, that of IPv6 in brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What is asked for, such as `/v1/traces`.
    pub path: String,
}

impl fmt::Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, path } = self;
        write!(f, "http://{host}:{port}{path}")
    }
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
    /// `forget_after`: how long an address may be missing in the answers before it has left; its TTL if that is longer.
    pub forget_after: Duration,
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
    /// `exempt`: sources whose connections are not counted by source.
    pub exempt: Vec<IpNet>,
}

/// `[tcp]`: how the kernel finds out that the other end of a connection is gone, on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// `keepalive_idle`: silence after which it asks.
    pub keepalive_idle: Duration,
    /// `keepalive_interval`: how often it asks again.
    pub keepalive_interval: Duration,
    /// `keepalive_probes`: unanswered questions that end the connection, while there is no `user_timeout`.
    pub keepalive_probes: u32,
    /// `user_timeout`: how long the peer may acknowledge nothing of what it is sent; `None` (`"off"`): as long as the kernel
    /// sends it again.
    pub user_timeout: Option<Duration>,
    /// `freebind`: whether an address may be listened at that isn't here yet.
    pub freebind: Freebind,
}

/// Whether the gateway listens at addresses that aren't this machine's yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Freebind {
    /// At its own alone: a mistyped one ends the start.
    #[default]
    Off,
    /// At any: the second of a pair waits for the one that they share.
    On,
}

/// `[affinity]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Affinity {
    /// `cookie`: the name of the gateway's cookie.
    pub cookie: String,
    /// `key_file`; `None`: a random key, so sessions do not outlive this process.
    pub key_file: Option<PathBuf>,
    /// `lost_channels_for`: how long what names a channel is told that it is lost, after its XSP has gone.
    pub lost_channels_for: Duration,
}
