//! serde's errors in the words of an operator. Separate from mending, because what is said does not change what is done.

use std::ops::Range;

use super::Step;
use crate::config::error::Problem;
use crate::config::types::Refusal;
use crate::config::types::choice::nearest;

/// What is wrong at the end of `path`.
pub(super) fn problem(error: &toml::de::Error, span: &Range<usize>, path: &[Step], text: &str) -> Problem {
    let message = error.message();
    if let Some(rest) = message.strip_prefix("unknown field `") {
        return unknown_key(span, &Unknown::new(key(path), rest));
    }
    if let Some((found, expected)) =
        message.strip_prefix("invalid type: ").and_then(|rest| rest.rsplit_once(", expected "))
    {
        return wrong_type(span, found, expected, path, text);
    }
    let (message, help) = Refusal::split(message);
    Problem { help: help.map(str::to_owned), ..Problem::error(span.clone(), message) }
}

fn wrong_type(span: &Range<usize>, found: &str, expected: &str, path: &[Step], text: &str) -> Problem {
    let (is_header, found_text) = (text[span.start..].starts_with('['), text.get(span.clone()).unwrap_or_default());
    let found = match found {
        "map" => "a table".to_owned(),
        "sequence" if is_header && found_text.starts_with("[[") => "a list of tables".to_owned(),
        "sequence" => "a list".to_owned(),
        other => format!("the {}", other.replace('`', "").replace("floating point", "number")),
    };
    let name = key(path);
    let (expected, help) = match expected {
        "a sequence" if found == "a table" && is_header => {
            ("a list of tables", Some(format!("there may be several: write [{found_text}]")))
        }
        "a sequence" => ("a list", Some(format!("put it in brackets: [{found_text}]"))),
        "a map" => ("tables", Some(format!("write [{name}.NAME] with a name of your choice"))),
        "a table" if found == "a list of tables" => {
            let single = found_text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or_default();
            ("one table", Some(format!("there is only one: write {single}")))
        }
        "a table" => match path {
            [Step::Key(kind), Step::Key(_)] if ["certificate", "trust", "farm"].contains(&kind.as_str()) => {
                ("a table", Some(format!("each has a name of your choice: write [{kind}.NAME]")))
            }
            _ => ("a table", None),
        },
        other if found == "a list" && !found_text.contains(',') => {
            let only = found_text.trim_matches(['[', ']']).trim();
            (other, Some(format!("write {only} without brackets")))
        }
        other => (other, None),
    };
    Problem { help, ..Problem::error(span.clone(), format!("expected {expected}, found {found}")) }
}

/// The key at the end of a path.
pub(super) fn key(path: &[Step]) -> &str {
    match path.last() {
        Some(Step::Key(key)) => key,
        Some(Step::Index(_)) | None => "",
    }
}

/// A key that there is not, and those that there are.
pub(super) struct Unknown<'a> {
    key: &'a str,
    known: Vec<&'a str>,
}

impl<'a> Unknown<'a> {
    /// `rest`: serde's message from the key's name on.
    pub(super) fn new(key: &'a str, rest: &'a str) -> Self {
        let expected = rest.strip_prefix(key).unwrap_or(rest).trim_start_matches('`');
        // Every other part stands between backticks.
        Self { key, known: expected.split('`').skip(1).step_by(2).collect() }
    }

    pub(super) fn meant(&self) -> Option<&'a str> {
        nearest(self.key, self.known.iter().copied())
    }
}

fn unknown_key(span: &Range<usize>, unknown: &Unknown<'_>) -> Problem {
    let key = unknown.key;
    let help = match (unknown.meant(), crate::config::complete::sections_with(key)) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, sections) if !sections.is_empty() => format!("it is a key of {}", sections.join(", ")),
        (None, _) => {
            let known = unknown.known.iter().map(|name| format!("`{name}`"));
            format!("the keys here are {}", known.collect::<Vec<_>>().join(", "))
        }
    };
    Problem::error(span.clone(), format!("unknown key `{key}`")).help(help)
}
