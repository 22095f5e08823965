//! How often each user may ask a simulated XSP, as its web container limits it, and how many requests it serves at a time. Separate
//! from the answers because both outlive each request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header;
use http::request::Parts;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

const WINDOW: Duration = Duration::from_secs(1);

/// Each user's requests in the second that runs.
#[derive(Default)]
pub(super) struct Limit(Mutex<HashMap<Vec<u8>, (Instant, u32)>>);

impl Limit {
    /// Counts a request; false if its user has had `most` in this second. A user is who the path names, or else
    /// `Authorization`; nobody's requests are not limited.
    pub(super) fn admits(&self, head: &Parts, most: u32) -> bool {
        let Some(user) = user(head) else { return true };
        let now = Instant::now();
        let mut users = self.0.lock();
        let (since, count) = users.entry(user).or_insert((now, 0));
        if now.duration_since(*since) >= WINDOW {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= most
    }
}

/// The requests that are served at a time.
#[derive(Default)]
pub(super) struct Slots(Mutex<Option<(usize, Arc<Semaphore>)>>);

impl Slots {
    /// Takes one of `most` slots for `time`, once there is one.
    pub(super) async fn take(&self, most: usize, time: Duration) {
        let slots = {
            let mut known = self.0.lock();
            match &*known {
                Some((size, slots)) if *size == most => Arc::clone(slots),
                Some(_) | None => {
                    let slots = Arc::new(Semaphore::new(most));
                    *known = Some((most, Arc::clone(&slots)));
                    slots
                }
            }
        };
        let _slot = slots.acquire().await.expect("nobody closes it");
        tokio::time::sleep(time).await;
    }
}

fn user(head: &Parts) -> Option<Vec<u8>> {
    let mut segments = head.uri.path().split('/').skip_while(|segment| !segment.eq_ignore_ascii_case("user"));
    let named = segments.nth(1).map(|user| user.as_bytes().to_vec());
    named.or_else(|| head.headers.get(header::AUTHORIZATION).map(|credentials| credentials.as_bytes().to_vec()))
}
