//! Chunked bodies with their chunk boundaries. Separate from other bodies, because a chunk is a document of an Xsi event
//! stream and leaves the gateway as it came: whole, alone and at once.

use super::error::FieldError;
use super::fields::Fields;
use super::head::{HeadLimits, Sender};
use super::scan::{self, Spans};

/// The most digits of a chunk size: those of the longest u64.
const MOST_DIGITS: usize = 16;

/// The most bytes between a chunk's size and the end of its line.
const LONGEST_EXTENSION: usize = 1024;

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
    sender: Sender,
    trailers: HeadLimits,
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
    /// Anything between the size and its CRLF, in a request.
    #[error("a chunk has an extension")]
    Extension,
    /// A control in a chunk's extension.
    #[error("a control byte in a chunk's extension")]
    Control,
    /// More than 1 KiB between the size and its CRLF.
    #[error("a chunk's extension is longer than 1 KiB")]
    ExtensionTooLong,
    /// A CR or LF without the other after the size or the data, or more data than announced.
    #[error("a chunk does not end in CRLF")]
    LineEnd,
    /// A malformed trailer section.
    #[error("malformed trailers")]
    Trailers(#[source] FieldError),
    /// A trailer that may only stand in a head, in a request.
    #[error("a trailer has a name that only a head may have")]
    TrailerName,
    /// A trailer section over the limit.
    #[error("the trailers are too long")]
    TrailersTooLong,
}

impl Decoder {
    /// A decoder at the start of a body from `sender`; `trailers` limits the section after the last chunk.
    ///
    /// What an XSP puts between a chunk's size and the end of the line is dropped: blanks, with which Tomcat pads sizes,
    /// and extensions, which nobody uses. So are trailers that may only stand in a head.
    pub const fn new(sender: Sender, trailers: HeadLimits) -> Self {
        Self { state: State::Size, sender, trailers }
    }

