//! Keeps the farms' endpoints fresh: each name is looked up once per TTL, and whatever befalls DNS, the last good
//! addresses stay. Separate from the farms, so that no look-up is ever on a request's path.

pub mod dns;
mod missing;
mod names;
mod resolve;
mod sites;
pub mod state;
mod status;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinSet};

pub use self::resolve::{Answer, Outcome, Question, RecordKind, Records, Resolve, ResolveError};
pub use self::state::Answers;
pub use self::status::{DiscoveryStatus, NameStatus};

use self::names::{Flight, Names, Notice, Urgency};
use self::sites::{Found, Oddity, SeveralAddresses, Sites};
use crate::config::model::{Dns, Farm};
use crate::config::obstacle::Purpose;
use crate::policy::endpoint::Endpoint;
use crate::telemetry::Causes;

/// What discovery tells the program.
#[derive(Clone, Debug)]
pub enum Event {
    /// A farm's endpoints are these now: all sites, by tier, without duplicates.
    Endpoints {
        /// Whose.
        farm: Arc<Farm>,
        /// The whole of them; never empty.
        endpoints: Vec<Endpoint>,
        /// Addresses that the newest answers lack, as others before them may have: they get no new sessions, but they have
        /// not left.
        missing: Vec<SocketAddr>,
    },
    /// A look-up ended.
    LookedUp {
        /// What was asked.
        question: Question,
        /// How it ended.
        outcome: Outcome,
        /// How long it took.
        took: Duration,
    },
    /// Look-ups have begun to fail: the first of a row that matters.
    Failing {
        /// What is asked.
        question: Question,
        /// How it fails.
        outcome: Outcome,
        /// Records of the last good answer, which stay in use.
        kept: usize,
    },
    /// Look-ups that failed work again.
    Recovered {
        /// What is asked.
        question: Question,
        /// Records of the answer.
        records: usize,
    },
}

/// What a running discovery is to follow from now on.
#[derive(Debug)]
pub struct Change<R> {
    /// Every farm. One whose name and sites stay is followed on.
    pub farms: Vec<Arc<Farm>>,
    /// `[dns]`.
    pub dns: Dns,
    /// Who is asked; `None`: who was asked before.
    pub resolver: Option<R>,
}

/// Follows the names of a set of farms.
pub struct Discovery {
    names: Names,
    farms: Vec<Sites>,
    forget_after: Duration,
    status: DiscoveryStatus,
    answers: watch::Sender<Answers>,
    state_dir: Option<PathBuf>,
}

/// The look-ups under way. Each is a task of its own, so that a panic on a hostile answer costs that look-up alone.
struct Flights<R> {
    resolver: Arc<R>,
    tasks: JoinSet<Result<Answer, ResolveError>>,
    known: HashMap<Id, (Flight, Instant)>,
}

impl Discovery {
    /// Prepares to follow the names of `farms`. `known` answers are used until DNS answers. With a `state_dir`, those of an
    /// earlier run are read from there if there are no others; a file that can't be used is ignored with a warning.
    pub fn new(
        dns: &Dns,
        farms: impl IntoIterator<Item = Arc<Farm>>,
        state_dir: Option<&Path>,
        known: Option<Answers>,
    ) -> Self {
        let restored = known.or_else(|| state_dir.map(restore)).unwrap_or_default();
        Self {
            names: Names::new(dns.min_ttl..=dns.max_ttl, restored.0.clone()),
            farms: farms.into_iter().map(Sites::new).collect(),
            forget_after: dns.forget_after,
            status: DiscoveryStatus::default(),
            answers: watch::Sender::new(restored),
            state_dir: state_dir.map(Path::to_owned),
        }
    }

    /// The last good answers, as they are whenever they are looked at.
    pub fn answers(&self) -> watch::Receiver<Answers> {
        self.answers.subscribe()
    }

    /// What can be watched of this discovery, also while it runs.
    pub fn status(&self) -> DiscoveryStatus {
        self.status.clone()
    }

