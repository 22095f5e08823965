//! The shell of one farm: its members, what they are worth and affinity behind one small lock, with clock, randomness, metrics and
//! log. It decides nothing itself: `policy` does, and the farm remembers and tells.

mod describe;
mod endpoint;
mod failover;
mod given_up;
mod looks;
mod news;
mod operator;
mod publish;
mod reconfiguration;
mod renamed;
mod renewal;
mod succession;
mod turnover;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::config::model;
use crate::lock::Locked;
use crate::policy::affinity::{Keyring, Tag};
use crate::policy::departed::Departed;
use crate::policy::drained::Drained;
use crate::policy::endpoint::{Endpoint as Found, EndpointId, Member, Roster};
use crate::policy::health::Health;
use crate::policy::health::blocklist::Standing;
use crate::policy::pace::Pace;
use crate::telemetry::metrics::{FarmMetrics, Metrics};
use crate::telemetry::timeline::Timeline;
use crate::tls::client::ClientTls;

pub use describe::{Described, EndpointState};
pub use endpoint::Endpoint;
use failover::Caller;
pub use failover::{Forwarding, Overdue, Picked, Step, Steps};
pub use given_up::Sign;
pub use looks::{Looking, Looks};
pub use operator::{Meant, Operation};

/// A farm that runs.
#[derive(Debug)]
pub struct Farm {
    name: String,
    config: ArcSwap<model::Farm>,
    tls: ArcSwap<ClientTls>,
    keyring: ArcSwap<Keyring>,
    metrics: FarmMetrics,
    all_metrics: Arc<Metrics>,
    timeline: Timeline,
    looks: Arc<Looks>,
    state: Locked<State>,
    /// Whether the configuration has it no longer.
    retired: AtomicBool,
    /// Whether its last XSP has gone.
    is_out: AtomicBool,
    /// Whether an XSP is up, or on probation.
    has_hope: AtomicBool,
    /// Which endpoint a cookie's tag names.
    tags: ArcSwap<HashMap<Tag, EndpointId>>,
}

#[derive(Debug)]
struct State {
    roster: Roster,
    departed: Departed,
    /// Those that are drained by word of the operator, besides those that the configuration drains.
    drained_by_operator: Drained,
    /// Those that get no new sessions, and of which nobody has been told yet that nothing is held there any more.
    vacating: BTreeSet<EndpointId>,
    /// Those that discovery names no more and that may be back with its next answer: their sessions stay.
    missing: BTreeSet<EndpointId>,
    health: Health,
    pace: Pace,
    rng: StdRng,
    endpoints: HashMap<EndpointId, Arc<Endpoint>>,
    /// Requests that wait for a place, by the number that each was given.
    callers: HashMap<u64, Caller>,
    /// What the log has said to be drained by the configuration, and to be no XSP's.
    unknown_drains: Vec<String>,
}

/// What a request's cookies say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    /// No gateway's cookie.
    New,
    /// A tag that names no endpoint of this farm.
    Unknown,
    /// The session is at home there.
    At(EndpointId),
}

impl Session {
    /// The session of a request that goes to `endpoint` for another reason than its cookie: one that has a home elsewhere
    /// keeps it.
    pub fn visiting(self, endpoint: &Endpoint) -> Self {
        match self {
            Self::New | Self::Unknown => self,
            Self::At(_) => Self::At(endpoint.id),
        }
    }

    /// Where it is at home.
    pub const fn home(self) -> Option<EndpointId> {
        match self {
            Self::New | Self::Unknown => None,
            Self::At(id) => Some(id),
        }
    }
}

