//! What the gateway tells about itself: logs, one access event a request, metrics, and what has happened lately.

pub mod access;
pub mod metrics;
pub mod timeline;

use tracing_subscriber::EnvFilter;

use crate::config::model::{Log, LogFormat};

/// Sends log lines to standard output in the configured shape. Only the first call in a process has an effect.
///
/// # Errors
/// When `level` is no filter.
pub fn install(log: &Log) -> Result<(), tracing_subscriber::filter::ParseError> {
    let filter = EnvFilter::builder().parse(&log.level)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter);
    // A second gateway in one process, as tests start, keeps the first one's subscriber.
    drop(match log.format {
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
        LogFormat::Human => lines.try_init(),
    });
    Ok(())
}
