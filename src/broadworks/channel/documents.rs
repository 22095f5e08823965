//! Finds where the documents on a channel's stream end, so that each can leave as one chunk: to several clients a chunk is
//! a document. Separate from the search for ids, because it goes on for as long as the stream lives.

use super::search::{Format, Opened, Opening};
use super::xml::is_blank;
use super::{json, xml};

/// The longest document that is put together, in bytes.
pub const LONGEST: usize = 64 * 1024;

const DECLARATION: &[u8] = b"<?xml";

/// What stands at the front of the bytes that have not left yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// One whole document of so many bytes, with the whitespace that is there already behind it, and with what stood
    /// before it unless it has an XML declaration, before which nothing may stand.
    Document(usize),
    /// So many bytes of whitespace that came after their document had left. They belong to no document, and nothing is
    /// gained by keeping them.
    Blank(usize),
    /// A document whose end has not come yet, or nothing at all.
    Incomplete,
    /// Everything from here to the end of the stream, as it comes: a document is longer than [`LONGEST`], or this is
    /// something else than XML or JSON documents.
    AsIs,
}

/// Cuts one stream. Holds nothing on the heap.
#[derive(Debug, Default)]
pub struct Documents {
    /// How many bytes of the pending ones are read.
    read: usize,
    /// Where the document begins in the pending bytes, once it has begun.
    start: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    Opening(Opening),
    Xml { lexer: xml::Lexer, depth: u32 },
    Json { lexer: json::Lexer, depth: u32 },
    AsIs,
}

impl Default for State {
    fn default() -> Self {
        Self::Opening(Opening::default())
    }
}

/// What came of reading on.
enum Reach {
    End,
    Open,
    Odd,
}

impl Documents {
    /// At the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is at the front of `pending`: all bytes of the stream that have come and are in no [`Cut::Document`] and no
    /// [`Cut::Blank`] before. What those hold is to be taken off its front; then, and when more has come, call again.
    /// Each byte is read once, however often this is called.
    pub fn cut(&mut self, pending: &[u8]) -> Cut {
        if let State::Opening(_) = self.state
            && self.read == 0
        {
            let blank = blank_length(pending);
            if blank > 0 && (blank >= LONGEST || stands_alone(&pending[blank..])) {
                return Cut::Blank(blank);
            }
            self.read = blank;
            self.start = blank;
        }
        let limit = pending.len().min(self.start + LONGEST);
        match self.reach(&pending[..limit]) {
            Reach::End => {
                let end = self.read + blank_length(&pending[self.read..limit]);
                *self = Self::default();
                Cut::Document(end)
            }
            Reach::Open if limit < self.start + LONGEST => Cut::Incomplete,
            Reach::Open | Reach::Odd => {
                self.state = State::AsIs;
                Cut::AsIs
            }
        }
    }

    fn reach(&mut self, pending: &[u8]) -> Reach {
        while let State::Opening(opening) = &mut self.state {
            let Some(byte) = pending.get(self.read) else { return Reach::Open };
            match opening.read(*byte) {
                Opened::Not => self.read += 1,
                Opened::As(Format::Xml) => self.state = State::Xml { lexer: xml::Lexer::new(), depth: 0 },
                Opened::As(Format::Json) => self.state = State::Json { lexer: json::Lexer::new(), depth: 0 },
                Opened::Otherwise => return Reach::Odd,
            }
        }
        let rest = pending.get(self.read..).unwrap_or_default();
        let (taken, reach) = match &mut self.state {
            State::Opening(_) | State::AsIs => (0, Reach::Odd),
            State::Xml { lexer, depth } => xml_end(lexer, depth, rest),
            State::Json { lexer, depth } => json_end(lexer, depth, rest),
        };
        self.read += taken;
        reach
    }
}

/// Whether whitespace before `rest` had better leave alone: nothing is there to go with it, or something before which
/// nothing may stand.
fn stands_alone(rest: &[u8]) -> bool {
    rest.starts_with(DECLARATION) || DECLARATION.starts_with(rest)
}

fn blank_length(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| !is_blank(*byte)).unwrap_or(bytes.len())
}

fn xml_end(lexer: &mut xml::Lexer, depth: &mut u32, bytes: &[u8]) -> (usize, Reach) {
    let mut at = 0;
    loop {
        let Ok((taken, token)) = lexer.next(&bytes[at..]) else { return (at, Reach::Odd) };
        at += taken;
        match token {
            None => return (at, Reach::Open),
            Some(xml::Token::Start) => *depth += 1,
            Some(xml::Token::Empty) if *depth == 0 => return (at, Reach::End),
            Some(xml::Token::End) if *depth == 1 => return (at, Reach::End),
            Some(xml::Token::End) if *depth == 0 => return (at, Reach::Odd),
            Some(xml::Token::End) => *depth -= 1,
            Some(xml::Token::Section) if *depth == 0 => return (at, Reach::Odd),
            Some(xml::Token::Text(text)) if *depth == 0 && blank_length(text) < text.len() => return (at, Reach::Odd),
            Some(xml::Token::Empty | xml::Token::Section | xml::Token::Text(_)) => {}
            Some(xml::Token::Literal(_) | xml::Token::Name(_)) => {}
        }
    }
}

