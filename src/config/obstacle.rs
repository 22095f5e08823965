//! What stands between the process and a file that it can't read or write, and the command that mends it. Separate from
//! [`error`](super::error), because it looks at the file system: who the process is, and which folder stops it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::error::printable;
use super::types::choice::nearest;

/// Symbolic links that are followed, as many as Linux follows.
const LINKS: usize = 40;
/// The capabilities that make mode bits void for reading, as `/proc/self/status` numbers them.
const DAC_OVERRIDE: u64 = 1 << 1 | 1 << 2;

/// Folders that belong to the system and to all its programs.
const SHARED: [&str; 13] = [
    "/", "/etc", "/mnt", "/opt", "/run", "/srv", "/tmp", "/usr", "/var", "/var/lib", "/var/log", "/var/run", "/var/tmp",
];

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It is read.
    Reading,
    /// It is made, or replaced, in its folder.
    Writing,
}

/// Who a process is, as far as mode bits go.
#[derive(Clone, Debug)]
struct Who {
    uid: u32,
    /// The primary group first.
    gids: Vec<u32>,
    /// Mode bits do not count.
    overrides: bool,
    names: Names,
}

/// What users and groups are called: the texts of `/etc/passwd` and `/etc/group`.
#[derive(Clone, Debug, Default)]
struct Names {
    users: String,
    groups: String,
}

/// What is in the way.
enum Obstacle {
    /// The process lacks `bits` (4, 2 and 1, as in a mode) at this file or folder.
    Forbidden { at: PathBuf, metadata: Metadata, bits: u32 },
    /// There is nothing by this name; a symbolic link may have led there.
    Missing { at: PathBuf, link: Option<PathBuf> },
    /// A path leads through what is no folder.
    NoFolder(PathBuf),
}

/// What to do about `error`, which came of opening `path`; `None` where nothing can be said that `error` does not say.
pub fn help(path: &Path, error: &io::Error, purpose: Purpose) -> Option<String> {
    Who::now().help(path, error, purpose)
}

/// [`help`] as a line of its own below an error's; empty where there is none.
pub fn line(path: &Path, error: &io::Error, purpose: Purpose) -> String {
    help(path, error, purpose).map_or_else(String::new, |help| format!("\nhelp: {}", printable(&help)))
}

/// The name of the user whose file is at `path`; a number if it has none.
pub fn owner(path: &Path) -> String {
    let uid = fs::symlink_metadata(path).map(|metadata| metadata.uid());
    uid.map_or_else(|_| "somebody".to_owned(), |uid| Who::now().names.user(uid))
}

