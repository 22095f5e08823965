//! Farms that are gone and whose XSPs are those of a farm that is new, though nothing says that it is the same one: what belonged
//! to the one is lost to the other. Separate from a reload and from a restart, because it happens in both.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use tracing::warn;

use crate::farm::Farm;
use crate::handover;

/// Those that go and those that come.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// By name, with their XSPs.
    pub(super) gone: Vec<(String, BTreeSet<SocketAddr>)>,
    /// Those that go on for nobody.
    pub(super) new: Vec<Arc<Farm>>,
}

impl Change {
    /// A farm that runs, and goes.
    pub(super) fn goes(&mut self, farm: &Farm) {
        self.gone.push((farm.name().to_owned(), addresses(farm)));
    }

    /// A farm of another process, which nobody goes on for here. One of which DNS names nothing any more had gone there already.
    pub(super) fn is_left(&mut self, farm: &handover::Farm) {
        let named = farm.endpoints.iter().filter(|endpoint| !endpoint.departed);
        self.gone.push((farm.name.clone(), named.map(|endpoint| endpoint.address).collect()));
    }

    /// Warns of sessions that are lost, and returns the same for the caller that asked for the change. To be called when the XSPs of
    /// new farms are known.
    pub(super) fn tell(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (old, theirs) in &self.gone {
            for new in self.new.iter().filter(|new| !addresses(new).is_disjoint(theirs)) {
                let new = new.name();
                let consequence = format!(
                    "the XSPs of a farm that is gone are another farm's now: their sessions start anew, blocks and drains by hand \
                     are forgotten, and open connections are counted as farm {old}'s; `formerly = \"{old}\"` in [farm.{new}] keeps \
                     all of it together"
                );
                warn!(farm = new, formerly = old, "{consequence}");
                warnings.push(format!("farm {old} -> farm {new}: {consequence}"));
            }
        }
        warnings
    }
}

fn addresses(farm: &Farm) -> BTreeSet<SocketAddr> {
    farm.describe().iter().map(|endpoint| endpoint.address).collect()
}
