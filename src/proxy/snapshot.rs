//! One immutable compiled configuration: listeners, blocks, routes. A request loads it once and sees nothing else.

mod introduction;
mod listener;
mod way;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::broadworks::interface::Interface;
use crate::config::model;
use crate::farm::Farm;
use crate::http1::head;
use crate::policy::headers::Via;
use crate::policy::route::{Paths, Unroutable};
use crate::telemetry::metrics::{Metrics, RouteMetrics};
use crate::tls::certs::{Authorities, Identity};
use crate::tls::clients::{Fault, Peer, TrustWatch};
use crate::tls::server::{ClientAuth, ServerTls};
use crate::tls::tickets::Secrets;

pub use introduction::Introduction;
pub use listener::{Listener, Served};
pub(super) use way::Way;

/// Everything that requests are served by; cheap to clone.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What clients may take.
    pub limits: model::Limits,
    /// How their connections are set up.
    pub tcp: model::Tcp,
    /// The same as `limits`, as the codec wants it.
    pub head_limits: head::HeadLimits,
    /// Where Webex's cloud connects from.
    pub webex: Arc<[IpNet]>,
    /// Which messages say that they have come through a gateway.
    pub via: Via,
    /// The listening addresses, in file order.
    pub listeners: Arc<[Listener]>,
    /// What `[[https]]` blocks show in the handshake, in file order.
    pub faces: Arc<[Face]>,
    /// How long a stop waits for what is in flight.
    pub drain_timeout: Duration,
    /// How long a process that has been replaced keeps its streams.
    pub handover_timeout: Duration,
    /// Every farm that runs. Those that no block leads to any more are among them, as long as something is left of them, and
    /// those that one will lead to as soon as their XSPs are found.
    pub farms: Arc<[Arc<Farm>]>,
}

/// What one `[[https]]` block shows in the handshake, and what that is made of.
#[derive(Clone, Debug)]
pub struct Face {
    /// The block.
    pub https: model::Https,
    /// The handshake's side of it. Its tickets can be resumed as long as this very one is in use.
    pub tls: Arc<ServerTls>,
    /// Whether clients are asked for a certificate in it, and who judges that.
    pub clients: ClientAuth,
    /// The certificates, in the block's order.
    pub identities: Vec<Arc<Identity>>,
    /// From what the keys of tickets come that other gateways open.
    pub ticket_secrets: Secrets,
    /// Those who sign clients' certificates, if any are asked for.
    pub authorities: Option<Arc<Authorities>>,
    /// By what clients are judged again that have shown a certificate, if any are asked for.
    pub trust: Option<Arc<TrustWatch>>,
    /// What Webex's names in `allow` stand for, if a file says so.
    pub webex_ranges: Option<Arc<[IpNet]>>,
}

impl Face {
    /// Whether it is of the same block, whatever has changed about that.
    pub fn is_for(&self, https: &model::Https) -> bool {
        self.https.listen == https.listen && self.https.hosts == https.hosts
    }

    /// Whether it is this block's, and made of these very ones.
    pub fn is_of(
        &self,
        https: &model::Https,
        identities: &[Arc<Identity>],
        authorities: Option<&Arc<Authorities>>,
        ticket_secrets: &Secrets,
    ) -> bool {
        let asked = |https: &model::Https| {
            let interfaces = https.interfaces.iter().map(|route| route.clients.clone());
            (https.clients.clone(), interfaces.collect::<Vec<_>>())
        };
        self.is_for(https)
            && self.https.tls == https.tls
            && self.ticket_secrets == *ticket_secrets
            && asked(&self.https) == asked(https)
            && self.identities.iter().map(Arc::as_ptr).eq(identities.iter().map(Arc::as_ptr))
            && self.authorities.as_ref().map(Arc::as_ptr) == authorities.map(Arc::as_ptr)
    }
}

