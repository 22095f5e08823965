//! What is on disk is read again, compared with what runs, and taken over: all of it or nothing. When somebody asks for it,
//! the configuration and the files that it names; when files change by themselves, these, and the configuration only if
//! it says so.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

use self::telling::{tell, tell_of_file, tell_renewed};
use super::estate::Handed;
use super::outcome::Outcome;
use super::running::Running;
use super::sockets::Plan;
use super::successor::{Following, Successor, hand_over};
use crate::config;
use crate::config::error::{Problem, Report, Severity};
use crate::config::model::{Config, Reloads};
use crate::drain::Phase;
use crate::renewal::{EVERY, Next, Watch};
use crate::supervisor;
use crate::telemetry::metrics::{Reloaded, Renewal};
use crate::telemetry::timeline::{Event, Kind};
use crate::tls::certs;
use crate::tls::certs::files::{Files, Stamps};

mod telling;

const KEPT: &str = "configuration not reloaded, the old one stays in use";
const NOT_RENEWED: &str = "certificates not renewed, the old ones stay in use";

/// How often files that were refused are tried again.
const AGAIN_EVERY: Duration = Duration::from_secs(10);

/// What is asked, and who wants to know what came of it.
#[derive(Debug)]
pub(super) enum Asked {
    /// To read everything again.
    Reload(oneshot::Sender<Outcome>),
    /// To give everything to another process: which did it get, or why none?
    HandOver(Successor, oneshot::Sender<Result<u32, String>>),
}

/// What runs, and the file that it goes by. One thread has it at a time, so that nothing of it needs a lock: the one that
/// watches, or the one that it lends it to.
pub(super) struct Reload {
    path: PathBuf,
    /// What can't change without a restart is compared with this.
    started: Config,
    running: Running,
}

impl Reload {
    pub(super) fn new(path: PathBuf, running: Running) -> Self {
        Self { path, started: running.config.clone(), running }
    }

    /// Accepts connections as soon as `opened` says where. From then on, reads again whenever somebody asks, and what has
    /// changed on disk.
    pub(super) async fn watch(mut self, opened: oneshot::Receiver<Plan>, mut asked: mpsc::UnboundedReceiver<Asked>) {
        // Without one, the process is about to end.
        let Ok(plan) = opened.await else { return std::future::pending().await };
        self.running.sockets.adopt(plan);
        let mut watch = Watch::new(self.seen_when_read());
        let mut lent = Lent::new(self);
        let mut again = tokio::time::interval(AGAIN_EVERY);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let done = tokio::select! {
                Some(asked) = asked.recv() => match asked {
                    Asked::Reload(asked) => lent.asked(&mut watch, asked).await,
                    Asked::HandOver(successor, asked) => lent.hand_over(successor, asked).await,
                },
                _ = again.tick() => lent.try_again(watch.read()).await,
                () = tokio::time::sleep(EVERY) => lent.look(&mut watch).await,
            };
            if let Err(error) = done {
                tracing::error!(%error, "what is on disk could not be read, what was read stays in use");
            }
        }
    }

    /// For as long as there are two processes that have some.
    fn share_channels(&self, following: Following) {
        let (telling, hearing) = match following.split() {
            Ok(halves) => halves,
            Err(error) => return warn!(%error, "the process that has taken over is heard of no more"),
        };
        let (shared, farms) = (Arc::clone(&self.running.shared), Arc::clone(&self.running.farms));
        drop(spawn_blocking(move || telling.tell()));
        drop(spawn_blocking(move || hearing.hear(&shared.channels, &farms)));
    }

    /// Reads files once more that were refused and have not changed since, without a word unless they can be used by now: a
    /// certificate whose time had not come, or a clock that was wrong, gets well without anybody's touching a file.
    fn try_again(&mut self, refused: &Seen) {
        let running = &mut self.running;
        if running.metrics.is_renewal_refused()
            && !is_stopping(running)
            && running.material.read.files().stamps() == refused.files
            && certs::renew(&running.config, &running.material).0.is_some()
        {
            renew(running);
        }
    }

    /// How everything on disk looks now.
    fn seen(&self) -> Seen {
        let config = match self.running.config.reloads {
            Reloads::OnChange => Some(config::content(&self.path)),
            Reloads::WhenAsked => None,
        };
        Seen { files: self.running.material.read.files().stamps(), config }
    }

    /// How it looked when what is in use was read.
    fn seen_when_read(&self) -> Seen {
        let config = match self.running.config.reloads {
            Reloads::OnChange => Some(Ok(self.running.text.as_bytes().to_vec())),
            Reloads::WhenAsked => None,
        };
        Seen { files: self.running.material.read.stamps().clone(), config }
    }

    /// Reads the configuration and the files that it names.
    fn reload(&mut self) -> Outcome {
        let outcome = self.read_all();
        self.running.metrics.reloaded(match &outcome {
            Outcome::Applied { .. } => Reloaded::Applied,
            Outcome::Unchanged { .. } => Reloaded::Unchanged,
            Outcome::Refused(_) => Reloaded::Refused,
        });
        outcome
    }

    fn read_all(&mut self) -> Outcome {
        let running = &mut self.running;
        if is_stopping(running) {
            return Outcome::Refused("the gateway is stopping".into());
        }
        let reading = match config::read(&self.path) {
            Ok(reading) => reading,
            Err(report) => return refused(running, &report),
        };
        let is_fatal = reading.problems.iter().any(|problem| problem.severity == Severity::Error);
        if !is_fatal && reading.partial == running.config {
            running.text = reading.source.text;
            return unchanged(running, needs_restart(&self.started, &running.config));
        }
        let (material, problems) = certs::renew(&reading.partial, &running.material);
        let report = Report::new(reading.source, reading.problems.into_iter().chain(problems).collect());
        let Some(material) = material.filter(|_| !report.is_fatal()) else { return refused(running, &report) };
        let needs_restart = needs_restart(&self.started, &reading.partial);
        let old = Arc::clone(&running.material);
        if let Err(error) = running.take_over(reading.partial, material) {
            let problem = Problem::error(None, format!("{error:#}"));
            return refused(running, &Report::new(report.source, vec![problem]));
        }
        running.metrics.reload_refused.set(0);
        running.text.clone_from(&report.source.text);
        for problem in &report.problems {
            tell(&report.source, problem, "configuration reloaded, but see what is odd about it");
        }
        tell_renewed(&old, &running.material);
        info!("configuration reloaded");
        if !needs_restart.is_empty() {
            let what = needs_restart.join(", ");
            warn!(what, "configuration reloaded, but for what takes a restart");
        }
        let outcome = Outcome::Applied { needs_restart };
        running.timeline.add(Event::now(Kind::Reloaded, outcome.to_string()));
        outcome
    }
}

