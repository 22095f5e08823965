//! A farm's section of the configuration that changes while the farm runs. Separate from its endpoints, which discovery changes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Farm;
use crate::config::model;

impl Farm {
    /// Goes by `config` from now on; its endpoints, blocklist, sessions and connections stay. What its XSPs are dialled with
    /// and where they are found is renewed by itself.
    pub fn reconfigure(&self, config: Arc<model::Farm>) {
        self.retired.store(false, Ordering::Relaxed);
        let news = self.state.with(|state| {
            state.pace.set_rate(config.channel_rate);
            state.health.load.set_ceiling(config.max_in_flight);
            let pool = Arc::new(config.pool.clone());
            for endpoint in state.endpoints.values() {
                endpoint.pool.store(Arc::clone(&pool));
                // One that was retired may be the farm of its name again.
                endpoint.heir.store(None);
            }
            self.config.store(config);
            self.retag(state);
            self.drain(state)
        });
        self.tell_all(news);
    }

    /// The configuration has it no longer: its endpoints depart, and are forgotten when nobody will miss them. What is there
    /// lives on until then, and it is the same farm if the configuration has it again.
    pub fn retire(&self) {
        if !self.retired.swap(true, Ordering::Relaxed) {
            self.update(Vec::new(), &[]);
        }
    }

    /// Whether the configuration has it no longer.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    /// Whether the configuration has it no longer, and nothing is left of it.
    pub fn is_done_with(&self) -> bool {
        self.is_retired() && self.is_empty()
    }
}
