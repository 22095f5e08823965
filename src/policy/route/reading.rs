//! The ways in which a path can be read: by segments as they stand or decoded, with empty segments or without, with parameters
//! or without. Separate from the routes, because every reader of a path is modelled here, and none of them knows an interface.

use std::borrow::Cow;

use smallvec::SmallVec;

/// How many readings a path has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One: its escapes are decoded once, and nothing in it could be left out.
    Plain,
    /// Those of [`readings`].
    Odd,
    /// One that no reader may be trusted with: a dot segment, in whatever disguise, or bytes that belong in no path.
    Ambiguous,
}

/// Judges a path. Escapes are looked at twice, since some readers decode twice (CVE-2019-9901, CVE-2021-29492).
pub(super) fn shape(path: &[u8]) -> Shape {
    let mut is_odd = false;
    let mut before = 0;
    for &byte in path {
        match byte {
            b'\\' | b'#' | b'?' | ..=0x20 | 0x7f.. => return Shape::Ambiguous,
            b';' => is_odd = true,
            b'/' => is_odd |= before == b'/',
            _ => {}
        }
        before = byte;
    }
    // What begins with two slashes is a host to some.
    if path.is_empty() || path.starts_with(b"//") || has_dot_segment(path) {
        return Shape::Ambiguous;
    }
    if memchr::memchr(b'%', path).is_none() {
        return if is_odd { Shape::Odd } else { Shape::Plain };
    }
    let mut once = Decoded::new();
    let mut twice = Decoded::new();
    if decode(path, &mut once) != Escapes::Plain
        || matches!(decode(&once, &mut twice), Escapes::Dangerous)
        || has_overlong(&twice)
    {
        return Shape::Ambiguous;
    }
    if is_odd || memchr::memchr(b'%', &once).is_some() { Shape::Odd } else { Shape::Plain }
}

/// A path that is odd, as readers may take it: with its escapes decoded, with runs of slashes as one, without parameters, and
/// all of this, as Tomcat does. The path as it stands is one more.
pub(super) fn readings(path: &[u8]) -> [Cow<'_, [u8]>; 4] {
    let mut decoded = Decoded::new();
    decode(path, &mut decoded);
    let all = collapsed(&without_parameters(&decoded));
    [Cow::Owned(decoded.to_vec()), Cow::Owned(collapsed(path)), without_parameters(path), Cow::Owned(all)]
}

/// The path without the parameters of its segments: `/a;x=1/b;y` is `/a/b`.
pub fn without_parameters(path: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b';', path).is_none() {
        return Cow::Borrowed(path);
    }
    let mut left = Vec::with_capacity(path.len());
    for (index, segment) in path.split(|&byte| byte == b'/').enumerate() {
        if index > 0 {
            left.push(b'/');
        }
        left.extend_from_slice(segment.split(|&byte| byte == b';').next().unwrap_or_default());
    }
    Cow::Owned(left)
}

fn collapsed(path: &[u8]) -> Vec<u8> {
    let mut left = path.to_vec();
    left.dedup_by(|byte, before| *byte == b'/' && *before == b'/');
    left
}

/// Whether `.` or `..` stands between slashes or before, behind or among parameters.
fn has_dot_segment(path: &[u8]) -> bool {
    path.split(|byte| matches!(byte, b'/' | b';')).any(|piece| matches!(piece, b"." | b".."))
}

type Decoded = SmallVec<[u8; 256]>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escapes {
    /// Every `%` starts an escape, and none stands for a byte that would change how the path is read.
    Plain,
    /// A `%` without two hex digits.
    Broken,
    /// An escaped dot, slash, backslash, semicolon or control.
    Dangerous,
}

/// Decodes each escape once; a `%` that starts none is kept.
fn decode(path: &[u8], out: &mut Decoded) -> Escapes {
    let mut found = Escapes::Plain;
    let mut rest = path;
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        match escaped(after) {
            Some(value) => {
                if matches!(value, b'.' | b'/' | b'\\' | b';' | 0x00..=0x1f | 0x7f) {
                    return Escapes::Dangerous;
                }
                out.push(value);
                rest = &after[2..];
            }
            None => {
                out.push(b'%');
                found = Escapes::Broken;
            }
        }
    }
    found
}

/// The byte that the two hex digits at the start of `digits` stand for.
fn escaped(digits: &[u8]) -> Option<u8> {
    let hex = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    match digits {
        [high, low, ..] => Some(hex(*high)? << 4 | hex(*low)?),
        _ => None,
    }
}

/// UTF-8 that spells a character with more bytes than it needs: a lenient reader finds a dot or a slash in it
/// (CVE-2008-2938).
fn has_overlong(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| matches!(pair, [0xc0 | 0xc1, 0x80..=0xbf] | [0xe0, 0x80..=0x9f] | [0xf0, 0x80..=0x8f]))
}

/// Whether `segment`, its escapes decoded, is `expected` without regard to ASCII case.
pub(super) fn reads_as(segment: &[u8], expected: &[u8]) -> bool {
    if memchr::memchr(b'%', segment).is_none() {
        return segment.eq_ignore_ascii_case(expected);
    }
    let mut decoded = Decoded::new();
    decode(segment, &mut decoded) == Escapes::Plain && decoded.eq_ignore_ascii_case(expected)
}
