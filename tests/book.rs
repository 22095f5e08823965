//! The book against the program: configurations and commands are checked, tables are held against what there is, and links lead
//! somewhere. It is apart from the other tests because it needs no gateway that runs.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::error::ErrorKind;
use xspgate::cli::check::load;
use xspgate::cli::guide::{self, Guide};
use xspgate::config::model::LogFormat;
use xspgate::doctor::finding::{Finding, Report, Subject};
use xspgate::policy::fault::AttemptEnd;
use xspgate::sim::pki::Pki;
use xspgate::telemetry::access::{Access, Attempted, Connection, Event, Opened, write_line};
use xspgate::telemetry::metrics::TABLE;

/// The documents that are written for users and contributors, by their paths from the project's root.
fn documents() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("docs")];
    let named = ["", "benches", "benches/side_by_side", "certs", "config", "deploy", "fuzz", "tests"];
    let mut paths: Vec<_> = named.map(|folder| root.join(folder).join("README.md")).into();
    paths.extend(["CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"].map(|name| root.join(name)));
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the book") {
            let path = entry.expect("an entry of that folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path.strip_prefix(root).expect("it is below the root").to_str().expect("a plain name").to_owned(), text)
    };
    paths.into_iter().map(read).collect()
}

/// The rows below the one table whose head begins with `head`, without it and the line under it.
fn rows(head: &str) -> Vec<String> {
    let documents = documents();
    let mut tables = documents.iter().filter(|(_, text)| text.lines().any(|line| line.starts_with(head)));
    let (path, text) = tables.next().unwrap_or_else(|| panic!("no table begins with {head}"));
    assert_eq!(tables.next().map(|(path, _)| path), None, "{path} has {head}, too");
    let table = text.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    table.take_while(|line| line.starts_with('|')).map(str::to_owned).collect()
}

/// What stands between fences in `text`: what the fence says, and the lines.
fn fenced(text: &str) -> Vec<(&str, String)> {
    let (mut found, mut open): (Vec<(&str, String)>, bool) = (Vec::new(), false);
    for line in text.lines() {
        match (line.trim_start().strip_prefix("```"), open) {
            (Some(_), true) => open = false,
            (Some(info), false) => {
                found.push((info.trim(), String::new()));
                open = true;
            }
            (None, true) => found.last_mut().expect("a fence is open").1.extend([line, "\n"]),
            (None, false) => {}
        }
    }
    found
}

/// The configuration that the README begins with; parts that the book shows go on from there.
fn base() -> String {
    let (_, readme) = documents().into_iter().find(|(path, _)| path == "README.md").expect("there is one");
    let (_, text) = fenced(&readme).into_iter().find(|(info, _)| *info == "toml").expect("a configuration");
    text
}

/// What `check` says of the configuration `text` beside generated certificates.
fn checked(text: &str) -> Result<Vec<String>, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let certs = folder.path().join("certs");
    fs::create_dir(&certs).expect("a folder for certificates");
    Pki::new().write(&certs, &["webex-cloud-xsp.example.com", "webex-app-xsp.example.com"]).expect("certificates");
    fs::write(folder.path().join("webex-ranges.txt"), "198.51.100.0/24\n").expect("ranges");
    let path = folder.path().join("xspgate.toml");
    fs::write(&path, text).expect("a configuration");
    let (loaded, _) = load(&path).map_err(|report| report.to_string())?;
    Ok(loaded.warnings.into_iter().map(|warning| warning.message).collect())
}

#[test]
fn the_readme_is_short_and_its_configuration_checks_clean() {
    let (_, readme) = documents().into_iter().find(|(path, _)| path == "README.md").expect("there is one");
    assert!(readme.lines().count() <= 150, "{} lines", readme.lines().count());
    assert!(base().lines().count() <= 40, "{} lines", base().lines().count());
    assert_eq!(checked(&base()), Ok(Vec::new()));
}

