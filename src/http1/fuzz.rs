//! What must hold for any bytes at all, one function for each fuzz target. They stand in the library because every run of
//! the tests feeds them too; a plain build has none of them.

use std::fmt::Debug;

use http::Method;

use super::chunked::{Decoder, Event};
use super::encode;
use super::head::{Fields, HeadLimits, Persistence, Sender, Version, parse_request, parse_response};

mod model;

/// Small, so that short inputs reach the limits.
const LIMITS: HeadLimits = HeadLimits { head_size: 256, fields: 8 };

const METHODS: [Method; 4] = [Method::GET, Method::HEAD, Method::POST, Method::OPTIONS];

/// A request head: trickled or whole, it reads the same; accepted, it is made of nothing but lines, and encoded again
/// it reads the same.
pub fn request_head(data: &[u8]) {
    for limits in [LIMITS, HeadLimits::default()] {
        let whole = parse_request(data, &limits);
        assert_eq!(trickled(data, |bytes| parse_request(bytes, &limits)), whole);
        let Ok(Some((head, used))) = whole else { continue };
        let start = data.iter().position(|byte| !b"\r\n".contains(byte)).expect("a head has begun");
        let lines = assert_lines(&data[start..used], &head.fields, &limits);
        assert_eq!(lines, head.fields.len() + 1, "each line is the request line or one field");
        assert!(head.target().starts_with(head.path()));
        assert_eq!(head.authority().is_some(), head.host().is_some());
        assert!(head.authority().unwrap_or_default().starts_with(head.host().unwrap_or_default()));
        if head.version == Version::Http10 {
            continue;
        }
        let mut out = Vec::new();
        encode::request_line(&mut out, &head.method, head.target());
        encode_fields(&mut out, &head.fields);
        let (again, _) = parse_request(&out, &HeadLimits { head_size: usize::MAX, ..limits })
            .expect("an accepted head is well-formed when encoded again")
            .expect("a head is encoded whole");
        assert_eq!(
            (again.target(), again.path(), again.query(), again.authority(), &again.fields),
            (head.target(), head.path(), head.query(), head.authority(), &head.fields)
        );
        assert_eq!(
            (again.method, again.framing, again.persistence, again.expectation),
            (head.method, head.framing, head.persistence, head.expectation)
        );
    }
}

/// A response head, likewise, save that it may have more lines than fields, and that what was put right stays right.
pub fn response_head(data: &[u8]) {
    for method in METHODS {
        let whole = parse_response(data, &LIMITS, &method);
        assert_eq!(trickled(data, |bytes| parse_response(bytes, &LIMITS, &method)), whole);
        let Ok(Some((head, used))) = whole else { continue };
        let lines = assert_lines(&data[..used], &head.fields, &LIMITS);
        assert!(lines > head.fields.len(), "each field has a line");
        let framing = ["content-length", "transfer-encoding"].map(|name| head.fields.get_all(name).count());
        assert!(framing.iter().sum::<usize>() <= 1, "one thing is said once");
        if head.version == Version::Http10 {
            continue;
        }
        let mut out = Vec::new();
        encode::status_line(&mut out, head.status, head.reason());
        encode_fields(&mut out, &head.fields);
        let (again, _) = parse_response(&out, &HeadLimits { head_size: usize::MAX, ..LIMITS }, &method)
            .expect("an accepted head is well-formed when encoded again")
            .expect("a head is encoded whole");
        assert_eq!((again.status, again.reason(), &again.fields), (head.status, head.reason(), &head.fields));
        assert_eq!(again.framing, head.framing);
        assert!(again.persistence == head.persistence || head.persistence == Persistence::Close);
    }
}

/// A chunked body behind one byte that says how it is split: it reads as the naive model reads it in one piece, no matter who has
/// sent it. What a client may send, an XSP may.
pub fn chunked(data: &[u8]) {
    let Some((&step, body)) = data.split_first() else { return };
    let [strict, lenient] = [Sender::Client, Sender::Xsp].map(|sender| {
        let expected = model::decode(body, sender);
        for step in [usize::from(step).max(1), 1, body.len().max(1)] {
            assert_eq!(decode(body.chunks(step), sender), expected, "in steps of {step} from {sender:?}");
        }
        expected
    });
    assert!(strict.is_malformed() || strict == lenient);
}

