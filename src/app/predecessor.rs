//! The process whose place this one takes: what it hands over, when this one may begin, and what becomes of its event
//! channels while it drains. The other side of `successor`.

use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::handover_state::Inherited;
use super::peers;
use crate::control::{Request, connect};
use crate::core::Core;
use crate::farm::{Endpoint, Farm};
use crate::handover::link::{Link, LinkError, Speaker};
use crate::handover::{
    Answer, Fluency, HandoverState, LAYOUT, Layout, Message, News, PeerProcess, Place, TALKS, Talk, Word,
};
use crate::processes::Ear;
use crate::proxy::channels::Told;
use crate::telemetry::Causes;
use crate::telemetry::timeline::{Event, Kind};

/// How long the other process may take for each thing that it says.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process that hands over to this one.
#[derive(Debug)]
pub struct Predecessor {
    link: Link,
    /// As people know it.
    name: String,
    /// Held for as long as it is heard of.
    heard: mpsc::Sender<()>,
    /// Ready once the other end is gone.
    gone: Option<Gone>,
    /// What happens here since this process accepts connections.
    report: Option<mpsc::UnboundedReceiver<Message>>,
    /// Its id, once that is known.
    pid: u32,
    /// How much it understands of what processes say of themselves.
    understands: Fluency,
}

/// Tells that a process is no longer heard from.
#[derive(Debug)]
pub(super) struct Gone(mpsc::Receiver<()>);

impl Gone {
    /// Returns once it is.
    pub(super) async fn wait(&mut self) {
        // Nothing is ever said there.
        self.0.recv().await;
    }
}

impl Predecessor {
    /// The process that has started this one for that, and is at the other end of standard input.
    ///
    /// # Errors
    /// Standard input is no such thing.
    pub fn at_stdin() -> Result<Self> {
        let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
        Self::new(UnixStream::from(socket))
    }

    /// The gateway whose control socket is at `path`; `None`: nobody is there.
    ///
    /// # Errors
    /// Somebody is there, and does not listen.
    pub fn at(path: &Path) -> Result<Option<Self>> {
        let mut socket = match connect(path, PATIENCE) {
            Ok(socket) => socket,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => return Err(error).with_context(|| format!("can't ask the gateway at {}", path.display())),
        };
        let mut line = serde_json::to_vec(&Request::TakeOver)?;
        line.push(b'\n');
        // One that does not hear this user may have hung up; what it says then tells why.
        drop(socket.write_all(&line));
        Self::new(socket).map(Some)
    }

    fn new(socket: UnixStream) -> Result<Self> {
        let (heard, gone) = mpsc::channel(1);
        let name = "the running gateway".to_owned();
        let (link, gone) = (Link::new(socket, PATIENCE)?, Some(Gone(gone)));
        Ok(Self { link, name, heard, gone, report: None, pid: 0, understands: Fluency::Mute })
    }

    /// Tells it why this process can't take its place.
    pub fn refuse(self, why: &str) {
        // It notices also if it can't be told.
        self.link.send([Answer::Refused(why.to_owned())]).ok();
    }

    /// What there is to take over.
    pub(super) fn handover_state(&mut self) -> Result<Inherited> {
        let descriptors =
            self.link.receive_descriptors().with_context(|| format!("{} hands nothing over", self.name))?;
        let text = self.link.receive_raw()?;
        if let Ok(Word::Refused(why)) = serde_json::from_slice(&text) {
            bail!("{} stays: {why}", self.name);
        }
        let Layout { layout } = serde_json::from_slice(&text)?;
        if layout != LAYOUT {
            bail!("{} hands over in layout {layout}, and this version takes {LAYOUT}", self.name);
        }
        let state: HandoverState = serde_json::from_slice(&text)?;
        self.name = format!("process {} (version {})", state.pid, state.version);
        (self.pid, self.understands) = (state.pid, Fluency::of(state.talks));
        Inherited::new(state, descriptors.into_iter())
    }

    /// For anyone who has to outlive it; once.
    pub(super) fn gone(&mut self) -> Option<Gone> {
        self.gone.take()
    }

    /// What tells it of event channels here; once.
    pub(super) fn report(&mut self) -> Option<Report> {
        Some(Report { speaker: self.link.speaker().ok()?, messages: self.report.take()? })
    }

    /// Who it is.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Takes note of every event channel that it has.
    pub(super) fn hear_of_channels(&mut self, core: &Core) -> Result<()> {
        loop {
            match self.link.receive()? {
                Word::News(news) => take(core, PeerProcess::Predecessor, news),
                Word::Complete => return Ok(()),
                Word::Talk(talk) => peers::take(core, talk),
                Word::Go => bail!("{} goes too soon", self.name),
                Word::Refused(why) => bail!("{} stays: {why}", self.name),
            }
        }
    }

