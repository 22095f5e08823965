//! A farm as `/status` shows it. Apart from the farm, because only people read it.

use std::net::SocketAddr;
use std::time::Instant;

use serde::Serialize;

use super::Farm;
use crate::policy::blocklist::Standing;
use crate::policy::endpoint::{EndpointId, Presence};
use crate::telemetry::metrics::{EndpointMetrics, Gauge};

/// One endpoint as `/status` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct Described {
    /// `address:port`.
    pub endpoint: SocketAddr,
    /// Its site's name.
    pub site: String,
    /// `up`, `blocked`, `probation`, `draining` or `departed`.
    pub state: &'static str,
    /// Seconds until its block ends.
    pub blocked_for: Option<f64>,
    /// Event channels on it whose id is known.
    pub channels: i64,
    /// CTI and pass-through connections on it.
    pub streams: i64,
}

impl Farm {
    /// Every endpoint and how it stands, for whoever wants to see.
    pub fn describe(&self) -> Vec<Described> {
        let config = self.config();
        let state = self.state.lock();
        let now = Instant::now();
        let held = |id: EndpointId, gauge: fn(&EndpointMetrics) -> &Gauge| {
            state.endpoints.get(&id).map_or(0, |endpoint| gauge(endpoint.metrics()).get())
        };
        let members = state.roster.present().chain(state.roster.leaving());
        let described = members.map(|member| Described {
            endpoint: member.endpoint().address,
            site: config
                .sites
                .get(usize::from(member.endpoint().tier.site))
                .map_or_else(String::new, |site| site.name.clone()),
            state: match (member.presence(), state.blocklist.standing(member.id(), now)) {
                (_, Standing::Blocked { .. }) => "blocked",
                (_, Standing::Probation | Standing::OnTrial) => "probation",
                (Presence::Departed, Standing::Up) => "departed",
                (Presence::Draining, Standing::Up) => "draining",
                (Presence::Present, Standing::Up) => "up",
            },
            blocked_for: match state.blocklist.standing(member.id(), now) {
                Standing::Blocked { until } => Some(until.saturating_duration_since(now).as_secs_f64()),
                Standing::Up | Standing::Probation | Standing::OnTrial => None,
            },
            channels: held(member.id(), |metrics| &metrics.channels),
            streams: held(member.id(), |metrics| &metrics.streams),
        });
        described.collect()
    }
}
