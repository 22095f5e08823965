//! `xspgate run`: serves until it is told to stop.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::ConfigFile;
use super::check::{UNUSABLE, load};
use super::guide::Guide;
use crate::app::Gateway;
use crate::config::error::Report;
use crate::drain::Phase;
use crate::{supervisor, telemetry};

/// How long the gateway says that it is not ready, and still serves, before it stops accepting.
const LAME_DUCK: Duration = Duration::from_secs(1);

/// What `run --help` says.
pub(super) const ABOUT: &str = "\
Run the gateway until SIGTERM or SIGINT.

The addresses that are served are printed to standard error, problems of the configuration too; logs and the access log \
go to standard output, as [log] says. After the first signal /readyz says 503 for a second, then no new connection is \
accepted, and what is in flight has drain_timeout to end; what is left then is cut, drain_rate connections a second. A \
second signal ends at once.

SIGHUP reads the configuration again, and certificates, keys, CAs and affinity keys with it: all of it is taken over while \
everything goes on, or nothing, and the log says why. These files are taken over within seconds by themselves when they \
change, the configuration only with reload_on_change. What takes a restart is named.

Each client takes an open file, and so does each connection to an XSP: set `ulimit -n` to twice limits.connections.";

/// Examples and exit codes.
pub(super) const GUIDE: Guide = Guide {
    command: "run",
    examples: &[("xspgate run /etc/xspgate/xspgate.toml", "serve what that file says, until a signal")],
    exit: Some([
        "stopped, as it was told to",
        "could not start (a port is taken, say) or go on",
        "the command line or the configuration can't be used",
    ]),
};

/// What `run` takes.
#[derive(Args, Debug)]
pub struct Run {
    /// Where the configuration is.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// Runs the gateway: exit code 0 after a stop that was asked for, 1 when it could not start or went on no longer, 2 when
/// the configuration is unusable.
pub fn run(options: Run) -> ExitCode {
    let Some(path) = options.config.path() else { return ExitCode::from(UNUSABLE) };
    let (loaded, material) = match load(&path) {
        Ok(loaded) => loaded,
        Err(report) => {
            eprint!("{report}");
            return ExitCode::from(UNUSABLE);
        }
    };
    eprint!("{}", Report::new(loaded.source.clone(), loaded.warnings.clone()));
    if let Err(error) = telemetry::install(&loaded.config.log) {
        eprintln!("error: [log] level: {error}");
        return ExitCode::from(UNUSABLE);
    }
    note_open_files(loaded.config.limits.connections);
    let served = Gateway::start(&loaded, &material).and_then(|gateway| serve(&path, gateway));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Says so if the system lets this process open fewer files than its connections need: one for each client, and about as
/// many towards XSPs.
fn note_open_files(connections: usize) {
    let Some(allowed) = std::fs::read_to_string("/proc/self/limits").ok().as_deref().and_then(open_files) else {
        return;
    };
    let needed = connections.saturating_mul(2);
    if allowed < needed {
        eprintln!(
            "note: {allowed} open files are allowed, and limits.connections = {connections} takes about {needed}: \
             see `ulimit -n`"
        );
    }
}

/// The soft limit of open files; `None`: there is none.
fn open_files(limits: &str) -> Option<usize> {
    limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?.parse().ok()
}

fn serve(config: &Path, mut gateway: Gateway) -> Result<()> {
    // Said whatever the log's level: with port 0 nobody could know them otherwise.
    for address in gateway.https() {
        eprintln!("serving HTTPS on {address}");
    }
    for address in gateway.cti() {
        eprintln!("serving CTI on {address}");
    }
    for address in gateway.passthrough() {
        eprintln!("serving pass-through on {address}");
    }
    if let Some(address) = gateway.admin() {
        eprintln!("serving /metrics, /status and the status page on {address}");
    }
    tracing::info!(config = %config.display(), version = env!("CARGO_PKG_VERSION"), "started");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("can't listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("can't listen for SIGINT")?;
        let mut hangup = signal(SignalKind::hangup()).context("can't listen for SIGHUP")?;
        supervisor::ready();
        loop {
            let asked = gateway.asked_to_stop();
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                () = asked => break,
                // What comes of it is in the log.
                _ = hangup.recv() => drop(gateway.reload()),
                () = gateway.ended() => bail!("a thread ended that should not have"),
            }
        }
        tracing::info!("stopping; a second signal ends at once");
        gateway.enter(Phase::LameDuck);
        let asked_again = gateway.asked_to_stop();
        tokio::select! {
            () = async {
                tokio::time::sleep(LAME_DUCK).await;
                gateway.drain().await;
            } => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = asked_again => {}
        }
        Ok(())
    })?;
    drop(gateway);
    tracing::info!("stopped");
    Ok(())
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