    /// Follows the names for ever, and whatever `changes` say. `tell` is called with static and restored endpoints before
    /// the first look-up, then as soon as any site's endpoints change; it must not block. Dropping the future ends all
    /// look-ups.
    ///
    /// Must run on a tokio runtime with time, I/O and blocking tasks.
    pub async fn run<R: Resolve>(
        mut self,
        resolver: R,
        mut changes: mpsc::UnboundedReceiver<Change<R>>,
        mut tell: impl FnMut(Event) + Send,
    ) {
        if let Some(dir) = &self.state_dir {
            tokio::spawn(state::keep(dir.clone(), self.answers(), self.status()));
        }
        let mut flights = Flights::new(resolver);
        loop {
            let now = now();
            self.settle(now, &mut tell);
            for flight in self.names.take_due(now) {
                flights.start(flight, now);
            }
            let departures = self.farms.iter().filter_map(Sites::next_departure);
            let next = self.names.next_due().into_iter().chain(departures).min();
            tokio::select! {
                (flight, result, sent) = flights.land() => self.land(&flight, result, sent, &mut tell),
                () = sleep_until(next) => {}
                Some(change) = changes.recv() => self.follow(change, &mut flights),
            }
        }
    }

    /// Goes by `change` from now on. What is known of names that are still needed stays, and a site whose new names have
    /// not been answered yet keeps its endpoints.
    fn follow<R: Resolve>(&mut self, change: Change<R>, flights: &mut Flights<R>) {
        let mut old = std::mem::take(&mut self.farms);
        let mut taken = |farm: &Farm| {
            let index = old.iter().position(|sites| sites.farm.name == farm.name)?;
            Some(old.swap_remove(index))
        };
        self.farms = change.farms.into_iter().map(|farm| Sites::following(taken(&farm), farm)).collect();
        self.forget_after = change.dns.forget_after;
        self.names.set_ttl(change.dns.min_ttl..=change.dns.max_ttl);
        if let Some(resolver) = change.resolver {
            flights.resolver = Arc::new(resolver);
        }
    }

    /// Brings the farms, and the names that they need, up to what is known.
    fn settle(&mut self, now: Instant, tell: &mut impl FnMut(Event)) {
        loop {
            let mut wanted: BTreeMap<Question, Urgency> = BTreeMap::new();
            for sites in &mut self.farms {
                for oddity in sites.compose(&self.names) {
                    tell_of(&sites.farm.name, &oddity);
                }
                sites.needs(&self.names, &mut wanted);
            }
            // A restored answer may name targets that are restored as well.
            if !self.names.want(&wanted, now) {
                break;
            }
        }
        for sites in &mut self.farms {
            if let Some(Found { endpoints, missing }) = sites.changed(&self.names, now, self.forget_after) {
                let farm = sites.farm.clone();
                let (named, lacking) = (endpoints.len(), missing.len());
                tracing::info!(farm = farm.name, endpoints = named, missing = lacking, "the farm's endpoints changed");
                tell(Event::Endpoints { farm, endpoints, missing });
            }
        }
        self.status.publish(self.names.statuses());
    }

    fn land(
        &mut self,
        flight: &Flight,
        result: Result<Answer, ResolveError>,
        sent: Instant,
        tell: &mut impl FnMut(Event),
    ) {
        let now = now();
        let outcome = result.as_ref().err().map_or(Outcome::Answered, ResolveError::outcome);
        let question = flight.question.clone();
        tracing::debug!(dns.question.name = %question.name, kind = question.kind.name(), outcome = outcome.name(), "looked up");
        for notice in self.names.answered(flight, result, now, &mut rand::rng()) {
            log(&notice);
            event_of(notice).into_iter().for_each(&mut *tell);
        }
        tell(Event::LookedUp { question, outcome, took: now.saturating_duration_since(sent) });
        let newest = Answers(self.names.last_good().map(|(name, good)| (name.clone(), good.clone())).collect());
        self.answers.send_if_modified(|answers| {
            let is_news = newest != *answers;
            if is_news {
                *answers = newest;
            }
            is_news
        });
    }
}

impl<R: Resolve> Flights<R> {
    fn new(resolver: R) -> Self {
        Self { resolver: Arc::new(resolver), tasks: JoinSet::new(), known: HashMap::new() }
    }

