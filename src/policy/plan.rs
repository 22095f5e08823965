//! The endpoints that one request may try, one after the other. Apart from the farm's shell, because this order *is* the
//! product: it is decided here, without clock, lock or chance of its own, and can be checked against a naive model.
//!
//! Among the endpoints that the request has not tried yet, in this order:
//!
//! 1. The pinned one (R-AFF-1), unless it is blocked; on probation only if its trial is free.
//! 2. Tier by tier, the endpoints that are up (R-FAIL-5), at random, by weight where SRV gives weights (R-DNS-2). The first
//!    pick of a request rather takes a free trial of the tier (R-FAIL-6), so that an XSP that came back is noticed at
//!    once; later picks take one only when nothing is up, so that no request spends all its tries on trials.
//! 3. The same with the endpoints that have an overdue attempt: they are picked last.
//! 4. Everybody left is blocked or on trial with somebody else: one of them at random (R-FAIL-7).
//! 5. Everybody was tried: a retry may take one again, preferably one that is up; an advance may not.
//!
//! A retry or an advance of the kinds 3 to 5 needs a token of the farm's [`Budget`]: a farm that fails sees few more
//! requests than its clients send.

use std::time::Instant;

use rand::{Rng, RngExt};
use smallvec::SmallVec;

use super::blocklist::{Blocklist, Standing, Trial};
use super::budget::Budget;
use super::endpoint::{EndpointId, Member, Roster, Weight};

/// What one request has tried, and may still try (R-FAIL-4).
#[derive(Clone, Debug)]
pub struct Plan {
    pinned: Option<EndpointId>,
    tries_left: u8,
    tried: SmallVec<[EndpointId; 4]>,
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
    pub trial: Option<Trial>,
}

impl Plan {
    /// A plan of up to `tries` attempts for a request whose session belongs to `pinned`.
    pub fn new(pinned: Option<EndpointId>, tries: u8) -> Self {
        Self { pinned, tries_left: tries, tried: SmallVec::new() }
    }

    /// How many more attempts the request may make, if there are endpoints for them.
    pub fn tries_left(&self) -> u8 {
        self.tries_left
    }

    /// The endpoint for the request's next attempt; claims its trial if it is on probation. `None`: the request must do
    /// without (further) attempts, because the tries are used up, nothing is left, or the budget is spent.
    pub fn next(
        &mut self,
        purpose: Purpose,
        roster: &Roster,
        blocklist: &mut Blocklist,
        budget: &mut Budget,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Option<Pick> {
        if self.tries_left == 0 {
            return None;
        }
        let view = View { roster, blocklist, tried: &self.tried, now };
        let (id, reason) = view.choose(self.pinned, purpose, rng)?;
        if needs_token(purpose, reason, roster, id) && !budget.take(now) {
            return None;
        }
        self.tries_left -= 1;
        self.tried.push(id);
        Some(Pick { id, reason, trial: blocklist.claim_trial(id, now) })
    }
}

fn needs_token(purpose: Purpose, reason: Reason, roster: &Roster, id: EndpointId) -> bool {
    match purpose {
        Purpose::First => false,
        Purpose::Retry | Purpose::Advance => {
            reason == Reason::LastResort || roster.get(id).is_some_and(Member::is_overdue)
        }
    }
}

/// What one pick looks at.
struct View<'a> {
    roster: &'a Roster,
    blocklist: &'a Blocklist,
    tried: &'a [EndpointId],
    now: Instant,
}

/// Whether an endpoint has attempts that are silent for longer than they should be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    Prompt,
    Overdue,
}

impl View<'_> {
    fn choose(&self, pinned: Option<EndpointId>, purpose: Purpose, rng: &mut impl Rng) -> Option<(EndpointId, Reason)> {
        self.pinned(pinned, purpose)
            .or_else(|| self.by_tier(purpose, rng))
            .or_else(|| self.blocked(rng))
            .or_else(|| self.again(purpose, rng))
    }

    fn pinned(&self, pinned: Option<EndpointId>, purpose: Purpose) -> Option<(EndpointId, Reason)> {
        let member = self.roster.get(pinned?)?;
        let late = match purpose {
            Purpose::First => false,
            Purpose::Retry | Purpose::Advance => member.is_overdue(),
        };
        let open = match self.blocklist.standing(member.id(), self.now) {
            Standing::Up | Standing::Probation => true,
            Standing::Blocked { .. } | Standing::OnTrial => false,
        };
        (open && !late && self.is_untried(member)).then_some((member.id(), Reason::Pinned))
    }

    fn by_tier(&self, purpose: Purpose, rng: &mut impl Rng) -> Option<(EndpointId, Reason)> {
        let mut tiers = self.roster.tiers();
        match purpose {
            Purpose::First => tiers.find_map(|tier| {
                self.on_probation(tier.clone(), Pace::Prompt).or_else(|| self.up(tier, Pace::Prompt, rng))
            }),
            Purpose::Retry | Purpose::Advance => tiers
                .find_map(|tier| self.up(tier, Pace::Prompt, rng))
                .or_else(|| self.roster.tiers().find_map(|tier| self.on_probation(tier, Pace::Prompt))),
        }
        .or_else(|| self.roster.tiers().find_map(|tier| self.up(tier, Pace::Overdue, rng)))
        .or_else(|| self.roster.tiers().find_map(|tier| self.on_probation(tier, Pace::Overdue)))
    }

    fn on_probation<'m>(&self, mut tier: impl Iterator<Item = &'m Member>, pace: Pace) -> Option<(EndpointId, Reason)> {
        tier.find(|member| self.is_open(member, pace, Standing::Probation)).map(|member| (member.id(), Reason::Trial))
    }

    fn up<'m>(
        &self,
        tier: impl Iterator<Item = &'m Member> + Clone,
        pace: Pace,
        rng: &mut impl Rng,
    ) -> Option<(EndpointId, Reason)> {
        by_weight(tier.filter(|member| self.is_open(member, pace, Standing::Up)), rng)
    }

    fn blocked(&self, rng: &mut impl Rng) -> Option<(EndpointId, Reason)> {
        let left = self.roster.present().filter(|member| self.is_untried(member));
        uniformly(left, rng).map(|member| (member.id(), Reason::LastResort))
    }

    fn again(&self, purpose: Purpose, rng: &mut impl Rng) -> Option<(EndpointId, Reason)> {
        match purpose {
            Purpose::First | Purpose::Advance => return None,
            Purpose::Retry => {}
        }
        let up = |member: &&Member| self.blocklist.standing(member.id(), self.now) == Standing::Up;
        uniformly(self.roster.present().filter(up), rng)
            .or_else(|| uniformly(self.roster.present(), rng))
            .map(|member| (member.id(), Reason::LastResort))
    }

    fn is_untried(&self, member: &Member) -> bool {
        !self.tried.contains(&member.id())
    }

    fn is_open(&self, member: &Member, pace: Pace, standing: Standing) -> bool {
        let member_pace = if member.is_overdue() { Pace::Overdue } else { Pace::Prompt };
        member_pace == pace && self.is_untried(member) && self.blocklist.standing(member.id(), self.now) == standing
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
