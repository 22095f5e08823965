//! Files that a configuration or a command line names, read whole: without waiting for ever, and up to a size. Separate from
//! those who need them, because what may stand in a file's place (a pipe that nobody writes to, a device without an end)
//! would stop each of them.

use std::fmt;
use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Access, OFlags};

/// What is read besides files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streams {
    /// Nothing.
    Refused,
    /// What this process was started with, such as `/dev/stdin` or the shell's `<(command)`. They are waited for.
    Own,
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The system's word.
    #[error(transparent)]
    System(#[from] io::Error),
    /// Something else has its name.
    #[error("it is {0}, not a file")]
    NotAFile(Kind),
    /// It is larger than that, in bytes.
    #[error("it is larger than {} MiB", .0 >> 20)]
    TooLarge(u64),
}

/// What has a file's name and is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A pipe, with a name or without.
    Pipe,
    /// A Unix socket.
    Socket,
    /// `/dev/zero`, say.
    Device,
}

/// A file's bytes, and what the system says of it.
///
/// # Errors
/// See [`Unreadable`].
pub fn read(path: &Path, largest: u64, streams: Streams) -> Result<(Vec<u8>, Metadata), Unreadable> {
    let (file, metadata) = open(path, streams)?;
    let mut bytes = Vec::new();
    file.take(largest + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > largest {
        true => Err(Unreadable::TooLarge(largest)),
        false => Ok((bytes, metadata)),
    }
}

/// As [`read`], of a file that is read piece by piece.
///
/// # Errors
/// See [`Unreadable`]; no file is too large here.
pub fn open(path: &Path, streams: Streams) -> Result<(File, Metadata), Unreadable> {
    let file_type = fs::metadata(path)?.file_type();
    if streams == Streams::Own && is_own(path) && !file_type.is_dir() {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        return Ok((file, metadata));
    }
    // Asked before it is opened, which may set something off, and again, since another may have its name by then.
    is_file(file_type)?;
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).expect("the system takes them as an int");
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    is_file(metadata.file_type())?;
    Ok((file, metadata))
}

/// Whether this process may write to the file or the folder at `path`, as far as can be known without trying.
///
/// # Errors
/// Why it may not.
pub fn may_write(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::access(path, Access::WRITE_OK)?)
}

/// Whether the path is one of this process' own descriptors.
fn is_own(path: &Path) -> bool {
    path == Path::new("/dev/stdin") || path.starts_with("/dev/fd") || path.starts_with("/proc/self/fd")
}

fn is_file(found: FileType) -> Result<(), Unreadable> {
    let kind = match found {
        found if found.is_file() => return Ok(()),
        found if found.is_dir() => Kind::Folder,
        found if found.is_fifo() => Kind::Pipe,
        found if found.is_socket() => Kind::Socket,
        _ => Kind::Device,
    };
    Err(Unreadable::NotAFile(kind))
}

impl Unreadable {
    /// The same as an error of the system.
    pub fn into_io(self) -> io::Error {
        match self {
            Self::System(error) => error,
            Self::NotAFile(_) => io::Error::new(io::ErrorKind::InvalidInput, self.to_string()),
            Self::TooLarge(_) => io::Error::new(io::ErrorKind::FileTooLarge, self.to_string()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Folder => "a folder",
            Self::Pipe => "a pipe",
            Self::Socket => "a socket",
            Self::Device => "a device",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::*;

    #[test]
    fn nothing_but_a_file_of_some_size_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let _socket = UnixListener::bind(path("socket")).unwrap();
        assert!(Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        fs::write(path("file"), [b'x'; 10]).unwrap();
        let said = |path: &Path, largest| match read(path, largest, Streams::Own) {
            Ok((bytes, metadata)) => format!("{} of {}", bytes.len(), metadata.len()),
            Err(error) => error.to_string(),
        };
        assert_eq!(said(&path("file"), 10), "10 of 10");
        assert_eq!(said(&path("file"), 9), "it is larger than 0 MiB");
        assert_eq!(said(folder.path(), 10), "it is a folder, not a file");
        assert_eq!(said(&path("pipe"), 10), "it is a pipe, not a file");
        assert_eq!(said(&path("socket"), 10), "it is a socket, not a file");
        assert_eq!(said(Path::new("/dev/zero"), 10), "it is a device, not a file");
        assert_eq!(said(Path::new("/dev/fd"), 10), "it is a folder, not a file");
        assert!(said(&path("nothing"), 10).starts_with("No such file"));
    }
}
