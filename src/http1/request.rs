//! Request heads. Separate from responses, because what is refused here is answered, and what a client may ask for is
//! narrower than what an XSP may say.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::Method;

use super::error::{FieldError, Refusal};
use super::fields::{Fields, Part};
use super::framing::{self, Persistence, RequestFraming};
use super::head::{HeadLimits, Sender, Version, VersionFault};
use super::scan::{self, Spans};
use super::target::{self, Form};

/// The head of a request that has exactly one reading.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// The method, case and all. Never CONNECT, TRACE or TRACK, in any case.
    pub method: Method,
    /// The version in the request line; a later one of 1.x is 1.1.
    pub version: Version,
    /// All fields, Host and framing fields included. There is one Host at most, and exactly one in HTTP/1.1.
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
    authority: Option<Part>,
    host: Option<Part>,
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

    /// Whether it asks what the server as a whole can do, and not for a resource of it: `OPTIONS *` (RFC 9110 section 9.3.7),
    /// or `OPTIONS /`, which load balancers ask in its place.
    pub fn is_about_server(&self) -> bool {
        self.method == Method::OPTIONS && matches!(self.path(), b"*" | b"/")
    }

    /// The host that the request is for, with its port if it has one: the Host field. HTTP/1.0 may leave that out; then it is the
    /// authority of an absolute-form target, or nothing. Without a dot at the name's end, and without a colon that no port
    /// follows, which say nothing.
    pub fn authority(&self) -> Option<Cow<'_, str>> {
        let (whole, host) = (ascii(self.authority?.of(&self.bytes)), self.host()?);
        Some(match whole[host.len()..].trim_start_matches('.') {
            "" | ":" => host.into(),
            port if host.len() + port.len() == whole.len() => whole.into(),
            port => format!("{host}{port}").into(),
        })
    }

    /// The same without its port. An IPv6 address keeps its brackets.
    pub fn host(&self) -> Option<&str> {
        self.host.map(|host| ascii(host.of(&self.bytes)))
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

/// Whether `buf` holds more than empty lines, which may stand before a request line.
pub fn has_begun(buf: &[u8]) -> bool {
    !buf.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
}

/// Reads the request head that `buf` begins with, and tells how many bytes it has; `None` while more are needed. Up to two
/// empty lines before the request line belong to it (RFC 9112 section 2.2): old clients end a body with one.
///
/// # Errors
/// The first fault in the order of the bytes, then those of the head as a whole.
pub fn parse_request(buf: &[u8], limits: &HeadLimits) -> Result<Option<(RequestHead, usize)>, Refusal> {
    let Some(skipped) = empty_lines(buf)? else { return Ok(None) };
    let bytes = limits.cut(&buf[skipped..]);
    let Some(line) = request_line(bytes)? else {
        return if limits.is_spent(bytes) { Err(Refusal::TargetTooLong) } else { Ok(None) };
    };
    let mut spans = Spans::new();
    let Some(end) = scan::section(bytes, line.end, limits.fields, Sender::Client, &mut spans)? else {
        return if limits.is_spent(bytes) { Err(Refusal::HeadTooLong) } else { Ok(None) };
    };
    Ok(Some((line.head(&bytes[..end], &spans)?, skipped + end)))
}

/// How many bytes of empty lines `bytes` begins with; `None` while there may be more of them.
fn empty_lines(bytes: &[u8]) -> Result<Option<usize>, Refusal> {
    const MOST: usize = 2;
    let mut at = 0;
    for _ in 0..=MOST {
        match &bytes[at..] {
            [] | [b'\r'] => return Ok(None),
            [b'\r', b'\n', ..] => at += 2,
            [b'\r', ..] => return Err(FieldError::BareCr.into()),
            [b'\n', ..] => at += 1,
            _ => return Ok(Some(at)),
        }
    }
    Err(Refusal::EmptyLines)
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
    judge(&method)?;
    let target = method_end + 1;
    let target_end = target + scan::target_length(&bytes[target..]);
    match bytes.get(target_end) {
        None => return Ok(None),
        Some(b' ') => {}
        Some(b'\r' | b'\n') if target_end > target => return Err(Refusal::NoVersion),
        Some(_) => return Err(Refusal::Target),
    }
    let form = target::form(method.as_str().as_bytes(), &bytes[target..target_end]).ok_or(Refusal::Target)?;
    let rest = target_end + 1;
    let Some(version) = Version::read(&bytes[rest..], Sender::Client)? else { return Ok(None) };
    let refusal = |fault: FieldError| if fault == FieldError::BareLf { fault.into() } else { Refusal::Version };
    let line = scan::line_end(bytes, rest + Version::LENGTH).map_err(refusal)?;
    Ok(line.map(|end| RequestLine { method, form, target, target_end, version, end }))
}

/// Refuses a method that means a tunnel or an echo of what the gateway and its proxies have added. Methods are case-sensitive,
/// and an XSP may not know: none of these in another case means anything else.
fn judge(method: &Method) -> Result<(), Refusal> {
    match method {
        &(Method::GET | Method::POST | Method::PUT | Method::DELETE | Method::HEAD | Method::OPTIONS) => Ok(()),
        other if ["CONNECT", "TRACE", "TRACK"].iter().any(|name| other.as_str().eq_ignore_ascii_case(name)) => {
            Err(Refusal::UnservedMethod)
        }
        other if other.as_str() == "PRI" => Err(Refusal::Http2),
        _ => Ok(()),
    }
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
        let (authority, target) = self.authority_and_target(bytes, spans)?;
        let host = match authority {
            Some(authority) => Some(authority.first(target::host_length(authority.of(bytes)).ok_or(Refusal::Host)?)),
            None => None,
        };
        let bytes: Arc<[u8]> = bytes.into();
        let fields = Fields::new(bytes.clone(), spans);
        let framing = framing::request(self.version, &fields)?;
        let path_length = memchr::memchr(b'?', target.of(&bytes)).unwrap_or(target.len());
        Ok(RequestHead {
            framing,
            persistence: framing::persistence(self.version, &fields, Sender::Client),
            expectation: expectation(self.version, framing, &fields)?,
            method: self.method,
            version: self.version,
            path: target.first(path_length),
            target,
            host,
            authority,
            fields,
            bytes,
        })
    }

    /// Where the host stands, and where path and query do. An absolute form is believed only if it says the same as Host.
    fn authority_and_target(&self, bytes: &[u8], spans: &Spans) -> Result<(Option<Part>, Part), Refusal> {
        let host = sole_host(bytes, spans)?;
        if host.is_none() && self.version == Version::Http11 {
            return Err(Refusal::NoHost);
        }
        match &self.form {
            Form::Origin => Ok((host, Part::new(self.target, self.target_end))),
            Form::Absolute { port, authority, origin } => {
                let [authority, origin] =
                    [authority, origin].map(|part| Part::new(self.target + part.start, self.target + part.end));
                if host.is_some_and(|host| !target::agree(authority.of(bytes), host.of(bytes), port)) {
                    return Err(Refusal::HostMismatch);
                }
                Ok((Some(host.unwrap_or(authority)), origin))
            }
        }
    }
}

