//! `xspgate certs inspect`: what is in files of certificates and keys.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::now;
use crate::cli::check::{UNUSABLE, print};
use crate::cli::guide::Guide;
use crate::cli::output::complain;
use crate::tls::inspect::{self, KeyFits};

/// What `certs inspect --help` says.
pub(super) const ABOUT: &str = "\
Tell what is in PEM files, what it may be used for here, what is wrong with it, and when it ends.

Whatever stands between the blocks is skipped, so that files can be taken as they were downloaded. Of private keys the \
kind is shown, and which certificate they belong to.";

/// Examples and exit codes.
pub(super) const GUIDE: Guide = Guide {
    command: "certs inspect",
    examples: &[
        ("xspgate certs inspect CombinedCertChain.txt", "Webex's CAs, as Partner Hub gives them"),
        ("xspgate certs inspect cti-client-chain.pem --key cti-client-key.pem", "and whether the key belongs to it"),
    ],
    exit: Some([
        "all files could be read, whatever is in them",
        "the key of --key fits none of them, or the answer could not be written",
        "the command line can't be used, or a file not be read",
    ]),
};

/// What `certs inspect` takes.
#[derive(Args, Debug)]
pub(super) struct Inspect {
    /// The files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// A key file: which of the certificates does it belong to?
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// Prints it.
pub(super) fn inspect(options: &Inspect) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    let mut reports = Vec::new();
    let mut fits = false;
    for file in &options.files {
        match inspect::report(file, options.key.as_deref(), now()) {
            Ok(told) => {
                reports.push(told.text);
                fits |= told.key == KeyFits::Yes;
            }
            Err(problem) => {
                complain(format_args!("error: {}", problem.message));
                if let Some(help) = problem.help {
                    complain(format_args!("help: {help}"));
                }
                code = ExitCode::from(UNUSABLE);
            }
        }
    }
    let printed = print(&reports.join("\n"));
    if let (Some(key), false, false) = (&options.key, fits, reports.is_empty()) {
        complain(format_args!("error: the key in {} belongs to nothing that was named", key.display()));
        if code == ExitCode::SUCCESS {
            code = ExitCode::FAILURE;
        }
    }
    if code == ExitCode::SUCCESS { printed } else { code }
}
