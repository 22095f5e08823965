//! Who listens where: which blocks may share an address, and which can't. Separate from the blocks, because each may be
//! right by itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;

use toml::Spanned;

use super::{Check, Named};
use crate::config::error::Problem;
use crate::config::file::{File, Key, List};
use crate::config::model::{Farm, Nameless, Source};
use crate::config::types::choice::Preset;
use crate::config::types::name::HostName;
use crate::config::types::network::Listen;

/// What is spoken on an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    Https,
    Passthrough,
    Cti,
    Admin,
}

impl Speaks {
    const fn name(self) -> &'static str {
        match self {
            Self::Https => "[[https]]",
            Self::Passthrough => "[[passthrough]]",
            Self::Cti => "[[cti]]",
            Self::Admin => "[admin]",
        }
    }

    /// SNI tells apart what begins with a ClientHello and has hosts.
    const fn has_hosts(self) -> bool {
        matches!(self, Self::Https | Self::Passthrough)
    }
}

struct Listener<'a> {
    speaks: Speaks,
    block: usize,
    address: SocketAddr,
    span: Range<usize>,
    hosts: &'a [Spanned<HostName>],
    /// Where the block says `default = true`, if it does.
    default: Option<Range<usize>>,
}

pub(super) fn check(check: &mut Check<'_>, file: &File, farms: &Named<Farm>) {
    let listeners = listeners(file);
    shared(check, &listeners);
    same_hosts(check, &listeners);
    defaults(check, &listeners);
    loops(check, file, &listeners, farms);
}

fn listeners(file: &File) -> Vec<Listener<'_>> {
    let mut all = Vec::new();
    let mut add = |speaks, block, listen: &List<Listen>, hosts, default: Option<Range<usize>>| {
        for listen in listen.iter().flat_map(Spanned::get_ref) {
            let (address, span) = (listen.get_ref().0, listen.span());
            all.push(Listener { speaks, block, address, span, hosts, default: default.clone() });
        }
    };
    if let Some(listen) = file.admin.as_ref().and_then(|admin| admin.get_ref().listen.as_ref()) {
        add(Speaks::Admin, 0, &Some(Spanned::new(listen.span(), vec![listen.clone()])), &[][..], None);
    }
    for (index, block) in file.https.iter().enumerate() {
        let hosts = block.get_ref().hosts.as_ref().map(|hosts| hosts.get_ref().as_slice()).unwrap_or_default();
        add(Speaks::Https, index, &block.get_ref().listen, hosts, default(&block.get_ref().default));
    }
    for (index, block) in file.passthrough.iter().enumerate() {
        let hosts = block.get_ref().hosts.as_ref().map(|hosts| hosts.get_ref().as_slice()).unwrap_or_default();
        add(Speaks::Passthrough, index, &block.get_ref().listen, hosts, default(&block.get_ref().default));
    }
    for (index, block) in file.cti.iter().enumerate() {
        add(Speaks::Cti, index, &block.get_ref().listen, &[][..], None);
    }
    all.sort_by_key(|listener| listener.span.start);
    all
}

/// Where a block says that it serves clients that ask for no name.
fn default(key: &Key<Preset>) -> Option<Range<usize>> {
    let key = key.as_ref()?;
    match key.get_ref().0 {
        Nameless::Served => Some(key.span()),
        Nameless::LeftToOthers => None,
    }
}

/// Whether both can't be bound. `[::]` is taken to leave IPv4 alone.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let same_family = one.is_ipv4() == other.is_ipv4();
    let covers = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && same_family && covers
}

