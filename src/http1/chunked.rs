//! Chunked bodies with their chunk boundaries. Separate from other bodies, because a chunk is a document of an Xsi event
//! stream and leaves the gateway as it came: whole, alone and at once.

use super::error::FieldError;
use super::fields::Fields;
use super::head::Limits;
use super::scan::{self, Spans};

/// The most digits of a chunk size: those of the longest u64.
const MOST_DIGITS: usize = 16;

/// Fields that say something about framing, routing, credentials or content, and so come too late in a trailer section
/// (RFC 9110 section 6.5.1).
const NO_TRAILERS: [&str; 20] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
];

/// Reads one chunked body.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    trailers: Limits,
}

#[derive(Debug)]
enum State {
    Size,
    Data(u64),
    DataEnd,
    /// The trailer section as far as it came. It is held here so that what stays with the caller is a few bytes.
    Trailers(Vec<u8>),
    End,
}

/// What comes next in a chunked body.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A chunk of that many bytes begins, never zero.
    Chunk(u64),
    /// More of the chunk's bytes, at least one.
    Data(&'a [u8]),
    /// The chunk is through.
    ChunkEnd,
    /// The last chunk and the trailers are through; what follows is no part of the body.
    End(Fields),
}

/// Why a chunked body can't be read on. Neither can its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// A size that is no hexadecimal number of 1 to 16 digits.
    #[error("a chunk size is malformed")]
    Size,
    /// Anything between the size and its CRLF.
    #[error("a chunk has an extension")]
    Extension,
    /// A CR or LF without the other after the size or the data, or more data than announced.
    #[error("a chunk does not end in CRLF")]
    LineEnd,
    /// A malformed trailer section.
    #[error("malformed trailers")]
    Trailers(#[source] FieldError),
    /// A trailer that may only stand in a head.
    #[error("a trailer has a name that only a head may have")]
    TrailerName,
    /// A trailer section over the limit.
    #[error("the trailers are too long")]
    TrailersTooLong,
}

impl Decoder {
    /// A decoder at the start of a body; `trailers` limits the section after the last chunk.
    pub const fn new(trailers: Limits) -> Self {
        Self { state: State::Size, trailers }
    }

    /// Reads the next event from `input`, and tells how many bytes to take off its front, with or without an event.
    ///
    /// Without an event, more input is needed: call again with what was left (17 bytes at most) and what came after it.
    /// After [`Event::End`] nothing is taken any more.
    ///
    /// # Errors
    /// The first fault in the order of the bytes. The decoder is of no use afterwards.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Option<Event<'a>>), ChunkError> {
        match &mut self.state {
            State::Size => self.size(input),
            State::Data(_) | State::End if input.is_empty() => Ok((0, None)),
            State::Data(left) => {
                let taken = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                *left -= taken as u64;
                if *left == 0 {
                    self.state = State::DataEnd;
                }
                Ok((taken, Some(Event::Data(&input[..taken]))))
            }
            State::DataEnd => {
                let Some(end) = line_end(input, 0)? else { return Ok((0, None)) };
                self.state = State::Size;
                Ok((end, Some(Event::ChunkEnd)))
            }
            State::Trailers(_) => self.trailers(input),
            State::End => Ok((0, None)),
        }
    }

    fn size<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Option<Event<'a>>), ChunkError> {
        let Some((size, end)) = size_line(input)? else { return Ok((0, None)) };
        if size > 0 {
            self.state = State::Data(size);
            return Ok((end, Some(Event::Chunk(size))));
        }
        self.state = State::Trailers(Vec::new());
        let (taken, event) = self.trailers(&input[end..])?;
        Ok((end + taken, event))
    }

    fn trailers<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Option<Event<'a>>), ChunkError> {
        let State::Trailers(held) = &mut self.state else { return Ok((0, None)) };
        let before = held.len();
        // Nearly always the section is empty and at hand: then nothing is held.
        let section = if before == 0 {
            self.trailers.cut(input)
        } else {
            held.extend_from_slice(&input[..input.len().min(self.trailers.room(before))]);
            &held[..]
        };
        let mut spans = Spans::new();
        match scan::section(section, 0, self.trailers.fields, &mut spans).map_err(ChunkError::Trailers)? {
            Some(end) => {
                let fields = trailer_fields(&section[..end], &spans)?;
                self.state = State::End;
                Ok((end - before, Some(Event::End(fields))))
            }
            None if self.trailers.is_spent(section) => Err(ChunkError::TrailersTooLong),
            None if before == 0 => {
                held.extend_from_slice(input);
                Ok((input.len(), None))
            }
            None => Ok((input.len(), None)),
        }
    }
}

