//! The endpoints that one request may try, one after the other. Separate from the farm's shell, because this order *is* the
//! product: it is decided here, without clock, lock or chance of its own, and can be checked against a naive model.
//!
//! Among the endpoints that the request has not tried yet, in this order:
//!
//! 1. The pinned one (R-AFF-1), unless it is blocked, or suspect and silent to everybody; on probation only if its trial is free
//!    and the request takes trials. A retry or an advance takes one that is the last choice no more than others.
//! 2. Site by site, and within a site tier by tier, the endpoints that are up (R-FAIL-5), at random, by weight where SRV gives
//!    weights (R-DNS-2); behind them those of the site that have as much to do as they can, and behind these those that are the
//!    last choice, since they are suspect: that alone sends nobody to the next site. The first pick of a request that takes trials rather takes a free one of the tier (R-FAIL-6), so
//!    that an XSP that came back is noticed at once; other picks take one only when nothing is up, so that no request spends all
//!    its tries on trials.
//! 3. Everybody left is blocked or on trial with somebody else: one of them at random (R-FAIL-7).
//! 4. Everybody was tried: a retry may take one again, preferably one that is up; an advance may not.
//!
//! An advance takes none that has as much to do as it can.
//!
//! A retry or an advance that takes a last choice, or one of the kinds 3 and 4, needs a token of the farm's budget: a farm that
//! fails sees few more requests than its clients send. Without one it takes what is up and no last choice, of whatever site.

use std::time::Instant;

use rand::{Rng, RngExt};
use smallvec::SmallVec;

use super::endpoint::{EndpointId, Member, Roster, Weight};
use super::health::blocklist::Standing;
use super::health::{Claim, Health};

/// What one request has tried, and may still try (R-FAIL-4).
#[derive(Clone, Debug)]
pub struct Plan {
    pinned: Option<EndpointId>,
    tries_left: u8,
    trials: Trials,
    tried: SmallVec<[EndpointId; 4]>,
}

/// What a request does with endpoints on probation while others are up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trials {
    /// It tries them: it is safe, so another endpoint can still help it.
    Taken,
    /// It leaves them to safe requests and probes: it could not be sent again if the endpoint still hangs.
    Left,
}

/// What a pick is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The request's first attempt.
    First,
    /// An attempt after all earlier ones have failed.
    Retry,
    /// A further attempt while an earlier one is still silent.
    Advance,
}

/// Why an endpoint was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The session belongs there.
    Pinned,
    /// At random among equals.
    Random,
    /// At random by SRV weight.
    Weighted,
    /// Its block has run out, and this request finds out whether it works again.
    Trial,
    /// Nothing better was left.
    LastResort,
    /// Another XSP's Location named it. No plan says so; it stands here for the access log.
    Redirected,
    /// The event channel that the request names is there (R-AFF-2). No plan says so either.
    Channel,
}

impl Reason {
    /// The name in metrics and in the access log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::Random => "random",
            Self::Weighted => "weighted",
            Self::Trial => "trial",
            Self::LastResort => "last-resort",
            Self::Redirected => "redirected",
            Self::Channel => "channel",
        }
    }
}

/// The endpoint for one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Which one.
    pub id: EndpointId,
    /// Why.
    pub reason: Reason,
    /// The trial that this attempt is, whatever the reason: it ends with a report, or is to be released.
    pub trial: Option<Claim>,
}

impl Plan {
    /// A plan of up to `tries` attempts for a request whose session belongs to `pinned`.
    pub fn new(pinned: Option<EndpointId>, tries: u8, trials: Trials) -> Self {
        Self { pinned, tries_left: tries, trials, tried: SmallVec::new() }
    }

    /// How many more attempts the request may make, if there are endpoints for them.
    pub fn tries_left(&self) -> u8 {
        self.tries_left
    }

    /// Counts an attempt at `id` that the plan did not choose, because another XSP named it. False: the tries are used up.
    pub fn spend(&mut self, id: EndpointId) -> bool {
        let Some(left) = self.tries_left.checked_sub(1) else { return false };
        self.tries_left = left;
        self.tried.push(id);
        true
    }

    /// The last attempt that was counted was never made.
    pub fn take_back(&mut self) {
        self.tries_left += 1;
        self.tried.pop();
    }

