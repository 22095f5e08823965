//! One client's HTTPS connection: request after request until one side has had enough. Every wait in it has an end.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::answer::Last;
use super::challenge::Challenge;
use super::context::Worker;
use super::error::{Error, refuse};
use super::exchange::Exchange;
use super::feed::Feed;
use super::http1::{HeadError, Http1};
use super::ingress::Ingress;
use super::journal::Journal;
use super::service::{Served, Transaction};
use super::snapshot::{Block, Introduction, Listener, Snapshot};
use super::tracking::new_tracking_id;
use crate::alarm::Alarm;
use crate::drain::Phase;
use crate::http1::head::{RequestFraming, RequestHead};
use crate::policy::forwarded;
use crate::tls::clients::Trusted;
use crate::tls::server::ClientAuth;
use crate::tls::stream::Stream;

/// How long a client may take to read a last answer, while what it still sends is thrown away. Clients close as soon as they have
/// it; one that is still sending a body, or far away, takes longer.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long a process that drains waits for one more request on a connection that idles, to say with its answer that it is the
/// last. A close that a request crosses is a request lost, and some clients learn of a close by their next request only.
const ONE_MORE: Duration = Duration::from_secs(5);

/// A client whose handshake is through.
pub(super) struct Accepted {
    pub(super) stream: Stream,
    /// What it said in its handshake.
    pub(super) introduction: Introduction,
    /// By which demands it was judged.
    pub(super) clients: ClientAuth,
    /// Whether it is still believed, if it has shown a certificate.
    pub(super) trusted: Option<Box<Trusted>>,
    /// Its address, as far as the connection tells.
    pub(super) client: IpAddr,
}

/// Serves the connection to its end; `listener` is its index in the snapshot.
pub(super) fn serve_https(worker: Worker, listener: usize, accepted: Accepted) -> impl Future<Output = ()> {
    let mut client = Client {
        worker,
        listener,
        introduction: accepted.introduction,
        clients: accepted.clients,
        client: accepted.client,
        http: Http1::new(accepted.stream, accepted.trusted),
        alarm: Alarm::default(),
        challenge: Challenge::default(),
        at: At::Rest,
    };
    async move { client.run().await }
}

struct Client {
    worker: Worker,
    listener: usize,
    /// What the client said in its handshake.
    introduction: Introduction,
    /// By which demands it was judged; a reload may have others take their place.
    clients: ClientAuth,
    client: IpAddr,
    http: Http1,
    alarm: Alarm,
    challenge: Challenge,
    at: At,
}

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// It idles, or its next request begins.
    Rest,
    /// A request is being answered.
    Request,
    /// Its last answer has left.
    Over,
}

/// Why no request follows.
enum End {
    /// Nobody misses anything.
    Quiet,
    /// The client is told.
    Refused(Error),
}

impl Client {
    async fn run(&mut self) {
        let mut first = First::Yes;
        loop {
            let snapshot = self.worker.shared.snapshot.load_full();
            // A reload may have taken the host away.
            let name = self.introduction.name.as_deref();
            let Some(block) = snapshot.listeners[self.listener].block(name).cloned() else { break };
            // Phases that pass have boxes of their own, so that a connection never holds more than its present one.
            let request = match self.head(&snapshot, first).await {
                Ok(head) => Box::pin(self.request(snapshot, block, head)),
                Err(End::Quiet) => break,
                Err(End::Refused(error)) => {
                    if Box::pin(self.refuse(&snapshot, error)).await == Served::Broken {
                        self.at = At::Over;
                        return;
                    }
                    break;
                }
            };
            let served = request.await;
            self.at = if served == Served::Broken { At::Over } else { At::Rest };
            if served == Served::Broken {
                // A stream that was ended is no fault of the connection.
                if self.http.is_untrusted() {
                    break;
                }
                return;
            }
            if !self.http.is_reusable() {
                break;
            }
            first = First::No;
        }
        self.at = At::Over;
        Box::pin(self.close()).await;
    }

    fn journal(&self, here: &Listener, client: IpAddr) -> Journal {
        let peer = self.introduction.peer.subject().cloned();
        Journal::new(&self.worker.shared.access, &here.label, &here.metrics, client, peer)
    }