fn trailer_fields(section: &[u8], spans: &Spans) -> Result<Fields, ChunkError> {
    if spans.is_empty() {
        return Ok(Fields::default());
    }
    let fields = Fields::new(section.into(), spans);
    if fields.iter().any(|(name, _)| is_no_trailer(name)) {
        return Err(ChunkError::TrailerName);
    }
    Ok(fields)
}

/// The size and the length of the line that `input` begins with; `None` while that is still open.
fn size_line(input: &[u8]) -> Result<Option<(u64, usize)>, ChunkError> {
    let digits = input.iter().take(MOST_DIGITS).take_while(|byte| byte.is_ascii_hexdigit()).count();
    match input.get(digits) {
        None => return Ok(None),
        Some(b'\r' | b'\n') if digits > 0 => {}
        Some(b';' | b' ' | b'\t') if digits > 0 => return Err(ChunkError::Extension),
        Some(_) => return Err(ChunkError::Size),
    }
    let size = input[..digits].iter().fold(0, |size, &digit| size << 4 | u64::from(hex_value(digit)));
    Ok(line_end(input, digits)?.map(|end| (size, end)))
}

const fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

fn line_end(input: &[u8], at: usize) -> Result<Option<usize>, ChunkError> {
    scan::line_end(input, at).map_err(|_| ChunkError::LineEnd)
}

/// `_` counts as `-`, as it does with readers that make variables of names.
fn is_no_trailer(name: &[u8]) -> bool {
    let is = |other: &str| name.len() == other.len() && starts_with(name, other);
    NO_TRAILERS.into_iter().any(is) || starts_with(name, "x-forwarded-")
}

