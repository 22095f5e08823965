//! Names of sections, one or more. Separate from other names, because it is the one value that is either a string or a list.

use std::fmt;

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::json;
use toml::de::DeValue;

use super::name::SectionName;
use super::{Leaf, Refusal, found};
use crate::config::schema::{Shape, Shaped, Single};

const EXPECTED: &str = "a name, or a list of names";

/// One name, or a list of names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize))]
pub struct Names(pub Vec<SectionName>);

impl<'de> serde::Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Names, E> {
                SectionName::text(text).map(|name| Names(vec![name])).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}

impl Shaped for Names {
    fn shape() -> Shape {
        let schema = || {
            let name = SectionName::schema();
            json!({"anyOf": [name, {"type": "array", "items": name}]})
        };
        Shape::Value(Single { schema, refuse })
    }
}

fn refuse(value: &DeValue<'_>) -> Option<Refusal> {
    match value {
        DeValue::String(text) => SectionName::text(text).err(),
        DeValue::Array(list) => list.iter().find_map(|element| super::refuse::<SectionName>(element.get_ref())),
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Table(_) => {
            Some(Refusal::new(format!("expected {EXPECTED}, found {}", found(value))))
        }
    }
}
