//! The man pages: what `--help` says, what belongs to nobody's help, and what the complete configuration says of its keys.
//! Separate from `docs`, because pages have a form of their own.

mod configuration;

use std::io;
use std::path::Path;

use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::guide;
use crate::control::SOCKET;

/// A term, and what it means.
type Item = (&'static str, &'static str);

const SIGNALS: [Item; 3] = [
    (
        "SIGTERM, SIGINT",
        "Stop. For a second /readyz says 503, then no new connection is accepted, and what is in flight has drain_timeout \
         to end. What is left then is cut, spread over drain_spread. A second signal ends at once.",
    ),
    (
        "SIGHUP",
        "Read the configuration again, and the certificates, keys, CAs and affinity keys that it names. Either all of it is \
         applied, or nothing, and the log says why.",
    ),
    ("SIGPIPE", "Is ignored."),
];

const ENVIRONMENT: [Item; 6] = [
    ("XSPGATE_PASSWORD", "The password of `doctor --user`, where --password-file names none."),
    ("NOTIFY_SOCKET", "Where systemd is told that the gateway is ready, reads its configuration again, or stops."),
    ("WATCHDOG_USEC", "How often systemd wants to be told that the gateway is alive."),
    ("NO_COLOR", "Logs of format = \"human\" have no colours if it is there and not empty."),
    ("COLUMNS", "How wide help is, where standard output is no terminal."),
    ("RUST_BACKTRACE", "With 1, a bug that ends the program says where it was."),
];

const FILES: [Item; 4] = [
    (
        "/etc/xspgate/xspgate.toml",
        "Where the configuration is by custom; there is no default. Paths in it start from its folder. See xspgate.toml(5).",
    ),
    (SOCKET, "Where `ctl` looks for the gateway, unless --socket names another place."),
    ("state_dir", "The folder that the configuration names for the last good answers of DNS."),
    ("/etc/resolv.conf", "The DNS servers, where [dns] servers names none. Read again when it changes."),
];

/// How an apostrophe is written, for groff and for others. Each part of a page begins with it, and one is enough.
const APOSTROPHE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

/// xspgate(8).
pub(super) fn whole() -> String {
    pages().into_iter().next().map(|(_, page)| page).unwrap_or_default()
}

/// Writes every page below `folder`: commands to `man8`, and the configuration's to `man5`.
///
/// # Errors
/// A folder could not be made, or a page not be written.
pub(super) fn write(folder: &Path) -> io::Result<()> {
    let [commands, files] = ["man8", "man5"].map(|section| folder.join(section));
    std::fs::create_dir_all(&commands)?;
    std::fs::create_dir_all(&files)?;
    pages().into_iter().try_for_each(|(name, page)| std::fs::write(commands.join(name), page))?;
    std::fs::write(files.join("xspgate.toml.5"), configuration::page())
}

/// Every page with the name of its file; the whole program's first.
fn pages() -> Vec<(String, String)> {
    // `help` has nothing to say about itself.
    let mut command = listing_values(crate::cli::command().disable_help_subcommand(true));
    command.build();
    let mut pages = Vec::new();
    collect(&command, "", &mut pages);
    pages
}

/// Says what an argument may be with what it is for: a list of its own is long.
fn listing_values(command: clap::Command) -> clap::Command {
    let command = command.mut_subcommands(listing_values);
    command.mut_args(|argument| {
        let values = argument.get_possible_values();
        let names: Vec<&str> = values.iter().map(clap::builder::PossibleValue::get_name).collect();
        match (argument.get_help(), argument.get_action().takes_values() && !names.is_empty()) {
            (Some(help), true) => {
                let help = format!("{help}: {}", names.join(", "));
                argument.help(help).hide_possible_values(true)
            }
            (Some(_) | None, _) => argument,
        }
    })
}

