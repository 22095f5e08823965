//! The simulated XSPs: what becomes of a request that is sent to one. Separate from the weather, which says when they change.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::RngExt;

use super::{Simulation, What};
use crate::policy::endpoint::{Endpoint, EndpointId, Tier, Weight};
use crate::policy::fault::{Fault, HandshakeFault};
use crate::policy::health::Order;

/// One XSP.
#[derive(Debug)]
pub(super) struct Xsp {
    pub(super) number: usize,
    pub(super) site: u16,
    pub(super) state: State,
    /// Counts the changes of its state.
    pub(super) version: u32,
    /// When it became well again; at first, when it was started.
    pub(super) well_since: Instant,
    pub(super) is_named: bool,
    pub(super) is_drained: bool,
    /// Connections that idle in the gateway's pool, and whether it has closed them.
    pub(super) idle: u32,
    pub(super) is_idle_stale: bool,
}

/// How it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Well,
    /// It lives, and takes its time.
    Slow,
    /// Nothing can be had from it, for this reason.
    Dead(Fault),
    /// It takes connections, and answers nothing.
    Hung,
    /// It answers everything with 503.
    Failing,
    /// What it says can't be read.
    Babbling,
    /// It resets every connection once it has the request.
    Resetting,
}

impl State {
    /// Whether a look would find it so.
    pub(super) fn is_bad(self) -> bool {
        !matches!(self, Self::Well | Self::Slow)
    }
}

/// What an exchange comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Answer(u16),
    /// An answer that sends the request to another endpoint.
    Redirect(EndpointId),
    Fault(Fault),
}

/// What is asked, and how XSPs take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    Plain,
    Slow(Duration),
    ServerError,
    Garbage,
    Reset,
    Nothing,
    Huge,
    Redirected,
}

/// Something that is under way at an XSP.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchange {
    pub(super) owner: Owner,
    pub(super) xsp: usize,
    pub(super) path: Path,
    /// When the XSP has the request, if it gets it.
    pub(super) delivered_at: Instant,
    /// Whether it carries it out then.
    pub(super) is_carried_out: bool,
    /// How it will end, and when; `None`: the XSP is silent.
    pub(super) end: Option<(Instant, Outcome)>,
    /// Counts the changes of `end`.
    pub(super) version: u32,
    /// When nobody waits for it any more; `None`: the machine says so.
    pub(super) deadline: Option<Instant>,
}

/// Who waits for it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owner {
    Attempt { request: u64, index: usize },
    Look(Order),
}

impl Xsp {
    pub(super) fn new(number: usize, site: u16, now: Instant) -> Self {
        Self {
            number,
            site,
            state: State::Well,
            version: 0,
            well_since: now,
            is_named: true,
            is_drained: false,
            idle: 0,
            is_idle_stale: false,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        let number = u8::try_from(self.number).expect("a farm has few XSPs");
        ([10, 0, 0, number], 443).into()
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        let tier = Tier { site: self.site, priority: 0 };
        Endpoint { address: self.address(), tier, weight: Weight::Equal, target: None }
    }
}

impl Simulation {
    fn span(&mut self, microseconds: std::ops::Range<u64>) -> Duration {
        Duration::from_micros(self.rng.random_range(microseconds))
    }

    /// Begins an exchange over a connection of its own.
    pub(super) fn dial(&mut self, owner: Owner, xsp: usize, path: Path, deadline: Option<Instant>) {
        let way = self.span(500..6_000);
        let is_short = self.now < self.short_until;
        let delivered_at = self.now + way;
        let (end, is_carried_out) = match self.xsps[xsp].state {
            _ if is_short => (Some((self.now + Duration::from_micros(50), Outcome::Fault(Fault::Local))), false),
            State::Dead(fault) => (Some((self.now + self.takes(fault), Outcome::Fault(fault))), false),
            State::Hung => (None, true),
            State::Well | State::Slow | State::Failing | State::Babbling | State::Resetting => {
                (self.answer(xsp, path, delivered_at), true)
            }
        };
        // What fails before it is sent is never delivered.
        let delivered_at = if is_carried_out { delivered_at } else { self.now + Duration::from_secs(86_400) };
        let exchange = Exchange { owner, xsp, path, delivered_at, is_carried_out, end: None, version: 0, deadline };
        self.register(exchange, end);
    }

    /// Begins an exchange over a connection that has idled, which the XSP may have closed.
    pub(super) fn reuse(&mut self, owner: Owner, xsp: usize, path: Path) {
        self.xsps[xsp].idle -= 1;
        let is_stale = self.xsps[xsp].is_idle_stale;
        let end = match self.xsps[xsp].state {
            _ if is_stale => Some((self.now + self.span(200..3_000), Outcome::Fault(Fault::Stale))),
            State::Dead(_) | State::Hung => None,
            State::Well | State::Slow | State::Failing | State::Babbling | State::Resetting => {
                self.answer(xsp, path, self.now)
            }
        };
        let exchange = Exchange {
            owner,
            xsp,
            path,
            delivered_at: self.now,
            is_carried_out: !is_stale && !matches!(self.xsps[xsp].state, State::Dead(_)),
            end: None,
            version: 0,
            deadline: None,
        };
        self.register(exchange, end);
    }

