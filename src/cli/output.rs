//! What commands say on standard error. Separate from them, because it may be closed or full, which must change nothing
//! about what a command does: the standard library's macros end the program then.

use std::fmt::Display;
use std::io::{self, Write};

use crate::telemetry::lines::{self, Kind};

/// Tells an operator, on a line of its own, what a command that is soon over has to say besides its answer.
pub(super) fn complain(text: impl Display) {
    // Nobody is left to be told that this failed.
    drop(io::stderr().write_all(line(text).as_bytes()));
}

/// The same for a process that goes on: it waits for nobody who reads standard error.
pub(super) fn notify(text: impl Display) {
    let line = line(text);
    match lines::notices() {
        Ok(_) if line.is_empty() => {}
        Ok(notices) => notices.push(Kind::Notice, line.as_bytes()),
        // Without a thread or a descriptor there is worse to come, and this may be the last word about it.
        Err(_) => complain(line),
    }
}

fn line(text: impl Display) -> String {
    let text = text.to_string();
    if text.is_empty() || text.ends_with('\n') { text } else { text + "\n" }
}