    /// Serves one request. What is served is what is served now, and not when its connection fell silent; if its host is gone
    /// meanwhile, it gets its previous answer.
    async fn request(&mut self, mut snapshot: Arc<Snapshot>, mut block: Arc<Block>, head: Box<RequestHead>) -> Served {
        self.at = At::Request;
        let mut last = Last::No;
        let now = self.worker.shared.snapshot.load_full();
        if !Arc::ptr_eq(&now, &snapshot) {
            match now.listeners[self.listener].block(self.introduction.name.as_deref()).cloned() {
                Some(served) => (snapshot, block) = (now, served),
                None => last = Last::Yes,
            }
        }
        if let Some(peer) = block.clients.peer_again(&self.clients, self.http.session()) {
            (self.introduction.peer, self.clients) = (peer, block.clients.clone());
            if matches!(block.clients, ClientAuth::Demanded(_)) && self.introduction.peer.subject().is_none() {
                return Box::pin(self.refuse(&snapshot, Error::NoClientCertificate)).await;
            }
        }
        let sender = self.client;
        let client = forwarded::client(&head.fields, sender, |proxy| block.trusts(proxy));
        let mut journal = self.journal(&snapshot.listeners[self.listener], client);
        let Self { worker, introduction, http, alarm, challenge, .. } = self;
        let from = Ingress { worker, snapshot: &snapshot, block: &block, introduction, sender, client, last };
        Transaction { from, exchange: http, journal: &mut journal, alarm, challenge }.serve(head).await
    }

    /// Answers what is no request.
    async fn refuse(&mut self, snapshot: &Snapshot, error: Error) -> Served {
        self.at = At::Request;
        let mut journal = self.journal(&snapshot.listeners[self.listener], self.client);
        journal.tracking_id = new_tracking_id();
        self.http.close_after();
        let mut feed = Feed::new(RequestFraming::None, 0);
        refuse(&mut self.http, &mut journal, error, &mut feed, Last::Yes, snapshot.limits.write_timeout).await
    }

    /// The next request's head. The time for a head runs from its first byte, and for the first one from the handshake.
    async fn head(&mut self, snapshot: &Snapshot, first: First) -> Result<Box<RequestHead>, End> {
        let limits = &snapshot.limits;
        let start = Instant::now();
        let mut begun = (first == First::Yes || self.http.has_begun()).then_some(start);
        let mut draining = None;
        let Self { worker, http, alarm, .. } = self;
        poll_fn(|cx: &mut Context<'_>| {
            match http.poll_head(cx, &snapshot.head_limits, limits.request_body_size) {
                Poll::Ready(Ok(head)) => return Poll::Ready(Ok(head)),
                Poll::Ready(Err(HeadError::Refused(refusal))) => return Poll::Ready(Err(End::Refused(refusal.into()))),
                Poll::Ready(Err(HeadError::Gone | HeadError::Broken(_))) => return Poll::Ready(Err(End::Quiet)),
                Poll::Pending => {}
            }
            if begun.is_none() && http.has_begun() {
                begun = Some(Instant::now());
            }
            let mut at = begun.map_or(start + limits.keep_alive_timeout, |begun| begun + limits.request_head_timeout);
            let phase = *worker.shared.phase.borrow();
            if phase >= Phase::Draining && !http.has_begun() {
                if phase >= Phase::Cutting {
                    return Poll::Ready(Err(End::Quiet));
                }
                at = at.min(*draining.get_or_insert_with(Instant::now) + ONE_MORE);
            }
            if !http.has_begun() && http.poll_untrusted(cx).is_ready() {
                return Poll::Ready(Err(End::Quiet));
            }
            alarm.poll_at(cx, at).map(|()| Err(if http.has_begun() { End::Refused(Error::Slow) } else { End::Quiet }))
        })
        .await
    }

    /// A proper end: close_notify, then what the client still sends is thrown away for a moment, so that its last answer
    /// is not lost to a reset.
    async fn close(&mut self) {
        let ending = async {
            if poll_fn(|cx| self.http.poll_shutdown(cx)).await.is_ok() {
                poll_fn(|cx| self.http.poll_discard(cx)).await;
            }
        };
        // Whether the client has seen it or not, this is the end.
        drop(timeout(FAREWELL, pin!(ending)).await);
    }
}

impl Drop for Client {
    /// Unless it has come to its own end, it is cut.
    fn drop(&mut self) {
        let is_cut_short = match self.at {
            At::Rest => self.http.has_begun(),
            At::Request => true,
            At::Over => false,
        };
        if is_cut_short {
            self.worker.shared.cuts.cut_short();
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use super::super::{AT_HAND, footprint};
    use super::*;

    #[test]
    fn a_request_takes_memory_that_is_at_hand() {
        type Asked = (&'static mut Client, Arc<Snapshot>, Arc<Block>, Box<RequestHead>);
        let size = footprint(&|(client, snapshot, block, head): Asked| client.request(snapshot, block, head));
        assert!(size <= AT_HAND, "{size} bytes");
    }
}