/// The one [`Reload`], which is lent to threads that may block: a network file system that hangs must not hold up what else
/// runs where this is, which is discovery and the admin listener.
struct Lent(Option<Box<Reload>>);

/// What was done with it has ended in a panic.
#[derive(Debug, thiserror::Error)]
#[error("it ended in a panic")]
struct Panicked;

impl Lent {
    fn new(reload: Reload) -> Self {
        Self(Some(Box::new(reload)))
    }

    fn reload(&self) -> &Reload {
        self.0.as_deref().expect("it comes back before anything else is done")
    }

    /// Does `work` on a thread that may block.
    async fn apart<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Reload) -> T + Send + 'static,
    ) -> Result<T, Panicked> {
        let mut reload = self.0.take().expect("it comes back before anything else is done");
        let done = spawn_blocking(move || {
            // Nothing that is published is half done: all of it is made before.
            let done = catch_unwind(AssertUnwindSafe(|| work(&mut reload)));
            (reload, done)
        });
        // It fails only when the runtime ends, and so does all of this.
        let Ok((reload, done)) = done.await else { return std::future::pending().await };
        self.0 = Some(reload);
        done.map_err(|_| Panicked)
    }

    async fn hand_over(
        &mut self,
        successor: Successor,
        asked: oneshot::Sender<Result<u32, String>>,
    ) -> Result<(), Panicked> {
        let done = self.apart(|reload| hand_over(&mut reload.running, &reload.path, successor)).await?;
        let done = match done {
            Ok((pid, handed, following)) => {
                match handed {
                    Handed::Over | Handed::NotYet => info!(pid, "another process has taken over"),
                    Handed::Lost => error!(pid, "the process that was to take over has ended in that very moment"),
                }
                self.reload().running.belongings.handed.send_replace(handed);
                self.reload().share_channels(following);
                Ok(pid)
            }
            Err(error) => {
                let why = format!("{error:#}");
                warn!(why, "no other process has taken over, this one goes on");
                Err(why)
            }
        };
        // Whoever has asked need not wait for the answer.
        drop(asked.send(done));
        Ok(())
    }

    async fn asked(&mut self, watch: &mut Watch<Seen>, asked: oneshot::Sender<Outcome>) -> Result<(), Panicked> {
        let is_told = !is_stopping(&self.reload().running);
        if is_told {
            supervisor::reloading();
        }
        let done = self.apart(|reload| (reload.seen(), reload.reload())).await;
        if is_told && !is_stopping(&self.reload().running) {
            supervisor::ready();
        }
        let (seen, outcome) = done?;
        // Files that are refused are not read again before they change.
        *watch = Watch::new(match outcome {
            Outcome::Applied { .. } => self.reload().seen_when_read(),
            Outcome::Unchanged { .. } | Outcome::Refused(_) => seen,
        });
        // Whoever has asked need not wait for the answer.
        asked.send(outcome).ok();
        Ok(())
    }

    async fn look(&mut self, watch: &mut Watch<Seen>) -> Result<(), Panicked> {
        let seen = self.apart(|reload| reload.seen()).await?;
        let is_other_file = seen.config != watch.read().config;
        if watch.look(seen) == Next::Wait {
            return Ok(());
        }
        let outcome = match is_other_file {
            true => self.apart(Reload::reload).await?,
            false => self.apart(|reload| renew(&mut reload.running)).await?,
        };
        if matches!(outcome, Outcome::Applied { .. }) && is_other_file {
            *watch = Watch::new(self.reload().seen_when_read());
        }
        Ok(())
    }

    async fn try_again(&mut self, refused: &Seen) -> Result<(), Panicked> {
        let refused = refused.clone();
        self.apart(move |reload| reload.try_again(&refused)).await
    }
}

