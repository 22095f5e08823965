//! The process whose place this one takes: what it hands over, when this one may begin, and what becomes of its event
//! channels while it drains. The other side of `successor`.

use std::io::Write;
use std::mem;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::running::Farms;
use crate::control::Request;
use crate::discover::Answers;
use crate::farm::{Endpoint, Farm};
use crate::handover::link::{Link, LinkError, Speaker};
use crate::handover::{self, Answer, Estate, Kin, LAYOUT, Layout, Listening, News, Word};
use crate::policy::affinity::Key;
use crate::proxy::channels::Channels;
use crate::telemetry::timeline::{Event, Kind, Timeline};

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
    report: Option<mpsc::UnboundedReceiver<News>>,
}

/// Tells that a process is heard of no more.
#[derive(Debug)]
pub(super) struct Gone(mpsc::Receiver<()>);

impl Gone {
    /// Returns once it is.
    pub(super) async fn wait(&mut self) {
        // Nothing is ever said there.
        self.0.recv().await;
    }
}

/// What it has handed over; nothing, without one.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    sockets: Vec<(Listening, Vec<TcpListener>)>,
    admin: Option<(SocketAddr, TcpListener)>,
    control: Option<(PathBuf, UnixListener)>,
    affinity: Vec<Key>,
    pub(super) farms: Vec<handover::Farm>,
    pub(super) answers: Option<Answers>,
    pub(super) events: Vec<Event>,
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
        let Ok(mut socket) = UnixStream::connect(path) else { return Ok(None) };
        let mut line = serde_json::to_vec(&Request::TakeOver)?;
        line.push(b'\n');
        socket.write_all(&line)?;
        Self::new(socket).map(Some)
    }

    fn new(socket: UnixStream) -> Result<Self> {
        let (heard, gone) = mpsc::channel(1);
        let name = "the running gateway".to_owned();
        Ok(Self { link: Link::new(socket, PATIENCE)?, name, heard, gone: Some(Gone(gone)), report: None })
    }

    /// Tells it why this process can't take its place.
    pub fn refuse(self, why: &str) {
        // It notices also if it can't be told.
        self.link.send([Answer::Refused(why.to_owned())]).ok();
    }

    /// What there is to take over.
    pub(super) fn estate(&mut self) -> Result<Inherited> {
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
        let estate: Estate = serde_json::from_slice(&text)?;
        self.name = format!("process {} (version {})", estate.pid, estate.version);
        Inherited::new(estate, descriptors.into_iter())
    }

    /// For whoever has to outlive it; once.
    pub(super) fn gone(&mut self) -> Option<Gone> {
        self.gone.take()
    }

    /// What tells it of event channels here; once.
    pub(super) fn report(&mut self) -> Option<Report> {
        Some(Report { speaker: self.link.speaker().ok()?, news: self.report.take()? })
    }

    /// Who it is.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Takes note of every event channel that it has.
    pub(super) fn hear_of_channels(&mut self, channels: &Channels, farms: &Farms) -> Result<()> {
        loop {
            match self.link.receive()? {
                Word::News(news) => take(channels, farms, Kin::Predecessor, news),
                Word::Complete => return Ok(()),
                Word::Go => bail!("{} goes too soon", self.name),
                Word::Refused(why) => bail!("{} stays: {why}", self.name),
            }
        }
    }

    /// Says that this process could begin, and returns when it shall: the other one accepts no connections any more.
    pub(super) fn until_go(&mut self, channels: &Channels, farms: &Farms) -> Result<()> {
        // However long it takes: the other one may have let go by the time that this one gives up.
        self.link.wait_for_ever()?;
        // If it can't be told, it has said why before it hung up.
        drop(self.link.send([Answer::Ready { pid: process::id() }]));
        loop {
            match self.link.receive() {
                Ok(Word::News(news)) => take(channels, farms, Kin::Predecessor, news),
                Ok(Word::Complete) => {}
                Ok(Word::Go) => {
                    self.report = Some(channels.report());
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
    pub(super) fn follow(mut self, channels: &Channels, farms: &Farms, timeline: &Timeline) {
        let end = loop {
            match self.link.receive() {
                Ok(Word::News(news)) => take(channels, farms, Kin::Predecessor, news),
                Ok(Word::Complete | Word::Go | Word::Refused(_)) => {}
                Err(error) => break error,
            }
        };
        channels.orphaned(Kin::Predecessor);
        timeline.add(Event::now(Kind::PredecessorGone, self.name.clone()));
        drop(self.heard);
        match end {
            LinkError::Gone => info!(predecessor = self.name, "it has ended"),
            LinkError::Io(_) | LinkError::Other(_) | LinkError::Strange => {
                warn!(predecessor = self.name, error = &end as &dyn std::error::Error, "it is heard no more");
            }
        }
    }
}

/// Tells another process what becomes of event channels.
#[derive(Debug)]
pub(super) struct Report {
    speaker: Speaker,
    news: mpsc::UnboundedReceiver<News>,
}

impl Report {
    /// Until this process or the other one ends. Blocks.
    pub(super) fn tell(mut self) {
        while let Some(news) = self.news.blocking_recv() {
            let mut words = vec![Answer::News(news)];
            while let Ok(news) = self.news.try_recv() {
                words.push(Answer::News(news));
            }
            if self.speaker.send(words).is_err() {
                // It drains: what it does not know is rarely asked for there.
                return;
            }
        }
    }
}

/// Takes note of what has happened in `from`.
pub(super) fn take(channels: &Channels, farms: &Farms, from: Kin, news: News) {
    channels.take(from, news, |farm, endpoint| find(farms, farm, endpoint));
}

fn find(farms: &Farms, farm: &str, endpoint: SocketAddr) -> Option<(Arc<Farm>, Arc<Endpoint>)> {
    let farm = farms.load().iter().find(|known| known.name() == farm).map(Arc::clone)?;
    let endpoint = farm.at(endpoint)?;
    Some((farm, endpoint))
}

impl Inherited {
    /// What there is without another process.
    pub(super) fn of_nobody() -> Self {
        Self { events: vec![Event::now(Kind::Started, env!("CARGO_PKG_VERSION"))], ..Self::default() }
    }

    fn new(estate: Estate, mut descriptors: impl Iterator<Item = OwnedFd>) -> Result<Self> {
        let mut next = || descriptors.next().context("fewer sockets have come than were promised");
        let mut sockets = Vec::new();
        for listening in estate.sockets {
            let its = (0..listening.count).map(|_| next().map(TcpListener::from)).collect::<Result<_>>()?;
            sockets.push((listening, its));
        }
        let admin = estate.admin.map(|address| Ok::<_, anyhow::Error>((address, next()?.into()))).transpose()?;
        let control = estate.control.map(|path| Ok::<_, anyhow::Error>((path, next()?.into()))).transpose()?;
        let affinity = estate.affinity.iter().map(|key| key.parse()).collect::<Result<_, _>>()?;
        // Without them it does what it would have done without another process.
        let answers = Answers::parse(estate.answers.as_bytes()).ok();
        Ok(Self { sockets, admin, control, affinity, farms: estate.farms, answers, events: estate.events })
    }

    /// The sockets of the address that is `configured` so, and where they are.
    pub(super) fn sockets(
        &mut self,
        configured: SocketAddr,
        cti: Option<usize>,
    ) -> Option<(SocketAddr, Vec<TcpListener>)> {
        let is_it = |listening: &Listening| {
            listening.configured == configured && (listening.cti == cti || configured.port() != 0)
        };
        let place = self.sockets.iter().position(|(listening, _)| is_it(listening))?;
        let (listening, sockets) = self.sockets.swap_remove(place);
        Some((listening.real, sockets))
    }

    /// That of `[admin]`, if it is `configured` so still.
    pub(super) fn admin(&mut self, configured: SocketAddr) -> Option<TcpListener> {
        self.admin.take().filter(|(address, _)| *address == configured).map(|(_, socket)| socket)
    }

    /// That of `[control]`, if it is `configured` so still.
    pub(super) fn control(&mut self, configured: &Path) -> Option<UnixListener> {
        self.control.take_if(|(path, _)| path == configured).map(|(_, socket)| socket)
    }

    /// The file of the control socket, if nobody has taken that.
    pub(super) fn abandoned(&mut self) -> Option<PathBuf> {
        self.control.take().map(|(path, _)| path)
    }

    /// The affinity keys that no file holds; the first signs.
    pub(super) fn affinity(&mut self) -> Vec<Key> {
        mem::take(&mut self.affinity)
    }
}
