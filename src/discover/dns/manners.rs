//! How each DNS server wants to be asked, as it has shown. Separate from the questions, because it outlives them: a server
//! that is silent to EDNS costs its silence once in ten minutes, not with each question.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tracing::warn;

use crate::lock::Locked;

/// How long a server is taken to be as it has shown; it may be repaired, or replaced.
const REMEMBERED: Duration = Duration::from_secs(10 * 60);

/// What is known of each server.
#[derive(Debug, Default)]
pub(super) struct Manners(Locked<HashMap<SocketAddr, Known>>);

/// How one server takes what not all servers take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Manner {
    /// EDNS (RFC 6891).
    pub(super) edns: Takes,
    /// A name in mixed case, which the answer must repeat.
    pub(super) mixed_case: Takes,
}

/// Whether a server takes something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Takes {
    /// It has not shown it yet.
    #[default]
    Untried,
    /// It has answered well with it.
    Yes,
    /// It has answered well only without it.
    No,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    manner: Manner,
    until: Instant,
}

impl Manners {
    /// How `server` is to be asked.
    pub(super) fn of(&self, server: SocketAddr, now: Instant) -> Manner {
        let known = self.0.with(|known| known.get(&server).copied());
        known.filter(|known| now < known.until).map(|known| known.manner).unwrap_or_default()
    }

    /// `server`, which was known as `before`, has shown that it is so. Tells the operator what it doesn't take.
    pub(super) fn learn(&self, server: SocketAddr, before: Manner, now: Instant, shown: Manner) {
        if shown == before {
            return;
        }
        self.0.with(|known| known.insert(server, Known { manner: shown, until: now + REMEMBERED }));
        if shown.edns == Takes::No && before.edns != Takes::No {
            warn!(%server, "DNS server {} does not take EDNS: queries to it are sent without", server.ip());
        }
        if shown.mixed_case == Takes::No && before.mixed_case != Takes::No {
            warn!(%server, "DNS server {} does not keep the case of names: queries to it are in lower case", server.ip());
        }
    }
}
