//! Tries a whole deployment as Webex would, from its configuration or from outside by URL, and says what is wrong and what to
//! do about it. Separate from the gateway, which it needs not to run: it only dials as the gateway does, and asks for what
//! changes nothing; an event channel is opened only with credentials, and is deleted again.

mod ask;
mod channel;
mod crew;
mod deployment;
mod door;
pub mod finding;
mod front;
mod names;
mod old;
mod outside;
mod table;
mod trust;
mod verdict;
mod witness;
mod xsp;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub use self::channel::Login;
pub use self::outside::{BadUrl, Url};
pub use self::trust::{Public, TrustError};

use self::crew::Job;
use self::finding::{Report, Subject};
use self::names::{View, Xsi};
use crate::broadworks::interface::Interface;
use crate::config::model::{Config, Dns, Farm};
use crate::discover::dns::DnsResolver;
use crate::tls::certs::{Material, now};
use crate::tls::setup::SetupError;

/// The whole takes no longer than this, whatever `patience` is.
pub const LONGEST: Duration = Duration::from_secs(120);

/// How to look.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whom clients on the public side believe.
    pub public: Public,
    /// The longest that one step may take: a look-up, a connect, a handshake, an answer.
    pub patience: Duration,
    /// The DNS server that is asked for public names; `None`: that of the configuration, or of this machine.
    pub dns: Option<SocketAddr>,
    /// With whose event channel to try the heartbeat; `None`: it is not tried.
    pub login: Option<Login>,
}

/// What to look at from outside.
#[derive(Clone, Debug)]
pub struct Outside {
    /// As Webex is given them.
    pub urls: Vec<Url>,
    /// Where to connect to instead of where DNS points.
    pub connect: Option<SocketAddr>,
}

/// Tries what `config` describes: farms and listeners.
///
/// # Errors
/// A farm's TLS can't be set up. Whatever is wrong in the network is in the report.
pub async fn deployment(config: &Config, material: &Material, options: &Options) -> Result<Report, SetupError> {
    let begun = Instant::now();
    let deadline = begun + LONGEST;
    let mut subjects = Vec::new();
    let (mut xsps, mut each) = (Vec::new(), Vec::new());
    for (farm, (names, located)) in config.farms.values().zip(farms(config, deadline).await) {
        each.push((farm, names, located.len()));
        xsps.extend(deployment::xsps(config, material, farm, located, options)?);
    }
    let mut looked = crew::all(xsps, deadline).await.into_iter();
    for (farm, names, count) in each {
        subjects.push(names);
        let (of_farm, offsets): (Vec<Subject>, Vec<Option<i64>>) = looked.by_ref().take(count).unzip();
        subjects.extend(of_farm);
        let offsets: Vec<i64> = offsets.into_iter().flatten().collect();
        if offsets.len() > 1 {
            let all = Subject::new(format!("farm {}, all XSPs", farm.name));
            subjects.push(all.with([verdict::clock::several(&offsets)]));
        }
    }
    if let Some(finding) = verdict::ranges::in_use(config, material, now()) {
        subjects.push(Subject::new("webex").with([finding]));
    }
    subjects.extend(public_names(config, options, deadline).await);
    let fronts = crew::all(deployment::fronts(config, material, options), deadline).await;
    subjects.extend(fronts.into_iter().map(|(subject, ())| subject));
    Ok(Report::new(subjects, begun.elapsed()))
}

/// Tries what stands behind URLs.
pub async fn outside(outside: &Outside, options: &Options) -> Report {
    let begun = Instant::now();
    let deadline = begun + LONGEST;
    let resolver = Arc::new(DnsResolver::new(&dns(None, options)));
    let look_ups = outside.urls.iter().map(|url| outside::look_up(url, outside.connect, &resolver)).collect();
    let found = crew::all(look_ups, deadline).await;
    let led = outside.urls.iter().zip(&found);
    let jobs = led.flat_map(|(url, (_, addresses))| addresses.iter().map(|&to| outside::job(url, to, options)));
    let mut looked = crew::all(jobs.collect(), deadline).await.into_iter();
    let mut subjects = Vec::new();
    for (names, addresses) in found {
        subjects.push(names);
        subjects.extend(looked.by_ref().take(addresses.len()).map(|(subject, ())| subject));
    }
    Report::new(subjects, begun.elapsed())
}

/// Finds the XSPs of every farm.
async fn farms(config: &Config, deadline: Instant) -> Vec<(Subject, Vec<names::Located>)> {
    let resolver = Arc::new(DnsResolver::new(&config.dns));
    let job = |farm: &Arc<Farm>| {
        let (resolver, farm) = (Arc::clone(&resolver), Arc::clone(farm));
        Job::new(format!("farm {}", farm.name), move |mut subject| async move {
            let located = names::farm(&resolver, &farm, &mut subject).await;
            (subject, located)
        })
    };
    crew::all(config.farms.values().map(job).collect(), deadline).await
}

/// What Webex looks up.
async fn public_names(config: &Config, options: &Options, deadline: Instant) -> Vec<Subject> {
    let resolver = Arc::new(DnsResolver::new(&dns(Some(&config.dns), options)));
    let view = if options.dns.is_some() { View::Outside } else { View::Inside };
    let is_xsi = |interface| matches!(interface, Interface::XsiActions | Interface::XsiEvents);
    let https = config.https.iter().flat_map(|block| {
        let xsi = block.interfaces.iter().any(|route| is_xsi(route.interface));
        block.hosts.iter().map(move |host| (host, if xsi { Xsi::Yes } else { Xsi::No }))
    });
    let passthrough = config.passthrough.iter().flat_map(|block| &block.hosts).map(|host| (host, Xsi::No));
    let job = |(host, xsi): (&String, Xsi)| {
        let (resolver, host) = (Arc::clone(&resolver), host.clone());
        Job::new(format!("name {host}"), move |mut subject| async move {
            names::public(&resolver, &host, view, xsi, &mut subject).await;
            (subject, ())
        })
    };
    let looked = crew::all(https.chain(passthrough).map(job).collect(), deadline).await;
    looked.into_iter().map(|(subject, ())| subject).collect()
}

/// Whom to ask for public names.
fn dns(configured: Option<&Dns>, options: &Options) -> Dns {
    match (options.dns, configured) {
        (None, Some(configured)) => configured.clone(),
        (server, _) => Dns {
            servers: server.into_iter().collect(),
            timeout: options.patience,
            min_ttl: Duration::from_secs(1),
            max_ttl: Duration::from_secs(300),
            forget_after: Duration::from_secs(30),
        },
    }
}
