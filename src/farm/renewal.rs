//! Certificates and keys that are replaced while the farm runs. Separate from the farm's part in requests: nothing here changes
//! what is known of an endpoint, and what is under way goes on as it began.

use std::sync::Arc;

use super::Farm;
use crate::policy::affinity::{KeyPrint, KeyUse, Keyring};
use crate::tls::client::ClientTls;

impl Farm {
    /// Dials its XSPs with `tls` from now on. Connections that were dialled before end with the exchange that they are in.
    pub fn renew_tls(&self, tls: ClientTls) {
        // Endpoints are made under the same lock, so that none is made with the old one and missed here.
        self.state.with(|state| {
            for endpoint in state.endpoints.values() {
                endpoint.tls.store(tls.for_endpoint());
            }
            self.tls.store(Arc::new(tls));
        });
        self.look_at_blocked();
    }

    /// The fingerprints of the keys that its sessions go by, the signing one first.
    pub fn keys(&self) -> Vec<(KeyPrint, KeyUse)> {
        self.keyring.load().prints().collect()
    }

    /// Signs new sessions with the first key of `keyring`, and knows those of all its keys.
    pub fn renew_keys(&self, keyring: Arc<Keyring>) {
        self.state.with(|state| {
            self.keyring.store(Arc::clone(&keyring));
            // A tag must be known before a client gets it.
            self.retag(state);
            for endpoint in state.endpoints.values() {
                endpoint.tag.store(Arc::new(keyring.tag(self.name(), endpoint.address)));
            }
        });
    }
}
