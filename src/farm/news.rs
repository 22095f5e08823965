//! What becomes of endpoints, told to the log and to those who look at the time line. Separate from what brings it about,
//! since that holds the farm's lock, and writing a log may take long.

use std::sync::Arc;

use tracing::info;

use super::{Farm, State};
use crate::policy::endpoint::EndpointId;
use crate::telemetry::timeline::{Event, Kind};

/// Endpoints that have an event each when the same happens to several at once; more share one.
const EACH: usize = 5;

/// The same has happened to these.
#[derive(Debug)]
#[must_use]
pub(super) struct News {
    what: What,
    endpoints: Vec<Arc<str>>,
}

/// What may happen to an endpoint, besides what its answers bring about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Found,
    Left,
    Returned,
    Drained,
    Undrained,
    Vacated,
    Forgotten,
}

impl What {
    const fn kind(self) -> Kind {
        match self {
            Self::Found => Kind::Found,
            Self::Left => Kind::Left,
            Self::Returned => Kind::Returned,
            Self::Drained => Kind::Draining,
            Self::Undrained => Kind::Undrained,
            Self::Vacated => Kind::Vacated,
            Self::Forgotten => Kind::Forgotten,
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Found => "endpoint found",
            Self::Left => "endpoint left; it gets no new sessions",
            Self::Returned => "endpoint is back",
            Self::Drained => "endpoint is drained; it gets no new sessions",
            Self::Undrained => "endpoint no longer drained",
            Self::Vacated => "endpoint that is leaving holds no event channel and no connection any more",
            Self::Forgotten => "endpoint that left is forgotten",
        }
    }

    /// What the time line adds to the kind.
    const fn remark(self) -> &'static str {
        match self {
            Self::Vacated => "it holds no event channel and no connection any more",
            Self::Found | Self::Left | Self::Returned | Self::Drained | Self::Undrained | Self::Forgotten => "",
        }
    }
}

impl News {
    /// That has happened to the endpoints `ids`, as far as they are known.
    pub(super) fn of(what: What, state: &State, ids: &[EndpointId]) -> Self {
        let known = ids.iter().filter_map(|id| state.endpoints.get(id));
        Self::new(what, known.map(|endpoint| Arc::clone(&endpoint.label)).collect())
    }

    /// That has happened to the endpoints with these labels.
    pub(super) const fn new(what: What, endpoints: Vec<Arc<str>>) -> Self {
        Self { what, endpoints }
    }
}

impl Farm {
    /// Tells it. Not to be called with the farm's lock held.
    pub(super) fn tell_all(&self, news: impl IntoIterator<Item = News>) {
        for News { what, endpoints } in news {
            for endpoint in &endpoints {
                info!(farm = self.name(), endpoint = &**endpoint, "{}", what.text());
            }
            if endpoints.len() > EACH {
                let event = Event::now(what.kind(), format!("{} endpoints", endpoints.len()));
                self.timeline.add(event.of_farm(&self.name));
            } else {
                endpoints.iter().for_each(|endpoint| self.note(endpoint, what.kind(), what.remark()));
            }
        }
    }
}
