//! A request's body between the client and the XSPs, as it goes over the wire. It is the replay buffer too: as long as it
//! holds the body from its first byte, another attempt can send it again.

use http::Method;

use crate::http1::chunked::Event;
use crate::http1::encode;
use crate::http1::head::{Expectation, RequestFraming};
use crate::policy::failover::Body;

/// How far the client may run ahead of the XSP, in bytes.
const WINDOW: usize = 64 * 1024;

/// The body of one request.
#[derive(Debug)]
pub(super) struct Feed {
    /// What is held, from `dropped` on.
    bytes: Vec<u8>,
    dropped: u64,
    framing: RequestFraming,
    complete: bool,
    /// How much is kept for replay.
    replay: usize,
    /// Bytes of content, without framing.
    content: u64,
}

impl Feed {
    /// Nothing of a body framed so; `replay` bytes of it are kept to be sent again.
    pub(super) fn new(framing: RequestFraming, replay: usize) -> Self {
        let complete = matches!(framing, RequestFraming::None | RequestFraming::Length(0));
        Self { bytes: Vec::new(), dropped: 0, framing, complete, replay, content: 0 }
    }

    /// Takes over one event of the client's body.
    pub(super) fn push(&mut self, event: Event<'_>) {
        let chunked = self.framing == RequestFraming::Chunked;
        match event {
            Event::Data(data) => {
                self.content += data.len() as u64;
                self.bytes.extend_from_slice(data);
            }
            Event::Chunk(size) if chunked => encode::chunk_start(&mut self.bytes, size),
            Event::ChunkEnd if chunked => encode::chunk_end(&mut self.bytes),
            Event::End(trailers) => {
                if chunked {
                    encode::last_chunk(&mut self.bytes, &trailers);
                }
                self.complete = true;
            }
            Event::Chunk(_) | Event::ChunkEnd => {}
        }
    }

    /// How much of it there is.
    pub(super) const fn state(&self) -> Body {
        Body { is_whole: self.is_whole(), is_complete: self.is_complete() }
    }

    /// Whether the client has sent everything.
    pub(super) const fn is_complete(&self) -> bool {
        self.complete
    }

    /// Bytes of content that are still to come, if that is known.
    pub(super) fn left(&self) -> Option<u64> {
        match self.framing {
            _ if self.complete => Some(0),
            RequestFraming::None => Some(0),
            RequestFraming::Length(length) => Some(length.saturating_sub(self.content)),
            RequestFraming::Chunked => None,
        }
    }

    /// Whether the body can still be sent from its first byte.
    pub(super) const fn is_whole(&self) -> bool {
        self.dropped == 0
    }

    /// Bytes of content that have come from the client.
    pub(super) const fn content(&self) -> u64 {
        self.content
    }

    /// What an attempt that has sent `sent` bytes can send now.
    pub(super) fn after(&self, sent: u64) -> &[u8] {
        let start = usize::try_from(sent.saturating_sub(self.dropped)).unwrap_or(usize::MAX);
        self.bytes.get(start..).unwrap_or_default()
    }

    /// Whether an attempt that has sent `sent` bytes has sent the whole body.
    pub(super) const fn is_sent(&self, sent: u64) -> bool {
        self.complete && sent == self.dropped + self.bytes.len() as u64
    }

    /// Whether what follows the first `sent` bytes is still held, so that anyone who has sent these can go on.
    pub(super) const fn reaches(&self, sent: u64) -> bool {
        sent >= self.dropped
    }

    /// Whether more of the body should be read, given how much has been sent.
    pub(super) fn wants_more(&self, sent: u64) -> bool {
        !self.complete && self.after(sent).len() < WINDOW
    }

    /// An answer stands: nothing will be sent again, so that nothing that has been sent is kept. A channel lives for hours.
    pub(super) fn settle(&mut self, sent: u64) {
        self.replay = 0;
        self.release(sent);
    }

    /// Lets go of what has been sent, if the body is too long to be sent again.
    pub(super) fn release(&mut self, sent: u64) {
        if self.bytes.len() <= self.replay && self.dropped == 0 {
            return;
        }
        let spent = self.bytes.len() - self.after(sent).len();
        self.dropped += spent as u64;
        if spent == self.bytes.len() {
            self.bytes = Vec::new();
        } else {
            self.bytes.drain(..spent);
        }
    }
}

