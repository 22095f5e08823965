//! What processes that share a place tell each other about themselves: what each holds, and what an operator wants done in all
//! of them. Separate from the news of event channels, which came first: a process of an earlier version understands none of it,
//! so that it is said only to one that has said that it does.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::News;
use crate::control::{Row, Whom, Whose};
use crate::policy::streams::StreamKind;

/// What [`HandoverState::talks`](super::HandoverState::talks) and [`Answer::Ready`](super::Answer::Ready) say of a process that
/// understands what is in here.
pub const TALKS: u32 = 2;
/// The first that understands any of it.
const FIRST: u32 = 1;
/// The first that understands [`Talk::Farewell`], and says it.
const FAREWELL: u32 = 2;

/// What waits to be told to another process.
#[derive(Clone, Debug)]
pub enum Message {
    /// Of event channels.
    News(News),
    /// Of processes.
    Talk(Talk),
}

/// One thing that is said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Talk {
    /// The one who goes says what it holds, and those before it, as far as it has heard.
    Holds(Vec<Process>),
    /// XSPs are drained; what is there after so many seconds is cut.
    Drain(Whom, Option<f64>),
    /// They are drained no more.
    Undrain(Whom),
    /// Streams are to end; each process answers by that number.
    Cut(u64, Whose),
    /// Streams are to be told of; each process answers by that number.
    List(u64, Whose),
    /// One process answers.
    Answered(u64, Answered),
    /// The one who comes stops, and all before it with it.
    Stop,
    /// The one who says this ends in a moment, as it was to. It is the last that it says.
    Farewell,
}

/// How much of this another process understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fluency {
    /// Nothing.
    Mute,
    /// All but [`Talk::Farewell`], which it does not say either.
    Earlier,
    /// All.
    Whole,
}

impl Fluency {
    /// That of a process that says of itself that it `talks` so much.
    pub const fn of(talks: u32) -> Self {
        match talks {
            FAREWELL.. => Self::Whole,
            FIRST.. => Self::Earlier,
            0 => Self::Mute,
        }
    }
}

/// A process, and what it holds. Times are in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// How far it is on its way to its end, by [`Phase::name`](crate::drain::Phase::name).
    pub phase: String,
    /// When it began to serve.
    pub started: f64,
    /// Since when it has been in this phase.
    pub since: f64,
    /// When this phase ends at the latest; `None`: nobody has said.
    pub ends: Option<f64>,
    /// Its client connections.
    pub connections: u64,
    /// What it has at XSPs; those where it has nothing are left out.
    pub held: Vec<Held>,
    /// How many seconds ago it has said so.
    pub heard: f64,
}

/// What a process has at one XSP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The XSP's farm.
    pub farm: String,
    /// The XSP.
    pub endpoint: SocketAddr,
    /// By [`StreamKind`].
    pub streams: [u64; StreamKind::ALL.len()],
}

/// What one process answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    /// Who answers.
    pub pid: u32,
    /// How many streams were meant, by [`StreamKind`].
    pub streams: [u64; StreamKind::ALL.len()],
    /// The oldest of them, if they were to be told of.
    pub rows: Vec<Row>,
}

impl Process {
    /// How many streams it has, by [`StreamKind`].
    pub fn streams(&self) -> [u64; StreamKind::ALL.len()] {
        let mut all = [0; StreamKind::ALL.len()];
        for held in &self.held {
            all.iter_mut().zip(held.streams).for_each(|(all, its)| *all += its);
        }
        all
    }
}
