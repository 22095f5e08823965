//! The outline of JSON as it trickles in: brackets, strings and what separates them. Separate from its two readers, because
//! both must agree on where a string ends.

use std::borrow::Cow;

use memchr::memchr2;

use super::xml::is_blank;

/// Something that stands in a JSON document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// `{`
    Object,
    /// `[`
    Array,
    /// `}` or `]`
    Close,
    /// `:`
    Colon,
    /// `,`
    Comma,
    /// More of a string's characters, its escapes as they came.
    Characters(&'a [u8]),
    /// A string ends.
    StringEnd,
    /// More of anything else, such as a number.
    Other,
}

/// Reads JSON up to any byte, and on from there. There is nothing that it refuses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lexer(State);

#[derive(Clone, Copy, Debug)]
enum State {
    Between,
    String,
    /// In a string, after a backslash.
    Escape,
}

impl Lexer {
    /// At the start of a document, after its byte order mark.
    pub(super) const fn new() -> Self {
        Self(State::Between)
    }

    /// The next token in `bytes`, and how many bytes to take off their front. Without a token, all of them are read.
    pub(super) fn next<'a>(&mut self, bytes: &'a [u8]) -> (usize, Option<Token<'a>>) {
        let mut at = 0;
        while let rest @ [first, ..] = &bytes[at..] {
            let (taken, token) = match self.0 {
                State::Between => self.between(rest, *first),
                State::String => self.string(rest),
                State::Escape => {
                    self.0 = State::String;
                    (1, Some(Token::Characters(&rest[..1])))
                }
            };
            at += taken;
            if token.is_some() {
                return (at, token);
            }
        }
        (at, None)
    }

    fn between<'a>(&mut self, rest: &'a [u8], first: u8) -> (usize, Option<Token<'a>>) {
        let token = match first {
            b'{' => Token::Object,
            b'[' => Token::Array,
            b'}' | b']' => Token::Close,
            b':' => Token::Colon,
            b',' => Token::Comma,
            b'"' => {
                self.0 = State::String;
                return (1, None);
            }
            byte if is_blank(byte) => {
                return (rest.iter().position(|byte| !is_blank(*byte)).unwrap_or(rest.len()), None);
            }
            _ => {
                let ends = |byte: &u8| is_blank(*byte) || b"{}[]:,\"".contains(byte);
                return (rest.iter().position(ends).unwrap_or(rest.len()), Some(Token::Other));
            }
        };
        (1, Some(token))
    }

    fn string<'a>(&mut self, rest: &'a [u8]) -> (usize, Option<Token<'a>>) {
        match memchr2(b'"', b'\\', rest) {
            Some(0) if rest[0] == b'"' => {
                self.0 = State::Between;
                (1, Some(Token::StringEnd))
            }
            Some(0) => {
                self.0 = State::Escape;
                (1, Some(Token::Characters(&rest[..1])))
            }
            end => {
                let end = end.unwrap_or(rest.len());
                (end, Some(Token::Characters(&rest[..end])))
            }
        }
    }
}

/// The string that stands between quotes; `None` if it is malformed.
pub(super) fn unescaped(characters: &str) -> Option<Cow<'_, str>> {
    if !characters.contains('\\') {
        return Some(Cow::Borrowed(characters));
    }
    serde_json::from_str(&format!("\"{characters}\"")).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_unescaped() {
        for (characters, expected) in [
            ("", Some("")),
            ("a", Some("a")),
            (r#"\"\\\/\n"#, Some("\"\\/\n")),
            (r"\u0041\u00e9\ud83d\udcde", Some("A\u{e9}\u{1f4de}")),
            (r"\ud83d", None),
            (r"\x", None),
            (r"\u00", None),
        ] {
            assert_eq!(unescaped(characters).as_deref(), expected, "{characters}");
        }
    }

    #[test]
    fn strings_hide_what_stands_in_them() {
        let mut lexer = Lexer::new();
        let mut rest = &br#"{"a\"}" : [ 1 , true ] }"#[..];
        let mut found = Vec::new();
        while let (taken, Some(token)) = lexer.next(rest) {
            rest = &rest[taken..];
            if !matches!(token, Token::Characters(_)) {
                found.push(token);
            }
        }
        use Token::{Array, Close, Colon, Comma, Object, Other, StringEnd};
        assert_eq!(found, [Object, StringEnd, Colon, Array, Other, Comma, Other, Close, Close]);
    }
}