    fn start(&mut self, flight: Flight, now: Instant) {
        let (resolver, question) = (self.resolver.clone(), flight.question.clone());
        let task = self.tasks.spawn(async move { resolver.look_up(&question).await });
        self.known.insert(task.id(), (flight, now));
    }

    /// The next look-up that ends; waits for ever while there is none.
    async fn land(&mut self) -> (Flight, Result<Answer, ResolveError>, Instant) {
        loop {
            let (id, result) = match self.tasks.join_next_with_id().await {
                None => std::future::pending().await,
                Some(Ok((id, result))) => (id, result),
                Some(Err(error)) => (error.id(), Err(ResolveError::Malformed(error.into()))),
            };
            if let Some((flight, sent)) = self.known.remove(&id) {
                return (flight, result, sent);
            }
        }
    }
}

/// Tokio's clock, so that the tests may pause it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}

fn restore(dir: &Path) -> Answers {
    state::load(dir).unwrap_or_else(|error| {
        let help = error.help(dir, Purpose::Reading);
        tracing::warn!(file.directory = %dir.display(), error.message = %Causes(&error), help, "the saved DNS answers are not used");
        Answers::default()
    })
}

fn log(notice: &Notice) {
    match notice {
        Notice::Failing { question: Question { name, kind }, error, kept } => {
            let (kind, error) = (kind.name(), Causes(error));
            match kept {
                0 => {
                    tracing::warn!(dns.question.name = %name, kind, error.message = %error, "DNS look-up failed and nothing is known: the name is left out")
                }
                kept => {
                    tracing::warn!(dns.question.name = %name, kind, error.message = %error, kept, "DNS look-up failed: the last good answer is kept")
                }
            }
        }
        Notice::NoTargets { question: Question { name, .. }, had: 0 } => {
            tracing::info!(dns.question.name = %name, "SRV has no target: the domain's own addresses are used");
        }
        Notice::NoTargets { question: Question { name, .. }, had } => {
            tracing::warn!(dns.question.name = %name, had, "SRV has no target any more: the domain's own addresses are used, if there are any");
        }
        Notice::NoService { question: Question { name, .. }, had } => tracing::warn!(
            dns.question.name = %name,
            had,
            "SRV says that the service is not offered here (its target is \".\"): the domain's own addresses are not used; \
             ask the owner of the zone if that is wrong"
        ),
        Notice::Recovered { question: Question { name, kind }, failures, records } => {
            tracing::info!(dns.question.name = %name, kind = kind.name(), failures, records, "DNS look-up works again");
        }
        Notice::TooMany { question: Question { name, kind }, records } => {
            tracing::warn!(dns.question.name = %name, kind = kind.name(), records, "more records than are used");
        }
    }
}

/// What others should know of a notice.
fn event_of(notice: Notice) -> Option<Event> {
    match notice {
        Notice::Failing { question, error, kept } => Some(Event::Failing { question, outcome: error.outcome(), kept }),
        Notice::Recovered { question, records, .. } => Some(Event::Recovered { question, records }),
        Notice::NoTargets { .. } | Notice::NoService { .. } | Notice::TooMany { .. } => None,
    }
}

fn tell_of(farm: &str, oddity: &Oddity) {
    match oddity {
        Oddity::Several(several) => warn_of_several(several),
        Oddity::Stranded { endpoints: 0 } => {
            tracing::error!(
                farm,
                "SRV says that the service is not offered (its target is \".\"): the farm has no XSP"
            );
        }
        Oddity::Stranded { endpoints } => tracing::error!(
            farm,
            endpoints,
            "SRV says that the service is not offered (its target is \".\"), and the farm has nothing else: the last good \
             XSPs stay in use"
        ),
    }
}

fn warn_of_several(several: &SeveralAddresses) {
    let SeveralAddresses { target, taken, addresses } = several;
    tracing::warn!(srv_target = %target, %taken, ?addresses, "an SRV target has several addresses: only one is used");
}

#[cfg(test)]
mod tests;