/// How everything on disk looks, as far as it is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    files: Stamps,
    /// What the configuration itself holds, if it is to be followed.
    config: Option<Result<Vec<u8>, ErrorKind>>,
}

fn is_stopping(running: &Running) -> bool {
    *running.shared.phase.borrow() >= Phase::HandedOver
}

/// The configuration is what it was; its files may not be.
fn unchanged(running: &mut Running, waiting: Vec<&'static str>) -> Outcome {
    if running.metrics.is_reload_refused() {
        running.metrics.reload_refused.set(0);
        let text = "the configuration is again what is in use";
        info!("{text}");
        running.timeline.add(Event::now(Kind::Reloaded, text));
    }
    if !waiting.is_empty() {
        warn!(what = waiting.join(", "), "configuration as before, of which some still takes a restart");
    }
    renew(running).reminding(waiting)
}

fn renew(running: &mut Running) -> Outcome {
    let old = Arc::clone(&running.material);
    if old.read.is_current() {
        info!("configuration, certificates, keys and CAs are what they were");
        if running.metrics.is_renewal_refused() {
            let text = "certificates, keys and CAs are again what is in use";
            running.timeline.add(Event::now(Kind::Renewed, text));
        }
        running.metrics.renewal(Renewal::Unchanged);
        return Outcome::Unchanged { needs_restart: Vec::new() };
    }
    let config = running.config.clone();
    let (material, problems) = certs::renew(&config, &old);
    let files = Files::of(&config);
    let Some(material) = material else {
        let fatal: Vec<_> = problems.iter().filter(|problem| problem.severity == Severity::Error).collect();
        fatal.iter().for_each(|problem| tell_of_file(&config, &files, problem, NOT_RENEWED));
        return not_renewed(running, fatal.iter().map(|problem| problem.message.as_str()).collect());
    };
    if let Err(error) = running.take_over(config, material) {
        let problem = format!("{error:#}");
        warn!(problem, "{NOT_RENEWED}");
        return not_renewed(running, vec![&problem]);
    }
    for problem in problems {
        let unchanged = |(section, _): (&str, _)| running.material.read.agrees(&old.read, section);
        if !files.origin(&running.config, &problem).is_some_and(unchanged) {
            tell_of_file(&running.config, &files, &problem, "certificates renewed, but see what is odd about them");
        }
    }
    tell_renewed(&old, &running.material);
    running.metrics.renewal(Renewal::Renewed);
    let sections: Vec<_> = running.material.read.changed(&old.read).collect();
    running.timeline.add(Event::now(Kind::Renewed, sections.join(", ")));
    Outcome::Applied { needs_restart: Vec::new() }
}

fn not_renewed(running: &Running, problems: Vec<&str>) -> Outcome {
    running.metrics.renewal(Renewal::Refused);
    let problems = problems.join("\n");
    running.timeline.add(Event::now(Kind::RenewalRefused, &problems));
    Outcome::Refused(problems)
}

fn refused(running: &Running, report: &Report) -> Outcome {
    running.metrics.reload_refused.set(1);
    for problem in report.problems.iter().filter(|problem| problem.severity == Severity::Error) {
        tell(&report.source, problem, KEPT);
    }
    let problems = report.to_string();
    running.timeline.add(Event::now(Kind::ReloadRefused, &problems));
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
