//! From what is known of the names to the endpoints of a farm. Pure, and separate from the names' schedule: a site is
//! composed afresh whenever a name changed, so nothing here remembers more than the last good result.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::missing::Missing;
use super::names::{Denied, Names, Urgency};
use super::resolve::{Question, RecordKind};
use crate::config::model::{self, AddressFamily, Farm, Source};
use crate::policy::endpoint::{Endpoint, Tier, Weight};
use crate::policy::srv::Target;

/// One farm's sites, and what was last made known of them.
pub(super) struct Sites {
    pub(super) farm: Arc<Farm>,
    sites: Vec<Site>,
    published: Vec<Endpoint>,
    missing: Missing,
    /// Whether all of it is withdrawn, and has been told of.
    stranded: bool,
}

#[derive(Default)]
struct Site {
    /// The last good composition: an empty one never replaces it.
    endpoints: Vec<Endpoint>,
    /// Targets with several addresses that were told of.
    told: BTreeSet<Box<str>>,
    /// SRV says that the service is not offered, and others of the farm offer it.
    withdrawn: bool,
}

/// What is odd about a farm's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Oddity {
    Several(SeveralAddresses),
    /// SRV says of all of it that the service is not offered; so many endpoints stay, against its word.
    Stranded {
        endpoints: usize,
    },
}

/// A target whose name has more than the one address that R-DNS-2 allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SeveralAddresses {
    pub(super) target: Box<str>,
    pub(super) taken: IpAddr,
    pub(super) addresses: Vec<IpAddr>,
}

impl Sites {
    pub(super) fn new(farm: Arc<Farm>) -> Self {
        let sites = farm.sites.iter().map(|_| Site::default()).collect();
        Self { farm, sites, published: Vec::new(), missing: Missing::default(), stranded: false }
    }

    /// The sites of `farm`, which were `old` until now. A site that stays under its name keeps its endpoints until there
    /// are others.
    pub(super) fn following(old: Option<Self>, farm: Arc<Farm>) -> Self {
        let Some(mut old) = old else { return Self::new(farm) };
        if old.farm.sites == farm.sites && old.farm.port == farm.port && old.farm.family == farm.family {
            return Self { farm, ..old };
        }
        let kept = |site: &model::Site| {
            let known = old.farm.sites.iter().position(|known| known.name == site.name);
            known.and_then(|index| old.sites.get_mut(index)).map(std::mem::take).unwrap_or_default()
        };
        let mut sites: Vec<Site> = farm.sites.iter().map(kept).collect();
        for (index, site) in sites.iter_mut().enumerate() {
            site.endpoints.iter_mut().for_each(|endpoint| endpoint.tier.site = place(index));
        }
        old.missing.replace(&old.published);
        Self { farm, sites, published: old.published, missing: old.missing, stranded: false }
    }

    /// Composes every site afresh.
    pub(super) fn compose(&mut self, names: &Names) -> Vec<Oddity> {
        let mut several = Vec::new();
        for (index, (model, site)) in self.farm.sites.iter().zip(&mut self.sites).enumerate() {
            let composer = Composer { farm: &self.farm, names, site: place(index) };
            let mut odd = Vec::new();
            let endpoints = composer.site(&model.source, &mut odd);
            if !endpoints.is_empty() {
                site.endpoints = endpoints;
            }
            let now_odd = odd.iter().map(|odd: &SeveralAddresses| odd.target.clone()).collect();
            several.extend(odd.into_iter().filter(|odd| !site.told.contains(&odd.target)).map(Oddity::Several));
            site.told = now_odd;
        }
        several.extend(self.withdraw(names));
        several
    }

