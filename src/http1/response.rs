//! Response heads. Separate from requests, because the framing depends on what was asked, and because oddities of an XSP
//! harm nobody: what has one reading is taken and put right, and all else is a failure of that XSP and no client's fault.

use std::fmt;
use std::sync::Arc;

use http::{Method, StatusCode};

use super::error::Garbage;
use super::fields::{Fields, Part};
use super::framing::{self, Persistence, ResponseFraming};
use super::head::{HeadLimits, Sender, Version};
use super::scan::{self, Spans};

/// The head of a response that has exactly one reading.
#[derive(Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status, 100 to 999. Never 101.
    pub status: StatusCode,
    /// The version in the status line.
    pub version: Version,
    /// All fields. Folds are unfolded, and one framing field at most is left: the one that counts.
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
pub fn parse_response(
    buf: &[u8],
    limits: &HeadLimits,
    method: &Method,
) -> Result<Option<(ResponseHead, usize)>, Garbage> {
    let bytes = limits.cut(buf);
    let mut spans = Spans::new();
    let open = if limits.is_spent(bytes) { Err(Garbage::HeadTooLong) } else { Ok(None) };
    let Some(line) = status_line(bytes)? else { return open };
    let Some(end) = scan::section(bytes, line.end, limits.fields, Sender::Xsp, &mut spans)? else { return open };
    Ok(Some((line.head(&bytes[..end], spans, method)?, end)))
}

struct StatusLine {
    version: Version,
    status: StatusCode,
    reason: Part,
    end: usize,
}

fn status_line(bytes: &[u8]) -> Result<Option<StatusLine>, Garbage> {
    const CODE: usize = Version::LENGTH + 1;
    const CODE_END: usize = CODE + 3;
    let Some(version) = Version::read(bytes, Sender::Xsp).map_err(|_| Garbage::StatusLine)? else { return Ok(None) };
    let fits = bytes[Version::LENGTH..].iter().zip(b" 000").all(|(byte, pattern)| match pattern {
        b'0' => byte.is_ascii_digit(),
        blank => byte == blank,
    });
    if !fits {
        return Err(Garbage::StatusLine);
    }
    // Without a reason, the blank before it may be missing as well.
    let start = match bytes.get(CODE_END) {
        None => return Ok(None),
        Some(b' ') => CODE_END + 1,
        Some(b'\r') => CODE_END,
        Some(_) => return Err(Garbage::StatusLine),
    };
    let status = StatusCode::from_bytes(&bytes[CODE..CODE_END]).map_err(|_| Garbage::StatusLine)?;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Garbage::SwitchingProtocols);
    }
    let reason_end = start + scan::text_length(&bytes[start..]);
    let line = scan::line_end(bytes, reason_end).map_err(|_| Garbage::StatusLine)?;
    Ok(line.map(|end| StatusLine { version, status, reason: Part::new(start, reason_end), end }))
}

