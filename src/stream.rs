//! Byte streams: CTI with mutual TLS on both sides, and TLS that passes through unread. Separate from `proxy`, because nothing
//! here knows a request: failover happens while connecting, and then bytes are copied until both sides have had enough.

pub mod block;
mod copy;
pub mod cti;
mod journal;
mod leg;
pub mod passthrough;
mod search;

use std::net::IpAddr;
use std::sync::Arc;

use crate::registry::Registry;
use crate::telemetry::access::AccessLog;

/// Who has come, and where to.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The client's address.
    pub client: IpAddr,
    /// The listening address.
    pub listener: Arc<str>,
    /// The name that the client asked for, if it asked for one.
    pub host: Option<String>,
    /// The subject of the client's certificate, if it was verified.
    pub peer: Option<Arc<str>>,
    /// Where it is to be found while it lives.
    pub registry: Arc<Registry>,
    /// Where connections are told about.
    pub access: AccessLog,
}