/// One `[[https]]` block on one listening address.
#[derive(Debug)]
pub struct Block {
    /// What clients see of it in the handshake.
    pub tls: Arc<ServerTls>,
    /// Who they are, after it.
    pub clients: ClientAuth,
    /// Whether they still are, later.
    pub trust: Option<Arc<TrustWatch>>,
    hosts: Vec<String>,
    paths: Paths,
    routes: [Option<Arc<Route>>; Interface::ALL.len()],
    trusted_proxies: Vec<IpNet>,
}

/// One interface of a block.
#[derive(Clone, Debug)]
pub struct Route {
    /// Which application.
    pub interface: Interface,
    /// Where its XSPs are.
    pub farm: Arc<Farm>,
    /// Where they were before the configuration changed, and where event channels may still be.
    pub former: Vec<Arc<Farm>>,
    /// How it fails over.
    pub failover: model::Failover,
    /// Whether channel requests may be sent twice.
    pub channel_replay: model::ChannelReplay,
    /// What a second look asks for.
    pub probe_path: String,
    /// The affinity cookie's name.
    pub cookie: String,
    /// Its counters.
    pub metrics: RouteMetrics,
    allow: Vec<IpNet>,
    clients: ClientCertificate,
}

/// A client that may not use an interface, since it is for those with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// It has shown none.
    Nameless,
    /// It has shown one with this fault.
    Doubted(Fault),
}

/// Whether an interface is for clients with a certificate only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientCertificate {
    Demanded,
    NotDemanded,
}

impl Block {
    /// A block that shows `face`, whose farms run under `farms`' names, as seen on the listening address `listener`; `old` is
    /// the snapshot before.
    pub fn new(
        https: &model::Https,
        face: &Face,
        farms: &[Arc<Farm>],
        old: Option<&Snapshot>,
        cookie: &str,
        listener: &str,
        metrics: &Metrics,
    ) -> Self {
        let paths =
            https.interfaces.iter().flat_map(|route| route.paths.iter().map(|path| (route.interface, path.clone())));
        let first_farm = https.interfaces.first().map(|route| route.farm.name.as_str());
        let mut routes = [const { None }; Interface::ALL.len()];
        for route in &https.interfaces {
            let farm = farms
                .iter()
                .find(|farm| farm.name() == route.farm.name)
                .expect("a farm runs for each one in the model");
            routes[route.interface.index()] = Some(Arc::new(Route {
                interface: route.interface,
                farm: Arc::clone(farm),
                former: old.map_or_else(Vec::new, |old| old.former_farms(https, route.interface, farm)),
                failover: route.failover.clone(),
                channel_replay: route.channel_replay,
                probe_path: route.probe_path.clone(),
                cookie: cookie_name(cookie, first_farm, https, route),
                metrics: metrics.route(listener, route.interface.name()),
                allow: route.allow.resolved(face.webex_ranges.as_deref()),
                clients: match https.clients.as_ref().or(route.clients.as_ref()) {
                    Some(_) => ClientCertificate::Demanded,
                    None => ClientCertificate::NotDemanded,
                },
            }));
        }
        Self {
            tls: Arc::clone(&face.tls),
            clients: face.clients.clone(),
            trust: face.trust.clone(),
            hosts: https.hosts.clone(),
            paths: Paths::new(paths),
            routes,
            trusted_proxies: https.trusted_proxies.clone(),
        }
    }

    /// The route of a path.
    ///
    /// # Errors
    /// When the path is nobody's, or reads in two ways.
    pub fn route(&self, path: &[u8]) -> Result<&Arc<Route>, Unroutable> {
        self.routes[self.paths.find(path)?.index()].as_ref().ok_or(Unroutable::Unknown)
    }

    /// Whether what `peer` says of other peers is believed.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|net| net.contains(&peer))
    }
}

impl Snapshot {
    /// Whether `client` is Webex's cloud.
    pub fn is_webex(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.webex.iter().any(|net| net.contains(&client))
    }

