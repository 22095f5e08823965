//! Where a message's body ends: the decisions of RFC 9112 section 6. Separate from the heads, because a reader that decides
//! otherwise than its neighbour is what request smuggling lives on. A request is framed in one plain way or refused; an
//! answer may say one thing twice.

use http::{Method, StatusCode};

use super::error::FramingError;
use super::fields::{Fields, Span};
use super::head::{Sender, Version};
use super::scan::Spans;

/// The longest body that is believed. Longer ones don't exist, and readers with signed counters misread them.
const LONGEST: u64 = i64::MAX as u64;

/// How a request's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFraming {
    /// No body: no framing field, or a length of zero.
    None,
    /// That many bytes, 1 to 2^63 - 1.
    Length(u64),
    /// By its last chunk.
    Chunked,
}

/// How a response's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFraming {
    /// No body by the status (1xx, 204, 304) or the method (HEAD), whatever the fields announce.
    Empty,
    /// That many bytes, 0 to 2^63 - 1.
    Length(u64),
    /// By its last chunk.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// Whether the connection may carry another message after this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// It may.
    KeepAlive,
    /// It ends with this message.
    Close,
}

/// The framing of a request with these fields.
///
/// # Errors
/// Whatever more than one reading is possible of.
pub fn request(version: Version, fields: &Fields) -> Result<RequestFraming, FramingError> {
    Ok(match announced(version, fields)? {
        Announced::Nothing | Announced::Length(0) => RequestFraming::None,
        Announced::Length(length) => RequestFraming::Length(length),
        Announced::Chunked => RequestFraming::Chunked,
    })
}

/// How an answer is framed.
pub(super) struct Answer {
    pub(super) framing: ResponseFraming,
    pub(super) persistence: Persistence,
    /// Whether [`settle`] is needed.
    pub(super) is_redundant: bool,
}

/// The framing of a response to a request of `method` with this status and these fields.
///
/// One thing may be said twice. Where readers may differ about the answer's end, it goes by RFC 9112 section 6.3, and its
/// connection is not used again: with both Content-Length and Transfer-Encoding, and with a 204 that announces a body.
///
/// # Errors
/// Whatever more than one reading is possible of, and a body where an interim status allows none.
pub(super) fn response(
    version: Version,
    status: StatusCode,
    method: &Method,
    fields: &Fields,
) -> Result<Answer, FramingError> {
    let said = Said::by(fields)?;
    let announces = said.is_chunked || said.length.is_some_and(|length| length > 0);
    if status.is_informational() && announces {
        return Err(FramingError::BodyWithoutContent);
    }
    let without_body = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status) || method == Method::HEAD;
    let framing = match said.length {
        _ if status.is_informational() || without_body => ResponseFraming::Empty,
        _ if said.is_chunked && version == Version::Http10 => return Err(FramingError::CodingInHttp10),
        _ if said.is_chunked => ResponseFraming::Chunked,
        Some(length) => ResponseFraming::Length(length),
        None => ResponseFraming::UntilClose,
    };
    let is_double = said.is_chunked && said.length.is_some();
    let is_disputed = is_double || status == StatusCode::NO_CONTENT && announces;
    let persistence = match framing {
        ResponseFraming::UntilClose => Persistence::Close,
        _ if is_disputed => Persistence::Close,
        ResponseFraming::Empty | ResponseFraming::Length(_) | ResponseFraming::Chunked => {
            persistence(version, fields, Sender::Xsp)
        }
    };
    Ok(Answer { framing, persistence, is_redundant: is_double || said.is_repeated })
}

/// What an answer's framing fields say, taken together.
#[derive(Default)]
struct Said {
    length: Option<u64>,
    is_chunked: bool,
    /// Whether anything is said more than once.
    is_repeated: bool,
}

impl Said {
    fn by(fields: &Fields) -> Result<Self, FramingError> {
        let mut said = Self::default();
        for (name, value) in fields.iter() {
            if name.eq_ignore_ascii_case(LENGTH) {
                for length in members(value) {
                    said.is_repeated |= said.length.is_some();
                    let length = decimal(length).ok_or(FramingError::Length)?;
                    if said.length.replace(length).is_some_and(|other| other != length) {
                        return Err(FramingError::DifferentLengths);
                    }
                }
            } else if name.eq_ignore_ascii_case(CODING) {
                for coding in members(value) {
                    said.is_repeated |= said.is_chunked;
                    // An empty member is refused, too: some readers drop it, and others take the body for raw.
                    if !coding.eq_ignore_ascii_case(b"chunked") {
                        return Err(FramingError::Coding);
                    }
                    said.is_chunked = true;
                }
            }
        }
        Ok(said)
    }
}

/// Leaves of the framing fields of an answer the one that counts, and in it what is said first: Transfer-Encoding, and only
/// without that Content-Length (RFC 9112 section 6.3).
pub(super) fn settle(bytes: &[u8], spans: &mut Spans) {
    let is = |span: &Span, name: &[u8]| span.name.of(bytes).eq_ignore_ascii_case(name);
    let is_chunked = spans.iter().any(|span| is(span, CODING));
    let mut is_said = false;
    spans.retain(|span| {
        let counts = is(span, if is_chunked { CODING } else { LENGTH });
        if counts && !is_said {
            is_said = true;
            let first = members(span.value.of(bytes)).next().map_or(0, <[u8]>::len);
            span.value = span.value.first(first);
            return true;
        }
        !is(span, CODING) && !is(span, LENGTH)
    });
}

const LENGTH: &[u8] = b"content-length";
const CODING: &[u8] = b"transfer-encoding";

/// The members of a list, without the blanks around them.
fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// Persistence by version and Connection. In HTTP/1.0 a connection is kept for a client that asks for it (RFC 9112
/// section 9.3), and an XSP's is not: that is an extension, and its XSP is asked in HTTP/1.1.
pub fn persistence(version: Version, fields: &Fields, sender: Sender) -> Persistence {
    let names = |option: &[u8]| {
        let mut options = fields.get_all("connection").flat_map(members);
        options.any(|named| named.eq_ignore_ascii_case(option))
    };
    let is_kept = match version {
        Version::Http11 => !names(b"close"),
        Version::Http10 => sender == Sender::Client && !names(b"close") && names(b"keep-alive"),
    };
    if is_kept { Persistence::KeepAlive } else { Persistence::Close }
}

/// What the framing fields say, before status and method are looked at.
enum Announced {
    Nothing,
    Length(u64),
    Chunked,
}

fn announced(version: Version, fields: &Fields) -> Result<Announced, FramingError> {
    let mut lengths = fields.get_all("content-length");
    let mut codings = fields.get_all("transfer-encoding");
    match (lengths.next(), codings.next()) {
        (None, None) => Ok(Announced::Nothing),
        (Some(_), Some(_)) => Err(FramingError::LengthAndCoding),
        (Some(_), None) if lengths.next().is_some() => Err(FramingError::SeveralLengths),
        (Some(length), None) => decimal(length).map(Announced::Length).ok_or(FramingError::Length),
        (None, Some(_)) if codings.next().is_some() => Err(FramingError::SeveralCodings),
        (None, Some(coding)) if !coding.eq_ignore_ascii_case(b"chunked") => Err(FramingError::Coding),
        (None, Some(_)) => match version {
            Version::Http10 => Err(FramingError::CodingInHttp10),
            Version::Http11 => Ok(Announced::Chunked),
        },
    }
}

/// `1*DIGIT` up to [`LONGEST`], and nothing else: no sign, no list, no blanks. Twenty digits and more are refused even
/// if most are zeros.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    (number <= LONGEST).then_some(number)
}
