//! Request heads. Apart from responses, because what is refused here is answered, and what a client may ask for is
//! narrower than what an XSP may say.

use std::fmt;
use std::sync::Arc;

use http::Method;

use super::error::Refusal;
use super::fields::{Fields, Part};
use super::framing::{self, Persistence, RequestFraming};
use super::head::{Limits, Version, VersionFault};
use super::scan::{self, Spans};
use super::target::{self, Form};

/// The head of a request that has exactly one reading.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// The method, case and all. Never CONNECT.
    pub method: Method,
    /// The version in the request line.
    pub version: Version,
    /// All fields, Host and framing fields included. There is exactly one Host, and no Upgrade.
    pub fields: Fields,
    /// How the body ends.
    pub framing: RequestFraming,
    /// Whether the client may send another request.
    pub persistence: Persistence,
    /// Whether the client waits for a 100 before it sends the body.
    pub expectation: Expectation,
    bytes: Arc<[u8]>,
    target: Part,
    path: Part,
    authority: Part,
    host: Part,
}

/// What a client wants to hear before it sends the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// Nothing. So it is without a body and in HTTP/1.0 too, where RFC 9110 section 10.1.1 has the field ignored.
    None,
    /// `Expect: 100-continue`.
    Continue,
}

impl RequestHead {
    /// Path and query, raw: a slash and what follows, or `*`. Of an absolute-form target what follows the authority.
    pub fn target(&self) -> &[u8] {
        self.target.of(&self.bytes)
    }

    /// The target up to its first `?`.
    pub fn path(&self) -> &[u8] {
        self.path.of(&self.bytes)
    }

    /// What follows the target's first `?`.
    pub fn query(&self) -> Option<&[u8]> {
        self.target().get(self.path().len() + 1..)
    }

    /// The Host field as it came, with its port if it has one.
    pub fn authority(&self) -> &str {
        ascii(self.authority.of(&self.bytes))
    }

    /// The Host field without its port. An IPv6 address keeps its brackets.
    pub fn host(&self) -> &str {
        ascii(self.host.of(&self.bytes))
    }
}

fn ascii(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("a Host that is not ASCII was refused")
}

/// Shows no target and no values: they name users and hold credentials.
impl fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", &self.method)
            .field("version", &self.version)
            .field("fields", &self.fields)
            .field("framing", &self.framing)
            .field("persistence", &self.persistence)
            .field("expectation", &self.expectation)
            .finish_non_exhaustive()
    }
}

/// Reads the request head that `buf` begins with, and tells how many bytes it has; `None` while more are needed.
///
/// # Errors
/// The first fault in the order of the bytes, then those of the head as a whole.
pub fn parse_request(buf: &[u8], limits: &Limits) -> Result<Option<(RequestHead, usize)>, Refusal> {
    let bytes = limits.cut(buf);
    let Some(line) = request_line(bytes)? else {
        return if limits.is_spent(bytes) { Err(Refusal::TargetTooLong) } else { Ok(None) };
    };
    let mut spans = Spans::new();
    let Some(end) = scan::section(bytes, line.end, limits.fields, &mut spans)? else {
        return if limits.is_spent(bytes) { Err(Refusal::HeadTooLong) } else { Ok(None) };
    };
    Ok(Some((line.head(&bytes[..end], &spans)?, end)))
}

/// A request line: what comes before each position, and the line's end.
struct RequestLine {
    method: Method,
    form: Form,
    target: usize,
    target_end: usize,
    version: Version,
    end: usize,
}

fn request_line(bytes: &[u8]) -> Result<Option<RequestLine>, Refusal> {
    let method_end = scan::token_length(bytes);
    match bytes.get(method_end) {
        None => return Ok(None),
        Some(b' ') if method_end > 0 => {}
        Some(_) => return Err(Refusal::Method),
    }
    let method = Method::from_bytes(&bytes[..method_end]).map_err(|_| Refusal::Method)?;
    if method == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    let target = method_end + 1;
    let target_end = target + scan::target_length(&bytes[target..]);
    match bytes.get(target_end) {
        None => return Ok(None),
        Some(b' ') => {}
        Some(_) => return Err(Refusal::Target),
    }
    let form = target::form(method.as_str().as_bytes(), &bytes[target..target_end]).ok_or(Refusal::Target)?;
    let rest = target_end + 1;
    let Some(version) = Version::read(&bytes[rest..])? else { return Ok(None) };
    let line = scan::line_end(bytes, rest + Version::LENGTH).map_err(|_| Refusal::Version)?;
    Ok(line.map(|end| RequestLine { method, form, target, target_end, version, end }))
}

impl From<VersionFault> for Refusal {
    fn from(fault: VersionFault) -> Self {
        match fault {
            VersionFault::Malformed => Self::Version,
            VersionFault::Unknown => Self::UnknownVersion,
        }
    }
}

impl RequestLine {
    /// Judges the head as a whole.
    fn head(self, bytes: &[u8], spans: &Spans) -> Result<RequestHead, Refusal> {
        let authority = sole_host(bytes, spans)?;
        let host_length = target::host_length(authority.of(bytes)).ok_or(Refusal::Host)?;
        let target = self.origin_form(bytes, authority.of(bytes))?;
        let bytes: Arc<[u8]> = bytes.into();
        let fields = Fields::new(bytes.clone(), spans);
        if fields.get("upgrade").is_some() {
            return Err(Refusal::Upgrade);
        }
        let framing = framing::request(self.version, &fields)?;
        let path_length = memchr::memchr(b'?', target.of(&bytes)).unwrap_or(target.len());
        Ok(RequestHead {
            framing,
            persistence: framing::persistence(self.version, &fields),
            expectation: expectation(self.version, framing, &fields)?,
            method: self.method,
            version: self.version,
            path: target.first(path_length),
            target,
            host: authority.first(host_length),
            authority,
            fields,
            bytes,
        })
    }

    /// Where path and query stand. An absolute form is believed only if it says the same as Host.
    fn origin_form(&self, bytes: &[u8], host: &[u8]) -> Result<Part, Refusal> {
        match &self.form {
            Form::Origin => Ok(Part::new(self.target, self.target_end)),
            Form::Absolute { authority, origin } => {
                let authority = &bytes[self.target..][authority.clone()];
                if !authority.eq_ignore_ascii_case(host) {
                    return Err(Refusal::HostMismatch);
                }
                Ok(Part::new(self.target + origin.start, self.target + origin.end))
            }
        }
    }
}

fn sole_host(bytes: &[u8], spans: &Spans) -> Result<Part, Refusal> {
    let mut hosts = spans.iter().filter(|span| span.name.of(bytes).eq_ignore_ascii_case(b"host"));
    let host = hosts.next().ok_or(Refusal::NoHost)?;
    match hosts.next() {
        None => Ok(host.value),
        Some(_) => Err(Refusal::SeveralHosts),
    }
}

fn expectation(version: Version, framing: RequestFraming, fields: &Fields) -> Result<Expectation, Refusal> {
    let mut expected = fields.get_all("expect");
    let Some(value) = expected.next() else { return Ok(Expectation::None) };
    if expected.next().is_some() || !value.eq_ignore_ascii_case(b"100-continue") {
        return Err(Refusal::Expectation);
    }
    Ok(match (version, framing) {
        (Version::Http10, _) | (Version::Http11, RequestFraming::None) => Expectation::None,
        (Version::Http11, RequestFraming::Length(_) | RequestFraming::Chunked) => Expectation::Continue,
    })
}
