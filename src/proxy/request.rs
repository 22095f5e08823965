//! What the failover loop is asked, and what it gives back. Separate from the loop, because those who ask need not know it.

use std::sync::Arc;

use super::context::Worker;
use super::snapshot::{Block, Route, Snapshot};
use crate::farm::Endpoint;
use crate::http1::head::ResponseHead;
use crate::policy::classify::Class;
use crate::upstream::connection::Connection;

/// An XSP's answer that is passed on.
pub(super) struct Accepted {
    /// The number of the attempt that brought it.
    pub(super) attempt: usize,
    pub(super) head: ResponseHead,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) connection: Box<Connection>,
    /// How much of the request's body went over this connection.
    pub(super) sent: u64,
    pub(super) class: Class,
    /// Whether the client is there for it.
    pub(super) is_awaited: bool,
}

/// Where a request belongs.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) worker: &'a Worker,
    pub(super) snapshot: &'a Snapshot,
    pub(super) block: &'a Block,
    pub(super) route: &'a Arc<Route>,
}
