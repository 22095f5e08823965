//! What the gateway tells about itself: logs, one access event a request, traces, metrics, and what has happened lately.

pub mod access;
mod format;
mod json;
pub mod lines;
pub mod metrics;
pub mod timeline;
pub mod traces;
pub mod validity;

use std::error::Error;
use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

use crate::config::model::{Log, LogFormat};
use lines::Lines;

/// The filter of the log that was installed first, and how it was configured.
static FILTER: OnceLock<(Handle<EnvFilter, Registry>, String)> = OnceLock::new();

/// Control calls are told of however quiet the log is.
const ALWAYS: &str = "xspgate::app::control=info";

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// `level` is no filter.
    #[error("[log] level: {0}")]
    Level(#[from] ParseError),
    /// There is no thread, or no descriptor, to write it.
    #[error("standard output can't be written to: {0}")]
    Output(#[from] io::Error),
}

/// Sends log lines to standard output in the configured shape. Only the first call in a process has an effect.
///
/// # Errors
/// See [`InstallError`].
pub fn install(log: &Log) -> Result<(), InstallError> {
    let (filter, handle) = reload::Layer::new(filter(&log.level)?);
    let events = tracing_subscriber::registry().with(filter);
    let output = lines::output()?;
    // Trouble with an event is not told on standard error, which may be held up as well.
    let layer = tracing_subscriber::fmt::layer().with_writer(|| LogLine(output)).log_internal_errors(false);
    // A second gateway in one process, as tests start, keeps the first one's subscriber.
    let installed = match log.format {
        LogFormat::Json => events.with(layer.event_format(format::Json)).try_init(),
        LogFormat::Human => events.with(layer.with_ansi(is_for_eyes())).try_init(),
    };
    if installed.is_ok() {
        // It is the first, so nobody has set it.
        FILTER.set((handle, log.level.clone())).ok();
    }
    Ok(())
}

/// Takes one event, which comes as one write.
struct LogLine(&'static Lines);

impl io::Write for LogLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(lines::Kind::Log, line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Tells of a panic as of anything else. The standard library writes to standard error, and waits for its reader.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let thread = std::thread::current().name().map(str::to_owned);
        let trace = std::backtrace::Backtrace::capture();
        let trace = (trace.status() == std::backtrace::BacktraceStatus::Captured).then(|| trace.to_string());
        tracing::error!(
            place,
            thread.name = thread,
            exception.stacktrace = trace,
            why = panic.payload_as_str(),
            "internal error: a thread panicked; please report it"
        );
    }));
}

/// Whether colours show as colours.
fn is_for_eyes() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// An error with all that led to it, for the log: of an error that is a field by itself, JSON has the first words alone.
pub struct Causes<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            next = cause.source();
        }
        Ok(())
    }
}

/// Why the log's level can't be set.
#[derive(Debug, thiserror::Error)]
pub enum LevelError {
    /// It is no filter.
    #[error("that is no level, such as \"info,xspgate::discover=debug\": {0}")]
    Filter(#[from] ParseError),
    /// Somebody else has installed the log.
    #[error("the log is not this gateway's own")]
    NotOurs,
}

/// Logs what `level` says from now on, as `[log] level` does; `None`: what the configuration says. That is returned.
///
/// # Errors
/// See [`LevelError`].
pub fn set_level(level: Option<&str>) -> Result<String, LevelError> {
    let (handle, configured) = FILTER.get().ok_or(LevelError::NotOurs)?;
    let level = level.unwrap_or(configured);
    handle.reload(filter(level)?).map_err(|_| LevelError::NotOurs)?;
    Ok(level.to_owned())
}

/// The modules that may have a level of their own.
pub fn modules() -> impl Iterator<Item = &'static str> {
    let map = include_str!("lib.rs").lines();
    map.filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
}

/// Modules of this program that `level` names and that it does not have.
pub fn unknown_modules(level: &str) -> Vec<&str> {
    let targets = level.split(',').map(|part| part.split(['=', '[']).next().unwrap_or_default().trim());
    let is_unknown = |target: &&str| {
        let own = target.strip_prefix("xspgate::").and_then(|rest| rest.split("::").next());
        own.is_some_and(|own| modules().all(|module| module != own))
    };
    targets.filter(is_unknown).collect()
}

fn filter(level: &str) -> Result<EnvFilter, ParseError> {
    Ok(EnvFilter::builder().parse(level)?.add_directive(ALWAYS.parse()?))
}
