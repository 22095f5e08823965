//! Who may take how much of what all need. Separate from the counting, which is a matter of memory and threads.
//!
//! While half of all connections are free, nobody is refused. Beyond that, a source gets no further one while it has more than an
//! eighth of those that are left, and a network none while it has more than a quarter. So a single source gets hardly more than half,
//! and of several that want everything, each takes a ninth of what the ones before it have left.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What has more than its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// One address; of IPv6, a /64.
    Source,
    /// A /24; of IPv6, a /48.
    Network,
}

impl Over {
    /// In the order of their values.
    pub const ALL: [Self; 2] = [Self::Source, Self::Network];

    /// The name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Network => "network",
        }
    }

    /// Whether a source or its network has too many of `limit` connections, of which so many are in use; each counts the one that it
    /// is about.
    pub const fn of(source: u32, network: u32, used: usize, limit: usize) -> Option<Self> {
        let free = limit.saturating_sub(used);
        if used <= limit / 2 {
            return None;
        }
        if source as usize > free.div_ceil(8) {
            return Some(Self::Source);
        }
        if network as usize > free.div_ceil(4) { Some(Self::Network) } else { None }
    }
}

/// The source that an address belongs to: a host of IPv6 has a /64 to take addresses from.
pub fn source_of(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(masked(address, 64)),
    }
}

/// The network that an address belongs to.
pub fn network_of(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & !0xff)),
        IpAddr::V6(address) => IpAddr::V6(masked(address, 48)),
    }
}

fn masked(address: Ipv6Addr, length: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(address.to_bits() & u128::MAX << (128 - length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_ipv4_address_in_ipv6_is_that_address() {
        assert_eq!(source_of(address("::ffff:192.0.2.1")), address("192.0.2.1"));
        assert_eq!(network_of(address("::ffff:192.0.2.1")), address("192.0.2.0"));
        assert_eq!(source_of(address("2001:db8:1:2::3")), address("2001:db8:1:2::"));
        assert_eq!(network_of(address("2001:db8:1:2::3")), address("2001:db8:1::"));
    }

    #[test]
    fn nobody_is_over_its_share_while_half_of_all_is_free() {
        for used in 1..=500 {
            assert_eq!(Over::of(used, used, used as usize, 1000), None, "{used}");
        }
        assert_eq!(Over::of(501, 501, 501, 1000), Some(Over::Source));
        assert_eq!(Over::of(63, 63, 501, 1000), None);
        assert_eq!(Over::of(1, 126, 501, 1000), Some(Over::Network));
        assert_eq!(Over::of(1, 1, 999, 1000), None, "a source that has nothing gets the last one");
    }

    #[test]
    fn of_eight_that_want_everything_each_leaves_most_of_what_there_was() {
        let mut used = 0;
        for _ in 0..8 {
            let mut own = 0;
            while Over::of(own + 1, own + 1, used + 1, 20_000).is_none() {
                (own, used) = (own + 1, used + 1);
            }
        }
        assert!((15_000..16_000).contains(&used), "{used}");
    }
}
