//! From text to [`File`] with every problem on the way: what is wrong is noted, taken out of the tree, and the rest is
//! read on. Separate from `file`, because serde stops at the first error and an operator wants them all.

mod describe;

use std::collections::BTreeSet;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::error::{Problem, Source};
use super::file::File;
use super::syntax;

/// No more problems than this are looked for; so long a list is not a list of slips.
pub(super) const MOST: usize = 100;

/// What could be read.
pub struct Recovered {
    /// Everything that made sense.
    pub file: File,
    /// What did not.
    pub problems: Vec<Problem>,
    /// Where something was taken out, so that nobody complains that it is missing.
    pub gaps: Gaps,
}

/// Where something that was written had to be left out.
#[derive(Debug, Default)]
pub struct Gaps {
    /// Anything may be missing: the text is not TOML in some place, or reading was given up.
    anywhere: bool,
    sections: BTreeSet<String>,
    keys: BTreeSet<(usize, String)>,
    lists: BTreeSet<usize>,
}

impl Gaps {
    /// Whether `key` of the table at `table` was there and had to be left out.
    pub fn has_key(&self, table: &Range<usize>, key: &str) -> bool {
        self.anywhere || self.keys.contains(&(table.start, key.to_owned()))
    }

    /// Whether the list at `span` lost an element.
    pub fn has_element(&self, span: &Range<usize>) -> bool {
        self.anywhere || self.lists.contains(&span.start)
    }

    /// Whether a section `[kind.NAME]` may have been lost.
    pub fn has_section(&self, kind: &str) -> bool {
        self.anywhere || self.sections.contains(kind)
    }

    /// Whether nothing at all was left out.
    pub fn is_empty(&self) -> bool {
        !self.anywhere && self.keys.is_empty() && self.lists.is_empty()
    }
}

/// Reads what can be read.
pub fn read(source: &Source) -> Recovered {
    let mut problems = Vec::new();
    let text = syntax::blanked(source, &mut problems);
    let mut gaps = Gaps { anywhere: !problems.is_empty(), ..Gaps::default() };
    let mut root = DeTable::parse_recoverable(&text).0.into_inner();
    // What a slip in TOML leaves behind on its line is not worth a complaint of its own.
    let broken_lines: BTreeSet<usize> = problems.iter().filter_map(|problem| line(source, problem)).collect();
    let mut file = None;
    for _ in 0..MOST {
        let document = Spanned::new(0..0, root.clone());
        let error = match <File as Deserialize>::deserialize(toml::Deserializer::from(document)) {
            Ok(read) => {
                file = Some(read);
                break;
            }
            Err(error) => error,
        };
        let problem = mend(&mut root, &error, &mut gaps, &text);
        if line(source, &problem).is_none_or(|line| !broken_lines.contains(&line)) {
            problems.push(problem);
        }
    }
    gaps.anywhere |= file.is_none();
    Recovered { file: file.unwrap_or_default(), problems, gaps }
}

fn line(source: &Source, problem: &Problem) -> Option<usize> {
    Some(source.position(problem.span.as_ref()?.start).0)
}

/// Notes one error and takes what caused it out of the tree.
fn mend(root: &mut DeTable<'_>, error: &toml::de::Error, gaps: &mut Gaps, text: &str) -> Problem {
    let span = error.span().unwrap_or(0..0);
    let mut path = Vec::new();
    if !find(root, &span, Match::Exact, &mut path) {
        path.clear();
        find(root, &span, Match::Around, &mut path);
    }
    let problem = describe::problem(error, &span, &path, text);
    match error.message() {
        message if message.starts_with("invalid type: ") && message.ends_with("expected a sequence") => {
            wrap(root, &path);
        }
        message => {
            let meant = message
                .strip_prefix("unknown field `")
                .and_then(|rest| describe::Unknown::new(describe::key(&path), rest).meant());
            if let [Step::Key(kind)] | [Step::Key(kind), Step::Key(_)] = path.as_slice() {
                let kind = if let ([_], Some(meant)) = (path.as_slice(), meant) { meant } else { kind };
                gaps.sections.insert(kind.to_owned());
            }
            remove(root, 0, &path, meant, gaps);
        }
    }
    problem
}

