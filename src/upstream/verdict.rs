//! What a failure means for the XSP: its endpoint is blocked, and when there may be more to it than one port, the others at
//! its address are looked at. Separate from those who meet the failure, since requests and byte streams meet the same.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::connect::Scope;
use super::look::{hint, look};
use crate::farm::{Endpoint, Farm, Probing};

/// Blocks `endpoint` of `farm` for `block_for`, give or take a tenth (R-FAIL-1), unless the failure was the gateway's own.
/// `farms` are all that there are.
pub fn failed(
    farms: &Arc<[Arc<Farm>]>,
    farm: &Arc<Farm>,
    endpoint: &Arc<Endpoint>,
    block_for: Duration,
    scope: Scope,
    reason: &'static str,
) {
    match scope {
        Scope::Gateway => {}
        Scope::Port => farm.failed(endpoint, block_for, reason),
        Scope::Silence => {
            farm.failed(endpoint, block_for, reason);
            // Streams there may hang with it, and ask nothing that would tell.
            for other in farms.iter().filter(|other| !Arc::ptr_eq(other, farm)) {
                let there = other.up_at(endpoint.address().ip());
                there.iter().for_each(|endpoint| hint(farms, other, endpoint));
            }
        }
        Scope::Address => {
            farm.failed(endpoint, block_for, reason);
            address_lost(farms, farm, endpoint.address().ip());
        }
    }
}

/// One port's failure showed that a whole XSP is gone: the endpoints that other farms have at the same address are dialled
/// at once, instead of letting a client find out.
fn address_lost(farms: &[Arc<Farm>], farm: &Arc<Farm>, ip: IpAddr) {
    for other in farms.iter().filter(|other| !Arc::ptr_eq(other, farm)) {
        for endpoint in other.up_at(ip) {
            let Some(probing) = Probing::begin(&endpoint) else { continue };
            let other = Arc::clone(other);
            tokio::spawn(async move {
                let _probing = probing;
                if let Err(error) = look(&other, &endpoint).await
                    && error.scope() != Scope::Gateway
                {
                    other.failed(&endpoint, other.config().failover.block_for, error.reason());
                }
            });
        }
    }
}
