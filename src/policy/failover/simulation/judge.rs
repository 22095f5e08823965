//! What must never happen to an endpoint, checked at each step: nothing is held against it without evidence, nothing is forgiven
//! without an answer, and what is dead is blocked in time. Separate from the choice of endpoints for requests, see [`super::picks`].

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::Simulation;
use super::looks::is_nothing;
use super::model::{Block, Told, Trial, Truth};
use super::setup::Setup;
use crate::broadworks::interface::Interface;
use crate::policy::classify::{On5xx, OnSilence};
use crate::policy::endpoint::EndpointId;
use crate::policy::failover::News;
use crate::policy::fault::Cause;
use crate::policy::health::blocklist::Standing;
use crate::policy::health::{Claim, Found, Order, Transition};

/// What a busy gateway may be late.
pub(super) const SLACK: Duration = Duration::from_millis(50);
/// How long it holds that a look has found an endpoint well.
const WELL_FOR: Duration = Duration::from_secs(10);

/// On what occasion the core has said something.
#[derive(Clone, Copy, Debug)]
pub(super) enum Occasion {
    /// An endpoint was picked, or somebody left.
    Pick,
    /// An attempt has ended.
    Seen { id: EndpointId, truth: Truth, begun: Instant, interface: Option<Interface> },
    /// An attempt there has been silent for too long.
    Silent { id: EndpointId, interface: Option<Interface> },
    /// Time has passed.
    Tick,
    /// A look has ended.
    Looked { id: EndpointId, found: Found, begun: Instant },
}

/// What has been told, and the first thing that was wrong.
pub(super) struct Judge {
    pub(super) told: BTreeMap<EndpointId, Told>,
    pub(super) counts: BTreeMap<&'static str, u64>,
    wrong: Option<String>,
    /// How long after an XSP has become well something may still be held against it for what it was before.
    grace: Duration,
    /// When requests came, and when doubtful retries were made, in the last ten seconds.
    pub(super) asked: VecDeque<Instant>,
    pub(super) doubtful: VecDeque<Instant>,
    /// When each endpoint was sent new channels.
    pub(super) opened: BTreeMap<EndpointId, VecDeque<Instant>>,
}

impl Judge {
    pub(super) fn new(setup: &Setup) -> Self {
        Self {
            told: BTreeMap::new(),
            counts: BTreeMap::new(),
            wrong: None,
            grace: setup.response_timeout + 2 * setup.connect_timeout + SLACK,
            asked: VecDeque::new(),
            doubtful: VecDeque::new(),
            opened: BTreeMap::new(),
        }
    }

    /// Something is wrong; only the first one counts.
    pub(super) fn found(&mut self, wrong: String) {
        self.wrong.get_or_insert(wrong);
    }

    /// It has happened once more.
    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(super) fn verdict(&self) -> Result<(), String> {
        self.wrong.clone().map_or(Ok(()), Err)
    }

    pub(super) fn forget(&mut self, id: EndpointId) {
        self.told.remove(&id);
        self.opened.remove(&id);
    }

    pub(super) fn released(&mut self, claim: Claim) {
        if let Some(Told { block: Some(block), .. }) = self.told.get_mut(&claim.id())
            && block.trial == Trial::Claimed(claim)
        {
            block.trial = Trial::None;
        }
    }

    /// Anyone who had begun a trial just now has missed its turn, and nobody tries the endpoint.
    pub(super) fn trials_missed(&mut self) {
        for block in self.told.values_mut().filter_map(|told| told.block.as_mut()) {
            if block.trial == Trial::Begun {
                block.trial = Trial::None;
            }
        }
    }

    /// It has failed once more, whether or not its block lasts for longer.
    fn failed(&mut self, id: EndpointId, now: Instant) {
        if let Some(block) = &mut self.told(id).block {
            block.since = now;
        }
    }

    pub(super) fn blocked_by_operator(&mut self, id: EndpointId, now: Instant, until: Instant) {
        let told = self.told(id);
        told.block = Some(Block { until, since: now, trial: Trial::None, is_by_operator: true });
        told.block_by = None;
        told.is_suspect = false;
    }

    pub(super) fn has_run_out(&self, id: EndpointId, now: Instant) -> bool {
        self.told.get(&id).is_some_and(|told| told.standing(now) == Standing::Probation)
    }

    pub(super) fn told(&mut self, id: EndpointId) -> &mut Told {
        self.told.entry(id).or_default()
    }

    pub(super) fn look_begun(&self, id: EndpointId) -> Instant {
        self.told[&id].looked.expect("it has begun")
    }

    pub(super) fn look_ended(&mut self, order: &Order, found: Found, now: Instant) {
        let told = self.told(order.id);
        // Where it was asked for just what it is suspected of.
        let is_asked = |(_, interface)| interface == order.interface();
        if found == Found::Well
            && told.is_suspect
            && told.suspected.is_some_and(is_asked)
            && told.suspected_at <= told.looked
        {
            told.settled = told.suspected.map(|what| (what, now));
        }
        told.is_looked_at = false;
        if found == Found::Well {
            told.heard = Some(now);
            told.found_well = Some(now);
            told.block_by = None;
        }
    }
}

