//! What the simulator may know of health's inside, and change there. Separate from health, which tells nobody.

use smallvec::SmallVec;

use super::super::*;

/// What each endpoint is suspected of, taken from [`Health`] for a while.
pub(in crate::policy) struct Suspicions(Vec<(EndpointId, SmallVec<[Suspicion; 1]>)>);

impl Health {
    /// What has not come to its end.
    pub(in crate::policy) fn left_behind(&self, now: Instant) -> Vec<String> {
        let blocked = self.blocklist.iter(now).map(|(id, standing)| format!("{id:?} is {standing:?}"));
        let conditions = self.conditions.iter().filter(|(_, condition)| !condition.is_at_rest());
        let busy = self.conditions.keys().map(|id| (id, self.load.occupancy(*id)));
        let busy = busy.filter(|(_, occupancy)| occupancy.in_flight > 0 || occupancy.waiting > 0);
        let busy = busy.map(|(id, occupancy)| format!("{id:?}: {occupancy:?}"));
        blocked.chain(conditions.map(|(id, condition)| format!("{id:?}: {condition:?}"))).chain(busy).collect()
    }

    /// Has nobody suspect, until [`Health::put_suspicions`].
    pub(in crate::policy) fn take_suspicions(&mut self) -> Suspicions {
        let conditions = self.conditions.iter_mut();
        Suspicions(conditions.map(|(&id, condition)| (id, std::mem::take(condition.suspicions()))).collect())
    }

    pub(in crate::policy) fn put_suspicions(&mut self, Suspicions(taken): Suspicions) {
        for (id, suspicions) in taken {
            if let Some(condition) = self.conditions.get_mut(&id) {
                *condition.suspicions() = suspicions;
            }
        }
    }

    /// Has all as if just found well in all respects in which they ever were; `None`: as if they never had been.
    pub(in crate::policy) fn set_found_well(&mut self, now: Option<Instant>) {
        self.conditions.values_mut().for_each(|condition| condition.set_found_well(now));
    }
}
