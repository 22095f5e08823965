//! A farm as requests and byte streams drive it: the machine decides under the farm's lock, and what it says comes out with what
//! it takes to do it. Separate from the machine, which knows ids where its drivers need endpoints.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use rand::rngs::StdRng;
use smallvec::SmallVec;

use super::{Endpoint, Farm, State};
use crate::broadworks::interface::Interface;
use crate::policy::classify::Class;
use crate::policy::endpoint::EndpointId;
use crate::policy::failover::{Action, Actions, Event, Failover, FarmView, GiveUp, LONGEST_TURN, News, Target, Terms};
use crate::policy::health::{Claim, Observation, Rules, Seen};
use crate::policy::plan::{Pick, Reason};

/// An endpoint that was chosen for an attempt, and why.
#[derive(Debug)]
pub struct Picked {
    /// Where to.
    pub endpoint: Arc<Endpoint>,
    /// Why there.
    pub reason: Reason,
    /// Given back when this is dropped.
    _trial: Option<TrialGuard>,
}

/// The one trial of an endpoint on probation; free again when dropped.
#[derive(Debug)]
struct TrialGuard {
    farm: Arc<Farm>,
    claim: Claim,
}

/// An attempt that is overdue, until this is dropped.
#[derive(Debug)]
pub struct Overdue {
    farm: Arc<Farm>,
    id: EndpointId,
    serial: u64,
}

/// As [`Action`], with what it takes to do it.
#[derive(Debug)]
pub enum Step {
    /// Begin an attempt.
    Begin {
        /// Its number.
        attempt: usize,
        /// Where.
        picked: Picked,
    },
    /// Hold what was picked until the request's turn comes.
    Queue(Picked),
    /// Hold what was picked until there is a place: [`Forwarding::poll_place`] tells.
    Wait(Picked),
    /// Begin the attempt for which something is held.
    Ask {
        /// Its number.
        attempt: usize,
    },
    /// The request has missed its turn.
    Missed,
    /// The attempt is overdue as long as this is held.
    Overdue {
        /// Which one.
        attempt: usize,
        /// What says so.
        overdue: Overdue,
    },
    /// Keep the answer.
    Keep {
        /// Whose.
        attempt: usize,
    },
    /// Pass this answer on.
    Answer {
        /// Whose.
        attempt: usize,
        /// What it is taken for.
        class: Class,
    },
    /// There will be none.
    GiveUp(GiveUp),
}

/// What follows from one event, in order.
pub type Steps = SmallVec<[Step; 2]>;

/// A request that waits for a place.
#[derive(Debug)]
pub(super) enum Caller {
    /// It is woken so.
    Waits(Waker),
    /// It is to try again.
    Called,
}

/// One request, or byte stream, on its way through a farm.
#[derive(Debug)]
pub struct Forwarding {
    farm: Arc<Farm>,
    /// What decides.
    pub machine: Failover,
}

impl Picked {
    /// An endpoint that nobody chose: the gateway looks at it for itself.
    pub const fn for_look(endpoint: Arc<Endpoint>) -> Self {
        Self { endpoint, reason: Reason::Trial, _trial: None }
    }
}

impl Forwarding {
    /// A request on these terms, and what to do first.
    pub fn begin(farm: &Arc<Farm>, terms: Terms, target: Target) -> (Self, Steps) {
        let (machine, steps) = farm.act(|view| {
            let mut machine = Failover::new(terms, target, view.now + LONGEST_TURN, view);
            let actions = machine.start(view);
            (machine, actions)
        });
        (Self { farm: Arc::clone(farm), machine }, steps)
    }

    /// What to do now that this has happened.
    pub fn on(&mut self, event: Event) -> Steps {
        self.decide(|machine, view| machine.on(event, view))
    }

    /// Ready when there may be a place where the request waits for one: [`Due::Place`](crate::policy::failover::Due::Place) is to be
    /// told then.
    pub fn poll_place(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(number) = self.machine.waits_under() else { return Poll::Pending };
        self.farm.state.with(|state| match state.callers.remove(&number) {
            Some(Caller::Called) => Poll::Ready(()),
            Some(Caller::Waits(_)) | None => {
                state.callers.insert(number, Caller::Waits(cx.waker().clone()));
                Poll::Pending
            }
        })
    }

    /// The client is not there for an answer any more.
    pub fn abandon(&mut self) {
        drop(self.decide(|machine, view| {
            machine.abandon(view);
            Actions::new()
        }));
    }

