//! CTI: a client whose certificate has been verified is bridged to an XSP over mutual TLS of the gateway's own (R-CTI-3).
//! Once an XSP has kept the connection it stays there for life.

mod bridge;

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::{AlertDescription, ProtocolVersion};
use tokio::time::{Instant, timeout};

use self::bridge::Bridge;
pub use self::bridge::Serving;
use super::Arrival;
use super::block::{Cti, Line};
use super::copy::{Copying, Outcome, Watch};
use super::journal::Journal;
use super::leg::{End, Leg};
use super::search::Search;
use crate::alarm::Alarm;
use crate::farm::Picked;
use crate::policy::fault::{AttemptEnd, Fault};
use crate::tls::clients::Trusted;
use crate::tls::stream::Stream;
use crate::upstream::connect::{Dial, connect, handshake_fault};

/// How much of what a client says first is kept, so that another XSP can be told.
const REPLAY: usize = 16 * 1024;
/// How long the last words to a client may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// Serves `client`, whose handshake is through, to its end.
pub fn serve(block: &Cti, arrival: Arrival, client: Stream, trusted: Option<Box<Trusted>>) -> Serving {
    Serving::new(bridge(Arc::clone(&block.line), arrival, client, trusted))
}

/// Bridges the client to the first XSP that keeps it; `None`: it is over already.
async fn bridge(
    line: Arc<Line>,
    arrival: Arrival,
    mut client: Stream,
    trusted: Option<Box<Trusted>>,
) -> Option<Box<Bridge>> {
    let mut search = Search::new(&line);
    let mut journal = Journal::new(Arc::clone(&line), arrival);
    let mut said = Said::default();
    loop {
        let Some((picked, xsp)) = reach(&mut search, &mut journal).await else {
            journal.unreached();
            farewell(client).await;
            return None;
        };
        journal.bridged(&picked);
        let copying = Copying::new(client, xsp, line.idle_timeout);
        let mut bridge = Box::new(Bridge { copying, journal, trusted: None });
        let took = search.begun().elapsed();
        let settled = settle(&mut bridge, &mut said, &search).await;
        bridge.journal.attempted(&picked, took, settled.end());
        match settled {
            Settled::Kept => {
                search.succeeded();
                bridge.journal.kept();
                bridge.trusted = trusted;
                return Some(bridge);
            }
            Settled::Over(outcome) => {
                search.succeeded();
                bridge.finish(outcome).await;
                return None;
            }
            Settled::Unknown(outcome) => {
                search.abandoned();
                bridge.finish(outcome).await;
                return None;
            }
            Settled::Broken(error) => {
                // An alert may be about what the client has said.
                let fault = if is_alert(&error) { Fault::Closed } else { fault(&error) };
                search.lost(fault, true);
                bridge.finish(Outcome::XspBroke(error)).await;
                return None;
            }
            Settled::TurnedAway(error) => {
                search.lost(fault(&error), false);
                Bridge { copying: Copying { client, .. }, journal, .. } = *bridge;
                journal.lost();
            }
        }
    }
}

/// An XSP that has shaken hands.
async fn reach(search: &mut Search, journal: &mut Journal) -> Option<(Picked, Stream)> {
    loop {
        let picked = search.next()?;
        let patience = search.patience();
        let dialling = connect(Dial::to(search.farm(), &picked.endpoint, patience));
        match dialling.await {
            Ok(stream) => {
                picked.endpoint.metrics().connections_new.inc();
                return Some((picked, stream));
            }
            Err(error) => search.failed(&picked, error.fault(), &error, journal),
        }
    }
}

/// What an XSP makes of a connection at first.
enum Settled {
    /// It keeps it.
    Kept,
    /// It does not want it. Nothing of what the client has said has been read there.
    TurnedAway(io::Error),
    /// It has broken the connection without a word. What the client has said may have been read: what ends a connection
    /// otherwise than by a verdict on the gateway's certificate can't be told from what those words did.
    Broken(io::Error),
    /// The connection has ended within that time in another way, and the XSP had its say.
    Over(Outcome),
    /// The same, before the XSP has said anything.
    Unknown(Outcome),
}

impl Settled {
    /// What it makes of the attempt.
    fn end(&self) -> AttemptEnd {
        match self {
            Self::Kept | Self::Over(_) => AttemptEnd::Success,
            Self::Unknown(_) => AttemptEnd::Abandoned,
            Self::TurnedAway(error) | Self::Broken(error) => AttemptEnd::Fault(fault(error)),
        }
    }
}

fn fault(error: &io::Error) -> Fault {
    if is_alert(error) {
        Fault::Handshake(handshake_fault(error))
    } else if error.kind() == io::ErrorKind::ConnectionReset {
        Fault::Reset
    } else {
        Fault::Closed
    }
}

/// What the client has said before an XSP has kept its connection.
#[derive(Debug, Default)]
struct Said {
    bytes: Vec<u8>,
    /// There was more than is kept.
    overflown: bool,
    /// That was all: the client has ended its direction.
    ended: bool,
}

