//! The complete file against the defaults and against the keys that there are.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::super::complete::{COMPLETE, sections_with};
use super::super::file::File;
use super::{model, said};

/// The file with the lines in force that hold a default, or an example too.
pub(super) fn uncommented(prefixes: &[&str]) -> String {
    let mut within_list = false;
    let lines = COMPLETE.lines().map(|line| {
        let assigns = |rest: &str| {
            let name = rest.split_once(" = ").map_or("", |(name, _)| name);
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        };
        let found = prefixes.iter().find_map(|prefix| line.strip_prefix(prefix).filter(|rest| assigns(rest)));
        let found = found.or(if within_list { line.strip_prefix("# ") } else { None });
        if let Some(rest) = found {
            within_list = rest.ends_with('[') || (within_list && !rest.starts_with(']'));
        }
        found.unwrap_or(line)
    });
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_complete_file_has_no_problem() {
    assert_eq!(said(COMPLETE), "");
}

#[test]
fn the_defaults_that_it_names_are_the_defaults() {
    let named = uncommented(&["# "]);
    assert!(named.lines().count() == COMPLETE.lines().count() && named != COMPLETE);
    assert_eq!(said(&named), "");
    assert_eq!(model(&named), model(COMPLETE));
}

#[test]
fn it_names_each_key_once_in_force_and_no_other() {
    let seen = keys();
    let missing: Vec<_> = seen.iter().filter(|(_, present)| !**present).map(|(key, _)| key).collect();
    assert!(missing.is_empty(), "config/xspgate.toml lacks {missing:?}");
    assert!(seen.len() > 100, "{}", seen.len());
}

/// Every key that there is, by its path with names left out, and whether the complete file has it.
pub(super) fn keys() -> BTreeMap<String, bool> {
    let all = uncommented(&["# e.g. ", "# "]);
    let file = <File as Deserialize>::deserialize(toml::Deserializer::parse(&all).unwrap()).unwrap();
    let mut seen = BTreeMap::new();
    collect("", &serde_json::to_value(&file).unwrap(), &mut seen);
    seen
}

/// Whether a key has a value anywhere, by its path with names left out.
fn collect(path: &str, value: &Value, seen: &mut BTreeMap<String, bool>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let named =
                    ["certificate", "trust", "farm", "https[].interface"].contains(&path.trim_start_matches('.'));
                let path = format!("{path}.{}", if named { "NAME" } else { key });
                let absent = [Value::Null, Value::Array(vec![]), Value::Object(Default::default())];
                let sections = ["certificate", "trust", "farm", "https", "cti", "passthrough", "site", "interface"];
                let present = !absent[..if sections.contains(&key.as_str()) { 3 } else { 1 }].contains(value);
                *seen.entry(path.clone()).or_default() |= present;
                collect(&path, value, seen);
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| collect(&format!("{path}[]"), element, seen)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn a_key_in_the_wrong_place_is_told_its_section() {
    assert_eq!(sections_with("tries"), ["`[farm.NAME.failover]`", "`[https.interface.NAME.failover]`"]);
    assert_eq!(sections_with("key_file"), ["`[affinity]`"]);
    assert_eq!(sections_with("state_dir"), ["the top of the file"]);
    assert_eq!(sections_with("name"), ["`[[farm.NAME.site]]`"]);
    assert!(sections_with("nothing").is_empty());
}
