//! What must never become of a request: sent to where it may not go, sent too often, carried out twice, moved without cause, given
//! up too soon. Separate from what becomes of endpoints, see [`super::judge`].

use std::time::Duration;

use super::Simulation;
use super::clients::{Kind, Request};
use super::judge::Judge;
use super::model::{Told, Trial};
use crate::policy::endpoint::{EndpointId, Member, Presence};
use crate::policy::failover::{Action, Actions, GiveUp, Target};
use crate::policy::health::blocklist::Standing;
use crate::policy::plan::{Pick, Reason};

/// The span in which retries are limited.
const WINDOW: Duration = Duration::from_secs(10);

impl Judge {
    /// A request has come.
    pub(super) fn asked(&mut self, now: std::time::Instant) {
        self.asked.push_back(now);
        while self.asked.front().is_some_and(|at| *at + WINDOW < now) {
            self.asked.pop_front();
        }
    }
}

impl Simulation {
    fn standing(&self, id: EndpointId) -> Standing {
        self.gateway.health.standing(id, self.now)
    }

    fn site(&self, id: EndpointId) -> Option<u16> {
        self.gateway.roster.get(id).map(|member| member.endpoint().tier.site)
    }

    /// Those that a pick of good ones is among.
    fn good(&self) -> impl Iterator<Item = &Member> {
        let is_good = |member: &&Member| {
            self.standing(member.id()) == Standing::Up && !self.gateway.health.is_last_choice(member.id())
        };
        self.gateway.roster.present().filter(is_good)
    }

    /// An endpoint was picked, whether it is asked at once or not.
    pub(super) fn judge_pick(&mut self, number: u64, pick: Pick) {
        let now = self.now;
        self.judge.count(pick.reason.name());
        if let (Some(claim), Some(block)) = (pick.trial, &mut self.judge.told(pick.id).block)
            && block.trial == Trial::Begun
        {
            block.trial = Trial::Claimed(claim);
        }
        let request = &self.requests[&number];
        match request.kind {
            Kind::Named(channel) if matches!(request.target, Target::Channel(_)) => {
                let at = self.clients.streams.get(&channel).map(|stream| stream.id);
                self.require(at.is_none_or(|at| at == pick.id), || {
                    format!("what names a channel goes to {:?}, not to {at:?}", pick.id)
                });
                return;
            }
            Kind::Named(_) | Kind::Safe | Kind::Idempotent | Kind::Unsafe | Kind::Open | Kind::Bytes => {}
        }
        let is_first = !request.is_picked_for;
        self.judge_home(number, pick);
        if is_first && pick.reason != Reason::Pinned {
            self.judge_first(number, pick);
        }
        self.requests.get_mut(&number).expect("it is under way").is_picked_for = true;
        let is_doubtful = pick.reason == Reason::LastResort || self.gateway.health.is_last_choice(pick.id);
        if !is_first && is_doubtful && pick.reason != Reason::Redirected {
            self.judge.doubtful.push_back(now);
            while self.judge.doubtful.front().is_some_and(|at| *at + WINDOW < now) {
                self.judge.doubtful.pop_front();
            }
            let (retries, requests) = (self.judge.doubtful.len(), self.judge.asked.len());
            let limit = 20.max(requests / 5);
            self.require(retries <= limit, || format!("{retries} doubtful retries for {requests} requests in 10 s"));
        }
    }

    /// A session that is at home somewhere goes there, unless there is cause to go elsewhere.
    fn judge_home(&mut self, number: u64, pick: Pick) {
        let request = &self.requests[&number];
        let Some(home) = request.home.filter(|home| *home != pick.id) else { return };
        let has_tried = request.attempts.iter().any(|attempt| attempt.id == home);
        if request.may_move || has_tried {
            return;
        }
        let opens = request.kind == Kind::Open;
        let told = self.judge.told.get(&home).copied().unwrap_or_default();
        let is_leaving =
            self.gateway.roster.get(home).is_none_or(|member| opens && member.presence() != Presence::Present);
        let is_out = told.standing(self.now) != Standing::Up;
        let has_cause = is_leaving || is_out || self.is_silent_suspect(told);
        self.require(has_cause, || format!("a session leaves {home:?} for {pick:?} without cause: {told:?}"));
        self.requests.get_mut(&number).expect("it is under way").may_move = true;
    }

    fn is_silent_suspect(&self, told: Told) -> bool {
        let is_silent = |patience| told.heard.is_none_or(|heard| self.now >= heard + patience);
        told.is_suspect && self.setup.rules.advance_after.is_some_and(is_silent)
    }

