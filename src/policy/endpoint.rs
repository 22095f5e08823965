//! The endpoints of a farm, and who is who over time: discovery brings addresses, the rest of the program talks about
//! [`EndpointId`]s. Separate from the blocklist, because an endpoint's identity outlives what is thought of it.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::drained::Drained;

/// One endpoint of one farm, for as long as the process lives: an id never comes to mean another address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(u32);

/// How preferred an endpoint is; less is better. Site by site, and by SRV priority within a site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tier {
    /// The site's place in the farm's list.
    pub site: u16,
    /// The SRV priority (R-DNS-2); 0 where there is none.
    pub priority: u16,
}

/// An endpoint's share of its tier's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// The same as the others: A/AAAA records and static addresses.
    Equal,
    /// As SRV says (RFC 2782): 0 has a very small chance beside endpoints that weigh more.
    Srv(u16),
}

/// What discovery knows about one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// What is dialled.
    pub address: SocketAddr,
    /// How preferred it is.
    pub tier: Tier,
    /// Its share within the tier.
    pub weight: Weight,
    /// The SRV target that led here, lower case, without a trailing dot.
    pub target: Option<Box<str>>,
}

/// An endpoint as its farm knows it.
#[derive(Clone, Debug)]
pub struct Member {
    id: EndpointId,
    endpoint: Endpoint,
    presence: Presence,
}

/// Whether an endpoint may be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It may.
    Present,
    /// Discovery names it, and the operator drains it: only sessions that are pinned to it may still go there.
    Draining,
    /// Discovery no longer names it: the same.
    Departed,
}

impl Member {
    /// Its id.
    pub fn id(&self) -> EndpointId {
        self.id
    }

    /// What discovery said last.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether it may be picked.
    pub fn presence(&self) -> Presence {
        self.presence
    }
}

/// A farm's endpoints: those that discovery names, and those that it named once and that are not forgotten yet.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    /// Sorted by id, since ids are given in ascending order.
    members: Vec<Member>,
    /// Indices of the present members, by tier and then by id.
    order: Vec<usize>,
    next_id: u32,
}

/// What an update of a [`Roster`] changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Never seen before, or forgotten since: these ids are new.
    pub joined: Vec<EndpointId>,
    /// Departed ones that are back under their old id.
    pub returned: Vec<EndpointId>,
    /// Departed just now.
    pub left: Vec<EndpointId>,
    /// Still named, with another tier, weight or target.
    pub changed: Vec<EndpointId>,
}

/// What [`Roster::drain`] changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drains {
    /// They may be picked no more.
    pub begun: Vec<EndpointId>,
    /// They may be picked again.
    pub ended: Vec<EndpointId>,
}

impl Changes {
    /// Whether everything is as it was.
    pub fn is_empty(&self) -> bool {
        self.joined.is_empty() && self.returned.is_empty() && self.left.is_empty() && self.changed.is_empty()
    }
}

impl Roster {
    /// Nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes `endpoints` the present ones. An address that is known keeps its id; one that is named several times
    /// counts once, in its best tier; one that is no longer named departs.
    pub fn update(&mut self, endpoints: Vec<Endpoint>) -> Changes {
        let mut changes = Changes::default();
        let mut named: HashMap<SocketAddr, Endpoint> = HashMap::with_capacity(endpoints.len());
        let mut newcomers = Vec::new();
        for endpoint in endpoints {
            match named.get(&endpoint.address) {
                Some(known) if known.tier <= endpoint.tier => continue,
                Some(_) => {}
                None => newcomers.push(endpoint.address),
            }
            named.insert(endpoint.address, endpoint);
        }
        for member in &mut self.members {
            member.take(named.remove(&member.endpoint.address), &mut changes);
        }
        for endpoint in newcomers.into_iter().filter_map(|address| named.remove(&address)) {
            let id = EndpointId(self.next_id);
            self.next_id += 1;
            self.members.push(Member { id, endpoint, presence: Presence::Present });
            changes.joined.push(id);
        }
        self.reorder();
        changes
    }

    /// Has those picked no more that are `drained` or drained `by_operator`, of those that discovery names, and all others again. To
    /// be called after each update.
    pub fn drain(&mut self, drained: &Drained, by_operator: &Drained) -> Drains {
        let mut drains = Drains::default();
        for member in &mut self.members {
            let (address, target) = (member.endpoint.address, member.endpoint.target.as_deref());
            match (member.presence, drained.has(address, target) || by_operator.has(address, target)) {
                (Presence::Present, true) => {
                    member.presence = Presence::Draining;
                    drains.begun.push(member.id);
                }
                (Presence::Draining, false) => {
                    member.presence = Presence::Present;
                    drains.ended.push(member.id);
                }
                (Presence::Present, false) | (Presence::Draining, true) | (Presence::Departed, _) => {}
            }
        }
        self.reorder();
        drains
    }

