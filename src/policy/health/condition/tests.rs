//! What tests may know of a condition's inside, and change there. Separate from the condition, which tells nobody.

use super::*;

impl Condition {
    /// Nothing is to come of it.
    pub(in crate::policy::health) fn is_at_rest(&self) -> bool {
        self.suspicions.is_empty() && self.overdue.is_empty() && self.running.is_none()
    }

    pub(in crate::policy::health) fn suspicions(&mut self) -> &mut SmallVec<[Suspicion; 1]> {
        &mut self.suspicions
    }

    /// Has it as if it had just been found well in all respects in which it ever was; `None`: as if it never had.
    pub(in crate::policy::health) fn set_found_well(&mut self, now: Option<Instant>) {
        match now {
            Some(now) => self.well.iter_mut().for_each(|(_, at)| *at = now),
            None => self.well.clear(),
        }
    }
}
