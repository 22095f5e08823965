//! The one pass over the bytes that came in: which byte may stand where, and where lines end. Separate from the grammar of
//! heads, because heads and trailers share it and because every byte from a stranger goes through here first.

use std::ops::Deref;
use std::sync::Arc;

use smallvec::SmallVec;

use super::error::FieldError;
use super::fields::{Part, Span};
use super::head::Sender;

/// The fields found so far; as many as real heads have fit on the stack.
#[derive(Default)]
pub(super) struct Spans {
    found: SmallVec<[Span; 32]>,
    /// Whether there are values that line folds are left in.
    folded: bool,
}

impl Spans {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Leaves those of which `keep` is true; it may make values shorter.
    pub(super) fn retain(&mut self, keep: impl FnMut(&mut Span) -> bool) {
        self.found.retain(keep);
    }

    /// The bytes in which these are found, to be shared; each fold in a value is one SP from now on (RFC 9112 section 5.2).
    pub(super) fn share(&mut self, bytes: &[u8]) -> Arc<[u8]> {
        if !self.folded {
            return bytes.into();
        }
        self.folded = false;
        let mut bytes = bytes.to_vec();
        for span in &mut self.found {
            span.value = unfold(&mut bytes, span.value);
        }
        bytes.into()
    }

    /// Adds the line at `at` to the value before it, and gives the position after it; `None` while it is open.
    fn fold(&mut self, bytes: &[u8], at: usize) -> Result<Option<usize>, FieldError> {
        let end = at + text_length(&bytes[at..]);
        let Some(next) = line_end(bytes, end)? else { return Ok(None) };
        let (start, end) = trimmed(bytes, at, end);
        if start < end
            && let Some(last) = self.found.last_mut()
        {
            self.folded |= last.value.len() > 0;
            last.value = if last.value.len() > 0 { last.value.until(end) } else { Part::new(start, end) };
        }
        Ok(Some(next))
    }
}

impl Deref for Spans {
    type Target = [Span];

    fn deref(&self) -> &[Span] {
        &self.found
    }
}

/// Makes each fold in `value` one SP, where it stands, and gives what is left of it. A value begins and ends with text.
fn unfold(bytes: &mut [u8], value: Part) -> Part {
    let text = value.of_mut(bytes);
    let (mut from, mut to) = (0, 0);
    while from < text.len() {
        if text[from] != b'\r' {
            text[to] = text[from];
            from += 1;
            to += 1;
            continue;
        }
        while to > 0 && is_blank(text[to - 1]) {
            to -= 1;
        }
        from += text[from..].iter().take_while(|byte| is_blank(**byte) || b"\r\n".contains(byte)).count();
        text[to] = b' ';
        to += 1;
    }
    value.first(to)
}

/// RFC 9110 section 5.6.2.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = is_token_byte(byte as u8);
        byte += 1;
    }
    table
};

/// What a request target may hold: visible ASCII without the delimiters that RFC 3986 keeps outside of every URI.
const TARGET: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0x21;
    while byte <= 0x7e {
        table[byte] = !matches!(byte as u8, b'"' | b'#' | b'<' | b'>' | b'`');
        byte += 1;
    }
    table
};

const fn is_token_byte(byte: u8) -> bool {
    const MARKS: &[u8] = b"!#$%&'*+-.^_`|~";
    let mut mark = 0;
    while mark < MARKS.len() {
        if byte == MARKS[mark] {
            return true;
        }
        mark += 1;
    }
    byte.is_ascii_alphanumeric()
}

/// How many token bytes `bytes` begins with.
pub(super) fn token_length(bytes: &[u8]) -> usize {
    bytes.iter().position(|&byte| !TOKEN[usize::from(byte)]).unwrap_or(bytes.len())
}

/// How many bytes that may stand in a request target `bytes` begins with.
pub(super) fn target_length(bytes: &[u8]) -> usize {
    bytes.iter().position(|&byte| !TARGET[usize::from(byte)]).unwrap_or(bytes.len())
}

/// How many bytes that may stand in a field value or a reason phrase `bytes` begins with: everything but controls,
/// where HTAB counts as none.
pub(super) fn text_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = first_control(&bytes[at..]) {
        at += found;
        if bytes[at] != b'\t' {
            return at;
        }
        at += 1;
    }
    bytes.len()
}

/// The position of the first byte below 0x20, or 0x7f.
fn first_control(bytes: &[u8]) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let controls = controls(u64::from_le_bytes(*word));
        if controls != 0 {
            return Some(index * 8 + controls.trailing_zeros() as usize / 8);
        }
    }
    let found = rest.iter().position(u8::is_ascii_control)?;
    Some(words.len() * 8 + found)
}

