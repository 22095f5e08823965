//! Who a client has proved to be, once its handshake is through. Separate from the verdicts on certificates, because where only
//! an interface demands one, a bad one ends no handshake: it makes its owner nobody.

use std::sync::Arc;

use rustls::pki_types::UnixTime;
use rustls::{CommonState, Error};

use super::{ClientVerifier, Fault};
use crate::tls::peer::subject;

/// Who a client has proved to be. Each connection has a handshake of its own, with a certificate that is judged again: where one
/// is asked for, no session is resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Nobody: it has shown no certificate.
    Nobody,
    /// Nobody that is believed: its certificate has this fault. It owns the key, but that makes it no one.
    Doubted(Fault),
    /// The subject of a certificate that is believed.
    Proved(Arc<str>),
}

impl Peer {
    /// Who is at the other end of `session`, whose handshake has verified the certificate.
    pub fn verified(session: &CommonState) -> Self {
        subject(session).map_or(Self::Nobody, |subject| Self::Proved(subject.into()))
    }

    /// Who is at the other end of `session`, whose handshake has verified nothing but that the client owns the key of the
    /// certificate that it has shown, if any.
    pub(in crate::tls) fn judged(session: &CommonState, verifier: &ClientVerifier) -> Self {
        let Some([leaf, sent @ ..]) = session.peer_certificates() else { return Self::Nobody };
        match verifier.judge(leaf, sent, UnixTime::now()) {
            Ok(_) => Self::verified(session),
            Err(Error::InvalidCertificate(error)) => Self::Doubted(Fault::of(&error)),
            // What else there is speaks of revocation lists.
            Err(_) => Self::Doubted(Fault::UnknownStatus),
        }
    }

    /// The subject that is proved, for logs.
    pub const fn subject(&self) -> Option<&Arc<str>> {
        match self {
            Self::Proved(subject) => Some(subject),
            Self::Nobody | Self::Doubted(_) => None,
        }
    }
}