    fn register(&mut self, exchange: Exchange, end: Option<(Instant, Outcome)>) {
        self.serial += 1;
        let number = self.serial;
        if let Owner::Attempt { request, index } = exchange.owner
            && let Some(request) = self.requests.get_mut(&request)
        {
            request.attempts[index].exchange = number;
        }
        self.exchanges.insert(number, exchange);
        self.set_end(number, end);
    }

    /// How the XSP takes what it has got at `at`, as it is now.
    pub(super) fn answer(&mut self, xsp: usize, path: Path, at: Instant) -> Option<(Instant, Outcome)> {
        let state = self.xsps[xsp].state;
        let takes = if state == State::Slow { self.span(50_000..450_000) } else { self.span(1_000..40_000) };
        let outcome = match (state, path) {
            (State::Failing, _) => Outcome::Answer(503),
            (State::Babbling, _) => Outcome::Fault(Fault::Malformed),
            (State::Resetting, _) => Outcome::Fault(Fault::Reset),
            (_, Path::Nothing) => return None,
            (_, Path::Slow(time)) => return Some((at + time, Outcome::Answer(200))),
            (_, Path::ServerError) => Outcome::Answer(503),
            (_, Path::Garbage) => Outcome::Fault(Fault::Malformed),
            (_, Path::Reset) => Outcome::Fault(Fault::Closed),
            (_, Path::Huge) => Outcome::Fault(Fault::TooLarge),
            (_, Path::Redirected) => self.elsewhere(xsp).map_or(Outcome::Answer(302), Outcome::Redirect),
            (_, Path::Plain) => Outcome::Answer(if self.rng.random_bool(0.05) { 404 } else { 200 }),
        };
        Some((at + takes, outcome))
    }

    fn elsewhere(&mut self, xsp: usize) -> Option<EndpointId> {
        let others = self.gateway.roster.present().filter(|member| self.places[&member.id()] != xsp);
        others.map(crate::policy::endpoint::Member::id).next()
    }

    /// Has the exchange end so, or with its deadline.
    pub(super) fn set_end(&mut self, number: u64, end: Option<(Instant, Outcome)>) {
        let Some(exchange) = self.exchanges.get_mut(&number) else { return };
        let end = match (end, exchange.deadline) {
            (Some((at, outcome)), Some(deadline)) if at <= deadline => Some((at, outcome)),
            (_, Some(deadline)) => Some((deadline, Outcome::Fault(Fault::Timeout))),
            (end, None) => end,
        };
        exchange.end = end;
        exchange.version += 1;
        let version = exchange.version;
        if let Some((at, _)) = end {
            self.at(at, What::End { exchange: number, version });
        }
    }

    /// The XSP has become another one: what is under way there ends otherwise.
    pub(super) fn change(&mut self, xsp: usize, state: State) {
        let was = std::mem::replace(&mut self.xsps[xsp].state, state);
        self.xsps[xsp].version += 1;
        if was.is_bad() && !state.is_bad() {
            self.xsps[xsp].well_since = self.now;
        }
        let under_way: Vec<u64> =
            self.exchanges.iter().filter(|(_, exchange)| exchange.xsp == xsp).map(|(&number, _)| number).collect();
        for number in under_way {
            self.change_one(number, was, state);
        }
        if matches!(state, State::Dead(_)) || matches!(was, State::Dead(_)) {
            self.xsps[xsp].is_idle_stale = self.xsps[xsp].idle > 0;
        }
        self.lose_channels(xsp, state);
    }

    fn change_one(&mut self, number: u64, was: State, state: State) {
        let exchange = self.exchanges[&number];
        let is_delivered = exchange.delivered_at <= self.now;
        let soon = self.now + Duration::from_micros(300);
        match state {
            State::Dead(Fault::Refused) if is_delivered => {
                self.set_end(number, Some((soon, Outcome::Fault(Fault::Reset))));
            }
            State::Dead(fault) if !is_delivered => {
                let exchange = self.exchanges.get_mut(&number).expect("it has just been there");
                exchange.delivered_at = self.now + Duration::from_secs(86_400);
                exchange.is_carried_out = false;
                let takes = self.takes(fault);
                self.set_end(number, Some((self.now + takes, Outcome::Fault(fault))));
            }
            State::Dead(_) => self.set_end(number, None),
            // What has failed before it was sent fails anyway.
            State::Hung if exchange.is_carried_out => self.set_end(number, None),
            State::Hung => {}
            State::Well | State::Slow | State::Failing | State::Babbling | State::Resetting => {
                if was == State::Hung && exchange.is_carried_out {
                    let end = self.answer(exchange.xsp, exchange.path, self.now.max(exchange.delivered_at));
                    self.set_end(number, end);
                }
            }
        }
    }

    /// How long it takes to find out that nothing can be had.
    fn takes(&self, fault: Fault) -> Duration {
        let is_silence = matches!(fault, Fault::ConnectTimeout | Fault::HandshakeTimeout);
        if is_silence { self.setup.connect_timeout } else { Duration::from_micros(300) }
    }

    /// A fault that means that nothing can be had.
    pub(super) fn death(&mut self) -> Fault {
        let deaths = [
            Fault::Refused,
            Fault::Refused,
            Fault::Refused,
            Fault::ConnectTimeout,
            Fault::ConnectTimeout,
            Fault::Unreachable,
            Fault::HandshakeTimeout,
            Fault::Handshake(HandshakeFault::NotTls),
            Fault::Handshake(HandshakeFault::CertificateExpired),
        ];
        deaths[self.rng.random_range(0..deaths.len())]
    }
}
