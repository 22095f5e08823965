//! `[[https]]`: hosts, interfaces and what differs between them. Separate from the sockets, which blocks may share, and from
//! the blocks of byte streams, which know nothing of interfaces.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use ipnet::IpNet;
use toml::Spanned;

use super::farm::failover;
use super::{Check, Kind, Known, or, security};
use crate::broadworks::interface::Interface;
use crate::config::error::Problem;
use crate::config::file::{self, File, Key, List};
use crate::config::model::{
    Allow, Certificate, ChannelReplay, ClientPurpose, Clients, Farm, Https, Nameless, Route, Untrusted,
};
use crate::config::place::Spot;
use crate::config::types::choice::{Choice, Preset};
use crate::config::types::name::HostName;
use crate::config::types::names::Names;
use crate::config::types::network::{self, Allowed, Listen};
use crate::policy::classify::Replay;
use crate::policy::route::PathPrefix;

const LISTEN: &str = "addresses and ports, such as listen = [\"0.0.0.0:443\"]";
const HOSTS: &str = "the names that clients use, such as hosts = [\"webex-app-xsp.example.com\"]";
const FARM: &str = "the [farm.NAME] that requests go to";
const SHOWN: &str = "the [certificate.NAME] that is shown to clients";

/// The blocks, and where their hosts stand.
pub(super) fn https(check: &mut Check<'_>, file: &File, known: &Known<'_>) -> (Vec<Https>, Vec<(Spot, Range<usize>)>) {
    let mut blocks = Vec::new();
    let mut spots = Vec::new();
    for section in &file.https {
        let Some(block) = https_block(check, section, known) else { continue };
        let hosts = section.get_ref().hosts.iter().flat_map(Spanned::get_ref).enumerate();
        spots.extend(hosts.map(|(host, name)| (Spot::Host { block: blocks.len(), host }, name.span())));
        blocks.push(block);
    }
    same_host_names(check, file);
    (blocks, spots)
}

fn https_block(check: &mut Check<'_>, section: &Spanned<file::Https>, known: &Known<'_>) -> Option<Https> {
    let (table, fields) = (section.span(), section.get_ref());
    let listen = listen(check, &table, &fields.listen);
    let hosts = hosts(check, &table, &fields.hosts);
    let certificates = certificates(check, &table, &fields.certificate, known);
    let clients = clients(check, fields, &fields.client_trust, known);
    let interfaces = routes(check, section, known);
    client_keys(check, fields);
    let tls = security::policy(check, &fields.tls);
    Some(Https {
        listen: listen?,
        hosts: hosts?,
        nameless: nameless(&fields.default),
        certificates: certificates?,
        clients: clients?,
        tls,
        trusted_proxies: ranges(&fields.trusted_proxies),
        interfaces: interfaces?,
    })
}

/// What the trust that `key` names demands of clients, with the block's other keys. `None`: one is named, but it is
/// missing or broken.
#[expect(clippy::option_option, reason = "the outer one says whether the block can be used at all")]
fn clients(
    check: &mut Check<'_>,
    block: &file::Https,
    key: &Key<super::SectionName>,
    known: &Known<'_>,
) -> Option<Option<Clients>> {
    let Some(name) = key else { return Some(None) };
    let trust = check.find(Kind::Trust, name, known.trusts)?;
    let names = block.client_names.iter().flat_map(Spanned::get_ref).map(|name| name.get_ref().0.clone()).collect();
    let purpose = or(&block.client_purpose, |purpose| purpose.0, ClientPurpose::ClientAuth);
    let untrusted = or(&block.end_untrusted, |ended| ended.0, Untrusted::Kept);
    Some(Some(Clients { trust, names, purpose, eku: Vec::new(), untrusted }))
}

/// Names of client certificates where none is demanded, and trusts that differ within a block.
fn client_keys(check: &mut Check<'_>, block: &file::Https) {
    let own = block.interface.values().filter_map(|overrides| overrides.get_ref().client_trust.as_ref());
    let mut trusts = block.client_trust.iter().chain(own);
    let Some(first) = trusts.next() else {
        let names = block.client_names.as_ref().map(|names| ("client_names", names.span()));
        let ended = block.end_untrusted.as_ref().filter(|ended| ended.get_ref().0 == Untrusted::Ended);
        let ended = ended.map(|ended| ("end_untrusted", ended.span()));
        for (key, span) in names.into_iter().chain(ended) {
            let message = format!("{key} is about client certificates, and no client_trust demands one");
            let help = "name a [trust.NAME] as client_trust, here or for an interface";
            check.report(Problem::warning(span, message).help(help));
        }
        return;
    };
    for other in trusts.filter(|other| other.get_ref() != first.get_ref()) {
        let message = format!("another client_trust of this block is \"{}\"", first.get_ref().0);
        let help = "a client shows one certificate only: name the same CAs, or make two blocks of it";
        check.report(Problem::error(other.span(), message).help(help));
    }
}

