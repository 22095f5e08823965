//! What one process has for another, and what another had for this one. Separate from those who give and take, because the rest
//! of the gateway is made of it.

use std::mem;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tokio::sync::watch;

use crate::discover::Answers;
use crate::drain::Phase;
use crate::handover::{self, HandoverState, Listening};
use crate::policy::affinity::Key;
use crate::telemetry::timeline::{Event, Kind};

/// Whether another process has this one's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandoverStatus {
    /// It has not.
    Pending,
    /// It has, and knows it.
    Done,
    /// It should have, and ended when it was to begin.
    Lost,
}

/// What this process would hand over besides farms, sockets and channels.
#[derive(Debug)]
pub(super) struct ForSuccessor {
    /// As it is configured.
    pub(super) admin: Option<(SocketAddr, TcpListener)>,
    /// As it is configured.
    pub(super) control: Option<(PathBuf, UnixListener)>,
    /// The affinity keys in use.
    pub(super) keys: Vec<Key>,
    pub(super) answers: watch::Receiver<Answers>,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) handover: watch::Sender<HandoverStatus>,
}

/// What another process has handed over; nothing, without one.
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

impl Inherited {
    /// What there is without another process.
    pub(super) fn of_nobody() -> Self {
        Self { events: vec![Event::now(Kind::Started, env!("CARGO_PKG_VERSION"))], ..Self::default() }
    }

    /// What has come: the text, and the descriptors of which it tells.
    pub(super) fn new(state: HandoverState, mut descriptors: impl Iterator<Item = OwnedFd>) -> Result<Self> {
        let mut next = || descriptors.next().context("fewer sockets have come than were promised");
        let mut sockets = Vec::new();
        for listening in state.sockets {
            let its = (0..listening.count).map(|_| next().map(TcpListener::from)).collect::<Result<_>>()?;
            sockets.push((listening, its));
        }
        let admin = state.admin.map(|address| Ok::<_, anyhow::Error>((address, next()?.into()))).transpose()?;
        let control = state.control.map(|path| Ok::<_, anyhow::Error>((path, next()?.into()))).transpose()?;
        let affinity = state.affinity.iter().map(|key| key.parse()).collect::<Result<_, _>>()?;
        // Without them it does what it would have done without another process.
        let answers = Answers::parse(state.answers.as_bytes()).ok();
        Ok(Self { sockets, admin, control, affinity, farms: state.farms, answers, events: state.events })
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
