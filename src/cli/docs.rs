//! `xspgate docs`: what packages, shells and editors take from the program itself. Nothing of it is written by hand, so
//! that it can't lag behind.

mod completions;
mod man;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueHint};
use clap_complete::Shell;

use super::check::print;
use super::guide::Guide;
use super::output::complain;
use crate::config::schema;

/// What `docs --help` says.
pub(super) const ABOUT: &str = "\
Print man pages, shell completions, or a JSON schema of the configuration.

All of it is made of the program itself, and so belongs to just this version. Packages call it once, when they are built.";

const SCHEMA: &str = "\
Print a JSON schema of the configuration, for editors.

Put it beside xspgate.toml as xspgate.schema.json, and `#:schema ./xspgate.schema.json` into the first line of xspgate.toml. \
Editors with Taplo (in VS Code the extension Even Better TOML) then complete keys, tell what they mean and what their \
defaults are, and mark mistakes while they are made. What one key means for another, and files, only `xspgate check` sees.";

/// Examples and exit codes.
pub(super) const GUIDE: Guide = Guide {
    command: "docs",
    examples: &[
        ("xspgate docs man | man -l -", "read xspgate(8)"),
        (
            "xspgate docs man --out /usr/local/share/man",
            "all man pages, for `man xspgate-run`, `man xspgate.toml` and the like",
        ),
        ("xspgate docs completions bash > /etc/bash_completion.d/xspgate", "completions for everybody's bash"),
        ("xspgate docs completions zsh > /usr/local/share/zsh/site-functions/_xspgate", "the same for zsh"),
        ("xspgate docs completions fish > ~/.config/fish/completions/xspgate.fish", "the same for one's own fish"),
        ("xspgate docs schema > xspgate.schema.json", "for editors; `xspgate docs schema --help` says how"),
    ],
    exit: Some(["printed, or written", "it could not be written", "the command line can't be used"]),
};

const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// What `docs` takes.
#[derive(Args, Debug)]
pub struct Docs {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Print the man page xspgate(8), or write all man pages
    Man {
        /// Write xspgate(8), a page for each command and xspgate.toml(5) to man8 and man5 in this folder, which are made
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        out: Option<PathBuf>,
    },
    /// Print a script that completes commands, options and files
    Completions {
        /// The shell that it is for
        #[arg(value_name = "SHELL", value_parser = shell())]
        shell: Shell,
    },
    /// Print a JSON schema of the configuration, for editors
    #[command(long_about = SCHEMA)]
    Schema,
}

fn shell() -> impl TypedValueParser<Value = Shell> {
    PossibleValuesParser::new(SHELLS).try_map(|name| name.parse::<Shell>())
}

/// Prints or writes it: exit code 0 when that is done, 1 when it could not be written.
pub fn docs(options: &Docs) -> ExitCode {
    match &options.kind {
        Kind::Man { out: Some(folder) } => match man::write(folder) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(format_args!("error: {}: {error}", folder.display()));
                ExitCode::FAILURE
            }
        },
        Kind::Man { out: None } => print(&man::whole()),
        Kind::Completions { shell } => print(&completions::of(*shell)),
        Kind::Schema => print(&format!("{:#}\n", schema::schema())),
    }
}
