//! `xspgate run`: serves until it is told to stop.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::ConfigFile;
use super::check::{UNUSABLE, judge};
use super::guide::Guide;
use super::output::notify;
use crate::app::{Gateway, Predecessor};
use crate::config;
use crate::config::error::Report;
use crate::config::model::Config;
use crate::drain::Phase;
use crate::supervisor;
use crate::telemetry::{self, InstallError, lines};

/// How long the gateway says that it is not ready, and still serves, before it stops accepting.
const LAME_DUCK: Duration = Duration::from_secs(1);

/// What `run --help` says.
pub(super) const ABOUT: &str = "\
Run the gateway until SIGTERM or SIGINT.

Served addresses and problems of the configuration are printed to standard error. Log messages and the access log go to \
standard output, or where [log] says.

SIGTERM or SIGINT: from now on each answer is the last one on its connection, and /readyz answers 503. After a second, the \
gateway accepts no more connections, and those that are open have drain_timeout to end. The remaining ones are cut, spread \
over drain_spread. A second signal ends the gateway at once.

SIGHUP reads the configuration again, with its certificates, keys, CAs and affinity keys. Either all of it is applied, \
without an interruption, or nothing, and the log says why. Changed certificates, keys and CAs are applied within seconds \
without a signal, the configuration only with reload_on_change. The log names settings that take a restart.

SIGUSR2 starts the program that is on disk now, with the same configuration file, and hands over the listening sockets and \
the state. This process then accepts no more connections and drains. No connection is refused or reset. If the new process \
can't start, this one continues, and the log says why. `xspgate ctl restart` does the same and waits for the outcome.

Each client takes an open file, and each connection to an XSP takes one: set `ulimit -n` to twice limits.connections.";

/// Examples and exit codes.
pub(super) const GUIDE: Guide = Guide {
    command: "run",
    examples: &[
        ("xspgate run /etc/xspgate/xspgate.toml", "serve by that file until a signal"),
        ("xspgate run --take-over /etc/xspgate/xspgate.toml", "the same, and take over from a running gateway"),
    ],
    exit: Some([
        "stopped, as it was told to",
        "could not start (a port is taken, for example), or failed",
        "the command line or the configuration can't be used",
    ]),
};

/// What `run` takes.
#[derive(Args, Debug)]
pub struct Run {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Take over from the gateway with this control socket (without a file: the one of the configuration), if one runs; that
    /// gateway then drains. `-`: from the process at the other end of standard input
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    pub take_over: Option<Option<PathBuf>>,
    /// Start the same without this, and end
    #[arg(long, hide = true)]
    pub detach: bool,
}

/// Runs the gateway: exit code 0 after a stop that was asked for, 1 when it could not start or went on no longer, 2 when
/// the configuration is unusable.
pub fn run(options: Run) -> ExitCode {
    let code = run_to_end(options);
    lines::flush();
    code
}

fn run_to_end(options: Run) -> ExitCode {
    if options.detach {
        return detach();
    }
    let Some(path) = options.config.path() else { return ExitCode::from(UNUSABLE) };
    let starter = match options.take_over.as_ref().and_then(Option::as_deref) {
        Some(from) if from == Path::new("-") => match Predecessor::at_stdin() {
            Ok(starter) => Some(starter),
            Err(error) => return failed(&error),
        },
        Some(_) | None => None,
    };
    // What hands over waits for this one, and not for who may write to a pipe.
    let read = if starter.is_some() { config::read_again } else { config::read };
    let (loaded, material) = match read(&path).and_then(judge) {
        Ok(loaded) => loaded,
        Err(report) => {
            notify(&report);
            starter.into_iter().for_each(|starter| starter.refuse(&report.to_string()));
            return ExitCode::from(UNUSABLE);
        }
    };
    // Before all else, since it is what fails first on a busy day, and nobody looks for it then.
    note_open_files(loaded.config.limits.connections);
    notify(Report::new(loaded.source.clone(), loaded.warnings.clone()));
    if let Err(error) = telemetry::install(&loaded.config.log) {
        notify(format_args!("error: {error}"));
        return match error {
            InstallError::Level(_) => ExitCode::from(UNUSABLE),
            InstallError::Output(_) => ExitCode::FAILURE,
        };
    }
    telemetry::log_panics();
    let served = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
        let asks = {
            let _inside = runtime.enter();
            Asks::new()?
        };
        let gateway = match predecessor(starter, options.take_over, &loaded.config)? {
            Some(predecessor) => Gateway::take_over(&loaded, &material, predecessor)?,
            None => Gateway::start(&loaded, &material)?,
        };
        serve(&path, gateway, &runtime, asks)
    };
    match served() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// Starts the program once more, for it to belong to nobody who has started this one.
