//! Looks of the gateway's own: whether an endpoint still takes connections. Apart from second looks, which ask an interface
//! for something: nothing here knows what an endpoint serves.

use std::sync::Arc;
use std::time::Instant;

use super::connect::{ConnectError, Dial, Scope, connect, open};
use super::verdict;
use crate::farm::{Endpoint, Farm, Probing};

/// `endpoint` of `farm` has ended a connection that it could have kept, as one does that dies: the gateway looks before a
/// client finds out. `farms` are all that there are.
pub fn hint(farms: &Arc<[Arc<Farm>]>, farm: &Arc<Farm>, endpoint: &Arc<Endpoint>) {
    let Some(at) = endpoint.hint(Instant::now()) else { return };
    let (farms, farm, endpoint) = (Arc::clone(farms), Arc::clone(farm), Arc::clone(endpoint));
    tokio::spawn(async move {
        tokio::time::sleep_until(at.into()).await;
        // What is blocked already is left alone for its time.
        if !farm.is_up(&endpoint) {
            return;
        }
        let Some(_probing) = Probing::begin(&endpoint) else { return };
        if let Err(error) = look(&farm, &endpoint).await {
            let block_for = farm.config().failover.block_for;
            verdict::failed(&farms, &farm, &endpoint, block_for, error.scope(), error.reason());
        }
    });
}

/// As [`hint`], of the endpoints with these keys, as far as they are known.
pub fn hints(farms: &Arc<[Arc<Farm>]>, keys: &[u64]) {
    for key in keys {
        let known = farms.iter().find_map(|farm| Some((farm, farm.by_key(*key)?)));
        if let Some((farm, endpoint)) = known {
            hint(farms, farm, &endpoint);
        }
    }
}

/// Dials `endpoint`, and hangs up.
pub(super) async fn look(farm: &Farm, endpoint: &Endpoint) -> Result<(), ConnectError> {
    let config = farm.config();
    let dial = Dial::to(farm, endpoint, config.failover.connect_timeout);
    let reached = match config.proof {
        Some(_) => connect(dial).await.map(drop),
        // Its TLS is between it and the clients.
        None => open(&dial).await.map(drop),
    };
    match &reached {
        Ok(()) => endpoint.metrics().probed("cleared"),
        Err(error) if error.scope() == Scope::Gateway => {}
        Err(_) => endpoint.metrics().probed("failed"),
    }
    reached
}
