//! A deployment as its configuration has it: every XSP of every farm, and the gateway's own front. Separate from the view from
//! outside, because here it is known what should be there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::Options;
use super::channel::{Contexts, Login};
use super::crew::Job;
use super::door::Door;
use super::finding::{Finding, Subject};
use super::front::{Absence, Demands, Front, Https, Served, Speaks};
use super::names::Located;
use super::verdict::Side;
use super::verdict::answer::Expected;
use super::xsp::{self, Manner, Shows};
use crate::broadworks::interface::Interface;
use crate::config::model::{self, Config, Farm};
use crate::tls::certs::Material;
use crate::tls::client::ClientTls;
use crate::tls::peer::facts;
use crate::tls::setup::SetupError;

/// The XSPs of one farm, as things to look at.
///
/// # Errors
/// The farm's TLS can't be set up.
pub(super) fn xsps(
    config: &Config,
    material: &Material,
    farm: &Farm,
    located: Vec<Located>,
    options: &Options,
) -> Result<Vec<Job<Option<i64>>>, SetupError> {
    let authorities = farm.proof.as_ref().and_then(|proof| material.authorities.get(&proof.trust.name));
    let identity = farm.certificate.as_ref().and_then(|certificate| material.identities.get(&certificate.name));
    let tls = ClientTls::new(farm, authorities.map(Arc::as_ref), identity.map(|identity| Arc::clone(&identity.key)))?;
    let trust = farm.proof.as_ref().map(|proof| format!("[trust.{}]", proof.trust.name)).unwrap_or_default();
    let shows = if identity.is_some() { Shows::Certificate } else { Shows::Nothing };
    let manner = Manner::of(config, farm);
    let job = |Located { address, site }: Located| {
        let door = Door {
            address,
            name: tls.name().clone(),
            tls: tls.for_endpoint(),
            trust: trust.clone(),
            side: Side::Xsp,
            patience: options.patience,
        };
        let manner = manner.clone();
        let site = site.map(|site| format!(" of {site}")).unwrap_or_default();
        Job::new(format!("farm {}, {address}{site}", farm.name), move |subject| xsp::look(door, manner, shows, subject))
    };
    Ok(located.into_iter().map(job).collect())
}

/// What the gateway itself listens on, name by name.
pub(super) fn fronts(config: &Config, material: &Material, options: &Options) -> Vec<Job<()>> {
    let mut jobs = Vec::new();
    let allow = |allow: &model::Allow| allow.resolved(material.webex_ranges());
    for block in &config.https {
        for (index, host) in block.hosts.iter().enumerate() {
            let login = options.login.clone().filter(|_| index == 0);
            let speaks = Speaks::Https(https(config, material, block, login));
            let alpn: &[&[u8]] = &[b"http/1.1"];
            jobs.extend(at(&block.listen, "https", host, &options.public.tls(alpn), &speaks, &[], options));
        }
    }
    for block in &config.cti {
        if let Some(host) = cti_name(config, material, block) {
            let tls = options.public.tls(&[]);
            jobs.extend(at(&block.listen, "cti", &host, &tls, &Speaks::Cti, &allow(&block.allow), options));
        }
    }
    for block in &config.passthrough {
        for host in &block.hosts {
            let tls = options.public.tls(&[]);
            jobs.extend(at(&block.listen, "passthrough", host, &tls, &Speaks::Unread, &allow(&block.allow), options));
        }
    }
    jobs
}

/// One name on each of a block's addresses.
fn at(
    listen: &[SocketAddr],
    kind: &str,
    host: &str,
    tls: &ClientConfig,
    speaks: &Speaks,
    allow: &[ipnet::IpNet],
    options: &Options,
) -> Vec<Job<()>> {
    let job = |listen: &SocketAddr| {
        let subject = format!("{kind} {listen}, {host}");
        let proved = ServerName::try_from(host.to_owned()).ok().filter(|_| listen.port() != 0);
        let Some(name) = proved else {
            return Job::new(subject, |subject: Subject| async {
                (subject.with([Finding::skip("tcp", "only the gateway that runs knows its port")]), ())
            });
        };
        let door = Door {
            address: own(*listen),
            name,
            tls: Arc::new(tls.clone()),
            trust: options.public.name().to_owned(),
            side: if matches!(speaks, Speaks::Unread) { Side::Through } else { Side::Front },
            patience: options.patience,
        };
        let front = Front {
            door,
            belief: options.public.verifier(),
            host: host.to_owned(),
            speaks: speaks.clone(),
            absence: Absence::Expected,
            allow: allow.to_vec(),
        };
        Job::new(subject, move |subject| front.look(subject))
    };
    listen.iter().map(job).collect()
}

/// Where this machine itself reaches what listens there.
fn own(listen: SocketAddr) -> SocketAddr {
    let address = match listen.ip() {
        IpAddr::V4(all) if all.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(all) if all.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        one @ (IpAddr::V4(_) | IpAddr::V6(_)) => one,
    };
    SocketAddr::new(address, listen.port())
}

fn https(config: &Config, material: &Material, block: &model::Https, login: Option<Login>) -> Https {
    let served = |route: &model::Route| Served {
        interface: route.interface,
        path: route.paths[0].join(route.interface.probe_suffix()),
        expected: Expected::Yes,
        demands: demands(route.clients.as_ref()),
        allow: route.allow.resolved(material.webex_ranges()),
    };
    let events = block.interfaces.iter().find(|route| route.interface == Interface::XsiEvents);
    Https {
        demands: demands(block.clients.as_ref()),
        interfaces: block.interfaces.iter().map(served).collect(),
        cookie: Some(config.affinity.cookie.clone()),
        events: events.and_then(contexts).zip(login),
    }
}

fn demands(clients: Option<&model::Clients>) -> Demands {
    if clients.is_some() { Demands::Certificate } else { Demands::Nothing }
}

/// The first of its paths is the interface's own, the second that of its streams, as BroadWorks has them.
fn contexts(route: &model::Route) -> Option<Contexts> {
    let mut paths = route.paths.iter().map(|path| path.as_str().trim_end_matches('/').to_owned());
    Some(Contexts { events: paths.next()?, streams: paths.next()? })
}

/// A name that Webex may use for CTI: no block says it, but the certificate does.
fn cti_name(config: &Config, material: &Material, block: &model::Cti) -> Option<String> {
    let certificate = &block.certificates.first()?.name;
    let shared = config.https.iter().find(|https| https.certificates.iter().any(|shown| shown.name == *certificate));
    let own = || {
        let leaf = facts(material.identities.get(certificate)?.key.cert.first()?).ok()?;
        leaf.dns_names.into_iter().find(|name| !name.contains('*'))
    };
    shared.and_then(|https| https.hosts.first().cloned()).or_else(own)
}

#[cfg(test)]
mod tests {
    use super::own;

    #[test]
    fn a_listener_on_all_addresses_is_reached_on_loopback() {
        for (listen, reached) in
            [("0.0.0.0:443", "127.0.0.1:443"), ("[::]:443", "[::1]:443"), ("192.0.2.1:8443", "192.0.2.1:8443")]
        {
            assert_eq!(own(listen.parse().unwrap()).to_string(), reached);
        }
    }
}
