//! The values of the file's keys: newtypes that nonsense can't become while TOML is read, so that every refusal has line,
//! column and caret. Separate from `file`, because a value's grammar doesn't depend on the key that holds it.

pub mod amount;
pub mod choice;
pub mod collector;
pub mod name;
pub mod names;
pub mod network;
pub mod oid;
pub mod path;
pub mod suite;

use std::fmt;
use std::marker::PhantomData;

use serde_json::{Value, json};
use toml::Spanned;
use toml::de::DeValue;

/// Why a value is refused, and what would be right. Crosses other crates as one text, see [`Refusal::split`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    message: String,
    help: Option<String>,
}

/// Separates message and help; no message holds it, since quoted input is escaped.
const SEPARATOR: char = '\u{1f}';

impl Refusal {
    /// Says what is wrong.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    /// Says what would be right.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// Takes the text of another crate's error apart again: the message, and the help if there is one.
    pub fn split(text: &str) -> (&str, Option<&str>) {
        match text.split_once(SEPARATOR) {
            Some((message, help)) => (message, Some(help)),
            None => (text, None),
        }
    }
}

impl From<Refusal> for (String, Option<String>) {
    fn from(refusal: Refusal) -> Self {
        (refusal.message, refusal.help)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, "{SEPARATOR}{help}"),
            None => Ok(()),
        }
    }
}

/// A value that is written as one TOML string, integer or boolean.
pub trait Leaf: Sized {
    /// What is expected, with an example: `a duration such as "2s"`.
    fn expected() -> String;

    /// The JSON schema of such a value: it refuses nothing that is taken here, and much of what is not.
    fn schema() -> Value;

    /// Reads a string.
    fn text(text: &str) -> Result<Self, Refusal> {
        Err(wrong_type::<Self>(&format!("the string {}", quoted(text))))
    }

    /// Reads an integer.
    fn integer(number: i64) -> Result<Self, Refusal> {
        Err(wrong_type::<Self>(&format!("the integer {number}")))
    }

    /// Reads a number with a point.
    fn float(number: f64) -> Result<Self, Refusal> {
        Err(wrong_type::<Self>(&format!("the number {number}")))
    }

    /// Reads a boolean.
    fn boolean(value: bool) -> Result<Self, Refusal> {
        Err(wrong_type::<Self>(&format!("the boolean {value}")))
    }
}

/// The schema of a string that matches a regular expression, of the kind that all engines read alike.
fn matching(pattern: impl AsRef<str>) -> Value {
    json!({"type": "string", "pattern": format!("^({})$", pattern.as_ref())})
}

/// The schema of a string out of a list.
fn one_of<T: Into<Value>>(words: impl IntoIterator<Item = T>) -> Value {
    json!({"type": "string", "enum": words.into_iter().map(Into::into).collect::<Vec<Value>>()})
}

fn wrong_type<T: Leaf>(found: &str) -> Refusal {
    Refusal::new(format!("expected {}, found {found}", T::expected()))
}

/// Input as it is shown in a message: in quotes, escaped, and not longer than a line.
pub fn quoted(text: &str) -> String {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Reads a [`Leaf`] from any format that knows its own types.
pub fn leaf<'de, T: Leaf, D: serde::Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(LeafVisitor(PhantomData))
}

struct LeafVisitor<T>(PhantomData<T>);

impl<T: Leaf> serde::de::Visitor<'_> for LeafVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&T::expected())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        T::text(text).map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<T, E> {
        T::integer(number).map_err(E::custom)
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<T, E> {
        T::float(number).map_err(E::custom)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<T, E> {
        T::boolean(value).map_err(E::custom)
    }
}

/// Why a TOML value is no `T`; `None`: it is one.
pub(super) fn refuse<T: Leaf>(value: &DeValue<'_>) -> Option<Refusal> {
    let wrong_type = || Some(wrong_type::<T>(&found(value)));
    match value {
        DeValue::String(text) => T::text(text).err(),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => T::integer(number).err(),
            Err(_) => wrong_type(),
        },
        DeValue::Float(number) => match number.as_str().parse() {
            Ok(number) => T::float(number).err(),
            Err(_) => wrong_type(),
        },
        DeValue::Boolean(value) => T::boolean(*value).err(),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => wrong_type(),
    }
}

/// A TOML value as it is called where another one belongs.
pub(super) fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string {}", quoted(text)),
        DeValue::Integer(number) => format!("the integer {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(value) => format!("the boolean {value}"),
        DeValue::Datetime(date) => format!("the date {date}"),
        DeValue::Array(array) => match array.first().map(Spanned::get_ref) {
            Some(DeValue::Table(_)) => "a list of tables".to_owned(),
            Some(_) | None => "a list".to_owned(),
        },
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// Makes [`Leaf`] types readable by serde, and by tests writable.
macro_rules! leaves {
    ($($type:ty),+ $(,)?) => {$(
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::config::types::leaf(deserializer)
            }
        }
        #[cfg(test)]
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bool(true)
            }
        }
    )+};
}
pub(crate) use leaves;
