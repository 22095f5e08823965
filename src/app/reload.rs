//! What is on disk is read again, compared with what runs, and taken over: all of it or nothing. When somebody asks for it,
//! the configuration and the files that it names; when files change by themselves, these, and the configuration only if
//! it says so.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::{error, info, warn};

use self::renew::renew;
use self::seen::{Seen, seen_when_read};
use self::telling::{tell, tell_renewed};
use super::control::Caller;
use super::handover_state::HandoverStatus;
use super::outcome::{Outcome, Taker};
use super::running::Running;
use super::sockets::Plan;
use super::successor::{Following, HandedOver, Successor, hand_over};
use crate::config::error::{Problem, Report, Severity};
use crate::config::model::{Config, Reloads};
use crate::config::{self, Reading};
use crate::drain::Phase;
use crate::renewal::{EVERY, Next, Watch};
use crate::supervisor;
use crate::telemetry::metrics::Reloaded;
use crate::telemetry::timeline::{Event, Kind};
use crate::tls::certs;

mod renew;
mod seen;
mod telling;

const KEPT: &str = "configuration not reloaded, the old one stays in use";

/// How often clients' certificates are held against the clock, and against the rest, while no file changes.
const JUDGE_EVERY: Duration = Duration::from_secs(3600);

/// How often files that were refused are tried again.
const AGAIN_EVERY: Duration = Duration::from_secs(10);

/// What is asked, and who wants to know what came of it.
#[derive(Debug)]
pub(super) enum Asked {
    /// To accept connections where the plan says, for the first time; nothing is done before that.
    Open(Plan),
    /// To read everything again, for a caller that waits for it or after a signal.
    Reload(Option<Caller>, oneshot::Sender<Outcome>),
    /// To give everything to another process: which did it get, or why none?
    HandOver(Successor, oneshot::Sender<Result<Taker, String>>),
    /// To end.
    End,
}

/// What runs, and the file that it goes by. One thread's own: whatever a file system or another process makes it wait for
/// holds up nothing else, and nobody else needs a lock.
pub(super) struct Reload {
    path: PathBuf,
    /// What can't change without a restart is compared with this.
    started: Config,
    running: Running,
    watch: Watch<Seen>,
    /// When files that were refused are tried again.
    again_at: Instant,
    /// When clients are judged again.
    judge_at: Instant,
}

impl Reload {
    pub(super) fn new(path: PathBuf, running: Running) -> Self {
        let watch = Watch::new(seen_when_read(&running));
        Self {
            path,
            started: running.config.clone(),
            running,
            watch,
            again_at: Instant::now() + AGAIN_EVERY,
            judge_at: Instant::now() + JUDGE_EVERY,
        }
    }