/// Feeds the decoder piece by piece, as a connection does: what it leaves comes again before what follows.
pub(super) fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>, sender: Sender) -> model::Body {
    let mut decoder = Decoder::new(sender, HeadLimits::TRAILERS);
    let mut read = model::Body::default();
    let mut left = Vec::new();
    let mut used = 0;
    for piece in pieces {
        left.extend_from_slice(piece);
        loop {
            let (taken, event) = match decoder.next(&left) {
                Ok(step) => step,
                Err(_) => return read.malformed(),
            };
            assert!(taken <= left.len());
            used += taken;
            let more = event.is_none();
            match event {
                Some(Event::Chunk(size)) => read.begin(size),
                Some(Event::Data(bytes)) => read.extend(bytes),
                Some(Event::ChunkEnd) => read.finish(),
                Some(Event::End(trailers)) => return read.ended(&trailers, used),
                None => {}
            }
            left.drain(..taken);
            if more {
                let longest = if sender == Sender::Xsp { 17 + 1024 } else { 17 };
                assert!(left.len() <= longest, "the decoder leaves no more than an open size line");
                break;
            }
        }
    }
    read
}

/// The first result on a buffer that grows by single bytes.
pub(super) fn trickled<T: Debug, E: Debug>(
    data: &[u8],
    parse: impl Fn(&[u8]) -> Result<Option<T>, E>,
) -> Result<Option<T>, E> {
    for length in 0..data.len() {
        match parse(&data[..length]) {
            Ok(None) => {}
            decided => return decided,
        }
    }
    parse(data)
}

/// A head is lines, and its fields are fields; how many lines?
fn assert_lines(bytes: &[u8], fields: &Fields, limits: &HeadLimits) -> usize {
    assert!(bytes.len() <= limits.head_size && fields.len() <= limits.fields);
    let text = bytes.strip_suffix(b"\r\n\r\n").expect("a head ends in an empty line");
    let others = text.iter().filter(|byte| byte.is_ascii_control() && !b"\r\n\t".contains(byte)).count();
    assert_eq!(others, 0, "no controls");
    for (name, value) in fields.iter() {
        assert!(!name.is_empty() && !name.iter().any(|byte| b" \t:".contains(byte)));
        assert!(!value.iter().any(|byte| b"\r\n".contains(byte)));
    }
    text.split(|&byte| byte == b'\n').count()
}

