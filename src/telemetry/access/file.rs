//! The access log's own file, which is reopened when it was rotated. Separate from the lines' writer, which knows nothing of
//! files; all of this happens on its thread, so that a disk that hangs holds up nobody else.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};

use rustix::fs::OFlags;
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::telemetry::lines::Lines;

/// The mode of a file that is made here, whatever the umask: those who ship logs are in its group.
const MODE: u32 = 0o640;

/// What has come of reopening it.
type Reopened = io::Result<()>;

/// What the writing thread is asked to do.
#[derive(Debug)]
enum Ask {
    /// Reopen the path, and say what has come of it.
    Reopen(oneshot::Sender<Reopened>),
    /// Reopen it if the file was rotated.
    Follow,
}

/// The file of this process.
static FILE: OnceLock<AccessFile> = OnceLock::new();

/// Where the access log goes.
#[derive(Debug)]
struct AccessFile {
    path: PathBuf,
    lines: Lines,
    asks: Sender<Ask>,
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

/// Has the file reopened, and returns its path and what will come of it; `None`: there is no file.
pub fn reopen() -> Option<(&'static Path, oneshot::Receiver<Reopened>)> {
    let file = FILE.get()?;
    let (done, outcome) = oneshot::channel();
    file.ask(Ask::Reopen(done));
    Some((&file.path, outcome))
}

/// Has a file that was rotated reopened, though nothing is written to it: a process that has handed over may have no line for
/// an hour.
pub fn follow() {
    FILE.get().into_iter().for_each(|file| file.ask(Ask::Follow));
}

impl AccessFile {
    fn ask(&self, ask: Ask) {
        // The thread lives as long as the process.
        self.asks.send(ask).ok();
        self.lines.wake();
    }
}

/// What the lines' writer writes to.
#[derive(Debug)]
struct Sink {
    path: PathBuf,
    file: File,
    /// Device and inode of the open file.
    identity: (u64, u64),
    asked: Receiver<Ask>,
    /// Whether lines are lost, and the log has said so.
    is_unwritable: bool,
    /// Whether the path can't be reopened, and the log has said so.
    is_stuck: bool,
}

impl Sink {
    fn open(path: &Path, asked: Receiver<Ask>) -> io::Result<Self> {
        let (file, identity) = open(path)?;
        Ok(Self { path: path.to_owned(), file, identity, asked, is_unwritable: false, is_stuck: false })
    }

    fn reopen(&mut self) -> Reopened {
        let opened = open(&self.path);
        let path = self.path.display();
        match (&opened, self.is_stuck) {
            (Err(error), false) => warn!(
                file.path = %path,
                error.message = %error,
                "access_file can't be reopened: the file that was open before stays in use"
            ),
            (Ok(_), true) => info!(file.path = %path, "access_file reopened"),
            (Err(_), true) | (Ok(_), false) => {}
        }
        self.is_stuck = opened.is_err();
        (self.file, self.identity) = opened?;
        Ok(())
    }

    /// Reopens it if it was rotated. What fails is said, and tried again.
    fn follow(&mut self) {
        if self.is_rotated() {
            self.reopen().ok();
        }
    }

    /// Says once that lines are lost, and once that they are not any more.
    fn note(&mut self, written: &io::Result<usize>) {
        let path = self.path.display();
        match (written, self.is_unwritable) {
            (Err(error), false) => {
                warn!(file.path = %path, error.message = %error, "access_file can't be written to: its lines are lost")
            }
            (Ok(_), true) => info!(file.path = %path, "access_file can be written to again"),
            (Err(_), true) | (Ok(_), false) => return,
        }
        self.is_unwritable = written.is_err();
    }

    /// Another file is at the path, or none.
    fn is_rotated(&self) -> bool {
        std::fs::metadata(&self.path).map_or(true, |now| (now.dev(), now.ino()) != self.identity)
    }
}

fn open(path: &Path) -> io::Result<(File, (u64, u64))> {
    // A FIFO that nobody reads would be waited for.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32;
    let mut options = OpenOptions::new();
    options.append(true).custom_flags(flags);
    let file = match options.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => make(&mut options, path)?,
        opened => opened?,
    };
    let metadata = file.metadata()?;
    let kind = metadata.file_type();
    if !(kind.is_file() || kind.is_char_device() || kind.is_fifo()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    Ok((file, (metadata.dev(), metadata.ino())))
}

fn make(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    match options.mode(MODE).create_new(true).open(path) {
        Ok(file) => file.set_permissions(Permissions::from_mode(MODE)).map(|()| file),
        // Somebody has made one meanwhile.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => options.create_new(false).open(path),
        Err(error) => Err(error),
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.follow();
        let written = self.file.write(bytes);
        let is_told = |error: &io::Error| !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted);
        if written.as_ref().err().is_none_or(is_told) {
            self.note(&written);
        }
        written
    }

    /// Does what it was asked to. Lines that were queued before that may be in the file that follows; none is lost.
    fn flush(&mut self) -> io::Result<()> {
        while let Ok(ask) = self.asked.try_recv() {
            match ask {
                // Who has asked may have left.
                Ask::Reopen(done) => drop(done.send(self.reopen())),
                Ask::Follow => self.follow(),
            }
        }
        Ok(())
    }
}
