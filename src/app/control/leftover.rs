//! A control socket that is there before this process has made its own: somebody listens at it, or a process that was killed has
//! left it. Separate from the socket, because who may connect is not always who may tell.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use super::is_socket;
use crate::config::obstacle;
use crate::control::connect;

/// How long another gateway may take to take a call before it is known to be there.
const PATIENCE: Duration = Duration::from_millis(100);
/// Unix sockets that are bound somewhere, no matter whose they are.
const BOUND: &str = "/proc/net/unix";

/// Removes a socket at `path` that nobody listens at any more, no matter who left it.
///
/// # Errors
/// Somebody listens there, or the file can't be removed: the message says whose it is and what to do.
pub(super) fn clear(path: &Path) -> Result<()> {
    let shown = path.display();
    match connect(path, PATIENCE) {
        Ok(_) => bail!("[control] another gateway has its socket at {shown}"),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            bail!("[control] another gateway has its socket at {shown}, and takes no calls there")
        }
        Err(_) if !is_socket(path) => Ok(()),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => remove(path),
        // Its mode lets nobody but its owner ask.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => match is_bound(path) {
            Ok(false) => remove(path),
            Ok(true) => {
                let owner = obstacle::owner(path);
                bail!("[control] another gateway has its socket at {shown}, run by {owner}: stop that one first")
            }
            Err(_) => Err(in_the_way(path, &error)),
        },
        // Binding will say what is wrong.
        Err(_) => Ok(()),
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(in_the_way(path, &error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn in_the_way(path: &Path, error: &io::Error) -> anyhow::Error {
    let (shown, owner) = (path.display(), obstacle::owner(path));
    anyhow!(
        "[control] a gateway that {owner} has run has left its socket at {shown}, and it can't be removed: {error}\n\
         help: if no gateway runs there any more, `sudo rm {}`; then start it as one user only",
        obstacle::quoted(path)
    )
}

/// Whether any process has a socket that is bound there, or at a relative path that may lead there.
fn is_bound(path: &Path) -> io::Result<bool> {
    let bound = fs::read_to_string(BOUND)?;
    Ok(bound.lines().any(|line| leads_to(line, path)))
}

/// Whether a line of [`BOUND`] has that path: `Num RefCount Protocol Flags Type St Inode Path`.
fn leads_to<'a>(line: &'a str, path: &Path) -> bool {
    // The path may have blanks.
    let behind = |rest: &'a str, _| rest.trim_start().split_once(' ').map(|(_, rest)| rest);
    let Some(bound) = (0..7).try_fold(line, behind).map(Path::new) else { return false };
    let is_abstract = bound.to_string_lossy().starts_with('@');
    bound == path || bound.is_relative() && !is_abstract && bound.file_name() == path.file_name()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_socket_is_found_by_its_path() {
        let line = |path: &str| format!("0000000000000000: 00000002 00000000 00010000 0001 01 35463 {path}");
        let table = [
            ("/run/xspgate/control.sock", true),
            ("control.sock", true),
            ("/run/other/control.sock", false),
            ("", false),
            ("@/run/xspgate/control.sock", false),
        ];
        for (bound, found) in table {
            assert_eq!(leads_to(&line(bound), Path::new("/run/xspgate/control.sock")), found, "{bound}");
        }
        let blank = Path::new("/run/the gateway/control.sock");
        assert!(leads_to(&line("/run/the gateway/control.sock"), blank) && !leads_to(&line("/run/the"), blank));
    }
}
