//! From text to [`File`] with every problem on the way: what is written is compared with the file's [`Shape`], what is wrong is
//! noted and taken out, and the rest is read. Separate from `file`, because serde stops at the first error and an operator
//! wants them all.

mod describe;

use std::collections::BTreeSet;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::error::{Problem, Source};
use super::file::File;
use super::schema::{Shape, Shaped};
use super::syntax;
use super::types::choice::nearest;

/// No more problems than this are told; so long a list is not a list of slips.
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
    /// Anything may be missing: the text is not TOML in some place.
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
    let mut root = DeTable::parse_recoverable(&text).0.into_inner();
    let mut walk = Walk::new(source, &text, &problems);
    let lost = walk.entries("", &mut root, 0, &File::shape());
    let Walk { problems: nonsense, mut gaps, .. } = walk;
    gaps.sections.extend(lost);
    problems.extend(nonsense);
    let file = <File as Deserialize>::deserialize(toml::Deserializer::from(Spanned::new(0..0, root))).unwrap_or_else(
        |error| {
            // What has the file's shape is read, so that there is nothing to say that an operator would understand.
            problems.push(Problem::error(error.span(), error.message()));
            gaps.anywhere = true;
            File::default()
        },
    );
    Recovered { file, problems, gaps }
}

/// Where a value stands.
#[derive(Clone, Copy)]
enum Place<'a> {
    /// It is this key's.
    Key(&'a str),
    /// It is a section of this kind: `[kind.NAME]`.
    Section(&'a str),
    /// In a list.
    Element,
}

/// What is found on the way through what is written.
struct Walk<'a> {
    source: &'a Source,
    text: &'a str,
    /// What a slip in TOML leaves behind on its line is not worth a complaint of its own.
    broken_lines: BTreeSet<usize>,
    problems: Vec<Problem>,
    gaps: Gaps,
}

impl<'a> Walk<'a> {
    /// One through `text`, of which `slips` are known.
    fn new(source: &'a Source, text: &'a str, slips: &[Problem]) -> Self {
        let broken_lines = slips.iter().filter_map(|problem| line(source, problem)).collect();
        let gaps = Gaps { anywhere: !slips.is_empty(), ..Gaps::default() };
        Self { source, text, broken_lines, problems: Vec::new(), gaps }
    }

    /// Takes out of a table what `shape` does not have there. `name` is its key, and `start` where it begins. Returns what is
    /// missing then, as it was written and as it was meant.
    fn entries(&mut self, name: &str, table: &mut DeTable<'_>, start: usize, shape: &Shape) -> Vec<String> {
        let (mut removed, mut meant) = (Vec::new(), Vec::new());
        for (key, value) in table.iter_mut() {
            let (span, key): (_, &str) = (key.span(), key.get_ref());
            let refusal = match shape {
                Shape::Table { keys, .. } => match keys.iter().find(|(known, _)| *known == key) {
                    Some((_, shape)) => self.value(Place::Key(key), value, shape),
                    None if key == describe::GONE && keys.iter().any(|(known, _)| *known == describe::SUCCESSOR) => {
                        Err(describe::gone_key(span))
                    }
                    None => {
                        let known = || keys.iter().map(|(known, _)| *known);
                        let near = nearest(key, known());
                        meant.extend(near.map(str::to_owned));
                        Err(describe::unknown_key(span, key, near, known()))
                    }
                },
                Shape::Sections { refuse, section, .. } => match refuse(key) {
                    Some(refusal) => Err(Problem::refused(span, refusal)),
                    None => self.value(Place::Section(name), value, section),
                },
                Shape::Choices { refuse, section, .. } => match refuse(key) {
                    Some(refusal) => Err(Problem::refused(span, refusal)),
                    None => self.value(Place::Key(key), value, section),
                },
                Shape::Value(_) | Shape::List(_) => Ok(()),
            };
            if let Err(problem) = refusal {
                self.note(problem);
                removed.push(key.to_owned());
            }
        }
        for key in &removed {
            table.remove(key.as_str());
        }
        if matches!(shape, Shape::Sections { .. }) && !removed.is_empty() {
            self.gaps.sections.insert(name.to_owned());
        }
        removed.append(&mut meant);
        self.gaps.keys.extend(removed.iter().map(|key| (start, key.clone())));
        removed
    }

    /// Takes out of a value what `shape` does not have there.
    ///
    /// # Errors
    /// Why all of it has to be taken out.
    fn value(&mut self, place: Place<'_>, value: &mut Spanned<DeValue<'_>>, shape: &Shape) -> Result<(), Problem> {
        let span = value.span();
        match (shape, value.get_mut()) {
            (Shape::Value(single), found) => match (single.refuse)(found) {
                Some(refusal) => Err(describe::refused(span, refusal, found, self.text)),
                None => Ok(()),
            },
            (Shape::List(element), DeValue::Array(array)) => {
                self.elements(array, span.start, element);
                Ok(())
            }
            (Shape::List(_), found) => {
                self.note(describe::wrong_type(&span, found, place, shape, self.text));
                // One value where a list belongs is read on as a list of one.
                let only = Spanned::new(span, std::mem::replace(found, DeValue::Boolean(false)));
                *found = DeValue::Array(DeArray::from_iter([only]));
                self.value(place, value, shape)
            }
            (Shape::Table { .. } | Shape::Sections { .. } | Shape::Choices { .. }, DeValue::Table(table)) => {
                let name = if let Place::Key(name) = place { name } else { "" };
                self.entries(name, table, span.start, shape);
                Ok(())
            }
            (Shape::Table { .. } | Shape::Sections { .. } | Shape::Choices { .. }, found) => {
                Err(describe::wrong_type(&span, found, place, shape, self.text))
            }
        }
    }

    /// Takes out of the list at `start` what `shape` does not have there.
    fn elements(&mut self, array: &mut DeArray<'_>, start: usize, shape: &Shape) {
        let mut kept = Vec::new();
        for mut element in std::mem::replace(array, DeArray::new()) {
            match self.value(Place::Element, &mut element, shape) {
                Ok(()) => kept.push(element),
                Err(problem) => {
                    self.note(problem);
                    self.gaps.lists.insert(start);
                }
            }
        }
        *array = kept.into_iter().collect();
    }

    fn note(&mut self, problem: Problem) {
        let is_slip = line(self.source, &problem).is_some_and(|line| self.broken_lines.contains(&line));
        if !is_slip && self.problems.len() < MOST {
            self.problems.push(problem);
        }
    }
}

fn line(source: &Source, problem: &Problem) -> Option<usize> {
    Some(source.position(problem.span.as_ref()?.start).0)
}
