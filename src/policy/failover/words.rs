//! What the machine is told and what it says. Separate from how it decides, since its drivers need no more than this.

use std::time::Instant;

use http::StatusCode;
use smallvec::SmallVec;

use crate::broadworks::interface::Interface;
use crate::policy::classify::Class;
use crate::policy::endpoint::EndpointId;
use crate::policy::fault::Fault;
use crate::policy::health::Rules;
use crate::policy::health::load::Precedence;
use crate::policy::plan::Pick;

/// What a request may do, and how patient it is.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Attempts in all (R-FAIL-4).
    pub tries: u8,
    /// What is held against endpoints.
    pub rules: Rules,
    /// Whether it may be sent again although an XSP may have carried it out.
    pub replayable: bool,
    /// Whether it changes nothing, so that it may be under way at two XSPs at once.
    pub safe: bool,
    /// Until when attempts may begin; `None`: their number is the only limit.
    pub until: Option<Instant>,
    /// The interface that it asks; `None`: no HTTP is spoken.
    pub interface: Option<Interface>,
    /// Before whom it comes where an XSP has as much to do as it can; `None`: it goes at once, as what keeps an event channel
    /// alive does, and a byte stream.
    pub precedence: Option<Precedence>,
}

/// Which endpoints may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Any of the farm, and rather the session's own.
    Farm(Option<EndpointId>),
    /// The same for a request that opens an event channel: it waits for its turn.
    NewChannel(Option<EndpointId>),
    /// The one where the event channel is that the request names, and no other, however that one stands (R-AFF-2).
    Channel(EndpointId),
}

/// How much of the request's body the gateway has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body {
    /// Nothing has been let go of: it can be sent from its beginning.
    pub is_whole: bool,
    /// Nothing more is to come.
    pub is_complete: bool,
}

/// Since when an attempt's endpoint is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Since when nobody but the endpoint is awaited.
    pub since: Instant,
    /// Until when it may stay silent; `None` while the client's body is what is awaited.
    pub deadline: Option<Instant>,
}

/// What has happened.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// The head of a final answer is there. `hop` is the endpoint to which it redirects the very same request, if that is one of
    /// the farm's (R-TOP-6).
    Head {
        /// Of which attempt.
        attempt: usize,
        /// Its status.
        status: StatusCode,
        /// Where it leads.
        hop: Option<EndpointId>,
        /// What is there of the request's body.
        body: Body,
    },
    /// The endpoint keeps the connection: the answer of a byte stream.
    Kept {
        /// Of which attempt.
        attempt: usize,
    },
    /// There will be no answer.
    Failed {
        /// To which attempt.
        attempt: usize,
        /// Why.
        fault: Fault,
        /// Whether the endpoint may have got any of the request.
        delivered: bool,
        /// What is there of the request's body.
        body: Body,
    },
    /// An attempt was given less time than it is due, which says nothing of its endpoint.
    CutShort {
        /// Which one.
        attempt: usize,
    },
    /// What [`Failover::due`](super::Failover::due) has said is due, unless it is an attempt that has failed.
    Due {
        /// What it is.
        due: Due,
        /// Whose request it is, so that two that wait can be told apart.
        session: u64,
        /// What is there of the request's body.
        body: Body,
    },
}

/// What time has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// The attempt has been silent for too long: it has failed with [`Fault::Timeout`].
    Silent(usize),
    /// The attempt has been silent for `advance_after`.
    Overdue(usize),
    /// The request's turn to open a channel may have come.
    Turn,
    /// There may be a place for it at the endpoint that it waits for, or the time is over.
    Place,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// Begin an attempt.
    Begin {
        /// Its number: 0, 1, 2, ...
        attempt: usize,
        /// Where.
        pick: Pick,
    },
    /// Hold what was picked until the request's turn comes: [`Action::Ask`] follows, or another one is picked.
    Queue {
        /// Where.
        pick: Pick,
    },
    /// Hold what was picked until there is a place: [`Action::Ask`] follows, or another one is picked. [`Due::Place`] is to be said
    /// once [`Load::take_knocks`](crate::policy::health::load::Load::take_knocks) tells this number.
    Wait {
        /// Where.
        pick: Pick,
        /// The number.
        number: u64,
    },
    /// Begin an attempt where what is held says.
    Ask {
        /// Its number.
        attempt: usize,
    },
    /// The request has missed its turn.
    Missed,
    /// The attempt is overdue until [`Health::overdue_end`](crate::policy::health::Health::overdue_end) is told this number.
    Overdue {
        /// Which one.
        attempt: usize,
        /// Where.
        id: EndpointId,
        /// The number.
        serial: u64,
    },
    /// Keep the answer: it is passed on if there is no better one.
    Keep {
        /// Whose.
        attempt: usize,
    },
    /// Pass this answer on; the others that still run may go on by themselves.
    Answer {
        /// Whose.
        attempt: usize,
        /// What it is taken for.
        class: Class,
    },
    /// There will be none.
    GiveUp(GiveUp),
}

/// What follows from one event, in order.
pub type Actions = SmallVec<[Action; 2]>;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// No endpoint is known.
    NoEndpoint,
    /// Nobody listens where the request's channel was.
    ChannelLost,
    /// Too many wait to open a channel.
    ChannelsBusy,
    /// The endpoint has as much to do as it can.
    Overloaded,
    /// None answered in time.
    Silent,
    /// The answer is beyond the gateway's limits.
    TooLarge,
    /// The connection was closed just when the request had been sent on it, which can't be sent again.
    Stale,
    /// None could be had.
    Unreachable,
}