impl Who {
    fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let names = Names {
            users: fs::read_to_string("/etc/passwd").unwrap_or_default(),
            groups: fs::read_to_string("/etc/group").unwrap_or_default(),
        };
        Self::of(&status, names)
    }

    /// By the text of `/proc/self/status`. Its second numbers are the effective ones.
    fn of(status: &str, names: Names) -> Self {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let numbers = |name: &str| field(name).split_whitespace().map_while(|id| id.parse().ok()).collect::<Vec<u32>>();
        let effective = |name: &str| numbers(name).get(1).copied();
        let capabilities = u64::from_str_radix(field("CapEff:").trim(), 16).unwrap_or(0);
        Self {
            uid: effective("Uid:").unwrap_or(u32::MAX),
            gids: effective("Gid:").into_iter().chain(numbers("Groups:")).collect(),
            overrides: capabilities & DAC_OVERRIDE != 0,
            names,
        }
    }

    fn help(&self, path: &Path, error: &io::Error, purpose: Purpose) -> Option<String> {
        let path = &std::path::absolute(path).ok()?;
        let kind = error.kind();
        if error.raw_os_error().is_some_and(is_out_of_files) {
            return Some("the process has too many open files: raise `ulimit -n` (LimitNOFILE of the service)".into());
        }
        if kind == ErrorKind::ReadOnlyFilesystem {
            return Some(format!(
                "{self} can't write there; the service may write below /var/lib/xspgate, and where a drop-in of \
                 xspgate.service says ReadWritePaths"
            ));
        }
        if kind == ErrorKind::StorageFull {
            return Some("make room on that disk".into());
        }
        if !matches!(kind, ErrorKind::PermissionDenied | ErrorKind::NotFound | ErrorKind::NotADirectory) {
            return None;
        }
        match self.obstacle(path, purpose, kind) {
            Some(Obstacle::Forbidden { at, metadata, bits }) => Some(self.forbidden(path, &at, &metadata, bits)),
            Some(Obstacle::Missing { at, link }) => Some(missing(path, &at, link.as_deref())),
            Some(Obstacle::NoFolder(at)) => Some(format!("{} is not a folder", at.display())),
            None if kind == ErrorKind::PermissionDenied => Some(format!(
                "{self}, and the modes on the way would let it: an ACL, AppArmor or SELinux stands in the way, or the \
                 service's sandbox (see `journalctl -k`)"
            )),
            None => None,
        }
    }

    /// What the system met first on the way to `path`, which is absolute, and told as `kind`.
    fn obstacle(&self, path: &Path, purpose: Purpose, kind: ErrorKind) -> Option<Obstacle> {
        let mut left: VecDeque<OsString> = parts(path).collect();
        let (mut here, mut link, mut links) = (PathBuf::from("/"), None, 0);
        loop {
            let folder = fs::metadata(&here).ok()?;
            let next = left.pop_front()?;
            if !folder.is_dir() {
                return Some(Obstacle::NoFolder(here));
            }
            let is_last = left.is_empty();
            // Folders that are missing are made in the last one that is there.
            let makes = purpose == Purpose::Writing
                && kind == ErrorKind::PermissionDenied
                && (is_last || !here.join(&next).exists());
            let bits = if makes { 3 } else { 1 };
            if self.lacks(&folder, bits) {
                return Some(Obstacle::Forbidden { at: here, metadata: folder, bits });
            }
            if next == ".." {
                here.pop();
                continue;
            }
            let at = here.join(&next);
            let metadata = match fs::symlink_metadata(&at) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == ErrorKind::NotFound && (purpose == Purpose::Reading || !is_last) => {
                    return Some(Obstacle::Missing { at, link });
                }
                Err(_) => return None,
            };
            if metadata.is_symlink() {
                links += 1;
                let target = fs::read_link(&at).ok().filter(|_| links <= LINKS)?;
                parts(&target).rev().for_each(|part| left.push_front(part));
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                link = Some(at);
            } else if is_last {
                let lacks = purpose == Purpose::Reading && self.lacks(&metadata, 4);
                return lacks.then_some(Obstacle::Forbidden { at, metadata, bits: 4 });
            } else {
                here = at;
            }
        }
    }

    /// Whether the mode of a file keeps `bits` from the process.
    fn lacks(&self, metadata: &Metadata, bits: u32) -> bool {
        let mode = metadata.mode();
        let granted = match () {
            () if self.overrides => 7,
            () if metadata.uid() == self.uid => mode >> 6,
            () if self.gids.contains(&metadata.gid()) => mode >> 3,
            () => mode,
        };
        granted & bits != bits
    }

    fn forbidden(&self, path: &Path, at: &Path, metadata: &Metadata, bits: u32) -> String {
        let verb = match bits {
            4 => "read",
            3 => "write to",
            _ => "enter",
        };
        let (owner, group) = (self.names.user(metadata.uid()), self.names.group(metadata.gid()));
        let shown = format!("{} {owner} {group}", mode(metadata));
        format!("{self} and may not {verb} {} ({shown}): {}", at.display(), self.remedy(path, at, metadata, bits))
    }

    /// The command that grants `bits`, to no more than it takes.
    fn remedy(&self, path: &Path, at: &Path, metadata: &Metadata, bits: u32) -> String {
        if ["/root", "/home"].iter().any(|home| at.starts_with(home)) && !self.names.has_home(self.uid) {
            return "services can't see the folders of users: put the file below /etc/xspgate".to_owned();
        }
        let user = self.names.user(self.uid);
        match path.parent().filter(|_| bits == 3) {
            Some(parent) if parent != at => return format!("`install -d -o {user} {}`", quoted(parent)),
            Some(parent) if SHARED.iter().any(|shared| Path::new(shared) == parent) => {
                let own = quoted(&parent.join("xspgate"));
                return format!("name a place in a folder of its own, which `install -d -o {user} {own}` makes");
            }
            Some(_) | None => {}
        }
        let (path, letters) = (quoted(at), ["", "x", "w", "wx", "r", "rx", "rw", "rwx"][(bits & 7) as usize]);
        if metadata.uid() == self.uid {
            return format!("`chmod u+{letters} {path}`");
        }
        if self.gids.contains(&metadata.gid()) {
            return format!("`chmod g+{letters} {path}`");
        }
        let mine = self.names.group(self.gids.first().copied().unwrap_or(u32::MAX));
        // A group that is there for this, as that of /etc/ssl/private.
        if metadata.gid() != 0 && metadata.mode() >> 3 & bits == bits {
            let group = self.names.group(metadata.gid());
            return format!("`usermod -aG {group} {user}`, and start it again");
        }
        format!("`chgrp {mine} {path} && chmod g+{letters} {path}`")
    }
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the process runs as ")?;
        match name(&self.names.users, self.uid) {
            Some(name) => write!(f, "{name} (uid {})", self.uid),
            None => write!(f, "uid {}", self.uid),
        }
    }
}

impl Names {
    fn user(&self, uid: u32) -> String {
        name(&self.users, uid).map_or_else(|| uid.to_string(), str::to_owned)
    }

