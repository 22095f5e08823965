//! Files that are written all or none: keys for their owner's eyes from the first byte on, and nothing over what is there
//! unless that was asked for. Separate from what is in them, because here a mistake costs a key that nobody can make again.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::config::error::reason;

/// One file to be written.
#[derive(Clone)]
pub struct Output {
    /// Where.
    pub path: PathBuf,
    /// What.
    pub text: String,
    /// Who may read it.
    pub readers: Readers,
}

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Its owner alone: mode 0600.
    Owner,
    /// Everybody, as far as the umask allows.
    Everybody,
}

/// What happens to files that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// They stay, and nothing is written.
    Kept,
    /// They are replaced, each at once.
    Replaced,
}

/// Why files were not written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One of them is there; none was written.
    #[error("{} is there already, and nothing was written", .0.display())]
    Exists(PathBuf),
    /// One of them can't be written.
    #[error("{} can't be written: {}", .path.display(), reason(.source))]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Writes `outputs`, all in one folder or in several, which are made if they are missing.
///
/// # Errors
/// See [`Error`]. What has been written by then is removed again, unless it has replaced something.
pub fn write(outputs: &[Output], existing: Existing) -> Result<(), Error> {
    if existing == Existing::Kept
        && let Some(there) = outputs.iter().find(|output| output.path.symlink_metadata().is_ok())
    {
        return Err(Error::Exists(there.path.clone()));
    }
    // A file can't replace a folder, which would be noticed only after a key has been replaced.
    let is_folder = |output: &&Output| output.path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
    if let Some(folder) = outputs.iter().find(is_folder) {
        return Err(Error::Io { path: folder.path.clone(), source: ErrorKind::IsADirectory.into() });
    }
    let mut written = Vec::new();
    for output in outputs {
        // Under its own name where it must not replace anything, which the system then sees to.
        let path = match existing {
            Existing::Kept => output.path.clone(),
            Existing::Replaced => beside(&output.path),
        };
        let made = folder(&path).and_then(|()| create(&path, output));
        if let Err(source) = made {
            discard(&written);
            return Err(Error::Io { path: output.path.clone(), source });
        }
        written.push(path);
    }
    if existing == Existing::Replaced {
        for (output, path) in outputs.iter().zip(&written) {
            fs::rename(path, &output.path).map_err(|source| {
                discard(&written);
                Error::Io { path: output.path.clone(), source }
            })?;
        }
    }
    Ok(())
}

/// A name in the same folder, which nobody else uses.
fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.new", rand::random::<u64>()));
    path.with_file_name(name)
}

/// Makes the folder of `path`.
fn folder(path: &Path) -> std::io::Result<()> {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).map_or(Ok(()), fs::create_dir_all)
}

fn create(path: &Path, output: &Output) -> std::io::Result<()> {
    let mode = match output.readers {
        Readers::Owner => 0o600,
        Readers::Everybody => 0o644,
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    let filled = fill(&mut file, &output.text);
    if filled.is_err() {
        discard(&[path.to_owned()]);
    }
    filled
}

fn fill(file: &mut File, text: &str) -> std::io::Result<()> {
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn discard(paths: &[PathBuf]) {
    for path in paths {
        // The failure that led here is the one to tell.
        drop(fs::remove_file(path));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn outputs(folder: &Path, text: &str) -> [Output; 2] {
        let output =
            |name: &str, readers| Output { path: folder.join("new").join(name), text: text.to_owned(), readers };
        [output("chain.pem", Readers::Everybody), output("key.pem", Readers::Owner)]
    }

    fn read(output: &Output) -> Option<String> {
        fs::read_to_string(&output.path).ok()
    }

    #[test]
    fn keys_are_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        for existing in [Existing::Kept, Existing::Replaced] {
            let files = outputs(folder.path(), "text");
            write(&files, existing).unwrap();
            let mode = fs::metadata(&files[1].path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 2);
        }
    }

    #[test]
    fn nothing_is_written_over_anything() {
        for there in 0..2 {
            let folder = tempfile::tempdir().unwrap();
            let (old, new) = (outputs(folder.path(), "old"), outputs(folder.path(), "new"));
            write(&old[there..=there], Existing::Kept).unwrap();
            let error = write(&new, Existing::Kept).unwrap_err();
            assert!(matches!(&error, Error::Exists(path) if *path == old[there].path), "{error}");
            assert_eq!(read(&old[there]).as_deref(), Some("old"));
            assert_eq!(read(&old[1 - there]), None);
            write(&new, Existing::Replaced).unwrap();
            assert_eq!((read(&new[0]).as_deref(), read(&new[1]).as_deref()), (Some("new"), Some("new")));
        }
    }

    #[test]
    fn a_dangling_link_is_something() {
        let folder = tempfile::tempdir().unwrap();
        let files = outputs(folder.path(), "text");
        fs::create_dir(folder.path().join("new")).unwrap();
        std::os::unix::fs::symlink("nowhere", &files[1].path).unwrap();
        assert!(matches!(write(&files, Existing::Kept), Err(Error::Exists(_))));
        assert_eq!(read(&files[0]), None);
    }

    #[test]
    fn a_folder_in_the_place_of_one_file_saves_the_other_one() {
        for folder_at in 0..2 {
            let folder = tempfile::tempdir().unwrap();
            let (old, new) = (outputs(folder.path(), "old"), outputs(folder.path(), "new"));
            write(&old[1 - folder_at..=1 - folder_at], Existing::Kept).unwrap();
            fs::create_dir(&old[folder_at].path).unwrap();
            let error = write(&new, Existing::Replaced).unwrap_err();
            assert!(matches!(&error, Error::Io { path, .. } if *path == old[folder_at].path), "{error}");
            assert_eq!(read(&old[1 - folder_at]).as_deref(), Some("old"));
            assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 2);
        }
    }

    #[test]
    fn what_can_not_be_written_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = outputs(folder.path(), "text");
        fs::create_dir(folder.path().join("new")).unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        files[1].path = folder.path().join("file/key.pem");
        for existing in [Existing::Kept, Existing::Replaced] {
            let error = write(&files, existing).unwrap_err();
            assert!(error.to_string().contains("can't be written: "), "{error}");
            assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 0);
        }
    }
}
