//! Who a request's spans belong to, as W3C Trace Context has it. Separate from the spans, because this comes from clients, and
//! goes to XSPs.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

use serde::{Serialize, Serializer};

use crate::http1::head::Fields;

/// The field that carries it.
pub const TRACEPARENT: &str = "traceparent";

/// The length of a traceparent of version 00, in bytes.
const LENGTH: usize = 55;
/// The flag that says that the sender traces the request.
const SAMPLED: u8 = 1;
/// The flag that says that the trace's id is random. It belongs to the id, and goes on with it.
const RANDOM: u8 = 2;

/// A trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(NonZeroU128);

/// One span of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SpanId(NonZeroU64);

/// What a request says of the trace that it is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    flags: u8,
}

impl TraceId {
    pub(super) fn random() -> Self {
        Self(rand::random())
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        self.0.get().to_be_bytes().to_vec()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for TraceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl SpanId {
    pub(super) fn random() -> Self {
        Self(rand::random())
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        self.0.get().to_be_bytes().to_vec()
    }
}

impl Parent {
    /// What a request's fields say; `None`: nothing that could be believed. Two of them contradict each other.
    pub fn of(fields: &Fields) -> Option<Self> {
        let mut given = fields.get_all(TRACEPARENT);
        let (first, second) = (given.next()?, given.next());
        second.is_none().then(|| Self::parse(first)).flatten()
    }

    /// Reads a traceparent (W3C Trace Context, section 3.2); of a later version, what all versions begin with (section 4).
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (known, more) = value.split_at_checked(LENGTH)?;
        let [version, trace, span, flags] = [0..2, 3..35, 36..52, 53..55].map(|digits| hex(&known[digits]));
        if [2, 35, 52].iter().any(|at| known[*at] != b'-') {
            return None;
        }
        let is_whole = match version? {
            0 => more.is_empty(),
            0xff => false,
            _ => more.first().is_none_or(|next| *next == b'-'),
        };
        let trace = TraceId(NonZeroU128::new(trace?)?);
        let span = SpanId(NonZeroU64::new(u64::try_from(span?).ok()?)?);
        let flags = u8::try_from(flags?).ok()?;
        is_whole.then_some(Self { trace, span, flags })
    }

    /// Whether its sender traces the request.
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

/// The traceparent of what `span` asks for in a trace that goes on.
pub(super) fn traceparent(trace: TraceId, span: SpanId, parent: Option<Parent>) -> String {
    let flags = SAMPLED | parent.map_or(0, |parent| parent.flags & RANDOM);
    format!("00-{trace}-{:016x}-{flags:02x}", span.0)
}

/// A number in lower-case hexadecimal digits, of which there are at most 32.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| match digit {
        b'0'..=b'9' => Some(number << 4 | u128::from(digit - b'0')),
        b'a'..=b'f' => Some(number << 4 | u128::from(digit - b'a' + 10)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn fields(lines: &[(&'static str, String)]) -> Fields {
        lines.iter().map(|(name, value)| (*name, value.clone())).collect()
    }

    #[test]
    fn a_traceparent_is_read_and_handed_on() {
        let given = Parent::parse(format!("00-{TRACE}-{SPAN}-01").as_bytes()).unwrap();
        assert_eq!((given.trace.to_string().as_str(), given.is_sampled()), (TRACE, true));
        let own = SpanId(NonZeroU64::MIN);
        assert_eq!(traceparent(given.trace, own, Some(given)), format!("00-{TRACE}-0000000000000001-01"));
        let unsampled = Parent::parse(format!("00-{TRACE}-{SPAN}-02").as_bytes()).unwrap();
        assert!(!unsampled.is_sampled());
        assert_eq!(traceparent(given.trace, own, Some(unsampled)), format!("00-{TRACE}-0000000000000001-03"));
    }

    #[test]
    fn of_later_versions_the_known_part_is_read() {
        for rest in ["01", "01-", "01-what-else", "ff"] {
            let text = format!("cc-{TRACE}-{SPAN}-{rest}");
            assert!(Parent::parse(text.as_bytes()).is_some_and(|parent| parent.is_sampled()), "{text}");
        }
    }

    #[test]
    fn what_is_malformed_is_none() {
        let zeros = "0".repeat(32);
        let upper = TRACE.to_uppercase();
        for text in [
            String::new(),
            "00".into(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-0"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("00-{TRACE}-{SPAN}-01 "),
            format!("00-{TRACE}-{SPAN}-0g"),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00-{upper}-{SPAN}-01"),
            format!("00_{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}+{SPAN}-01"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("cc-{TRACE}-{SPAN}-01x"),
            format!("00-{TRACE}-{SPAN}-é"),
        ] {
            assert_eq!(Parent::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn two_are_none() {
        let given = (TRACEPARENT, format!("00-{TRACE}-{SPAN}-01"));
        assert!(Parent::of(&fields(std::slice::from_ref(&given))).is_some());
        assert_eq!(Parent::of(&fields(&[given.clone(), given])), None);
        assert_eq!(Parent::of(&fields(&[])), None);
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_written(
            (version, trace, span, flags) in (0_u8..0xff, 1_u128.., 1_u64.., any::<u8>()),
        ) {
            let text = format!("{version:02x}-{trace:032x}-{span:016x}-{flags:02x}");
            let expected =
                Parent { trace: TraceId(trace.try_into().unwrap()), span: SpanId(span.try_into().unwrap()), flags };
            prop_assert_eq!(Parent::parse(text.as_bytes()), Some(expected));
        }

        #[test]
        fn whatever_comes_is_read_as_the_grammar_has_it(
            text in "[0-9a-gF]{2}[-_]([0-9a-f]{32}|0{32}|.{0,3})[-_]([0-9a-f]{16}|0{16}|.{0,3})[-_][0-9a-f]{1,3}(-.{0,5})?",
            noise in proptest::collection::vec(any::<u8>(), 0..70),
        ) {
            for value in [text.as_bytes(), &noise] {
                prop_assert_eq!(Parent::parse(value).is_some(), is_valid(value), "{:?}", value);
            }
        }
    }

    /// The same question, answered field for field.
    fn is_valid(value: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(value) else {
            // A later version may go on with anything.
            return value
                .get(..56)
                .is_some_and(|known| known[55] == b'-' && known[..2] != *b"00" && is_valid(&known[..55]));
        };
        let parts: Vec<&str> = text.splitn(5, '-').collect();
        let [version, trace, span, flags, rest @ ..] = parts.as_slice() else { return false };
        let hex = |part: &str, length| {
            part.len() == length && part.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
        };
        let zero = |part: &str| part.chars().all(|c| c == '0');
        let versioned = hex(version, 2) && *version != "ff" && (*version != "00" || rest.is_empty());
        versioned && hex(trace, 32) && !zero(trace) && hex(span, 16) && !zero(span) && hex(flags, 2)
    }
}