/// A fence says `toml` of what is added to the README's configuration, `toml complete` of what stands alone, and
/// `toml part` of what belongs to the part before it in its document, and `toml excerpt` of the pieces of one configuration.
#[test]
fn every_configuration_checks_clean() {
    let (base, mut count) = (base(), 0);
    for (path, text) in documents().iter().filter(|(path, _)| path != "README.md") {
        let (mut before, mut excerpts) = (base.clone(), String::new());
        let mut check = |whole: &str| {
            match checked(whole) {
                Ok(warnings) => assert_eq!(warnings, Vec::<String>::new(), "{path}:\n{whole}"),
                Err(report) => panic!("{path}:\n{report}\n{whole}"),
            }
            count += 1;
        };
        for (info, part) in fenced(text) {
            before = match info {
                "toml" => format!("{base}\n{part}"),
                "toml part" => format!("{before}\n{part}"),
                "toml complete" => part,
                "toml excerpt" => {
                    excerpts += &part;
                    continue;
                }
                _ => continue,
            };
            check(&before);
        }
        if !excerpts.is_empty() {
            check(&excerpts);
        }
    }
    assert!(count >= 5, "{count} parts");
}

/// The command lines of `text` that call `xspgate`: of fences for a shell, of indented blocks, and between backticks. A line
/// that ends in a backslash goes on in the next one.
fn calls(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let shell = ["", "sh", "console"];
    for (_, part) in fenced(text).into_iter().filter(|(info, _)| shell.contains(info)) {
        lines.extend(part.replace("\\\n", " ").lines().map(str::to_owned));
    }
    let indented = text.lines().filter_map(|line| line.strip_prefix("    "));
    lines.extend(indented.collect::<Vec<_>>().join("\n").replace("\\\n", " ").lines().map(str::to_owned));
    lines.extend(text.split('`').skip(1).step_by(2).map(str::to_owned));
    let call = |line: &String| {
        let line = line.trim_start_matches(['$', '#', ' ']);
        let line = line.strip_prefix("sudo ").unwrap_or(line);
        let line = line.strip_prefix("runuser -u xspgate -- ").unwrap_or(line);
        let line = line.split([';', '|', '>', '<', '&']).next().unwrap_or_default();
        line.starts_with("xspgate ").then(|| line.trim().to_owned())
    };
    lines.iter().filter_map(call).collect()
}

