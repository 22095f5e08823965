//! The places that the gateway writes to: the access log's file, the control socket, the state folder. Separate from the files
//! that it reads, because these may not be there yet: the service manager makes some of them when it starts the gateway.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::error::Problem;
use super::model::Config;
use super::obstacle::{self, Purpose};
use super::place::Spot;
use crate::files;

/// The longest path of a Unix socket, in bytes: what `sun_path` holds, without the zero at its end.
const LONGEST_SOCKET: usize = 107;

/// What is wrong with them: an error where it can't work, and a warning where this process could not write there, which may
/// be another one than the service's.
pub fn problems(config: &Config, source: &Path) -> Vec<Problem> {
    let log = config.log.access_file.as_deref();
    let found = [
        (Spot::AccessFile, log.and_then(|path| access_file(path, config, source))),
        (Spot::ControlSocket, config.control.as_deref().and_then(|path| socket(path, log))),
        (Spot::StateDir, config.state_dir.as_deref().and_then(state_dir)),
    ];
    let place = |(spot, problem): (Spot, Option<Problem>)| Some(Problem { span: config.places.of(&spot), ..problem? });
    found.into_iter().filter_map(place).collect()
}

fn access_file(path: &Path, config: &Config, source: &Path) -> Option<Problem> {
    let shown = path.display();
    if named(config, source).iter().any(|other| is_same(path, other)) {
        let message = format!("access_file {shown} is a file that the gateway reads: lines would be appended to it");
        return Some(Problem::error(None, message).help("name a file of its own, such as /var/log/xspgate/access.log"));
    }
    match fs::metadata(path).map(|metadata| metadata.file_type()) {
        Ok(kind) if kind.is_dir() || kind.is_socket() || kind.is_fifo() || kind.is_block_device() => {
            let what = match () {
                () if kind.is_dir() => "a folder",
                () if kind.is_fifo() => "a pipe, whose reader could stop the log",
                () => "not a file",
            };
            Some(Problem::error(None, format!("access_file {shown} is {what}")).help("name a file in a folder"))
        }
        Ok(kind) if kind.is_char_device() => None,
        Ok(_) => unwritable("access_file", path, path).or_else(|| exposed("access_file", path, folder_of(path))),
        Err(_) => {
            unwritable("access_file", path, folder_of(path)).or_else(|| exposed("access_file", path, folder_of(path)))
        }
    }
}

fn socket(path: &Path, log: Option<&Path>) -> Option<Problem> {
    let (shown, length) = (path.display(), path.as_os_str().len());
    if log.is_some_and(|log| is_same(path, log)) {
        let message = format!("the control socket's path {shown} is that of [log] access_file");
        return Some(Problem::error(None, message).help("name another path, such as \"/run/xspgate/control.sock\""));
    }
    if length > LONGEST_SOCKET {
        let message =
            format!("the socket's path {shown} has {length} bytes, and a Unix socket's has {LONGEST_SOCKET} at most");
        return Some(Problem::error(None, message).help("a shorter path, such as \"/run/xspgate/control.sock\""));
    }
    let there = match fs::symlink_metadata(path).map(|metadata| metadata.file_type()) {
        Ok(kind) if kind.is_socket() => return exposed("the control socket", path, folder_of(path)),
        Ok(kind) if kind.is_dir() => {
            let message = format!("at the control socket's path {shown} is a folder");
            let inside = path.join("control.sock");
            return Some(
                Problem::error(None, message)
                    .help(format!("name a path in it, such as {:?}", inside.display().to_string())),
            );
        }
        Ok(kind) if kind.is_symlink() => "a symbolic link",
        Ok(_) => "a file that is no socket",
        Err(_) => {
            return unwritable("the control socket", path, folder_of(path))
                .or_else(|| exposed("the control socket", path, folder_of(path)));
        }
    };
    let help = format!("remove it (`rm {}`), or name another path", obstacle::quoted(path));
    Some(Problem::error(None, format!("at the control socket's path {shown} is {there}")).help(help))
}

fn state_dir(path: &Path) -> Option<Problem> {
    if ["/proc", "/sys", "/dev"].iter().any(|kernel| path.starts_with(kernel)) {
        let message = format!("state_dir {} is the kernel's, and holds no files", path.display());
        return Some(Problem::error(None, message).help("name another folder, such as \"/var/lib/xspgate\""));
    }
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_dir() => {
            let message = format!("state_dir {} is not a folder", path.display());
            Some(Problem::error(None, message).help("name a folder, such as \"/var/lib/xspgate\""))
        }
        Ok(_) => unwritable("state_dir", path, path).or_else(|| exposed("state_dir", path, path)),
        // It is made, and what leads to it.
        Err(_) => {
            let there = path.ancestors().find(|folder| folder.exists())?;
            unwritable("state_dir", path, there)
        }
    }
}

/// Complains if this process can't write at `tried`, which stands for `path`: the file or the folder that is there.
fn unwritable(what: &str, path: &Path, tried: &Path) -> Option<Problem> {
    let error = files::may_write(tried).err()?;
    let is_missing = error.kind() == ErrorKind::NotFound;
    if is_missing && is_made_by_service(path) {
        return None;
    }
    let help = match is_missing {
        true => format!("make the folder: `install -d -o xspgate {}`", obstacle::quoted(tried)),
        false => obstacle::help(path, &error, Purpose::Writing).unwrap_or_else(|| "name another place".into()),
    };
    Some(Problem::warning(None, format!("{what} {} can't be written: {error}", path.display())).help(help))
}

/// Complains of a folder in which every user may put something else in the place of `path`.
fn exposed(what: &str, path: &Path, folder: &Path) -> Option<Problem> {
    const OTHERS_WRITE: u32 = 0o002;
    const STICKY: u32 = 0o1000;
    let mode = fs::metadata(folder).ok()?.mode();
    if mode & OTHERS_WRITE == 0 || mode & STICKY != 0 {
        return None;
    }
    let message = format!(
        "{what} {}: every user of this machine may write to the folder {}, and replace what is in it",
        path.display(),
        folder.display()
    );
    Some(Problem::warning(None, message).help(format!("chmod o-w {}", obstacle::quoted(folder))))
}

/// Whether the unit makes the folder when it starts the gateway: by RuntimeDirectory, LogsDirectory and StateDirectory.
fn is_made_by_service(path: &Path) -> bool {
    ["/run/xspgate", "/var/log/xspgate", "/var/lib/xspgate"].iter().any(|folder| path.starts_with(folder))
}

/// Files that are read.
fn named<'a>(config: &'a Config, source: &'a Path) -> Vec<&'a Path> {
    let certificates = config.certificates.values().flat_map(|one| [&one.chain, &one.key]);
    let trusts = config.trusts.values().flat_map(|one| std::iter::once(&one.ca).chain(&one.crl));
    let single = config.affinity.key_file.iter().chain(&config.webex_ranges);
    certificates.chain(trusts).chain(single).map(PathBuf::as_path).chain([source]).collect()
}

fn is_same(one: &Path, other: &Path) -> bool {
    let whole = |path: &Path| fs::canonicalize(path).or_else(|_| std::path::absolute(path)).ok();
    whole(one).is_some_and(|path| Some(path) == whole(other))
}

/// The folder of a file.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
