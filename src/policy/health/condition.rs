//! What is known of one endpoint besides whether it is blocked: what it is suspected of, who waits at it, when it was last
//! heard, and when the gateway looks at it. Separate from the blocklist, which says who is left out.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::Rules;
use crate::broadworks::interface::Interface;
use crate::policy::classify::OnSilence;
use crate::policy::fault::Cause;

/// Between two looks at one endpoint.
pub(super) const LOOKS_APART: Duration = Duration::from_secs(1);
/// Between two looks that only a hint has called for: an XSP may end connections because they have idled for long.
pub(super) const HINTS_APART: Duration = Duration::from_secs(10);
/// How long it holds that a look has found an endpoint well.
pub(super) const WELL_FOR: Duration = Duration::from_secs(10);

/// One endpoint's.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    /// When it last answered anybody; at first, when it became known.
    pub(super) heard: Instant,
    suspicions: SmallVec<[Suspicion; 1]>,
    overdue: SmallVec<[Overdue; 1]>,
    /// In which respects a look has found it well, and when.
    well: SmallVec<[(Suspicion, Instant); 2]>,
    /// The look that is to come.
    pub(super) due: Option<Due>,
    /// The number of the look that runs.
    pub(super) running: Option<u64>,
    /// How long its silence may last before sessions at home there go elsewhere; `None`: until it is blocked.
    patience: Option<Duration>,
    /// When the latest look began.
    pub(super) looked: Option<Instant>,
    /// When a hint last called for one.
    hinted: Option<Instant>,
    /// When it is worth a look if nothing is heard from it.
    pub(super) idle_at: Option<Instant>,
}

/// What it is suspected of, and where that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspicion {
    pub(super) cause: Cause,
    pub(super) interface: Option<Interface>,
}

/// A look that is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) at: Instant,
    /// What it is to settle; `None`: the gateway looks for another reason.
    pub(super) suspicion: Option<Suspicion>,
}

/// An attempt that has been silent for too long.
#[derive(Clone, Copy, Debug)]
struct Overdue {
    serial: u64,
    /// Whose it is.
    session: u64,
    interface: Option<Interface>,
    after: Duration,
    on_silence: OnSilence,
}

impl Condition {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            heard: now,
            suspicions: SmallVec::new(),
            overdue: SmallVec::new(),
            well: SmallVec::new(),
            due: None,
            running: None,
            patience: None,
            looked: None,
            hinted: None,
            idle_at: None,
        }
    }

    /// Whether it was not suspect before, and is now. A look is to come then.
    pub(super) fn suspect(&mut self, suspicion: Suspicion, patience: Option<Duration>, now: Instant) -> bool {
        if self.is_found_well(suspicion, now) {
            return false;
        }
        let was_suspect = self.is_suspect();
        if !self.suspicions.contains(&suspicion) {
            self.suspicions.push(suspicion);
        }
        self.patience = patience;
        // One that runs may have asked before this was seen, or elsewhere.
        self.look_at(now, Some(suspicion));
        !was_suspect
    }

    /// Whether a look has just found it well in this respect. That holds no longer than it answers: when nobody hears anything
    /// and two sessions wait, it is more than one slow request.
    pub(super) fn is_found_well(&self, suspicion: Suspicion, now: Instant) -> bool {
        let is_fresh = |at: Instant| now.saturating_duration_since(at) < WELL_FOR;
        self.well.iter().any(|(well, at)| *well == suspicion && is_fresh(*at)) && !self.is_silent_to_all(now)
    }

    /// Whether it has answered nobody for as long as it takes to be overdue, while two sessions or more wait.
    pub(super) fn is_silent_to_all(&self, now: Instant) -> bool {
        let Some(first) = self.overdue.first() else { return false };
        let waits_another = self.overdue.iter().any(|other| other.session != first.session);
        waits_another && self.silence(now) >= first.after
    }

    fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.heard)
    }

    pub(super) fn is_suspect(&self) -> bool {
        !self.suspicions.is_empty()
    }

    pub(super) fn is_last_choice(&self) -> bool {
        self.is_suspect() || self.overdue.iter().any(|overdue| overdue.on_silence == OnSilence::Block)
    }

    pub(super) fn keeps_sessions(&self, now: Instant) -> bool {
        !self.is_suspect() || self.patience.is_none_or(|patience| self.silence(now) < patience)
    }

    /// Whether it was suspect, and is no longer.
    pub(super) fn clear(&mut self) -> bool {
        let was_suspect = self.is_suspect();
        self.suspicions.clear();
        was_suspect
    }

    /// A look has found it well, which was to settle that suspicion: whether it was suspect, and is no longer.
    pub(super) fn found_well(&mut self, settled: Option<Suspicion>, now: Instant) -> bool {
        self.heard = now;
        self.well.retain(|(_, at)| now.saturating_duration_since(*at) < WELL_FOR);
        let Some(settled) = settled else { return self.clear() };
        let was_suspect = self.is_suspect();
        // It was asked where all of these were seen.
        let (here, elsewhere): (SmallVec<[Suspicion; 1]>, SmallVec<[Suspicion; 1]>) =
            self.suspicions.iter().copied().partition(|suspicion| suspicion.interface == settled.interface);
        self.suspicions = elsewhere;
        for settled in here.into_iter().chain([settled]) {
            self.well.retain(|(well, _)| *well != settled);
            self.well.push((settled, now));
        }
        if self.due.is_some_and(|due| due.suspicion == Some(settled)) {
            self.due = None;
        }
        if let Some(left) = self.suspicions.first().copied() {
            self.look_at(now, Some(left));
        }
        was_suspect && !self.is_suspect()
    }

    pub(super) fn overdue_begin(&mut self, serial: u64, session: u64, interface: Option<Interface>, rules: &Rules) {
        let after = rules.advance_after.unwrap_or_default();
        self.overdue.push(Overdue { serial, session, interface, after, on_silence: rules.on_silence });
    }

    pub(super) fn overdue_end(&mut self, serial: u64) {
        self.overdue.retain(|overdue| overdue.serial != serial);
    }

    /// That it is silent to everybody, if an overdue attempt calls for a look.
    pub(super) fn silent_suspicion(&self, now: Instant) -> Option<(Suspicion, Duration)> {
        let overdue = self.overdue.first().filter(|overdue| overdue.on_silence == OnSilence::Confirm)?;
        let suspicion = Suspicion { cause: Cause::Silence, interface: overdue.interface };
        (!self.is_suspect() && self.is_silent_to_all(now)).then_some((suspicion, overdue.after))
    }

    /// A look is due at `at`, or as soon after as looks may follow one another.
    pub(super) fn look_at(&mut self, at: Instant, suspicion: Option<Suspicion>) {
        let at = self.looked.map_or(at, |looked| at.max(looked + LOOKS_APART));
        match &mut self.due {
            // Rather what somebody waits for.
            Some(due) if due.at <= at => due.suspicion = due.suspicion.or(suspicion),
            due => *due = Some(Due { at, suspicion }),
        }
    }

    /// What a look is to settle that was called for because of `asked`: answers may have cleared that meanwhile.
    pub(super) fn to_settle(&self, asked: Option<Suspicion>) -> Option<Suspicion> {
        let is_held = asked.is_some_and(|asked| self.suspicions.contains(&asked));
        if is_held { asked } else { self.suspicions.first().copied().or(asked) }
    }

    pub(super) fn hint(&mut self, now: Instant) {
        if self.due.is_none() {
            let at = self.hinted.map_or(now, |hinted| now.max(hinted + HINTS_APART));
            self.hinted = Some(at);
            self.look_at(at, None);
        }
    }
}