fn sole_host(bytes: &[u8], spans: &Spans) -> Result<Option<Part>, Refusal> {
    let mut hosts = spans.iter().filter(|span| span.name.of(bytes).eq_ignore_ascii_case(b"host"));
    match (hosts.next(), hosts.next()) {
        (host, None) => Ok(host.map(|host| host.value)),
        (_, Some(_)) => Err(Refusal::SeveralHosts),
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

#[cfg(test)]
mod tests {
    use super::super::error::FramingError;
    use super::super::fuzz::trickled;
    use super::*;

    const TYPICAL: &str = "GET /com.broadsoft.xsi-actions/v2.0/user/a%40example.com/profile?format=json HTTP/1.1\r\n\
        Host: xsp.example.com\r\nAccept: */*\r\nAuthorization: Bearer abc\r\n\r\n";

    /// The result of the whole, once it was seen that a trickle has the same.
    fn parsed(bytes: &[u8]) -> Result<Option<(RequestHead, usize)>, Refusal> {
        let whole = parse_request(bytes, &HeadLimits::default());
        assert_eq!(trickled(bytes, |bytes| parse_request(bytes, &HeadLimits::default())), whole);
        whole
    }

    fn accepted(text: impl AsRef<[u8]>) -> RequestHead {
        let text = text.as_ref();
        let (head, used) = parsed(text).unwrap().unwrap();
        assert_eq!(used, text.len());
        head
    }

    fn with(fields: &str) -> String {
        format!("POST /dms/ HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
    }

    fn assert_refused(cases: &[(&str, Refusal)]) {
        for (text, refusal) in cases {
            assert_eq!(parsed(text.as_bytes()), Err(*refusal), "{text:?}");
        }
    }

    fn assert_refused_fields(cases: &[(&str, Refusal)]) {
        for (fields, refusal) in cases {
            assert_eq!(parsed(with(fields).as_bytes()), Err(*refusal), "{fields:?}");
        }
    }

    #[test]
    fn a_typical_head_is_read_as_it_came() {
        let head = accepted(TYPICAL);
        assert_eq!(head.method, Method::GET);
        assert_eq!(head.version, Version::Http11);
        assert_eq!(head.target(), b"/com.broadsoft.xsi-actions/v2.0/user/a%40example.com/profile?format=json");
        assert_eq!(head.path(), b"/com.broadsoft.xsi-actions/v2.0/user/a%40example.com/profile");
        assert_eq!(head.query(), Some(&b"format=json"[..]));
        assert_eq!((head.authority().as_deref(), head.host()), (Some("xsp.example.com"), Some("xsp.example.com")));
        let fields: Vec<_> = head.fields.iter().collect();
        assert_eq!(
            fields,
            [
                (&b"Host"[..], &b"xsp.example.com"[..]),
                (&b"Accept"[..], &b"*/*"[..]),
                (&b"Authorization"[..], &b"Bearer abc"[..])
            ]
        );
        assert_eq!(head.framing, RequestFraming::None);
        assert_eq!(head.persistence, Persistence::KeepAlive);
        assert_eq!(head.expectation, Expectation::None);
    }

    #[test]
    fn what_follows_the_head_is_left() {
        let text = format!("{TYPICAL}GET / HTTP");
        assert_eq!(parsed(text.as_bytes()).unwrap().unwrap().1, TYPICAL.len());
    }

    #[test]
    fn an_open_head_waits_for_more() {
        for length in 0..TYPICAL.len() {
            assert_eq!(parse_request(&TYPICAL.as_bytes()[..length], &HeadLimits::default()), Ok(None), "{length}");
        }
    }

    #[test]
    fn raw_targets_go_through_unchanged() {
        for target in ["/", "/a?", "/a?b?c", "/a/%40@:*/x%20?q=*/;|{}^\\[]", "//a/../b", "/?x=http://y/"] {
            let head = accepted(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
            assert_eq!(head.target(), target.as_bytes());
            let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
            assert_eq!((head.path(), head.query()), (path.as_bytes(), query.map(str::as_bytes)));
        }
    }

    #[test]
    fn malformed_request_lines_are_refused() {
        assert_refused(&[
            ("\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::EmptyLines),
            ("\n\r\n\n", Refusal::EmptyLines),
            ("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", FieldError::BareCr.into()),
            ("\r\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", FieldError::BareCr.into()),
            ("\r\n GET / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Method),
            (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Method),
            ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Method),
            ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Method),
            ("GET\r\n", Refusal::Method),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Target),
            ("GET /\r\n\r\n", Refusal::NoVersion),
            ("GET /\n", Refusal::NoVersion),
            ("GET \r\n", Refusal::Target),
            ("GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Target),
            ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Version),
            ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Version),
            ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", Refusal::Version),
            ("GET / HTTP/1.1\nHost: a\r\n\r\n", FieldError::BareLf.into()),
            ("GET / HTTP/1.1\rHost: a\r\n\r\n", Refusal::Version),
            ("GET / http/1.1\r\nHost: a\r\n\r\n", Refusal::Version),
            ("GET / HTTP/1\r\nHost: a\r\n\r\n", Refusal::Version),
            ("GET / HTTP/1.10\r\nHost: a\r\n\r\n", Refusal::Version),
            ("GET / HTTP/+1.1\r\nHost: a\r\n\r\n", Refusal::Version),
            ("GET / HTTP/2.1\r\nHost: a\r\n\r\n", Refusal::UnknownVersion),
            ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", Refusal::UnknownVersion),
            ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", Refusal::UnknownVersion),
            ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", Refusal::UnservedMethod),
            ("connect /dms/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::UnservedMethod),
            ("TRACE /dms/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::UnservedMethod),
            ("Trace /dms/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::UnservedMethod),
            ("TRACK /dms/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::UnservedMethod),
        ]);
    }

    #[test]
    fn up_to_two_empty_lines_may_stand_before_a_head() {
        let plain = accepted(TYPICAL);
        for lines in ["\r\n", "\n", "\r\n\r\n", "\n\n", "\n\r\n"] {
            assert_eq!(accepted(format!("{lines}{TYPICAL}")), plain, "{lines:?}");
            assert_eq!(parsed(lines.as_bytes()), Ok(None), "{lines:?}");
            assert!(!has_begun(lines.as_bytes()), "{lines:?}");
        }
        assert!(has_begun(b"\r\nG") && !has_begun(b"") && !has_begun(b"\r"));
        // They are no part of what the limit is for.
        let limits = HeadLimits { head_size: TYPICAL.len(), fields: 3 };
        let held = format!("\r\n\r\n{TYPICAL}");
        assert_eq!(parse_request(held.as_bytes(), &limits).unwrap().unwrap().1, held.len());
    }

    #[test]
    fn a_later_minor_version_is_read_as_1_1() {
        for minor in 1..=9 {
            let head = accepted(format!("GET / HTTP/1.{minor}\r\nHost: a\r\n\r\n"));
            assert_eq!((head.version, head.persistence), (Version::Http11, Persistence::KeepAlive));
        }
        assert_refused(&[("GET / HTTP/1.2\r\n\r\n", Refusal::NoHost)]);
    }

    #[test]
    fn http_1_0_needs_no_host() {
        let head = accepted("GET / HTTP/1.0\r\n\r\n");
        assert_eq!((head.version, head.authority(), head.host()), (Version::Http10, None, None));
        let head = accepted("GET https://a:443/b HTTP/1.0\r\n\r\n");
        assert_eq!((head.target(), head.authority().as_deref(), head.host()), (&b"/b"[..], Some("a:443"), Some("a")));
        assert_refused(&[
            ("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", Refusal::SeveralHosts),
            ("GET / HTTP/1.0\r\nHost:\r\n\r\n", Refusal::Host),
            ("GET https://b/ HTTP/1.0\r\nHost: a\r\n\r\n", Refusal::HostMismatch),
            ("GET https://u@a/ HTTP/1.0\r\n\r\n", Refusal::Host),
        ]);
    }

    #[test]
    fn targets_of_other_forms_and_bytes_are_refused() {
        let targets = [
            "a",
            "*",
            "a:443",
            "ftp://a/",
            "https:/a/",
            "https://a",
            "https://a?b",
            "/#f",
            "/a\"b",
            "/<b>",
            "/`",
            "/\0",
            "/\x7f",
            "/\u{e9}",
            "?a",
            "\\a",
        ];
        for target in targets {
            let text = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(parsed(text.as_bytes()), Err(Refusal::Target), "{target:?}");
        }
        let text = "OPTIONS *a HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(parsed(text.as_bytes()), Err(Refusal::Target));
    }

    #[test]
    fn the_asterisk_is_for_options() {
        let head = accepted("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!((head.target(), head.path(), head.query()), (&b"*"[..], &b"*"[..], None));
    }

    #[test]
    fn absolute_form_must_agree_with_host() {
        let head = accepted("GET HTTPS://XSP.example.com:443/a?b HTTP/1.1\r\nHost: xsp.Example.com:443\r\n\r\n");
        assert_eq!((head.target(), head.path(), head.query()), (&b"/a?b"[..], &b"/a"[..], Some(&b"b"[..])));
        assert_eq!((head.authority().as_deref(), head.host()), (Some("xsp.Example.com:443"), Some("xsp.Example.com")));
        let forms = ["https://a/", "https://A./", "https://a:/", "https://a:443/", "https://a.:443/"];
        for (form, host) in
            forms.into_iter().flat_map(|form| ["a", "A.", "a:", "a.:", "a:443"].map(|host| (form, host)))
        {
            let head = accepted(format!("GET {form} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            assert_eq!(
                (head.target(), head.host().map(str::to_ascii_lowercase).as_deref()),
                (&b"/"[..], Some("a")),
                "{form} {host}"
            );
        }
        for target in ["http://a/", "http://a:80/"] {
            assert_eq!(accepted(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).target(), b"/");
        }
        assert_refused(&[
            ("GET https://b/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::HostMismatch),
            ("GET https://a:8443/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::HostMismatch),
            ("GET https://a/ HTTP/1.1\r\nHost: a:8443\r\n\r\n", Refusal::HostMismatch),
            ("GET http://a:443/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::HostMismatch),
            ("GET https://a:0443/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::HostMismatch),
            ("GET https://a../ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::HostMismatch),
            ("GET https://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::HostMismatch),
            ("GET https:///a HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::HostMismatch),
        ]);
    }

    #[test]
    fn there_is_exactly_one_well_formed_host() {
        for host in ["a", "a.b", "a-1_b.c", "A:0", "a:65535", "192.0.2.1:8443", "[::1]", "[2001:db8::1]:443"] {
            let head = accepted(format!("GET / HTTP/1.1\r\nHost:\t{host} \r\n\r\n"));
            assert_eq!(head.authority().as_deref(), Some(host));
        }
        for (host, name, authority) in [
            ("a.", "a", "a"),
            ("a:", "a", "a"),
            ("a.:", "a", "a"),
            ("A.b.:443", "A.b", "A.b:443"),
            ("[::1]:", "[::1]", "[::1]"),
            ("a..", "a.", "a."),
        ] {
            let head = accepted(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            assert_eq!((head.host(), head.authority().as_deref()), (Some(name), Some(authority)), "{host}");
        }
        assert_eq!(accepted("GET / HTTP/1.1\r\nHost: [::1]:443\r\n\r\n").host(), Some("[::1]"));
        let malformed = [
            "",
            "a b",
            "a,b",
            "a/",
            "u@a",
            ".",
            ".:443",
            ":",
            "a:-1",
            "a:b",
            "a:65536",
            "a:000443",
            "a:1:2",
            ":443",
            "a%41",
            "a\u{e9}",
            "[::1",
            "::1",
            "[::1]a",
            "[]",
            "[v1.a]",
            "[::1%25eth0]",
            "a?b",
            "a\\b",
            "https://a",
        ];
        for host in malformed {
            let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(parsed(text.as_bytes()), Err(Refusal::Host), "{host:?}");
        }
        assert_refused(&[
            ("GET / HTTP/1.1\r\n\r\n", Refusal::NoHost),
            ("GET https://a/ HTTP/1.1\r\n\r\n", Refusal::NoHost),
            ("GET / HTTP/1.1\r\nHost: a\r\nHOST: a\r\n\r\n", Refusal::SeveralHosts),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Refusal::SeveralHosts),
        ]);
    }

    #[test]
    fn malformed_field_lines_are_refused() {
        assert_refused_fields(&[
            (": a\r\n", FieldError::EmptyName.into()),
            ("A : b\r\n", FieldError::SpaceBeforeColon.into()),
            ("A\t: b\r\n", FieldError::SpaceBeforeColon.into()),
            ("A b: c\r\n", FieldError::SpaceBeforeColon.into()),
            (" A: b\r\n", FieldError::Fold.into()),
            ("A: b\r\n c\r\n", FieldError::Fold.into()),
            ("A: b\r\n\tc\r\n", FieldError::Fold.into()),
            ("A: b\r\n \r\n", FieldError::Fold.into()),
            ("A\r\n", FieldError::Name.into()),
            ("A\n: b\r\n", FieldError::BareLf.into()),
            ("A(: b\r\n", FieldError::Name.into()),
            ("A\0: b\r\n", FieldError::Name.into()),
            ("\u{e9}: b\r\n", FieldError::Name.into()),
            ("\"A\": b\r\n", FieldError::Name.into()),
            ("A: b\rc\r\n", FieldError::BareCr.into()),
            ("A: b\r\r\n", FieldError::BareCr.into()),
            ("\rA: b\r\n", FieldError::BareCr.into()),
            ("A: b\nc: d\r\n", FieldError::BareLf.into()),
            ("A: b\n\r\n", FieldError::BareLf.into()),
            ("\n", FieldError::BareLf.into()),
            ("A: b\0\r\n", FieldError::Control.into()),
            ("A: \x0bb\r\n", FieldError::Control.into()),
            ("A: b\x1b[31m\r\n", FieldError::Control.into()),
            ("A: b\x7f\r\n", FieldError::Control.into()),
        ]);
    }

    #[test]
    fn values_may_hold_tabs_and_bytes_above_ascii() {
        let head = accepted(
            b"GET / HTTP/1.1\r\nHost: a\r\nA: \t x\ty \xe9\xff\t \r\nB:\r\nC: \t\r\n!#$%&'*+-.^_`|~9: d\r\n\r\n",
        );
        assert_eq!(head.fields.get("a"), Some(&b"x\ty \xe9\xff"[..]));
        assert_eq!((head.fields.get("b"), head.fields.get("C")), (Some(&b""[..]), Some(&b""[..])));
        assert_eq!(head.fields.get("!#$%&'*+-.^_`|~9"), Some(&b"d"[..]));
    }

    #[test]
    fn the_framing_has_one_reading() {
        let framings = [
            ("", RequestFraming::None),
            ("Content-Length: 0\r\n", RequestFraming::None),
            ("Content-Length: 5\r\n", RequestFraming::Length(5)),
            ("content-LENGTH:\t005 \r\n", RequestFraming::Length(5)),
            ("Content-Length: 9223372036854775807\r\n", RequestFraming::Length(i64::MAX as u64)),
            ("Transfer-Encoding: chunked\r\n", RequestFraming::Chunked),
            ("TRANSFER-encoding:ChunkeD\t\r\n", RequestFraming::Chunked),
        ];
        for (fields, framing) in framings {
            assert_eq!(accepted(with(fields)).framing, framing, "{fields:?}");
        }
        let lengths = [
            "",
            "+5",
            "-5",
            "5,5",
            "5, 5",
            "5 5",
            "0x5",
            "5.0",
            "5;",
            "\"5\"",
            "five",
            "\u{666}",
            "9223372036854775808",
            "18446744073709551619",
            "00000000000000000005",
        ];
        for length in lengths {
            let text = with(&format!("Content-Length: {length}\r\n"));
            assert_eq!(parsed(text.as_bytes()), Err(FramingError::Length.into()), "{length:?}");
        }
        let codings = [
            "",
            "chunked,",
            ",chunked",
            "chunked, chunked",
            "gzip",
            "gzip, chunked",
            "chunked, identity",
            "identity",
            "xchunked",
            "chunked;a=b",
            "\"chunked\"",
            "chunked chunked",
            "chunke",
            "\u{85}chunked",
        ];
        for coding in codings {
            let text = with(&format!("Transfer-Encoding: {coding}\r\n"));
            assert_eq!(parsed(text.as_bytes()), Err(FramingError::Coding.into()), "{coding:?}");
        }
        assert_refused_fields(&[
            ("Transfer-Encoding: \x0bchunked\r\n", FieldError::Control.into()),
            ("Content-Length: 5\x0c\r\n", FieldError::Control.into()),
            ("Transfer-Encoding : chunked\r\n", FieldError::SpaceBeforeColon.into()),
            ("Transfer-Encoding:\r\n chunked\r\n", FieldError::Fold.into()),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", FramingError::SeveralLengths.into()),
            ("Content-Length: 5\r\ncontent-length: 6\r\n", FramingError::SeveralLengths.into()),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", FramingError::SeveralCodings.into()),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", FramingError::SeveralCodings.into()),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", FramingError::LengthAndCoding.into()),
            ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", FramingError::LengthAndCoding.into()),
            ("Transfer-Encoding: x\r\nContent-Length: 5\r\n", FramingError::LengthAndCoding.into()),
        ]);
        assert_refused(&[(
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            FramingError::CodingInHttp10.into(),
        )]);
    }

    #[test]
    fn an_offered_upgrade_changes_nothing() {
        for fields in ["Upgrade: websocket\r\nConnection: Upgrade\r\n", "UPGRADE: h2c\r\n", "Upgrade:\r\n"] {
            let head = accepted(with(fields));
            assert_eq!((head.framing, head.persistence), (RequestFraming::None, Persistence::KeepAlive), "{fields:?}");
        }
    }

    #[test]
    fn only_100_continue_may_be_expected() {
        assert_refused_fields(&[
            ("Expect: 100\r\n", Refusal::Expectation),
            ("Expect:\r\n", Refusal::Expectation),
            ("Expect: 100-continue, 100-continue\r\n", Refusal::Expectation),
            ("Expect: y 100-continue\r\n", Refusal::Expectation),
            ("Expect: 100-continue\r\nExpect: 100-continue\r\n", Refusal::Expectation),
        ]);
        let expectation = |fields| accepted(with(fields)).expectation;
        assert_eq!(expectation("Content-Length: 5\r\nExpect: 100-Continue\r\n"), Expectation::Continue);
        assert_eq!(expectation("Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n"), Expectation::Continue);
        assert_eq!(expectation("Expect: 100-continue\r\n"), Expectation::None);
        let old = accepted("POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
        assert_eq!(old.expectation, Expectation::None);
    }

    #[test]
    fn connections_persist_in_http_1_0_only_if_asked() {
        let cases = [
            ("HTTP/1.1", "", Persistence::KeepAlive),
            ("HTTP/1.1", "Connection: keep-alive\r\n", Persistence::KeepAlive),
            ("HTTP/1.1", "Connection: closed\r\n", Persistence::KeepAlive),
            ("HTTP/1.1", "Connection: Close\r\n", Persistence::Close),
            ("HTTP/1.1", "Connection: TE , cLose\r\n", Persistence::Close),
            ("HTTP/1.1", "Connection: keep-alive\r\nConnection: close\r\n", Persistence::Close),
            ("HTTP/1.0", "", Persistence::Close),
            ("HTTP/1.0", "Connection: Keep-Alive\r\n", Persistence::KeepAlive),
            ("HTTP/1.0", "Connection: TE, keep-alive\r\n", Persistence::KeepAlive),
            ("HTTP/1.0", "Connection: keep-alive, close\r\n", Persistence::Close),
            ("HTTP/1.0", "Keep-Alive: timeout=5\r\n", Persistence::Close),
        ];
        for (version, fields, persistence) in cases {
            let head = accepted(format!("GET / {version}\r\nHost: a\r\n{fields}\r\n"));
            assert_eq!(head.persistence, persistence, "{version} {fields:?}");
        }
    }

    #[test]
    fn limits_are_exact() {
        let exact = TYPICAL.len();
        let fits = |head_size, fields| parse_request(TYPICAL.as_bytes(), &HeadLimits { head_size, fields });
        assert_eq!(fits(exact, 3).unwrap().unwrap().1, exact);
        assert_eq!(fits(exact - 1, 3), Err(Refusal::HeadTooLong));
        assert_eq!(fits(exact, 2), Err(FieldError::TooMany.into()));
        let line = TYPICAL.find('\n').unwrap() + 1;
        assert_eq!(fits(line, 3), Err(Refusal::HeadTooLong));
        assert_eq!(fits(line - 1, 3), Err(Refusal::TargetTooLong));
        assert_eq!(fits(0, 3), Err(Refusal::TargetTooLong));
        let limits = HeadLimits { head_size: exact - 1, fields: 3 };
        assert_eq!(trickled(TYPICAL.as_bytes(), |bytes| parse_request(bytes, &limits)), Err(Refusal::HeadTooLong));
        let endless = [b"GET /".to_vec(), vec![b'a'; 20_000]].concat();
        assert_eq!(parse_request(&endless, &HeadLimits::default()), Err(Refusal::TargetTooLong));
    }

    #[test]
    fn what_can_become_no_head_is_refused_at_once() {
        let cases: [(&[u8], Refusal); 12] = [
            (b"\x16", Refusal::Method),
            (b"\x16\x03\x01", Refusal::Method),
            (b"\0", Refusal::Method),
            (b"hello\n", Refusal::Method),
            (b"<?xml", Refusal::Method),
            (b"PRI ", Refusal::Http2),
            (b"CONNECT ", Refusal::UnservedMethod),
            (b"GET / I", Refusal::Version),
            (b"GET / HTTP/2.0", Refusal::UnknownVersion),
            (b"GET / HTTP/1.1\n", Refusal::Fields(FieldError::BareLf)),
            (b"GET / HTTP/1.1\r\nHost: a\n", Refusal::Fields(FieldError::BareLf)),
            (b"GET / HTTP/1.1\r\nHost: a\r\n ", Refusal::Fields(FieldError::Fold)),
        ];
        for (bytes, refusal) in cases {
            assert_eq!(parsed(bytes), Err(refusal), "{bytes:?}");
        }
    }

    #[test]
    fn each_refusal_has_its_status() {
        let cases = [
            (Refusal::Method, 400),
            (Refusal::Http2, 400),
            (Refusal::EmptyLines, 400),
            (Refusal::UnservedMethod, 405),
            (Refusal::NoVersion, 400),
            (Refusal::Host, 400),
            (Refusal::Fields(FieldError::BareLf), 400),
            (Refusal::Framing(FramingError::LengthAndCoding), 400),
            (Refusal::TargetTooLong, 414),
            (Refusal::Expectation, 417),
            (Refusal::HeadTooLong, 431),
            (Refusal::Fields(FieldError::TooMany), 431),
            (Refusal::UnknownVersion, 505),
        ];
        for (refusal, status) in cases {
            assert_eq!(refusal.status().as_u16(), status, "{refusal}");
        }
    }

    #[test]
    fn debug_output_holds_no_values() {
        let shown = format!("{:?}", accepted(TYPICAL));
        assert!(shown.contains("Authorization"), "{shown}");
        assert!(!shown.contains("Bearer") && !shown.contains("profile"), "{shown}");
    }
}
