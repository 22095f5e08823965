//! A CTI connection that an XSP keeps, and what may end it. Separate from the search for that XSP, which is over by then: this is
//! what a connection is for days.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::farewell;
use crate::drain::{Cut, Ending};
use crate::registry::Why;
use crate::stream::copy::{Copying, Outcome};
use crate::stream::journal::Journal;
use crate::stream::leg::Leg;
use crate::tls::clients::Trusted;
use crate::tls::stream::Stream;

/// A CTI connection's life. Not a future of the compiler's making, so that it can be told to end at any time.
pub struct Serving(Stage);

enum Stage {
    Bridging(Pin<Box<dyn Future<Output = Option<Box<Bridge>>> + Send>>),
    Bridged(Box<Bridge>),
    Finishing(Pin<Box<dyn Future<Output = ()> + Send>>),
    Over,
}

impl Future for Serving {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.0 = match &mut self.0 {
                Stage::Bridging(bridging) => match ready!(bridging.as_mut().poll(cx)) {
                    Some(bridge) => Stage::Bridged(bridge),
                    None => Stage::Over,
                },
                Stage::Bridged(bridge) => {
                    let outcome = ready!(bridge.poll(cx));
                    self.finish(|bridge| bridge.finish(outcome))
                }
                Stage::Finishing(finishing) => {
                    ready!(finishing.as_mut().poll(cx));
                    Stage::Over
                }
                Stage::Over => return Poll::Ready(()),
            }
        }
    }
}

impl Cut for Serving {
    fn cut(&mut self) -> Ending {
        match &self.0 {
            Stage::Bridged(_) => {
                self.0 = self.finish(Bridge::take_leave);
                Ending::Begun
            }
            Stage::Finishing(_) => Ending::Begun,
            Stage::Bridging(_) | Stage::Over => Ending::None,
        }
    }
}

impl Serving {
    /// The life of the connection that `bridging` brings to an XSP.
    pub(super) fn new(bridging: impl Future<Output = Option<Box<Bridge>>> + Send + 'static) -> Self {
        Self(Stage::Bridging(Box::pin(bridging)))
    }

    /// What is left of a bridge that ends as `end` says.
    fn finish<F: Future<Output = ()> + Send + 'static>(&mut self, end: impl FnOnce(Box<Bridge>) -> F) -> Stage {
        match std::mem::replace(&mut self.0, Stage::Over) {
            Stage::Bridged(bridge) => Stage::Finishing(Box::pin(end(bridge))),
            stage @ (Stage::Bridging(_) | Stage::Finishing(_) | Stage::Over) => stage,
        }
    }
}

/// A client and the XSP that keeps its connection. Lives in a box, since most of the time it only lives.
pub(super) struct Bridge {
    pub(super) copying: Copying<Stream, Stream>,
    pub(super) journal: Journal,
    /// Whether its client is believed, once an XSP keeps it; `None`: nobody asks.
    pub(super) trusted: Option<Box<Trusted>>,
}

impl Bridge {
    /// Ends with the process: both are told that nothing is missing.
    async fn take_leave(self: Box<Self>) {
        let Self { copying, journal, .. } = *self;
        tokio::join!(farewell(copying.client), farewell(copying.xsp));
        drop(journal);
    }

    /// Ready when it ends: by either side, or since its client is believed no longer.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        if let Poll::Ready(outcome) = self.copying.poll(cx, &mut self.journal) {
            return Poll::Ready(outcome);
        }
        match &mut self.trusted {
            Some(trusted) => trusted.poll(cx, self.copying.client.common()).map(|()| Outcome::ClientUntrusted),
            None => Poll::Pending,
        }
    }

    /// Ends what is left: a leg that broke breaks the other one.
    pub(super) async fn finish(self: Box<Self>, outcome: Outcome) {
        let Self { copying, mut journal, .. } = *self;
        journal.ended(&outcome);
        match outcome {
            Outcome::Ended => {}
            Outcome::ClientBroke(_) => copying.xsp.reset(),
            Outcome::XspBroke(_) => copying.client.reset(),
            // Nor may an XSP that comes to life take it for a proper end.
            Outcome::Cut(Why::GivenUp) => {
                copying.client.reset();
                copying.xsp.reset();
            }
            Outcome::Idle | Outcome::ClientUntrusted | Outcome::Cut(Why::Operator | Why::Drained) => {
                tokio::join!(farewell(copying.client), farewell(copying.xsp));
            }
        }
    }
}