/// What attempts send before the body.
#[derive(Clone, Debug)]
pub(super) struct Outbound {
    /// The head's bytes; attempts share them.
    pub(super) head: bytes::Bytes,
    /// The method, which says how the answer is framed.
    pub(super) method: Method,
    /// Whether the route lets this method be sent again after it may have been delivered.
    pub(super) replayable: bool,
    /// Whether the client waits for a 100 before it sends the body.
    pub(super) expectation: Expectation,
}

impl Outbound {
    /// The same request for another target.
    pub(super) fn with_target(&self, target: &[u8]) -> Self {
        let line_end = self.head.windows(2).position(|pair| pair == b"\r\n").map_or(0, |at| at + 2);
        let mut head = Vec::with_capacity(self.head.len() + target.len());
        encode::request_line(&mut head, &self.method, target);
        head.extend_from_slice(&self.head[line_end..]);
        Self { head: head.into(), ..self.clone() }
    }

    /// The same request with one more field.
    pub(super) fn with_field(&self, name: &str, value: &str) -> Self {
        let fields = self.head.strip_suffix(b"\r\n").unwrap_or(&self.head);
        let mut head = Vec::with_capacity(self.head.len() + name.len() + value.len() + 4);
        head.extend_from_slice(fields);
        encode::field(&mut head, name.as_bytes(), value.as_bytes());
        encode::end(&mut head);
        Self { head: head.into(), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::head::Fields;

    #[test]
    fn a_short_body_stays_whole() {
        let mut feed = Feed::new(RequestFraming::Length(5), 16);
        feed.push(Event::Data(b"hello"));
        feed.push(Event::End(Fields::default()));
        feed.release(5);
        assert!(feed.is_whole() && feed.is_complete() && feed.is_sent(5));
        assert_eq!(feed.after(0), b"hello");
        assert_eq!(feed.after(3), b"lo");
    }

    #[test]
    fn a_long_body_is_let_go_as_it_is_sent() {
        let mut feed = Feed::new(RequestFraming::Length(10), 4);
        feed.push(Event::Data(b"0123456"));
        feed.release(3);
        assert!(!feed.is_whole());
        assert_eq!(feed.after(3), b"3456");
        feed.push(Event::Data(b"789"));
        feed.release(7);
        assert_eq!(feed.after(7), b"789");
        assert_eq!(feed.content(), 10);
        feed.push(Event::End(Fields::default()));
        assert!(feed.is_sent(10) && !feed.is_sent(9));
        assert!(feed.reaches(7) && !feed.reaches(6) && !feed.is_sent(6));
    }

    #[test]
    fn a_settled_body_is_let_go() {
        let mut feed = Feed::new(RequestFraming::Length(10), 16);
        feed.push(Event::Data(b"0123456"));
        feed.settle(5);
        assert!(!feed.is_whole());
        assert_eq!(feed.after(5), b"56");
        feed.push(Event::Data(b"789"));
        feed.push(Event::End(Fields::default()));
        feed.release(10);
        assert!(feed.is_sent(10) && feed.bytes.capacity() == 0);
    }

    #[test]
    fn chunks_keep_their_boundaries() {
        let mut feed = Feed::new(RequestFraming::Chunked, 64);
        for event in
            [Event::Chunk(3), Event::Data(b"a"), Event::Data(b"bc"), Event::ChunkEnd, Event::End(Fields::default())]
        {
            feed.push(event);
        }
        assert_eq!(feed.after(0), b"3\r\nabc\r\n0\r\n\r\n");
    }

    #[test]
    fn a_field_more_stands_behind_the_others() {
        let outbound = Outbound {
            head: b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n".as_slice().into(),
            method: Method::GET,
            replayable: true,
            expectation: Expectation::None,
        };
        let expected = b"GET /b HTTP/1.1\r\nHost: x\r\ntraceparent: 00\r\n\r\n";
        assert_eq!(outbound.with_target(b"/b").with_field("traceparent", "00").head[..], expected[..]);
    }
}
