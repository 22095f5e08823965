//! The shell of one farm: its endpoints, blocklist and affinity behind one small lock, with clock, randomness, metrics and
//! log. It decides nothing itself: `policy` does, and the farm remembers and tells.

mod channels;
mod describe;
mod endpoint;
mod given_up;
mod news;
mod operator;
mod reconfiguration;
mod renewal;
mod succession;
mod turnover;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tracing::{info, warn};

use crate::config::model;
use crate::lock::Locked;
use crate::policy::affinity::{Keyring, Tag};
use crate::policy::blocklist::{self, Blocklist, Standing, Transition, jittered};
use crate::policy::budget::Budget;
use crate::policy::departed::Departed;
use crate::policy::drained::Drained;
use crate::policy::endpoint::{Endpoint as Found, EndpointId, Member, Roster};
use crate::policy::pace::Pace;
use crate::policy::plan::{Plan, Purpose, Reason, Trials};
use crate::telemetry::metrics::{FarmMetrics, Metrics};
use crate::telemetry::timeline::{Event, Kind, Timeline};
use crate::tls::client::ClientTls;

pub use describe::{Described, EndpointState};
pub use endpoint::{Endpoint, Probing};
pub use given_up::Sign;
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
    state: Locked<State>,
    /// Whether the configuration has it no longer.
    retired: AtomicBool,
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
    blocklist: Blocklist,
    budget: Budget,
    pace: Pace,
    rng: StdRng,
    endpoints: HashMap<EndpointId, Arc<Endpoint>>,
}

/// An endpoint that was chosen for an attempt, and why.
#[derive(Debug)]
pub struct Picked {
    /// Where to.
    pub endpoint: Arc<Endpoint>,
    /// Why there.
    pub reason: Reason,
    /// Given back when this is dropped.
    trial: Option<Trial>,
}

/// The one trial of an endpoint on probation; free again when dropped.
#[derive(Debug)]
struct Trial {
    farm: Arc<Farm>,
    claim: blocklist::Trial,
}

/// An attempt that is overdue; its endpoint is picked last while this is held.
#[derive(Debug)]
pub struct Overdue {
    farm: Arc<Farm>,
    id: EndpointId,
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
}

impl Picked {
    /// An endpoint that nobody chose: the gateway looks at it for itself.
    pub const fn for_probe(endpoint: Arc<Endpoint>) -> Self {
        Self { endpoint, reason: Reason::Trial, trial: None }
    }

    /// The endpoint of the event channel that a request names: no other will do, however this one stands.
    pub const fn for_channel(endpoint: Arc<Endpoint>) -> Self {
        Self { endpoint, reason: Reason::Channel, trial: None }
    }

