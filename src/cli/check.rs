//! `xspgate check`: every problem of a configuration, or a summary of what it serves. Works offline: it reads the files
//! that the configuration names, and looks nothing up.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::config::error::{Report, Severity};
use crate::config::model::Config;
use crate::config::{self, Loaded};

/// The exit code for a configuration that can't be used.
pub const UNUSABLE: u8 = 2;

/// What `check` takes.
#[derive(Args, Debug)]
pub struct Check {
    /// The configuration file
    #[arg(value_name = "FILE", required_unless_present_any = ["config", "print_defaults"])]
    file: Option<PathBuf>,
    /// The configuration file
    #[arg(short = 'c', long = "config", value_name = "FILE", conflicts_with = "file")]
    config: Option<PathBuf>,
    /// Print a complete configuration instead: every key with its unit, range and default
    #[arg(long, conflicts_with_all = ["file", "config"])]
    print_defaults: bool,
}

/// Checks a configuration: problems to stderr, a summary to stdout.
pub fn check(_options: &Check) -> ExitCode {
    ExitCode::FAILURE
}