enum Step {
    Key(String),
    Index(usize),
}

#[derive(Clone, Copy)]
enum Match {
    Exact,
    Around,
}

impl Match {
    fn holds(self, candidate: &Range<usize>, wanted: &Range<usize>) -> bool {
        match self {
            Self::Exact => candidate == wanted,
            Self::Around => candidate.start <= wanted.start && wanted.end <= candidate.end,
        }
    }
}

/// The way to the outermost entry at exactly `span`, or to the innermost around it.
fn find(table: &DeTable<'_>, span: &Range<usize>, how: Match, path: &mut Vec<Step>) -> bool {
    for (key, value) in table.iter() {
        path.push(Step::Key(key.get_ref().to_string()));
        let here = how.holds(&key.span(), span) || how.holds(&value.span(), span);
        if found(value.get_ref(), here, span, how, path) {
            return true;
        }
        path.pop();
    }
    false
}

fn found(value: &DeValue<'_>, here: bool, span: &Range<usize>, how: Match, path: &mut Vec<Step>) -> bool {
    if here && matches!(how, Match::Exact) {
        return true;
    }
    let below = match value {
        DeValue::Table(table) => find(table, span, how, path),
        DeValue::Array(array) => array.iter().enumerate().any(|(index, element)| {
            path.push(Step::Index(index));
            let here = how.holds(&element.span(), span);
            let found = found(element.get_ref(), here, span, how, path);
            if !found {
                path.pop();
            }
            found
        }),
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            false
        }
    };
    below || here
}

/// `meant`: the key that the one to be removed was probably meant to be.
fn remove(table: &mut DeTable<'_>, start: usize, path: &[Step], meant: Option<&str>, gaps: &mut Gaps) {
    let [Step::Key(key), rest @ ..] = path else {
        // Nothing was found to take out: reading can't go on.
        *table = DeTable::new();
        gaps.anywhere = true;
        return;
    };
    match table.get_mut(key.as_str()) {
        Some(value) if !rest.is_empty() => remove_below(value, rest, meant, gaps),
        Some(_) | None => {
            table.remove(key.as_str());
            gaps.keys.extend([key.as_str()].into_iter().chain(meant).map(|key| (start, key.to_owned())));
        }
    }
}

fn remove_below(value: &mut Spanned<DeValue<'_>>, path: &[Step], meant: Option<&str>, gaps: &mut Gaps) {
    let start = value.span().start;
    match value.get_mut() {
        DeValue::Table(table) => remove(table, start, path, meant, gaps),
        DeValue::Array(array) => {
            let [Step::Index(index), rest @ ..] = path else { return };
            let index = *index;
            if !rest.is_empty() {
                if let Some(element) = array.get_mut(index) {
                    remove_below(element, rest, meant, gaps);
                }
                return;
            }
            let elements = std::mem::replace(array, DeArray::new()).into_iter().enumerate();
            *array = elements.filter(|(place, _)| *place != index).map(|(_, element)| element).collect();
            gaps.lists.insert(start);
        }
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
    }
}

/// One value where a list belongs is read on as a list of one.
fn wrap(root: &mut DeTable<'_>, path: &[Step]) {
    let mut path = path.iter();
    let Some(Step::Key(key)) = path.next() else { return };
    let mut value = root.get_mut(key.as_str());
    for step in path {
        value = match (value.map(Spanned::get_mut), step) {
            (Some(DeValue::Table(table)), Step::Key(key)) => table.get_mut(key.as_str()),
            (Some(DeValue::Array(array)), Step::Index(index)) => array.get_mut(*index),
            (Some(_) | None, Step::Key(_) | Step::Index(_)) => None,
        };
    }
    if let Some(value) = value {
        let only = Spanned::new(value.span(), std::mem::replace(value.get_mut(), DeValue::Boolean(false)));
        *value.get_mut() = DeValue::Array(DeArray::from_iter([only]));
    }
}
