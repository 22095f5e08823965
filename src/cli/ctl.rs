//! `xspgate ctl`: asks a running gateway over its Unix socket.

mod asking;
mod connections;
mod drain;
mod names;
mod processes;
mod table;
mod whom;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::{ArgGroup, Args, Subcommand};

use self::asking::ask;
use self::whom::Named;
use super::check::{failed, print};
use super::guide::Guide;
use super::output::complain;
use crate::config;
use crate::config::error::printable;
use crate::config::types::Leaf;
use crate::config::types::amount::Time;
use crate::control::{Request, SOCKET, Whom, Whose};

/// Names the socket where `--socket` does not.
const VARIABLE: &str = "XSPGATE_SOCKET";
/// The configuration of the package, whose [control] names the socket where nothing else does.
const CONFIGURATION: &str = "/etc/xspgate/xspgate.toml";
/// How often `--watch` looks.
const EVERY: Duration = Duration::from_secs(1);
/// The longest block by hand.
const DAY: u64 = 24 * 3600 * 1000;

/// What `ctl --help` says.
pub(super) const ABOUT: &str = "\
Ask a running gateway, or tell it what to do, over its Unix socket ([control] socket in its configuration).

XSPs are named by address, by address and port, or by their name in SRV records; --farm limits a command to one farm. The log \
records what is done by hand, and by which user. It survives a reload and `restart`, and ends when the gateway stops. After a \
`restart`, `drain`, `undrain`, `cut`, `connections` and `status` apply to all processes.

`drain` takes an XSP out for maintenance: it gets no new sessions, event channels or connections, and keeps what it has; \
`status` shows how much that is.";

/// Examples and exit codes.
pub(super) const GUIDE: Guide = Guide {
    command: "ctl",
    examples: &[
        ("xspgate ctl status --watch", "every XSP with its state and load, each second"),
        ("xspgate ctl drain 192.0.2.21", "before maintenance: that XSP gets nothing new"),
        ("xspgate ctl drain 192.0.2.21 --wait --timeout 2h", "and return when nothing is left there"),
        (
            "xspgate ctl drain 192.0.2.21 --cut-after 5m --wait",
            "CTI connections last for days: cut the remaining ones after 5 minutes",
        ),
        ("xspgate ctl undrain 192.0.2.21", "after maintenance"),
        (
            "xspgate ctl connections 192.0.2.21",
            "its event channels, CTI and pass-through connections, of all processes",
        ),
        ("xspgate ctl cut 198.51.100.7", "end the connections of that client"),
        ("xspgate ctl block 192.0.2.21 --for 10m", "treat it as failed: its sessions move to other XSPs"),
        ("xspgate ctl reload", "as SIGHUP, and print the outcome"),
        ("xspgate ctl restart", "after an upgrade: a new process takes over, and the old one drains"),
        ("xspgate ctl reopen", "after the access log's file was renamed (logrotate)"),
        ("xspgate ctl log info,xspgate::discover=debug", "log more about DNS; `xspgate ctl log` ends that"),
    ],
    exit: Some(["done", "refused, with the reason, or no gateway answers", "the command line can't be used"]),
};

