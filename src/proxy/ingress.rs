//! Where a request has come in, and what that makes of it for XSPs. Separate from its life, which begins there.

use std::net::IpAddr;

use super::answer::Last;
use super::context::Worker;
use super::feed::Outbound;
use super::journal::Journal;
use super::snapshot::{Block, Introduction, Route, Snapshot};
use crate::broadworks::xsi::Intent;
use crate::config::model::ChannelReplay;
use crate::drain::Phase;
use crate::http1::head::RequestHead;
use crate::policy::classify::Replay;
use crate::policy::failover::Target;
use crate::policy::headers::{self, Downstream, Encodings, Trusted};
use crate::policy::health::load::Precedence;

/// Where a request has come in: who serves it, by which configuration, and who sends it.
#[derive(Clone, Copy)]
pub(super) struct Ingress<'a> {
    pub(super) worker: &'a Worker,
    pub(super) snapshot: &'a Snapshot,
    pub(super) block: &'a Block,
    /// Whose connection it came over: the client's, or that of a proxy before the gateway.
    pub(super) sender: IpAddr,
    /// Whose request it is, if the sender is a proxy whose word counts.
    pub(super) client: IpAddr,
    /// What the client has said in its handshake.
    pub(super) introduction: &'a Introduction,
    /// Whether the answer is its connection's last in any case.
    pub(super) last: Last,
}

impl<'a> Ingress<'a> {
    /// The name that was asked for in the handshake, or stands for one that was not.
    pub(super) fn host(&self) -> &'a str {
        self.block.host(self.introduction)
    }

    /// Whether an answer that leaves now is its connection's last. From the moment that the process is told to stop it is, so that
    /// clients hear of the end by an answer, and not by a close that crosses their next request.
    pub(super) fn last(&self) -> Last {
        if *self.worker.shared.phase.borrow() > Phase::Running { Last::Yes } else { self.last }
    }

    /// Before whom a request comes where an XSP has as much to do as it can; `None`: it never waits, since clients take any other
    /// answer than the XSP's for the end of an event channel.
    pub(super) fn precedence(&self, head: &RequestHead, intent: &Intent, target: Target) -> Option<Precedence> {
        match (intent, target) {
            (Intent::OpenChannel | Intent::Acknowledge | Intent::Heartbeat(_) | Intent::Channel(_), _) => None,
            (Intent::Other, Target::Channel(_) | Target::NewChannel(_)) => None,
            (Intent::Other, Target::Farm(_))
                if !Replay::Safe.allows(&head.method) || self.snapshot.is_webex(self.client) =>
            {
                Some(Precedence::Vital)
            }
            (Intent::Other, Target::Farm(Some(_))) => Some(Precedence::Safe),
            (Intent::Other, Target::Farm(None)) => Some(Precedence::NewSession),
        }
    }

    /// The request as XSPs get it.
    pub(super) fn outbound(&self, head: &RequestHead, intent: &Intent, route: &Route, journal: &Journal) -> Outbound {
        let opens = *intent == Intent::OpenChannel;
        let downstream = Downstream {
            peer: self.sender,
            host: self.host(),
            trusted: if self.block.trusts(self.sender) { Trusted::Yes } else { Trusted::No },
            tracking_id: &journal.tracking_id,
            cookie: &route.cookie,
            encodings: if opens { Encodings::None } else { Encodings::Any },
            trace: journal.trace_context(),
            via: self.snapshot.via,
        };
        let mut bytes = Vec::with_capacity(1024);
        headers::request_head(head, &downstream, head.framing, &mut bytes);
        Outbound {
            head: bytes.into(),
            method: head.method.clone(),
            // A second channel set of an application ends the first one.
            replayable: route.failover.replay.allows(&head.method)
                && (!opens || route.channel_replay == ChannelReplay::Allowed),
            expectation: head.expectation,
        }
    }
}
