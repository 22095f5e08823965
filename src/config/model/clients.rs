//! Which clients a block takes. Separate from the blocks, because several kinds of them share it.

use std::sync::Arc;

use super::{Https, Trust};
use crate::config::types::oid::Oid;

/// Whether a block serves clients that ask for no name, where it is not the only one of its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nameless {
    /// `default = true`.
    Served,
    /// They are another block's, or nobody's.
    LeftToOthers,
}

/// What a client's certificate must be like.
#[derive(Clone, Debug, PartialEq)]
pub struct Clients {
    /// `client_trust`: who signed it, directly or through at most two intermediates (R-CTI-1).
    pub trust: Arc<Trust>,
    /// `client_names`, lower case: its CN or one of its DNS names is one of these (R-CTI-2); empty: any name.
    pub names: Vec<String>,
    /// `client_purpose`.
    pub purpose: ClientPurpose,
    /// `client_eku`: further extended key usages that it holds, all of them.
    pub eku: Vec<Oid>,
    /// `end_untrusted`.
    pub untrusted: Untrusted,
}

impl Https {
    /// What is demanded of clients' certificates, by the block or by interfaces of it, which demand the same.
    pub fn demand(&self) -> Option<&Clients> {
        self.clients.iter().chain(self.interfaces.iter().filter_map(|route| route.clients.as_ref())).next()
    }
}

/// What becomes of a connection whose client has ceased to be believed: its certificate was revoked or has expired, or its CA is
/// trusted no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untrusted {
    /// `false`: it lasts, since its handshake was good.
    Kept,
    /// `true`: it ends.
    Ended,
}

/// Whether a client's certificate must be meant for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientPurpose {
    /// `"client-auth"`: TLS client authentication is among its extended key usages, or it names none.
    ClientAuth,
    /// `"any"`: whatever they say.
    Any,
}
