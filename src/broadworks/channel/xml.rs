//! The outline of XML as it trickles in: tags, text and CDATA, and nothing else of what a general parser knows. Separate
//! from its two readers, because both must agree on where a tag ends.

use memchr::{memchr, memchr2};

const SECTION: &[u8] = b"CDATA[";

/// Something that stands in an XML document. Comments and processing instructions are nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// More of the characters between tags, their references as they came.
    Text(&'a [u8]),
    /// A CDATA section begins.
    Section,
    /// More of the characters of a CDATA section.
    Literal(&'a [u8]),
    /// More of the name in a start tag.
    Name(&'a [u8]),
    /// The start tag ends.
    Start,
    /// The start tag ends, and its element with it.
    Empty,
    /// An end tag ends.
    End,
}

/// This is no XML, or XML with a document type, which no XSP sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

type Step<'a> = Result<(usize, Option<Token<'a>>), Malformed>;

/// Reads XML up to any byte, and on from there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lexer(State);

#[derive(Clone, Copy, Debug)]
enum State {
    Text,
    /// After `<`.
    Open,
    Name,
    /// In a start tag, after the name.
    Tag,
    /// In a start tag, after `/`.
    Slash,
    /// In a value that this quote ends.
    Quoted(u8),
    EndTag,
    /// After `<!`.
    Bang,
    /// After `<!-`.
    Dash,
    /// After `<![`, and that much of [`SECTION`].
    Bracket(u8),
    /// That many `-` were the last bytes, up to two.
    Comment(u8),
    /// That many `]` were the last bytes, up to two, and are not told yet.
    Section(u8),
    Instruction(Ending),
}

#[derive(Clone, Copy, Debug)]
enum Ending {
    Open,
    /// After `?`.
    Question,
}

impl Lexer {
    /// At the start of a document, after its byte order mark.
    pub(super) const fn new() -> Self {
        Self(State::Text)
    }

    /// The next token in `bytes`, and how many bytes to take off their front. Without a token, all of them are read.
    pub(super) fn next<'a>(&mut self, bytes: &'a [u8]) -> Step<'a> {
        let mut at = 0;
        while let rest @ [first, ..] = &bytes[at..] {
            let (taken, token) = self.step(rest, *first)?;
            at += taken;
            if token.is_some() {
                return Ok((at, token));
            }
        }
        Ok((at, None))
    }

    fn step<'a>(&mut self, rest: &'a [u8], first: u8) -> Step<'a> {
        match self.0 {
            State::Text => match memchr(b'<', rest).unwrap_or(rest.len()) {
                0 => self.becomes(State::Open),
                end => Ok((end, Some(Token::Text(&rest[..end])))),
            },
            State::Open => self.open(first),
            State::Name => match rest.iter().position(|byte| ends_name(*byte)).unwrap_or(rest.len()) {
                0 => {
                    self.0 = State::Tag;
                    Ok((0, None))
                }
                end => Ok((end, Some(Token::Name(&rest[..end])))),
            },
            State::Tag => self.tag(rest),
            State::Slash if first == b'>' => self.ends(1, Token::Empty),
            State::Slash => Err(Malformed),
            State::Quoted(quote) => {
                let Some(end) = memchr(quote, rest) else { return Ok((rest.len(), None)) };
                self.0 = State::Tag;
                Ok((end + 1, None))
            }
            State::EndTag => match memchr2(b'>', b'<', rest) {
                None => Ok((rest.len(), None)),
                Some(end) if rest[end] == b'>' => self.ends(end + 1, Token::End),
                Some(_) => Err(Malformed),
            },
            State::Bang | State::Dash | State::Bracket(_) => self.bang(first),
            State::Comment(dashes) => self.comment(rest, first, dashes),
            State::Section(brackets) => self.section(rest, first, brackets),
            State::Instruction(ending) => self.instruction(rest, first, ending),
        }
    }

    fn becomes<'a>(&mut self, state: State) -> Step<'a> {
        self.0 = state;
        Ok((1, None))
    }

    fn ends<'a>(&mut self, taken: usize, token: Token<'a>) -> Step<'a> {
        self.0 = State::Text;
        Ok((taken, Some(token)))
    }

    fn open<'a>(&mut self, first: u8) -> Step<'a> {
        match first {
            b'/' => self.becomes(State::EndTag),
            b'!' => self.becomes(State::Bang),
            b'?' => self.becomes(State::Instruction(Ending::Open)),
            byte if ends_name(byte) => Err(Malformed),
            _ => {
                self.0 = State::Name;
                Ok((0, None))
            }
        }
    }

    fn tag<'a>(&mut self, rest: &'a [u8]) -> Step<'a> {
        let found = rest.iter().position(|byte| matches!(byte, b'>' | b'/' | b'"' | b'\'' | b'<'));
        let Some(at) = found else { return Ok((rest.len(), None)) };
        match rest[at] {
            b'>' => return self.ends(at + 1, Token::Start),
            b'<' => return Err(Malformed),
            b'/' => self.0 = State::Slash,
            quote => self.0 = State::Quoted(quote),
        }
        Ok((at + 1, None))
    }

    fn bang<'a>(&mut self, first: u8) -> Step<'a> {
        match (self.0, first) {
            (State::Bang, b'-') => self.becomes(State::Dash),
            (State::Dash, b'-') => self.becomes(State::Comment(0)),
            (State::Bang, b'[') => self.becomes(State::Bracket(0)),
            (State::Bracket(known), byte) if byte == SECTION[usize::from(known)] => {
                if usize::from(known) + 1 < SECTION.len() {
                    return self.becomes(State::Bracket(known + 1));
                }
                self.0 = State::Section(0);
                Ok((1, Some(Token::Section)))
            }
            _ => Err(Malformed),
        }
    }

    fn comment<'a>(&mut self, rest: &'a [u8], first: u8, dashes: u8) -> Step<'a> {
        match (first, dashes) {
            (b'-', _) => self.becomes(State::Comment((dashes + 1).min(2))),
            (b'>', 2) => self.becomes(State::Text),
            _ => {
                self.0 = State::Comment(0);
                Ok((memchr(b'-', rest).unwrap_or(rest.len()), None))
            }
        }
    }

    fn section<'a>(&mut self, rest: &'a [u8], first: u8, brackets: u8) -> Step<'a> {
        match (first, brackets) {
            (b']', 2) => Ok((1, Some(Token::Literal(b"]")))),
            (b']', _) => self.becomes(State::Section(brackets + 1)),
            (b'>', 2) => self.becomes(State::Text),
            (_, 0) => {
                let end = memchr(b']', rest).unwrap_or(rest.len());
                Ok((end, Some(Token::Literal(&rest[..end]))))
            }
            (_, brackets) => {
                self.0 = State::Section(0);
                Ok((0, Some(Token::Literal(&b"]]"[..usize::from(brackets)]))))
            }
        }
    }

    fn instruction<'a>(&mut self, rest: &'a [u8], first: u8, ending: Ending) -> Step<'a> {
        match (first, ending) {
            (b'?', _) => self.becomes(State::Instruction(Ending::Question)),
            (b'>', Ending::Question) => self.becomes(State::Text),
            _ => {
                self.0 = State::Instruction(Ending::Open);
                Ok((memchr(b'?', rest).unwrap_or(rest.len()), None))
            }
        }
    }
}

