//! The processes that share this one's place: those that it has replaced, and the one that has replaced it. Separate from what
//! is said between them, because status, metrics and control calls want to know of them at any time, and wait for none.

use std::collections::HashMap;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::time::{ClockId, Timespec, clock_gettime};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use crate::drain::Phase;
use crate::farm::Endpoint;
use crate::handover::{Answered, Fluency, Message, Process, Talk};
use crate::lock::Locked;
use crate::policy::streams::StreamKind;

/// How long others may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// How long the last word of a process may take to leave.
const PARTING: Duration = Duration::from_millis(200);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Numbers that are older than that are not what is there now.
pub const STALE: Duration = Duration::from_secs(5);

/// All that is known of them.
#[derive(Debug)]
pub struct Processes {
    state: Locked<State>,
    number: AtomicU64,
    started: f64,
    /// Anyone who stops this process waits here.
    pub stop: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    /// The one whose place this one has taken.
    before: Option<Before>,
    /// The one that has taken this one's place.
    after: Option<After>,
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
    pid: u32,
    ear: Ear,
}

#[derive(Debug)]
struct After {
    pid: u32,
    /// `None`: it has ended.
    ear: Option<Ear>,
}

/// Where another process is told.
#[derive(Clone, Debug)]
pub struct Ear {
    sender: mpsc::UnboundedSender<Message>,
    understands: Fluency,
}

/// Who serves now that another process has taken this one's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// That one, or one that has taken its place since.
    Successor(u32),
    /// Nobody, unless one had taken the place of that one before it ended.
    Nobody(u32),
}

impl Ear {
    /// That of a process that understands so much, at the other end of `sender`.
    pub const fn new(sender: mpsc::UnboundedSender<Message>, understands: Fluency) -> Self {
        Self { sender, understands }
    }

    const fn hears(&self) -> bool {
        !matches!(self.understands, Fluency::Mute)
    }

    fn tell(&self, talk: Talk) {
        let is_understood = match talk {
            Talk::Farewell => self.understands == Fluency::Whole,
            Talk::Holds(_)
            | Talk::Drain(..)
            | Talk::Undrain(_)
            | Talk::Cut(..)
            | Talk::List(..)
            | Talk::Answered(..)
            | Talk::Stop => self.hears(),
        };
        if is_understood {
            // The error says that it has gone.
            self.sender.send(Message::Talk(talk)).ok();
        }
    }
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

    /// This one has taken the place of the process `pid`, which people know as `name`.
    pub fn has_before(&self, name: &str, pid: u32, ear: Ear) {
        self.state.with(|state| state.before = Some(Before { name: name.to_owned(), pid, ear }));
    }

    /// The process `pid` has taken this one's place.
    pub fn has_after(&self, pid: u32, ear: Ear) {
        self.state.with(|state| state.after = Some(After { pid, ear: Some(ear) }));
    }

    /// That one has ended.
    pub fn after_has_gone(&self) {
        self.state.with(|state| state.after.as_mut().and_then(|after| after.ear.take()));
    }

    /// Who serves in this one's place; `None`: it has not been replaced.
    pub fn serving(&self) -> Option<Serving> {
        self.state.with(|state| {
            let After { pid, ear } = state.after.as_ref()?;
            Some(if ear.is_some() { Serving::Successor(*pid) } else { Serving::Nobody(*pid) })
        })
    }

    /// Whether somebody is told what this one holds.
    pub fn has_listener(&self) -> bool {
        self.state.with(|state| state.after.as_ref().and_then(|after| after.ear.as_ref()).is_some_and(Ear::hears))
    }

