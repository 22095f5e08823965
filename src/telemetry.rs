//! What the gateway tells about itself: logs, one access event a request, traces, metrics, and what has happened lately.

pub mod access;
pub mod metrics;
pub mod timeline;
pub mod traces;

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt};

use crate::config::model::{Log, LogFormat};

/// The filter of the log that was installed first, and how it was configured.
static FILTER: OnceLock<(Handle<EnvFilter, Registry>, String)> = OnceLock::new();

/// Control calls are told of however quiet the log is.
const ALWAYS: &str = "xspgate::app::control=info";

/// Sends log lines to standard output in the configured shape. Only the first call in a process has an effect.
///
/// # Errors
/// When `level` is no filter.
pub fn install(log: &Log) -> Result<(), ParseError> {
    let (filter, handle) = reload::Layer::new(filter(&log.level)?);
    let lines = tracing_subscriber::registry().with(filter);
    // A second gateway in one process, as tests start, keeps the first one's subscriber.
    let installed = match log.format {
        LogFormat::Json => lines.with(fmt::layer().json().flatten_event(true)).try_init(),
        LogFormat::Human => lines.with(fmt::layer().with_ansi(is_for_eyes())).try_init(),
    };
    if installed.is_ok() {
        // It is the first, so nobody has set it.
        FILTER.set((handle, log.level.clone())).ok();
    }
    Ok(())
}

/// Whether colours show as colours.
fn is_for_eyes() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
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

/// Logs what `level` says from now on, as `[log] level` does; `None`: what the configuration says.
///
/// # Errors
/// See [`LevelError`].
pub fn set_level(level: Option<&str>) -> Result<(), LevelError> {
    let (handle, configured) = FILTER.get().ok_or(LevelError::NotOurs)?;
    handle.reload(filter(level.unwrap_or(configured))?).map_err(|_| LevelError::NotOurs)
}

fn filter(level: &str) -> Result<EnvFilter, ParseError> {
    Ok(EnvFilter::builder().parse(level)?.add_directive(ALWAYS.parse()?))
}