    /// Lets the machine decide. If it waits for a place no longer, its waker is not kept: that would keep a connection's memory.
    fn decide(&mut self, decide: impl FnOnce(&mut Failover, &mut FarmView<'_, StdRng>) -> Actions) -> Steps {
        let waited = self.machine.waits_under();
        let machine = &mut self.machine;
        let ((), steps) = self.farm.act(|view| ((), decide(machine, view)));
        if let Some(number) = waited.filter(|_| self.machine.waits_under().is_none()) {
            self.farm.waits_no_longer(number);
        }
        steps
    }
}

impl Farm {
    /// Takes note of what was seen of `endpoint`, which is one of its own.
    pub fn observe(
        self: &Arc<Self>,
        endpoint: &Endpoint,
        seen: Seen,
        begun: Instant,
        interface: Option<Interface>,
        rules: &Rules,
    ) {
        if let Some((farm, heir)) = endpoint.heir_and_farm() {
            return farm.observe(&heir, seen, begun, interface, rules);
        }
        let observation = Observation { id: endpoint.id, seen, begun, interface };
        self.act(|view| {
            view.observe(&observation, rules);
            ((), Actions::new())
        });
    }

    /// Lets `decide` decide with the farm as it is, publishes what has become of its endpoints, and returns what is to be done.
    pub(super) fn act<T>(
        self: &Arc<Self>,
        decide: impl FnOnce(&mut FarmView<'_, StdRng>) -> (T, Actions),
    ) -> (T, Steps) {
        let mut news = News::new();
        let now = Instant::now();
        let (decided, steps, changes, called) = self.state.with(|state| {
            let State { roster, departed, health, pace, rng, .. } = state;
            let mut view = FarmView { roster, departed, health, pace, rng, now, news: &mut news };
            let (decided, actions) = decide(&mut view);
            let steps = actions.into_iter().map(|action| self.step(state, action)).collect();
            let called = state.call();
            (decided, steps, self.publish(state, &news, now), called)
        });
        called.into_iter().for_each(Waker::wake);
        self.tell(changes);
        (decided, steps)
    }

    fn step(self: &Arc<Self>, state: &State, action: Action) -> Step {
        match action {
            Action::Begin { attempt, pick } => match self.picked(state, pick) {
                Some(picked) => Step::Begin { attempt, picked },
                None => Step::GiveUp(GiveUp::NoEndpoint),
            },
            Action::Queue { pick } => match self.picked(state, pick) {
                Some(picked) => Step::Queue(picked),
                None => Step::GiveUp(GiveUp::NoEndpoint),
            },
            Action::Wait { pick, .. } => match self.picked(state, pick) {
                Some(picked) => Step::Wait(picked),
                None => Step::GiveUp(GiveUp::NoEndpoint),
            },
            Action::Ask { attempt } => Step::Ask { attempt },
            Action::Missed => Step::Missed,
            Action::Overdue { attempt, id, serial } => {
                Step::Overdue { attempt, overdue: Overdue { farm: Arc::clone(self), id, serial } }
            }
            Action::Keep { attempt } => Step::Keep { attempt },
            Action::Answer { attempt, class } => Step::Answer { attempt, class },
            Action::GiveUp(why) => Step::GiveUp(why),
        }
    }

    fn picked(self: &Arc<Self>, state: &State, pick: Pick) -> Option<Picked> {
        let endpoint = Arc::clone(state.endpoints.get(&pick.id)?);
        let trial = pick.trial.map(|claim| TrialGuard { farm: Arc::clone(self), claim });
        Some(Picked { endpoint, reason: pick.reason, _trial: trial })
    }
}

impl Farm {
    fn waits_no_longer(&self, number: u64) {
        let left = self.state.with(|state| state.callers.remove(&number));
        drop(left);
    }
}

impl State {
    /// Calls those who have a place to try for.
    fn call(&mut self) -> Vec<Waker> {
        let knocks = self.health.load.take_knocks();
        if knocks.is_empty() {
            return Vec::new();
        }
        let call = |number| match self.callers.insert(number, Caller::Called) {
            Some(Caller::Waits(waker)) => Some(waker),
            Some(Caller::Called) | None => None,
        };
        knocks.into_iter().filter_map(call).collect()
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        if !self.machine.holds_places() {
            return;
        }
        drop(self.decide(|machine, view| {
            machine.let_go(view);
            Actions::new()
        }));
    }
}

impl Drop for TrialGuard {
    fn drop(&mut self) {
        self.farm.state.with(|state| state.health.release_trial(self.claim));
    }
}

impl Drop for Overdue {
    fn drop(&mut self) {
        self.farm.state.with(|state| state.health.overdue_end(self.id, self.serial));
    }
}