fn shared(check: &mut Check<'_>, listeners: &[Listener<'_>]) {
    for (index, later) in listeners.iter().enumerate() {
        let same_block = |earlier: &Listener<'_>| earlier.speaks == later.speaks && earlier.block == later.block;
        let collides = |earlier: &&Listener<'_>| {
            let equal = earlier.address == later.address;
            let may_share = earlier.speaks.has_hosts() && later.speaks.has_hosts();
            // The same address twice in one block has been reported there.
            collide(earlier.address, later.address) && !(equal && (may_share || same_block(earlier)))
        };
        let Some(earlier) = listeners[..index].iter().find(collides) else { continue };
        let (line, name) = (check.line(&earlier.span), earlier.speaks.name());
        let problem = if earlier.address == later.address {
            Problem::error(later.span.clone(), format!("{} is taken by {name} in {line}", later.address))
                .help("only [[https]] and [[passthrough]] can share an address; choose another port")
        } else {
            Problem::error(later.span.clone(), format!("{} collides with {} in {line}", later.address, earlier.address))
                .help("one of the two stands for every address; write the same address in both places, or name each address")
        };
        check.report(problem);
    }
}

/// Two blocks that SNI can't tell apart.
fn same_hosts(check: &mut Check<'_>, listeners: &[Listener<'_>]) {
    let mut served: BTreeMap<(SocketAddr, &str), (&Listener<'_>, Range<usize>)> = BTreeMap::new();
    let mut reported = Vec::new();
    for listener in listeners.iter().filter(|listener| listener.address.port() != 0) {
        for host in listener.hosts {
            let key = (listener.address, host.get_ref().0.as_str());
            let Some((earlier, span)) = served.get(&key) else {
                served.insert(key, (listener, host.span()));
                continue;
            };
            let same_block = earlier.speaks == listener.speaks && earlier.block == listener.block;
            if same_block || reported.contains(&host.span().start) {
                continue;
            }
            reported.push(host.span().start);
            let (line, name) = (check.line(span), earlier.speaks.name());
            let message = format!("{} is already served on {} by {name} in {line}", key.1, key.0);
            check.report(Problem::error(host.span(), message).help("a host belongs to one block of an address"));
        }
    }
}

/// Two blocks that both want the clients that ask for no name.
fn defaults(check: &mut Check<'_>, listeners: &[Listener<'_>]) {
    let mut taken: BTreeMap<SocketAddr, (&Listener<'_>, &Range<usize>)> = BTreeMap::new();
    let mut reported = Vec::new();
    for listener in listeners {
        let Some(span) = &listener.default else { continue };
        let (earlier, first) = *taken.entry(listener.address).or_insert((listener, span));
        if first == span || reported.contains(&span.start) {
            continue;
        }
        reported.push(span.start);
        let (line, theirs, own) = (check.line(first), earlier.speaks.name(), listener.speaks.name());
        let message = format!("{} has two default blocks: {theirs} in {line}, and this {own}", listener.address);
        let help = "only one block of an address can serve clients without a name: keep `default = true` in that one";
        check.report(Problem::error(span.clone(), message).help(help));
    }
}

/// A farm that is the gateway itself.
fn loops(check: &mut Check<'_>, file: &File, listeners: &[Listener<'_>], farms: &Named<Farm>) {
    for (name, section) in &file.farm {
        let Some(Some(farm)) = farms.get(&name.get_ref().0) else { continue };
        for site in &farm.sites {
            if let Some(problem) = own(check, &site.source, listeners) {
                check.report(Problem { span: Some(section.span()), ..problem });
            }
        }
    }
}

fn own(check: &Check<'_>, source: &Source, listeners: &[Listener<'_>]) -> Option<Problem> {
    match source {
        Source::Static(addresses) => {
            let own = listeners.iter().find(|listener| addresses.contains(&listener.address))?;
            let message =
                format!("the farm's address {} is the gateway's own, see {}", own.address, check.line(&own.span));
            Some(Problem::error(None, message).help("requests would come back for ever"))
        }
        Source::Address(name) => {
            let own = listeners.iter().flat_map(|listener| listener.hosts).find(|host| host.get_ref().0 == *name)?;
            let message = format!("{name} is a host that the gateway serves itself, see {}", check.line(&own.span()));
            let help = "if its DNS is the clients', requests come back for ever; the XSPs need a name of their own";
            Some(Problem::warning(None, message).help(help))
        }
        Source::Srv { .. } => None,
    }
}
