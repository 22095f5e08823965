//! Asking a gateway, and how long it may take. Kept on its own because every command does it.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::Shutdown;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::VARIABLE;
use crate::cli::output::complain;
use crate::config::obstacle::{self, Purpose};
use crate::control::{Reply, Request, connect};

/// The longest that a gateway may take to answer what it only has to say.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same for what it has to do: a reload waits for the XSPs of a new farm, a restart for the new process.
const LONG_PATIENCE: Duration = Duration::from_secs(30);
/// What becomes of a call that was not answered in time.
const DROPPED: &str = "\nhelp: it drops the call when it goes on, unless it had begun, or is of an earlier version: see `xspgate ctl \
                       status` then";

pub(super) fn ask(socket: &Path, request: &Request) -> Result<String> {
    ask_within(patience(request), socket, request)
}

/// The answer, if it comes in time.
pub(super) fn ask_within(patience: Duration, socket: &Path, request: &Request) -> Result<String> {
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
            let help = help(socket, &error);
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
        Reply::Done(text) => Ok(text),
        Reply::Refused(why) => bail!(why),
    }
}

/// What to do where no gateway takes the call.
fn help(socket: &Path, error: &std::io::Error) -> String {
    let shown = socket.display();
    let kind = fs::metadata(socket).map(|metadata| metadata.file_type());
    match kind {
        _ if error.kind() == ErrorKind::PermissionDenied => {
            "\nhelp: only the gateway's user and root may use it".to_owned()
        }
        Ok(kind) if kind.is_dir() => format!("\nhelp: {shown} is a folder{}", sockets(socket)),
        Ok(kind) if !kind.is_socket() => format!("\nhelp: {shown} is a file, and no socket"),
        Ok(_) => String::new(),
        Err(_) => match socket.parent().map(sockets).filter(|sockets| !sockets.is_empty()) {
            Some(sockets) => format!("\nhelp: {shown} does not exist{sockets}"),
            None => obstacle::line(socket, error, Purpose::Writing),
        },
    }
}

/// The sockets in a folder, in words; empty if there are none.
fn sockets(folder: &Path) -> String {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_socket = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_socket());
    let mut sockets: Vec<String> =
        entries.filter(is_socket).take(4).map(|entry| entry.path().display().to_string()).collect();
    sockets.sort();
    match sockets.is_empty() {
        true => String::new(),
        false => format!("; sockets in that folder, of this or of other programs: {}", sockets.join(", ")),
    }
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