impl Simulation {
    /// Judges what the core says has become of endpoints.
    pub(super) fn judge_news(&mut self, occasion: Occasion, news: &News) {
        if let Occasion::Seen { id, truth, .. } = occasion {
            let now = self.now;
            let told = self.judge.told(id);
            match truth {
                Truth::Health => (told.heard, told.block_by) = (Some(now), None),
                Truth::Suspicion(Cause::ServerError) => told.heard = Some(now),
                Truth::Suspicion(_) | Truth::Proof | Truth::Nothing => {}
            }
        }
        let suspicion = match occasion {
            Occasion::Seen { id, truth: Truth::Suspicion(cause), interface, .. } => Some((id, (cause, interface))),
            Occasion::Silent { id, interface } => Some((id, (Cause::Silence, interface))),
            Occasion::Seen { .. } | Occasion::Pick | Occasion::Tick | Occasion::Looked { .. } => None,
        };
        if let Some((id, suspicion)) = suspicion {
            let told = self.judge.told(id);
            // Of two suspicions, a look may settle either.
            told.suspected = told.suspected.filter(|known| !told.is_suspect || *known == suspicion);
        }
        for (id, transition, reason) in news {
            self.judge_transition(occasion, *id, *transition, reason);
        }
        self.judge_consequence(occasion);
    }

    fn judge_transition(&mut self, occasion: Occasion, id: EndpointId, transition: Transition, reason: &str) {
        transition.name().into_iter().for_each(|name| self.judge.count(name));
        let since = self.judge.told(id).block.map(|block: Block| block.since);
        let is_due = match transition {
            Transition::Blocked { .. } | Transition::Extended { .. } | Transition::TrialFailed { .. } => {
                self.judge_block(id, transition);
                self.may_block(occasion, id)
            }
            Transition::TrialBegun => true,
            Transition::AddressInDoubt => self.may_block(occasion, id),
            Transition::Suspected { .. } => match occasion {
                Occasion::Seen { id: seen, truth: Truth::Suspicion(_), .. } | Occasion::Silent { id: seen, .. } => {
                    seen == id
                }
                Occasion::Tick => true,
                Occasion::Seen { .. } | Occasion::Pick | Occasion::Looked { .. } => false,
            },
            Transition::Cleared => may_clear(occasion, id).is_some(),
            Transition::Unblocked => {
                may_clear(occasion, id).is_some_and(|begun| since.is_none_or(|since| begun >= since))
            }
        };
        self.require(is_due, || format!("{id:?} {transition:?} ({reason}) without cause on {occasion:?}"));
        if let Transition::Suspected { cause } = transition {
            self.judge_suspected(occasion, id, cause);
        }
        let now = self.now;
        if let Err(wrong) = self.judge.told(id).take(transition, now) {
            let told = *self.judge.told(id);
            self.require(false, || format!("{id:?} {wrong}: {transition:?}, {told:?}"));
        }
    }

    /// What a look has just settled is no cause for another one, as long as the endpoint answers.
    fn judge_suspected(&mut self, occasion: Occasion, id: EndpointId, cause: Cause) {
        let interface = match occasion {
            Occasion::Seen { interface, .. } | Occasion::Silent { interface, .. } => interface,
            Occasion::Pick | Occasion::Tick | Occasion::Looked { .. } => None,
        };
        let patience = self.setup.rules.advance_after.unwrap_or_default();
        let now = self.now;
        let told = self.judge.told(id);
        let is_heard = told.heard.is_some_and(|heard| now < heard + patience);
        let is_settled = interface.is_some()
            && told.settled.is_some_and(|(what, at)| what == (cause, interface) && now < at + WELL_FOR);
        (told.suspected, told.suspected_at) = (Some((cause, interface)), Some(now));
        let told = *told;
        self.require(!is_heard || !is_settled, || {
            format!("{id:?} is suspect of {cause:?} at {interface:?} again: {told:?}")
        });
    }

    fn may_block(&self, occasion: Occasion, id: EndpointId) -> bool {
        match occasion {
            Occasion::Seen { id: seen, truth, .. } => seen == id && truth == Truth::Proof,
            Occasion::Looked { id: seen, found, .. } => seen == id && found != Found::Well && !is_nothing(found),
            Occasion::Pick | Occasion::Silent { .. } | Occasion::Tick => false,
        }
    }

    /// No request, however odd, blocks what a look finds well (promise 18).
    fn judge_block(&mut self, id: EndpointId, transition: Transition) {
        let xsp = &self.xsps[self.places[&id]];
        let was_bad_lately = xsp.state.is_bad() || xsp.version > 0 && self.now <= xsp.well_since + self.judge.grace;
        let is_literal = self.setup.rules.on_5xx == On5xx::Block || self.setup.rules.on_silence == OnSilence::Block;
        let state = xsp.state;
        self.require(was_bad_lately || is_literal, || format!("{id:?} {transition:?} although it is {state:?}"));
        self.judge.told(id).block_by = None;
    }