fn detach() -> ExitCode {
    let mut arguments = std::env::args_os();
    let started = arguments.next().context("no program").and_then(|program| {
        Ok(Command::new(program).args(arguments.filter(|argument| argument != "--detach")).spawn()?)
    });
    match started {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => failed(&error.context("can't start once more")),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    notify(format_args!("error: {error:#}"));
    ExitCode::FAILURE
}

/// Whose place is taken, if anybody's: that of `starter`, who waits for it, or that of anyone who has the control socket.
fn predecessor(
    starter: Option<Predecessor>,
    take_over: Option<Option<PathBuf>>,
    config: &Config,
) -> Result<Option<Predecessor>> {
    let Some(from) = take_over else { return Ok(None) };
    if starter.is_some() {
        return Ok(starter);
    }
    let socket = from.or_else(|| config.control.clone());
    let socket = socket.context("--take-over needs [control] socket in the configuration, or the socket's path")?;
    let found = Predecessor::at(&socket)?;
    if found.is_none() {
        notify(format_args!("note: no gateway answers at {}: there is nothing to take over", socket.display()));
    }
    Ok(found)
}

/// Says so if the system lets this process open fewer files than its connections need: one for each client, and about as
/// many towards XSPs.
fn note_open_files(connections: usize) {
    let Some(allowed) = std::fs::read_to_string("/proc/self/limits").ok().as_deref().and_then(open_files) else {
        return;
    };
    let needed = connections.saturating_mul(2);
    if allowed < needed {
        notify(format_args!(
            "warning: {allowed} open files are allowed, and limits.connections = {connections} takes about {needed}: new \
             connections fail when they run out\nhelp: `ulimit -n {needed}` before the start, LimitNOFILE={needed} in \
             the service, or a lower limits.connections\n"
        ));
    }
}

/// The soft limit of open files; `None`: there is none.
fn open_files(limits: &str) -> Option<usize> {
    limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?.parse().ok()
}

fn serve(config: &Path, mut gateway: Gateway, runtime: &Runtime, asks: Asks) -> Result<()> {
    // Said whatever the log's level: with port 0 nobody could know them otherwise.
    for address in gateway.https() {
        notify(format_args!("serving HTTPS on {address}"));
    }
    for address in gateway.cti() {
        notify(format_args!("serving CTI on {address}"));
    }
    for address in gateway.passthrough() {
        notify(format_args!("serving pass-through on {address}"));
    }
    if let Some(address) = gateway.admin() {
        notify(format_args!("serving /metrics, /status and the status page on {address}"));
    }
    tracing::info!(file.path = %config.display(), service.version = env!("CARGO_PKG_VERSION"), "started");
    runtime.block_on(async {
        let mut signals = Signals::new(asks)?;
        supervisor::ready();
        match signals.until_end(&mut gateway).await? {
            End::Stop => {
                tracing::info!("stopping; a second signal ends at once");
                gateway.enter(Phase::LameDuck);
                gateway.stop_those_before();
                let asked_again = gateway.asked_to_stop();
                tokio::select! {
                    () = async {
                        tokio::time::sleep(LAME_DUCK).await;
                        gateway.drain().await;
                    } => {}
                    () = signals.stops.come() => {}
                    () = asked_again => {}
                }
            }
            End::Succeeded => {
                tracing::info!("draining; a signal cuts the remaining connections, and a second one ends at once");
                let (asked, misdirected) = (gateway.asked_to_stop(), gateway.misdirected());
                let Signals { stops, asks } = &mut signals;
                let ending = async {
                    let by_word = tokio::select! {
                        ended = gateway.outlive() => return ended,
                        () = stops.come() => false,
                        () = asked => true,
                    };
                    let insisted = async {
                        // A service manager signals all processes, and the newest has passed the word on by then: that is one stop.
                        if by_word {
                            stops.come().await;
                        }
                        stops.come().await;
                    };
                    let cutting = async {
                        gateway.cut().await;
                        gateway.outlived().await;
                    };
                    tokio::select! {
                        () = cutting => {}
                        () = insisted => {}
                    }
                    Ok(())
                };
                tokio::select! {
                    ended = ending => ended?,
                    () = asks.ignored(misdirected) => {}
                }
            }
        }
        anyhow::Ok(())
    })?;
    gateway.take_leave();
    drop(gateway);
    tracing::info!("stopped");
    Ok(())
}

/// Why a gateway serves no more.
enum End {
    /// Somebody has said so.
    Stop,
    /// Another process does in its place.
    Succeeded,
}

/// The signals that ask for something. Listened to before anything is served: who is told that this is the process now may
/// ask it at once, and the signal would end it.
struct Asks {
    hangup: Signal,
    user: Signal,
}

impl Asks {
    fn new() -> Result<Self> {
        Ok(Self {
            hangup: listen(SignalKind::hangup(), "SIGHUP")?,
            user: listen(SignalKind::user_defined2(), "SIGUSR2")?,
        })
    }

    /// Has `misdirected` say of each that it does nothing, for ever.
    async fn ignored(&mut self, misdirected: impl Fn(&str)) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => misdirected("SIGHUP"),
                _ = self.user.recv() => misdirected("SIGUSR2"),
            }
        }
    }
}

