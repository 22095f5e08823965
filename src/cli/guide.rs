//! What is said of a command besides its options: examples and exit codes. Separate from the commands, so that `--help`, the
//! man pages and the book say the same of all of them.

use std::fmt::Write;

use super::check::UNUSABLE;
use super::{certs, check, ctl, docs, doctor, run};

/// The exit codes that there are: it is done, it could not be done, it can't be done as it was asked for.
pub const CODES: [u8; 3] = [0, 1, UNUSABLE];

/// What is said of a command.
#[derive(Debug)]
pub struct Guide {
    /// What stands behind `xspgate` to call it.
    pub command: &'static str,
    /// Command lines, each with what it is for.
    pub examples: &'static [(&'static str, &'static str)],
    /// What each of [`CODES`] means here; `None`: the same as for the command above.
    pub exit: Option<[&'static str; 3]>,
}

/// What is said of the program as a whole.
const WHOLE: Guide = Guide {
    command: "",
    examples: &[
        (
            "xspgate check --print-defaults > xspgate.toml",
            "every key with its meaning, range and default, to start from",
        ),
        ("xspgate check xspgate.toml", "what would be served, or every problem"),
        ("xspgate run xspgate.toml", "run the gateway until SIGTERM or SIGINT"),
        ("xspgate doctor xspgate.toml", "try the names, the XSPs and the gateway itself, as Webex would"),
    ],
    exit: Some(["done", "failed, or could not start", "the command line or the configuration can't be used"]),
};

/// Every guide, in the order of the commands.
pub fn all() -> Vec<&'static Guide> {
    let mut all = vec![&WHOLE, &run::GUIDE, &check::GUIDE, &doctor::GUIDE, &ctl::GUIDE];
    all.extend(certs::GUIDES);
    #[cfg(feature = "sim")]
    all.push(&super::demo::GUIDE);
    all.push(&docs::GUIDE);
    all
}

/// The guide of a command, if it has one of its own.
pub(super) fn of(command: &str) -> Option<&'static Guide> {
    all().into_iter().find(|guide| guide.command == command)
}

/// What the exit codes of a command mean.
pub(super) fn exit(command: &str) -> [&'static str; 3] {
    let above = command.rsplit_once(' ').map_or("", |(above, _)| above);
    of(command).and_then(|guide| guide.exit).unwrap_or_else(|| exit(above))
}

/// Puts examples and exit codes below the help of a command and of all below it.
pub(super) fn guided(command: clap::Command, path: &str) -> clap::Command {
    let command = command.mut_subcommands(|inner| {
        let path = format!("{path} {}", inner.get_name());
        guided(inner, path.trim_start())
    });
    command.after_long_help(below(path))
}

fn below(command: &str) -> String {
    let mut text = String::new();
    for (line, purpose) in of(command).map_or(&[][..], |guide| guide.examples) {
        let head = if text.is_empty() { "Examples:\n" } else { "" };
        // Writing to a string can't fail.
        let _ = write!(text, "{head}  {}\n      {purpose}\n", line.replace('\n', "\n  "));
    }
    text.push_str(if text.is_empty() { "Exit codes:" } else { "\nExit codes:" });
    for (code, meaning) in CODES.iter().zip(exit(command)) {
        let _ = write!(text, "\n  {code}  {meaning}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_guide_belongs_to_a_command_and_each_example_can_be_run() {
        for guide in all() {
            let words = guide.command.split(' ').filter(|word| !word.is_empty());
            let found =
                words.clone().try_fold(super::super::command(), |command, word| command.find_subcommand(word).cloned());
            assert!(found.is_some(), "there is no command {:?}", guide.command);
            for (line, _) in guide.examples {
                let one = line.replace("\\\n", " ");
                let words = one.split(['>', '|']).next().unwrap_or_default().split_whitespace();
                let words: Vec<_> = words.map(|word| word.trim_matches('"')).collect();
                assert!(words.join(" ").starts_with(format!("xspgate {}", guide.command).trim_end()), "{line}");
                super::super::command().try_get_matches_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
            }
        }
    }

    #[test]
    fn help_fits_80_columns() {
        for guide in all() {
            for line in below(guide.command).lines() {
                assert!(line.len() <= 80, "{line}");
            }
        }
    }

    #[test]
    fn a_command_without_exit_codes_of_its_own_has_those_above() {
        assert_eq!(exit("ctl drain"), exit("ctl"));
        assert_ne!(exit("certs inspect"), exit("certs"));
    }
}
