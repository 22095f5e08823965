//! The schema against the keys that there are, the files that are right, and the mistakes that it can see.

use std::collections::BTreeSet;

use boon::{Compiler, Draft, SchemaIndex, Schemas};
use serde_json::Value;

use super::super::complete::COMPLETE;
use super::super::schema::schema;
use super::complete::{keys, uncommented};
use super::mistakes::{BASE, mistakes};
use super::{EXAMPLE, said};

/// The schema, in a validator that is none of ours.
struct Judge {
    schemas: Schemas,
    schema: SchemaIndex,
}

impl Judge {
    fn new(schema: Value) -> Self {
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("file:///xspgate.schema.json", schema).unwrap();
        let schema = compiler.compile("file:///xspgate.schema.json", &mut schemas);
        let schema = schema.unwrap_or_else(|error| panic!("{error:#}"));
        Self { schemas, schema }
    }

    /// What is wrong with a file; empty: nothing.
    fn said(&self, text: &str) -> String {
        let file: Value = toml::from_str(text).unwrap();
        self.schemas.validate(&file, self.schema).err().map(|error| format!("{error:#}")).unwrap_or_default()
    }
}

#[test]
fn each_key_is_in_the_schema_and_no_other() {
    let mut found = BTreeSet::new();
    collect("", &schema(), &mut found);
    let expected: BTreeSet<String> = keys().into_keys().collect();
    assert_eq!(found, expected);
}

/// The keys of a schema, by their paths with names left out.
fn collect(path: &str, schema: &Value, found: &mut BTreeSet<String>) {
    if let Some(items) = schema.get("items").filter(|items| items.get("properties").is_some()) {
        return collect(&format!("{path}[]"), items, found);
    }
    for (name, schema) in
        schema["properties"].as_object().into_iter().chain(schema["patternProperties"].as_object()).flatten()
    {
        let named = name.starts_with('^') || path == ".https[].interface";
        let path = format!("{path}.{}", if named { "NAME" } else { name });
        found.insert(path.clone());
        collect(&path, schema, found);
    }
}

#[test]
fn each_key_and_each_section_is_explained() {
    fn unexplained(path: &str, schema: &Value, found: &mut Vec<String>) {
        for members in ["properties", "patternProperties"] {
            for (key, member) in schema[members].as_object().into_iter().flatten() {
                if member.get("description").is_none() {
                    found.push(format!("{path}.{key}"));
                }
                unexplained(&format!("{path}.{key}"), member, found);
                unexplained(&format!("{path}.{key}[]"), &member["items"], found);
            }
        }
    }
    let mut found = Vec::new();
    unexplained("", &schema(), &mut found);
    assert!(found.is_empty(), "no comment above these in config/xspgate.toml: {found:#?}");
}

#[test]
fn what_the_complete_file_says_is_in_the_schema() {
    let schema = schema();
    let tries = &schema["properties"]["farm"]["patternProperties"]["^[A-Za-z0-9._-]{1,64}$"]["properties"]["failover"]
        ["properties"]["tries"];
    let expected = serde_json::json!(
        {"type": "integer", "minimum": 1, "maximum": 10, "default": 3, "description": "Attempts for one request: 1 to 10."}
    );
    assert_eq!(*tries, expected);
    let tls = &schema["properties"]["cti"]["items"]["properties"]["tls"]["properties"];
    assert_eq!(tls["min_version"]["enum"], serde_json::json!(["1.2", "1.3"]));
    assert_eq!(tls["cipher_suites"]["default"].as_array().unwrap().len(), 9);
    assert_eq!(schema["properties"]["state_dir"]["examples"], serde_json::json!(["/var/lib/xspgate"]));
}

#[test]
fn the_schema_and_its_defaults_are_right_themselves() {
    fn judge(path: &str, schema: &Value, checked: &mut usize) {
        let judge_value = |what: &Value| {
            let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
            compiler.set_default_draft(Draft::V7);
            compiler.add_resource("file:///part.json", schema.clone()).unwrap();
            let part = compiler.compile("file:///part.json", &mut schemas).unwrap();
            if let Err(error) = schemas.validate(what, part) {
                panic!("{path}: {error:#}");
            }
        };
        for value in schema.get("default").into_iter().chain(schema["examples"].as_array().into_iter().flatten()) {
            judge_value(value);
            *checked += 1;
        }
        for members in ["properties", "patternProperties"] {
            for (key, member) in schema[members].as_object().into_iter().flatten() {
                judge(&format!("{path}.{key}"), member, checked);
                judge(&format!("{path}.{key}[]"), &member["items"], checked);
            }
        }
    }
    let mut checked = 0;
    judge("", &schema(), &mut checked);
    assert!(checked > 100, "{checked}");
}

#[test]
fn files_that_are_right_are_right_by_the_schema() {
    let judge = Judge::new(schema());
    for text in [EXAMPLE, COMPLETE, BASE, &uncommented(&["# "]), &uncommented(&["# e.g. ", "# "])] {
        assert_eq!(judge.said(text), "");
    }
}

#[test]
fn the_configurations_for_deployment_are_right_by_the_schema() {
    let judge = Judge::new(schema());
    for text in [
        include_str!("../../../deploy/debian/xspgate.toml"),
        include_str!("../../../deploy/container/xspgate.toml"),
        include_str!("../../../deploy/kubernetes/xspgate.toml"),
    ] {
        assert_eq!(judge.said(text), "");
    }
}

#[test]
fn the_schema_refuses_nothing_that_is_taken() {
    let judge = Judge::new(schema());
    for (title, text, told) in mistakes().filter(|(_, text, _)| toml::from_str::<Value>(text).is_ok()) {
        if !told.starts_with("error: ") {
            assert_eq!(judge.said(&text), "", "{title}");
        }
    }
    let values = [
        ("xspgate.example.com", r#"SRV.Example.com."#),
        ("192.0.2.1:443", "[fe80::1%2]:443"),
        ("192.0.2.1:443", "[::]:443"),
    ];
    for (before, after) in values {
        let text = BASE.replacen(before, after, 1);
        assert_eq!((said(&text), judge.said(&text)), Default::default(), "{after}");
    }
}

#[test]
fn the_mistakes_that_a_schema_can_see_are_seen() {
    let judge = Judge::new(schema());
    let seen = [
        "a duration without a unit",
        "a duration that is none",
        "a size in the wrong unit",
        "no tries at all",
        "a number in quotes",
        "a port alone",
        "an address without a port",
        "a name to listen on",
        "a wildcard host",
        "a wildcard for a client",
        "a URL for a host",
        "an SRV name as an A name",
        "a plain name as an SRV name",
        "a published range misspelt",
        "a published range as a proxy",
        "an interface misspelt",
        "CTI among the interfaces",
        "an OpenSSL name for a suite",
        "a suite of Cisco's list that rustls lacks",
        "a version below 1.2",
        "a version without quotes",
        "an unknown key",
        "a key of another section",
        "a section misspelt",
        "a section where blocks belong",
        "blocks where a section belongs",
        "a section without its name",
        "one value where a list belongs",
        "a list where one value belongs",
    ];
    for (title, text, _) in mistakes().filter(|(title, ..)| seen.contains(title)) {
        assert_ne!(judge.said(&text), "", "{title}");
    }
    let titles: Vec<_> = mistakes().map(|(title, ..)| title).collect();
    assert!(seen.iter().all(|title| titles.contains(title)), "none of {titles:?}");
}