    /// Tells those before and after this one that it ends as it was to, and waits a moment for that to have left.
    pub fn farewell(&self) {
        let ears: Vec<Ear> = self.state.with(|state| {
            let before = state.before.iter().map(|before| &before.ear);
            before.chain(state.after.iter().filter_map(|after| after.ear.as_ref())).cloned().collect()
        });
        ears.iter().for_each(|ear| ear.tell(Talk::Farewell));
        let is_said = |ear: &Ear| ear.understands != Fluency::Whole || ear.sender.is_closed();
        let deadline = Instant::now() + PARTING;
        while !ears.iter().all(is_said) && Instant::now() < deadline {
            thread::sleep(LOOK_EVERY);
        }
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

    /// Those before this one that have said nothing, or nothing new, in words; `None`: there are none.
    pub fn unheard(&self) -> Option<String> {
        let named = self.state.with(|state| {
            let before = state.before.as_ref()?;
            (!before.ear.hears() || state.heard.is_empty())
                .then(|| format!("{} has not said what it holds", before.name))
        });
        let stale = |process: &Process| process.heard > STALE.as_secs_f64();
        let silent = |process: Process| {
            let Process { pid, heard, .. } = process;
            format!("process {pid} has said nothing for {heard:.0} s, and what it holds is counted as of then")
        };
        named.or_else(|| {
            let silent: Vec<_> = self.heard().into_iter().filter(stale).map(silent).collect();
            (!silent.is_empty()).then(|| silent.join("; "))
        })
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

    /// The one before has ended, and those before it are no longer heard from.
    pub fn gone(&self) {
        self.state.with(|state| state.before = None);
        self.replace(Vec::new(), HashMap::new());
    }

    /// What the one before holds, and then the ids of those before it, as it has said last.
    pub fn held_before(&self) -> ([u64; StreamKind::ALL.len()], Vec<u32>) {
        self.state.with(|state| {
            let mut heard = state.heard.iter().map(|(process, _)| process);
            let held = heard.next().map(Process::streams).unwrap_or_default();
            (held, heard.map(|process| process.pid).collect())
        })
    }

    /// The gauges of endpoints count what all processes have there.
    fn replace(&self, heard: Vec<(Process, Instant)>, streams: HashMap<u64, (Arc<Endpoint>, i64)>) {
        let old = self.state.with(|state| {
            // What it has said may be noted only when it has gone.
            if state.before.is_none() && !heard.is_empty() {
                return None;
            }
            state.heard = heard;
            Some(std::mem::replace(&mut state.streams, streams.clone()))
        });
        let Some(old) = old else { return };
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
            if let Some(before) = &state.before {
                before.ear.tell(talk);
            }
        });
    }

    /// Tells the one after this one, if there is one that understands.
    pub fn tell_after(&self, talk: Talk) {
        self.state.with(|state| {
            if let Some(ear) = state.after.as_ref().and_then(|after| after.ear.as_ref()) {
                ear.tell(talk);
            }
        });
    }

    /// Asks those before this one what `question` makes of a number.
    pub fn ask(self: &Arc<Self>, question: impl FnOnce(u64) -> Talk) -> Asking {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let (sender, answers) = mpsc::unbounded_channel();
        let (silent, mute) = self.state.with(|state| {
            state.asked.insert(number, sender);
            let (able, mute) = match &state.before {
                Some(before) if before.ear.hears() => (Some(before.pid), None),
                Some(before) => (None, Some(before.name.clone())),
                None => (None, None),
            };
            let heard: Vec<u32> = state.heard.iter().map(|(process, _)| process.pid).collect();
            // It may not have said yet what it holds.
            let unheard = able.filter(|pid| !heard.contains(pid));
            (unheard.into_iter().chain(heard).collect(), mute)
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
        // Each passes on what is asked of those before it.
        let silent = self.silent.iter().map(|pid| match self.silent.first() {
            Some(first) if first != pid => {
                format!("process {pid} can't be asked while process {first} does not answer")
            }
            Some(_) | None => format!("process {pid} {silence}"),
        });
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

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32) -> Process {
        let (version, phase) = (String::new(), String::new());
        let held = Vec::new();
        Process { pid, version, phase, started: 0.0, since: 0.0, ends: None, connections: 0, held, heard: 0.0 }
    }

    #[test]
    fn what_a_process_has_said_counts_no_longer_once_it_has_gone() {
        let processes = Processes::new();
        let (sender, _messages) = mpsc::unbounded_channel();
        processes.has_before("the old one", 7, Ear::new(sender, Fluency::Whole));
        processes.hear(vec![process(7)], |_| None);
        let (said, count) = (processes.heard(), |processes: &Processes| processes.heard().len());
        assert_eq!(count(&processes), 1);
        processes.gone();
        // A reload that has begun before goes by what it has seen then.
        processes.hear(said, |_| None);
        assert_eq!(count(&processes), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_has_said_nothing_yet_is_asked_and_told_of() {
        let processes = Processes::new();
        let (sender, mut messages) = mpsc::unbounded_channel();
        processes.has_before("the old one", 7, Ear::new(sender, Fluency::Earlier));
        let asking = processes.ask(|number| Talk::List(number, crate::control::Whose::default()));
        assert!(matches!(messages.try_recv(), Ok(Message::Talk(Talk::List(..)))));
        assert_eq!(asking.answers("is silent").await, (vec![], vec!["process 7 is silent".to_owned()]));
        processes.tell_before(Talk::Farewell);
        assert!(messages.try_recv().is_err(), "an earlier version does not understand it");
    }
}