/// Whether this is whitespace to XML and to JSON.
pub(super) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// The text with its references resolved; `None` if one of them stands for nothing without a document type.
pub(super) fn resolved(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        let (reference, after) = after.split_once(';')?;
        out.push_str(before);
        out.push(character(reference)?);
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

fn character(reference: &str) -> Option<char> {
    match reference {
        "amp" => return Some('&'),
        "lt" => return Some('<'),
        "gt" => return Some('>'),
        "quot" => return Some('"'),
        "apos" => return Some('\''),
        _ => {}
    }
    let number = reference.strip_prefix('#')?;
    let (digits, radix) = number.strip_prefix('x').map_or((number, 10), |digits| (digits, 16));
    if !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    char::from_u32(u32::from_str_radix(digits, radix).ok()?)
}

const fn ends_name(byte: u8) -> bool {
    is_blank(byte) || matches!(byte, b'/' | b'>' | b'<' | b'=' | b'"' | b'\'' | b'&')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tokens with their characters joined, and whether it is well-formed so far.
    fn outline(bytes: &[u8], step: usize) -> (String, bool) {
        let mut lexer = Lexer::new();
        let mut out = String::new();
        let mut last = ' ';
        for piece in bytes.chunks(step) {
            let mut rest = piece;
            loop {
                let (taken, token) = match lexer.next(rest) {
                    Ok(read) => read,
                    Err(Malformed) => return (out, false),
                };
                rest = &rest[taken..];
                let (kind, characters) = match token {
                    None => break,
                    Some(Token::Text(text)) => ('t', text),
                    Some(Token::Literal(text)) => ('c', text),
                    Some(Token::Name(text)) => ('n', text),
                    Some(Token::Section) => ('!', &b""[..]),
                    Some(Token::Start) => ('>', &b""[..]),
                    Some(Token::Empty) => ('/', &b""[..]),
                    Some(Token::End) => ('<', &b""[..]),
                };
                if kind != last || characters.is_empty() {
                    out.push(kind);
                }
                out.push_str(std::str::from_utf8(characters).unwrap());
                last = kind;
            }
        }
        (out, true)
    }

    #[test]
    fn the_outline_is_the_same_however_it_comes() {
        let table = [
            ("", "", true),
            ("<a>b</a>", "na>tb<", true),
            ("<x:a b='>' c=\"/>'\" />t", "nx:a/tt", true),
            ("<a/><b/>", "na/nb/", true),
            ("<a b='c'/>", "na/", true),
            ("<?xml version='1.0'?>\n<a>", "t\nna>", true),
            ("<??>?><a>", "t?>na>", true),
            ("<?><a>?>t", "tt", true),
            ("<!--><a>-- > ---><b>", "nb>", true),
            ("<!---><a>--><b>", "nb>", true),
            ("<a><![CDATA[<b>]]]]>&amp;</a>", "na>!c<b>]]t&amp;<", true),
            ("<a><![CDATA[]]]>]>]]>]", "na>!c]t]>]]>]", true),
            ("<a\n>", "na>", true),
            ("</a\n>", "<", true),
            ("<", "", true),
            ("< a>", "", false),
            ("<>", "", false),
            ("<a<b>", "na", false),
            ("<a b=c/d>", "na", false),
            ("</a<", "", false),
            ("<!DOCTYPE html>", "", false),
            ("<!-x", "", false),
            ("<![cdata[", "", false),
        ];
        for (bytes, expected, well_formed) in table {
            for step in 1..=bytes.len().max(1) {
                let (found, so_far) = outline(bytes.as_bytes(), step);
                assert_eq!((found.as_str(), so_far), (expected, well_formed), "{bytes} in steps of {step}");
            }
        }
    }

    #[test]
    fn references_are_resolved() {
        for (text, expected) in [
            ("", Some("")),
            ("a&amp;&lt;&gt;&quot;&apos;b", Some("a&<>\"'b")),
            ("&#65;&#x4a;&#xe9;&#233;&#x1F4DE;", Some("AJ\u{e9}\u{e9}\u{1f4de}")),
            ("a;b", Some("a;b")),
            ("&amp;amp;", Some("&amp;")),
            ("&", None),
            ("&amp", None),
            ("&nbsp;", None),
            ("&#;", None),
            ("&#x;", None),
            ("&#+65;", None),
            ("&#X41;", None),
            ("&#xd800;", None),
            ("&#99999999999;", None),
        ] {
            assert_eq!(resolved(text).as_deref(), expected, "{text}");
        }
    }
}
