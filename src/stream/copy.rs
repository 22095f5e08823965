//! Bytes from each leg to the other, until both directions have ended or one leg has broken. A direction ends by itself, and
//! is read from only when the other leg has taken what came before: a slow reader slows its writer, and nothing piles up.

use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::leg::{End, Leg, Received};
use crate::alarm::Alarm;
use crate::registry::Why;

/// How often a leg that is not read from is asked whether its peer has reset it.
const GLANCE: Duration = Duration::from_millis(250);
/// How often a direction reads before the other one, and other connections, have their turn. Well below what tokio lets a
/// task do in one go: a direction that used that up would leave nothing of it to the other one, time and again.
const IN_A_ROW: usize = 16;

thread_local! {
    /// What is on its way just now; only one connection of a thread moves at a time.
    static PASSING: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Two legs and what goes between them.
#[derive(Debug)]
pub(super) struct Copying<C, X> {
    pub(super) client: C,
    pub(super) xsp: X,
    /// From the client to the XSP.
    up: Flow,
    /// From the XSP to the client.
    down: Flow,
    /// In a box, since few connections end by silence.
    idle: Option<Box<Idle>>,
    glance_at: Instant,
    alarm: Alarm,
}

/// Silence in both directions that ends a connection.
#[derive(Debug)]
struct Idle {
    timeout: Duration,
    moved: Instant,
}

/// One direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Open,
    /// The sink has not taken what it has been given.
    HeldUp,
    Ending(End),
    Ended,
}

/// Why copying is over.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Both directions have ended.
    Ended,
    /// The client's leg broke.
    ClientBroke(io::Error),
    /// The XSP's leg broke.
    XspBroke(io::Error),
    /// Nothing moved for `idle_timeout`.
    Idle,
    /// It was told to end.
    Cut(Why),
    /// The client's certificate is believed no longer.
    ClientUntrusted,
}

/// What passes from one leg to the other.
enum Passed<'a> {
    Bytes(&'a [u8]),
    End(End),
}

/// Which leg of a direction broke.
enum Broke {
    Source(io::Error),
    Sink(io::Error),
}

/// Is told of what goes by.
pub(super) trait Watch {
    /// The client has sent `bytes`.
    fn up(&mut self, bytes: &[u8]);
    /// The XSP has sent `bytes`.
    fn down(&mut self, bytes: &[u8]);
    /// The client sends no more, and has said so like that.
    fn up_ends(&mut self, _: End) {}
    /// The XSP sends no more, and has said so like that. An error takes it for a failure of the XSP.
    fn down_ends(&mut self, _: End) -> io::Result<()> {
        Ok(())
    }
    /// Asked when nothing moves: ready when the connection is to end before its time.
    fn poll_cut(&mut self, _: &mut Context<'_>) -> Poll<Why> {
        Poll::Pending
    }
}

impl<C: Leg, X: Leg> Copying<C, X> {
    pub(super) fn new(client: C, xsp: X, idle_timeout: Option<Duration>) -> Self {
        let now = Instant::now();
        Self {
            client,
            xsp,
            up: Flow::Open,
            down: Flow::Open,
            idle: idle_timeout.map(|timeout| Box::new(Idle { timeout, moved: now })),
            glance_at: now,
            alarm: Alarm::default(),
        }
    }

    /// Moves what can be moved; ready when it is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, watch: &mut impl Watch) -> Poll<Outcome> {
        let mut moved = false;
        let mut seen = |passed: Passed<'_>| match passed {
            Passed::Bytes(bytes) => {
                moved = true;
                watch.down(bytes);
                Ok(())
            }
            Passed::End(end) => watch.down_ends(end),
        };
        let down = self.down.poll(cx, &mut self.xsp, &mut self.client, &mut seen).map_err(|broke| match broke {
            Broke::Source(error) => Outcome::XspBroke(error),
            Broke::Sink(error) => Outcome::ClientBroke(error),
        });
        if let Poll::Ready(Err(outcome)) = down {
            return Poll::Ready(outcome);
        }
        let mut seen = |passed: Passed<'_>| {
            match passed {
                Passed::Bytes(bytes) => {
                    moved = true;
                    watch.up(bytes);
                }
                Passed::End(end) => watch.up_ends(end),
            }
            Ok(())
        };
        let up = self.up.poll(cx, &mut self.client, &mut self.xsp, &mut seen).map_err(|broke| match broke {
            Broke::Source(error) => Outcome::ClientBroke(error),
            Broke::Sink(error) => Outcome::XspBroke(error),
        });
        if let Poll::Ready(Err(outcome)) = up {
            return Poll::Ready(outcome);
        }
        if up.is_ready() && down.is_ready() {
            return Poll::Ready(Outcome::Ended);
        }
        if moved && let Some(idle) = &mut self.idle {
            idle.moved = Instant::now();
        }
        if let Poll::Ready(why) = watch.poll_cut(cx) {
            return Poll::Ready(Outcome::Cut(why));
        }
        self.poll_clock(cx)
    }

    /// A leg whose direction has ended or is held up is not read from, so it is asked now and then whether it is still there.
    fn poll_clock(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        let unread = self.up.is_unread() || self.down.is_unread();
        loop {
            let now = Instant::now();
            if unread && now >= self.glance_at {
                self.glance_at = now + GLANCE;
                if let Some(error) = error_of(&self.client) {
                    return Poll::Ready(Outcome::ClientBroke(error));
                }
                if let Some(error) = error_of(&self.xsp) {
                    return Poll::Ready(Outcome::XspBroke(error));
                }
            }
            let idle_at = self.idle.as_ref().map(|idle| idle.moved + idle.timeout);
            if idle_at.is_some_and(|at| at <= now) {
                return Poll::Ready(Outcome::Idle);
            }
            let glance_at = unread.then_some(self.glance_at);
            let Some(at) = idle_at.into_iter().chain(glance_at).min() else { return Poll::Pending };
            ready!(self.alarm.poll_at(cx, at));
        }
    }
}

