//! What an operator types. One file per command, each thin: everything worth testing is elsewhere.

pub mod certs;
pub mod check;
pub mod ctl;
#[cfg(feature = "sim")]
pub mod demo;
pub mod docs;
pub mod doctor;
pub mod guide;
mod output;
pub mod run;
mod summary;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

const ABOUT: &str = "\
Edge failover gateway for Cisco BroadWorks.

The Webex cloud and the Webex app see one XSP. Behind it, the gateway spreads their requests over the XSPs (or ADPs) of one \
or more sites, by the failover and affinity rules that Cisco documents for Webex for BroadWorks. One configuration file names \
the XSPs and what is served.";

/// SIGXFSZ, as Linux numbers it on x86, ARM and RISC-V.
const FILE_TOO_LARGE: i32 = 25;

/// What is typed.
#[derive(Debug, Parser)]
#[command(name = "xspgate", version, about = "Edge failover gateway for Cisco BroadWorks", long_about = ABOUT)]
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
    #[command(long_about = demo::ABOUT)]
    Demo(demo::Demo),
    /// Print man pages, shell completions, or a JSON schema of the configuration
    #[command(long_about = docs::ABOUT)]
    Docs(docs::Docs),
}

/// All that can be typed, with examples and exit codes in its help.
pub fn command() -> clap::Command {
    guide::guided(Cli::command(), "")
}

/// Where the configuration is, either way of saying it.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct ConfigFile {
    /// The configuration file
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The configuration file, as an option
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
    survive_full_files();
    let arguments = command().get_matches();
    let cli = Cli::from_arg_matches(&arguments).unwrap_or_else(|error| error.exit());
    match cli.command {
        Command::Run(options) => run::run(options),
        Command::Check(options) => check::check(&options),
        Command::Doctor(options) => doctor::doctor(&options),
        Command::Ctl(options) => ctl::ctl(options),
        Command::Certs(options) => certs::certs(&options),
        #[cfg(feature = "sim")]
        Command::Demo(options) => demo::demo(options),
        Command::Docs(options) => docs::docs(&options),
    }
}

/// Hears SIGXFSZ, and leaves it at that: unheard, it ends a process whose output is a file that may grow no more. The line that
/// can't be written is then an error like any other.
fn survive_full_files() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    // Without descriptors there is nothing to write to either.
    let Ok(runtime) = runtime else { return };
    let _inside = runtime.enter();
    // The handler stays when the listener goes.
    drop(signal(SignalKind::from_raw(FILE_TOO_LARGE)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_named_either_way() {
        command().debug_assert();
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
