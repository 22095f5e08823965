//! The process that takes this one's place: it is started if need be, gets all that there is, and connections are its own to
//! accept once it says that it could. Until then nothing has changed here. The other side of `predecessor`.

use std::env;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::control::Caller;
use super::handover_state::{ForSuccessor, HandoverStatus};
use super::outcome::Taker;
use super::peers;
use super::predecessor::take;
use super::running::Running;
use crate::core::Core;
use crate::drain::Phase;
use crate::handover::link::{Link, LinkError, Speaker};
use crate::handover::{Answer, Fluency, HandoverState, LAYOUT, Message, News, PeerProcess, TALKS, Talk, Word};
use crate::policy::affinity::Key;
use crate::processes::Ear;
use crate::proxy::channels::Told;
use crate::supervisor;
use crate::telemetry::Causes;

/// How long the other process may take to be ready: it reads its configuration, and looks for XSPs that are new to it.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// What a new process is told to do. It is to be a child of the service manager's, who sees the end of no others.
const TAKE_OVER: [&str; 4] = ["run", "--take-over=-", "--detach", "--"];

/// Who takes this process' place.
#[derive(Debug)]
pub(super) enum Successor {
    /// The program as it is on disk now; it is still to be started, for a caller that waits for it or after a signal.
    Program(Option<Caller>),
    /// A process that somebody has started, and that has come to the control socket.
    Came(UnixStream),
}

/// What another process has: this one's place.
#[derive(Debug)]
pub(super) struct HandedOver {
    pub(super) taker: Taker,
    pub(super) status: HandoverStatus,
    pub(super) following: Following,
}

/// What goes on being told to the other process.
#[derive(Debug)]
pub(super) struct Following {
    link: Link,
    messages: mpsc::UnboundedReceiver<Message>,
}

/// Hands over to `successor`, which goes by the configuration at `config`: its process, and what it is to be told from then on.
/// Blocks for as long as that takes.
///
/// # Errors
/// Why nobody takes this process' place; everything is as it was then.
pub(super) fn hand_over(running: &mut Running, config: &Path, successor: Successor) -> Result<HandedOver> {
    let phase = *running.for_successor.phase.borrow();
    if let Some(why) = too_late(phase) {
        successor.refuse(why);
        bail!(why);
    }
    let mut link = match successor {
        Successor::Program(Some(caller)) if !caller.waits() => bail!(Caller::GONE),
        Successor::Program(_) => start(config)?,
        Successor::Came(socket) => Link::new(socket, PATIENCE)?,
    };
    let shared = Arc::clone(&running.core.shared);
    let (known, mut told) = shared.channels.follow();
    match pass(&mut link, running, known, &mut told) {
        Ok((taker, status)) => Ok(HandedOver { taker, status, following: Following { link, messages: told.messages } }),
        Err(error) => {
            shared.channels.follow_no_more();
            // Who finds nobody there any more would begin, since somebody has to serve.
            drop(link.send([Word::Refused(format!("{error:#}"))]));
            Err(error)
        }
    }
}

/// Why nobody can take this process' place any more.
const fn too_late(phase: Phase) -> Option<&'static str> {
    match phase {
        Phase::Running => None,
        Phase::HandedOver => Some("another process has taken over already"),
        Phase::LameDuck | Phase::Draining | Phase::Cutting | Phase::Forced => Some("the gateway is stopping"),
    }
}

impl Successor {
    /// Tells one that waits for something why it gets nothing.
    fn refuse(self, why: &str) {
        if let Self::Came(socket) = self
            && let Ok(link) = Link::new(socket, PATIENCE)
        {
            // Who can't be told has gone by itself.
            drop(link.send_descriptors(&[]).and_then(|()| link.send([Word::Refused(why.to_owned())])));
        }
    }
}