    /// Drops a departed endpoint for good and returns it; one that discovery names or that is unknown is left as it is. If its address
    /// comes back later, it gets a new id.
    pub fn forget(&mut self, id: EndpointId) -> Option<Endpoint> {
        let index = self.index(id)?;
        match self.members[index].presence {
            Presence::Present | Presence::Draining => None,
            Presence::Departed => {
                let member = self.members.remove(index);
                self.reorder();
                Some(member.endpoint)
            }
        }
    }

    /// The endpoint of that id, whether it may be picked or not.
    pub fn get(&self, id: EndpointId) -> Option<&Member> {
        self.index(id).map(|index| &self.members[index])
    }

    /// The endpoint at that address, whether it may be picked or not.
    pub fn at(&self, address: SocketAddr) -> Option<&Member> {
        self.members.iter().find(|member| member.endpoint.address == address)
    }

    /// The present endpoints, best tier first.
    pub fn present(&self) -> impl Iterator<Item = &Member> + Clone {
        self.order.iter().map(|&index| &self.members[index])
    }

    /// The endpoints that may not be picked: those that are drained, and those that have departed and are not forgotten yet.
    pub fn leaving(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.presence != Presence::Present)
    }

    /// All of them, by id.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.iter()
    }

    /// How many endpoints discovery names.
    pub fn named(&self) -> usize {
        self.members.iter().filter(|member| member.presence != Presence::Departed).count()
    }

    /// The present endpoints tier by tier, the best one first; no tier is empty.
    pub fn tiers(&self) -> impl Iterator<Item = impl Iterator<Item = &Member> + Clone> {
        let tier = |index: usize| self.members[index].endpoint.tier;
        self.order
            .chunk_by(move |&one, &other| tier(one) == tier(other))
            .map(|indices| indices.iter().map(|&index| &self.members[index]))
    }

    /// The present endpoints site by site, and each site's tier by tier, the best ones first; none is empty.
    pub fn sites(&self) -> impl Iterator<Item = impl Iterator<Item = impl Iterator<Item = &Member> + Clone> + Clone> {
        let tier = |index: usize| self.members[index].endpoint.tier;
        self.order.chunk_by(move |&one, &other| tier(one).site == tier(other).site).map(move |site| {
            site.chunk_by(move |&one, &other| tier(one) == tier(other))
                .map(|indices| indices.iter().map(|&index| &self.members[index]))
        })
    }

    /// The number of present endpoints.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is no present endpoint.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    fn index(&self, id: EndpointId) -> Option<usize> {
        self.members.binary_search_by_key(&id, |member| member.id).ok()
    }

    fn reorder(&mut self) {
        let Self { members, order, .. } = self;
        order.clear();
        order.extend((0..members.len()).filter(|&index| members[index].presence == Presence::Present));
        order.sort_by_key(|&index| members[index].endpoint.tier);
    }
}

