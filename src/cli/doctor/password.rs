//! The password of the user with whom event channels are tried: from a file or the environment, never from the command line,
//! which every user of the machine may read.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::config::error::reason;
use crate::config::obstacle::{self, Purpose};
use crate::files::{self, Streams};

/// No file with a password is larger, in bytes.
const LARGEST: u64 = 1 << 20;
/// Where it is without a file.
const VARIABLE: &str = "XSPGATE_PASSWORD";

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub(super) enum PasswordError {
    #[error("--user needs a password: --password-file names a file, or {VARIABLE} holds it")]
    Missing,
    #[error("{VARIABLE} is no text")]
    NoText,
    #[error("{} can't be read: {}{}", path.display(), reason(source), obstacle::line(path, source, Purpose::Reading))]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{path} holds a password, and every user of this machine may read it: chmod o-rwx {path}", path = .0.display())]
    Exposed(PathBuf),
}

/// The first line of the file, or what the environment variable says.
pub(super) fn read(file: Option<&Path>) -> Result<String, PasswordError> {
    let Some(path) = file else {
        return match std::env::var(VARIABLE) {
            Ok(password) if !password.is_empty() => Ok(password),
            Ok(_) | Err(std::env::VarError::NotPresent) => Err(PasswordError::Missing),
            Err(std::env::VarError::NotUnicode(_)) => Err(PasswordError::NoText),
        };
    };
    let unreadable = |source| PasswordError::Unreadable { path: path.to_owned(), source };
    let (text, metadata) = files::read(path, LARGEST, Streams::Own).map_err(|error| unreadable(error.into_io()))?;
    if metadata.permissions().mode() & 0o004 != 0 {
        return Err(PasswordError::Exposed(path.to_owned()));
    }
    let text =
        String::from_utf8(text).map_err(|error| unreadable(io::Error::new(io::ErrorKind::InvalidData, error)))?;
    let password = text.lines().next().unwrap_or_default();
    if password.is_empty() { Err(PasswordError::Missing) } else { Ok(password.to_owned()) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_password_is_read_from_a_file_that_others_cannot_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        assert!(matches!(read(Some(&path)), Err(PasswordError::Unreadable { .. })));
        fs::write(&path, "secret\nmore\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let exposed = read(Some(&path)).unwrap_err().to_string();
        assert!(exposed.contains("chmod o-rwx") && !exposed.contains("secret"), "{exposed}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read(Some(&path)).unwrap(), "secret");
        fs::write(&path, "").unwrap();
        assert!(matches!(read(Some(&path)), Err(PasswordError::Missing)));
    }
}