/// What `ctl` takes.
#[derive(Args, Debug)]
pub struct Ctl {
    /// The gateway's control socket [default: XSPGATE_SOCKET, else [control] of /etc/xspgate/xspgate.toml, else
    /// /run/xspgate/control.sock]
    #[arg(long, value_name = "FILE", global = true)]
    socket: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show farms and XSPs with their state
    Status {
        /// Print it in JSON, as /status
        #[arg(long)]
        json: bool,
        /// Refresh each second until interrupted, even while no gateway answers
        #[arg(long, conflicts_with = "json")]
        watch: bool,
    },
    /// Give an XSP no new sessions, event channels and connections
    Drain {
        #[command(flatten)]
        xsp: Named,
        /// Wait until it has no event channel, CTI or pass-through connection left; requests in flight, which take seconds,
        /// are not waited for. Ends with exit code 1 when somebody undrains it
        #[arg(long)]
        wait: bool,
        /// Stop waiting after this time, such as 30m, with exit code 1
        #[arg(long, value_name = "TIME", value_parser = time, requires = "wait")]
        timeout: Option<Duration>,
        /// Drain it even if no other XSP of its farm is up
        #[arg(long)]
        force: bool,
        /// Cut the remaining connections after this time, one after the other, unless the XSP is undrained before. A later drain
        /// without it keeps the time, and says so
        #[arg(long, value_name = "TIME", value_parser = time)]
        cut_after: Option<Duration>,
    },
    /// End the event channels, CTI and pass-through connections of an XSP or of a client, one after the other
    Cut {
        /// An XSP, as `drain` takes it, or a client: its address, or a name in its certificate's subject
        #[arg(value_name = "XSP|CLIENT")]
        whose: String,
        /// Only in this farm
        #[arg(long)]
        farm: Option<String>,
    },
    /// Show event channels, CTI and pass-through connections, the oldest first
    Connections {
        /// Only those of an XSP or of a client, as `cut` takes them
        #[arg(value_name = "XSP|CLIENT")]
        whose: Option<String>,
        /// Only in this farm
        #[arg(long)]
        farm: Option<String>,
        /// Print them in JSON
        #[arg(long)]
        json: bool,
    },
    /// Undo drain: give an XSP new sessions, event channels and connections again
    Undrain(Named),
    /// Block an XSP as if it had failed
    Block {
        #[command(flatten)]
        xsp: Named,
        /// Block it for this time, such as 10m [default: block_for of the farm]
        #[arg(long = "for", value_name = "TIME", value_parser = time)]
        time: Option<Duration>,
    },
    /// Take an XSP off the blocklist, or all of them
    #[command(group(ArgGroup::new("which").required(true)))]
    Unblock {
        /// Address, address:port, or the name of an SRV target
        #[arg(value_name = "XSP", group = "which")]
        xsp: Option<String>,
        /// Only in this farm
        #[arg(long)]
        farm: Option<String>,
        /// All XSPs that are blocked or on probation, of this farm or of every one
        #[arg(long, value_name = "FARM", num_args = 0..=1, group = "which")]
        #[expect(clippy::option_option, reason = "the outer one says whether it is given")]
        all: Option<Option<String>>,
    },
    /// Read the configuration again
    Reload,
    /// Start the program again and hand over to it: no connection is refused or reset
    Restart,
    /// Stop as on SIGTERM; a second call stops at once
    Stop,
    /// Change the log level until the next restart
    Log {
        /// A level, such as debug, or levels by module; without it, what the configuration says
        #[arg(value_name = "LEVEL")]
        level: Option<String>,
    },
    /// Reopen the access log's file after a rotation
    Reopen,
    /// Print the names of XSPs or farms, for shells
    #[command(hide = true)]
    Names {
        /// Whose names
        kind: names::Kind,
    },
}

fn time(text: &str) -> Result<Duration, String> {
    Time::<1, DAY>::text(text).map(|time| time.0).map_err(|refusal| {
        let (message, help): (String, Option<String>) = refusal.into();
        help.map_or(message.clone(), |help| format!("{message}: {help}"))
    })
}