/// What the peer's reset has left on the socket.
fn error_of(leg: &impl Leg) -> Option<io::Error> {
    leg.socket().take_error().ok().flatten()
}

impl Flow {
    fn is_unread(self) -> bool {
        self != Self::Open
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut impl Leg,
        sink: &mut impl Leg,
        seen: &mut impl FnMut(Passed<'_>) -> io::Result<()>,
    ) -> Poll<Result<(), Broke>> {
        for _ in 0..IN_A_ROW {
            match *self {
                Self::Ended => return Poll::Ready(Ok(())),
                Self::Ending(end) => {
                    ready!(sink.poll_end(cx, end)).map_err(Broke::Sink)?;
                    *self = Self::Ended;
                }
                Self::Open | Self::HeldUp => {
                    *self = Self::HeldUp;
                    ready!(sink.poll_flush(cx)).map_err(Broke::Sink)?;
                    *self = Self::Open;
                    if let Received::End(end) = ready!(pass(cx, source, sink, seen))? {
                        *self = Self::Ending(end);
                    }
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// One read, and one write of all that it brought.
fn pass(
    cx: &mut Context<'_>,
    source: &mut impl Leg,
    sink: &mut impl Leg,
    seen: &mut impl FnMut(Passed<'_>) -> io::Result<()>,
) -> Poll<Result<Received, Broke>> {
    let mut passing = PASSING.take();
    passing.clear();
    let passed = source.poll_receive(cx, &mut passing).map(|received| {
        let received = received.map_err(Broke::Source)?;
        match received {
            Received::Bytes => {
                seen(Passed::Bytes(&passing)).map_err(Broke::Source)?;
                sink.send(cx, &passing).map_err(Broke::Sink)?;
            }
            Received::End(end) => seen(Passed::End(end)).map_err(Broke::Source)?,
        }
        Ok(received)
    });
    PASSING.set(passing);
    passed
}

#[cfg(test)]
mod tests {
    use std::future::{Future, poll_fn};
    use std::pin::pin;

    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::consume_budget;
    use tokio::time::timeout;

    use super::*;

    /// A leg that always has something to say, and takes everything.
    struct Talkative(TcpStream);

    impl Talkative {
        async fn new() -> Self {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            Self(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap())
        }
    }

    impl Leg for Talkative {
        fn poll_receive(&mut self, cx: &mut Context<'_>, buffer: &mut Vec<u8>) -> Poll<io::Result<Received>> {
            // As a socket that is always readable.
            ready!(pin!(consume_budget()).poll(cx));
            buffer.push(0);
            Poll::Ready(Ok(Received::Bytes))
        }

        fn send(&mut self, _: &mut Context<'_>, _: &[u8]) -> io::Result<()> {
            Ok(())
        }

        fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_end(&mut self, _: &mut Context<'_>, _: End) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn socket(&self) -> &TcpStream {
            &self.0
        }
    }

    #[derive(Default)]
    struct Counted {
        up: usize,
        down: usize,
    }

    impl Watch for Counted {
        fn up(&mut self, bytes: &[u8]) {
            self.up += bytes.len();
        }

        fn down(&mut self, bytes: &[u8]) {
            self.down += bytes.len();
        }
    }

    #[tokio::test]
    async fn a_torrent_one_way_leaves_room_for_the_other_way() {
        let mut copying = Copying::new(Talkative::new().await, Talkative::new().await, None);
        let mut counted = Counted::default();
        let moving = poll_fn(|cx| {
            assert!(copying.poll(cx, &mut counted).is_pending());
            if counted.up > 1000 { Poll::Ready(()) } else { Poll::Pending }
        });
        timeout(Duration::from_secs(10), moving).await.expect("the client is never read from");
        assert!(counted.down <= 2 * counted.up, "{} bytes down, {} up", counted.down, counted.up);
    }
}
