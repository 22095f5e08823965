//! What an endpoint is worth if one believes nothing but what was told of it, and the table of evidence once more, naively. Separate
//! from the judge, which compares.

use std::time::Instant;

use super::xsp::Outcome;
use crate::broadworks::interface::Interface;
use crate::policy::classify::{On5xx, OnSilence};
use crate::policy::fault::{Cause, Fault};
use crate::policy::health::blocklist::Standing;
use crate::policy::health::{Claim, Rules, Transition};

/// What an attempt says of its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    /// It can't be had.
    Proof,
    Suspicion(Cause),
    Nothing,
    Health,
}

impl Truth {
    /// The table of evidence.
    pub(super) fn of(outcome: Outcome, rules: &Rules, is_channel: bool) -> Self {
        let doubt = |cause| match rules.on_silence {
            OnSilence::Confirm => Self::Suspicion(cause),
            OnSilence::Block => Self::Proof,
        };
        match outcome {
            Outcome::Answer(..500) | Outcome::Redirect(_) => Self::Health,
            // What it says of one channel says nothing of others.
            Outcome::Answer(_) if is_channel => Self::Nothing,
            Outcome::Answer(_) => match rules.on_5xx {
                On5xx::Answer => Self::Health,
                On5xx::Block => Self::Proof,
                On5xx::Confirm => Self::Suspicion(Cause::ServerError),
            },
            Outcome::Fault(fault) => match fault {
                Fault::Refused | Fault::ConnectReset | Fault::Unreachable | Fault::NoConnection => Self::Proof,
                Fault::ConnectTimeout | Fault::Handshake(_) | Fault::HandshakeTimeout => Self::Proof,
                Fault::Timeout => doubt(Cause::Silence),
                Fault::Send | Fault::Reset | Fault::Closed | Fault::Malformed => doubt(Cause::Broken),
                Fault::Stale | Fault::Local | Fault::TooLarge => Self::Nothing,
            },
        }
    }
}

/// One endpoint, as told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    /// Its block, if it is on the list.
    pub(super) block: Option<Block>,
    pub(super) is_suspect: bool,
    /// When it last said anything.
    pub(super) heard: Option<Instant>,
    /// When a look last found it well.
    pub(super) found_well: Option<Instant>,
    /// When it was last looked at.
    pub(super) looked: Option<Instant>,
    pub(super) is_looked_at: bool,
    /// By when it must be blocked, since it can't answer and that has been seen.
    pub(super) block_by: Option<Instant>,
    /// When it last was none that the gateway looks after.
    pub(super) unexpected: Option<Instant>,
    /// Why it is, or was, suspect, and since when.
    pub(super) suspected: Option<Suspected>,
    pub(super) suspected_at: Option<Instant>,
    /// In which respect a look has found it well, and when.
    pub(super) settled: Option<(Suspected, Instant)>,
}

/// What it is suspected of, and where that was seen.
type Suspected = (Cause, Option<Interface>);

#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) until: Instant,
    /// The latest failure.
    pub(super) since: Instant,
    pub(super) trial: Trial,
    /// An operator has said so: no answer takes it off before its time.
    pub(super) is_by_operator: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trial {
    None,
    /// Somebody has claimed it.
    Begun,
    /// And with this.
    Claimed(Claim),
}

impl Told {
    /// What is shown.
    pub(super) fn standing(&self, now: Instant) -> Standing {
        match self.block {
            None => Standing::Up,
            Some(Block { trial: Trial::Begun | Trial::Claimed(_), .. }) => Standing::OnTrial,
            Some(Block { until, .. }) if now < until => Standing::Blocked { until },
            Some(_) => Standing::Probation,
        }
    }

    /// Takes note of a transition; what is wrong with it, if it can't be.
    pub(super) fn take(&mut self, transition: Transition, now: Instant) -> Result<(), &'static str> {
        let has_run_out = |block: &Block| block.trial != Trial::None || now >= block.until;
        match (transition, &mut self.block) {
            (Transition::Blocked { until }, None) => {
                self.block = Some(Block { until, since: now, trial: Trial::None, is_by_operator: false });
                self.is_suspect = false;
            }
            (Transition::Extended { until }, Some(block)) if !has_run_out(block) && until > block.until => {
                *block = Block { until, since: now, trial: Trial::None, ..*block };
            }
            (Transition::TrialFailed { until }, Some(block)) if has_run_out(block) => {
                *block = Block { until, since: now, trial: Trial::None, ..*block };
                self.is_suspect = false;
            }
            (Transition::TrialBegun, Some(block)) if now >= block.until && block.trial == Trial::None => {
                block.trial = Trial::Begun;
            }
            (Transition::Unblocked, Some(_)) => self.block = None,
            (Transition::Suspected { .. }, _) if !self.is_suspect => self.is_suspect = true,
            (Transition::Cleared, _) if self.is_suspect => self.is_suspect = false,
            (Transition::AddressInDoubt, Some(_)) => {}
            (Transition::Blocked { .. }, Some(_)) => return Err("blocked although it was"),
            (Transition::Extended { .. }, _) => return Err("extended although it was not blocked, or for longer"),
            (Transition::TrialFailed { .. }, _) => return Err("a trial failed that nobody had begun"),
            (Transition::TrialBegun, _) => return Err("a trial begun that was not to be had"),
            (Transition::Unblocked, None) => return Err("unblocked although it was up"),
            (Transition::Suspected { .. }, _) => return Err("suspected although it was"),
            (Transition::Cleared, _) => return Err("cleared although it was not suspect"),
            (Transition::AddressInDoubt, None) => return Err("its address in doubt although it is up"),
        }
        Ok(())
    }
}
