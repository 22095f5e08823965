//! What must have happened by some time: what is dead is blocked, what does well is back, what is overdue is noticed, and every
//! request has an end. Separate from the judge, who looks at what has been said.

use std::time::Duration;

use super::clients::{Attempt, Kind};
use super::judge::SLACK;
use super::{Simulation, TICK};
use crate::policy::classify::OnSilence;
use crate::policy::endpoint::{EndpointId, Member};
use crate::policy::failover::LONGEST_TURN;
use crate::policy::health::load::PATIENCE;

impl Simulation {
    /// What is silent to two sessions is suspect, whatever a look has found before.
    fn judge_silence(&mut self, id: EndpointId) {
        let Some(patience) = self.setup.rules.advance_after else { return };
        let told = *self.judge.told(id);
        let is_silent = told.heard.is_none_or(|heard| self.now >= heard + patience);
        if is_silent && self.setup.rules.on_silence == OnSilence::Confirm && self.waiting(id) > 1 {
            self.arm(id);
        }
    }

    /// From now on a look decides about the endpoint. If it can't answer, it is blocked in time (promises 1 and 2).
    pub(super) fn arm(&mut self, id: EndpointId) {
        let xsp = self.places[&id];
        if !self.xsps[xsp].state.is_bad() || !self.is_expected(xsp) {
            return;
        }
        // The gateway may have no sockets, and looks have a second between them.
        let (from, told) = (self.now.max(self.short_until), self.judge.told(id));
        // Nobody looks at what is blocked already.
        if told.block.is_some() {
            return;
        }
        let from = told.looked.map_or(from, |looked| from.max(looked + Duration::from_secs(1)));
        told.block_by.get_or_insert(from + TICK + self.setup.response_timeout + SLACK);
    }

    /// An attempt that has been silent for `advance_after` is overdue.
    fn judge_lateness(&mut self) {
        let Some(after) = self.setup.rules.advance_after else { return };
        let late = self.requests.values().filter(|request| !request.is_over).find_map(|request| {
            let is_late = |attempt: &&Attempt| {
                let awaited = attempt.begun.max(request.body_at).max(attempt.noted);
                attempt.runs && !attempt.has_been_overdue && self.now > awaited + after + SLACK
            };
            request.attempts.iter().find(is_late).map(|attempt| (request.kind, *attempt))
        });
        self.require(late.is_none(), || format!("nobody takes note of what is overdue: {late:?}"));
    }

    /// Each request comes to its end in time, and so does what is left of it (promise 2).
    fn judge_ends(&mut self) {
        let timeout = self.setup.response_timeout;
        let endless = self.requests.iter().find(|(_, request)| {
            let waits = if request.kind == Kind::Open { LONGEST_TURN } else { PATIENCE };
            let tries = u32::from(self.setup.tries) + u32::from(request.is_over);
            self.now > request.body_at + waits + tries * timeout + SLACK
        });
        let endless = endless.map(|(number, request)| (*number, request.kind, request.is_over));
        self.require(endless.is_none(), || format!("a request has no end: {endless:?}"));
    }

    /// What time must have brought about.
    pub(super) fn judge_time(&mut self) {
        self.judge_lateness();
        self.judge_ends();
        for xsp in 0..self.xsps.len() {
            let Some(id) = self.member(xsp).map(Member::id) else { continue };
            let (now, short_until) = (self.now, self.short_until);
            let (is_bad, well_since) = (self.xsps[xsp].state.is_bad(), self.xsps[xsp].well_since);
            let is_expected = self.is_expected(xsp);
            if is_bad && is_expected {
                self.judge_silence(id);
            }
            let told = self.judge.told(id);
            if !is_bad || !is_expected || now <= short_until {
                told.block_by = None;
                if !is_expected {
                    told.unexpected = Some(now);
                }
            }
            let told = *told;
            let is_late = told.block_by.is_some_and(|by| now > by) && told.block.is_none();
            self.require(!is_late, || format!("{id:?} can't answer, and is not blocked: {told:?}"));
            let Some(block) = told.block.filter(|_| !is_bad && is_expected) else { continue };
            let free = block.until.max(well_since).max(short_until).max(told.unexpected.unwrap_or(block.until));
            let is_kept = now > free + Duration::from_secs(5);
            self.require(!is_kept, || format!("{id:?} does well, and is still blocked: {told:?}"));
        }
    }
}
