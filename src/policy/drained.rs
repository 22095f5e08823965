//! Which endpoints an operator has taken out of service. Apart from the roster, because it is said in other words than
//! discovery's.

use std::net::{IpAddr, SocketAddr};

use super::endpoint::Endpoint;

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

/// All that are drained.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drained(Vec<Whom>);

impl Drained {
    /// These.
    pub fn new(whom: Vec<Whom>) -> Self {
        Self(whom)
    }

    /// Whether `endpoint` is one of them.
    pub fn has(&self, endpoint: &Endpoint) -> bool {
        let target = endpoint.target.as_deref();
        self.has_address(endpoint.address)
            || self.0.iter().any(|whom| matches!(whom, Whom::Target(name) if target == Some(name)))
    }

    /// Whether what is at `address` is one of them, whatever SRV says.
    pub fn has_address(&self, address: SocketAddr) -> bool {
        self.0.iter().any(|whom| match whom {
            Whom::Address(ip) => address.ip() == *ip,
            Whom::Endpoint(endpoint) => address == *endpoint,
            Whom::Target(_) => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::endpoint::{Tier, Weight};

    #[test]
    fn endpoints_are_drained_by_address_by_port_and_by_target() {
        let endpoint = |last, port, target: Option<&str>| Endpoint {
            address: ([10, 0, 0, last], port).into(),
            tier: Tier::default(),
            weight: Weight::Equal,
            target: target.map(Into::into),
        };
        let drained = Drained::new(vec![
            Whom::Address([10, 0, 0, 1].into()),
            Whom::Endpoint(([10, 0, 0, 2], 443).into()),
            Whom::Target("xsp3.example.com".into()),
        ]);
        for (endpoint, expected) in [
            (endpoint(1, 443, None), true),
            (endpoint(1, 8443, None), true),
            (endpoint(2, 443, None), true),
            (endpoint(2, 8443, None), false),
            (endpoint(3, 443, None), false),
            (endpoint(3, 443, Some("xsp3.example.com")), true),
            (endpoint(3, 443, Some("xsp4.example.com")), false),
        ] {
            assert_eq!(drained.has(&endpoint), expected, "{endpoint:?}");
        }
        assert!(!Drained::default().has(&endpoint(1, 443, None)));
    }
}
