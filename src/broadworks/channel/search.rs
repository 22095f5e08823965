//! Looks for the values of one name in XML or JSON as it trickles in: an element's characters, or a member's string.
//! Separate from its readers, because ids of channels and of events stand in documents in the same ways.

use super::xml::{self, is_blank};
use super::{json, text};

/// The most bytes of a value before its references or escapes are resolved: 256 characters, each of them escaped in the
/// longest way.
const LONGEST_VALUE: usize = 4096;
/// The most bytes of a member's name that are held to see whether it is the one.
const LONGEST_NAME: usize = 64;
const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// What a document is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Xml,
    Json,
}

/// The bytes of a document before its first `<` or `{`: whitespace, and a byte order mark.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Opening {
    marked: u8,
}

/// What one byte of an [`Opening`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// Nothing yet.
    Not,
    /// It is the first one of a document.
    As(Format),
    /// It is neither XML nor JSON.
    Otherwise,
}

impl Opening {
    pub(super) fn read(&mut self, byte: u8) -> Opened {
        let between = matches!(self.marked, 0 | 3);
        match byte {
            b'<' if between => Opened::As(Format::Xml),
            b'{' if between => Opened::As(Format::Json),
            byte if between && is_blank(byte) => Opened::Not,
            byte if BYTE_ORDER_MARK.get(usize::from(self.marked)) == Some(&byte) => {
                self.marked += 1;
                Opened::Not
            }
            _ => Opened::Otherwise,
        }
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hit {
    /// A value, its references or escapes resolved.
    Value(String),
    /// The name is there, but what it stands for is nothing, too long, or no plain value.
    NoValue,
    /// This is neither XML nor JSON: there is no reading on.
    Unreadable,
}

/// Looks for one name. Holds a few bytes of memory, and some of the heap within what could be a value.
#[derive(Debug)]
pub(super) struct Search {
    /// ASCII. Case is ignored, since the interface is not of one mind on it (`channelId`, `eventID`).
    name: &'static str,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Opening(Opening),
    Xml(Elements),
    Json(Members),
}

impl Search {
    pub(super) const fn new(name: &'static str) -> Self {
        Self { name, form: Form::Opening(Opening { marked: 0 }) }
    }

    /// Reads to the next hit, and tells how many bytes that took; without a hit it took all of them.
    pub(super) fn read(&mut self, bytes: &[u8]) -> (usize, Option<Hit>) {
        let mut at = 0;
        while let Form::Opening(opening) = &mut self.form {
            let Some(byte) = bytes.get(at) else { return (at, None) };
            match opening.read(*byte) {
                Opened::Not => at += 1,
                Opened::As(Format::Xml) => self.form = Form::Xml(Elements::new()),
                Opened::As(Format::Json) => self.form = Form::Json(Members::new()),
                Opened::Otherwise => return (at, Some(Hit::Unreadable)),
            }
        }
        let (taken, hit) = match &mut self.form {
            Form::Opening(_) => (0, None),
            Form::Xml(elements) => elements.read(self.name, &bytes[at..]),
            Form::Json(members) => members.read(self.name, &bytes[at..]),
        };
        (at + taken, hit)
    }
}

/// The search in XML.
#[derive(Debug)]
struct Elements {
    lexer: xml::Lexer,
    /// How much of the name the start tag that is read has, without its prefix; `None`: it has another one.
    alike: Option<usize>,
    /// The characters of the element, while in it. `&` of a CDATA section is written as a reference.
    value: Option<Vec<u8>>,
}

impl Elements {
    const fn new() -> Self {
        Self { lexer: xml::Lexer::new(), alike: Some(0), value: None }
    }

    fn read(&mut self, name: &str, bytes: &[u8]) -> (usize, Option<Hit>) {
        let mut at = 0;
        loop {
            let Ok((taken, token)) = self.lexer.next(&bytes[at..]) else { return (at, Some(Hit::Unreadable)) };
            at += taken;
            let Some(token) = token else { return (at, None) };
            if let Some(hit) = self.take(name, token) {
                self.value = None;
                return (at, Some(hit));
            }
        }
    }

    fn take(&mut self, name: &str, token: xml::Token<'_>) -> Option<Hit> {
        match (token, &mut self.value) {
            (xml::Token::Name(part), _) => {
                for byte in part {
                    self.alike = longer(self.alike, name, *byte);
                }
                None
            }
            (xml::Token::Start | xml::Token::Empty, Some(_)) => {
                self.alike = Some(0);
                Some(Hit::NoValue)
            }
            (xml::Token::Start, None) => {
                self.value = self.ends_alike(name).then(Vec::new);
                None
            }
            (xml::Token::Empty, None) => self.ends_alike(name).then_some(Hit::NoValue),
            (xml::Token::End, Some(value)) => Some(element_value(value)),
            (xml::Token::Text(part), Some(value)) => added(value, part),
            (xml::Token::Literal(part), Some(value)) => {
                let mut parts = part.split(|byte| *byte == b'&');
                let hit = added(value, parts.next().unwrap_or_default());
                parts.fold(hit, |hit, part| hit.or_else(|| added(value, b"&amp;")).or_else(|| added(value, part)))
            }
            (xml::Token::End | xml::Token::Text(_) | xml::Token::Literal(_), None) | (xml::Token::Section, _) => None,
        }
    }

    /// Whether the start tag that ends here has the name.
    fn ends_alike(&mut self, name: &str) -> bool {
        self.alike.replace(0) == Some(name.len())
    }
}

fn longer(alike: Option<usize>, name: &str, byte: u8) -> Option<usize> {
    if byte == b':' {
        return Some(0);
    }
    let expected = name.as_bytes().get(alike?)?;
    byte.eq_ignore_ascii_case(expected).then_some(alike? + 1)
}

fn element_value(value: &[u8]) -> Hit {
    let value = text(value);
    let trimmed = value.trim_matches([' ', '\t', '\r', '\n']);
    xml::resolved(trimmed).map_or(Hit::NoValue, Hit::Value)
}

fn added(value: &mut Vec<u8>, part: &[u8]) -> Option<Hit> {
    if value.len() + part.len() > LONGEST_VALUE {
        return Some(Hit::NoValue);
    }
    value.extend_from_slice(part);
    None
}

/// The search in JSON: `"name": "value"`, or `"name": {"$": "value"}` as XML is written in JSON.
#[derive(Debug)]
struct Members {
    lexer: json::Lexer,
    /// The characters of the string that is read, as far as they matter.
    string: Vec<u8>,
    /// The string has more than that.
    cut_off: bool,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Anywhere.
    Outside,
    /// After a string that reads as the name.
    Named,
    /// After the name and a colon.
    Awaiting,
    /// In an object that is the name's value, so many brackets deep.
    Within(u32),
    /// After `"$"` in such an object.
    Content,
    /// After `"$"` and a colon.
    AwaitingContent,
}

impl Members {
    const fn new() -> Self {
        Self { lexer: json::Lexer::new(), string: Vec::new(), cut_off: false, place: Place::Outside }
    }

    fn read(&mut self, name: &str, bytes: &[u8]) -> (usize, Option<Hit>) {
        let mut at = 0;
        loop {
            let (taken, token) = self.lexer.next(&bytes[at..]);
            at += taken;
            let Some(token) = token else { return (at, None) };
            if let Some(hit) = self.take(name, token) {
                *self = Self { lexer: self.lexer, ..Self::new() };
                return (at, Some(hit));
            }
        }
    }

    fn take(&mut self, name: &str, token: json::Token<'_>) -> Option<Hit> {
        match token {
            json::Token::Characters(part) => {
                self.hold(part);
                return None;
            }
            json::Token::StringEnd => return self.string_ends(name),
            json::Token::Object
            | json::Token::Array
            | json::Token::Close
            | json::Token::Colon
            | json::Token::Comma
            | json::Token::Other => {}
        }
        self.place = match (self.place, token) {
            (Place::Named, json::Token::Colon) => Place::Awaiting,
            (Place::Content, json::Token::Colon) => Place::AwaitingContent,
            (Place::Awaiting, json::Token::Object) => Place::Within(1),
            (Place::Awaiting | Place::AwaitingContent, _) | (Place::Within(1) | Place::Content, json::Token::Close) => {
                return Some(Hit::NoValue);
            }
            (Place::Within(depth), json::Token::Object | json::Token::Array) => Place::Within(depth + 1),
            (Place::Within(depth), json::Token::Close) => Place::Within(depth - 1),
            (Place::Within(depth), _) => Place::Within(depth),
            (Place::Content, _) => Place::Within(1),
            (Place::Outside | Place::Named, _) => Place::Outside,
        };
        None
    }

    fn hold(&mut self, part: &[u8]) {
        let most = match self.place {
            Place::Awaiting | Place::AwaitingContent => LONGEST_VALUE,
            Place::Outside | Place::Named | Place::Within(_) | Place::Content => LONGEST_NAME,
        };
        if self.cut_off || self.string.len() + part.len() > most {
            self.cut_off = true;
        } else {
            self.string.extend_from_slice(part);
        }
    }

    fn string_ends(&mut self, name: &str) -> Option<Hit> {
        let text = text(&self.string);
        let string = if self.cut_off { None } else { json::unescaped(&text) };
        let reads_as = |name: &str| string.as_ref().is_some_and(|string| string.eq_ignore_ascii_case(name));
        self.place = match self.place {
            Place::Awaiting | Place::AwaitingContent => {
                return Some(string.map_or(Hit::NoValue, |string| Hit::Value(string.into_owned())));
            }
            Place::Outside | Place::Named if reads_as(name) => Place::Named,
            Place::Outside | Place::Named => Place::Outside,
            Place::Within(1) | Place::Content if reads_as("$") => Place::Content,
            Place::Content => Place::Within(1),
            Place::Within(depth) => Place::Within(depth),
        };
        self.string.clear();
        self.cut_off = false;
        None
    }
}
