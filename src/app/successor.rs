//! The process that takes this one's place: it is started if need be, gets all that there is, and connections are its own to
//! accept once it says that it could. Until then nothing has changed here. The other side of `predecessor`.

use std::env;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tracing::warn;

use super::running::Running;
use crate::discover::Answers;
use crate::drain::Phase;
use crate::handover::link::{Link, LinkError};
use crate::handover::{Answer, Estate, LAYOUT, News, Word};
use crate::policy::affinity::Key;
use crate::supervisor;

/// How long the other process may take to be ready: it reads its configuration, and looks for XSPs that are new to it.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a process that is ended may take to end.
const LAST_ONES: Duration = Duration::from_secs(1);

/// What a new process is told to do.
const TAKE_OVER: &str = "--take-over=-";

/// Who takes this process' place.
#[derive(Debug)]
pub(super) enum Successor {
    /// The program as it is on disk now; it has yet to be started.
    Program,
    /// A process that somebody has started, and that has come to the control socket.
    Came { socket: UnixStream, pid: Option<i32> },
}

/// What is handed over besides farms, sockets and channels.
#[derive(Debug)]
pub(super) struct Belongings {
    /// As it is configured.
    pub(super) admin: Option<(SocketAddr, TcpListener)>,
    /// As it is configured.
    pub(super) control: Option<(PathBuf, UnixListener)>,
    /// The affinity keys in use.
    pub(super) keys: Vec<Key>,
    pub(super) answers: watch::Receiver<Answers>,
    pub(super) phase: watch::Sender<Phase>,
    /// Whether another process has this one's place, and knows it.
    pub(super) succeeded: watch::Sender<bool>,
}

/// The other process, which is on its way.
struct Candidate {
    link: Link,
    pid: Option<i32>,
    child: Option<Child>,
}

/// What goes on being told to the other process.
#[derive(Debug)]
pub(super) struct Following {
    link: Link,
    news: mpsc::UnboundedReceiver<News>,
}

/// Hands over to `successor`, which goes by the configuration at `config`: its process, and what it is to be told from then on.
/// Blocks for as long as that takes.
///
/// # Errors
/// Why nobody takes this process' place; everything is as it was then.
pub(super) fn hand_over(running: &Mutex<Running>, config: &Path, successor: Successor) -> Result<(i32, Following)> {
    let shared = Arc::clone(&running.lock().shared);
    let mut candidate = Candidate::new(successor, config)?;
    let (known, mut news) = shared.channels.follow();
    let done = candidate.take(running, known, &mut news);
    match done {
        Ok(()) => Ok((candidate.pid.unwrap_or_default(), Following { link: candidate.link, news })),
        Err(error) => {
            shared.channels.follow_no_more();
            Err(candidate.dismiss(error))
        }
    }
}

impl Candidate {
    fn new(successor: Successor, config: &Path) -> Result<Self> {
        match successor {
            Successor::Came { socket, pid } => Ok(Self { link: Link::new(socket, PATIENCE)?, pid, child: None }),
            Successor::Program => {
                if process::id() == 1 {
                    bail!(
                        "the first process of a container can't hand over: it would take the container with it; start another container"
                    );
                }
                let program = env::args_os().next().context("this process does not know its program")?;
                let (here, there) = UnixStream::pair()?;
                let mut command = Command::new(&program);
                command.args(["run", TAKE_OVER]).arg("--").arg(config);
                // What the service manager says there is of this process.
                command.env_remove("WATCHDOG_PID").stdin(Stdio::from(OwnedFd::from(there)));
                let child = command.spawn().with_context(|| format!("can't start {}", program.display()))?;
                drop(command);
                let pid = i32::try_from(child.id()).ok();
                Ok(Self { link: Link::new(here, PATIENCE)?, pid, child: Some(child) })
            }
        }
    }