/// The signals that say to stop.
struct Stops {
    terminate: Signal,
    interrupt: Signal,
}

impl Stops {
    /// Ready when one has come.
    async fn come(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The signals that are listened to.
struct Signals {
    stops: Stops,
    asks: Asks,
}

fn listen(kind: SignalKind, name: &str) -> Result<Signal> {
    signal(kind).with_context(|| format!("can't listen for {name}"))
}

impl Signals {
    fn new(asks: Asks) -> Result<Self> {
        let stops = Stops {
            terminate: listen(SignalKind::terminate(), "SIGTERM")?,
            interrupt: listen(SignalKind::interrupt(), "SIGINT")?,
        };
        Ok(Self { stops, asks })
    }

    /// Does what signals say, for as long as `gateway` serves.
    async fn until_end(&mut self, gateway: &mut Gateway) -> Result<End> {
        loop {
            let (asked, succeeded) = (gateway.asked_to_stop(), gateway.succeeded());
            tokio::select! {
                () = self.stops.come() => return Ok(End::Stop),
                () = asked => return Ok(End::Stop),
                () = succeeded => return Ok(End::Succeeded),
                // What comes of these two is in the log.
                _ = self.asks.hangup.recv() => drop(gateway.reload()),
                _ = self.asks.user.recv() => gateway.restart(),
                // Workers without connections end at once when another process takes over.
                () = gateway.ended() => match gateway.phase() {
                    Phase::HandedOver => return Ok(End::Succeeded),
                    Phase::Running | Phase::LameDuck | Phase::Draining | Phase::Cutting | Phase::Forced => {
                        bail!("a thread ended that should not have")
                    }
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_is_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max processes             95                   95                   processes\n\
                      Max open files            1024                 524288               files\n";
        assert_eq!(open_files(limits), Some(1024));
        assert_eq!(open_files(&limits.replace("1024", "unlimited")), None);
        assert_eq!(open_files(""), None);
    }
}