fn collect(command: &clap::Command, path: &str, pages: &mut Vec<(String, String)>) {
    pages.push((format!("{}.8", title(path)), page(command, path)));
    for inner in command.get_subcommands() {
        collect(inner, format!("{path} {}", inner.get_name()).trim_start(), pages);
    }
}

/// `xspgate-ctl-drain`.
fn title(path: &str) -> String {
    format!("xspgate {path}").trim_end().replace(' ', "-")
}

fn page(command: &clap::Command, path: &str) -> String {
    let man = Man::new(command.clone());
    let mut text = Vec::new();
    let rendered = man.render_name_section(&mut text).and_then(|()| {
        synopsis(command, path).to_writer(&mut text)?;
        man.render_description_section(&mut text)?;
        man.render_options_section(&mut text)?;
        if command.has_subcommands() {
            man.render_subcommands_section(&mut text)?;
        }
        rest(command, path).to_writer(&mut text)
    });
    rendered.expect("memory takes all that is written to it");
    headed(&title(path), '8', &String::from_utf8(text).expect("pages are made of text"))
}

/// A page of that section of the manual with its title.
fn headed(title: &str, section: char, text: &str) -> String {
    // No date, so that a version's pages are always the same; `Roff` would leave an empty word out.
    let (title, version) = (title.to_uppercase(), env!("CARGO_PKG_VERSION"));
    format!(
        "{APOSTROPHE}.TH {title} {section} \"\" \"xspgate {version}\" \"xspgate\"\n{}",
        text.replace(APOSTROPHE, "")
    )
}

/// Usage as `--help` has it, one form a line.
fn synopsis(command: &clap::Command, path: &str) -> Roff {
    let mut page = Roff::new();
    page.control("SH", ["SYNOPSIS"]);
    let usage = command.clone().render_usage().to_string();
    let name = format!("xspgate {path}");
    for (number, form) in usage.trim_start_matches("Usage:").lines().map(str::trim).enumerate() {
        if number > 0 {
            page.control("br", []);
        }
        let rest = form.strip_prefix(name.trim_end()).unwrap_or(form);
        page.text([bold(name.trim_end()), roman(rest)]);
    }
    page
}

/// What stands below the options.
fn rest(command: &clap::Command, path: &str) -> Roff {
    let mut page = Roff::new();
    page.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in guide::CODES.iter().zip(guide::exit(path)) {
        item(&mut page, &code.to_string(), meaning);
    }
    if matches!(path, "" | "run") {
        for (head, items) in [("SIGNALS", &SIGNALS[..]), ("ENVIRONMENT", &ENVIRONMENT), ("FILES", &FILES)] {
            page.control("SH", [head]);
            items.iter().for_each(|(term, meaning)| item(&mut page, term, meaning));
        }
    }
    if let Some(guide) = guide::of(path) {
        page.control("SH", ["EXAMPLES"]);
        for (number, (line, purpose)) in guide.examples.iter().enumerate() {
            if number > 0 {
                page.control("PP", []);
            }
            page.control("nf", []);
            for part in line.lines() {
                page.text([bold(part)]);
            }
            page.control("fi", []).control("RS", []).text([roman(*purpose)]).control("RE", []);
        }
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([roman(related(command, path).join(", "))]);
    page
}

fn item(page: &mut Roff, term: &str, meaning: &str) {
    page.control("TP", []).text([bold(term)]).text([roman(meaning)]);
}

/// The pages above, and those one step below.
fn related(command: &clap::Command, path: &str) -> Vec<String> {
    let above = match path.rsplit_once(' ') {
        Some((above, _)) => vec!["", above],
        None if path.is_empty() => vec![],
        None => vec![""],
    };
    let below = command.get_subcommands().map(|inner| format!("{path} {}", inner.get_name()).trim_start().to_owned());
    let pages = above.into_iter().map(str::to_owned).chain(below).map(|path| format!("{}(8)", title(&path)));
    pages.chain(["xspgate.toml(5)".to_owned()]).collect()
}