    /// Says that this process could begin, and what is lost by that, in words, and returns when it shall: the other one accepts no
    /// connections any more.
    pub(super) fn until_go(&mut self, core: &Core, warnings: Vec<String>) -> Result<()> {
        // However long it takes: the other one may have let go by the time that this one gives up.
        self.link.wait_for_ever()?;
        // If it can't be told, it has said why before it hung up.
        drop(self.link.send([Answer::Ready { pid: process::id(), talks: TALKS, warnings }]));
        loop {
            match self.link.receive() {
                Ok(Word::News(news)) => take(core, PeerProcess::Predecessor, news),
                Ok(Word::Talk(talk)) => peers::take(core, talk),
                Ok(Word::Complete) => {}
                Ok(Word::Go) => {
                    let Told { sender, messages } = core.shared.channels.report();
                    self.report = Some(messages);
                    core.processes.has_before(&self.name, self.pid, Ear::new(sender, self.understands));
                    return Ok(());
                }
                Ok(Word::Refused(why)) => bail!("{} stays: {why}", self.name),
                // Somebody has to serve.
                Err(LinkError::Gone) => {
                    warn!(predecessor = self.name, "it has ended before it could hand over");
                    return Ok(());
                }
                Err(error) => return Err(anyhow!(error).context(format!("{} does not let go", self.name))),
            }
        }
    }

    /// Takes note of what becomes of its event channels, until it has ended. Blocks.
    pub(super) fn follow(mut self, core: &Core) {
        let mut has_taken_leave = false;
        let end = loop {
            match self.link.receive() {
                Ok(Word::News(news)) => take(core, PeerProcess::Predecessor, news),
                Ok(Word::Talk(Talk::Farewell)) => has_taken_leave = true,
                Ok(Word::Talk(talk)) => peers::take(core, talk),
                Ok(Word::Complete | Word::Go | Word::Refused(_)) => {}
                // A later version may say more than is understood here.
                Err(LinkError::Other(_)) => {}
                Err(error) => break error,
            }
        };
        let (held, others) = core.processes.held_before();
        core.shared.channels.orphaned(PeerProcess::Predecessor);
        core.processes.gone();
        core.timeline.add(Event::now(Kind::PredecessorGone, self.name.clone()));
        drop(self.heard);
        // One of an earlier version takes no leave.
        let is_planned = has_taken_leave || self.understands != Fluency::Whole;
        tell_of_end(&self.name, self.pid, is_planned, &end, held, &others);
    }
}

/// The process `pid` is no longer heard from because of `end`: it had `held` something last, and `others` had been replaced by it.
fn tell_of_end(name: &str, pid: u32, is_planned: bool, end: &LinkError, held: [u64; 3], others: &[u32]) {
    let [channels, cti, passthrough] = held;
    let others: Vec<String> = others.iter().map(|pid| format!("process {pid}")).collect();
    let others = (!others.is_empty()).then(|| others.join(", "));
    match end {
        LinkError::Gone if is_planned => info!(predecessor = name, process.pid = pid, "the replaced process has ended"),
        // Its end may cut its last word short.
        LinkError::Gone | LinkError::Io(_) => warn!(
            predecessor = name,
            process.pid = pid,
            channels,
            cti,
            passthrough,
            unknown = others,
            "the replaced process is no longer heard from, and has not said that it ends: if it was killed, the connections that it held \
             are lost, and their clients come back here; its core dump or the kernel's log may say why"
        ),
        LinkError::Silent | LinkError::Other(_) | LinkError::Strange | LinkError::HungUp => warn!(
            predecessor = name,
            process.pid = pid,
            channels,
            cti,
            passthrough,
            unknown = others,
            error.message = %Causes(end),
            "the replaced process is no longer heard from: what it holds is unknown from now on, and `ctl drain` and `ctl cut` do not \
             reach it; a signal (`kill`) to it has it cut what it holds"
        ),
    }
}

/// Tells another process what becomes of event channels, and what is wanted of it.
#[derive(Debug)]
pub(super) struct Report {
    speaker: Speaker,
    messages: mpsc::UnboundedReceiver<Message>,
}

impl Report {
    /// Until this process or the other one ends. Blocks.
    pub(super) fn tell(mut self) {
        while let Some(message) = self.messages.blocking_recv() {
            let mut words = vec![Answer::from(message)];
            while let Ok(message) = self.messages.try_recv() {
                words.push(Answer::from(message));
            }
            let is_last = matches!(words.last(), Some(Answer::Talk(Talk::Farewell)));
            // Who hears the other one says so if it can't be told.
            if self.speaker.send(words).is_err() || is_last {
                return;
            }
        }
    }
}

/// Takes note of what has happened in `from`.
pub(super) fn take(core: &Core, from: PeerProcess, news: News) {
    core.shared.channels.take(from, news, |at| find(core, at));
}

fn find(core: &Core, Place { farm, formerly, endpoint }: &Place) -> Option<(Arc<Farm>, Arc<Endpoint>)> {
    let names: Vec<&str> = [farm].into_iter().chain(formerly).map(String::as_str).collect();
    let farm = core.farm_called(&names)?;
    let endpoint = farm.at(*endpoint)?;
    Some((farm, endpoint))
}
