//! Who asks: sessions with and without cookies, event channels, and what a request is. Separate from the driver, which has requests
//! answered.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::RngExt;
use smallvec::SmallVec;

use super::xsp::{Path, State};
use super::{Simulation, What};
use crate::broadworks::channel::ChannelId;
use crate::broadworks::interface::Interface;
use crate::policy::channels::{self, Channels, Home};
use crate::policy::endpoint::{EndpointId, Presence};
use crate::policy::failover::{Body, Failover, LONGEST_TURN, Target, Terms};
use crate::policy::fault::Fault;
use crate::policy::health::Claim;
use crate::policy::health::load::Precedence;
use crate::policy::plan::Pick;

/// All clients, and what the gateway remembers of their channels.
pub(super) struct Clients {
    /// Where each user's cookie says that the session is.
    pub(super) homes: Vec<Option<EndpointId>>,
    /// What the gateway knows of channels.
    pub(super) table: Channels<EndpointId>,
    /// The streams that the gateway passes on.
    pub(super) streams: BTreeMap<u64, Stream>,
}

/// One event channel.
pub(super) struct Stream {
    stream: channels::Stream,
    xsp: usize,
    pub(super) id: EndpointId,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// GET: safe, and may be sent again.
    Safe,
    /// PUT, where the operator lets it be sent again.
    Idempotent,
    /// POST: carried out once at most.
    Unsafe,
    /// POST that opens a channel.
    Open,
    /// What names a channel; as the driver knows it, of that number.
    Named(u64),
    /// No HTTP.
    Bytes,
}

impl Kind {
    pub(super) fn is_safe(self) -> bool {
        matches!(self, Self::Safe | Self::Bytes)
    }

    pub(super) fn is_replayable(self) -> bool {
        matches!(self, Self::Safe | Self::Idempotent | Self::Bytes)
    }
}

/// A request on its way.
pub(super) struct Request {
    pub(super) kind: Kind,
    pub(super) user: usize,
    pub(super) path: Path,
    /// The one XSP at which its path is odd; `None`: it is so at all.
    odd_at: Option<usize>,
    /// Where the session was when it came.
    pub(super) home: Option<EndpointId>,
    pub(super) target: Target,
    pub(super) terms: Terms,
    pub(super) machine: Option<Failover>,
    pub(super) body_at: Instant,
    pub(super) is_large: bool,
    pub(super) attempts: SmallVec<[Attempt; 3]>,
    pub(super) held: Option<Pick>,
    /// When it has asked to be woken.
    pub(super) wake: Option<Instant>,
    pub(super) carried_out: u32,
    pub(super) is_over: bool,
    /// It has gone elsewhere than home, and rightly so.
    pub(super) may_move: bool,
    /// Some endpoint has been picked for it.
    pub(super) is_picked_for: bool,
}

/// One attempt of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) id: EndpointId,
    pub(super) trial: Option<Claim>,
    pub(super) overdue: Option<u64>,
    pub(super) has_been_overdue: bool,
    pub(super) exchange: u64,
    /// When it was last noticed that it takes long.
    pub(super) noted: Instant,
    pub(super) begun: Instant,
    pub(super) runs: bool,
    /// Whether the XSP has got any of the request; known once it has ended.
    pub(super) was_delivered: bool,
}

impl Request {
    pub(super) fn path_at(&self, xsp: usize) -> Path {
        if self.odd_at.is_none_or(|odd| odd == xsp) { self.path } else { Path::Plain }
    }

    pub(super) fn holds(&self, id: EndpointId) -> bool {
        self.held.is_some_and(|pick| pick.id == id)
            || self.attempts.iter().any(|attempt| attempt.runs && attempt.id == id)
    }

    pub(super) fn is_running(&self) -> bool {
        self.attempts.iter().any(|attempt| attempt.runs)
    }
}

impl Clients {
    pub(super) fn new(users: usize) -> Self {
        Self {
            homes: vec![None; users],
            table: Channels::new(1_000, Duration::from_secs(20)),
            streams: BTreeMap::new(),
        }
    }
}

fn name(channel: u64) -> ChannelId {
    ChannelId::new(format!("{channel}").as_bytes()).expect("a number is a name")
}

impl Simulation {
    /// A request comes, and the next one later.
    pub(super) fn arrive(&mut self) {
        if self.to_come == 0 {
            return;
        }
        let user = self.rng.random_range(0..self.setup.users);
        let path = self.path();
        self.ask(user, path);
        let pause = self.exponential(self.setup.pause);
        self.after(pause, What::Arrive);
    }

    fn path(&mut self) -> Path {
        if self.rng.random_range(0..100) >= self.setup.odd {
            return Path::Plain;
        }
        match self.rng.random_range(0..10) {
            0..3 => Path::Slow(Duration::from_millis(self.rng.random_range(500..6_000))),
            3 | 4 => Path::ServerError,
            5 => Path::Garbage,
            6 => Path::Reset,
            7 => Path::Nothing,
            8 => Path::Redirected,
            _ => Path::Huge,
        }
    }

