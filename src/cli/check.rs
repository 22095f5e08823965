//! `xspgate check`: every problem of a configuration, or a summary of what it serves. Works offline: it reads the files
//! that the configuration names, and looks nothing up.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::guide::Guide;
use super::output::complain;
use super::summary;
use crate::config::error::Report;
use crate::config::{self, Loaded, Reading, written};
use crate::tls::certs::{self, Material};

/// The exit code for a configuration that can't be used.
pub const UNUSABLE: u8 = 2;

/// What `check --help` says.
pub(super) const ABOUT: &str = "\
Check a configuration, certificates included, and print what it would serve.

Reads the file and the certificates, keys and CAs that it names, and nothing from the network. Prints a summary, or every \
problem with its place and a correction. Warnings do not stop the gateway. `xspgate doctor` also tries the network.";

/// Examples and exit codes.
pub(super) const GUIDE: Guide = Guide {
    command: "check",
    examples: &[
        ("xspgate check /etc/xspgate/xspgate.toml", "before a reload: every problem at once"),
        ("xspgate check --print-defaults | less", "every key with its meaning, range and default"),
    ],
    exit: Some([
        "the configuration can be used, perhaps with warnings",
        "the answer could not be written",
        "the command line or the configuration can't be used",
    ]),
};

/// What `check` takes.
#[derive(Args, Debug)]
pub struct Check {
    /// The configuration file
    #[arg(value_name = "FILE", required_unless_present_any = ["config", "print_defaults"])]
    file: Option<PathBuf>,
    /// The configuration file, as an option
    #[arg(short = 'c', long = "config", value_name = "FILE", conflicts_with = "file")]
    config: Option<PathBuf>,
    /// Print a complete configuration instead: every key with its unit, range and default
    #[arg(long, conflicts_with_all = ["file", "config"])]
    print_defaults: bool,
}

/// Reads a configuration and the files that it names, and reports the problems of all of them together.
///
/// # Errors
/// Every problem, warnings included, if one of them is an error.
pub fn load(path: &Path) -> Result<(Loaded, Material), Report> {
    config::read(path).and_then(judge)
}

/// As [`load`], of what has been read.
///
/// # Errors
/// As [`load`].
pub(super) fn judge(reading: Reading) -> Result<(Loaded, Material), Report> {
    let (material, problems) = certs::load(&reading.partial);
    let written = written::problems(&reading.partial, &reading.source.path);
    let problems = reading.problems.into_iter().chain(problems).chain(written).collect();
    let report = Report::new(reading.source, problems);
    match (report.is_fatal(), material) {
        (false, Some(material)) => {
            let loaded = Loaded { config: reading.partial, warnings: report.problems, source: report.source };
            Ok((loaded, material))
        }
        (true, _) | (_, None) => Err(report),
    }
}

/// Checks a configuration: problems to stderr, a summary to stdout.
pub fn check(options: &Check) -> ExitCode {
    let Some(path) = options.file.as_ref().or(options.config.as_ref()) else {
        return print(config::COMPLETE);
    };
    match load(path) {
        Ok((loaded, material)) => {
            let report = Report::new(loaded.source, loaded.warnings);
            complain(&report);
            print(&summary::of(&loaded.config, &material, report.warnings()))
        }
        Err(report) => {
            complain(format_args!(
                "{report}
{}",
                summary::verdict(report.errors(), report.warnings())
            ));
            ExitCode::from(UNUSABLE)
        }
    }
}

/// A reader that stops reading, such as `head`, is no failure.
pub(super) fn print(text: &str) -> ExitCode {
    failed(std::io::stdout().write_all(text.as_bytes())).unwrap_or(ExitCode::SUCCESS)
}

/// The exit code of a command that can't write its answer; `None`: it can. A reader that wants no more is no failure.
pub(super) fn failed(written: std::io::Result<()>) -> Option<ExitCode> {
    match written {
        Ok(()) => None,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Some(ExitCode::SUCCESS),
        Err(error) => {
            complain(format_args!("error: standard output can't be written: {error}"));
            Some(ExitCode::FAILURE)
        }
    }
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests;