    /// What must have come of it.
    fn judge_consequence(&mut self, occasion: Occasion) {
        let (now, rules) = (self.now, self.setup.rules);
        match occasion {
            Occasion::Seen { id, truth: Truth::Proof, .. } => {
                let standing = self.gateway.health.standing(id, now);
                let is_blocked = matches!(standing, Standing::Blocked { .. });
                self.require(is_blocked, || format!("{id:?} can't be had, and is {standing:?}"));
                self.judge.failed(id, now);
            }
            Occasion::Looked { id, found, begun } if found != Found::Well && !is_nothing(found) => {
                let standing = self.gateway.health.standing(id, now);
                let is_blocked = matches!(standing, Standing::Blocked { .. });
                self.require(is_blocked, || format!("a look at {id:?} has failed, and it is {standing:?}"));
                // Of a block that began after the look it is no news.
                let is_news = self.judge.told(id).block.is_none_or(|block| block.since < begun || now >= block.until);
                if is_news {
                    self.judge.failed(id, now);
                }
            }
            Occasion::Seen { id, truth: Truth::Health, begun, .. }
            | Occasion::Looked { id, found: Found::Well, begun } => {
                let told = *self.judge.told(id);
                let has_failed_since = told.block.is_some_and(|block| begun < block.since);
                let is_held = told.block.is_some_and(|block| block.is_by_operator && begun < block.until);
                let is_open = told.block.is_none() || has_failed_since || is_held || told.is_suspect;
                self.require(is_open, || format!("{id:?} has answered {occasion:?}, and is {told:?}"));
            }
            Occasion::Seen { id, truth: Truth::Suspicion(_), .. } => {
                self.judge_suspicion(id);
            }
            Occasion::Silent { id, .. } if rules.on_silence == OnSilence::Confirm => self.judge_suspicion(id),
            Occasion::Seen { .. }
            | Occasion::Looked { .. }
            | Occasion::Silent { .. }
            | Occasion::Pick
            | Occasion::Tick => {}
        }
    }

    /// What may be wrong with the endpoint must be settled: it is suspect, unless it is blocked or a look has just found it well.
    fn judge_suspicion(&mut self, id: EndpointId) {
        let (now, told) = (self.now, *self.judge.told(id));
        let is_blocked = matches!(told.standing(now), Standing::Blocked { .. });
        let was_well = told.found_well.is_some_and(|at| now < at + WELL_FOR);
        self.require(told.is_suspect || is_blocked || was_well, || {
            format!("{id:?} has given cause to suspect it, and nobody does: {told:?}")
        });
        if !is_blocked && !was_well {
            self.arm(id);
        }
    }

    /// One look at a time per endpoint, at most one a second.
    pub(super) fn judge_look(&mut self, id: EndpointId) {
        let now = self.now;
        let told = self.judge.told(id);
        let was = *told;
        (told.is_looked_at, told.looked) = (true, Some(now));
        self.require(!was.is_looked_at, || format!("a second look at {id:?} at once"));
        let is_soon = was.looked.is_some_and(|looked| now < looked + Duration::from_secs(1));
        self.require(!is_soon, || format!("{id:?} is looked at again too soon: {was:?}"));
    }

    /// What is shown agrees with what was told.
    pub(super) fn judge_standings(&mut self) {
        let (now, health) = (self.now, &self.gateway.health);
        let differs = self.judge.told.iter().find(|(id, told)| {
            health.standing(**id, now) != told.standing(now) || health.is_suspect(**id) != told.is_suspect
        });
        if let Some((&id, &told)) = differs {
            let (standing, suspect) = (health.standing(id, now), health.is_suspect(id));
            self.require(false, || format!("{id:?} is {standing:?}, suspect: {suspect}, but was told: {told:?}"));
        }
    }

    /// When all is over, nothing is left behind.
    pub(super) fn judge_the_end(&mut self) {
        let left = self.gateway.health.left_behind(self.now);
        self.require(left.is_empty(), || format!("left behind: {left:?}"));
        let requests = self.requests.len();
        self.require(requests == 0, || format!("{requests} requests are left"));
        for xsp in 0..self.xsps.len() {
            let standing = self.member(xsp).map(|member| self.gateway.health.standing(member.id(), self.now));
            self.require(standing == Some(Standing::Up), || format!("XSP {xsp} does well and is {standing:?}"));
        }
    }
}

/// When what clears an endpoint began, if anything does.
fn may_clear(occasion: Occasion, id: EndpointId) -> Option<Instant> {
    match occasion {
        Occasion::Seen { id: seen, truth: Truth::Health, begun, .. }
        | Occasion::Looked { id: seen, found: Found::Well, begun } => (seen == id).then_some(begun),
        Occasion::Seen { .. } | Occasion::Looked { .. } | Occasion::Pick | Occasion::Silent { .. } | Occasion::Tick => {
            None
        }
    }
}
