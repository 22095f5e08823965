//! The fields of a head or a trailer section, as they came: order, case and bytes. Separate from the heads, because trailers
//! and anyone who decides by fields need nothing else of a message.

use std::fmt;
use std::sync::Arc;

use super::scan;

/// Header or trailer fields in the order in which they came.
///
/// Every name is a token (RFC 9110 section 5.6.2), and no value holds a control other than HTAB. Names keep their case
/// and are compared without regard to it. Clones share the bytes.
#[derive(Clone, Default)]
pub struct Fields {
    bytes: Arc<[u8]>,
    spans: Box<[Span]>,
}

impl Fields {
    pub(super) fn new(bytes: Arc<[u8]>, spans: &[Span]) -> Self {
        Self { bytes, spans: spans.into() }
    }

    /// Name and value of each field line. Values come without the whitespace around them and may be empty.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.spans.iter().map(|span| (span.name.of(&self.bytes), span.value.of(&self.bytes)))
    }

    /// The value of the first field of that name.
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<&[u8]> {
        self.get_all(name).next()
    }

    /// The values of all fields of that name, in their order.
    pub fn get_all(&self, name: impl AsRef<[u8]>) -> impl Iterator<Item = &[u8]> {
        self.iter().filter(move |(own, _)| own.eq_ignore_ascii_case(name.as_ref())).map(|(_, value)| value)
    }

    /// How many field lines there are.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is no field at all.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }
}

/// Names and values are compared byte for byte.
impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Fields {}

/// Shows names alone: values hold credentials, and none may reach a log.
impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned())).finish()
    }
}

/// For fields that the gateway itself makes up.
///
/// # Panics
/// On a name that is no token, and on a value with a control or with whitespace around it: those can't come from a
/// parsed message either.
impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Fields {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        let mut bytes = Vec::new();
        let mut spans = Vec::new();
        for (name, value) in fields {
            let (name, value) = (name.as_ref(), value.as_ref());
            assert!(is_name(name), "a field name is a token");
            assert!(is_value(value), "a field value is trimmed text without controls");
            let start = bytes.len();
            bytes.extend_from_slice(name);
            let colon = bytes.len();
            bytes.extend_from_slice(value);
            spans.push(Span { name: Part::new(start, colon), value: Part::new(colon, bytes.len()) });
        }
        Self { bytes: bytes.into(), spans: spans.into() }
    }
}

/// Whether this may stand as a field's name.
pub(super) fn is_name(bytes: &[u8]) -> bool {
    !bytes.is_empty() && scan::token_length(bytes) == bytes.len()
}

/// Whether this may stand as a field's value.
pub(super) fn is_value(bytes: &[u8]) -> bool {
    let blank_edge = [bytes.first(), bytes.last()].into_iter().flatten().any(|&byte| scan::is_blank(byte));
    !blank_edge && scan::text_length(bytes) == bytes.len()
}

/// Where one field line's name and value stand in the bytes.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) name: Part,
    pub(super) value: Part,
}

/// A range of a head's bytes, in half the space of a `Range<usize>`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    start: u32,
    end: u32,
}

impl Part {
    pub(super) fn new(start: usize, end: usize) -> Self {
        const REASON: &str = "sections are read from at most u32::MAX bytes";
        Self { start: u32::try_from(start).expect(REASON), end: u32::try_from(end).expect(REASON) }
    }

    pub(super) const fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Its first bytes, as many as asked for.
    pub(super) fn first(self, length: usize) -> Self {
        Self::new(self.start as usize, self.start as usize + length)
    }

    /// With what follows it, up to `end`.
    pub(super) fn until(self, end: usize) -> Self {
        Self::new(self.start as usize, end)
    }

    pub(super) fn of_mut(self, bytes: &mut [u8]) -> &mut [u8] {
        &mut bytes[self.start as usize..self.end as usize]
    }

    pub(super) fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..self.end as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_without_regard_to_case_and_keep_it() {
        let fields = Fields::from_iter([("Cookie", "a=1"), ("COOKIE", "b=2"), ("Accept", "")]);
        assert_eq!(fields.get("cookie"), Some(&b"a=1"[..]));
        assert_eq!(fields.get_all(b"cOOKIE").collect::<Vec<_>>(), [b"a=1", b"b=2"]);
        assert_eq!(fields.get("cook"), None);
        assert_eq!(fields.iter().next(), Some((&b"Cookie"[..], &b"a=1"[..])));
        assert_eq!((fields.len(), fields.is_empty(), Fields::default().is_empty()), (3, false, true));
    }

    #[test]
    fn names_and_values_are_valid_by_construction() {
        for (name, value) in
            [("", "a"), ("a b", "c"), ("a:", "b"), ("a", "b\r\nc: d"), ("a", " b"), ("a", "b\t"), ("a", "\0")]
        {
            let made = std::panic::catch_unwind(|| Fields::from_iter([(name, value)]));
            assert!(made.is_err(), "{name:?}: {value:?}");
        }
    }
}
