//! When the farm's endpoints are sent new event channels. Apart from the farm's part in other requests, which never wait.

use std::time::Instant;

use super::{Farm, Picked};
use crate::policy::blocklist::Standing;
use crate::policy::pace::Turn;
use crate::policy::plan::Reason;

impl Farm {
    /// When the endpoint that was picked may be sent a new channel; none is promised for later than `latest`.
    pub fn channel_turn(&self, picked: &Picked, latest: Instant) -> Turn {
        self.state.lock().pace.take(picked.endpoint.id(), Instant::now(), latest)
    }

    /// Whether the endpoint that was picked some time ago would be picked no more, since it has been blocked.
    pub fn has_turned_bad(&self, picked: &Picked) -> bool {
        let standing = self.state.lock().blocklist.standing(picked.endpoint.id(), Instant::now());
        // Where nothing better was left, it was blocked already.
        picked.reason != Reason::LastResort && matches!(standing, Standing::Blocked { .. })
    }
}
