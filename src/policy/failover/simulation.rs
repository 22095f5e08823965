//! Whole farms in virtual time, from a seed: clients ask, XSPs die, hang, limp and come back, DNS changes, and after each step the
//! machine, health and channels are held against what they promise. Separate from the examples, which say one rule each: here
//! the rules meet.
//!
//! Nothing of the decisions is written a second time: [`driver`] does what the shell does (`proxy::forward`, `farm`), [`xsp`] and
//! [`weather`] are the world, [`clients`] are who asks, and [`judge`] knows what must never happen.

mod clients;
mod deadlines;
mod driver;
mod endings;
mod judge;
mod looks;
mod model;
mod mutation;
mod picks;
mod setup;
mod tests;
mod weather;
mod xsp;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;

use self::clients::{Clients, Request};
use self::judge::Judge;
use self::mutation::Mutation;
use self::setup::Setup;
use self::xsp::{Exchange, Xsp};
use super::{FarmView, News};
use crate::policy::departed::Departed;
use crate::policy::endpoint::{EndpointId, Roster};
use crate::policy::health::Health;
use crate::policy::pace::Pace;

/// How often the shell looks whether time has brought something about.
const TICK: Duration = Duration::from_millis(100);

/// A farm, its clients and its XSPs.
struct Simulation {
    seed: u64,
    step: u64,
    start: Instant,
    now: Instant,
    rng: StdRng,
    setup: Setup,
    mutation: Option<Mutation>,
    queue: BinaryHeap<Reverse<(Instant, u64, What)>>,
    serial: u64,
    gateway: Gateway,
    xsps: Vec<Xsp>,
    /// Which XSP each id has ever meant.
    places: BTreeMap<EndpointId, usize>,
    exchanges: BTreeMap<u64, Exchange>,
    requests: BTreeMap<u64, Request>,
    clients: Clients,
    judge: Judge,
    /// Until when the gateway has no sockets left.
    short_until: Instant,
    /// How many requests are still to come.
    to_come: u64,
    is_ticking_soon: bool,
}

/// What has happened in a simulation in which nothing was wrong.
#[derive(Debug, PartialEq)]
struct Played {
    steps: u64,
    /// How often endpoints have changed in each way, and been picked for each reason, and requests given up.
    counts: BTreeMap<&'static str, u64>,
}

/// What the real one keeps under a farm's lock.
struct Gateway {
    roster: Roster,
    departed: Departed,
    health: Health,
    pace: Pace,
    rng: StdRng,
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// A client asks for something.
    Arrive,
    /// An exchange comes to its end, unless its XSP has come to think otherwise.
    End { exchange: u64, version: u32 },
    /// Something may be due for a request.
    Wake(u64),
    /// The request that waits for a place under this number may have one.
    Knock(u64),
    /// A client leaves.
    Leave(u64),
    /// The last of a request's body is there.
    Body(u64),
    /// A channel's client closes it.
    Close(u64),
    /// The shell looks what time has brought about, again and again.
    Tick,
    /// The same, because something has changed.
    TickSoon,
    /// Departed endpoints are forgotten.
    Sweep,
    /// The world changes.
    Weather,
    /// An XSP is well again, unless something else has become of it.
    Recover { xsp: usize, version: u32 },
}

impl Simulation {
    fn new(seed: u64, start: Instant, mutation: Option<Mutation>) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let setup = Setup::random(&mut rng);
        let xsps = setup.sites.iter().enumerate().map(|(number, &site)| Xsp::new(number, site, start)).collect();
        let gateway = Gateway {
            roster: Roster::new(),
            departed: Departed::default(),
            health: Health::new(start, setup.max_in_flight),
            pace: Pace::new(setup.rate),
            rng: StdRng::seed_from_u64(seed ^ 1),
        };
        let mut simulation = Self {
            seed,
            step: 0,
            start,
            now: start,
            rng,
            clients: Clients::new(setup.users),
            judge: Judge::new(&setup),
            setup,
            mutation,
            queue: BinaryHeap::new(),
            serial: 0,
            gateway,
            xsps,
            places: BTreeMap::new(),
            exchanges: BTreeMap::new(),
            requests: BTreeMap::new(),
            short_until: start,
            to_come: 0,
            is_ticking_soon: false,
        };
        simulation.discover();
        simulation
    }

    /// Lets that many requests come, waits until all is quiet, and returns what has been played, or what was wrong.
    fn run(mut self, requests: u64) -> Result<Played, String> {
        self.to_come = requests;
        for what in [What::Arrive, What::Tick, What::Sweep, What::Weather] {
            self.after(Duration::ZERO, what);
        }
        while self.to_come > 0 || !self.requests.is_empty() {
            self.next();
            self.judge.verdict()?;
        }
        self.calm();
        let quiet = self.now + 3 * self.setup.rules.block_for + Duration::from_secs(10);
        while self.now < quiet {
            self.next();
            self.judge.verdict()?;
        }
        self.judge_the_end();
        self.judge.verdict().map(|()| Played { steps: self.step, counts: self.judge.counts })
    }

    fn next(&mut self) {
        let Some(Reverse((at, _, what))) = self.queue.pop() else { return };
        self.step += 1;
        self.now = at;
        match what {
            What::Arrive => self.arrive(),
            What::End { exchange, version } => self.end(exchange, version),
            What::Wake(request) => self.wake(request),
            What::Knock(number) => self.knock(number),
            What::Leave(request) => self.leave(request),
            What::Body(request) => self.body_ends(request),
            What::Close(channel) => self.close(channel),
            What::Tick => {
                self.tick();
                self.after(TICK, What::Tick);
            }
            What::TickSoon => {
                self.is_ticking_soon = false;
                self.tick();
            }
            What::Sweep => {
                self.sweep();
                self.after(Duration::from_secs(1), What::Sweep);
            }
            What::Weather => self.weather(),
            What::Recover { xsp, version } => self.recover(xsp, version),
        }
        self.judge_standings();
    }

    fn at(&mut self, at: Instant, what: What) {
        self.serial += 1;
        self.queue.push(Reverse((at, self.serial, what)));
    }

    fn after(&mut self, time: Duration, what: What) {
        self.at(self.now + time, what);
    }

    /// Lets `act` decide with the farm as it is. What has come of it is to be judged.
    fn with_farm<T>(&mut self, act: impl FnOnce(&mut FarmView<'_, StdRng>) -> T) -> (T, News) {
        let mut news = News::new();
        let Gateway { roster, departed, health, pace, rng } = &mut self.gateway;
        let result = act(&mut FarmView { roster, departed, health, pace, rng, now: self.now, news: &mut news });
        for number in self.gateway.health.load.take_knocks() {
            self.after(Duration::ZERO, What::Knock(number));
        }
        if !news.is_empty() && !self.is_ticking_soon {
            self.is_ticking_soon = true;
            self.after(Duration::ZERO, What::TickSoon);
        }
        (result, news)
    }

    /// Notes that something is wrong unless `holds`.
    fn require(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            let Self { seed, step, start, now, .. } = *self;
            let at = now.saturating_duration_since(start);
            self.judge.found(format!("seed {seed}, step {step}, after {at:?}: {}", what()));
        }
    }
}