fn encode_fields(out: &mut Vec<u8>, fields: &Fields) {
    for (name, value) in fields.iter() {
        encode::field(out, name, value);
    }
    encode::end(out);
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const REQUEST: &[&str] = &[
        "GET /com.broadsoft.xsi-actions/v2.0/user/a%40b.c/profile?format=json HTTP/1.1\r\n",
        "POST https://xsp.example.com/dms/ HTTP/1.1\r\n",
        "OPTIONS * HTTP/1.1\r\n",
        "PUT /authService HTTP/1.0\r\n",
        "\r\n\nGET / HTTP/1.7\r\n",
    ];
    const RESPONSE: &[&str] = &[
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200\r\n",
        "HTTP/1.1 204 \r\n",
        "HTTP/1.1 304 Not Modified\r\n",
        "HTTP/1.0 503 busy\r\n",
    ];
    const FIELDS: &[&str] = &[
        "Host: xsp.example.com\r\n",
        "Host:xsp.example.com\r\n",
        "Content-Length: 5\r\n",
        "content-length: 0\r\n",
        "Content-Length: 5 , 5\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: Chunked\r\n",
        "Connection: TE, close\r\n",
        "Expect: 100-continue\r\n",
        "Upgrade: h2c\r\n",
        "X-Obs: \u{e9}\t\t\u{e8}  \r\n",
        "Empty:\r\n",
        " folded\r\n",
        " \t\r\n",
        "Spaced : x\r\n",
        "Bare: a\rb\r\n",
        "Bare: a\nb\r\n",
    ];

    /// A head out of likely lines, with a few bytes changed.
    fn head(lines: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
        let bytes = (select(lines), vec(select(FIELDS), 0..10)).prop_map(|(line, fields)| {
            let mut head = format!("{line}Host: xsp.example.com\r\n{}\r\n", fields.concat()).into_bytes();
            head.extend_from_slice(b"body");
            head
        });
        mutated(bytes)
    }

    fn body() -> impl Strategy<Value = Vec<u8>> {
        let chunk = prop_oneof![
            4 => vec(any::<u8>(), 1..40).prop_map(|data| [format!("{:x}\r\n", data.len()).as_bytes(), &data[..], b"\r\n"].concat()),
            1 => select(&["5;a=b\r\nhello\r\n", "5 \t\r\nhello\r\n", "5 ;a=\"b;\"\r\nhello\r\n", "5 5\r\nhello\r\n", "+5\r\nhello\r\n", "0x5\r\nhello\r\n", "ffffffffffffffff\r\n", "5\nhello\r\n", "00000000000000005\r\nhello\r\n"][..]).prop_map(|chunk| chunk.as_bytes().to_vec()),
        ];
        let trailer = select(
            &[
                "A: b\r\n",
                "A:\r\n",
                "A : b\r\n",
                " folded \r\n",
                "\t\r\n",
                "Content_Length: 4\r\n",
                "X-Forwarded-For: a\r\n",
                "b: c\td \r\n",
            ][..],
        );
        let bytes = (vec(chunk, 0..5), vec(trailer, 0..3), any::<u8>()).prop_map(|(chunks, trailers, step)| {
            [&[step][..], &chunks.concat(), b"0\r\n", trailers.concat().as_bytes(), b"\r\nmore"].concat()
        });
        mutated(bytes)
    }

    fn mutated(bytes: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![select(&b"\r\n\t :;,\0\x0b\x7f0"[..]), any::<u8>()];
        let edit = (any::<prop::sample::Index>(), proptest::option::of(byte), 0..3usize);
        (bytes, vec(edit, 0..3)).prop_map(|(mut bytes, edits)| {
            for (at, byte, removed) in edits {
                let at = at.index(bytes.len().max(1));
                let end = bytes.len().min(at + removed);
                bytes.splice(at.min(end)..end, byte);
            }
            bytes
        })
    }

    proptest! {
        #[test]
        fn any_bytes_as_a_request_head(data in vec(any::<u8>(), 0..300)) {
            request_head(&data);
        }

        #[test]
        fn likely_bytes_as_a_request_head(data in head(REQUEST)) {
            request_head(&data);
        }

        #[test]
        fn any_bytes_as_a_response_head(data in vec(any::<u8>(), 0..300)) {
            response_head(&data);
        }

        #[test]
        fn likely_bytes_as_a_response_head(data in head(RESPONSE)) {
            response_head(&data);
        }

        #[test]
        fn any_bytes_as_a_chunked_body(data in vec(any::<u8>(), 0..300)) {
            chunked(&data);
        }

        #[test]
        fn likely_bytes_as_a_chunked_body(data in body()) {
            chunked(&data);
        }

        #[test]
        fn arbitrary_splits_of_a_chunked_body_read_the_same(data in body(), cuts in vec(any::<prop::sample::Index>(), 0..8)) {
            let body = data.get(1..).unwrap_or_default();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(body.len() + 1)).chain([0, body.len()]).collect();
            cuts.sort_unstable();
            for sender in [Sender::Client, Sender::Xsp] {
                let pieces = cuts.windows(2).map(|cut| &body[cut[0]..cut[1]]);
                prop_assert_eq!(decode(pieces, sender), model::decode(body, sender));
            }
        }

        #[test]
        fn encoded_chunks_decode_to_themselves(chunks in vec(vec(any::<u8>(), 1..600), 0..6)) {
            let mut out = Vec::new();
            let mut expected = model::Body::default();
            for chunk in &chunks {
                encode::chunk_start(&mut out, chunk.len() as u64);
                out.extend_from_slice(chunk);
                encode::chunk_end(&mut out);
                expected.begin(chunk.len() as u64);
                expected.extend(chunk);
                expected.finish();
            }
            let trailers = Fields::from_iter([("Checked", "yes")]);
            encode::last_chunk(&mut out, &trailers);
            let used = out.len();
            prop_assert_eq!(decode(out.chunks(7), Sender::Client), expected.ended(&trailers, used));
        }
    }
}
