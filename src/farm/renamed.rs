//! A farm that goes on under another name: whatever is at its endpoints is at those of its heir from then on. Separate from what a
//! farm hands over, because what is open stays open, and is still moving.

use std::iter;
use std::sync::{Arc, Weak};

use super::{Endpoint, Farm};

/// What goes on in an endpoint's place. It keeps neither alive.
#[derive(Debug)]
pub(super) struct Heir {
    farm: Weak<Farm>,
    endpoint: Weak<Endpoint>,
}

impl Farm {
    /// Goes on for `old`, whose name it had before: the endpoints of that, each with this farm's at the same address. What is
    /// counted at the one is to be counted at the other. Those that have had that heir before are left out.
    pub fn go_on_for(self: &Arc<Self>, old: &Self) -> Vec<(Arc<Endpoint>, Arc<Endpoint>)> {
        let pairs = old.endpoints().into_iter().filter_map(|old| {
            let new = self.at(old.address)?;
            if old.heir().is_some_and(|heir| Arc::ptr_eq(&heir, &new)) {
                return None;
            }
            new.heir.store(None);
            old.heir.store(Some(Arc::new(Heir { farm: Arc::downgrade(self), endpoint: Arc::downgrade(&new) })));
            old.cut_at.store(None);
            Some((old, new))
        });
        pairs.collect()
    }

    /// Whether the configuration has it no longer, and all of it goes on under another name.
    pub fn has_gone_on(&self) -> bool {
        self.is_retired() && self.endpoints().iter().all(|endpoint| endpoint.has_heir())
    }
}

impl Endpoint {
    /// The endpoint that it is by now.
    pub fn present(self: &Arc<Self>) -> Arc<Self> {
        self.heir().unwrap_or_else(|| Arc::clone(self))
    }

    /// The farm and the endpoint that it is by now, if it is no longer itself.
    pub fn heir_and_farm(&self) -> Option<(Arc<Farm>, Arc<Self>)> {
        let next = |(_, endpoint): &(Arc<Farm>, Arc<Self>)| endpoint.next_heir();
        iter::successors(self.next_heir(), next).last()
    }

    pub(super) fn heir(&self) -> Option<Arc<Self>> {
        self.heir_and_farm().map(|(_, endpoint)| endpoint)
    }

    pub(super) fn has_heir(&self) -> bool {
        self.heir.load().is_some()
    }

    fn next_heir(&self) -> Option<(Arc<Farm>, Arc<Self>)> {
        let heir = self.heir.load();
        let Heir { farm, endpoint } = heir.as_deref()?;
        farm.upgrade().zip(endpoint.upgrade())
    }
}
