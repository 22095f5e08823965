//! Whether clients that were believed once are still believed. Separate from the handshake's verdict, because certificates are
//! revoked, CAs removed and days passed while a connection lives, which may be for weeks.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use arc_swap::ArcSwap;
use rustls::CommonState;

use super::shown::Shown;
use super::{ClientVerifier, Fault, Peer};
use crate::config::model::Untrusted;
use crate::drain::{CutTurn, Cuts};
use crate::telemetry::metrics::ListenerMetrics;

/// By what the clients of one block are judged. It outlives a reload, so that connections from before find what is new.
#[derive(Debug)]
pub struct TrustWatch {
    demands: ArcSwap<Demands>,
    /// Goes up when all are to be judged again.
    round: AtomicU64,
}

#[derive(Debug)]
struct Demands {
    verifier: Arc<ClientVerifier>,
    /// What becomes of those that don't meet them any more.
    untrusted: Untrusted,
}

/// One connection whose client has shown a certificate that was believed.
#[derive(Debug)]
pub struct Trusted {
    watch: Arc<TrustWatch>,
    /// The turns in which such connections end.
    cuts: Arc<Cuts>,
    client: IpAddr,
    listener: Arc<ListenerMetrics>,
    /// When it was judged last.
    round: u64,
    fault: Option<Fault>,
    turn: CutTurn,
    standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Lives,
    /// It is to end, and that has been told.
    Ends,
}

impl TrustWatch {
    /// For a block that is new.
    pub fn new(verifier: &Arc<ClientVerifier>, untrusted: Untrusted) -> Arc<Self> {
        let demands = Demands { verifier: Arc::clone(verifier), untrusted };
        Arc::new(Self { demands: ArcSwap::from_pointee(demands), round: AtomicU64::new(0) })
    }

    /// Has all connections judged by `verifier` as soon as they are called to look (see [`Cuts::call`]).
    pub fn renew(&self, verifier: &Arc<ClientVerifier>, untrusted: Untrusted) {
        self.demands.store(Arc::new(Demands { verifier: Arc::clone(verifier), untrusted }));
        self.round.fetch_add(1, Ordering::Release);
    }
}

impl Trusted {
    /// A connection of `client` that has just proved to be `peer` to `judge`; `None`: it is nobody whom one could cease to believe.
    pub fn of(
        watch: Option<&Arc<TrustWatch>>,
        judge: Option<&Arc<ClientVerifier>>,
        peer: &Peer,
        cuts: &Arc<Cuts>,
        client: IpAddr,
        listener: &Arc<ListenerMetrics>,
    ) -> Option<Box<Self>> {
        let watch = Arc::clone(watch.filter(|_| peer.subject().is_some())?);
        let round = watch.round.load(Ordering::Acquire);
        // A reload may have been faster than the handshake.
        let is_judged = judge.is_some_and(|judge| Arc::ptr_eq(judge, &watch.demands.load().verifier));
        Some(Box::new(Self {
            round: if is_judged { round } else { round.wrapping_sub(1) },
            watch,
            cuts: Arc::clone(cuts),
            client,
            listener: Arc::clone(listener),
            fault: None,
            turn: CutTurn::default(),
            standing: Standing::Lives,
        }))
    }

    /// Ready when the connection is to end, since its client is not believed any more and its turn has come.
    pub fn poll(&mut self, cx: &mut Context<'_>, session: &CommonState) -> Poll<()> {
        let round = self.watch.round.load(Ordering::Acquire);
        if round != self.round {
            self.round = round;
            self.fault = self.judge(session);
        }
        let Some(fault) = self.fault else {
            self.turn.give_back();
            return Poll::Pending;
        };
        ready!(self.turn.poll(cx, &self.cuts));
        if self.standing == Standing::Lives {
            self.standing = Standing::Ends;
            self.listener.client_ended(fault.reason());
            let leaf = session.peer_certificates().and_then(<[_]>::first);
            let Shown { subject, issuer } = leaf.and_then(|leaf| Shown::of(leaf)).unwrap_or_default();
            let (client, reason) = (self.client, fault.reason());
            tracing::info!(client.address = %client, reason, tls.client.subject = subject, tls.client.issuer = issuer, "connection of a client ended: its certificate is no longer trusted");
        }
        Poll::Ready(())
    }

    /// Whether the end of [`Self::poll`] has come.
    pub fn has_ended(&self) -> bool {
        self.standing == Standing::Ends
    }

    fn judge(&self, session: &CommonState) -> Option<Fault> {
        let demands = self.watch.demands.load();
        match (demands.untrusted, Peer::judged(session, &demands.verifier)) {
            (Untrusted::Kept, _) | (Untrusted::Ended, Peer::Proved(_) | Peer::Nobody) => None,
            (Untrusted::Ended, Peer::Doubted(fault)) => (!is_about_us(fault)).then_some(fault),
        }
    }
}

/// Faults that say more of a list that was not fetched, or of this machine's clock, than of the client.
const fn is_about_us(fault: Fault) -> bool {
    matches!(fault, Fault::UnknownStatus | Fault::CrlOverdue | Fault::NotYetValid)
}
