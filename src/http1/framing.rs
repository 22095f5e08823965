//! Where a message's body ends: the decisions of RFC 9112 section 6, the strict way. Separate from the heads, because a
//! reader that decides otherwise than its neighbour is what request smuggling lives on.

use http::{Method, StatusCode};

use super::error::FramingError;
use super::fields::Fields;
use super::head::Version;

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

/// The framing of a response to a request of `method` with this status and these fields.
///
/// # Errors
/// Whatever more than one reading is possible of, and a body where the status allows none.
pub fn response(
    version: Version,
    status: StatusCode,
    method: &Method,
    fields: &Fields,
) -> Result<ResponseFraming, FramingError> {
    let announced = announced(version, fields)?;
    if status.is_informational() || status == StatusCode::NO_CONTENT {
        return match announced {
            Announced::Nothing | Announced::Length(0) => Ok(ResponseFraming::Empty),
            Announced::Length(_) | Announced::Chunked => Err(FramingError::BodyWithoutContent),
        };
    }
    if status == StatusCode::NOT_MODIFIED || method == Method::HEAD {
        return Ok(ResponseFraming::Empty);
    }
    Ok(match announced {
        Announced::Nothing => ResponseFraming::UntilClose,
        Announced::Length(length) => ResponseFraming::Length(length),
        Announced::Chunked => ResponseFraming::Chunked,
    })
}

/// Persistence by version and Connection. HTTP/1.0 is never kept: its keep-alive is an extension that proxies misread.
pub fn persistence(version: Version, fields: &Fields) -> Persistence {
    let close = fields
        .get_all("connection")
        .flat_map(|value| value.split(|&byte| byte == b','))
        .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"));
    match version {
        Version::Http11 if !close => Persistence::KeepAlive,
        Version::Http10 | Version::Http11 => Persistence::Close,
    }
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