impl Member {
    /// Takes over what discovery says now; `None`: it says nothing any more.
    fn take(&mut self, news: Option<Endpoint>, changes: &mut Changes) {
        match (news, self.presence) {
            (Some(endpoint), Presence::Present | Presence::Draining) => {
                if endpoint != self.endpoint {
                    self.endpoint = endpoint;
                    changes.changed.push(self.id);
                }
            }
            (Some(endpoint), Presence::Departed) => {
                self.endpoint = endpoint;
                self.presence = Presence::Present;
                changes.returned.push(self.id);
            }
            (None, Presence::Present | Presence::Draining) => {
                self.presence = Presence::Departed;
                changes.left.push(self.id);
            }
            (None, Presence::Departed) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::drained::Whom;

    fn endpoint(last: u8, site: u16, priority: u16) -> Endpoint {
        Endpoint {
            address: SocketAddr::from(([10, 0, 0, last], 443)),
            tier: Tier { site, priority },
            weight: Weight::Equal,
            target: None,
        }
    }

    fn lasts<'a>(members: impl Iterator<Item = &'a Member>) -> Vec<u8> {
        members
            .map(|member| match member.endpoint().address {
                SocketAddr::V4(address) => address.ip().octets()[3],
                SocketAddr::V6(_) => unreachable!("the tests use IPv4"),
            })
            .collect()
    }

    #[test]
    fn r_dns_2_tiers_come_by_site_and_then_by_priority() {
        let mut roster = Roster::new();
        roster.update(vec![endpoint(1, 1, 0), endpoint(2, 0, 20), endpoint(3, 0, 10), endpoint(4, 0, 20)]);
        let tiers: Vec<_> = roster.tiers().map(lasts).collect();
        assert_eq!(tiers, [vec![3], vec![2, 4], vec![1]]);
        assert_eq!(lasts(roster.present()), [3, 2, 4, 1]);
        assert_eq!(roster.len(), 4);
    }

    #[test]
    fn r_aff_1_an_address_keeps_its_id_while_it_is_known() {
        let mut roster = Roster::new();
        let first = roster.update(vec![endpoint(1, 0, 0), endpoint(2, 0, 0)]);
        assert_eq!(first.joined.len(), 2);
        let (one, two) = (first.joined[0], first.joined[1]);

        assert!(roster.update(vec![endpoint(2, 0, 0), endpoint(1, 0, 0)]).is_empty());

        let second = roster.update(vec![endpoint(2, 1, 0), endpoint(3, 0, 0)]);
        assert_eq!((second.left, second.changed), (vec![one], vec![two]));
        assert_eq!(second.joined.len(), 1);
        assert_eq!(roster.get(one).unwrap().presence(), Presence::Departed);
        assert_eq!(lasts(roster.present()), [3, 2]);
        assert_eq!(lasts(roster.leaving()), [1]);

        let third = roster.update(vec![endpoint(1, 0, 0), endpoint(3, 0, 0)]);
        assert_eq!((third.returned, third.left), (vec![one], vec![two]));
        assert!(third.joined.is_empty() && third.changed.is_empty());
    }

    #[test]
    fn what_is_drained_is_not_picked_and_stays_known() {
        let whom = |last| Drained::new(vec![Whom::Address([10, 0, 0, last].into())]);
        let none = Drained::default();
        let mut roster = Roster::new();
        let joined = roster.update(vec![endpoint(1, 0, 0), endpoint(2, 0, 0)]).joined;
        let (one, two) = (joined[0], joined[1]);
        assert_eq!(roster.drain(&whom(1), &none), Drains { begun: vec![one], ended: vec![] });
        assert_eq!(roster.drain(&whom(1), &none), Drains::default());
        assert_eq!((lasts(roster.present()), lasts(roster.leaving()), roster.named()), (vec![2], vec![1], 2));
        assert!(roster.update(vec![endpoint(1, 0, 0), endpoint(2, 0, 0)]).is_empty());
        assert_eq!(roster.get(one).unwrap().presence(), Presence::Draining);
        assert_eq!(roster.forget(one), None, "discovery names it");

        assert_eq!(roster.update(vec![endpoint(2, 0, 0)]).left, [one]);
        assert_eq!(roster.update(vec![endpoint(1, 0, 0), endpoint(2, 0, 0)]).returned, [one]);
        assert_eq!(roster.drain(&whom(1), &none).begun, [one], "it comes back drained");
        assert_eq!(roster.drain(&whom(2), &none), Drains { begun: vec![two], ended: vec![one] });
        assert_eq!(lasts(roster.present()), [1]);
        assert_eq!(roster.drain(&whom(2), &whom(1)).begun, [one], "by hand, too");
        assert!(roster.is_empty());
    }

    #[test]
    fn an_id_never_comes_to_mean_another_address() {
        let mut roster = Roster::new();
        let one = roster.update(vec![endpoint(1, 0, 0)]).joined[0];
        assert_eq!(roster.forget(one), None, "it is present");
        roster.update(vec![]);
        assert!(roster.is_empty());
        assert_eq!(roster.forget(one), Some(endpoint(1, 0, 0)));
        assert!(roster.get(one).is_none() && roster.forget(one).is_none());
        let joined = roster.update(vec![endpoint(2, 0, 0), endpoint(1, 0, 0)]).joined;
        assert!(!joined.contains(&one));
        assert_eq!(roster.at(endpoint(1, 0, 0).address).unwrap().id(), joined[1]);
    }

    #[test]
    fn an_address_that_is_named_twice_counts_once_in_its_best_tier() {
        let mut roster = Roster::new();
        let changes = roster.update(vec![endpoint(1, 1, 0), endpoint(1, 0, 5), endpoint(1, 0, 7), endpoint(2, 0, 0)]);
        assert_eq!(changes.joined.len(), 2);
        assert_eq!(roster.get(changes.joined[0]).unwrap().endpoint(), &endpoint(1, 0, 5));
    }
}
