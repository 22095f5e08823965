//! Response heads. Apart from requests, because the framing depends on what was asked, and because an XSP that talks
//! garbage is a failure of that XSP and no client's fault.

use std::fmt;
use std::sync::Arc;

use http::{Method, StatusCode};

use super::error::Garbage;
use super::fields::{Fields, Part};
use super::framing::{self, Persistence, ResponseFraming};
use super::head::{Limits, Version};
use super::scan::{self, Spans};

/// The head of a response that has exactly one reading.
#[derive(Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status, 100 to 999. Never 101.
    pub status: StatusCode,
    /// The version in the status line.
    pub version: Version,
    /// All fields, framing fields included.
    pub fields: Fields,
    /// How the body ends.
    pub framing: ResponseFraming,
    /// Whether the connection may carry another exchange.
    pub persistence: Persistence,
    bytes: Arc<[u8]>,
    reason: Part,
}

impl ResponseHead {
    /// The reason phrase as it came, which may be empty.
    pub fn reason(&self) -> &[u8] {
        self.reason.of(&self.bytes)
    }
}

/// Shows no values: they hold credentials.
impl fmt::Debug for ResponseHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseHead")
            .field("status", &self.status)
            .field("version", &self.version)
            .field("fields", &self.fields)
            .field("framing", &self.framing)
            .field("persistence", &self.persistence)
            .finish_non_exhaustive()
    }
}

/// Reads the response head that `buf` begins with, as the answer to a request of `method`, and tells how many bytes it
/// has; `None` while more are needed. Interim responses (1xx) come as heads of their own, framed
/// [`Empty`](ResponseFraming::Empty); the next head follows.
///
/// # Errors
/// The first fault in the order of the bytes, then those of the head as a whole.
pub fn parse_response(buf: &[u8], limits: &Limits, method: &Method) -> Result<Option<(ResponseHead, usize)>, Garbage> {
    let bytes = limits.cut(buf);
    let mut spans = Spans::new();
    let open = if limits.is_spent(bytes) { Err(Garbage::HeadTooLong) } else { Ok(None) };
    let Some(line) = status_line(bytes)? else { return open };
    let Some(end) = scan::section(bytes, line.end, limits.fields, &mut spans)? else { return open };
    Ok(Some((line.head(&bytes[..end], &spans, method)?, end)))
}

struct StatusLine {
    version: Version,
    status: StatusCode,
    reason: Part,
    end: usize,
}

fn status_line(bytes: &[u8]) -> Result<Option<StatusLine>, Garbage> {
    const CODE: usize = Version::LENGTH + 1;
    const REASON: usize = CODE + 4;
    let Some(version) = Version::read(bytes).map_err(|_| Garbage::StatusLine)? else { return Ok(None) };
    let fits = bytes[Version::LENGTH..].iter().zip(b" 000 ").all(|(byte, pattern)| match pattern {
        b'0' => byte.is_ascii_digit(),
        blank => byte == blank,
    });
    if !fits {
        return Err(Garbage::StatusLine);
    }
    if bytes.len() < REASON {
        return Ok(None);
    }
    let status = StatusCode::from_bytes(&bytes[CODE..CODE + 3]).map_err(|_| Garbage::StatusLine)?;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Garbage::SwitchingProtocols);
    }
    let reason_end = REASON + scan::text_length(&bytes[REASON..]);
    let line = scan::line_end(bytes, reason_end).map_err(|_| Garbage::StatusLine)?;
    Ok(line.map(|end| StatusLine { version, status, reason: Part::new(REASON, reason_end), end }))
}

impl StatusLine {
    /// Judges the head as a whole.
    fn head(self, bytes: &[u8], spans: &Spans, method: &Method) -> Result<ResponseHead, Garbage> {
        let bytes: Arc<[u8]> = bytes.into();
        let fields = Fields::new(bytes.clone(), spans);
        let framing = framing::response(self.version, self.status, method, &fields)?;
        let persistence = match framing {
            ResponseFraming::UntilClose => Persistence::Close,
            ResponseFraming::Empty | ResponseFraming::Length(_) | ResponseFraming::Chunked => {
                framing::persistence(self.version, &fields)
            }
        };
        Ok(ResponseHead {
            status: self.status,
            version: self.version,
            fields,
            framing,
            persistence,
            bytes,
            reason: self.reason,
        })
    }
}
