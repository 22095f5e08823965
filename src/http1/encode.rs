//! Heads and chunks as bytes. Separate from the parsers, because it trusts: what comes here was parsed, or made by the
//! gateway, and is valid by construction.

use http::{Method, StatusCode};

use super::fields::{self, Fields};

/// Appends the request line, HTTP/1.1.
pub fn request_line(out: &mut Vec<u8>, method: &Method, target: &[u8]) {
    push(out, &[method.as_str().as_bytes(), b" ", target, b" HTTP/1.1\r\n"]);
}

/// Appends the status line, HTTP/1.1. The reason may be empty.
pub fn status_line(out: &mut Vec<u8>, status: StatusCode, reason: &[u8]) {
    push(out, &[b"HTTP/1.1 ", status.as_str().as_bytes(), b" ", reason, b"\r\n"]);
}

/// Appends one field line.
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    debug_assert!(fields::is_name(name) && fields::is_value(value), "fields are valid by construction");
    push(out, &[name, b": ", value, b"\r\n"]);
}

/// Appends the empty line that ends a head.
pub fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Appends the line that begins a chunk of `size` bytes, which is not zero: that is [`last_chunk`].
pub fn chunk_start(out: &mut Vec<u8>, size: u64) {
    debug_assert!(size > 0, "an empty chunk would end the body");
    let digits = (u64::BITS - size.leading_zeros()).div_ceil(4).max(1);
    out.extend((0..digits).rev().map(|digit| b"0123456789abcdef"[(size >> (digit * 4) & 0xf) as usize]));
    out.extend_from_slice(b"\r\n");
}

/// Appends what ends a chunk.
pub fn chunk_end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// Appends the last chunk and the trailers, and so ends a chunked body.
pub fn last_chunk(out: &mut Vec<u8>, trailers: &Fields) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.iter() {
        field(out, name, value);
    }
    end(out);
}

fn push(out: &mut Vec<u8>, parts: &[&[u8]]) {
    out.reserve(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn heads_are_written_line_by_line() {
        let request = written(|out| {
            request_line(out, &Method::GET, b"/a?b");
            field(out, b"Host", b"a");
            end(out);
        });
        assert_eq!(request, "GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = written(|out| {
            status_line(out, StatusCode::NO_CONTENT, b"");
            end(out);
        });
        assert_eq!(response, "HTTP/1.1 204 \r\n\r\n");
    }

    #[test]
    fn chunks_are_written_without_leading_zeros() {
        for (size, line) in [(1, "1\r\n"), (15, "f\r\n"), (16, "10\r\n"), (u64::MAX, "ffffffffffffffff\r\n")] {
            assert_eq!(written(|out| chunk_start(out, size)), line);
        }
        assert_eq!(written(chunk_end), "\r\n");
        assert_eq!(written(|out| last_chunk(out, &Fields::default())), "0\r\n\r\n");
        let trailers = Fields::from_iter([("A", "b")]);
        assert_eq!(written(|out| last_chunk(out, &trailers)), "0\r\nA: b\r\n\r\n");
    }
}
