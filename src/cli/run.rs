//! `xspgate run`: serves until it is told to stop.

use std::process::ExitCode;

use clap::Args;

use super::ConfigFile;

/// What `run` takes.
#[derive(Args, Debug)]
pub struct Run {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// Runs the gateway.
pub fn run(_options: Run) -> ExitCode {
    eprintln!("error: `run` is not there yet");
    ExitCode::FAILURE
}
