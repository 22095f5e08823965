//! The last looks at endpoints that stay blocked, before their streams are ended. Separate from other looks, because what
//! depends on them is what an endpoint has had for long: its block may have run out, and nobody has tried it since.

use std::sync::Arc;
use std::time::Duration;

use super::context::Worker;
use super::look::look;
use super::snapshot::Way;
use crate::farm::{Looking, Sign};
use crate::policy::fault::{Evidence, Scope};
use crate::policy::health::Found;
use crate::registry::{Entry, Why};

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
            let Some(mut looking) = farm.claim_look(&endpoint) else { continue };
            let (way, shared) = (snapshot.way_to(farm, None), Arc::clone(&worker.shared));
            tokio::spawn(async move {
                if let Some(sign) = sign_of(last_looks(&way, &mut looking).await)
                    && looking.farm().give_up(&looking.endpoint, sign)
                {
                    let is_there = |entry: &Entry| entry.is_at(&looking.endpoint);
                    shared.registry.cut(&shared.registry.find(is_there), Why::GivenUp);
                }
            });
        }
    }
    worker.bell.answer();
}

/// Looks until one look shows something else than that the endpoint fails: what one lost packet or one pause does must not cost
/// streams that have lived for days.
async fn last_looks(way: &Way, looking: &mut Looking) -> Found {
    let mut found = look(way, looking).await;
    for _ in 1..LOOKS {
        if sign_of(found).is_none() {
            break;
        }
        tokio::time::sleep(APART).await;
        looking.begin_again();
        found = look(way, looking).await;
    }
    found
}

/// What a look that has failed says of the endpoint's life.
fn sign_of(found: Found) -> Option<Sign> {
    let fault = match found {
        Found::Well => return None,
        Found::ServerError => return Some(Sign::Refusal),
        Found::Fault(fault) => fault,
    };
    match fault.evidence() {
        Evidence::Nothing => None,
        Evidence::Proof(Scope::Address | Scope::Silence) => Some(Sign::Silence),
        Evidence::Suspicion(_) if fault.is_silence() => Some(Sign::Silence),
        Evidence::Proof(Scope::Port) | Evidence::Suspicion(_) | Evidence::Hint => Some(Sign::Refusal),
    }
}