#[test]
fn every_command_of_the_program_is_one_that_it_takes() {
    let (mut faults, mut count) = (Vec::new(), 0);
    for (path, text) in documents().iter().filter(|(path, _)| path != "CHANGELOG.md") {
        for call in calls(text) {
            count += 1;
            let quoted = call.replace('\'', "\"");
            let words = quoted.split('"').enumerate().flat_map(|(at, part)| match at % 2 {
                0 => part.split_whitespace().filter(|word| *word != "...").map(str::to_owned).collect(),
                _ => vec![part.to_owned()],
            });
            let words: Vec<String> = words.map(|word| word.trim_end_matches("...").to_owned()).collect();
            let Err(error) = xspgate::cli::command().try_get_matches_from(&words) else { continue };
            // `xspgate ctl` alone names a command, and runs none; `--help` prints; FILE and $file stand for values.
            let capitals = |word: &String| word.len() > 2 && word.chars().all(|c| c.is_ascii_uppercase());
            let stands_for = |word: &String| capitals(word) || word.contains('$');
            let placeholder = error.kind() == ErrorKind::ValueValidation && words.iter().any(stands_for);
            let named = placeholder
                || matches!(
                    error.kind(),
                    ErrorKind::DisplayHelp
                        | ErrorKind::DisplayVersion
                        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                        | ErrorKind::MissingRequiredArgument
                        | ErrorKind::MissingSubcommand
                );
            if !named {
                faults.push(format!("{path}: {call}\n{error}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(count > 50, "{count}");
}

#[test]
fn every_part_for_a_shell_is_one() {
    let mut count = 0;
    for (path, text) in documents() {
        for (_, part) in fenced(&text).into_iter().filter(|(info, _)| *info == "sh") {
            let mut shell =
                Command::new("bash").arg("-n").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("bash");
            shell.stdin.take().expect("it is piped").write_all(part.as_bytes()).expect("bash reads");
            let said = shell.wait_with_output().expect("it ends");
            assert!(said.status.success(), "{path}:\n{part}\n{}", String::from_utf8_lossy(&said.stderr));
            count += 1;
        }
    }
    assert!(count > 20, "{count}");
}

/// A heading's anchor, as GitHub and mdBook make it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// `text` without what stands between fences and between backticks.
fn prose(text: &str) -> String {
    let (mut open, mut kept) = (false, String::new());
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            open = !open;
        } else if !open && !line.starts_with("    ") {
            kept.extend(line.split('`').step_by(2));
            kept.push('\n');
        }
    }
    kept
}

/// The targets of the links and pictures in `text`.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    let link = |rest: &str| rest.split_once(')').map(|(target, _)| target.to_owned());
    prose.split("](").skip(1).filter_map(link).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut faults = Vec::new();
    for (path, text) in documents() {
        let own = root.join(&path);
        for link in links(&text).into_iter().filter(|link| !link.starts_with("https://")) {
            let (file, part) = link.split_once('#').map_or((&*link, None), |(file, part)| (file, Some(part)));
            let file = if file.is_empty() { own.clone() } else { own.parent().expect("a folder").join(file) };
            let found = file.exists();
            let headed = |part: &str| {
                let text = fs::read_to_string(&file).unwrap_or_default();
                headings(&text).any(|heading| anchor(&heading) == part)
            };
            if !found || part.is_some_and(|part| !headed(part)) {
                faults.push(format!("{path}: {link}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// In the package, documents lie to each other as they do here.
#[test]
fn every_link_leads_somewhere_in_the_package() {
    let manifest: toml::Table = include_str!("../Cargo.toml").parse().expect("a manifest");
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().expect("a list").clone();
    let packed: Vec<(String, String)> = assets
        .iter()
        .filter_map(|asset| Some((asset[0].as_str()?.to_owned(), asset[1].as_str()?.to_owned())))
        .filter(|(_, to)| to.starts_with("usr/share/doc/xspgate/"))
        .collect();
    let is_packed = |path: &str| {
        let (folder, name) = path.rsplit_once('/').map_or(("", path), |(folder, name)| (folder, name));
        let to = format!("usr/share/doc/xspgate/{folder}");
        packed.iter().any(|(from, into)| {
            let (place, pattern) = from.rsplit_once('/').map_or(("", &**from), |(place, pattern)| (place, pattern));
            let fits = pattern == name || pattern.strip_prefix('*').is_some_and(|ending| name.ends_with(ending));
            place == folder && fits && into.trim_end_matches('/') == to.trim_end_matches('/')
        })
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize().expect("the project's folder");
    let (mut faults, mut count) = (Vec::new(), 0);
    for (path, text) in documents().into_iter().filter(|(path, _)| is_packed(path)) {
        let folder = root.join(&path).parent().expect("a folder").to_owned();
        for link in links(&text).into_iter().filter(|link| !link.starts_with("https://") && !link.starts_with('#')) {
            let file = folder.join(link.split('#').next().unwrap_or_default()).canonicalize();
            let file = file.ok().and_then(|file| Some(file.strip_prefix(&root).ok()?.to_str()?.to_owned()));
            count += 1;
            if !file.is_some_and(|file| is_packed(&file)) {
                faults.push(format!("{path}: {link}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(count > 50, "{count} links");
}

/// The headings of a document, without their marks.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let mut open = false;
    let headings = text.lines().filter(move |line| {
        open ^= line.trim_start().starts_with("```");
        !open && line.starts_with('#')
    });
    headings.map(|line| line.trim_start_matches('#').trim().to_owned())
}

/// What is written for users, by where it stands: documents but for the history, the configuration, alerts, metrics and help.
fn written() -> Vec<(String, String)> {
    let mut written = documents();
    // What it bans, it names.
    written.retain(|(path, _)| !["CHANGELOG.md", "CONTRIBUTING.md"].contains(&&**path));
    written.push(("config/xspgate.toml".into(), xspgate::config::complete::COMPLETE.into()));
    written.push(("the alerts".into(), include_str!("../deploy/prometheus/xspgate.rules.yml").into()));
    written.extend(TABLE.iter().map(|(name, _, _, help)| ((*name).to_owned(), (*help).to_owned())));
    let mut commands = vec![xspgate::cli::command()];
    while let Some(mut command) = commands.pop() {
        commands.extend(command.get_subcommands().cloned());
        written.push((format!("help of {}", command.get_name()), command.render_long_help().to_string()));
    }
    written
}

#[test]
fn turns_of_phrase_that_readers_have_stumbled_over_are_gone() {
    const GONE: [&str; 12] = [
        "whoever",
        "there is nobody",
        "nobody who",
        "nobody whom",
        "who has no",
        "what is no ",
        "of before",
        "is believed no",
        "all the same,",
        "all the same.",
        "turned away",
        "as they should",
    ];
    let mut faults = Vec::new();
    for (place, text) in written() {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
        faults.extend(GONE.iter().filter(|phrase| text.contains(**phrase)).map(|phrase| format!("{place}: {phrase}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_summary_lists_every_chapter_once() {
    let documents = documents();
    let (_, summary) = documents.iter().find(|(path, _)| path == "docs/SUMMARY.md").expect("there is one");
    let mut listed: Vec<_> = links(summary).into_iter().map(|link| format!("docs/{link}")).collect();
    listed.sort();
    let chapters = documents.iter().map(|(path, _)| path.clone());
    let chapters: Vec<_> = chapters.filter(|path| path.starts_with("docs/") && path != "docs/SUMMARY.md").collect();
    assert_eq!(listed, chapters);
}

#[test]
fn what_the_map_for_contributors_names_is_there() {
    let map = include_str!("../CONTRIBUTING.md").lines().skip_while(|line| *line != "## Where things are").skip(1);
    let map = map.take_while(|line| !line.starts_with("## ")).filter(|line| line.starts_with("| `"));
    let places = map.flat_map(|line| line.split('|').nth(1).unwrap().split('`').skip(1).step_by(2));
    let places: Vec<_> = places.collect();
    assert!(places.len() > 10, "{places:?}");
    for place in places {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(place).exists(), "{place}");
    }
}

#[test]
fn every_exit_code_is_listed() {
    let row = |guide: &&Guide| {
        let command = format!("xspgate {}", guide.command);
        guide.exit.map(|exit| format!("| `{}` | {} |", command.trim_end(), exit.join(" | ")))
    };
    let expected: Vec<String> = guide::all().iter().filter_map(row).collect();
    let codes = guide::CODES.map(|code| code.to_string()).join(" | ");
    assert_eq!(rows(&format!("| exit code of | {codes} |")).join("\n"), expected.join("\n"));
}

#[test]
fn every_metric_is_listed() {
    let row = |(name, kind, labels, help): &(&str, &str, &str, &str)| {
        format!("| `{name}` | {kind} | {labels} | {help} |").replace("|  |", "| |")
    };
    let expected: Vec<String> = TABLE.iter().map(row).collect();
    assert_eq!(rows("| metric |").join("\n"), expected.join("\n"));
}

#[test]
fn every_metric_that_is_spoken_of_is_there() {
    for (path, text) in documents().iter().filter(|(path, _)| path != "CHANGELOG.md") {
        let words = text.split('`').filter(|word| word.starts_with("xspgate_"));
        let words = words.map(|word| word.split('{').next().unwrap_or_default());
        for word in words {
            assert!(TABLE.iter().any(|(name, ..)| word == *name), "{path}: {word}");
        }
    }
}

#[test]
fn every_field_of_the_access_log_is_listed() {
    let attempt = Attempted {
        endpoint: "192.0.2.10:443".into(),
        chosen: "random",
        outcome: AttemptEnd::Success,
        status: Some(200),
        reused: true,
        took: Duration::ZERO,
    };
    let access = Access {
        time: Duration::ZERO,
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        peer: Some(""),
        listener: "",
        host: Some(""),
        interface: Some(""),
        farm: Some(""),
        method: "GET",
        path: "/",
        status: Some(200),
        origin: "xsp",
        reason: Some(""),
        tracking_id: "",
        trace_id: None,
        session: Some(""),
        channel: Some(""),
        received: 0,
        sent: 0,
        took: Duration::ZERO,
        attempts: &[attempt],
    };
    let mut names = names(&access);
    // Only tracing gives a request one.
    let traced = names.iter().position(|name| name == "tracking_id").expect("each request has one") + 1;
    names.insert(traced, "trace_id".to_owned());
    let nested = names.iter().position(|name| name == "endpoint").expect("an attempt has an endpoint");
    let outer = names[..nested].iter().map(|name| format!("`{name}`"));
    let inner = names[nested..].iter().map(|name| format!("`attempts[].{name}`"));
    assert_eq!(listed("| request's field |"), outer.chain(inner).collect::<Vec<_>>());
}

#[test]
fn every_field_of_a_connections_event_is_listed() {
    let connection = Connection {
        time: Duration::ZERO,
        kind: "cti",
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        listener: "",
        host: Some(""),
        peer: Some(""),
        farm: "",
        reason: "ended",
        received: 0,
        sent: 0,
        took: Duration::ZERO,
        attempts: &[],
    };
    let names = names(&connection).into_iter().map(|name| format!("`{name}`"));
    assert_eq!(listed("| connection's field |"), names.collect::<Vec<_>>());
}

#[test]
fn every_field_of_an_openings_event_is_listed() {
    let opened = Opened {
        time: Duration::ZERO,
        kind: "cti",
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        peer: Some(""),
        listener: "",
        farm: "",
        endpoint: "",
        tracking_id: Some(""),
        channel: Some("1"),
    };
    let names = names(&opened).into_iter().map(|name| format!("`{name}`"));
    assert_eq!(listed("| opening's field |"), names.collect::<Vec<_>>());
}

#[test]
fn every_field_of_the_doctors_report_is_listed() {
    let subject = Subject::new("farm xsp").with([Finding::ok("dns", "")]);
    let report = Report::new(vec![subject], Duration::ZERO).json();
    let names = names_in(&report);
    let nested = names.iter().position(|name| name == "subject").expect("a finding has a subject");
    let outer = names[..nested].iter().map(|name| format!("`{name}`"));
    let inner = names[nested..].iter().map(|name| format!("`findings[].{name}`"));
    assert_eq!(listed("| doctor's field |"), outer.chain(inner).collect::<Vec<_>>());
}

/// The names of an event's fields, in order: each stands between quotes before a colon.
fn names(event: &impl Event) -> Vec<String> {
    let mut line = Vec::new();
    write_line(&mut line, LogFormat::Json, event);
    names_in(std::str::from_utf8(&line).expect("a line is ASCII"))
}

fn names_in(line: &str) -> Vec<String> {
    let (before, _) = line.rsplit_once("\":").expect("a line has a field");
    before.split("\":").filter_map(|part| part.rsplit_once('"')).map(|(_, name)| name.to_owned()).collect()
}

/// The first column of the table whose head begins with `head`.
fn listed(head: &str) -> Vec<String> {
    rows(head).iter().filter_map(|row| Some(row.split(" | ").next()?.strip_prefix("| ")?.to_owned())).collect()
}

/// Each promise names tests that there are.
#[test]
fn every_promise_is_held_by_tests_that_there_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut sources, mut folders) = (String::new(), vec![root.join("src"), root.join("tests")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of sources") {
            let path = entry.expect("an entry of that folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources += &fs::read_to_string(&path).expect("a source");
            }
        }
    }
    let promises = rows("| | promise | held by |");
    assert_eq!(promises.len(), 24);
    for promise in &promises {
        let held = promise.rsplit(" | ").next().unwrap_or_default();
        let tests: Vec<_> = held.split('`').skip(1).step_by(2).collect();
        let is_open = held.contains("not offered yet") || held.contains("measured, not held");
        assert!(is_open == tests.is_empty(), "{promise}");
        for test in tests {
            assert!(sources.contains(&format!("fn {test}()")), "there is no test {test}: {promise}");
        }
    }
}

/// Each library is there for a reason.
#[test]
fn every_dependency_has_its_reason() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).expect("the manifest");
    let manifest: toml::Table = manifest.parse().expect("it is TOML");
    let used: Vec<&String> = manifest["dependencies"].as_table().expect("a table").keys().collect();
    let told = rows("| crate | what for |");
    let told: Vec<&str> = told.iter().map(|row| row.split('`').nth(1).expect("a name")).collect();
    assert_eq!(told, used);
}