    /// Whether a user is a person, or root: services have no folder among those of users.
    fn has_home(&self, uid: u32) -> bool {
        let of = |line: &&str| line.split(':').nth(2).and_then(|number| number.parse().ok()) == Some(uid);
        let home = self.users.lines().find(of).and_then(|line| line.split(':').nth(5)).unwrap_or_default();
        ["/root", "/home"].iter().any(|homes| Path::new(home).starts_with(homes))
    }

    fn group(&self, gid: u32) -> String {
        name(&self.groups, gid).map_or_else(|| gid.to_string(), str::to_owned)
    }
}

/// What a number is called by the lines `NAME:PASSWORD:NUMBER:...`.
fn name(lines: &str, id: u32) -> Option<&str> {
    lines.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, number) = (fields.next()?, fields.next()?, fields.next()?);
        (number.parse() == Ok(id)).then_some(name)
    })
}

/// As `ls -l` writes it: `drwxr-x---`.
fn mode(metadata: &Metadata) -> String {
    let bits = metadata.mode();
    let letter = |index: u32, letter: char| if bits >> (8 - index) & 1 == 1 { letter } else { '-' };
    let kind = if metadata.is_dir() { 'd' } else { '-' };
    std::iter::once(kind).chain("rwxrwxrwx".chars().zip(0..).map(|(of, index)| letter(index, of))).collect()
}

fn missing(path: &Path, at: &Path, link: Option<&Path>) -> String {
    if let Some(link) = link {
        return format!("the symbolic link {} leads to {}, which does not exist", link.display(), at.display());
    }
    if at != path {
        return format!("there is no folder {}", at.display());
    }
    let (folder, name) = (path.parent().unwrap_or(path), path.file_name().unwrap_or_default().to_string_lossy());
    let there = fs::read_dir(folder).into_iter().flatten().flatten();
    let there: Vec<String> = there.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    match nearest(&name, there.iter().map(String::as_str)) {
        Some(near) => format!("did you mean \"{near}\"? It is in {}", folder.display()),
        None => format!("the folder {} is there, the file is not", folder.display()),
    }
}