/// Copies until it is clear whether the XSP keeps the connection. In TLS 1.3 the gateway's side of the handshake is through
/// before the XSP has looked at its certificate: a refusal comes as an alert later, and may cross the client's first words.
async fn settle(bridge: &mut Bridge, said: &mut Said, search: &Search) -> Settled {
    let until = Instant::now() + search.connect_timeout();
    let mut alarm = Alarm::default();
    let mut replay = std::mem::take(&mut said.bytes);
    poll_fn(|cx| {
        if !replay.is_empty() {
            let told = bridge.copying.xsp.send(cx, &replay);
            said.bytes = std::mem::take(&mut replay);
            if let Err(error) = told {
                return Poll::Ready(Settled::Broken(error));
            }
        }
        poll_settle(cx, bridge, said, &mut alarm, until)
    })
    .await
}

fn poll_settle(
    cx: &mut Context<'_>,
    Bridge { copying, journal, .. }: &mut Bridge,
    said: &mut Said,
    alarm: &mut Alarm,
    until: Instant,
) -> Poll<Settled> {
    let mut watch = Settling { journal, said, heard: false };
    match copying.poll(cx, &mut watch) {
        Poll::Ready(Outcome::XspBroke(error)) if !watch.heard => {
            // A write may fail before the alert that says why has been read.
            let error = last_words(cx, &mut copying.xsp).unwrap_or(error);
            let untouched = is_verdict(&error, &copying.xsp) || said.is_nothing();
            Poll::Ready(match untouched && !said.overflown {
                true => Settled::TurnedAway(error),
                // It is told that the client has hung up.
                false if said.ended => Settled::Unknown(Outcome::XspBroke(error)),
                false => Settled::Broken(error),
            })
        }
        Poll::Ready(outcome) if watch.heard => Poll::Ready(Settled::Over(outcome)),
        Poll::Ready(outcome) => Poll::Ready(Settled::Unknown(outcome)),
        Poll::Pending if watch.heard => Poll::Ready(Settled::Kept),
        Poll::Pending => alarm.poll_at(cx, until).map(|()| Settled::Kept),
    }
}

fn last_words(cx: &mut Context<'_>, xsp: &mut Stream) -> Option<io::Error> {
    match xsp.poll_receive(cx, &mut Vec::new()) {
        Poll::Ready(Err(error)) if is_alert(&error) => Some(error),
        Poll::Ready(_) | Poll::Pending => None,
    }
}

fn alert(error: &io::Error) -> Option<AlertDescription> {
    match error.get_ref().and_then(|source| source.downcast_ref()) {
        Some(rustls::Error::AlertReceived(alert)) => Some(*alert),
        Some(_) | None => None,
    }
}

fn is_alert(error: &io::Error) -> bool {
    alert(error).is_some()
}

/// Whether it is an alert that says what an XSP thinks of the gateway's certificate. It does so before it reads anything
/// else. In TLS 1.2 that is before the handshake is through here, too: an alert that comes later is about something else.
fn is_verdict(error: &io::Error, xsp: &Stream) -> bool {
    use AlertDescription as Alert;
    let of_certificates = matches!(
        alert(error),
        Some(
            Alert::HandshakeFailure
                | Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied
                | Alert::DecryptError
                | Alert::CertificateRequired
        )
    );
    of_certificates && xsp.common().protocol_version() == Some(ProtocolVersion::TLSv1_3)
}

impl Said {
    /// Whether an XSP can't have been told anything, not even that the client has hung up.
    fn is_nothing(&self) -> bool {
        self.bytes.is_empty() && !self.overflown && !self.ended
    }

    fn note(&mut self, bytes: &[u8]) {
        if self.bytes.len() + bytes.len() > REPLAY {
            self.bytes = Vec::new();
            self.overflown = true;
        } else if !self.overflown {
            self.bytes.extend_from_slice(bytes);
        }
    }
}

/// Watches a connection that the XSP may yet turn away.
struct Settling<'a> {
    journal: &'a mut Journal,
    said: &'a mut Said,
    /// The XSP has said something.
    heard: bool,
}

impl Watch for Settling<'_> {
    fn up(&mut self, bytes: &[u8]) {
        self.journal.up(bytes);
        self.said.note(bytes);
    }

    fn down(&mut self, bytes: &[u8]) {
        self.journal.down(bytes);
        self.heard = true;
    }

    fn up_ends(&mut self, end: End) {
        self.journal.up_ends(end);
        self.said.ended = true;
    }

    fn down_ends(&mut self, end: End) -> io::Result<()> {
        match self.heard || !self.said.is_nothing() {
            true => self.journal.down_ends(end),
            false => Err(io::ErrorKind::ConnectionAborted.into()),
        }
    }
}

/// A proper end; what the peer still sends is thrown away for a moment, so that the end is not lost to a reset.
async fn farewell(mut leg: Stream) {
    let ending = async {
        poll_fn(|cx| leg.poll_shutdown(cx)).await?;
        let mut unheard = Vec::new();
        while poll_fn(|cx| leg.poll_read(cx, &mut unheard)).await? > 0 {
            unheard.clear();
        }
        io::Result::Ok(())
    };
    // Whether the peer has seen it or not, this is the end.
    drop(timeout(FAREWELL, ending).await);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A gateway holds thousands of bridges that say nothing: what one takes beside its two TLS sessions is a design value.
    #[test]
    fn an_idle_bridge_takes_little() {
        let size = size_of::<Bridge>();
        assert!(size <= 704, "{size} bytes");
    }
}
