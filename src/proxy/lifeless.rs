//! The last look at endpoints that stay blocked, before their streams are ended. Separate from second looks, because what
//! depends on it is what an endpoint has had for long: their block may have run out, and nobody has tried them since.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::context::Worker;
use super::probe::{self, Seen};
use super::snapshot::Way;
use crate::config::model::ProxyProtocol;
use crate::farm::{Endpoint, Farm, Picked, Probing};
use crate::proxy_protocol::{self, Header};
use crate::upstream::connect::{ConnectError, Scope};
use crate::upstream::look;

/// So many looks fail before streams are ended.
const LOOKS: u32 = 3;
/// Between two of them.
const APART: Duration = Duration::from_secs(1);

/// Looks at the endpoints of all farms that are to be given up otherwise, and has the streams end of those that fail; then
/// wakes the connections of `worker` if streams are to end. To be called a few times a second, by each worker.
pub fn watch(worker: &Worker) {
    let snapshot = worker.shared.snapshot.load_full();
    for farm in snapshot.farms.iter() {
        for endpoint in farm.lifeless() {
            let Some(probing) = Probing::begin(&endpoint) else { continue };
            let (way, farm, cuts) = (snapshot.way_to(farm), Arc::clone(farm), Arc::clone(&worker.shared.cuts));
            tokio::spawn(async move {
                let _probing = probing;
                if let Seen::Fails(sign) = last_looks(&way, &farm, &endpoint).await {
                    farm.give_up(&endpoint, sign, &cuts);
                }
            });
        }
    }
    worker.bell.answer();
}

/// Looks until one look shows something else than that the endpoint fails: what one lost packet or one pause does must not cost
/// streams that have lived for days.
async fn last_looks(way: &Way, farm: &Farm, endpoint: &Arc<Endpoint>) -> Seen {
    let mut seen = last_look(way, farm, endpoint).await;
    for _ in 1..LOOKS {
        if let Seen::Works | Seen::Nothing = seen {
            break;
        }
        tokio::time::sleep(APART).await;
        seen = last_look(way, farm, endpoint).await;
    }
    seen
}

async fn last_look(way: &Way, farm: &Farm, endpoint: &Arc<Endpoint>) -> Seen {
    let begun = Instant::now();
    match way {
        Way::Http(route, host) => probe::look(route, Picked::for_probe(Arc::clone(endpoint)), host).await,
        Way::Handshake => judge(farm, endpoint, begun, look::look(farm, endpoint).await),
        Way::Hello(told) => {
            let preamble = match told {
                ProxyProtocol::Off => Vec::new(),
                ProxyProtocol::V2 => proxy_protocol::v2(&Header::Local),
            };
            judge(farm, endpoint, begun, look::greet(farm, endpoint, &preamble).await)
        }
    }
}

fn judge(farm: &Farm, endpoint: &Endpoint, begun: Instant, reached: Result<(), ConnectError>) -> Seen {
    match reached {
        Ok(()) => {
            farm.succeeded(endpoint, begun);
            Seen::Works
        }
        Err(error) if error.scope() == Scope::Gateway => Seen::Nothing,
        Err(error) => {
            farm.failed(endpoint, farm.config().failover.block_for, error.reason());
            Seen::Fails(probe::sign_of(error.scope()))
        }
    }
}