fn starts_with(name: &[u8], start: &str) -> bool {
    let alike = |(own, other): (&u8, u8)| own.to_ascii_lowercase() == other || (*own == b'_' && other == b'-');
    name.len() >= start.len() && name.iter().zip(start.bytes()).all(alike)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first error on a body that comes in one piece, and the same when it trickles.
    fn fault(body: &[u8]) -> Option<ChunkError> {
        let whole = read([body].into_iter());
        assert_eq!(read(body.chunks(1)), whole, "{body:?}");
        whole.err()
    }

    /// Data and trailers, or the first error; an open body gives what came.
    fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<(Vec<u8>, Option<Fields>), ChunkError> {
        let mut decoder = Decoder::new(Limits::TRAILERS);
        let (mut data, mut left) = (Vec::new(), Vec::new());
        for piece in pieces {
            left.extend_from_slice(piece);
            loop {
                let (taken, event) = decoder.next(&left)?;
                let open = event.is_none();
                match event {
                    Some(Event::Data(bytes)) => data.extend_from_slice(bytes),
                    Some(Event::End(trailers)) => return Ok((data, Some(trailers))),
                    Some(Event::Chunk(_) | Event::ChunkEnd) | None => {}
                }
                left.drain(..taken);
                if open {
                    break;
                }
            }
        }
        Ok((data, None))
    }

    #[test]
    fn a_chunk_is_a_document_and_stays_one() {
        let mut decoder = Decoder::new(Limits::TRAILERS);
        let mut input = &b"5\r\nhello\r\n0a\r\n0123456789\r\n0\r\n\r\nrest"[..];
        let mut seen = Vec::new();
        loop {
            let (taken, event) = decoder.next(input).unwrap();
            input = &input[taken..];
            let Some(event) = event else { break };
            seen.push(event);
        }
        let expected = [
            Event::Chunk(5),
            Event::Data(b"hello"),
            Event::ChunkEnd,
            Event::Chunk(10),
            Event::Data(b"0123456789"),
            Event::ChunkEnd,
            Event::End(Fields::default()),
        ];
        assert_eq!(seen, expected);
        assert_eq!(input, b"rest");
    }

    #[test]
    fn sizes_are_hexadecimal_and_nothing_else() {
        for (line, size) in [("a\r\n", 10), ("00000000000000fF\r\n", 255), ("ffffffffffffffff\r\n", u64::MAX)] {
            let mut decoder = Decoder::new(Limits::TRAILERS);
            assert_eq!(decoder.next(line.as_bytes()), Ok((line.len(), Some(Event::Chunk(size)))));
        }
        for (line, error) in [
            ("\r\n", ChunkError::Size),
            ("\n", ChunkError::Size),
            ("g\r\n", ChunkError::Size),
            ("-1\r\n", ChunkError::Size),
            ("+1\r\n", ChunkError::Size),
            (" 1\r\n", ChunkError::Size),
            ("0x1\r\n", ChunkError::Size),
            ("1_0\r\n", ChunkError::Size),
            (";a\r\n", ChunkError::Size),
            ("10000000000000000\r\n", ChunkError::Size),
            ("00000000000000001\r\n", ChunkError::Size),
            ("1 \r\n", ChunkError::Extension),
            ("1\t\r\n", ChunkError::Extension),
            ("1;a=b\r\n", ChunkError::Extension),
            ("1;\n", ChunkError::Extension),
            ("0;a\r\n", ChunkError::Extension),
            ("1\n", ChunkError::LineEnd),
            ("1\rx", ChunkError::LineEnd),
            ("1\r\r\n", ChunkError::LineEnd),
            ("0\n\n", ChunkError::LineEnd),
        ] {
            assert_eq!(fault(line.as_bytes()), Some(error), "{line:?}");
        }
    }

    #[test]
    fn data_ends_where_it_was_announced() {
        for body in ["1\r\nab\r\n", "1\r\na\n", "1\r\na\rb", "1\r\na0\r\n\r\n", "2\r\na\r\n0\r\n\r\n"] {
            assert_eq!(fault(body.as_bytes()), Some(ChunkError::LineEnd), "{body:?}");
        }
    }

    #[test]
    fn an_open_size_line_leaves_its_bytes() {
        for line in ["", "0", "0123456789abcdef", "0123456789abcdef\r"] {
            assert_eq!(Decoder::new(Limits::TRAILERS).next(line.as_bytes()), Ok((0, None)), "{line:?}");
        }
    }

    #[test]
    fn trailers_are_read_like_fields() {
        let body = b"1\r\na\r\n0\r\nA: b\r\nC:\r\n\r\n";
        let expected = Fields::from_iter([("A", "b"), ("C", "")]);
        assert_eq!(read([&body[..]].into_iter()), Ok((b"a".to_vec(), Some(expected.clone()))));
        assert_eq!(read(body.chunks(1)), Ok((b"a".to_vec(), Some(expected))));
        for (trailers, error) in [
            ("A : b\r\n", FieldError::SpaceBeforeColon),
            (" A: b\r\n", FieldError::Fold),
            (": b\r\n", FieldError::EmptyName),
            ("A: b\n", FieldError::BareLf),
            ("A: b\rc\r\n", FieldError::BareCr),
            ("A: \0\r\n", FieldError::Control),
            ("\rA: b\r\n", FieldError::BareCr),
            ("GET / HTTP/1.1\r\n", FieldError::SpaceBeforeColon),
        ] {
            let body = format!("0\r\n{trailers}\r\n");
            assert_eq!(fault(body.as_bytes()), Some(ChunkError::Trailers(error)), "{trailers:?}");
        }
    }

    #[test]
    fn trailers_hold_nothing_that_belongs_in_a_head() {
        let others = ["X-Forwarded-For", "x-forwarded-anything", "Content_Length", "X_Forwarded-Proto", "HOST", "tE"];
        for name in NO_TRAILERS.into_iter().chain(others) {
            let body = format!("0\r\nA: b\r\n{name}: 1\r\n\r\n");
            assert_eq!(fault(body.as_bytes()), Some(ChunkError::TrailerName), "{name}");
        }
        for name in ["X-Forwarded", "Tea", "Hos", "Content-Digest"] {
            assert_eq!(fault(format!("0\r\n{name}: 1\r\n\r\n").as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn trailers_are_limited() {
        let fits = format!("0\r\n{}\r\n", "A: b\r\n".repeat(32));
        assert_eq!(fault(fits.as_bytes()), None);
        let many = format!("0\r\n{}\r\n", "A: b\r\n".repeat(33));
        assert_eq!(fault(many.as_bytes()), Some(ChunkError::Trailers(FieldError::TooMany)));
        let overhead = "A: \r\n\r\n".len();
        let fits = format!("0\r\nA: {}\r\n\r\n", "b".repeat(8192 - overhead));
        assert_eq!(fault(fits.as_bytes()), None);
        let long = format!("0\r\nA: {}\r\n\r\n", "b".repeat(8193 - overhead));
        assert_eq!(fault(long.as_bytes()), Some(ChunkError::TrailersTooLong));
    }

    #[test]
    fn a_decoder_is_small() {
        assert!(size_of::<State>() <= 32);
    }

    #[test]
    fn nothing_is_taken_after_the_end() {
        let mut decoder = Decoder::new(Limits::TRAILERS);
        assert_eq!(decoder.next(b"0\r\n\r\nGET"), Ok((5, Some(Event::End(Fields::default())))));
        assert_eq!(decoder.next(b"GET"), Ok((0, None)));
    }
}
