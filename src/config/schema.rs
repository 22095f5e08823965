//! The configuration's shape: what may stand where, which [`recover`](super::recover) holds files against. And its JSON schema, for editors: made of the types that read the file and of what the complete file says,
//! so that it can't differ from either. Separate from reading, since what is right in relation to something else is beyond it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use toml::Spanned;
use toml::de::DeValue;

use super::complete::{self, Entry, Standing};
use super::file::File;
use super::types::choice::{Choice, Words};
use super::types::name::SectionName;
use super::types::{self, Leaf, Refusal};

/// What a part of the file may be.
#[derive(Clone, Debug)]
pub enum Shape {
    /// One value.
    Value(Single),
    /// A list, or blocks.
    List(Box<Shape>),
    /// A table with these keys and no other.
    Table {
        /// What tables of this kind are called; they share what is said of their keys.
        name: &'static str,
        /// Each key with what it may be.
        keys: Vec<(&'static str, Shape)>,
    },
    /// Sections with names of the operator's choice.
    Sections {
        /// The regular expression that names match.
        pattern: &'static str,
        /// Why a name is refused.
        refuse: fn(&str) -> Option<Refusal>,
        /// What each section is.
        section: Box<Shape>,
    },
    /// Sections with names out of a list.
    Choices {
        /// The names.
        words: Vec<&'static str>,
        /// Why a name is refused.
        refuse: fn(&str) -> Option<Refusal>,
        /// What each section is.
        section: Box<Shape>,
    },
}

/// What one value may be.
#[derive(Clone, Copy, Debug)]
pub struct Single {
    /// Its schema, which may refuse less.
    pub schema: fn() -> Value,
    /// Why a value is refused.
    pub refuse: fn(&DeValue<'_>) -> Option<Refusal>,
}

/// What the file is read into.
pub trait Shaped {
    /// What may stand in the file for it.
    fn shape() -> Shape;
}

impl<T: Leaf> Shaped for T {
    fn shape() -> Shape {
        Shape::Value(Single { schema: T::schema, refuse: types::refuse::<T> })
    }
}

impl<T: Shaped> Shaped for Spanned<T> {
    fn shape() -> Shape {
        T::shape()
    }
}

impl<T: Shaped> Shaped for Option<T> {
    fn shape() -> Shape {
        T::shape()
    }
}

impl<T: Shaped> Shaped for Vec<T> {
    fn shape() -> Shape {
        Shape::List(Box::new(T::shape()))
    }
}

impl<T: Shaped> Shaped for BTreeMap<Spanned<SectionName>, T> {
    fn shape() -> Shape {
        let refuse = |name: &str| SectionName::text(name).err();
        Shape::Sections { pattern: SectionName::PATTERN, refuse, section: Box::new(T::shape()) }
    }
}

impl<W: Words, T: Shaped> Shaped for BTreeMap<Spanned<Choice<W>>, T> {
    fn shape() -> Shape {
        let words = W::words().into_iter().map(|(word, _)| word).collect();
        let refuse = |name: &str| Choice::<W>::text(name).err();
        Shape::Choices { words, refuse, section: Box::new(T::shape()) }
    }
}

/// The schema, in draft 7, and of that what drafts 4 to 2020-12 read alike, since editors differ.
pub fn schema() -> Value {
    let shape = File::shape();
    let mut kinds = BTreeMap::new();
    note_kinds(&shape, String::new(), &mut kinds);
    let said = Said { entries: complete::entries(), kinds };
    let mut schema = said.schema(&shape, "");
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!("xspgate.toml");
    schema["description"] = json!("The configuration of xspgate, an edge failover gateway for Cisco BroadWorks.");
    schema
}

/// The kind of table that each section is.
type Kinds = BTreeMap<String, &'static str>;

fn note_kinds(shape: &Shape, section: String, kinds: &mut Kinds) {
    match shape {
        Shape::Value(_) => {}
        Shape::List(element) => note_kinds(element, section, kinds),
        Shape::Sections { section: table, .. } | Shape::Choices { section: table, .. } => {
            note_kinds(table, below(&section, "NAME"), kinds);
        }
        Shape::Table { name, keys } => {
            keys.iter().for_each(|(key, shape)| note_kinds(shape, below(&section, key), kinds));
            kinds.insert(section, name);
        }
    }
}

fn below(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

/// What the complete file says.
struct Said {
    entries: Vec<Entry>,
    kinds: Kinds,
}

impl Said {
    /// The schema of what stands at `path`: a section's, as headers have it.
    fn schema(&self, shape: &Shape, path: &str) -> Value {
        let closed = |key: &str, members: Map<String, Value>| json!({"type": "object", key: members, "additionalProperties": false});
        let mut schema = match shape {
            Shape::Value(single) => return (single.schema)(),
            Shape::List(element) => return json!({"type": "array", "items": self.schema(element, path)}),
            Shape::Table { keys, .. } => closed(
                "properties",
                keys.iter().map(|(key, shape)| ((*key).to_owned(), self.key(shape, path, key))).collect(),
            ),
            Shape::Sections { pattern, section, .. } => {
                let table = self.schema(section, &below(path, "NAME"));
                closed("patternProperties", [(format!("^{pattern}$"), table)].into_iter().collect())
            }
            Shape::Choices { words, section, .. } => {
                let table = self.schema(section, &below(path, "NAME"));
                closed("properties", words.iter().map(|name| ((*name).to_owned(), table.clone())).collect())
            }
        };
        if let Some(about) = self.about_section(path) {
            schema["description"] = json!(about);
        }
        schema
    }

    fn key(&self, shape: &Shape, section: &str, key: &str) -> Value {
        let path = below(section, key);
        let mut schema = self.schema(shape, &path);
        let about = self.about_section(&path).or_else(|| {
            let mut entries = self.of(section, key);
            entries.find(|entry| !entry.about.is_empty()).map(|entry| entry.about.as_str())
        });
        if let Some(about) = about {
            schema["description"] = json!(about);
        }
        if let Some(default) = self.of(section, key).find(|entry| entry.standing == Standing::Default) {
            schema["default"] = json!(default.value());
        }
        let examples = self.of(section, key).filter(|entry| entry.standing != Standing::Default);
        let examples: Vec<_> = examples.filter_map(Entry::value).collect();
        if !examples.is_empty() {
            schema["examples"] = json!(examples);
        }
        schema
    }

    /// What is said of a section, or of those that stand below it.
    fn about_section(&self, path: &str) -> Option<&str> {
        let named = below(path, "NAME");
        let mut headers = self.entries.iter().filter(|entry| entry.key.is_none() && !entry.about.is_empty());
        headers.find(|entry| [path, &named].contains(&entry.section())).map(|entry| entry.about.as_str())
    }

    /// A key's entries, those of this very section before those of others of its kind.
    fn of<'a>(&'a self, section: &'a str, key: &'a str) -> impl Iterator<Item = &'a Entry> {
        let entries = move |here: bool| {
            self.entries.iter().filter(move |entry| {
                let kind = |section| self.kinds.get(section);
                entry.key == Some(key) && (entry.section() == section) == here && kind(entry.section()) == kind(section)
            })
        };
        entries(true).chain(entries(false))
    }
}
