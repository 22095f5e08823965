//! What the failover loop is asked, and what it gives back. Separate from the loop, because those who ask need not know it.

use std::sync::Arc;

use super::context::Worker;
use super::snapshot::{Block, Route, Snapshot};
use crate::farm::{Endpoint, Session};
use crate::http1::head::ResponseHead;
use crate::policy::classify::Class;
use crate::upstream::connection::Connection;

/// An XSP's answer that stands.
pub(super) struct Standing {
    pub(super) head: ResponseHead,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) connection: Box<Connection>,
    /// How much of the request's body went over this connection.
    pub(super) sent: u64,
    pub(super) class: Class,
}

/// Where a request belongs.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) worker: &'a Worker,
    pub(super) snapshot: &'a Snapshot,
    pub(super) block: &'a Block,
    pub(super) route: &'a Arc<Route>,
    /// The Host that the client named, which XSPs are asked for too.
    pub(super) authority: &'a str,
}

/// Which XSPs may answer a request.
pub(super) enum Aim {
    /// Any of the farm, and rather the session's own.
    Farm(Session),
    /// The same for a request that opens an event channel: it waits for its turn.
    NewChannel(Session),
    /// The one where the event channel is that the request names, and no other, however that one stands (R-AFF-2).
    Channel(Arc<Endpoint>),
}
