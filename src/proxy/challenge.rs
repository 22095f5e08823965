//! HTTP Digest across a farm: a nonce is known only to the XSP that gave it, so the request that answers a challenge goes
//! where the challenge came from, also for the many clients that keep no cookies. Separate from the sessions, because it
//! lasts for an exchange and not for a session.

use std::net::IpAddr;
use std::sync::Arc;

use http::StatusCode;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};

use super::request::Accepted;
use crate::farm::{Farm, Session};
use crate::http1::head::RequestHead;
use crate::policy::endpoint::EndpointId;

/// A balancer may bring several clients over one connection; of so many it is known who challenged them.
const CLIENTS: usize = 16;

/// The last XSPs that challenged this connection's clients, the latest last.
#[derive(Debug, Default)]
pub(super) struct Challenge(Vec<(IpAddr, Arc<Farm>, EndpointId)>);

impl Challenge {
    /// Takes note of an answer that demands Digest authentication.
    pub(super) fn note(&mut self, client: IpAddr, farm: &Arc<Farm>, accepted: &Accepted) {
        let mut demands = accepted.head.fields.get_all(WWW_AUTHENTICATE.as_str());
        if accepted.head.status == StatusCode::UNAUTHORIZED && demands.any(is_digest) {
            self.0.retain(|(other, ..)| *other != client);
            if self.0.len() == CLIENTS {
                self.0.remove(0);
            }
            self.0.push((client, Arc::clone(farm), accepted.endpoint.id()));
        }
    }

    /// Where a request belongs: its session's home, or where the challenge came from that it answers.
    pub(super) fn home(&self, client: IpAddr, farm: &Arc<Farm>, session: Session, head: &RequestHead) -> Session {
        match (session, self.0.iter().find(|(other, ..)| *other == client)) {
            (Session::New | Session::Unknown, Some((_, challenger, endpoint)))
                if Arc::ptr_eq(challenger, farm) && head.fields.get(AUTHORIZATION.as_str()).is_some_and(is_digest) =>
            {
                Session::At(*endpoint)
            }
            (Session::New | Session::Unknown | Session::At(_), _) => session,
        }
    }
}

fn is_digest(value: &[u8]) -> bool {
    value.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"Digest"))
}
