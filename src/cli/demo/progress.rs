//! The line that says, on a terminal, that the demonstration goes on while a step waits for its end. Separate from the report, which
//! stays on the screen.

use std::io::{IsTerminal, Write, stdout};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::tally::Tallies;

/// Between two changes of the line.
const TICK: Duration = Duration::from_millis(500);
/// Back to the line's start, and all of it cleared.
const CLEAR: &str = "\r\x1b[2K";

/// A progress line, until this is dropped. Without a terminal there is none.
pub(super) struct Progress(Option<JoinHandle<()>>);

impl Progress {
    /// Begins the line of a step.
    pub(super) fn start(tallies: &Tallies) -> Self {
        Self(stdout().is_terminal().then(|| tokio::spawn(show(tallies.clone()))))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(line) = self.0.take() {
            line.abort();
            put(CLEAR);
        }
    }
}

async fn show(tallies: Tallies) {
    let begun = Instant::now();
    loop {
        let (requests, errors) = tallies.so_far();
        put(&format!("{CLEAR}   running   {} s, {requests} requests, {errors} errors", begun.elapsed().as_secs()));
        tokio::time::sleep(TICK).await;
    }
}

fn put(text: &str) {
    let mut out = stdout();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}