fn json_end(lexer: &mut json::Lexer, depth: &mut u32, bytes: &[u8]) -> (usize, Reach) {
    let mut at = 0;
    loop {
        let (taken, token) = lexer.next(&bytes[at..]);
        at += taken;
        match token {
            None => return (at, Reach::Open),
            Some(json::Token::Object | json::Token::Array) => *depth += 1,
            Some(json::Token::Close) if *depth <= 1 => return (at, Reach::End),
            Some(json::Token::Close) => *depth -= 1,
            Some(json::Token::Colon | json::Token::Comma | json::Token::Other) => {}
            Some(json::Token::Characters(_) | json::Token::StringEnd) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><xsi:Event xsi1:type=\"xsi:SubscriptionEvent\" \
        xmlns:xsi=\"http://schema.broadsoft.com/xsi\"><xsi:eventID>1</xsi:eventID></xsi:Event>";
    const HEARTBEAT: &str = "<ChannelHeartBeat xmlns=\"http://schema.broadsoft.com/xsi\"/>";

    /// The pieces of bytes that are all there.
    fn pieces(stream: &str) -> Vec<String> {
        let mut documents = Documents::new();
        let mut rest = stream;
        let mut out = Vec::new();
        loop {
            let (kind, end) = match documents.cut(rest.as_bytes()) {
                Cut::Document(end) => ("", end),
                Cut::Blank(end) => ("blank:", end),
                Cut::Incomplete if rest.is_empty() => return out,
                Cut::Incomplete => ("open:", rest.len()),
                Cut::AsIs => ("as-is:", rest.len()),
            };
            out.push(format!("{kind}{}", &rest[..end]));
            rest = &rest[end..];
            if !kind.is_empty() && kind != "blank:" {
                return out;
            }
        }
    }

    #[test]
    fn documents_that_come_together_are_told_apart() {
        let first = "<?xml version=\"1.0\"?>\n<Channel><channelId>1</channelId></Channel>";
        let stream = format!("{first}{EVENT}{HEARTBEAT}{{\"a\":[1]}}{EVENT}");
        assert_eq!(pieces(&stream), [first, EVENT, HEARTBEAT, "{\"a\":[1]}", EVENT]);
    }

    #[test]
    fn a_document_ends_with_its_root() {
        for document in [
            "<a/>",
            "<a></a>",
            "<a b='/>' c=\"</a>\"><b/><a>]]></a></a>",
            "<!-- <a/> --><?p <a/>?> <a><!-- </a> --><?p </a>?><![CDATA[</a>]]></a>",
            "\u{feff}<?xml version=\"1.0\"?><a/>",
            "{}",
            r#"{"a":"}","b":["]",{}],"c":"\"}\\"}"#,
        ] {
            assert_eq!(pieces(document), [document]);
            assert_eq!(pieces(&format!("{document}{document}")), [document, document]);
            let end = document.len() - 1;
            assert_eq!(pieces(&document[..end]), [format!("open:{}", &document[..end])]);
        }
    }

    #[test]
    fn whitespace_goes_with_the_document_before_it_if_it_is_there_in_time() {
        assert_eq!(pieces(&format!("{EVENT}\r\n\r\n{EVENT}\n")), [format!("{EVENT}\r\n\r\n"), format!("{EVENT}\n")]);
        assert_eq!(pieces("{}\n{} {}"), ["{}\n", "{} ", "{}"]);
        assert_eq!(pieces("\n"), ["blank:\n"]);
        assert_eq!(pieces("\n<?xml?><a/>"), ["blank:\n", "<?xml?><a/>"]);
        assert_eq!(pieces("\n<?x"), ["blank:\n", "open:<?x"]);
        assert_eq!(pieces("\n<a/>"), ["\n<a/>"]);
        assert_eq!(pieces("\n{}"), ["\n{}"]);
    }

    #[test]
    fn what_is_something_else_passes_as_it_is_for_good() {
        for stream in [
            "hello",
            "[1]",
            "1",
            "</a>",
            "<!DOCTYPE html><html></html>",
            "<?xml?>x<a/>",
            "<![CDATA[x]]><a/>",
            "<!-- --></a>",
            "<a <b/></a>",
            "\u{fffd}<a/>",
        ] {
            assert_eq!(pieces(stream), [format!("as-is:{stream}")]);
            assert_eq!(pieces(&format!("{EVENT}{stream}")), [EVENT.to_owned(), format!("as-is:{stream}")]);
        }
        let mut documents = Documents::new();
        assert_eq!(documents.cut(b"x"), Cut::AsIs);
        assert_eq!(documents.cut(b"<a/>"), Cut::AsIs);
        assert_eq!(documents.cut(b""), Cut::AsIs);
    }

    #[test]
    fn a_document_of_64_kib_is_whole_and_a_longer_one_passes_as_it_is() {
        let of_length = |length: usize| format!("<a>{}</a>", "x".repeat(length - "<a></a>".len()));
        let fits = of_length(LONGEST);
        assert_eq!(Documents::new().cut(fits.as_bytes()), Cut::Document(LONGEST));
        assert_eq!(Documents::new().cut(format!("\n{fits}\n").as_bytes()), Cut::Document(LONGEST + 1));
        assert_eq!(Documents::new().cut(&fits.as_bytes()[..LONGEST - 1]), Cut::Incomplete);
        let long = of_length(LONGEST + 1);
        assert_eq!(Documents::new().cut(long.as_bytes()), Cut::AsIs);
        assert_eq!(Documents::new().cut(&long.as_bytes()[..LONGEST]), Cut::AsIs);
        let blank = " ".repeat(LONGEST);
        assert_eq!(Documents::new().cut(blank.as_bytes()), Cut::Blank(LONGEST));
        assert_eq!(Documents::new().cut(format!("<a/>{blank}").as_bytes()), Cut::Document(LONGEST));
    }

    #[test]
    fn what_is_held_between_two_documents_is_little() {
        assert!(size_of::<Documents>() <= 32, "{}", size_of::<Documents>());
    }
}