    /// The endpoint for the request's next attempt; claims its trial if it is on probation. `None`: the request must do
    /// without (further) attempts, because the tries are used up, nothing is left, or the budget is spent.
    pub fn next(
        &mut self,
        purpose: Purpose,
        roster: &Roster,
        health: &mut Health,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Option<Pick> {
        if self.tries_left == 0 {
            return None;
        }
        let view = View { roster, health, purpose, trials: self.trials, tried: &self.tried, now };
        let (mut id, mut reason) = view.choose(self.pinned, rng)?;
        let is_doubtful = reason == Reason::LastResort || health.is_last_choice(id);
        if purpose != Purpose::First && is_doubtful && !health.take_token(now) {
            let view = View { roster, health, purpose, trials: self.trials, tried: &self.tried, now };
            (id, reason) = view.good(rng)?;
        }
        self.spend(id);
        Some(Pick { id, reason, trial: health.claim_trial(id, now) })
    }
}

/// What one pick looks at.
struct View<'a> {
    roster: &'a Roster,
    health: &'a Health,
    purpose: Purpose,
    trials: Trials,
    tried: &'a [EndpointId],
    now: Instant,
}

/// Whether an endpoint is as good as any, or rather not asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rank {
    Good,
    /// It has as much to do as it can.
    Full,
    LastChoice,
}

impl View<'_> {
    fn choose(&self, pinned: Option<EndpointId>, rng: &mut impl Rng) -> Option<(EndpointId, Reason)> {
        self.pinned(pinned).or_else(|| self.by_tier(rng)).or_else(|| self.blocked(rng)).or_else(|| self.again(rng))
    }

    fn pinned(&self, pinned: Option<EndpointId>) -> Option<(EndpointId, Reason)> {
        let member = self.roster.get(pinned?)?;
        let is_kept = match self.purpose {
            Purpose::First => self.health.keeps_sessions(member.id(), self.now),
            Purpose::Retry | Purpose::Advance => !self.health.is_last_choice(member.id()),
        };
        let open = match self.health.standing(member.id(), self.now) {
            Standing::Up => true,
            Standing::Probation => self.trials == Trials::Taken,
            Standing::Blocked { .. } | Standing::OnTrial => false,
        };
        (open && is_kept && self.is_untried(member)).then_some((member.id(), Reason::Pinned))
    }

    fn by_tier(&self, rng: &mut impl Rng) -> Option<(EndpointId, Reason)> {
        let takes_trials = self.purpose == Purpose::First && self.trials == Trials::Taken;
        self.roster
            .sites()
            .find_map(|site| self.in_site(site, takes_trials, rng))
            .or_else(|| self.roster.tiers().find_map(|tier| self.on_probation(tier, Rank::Good)))
            .or_else(|| self.roster.tiers().find_map(|tier| self.on_probation(tier, Rank::Full)))
            .or_else(|| self.roster.tiers().find_map(|tier| self.on_probation(tier, Rank::LastChoice)))
    }

    /// The best of a site's endpoints that are up, or one of them on probation.
    fn in_site<'m, T: Iterator<Item = &'m Member> + Clone>(
        &self,
        mut tiers: impl Iterator<Item = T> + Clone,
        takes_trials: bool,
        rng: &mut impl Rng,
    ) -> Option<(EndpointId, Reason)> {
        let (mut full, mut last) = (tiers.clone(), tiers.clone());
        tiers
            .find_map(|tier| {
                let trial = takes_trials.then(|| self.on_probation(tier.clone(), Rank::Good)).flatten();
                trial.or_else(|| self.up(tier, Rank::Good, rng))
            })
            .or_else(|| full.find_map(|tier| self.up(tier, Rank::Full, rng)))
            .or_else(|| last.find_map(|tier| self.up(tier, Rank::LastChoice, rng)))
    }

    /// One that is as good as any, of whatever site.
    fn good(&self, rng: &mut impl Rng) -> Option<(EndpointId, Reason)> {
        let good = self.roster.tiers().find_map(|tier| self.up(tier, Rank::Good, rng));
        good.or_else(|| self.roster.tiers().find_map(|tier| self.up(tier, Rank::Full, rng)))
    }

    fn on_probation<'m>(&self, mut tier: impl Iterator<Item = &'m Member>, rank: Rank) -> Option<(EndpointId, Reason)> {
        tier.find(|member| self.is_open(member, rank, Standing::Probation)).map(|member| (member.id(), Reason::Trial))
    }

    fn up<'m>(
        &self,
        tier: impl Iterator<Item = &'m Member> + Clone,
        rank: Rank,
        rng: &mut impl Rng,
    ) -> Option<(EndpointId, Reason)> {
        by_weight(tier.filter(|member| self.is_open(member, rank, Standing::Up)), rng)
    }

    fn blocked(&self, rng: &mut impl Rng) -> Option<(EndpointId, Reason)> {
        let left = self.roster.present().filter(|member| self.is_untried(member));
        uniformly(left, rng).map(|member| (member.id(), Reason::LastResort))
    }

    fn again(&self, rng: &mut impl Rng) -> Option<(EndpointId, Reason)> {
        match self.purpose {
            Purpose::First | Purpose::Advance => return None,
            Purpose::Retry => {}
        }
        let up = |member: &&Member| self.health.standing(member.id(), self.now) == Standing::Up;
        uniformly(self.roster.present().filter(up), rng)
            .or_else(|| uniformly(self.roster.present(), rng))
            .map(|member| (member.id(), Reason::LastResort))
    }

    /// Whether the request has not tried it, and may: a hedged request needs a free place.
    fn is_untried(&self, member: &Member) -> bool {
        let takes_it = match self.purpose {
            Purpose::First | Purpose::Retry => true,
            Purpose::Advance => !self.health.load.is_full(member.id(), self.now),
        };
        takes_it && !self.tried.contains(&member.id())
    }

    fn is_open(&self, member: &Member, rank: Rank, standing: Standing) -> bool {
        rank == self.rank(member) && self.is_untried(member) && self.health.standing(member.id(), self.now) == standing
    }

    fn rank(&self, member: &Member) -> Rank {
        match (self.health.is_last_choice(member.id()), self.health.load.is_full(member.id(), self.now)) {
            (true, _) => Rank::LastChoice,
            (false, true) => Rank::Full,
            (false, false) => Rank::Good,
        }
    }
}

