//! `xspgate doctor`: tries a whole deployment as Webex would. Separate from `check`, which looks at nothing in the network.

mod password;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::check::{UNUSABLE, load, print};
use super::guide::Guide;
use super::output::complain;
use crate::config::error::Report as Problems;
use crate::config::types::amount::Time;
use crate::config::types::network::DnsServer;
use crate::config::types::{Leaf, Refusal};
use crate::doctor::finding::{Report, Standing};
use crate::doctor::{self, Login, Options, Outside, Public, Url};

/// What `doctor --help` says.
pub(super) const ABOUT: &str = "\
Try a whole deployment as Webex would, and say what is wrong and what to do.

With a configuration: looks up its names; connects to every XSP as the gateway does, with the farm's trust and certificate; \
asks for each interface's probe path; compares clocks; and tries the gateway's own listeners, name by name, if it runs. XSPs and listeners that demand a client \
certificate must reject clients without one.

--from-outside needs no configuration: it takes the URLs that Webex is given (cti:// for a CTI interface).

Nothing is changed: requests are GETs that need no credentials. Only with --user, an event channel is opened, sent a \
heartbeat, and deleted again; give it a user of its own. Each check is one of:
  ok    as it should be
  warn  works, and should be another way
  fail  does not work
  skip  was not tried, for the reason that is given

The whole takes two minutes at most.";

/// Examples and exit codes.
pub(super) const GUIDE: Guide = Guide {
    command: "doctor",
    examples: &[
        ("xspgate doctor /etc/xspgate/xspgate.toml", "try names, XSPs and the gateway itself"),
        (
            "xspgate doctor --from-outside \\\n    https://xsp.example.com cti://xsp.example.com:8012",
            "as Webex sees it, from any machine",
        ),
        (
            "xspgate doctor --connect 192.0.2.1:443 --from-outside https://xsp.example.com",
            "a new gateway, before DNS points to it",
        ),
    ],
    exit: Some([
        "nothing failed, perhaps with warnings",
        "something failed",
        "the command line or the configuration can't be used",
    ]),
};

/// What `doctor` takes.
#[derive(Args, Debug)]
pub struct Doctor {
    /// The configuration file
    #[arg(value_name = "FILE", required_unless_present_any = ["config", "from_outside"])]
    file: Option<PathBuf>,
    /// The configuration file, as an option
    #[arg(short = 'c', long = "config", value_name = "FILE", conflicts_with = "file")]
    config: Option<PathBuf>,
    /// Look from outside at these URLs instead, without a configuration
    #[arg(long, value_name = "URL", num_args = 1.., conflicts_with_all = ["file", "config"])]
    from_outside: Vec<Url>,
    /// Connect to this address, wherever DNS points: to try a gateway before clients find it
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with_all = ["file", "config"])]
    connect: Option<SocketAddr>,
    /// Trust these CAs (PEM) on the public side, besides those of this machine
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Ask this DNS server for public names, instead of the configured one or this machine's
    #[arg(long, value_name = "ADDRESS", value_parser = dns_server)]
    dns: Option<SocketAddr>,
    /// Try an event channel and its heartbeat as this BroadWorks user
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// The file that holds the user's password; without it, the variable XSPGATE_PASSWORD does
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// Timeout of one step, such as a look-up, connect, handshake or answer: 100ms to 1m
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = patience)]
    timeout: Duration,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// Why nothing could be tried.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Configuration(Problems),
    #[error("error: --ca: {0}")]
    Trust(#[from] doctor::TrustError),
    #[error("error: {0}")]
    Password(#[from] password::PasswordError),
    #[error("error: {0}")]
    Setup(#[from] crate::tls::setup::SetupError),
    #[error("error: no runtime: {0}")]
    Runtime(#[source] std::io::Error),
}

/// Looks, and prints what was found: exit code 0 if nothing failed, 1 if something did, 2 when there was nothing to go by.
pub fn doctor(options: &Doctor) -> ExitCode {
    let report = match look(options) {
        Ok(report) => report,
        Err(failure) => {
            complain(failure.to_string().trim_end());
            return match failure {
                Failure::Runtime(_) => ExitCode::FAILURE,
                Failure::Configuration(_) | Failure::Trust(_) | Failure::Password(_) | Failure::Setup(_) => {
                    ExitCode::from(UNUSABLE)
                }
            };
        }
    };
    let printed = print(&if options.json { report.json() } else { report.to_string() });
    if report.verdict() == Standing::Fail { ExitCode::FAILURE } else { printed }
}

fn look(options: &Doctor) -> Result<Report, Failure> {
    let login = match &options.user {
        Some(user) => Some(Login::new(user, &password::read(options.password_file.as_deref())?)),
        None => None,
    };
    let how =
        Options { public: Public::load(options.ca.as_deref())?, patience: options.timeout, dns: options.dns, login };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Runtime)?;
    let Some(path) = options.file.as_ref().or(options.config.as_ref()) else {
        let outside = Outside { urls: options.from_outside.clone(), connect: options.connect };
        return Ok(runtime.block_on(Box::pin(doctor::outside(&outside, &how))));
    };
    let (loaded, material) = load(path).map_err(Failure::Configuration)?;
    complain(Problems::new(loaded.source, loaded.warnings));
    Ok(runtime.block_on(Box::pin(doctor::deployment(&loaded.config, &material, &how)))?)
}

fn dns_server(text: &str) -> Result<SocketAddr, String> {
    DnsServer::text(text).map(|server| server.0).map_err(told)
}

fn patience(text: &str) -> Result<Duration, String> {
    Time::<100, 60_000>::text(text).map(|time| time.0).map_err(told)
}

/// On one line, as clap shows it.
fn told(refusal: Refusal) -> String {
    let text = refusal.to_string();
    let (message, help) = Refusal::split(&text);
    help.map_or_else(|| message.to_owned(), |help| format!("{message}; {help}"))
}
