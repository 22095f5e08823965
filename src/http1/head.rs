//! Heads of requests and responses: either a message has exactly one reading, or it is refused. The front of the codec;
//! the fields, the framing and the byte scan have files of their own.
//!
//! A head may trickle in: call again with the longer buffer after each read. What is refused is refused as soon as the
//! bytes show it, and any split of the bytes gives the same result as the whole.

pub use super::error::{FieldError, FramingError, Garbage, Refusal};
pub use super::fields::Fields;
pub use super::framing::{Persistence, RequestFraming, ResponseFraming};
pub use super::request::{Expectation, RequestHead, has_begun, parse_request};
pub use super::response::{ResponseHead, parse_response};

/// Who has sent a message, and so how it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A client: what it sends is judged by the letter.
    Client,
    /// An XSP: what it sends is read as other proxies read it, and leaves clean.
    Xsp,
}

/// How much a head or a trailer section may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes, from the first of the start line to the empty line's LF; at most `u32::MAX` count.
    pub head_size: usize,
    /// Field lines.
    pub fields: usize,
}

impl HeadLimits {
    /// What chunked bodies may carry after their last chunk: 8 KiB in 32 fields.
    pub const TRAILERS: Self = Self { head_size: 8 * 1024, fields: 32 };

    /// What an XSP's response heads may have unless its farm says otherwise: 256 KiB in 1000 fields.
    pub const RESPONSE: Self = Self { head_size: 256 * 1024, fields: 1000 };

    /// The bytes that may be looked at: no more than a head may have.
    pub(super) fn cut<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[..bytes.len().min(self.size())]
    }

    /// Whether a head that is still open after these bytes can't end within the limit any more.
    pub(super) fn is_spent(&self, bytes: &[u8]) -> bool {
        bytes.len() >= self.size()
    }

    /// How many more bytes may be held beside those that are.
    pub(super) fn room(&self, held: usize) -> usize {
        self.size().saturating_sub(held)
    }

    fn size(&self) -> usize {
        self.head_size.min(u32::MAX as usize)
    }
}

/// 16 KiB in 100 fields.
impl Default for HeadLimits {
    fn default() -> Self {
        Self { head_size: 16 * 1024, fields: 100 }
    }
}

/// The versions that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: no chunks, and kept alive only for a client that asks for it.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// What stands where a version should.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum VersionFault {
    /// No `HTTP/` digit `.` digit.
    Malformed,
    /// Another version.
    Unknown,
}

impl Version {
    /// Bytes of a version.
    pub(super) const LENGTH: usize = 8;

    /// Reads the version that `bytes` begins with; `None` while it may still become one. A client's later minor version is
    /// read as the latest that is spoken (RFC 9110 section 2.5).
    pub(super) fn read(bytes: &[u8], sender: Sender) -> Result<Option<Self>, VersionFault> {
        let fits = bytes.iter().zip(b"HTTP/0.0").all(|(byte, pattern)| match pattern {
            b'0' => byte.is_ascii_digit(),
            letter => byte == letter,
        });
        if !fits {
            return Err(VersionFault::Malformed);
        }
        match bytes.get(..Self::LENGTH) {
            None => Ok(None),
            Some(b"HTTP/1.1") => Ok(Some(Self::Http11)),
            Some(b"HTTP/1.0") => Ok(Some(Self::Http10)),
            Some([b'H', b'T', b'T', b'P', b'/', b'1', ..]) if sender == Sender::Client => Ok(Some(Self::Http11)),
            Some(_) => Err(VersionFault::Unknown),
        }
    }
}
