//! What is not TOML, in the words of an operator. Separate from what TOML says that makes no sense, because the parser's own
//! words are about its grammar.
//!
//! The parser's errors have no kind, so that a few of its words are all that tells them apart. A test holds that these are
//! still its words.

use std::ops::Range;

use toml::de::DeTable;

use super::error::{Problem, Source};
use super::recover::MOST;
use super::types::quoted;

/// Notes every slip in the syntax. Returns the text with those lines blanked behind which the parser would read nothing
/// more; all places stay the same.
pub(super) fn blanked(source: &Source, problems: &mut Vec<Problem>) -> String {
    let mut text = source.text.clone();
    loop {
        let errors = DeTable::parse_recoverable(&text).1;
        let mut stops = Vec::new();
        for error in errors.iter().take(MOST) {
            let problem = described(error.span(), error.message(), &text);
            if let (Some(span), true) = (&problem.span, error.message().starts_with(STOPS)) {
                stops.push(line(&text, span.start));
            }
            add(source, problems, problem);
        }
        stops.retain(|line| !text[line.clone()].trim().is_empty());
        if stops.is_empty() || problems.len() >= MOST {
            return text;
        }
        for line in stops {
            // As many bytes as there were, so that nothing moves.
            text.replace_range(line.clone(), &" ".repeat(line.len()));
        }
    }
}

/// How the message begins of the slip behind which the parser leaves the rest of the file alone.
const STOPS: &str = "key with no value";
/// How those begin that are about a value.
const VALUE: [&str; 3] = ["invalid ", "string values ", "unexpected "];
/// A key that is there already.
const DUPLICATE: &str = "duplicate key";

/// One slip makes several errors on its line; only texts without quotes are each worth a line.
fn add(source: &Source, problems: &mut Vec<Problem>, problem: Problem) {
    let line = |problem: &Problem| problem.span.as_ref().map(|span| source.position(span.start).0);
    let same_line = problems.iter().any(|earlier| line(earlier) == line(&problem));
    let repeated = problems.iter().any(|earlier| earlier.span == problem.span);
    if !same_line || (problem.message == UNQUOTED && !repeated) {
        problems.push(problem);
    }
}

const UNQUOTED: &str = "a text needs quotes";

fn described(span: Option<Range<usize>>, message: &str, text: &str) -> Problem {
    let Some(span) = span else { return Problem::error(None, message) };
    let span = text.floor_char_boundary(span.start)..text.floor_char_boundary(span.end);
    match message {
        DUPLICATE => {
            let help = format!("`{}` is here a second time; keep one", text.get(span.clone()).unwrap_or_default());
            Problem::error(span, message).help(help)
        }
        _ if VALUE.iter().any(|start| message.starts_with(start)) => bad_value(span, message, text),
        _ => Problem::error(span, message),
    }
}

fn bad_value(span: Range<usize>, message: &str, text: &str) -> Problem {
    let line = line(text, span.start);
    let Some(before) = text[line.start..span.start].rfind(['=', '[', ',']) else {
        return Problem::error(span, message);
    };
    let rest = &text[line.start + before + 1..line.end];
    let start = line.start + before + 1 + (rest.len() - rest.trim_start().len());
    let value = text[start..line.end].split(['#', ',', ']', '}']).next().unwrap_or_default().trim_end();
    let bare = value.chars().all(|c| c.is_ascii_alphanumeric() || ".:/-_* ".contains(c));
    let is_text = bare && value.contains(|c: char| !c.is_ascii_digit());
    match value {
        "" => Problem::error(span, "the value is missing"),
        "True" | "TRUE" | "False" | "FALSE" => Problem::error(span, "true and false are in lower case")
            .help(format!("write {}", value.to_ascii_lowercase())),
        _ if is_text => Problem::error(start..start + value.len(), UNQUOTED).help(format!("write {}", quoted(value))),
        _ => Problem::error(span, message),
    }
}

/// The line around a byte, without what ends it.
fn line(text: &str, byte: usize) -> Range<usize> {
    let byte = text.floor_char_boundary(byte);
    let start = text[..byte].rfind('\n').map_or(0, |newline| newline + 1);
    let end = start + text[start..].find('\n').unwrap_or(text.len() - start);
    start..end - usize::from(text[start..end].ends_with('\r'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_that_are_relied_upon_are_the_parsers() {
        let slips = [
            ("a\n", STOPS),
            ("a b = 1\n", STOPS),
            ("= 1\n", "unquoted keys "),
            ("a = 1\na = 2\n", DUPLICATE),
            ("a = 192.0.2.1:443\n", VALUE[0]),
            ("a = 2 s\n", VALUE[1]),
            ("a = [1 = 2]\n", VALUE[2]),
        ];
        for (text, expected) in slips {
            let text = format!("{text}b = 1\n");
            let (table, errors) = DeTable::parse_recoverable(&text);
            let messages: Vec<_> = errors.iter().map(toml::de::Error::message).collect();
            assert!(messages.iter().any(|message| message.starts_with(expected)), "{text:?}: {messages:?}");
            assert_eq!(table.get_ref().contains_key("b"), expected != STOPS, "{text:?}: what comes behind");
        }
    }
}
