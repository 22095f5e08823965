//! What an operator types. One file per command, each thin: everything worth testing is elsewhere.

pub mod certs;
pub mod check;
pub mod ctl;
#[cfg(feature = "sim")]
pub mod demo;
pub mod doctor;
pub mod run;
mod summary;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 it could not start or go on, or something failed, 2 the command line or the configuration can't be \
used.";

/// Edge failover gateway for Cisco BroadWorks.
#[derive(Debug, Parser)]
#[command(name = "xspgate", version, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until SIGTERM or SIGINT
    #[command(long_about = run::ABOUT)]
    Run(run::Run),
    /// Check a configuration, certificates included, and print what it would serve
    #[command(long_about = check::ABOUT)]
    Check(check::Check),
    /// Try a whole deployment as Webex would, and say what is wrong and what to do
    #[command(long_about = doctor::ABOUT)]
    Doctor(doctor::Doctor),
    /// Ask a running gateway, or tell it what to do
    #[command(long_about = ctl::ABOUT)]
    Ctl(ctl::Ctl),
    /// Make and inspect certificates and keys
    #[command(long_about = certs::ABOUT)]
    Certs(certs::Certs),
    /// Watch the gateway at work in front of a simulated farm of XSPs
    #[cfg(feature = "sim")]
    Demo(demo::Demo),
}

/// Where the configuration is, either way of saying it.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct ConfigFile {
    /// The configuration file
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The configuration file
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    /// The file that was named, if one was.
    pub fn path(self) -> Option<PathBuf> {
        self.file.or(self.config)
    }
}

/// Reads the command line and does what it says. The code is 0 for success, 1 for a failure, 2 for a command line or a
/// configuration that can't be used.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(options) => run::run(options),
        Command::Check(options) => check::check(&options),
        Command::Doctor(options) => doctor::doctor(&options),
        Command::Ctl(options) => ctl::ctl(options),
        Command::Certs(options) => certs::certs(&options),
        #[cfg(feature = "sim")]
        Command::Demo(options) => demo::demo(options),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_configuration_is_named_either_way() {
        Cli::command().debug_assert();
        for arguments in [["xspgate", "run", "x.toml", ""], ["xspgate", "run", "-c", "x.toml"]] {
            let arguments = arguments.into_iter().filter(|argument| !argument.is_empty());
            let Command::Run(options) = Cli::try_parse_from(arguments).unwrap().command else { panic!("not run") };
            assert_eq!(options.config.path(), Some("x.toml".into()));
        }
        for arguments in [&["xspgate", "check"][..], &["xspgate", "run"], &["xspgate", "run", "a", "-c", "b"]] {
            assert!(Cli::try_parse_from(arguments).is_err(), "{arguments:?}");
        }
        assert!(Cli::try_parse_from(["xspgate", "check", "--print-defaults"]).is_ok());
    }
}
