//! JSON objects written straight into a line, and what every line begins with. Separate from the general serialiser that
//! everything else uses, because a line is written for every request, and that took several times as long.

use std::fmt::Display;
use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use time::UtcDateTime;

/// An object that is being written; it ends when this is dropped.
#[derive(Debug)]
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
    /// What stands before the next key.
    before: u8,
}

impl<'a> Object<'a> {
    pub(in crate::telemetry) const fn begin(out: &'a mut Vec<u8>) -> Self {
        Self { out, before: b'{' }
    }

    /// A line of the log, with what all of them have in common: when it happened, how grave it is, and what part of the
    /// program says so.
    #[inline]
    pub(in crate::telemetry) fn line(out: &'a mut Vec<u8>, time: Duration, level: &str, target: &str) -> Self {
        let mut object = Self::begin(out);
        object.moment("time", time);
        object.word("level", level);
        object.word("target", target);
        object
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

    pub(in crate::telemetry) fn text(&mut self, key: &'static str, value: &str) {
        string(self.key(key), value);
    }

    /// A text of the gateway's own, in which nothing needs an escape.
    #[inline]
    pub(in crate::telemetry) fn word(&mut self, key: &'static str, value: &str) {
        debug_assert!(value.bytes().all(is_plain), "{key}: {value:?}");
        let out = self.key(key);
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    }

    pub(in crate::telemetry) fn word_if_any(&mut self, key: &'static str, value: Option<&str>) {
        value.into_iter().for_each(|value| self.word(key, value));
    }

    /// What there is of it: a field without a value is left out.
    pub(in crate::telemetry) fn text_if_any(&mut self, key: &'static str, value: Option<&str>) {
        value.into_iter().for_each(|value| self.text(key, value));
    }

    pub(in crate::telemetry) fn shown_if_any(&mut self, key: &'static str, value: Option<impl Display>) {
        self.text_if_any(key, value.map(|value| value.to_string()).as_deref());
    }

    pub(in crate::telemetry) fn address(&mut self, key: &'static str, value: IpAddr) {
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

    pub(in crate::telemetry) fn number(&mut self, key: &'static str, value: u64) {
        digits(self.key(key), value);
    }

    pub(in crate::telemetry) fn number_if_any(&mut self, key: &'static str, value: Option<u16>) {
        value.into_iter().for_each(|value| self.number(key, value.into()));
    }

    /// A number that JSON can tell as it is shown.
    pub(in crate::telemetry) fn shown_number(&mut self, key: &'static str, value: impl Display) {
        let out = self.key(key);
        // Memory takes all that is written to it.
        write!(out, "{value}").ok();
    }

    pub(in crate::telemetry) fn truth(&mut self, key: &'static str, value: bool) {
        self.key(key).extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// The time so long after 1970 began, as [`moment`] writes it.
    pub(in crate::telemetry) fn moment(&mut self, key: &'static str, since_1970: Duration) {
        let out = self.key(key);
        out.push(b'"');
        moment(out, since_1970);
        out.push(b'"');
    }

    /// Milliseconds, to the microsecond.
    pub(in crate::telemetry) fn milliseconds(&mut self, key: &'static str, value: Duration) {
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        let out = self.key(key);
        digits(out, micros / 1000);
        fraction(out, (micros % 1000) as u32, 100);
    }

    /// A list of objects, each written by `body`.
    pub(in crate::telemetry) fn objects<T>(
        &mut self,
        key: &'static str,
        values: &[T],
        body: impl Fn(&T, &mut Object<'_>),
    ) {
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

/// The time so long after 1970 began, in UTC and to the microsecond, as RFC 3339 has it: `2026-12-01T09:30:00.000250Z`. Clocks
/// that are beyond the year 9999 are told as if they stood at its end.
pub(in crate::telemetry) fn moment(out: &mut Vec<u8>, since_1970: Duration) {
    let seconds = i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX);
    let at = UtcDateTime::from_unix_timestamp(seconds).unwrap_or(UtcDateTime::MAX);
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second) = at.as_hms();
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    let mut put = |end: usize, length: usize, mut value: u32| {
        for digit in text[end - length..end].iter_mut().rev() {
            *digit = b'0' + (value % 10) as u8;
            value /= 10;
        }
    };
    put(4, 4, year.unsigned_abs());
    for (end, value) in [(7, month.into()), (10, day), (13, hour), (16, minute), (19, second)] {
        put(end, 2, value.into());
    }
    put(26, 6, since_1970.subsec_micros());
    out.extend_from_slice(&text);
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
pub(in crate::telemetry) fn string(out: &mut Vec<u8>, text: &str) {
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
        object.text_if_any("nothing", None);
        object.text_if_any("something", Some("x"));
        object.shown_if_any("shown", Some(7));
        object.address("four", [192, 0, 2, 10].into());
        object.address("six", Ipv6Addr::LOCALHOST.into());
        object.number("number", u64::MAX);
        object.number_if_any("status", Some(200));
        object.number_if_any("none", None);
        object.shown_number("less", -1.5);
        object.truth("yes", true);
        object.objects("list", &[1, 2], |value, object| object.number("of", *value));
        object.objects("empty", &[0; 0], |_, _| ());
        drop(object);
        let expected = json!({
            "text": "a \"b\" \\ \n", "something": "x", "shown": "7", "four": "192.0.2.10", "six": "::1",
            "number": u64::MAX, "status": 200, "less": -1.5, "yes": true, "list": [{"of": 1}, {"of": 2}], "empty": [],
        });
        assert_eq!(read(&line), expected);
    }

    #[test]
    fn times_are_told_to_the_microsecond() {
        for (time, moment, milliseconds) in [
            (Duration::ZERO, "1970-01-01T00:00:00.000000Z", "0.0"),
            (Duration::from_micros(1), "1970-01-01T00:00:00.000001Z", "0.001"),
            (Duration::from_micros(1_234_500), "1970-01-01T00:00:01.234500Z", "1234.5"),
            (Duration::new(951_782_399, 999_999_999), "2000-02-28T23:59:59.999999Z", "951782399999.999"),
            (Duration::new(1_796_051_210, 120_000_999), "2026-11-30T15:06:50.120000Z", "1796051210120.0"),
            (Duration::from_secs(253_402_300_800), "9999-12-31T23:59:59.000000Z", "253402300800000.0"),
        ] {
            let mut line = Vec::new();
            let mut object = Object::begin(&mut line);
            object.moment("at", time);
            object.milliseconds("ms", time);
            drop(object);
            assert_eq!(String::from_utf8(line).unwrap(), format!("{{\"at\":\"{moment}\",\"ms\":{milliseconds}}}"));
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
