//! A farm as the status shows it. Separate from the farm, because only people read it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Farm, State};
use crate::config::model;
use crate::policy::endpoint::{Member, Presence};
use crate::policy::health::blocklist::Standing;
use crate::telemetry::metrics::EndpointMetrics;

/// One endpoint and how it stands.
#[derive(Clone, Debug)]
pub struct Described {
    /// What is dialled.
    pub address: SocketAddr,
    /// Its site's name.
    pub site: String,
    /// The SRV target that led to it.
    pub target: Option<String>,
    /// How it stands.
    pub state: EndpointState,
    /// Whether it gets no new sessions.
    pub leaving: bool,
    /// Whether it is the last choice until a look has shown what it is worth.
    pub suspect: bool,
    /// How long until its block ends, while it has one.
    pub blocked_for: Option<Duration>,
    /// How long until what is left there is cut, if that is to be.
    pub cut_in: Option<Duration>,
    /// Its counters.
    pub metrics: Arc<EndpointMetrics>,
}

/// How an endpoint stands; what is held against it comes before where it is going.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointState {
    /// It may be picked.
    Up,
    /// It failed, and is left out.
    Blocked,
    /// Its block has run out, and nobody has tried it yet.
    Probation,
    /// The configuration drains it, or an operator.
    Draining,
    /// Discovery names it no more.
    Departed,
}

impl EndpointState {
    /// Whether it has failed, and has not worked since.
    pub const fn is_out(self) -> bool {
        match self {
            Self::Blocked | Self::Probation => true,
            Self::Up | Self::Draining | Self::Departed => false,
        }
    }

    fn of(presence: Presence, standing: Standing) -> Self {
        match (presence, standing) {
            (_, Standing::Blocked { .. }) => Self::Blocked,
            (_, Standing::Probation | Standing::OnTrial) => Self::Probation,
            (Presence::Departed, Standing::Up) => Self::Departed,
            (Presence::Draining, Standing::Up) => Self::Draining,
            (Presence::Present, Standing::Up) => Self::Up,
        }
    }
}

impl Farm {
    /// Every endpoint and how it stands, to be shown: by site and SRV priority, then by address.
    pub fn describe(&self) -> Vec<Described> {
        let config = self.config();
        self.state.with(|state| state.describe(&config))
    }
}

impl State {
    fn describe(&self, config: &model::Farm) -> Vec<Described> {
        let now = Instant::now();
        let mut members: Vec<&Member> = self.roster.present().chain(self.roster.leaving()).collect();
        members.sort_unstable_by_key(|member| (member.endpoint().tier, member.endpoint().address));
        let described = |member: &Member| {
            let endpoint = member.endpoint();
            let known = self.endpoints.get(&member.id())?;
            let standing = self.health.standing(member.id(), now);
            let site = config.sites.get(usize::from(endpoint.tier.site));
            Some(Described {
                address: endpoint.address,
                site: site.map_or_else(String::new, |site| site.name.clone()),
                target: endpoint.target.as_deref().map(str::to_owned),
                state: EndpointState::of(member.presence(), standing),
                leaving: member.presence() != Presence::Present,
                suspect: self.health.is_suspect(member.id()),
                blocked_for: match standing {
                    Standing::Blocked { until } => Some(until.saturating_duration_since(now)),
                    Standing::Up | Standing::Probation | Standing::OnTrial => None,
                },
                cut_in: known.cut_at().map(|at| at.saturating_duration_since(now)),
                metrics: Arc::clone(&known.metrics),
            })
        };
        members.into_iter().filter_map(described).collect()
    }
}
