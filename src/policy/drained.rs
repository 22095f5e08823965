//! Which endpoints an operator has taken out of service. Separate from the roster, because it is said in other words than
//! discovery's.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// One that is drained, as an operator names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Whatever has this address.
    Address(IpAddr),
    /// One port of an address.
    Endpoint(SocketAddr),
    /// An SRV target, in lower case.
    Target(String),
}

/// All that are drained, by the configuration or by an operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drained(Vec<Whom>);

impl Drained {
    /// These.
    pub fn new(whom: Vec<Whom>) -> Self {
        Self(whom)
    }

    /// One more.
    pub fn add(&mut self, whom: Whom) {
        if !self.0.contains(&whom) {
            self.0.push(whom);
        }
    }

    /// Each of them, in the order in which they were named.
    pub fn iter(&self) -> impl Iterator<Item = &Whom> {
        self.0.iter()
    }

    /// Those that `keep` is true of stay.
    pub fn retain(&mut self, keep: impl Fn(&Whom) -> bool) {
        self.0.retain(keep);
    }

    /// Whether what is at `address` is one of them; SRV calls it `target`, if it names it.
    pub fn has(&self, address: SocketAddr, target: Option<&str>) -> bool {
        self.0.iter().any(|whom| whom.means(address, target))
    }
}

impl Whom {
    /// Whether it means what is at `address`; SRV calls that `target`, if it names it.
    pub fn means(&self, address: SocketAddr, target: Option<&str>) -> bool {
        match self {
            Self::Address(ip) => address.ip() == *ip,
            Self::Endpoint(endpoint) => address == *endpoint,
            Self::Target(name) => target == Some(name),
        }
    }
}

/// As an operator writes it.
impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(ip) => ip.fmt(f),
            Self::Endpoint(endpoint) => endpoint.fmt(f),
            Self::Target(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_drained_by_address_by_port_and_by_target() {
        let drained = Drained::new(vec![
            Whom::Address([10, 0, 0, 1].into()),
            Whom::Endpoint(([10, 0, 0, 2], 443).into()),
            Whom::Target("xsp3.example.com".into()),
        ]);
        for (last, port, target, expected) in [
            (1, 443, None, true),
            (1, 8443, None, true),
            (2, 443, None, true),
            (2, 8443, None, false),
            (3, 443, None, false),
            (3, 443, Some("xsp3.example.com"), true),
            (3, 443, Some("xsp4.example.com"), false),
        ] {
            assert_eq!(drained.has(([10, 0, 0, last], port).into(), target), expected, "{last}:{port} {target:?}");
        }
        assert!(!Drained::default().has(([10, 0, 0, 1], 443).into(), None));
    }
}
