//! Which affinity keys are in use. Separate from the counts of sessions, because these series come and go with a file.

use super::Metrics;
use crate::policy::affinity::{KeyPrint, KeyUse};

impl Metrics {
    /// These keys are in use now, and no others.
    pub fn affinity_keys(&self, keys: impl IntoIterator<Item = (KeyPrint, KeyUse)>) {
        self.affinity_keys.reset();
        for (print, part) in keys {
            self.affinity_keys.with_label_values(&[&*print.to_string(), part.name()]).set(1);
        }
    }
}
