//! The Unix socket of control calls: its file, and whose it is. Only the gateway's own user and root are heard, whatever
//! becomes of the socket's mode; there is no way to change anything over TCP.

mod caller;
mod calls;
mod commands;
mod leftover;

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener as BlockingListener;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use tokio::sync::watch;

use super::handover_state::HandoverStatus;
use crate::config::obstacle::{self, Purpose};
pub(super) use caller::Caller;
pub(super) use calls::{Calls, Handles};
pub(super) use commands::Commands;

/// The socket; its file goes with it.
#[derive(Debug)]
pub(super) struct Socket {
    listener: BlockingListener,
    path: PathBuf,
    /// Device and inode of the file; `None`: it is another process' to remove.
    file: Option<(u64, u64)>,
    /// Whose it is.
    owner: u32,
    handover: watch::Receiver<HandoverStatus>,
}

impl Socket {
    /// Binds the socket at `path`, unless it is `inherited`, and removes one that a gateway has left behind there.
    ///
    /// # Errors
    /// Another gateway has it, or the folder can't be written to.
    pub(super) fn bind(
        path: &Path,
        inherited: Option<BlockingListener>,
        handover: watch::Receiver<HandoverStatus>,
    ) -> Result<Self> {
        let shown = path.display();
        if let Some(listener) = inherited.filter(|_| is_socket(path)) {
            return Self::of(listener, path, handover);
        }
        leftover::clear(path)?;
        let listener = BlockingListener::bind(path).map_err(|error| {
            let help = obstacle::line(path, &error, Purpose::Writing);
            anyhow!("[control] can't make the socket {shown}: {error}{help}")
        })?;
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        let mut socket = Self::of(listener, path, handover)?;
        socket.keep();
        Ok(socket)
    }

    fn of(listener: BlockingListener, path: &Path, handover: watch::Receiver<HandoverStatus>) -> Result<Self> {
        let owner = fs::symlink_metadata(path)?.uid();
        Ok(Self { listener, path: path.to_owned(), file: None, owner, handover })
    }

    /// The file is this process' from now on, no matter who owned it before.
    pub(super) fn keep(&mut self) {
        self.file = identity(&self.path);
    }

    /// The same once more, for a process that takes this one's place.
    pub(super) fn spare(&self) -> io::Result<(PathBuf, BlockingListener)> {
        Ok((self.path.clone(), self.listener.try_clone()?))
    }
}

/// Removes the socket that nobody listens at any more.
pub(super) fn remove(path: &Path) {
    if is_socket(path) {
        // Who asks there finds nobody in any case.
        drop(fs::remove_file(path));
    }
}

/// Device and inode.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// What else has that path is nobody's to remove.
fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Somebody may have removed it, or put another there.
        match *self.handover.borrow() {
            HandoverStatus::Done => {}
            HandoverStatus::Pending | HandoverStatus::Lost => {
                if self.file.is_some() && identity(&self.path) == self.file {
                    drop(fs::remove_file(&self.path));
                }
            }
        }
    }
}
