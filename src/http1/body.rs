//! One message body of any framing as a row of events. Separate from [`chunked`](super::chunked), so that anyone who relays a
//! body need not know how it is framed.

use super::chunked::{ChunkError, Decoder, Event};
use super::head::{Fields, HeadLimits, RequestFraming, ResponseFraming, Sender};

/// Reads one body.
#[derive(Debug)]
pub enum Body {
    /// So many bytes are still to come.
    Length(u64),
    /// Chunks are to come.
    Chunked(Decoder),
    /// Everything until the connection ends.
    UntilClose,
    /// Nothing more belongs to this body.
    Done,
}

impl From<RequestFraming> for Body {
    fn from(framing: RequestFraming) -> Self {
        match framing {
            RequestFraming::None | RequestFraming::Length(0) => Self::Done,
            RequestFraming::Length(length) => Self::Length(length),
            RequestFraming::Chunked => Self::Chunked(Decoder::new(Sender::Client, HeadLimits::TRAILERS)),
        }
    }
}

impl From<ResponseFraming> for Body {
    fn from(framing: ResponseFraming) -> Self {
        match framing {
            ResponseFraming::Empty | ResponseFraming::Length(0) => Self::Done,
            ResponseFraming::Length(length) => Self::Length(length),
            ResponseFraming::Chunked => Self::Chunked(Decoder::new(Sender::Xsp, HeadLimits::TRAILERS)),
            ResponseFraming::UntilClose => Self::UntilClose,
        }
    }
}

impl Body {
    /// Whether the body has been read to its end.
    pub const fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// The next event of `input` and how many bytes it took; without an event, more input is needed (or the body is
    /// done). The last event of a framed body is [`Event::End`].
    ///
    /// # Errors
    /// When chunks are not what RFC 9112 section 7.1 allows.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Option<Event<'a>>), ChunkError> {
        match self {
            Self::Done => Ok((0, None)),
            Self::UntilClose if input.is_empty() => Ok((0, None)),
            Self::UntilClose => Ok((input.len(), Some(Event::Data(input)))),
            Self::Length(0) => {
                *self = Self::Done;
                Ok((0, Some(Event::End(Fields::default()))))
            }
            Self::Length(_) if input.is_empty() => Ok((0, None)),
            Self::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= taken as u64;
                Ok((taken, Some(Event::Data(&input[..taken]))))
            }
            Self::Chunked(decoder) => {
                let (taken, event) = decoder.next(input)?;
                if matches!(event, Some(Event::End(_))) {
                    *self = Self::Done;
                }
                Ok((taken, event))
            }
        }
    }
}
