//! Look-ups, by the resolver that the gateway uses itself. Separate from discovery, which keeps addresses fresh and forgives
//! what is said here.

use std::net::{IpAddr, SocketAddr};

use super::finding::{Finding, Subject};
use super::verdict::{Side, names};
use crate::config::model::{AddressFamily, Farm, Source};
use crate::discover::dns::DnsResolver;
use crate::discover::{Question, RecordKind, Resolve, ResolveError};
use crate::policy::srv;

/// An XSP that is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Located {
    pub(super) address: SocketAddr,
    /// The site that it is in, of a farm that has several.
    pub(super) site: Option<String>,
}

/// Finds the XSPs of a farm, each once; what is said about the names goes to `subject`.
pub(super) async fn farm(resolver: &DnsResolver, farm: &Farm, subject: &mut Subject) -> Vec<Located> {
    let mut located: Vec<Located> = Vec::new();
    for site in &farm.sites {
        let addresses = match &site.source {
            Source::Static(addresses) => {
                let shown = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                subject.add(Finding::ok("dns", format!("not asked: the configuration has {shown}")));
                addresses.clone()
            }
            Source::Address(name) => by_name(resolver, farm, name, subject).await,
            Source::Srv { name, fallback } => by_srv(resolver, farm, name, fallback, subject).await,
        };
        for address in addresses {
            if !located.iter().any(|known| known.address == address) {
                let site = (farm.sites.len() > 1).then(|| site.name.clone());
                located.push(Located { address, site });
            }
        }
    }
    located
}

async fn by_name(resolver: &DnsResolver, farm: &Farm, name: &str, subject: &mut Subject) -> Vec<SocketAddr> {
    let found = of_name(resolver, kinds(farm.family), name, subject, names::addresses).await;
    found.into_iter().map(|address| SocketAddr::new(address, farm.port)).collect()
}

async fn by_srv(
    resolver: &DnsResolver,
    farm: &Farm,
    name: &str,
    fallback: &str,
    subject: &mut Subject,
) -> Vec<SocketAddr> {
    let question = Question::new(name, RecordKind::Srv);
    let answer = match resolver.look_up(&question).await {
        Ok(answer) => answer,
        Err(error @ ResolveError::NoService { .. }) => {
            subject.add(names::not_offered(&question, &error));
            return Vec::new();
        }
        Err(error) => {
            subject.add(names::no_targets(&question, &error));
            return by_name(resolver, farm, fallback, subject).await;
        }
    };
    let targets = srv::in_order(answer.records.targets().iter().cloned());
    subject.add(names::targets(&question, &targets));
    let mut located = Vec::new();
    for target in &targets {
        let found = of_name(resolver, kinds(farm.family), &target.name, subject, names::target).await;
        // As discovery has it: IPv4 before IPv6, and the lowest of them.
        located.extend(found.into_iter().min().map(|address| SocketAddr::new(address, target.port)));
    }
    located
}

/// The addresses of a name of all these kinds; one kind without any is fine if another has some.
async fn of_name(
    resolver: &DnsResolver,
    kinds: &[RecordKind],
    name: &str,
    subject: &mut Subject,
    verdict: fn(&Question, &[IpAddr]) -> Finding,
) -> Vec<IpAddr> {
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    for &kind in kinds {
        let question = Question::new(name, kind);
        match resolver.look_up(&question).await {
            Ok(answer) => {
                let mut addresses = answer.records.addresses().to_vec();
                addresses.sort_unstable();
                subject.add(verdict(&question, &addresses));
                found.extend(addresses);
            }
            Err(error) => failed.push((question, error)),
        }
    }
    let indefinite = |error: &ResolveError| !error.outcome().is_definite_none();
    for (question, error) in failed.iter().filter(|(_, error)| found.is_empty() || indefinite(error)) {
        subject.add(names::nothing(question, error, Side::Xsp));
    }
    found
}

/// Where a public name is seen from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// By the gateway's own DNS, which need not know public names.
    Inside,
    /// As clients see it.
    Outside,
}

/// The IPv4 addresses of a name that Webex looks up (R-DNS-1, R-TOP-7); with `Xsi` also what the app looks up (R-DNS-2).
pub(super) async fn public(
    resolver: &DnsResolver,
    host: &str,
    view: View,
    xsi: Xsi,
    subject: &mut Subject,
) -> Vec<IpAddr> {
    let question = Question::new(host, RecordKind::A);
    let mut addresses = match resolver.look_up(&question).await {
        Ok(answer) => answer.records.addresses().to_vec(),
        Err(error) => {
            subject.add(match view {
                View::Inside => names::unknown_inside(&question, &error),
                View::Outside => names::nothing(&question, &error, Side::Front),
            });
            return Vec::new();
        }
    };
    addresses.sort_unstable();
    subject.add(names::addresses(&question, &addresses));
    let sixth = Question::new(host, RecordKind::Aaaa);
    if let Ok(answer) = resolver.look_up(&sixth).await {
        subject.add(names::ipv6(&sixth, answer.records.addresses()));
    }
    if xsi == Xsi::Yes {
        app(resolver, &question, &addresses, subject).await;
    }
    addresses
}

/// Whether a name is one of an Xsi interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Xsi {
    Yes,
    No,
}

/// What the app makes of a name: SRV first, and then a single address.
async fn app(resolver: &DnsResolver, question: &Question, addresses: &[IpAddr], subject: &mut Subject) {
    let service = Question::new(&format!("_xsi-client._tcp.{}", question.name), RecordKind::Srv);
    match resolver.look_up(&service).await {
        Ok(answer) => {
            let targets = srv::in_order(answer.records.targets().iter().cloned());
            subject.add(names::targets(&service, &targets));
            for target in &targets {
                of_name(resolver, &[RecordKind::A], &target.name, subject, names::target).await;
            }
        }
        Err(_) if addresses.len() > 1 => subject.add(names::app_wants_one(question, addresses)),
        Err(_) => {}
    }
}

const fn kinds(family: AddressFamily) -> &'static [RecordKind] {
    match family {
        AddressFamily::Ipv4 => &[RecordKind::A],
        AddressFamily::Ipv6 => &[RecordKind::Aaaa],
        AddressFamily::Both => &[RecordKind::A, RecordKind::Aaaa],
    }
}
