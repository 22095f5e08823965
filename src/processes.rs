//! The processes that share this one's place: those that it has replaced, and the one that has replaced it. Separate from what
//! is said between them, because status, metrics and control calls want to know of them at any time, and wait for none.

use std::collections::HashMap;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rustix::time::{ClockId, Timespec, clock_gettime};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use crate::drain::Phase;
use crate::farm::Endpoint;
use crate::handover::{Answered, Message, Process, Talk};
use crate::lock::Locked;

/// How long others may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// Numbers that are older than that are not what is there now.
pub const STALE: Duration = Duration::from_secs(5);

/// All that is known of them.
#[derive(Debug)]
pub struct Processes {
    state: Locked<State>,
    number: AtomicU64,
    started: f64,
    /// Whoever stops this process waits here.
    pub stop: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    /// The one whose place this one has taken.
    before: Option<Before>,
    /// Where the one that has taken this one's place is told, if it understands.
    after: Option<mpsc::UnboundedSender<Message>>,
    /// What the ones before have said, and when.
    heard: Vec<(Process, Instant)>,
    /// Where they have streams, and how many, event channels aside.
    streams: HashMap<u64, (Arc<Endpoint>, i64)>,
    asked: HashMap<u64, mpsc::UnboundedSender<Answered>>,
    phase: Phase,
    since: f64,
    ends: Option<f64>,
}

#[derive(Debug)]
struct Before {
    name: String,
    /// `None`: it is of an earlier version, and understands nothing.
    sender: Option<mpsc::UnboundedSender<Message>>,
}

/// A question to all processes before this one.
#[derive(Debug)]
pub struct Asking {
    processes: Arc<Processes>,
    number: u64,
    /// Who has not answered.
    silent: Vec<u32>,
    /// Who can't be asked.
    mute: Option<String>,
    answers: mpsc::UnboundedReceiver<Answered>,
}

impl Processes {
    /// This one alone, which begins now.
    pub fn new() -> Arc<Self> {
        let started = now();
        let state = State {
            before: None,
            after: None,
            heard: Vec::new(),
            streams: HashMap::new(),
            asked: HashMap::new(),
            phase: Phase::Running,
            since: started,
            ends: None,
        };
        Arc::new(Self {
            state: Locked::new(state),
            number: AtomicU64::new(rand::random()),
            started,
            stop: Arc::default(),
        })
    }

    /// When this one began, in seconds since 1970.
    pub const fn started(&self) -> f64 {
        self.started
    }

    /// This phase of this process ends after so long at the latest.
    pub fn ends_in(&self, time: Duration) {
        self.state.with(|state| state.ends = Some(now() + time.as_secs_f64()));
    }

    /// Since when this process has been in `phase`, as far as somebody has looked, and when that ends.
    pub fn since(&self, phase: Phase) -> (f64, Option<f64>) {
        self.state.with(|state| {
            if state.phase != phase {
                (state.phase, state.since) = (phase, now());
            }
            (state.since, state.ends)
        })
    }

    /// This one has taken the place of `name`, which hears over `sender`, if it understands at all.
    pub fn has_before(&self, name: &str, sender: Option<mpsc::UnboundedSender<Message>>) {
        self.state.with(|state| state.before = Some(Before { name: name.to_owned(), sender }));
    }

    /// Another one has taken this one's place, and hears over `sender`.
    pub fn has_after(&self, sender: mpsc::UnboundedSender<Message>) {
        self.state.with(|state| state.after = Some(sender));
    }

    /// Whether somebody is told what this one holds.
    pub fn has_listener(&self) -> bool {
        self.state.with(|state| state.after.is_some())
    }

    /// Those before this one, as they have said, newest first.
    pub fn heard(&self) -> Vec<Process> {
        self.state.with(|state| {
            let heard = state.heard.iter();
            heard
                .map(|(process, at)| Process { heard: process.heard + at.elapsed().as_secs_f64(), ..process.clone() })
                .collect()
        })
    }

    /// The one before this one of which nothing, or nothing new, is known; `None`: there is no such.
    pub fn unheard(&self) -> Option<String> {
        let named = self.state.with(|state| {
            let before = state.before.as_ref()?;
            if before.sender.is_none() || state.heard.is_empty() { Some(before.name.clone()) } else { None }
        });
        let stale = |process: &Process| process.heard > STALE.as_secs_f64();
        named.or_else(|| self.heard().iter().find(|process| stale(process)).map(|old| format!("process {}", old.pid)))
    }