/// Asks, and prints the answer: 0 when it is done, 1 when it is refused or nobody answers.
pub fn ctl(options: Ctl) -> ExitCode {
    let socket = &options.socket.unwrap_or_else(socket);
    let request = match options.command {
        Command::Status { json: true, .. } => return done_in_json(ask(socket, &Request::Status)),
        Command::Status { watch: true, .. } => return watch(socket),
        Command::Status { .. } => return done(status(socket)),
        Command::Cut { whose, farm } => Request::Cut(Whose::of(Some(whose), farm)),
        Command::Connections { whose, farm, json } => {
            let told = ask(socket, &Request::Connections(Whose::of(whose, farm)));
            return match json {
                true => done_in_json(told),
                false => done(told.and_then(|told| connections::of(&told))),
            };
        }
        Command::Drain { xsp, wait, timeout, force, cut_after } => {
            let whom = Whom::from(xsp);
            let request = match (cut_after, force) {
                (Some(after), _) => Request::DrainThenCut { whom: whom.clone(), force, seconds: after.as_secs_f64() },
                (None, true) => Request::ForceDrain(whom.clone()),
                (None, false) => Request::Drain(whom.clone()),
            };
            let drained = ask(socket, &request);
            if !wait || drained.is_err() {
                return done(drained);
            }
            return match done(drained) {
                ExitCode::SUCCESS => drain::wait(socket, &whom, timeout),
                unsaid => unsaid,
            };
        }
        Command::Undrain(xsp) => Request::Undrain(xsp.into()),
        Command::Block { xsp, time } => Request::Block(xsp.into(), time.map(|time| time.as_secs_f64())),
        Command::Unblock { all: Some(of), farm, .. } => match (of, farm) {
            (Some(of), Some(farm)) if of != farm => {
                return done(Err(anyhow!("--all {of} and --farm {farm} name two farms: name one")));
            }
            (of, farm) => Request::UnblockAll(of.or(farm)),
        },
        Command::Unblock { xsp, farm, all: None } => {
            Request::Unblock(Named { xsp: xsp.unwrap_or_default(), farm }.into())
        }
        Command::Reload => Request::Reload,
        Command::Restart => Request::Restart,
        Command::Stop => Request::Stop,
        Command::Log { level } => Request::Log(level),
        Command::Reopen => Request::Reopen,
        Command::Names { kind } => return names::names(socket, kind),
    };
    done(ask(socket, &request))
}

/// Where the gateway is, unless somebody says so.
fn socket() -> PathBuf {
    if let Some(named) = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
        return named.into();
    }
    // Other faults in the file don't matter to somebody who asks a gateway that runs.
    let reading = config::read(Path::new(CONFIGURATION)).ok();
    reading.and_then(|reading| reading.partial.control).unwrap_or_else(|| SOCKET.into())
}

/// Prints an answer for people: nothing that the gateway has been told by others steers the terminal.
fn done(answer: Result<String>) -> ExitCode {
    print_done(answer.map(|text| visible(&text)))
}

/// Prints an answer for programs.
fn done_in_json(answer: Result<String>) -> ExitCode {
    print_done(answer)
}

fn print_done(answer: Result<String>) -> ExitCode {
    match answer {
        Ok(text) => print(&format!("{}\n", text.trim_end())),
        Err(error) => {
            complain(format_args!("error: {}", visible(&format!("{error:#}"))));
            ExitCode::FAILURE
        }
    }
}

fn visible(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}

fn status(socket: &Path) -> Result<String> {
    let status = ask(socket, &Request::Status)?;
    let unreadable = "the gateway's status can't be read";
    let table = table::of(&serde_json::from_str(&status).context(unreadable)?)?;
    Ok(table + &processes::of(&serde_json::from_str(&status).context(unreadable)?)?)
}

fn watch(socket: &Path) -> ExitCode {
    loop {
        let text = match status(socket) {
            Ok(text) => visible(&text) + "\n",
            // Anyone who watches a gateway that is about to start wants to see it come.
            Err(error) => {
                let said = visible(&format!("{error:#}"));
                format!("{}; trying again\n", said.lines().next().unwrap_or_default())
            }
        };
        let screen = match std::io::stdout().is_terminal() {
            // Home, each line with what was there wiped off, and the rest of the screen.
            true => format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n")),
            false => format!("{text}\n"),
        };
        if let Some(ended) = failed(std::io::stdout().write_all(screen.as_bytes())) {
            return ended;
        }
        std::thread::sleep(EVERY);
    }
}
