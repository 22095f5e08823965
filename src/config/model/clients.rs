//! Which clients a block takes. Separate from the blocks, because several kinds of them share it.

use std::sync::Arc;

use super::Trust;
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
}

/// Whether a client's certificate must be meant for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientPurpose {
    /// `"client-auth"`: TLS client authentication is among its extended key usages, or it names none.
    ClientAuth,
    /// `"any"`: whatever they say.
    Any,
}
