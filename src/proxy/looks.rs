//! Who looks, and when: one task for the whole process has the looks made that are due, of whatever farm. Separate from what is
//! asked in a look.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::context::Shared;
use super::look::look;
use crate::farm::Looks;

/// How often it is looked whether time has brought something about: a block that has run out, an endpoint that has been silent.
const TICK: Duration = Duration::from_millis(100);

/// Has looks made as they become due, for ever.
pub async fn run(shared: Arc<Shared>, looks: Arc<Looks>) {
    loop {
        let snapshot = shared.snapshot.load_full();
        for address in looks.in_doubt() {
            snapshot.farms.iter().for_each(|farm| farm.look_at_address(address));
        }
        for looking in snapshot.farms.iter().flat_map(|farm| farm.due_looks()) {
            let way = snapshot.way_to(looking.farm(), looking.interface());
            tokio::spawn(async move { look(&way, &looking).await });
        }
        let next = snapshot.farms.iter().filter_map(|farm| farm.next_look()).min();
        let tick = Instant::now() + TICK;
        let wake = next.map_or(tick, |next| tick.min(next.into()));
        tokio::select! {
            () = tokio::time::sleep_until(wake) => {}
            () = looks.due() => {}
        }
    }
}