impl StatusLine {
    /// Judges the head as a whole.
    fn head(self, bytes: &[u8], mut spans: Spans, method: &Method) -> Result<ResponseHead, Garbage> {
        let bytes = spans.share(bytes);
        let mut fields = Fields::new(bytes.clone(), &spans);
        let answer = framing::response(self.version, self.status, method, &fields)?;
        if answer.is_redundant {
            framing::settle(&bytes, &mut spans);
            fields = Fields::new(bytes.clone(), &spans);
        }
        Ok(ResponseHead {
            status: self.status,
            version: self.version,
            fields,
            framing: answer.framing,
            persistence: answer.persistence,
            bytes,
            reason: self.reason,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::{FieldError, FramingError};
    use super::super::fuzz::trickled;
    use super::*;

    fn parsed(bytes: &[u8], method: &Method) -> Result<Option<(ResponseHead, usize)>, Garbage> {
        let whole = parse_response(bytes, &HeadLimits::default(), method);
        assert_eq!(trickled(bytes, |bytes| parse_response(bytes, &HeadLimits::default(), method)), whole);
        whole
    }

    fn accepted(text: &str, method: &Method) -> ResponseHead {
        let (head, used) = parsed(text.as_bytes(), method).unwrap().unwrap();
        assert_eq!(used, text.len());
        head
    }

    #[test]
    fn a_typical_head_is_read_as_it_came() {
        let text = "HTTP/1.1 200 All right\r\nContent-Type: text/xml;charset=UTF-8\r\nSet-Cookie: A=1\r\n\
            Set-Cookie: B=2\r\nTransfer-Encoding: chunked\r\n\r\n";
        let head = accepted(text, &Method::POST);
        assert_eq!((head.status, head.version, head.reason()), (StatusCode::OK, Version::Http11, &b"All right"[..]));
        assert_eq!((head.framing, head.persistence), (ResponseFraming::Chunked, Persistence::KeepAlive));
        assert_eq!(head.fields.get_all("set-cookie").collect::<Vec<_>>(), [b"A=1", b"B=2"]);
        for length in 0..text.len() {
            assert_eq!(parse_response(&text.as_bytes()[..length], &HeadLimits::default(), &Method::POST), Ok(None));
        }
    }

    #[test]
    fn malformed_status_lines_are_garbage() {
        let lines = [
            "\r\n",
            "\n",
            "200 OK\r\n",
            "ICY 200 OK\r\n",
            "HTTP/1.1\r\n",
            "HTTP/1.1  200 OK\r\n",
            "HTTP/1.1\t200 OK\r\n",
            "HTTP/1.1 20 OK\r\n",
            "HTTP/1.1 2000 OK\r\n",
            "HTTP/1.1 099 OK\r\n",
            "HTTP/1.1 000 OK\r\n",
            "HTTP/1.1 +20 OK\r\n",
            "HTTP/1.1 200-OK\r\n",
            "HTTP/1.1 200 O\0K\r\n",
            "HTTP/1.1 200 O\x0bK\r\n",
            "HTTP/1.1 200 OK\n",
            "HTTP/1.1 200 OK\rx\r\n",
            "http/1.1 200 OK\r\n",
            "HTTP/2.0 200 OK\r\n",
            "HTTP/1.2 200 OK\r\n",
            "HTTP/11 200 OK\r\n",
            "<html>",
            "\x15\x03\x01\0\x02",
        ];
        for line in lines {
            let text = format!("{line}Content-Length: 0\r\n\r\n");
            assert_eq!(parsed(text.as_bytes(), &Method::GET), Err(Garbage::StatusLine), "{line:?}");
        }
        let switching = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n";
        assert_eq!(parsed(switching, &Method::GET), Err(Garbage::SwitchingProtocols));
    }

    #[test]
    fn any_status_of_three_digits_and_any_reason_pass() {
        for (line, status, reason) in [
            ("HTTP/1.1 200 ", 200, &b""[..]),
            ("HTTP/1.1 999 a\tb", 999, b"a\tb"),
            ("HTTP/1.0 503 gr\u{fc}n", 503, "gr\u{fc}n".as_bytes()),
            ("HTTP/1.1 100 Continue", 100, b"Continue"),
        ] {
            let head = accepted(&format!("{line}\r\n\r\n"), &Method::GET);
            assert_eq!((head.status.as_u16(), head.reason()), (status, reason));
        }
    }

    #[test]
    fn malformed_fields_are_garbage() {
        for (fields, error) in [
            (": a\r\n", FieldError::EmptyName),
            (" A: b\r\n", FieldError::Fold),
            ("A: b\r\n c\0\r\n", FieldError::Control),
            ("A: b\r\n c\n", FieldError::BareLf),
            ("A \t\r\n", FieldError::Name),
            ("A: b\rc\r\n", FieldError::BareCr),
            ("A: b\nc: d\r\n", FieldError::BareLf),
            ("A: b\0c\r\n", FieldError::Control),
            ("A b\r\n", FieldError::Name),
            ("A b: c\r\n", FieldError::Name),
            ("A\r\n", FieldError::Name),
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
            assert_eq!(parsed(text.as_bytes(), &Method::GET), Err(Garbage::Fields(error)), "{fields:?}");
        }
    }

    #[test]
    fn the_framing_follows_status_method_and_fields() {
        use ResponseFraming::{Chunked, Empty, Length, UntilClose};
        for (method, status, fields, framing) in [
            (Method::GET, 200, "", UntilClose),
            (Method::GET, 200, "Content-Length: 0\r\n", Length(0)),
            (Method::GET, 503, "Content-Length: 7\r\n", Length(7)),
            (Method::GET, 302, "Transfer-Encoding: Chunked\r\n", Chunked),
            (Method::HEAD, 200, "", Empty),
            (Method::HEAD, 200, "Content-Length: 7\r\n", Empty),
            (Method::HEAD, 200, "Transfer-Encoding: chunked\r\n", Empty),
            (Method::GET, 304, "Content-Length: 7\r\n", Empty),
            (Method::GET, 304, "", Empty),
            (Method::GET, 204, "", Empty),
            (Method::GET, 204, "Content-Length: 0\r\n", Empty),
            (Method::GET, 204, "Content-Length: 5\r\n", Empty),
            (Method::GET, 204, "Transfer-Encoding: chunked\r\n", Empty),
            (Method::GET, 200, "Content-Length: 5\r\ncontent-length: 05\r\n", Length(5)),
            (Method::GET, 200, "Content-Length: 5,5 ,\t5\r\n", Length(5)),
            (Method::GET, 200, "Transfer-Encoding: chunked\r\nTransfer-Encoding: CHUNKED\r\n", Chunked),
            (Method::GET, 200, "Transfer-Encoding: chunked, chunked\r\n", Chunked),
            (Method::GET, 200, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Chunked),
            (Method::HEAD, 200, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Empty),
            (Method::GET, 304, "Content-Length: 5, 5\r\n", Empty),
            (Method::POST, 103, "Content-Length: 0\r\nContent-Length: 0\r\n", Empty),
            (Method::POST, 100, "", Empty),
            (Method::POST, 103, "Link: </a>\r\n", Empty),
        ] {
            let head = accepted(&format!("HTTP/1.1 {status} x\r\n{fields}\r\n"), &method);
            assert_eq!(head.framing, framing, "{method} {status} {fields:?}");
        }
    }

    #[test]
    fn a_status_line_may_end_behind_its_code() {
        let head = accepted("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n", &Method::GET);
        assert_eq!((head.status.as_u16(), head.reason()), (200, &b""[..]));
        for line in ["HTTP/1.1 200\t", "HTTP/1.1 200\n", "HTTP/1.1 200\rx", "HTTP/1.1 200OK\r\n", "HTTP/1.1 20\r\n"] {
            assert_eq!(parsed(line.as_bytes(), &Method::GET), Err(Garbage::StatusLine), "{line:?}");
        }
    }

    #[test]
    fn blanks_before_a_colon_and_folds_are_put_right() {
        let text = "HTTP/1.1 200 OK\r\nA : b\r\nC\t :\r\nD:e \r\n\t f\t \r\n \r\n  g h\r\nI:\r\n \r\n j\r\nK: l\r\n \t\r\n\r\n";
        let fields = accepted(text, &Method::HEAD).fields;
        assert_eq!(fields, Fields::from_iter([("A", "b"), ("C", ""), ("D", "e f g h"), ("I", "j"), ("K", "l")]));
        // What a fold hides is no field of its own.
        let text = "HTTP/1.1 200 OK\r\nA: b\r\n Content-Length: 5\r\nContent-Length\t: 7\r\n\r\n";
        let head = accepted(text, &Method::GET);
        assert_eq!(head.framing, ResponseFraming::Length(7));
        assert_eq!(head.fields, Fields::from_iter([("A", "b Content-Length: 5"), ("Content-Length", "7")]));
    }

    #[test]
    fn what_is_said_twice_is_left_once() {
        for (fields, left) in [
            ("Content-Length: 5\r\nA: b\r\nContent-Length: 5\r\n", &[("Content-Length", "5"), ("A", "b")][..]),
            ("A: b\r\ncontent-length: 05 , 5\r\n", &[("A", "b"), ("content-length", "05")]),
            ("Transfer-Encoding: chunked,chunked\r\n", &[("Transfer-Encoding", "chunked")]),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", &[]),
            ("Content-Length: 5\r\nTransfer-Encoding: Chunked\r\n", &[("Transfer-Encoding", "Chunked")]),
        ] {
            for method in [Method::GET, Method::HEAD] {
                let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
                match parsed(text.as_bytes(), &method) {
                    Ok(Some((head, _))) => {
                        assert_eq!(head.fields, Fields::from_iter(left.iter().copied()), "{fields:?}")
                    }
                    result => assert!(left.is_empty(), "{result:?}"),
                }
            }
        }
    }

    #[test]
    fn ambiguous_framing_is_garbage() {
        use FramingError::{BodyWithoutContent, Coding, CodingInHttp10, DifferentLengths, Length};
        for (line, fields, error) in [
            ("HTTP/1.1 200", "Content-Length: x\r\nTransfer-Encoding: chunked\r\n", Length),
            ("HTTP/1.1 200", "Content-Length: 5\r\nContent-Length: 6\r\n", DifferentLengths),
            ("HTTP/1.1 304", "Content-Length: 5\r\nContent-Length: 6\r\n", DifferentLengths),
            ("HTTP/1.1 204", "Content-Length: 5\r\nContent-Length: 6\r\n", DifferentLengths),
            ("HTTP/1.1 200", "Content-Length: 5, 6\r\n", DifferentLengths),
            ("HTTP/1.1 200", "Content-Length: 5,\r\n", Length),
            ("HTTP/1.1 200", "Content-Length: 5 5\r\n", Length),
            ("HTTP/1.1 200", "Content-Length: 5\r\n 5\r\n", Length),
            ("HTTP/1.1 200", "Content-Length: +5\r\n", Length),
            ("HTTP/1.1 200", "Content-Length:\r\n", Length),
            ("HTTP/1.1 200", "Content-Length: 18446744073709551619\r\n", Length),
            ("HTTP/1.1 200", "Transfer-Encoding: gzip, chunked\r\n", Coding),
            ("HTTP/1.1 200", "Transfer-Encoding: chunked,\r\n", Coding),
            ("HTTP/1.1 200", "Transfer-Encoding: identity\r\n", Coding),
            ("HTTP/1.1 200", "Transfer-Encoding:\r\n", Coding),
            ("HTTP/1.1 200", "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n", Coding),
            ("HTTP/1.1 304", "Transfer-Encoding: gzip\r\n", Coding),
            ("HTTP/1.0 200", "Transfer-Encoding: chunked\r\n", CodingInHttp10),
            ("HTTP/1.1 100", "Content-Length: 5\r\n", BodyWithoutContent),
            ("HTTP/1.1 103", "Transfer-Encoding: chunked\r\n", BodyWithoutContent),
        ] {
            let text = format!("{line} x\r\n{fields}\r\n");
            assert_eq!(parsed(text.as_bytes(), &Method::GET), Err(Garbage::Framing(error)), "{text:?}");
        }
    }

    #[test]
    fn connections_persist_if_version_fields_and_framing_allow_it() {
        for (line, fields, persistence) in [
            ("HTTP/1.1 200", "Content-Length: 5\r\n", Persistence::KeepAlive),
            ("HTTP/1.1 204", "", Persistence::KeepAlive),
            ("HTTP/1.1 204", "Content-Length: 0\r\n", Persistence::KeepAlive),
            ("HTTP/1.1 204", "Content-Length: 5\r\n", Persistence::Close),
            ("HTTP/1.1 204", "Transfer-Encoding: chunked\r\n", Persistence::Close),
            ("HTTP/1.1 200", "Content-Length: 5, 5\r\n", Persistence::KeepAlive),
            ("HTTP/1.1 200", "Transfer-Encoding: chunked, chunked\r\n", Persistence::KeepAlive),
            ("HTTP/1.1 304", "Content-Length: 5\r\n", Persistence::KeepAlive),
            ("HTTP/1.1 200", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Persistence::Close),
            ("HTTP/1.1 304", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Persistence::Close),
            ("HTTP/1.1 200", "", Persistence::Close),
            ("HTTP/1.1 200", "Content-Length: 5\r\nConnection: close\r\n", Persistence::Close),
            ("HTTP/1.0 200", "Content-Length: 5\r\nConnection: keep-alive\r\n", Persistence::Close),
        ] {
            let head = accepted(&format!("{line} x\r\n{fields}\r\n"), &Method::GET);
            assert_eq!(head.persistence, persistence, "{line} {fields:?}");
        }
    }

    #[test]
    fn limits_are_exact() {
        let text = b"HTTP/1.1 200 OK\r\nA: b\r\nB: c\r\n\r\n";
        let read = |head_size, fields| parse_response(text, &HeadLimits { head_size, fields }, &Method::GET);
        assert_eq!(read(text.len(), 2).unwrap().unwrap().1, text.len());
        assert_eq!(read(text.len() - 1, 2), Err(Garbage::HeadTooLong));
        assert_eq!(read(5, 2), Err(Garbage::HeadTooLong));
        assert_eq!(read(text.len(), 1), Err(Garbage::Fields(FieldError::TooMany)));
    }
}
