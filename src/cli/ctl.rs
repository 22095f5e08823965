//! `xspgate ctl`: asks a running gateway over its Unix socket.

mod connections;
mod drain;
mod names;
mod processes;
mod table;
mod whom;

use std::io::{BufRead, BufReader, ErrorKind, IsTerminal, Write};
use std::net::Shutdown;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::{ArgGroup, Args, Subcommand};

use self::whom::Named;
use super::check::print;
use super::guide::Guide;
use super::output::complain;
use crate::config;
use crate::config::error::printable;
use crate::config::obstacle::{self, Purpose};
use crate::config::types::Leaf;
use crate::config::types::amount::Time;
use crate::control::{Reply, Request, SOCKET, Whom, Whose, connect};

/// The longest that a gateway may take to answer what it only has to say.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same for what it has to do: a reload waits for the XSPs of a new farm, a restart for the new process.
const LONG_PATIENCE: Duration = Duration::from_secs(30);
/// What becomes of a call that was not answered in time.
const DROPPED: &str = "\nhelp: it drops the call when it goes on, unless it had begun, or is of an earlier version: see `xspgate ctl \
                       status` then";
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
        Command::Status { json: true, .. } => return done(ask(socket, &Request::Status)),
        Command::Status { watch: true, .. } => return watch(socket),
        Command::Status { .. } => return done(status(socket)),
        Command::Cut { whose, farm } => Request::Cut(Whose::of(Some(whose), farm)),
        Command::Connections { whose, farm, json } => {
            let told = ask(socket, &Request::Connections(Whose::of(whose, farm)));
            return done(if json { told } else { told.and_then(|told| connections::of(&told)) });
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

/// How long the gateway may take.
const fn patience(request: &Request) -> Duration {
    match request {
        Request::Reload | Request::Restart | Request::TakeOver => LONG_PATIENCE,
        Request::Status
        | Request::Drain(_)
        | Request::ForceDrain(_)
        | Request::DrainThenCut { .. }
        | Request::Cut(_)
        | Request::Connections(_)
        | Request::Undrain(_)
        | Request::Block(..)
        | Request::Unblock(_)
        | Request::UnblockAll(_)
        | Request::Stop
        | Request::Log(_)
        | Request::Reopen => PATIENCE,
    }
}

fn done(answer: Result<String>) -> ExitCode {
    match answer {
        Ok(text) => print(&format!("{}\n", text.trim_end())),
        Err(error) => {
            complain(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn status(socket: &Path) -> Result<String> {
    let status = ask(socket, &Request::Status)?;
    let unreadable = "the gateway's status can't be read";
    let table = table::of(&serde_json::from_str(&status).context(unreadable)?)?;
    Ok(table + &processes::of(&serde_json::from_str(&status).context(unreadable)?)?)
}

fn watch(socket: &Path) -> ExitCode {
    let mut answered = false;
    loop {
        let text = match status(socket) {
            Ok(text) => text,
            // Who watches a gateway that is started anew wants to see it come back.
            Err(error) if answered => {
                let said = format!("{error:#}");
                format!("{}; trying again\n", said.lines().next().unwrap_or_default())
            }
            Err(error) => return done(Err(error)),
        };
        answered = true;
        let screen = match std::io::stdout().is_terminal() {
            // Home, each line with what was there wiped off, and the rest of the screen.
            true => format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n")),
            false => format!("{text}\n"),
        };
        match std::io::stdout().write_all(screen.as_bytes()) {
            Ok(()) => {}
            // Nobody watches any more.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
            Err(_) => return ExitCode::FAILURE,
        }
        std::thread::sleep(EVERY);
    }
}

fn ask(socket: &Path, request: &Request) -> Result<String> {
    ask_within(patience(request), socket, request)
}

/// The answer, if it comes in time.
fn ask_within(patience: Duration, socket: &Path, request: &Request) -> Result<String> {
    let shown = socket.display();
    let silent = |waited: Duration| {
        let help = if request.only_asks() { "" } else { DROPPED };
        let seconds = waited.as_secs();
        format!(
            "the gateway at {shown} has not answered within {seconds} s: its process is stopped (SIGSTOP, a debugger), or the \
             machine is overloaded{help}"
        )
    };
    let is_silence = |error: &std::io::Error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
    // Where nobody takes calls, many wait already.
    let (until, short) = (Instant::now() + patience, patience.min(PATIENCE));
    let mut call = connect(socket, short).map_err(|error| match is_silence(&error) {
        true => anyhow!(silent(short)),
        false => {
            let help = match error.kind() == ErrorKind::PermissionDenied {
                true => "\nhelp: only the gateway's user and root may use it".to_owned(),
                false => obstacle::line(socket, &error, Purpose::Reading),
            };
            anyhow!(
                "no gateway answers at {shown}: {error}; is it running, as this user's or by root, with [control] \
                 socket there? --socket or {VARIABLE} names another place{help}"
            )
        }
    })?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    // A gateway that does not hear this user may have hung up already, and has said why.
    drop(call.write_all(&line).and_then(|()| call.shutdown(Shutdown::Write)));
    let mut line = Vec::new();
    let mut answer = BufReader::new(&call);
    let read = match answer.read_until(b'\n', &mut line) {
        Err(error) if is_silence(&error) && patience > PATIENCE => {
            complain(format_args!(
                "`{}` has taken {} s so far: a reload or restart that is under way comes first, and XSPs of new farms are waited \
                 for; waiting up to {} s",
                request.name(),
                PATIENCE.as_secs(),
                patience.as_secs()
            ));
            let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            call.set_read_timeout(Some(left))?;
            answer.read_until(b'\n', &mut line)
        }
        read => read,
    };
    read.map_err(|error| match is_silence(&error) {
        true => anyhow!(silent(patience)),
        false => anyhow!(error).context(format!("no answer from the gateway at {shown}")),
    })?;
    if line.is_empty() {
        bail!("the gateway at {shown} hangs up");
    }
    match serde_json::from_slice(&line).context("its answer can't be read; is it of another version?")? {
        Reply::Done(text) => Ok(lines(&text)),
        Reply::Refused(why) => bail!(lines(&why)),
    }
}

/// Nothing that was said steers the terminal.
fn lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}