/// The certificates that a block shows.
pub(super) fn certificates(
    check: &mut Check<'_>,
    table: &Range<usize>,
    key: &Key<Names>,
    known: &Known<'_>,
) -> Option<Vec<Arc<Certificate>>> {
    let names = check.required(table, "certificate", key, SHOWN)?;
    let list: Vec<_> = names.get_ref().0.iter().map(|name| Spanned::new(names.span(), name.clone())).collect();
    if list.is_empty() && !check.gaps.has_element(&names.span()) {
        check.report(Problem::error(names.span(), "`certificate` is empty").help(SHOWN));
    }
    check.distinct(&list, |name| name.0.clone(), "the certificate");
    let found: Vec<_> = list.iter().map(|name| check.find(Kind::Certificate, name, known.certificates)).collect();
    found.into_iter().collect::<Option<Vec<_>>>().filter(|found| !found.is_empty())
}

pub(super) fn listen(check: &mut Check<'_>, table: &Range<usize>, list: &List<Listen>) -> Option<Vec<SocketAddr>> {
    let list = check.filled(table, "listen", list, LISTEN)?;
    check.distinct(list, |listen| listen.0, "the address");
    Some(list.iter().map(|listen| listen.get_ref().0).collect())
}

pub(super) fn hosts(check: &mut Check<'_>, table: &Range<usize>, list: &List<HostName>) -> Option<Vec<String>> {
    let list = check.filled(table, "hosts", list, HOSTS)?;
    check.distinct(list, |host| host.0.clone(), "the host");
    Some(list.iter().map(|host| host.get_ref().0.clone()).collect())
}

pub(super) fn nameless(key: &Key<Preset>) -> Nameless {
    or(key, |preset| preset.0, Nameless::LeftToOthers)
}

pub(super) fn allow(list: &List<Allowed>) -> Allow {
    let mut allow = Allow::default();
    for allowed in list.iter().flat_map(Spanned::get_ref) {
        match *allowed.get_ref() {
            Allowed::Range(range) => allow.ranges.push(range),
            Allowed::Webex(name) => allow.webex.push(name),
        }
    }
    allow
}

pub(super) fn ranges(list: &List<network::Range>) -> Vec<IpNet> {
    list.iter().flat_map(Spanned::get_ref).map(|range| range.get_ref().0).collect()
}

fn routes(check: &mut Check<'_>, section: &Spanned<file::Https>, known: &Known<'_>) -> Option<Vec<Route>> {
    let (table, fields) = (section.span(), section.get_ref());
    let names = Interface::ALL.map(|interface| format!("\"{}\"", interface.name())).join(", ");
    let help = format!("the BroadWorks applications that are served, of {names}");
    let interfaces = check.filled(&table, "interfaces", &fields.interfaces, &help);
    let everywhere_own = interfaces.is_some_and(|interfaces| {
        interfaces.iter().all(|name| overrides(section, name.get_ref()).is_some_and(|own| own.get_ref().farm.is_some()))
    });
    let farm = match &fields.farm {
        None if everywhere_own => None,
        farm => check.required(&table, "farm", farm, FARM).map(|name| check.find(Kind::Farm, name, known.farms)),
    };
    stray_overrides(check, section);
    let interfaces = interfaces?;
    check.distinct(interfaces, |name| name.0, "the interface");
    let routes: Vec<Option<Route>> = interfaces
        .iter()
        .map(|name| {
            route(check, section, name.get_ref().0, overrides(section, name.get_ref()), farm.clone().flatten(), known)
        })
        .collect();
    let routes = routes.into_iter().collect::<Option<Vec<Route>>>()?;
    shared_paths(check, section, &routes);
    Some(routes)
}

fn overrides<'a>(section: &'a Spanned<file::Https>, name: &Choice<Interface>) -> Option<&'a Spanned<file::Overrides>> {
    let found = section.get_ref().interface.iter().find(|(key, _)| key.get_ref() == name);
    found.map(|(_, overrides)| overrides)
}