/// The program as it is on disk now.
fn start(config: &Path) -> Result<Link> {
    if process::id() == 1 {
        bail!(
            "the first process of a container can't be replaced by another, since the container ends with it: start another container instead"
        );
    }
    let program = env::args_os().next().context("this process does not know its program")?;
    let (here, there) = UnixStream::pair()?;
    let mut command = Command::new(&program);
    // The service manager has said this of one process only, which is this one.
    command.args(TAKE_OVER).arg(config).env_remove("WATCHDOG_PID").stdin(Stdio::from(OwnedFd::from(there)));
    let child = command.spawn().map_err(|error| {
        let shown = Path::new(&program).display();
        anyhow!(
            "can't start {shown}: {error}\nhelp: put the program there again, such as by installing the package; until then, this \
             process goes on"
        )
    })?;
    let status = end_of(child)?;
    if !status.success() {
        bail!("the new process has ended ({status}): see what it has written to standard error");
    }
    Ok(Link::new(here, PATIENCE)?)
}

/// It starts another process, and ends.
fn end_of(mut child: Child) -> Result<ExitStatus> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match child.try_wait()? {
            Some(status) => return Ok(status),
            None if Instant::now() < deadline => std::thread::sleep(LOOK_EVERY),
            None => {
                child.kill()?;
                child.wait()?;
                bail!("the program on disk does nothing");
            }
        }
    }
}

/// Gives everything to the process at the other end of `link`, and lets go once that one is ready.
fn pass(link: &mut Link, running: &mut Running, known: Vec<News>, told: &mut Told) -> Result<(Taker, HandoverStatus)> {
    let given =
        give(link, running).and_then(|()| Ok(link.send(known.into_iter().map(Word::News).chain([Word::Complete]))?));
    // It may have said why it takes no more.
    let (taker, talks) = match (link.receive(), given) {
        (Ok(Answer::Ready { pid, talks, warnings }), Ok(())) => (Taker { pid, warnings }, talks),
        (Ok(Answer::Refused(why)), _) => bail!("the new process can't take over: {why}"),
        (Ok(Answer::Ready { .. }), Err(error)) => return Err(error),
        (Ok(Answer::News(_) | Answer::Talk(_)), _) => bail!("the new process begins too soon"),
        (Err(LinkError::Gone), _) => bail!("the new process has ended: see what it has written to standard error"),
        (Err(error), _) => return Err(anyhow!(error).context("the new process is not ready")),
    };
    if !running.let_go() {
        bail!("the gateway is stopping");
    }
    supervisor::handed_over(taker.pid);
    running.core.processes.ends_in(running.config.handover_timeout);
    let mut last = Vec::new();
    while let Ok(message) = told.messages.try_recv() {
        last.push(Word::from(message));
    }
    // If it can't be told, it has gone in this very moment, and there is no way back.
    let gone = link.send(last.into_iter().chain([Word::Go]));
    running.core.processes.has_after(taker.pid, Ear::new(told.sender.clone(), Fluency::of(talks)));
    running.core.processes.tell_after(Talk::Holds(running.core.all_processes()));
    Ok((taker, gone.map_or(HandoverStatus::Lost, |()| HandoverStatus::Done)))
}

fn give(link: &Link, running: &Running) -> Result<()> {
    let (state, descriptors) = handover_state(running)?;
    let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    link.send_descriptors(&descriptors)?;
    Ok(link.send([state])?)
}

impl Running {
    /// Takes no new connections any more, unless the process is about to end for another reason.
    fn let_go(&mut self) -> bool {
        let has_let_go = self.for_successor.phase.send_if_modified(|phase| {
            let is_running = *phase == Phase::Running;
            if is_running {
                *phase = Phase::HandedOver;
            }
            is_running
        });
        if has_let_go {
            // An address that the other process does not serve is nobody's then.
            (self.for_successor.admin, self.for_successor.control) = (None, None);
        }
        has_let_go
    }
}

