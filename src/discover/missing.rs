//! Addresses that DNS names no more, and for how long that may be chance. Separate from the sites, which are what DNS says now:
//! some servers give two of three addresses in each answer, and an XSP that is gone from one of them has not left.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::policy::endpoint::Endpoint;

/// Those of one farm.
#[derive(Debug, Default)]
pub(super) struct Missing {
    /// Missing, and until when they may come back as if nothing had been.
    until: BTreeMap<SocketAddr, Instant>,
    /// Named by an earlier configuration: the operator has taken them out, not a name server's turn.
    replaced: BTreeSet<SocketAddr>,
}

impl Missing {
    /// The configuration says something else from now on; `named` were its addresses.
    pub(super) fn replace(&mut self, named: &[Endpoint]) {
        self.until.clear();
        self.replaced.extend(named.iter().map(|endpoint| endpoint.address));
    }

    /// `before` were named until now, and `named` are; what is missing may be for `grace`.
    pub(super) fn follow(&mut self, before: &[Endpoint], named: &[Endpoint], now: Instant, grace: Duration) {
        let named: BTreeSet<SocketAddr> = named.iter().map(|endpoint| endpoint.address).collect();
        self.until.retain(|address, _| !named.contains(address));
        for address in before.iter().map(|endpoint| endpoint.address).filter(|address| !named.contains(address)) {
            if !self.replaced.remove(&address) && !grace.is_zero() {
                self.until.insert(address, now + grace);
            }
        }
    }

    /// Drops those that have been missing for too long; whether there were any.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let before = self.until.len();
        self.until.retain(|_, until| now < *until);
        self.until.len() < before
    }

    /// When [`Self::expire`] will drop one.
    pub(super) fn next(&self) -> Option<Instant> {
        self.until.values().min().copied()
    }

    /// All of them.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.until.keys().copied().collect()
    }
}
