//! The access log's own file, which is opened anew when it was rotated. Separate from the lines' writer, which knows nothing of
//! files; all of this happens on its thread, so that a disk that hangs holds up nobody else.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::fs::OFlags;
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::telemetry::lines::Lines;

/// What has come of opening it anew.
type Reopened = io::Result<()>;

/// The file of this process.
static FILE: OnceLock<AccessFile> = OnceLock::new();

/// Where the access log goes.
#[derive(Debug)]
struct AccessFile {
    path: PathBuf,
    lines: Lines,
    asks: Sender<oneshot::Sender<Reopened>>,
}

/// Lines for the file at `path`, which is made if there is none. Only the first call in a process decides where that is.
///
/// # Errors
/// When it can't be opened, or no thread can be started.
pub fn start(path: &Path) -> io::Result<Lines> {
    if let Some(file) = FILE.get() {
        return Ok(file.lines.clone());
    }
    let (asks, asked) = channel();
    let sink = Sink::open(path, asked)?;
    let lines = Lines::start("access", sink)?;
    Ok(FILE.get_or_init(|| AccessFile { path: path.to_owned(), lines, asks }).lines.clone())
}

/// The lines of this process' file, if it has one.
pub(in crate::telemetry) fn lines() -> Option<&'static Lines> {
    FILE.get().map(|file| &file.lines)
}

/// Has the file opened anew, and returns its path and what will come of it; `None`: there is no file.
pub fn reopen() -> Option<(&'static Path, oneshot::Receiver<Reopened>)> {
    let file = FILE.get()?;
    let (done, outcome) = oneshot::channel();
    // The thread lives as long as the process.
    file.asks.send(done).ok();
    file.lines.wake();
    Some((&file.path, outcome))
}

/// What the lines' writer writes to.
#[derive(Debug)]
struct Sink {
    path: PathBuf,
    file: File,
    /// Device and inode of the open file.
    identity: (u64, u64),
    asked: Receiver<oneshot::Sender<Reopened>>,
    /// Whether the last attempt to write, or to open it, has failed, and the log has said so.
    fails: bool,
}

impl Sink {
    fn open(path: &Path, asked: Receiver<oneshot::Sender<Reopened>>) -> io::Result<Self> {
        let (file, identity) = open(path)?;
        Ok(Self { path: path.to_owned(), file, identity, asked, fails: false })
    }

    fn reopen(&mut self) -> Reopened {
        let (file, identity) = open(&self.path)?;
        (self.file, self.identity) = (file, identity);
        Ok(())
    }

    /// Says once that it fails, and once that it does not any more.
    fn note(&mut self, outcome: &io::Result<usize>) {
        let path = self.path.display();
        match (outcome, self.fails) {
            (Err(error), false) => {
                warn!(file.path = %path, error.message = %error, "access_file can't be written to: its lines are lost")
            }
            (Ok(_), true) => info!(file.path = %path, "access_file is written to again"),
            (Err(_), true) | (Ok(_), false) => return,
        }
        self.fails = outcome.is_err();
    }

    /// Another file is at the path, or none.
    fn is_rotated(&self) -> bool {
        std::fs::metadata(&self.path).map_or(true, |now| (now.dev(), now.ino()) != self.identity)
    }
}

fn open(path: &Path) -> io::Result<(File, (u64, u64))> {
    // A FIFO that nobody reads would be waited for.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32;
    let file = OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    let kind = metadata.file_type();
    if !(kind.is_file() || kind.is_char_device() || kind.is_fifo()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    Ok((file, (metadata.dev(), metadata.ino())))
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_rotated()
            && let Err(error) = self.reopen()
        {
            // What was open takes the lines still.
            self.note(&Err(error));
            return self.file.write(bytes);
        }
        let written = self.file.write(bytes);
        let is_told =
            |error: &io::Error| !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted);
        if written.as_ref().err().is_none_or(is_told) {
            self.note(&written);
        }
        written
    }

    /// Does what it was asked to, since all lines before are written.
    fn flush(&mut self) -> io::Result<()> {
        while let Ok(done) = self.asked.try_recv() {
            let outcome = self.reopen();
            // Who has asked may have left.
            done.send(outcome).ok();
        }
        Ok(())
    }
}
