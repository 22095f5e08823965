//! What SRV records say about a farm (RFC 2782, R-DNS-2). Separate from discovery, so that the order in which targets are
//! tried can be tested without DNS: here records become tiers and weights, and [`Plan`](super::plan::Plan) picks by them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::endpoint::{Endpoint, Tier, Weight};

/// What SRV names: where an endpoint is, before its address is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Less is preferred.
    pub priority: u16,
    /// The share among targets of the same priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The name, lower case, without a trailing dot.
    pub name: Box<str>,
}

impl Target {
    /// A record as an answer holds it. `None` for the name `.`, which says that the service is not available here.
    pub fn new(priority: u16, weight: u16, port: u16, name: &str) -> Option<Self> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase().into_boxed_str();
        (!name.is_empty()).then_some(Self { priority, weight, port, name })
    }

    /// The endpoint that the target is in that site, given its address.
    pub fn endpoint(&self, site: u16, address: IpAddr) -> Endpoint {
        Endpoint {
            address: SocketAddr::new(address, self.port),
            tier: Tier { site, priority: self.priority },
            weight: Weight::Srv(self.weight),
            target: Some(self.name.clone()),
        }
    }
}

/// The targets of an answer, best priority first and by name within one, whatever the order in which they came. One that
/// is named several times counts once, with its best priority and, among equal ones, its greatest weight.
pub fn in_order(targets: impl IntoIterator<Item = Target>) -> Vec<Target> {
    let mut best: BTreeMap<(Box<str>, u16), Target> = BTreeMap::new();
    for target in targets {
        let key = (target.name.clone(), target.port);
        match best.get(&key) {
            Some(known) if (known.priority, u16::MAX - known.weight) <= (target.priority, u16::MAX - target.weight) => {
            }
            Some(_) | None => {
                best.insert(key, target);
            }
        }
    }
    let mut targets: Vec<_> = best.into_values().collect();
    targets.sort_by_key(|target| target.priority);
    targets
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::policy::endpoint::Roster;
    use crate::policy::health::Health;
    use crate::policy::plan::{Plan, Purpose, Trials};

    fn target(priority: u16, weight: u16, name: &str) -> Target {
        Target::new(priority, weight, 443, name).unwrap()
    }

    #[test]
    fn r_dns_2_names_are_compared_without_case_and_trailing_dot() {
        assert_eq!(target(1, 2, "XSP1.Example.com."), target(1, 2, "xsp1.example.com"));
        assert_eq!(&*target(1, 2, "XSP1.Example.com.").name, "xsp1.example.com");
    }

    #[test]
    fn r_dns_2_a_target_of_a_single_dot_is_left_out() {
        assert_eq!(Target::new(0, 0, 0, "."), None);
        assert_eq!(Target::new(0, 0, 0, ""), None);
    }

    #[test]
    fn r_dns_2_a_target_is_one_endpoint_of_its_sites_tier() {
        let endpoint = target(20, 7, "xsp1").endpoint(3, IpAddr::from([10, 0, 0, 1]));
        assert_eq!(endpoint.address, SocketAddr::from(([10, 0, 0, 1], 443)));
        assert_eq!(endpoint.tier, Tier { site: 3, priority: 20 });
        assert_eq!(endpoint.weight, Weight::Srv(7));
        assert_eq!(endpoint.target.as_deref(), Some("xsp1"));
    }

    #[test]
    fn r_dns_2_targets_come_by_priority_and_once() {
        let answer =
            [target(20, 1, "b"), target(10, 1, "c"), target(20, 1, "a"), target(20, 5, "c"), target(20, 9, "a")];
        assert_eq!(in_order(answer), [target(10, 1, "c"), target(20, 9, "a"), target(20, 1, "b")]);
    }

    /// The order in which a request would try the targets, over all tiers.
    fn tried(targets: &[Target], rng: &mut StdRng) -> Vec<usize> {
        let now = Instant::now();
        let (mut roster, mut health) = (Roster::new(), Health::new(now, None));
        let addressed = |(last, target): (usize, &Target)| {
            target.endpoint(0, IpAddr::from([10, 0, 0, u8::try_from(last).unwrap()]))
        };
        let ids = roster.update(targets.iter().enumerate().map(addressed).collect()).joined;
        let mut plan = Plan::new(None, 100, Trials::Taken);
        let mut next = |purpose| plan.next(purpose, &roster, &mut health, now, rng);
        let picks = std::iter::once(next(Purpose::First)).chain(std::iter::repeat_with(|| next(Purpose::Advance)));
        let picks: Vec<_> = picks.map_while(|pick| pick).collect();
        picks.iter().map(|pick| ids.iter().position(|&id| id == pick.id).unwrap()).collect()
    }

    /// RFC 2782, "Weight", word for word: the unordered targets with those of weight 0 at the beginning; running sums; a
    /// number between 0 and the sum, both included; the first whose running sum is not less is next.
    fn tried_by_the_letter(targets: &[Target], rng: &mut StdRng) -> Vec<usize> {
        use rand::RngExt;
        let mut order = Vec::new();
        let mut priorities: Vec<_> = targets.iter().map(|target| target.priority).collect();
        priorities.sort_unstable();
        priorities.dedup();
        for priority in priorities {
            let mut left: Vec<_> = (0..targets.len()).filter(|&which| targets[which].priority == priority).collect();
            while !left.is_empty() {
                // "in any order": at random, so that several weightless ones have the same chance.
                left.sort_by_cached_key(|&which| (targets[which].weight > 0, rng.random::<u32>()));
                let sum: u64 = left.iter().map(|&which| u64::from(targets[which].weight)).sum();
                let number = rng.random_range(0..=sum);
                let mut running = 0;
                let chosen = left.iter().position(|&which| {
                    running += u64::from(targets[which].weight);
                    running >= number
                });
                order.push(left.remove(chosen.unwrap()));
            }
        }
        order
    }

    #[test]
    fn r_dns_2_orders_are_as_frequent_as_rfc_2782_makes_them() {
        const ROUNDS: u32 = 20_000;
        let tables = [
            vec![(0, 60), (0, 30), (0, 10)],
            vec![(0, 3), (0, 0), (0, 1)],
            vec![(0, 5), (0, 0), (0, 0), (9, 1)],
            vec![(2, 1), (1, 7), (1, 1), (2, 3)],
        ];
        for table in tables {
            let targets: Vec<_> = table
                .iter()
                .zip(["a", "b", "c", "d"])
                .map(|(&(priority, weight), name)| target(priority, weight, name))
                .collect();
            let mut rng = StdRng::seed_from_u64(2782);
            let mut counts: BTreeMap<Vec<usize>, [f64; 2]> = BTreeMap::new();
            for _ in 0..ROUNDS {
                counts.entry(tried(&targets, &mut rng)).or_default()[0] += 1.0;
                counts.entry(tried_by_the_letter(&targets, &mut rng)).or_default()[1] += 1.0;
            }
            for (order, [ours, theirs]) in counts {
                let slack = 5.0 * (ours + theirs).sqrt() + 5.0;
                // A number of 0 goes to the first target of all where none is weightless: one part in the sum more.
                let bias = f64::from(ROUNDS) * 0.06;
                let allowed = if targets.iter().any(|target| target.weight == 0) { slack } else { slack + bias };
                assert!((ours - theirs).abs() < allowed, "{table:?} {order:?}: {ours} and {theirs}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn r_dns_2_each_target_is_tried_once_and_priorities_never_go_back(
            table in prop::collection::vec((0u16..4, 0u16..5), 0..12), seed in any::<u64>()
        ) {
            let targets: Vec<_> = table.iter().map(|&(priority, weight)| target(priority, weight, "a")).collect();
            let order = tried(&targets, &mut StdRng::seed_from_u64(seed));
            let priorities: Vec<_> = order.iter().map(|&which| targets[which].priority).collect();
            prop_assert!(priorities.is_sorted());
            let mut once = order;
            once.sort_unstable();
            prop_assert_eq!(once, (0..targets.len()).collect::<Vec<_>>());
        }
    }
}
