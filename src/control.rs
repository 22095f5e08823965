//! What an operator may ask of a running gateway over its Unix socket: a request a connection, one line of JSON each way.
//! Separate from those who ask and answer, because both must mean the same.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::policy::streams::StreamKind;

/// Where the gateway is found unless told otherwise.
pub const SOCKET: &str = "/run/xspgate/control.sock";

/// The longest line, in bytes; a request is short, and a status is not.
pub const LONGEST_REQUEST: u64 = 4 * 1024;

/// A connection to the gateway whose socket is at `path`. One that takes no calls is waited for no longer than `patience`,
/// neither here nor for each thing that is said over the connection.
///
/// # Errors
/// The system's; `WouldBlock` when nobody takes the call.
pub fn connect(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_read_timeout(Some(patience))?;
    // It is the limit of connecting, too: the kernel keeps only so many calls that nobody takes.
    socket.set_write_timeout(Some(patience))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// What `/status` says.
    Status,
    /// XSPs get no new sessions.
    Drain(Whom),
    /// The same, even if no XSP of their farm is up then.
    ForceDrain(Whom),
    /// As [`Request::Drain`], or by force, and what is there after so many seconds is cut.
    DrainThenCut {
        /// Which.
        whom: Whom,
        /// Even if no XSP of their farm is up then.
        force: bool,
        /// After how many seconds.
        seconds: f64,
    },
    /// They get them again.
    Undrain(Whom),
    /// XSPs are blocked, for so many seconds; `None`: as long as if they had failed.
    Block(Whom, Option<f64>),
    /// They are taken off the blocklist.
    Unblock(Whom),
    /// All XSPs are taken off it, of this farm; `None`: of every one.
    UnblockAll(Option<String>),
    /// Event channels, and CTI and pass-through connections, are to end.
    Cut(Whose),
    /// These are told of.
    Connections(Whose),
    /// The configuration is read again.
    Reload,
    /// The gateway stops; asked for once more, at once.
    Stop,
    /// The program is started again, and takes this gateway's place.
    Restart,
    /// Who asks takes this gateway's place; the answer is no line, but what [`handover`](crate::handover) says.
    TakeOver,
    /// What is logged from now on, as `[log] level` says it; `None`: what the configuration says.
    Log(Option<String>),
    /// The access log's file is reopened.
    Reopen,
}

/// Which XSPs are meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whom {
    /// An address, with a port or without, or the name of an SRV target.
    pub xsp: String,
    /// Only in this farm, by a name that it has or had; `None`: in every one.
    pub farm: Option<String>,
    /// That farm's other names, by which an earlier process may know it; the gateway adds them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub formerly: Vec<String>,
}

impl Whom {
    /// The names of the farm that is meant; none: every farm.
    pub fn names(&self) -> Vec<&str> {
        self.farm.iter().chain(&self.formerly).map(String::as_str).collect()
    }
}

/// Whose connections are meant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Whose {
    /// An XSP's, as [`Whom::xsp`] has it, or a client's: its address, the subject of its certificate, or a name in that; `None`:
    /// everybody's.
    pub what: Option<String>,
    /// As [`Whom::farm`].
    pub farm: Option<String>,
    /// As [`Whom::formerly`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub formerly: Vec<String>,
    /// Nobody waits for the answer any more once this machine has run for so many seconds, so that nothing is done then; the
    /// gateway adds it. `None`: somebody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<f64>,
}

impl Whose {
    /// Those of `what`, only in the farm of that name if one is given.
    pub fn of(what: Option<String>, farm: Option<String>) -> Self {
        Self { what, farm, ..Self::default() }
    }

    /// As [`Whom::names`].
    pub fn names(&self) -> Vec<&str> {
        self.farm.iter().chain(&self.formerly).map(String::as_str).collect()
    }
}

/// What [`Request::Connections`] is answered with, in JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connections {
    /// When this was said, in seconds since 1970.
    pub time: f64,
    /// Those that are told of, oldest first.
    pub connections: Vec<Row>,
    /// How many there are besides.
    pub left_out: u64,
    /// Processes that may have more, and have not said, in words.
    pub unknown: Vec<String>,
}

/// One stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The process that has it.
    pub pid: u32,
    /// What it is.
    pub kind: StreamKind,
    /// Its client's address.
    pub client: IpAddr,
    /// The subject of its client's certificate, if that was verified.
    pub peer: Option<String>,
    /// The XSP's farm.
    pub farm: String,
    /// The XSP.
    pub endpoint: SocketAddr,
    /// When it was opened, in seconds since 1970.
    pub opened: f64,
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
}

/// What has come of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It is done: what there is to say.
    Done(String),
    /// It is not: why.
    Refused(String),
}

impl Request {
    /// A word for the log.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Drain(_) => "drain",
            Self::ForceDrain(_) => "force-drain",
            Self::DrainThenCut { .. } => "drain-then-cut",
            Self::Cut(_) => "cut",
            Self::Connections(_) => "connections",
            Self::Undrain(_) => "undrain",
            Self::Block(..) => "block",
            Self::Unblock(_) => "unblock",
            Self::UnblockAll(_) => "unblock-all",
            Self::Reload => "reload",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::TakeOver => "take-over",
            Self::Log(_) => "log",
            Self::Reopen => "reopen",
        }
    }

    /// Whether nothing is to be done but to answer.
    pub const fn only_asks(&self) -> bool {
        match self {
            Self::Status | Self::Connections(_) => true,
            Self::Drain(_)
            | Self::ForceDrain(_)
            | Self::DrainThenCut { .. }
            | Self::Cut(_)
            | Self::Undrain(_)
            | Self::Block(..)
            | Self::Unblock(_)
            | Self::UnblockAll(_)
            | Self::Reload
            | Self::Stop
            | Self::Restart
            | Self::TakeOver
            | Self::Log(_)
            | Self::Reopen => false,
        }
    }

    /// Whom it is about, if about somebody.
    pub const fn whom(&self) -> Option<&Whom> {
        match self {
            Self::Drain(whom)
            | Self::ForceDrain(whom)
            | Self::DrainThenCut { whom, .. }
            | Self::Undrain(whom)
            | Self::Block(whom, _)
            | Self::Unblock(whom) => Some(whom),
            Self::Status
            | Self::Cut(_)
            | Self::Connections(_)
            | Self::UnblockAll(_)
            | Self::Reload
            | Self::Stop
            | Self::Restart
            | Self::TakeOver
            | Self::Log(_)
            | Self::Reopen => None,
        }
    }
}
