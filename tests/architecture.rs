//! What keeps the sources in shape, held against the sources themselves: imports point one way, the pure modules stay
//! pure, each foreign crate that could spread has one home, and no file grows without end. Tests are left out of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The library's modules. Each may import from those that stand before it, and from no other.
const ORDER: &[&str] = &[
    "http1",
    "proxy_protocol",
    "broadworks",
    "policy",
    "files",
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
    "registry",
    "processes",
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
    ("webpki", &["tls/anchors", "tls/clients", "tls/client/verifier", "tls/refusal", "tls/setup", "tls/certs"]),
    ("x509_parser", &["tls/peer", "tls/portrait", "broadworks/cti", "sim/cti"]),
    (
        "rustix",
        &["app/control/caller", "files", "handover/link", "processes", "proxy/listener", "telemetry/access/file"],
    ),
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
    let table = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/waits.md"))
        .expect("it is a text");
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

/// The TOML crate's errors have no kind, and its next version may word them in another way. One file reads their words, and
/// its test holds that they are these; another one shows them as they are.
#[test]
fn words_of_toml_errors_are_read_in_one_place() {
    let sources = sources();
    let calls = |source: &Source| source.code.matches(".message()").count();
    let config = sources.iter().filter(|source| source.module() == "config" && calls(source) > 0);
    let reading: BTreeSet<_> = config.map(|source| (source.path.as_str(), calls(source))).collect();
    assert_eq!(reading, [("config/recover", 1), ("config/syntax", 2)].into());
}

/// Which modules name a rule, and whether tests are named after it.
#[derive(Debug, Default)]
struct Rule {
    modules: BTreeSet<String>,
    is_tested: bool,
}

/// Every rule that is cited is on the page for those who want to know it; what the page says of its code and tests is true.
#[test]
fn every_rule_that_is_cited_is_on_the_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/rules.md")).expect("it is a text");
    let rules: BTreeMap<String, Rule> = page.split("\n- **R-").skip(1).filter_map(rule).collect();
    let cited = cited(root);
    let mut faults = Vec::new();
    for (id, citing) in &cited {
        let Some(rule) = rules.get(id) else {
            faults.push(format!("{id} is not in docs/rules.md"));
            continue;
        };
        if citing.is_tested != rule.is_tested {
            faults.push(format!("{id}: tests are named after it: {}; docs/rules.md says otherwise", citing.is_tested));
        }
    }
    for (id, rule) in &rules {
        let citing = cited.get(id).map(|rule| &rule.modules);
        let strange = rule.modules.iter().filter(|module| !citing.is_some_and(|citing| citing.contains(*module)));
        faults.extend(strange.map(|module| format!("{id}: nothing in src/{module} names it; docs/rules.md says so")));
    }
    assert_none(&faults);
}

/// Every row of the page on what is accepted names a test, and there is one of that name.
#[test]
fn what_is_accepted_is_tested() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/reference/accepted.md")).expect("it is a text");
    let mut found = Vec::new();
    ["src", "tests"].iter().for_each(|place| texts(&root.join(place), &mut found));
    let code: String = found.iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what "));
    let rows: Vec<_> = rows.collect();
    assert!(rows.len() > 30, "{} rows", rows.len());
    let is_tested = |row: &&str| {
        let test = row.rsplit('`').nth(1).unwrap_or_default();
        row.ends_with("` |") && code.contains(&format!("fn {test}()"))
    };
    assert_none(&rows.into_iter().filter(|row| !is_tested(row)).map(str::to_owned).collect::<Vec<_>>());
}

/// One of the page, from behind `R-` on.
fn rule(text: &str) -> Option<(String, Rule)> {
    let (id, text) = text.split_once("**")?;
    let text = text.split("\n\n").next().unwrap_or_default();
    let code = text.split_once("\n  Code: ").map_or("", |(_, code)| code.split('.').next().unwrap_or_default());
    let modules = code.split(", ").filter(|module| !module.is_empty()).map(|module| module.replace('`', "")).collect();
    let tests = format!("Tests: `r_{}`", id.to_lowercase().replace('-', "_"));
    Some((format!("R-{id}"), Rule { modules, is_tested: text.contains(&tests) }))
}

