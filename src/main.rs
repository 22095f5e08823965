//! The binary: the command line in, an exit code out. Everything else is in the library, where tests can reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    xspgate::cli::main()
}
