//! What happens to the world: XSPs change, DNS changes, an operator drains, the gateway runs short. Separate from the XSPs, which
//! only answer as they are.

use std::time::Duration;

use rand::RngExt;

use super::xsp::{Path, State};
use super::{Simulation, What};
use crate::policy::drained::{Drained, Whom};
use crate::policy::endpoint::{Member, Presence};

impl Simulation {
    /// One change, and the next one later.
    pub(super) fn weather(&mut self) {
        if self.to_come == 0 {
            return;
        }
        let xsp = self.rng.random_range(0..self.xsps.len());
        match self.rng.random_range(0..100) {
            0..55 => self.worsen(xsp),
            55..62 => {
                if !self.xsps[xsp].state.is_bad() {
                    self.change(xsp, State::Slow);
                }
            }
            62..72 => self.rename(xsp),
            72..78 => self.drain_or_not(xsp),
            78..83 => self.short_until = self.now + Duration::from_millis(self.rng.random_range(50..1_500)),
            83..93 => self.xsps[xsp].is_idle_stale = self.xsps[xsp].idle > 0,
            93 | 94 => self.all_worsen(),
            95 => self.block_by_operator(xsp),
            96 => self.lift_by_operator(xsp),
            _ => self.crowd(),
        }
        let pause = self.exponential(self.setup.calm);
        self.after(pause, What::Weather);
    }

    /// One falls ill for some time.
    fn worsen(&mut self, xsp: usize) {
        if self.xsps[xsp].state.is_bad() {
            return;
        }
        let state = match self.rng.random_range(0..10) {
            _ if self.setup.is_bytes => State::Dead(self.death()),
            0..4 => State::Dead(self.death()),
            4..7 => State::Hung,
            7 | 8 => State::Failing,
            _ if self.rng.random_bool(0.5) => State::Babbling,
            _ => State::Resetting,
        };
        self.fall(xsp, state);
    }

    fn fall(&mut self, xsp: usize, state: State) {
        self.change(xsp, state);
        let version = self.xsps[xsp].version;
        let longest = if self.rng.random_bool(0.2) { 30_000 } else { 8_000 };
        let time = Duration::from_millis(self.rng.random_range(200..longest));
        self.after(time, What::Recover { xsp, version });
    }

    fn all_worsen(&mut self) {
        let state =
            if !self.setup.is_bytes && self.rng.random_bool(0.5) { State::Hung } else { State::Dead(self.death()) };
        for xsp in 0..self.xsps.len() {
            self.fall(xsp, state);
        }
    }

    pub(super) fn recover(&mut self, xsp: usize, version: u32) {
        if self.xsps[xsp].version == version {
            let state = if self.rng.random_bool(0.8) { State::Well } else { State::Slow };
            self.change(xsp, state);
        }
    }

    /// One user asks twenty times at once for what takes too long, or fails.
    fn crowd(&mut self) {
        let path = match self.rng.random_range(0..4) {
            0 | 1 => Path::Slow(Duration::from_millis(self.rng.random_range(700..6_000))),
            2 => Path::ServerError,
            _ => Path::Nothing,
        };
        let user = self.rng.random_range(0..self.setup.users);
        for _ in 0..20 {
            self.ask(user, path);
        }
    }

    fn drain_or_not(&mut self, xsp: usize) {
        let others = self.gateway.roster.present().filter(|member| self.places[&member.id()] != xsp).count();
        if others > 0 || self.xsps[xsp].is_drained {
            self.xsps[xsp].is_drained ^= true;
            self.drain();
        }
    }

    /// An operator has the XSP left out for some time, whatever it answers.
    fn block_by_operator(&mut self, xsp: usize) {
        let Some(id) = self.member(xsp).map(Member::id) else { return };
        let until = self.now + Duration::from_millis(self.rng.random_range(500..15_000));
        self.gateway.health.block_by_operator(id, self.now, until);
        self.judge.blocked_by_operator(id, self.now, until);
    }

    fn lift_by_operator(&mut self, xsp: usize) {
        let Some(id) = self.member(xsp).map(Member::id) else { return };
        self.gateway.health.lift(id);
        self.judge.told(id).block = None;
    }

    fn rename(&mut self, xsp: usize) {
        let named = self.xsps.iter().filter(|xsp| xsp.is_named).count();
        if named > 1 || !self.xsps[xsp].is_named {
            self.xsps[xsp].is_named ^= true;
            self.discover();
        }
    }

    /// The gateway asks DNS.
    pub(super) fn discover(&mut self) {
        let found = self.xsps.iter().filter(|xsp| xsp.is_named).map(super::Xsp::endpoint).collect();
        let changes = self.gateway.roster.update(found);
        for id in changes.joined {
            let address = self.gateway.roster.get(id).expect("it has joined").endpoint().address;
            let xsp = self.xsps.iter().position(|xsp| xsp.address() == address).expect("nobody else is named");
            self.places.insert(id, xsp);
        }
        changes.left.into_iter().for_each(|id| self.gateway.departed.left(id, self.now));
        changes.returned.into_iter().for_each(|id| self.gateway.departed.remove(id));
        self.drain();
    }

    fn drain(&mut self) {
        let drained = self.xsps.iter().filter(|xsp| xsp.is_drained).map(|xsp| Whom::Endpoint(xsp.address())).collect();
        self.gateway.roster.drain(&Drained::new(drained), &Drained::default());
    }

    /// Forgets the departed endpoints that nobody will miss.
    pub(super) fn sweep(&mut self) {
        let ids: Vec<_> = self.gateway.departed.ids().collect();
        for id in ids {
            let xsp = self.places[&id];
            let is_held = self.exchanges.values().any(|exchange| exchange.xsp == xsp)
                || self.requests.values().any(|request| request.holds(id))
                || self.clients.table.open_at(id) > 0;
            if is_held {
                self.gateway.departed.used(id, self.now);
            } else if self.gateway.departed.is_done_with(id, &self.gateway.health, self.now) {
                self.gateway.roster.forget(id);
                self.gateway.departed.remove(id);
                self.gateway.health.forget(id);
                self.gateway.pace.forget(id);
                self.judge.forget(id);
            }
        }
    }

    /// No more weather: all are well, and named, nobody is drained, and nobody looks but for a reason.
    pub(super) fn calm(&mut self) {
        for xsp in 0..self.xsps.len() {
            self.change(xsp, State::Well);
            self.xsps[xsp].is_named = true;
            self.xsps[xsp].is_drained = false;
        }
        self.discover();
        self.short_until = self.now;
        self.setup.look_when_idle = None;
    }

    /// The id by which the XSP is known now, if it is, and whether it may be picked.
    pub(super) fn member(&self, xsp: usize) -> Option<&Member> {
        self.gateway.roster.at(self.xsps[xsp].address())
    }

    /// Whether DNS names it, so that the gateway looks after it.
    pub(super) fn is_expected(&self, xsp: usize) -> bool {
        self.member(xsp).is_some_and(|member| member.presence() != Presence::Departed)
    }

    /// A time that is random and so long on average.
    pub(super) fn exponential(&mut self, average: Duration) -> Duration {
        let chance: f64 = self.rng.random_range(0.000_1..1.0);
        average.mul_f64(-chance.ln())
    }
}