    /// Empties the sites of which SRV says that the service is not offered there, unless nothing would be left.
    fn withdraw(&mut self, names: &Names) -> Option<Oddity> {
        let is_denied = |source: &Source| match source {
            Source::Static(_) | Source::Address(_) => false,
            Source::Srv { name, .. } => Targets::of(name, names).no_service,
        };
        let denied: Vec<bool> = self.farm.sites.iter().map(|site| is_denied(&site.source)).collect();
        let mut sites = self.sites.iter().zip(&denied);
        let is_offered = sites.any(|(site, is_denied)| !is_denied && !site.endpoints.is_empty());
        for (site, &is_denied) in self.sites.iter_mut().zip(&denied) {
            site.withdrawn = is_denied && is_offered;
            if site.withdrawn {
                site.endpoints.clear();
            }
        }
        let was_stranded = self.stranded;
        self.stranded = !is_offered && denied.contains(&true);
        let endpoints = self.sites.iter().map(|site| site.endpoints.len()).sum();
        (self.stranded && !was_stranded).then_some(Oddity::Stranded { endpoints })
    }

    /// Adds the names that this farm needs now; the greatest haste among all farms counts.
    pub(super) fn needs(&self, names: &Names, wanted: &mut BTreeMap<Question, Urgency>) {
        for (model, site) in self.farm.sites.iter().zip(&self.sites) {
            let starving = site.endpoints.is_empty() && !site.withdrawn;
            let need = Need { kinds: kinds(self.farm.family), names, starving };
            need.site(&model.source, wanted);
        }
    }

    /// How long an address may be missing before it has left.
    fn grace(&self, names: &Names, forget_after: Duration) -> Duration {
        let mut names_of_it = BTreeMap::new();
        self.needs(names, &mut names_of_it);
        let longest = names_of_it.keys().filter_map(|question| names.ttl_of(question)).max();
        longest.map_or(Duration::ZERO, |ttl| ttl.max(forget_after))
    }

    /// When it changes by time alone.
    pub(super) fn next_departure(&self) -> Option<Instant> {
        self.missing.next()
    }

    /// All sites' endpoints by tier, each address once, where it is preferred most, and the addresses that are missing there
    /// and have not left; `None`: as they were.
    pub(super) fn changed(&mut self, names: &Names, now: Instant, forget_after: Duration) -> Option<Found> {
        let mut merged: Vec<Endpoint> = self.sites.iter().flat_map(|site| &site.endpoints).cloned().collect();
        merged.sort_by_key(|endpoint| (endpoint.tier, endpoint.address));
        let mut seen = BTreeSet::new();
        merged.retain(|endpoint| seen.insert(endpoint.address));
        let is_overdue = self.missing.expire(now);
        if merged == self.published && !is_overdue {
            return None;
        }
        self.missing.follow(&self.published, &merged, now, self.grace(names, forget_after));
        self.published.clone_from(&merged);
        Some(Found { endpoints: merged, missing: self.missing.addresses() })
    }
}

/// What a farm's names say.
pub(super) struct Found {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) missing: Vec<SocketAddr>,
}

/// A site's place in the farm's list, as tiers have it.
fn place(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}

/// Composes one site.
struct Composer<'a> {
    farm: &'a Farm,
    names: &'a Names,
    site: u16,
}

impl Composer<'_> {
    fn site(&self, source: &Source, odd: &mut Vec<SeveralAddresses>) -> Vec<Endpoint> {
        match source {
            Source::Static(addresses) => addresses.iter().map(|&address| self.plain(address)).collect(),
            Source::Address(name) => self.by_address(name),
            Source::Srv { name, fallback } => {
                let targets = Targets::of(name, self.names);
                let instead = if targets.fall_back { self.by_address(fallback) } else { Vec::new() };
                if !instead.is_empty() {
                    return instead;
                }
                targets.last_good.iter().filter_map(|target| self.by_target(target, odd)).collect()
            }
        }
    }

    fn by_address(&self, name: &str) -> Vec<Endpoint> {
        let addresses = self.names.addresses(kinds(self.farm.family), name);
        addresses.into_iter().map(|address| self.plain(SocketAddr::new(address, self.farm.port))).collect()
    }

    /// R-DNS-2: a target is one endpoint. The lowest address is taken, which stays the same however answers rotate.
    fn by_target(&self, target: &Target, odd: &mut Vec<SeveralAddresses>) -> Option<Endpoint> {
        let mut taken = None;
        for &kind in kinds(self.farm.family) {
            let addresses = self.names.addresses(&[kind], &target.name);
            let lowest = addresses.first().copied();
            taken = taken.or(lowest);
            if let (Some(taken), true) = (lowest, addresses.len() > 1) {
                odd.push(SeveralAddresses { target: target.name.clone(), taken, addresses });
            }
        }
        Some(target.endpoint(self.site, taken?))
    }

    fn plain(&self, address: SocketAddr) -> Endpoint {
        Endpoint { address, tier: Tier { site: self.site, priority: 0 }, weight: Weight::Equal, target: None }
    }
}

