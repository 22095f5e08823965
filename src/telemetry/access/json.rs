//! JSON objects written straight into a line. Separate from the general serialiser that everything else uses, because this is
//! done for every request, and that took several times as long.

use std::fmt::Display;
use std::net::IpAddr;
use std::time::Duration;

/// An object that is being written; it ends when this is dropped.
#[derive(Debug)]
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
    /// What stands before the next key.
    before: u8,
}

impl<'a> Object<'a> {
    pub(super) const fn begin(out: &'a mut Vec<u8>) -> Self {
        Self { out, before: b'{' }
    }

    // So that a key's length is known where it is written, and it is a few moves instead of calls.
    #[inline(always)]
    fn key(&mut self, key: &'static str) -> &mut Vec<u8> {
        self.out.extend_from_slice(&[self.before, b'"']);
        self.before = b',';
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    pub(super) fn text(&mut self, key: &'static str, value: &str) {
        string(self.key(key), value);
    }

    pub(super) fn text_or_null(&mut self, key: &'static str, value: Option<&str>) {
        match value {
            Some(value) => self.text(key, value),
            None => self.key(key).extend_from_slice(b"null"),
        }
    }

    pub(super) fn shown_or_null(&mut self, key: &'static str, value: Option<impl Display>) {
        self.text_or_null(key, value.map(|value| value.to_string()).as_deref());
    }

    pub(super) fn address(&mut self, key: &'static str, value: IpAddr) {
        let out = self.key(key);
        out.push(b'"');
        match value {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                for (octet, after) in [(a, b'.'), (b, b'.'), (c, b'.'), (d, b'"')] {
                    digits(out, octet.into());
                    out.push(after);
                }
            }
            IpAddr::V6(address) => {
                out.extend_from_slice(address.to_string().as_bytes());
                out.push(b'"');
            }
        }
    }

    pub(super) fn number(&mut self, key: &'static str, value: u64) {
        digits(self.key(key), value);
    }

    pub(super) fn number_or_null(&mut self, key: &'static str, value: Option<u16>) {
        match value {
            Some(value) => self.number(key, value.into()),
            None => self.key(key).extend_from_slice(b"null"),
        }
    }

    pub(super) fn truth(&mut self, key: &'static str, value: bool) {
        self.key(key).extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// Seconds, to the microsecond.
    pub(super) fn seconds(&mut self, key: &'static str, value: Duration) {
        let out = self.key(key);
        digits(out, value.as_secs());
        fraction(out, value.subsec_micros(), 100_000);
    }

    /// Milliseconds, to the microsecond.
    pub(super) fn milliseconds(&mut self, key: &'static str, value: Duration) {
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        let out = self.key(key);
        digits(out, micros / 1000);
        fraction(out, (micros % 1000) as u32, 100);
    }

    /// A list of objects, each written by `body`.
    pub(super) fn objects<T>(&mut self, key: &'static str, values: &[T], body: impl Fn(&T, &mut Object<'_>)) {
        let out = self.key(key);
        out.push(b'[');
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            body(value, &mut Object::begin(out));
        }
        out.push(b']');
    }
}

impl Drop for Object<'_> {
    fn drop(&mut self) {
        self.out.push(b'}');
    }
}

fn digits(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// What follows the point, of which the first digit stands for so many; at least one.
fn fraction(out: &mut Vec<u8>, mut value: u32, mut first: u32) {
    out.push(b'.');
    loop {
        out.push(b'0' + (value / first) as u8);
        value %= first;
        first /= 10;
        if value == 0 {
            return;
        }
    }
}

/// JSON that a terminal shows as it is: text may be a peer's, and what lies beyond ASCII has controls of its own, and
/// characters that turn the direction of writing around.
fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    // Without an early end, since then several bytes are looked at in one go.
    if text.bytes().fold(true, |plain, byte| plain & is_plain(byte)) {
        out.extend_from_slice(text.as_bytes());
    } else {
        text.chars().for_each(|character| escape(out, character));
    }
    out.push(b'"');
}

const fn is_plain(byte: u8) -> bool {
    (byte >= b' ') & (byte <= b'~') & (byte != b'"') & (byte != b'\\')
}

fn escape(out: &mut Vec<u8>, character: char) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match character {
        '"' | '\\' => out.extend([b'\\', character as u8]),
        ' '..='~' => out.push(character as u8),
        _ => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(b"\\u");
                out.extend([12, 8, 4, 0].map(|shift| HEX[usize::from(*unit >> shift & 0xf)]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(line: &[u8]) -> Value {
        assert!(line.iter().all(|byte| matches!(byte, b' '..=b'~')), "{}", line.escape_ascii());
        serde_json::from_slice(line).unwrap_or_else(|error| panic!("{}: {error}", line.escape_ascii()))
    }

    #[test]
    fn an_object_is_what_was_put_in() {
        let mut line = Vec::new();
        let mut object = Object::begin(&mut line);
        object.text("text", "a \"b\" \\ \n");
        object.text_or_null("nothing", None);
        object.shown_or_null("shown", Some(7));
        object.address("four", [192, 0, 2, 10].into());
        object.address("six", Ipv6Addr::LOCALHOST.into());
        object.number("number", u64::MAX);
        object.number_or_null("status", Some(200));
        object.number_or_null("none", None);
        object.truth("yes", true);
        object.objects("list", &[1, 2], |value, object| object.number("of", *value));
        object.objects("empty", &[0; 0], |_, _| ());
        drop(object);
        let expected = json!({
            "text": "a \"b\" \\ \n", "nothing": null, "shown": "7", "four": "192.0.2.10", "six": "::1",
            "number": u64::MAX, "status": 200, "none": null, "yes": true, "list": [{"of": 1}, {"of": 2}], "empty": [],
        });
        assert_eq!(read(&line), expected);
    }

    #[test]
    fn times_are_told_to_the_microsecond() {
        for (time, seconds, milliseconds) in [
            (Duration::ZERO, "0.0", "0.0"),
            (Duration::from_micros(1), "0.000001", "0.001"),
            (Duration::from_micros(1_234_500), "1.2345", "1234.5"),
            (Duration::new(1_796_051_210, 120_000_999), "1796051210.12", "1796051210120.0"),
            (Duration::new(5, 999_999_999), "5.999999", "5999.999"),
        ] {
            let mut line = Vec::new();
            let mut object = Object::begin(&mut line);
            object.seconds("s", time);
            object.milliseconds("ms", time);
            drop(object);
            assert_eq!(String::from_utf8(line).unwrap(), format!("{{\"s\":{seconds},\"ms\":{milliseconds}}}"));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_ascii_and_says_the_same(text in "(\\PC|[\\x00-\\x7f]|[\\u{80}-\\u{10ffff}]){0,40}") {
            let mut line = Vec::new();
            string(&mut line, &text);
            prop_assert_eq!(read(&line), Value::from(text));
        }
    }
}