fn route(
    check: &mut Check<'_>,
    section: &Spanned<file::Https>,
    interface: Interface,
    overrides: Option<&Spanned<file::Overrides>>,
    block_farm: Option<Arc<Farm>>,
    known: &Known<'_>,
) -> Option<Route> {
    let own = overrides.map(|overrides| overrides.get_ref().clone()).unwrap_or_default();
    let farm = match &own.farm {
        Some(name) => check.find(Kind::Farm, name, known.farms),
        None => block_farm,
    };
    let clients = clients(check, section.get_ref(), &own.client_trust, known);
    let span = overrides.map(Spanned::span).unwrap_or_default();
    let paths = match &own.paths {
        Some(_) => {
            let help = "leave it out for the interface's own";
            let list = check.filled(&span, "paths", &own.paths, help)?;
            list.iter().map(|path| path.get_ref().0.clone()).collect()
        }
        None => default_paths(interface),
    };
    let probe_path = match &own.probe_path {
        Some(path) => path.get_ref().0.clone(),
        None => paths.first()?.join(interface.probe_suffix()),
    };
    let farm = farm?;
    let failover = failover(check, &own.failover, &farm.failover);
    let channel_replay = channel_replay(interface, &own);
    let allow = allow(if own.allow.is_some() { &own.allow } else { &section.get_ref().allow });
    Some(Route { interface, farm, paths, probe_path, allow, clients: clients?, failover, channel_replay })
}

fn channel_replay(interface: Interface, own: &file::Overrides) -> ChannelReplay {
    let named = own.failover.as_ref().and_then(|failover| failover.get_ref().replay.as_ref());
    let all = named.is_some_and(|replay| replay.get_ref().0 == Replay::All);
    if all && interface == Interface::XsiEvents { ChannelReplay::Allowed } else { ChannelReplay::Never }
}

fn default_paths(interface: Interface) -> Vec<PathPrefix> {
    let parsed = |path: &&str| path.parse().expect("the interfaces' own paths are prefixes: a test reads them all");
    interface.default_paths().iter().map(parsed).collect()
}

/// Overrides of an interface that the block does not serve.
fn stray_overrides(check: &mut Check<'_>, section: &Spanned<file::Https>) {
    let fields = section.get_ref();
    let Some(interfaces) = &fields.interfaces else { return };
    for name in fields.interface.keys() {
        let served = interfaces.get_ref().iter().any(|served| served.get_ref() == name.get_ref());
        if !served && !check.gaps.has_element(&interfaces.span()) {
            let name_text = name.get_ref().0.name();
            let message = format!("\"{name_text}\" is not among this block's interfaces");
            let help = format!(
                "add it to `interfaces` in {}, or move this table below the block that serves it",
                check.line(&interfaces.span())
            );
            check.report(Problem::error(name.span(), message).help(help));
        }
    }
}

/// Two interfaces of a block under the same path.
fn shared_paths(check: &mut Check<'_>, section: &Spanned<file::Https>, routes: &[Route]) {
    for (index, route) in routes.iter().enumerate() {
        for (place, path) in route.paths.iter().enumerate() {
            let own = route.paths[..place].iter().map(|other| (route.interface, other));
            let others =
                routes[..index].iter().flat_map(|other| other.paths.iter().map(|path| (other.interface, path)));
            let Some((taken, _)) = others.chain(own).find(|(_, other)| other.equivalent(path)) else { continue };
            let span = path_span(section, route.interface, place).or_else(|| {
                let theirs = routes.iter().find(|other| other.interface == taken)?;
                let place = theirs.paths.iter().position(|other| other.equivalent(path))?;
                path_span(section, taken, place)
            });
            let message =
                format!("\"{path}\" leads to two interfaces: {} and {}", taken.name(), route.interface.name());
            let problem = match taken == route.interface {
                true => Problem::error(span, format!("the path \"{path}\" is named twice")).help("keep one"),
                false => Problem::error(span, message).help("give each interface paths of its own"),
            };
            check.report(problem);
        }
    }
}

fn path_span(section: &Spanned<file::Https>, interface: Interface, place: usize) -> Option<Range<usize>> {
    let paths = overrides(section, &Choice(interface))?.get_ref().paths.as_ref()?;
    Some(paths.get_ref().get(place)?.span())
}

/// R-TOP-5: Call Settings Webview has the host name of Xsi-Actions.
fn same_host_names(check: &mut Check<'_>, file: &File) {
    let serves = |block: &file::Https, interface: Interface| {
        block.interfaces.iter().flat_map(Spanned::get_ref).any(|name| name.get_ref().0 == interface)
    };
    let hosts = |block: &file::Https| -> Vec<String> {
        block.hosts.iter().flat_map(Spanned::get_ref).map(|host| host.get_ref().0.clone()).collect()
    };
    let blocks = || file.https.iter().map(Spanned::get_ref);
    let actions: Vec<String> = blocks().filter(|block| serves(block, Interface::XsiActions)).flat_map(hosts).collect();
    for block in blocks().filter(|block| serves(block, Interface::CallSettings)) {
        for host in block.hosts.iter().flat_map(Spanned::get_ref) {
            if !actions.contains(&host.get_ref().0) && check.gaps.is_empty() {
                let message = format!("{} serves call-settings without xsi-actions", host.get_ref().0);
                let help = "Call Settings Webview must have the same host name as Xsi-Actions";
                check.report(Problem::warning(host.span(), message).help(help));
            }
        }
    }
}