    /// That user asks for something that is answered so.
    pub(super) fn ask(&mut self, user: usize, path: Path) {
        self.to_come = self.to_come.saturating_sub(1);
        let has_cookie = !user.is_multiple_of(5);
        if self.rng.random_bool(0.01) {
            self.clients.homes[user] = None;
        }
        let home = self.clients.homes[user].filter(|id| has_cookie && self.gateway.roster.get(*id).is_some());
        let (kind, target) = match self.rng.random_range(0..100) {
            _ if self.setup.is_bytes => (Kind::Bytes, Target::Farm(None)),
            0..15 => (Kind::Unsafe, Target::Farm(home)),
            15..20 => (Kind::Idempotent, Target::Farm(home)),
            25..29 => {
                let is_present =
                    |id: &EndpointId| self.gateway.roster.get(*id).is_some_and(|at| at.presence() == Presence::Present);
                (Kind::Open, Target::NewChannel(home.filter(is_present)))
            }
            29..40 => match self.named_channel(home) {
                Some(named) => named,
                // The gateway answers with 404 by itself.
                None => return,
            },
            _ => (Kind::Safe, Target::Farm(home)),
        };
        let (path, odd_at) = if kind == Kind::Bytes {
            (Path::Plain, None)
        } else {
            (path, self.rng.random_bool(0.3).then(|| self.rng.random_range(0..self.xsps.len())))
        };
        let body = self.rng.random_range(0..100);
        let body_at = match kind {
            Kind::Idempotent | Kind::Unsafe | Kind::Open if body < 20 => {
                self.now + Duration::from_millis(self.rng.random_range(1..1_500))
            }
            Kind::Idempotent | Kind::Unsafe | Kind::Open | Kind::Safe | Kind::Bytes | Kind::Named(_) => self.now,
        };
        let is_large = !kind.is_safe() && (15..22).contains(&body);
        let terms = Terms {
            tries: self.setup.tries,
            rules: self.setup.rules,
            replayable: kind.is_replayable(),
            safe: kind.is_safe(),
            until: (kind == Kind::Bytes).then(|| self.now + Duration::from_secs(4)),
            interface: match kind {
                Kind::Bytes => None,
                Kind::Open | Kind::Named(_) => Some(Interface::XsiEvents),
                Kind::Safe | Kind::Idempotent | Kind::Unsafe => Some(Interface::XsiActions),
            },
            precedence: match (kind, target) {
                (Kind::Bytes | Kind::Open | Kind::Named(_), _) => None,
                (Kind::Safe, Target::Farm(None)) => Some(Precedence::NewSession),
                (Kind::Safe, _) => Some(Precedence::Safe),
                (Kind::Idempotent | Kind::Unsafe, _) => Some(Precedence::Vital),
            },
        };
        let request = Request {
            kind,
            user,
            path,
            odd_at,
            home: match target {
                Target::Farm(home) | Target::NewChannel(home) => home,
                Target::Channel(_) => None,
            },
            target,
            terms,
            machine: None,
            body_at,
            is_large,
            attempts: SmallVec::new(),
            held: None,
            wake: None,
            carried_out: 0,
            is_over: false,
            may_move: false,
            is_picked_for: false,
        };
        self.start_request(request);
    }

    fn start_request(&mut self, request: Request) {
        self.serial += 1;
        let (number, body_at) = (self.serial, request.body_at);
        if self.rng.random_bool(0.05) {
            let patience = Duration::from_millis(self.rng.random_range(100..2_500));
            self.after(patience, What::Leave(number));
        }
        if body_at > self.now {
            self.at(body_at, What::Body(number));
        }
        self.judge.asked(self.now);
        self.begin_request(number, request, self.now + LONGEST_TURN);
    }

    /// A channel that some client knows, and where what names it belongs; `None`: it is lost, or there is none.
    fn named_channel(&mut self, home: Option<EndpointId>) -> Option<(Kind, Target)> {
        let count = self.clients.streams.len();
        if count == 0 {
            return Some((Kind::Safe, Target::Farm(home)));
        }
        let which = self.rng.random_range(0..count);
        let (&number, _) = self.clients.streams.iter().nth(which)?;
        match self.clients.table.home(&name(number), self.now) {
            Home::At(id) => Some((Kind::Named(number), Target::Channel(id))),
            Home::Unknown => Some((Kind::Unsafe, Target::Farm(home))),
            Home::Lost => None,
        }
    }

    /// An XSP has opened a channel.
    pub(super) fn open_channel(&mut self, id: EndpointId) {
        self.serial += 1;
        let (number, xsp) = (self.serial, self.places[&id]);
        if let Some(stream) = self.clients.table.opened(name(number), id, self.now) {
            self.clients.streams.insert(number, Stream { stream, xsp, id });
            let life = self.exponential(Duration::from_secs(30));
            self.after(life, What::Close(number));
        }
    }

    pub(super) fn close(&mut self, channel: u64) {
        if let Some(stream) = self.clients.streams.remove(&channel) {
            self.clients.table.closed(&stream.stream);
        }
    }

    /// The gateway has found out that nobody listens where the channel was.
    pub(super) fn cut_channel(&mut self, channel: u64) {
        if let Some(stream) = self.clients.streams.get(&channel) {
            self.clients.table.lost(&stream.stream, self.now);
        }
    }

    /// The XSP has changed: one whose process has died ends its streams, and what it said of its channels is void.
    pub(super) fn lose_channels(&mut self, xsp: usize, state: State) {
        if state != State::Dead(Fault::Refused) {
            return;
        }
        let there = self.clients.streams.values().filter(|stream| stream.xsp == xsp);
        let streams: Vec<_> = there.map(|stream| stream.stream.clone()).collect();
        streams.iter().for_each(|stream| self.clients.table.lost(stream, self.now));
    }

    /// What is there of the request's body.
    pub(super) fn body(&self, request: &Request) -> Body {
        let is_sent = |attempt: &Attempt| attempt.was_delivered || attempt.runs && self.is_delivered(attempt.exchange);
        let is_let_go = request.is_large && request.attempts.iter().any(is_sent);
        Body { is_whole: !is_let_go, is_complete: self.now >= request.body_at }
    }
}