    /// Starts the thread, which reads again whenever somebody asks, and what has changed on disk.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(super) fn start(self, asked: Receiver<Asked>) -> io::Result<JoinHandle<()>> {
        thread::Builder::new().name("reload".into()).spawn(move || self.run(&asked))
    }

    fn run(mut self, asked: &Receiver<Asked>) {
        let Ok(Asked::Open(plan)) = asked.recv() else { return };
        self.running.sockets.adopt(plan);
        loop {
            let next = asked.recv_timeout(EVERY);
            if matches!(next, Ok(Asked::End) | Err(RecvTimeoutError::Disconnected)) {
                return;
            }
            // A fault met in one file must not keep all others from being read later.
            if catch_unwind(AssertUnwindSafe(|| self.turn(next.ok()))).is_err() {
                error!("files on disk can't be read: those in use stay in use");
            }
        }
    }

    fn turn(&mut self, asked: Option<Asked>) {
        match asked {
            Some(Asked::Reload(caller, asked)) => self.asked(caller.as_ref(), asked),
            Some(Asked::HandOver(successor, asked)) => self.hand_over(successor, asked),
            Some(Asked::Open(plan)) => self.running.sockets.adopt(plan),
            Some(Asked::End) => {}
            None => {
                self.look();
                if Instant::now() >= self.again_at {
                    self.try_again();
                    self.again_at = Instant::now() + AGAIN_EVERY;
                }
                if Instant::now() >= self.judge_at {
                    self.running.judge_clients();
                    self.judge_at = Instant::now() + JUDGE_EVERY;
                }
            }
        }
    }

    fn hand_over(&mut self, successor: Successor, asked: oneshot::Sender<Result<Taker, String>>) {
        let done = match hand_over(&mut self.running, &self.path, successor) {
            Ok(HandedOver { taker, status, following }) => {
                let pid = taker.pid;
                match status {
                    HandoverStatus::Done | HandoverStatus::Pending => {
                        info!(process.pid = pid, "another process has taken over")
                    }
                    HandoverStatus::Lost => {
                        error!(process.pid = pid, "the process that was to take over has ended in that very moment")
                    }
                }
                self.running.for_successor.handover.send_replace(status);
                self.share_channels(pid, following);
                Ok(taker)
            }
            Err(error) => {
                let why = format!("{error:#}");
                match is_stopping(&self.running) {
                    true => info!(why, "a process that wanted to take over was refused"),
                    false => warn!(why, "no other process has taken over, this one goes on"),
                }
                Err(why)
            }
        };
        // The caller may have left before the answer.
        drop(asked.send(done));
    }

    /// For as long as there are two processes that have some.
    fn share_channels(&self, pid: u32, following: Following) {
        let core = self.running.core.clone();
        let shared = following.split(pid).and_then(|(telling, hearing)| {
            thread::Builder::new().name("tell-peer".into()).spawn(move || telling.tell())?;
            thread::Builder::new().name("hear-peer".into()).spawn(move || hearing.hear(&core))
        });
        if let Err(error) = shared {
            warn!(process.pid = pid, error.message = %error, "the process that has taken over can't be followed");
        }
    }

    fn asked(&mut self, caller: Option<&Caller>, asked: oneshot::Sender<Outcome>) {
        if caller.is_some_and(|caller| !caller.waits()) {
            drop(asked.send(Outcome::Refused(Caller::GONE.into())));
            return;
        }
        let is_told = !is_stopping(&self.running);
        if is_told {
            supervisor::reloading();
        }
        let (seen, outcome) = (self.seen(), self.reload());
        if is_told && !is_stopping(&self.running) {
            supervisor::ready();
        }
        if let Outcome::Unchanged { .. } = outcome {
            // Time has passed anyway.
            self.running.judge_clients();
        }
        // Files that are refused are not read again before they change.
        self.watch = Watch::new(match outcome {
            Outcome::Applied { .. } => seen_when_read(&self.running),
            Outcome::Unchanged { .. } | Outcome::Refused(_) => seen,
        });
        // The caller may have left before the answer.
        asked.send(outcome).ok();
    }

    fn look(&mut self) {
        let seen = self.seen();
        // What was refused together with files may do with other ones.
        let is_other_file = seen.config != self.watch.read().config || self.awaits_reload();
        if self.watch.look(seen) == Next::Wait {
            return;
        }
        let outcome = if is_other_file { self.reload_what_was_seen() } else { renew(&mut self.running) };
        if matches!(outcome, Outcome::Applied { .. }) && is_other_file {
            self.watch = Watch::new(seen_when_read(&self.running));
        }
    }

    /// Reads once more what was refused and has not changed since, without a word unless it can be used by now: a certificate
    /// whose time had not come, or a clock that was wrong, gets well without anybody's touching a file.
    fn try_again(&mut self) {
        let Running { core, config, material, .. } = &self.running;
        if !(core.metrics.is_renewal_refused() || core.metrics.is_reload_refused())
            || is_stopping(&self.running)
            || self.seen() != *self.watch.read()
        {
            return;
        }
        if self.awaits_reload() && self.is_good_by_now() {
            if let Outcome::Applied { .. } = self.reload_what_was_seen() {
                self.watch = Watch::new(seen_when_read(&self.running));
            }
        } else if !material.read.is_current() && certs::renew(config, material).0.is_some() {
            renew(&mut self.running);
        }
    }

    /// Whether a configuration that is to be followed was refused.
    fn awaits_reload(&self) -> bool {
        matches!(self.running.config.reloads, Reloads::OnChange) && self.running.core.metrics.is_reload_refused()
    }

    /// Whether the configuration on disk, and what it names, can be used.
    fn is_good_by_now(&self) -> bool {
        config::read_again(&self.path).is_ok_and(|reading| {
            let is_fatal = reading.problems.iter().any(|problem| problem.severity == Severity::Error);
            !is_fatal && certs::renew(&reading.partial, &self.running.material).0.is_some()
        })
    }

    /// How everything on disk looks now.
    fn seen(&self) -> Seen {
        let config = match self.running.config.reloads {
            Reloads::OnChange => Some(config::content(&self.path)),
            Reloads::WhenAsked => None,
        };
        Seen { files: self.running.material.read.files().stamps(), config }
    }

    /// Reads the configuration and the files that it names.
    fn reload(&mut self) -> Outcome {
        let reading = config::read_again(&self.path);
        self.reload_from(reading)
    }

    /// The same, of the configuration that was looked at: by now somebody may be writing another one.
    fn reload_what_was_seen(&mut self) -> Outcome {
        match &self.watch.read().config {
            Some(Ok(bytes)) => {
                let reading = config::read_bytes(&self.path, bytes.clone());
                self.reload_from(reading)
            }
            // The error's words are for anyone who reads it.
            Some(Err(_)) | None => self.reload(),
        }
    }

    fn reload_from(&mut self, reading: Result<Reading, Report>) -> Outcome {
        let outcome = self.read_all(reading);
        self.running.core.metrics.reloaded(match &outcome {
            Outcome::Applied { .. } => Reloaded::Applied,
            Outcome::Unchanged { .. } => Reloaded::Unchanged,
            Outcome::Refused(_) => Reloaded::Refused,
        });
        outcome
    }

    fn read_all(&mut self, reading: Result<Reading, Report>) -> Outcome {
        let running = &mut self.running;
        if is_stopping(running) {
            return Outcome::Refused("the gateway is stopping".into());
        }
        let reading = match reading {
            Ok(reading) => reading,
            Err(report) => return refused(running, &report),
        };
        let is_fatal = reading.problems.iter().any(|problem| problem.severity == Severity::Error);
        if !is_fatal && reading.partial == running.config {
            if running.core.metrics.is_reload_refused() {
                running.core.metrics.reload_refused.set(0);
                let text = "the configuration is again what is in use";
                info!("{text}");
                running.core.timeline.add(Event::now(Kind::Reloaded, text));
            }
            (running.source, running.config.places) = (reading.source, reading.partial.places);
            let waiting = needs_restart(&self.started, &running.config);
            if !waiting.is_empty() {
                warn!(what = waiting.join(", "), "configuration unchanged; a part of it still takes a restart");
            }
            return renew(running).reminding(waiting);
        }
        let (material, problems) = certs::renew(&reading.partial, &running.material);
        let report = Report::new(reading.source, reading.problems.into_iter().chain(problems).collect());
        let Some(material) = material.filter(|_| !report.is_fatal()) else { return refused(running, &report) };
        let needs_restart = needs_restart(&self.started, &reading.partial);
        let old = Arc::clone(&running.material);
        let lost = match running.take_over(reading.partial, material) {
            Ok(lost) => lost,
            Err(error) => {
                let problem = Problem::error(None, format!("{error:#}"));
                return refused(running, &Report::new(report.source, vec![problem]));
            }
        };
        running.core.metrics.reload_refused.set(0);
        running.source.clone_from(&report.source);
        for problem in &report.problems {
            tell(&report.source, problem, "configuration reloaded, but see what is odd about it");
        }
        tell_renewed(&old, &running.material);
        info!("configuration reloaded");
        if !needs_restart.is_empty() {
            let what = needs_restart.join(", ");
            warn!(what, "configuration reloaded, except for what takes a restart");
        }
        let outcome = Outcome::Applied { needs_restart, lost, warnings: None };
        running.core.timeline.add(Event::now(Kind::Reloaded, outcome.to_string()));
        outcome.warning(&report)
    }
}

fn is_stopping(running: &Running) -> bool {
    running.core.phase() >= Phase::HandedOver
}

fn refused(running: &Running, report: &Report) -> Outcome {
    running.core.metrics.reload_refused.set(1);
    for problem in report.problems.iter().filter(|problem| problem.severity == Severity::Error) {
        tell(&report.source, problem, KEPT);
    }
    let problems = report.to_string();
    running.core.timeline.add(Event::now(Kind::ReloadRefused, &problems));
    Outcome::Refused(problems)
}

/// What differs from the start and is settled there for good.
fn needs_restart(started: &Config, now: &Config) -> Vec<&'static str> {
    let settled = [
        ("workers", started.workers == now.workers),
        ("state_dir", started.state_dir == now.state_dir),
        ("[admin]", started.admin == now.admin),
        ("[control]", started.control == now.control),
        ("[log]", started.log == now.log),
    ];
    settled.into_iter().filter(|(_, same)| !same).map(|(what, _)| what).collect()
}