/// What SRV says, and whether the domain's own addresses are to be used instead.
struct Targets<'a> {
    question: Question,
    last_good: &'a [Target],
    fall_back: bool,
    no_service: bool,
}

impl<'a> Targets<'a> {
    /// R-DNS-3: a look-up that merely failed is no reason to leave targets that are known. RFC 2782: where the service is not
    /// offered, the domain's own addresses don't offer it either.
    fn of(name: &str, names: &'a Names) -> Self {
        let question = Question::new(name, RecordKind::Srv);
        let good = names.last_good_of(&question);
        let last_good = good.and_then(|good| good.records.as_ref()).map_or(&[][..], |records| records.targets());
        let denied = good.map_or(Denied::No, |good| good.denied);
        let fall_back = match denied {
            Denied::Yes => true,
            Denied::No => last_good.is_empty() && names.has_failed(&question),
            Denied::NoService => false,
        };
        Self { question, last_good, fall_back, no_service: denied == Denied::NoService }
    }
}

/// Finds out what one site needs to be looked up.
struct Need<'a> {
    kinds: &'static [RecordKind],
    names: &'a Names,
    starving: bool,
}

impl Need<'_> {
    fn site(&self, source: &Source, wanted: &mut BTreeMap<Question, Urgency>) {
        match source {
            Source::Static(_) => {}
            Source::Address(name) => self.addresses(name, wanted),
            Source::Srv { name, fallback } => self.targets(name, fallback, wanted),
        }
    }

    fn targets(&self, name: &str, fallback: &str, wanted: &mut BTreeMap<Question, Urgency>) {
        let targets = Targets::of(name, self.names);
        let supplied = targets.fall_back && !self.names.addresses(self.kinds, fallback).is_empty();
        if targets.fall_back {
            self.addresses(fallback, wanted);
        }
        if targets.no_service && !self.starving {
            want(wanted, targets.question, Urgency::Content);
            return;
        }
        if !supplied {
            targets.last_good.iter().for_each(|target| self.addresses(&target.name, wanted));
        }
        let settled = if supplied { Urgency::Content } else { Urgency::Keeping };
        want(wanted, targets.question, self.urgency(settled));
    }

    fn addresses(&self, name: &str, wanted: &mut BTreeMap<Question, Urgency>) {
        for &kind in self.kinds {
            let question = Question::new(name, kind);
            let settled = if self.names.content(&question) { Urgency::Content } else { Urgency::Keeping };
            want(wanted, question, self.urgency(settled));
        }
    }

    fn urgency(&self, settled: Urgency) -> Urgency {
        if self.starving { Urgency::Starving } else { settled }
    }
}

fn want(wanted: &mut BTreeMap<Question, Urgency>, question: Question, urgency: Urgency) {
    wanted.entry(question).and_modify(|other| *other = urgency.min(*other)).or_insert(urgency);
}

/// IPv4 first: it is what Webex for BroadWorks supports (R-TOP-7).
fn kinds(family: AddressFamily) -> &'static [RecordKind] {
    match family {
        AddressFamily::Ipv4 => &[RecordKind::A],
        AddressFamily::Ipv6 => &[RecordKind::Aaaa],
        AddressFamily::Both => &[RecordKind::A, RecordKind::Aaaa],
    }
}