    /// Whether this is the one trial of an endpoint on probation.
    pub const fn is_trial(&self) -> bool {
        self.trial.is_some()
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
    ) -> Arc<Self> {
        Arc::new(Self {
            metrics: metrics.farm(&config.name),
            all_metrics: Arc::clone(metrics),
            timeline: timeline.clone(),
            tls: ArcSwap::from_pointee(tls),
            keyring: ArcSwap::new(keyring),
            state: Locked::new(State {
                roster: Roster::default(),
                departed: Departed::default(),
                drained_by_operator: Drained::default(),
                vacating: BTreeSet::new(),
                blocklist: Blocklist::default(),
                budget: Budget::new(Instant::now()),
                pace: Pace::new(config.channel_rate),
                rng: StdRng::from_rng(&mut rand::rng()),
                endpoints: HashMap::new(),
            }),
            retired: AtomicBool::new(false),
            tags: ArcSwap::default(),
            name: config.name.clone(),
            config: ArcSwap::new(config),
        })
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
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

    /// The plan of one request.
    pub fn plan(&self, session: Session, tries: u8, trials: Trials) -> Plan {
        self.state.with(|state| state.budget.request(Instant::now()));
        let pinned = match session {
            Session::New | Session::Unknown => None,
            Session::At(id) => Some(id),
        };
        Plan::new(pinned, tries, trials)
    }

    /// The plan's next endpoint.
    pub fn pick(self: &Arc<Self>, plan: &mut Plan, purpose: Purpose) -> Option<Picked> {
        let now = Instant::now();
        let (pick, endpoint) = self.state.with(|state| {
            let State { roster, departed, blocklist, budget, rng, endpoints, .. } = state;
            let pick = plan.next(purpose, roster, blocklist, budget, now, rng)?;
            departed.used(pick.id, now);
            Some((pick, Arc::clone(endpoints.get(&pick.id)?)))
        })?;
        let trial = pick.trial.map(|claim| self.begin_trial(&endpoint, claim));
        Some(Picked { endpoint, reason: pick.reason, trial })
    }

    /// An endpoint whose block has run out and that nobody tries just now; the caller tries it.
    pub fn due_trial(self: &Arc<Self>) -> Option<Picked> {
        let now = Instant::now();
        let (claim, endpoint) = self.state.with(|State { roster, blocklist, endpoints, .. }| {
            let claim = roster.present().find_map(|member| blocklist.claim_trial(member.id(), now))?;
            Some((claim, Arc::clone(endpoints.get(&claim.id())?)))
        })?;
        let trial = self.begin_trial(&endpoint, claim);
        Some(Picked { endpoint, reason: Reason::Trial, trial: Some(trial) })
    }

    fn begin_trial(self: &Arc<Self>, endpoint: &Endpoint, claim: blocklist::Trial) -> Trial {
        endpoint.metrics.transition(claim.transition().name());
        Trial { farm: Arc::clone(self), claim }
    }

    /// The endpoint at `name`, if that is an address, or the one whose SRV target it is, on that port, for a Location (see
    /// `wire.md`).
    pub fn find(self: &Arc<Self>, name: &str, port: u16) -> Option<Picked> {
        let ip = name.trim_matches(['[', ']']).parse::<IpAddr>();
        let is_meant = |member: &&Member| {
            let Found { address, target, .. } = member.endpoint();
            let by_target = || target.as_deref().is_some_and(|target| target.eq_ignore_ascii_case(name));
            address.port() == port && ip.as_ref().map_or_else(|_| by_target(), |ip| address.ip() == *ip)
        };
        let endpoint = self.state.with(|state| {
            let member = state.roster.present().find(is_meant)?;
            state.endpoints.get(&member.id()).map(Arc::clone)
        })?;
        Some(Picked { endpoint, reason: Reason::Redirected, trial: None })
    }

    /// The endpoints of this farm at `ip` that nothing is held against.
    pub fn up_at(&self, ip: IpAddr) -> Vec<Arc<Endpoint>> {
        let now = Instant::now();
        self.state.with(|State { blocklist, endpoints, .. }| {
            let up = |endpoint: &&Arc<Endpoint>| {
                endpoint.address.ip() == ip && blocklist.standing(endpoint.id, now) == Standing::Up
            };
            endpoints.values().filter(up).map(Arc::clone).collect()
        })
    }

    /// The endpoint with that [`Endpoint::key`], if it is one of this farm.
    pub fn by_key(&self, key: u64) -> Option<Arc<Endpoint>> {
        self.state.with(|state| state.endpoints.values().find(|endpoint| endpoint.key == key).map(Arc::clone))
    }

    /// Whether nothing is held against `endpoint`.
    pub fn is_up(&self, endpoint: &Endpoint) -> bool {
        self.state.with(|state| state.blocklist.standing(endpoint.id, Instant::now()) == Standing::Up)
    }

    /// An attempt at `endpoint` that began at `begun` had an answer that stands (R-FAIL-8).
    pub fn succeeded(&self, endpoint: &Endpoint, begun: Instant) {
        let transition = self.state.with(|state| state.blocklist.succeed(endpoint.id, begun));
        if let Some(transition) = transition {
            self.tell(endpoint, transition, "answered");
        }
    }

    /// An attempt at `endpoint` failed: it is blocked for `block_for`, give or take a tenth (R-FAIL-1, R-FAIL-3).
    pub fn failed(&self, endpoint: &Endpoint, block_for: Duration, reason: &'static str) {
        let now = Instant::now();
        let transition = self.state.with(|state| {
            let until = now + jittered(block_for, &mut state.rng);
            state.blocklist.block(endpoint.id, now, until)
        });
        if let Some(transition) = transition {
            self.tell(endpoint, transition, reason);
        }
    }

    fn tell(&self, endpoint: &Endpoint, transition: Transition, reason: &'static str) {
        let (farm, label) = (self.name(), &*endpoint.label);
        let seconds = |until: Instant| until.saturating_duration_since(Instant::now()).as_secs_f64();
        match transition {
            Transition::Blocked { until, .. } => {
                let seconds = seconds(until);
                warn!(farm, endpoint = label, reason, seconds, "endpoint blocked");
                self.note(label, Kind::Blocked, format!("{reason}; for {seconds:.0} s"));
                endpoint.metrics.blocked.set(1);
            }
            Transition::TrialFailed { until, .. } => {
                info!(farm, endpoint = label, reason, seconds = seconds(until), "endpoint still fails, blocked again");
            }
            Transition::Unblocked { .. } => {
                info!(farm, endpoint = label, "endpoint answers again, off the blocklist");
                self.note(label, Kind::Unblocked, "it answers again");
                endpoint.metrics.blocked.set(0);
                self.take_back(endpoint);
            }
            // One dead XSP fails many requests that were under way; saying it once is enough.
            Transition::Extended { .. } | Transition::TrialBegun { .. } => return,
        }
        endpoint.metrics.transition(transition.name());
    }

    fn note(&self, endpoint: &str, kind: Kind, text: impl Into<String>) {
        self.timeline.add(Event::now(kind, text).of_farm(&self.name).of_endpoint(endpoint));
    }

    /// Marks an attempt at `endpoint` overdue.
    pub fn overdue(self: &Arc<Self>, endpoint: &Endpoint) -> Overdue {
        self.state.with(|state| state.roster.overdue_begin(endpoint.id));
        Overdue { farm: Arc::clone(self), id: endpoint.id }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.farm.state.with(|state| state.blocklist.release_trial(self.claim));
    }
}

impl Drop for Overdue {
    fn drop(&mut self) {
        self.farm.state.with(|state| state.roster.overdue_end(self.id));
    }
}
