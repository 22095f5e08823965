//! `xspgate certs affinity-key`: a key for the affinity cookie.

use std::path::PathBuf;

use clap::Args;

use super::{Failure, existing};
use crate::cli::guide::Guide;
use crate::policy::affinity::Keyring;
use crate::tls::issue::affinity_key;
use crate::tls::issue::files::{self, Output, Readers};

/// What `certs affinity-key --help` says.
pub(super) const ABOUT: &str = "\
Make a key for the affinity cookie: 32 random bytes in base64, on one line.

All gateways have the same file, which only the gateway's user may read; [affinity] key_file names it. Without --out the \
key goes to standard output.";

/// Examples.
pub(super) const GUIDE: Guide = Guide {
    command: "certs affinity-key",
    examples: &[
        ("xspgate certs affinity-key --out certs/affinity.key", "the first key"),
        ("xspgate certs affinity-key >> certs/affinity.key", "one more below it, so that both are accepted"),
    ],
    exit: None,
};

/// What `certs affinity-key` takes.
#[derive(Args, Debug)]
pub(super) struct AffinityKey {
    /// The file that it is written to
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the file if it is there
    #[arg(long, requires = "out")]
    force: bool,
}

/// Makes it; what to say about it, or the key itself.
pub(super) fn make(options: &AffinityKey) -> Result<String, Failure> {
    let key = affinity_key()?;
    // It has just been made as one.
    let print = key.parse().ok().and_then(|key| Keyring::new(key, []).prints().next());
    let print = print.map(|(print, _)| print.to_string()).unwrap_or_default();
    let key = format!("{key}\n");
    let Some(path) = &options.out else { return Ok(key) };
    let output = Output { path: path.clone(), text: key, readers: Readers::Owner };
    files::write(&[output], existing(options.force))?;
    let shown = path.display();
    Ok(format!(
        "{shown}\n  the secret key of the affinity cookie; its fingerprint is {print}\n\
         next: copy it to every gateway, where `xspgate check` shows the same, and name it as `key_file` of [affinity]\n"
    ))
}
