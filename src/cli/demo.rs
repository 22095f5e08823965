//! `xspgate demo`: a day at the edge, in front of a simulated farm.

use std::process::ExitCode;

use clap::Args;

/// What `demo` takes.
#[derive(Args, Debug)]
pub struct Demo {}

/// Runs the demonstration.
pub fn demo(_options: Demo) -> ExitCode {
    eprintln!("error: `demo` is not there yet");
    ExitCode::FAILURE
}