/// The names in a path, with `..` where it goes up.
fn parts(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

/// A path as a shell takes it.
pub fn quoted(path: &Path) -> String {
    let shown = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:,".contains(c);
    if shown.chars().all(is_plain) { shown } else { format!("'{}'", shown.replace('\'', "'\\''")) }
}

/// ENFILE and EMFILE.
const fn is_out_of_files(errno: i32) -> bool {
    matches!(errno, 23 | 24)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const STATUS: &str = "Name:\txspgate\nUid:\t0\t54321\t54321\t54321\nGid:\t54322\t54322\t54322\t54322\n\
                          Groups:\t54323 \nCapEff:\t0000000000000400\n";

    fn who() -> Who {
        let names = Names {
            users: "root:x:0:0:root:/root:/bin/bash\nxspgate:x:54321:54322::/nonexistent:/usr/sbin/nologin\n".into(),
            groups: "root:x:0:\nxspgate:x:54322:\n".into(),
        };
        Who::of(STATUS, names)
    }

    /// A folder that everybody may enter, with a file in a folder.
    fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        set(folder.path(), 0o755);
        fs::create_dir(folder.path().join("private")).unwrap();
        fs::write(folder.path().join("private/key.pem"), "x").unwrap();
        set(&folder.path().join("private"), 0o755);
        set(&folder.path().join("private/key.pem"), 0o644);
        folder
    }

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn said(path: &Path, kind: ErrorKind, purpose: Purpose) -> String {
        who().help(path, &kind.into(), purpose).unwrap_or_default()
    }

    fn denied(path: &Path) -> String {
        said(path, ErrorKind::PermissionDenied, Purpose::Reading)
    }

    #[test]
    fn a_process_is_known_by_its_effective_numbers() {
        let who = who();
        assert_eq!((who.uid, who.gids.as_slice(), who.overrides), (54321, &[54322, 54323][..], false));
        assert_eq!(who.to_string(), "the process runs as xspgate (uid 54321)");
        assert!(Who::of("CapEff:\t000001ffffffffff\n", Names::default()).overrides);
        assert_eq!(Who::of(STATUS, Names::default()).to_string(), "the process runs as uid 54321");
    }

    #[test]
    fn the_first_folder_that_stops_it_is_named_with_the_command_that_mends_it() {
        let tree = tree();
        let (private, key) = (tree.path().join("private"), tree.path().join("private/key.pem"));
        let owned = |path: &Path| {
            let metadata = fs::metadata(path).unwrap();
            let names = Who::now().names;
            (names.user(metadata.uid()), names.group(metadata.gid()))
        };
        // Anyone who runs the tests is not the user that is spoken of.
        let (owner, group) = owned(&private);
        let as_known = |text: String| text.replace(&owner, "root").replace(&group, "root");
        set(&private, 0o700);
        let shown = private.display();
        let said = denied(&key);
        assert!(
            said.starts_with(&format!(
                "the process runs as xspgate (uid 54321) and may not enter {shown} (drwx------ "
            ))
        );
        assert!(said.ends_with(&format!(": `chgrp xspgate {shown} && chmod g+x {shown}`")), "{said}");
        set(&private, 0o711);
        set(&key, 0o600);
        let (said, shown) = (as_known(denied(&key)), key.display());
        assert!(said.contains(&format!("may not read {shown} (-rw------- ")), "{said}");
        assert!(said.ends_with(&format!(": `chgrp xspgate {shown} && chmod g+r {shown}`")), "{said}");
        set(&key, 0o644);
        assert!(denied(&key).contains("an ACL, AppArmor or SELinux"), "{}", denied(&key));
        set(&private, 0o755);
        let said = self::said(&private.join("new"), ErrorKind::PermissionDenied, Purpose::Writing);
        assert!(said.contains("may not write to") && said.contains("chmod g+wx"), "{said}");
        let said = self::said(&private.join("new/er"), ErrorKind::PermissionDenied, Purpose::Writing);
        assert!(said.contains(&format!("may not write to {} ", private.display())), "{said}");
        assert!(said.ends_with(&format!(": `install -d -o xspgate {}/new`", private.display())), "{said}");
        let said = self::said(Path::new("/run/control.sock"), ErrorKind::PermissionDenied, Purpose::Writing);
        assert!(said.ends_with("which `install -d -o xspgate /run/xspgate` makes"), "{said}");
        // The gateway's own folders are opened to it, whichever user has made them.
        for own in ["/run/xspgate", "/etc/xspgate", "/var/log/xspgate"].map(Path::new) {
            let metadata = fs::metadata("/").unwrap();
            let remedy = who().remedy(&own.join("file"), own, &metadata, 3);
            assert!(remedy.contains(&format!("chmod g+wx {}", own.display())), "{remedy}");
        }
        let metadata = fs::metadata("/").unwrap();
        let person =
            Who { names: Names { users: "xspgate:x:54321:54322::/home/x:/bin/sh".into(), ..who().names }, ..who() };
        for (who, services) in [(who(), true), (person, false)] {
            let remedy = who.remedy(Path::new("/home/x/key.pem"), Path::new("/home/x"), &metadata, 1);
            assert_eq!(remedy.starts_with("services can't see"), services, "{remedy}");
        }
        let said = self::said(&private.join("new/control.sock"), ErrorKind::NotFound, Purpose::Writing);
        assert_eq!(said, format!("there is no folder {}/new", private.display()));
    }

    #[test]
    fn links_are_followed_to_what_stops_it() {
        let tree = tree();
        let (private, link) = (tree.path().join("private"), tree.path().join("link.pem"));
        symlink("private/../private/key.pem", &link).unwrap();
        set(&private, 0o700);
        assert!(denied(&link).contains(&format!("may not enter {} ", private.display())));
        set(&private, 0o755);
        fs::remove_file(private.join("key.pem")).unwrap();
        let said = said(&link, ErrorKind::NotFound, Purpose::Reading);
        let expected = format!("{} leads to {}/key.pem, which does not exist", link.display(), private.display());
        assert!(said.ends_with(&expected), "{said}");
        fs::remove_file(&link).unwrap();
        symlink(&link, &link).unwrap();
        assert!(denied(&link).contains("ACL"), "a circle ends");
    }

    #[test]
    fn what_is_missing_is_named() {
        let tree = tree();
        let missing = |name: &str| said(&tree.path().join(name), ErrorKind::NotFound, Purpose::Reading);
        let private = tree.path().join("private").display().to_string();
        assert_eq!(missing("nowhere/at/all"), format!("there is no folder {}/nowhere", tree.path().display()));
        assert_eq!(missing("private/kei.pem"), format!("did you mean \"key.pem\"? It is in {private}"));
        assert_eq!(missing("private/chain.txt"), format!("the folder {private} is there, the file is not"));
        let through = said(&tree.path().join("private/key.pem/x"), ErrorKind::NotADirectory, Purpose::Reading);
        assert_eq!(through, format!("{private}/key.pem is not a folder"));
        assert_eq!(said(tree.path(), ErrorKind::InvalidData, Purpose::Reading), "");
        assert!(
            who().help(tree.path(), &io::Error::from_raw_os_error(24), Purpose::Reading).unwrap().contains("ulimit")
        );
    }

    #[test]
    fn paths_are_written_as_a_shell_takes_them() {
        assert_eq!(quoted(Path::new("/etc/x-y_1.pem")), "/etc/x-y_1.pem");
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
