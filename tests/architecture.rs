//! What keeps the sources in shape, held against the sources themselves: imports point one way, the pure modules stay
//! pure, each foreign crate that could spread has one home, and no file grows without end. Tests are left out of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The library's modules. Each may import from those that stand before it, and from no other.
const ORDER: [&str; 27] = [
    "http1",
    "proxy_protocol",
    "broadworks",
    "policy",
    "config",
    "control",
    "lock",
    "alarm",
    "drain",
    "supervisor",
    "tcp",
    "telemetry",
    "handover",
    "tls",
    "renewal",
    "discover",
    "farm",
    "upstream",
    "doctor",
    "stream",
    "proxy",
    "worker",
    "core",
    "admin",
    "app",
    "sim",
    "cli",
];

/// They decide and parse, and do nothing else: no sockets, clocks, locks or logs.
const PURE: [&str; 4] = ["http1", "proxy_protocol", "broadworks", "policy"];
const IMPURE: [&str; 10] = [
    "tokio",
    "hyper",
    "rustls",
    "tracing",
    "parking_lot",
    "std::sync::Mutex",
    "std::net::TcpStream",
    "Instant::now",
    "SystemTime",
    "rand::rng",
];

/// What only these modules may name.
const HOMES: [(&str, &[&str]); 11] = [
    ("hickory_resolver", &["discover/dns"]),
    ("hickory_proto", &["sim/dns"]),
    ("hyper", &["admin", "telemetry/traces/export", "cli/demo", "sim"]),
    ("parking_lot", &["lock", "sim", "cli/demo"]),
    ("prometheus", &["telemetry/metrics"]),
    ("prost", &["telemetry/traces"]),
    ("webpki", &["tls/anchors", "tls/clients", "tls/client/verifier", "tls/setup", "tls/certs"]),
    ("x509_parser", &["tls/peer", "tls/portrait", "broadworks/cti", "sim/cti"]),
    ("rustix", &["handover/link"]),
    ("rcgen", &["sim/pki", "tls/issue"]),
    ("toml", &["config", "sim/site"]),
];

/// Lines of a file, its tests aside.
const LONGEST: usize = 400;

struct Source {
    /// `proxy/forward`, without the ending.
    path: String,
    /// Lines of code and comments, tests aside.
    lines: usize,
    /// The lines without those that are nothing but a comment.
    code: String,
}

impl Source {
    fn module(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }

    fn is_in(&self, home: &str) -> bool {
        self.path.strip_prefix(home).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The modules that stand behind `crate::`, alone or in braces.
    fn imports(&self) -> Vec<&str> {
        let paths = self.code.split("crate::").skip(1);
        let lists = paths.map(|path| match path.strip_prefix('{') {
            Some(list) => list
                .split('}')
                .next()
                .unwrap_or_default()
                .split(',')
                .map(str::trim)
                .filter(|path| !path.is_empty())
                .collect(),
            None => vec![path],
        });
        let name = |path: &str| path.find(|character: char| !character.is_alphanumeric() && character != '_');
        lists.flatten().map(|path| &path[..name(path).unwrap_or(path.len())]).collect()
    }

    /// Whether a path in the code begins with `name`, or holds it as a whole word.
    fn names(&self, name: &str) -> bool {
        let word = |character: char| character.is_alphanumeric() || character == '_';
        self.code.match_indices(name).any(|(at, _)| {
            let (before, after) = (&self.code[..at], &self.code[at + name.len()..]);
            let ends = name.contains("::") && after.starts_with(['(', ';', ' ']);
            !before.ends_with(word) && (ends || after.starts_with("::"))
        })
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry of that folder").path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        // Test modules that have files of their own.
        if matches!(name, "tests" | "fixture" | "fuzz") {
            continue;
        }
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&root, &mut found);
    let source = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("a source is text");
        // Tests stand at the end of a file.
        let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let path = path.strip_prefix(&root).expect("below the root").with_extension("");
        let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        Source { path: path.display().to_string(), lines: text.lines().count(), code: code.join("\n") }
    };
    found.iter().map(source).collect()
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn imports_point_one_way() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| !matches!(source.module(), "lib" | "main")) {
        let rank = |module: &str| ORDER.iter().position(|known| *known == module);
        let Some(own) = rank(source.module()) else {
            faults.push(format!("{}: the module has no place in ORDER", source.path));
            continue;
        };
        for imported in source.imports() {
            let forbidden = rank(imported).is_none_or(|imported| imported > own);
            if forbidden || imported == "sim" && !matches!(source.module(), "sim" | "cli") {
                faults.push(format!("{} may not import {imported:?}", source.path));
            }
        }
    }
    assert_none(&faults);
}

#[test]
fn pure_modules_are_pure() {
    let sources = sources();
    let pure = sources.iter().filter(|source| PURE.contains(&source.module()));
    let named = pure.flat_map(|source| IMPURE.iter().filter(|name| source.names(name)).map(move |name| (source, name)));
    assert_none(&named.map(|(source, name)| format!("{} names {name}", source.path)).collect::<Vec<_>>());
}

#[test]
fn foreign_crates_stay_at_home() {
    let mut faults = Vec::new();
    for (name, homes) in HOMES {
        let sources = sources();
        let naming: Vec<&Source> = sources.iter().filter(|source| source.names(name)).collect();
        assert!(!naming.is_empty(), "nobody names {name}: take it off the list");
        let strays = naming.iter().filter(|source| !homes.iter().any(|home| source.is_in(home)));
        faults.extend(strays.map(|source| format!("{} names {name}", source.path)));
    }
    assert_none(&faults);
}

/// The one kind of lock is the only one, and each that there is stands in the table for those who change the code.
#[test]
fn every_lock_is_listed() {
    let sources = sources();
    let gateway = sources.iter().filter(|source| !["lock", "sim", "cli/demo"].iter().any(|home| source.is_in(home)));
    let (mut faults, mut locks) = (Vec::new(), BTreeSet::new());
    for source in gateway {
        let others = ["Mutex", "RwLock", "Condvar"].into_iter();
        let other = others.filter(|other| {
            source.code.contains(&format!("{other}<")) || source.code.contains(&format!("{other}::new("))
        });
        faults.extend(other.map(|other| format!("{} has a {other}", source.path)));
        let guarded = source.code.split("Locked<").skip(1).filter_map(inside);
        locks.extend(guarded.map(|guarded| format!("| `{}` | `{guarded}` |", source.path)));
    }
    assert_none(&faults);
    let table = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/waits.md")).expect("it is a text");
    let rows =
        table.split("\n## Locks\n").nth(1).expect("it has that section").split("\n## ").next().unwrap_or_default();
    let row =
        |row: &str| row.starts_with("| `").then(|| row.split(" | ").take(2).collect::<Vec<_>>().join(" | ") + " |");
    assert_eq!(rows.lines().filter_map(row).collect::<BTreeSet<_>>(), locks);
}

/// What stands before the bracket that ends what has begun.
fn inside(code: &str) -> Option<&str> {
    let mut depth = 1;
    let end = code.find(|character: char| {
        depth += match character {
            '<' | '(' => 1,
            '>' | ')' => -1,
            _ => 0,
        };
        depth == 0
    })?;
    Some(&code[..end])
}

#[test]
fn files_stay_short() {
    let long = sources().into_iter().filter(|source| source.lines > LONGEST);
    assert_none(&long.map(|source| format!("{}: {} lines", source.path, source.lines)).collect::<Vec<_>>());
}
