//! `[[cti]]` and `[[passthrough]]` blocks, compiled. Separate from the connections, because they outlive a block.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::config::model::{self, ProxyProtocol, Untrusted};
use crate::farm::Farm;
use crate::policy::streams::StreamKind;
use crate::telemetry::metrics::{Metrics, StreamMetrics};
use crate::tls::clients::{ClientVerifier, TrustWatch};
use crate::tls::server::ServerTls;

/// One `[[cti]]` block on one listening address.
#[derive(Debug)]
pub struct Cti {
    /// What clients see of it in the handshake, and what is demanded of them.
    pub tls: Arc<ServerTls>,
    /// Where connections go.
    pub line: Arc<Line>,
    /// Who judges clients in the handshake.
    pub verifier: Arc<ClientVerifier>,
    /// What becomes of those that are believed no longer.
    pub untrusted: Untrusted,
    /// By what they are judged again.
    pub trust: Arc<TrustWatch>,
}

/// What clients of CTI see, and what is demanded of them.
#[derive(Debug)]
pub struct CtiFace {
    /// The handshake's side of it.
    pub tls: Arc<ServerTls>,
    /// Who judges clients in it.
    pub verifier: Arc<ClientVerifier>,
    /// By what connections from before are judged, if there may be some.
    pub trust: Option<Arc<TrustWatch>>,
}

/// One `[[passthrough]]` block on one listening address.
#[derive(Debug)]
pub struct Passthrough {
    /// Where connections go.
    pub line: Arc<Line>,
    /// What tells XSPs of the client.
    pub proxy_protocol: ProxyProtocol,
}

/// Where the connections of a block go, and who may use it.
#[derive(Debug)]
pub struct Line {
    /// Where its XSPs are.
    pub farm: Arc<Farm>,
    /// Its counters.
    pub metrics: StreamMetrics,
    /// What they are.
    pub kind: StreamKind,
    pub(super) idle_timeout: Option<Duration>,
    allow: Vec<IpNet>,
    trusted_proxies: Vec<IpNet>,
}

impl Cti {
    /// A block whose farm runs as `farm`, as seen on the listening address `listener`.
    pub fn new(
        cti: &model::Cti,
        face: CtiFace,
        farm: Arc<Farm>,
        listener: &str,
        metrics: &Metrics,
        allow: Vec<IpNet>,
    ) -> Self {
        let line = Line {
            metrics: metrics.stream(listener, farm.name()),
            farm,
            kind: StreamKind::Cti,
            idle_timeout: cti.idle_timeout,
            allow,
            trusted_proxies: cti.trusted_proxies.clone(),
        };
        let CtiFace { tls, verifier, trust } = face;
        let untrusted = cti.clients.untrusted;
        let trust = trust.unwrap_or_else(|| TrustWatch::new(&verifier, untrusted));
        Self { tls, line: Arc::new(line), verifier, untrusted, trust }
    }
}

impl Passthrough {
    /// A block whose farm runs as `farm`, as seen on the listening address `listener`.
    pub fn new(
        passthrough: &model::Passthrough,
        farm: Arc<Farm>,
        listener: &str,
        metrics: &Metrics,
        allow: Vec<IpNet>,
    ) -> Self {
        let line = Line {
            metrics: metrics.stream(listener, farm.name()),
            farm,
            kind: StreamKind::Passthrough,
            idle_timeout: passthrough.idle_timeout,
            allow,
            trusted_proxies: passthrough.trusted_proxies.clone(),
        };
        Self { line: Arc::new(line), proxy_protocol: passthrough.proxy_protocol }
    }
}

impl Line {
    /// Whether `client` may use this block.
    pub fn allows(&self, client: IpAddr) -> bool {
        self.allow.is_empty() || self.allow.iter().any(|net| net.contains(&client))
    }

    /// Whether what `peer` says of other peers is believed.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|net| net.contains(&peer))
    }
}