    /// The ones before have said what they hold; `find` finds an endpoint by its farm's name and its address.
    pub fn hear(&self, said: Vec<Process>, find: impl Fn(&crate::handover::Held) -> Option<Arc<Endpoint>>) {
        let mut streams: HashMap<u64, (Arc<Endpoint>, i64)> = HashMap::new();
        for held in said.iter().flat_map(|process| &process.held) {
            let [_, cti, passthrough] = held.streams;
            if let Some(endpoint) = find(held) {
                let count = i64::try_from(cti + passthrough).unwrap_or(i64::MAX);
                streams.entry(endpoint.key()).or_insert_with(|| (endpoint, 0)).1 += count;
            }
        }
        let at = Instant::now();
        self.replace(said.into_iter().map(|process| (process, at)).collect(), streams);
    }

    /// The one before has ended, and those before it are heard of no more.
    pub fn gone(&self) {
        self.state.with(|state| state.before = None);
        self.replace(Vec::new(), HashMap::new());
    }

    /// The gauges of endpoints count what all processes have there.
    fn replace(&self, heard: Vec<(Process, Instant)>, streams: HashMap<u64, (Arc<Endpoint>, i64)>) {
        let old = self.state.with(|state| {
            state.heard = heard;
            std::mem::replace(&mut state.streams, streams.clone())
        });
        for (key, (endpoint, count)) in &streams {
            let before = old.get(key).map_or(0, |(_, before)| *before);
            endpoint.metrics().streams.add(count - before);
        }
        for (_, (endpoint, before)) in old.iter().filter(|(key, _)| !streams.contains_key(key)) {
            endpoint.metrics().streams.sub(*before);
        }
    }

    /// Tells the one before this one, if it understands.
    pub fn tell_before(&self, talk: Talk) {
        self.state.with(|state| {
            if let Some(sender) = state.before.as_ref().and_then(|before| before.sender.as_ref()) {
                // The error says that it has gone.
                sender.send(Message::Talk(talk)).ok();
            }
        });
    }

    /// Tells the one after this one, if there is one that understands.
    pub fn tell_after(&self, talk: Talk) {
        self.state.with(|state| {
            if let Some(sender) = &state.after {
                // The error says that it has gone.
                sender.send(Message::Talk(talk)).ok();
            }
        });
    }

    /// Asks those before this one what `question` makes of a number.
    pub fn ask(self: &Arc<Self>, question: impl FnOnce(u64) -> Talk) -> Asking {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let (sender, answers) = mpsc::unbounded_channel();
        let (silent, mute) = self.state.with(|state| {
            state.asked.insert(number, sender);
            let can_hear = state.before.as_ref().is_some_and(|before| before.sender.is_some());
            let mute = state.before.as_ref().filter(|_| !can_hear).map(|before| before.name.clone());
            (state.heard.iter().map(|(process, _)| process.pid).collect(), mute)
        });
        self.tell_before(question(number));
        Asking { processes: Arc::clone(self), number, silent, mute, answers }
    }

    /// A process has answered.
    pub fn answered(&self, number: u64, answered: Answered) {
        self.state.with(|state| {
            if let Some(asking) = state.asked.get(&number) {
                // The error says that nobody waits any more.
                asking.send(answered).ok();
            }
        });
    }
}

impl Asking {
    /// What has been answered within a moment, and what there is to say of those who have not: `silence` is what they do.
    pub async fn answers(mut self, silence: &str) -> (Vec<Answered>, Vec<String>) {
        let mut all = Vec::new();
        let gathering = async {
            while !self.silent.is_empty()
                && let Some(answered) = self.answers.recv().await
            {
                self.silent.retain(|pid| *pid != answered.pid);
                all.push(answered);
            }
        };
        // Those who have not answered by then are told of.
        drop(timeout(PATIENCE, gathering).await);
        let silent = self.silent.iter().map(|pid| format!("process {pid} {silence}"));
        let mute = self.mute.iter().map(|name| format!("{name} can't be asked, since its version is older"));
        let unknown = silent.chain(mute).collect();
        (all, unknown)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let asked = self.processes.state.with(|state| state.asked.remove(&self.number));
        drop(asked);
    }
}

/// In seconds since 1970.
pub fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// How long this machine has run, in seconds: the same for all processes, whatever becomes of the clock.
pub fn uptime() -> f64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Monotonic);
    tv_sec as f64 + tv_nsec as f64 / 1e9
}

/// This process.
pub fn own() -> u32 {
    process::id()
}
