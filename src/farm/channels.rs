//! Where and when new event channels are opened. Separate from the farm's part in other requests, which never wait.

use std::time::Instant;

use super::{Farm, Picked, Session};
use crate::policy::blocklist::Standing;
use crate::policy::pace::Turn;
use crate::policy::plan::Reason;

impl Farm {
    /// The session of a request that opens a channel: an endpoint that is leaving gets no new ones, or it would
    /// never be done with.
    pub fn opening_session(&self, session: Session) -> Session {
        let is_leaving =
            |id| self.state.with(|state| state.endpoints.get(&id).is_some_and(|endpoint| endpoint.is_leaving()));
        match session {
            Session::At(id) if is_leaving(id) => Session::Unknown,
            Session::New | Session::Unknown | Session::At(_) => session,
        }
    }

    /// When the endpoint that was picked may be sent a new channel; none is promised for later than `latest`.
    pub fn channel_turn(&self, picked: &Picked, latest: Instant) -> Turn {
        self.state.with(|state| state.pace.take(picked.endpoint.id(), Instant::now(), latest))
    }

    /// Whether the endpoint that was picked some time ago would be picked no more: it is leaving, or has been blocked.
    pub fn has_turned_bad(&self, picked: &Picked) -> bool {
        let standing = self.state.with(|state| state.blocklist.standing(picked.endpoint.id(), Instant::now()));
        // Where nothing better was left, it was blocked already.
        let is_blocked = picked.reason != Reason::LastResort && matches!(standing, Standing::Blocked { .. });
        is_blocked || picked.endpoint.is_leaving()
    }
}