    /// Reads the next event from `input`, and tells how many bytes to take off its front, with or without an event.
    ///
    /// Without an event, more input is needed: call again with what was left (a size's line at most) and what came after it.
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
        let Some((size, end)) = size_line(input, self.sender)? else { return Ok((0, None)) };
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
        let read = scan::section(section, 0, self.trailers.fields, self.sender, &mut spans);
        match read.map_err(ChunkError::Trailers)? {
            Some(end) => {
                let fields = trailer_fields(&section[..end], self.sender, spans)?;
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

fn trailer_fields(section: &[u8], sender: Sender, mut spans: Spans) -> Result<Fields, ChunkError> {
    match sender {
        Sender::Client if spans.iter().any(|span| is_no_trailer(span.name.of(section))) => {
            return Err(ChunkError::TrailerName);
        }
        Sender::Client => {}
        Sender::Xsp => spans.retain(|span| !is_no_trailer(span.name.of(section))),
    }
    if spans.is_empty() {
        return Ok(Fields::default());
    }
    Ok(Fields::new(spans.share(section), &spans))
}

/// The size and the length of the line that `input` begins with; `None` while that is still open.
fn size_line(input: &[u8], sender: Sender) -> Result<Option<(u64, usize)>, ChunkError> {
    let digits = input.iter().take(MOST_DIGITS).take_while(|byte| byte.is_ascii_hexdigit()).count();
    let end = match (input.get(digits), sender) {
        (None, _) => return Ok(None),
        (Some(b'\r' | b'\n'), _) if digits > 0 => digits,
        (Some(b';' | b' ' | b'\t'), Sender::Client) if digits > 0 => return Err(ChunkError::Extension),
        (Some(b';' | b' ' | b'\t'), Sender::Xsp) if digits > 0 => match extension_length(&input[digits..])? {
            Some(length) => digits + length,
            None => return Ok(None),
        },
        (Some(_), _) => return Err(ChunkError::Size),
    };
    let size = input[..digits].iter().fold(0, |size, &digit| size << 4 | u64::from(hex_value(digit)));
    Ok(line_end(input, end)?.map(|end| (size, end)))
}

/// The length of what stands between a size and the end of its line: blanks, or extensions, quoted values and all; `None`
/// while that is still open. A quoted value can't hold a line's end, so there is no need to know where one begins.
fn extension_length(rest: &[u8]) -> Result<Option<usize>, ChunkError> {
    let rest = &rest[..rest.len().min(LONGEST_EXTENSION + 1)];
    let blanks = scan::blank_length(rest);
    let length = match rest.get(blanks) {
        Some(b';') => blanks + scan::text_length(&rest[blanks..]),
        Some(b'\r' | b'\n') | None => blanks,
        Some(_) => return Err(ChunkError::Size),
    };
    match rest.get(length) {
        _ if length > LONGEST_EXTENSION => Err(ChunkError::ExtensionTooLong),
        None => Ok(None),
        Some(b'\r' | b'\n') => Ok(Some(length)),
        Some(_) => Err(ChunkError::Control),
    }
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
        read_from(Sender::Client, body).err()
    }

    /// What an answer's body holds.
    fn answer(body: impl AsRef<[u8]>) -> Result<(Vec<u8>, Option<Fields>), ChunkError> {
        read_from(Sender::Xsp, body.as_ref())
    }

    fn read_from(sender: Sender, body: &[u8]) -> Result<(Vec<u8>, Option<Fields>), ChunkError> {
        let whole = read(sender, [body].into_iter());
        assert_eq!(read(sender, body.chunks(1)), whole, "{body:?}");
        whole
    }

    /// Data and trailers, or the first error; an open body gives what came.
    fn read<'a>(
        sender: Sender,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(Vec<u8>, Option<Fields>), ChunkError> {
        let mut decoder = Decoder::new(sender, HeadLimits::TRAILERS);
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
        let mut decoder = Decoder::new(Sender::Client, HeadLimits::TRAILERS);
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
            let mut decoder = Decoder::new(Sender::Client, HeadLimits::TRAILERS);
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
            assert_eq!(
                Decoder::new(Sender::Client, HeadLimits::TRAILERS).next(line.as_bytes()),
                Ok((0, None)),
                "{line:?}"
            );
        }
    }

    #[test]
    fn trailers_are_read_like_fields() {
        let body = b"1\r\na\r\n0\r\nA: b\r\nC:\r\n\r\n";
        let expected = Fields::from_iter([("A", "b"), ("C", "")]);
        assert_eq!(read_from(Sender::Client, body), Ok((b"a".to_vec(), Some(expected))));
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
    fn what_stands_behind_a_size_in_an_answer_is_dropped() {
        for line in [
            "2   ",
            "2\t \t",
            "2;foo=bar",
            "2 ; foo = bar ",
            "2;a;b=\"c;\\\" d\"",
            "2;",
            "2;;",
            "2;\u{e9}",
            "02;a:b",
            "2;\tx",
        ] {
            let body = format!("{line}\r\nok\r\n0{}\r\n\r\n", line.trim_start_matches(['0', '2']));
            assert_eq!(answer(&body), Ok((b"ok".to_vec(), Some(Fields::default()))), "{body:?}");
        }
        let longest = format!("2;{}\r\nok\r\n0\r\n\r\n", "a".repeat(LONGEST_EXTENSION - 1));
        assert_eq!(answer(longest).unwrap().0, b"ok");
        for (line, error) in [
            (" 2\r\n", ChunkError::Size),
            ("2 2\r\n", ChunkError::Size),
            ("2\t2\r\n", ChunkError::Size),
            ("2 x\r\n", ChunkError::Size),
            ("2,a\r\n", ChunkError::Size),
            (";a\r\n", ChunkError::Size),
            ("\r\n", ChunkError::Size),
            ("0x2\r\n", ChunkError::Size),
            ("10000000000000000 \r\n", ChunkError::Size),
            ("2 \n", ChunkError::LineEnd),
            ("2;a\n", ChunkError::LineEnd),
            ("2;a=\"\n\"\r\n", ChunkError::LineEnd),
            ("2;a\rb\r\n", ChunkError::LineEnd),
            ("2;a\0\r\n", ChunkError::Control),
            ("2;a\x7f\r\n", ChunkError::Control),
        ] {
            assert_eq!(answer(line), Err(error), "{line:?}");
        }
        for filler in [" ", ";"] {
            let long = format!("2{}\r\nok\r\n", filler.repeat(LONGEST_EXTENSION + 1));
            assert_eq!(answer(long), Err(ChunkError::ExtensionTooLong), "{filler:?}");
        }
    }

    #[test]
    fn an_answers_trailers_that_belong_in_a_head_are_dropped() {
        for name in NO_TRAILERS.into_iter().chain(["X-Forwarded-For", "Content_Length", "HOST"]) {
            let body = format!("0\r\n{name}: 1\r\nA : b\r\n\t c \r\n{name}:\r\n 2\r\n\r\n");
            assert_eq!(answer(body), Ok((Vec::new(), Some(Fields::from_iter([("A", "b c")])))), "{name}");
        }
        assert_eq!(answer("0\r\n A: b\r\n\r\n"), Err(ChunkError::Trailers(FieldError::Fold)));
        assert_eq!(answer("0\r\nA\r\n\r\n"), Err(ChunkError::Trailers(FieldError::Name)));
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
        let mut decoder = Decoder::new(Sender::Client, HeadLimits::TRAILERS);
        assert_eq!(decoder.next(b"0\r\n\r\nGET"), Ok((5, Some(Event::End(Fields::default())))));
        assert_eq!(decoder.next(b"GET"), Ok((0, None)));
    }
}
