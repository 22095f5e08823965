//! `xspgate certs`: makes and inspects certificates and keys. Separate from `check`, because no configuration is needed.

mod affinity_key;
mod ca;
mod cti_client;
mod inspect;
mod xsp;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

use super::check::UNUSABLE;
use super::guide::Guide;
use super::output::complain;
use crate::config::obstacle::{self, Purpose};
use crate::config::types::Leaf;
use crate::config::types::name::HostName;
use crate::tls::certs::now;
use crate::tls::issue::files::{self, Existing, Output, Readers};
use crate::tls::issue::{self, Issued, KeyKind};

/// What `certs --help` says.
pub(super) const ABOUT: &str = "\
Make and inspect certificates and keys.

An installation without a CA of its own makes all that is internal with these, as the examples below do, in their order. \
What clients see is signed by a public CA, and comes from there. docs/certificates.md in the sources goes through the whole \
exchange with Webex and the XSPs.";

/// Examples and exit codes, of each tool too.
pub(super) const GUIDES: [&Guide; 6] =
    [&GUIDE, &ca::GUIDE, &cti_client::GUIDE, &xsp::GUIDE, &inspect::GUIDE, &affinity_key::GUIDE];

const GUIDE: Guide = Guide {
    command: "certs",
    examples: &[
        ("xspgate certs ca --out certs", "the CA that XSPs and the gateway trust"),
        (
            "xspgate certs cti-client --out certs \\\n    --ca certs/internal-ca.pem --ca-key certs/internal-ca-key.pem",
            "what the gateway shows to the XSPs' CTI",
        ),
        (
            "xspgate certs xsp --domain xsp.example.com --fqdn xsp1.internal.example.com \\\n    --out certs --ca \
             certs/internal-ca.pem --ca-key certs/internal-ca-key.pem",
            "what an XSP shows, once for each",
        ),
        (
            "xspgate certs affinity-key --out certs/affinity.key",
            "what sessions are remembered by, once for all gateways",
        ),
        ("xspgate certs inspect certs/internal-ca.pem", "what came of it"),
    ],
    exit: Some(["done", "a file could not be written", "the command line, or a file that was given, can't be used"]),
};

/// What `certs` takes.
#[derive(Args, Debug)]
pub struct Certs {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Debug, Subcommand)]
enum Tool {
    /// Make an internal CA
    #[command(long_about = ca::ABOUT)]
    Ca(ca::Ca),
    /// Make the gateway's client certificate towards the XSPs' CTI, or a request for one
    #[command(long_about = cti_client::ABOUT)]
    CtiClient(cti_client::CtiClient),
    /// Make the server certificate of an XSP
    #[command(long_about = xsp::ABOUT)]
    Xsp(xsp::Xsp),
    /// Tell what certificates are, what they may be used for here, and what is wrong with them
    #[command(long_about = inspect::ABOUT)]
    Inspect(inspect::Inspect),
    /// Make a key for the affinity cookie
    #[command(long_about = affinity_key::ABOUT)]
    AffinityKey(affinity_key::AffinityKey),
}

/// Does what was asked for: exit code 0 when it is done, 1 when something could not be written, 2 when what was given
/// can't be used.
pub fn certs(options: &Certs) -> ExitCode {
    let done = match &options.tool {
        Tool::Ca(options) => ca::make(options),
        Tool::CtiClient(options) => cti_client::make(options),
        Tool::Xsp(options) => xsp::make(options),
        Tool::Inspect(options) => return inspect::inspect(options),
        Tool::AffinityKey(options) => affinity_key::make(options),
    };
    match done {
        Ok(text) => super::check::print(&text),
        Err(failure) => failure.tell(),
    }
}

/// What comes to be where, and of what kind.
#[derive(Args, Debug)]
struct Making {
    /// The kind of key
    #[arg(long, value_name = "KIND", default_value = KeyKind::NAMES[0], value_parser = kinds())]
    key_type: KeyKind,
    /// The folder that it is written to; made if it is missing
    #[arg(long, value_name = "DIR", default_value = ".", value_hint = clap::ValueHint::DirPath)]
    out: PathBuf,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
}

/// The CA that signs.
#[derive(Args, Debug)]
struct Signer {
    /// The CA's certificate (PEM), with those above it if it is an issuing CA
    #[arg(long, value_name = "FILE", requires = "ca_key")]
    ca: PathBuf,
    /// The CA's key (PEM, not encrypted)
    #[arg(long, value_name = "FILE", requires = "ca")]
    ca_key: PathBuf,
}

fn kinds() -> impl TypedValueParser<Value = KeyKind> {
    PossibleValuesParser::new(KeyKind::NAMES).try_map(|name| name.parse::<KeyKind>())
}

fn host(text: &str) -> Result<HostName, String> {
    if text.contains('*') {
        return Err("an XSP is called by a name, and not by a wildcard".to_owned());
    }
    HostName::text(text).map_err(|refusal| {
        let text = refusal.to_string();
        crate::config::types::Refusal::split(&text).0.to_owned()
    })
}

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Issue(#[from] issue::Error),
    #[error(transparent)]
    Files(#[from] files::Error),
}

impl Failure {
    fn tell(&self) -> ExitCode {
        complain(format_args!("error: {self}"));
        let (help, code) = match self {
            Self::Issue(issue::Error::Crypto(cause)) => (Some(cause.to_string()), ExitCode::FAILURE),
            Self::Issue(error) => (error.help(), ExitCode::from(UNUSABLE)),
            Self::Files(files::Error::Exists(_)) => {
                (Some("--force replaces it; --out names another place".into()), ExitCode::from(UNUSABLE))
            }
            Self::Files(files::Error::Io { path, source }) => {
                (obstacle::help(path, source, Purpose::Writing), ExitCode::FAILURE)
            }
        };
        if let Some(help) = help {
            complain(format_args!("help: {help}"));
        }
        code
    }
}

fn existing(force: bool) -> Existing {
    if force { Existing::Replaced } else { Existing::Kept }
}

/// Writes a certificate and its key, and says so.
fn written(issued: &Issued, certificate: &Path, key: &Path, making: &Making) -> Result<String, Failure> {
    let outputs = [
        Output { path: key.to_owned(), text: issued.key.clone(), readers: Readers::Owner },
        Output { path: certificate.to_owned(), text: issued.chain.clone(), readers: Readers::Everybody },
    ];
    files::write(&outputs, existing(making.force))?;
    let mut said = format!(
        "{}\n  {}, valid until {}\n{}\n  its private key: keep it secret\n",
        certificate.display(),
        issued.subject,
        issued.ends,
        key.display()
    );
    for note in &issued.notes {
        said.push_str(&format!("note: {note}\n"));
    }
    Ok(said)
}