    /// A session that has no home, or can't stay there, goes to the best site, and there to those that nobody suspects.
    fn judge_first(&mut self, number: u64, pick: Pick) {
        let up = self.gateway.roster.present().filter(|member| self.standing(member.id()) == Standing::Up);
        let best = up.map(|member| member.endpoint().tier.site).min();
        let here = self.site(pick.id);
        let is_best = best.is_none_or(|best| here.is_some_and(|site| site <= best));
        self.require(is_best, || format!("{pick:?} is of another site than {best:?}, where one is up"));
        let is_up = self.standing(pick.id) == Standing::Up;
        let better = self.good().map(Member::id).find(|id| self.site(*id) == here);
        let is_suspect = is_up && self.gateway.health.is_last_choice(pick.id);
        self.require(!is_suspect || better.is_none(), || format!("{pick:?} is suspect, and {better:?} is not"));
        let is_out = matches!(self.standing(pick.id), Standing::Blocked { .. });
        self.require(!is_out || best.is_none(), || format!("{pick:?} is blocked, and there is one that is up"));
        let is_replayable = self.requests[&number].kind.is_replayable();
        let may_try = is_replayable || pick.trial.is_none() || best.is_none();
        self.require(may_try, || format!("{pick:?} is a trial by a request that can't be sent again"));
    }

    /// An attempt is about to begin.
    pub(super) fn judge_attempt(&mut self, number: u64, pick: Pick) {
        let request = &self.requests[&number];
        let tries = if matches!(request.target, Target::Channel(_)) { 1 } else { self.setup.tries };
        let (begun, running) = (request.attempts.len(), request.attempts.iter().filter(|attempt| attempt.runs).count());
        let kind = request.kind;
        self.require(begun < usize::from(tries), || format!("attempt {} of {tries}, at {pick:?}", begun + 1));
        self.require(kind.is_safe() || running == 0, || format!("{kind:?} is under way at two XSPs"));
        if kind == Kind::Open
            && let Some(rate) = self.setup.rate
        {
            let now = self.now;
            let opened = self.judge.opened.entry(pick.id).or_default();
            opened.push_back(now);
            while opened.front().is_some_and(|at| *at + Duration::from_secs(1) <= now) {
                opened.pop_front();
            }
            let (opened, limit) = (opened.len(), rate.get() as usize + 1);
            self.require(opened <= limit, || format!("{opened} new channels in a second at {:?}", pick.id));
        }
    }

    /// An attempt of a safe request is overdue: another XSP is asked, if there is a good one.
    pub(super) fn judge_advance(&mut self, request: &Request, actions: &Actions) {
        let is_first = request.attempts.iter().all(|attempt| !attempt.has_been_overdue)
            && request.attempts.iter().filter(|attempt| attempt.runs).count() == 1;
        let may_be_twice = request.kind == Kind::Safe && request.machine.is_some();
        let begun = request.attempts.len();
        let is_untried = |id: &EndpointId| request.attempts.iter().all(|attempt| attempt.id != *id);
        // A hedged request needs a free place.
        let has_place = |id: &EndpointId| !self.gateway.health.load.is_full(*id, self.now);
        let untried = self.good().map(Member::id).find(|id| is_untried(id) && has_place(id));
        if is_first && may_be_twice && begun < usize::from(self.setup.tries) && untried.is_some() {
            let begins = actions.iter().any(|action| matches!(action, Action::Begin { .. } | Action::Queue { .. }));
            self.require(begins, || {
                format!("a safe request waits although {untried:?} could be asked: {:?}", request.machine)
            });
        }
    }

    /// A request has had its answer, by which its session may move.
    pub(super) fn judge_move(&mut self, number: u64, index: usize) {
        let request = &self.requests[&number];
        let answered = request.attempts[index];
        let Some(home) = request.home.filter(|home| *home != answered.id && !request.may_move) else { return };
        let tried: Vec<_> = request.attempts.iter().filter(|attempt| attempt.id == home).collect();
        let has_cause = tried.iter().any(|attempt| !attempt.runs || attempt.has_been_overdue);
        self.require(has_cause, || format!("a session moves from {home:?} to {:?} without cause", answered.id));
    }

    /// What has no answer has tried whatever it could.
    pub(super) fn judge_given_up(&mut self, number: u64, why: GiveUp) {
        self.judge.count(match why {
            GiveUp::NoEndpoint => "no-endpoint",
            GiveUp::ChannelLost => "channel-lost",
            GiveUp::ChannelsBusy => "channels-busy",
            GiveUp::Overloaded => "overloaded",
            GiveUp::Silent => "silent",
            GiveUp::TooLarge => "too-large",
            GiveUp::Stale => "gone-stale",
            GiveUp::Unreachable => "unreachable",
        });
        let request = &self.requests[&number];
        let is_kind = matches!(request.kind, Kind::Safe | Kind::Idempotent)
            && !request.is_large
            && !matches!(request.target, Target::Channel(_));
        let begun = request.attempts.len();
        let untried = self.good().map(Member::id).find(|id| request.attempts.iter().all(|attempt| attempt.id != *id));
        let is_final = matches!(why, GiveUp::TooLarge | GiveUp::Overloaded);
        let could_go_on = begun < usize::from(self.setup.tries) && untried.is_some() && !is_final;
        self.require(!is_kind || !could_go_on, || {
            format!("{why:?} after {begun} attempts, although {untried:?} could be asked")
        });
    }

    /// What changes something is carried out once at most.
    pub(super) fn judge_carried_out(&mut self, request: &Request) {
        let (kind, times) = (request.kind, request.carried_out);
        self.require(kind.is_replayable() || times <= 1, || format!("{kind:?} was carried out {times} times"));
    }
}