impl Farm {
    /// A farm without endpoints; discovery brings them.
    pub fn new(
        config: Arc<model::Farm>,
        tls: ClientTls,
        keyring: Arc<Keyring>,
        metrics: &Arc<Metrics>,
        timeline: &Timeline,
        looks: &Arc<Looks>,
    ) -> Arc<Self> {
        Arc::new(Self {
            metrics: metrics.farm(&config.name),
            all_metrics: Arc::clone(metrics),
            timeline: timeline.clone(),
            looks: Arc::clone(looks),
            tls: ArcSwap::from_pointee(tls),
            keyring: ArcSwap::new(keyring),
            state: Locked::new(State {
                roster: Roster::default(),
                departed: Departed::default(),
                drained_by_operator: Drained::default(),
                vacating: BTreeSet::new(),
                missing: BTreeSet::new(),
                health: Health::new(Instant::now(), config.max_in_flight),
                pace: Pace::new(config.channel_rate),
                rng: StdRng::from_rng(&mut rand::rng()),
                endpoints: HashMap::new(),
                callers: HashMap::new(),
                unknown_drains: Vec::new(),
            }),
            retired: AtomicBool::new(false),
            is_out: AtomicBool::new(false),
            has_hope: AtomicBool::new(true),
            tags: ArcSwap::default(),
            name: config.name.clone(),
            config: ArcSwap::new(config),
        })
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has this name, or had it before.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.config.load().formerly.iter().any(|former| former == name)
    }

    /// The name that it has, and those that it had before.
    pub fn names(&self) -> Vec<String> {
        [&self.name].into_iter().chain(&self.config.load().formerly).cloned().collect()
    }

    /// Whether a client that sends `values`, the gateway's cookies, has one only by which `endpoint` was known before: it is to
    /// get another.
    pub fn is_outdated<'a>(&self, mut values: impl Iterator<Item = &'a [u8]>, endpoint: &Endpoint) -> bool {
        if self.config.load().formerly.is_empty() {
            return false;
        }
        let Some(first) = values.next() else { return false };
        let tag = endpoint.tag();
        !std::iter::once(first).chain(values).any(|value| value == tag.as_str().as_bytes())
    }

    /// Its section of the configuration, as it is now.
    pub fn config(&self) -> Arc<model::Farm> {
        self.config.load_full()
    }

    /// How its XSPs are dialled.
    pub fn tls(&self) -> Arc<ClientTls> {
        self.tls.load_full()
    }

    /// Its counters.
    pub const fn metrics(&self) -> &FarmMetrics {
        &self.metrics
    }

    /// Whether no endpoint is known at all. Takes no lock: `/readyz` asks, which nothing may hold up. Every endpoint has a tag.
    pub fn is_empty(&self) -> bool {
        self.tags.load().is_empty()
    }

    /// Whether as much of it is there as `/readyz` asks for. Takes no lock either.
    pub fn is_ready(&self) -> bool {
        match self.config.load().ready {
            model::Needed::Any => !self.is_empty() && self.has_hope.load(Ordering::Relaxed),
            model::Needed::None => true,
        }
    }

    /// Whether no endpoint may be picked.
    pub fn has_nobody(&self) -> bool {
        self.state.with(|state| state.roster.is_empty())
    }

    /// What `values`, the gateway's cookies of a request, say of its session.
    pub fn session<'a>(&self, values: impl Iterator<Item = &'a [u8]>) -> Session {
        let mut session = Session::New;
        let mut tags = None;
        for value in values {
            session = Session::Unknown;
            let tags = tags.get_or_insert_with(|| self.tags.load());
            if let Some(id) = Tag::parse(value).and_then(|tag| tags.get(&tag).copied()) {
                return Session::At(id);
            }
        }
        session
    }

    /// The endpoint at `name`, if that is an address, or the one whose SRV target it is, on that port, for a Location (see
    /// `wire.md`).
    pub fn find(&self, name: &str, port: u16) -> Option<EndpointId> {
        let ip = name.trim_matches(['[', ']']).parse::<IpAddr>();
        let is_meant = |member: &&Member| {
            let Found { address, target, .. } = member.endpoint();
            let by_target = || target.as_deref().is_some_and(|target| target.eq_ignore_ascii_case(name));
            address.port() == port && ip.as_ref().map_or_else(|_| by_target(), |ip| address.ip() == *ip)
        };
        self.state.with(|state| state.roster.present().find(is_meant).map(Member::id))
    }

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

    /// The endpoint with that [`Endpoint::key`], if it is one of this farm.
    pub fn by_key(&self, key: u64) -> Option<Arc<Endpoint>> {
        self.state.with(|state| state.endpoints.values().find(|endpoint| endpoint.key == key).map(Arc::clone))
    }

    /// Whether nothing is held against `endpoint`.
    pub fn is_up(&self, endpoint: &Endpoint) -> bool {
        self.state.with(|state| state.health.standing(endpoint.id, Instant::now()) == Standing::Up)
    }
}