    fn take(
        &mut self,
        running: &Mutex<Running>,
        known: Vec<News>,
        news: &mut mpsc::UnboundedReceiver<News>,
    ) -> Result<()> {
        let said = self.give(running).and_then(|()| {
            self.link.send(known.into_iter().map(Word::News).chain([Word::Complete])).map_err(Into::into)
        });
        // It may have said why it takes no more.
        match (self.link.receive(), said) {
            (Ok(Answer::Ready), Ok(())) => {}
            (Ok(Answer::Refused(why)), _) => bail!("{why}"),
            (Ok(Answer::Ready), Err(error)) => return Err(error),
            (Err(LinkError::Gone), _) => bail!("the new process has ended: see what it has written to standard error"),
            (Err(error), _) => return Err(anyhow!(error).context("the new process is not ready")),
        }
        if !running.lock().let_go() {
            self.link.send([Word::Refused("the gateway is stopping".into())])?;
            bail!("the gateway is stopping");
        }
        supervisor::handed_over(self.pid);
        let mut last = Vec::new();
        while let Ok(news) = news.try_recv() {
            last.push(Word::News(news));
        }
        // If it can't be told, it has gone in this very moment, and there is no way back.
        if let Err(error) = self.link.send(last.into_iter().chain([Word::Go])) {
            warn!(%error, "the new process can't be told to begin");
        }
        Ok(())
    }

    fn give(&self, running: &Mutex<Running>) -> Result<()> {
        let (estate, descriptors) = estate(&running.lock())?;
        let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        self.link.send_descriptors(&descriptors)?;
        Ok(self.link.send([estate])?)
    }

    /// It has not come to anything.
    fn dismiss(mut self, error: anyhow::Error) -> anyhow::Error {
        let Some(mut child) = self.child.take() else { return error };
        // It ends when it is told, or finds nobody, or else is ended.
        drop(self.link);
        let deadline = Instant::now() + LAST_ONES;
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return error.context(format!("the new process has not taken over ({status})")),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
                Ok(None) | Err(_) => break,
            }
        }
        drop(child.kill());
        drop(child.wait());
        error.context("the new process has not taken over, and was ended")
    }
}

impl Running {
    /// Takes no new connections any more, unless the process is about to end for another reason.
    fn let_go(&mut self) -> bool {
        self.sockets.let_go();
        self.belongings.phase.send_if_modified(|phase| {
            let is_running = *phase == Phase::Running;
            if is_running {
                *phase = Phase::HandedOver;
            }
            is_running
        })
    }
}

/// All that there is, and its descriptors.
fn estate(running: &Running) -> Result<(Estate, Vec<OwnedFd>)> {
    let (listening, sockets): (Vec<_>, Vec<_>) = running.sockets.all().into_iter().unzip();
    let Belongings { admin, control, keys, answers, .. } = &running.belongings;
    let mut events = running.timeline.latest();
    events.reverse();
    let estate = Estate {
        layout: LAYOUT,
        pid: process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        sockets: listening,
        admin: admin.as_ref().map(|(address, _)| *address),
        control: control.as_ref().map(|(path, _)| path.clone()),
        affinity: keys.iter().map(Key::reveal).collect(),
        farms: running.farms.load().iter().map(|farm| farm.hand_over()).collect(),
        answers: answers.borrow().text(),
        events,
    };
    let sockets = sockets.iter().flat_map(|sockets| sockets.iter().map(AsFd::as_fd));
    let admin = admin.iter().map(|(_, socket)| socket.as_fd());
    let control = control.iter().map(|(_, socket)| socket.as_fd());
    let descriptors = sockets.chain(admin).chain(control).map(|socket| socket.try_clone_to_owned());
    Ok((estate, descriptors.collect::<Result<_, _>>()?))
}

impl Following {
    /// Tells the other process what becomes of the event channels here, until this one ends. Blocks.
    pub(super) fn tell(mut self) {
        while let Some(news) = self.news.blocking_recv() {
            let mut words = vec![Word::News(news)];
            while let Ok(news) = self.news.try_recv() {
                words.push(Word::News(news));
            }
            if let Err(error) = self.link.send(words) {
                warn!(%error, "the process that has taken over is heard of no more");
                return;
            }
        }
    }
}
