//! What a process hands over to the one that takes its place, and what it tells it from then on, while it drains. Separate from
//! those who give and take, because both must mean the same.
//!
//! The listening sockets themselves are handed over, not their addresses: a socket of its own for the new process
//! (`SO_REUSEPORT`) would share connections with the old one's, and those that wait there when it is closed are reset.

pub mod link;
mod talk;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::telemetry::metrics::ChannelEnd;
use crate::telemetry::timeline::Event;

pub use self::talk::{Answered, Fluency, Held, Message, Process, TALKS, Talk};

/// The layout of everything in here; another one is not taken over.
pub const LAYOUT: u32 = 1;

/// What there is before anything else, whose shape may have changed.
#[derive(Debug, Deserialize)]
pub struct Layout {
    /// [`LAYOUT`] of the one who goes.
    pub layout: u32,
}

/// Everything but the event channels. The descriptors come before it: those of `sockets`, then of `admin`, then of `control`.
#[derive(Serialize, Deserialize)]
pub struct HandoverState {
    /// [`LAYOUT`].
    pub layout: u32,
    /// The process that goes.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Where clients come.
    pub sockets: Vec<Listening>,
    /// `[admin] listen`, if that is served.
    pub admin: Option<SocketAddr>,
    /// `[control] socket`, if there is one.
    pub control: Option<PathBuf>,
    /// The affinity keys, in base64, if no file holds them; the first signs.
    pub affinity: Vec<String>,
    /// Every farm.
    pub farms: Vec<Farm>,
    /// The last good DNS answers, as [`Discovery`](crate::discover) writes them.
    pub answers: String,
    /// What has happened lately, oldest first.
    pub events: Vec<Event>,
    /// [`TALKS`], if it understands that; earlier versions do not say.
    #[serde(default)]
    pub talks: u32,
}

/// A listening address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// As the configuration says it; the port may be 0.
    pub configured: SocketAddr,
    /// As it is.
    pub real: SocketAddr,
    /// The place of its `[[cti]]` block in the file; `None`: it is for `[[https]]` and `[[passthrough]]`.
    pub cti: Option<usize>,
    /// How many sockets it has.
    pub count: usize,
}

/// A farm, and what is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Farm {
    /// Its name in the configuration.
    pub name: String,
    /// Its endpoints, those that have left DNS too.
    pub endpoints: Vec<Endpoint>,
    /// What an operator has drained, as it was said.
    pub drained: Vec<String>,
}

/// An endpoint, and how it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Where it is dialled.
    pub address: SocketAddr,
    /// The place of its site in the farm.
    pub site: u16,
    /// The SRV priority.
    pub priority: u16,
    /// The SRV weight; `None`: as much as the others.
    pub weight: Option<u16>,
    /// The SRV target.
    pub target: Option<String>,
    /// Whether discovery names it no more.
    pub departed: bool,
    /// What is held against it.
    pub block: Option<Block>,
    /// It is drained, and what is left there after so many seconds is cut.
    #[serde(default)]
    pub cut_in: Option<f64>,
}

/// An endpoint's place on the blocklist.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// How long it lasts; 0: it has run out, and nobody has tried the endpoint yet.
    pub seconds: f64,
    /// Whether an operator has put it there. The field's name is what earlier versions read and write.
    #[serde(rename = "by_hand")]
    pub by_operator: bool,
}

/// What happens to an event channel of the process that tells of it, or of one that has told that one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum News {
    /// It is open.
    Opened {
        /// Which.
        channel: String,
        /// Where its XSP is.
        at: Place,
    },
    /// It is not any more.
    Ended {
        /// Which.
        channel: String,
        /// Why.
        end: ChannelEnd,
    },
    /// An event has come, and is to be acknowledged.
    Saw {
        /// On which channel; `None`: nobody knows any more.
        channel: Option<String>,
        /// To whom.
        client: IpAddr,
        /// Its id.
        event: String,
        /// From where.
        at: Place,
    },
}

/// An endpoint by its names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its farm.
    pub farm: String,
    /// The names that its farm had before: an earlier process may know it by them only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub formerly: Vec<String>,
    /// Its address.
    pub endpoint: SocketAddr,
}

/// What the one who goes says after the [`HandoverState`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// Something has happened.
    News(News),
    /// That was every channel that there is.
    Complete,
    /// From now on connections are the other's to accept.
    Go,
    /// It stays: why.
    Refused(String),
    /// What only one hears that [understands](TALKS) it.
    Talk(Talk),
}

/// What the one who comes says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It could begin.
    Ready {
        /// Its process.
        pid: u32,
        /// [`TALKS`], if it understands that; earlier versions do not say.
        #[serde(default)]
        talks: u32,
        /// What is lost by it, in words; earlier versions do not say.
        #[serde(default)]
        warnings: Vec<String>,
    },
    /// It can't: why.
    Refused(String),
    /// Something has happened, since it accepts connections: those of the one who goes may name its channels, too.
    News(News),
    /// What only one hears that [understands](TALKS) it.
    Talk(Talk),
}

impl From<Message> for Word {
    fn from(message: Message) -> Self {
        match message {
            Message::News(news) => Self::News(news),
            Message::Talk(talk) => Self::Talk(talk),
        }
    }
}

impl From<Message> for Answer {
    fn from(message: Message) -> Self {
        match message {
            Message::News(news) => Self::News(news),
            Message::Talk(talk) => Self::Talk(talk),
        }
    }
}

/// Another process that shares event channels with this one, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerProcess {
    /// This one has taken its place.
    Predecessor,
    /// It takes this one's place.
    Successor,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_says_nothing_of_what_it_understands_is_of_an_earlier_version() {
        let ready = serde_json::from_str::<Answer>(r#"{"ready":{"pid":7}}"#).unwrap();
        assert_eq!(ready, Answer::Ready { pid: 7, talks: 0, warnings: Vec::new() });
        let state = r#"{"layout":1,"pid":7,"version":"0","sockets":[],"admin":null,"control":null,"affinity":[],"farms":[
            {"name":"xsp","drained":[],"endpoints":[{"address":"192.0.2.1:443","site":0,"priority":0,"weight":null,
            "target":null,"departed":false,"block":null}]}],"answers":"","events":[]}"#;
        let state = serde_json::from_str::<HandoverState>(state).unwrap();
        assert_eq!((state.talks, state.farms[0].endpoints[0].cut_in), (0, None));
    }

    #[test]
    fn a_block_reads_as_earlier_versions_wrote_it() {
        let text = r#"{"seconds":1.5,"by_hand":true}"#;
        let block = Block { seconds: 1.5, by_operator: true };
        assert_eq!(serde_json::from_str::<Block>(text).unwrap(), block);
        assert_eq!(serde_json::to_string(&block).unwrap(), text);
    }
}
