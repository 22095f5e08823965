//! What is not of the file's shape, in the words of an operator. Separate from finding it, because what is said does not change
//! what is done.

use std::ops::Range;

use toml::de::DeValue;

use super::Place;
use crate::config::complete::sections_with;
use crate::config::error::Problem;
use crate::config::schema::Shape;
use crate::config::types::{Refusal, found};

/// One value that is refused: a list of one, perhaps.
pub(super) fn refused(span: Range<usize>, refusal: Refusal, value: &DeValue<'_>, text: &str) -> Problem {
    let found = text.get(span.clone()).unwrap_or_default();
    let problem = Problem::refused(span, refusal);
    match value {
        DeValue::Array(_) if !found.contains(',') && !found.starts_with("[[") => {
            problem.help(format!("write {} without brackets", found.trim_matches(['[', ']']).trim()))
        }
        DeValue::Array(_)
        | DeValue::Table(_)
        | DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => problem,
    }
}

/// Something that stands where a list, a table or sections do.
pub(super) fn wrong_type(
    span: &Range<usize>,
    value: &DeValue<'_>,
    place: Place<'_>,
    shape: &Shape,
    text: &str,
) -> Problem {
    let (is_header, written) = (text[span.start..].starts_with('['), text.get(span.clone()).unwrap_or_default());
    let is_table = matches!(value, DeValue::Table(_));
    let is_blocks = matches!(value, DeValue::Array(_)) && written.starts_with("[[");
    let (expected, help) = match (shape, place) {
        (Shape::List(_), _) if is_table && is_header => {
            ("a list of tables", Some(format!("there may be several: write [{written}]")))
        }
        (Shape::List(_), _) => ("a list", Some(format!("put it in brackets: [{written}]"))),
        (Shape::Sections { .. } | Shape::Choices { .. }, Place::Key(name)) => {
            ("tables", Some(format!("write [{name}.NAME] with a name of your choice")))
        }
        (_, _) if is_blocks => {
            let single = written.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or_default();
            ("one table", Some(format!("there is only one: write {single}")))
        }
        (_, Place::Section(kind)) => ("a table", Some(format!("each has a name of your choice: write [{kind}.NAME]"))),
        (_, Place::Key(_) | Place::Element) => ("a table", None),
    };
    Problem { help, ..Problem::error(span.clone(), format!("expected {expected}, found {}", found(value))) }
}

/// A key of earlier versions, at the top of the file, and what there is in its place.
pub(super) const GONE: &str = "drain_rate";
pub(super) const SUCCESSOR: &str = "drain_spread";

/// [`GONE`] is there still: a gateway that is upgraded in place starts anyway.
pub(super) fn gone_key(span: Range<usize>) -> Problem {
    Problem::warning(span, format!("`{GONE}` does nothing any more"))
        .help(format!("leave it out; `{SUCCESSOR}` says over how long the ends of connections are spread"))
}

/// A key that there is not: `near` is one that there is, and `known` are all of these.
pub(super) fn unknown_key(
    span: Range<usize>,
    key: &str,
    near: Option<&str>,
    known: impl Iterator<Item = &'static str>,
) -> Problem {
    let help = match (near, sections_with(key)) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, sections) if !sections.is_empty() => format!("it is a key of {}", sections.join(", ")),
        (None, _) => {
            let known: Vec<_> = known.map(|name| format!("`{name}`")).collect();
            format!("the keys here are {}", known.join(", "))
        }
    };
    Problem::error(span, format!("unknown key `{key}`")).help(help)
}