    /// Whether the connections of `client` are not counted by source: few addresses bring the traffic of many users.
    pub fn is_exempt(&self, client: IpAddr) -> bool {
        let canonical = client.to_canonical();
        self.limits.exempt.iter().any(|net| net.contains(&canonical)) || self.is_webex(client)
    }

    /// The same, while these farms run.
    #[must_use]
    pub fn with_farms(&self, farms: Arc<[Arc<Farm>]>) -> Self {
        Self { farms, ..self.clone() }
    }

    /// Has connections judged again whose clients have shown a certificate, when they are called to look.
    pub fn judge_clients(&self) {
        for face in self.faces.iter() {
            let demand = face.https.demand().map(|clients| clients.untrusted);
            if let (Some(trust), Some(verifier), Some(untrusted)) = (&face.trust, face.clients.verifier(), demand) {
                trust.renew(verifier, untrusted);
            }
        }
        for cti in self.listeners.iter().filter_map(Listener::cti) {
            cti.trust.renew(&cti.verifier, cti.untrusted);
        }
    }

    /// The farms, besides `now`, that `interface` of a block with one of these hosts has had, as long as something is left of
    /// them: what names an event channel there goes there still (R-AFF-2).
    fn former_farms(&self, https: &model::Https, interface: Interface, now: &Arc<Farm>) -> Vec<Arc<Farm>> {
        let blocks = self
            .listeners
            .iter()
            .flat_map(|listener| https.hosts.iter().filter_map(|host| listener.block(Some(host))).map(Arc::clone));
        let mut farms: Vec<Arc<Farm>> = Vec::new();
        for block in blocks {
            let Some(route) = &block.routes[interface.index()] else { continue };
            for farm in route.former.iter().chain([&route.farm]).filter(|farm| !farm.is_empty()) {
                if !Arc::ptr_eq(farm, now) && !farms.iter().any(|known| Arc::ptr_eq(known, farm)) {
                    farms.push(Arc::clone(farm));
                }
            }
        }
        farms
    }
}

impl Route {
    /// This route, as it leads to `farm`, if it has led there before.
    pub fn back_to(&self, farm: &Arc<Farm>) -> Option<Arc<Self>> {
        let farm = Arc::clone(self.former.iter().find(|former| Arc::ptr_eq(former, farm))?);
        Some(Arc::new(Self { farm, former: Vec::new(), ..self.clone() }))
    }

    /// Whether `client` may use this interface.
    pub fn allows(&self, client: IpAddr) -> bool {
        self.allow.is_empty() || self.allow.iter().any(|net| net.contains(&client))
    }

    /// Lets a client use this interface that has proved to be `peer` (R-AUTH-2).
    ///
    /// # Errors
    /// It is for clients with a certificate that is believed.
    pub fn admit(&self, peer: &Peer) -> Result<(), Stranger> {
        match (self.clients, peer) {
            (ClientCertificate::NotDemanded, _) | (ClientCertificate::Demanded, Peer::Proved(_)) => Ok(()),
            (ClientCertificate::Demanded, Peer::Nobody) => Err(Stranger::Nameless),
            (ClientCertificate::Demanded, Peer::Doubted(fault)) => Err(Stranger::Doubted(*fault)),
        }
    }
}

/// A block's interfaces share one cookie as long as they share one farm. An interface with a farm of its own has a cookie
/// of its own, or the two would take turns in moving the session.
fn cookie_name(cookie: &str, first_farm: Option<&str>, https: &model::Https, route: &model::Route) -> String {
    if first_farm == Some(route.farm.name.as_str()) {
        return cookie.to_owned();
    }
    let mates = https.interfaces.iter().filter(|other| other.farm.name == route.farm.name);
    let first = mates.map(|other| other.interface.name()).next().unwrap_or(route.interface.name());
    format!("{cookie}-{first}")
}
