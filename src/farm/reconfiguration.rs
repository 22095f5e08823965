//! A farm's section of the configuration that changes while the farm runs. Apart from its endpoints, which discovery changes.

use std::sync::Arc;

use super::Farm;
use crate::config::model;

impl Farm {
    /// Goes by `config` from now on; its endpoints, blocklist, sessions and connections stay. What its XSPs are dialled with
    /// and where they are found is renewed apart.
    pub fn reconfigure(&self, config: Arc<model::Farm>) {
        let state = &mut *self.state.lock();
        state.pace.set_rate(config.channel_rate);
        let pool = Arc::new(config.pool.clone());
        for endpoint in state.endpoints.values() {
            endpoint.pool.store(Arc::clone(&pool));
        }
        self.config.store(config);
        self.drain(state);
    }
}