fn uniformly<'m>(mut members: impl Iterator<Item = &'m Member> + Clone, rng: &mut impl Rng) -> Option<&'m Member> {
    let count = members.clone().count();
    let chosen = if count > 1 { rng.random_range(0..count) } else { 0 };
    members.nth(chosen)
}

/// One of the endpoints of a tier, as RFC 2782 says: in proportion to the weights, with a very small chance for those that
/// weigh 0 beside others that don't. Equal ones uniformly.
fn by_weight<'m>(
    members: impl Iterator<Item = &'m Member> + Clone,
    rng: &mut impl Rng,
) -> Option<(EndpointId, Reason)> {
    let weight = |member: &Member| match member.endpoint().weight {
        Weight::Equal => 0,
        Weight::Srv(weight) => u64::from(weight),
    };
    let total: u64 = members.clone().map(weight).sum();
    if total == 0 {
        return uniformly(members, rng).map(|member| (member.id(), Reason::Random));
    }
    let weightless = members.clone().filter(|member| weight(member) == 0);
    let least = u64::from(weightless.clone().next().is_none());
    let mut left = rng.random_range(least..=total);
    if left == 0 {
        return uniformly(weightless, rng).map(|member| (member.id(), Reason::Weighted));
    }
    let mut heavy = members.filter(|member| weight(member) > 0);
    let chosen = heavy.find(|member| {
        left = left.saturating_sub(weight(member));
        left == 0
    });
    chosen.map(|member| (member.id(), Reason::Weighted))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::policy::classify::{On5xx, OnSilence};
    use crate::policy::endpoint::{Endpoint, Presence, Tier};
    use crate::policy::health::{Observation, Rules, Seen};

    const RULES: Rules = Rules {
        block_for: Duration::from_secs(60),
        advance_after: Some(Duration::from_millis(600)),
        on_5xx: On5xx::Confirm,
        on_silence: OnSilence::Confirm,
    };

    /// A farm whose endpoints are numbered 0, 1, 2, ... in the order of `members`.
    struct Farm {
        roster: Roster,
        health: Health,
        ids: Vec<EndpointId>,
        now: Instant,
        rng: StdRng,
    }

    fn endpoint(last: usize, site: u16, weight: Weight) -> Endpoint {
        let last = u8::try_from(last).unwrap();
        let tier = Tier { site, priority: 0 };
        Endpoint { address: ([10, 0, 0, last], 443).into(), tier, weight, target: None }
    }

    impl Farm {
        fn new(members: &[(u16, Weight)]) -> Self {
            let now = Instant::now();
            let mut roster = Roster::new();
            let endpoints = members.iter().enumerate().map(|(last, &(site, weight))| endpoint(last, site, weight));
            let ids = roster.update(endpoints.collect()).joined;
            Self { roster, health: Health::new(now, None), ids, now, rng: StdRng::seed_from_u64(7) }
        }

        /// Endpoints of equal weight, one for each site number.
        fn of_sites(sites: &[u16]) -> Self {
            Self::new(&sites.iter().map(|&site| (site, Weight::Equal)).collect::<Vec<_>>())
        }

        fn block(&mut self, which: usize) {
            self.health.inherit_block(self.ids[which], self.now, self.now + Duration::from_secs(60));
        }

        fn observe(&mut self, which: usize, seen: Seen) {
            let (now, id) = (self.now, self.ids[which]);
            let observation = Observation { id, seen, begun: now, interface: None };
            drop(self.health.observe(&observation, &RULES, &self.roster, now, &mut self.rng));
        }

        fn suspect(&mut self, which: usize) {
            self.observe(which, Seen::ServerError);
        }

        fn hear_from(&mut self, which: usize) {
            self.observe(which, Seen::Answer);
        }

        fn put_on_probation(&mut self, which: usize) {
            self.health.inherit_block(self.ids[which], self.now, self.now);
        }

        fn next(&mut self, plan: &mut Plan, purpose: Purpose) -> Option<Pick> {
            let Self { roster, health, now, rng, .. } = self;
            plan.next(purpose, roster, health, *now, rng)
        }

        fn number(&self, id: EndpointId) -> usize {
            self.ids.iter().position(|&known| known == id).unwrap()
        }

        fn pick(&mut self, plan: &mut Plan, purpose: Purpose) -> Option<(usize, Reason)> {
            self.next(plan, purpose).map(|pick| (self.number(pick.id), pick.reason))
        }

        /// How often each endpoint and reason is the first pick of `plan`, over 1,000 requests; trials are released.
        fn firsts(&mut self, plan: &Plan) -> HashMap<(usize, Reason), u32> {
            let mut counts = HashMap::new();
            for _ in 0..1_000 {
                let pick = self.next(&mut plan.clone(), Purpose::First).unwrap();
                if let Some(trial) = pick.trial {
                    self.health.release_trial(trial);
                }
                *counts.entry((self.number(pick.id), pick.reason)).or_default() += 1;
            }
            counts
        }

        fn spend_the_budget(&mut self) {
            while self.health.take_token(self.now) {}
        }
    }

    #[test]
    fn r_fail_4_an_attempt_that_was_not_planned_is_a_try_too() {
        let mut farm = Farm::of_sites(&[0, 1, 2]);
        let mut plan = Plan::new(None, 2, Trials::Taken);
        assert!(plan.spend(farm.ids[0]));
        assert_eq!(farm.pick(&mut plan, Purpose::Retry), Some((1, Reason::Random)), "what was spent on is tried");
        assert_eq!((plan.tries_left(), plan.spend(farm.ids[2])), (0, false));
    }

    #[test]
    fn r_aff_1_a_session_goes_where_it_belongs_and_a_new_one_anywhere() {
        let mut farm = Farm::of_sites(&[0, 0, 0, 1]);
        let pinned = Plan::new(Some(farm.ids[3]), 3, Trials::Taken);
        assert_eq!(farm.firsts(&pinned), HashMap::from([((3, Reason::Pinned), 1_000)]));
        let counts = farm.firsts(&Plan::new(None, 3, Trials::Taken));
        assert_eq!(counts.len(), 3);
        for which in 0..3 {
            assert!((250..420).contains(&counts[&(which, Reason::Random)]), "{counts:?}");
        }
    }

    #[test]
    fn r_aff_1_a_departed_endpoint_keeps_its_sessions_and_gets_no_new_ones() {
        let mut farm = Farm::of_sites(&[0, 0]);
        farm.roster.update(vec![endpoint(1, 0, Weight::Equal)]);
        let departed = farm.ids[0];
        let counts = farm.firsts(&Plan::new(Some(departed), 3, Trials::Taken));
        assert_eq!(counts, HashMap::from([((0, Reason::Pinned), 1_000)]));
        let counts = farm.firsts(&Plan::new(None, 3, Trials::Taken));
        assert_eq!(counts, HashMap::from([((1, Reason::Random), 1_000)]));
        farm.block(0);
        let counts = farm.firsts(&Plan::new(Some(departed), 3, Trials::Taken));
        assert_eq!(counts, HashMap::from([((1, Reason::Random), 1_000)]));
        farm.roster.forget(departed);
        farm.health.forget(departed);
        let counts = farm.firsts(&Plan::new(Some(departed), 3, Trials::Taken));
        assert_eq!(counts, HashMap::from([((1, Reason::Random), 1_000)]));
    }

    #[test]
    fn r_app_1_a_pinned_endpoint_that_is_blocked_is_left_out() {
        let mut farm = Farm::of_sites(&[0, 0, 1]);
        farm.block(0);
        let counts = farm.firsts(&Plan::new(Some(farm.ids[0]), 3, Trials::Taken));
        assert_eq!(counts, HashMap::from([((1, Reason::Random), 1_000)]));
    }

    #[test]
    fn r_fail_6_a_pinned_session_may_be_the_trial() {
        let mut farm = Farm::of_sites(&[0, 0]);
        farm.put_on_probation(0);
        let mut plan = Plan::new(Some(farm.ids[0]), 3, Trials::Taken);
        let pick = farm.next(&mut plan, Purpose::First).unwrap();
        assert_eq!((farm.number(pick.id), pick.reason), (0, Reason::Pinned));
        assert_eq!(pick.trial.map(Claim::id), Some(farm.ids[0]));
        let mut other = Plan::new(Some(farm.ids[0]), 3, Trials::Taken);
        assert_eq!(farm.pick(&mut other, Purpose::First), Some((1, Reason::Random)));
    }

    #[test]
    fn r_fail_4_three_tries_on_three_endpoints_tier_by_tier() {
        let mut farm = Farm::of_sites(&[1, 0, 0, 2]);
        for _ in 0..100 {
            let mut plan = Plan::new(None, 3, Trials::Taken);
            assert_eq!(plan.tries_left(), 3);
            let mut first = [Purpose::First, Purpose::Retry].map(|purpose| farm.pick(&mut plan, purpose).unwrap().0);
            first.sort_unstable();
            assert_eq!(first, [1, 2]);
            assert_eq!(farm.pick(&mut plan, Purpose::Advance), Some((0, Reason::Random)));
            assert_eq!(plan.tries_left(), 0);
            assert_eq!(farm.pick(&mut plan, Purpose::Retry), None);
        }
    }

    #[test]
    fn r_fail_6_the_first_pick_of_a_request_tries_an_endpoint_whose_block_ran_out() {
        let mut farm = Farm::of_sites(&[0, 0, 0, 1]);
        farm.put_on_probation(2);
        farm.put_on_probation(3);
        let mut one = Plan::new(None, 3, Trials::Taken);
        let pick = farm.next(&mut one, Purpose::First).unwrap();
        assert_eq!((farm.number(pick.id), pick.reason), (2, Reason::Trial));
        assert!(pick.trial.is_some());
        let counts = farm.firsts(&Plan::new(None, 3, Trials::Taken));
        assert_eq!(counts.keys().copied().filter(|&(_, reason)| reason == Reason::Random).count(), 2, "{counts:?}");
        assert_eq!(counts.len(), 2, "the trial of another tier waits until that tier's turn");
    }

    #[test]
    fn r_fail_6_no_request_spends_all_its_tries_on_trials() {
        let mut farm = Farm::of_sites(&[0, 0, 0, 1]);
        for which in 0..3 {
            farm.put_on_probation(which);
        }
        let mut plan = Plan::new(None, 3, Trials::Taken);
        assert_eq!(farm.pick(&mut plan, Purpose::First), Some((0, Reason::Trial)));
        assert_eq!(farm.pick(&mut plan, Purpose::Retry), Some((3, Reason::Random)));
        assert_eq!(farm.pick(&mut plan, Purpose::Retry), Some((1, Reason::Trial)));
    }

    #[test]
    fn r_fail_6_a_request_that_can_not_be_sent_again_leaves_trials_to_others() {
        let mut farm = Farm::of_sites(&[0, 0, 1]);
        farm.put_on_probation(0);
        farm.put_on_probation(1);
        let counts = farm.firsts(&Plan::new(Some(farm.ids[0]), 3, Trials::Left));
        assert_eq!(counts, HashMap::from([((2, Reason::Random), 1_000)]));
        farm.block(2);
        let mut plan = Plan::new(None, 3, Trials::Left);
        assert_eq!(farm.pick(&mut plan, Purpose::First), Some((0, Reason::Trial)), "nothing is up");
    }

    #[test]
    fn r_fail_7_all_blocked_one_of_them_at_random() {
        let mut farm = Farm::of_sites(&[0, 0, 1, 1]);
        for which in 0..4 {
            farm.block(which);
        }
        let counts = farm.firsts(&Plan::new(Some(farm.ids[0]), 3, Trials::Taken));
        assert_eq!(counts.len(), 4);
        assert!(counts.iter().all(|(&(_, reason), &count)| reason == Reason::LastResort && count > 150), "{counts:?}");
    }

    #[test]
    fn r_fail_7_what_is_on_trial_with_another_request_is_as_good_as_blocked() {
        let mut farm = Farm::of_sites(&[0]);
        farm.put_on_probation(0);
        let mut one = Plan::new(None, 3, Trials::Taken);
        assert_eq!(farm.pick(&mut one, Purpose::First), Some((0, Reason::Trial)));
        let mut other = Plan::new(None, 3, Trials::Taken);
        let pick = farm.next(&mut other, Purpose::First).unwrap();
        assert_eq!((pick.reason, pick.trial), (Reason::LastResort, None));
    }

    #[test]
    fn r_fail_7_an_endpoint_is_tried_again_only_when_all_were_and_only_by_a_retry() {
        let mut farm = Farm::of_sites(&[0, 1]);
        let mut plan = Plan::new(None, 5, Trials::Taken);
        assert_eq!(farm.pick(&mut plan, Purpose::First), Some((0, Reason::Random)));
        farm.block(0);
        assert_eq!(farm.pick(&mut plan, Purpose::Retry), Some((1, Reason::Random)));
        assert_eq!(farm.pick(&mut plan, Purpose::Advance), None);
        assert_eq!(farm.pick(&mut plan, Purpose::Retry), Some((1, Reason::LastResort)), "it is not blocked");
        farm.block(1);
        assert!(matches!(farm.pick(&mut plan, Purpose::Retry), Some((_, Reason::LastResort))));
        assert!(matches!(farm.pick(&mut plan, Purpose::Retry), Some((_, Reason::LastResort))));
        assert_eq!(farm.pick(&mut plan, Purpose::Retry), None);
    }

    #[test]
    fn an_endpoint_that_is_suspect_is_picked_last_in_its_site() {
        let mut farm = Farm::of_sites(&[0, 0, 1]);
        farm.suspect(0);
        let counts = farm.firsts(&Plan::new(None, 3, Trials::Taken));
        assert_eq!(counts, HashMap::from([((1, Reason::Random), 1_000)]));
        let mut plan = Plan::new(None, 3, Trials::Taken);
        let order = [Purpose::First, Purpose::Advance, Purpose::Advance].map(|purpose| farm.pick(&mut plan, purpose));
        assert_eq!(order, [1, 0, 2].map(|which| Some((which, Reason::Random))));
        let counts = farm.firsts(&Plan::new(Some(farm.ids[0]), 3, Trials::Taken));
        assert_eq!(
            counts,
            HashMap::from([((0, Reason::Pinned), 1_000)]),
            "its sessions stay, since it has just answered somebody"
        );
        farm.hear_from(0);
        assert_eq!(farm.firsts(&Plan::new(None, 3, Trials::Taken)).len(), 2);
    }

    #[test]
    fn r_fail_4_doubtful_retries_need_a_token_and_first_picks_never() {
        let mut farm = Farm::of_sites(&[0, 0, 1]);
        farm.spend_the_budget();
        let mut plan = Plan::new(None, 9, Trials::Taken);
        for purpose in [Purpose::First, Purpose::Retry, Purpose::Advance] {
            assert!(matches!(farm.pick(&mut plan, purpose), Some((_, Reason::Random))));
        }
        assert_eq!(farm.pick(&mut plan, Purpose::Retry), None, "all were tried");

        farm.suspect(2);
        farm.block(0);
        let mut plan = Plan::new(None, 9, Trials::Taken);
        assert_eq!(farm.pick(&mut plan, Purpose::First), Some((1, Reason::Random)));
        assert_eq!(farm.pick(&mut plan, Purpose::Retry), None, "one is overdue, one blocked");
        assert_eq!(plan.tries_left(), 8);

        farm.block(1);
        farm.block(2);
        let mut plan = Plan::new(None, 9, Trials::Taken);
        assert!(matches!(farm.pick(&mut plan, Purpose::First), Some((_, Reason::LastResort))));
        assert_eq!(farm.pick(&mut plan, Purpose::Advance), None);
    }

    #[test]
    fn r_fail_4_without_a_token_the_next_site_is_asked_rather_than_nobody() {
        let mut farm = Farm::of_sites(&[0, 0, 1]);
        farm.suspect(0);
        farm.suspect(1);
        farm.spend_the_budget();
        for purpose in [Purpose::Retry, Purpose::Advance] {
            let mut plan = Plan::new(None, 3, Trials::Taken);
            assert!(matches!(farm.pick(&mut plan, Purpose::First), Some((0 | 1, Reason::Random))));
            assert_eq!(
                farm.pick(&mut plan, purpose),
                Some((2, Reason::Random)),
                "the first site hangs, and it is well"
            );
        }
    }

    #[test]
    fn no_endpoint_no_pick() {
        let mut farm = Farm::of_sites(&[]);
        for purpose in [Purpose::First, Purpose::Retry, Purpose::Advance] {
            assert_eq!(farm.pick(&mut Plan::new(None, 3, Trials::Taken), purpose), None);
        }
        let mut farm = Farm::of_sites(&[0]);
        assert_eq!(farm.pick(&mut Plan::new(None, 0, Trials::Taken), Purpose::First), None);
    }

    #[test]
    fn r_dns_2_weights_are_shares() {
        let mut farm =
            Farm::new(&[(0, Weight::Srv(10)), (0, Weight::Srv(0)), (0, Weight::Srv(30)), (0, Weight::Srv(60))]);
        let mut counts = [0u32; 4];
        for _ in 0..20_000 {
            let (which, reason) = farm.pick(&mut Plan::new(None, 3, Trials::Taken), Purpose::First).unwrap();
            assert_eq!(reason, Reason::Weighted);
            counts[which] += 1;
        }
        for (count, expected) in counts.into_iter().zip([1_980, 198, 5_940, 11_881]) {
            assert!(f64::from(count.abs_diff(expected)) < 5.0 * f64::from(expected).sqrt(), "{counts:?}");
        }
    }

    #[test]
    fn r_dns_2_weightless_targets_are_equal() {
        let mut farm = Farm::new(&[(0, Weight::Srv(0)), (0, Weight::Srv(0))]);
        let counts = farm.firsts(&Plan::new(None, 3, Trials::Taken));
        assert!((400..600).contains(&counts[&(0, Reason::Random)]), "{counts:?}");
        assert_eq!(counts.len(), 2);
    }

    /// One endpoint as the model sees it.
    #[derive(Clone, Copy, Debug)]
    struct Model {
        id: EndpointId,
        tier: Tier,
        standing: Standing,
        suspect: bool,
        kept: bool,
        tried: bool,
        presence: Presence,
    }

    /// How preferred an endpoint is for a pick, less is better, as the list at the top of this file says; `None`: never.
    fn rank(seen: &Model, pinned: bool, purpose: Purpose, trials: Trials) -> Option<(u8, Tier, u8)> {
        let first = purpose == Purpose::First;
        let trial = seen.standing == Standing::Probation;
        let open = trial || seen.standing == Standing::Up;
        let at_home = pinned && open && !seen.tried && (if first { seen.kept } else { !seen.suspect });
        if at_home && (!trial || trials == Trials::Taken) {
            return Some((0, Tier::default(), 0));
        }
        if seen.presence != Presence::Present {
            return None;
        }
        let site = Tier { site: seen.tier.site, priority: 0 };
        match (seen.tried, open, seen.suspect) {
            (false, true, false) if first && trials == Trials::Taken => Some((1, seen.tier, u8::from(!trial))),
            (false, true, suspect) if trial => Some((if suspect { 3 } else { 2 }, seen.tier, 0)),
            (false, true, false) => Some((1, seen.tier, 0)),
            // Behind all tiers of its site, and before the next site.
            (false, true, true) => Some((1, Tier { priority: u16::MAX, ..site }, seen.tier.priority.min(200) as u8)),
            (false, false, _) => Some((5, Tier::default(), 0)),
            (true, ..) if purpose != Purpose::Retry => None,
            (true, ..) => Some((if seen.standing == Standing::Up { 6 } else { 7 }, Tier::default(), 0)),
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Wait(u64),
        Request { pinned: Option<usize>, tries: u8, trials: Trials },
        Next(Purpose),
        Fail,
        Succeed,
        GiveUp,
        Suspect(usize),
        Hear(usize),
        Discover(Vec<(usize, u16)>),
    }

    fn step() -> impl Strategy<Value = Step> {
        let purpose = prop::sample::select(vec![Purpose::First, Purpose::Retry, Purpose::Advance]);
        let trials = prop::sample::select(vec![Trials::Taken, Trials::Left]);
        prop_oneof![
            1 => (0u64..40).prop_map(Step::Wait),
            3 => (prop::option::of(0usize..6), 1u8..6, trials)
                .prop_map(|(pinned, tries, trials)| Step::Request { pinned, tries, trials }),
            8 => purpose.prop_map(Step::Next),
            4 => Just(Step::Fail),
            1 => Just(Step::Succeed),
            1 => Just(Step::GiveUp),
            1 => (0usize..6).prop_map(Step::Suspect),
            1 => (0usize..6).prop_map(Step::Hear),
            1 => prop::collection::vec((0usize..6, 0u16..3), 0..6).prop_map(Step::Discover),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn r_fail_4_to_8_every_pick_is_among_the_models_best(
            steps in prop::collection::vec(step(), 1..120), seed in any::<u64>()
        ) {
            let mut farm = Farm::of_sites(&[0, 0, 0, 1, 1, 2]);
            farm.rng = StdRng::seed_from_u64(seed);
            let mut plan = Plan::new(None, 3, Trials::Taken);
            let (mut pinned, mut tries, mut tried): (Option<EndpointId>, u8, Vec<EndpointId>) = (None, 3, Vec::new());
            let mut trials = Trials::Taken;
            let mut running: Vec<Pick> = Vec::new();
            for step in steps {
                match step {
                    Step::Wait(pause) => farm.now += Duration::from_secs(pause),
                    Step::Request { pinned: which, tries: limit, trials: policy } => {
                        farm.health.request(farm.now);
                        pinned = which.map(|which| farm.ids[which]);
                        (tries, tried) = (limit, Vec::new());
                        trials = policy;
                        plan = Plan::new(pinned, limit, trials);
                    }
                    Step::Next(purpose) => {
                        let seen: Vec<Model> = farm.roster.present().chain(farm.roster.leaving()).map(|member| Model {
                            id: member.id(),
                            tier: member.endpoint().tier,
                            standing: farm.health.standing(member.id(), farm.now),
                            suspect: farm.health.is_last_choice(member.id()),
                            kept: farm.health.keeps_sessions(member.id(), farm.now),
                            tried: tried.contains(&member.id()),
                            presence: member.presence(),
                        }).collect();
                        let ranked = |seen: &Model| rank(seen, pinned == Some(seen.id), purpose, trials);
                        let mut best = seen.iter().filter_map(ranked).min();
                        let mut health = farm.health.clone();
                        let is_doubtful = |seen: &Model| ranked(seen) == best && (best >= Some((5, Tier::default(), 0)) || seen.suspect);
                        if purpose != Purpose::First && seen.iter().any(is_doubtful) && !health.take_token(farm.now) {
                            let good = |rank: &(u8, Tier, u8)| rank.0 == 1 && rank.1.priority < u16::MAX;
                            best = seen.iter().filter_map(ranked).filter(good).min();
                        }
                        let mut health = farm.health.clone();
                        let pick = farm.next(&mut plan, purpose);
                        prop_assert_eq!(plan.tries_left(), tries - u8::try_from(tried.len()).unwrap() - u8::from(pick.is_some()));
                        match (best, pick) {
                            (None, pick) => prop_assert_eq!(pick, None),
                            (Some((rank, ..)), None) => {
                                let spent = usize::from(tries) == tried.len();
                                prop_assert!(spent || (purpose != Purpose::First && !health.take_token(farm.now)), "rank {rank}");
                            }
                            (Some(best), Some(pick)) => {
                                let chosen = seen.iter().find(|seen| seen.id == pick.id).unwrap();
                                prop_assert_eq!(ranked(chosen), Some(best));
                                prop_assert_eq!(pick.trial.is_some(), chosen.standing == Standing::Probation);
                                let reason = match best {
                                    (0, ..) => Reason::Pinned,
                                    (5.., ..) => Reason::LastResort,
                                    _ if pick.trial.is_some() => Reason::Trial,
                                    _ => Reason::Random,
                                };
                                prop_assert_eq!(pick.reason, reason);
                                let untried = |seen: &&Model| !seen.tried && seen.presence == Presence::Present;
                                if chosen.tried {
                                    prop_assert_eq!(seen.iter().filter(untried).count(), 0);
                                }
                                if matches!(chosen.standing, Standing::Blocked { .. } | Standing::OnTrial) && !chosen.tried {
                                    prop_assert!(!seen.iter().filter(untried).any(|seen| seen.standing == Standing::Up));
                                }
                                tried.push(pick.id);
                                running.push(pick);
                            }
                        }
                        prop_assert!(tried.len() <= usize::from(tries));
                    }
                    Step::Fail => {
                        if let Some(pick) = running.pop() {
                            farm.health.inherit_block(pick.id, farm.now, farm.now + Duration::from_secs(60));
                        }
                    }
                    Step::Succeed => {
                        if let Some(pick) = running.pop() {
                            let which = farm.number(pick.id);
                            farm.hear_from(which);
                        }
                    }
                    Step::GiveUp => {
                        if let Some(trial) = running.pop().and_then(|pick| pick.trial) {
                            farm.health.release_trial(trial);
                        }
                    }
                    Step::Suspect(which) => farm.suspect(which),
                    Step::Hear(which) => farm.hear_from(which),
                    Step::Discover(named) => {
                        let named = named.into_iter().map(|(which, site)| endpoint(which, site, Weight::Equal));
                        farm.roster.update(named.collect());
                    }
                }
            }
        }
    }
}