/// Eight bytes at a time: the lowest bit that is set stands in the lowest byte that is a control. Bits above it mean
/// nothing, since the subtractions borrow upwards.
const fn controls(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([0x01; 8]);
    let below_space = word.wrapping_sub(ONES * 0x20) & !word;
    let delete = word ^ (ONES * 0x7f);
    let delete = delete.wrapping_sub(ONES) & !delete;
    (below_space | delete) & (ONES * 0x80)
}

/// The position after the CRLF that begins at `at`; `None` while that is still open.
///
/// # Errors
/// Any other byte there, by its kind.
pub(super) fn line_end(bytes: &[u8], at: usize) -> Result<Option<usize>, FieldError> {
    match (bytes.get(at), bytes.get(at + 1)) {
        (Some(b'\r'), Some(b'\n')) => Ok(Some(at + 2)),
        (Some(b'\r'), Some(_)) => Err(FieldError::BareCr),
        (Some(b'\r'), None) | (None, _) => Ok(None),
        (Some(b'\n'), _) => Err(FieldError::BareLf),
        (Some(_), _) => Err(FieldError::Control),
    }
}

/// Reads the field lines from `at` up to and including the empty line after them, and gives the position after that;
/// `None` while more bytes are needed. Of an XSP, a line may be folded, and blanks may stand before a colon; neither is
/// part of a name or a value.
///
/// # Errors
/// The first fault in the order of the bytes, so that a section that trickles in ends the same way as a whole one.
pub(super) fn section(
    bytes: &[u8],
    mut at: usize,
    most: usize,
    sender: Sender,
    spans: &mut Spans,
) -> Result<Option<usize>, FieldError> {
    loop {
        match bytes.get(at) {
            None => return Ok(None),
            Some(b'\r' | b'\n') => return line_end(bytes, at),
            Some(b' ' | b'\t') if sender == Sender::Xsp && !spans.is_empty() => {
                let Some(next) = spans.fold(bytes, at)? else { return Ok(None) };
                at = next;
                continue;
            }
            Some(_) if spans.len() >= most => return Err(FieldError::TooMany),
            Some(_) => {}
        }
        let Some((span, next)) = line(bytes, at, sender)? else { return Ok(None) };
        spans.found.push(span);
        at = next;
    }
}

fn line(bytes: &[u8], at: usize, sender: Sender) -> Result<Option<(Span, usize)>, FieldError> {
    let name_end = at + token_length(&bytes[at..]);
    let colon = match sender {
        Sender::Xsp if name_end > at => name_end + blank_length(&bytes[name_end..]),
        Sender::Xsp | Sender::Client => name_end,
    };
    match bytes.get(colon) {
        None => return Ok(None),
        Some(b':') if name_end > at => {}
        Some(b':') => return Err(FieldError::EmptyName),
        Some(b' ' | b'\t') if name_end == at => return Err(FieldError::Fold),
        Some(b' ' | b'\t') => return Err(FieldError::SpaceBeforeColon),
        Some(b'\n') => return Err(FieldError::BareLf),
        Some(_) => return Err(FieldError::Name),
    }
    let start = colon + 1;
    let end = start + text_length(&bytes[start..]);
    let Some(next) = line_end(bytes, end)? else { return Ok(None) };
    let (start, end) = trimmed(bytes, start, end);
    Ok(Some((Span { name: Part::new(at, name_end), value: Part::new(start, end) }, next)))
}

/// Without the optional whitespace of RFC 9110 section 5.6.3 around it, which is no part of a value.
fn trimmed(bytes: &[u8], mut start: usize, mut end: usize) -> (usize, usize) {
    while start < end && is_blank(bytes[start]) {
        start += 1;
    }
    while start < end && is_blank(bytes[end - 1]) {
        end -= 1;
    }
    (start, end)
}

/// How many blanks `bytes` begins with.
pub(super) fn blank_length(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| is_blank(**byte)).count()
}

/// Whether this is optional whitespace: SP or HTAB, and nothing else.
pub(super) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ends_at_the_first_control_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            for at in 0..20 {
                for filler in [b'a', b' ', b'\t', 0x1f + 1, 0x7e, 0x80, 0xff] {
                    let mut bytes = [filler; 20];
                    bytes[at] = byte;
                    let expected = if byte.is_ascii_control() && byte != b'\t' { at } else { bytes.len() };
                    assert_eq!(text_length(&bytes), expected, "{byte:#x} at {at} among {filler:#x}");
                }
            }
        }
    }

    #[test]
    fn tokens_and_targets_hold_what_the_rfcs_say() {
        for byte in 0..=u8::MAX {
            let token = byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&byte);
            assert_eq!(token_length(&[byte]) == 1, token, "{byte:#x}");
            let target = byte.is_ascii_graphic() && !b"\"#<>`".contains(&byte);
            assert_eq!(target_length(&[byte]) == 1, target, "{byte:#x}");
        }
    }
}