/// The ids that stand behind `prefix`: a word and a number, with `between` between the two.
fn ids(text: &str, prefix: &str, between: char) -> BTreeSet<String> {
    let id = |rest: &str| {
        let (word, rest) = rest.split_once(between)?;
        let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let is_id = word.chars().all(|c| c.is_ascii_alphabetic()) && !word.is_empty() && !number.is_empty();
        is_id.then(|| format!("R-{}-{number}", word.to_uppercase()))
    };
    text.split(prefix).skip(1).filter_map(id).collect()
}

/// Every file at `path` and below.
fn texts(path: &Path, found: &mut Vec<PathBuf>) {
    match fs::read_dir(path) {
        Ok(entries) => entries.for_each(|entry| texts(&entry.expect("an entry of that folder").path(), found)),
        Err(_) => found.push(path.to_owned()),
    }
}

/// The rules that are named anywhere, and by which modules.
fn cited(root: &Path) -> BTreeMap<String, Rule> {
    let mut cited: BTreeMap<String, Rule> = BTreeMap::new();
    for place in ["src", "tests", "config", "deploy", "benches", "fuzz", "README.md", "CONTRIBUTING.md"] {
        let mut found = Vec::new();
        texts(&root.join(place), &mut found);
        for path in found {
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let below = path.strip_prefix(root.join("src")).ok().and_then(|path| path.components().next());
            let module = below.map(|module| module.as_os_str().to_string_lossy().replace(".rs", ""));
            for id in ids(&text, "R-", '-') {
                cited.entry(id).or_default().modules.extend(module.clone());
            }
            for id in ids(&text, "fn r_", '_') {
                let rule = cited.entry(id).or_default();
                rule.modules.extend(module.clone());
                rule.is_tested = true;
            }
        }
    }
    cited
}

#[test]
fn files_stay_short() {
    let long = sources().into_iter().filter(|source| source.lines > LONGEST);
    assert_none(&long.map(|source| format!("{}: {} lines", source.path, source.lines)).collect::<Vec<_>>());
}

/// The arguments of a macro, given what follows its opening parenthesis.
fn arguments(text: &str) -> Vec<&str> {
    let (mut found, mut start, mut depth, mut is_text, mut is_escaped) = (Vec::new(), 0, 1, false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_text => is_escaped = true,
            '"' => is_text = !is_text,
            _ if is_text => {}
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 1 => {
                found.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
        if depth == 0 {
            found.push(text[start..at].trim());
            break;
        }
    }
    found
}

#[test]
fn the_fields_of_messages_are_listed() {
    const DOCUMENT: &str = include_str!("../docs/reference/log.md");
    let table = DOCUMENT.lines().skip_while(|line| !line.starts_with("| message's field |")).skip(2);
    let rows = table.take_while(|line| line.starts_with('|')).filter_map(|row| row.split('|').nth(1));
    let listed: BTreeSet<&str> = rows.flat_map(|names| names.split('`').skip(1).step_by(2)).collect();
    let sources = sources();
    let mut used = BTreeSet::new();
    for level in ["trace!(", "debug!(", "info!(", "warn!(", "error!("] {
        let macros = sources.iter().flat_map(|source| source.code.split(level).skip(1));
        for arguments in macros.map(arguments) {
            // What follows the words is put into them.
            let fields = arguments.into_iter().take_while(|argument| !argument.starts_with('"'));
            used.extend(
                fields.map(|field| field.split(" = ").next().unwrap_or_default().trim_start_matches(['%', '?'])),
            );
        }
    }
    assert_eq!(used, listed, "docs/reference/log.md lists the fields of messages, each once");
    for frame in ["time", "level", "target", "event", "message"] {
        assert!(!used.contains(frame), "{frame} is every line's");
    }
}