/// All that there is, and its descriptors.
fn handover_state(running: &Running) -> Result<(HandoverState, Vec<OwnedFd>)> {
    let (listening, sockets): (Vec<_>, Vec<_>) = running.sockets.all().into_iter().unzip();
    let ForSuccessor { admin, control, keys, answers, .. } = &running.for_successor;
    let mut events = running.core.timeline.latest();
    events.reverse();
    let state = HandoverState {
        layout: LAYOUT,
        pid: process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        sockets: listening,
        admin: admin.as_ref().map(|(address, _)| *address),
        control: control.as_ref().map(|(path, _)| path.clone()),
        affinity: keys.iter().map(Key::reveal).collect(),
        farms: running.core.farms().iter().map(|farm| farm.hand_over()).collect(),
        answers: answers.borrow().text(),
        events,
        talks: TALKS,
    };
    let sockets = sockets.iter().flatten().map(AsFd::as_fd);
    let admin = admin.iter().map(|(_, socket)| socket.as_fd());
    let control = control.iter().map(|(_, socket)| socket.as_fd());
    let descriptors = sockets.chain(admin).chain(control).map(|socket| socket.try_clone_to_owned());
    Ok((state, descriptors.collect::<Result<_, _>>()?))
}

impl Following {
    /// In two halves, for two threads; the other process is `pid`.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn split(self, pid: u32) -> io::Result<(Telling, Hearing)> {
        let Self { mut link, messages } = self;
        link.wait_for_ever()?;
        Ok((Telling { speaker: link.speaker()?, messages }, Hearing { link, pid }))
    }
}

/// What tells the other process of what is here.
#[derive(Debug)]
pub(super) struct Telling {
    speaker: Speaker,
    messages: mpsc::UnboundedReceiver<Message>,
}

impl Telling {
    /// Until this process ends. Blocks.
    pub(super) fn tell(mut self) {
        while let Some(message) = self.messages.blocking_recv() {
            let mut words = vec![Word::from(message)];
            while let Ok(message) = self.messages.try_recv() {
                words.push(Word::from(message));
            }
            let is_last = matches!(words.last(), Some(Word::Talk(Talk::Farewell)));
            // Who hears the other one says so if it can't be told.
            if self.speaker.send(words).is_err() || is_last {
                return;
            }
        }
    }
}

/// What hears from the other process of the event channels there: who has a connection here still may name them.
#[derive(Debug)]
pub(super) struct Hearing {
    link: Link,
    /// The one that is heard.
    pid: u32,
}

impl Hearing {
    /// Until that one ends. Blocks.
    pub(super) fn hear(mut self, core: &Core) {
        let mut is_planned = false;
        let end = loop {
            match self.link.receive() {
                Ok(Answer::News(news)) => take(core, PeerProcess::Successor, news),
                Ok(Answer::Talk(Talk::Farewell)) => is_planned = true,
                Ok(Answer::Talk(talk)) => {
                    is_planned |= talk == Talk::Stop;
                    peers::take(core, talk);
                }
                Ok(Answer::Ready { .. } | Answer::Refused(_)) => {}
                // A later version may say more than is understood here.
                Err(LinkError::Other(_)) => {}
                Err(error) => break error,
            }
        };
        core.shared.channels.orphaned(PeerProcess::Successor);
        core.processes.after_has_gone();
        match end {
            LinkError::Gone if is_planned => info!(process.pid = self.pid, "the process that had taken over has ended"),
            LinkError::Gone
            | LinkError::Io(_)
            | LinkError::Silent
            | LinkError::Other(_)
            | LinkError::Strange
            | LinkError::HungUp => warn!(
                process.pid = self.pid,
                error.message = %Causes(&end),
                "the process that had taken over is no longer heard from, and has not said that it ends: if it was killed, new connections \
                 are refused, and only what this process holds is served yet; if `xspgate ctl status` finds no gateway, start it"
            ),
        }
    }
}
