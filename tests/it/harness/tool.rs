//! Programs that are no part of Rust and that some tests need: Prometheus, systemd's, dpkg's. Separate, since each such test
//! has the same three ways to go: the program is there, it can be fetched, or the test is left out, which is said.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// One fetches at a time: `apt-get` minds another one.
static FETCHING: Mutex<()> = Mutex::new(());

/// A program that can be run.
#[derive(Clone, Debug)]
pub(crate) struct Tool {
    path: PathBuf,
    /// Where its libraries are, if it was fetched.
    libraries: OsString,
}

impl Tool {
    /// The program of that name. Where it is not installed, root and CI get it from Debian's `packages`, which are unpacked
    /// below `target` and not installed: nothing is started, and nothing else of the machine changes.
    ///
    /// `None`: the test has to be left out, which standard error has been told. In CI that is a failure instead.
    pub(crate) fn find(name: &str, packages: &[&str]) -> Option<Self> {
        if let Some(path) = on_path(name) {
            return Some(Self { path, libraries: OsString::new() });
        }
        match fetched(name, packages) {
            Ok(tool) => Some(tool),
            Err(why) => {
                left_out(name, &why);
                None
            }
        }
    }

    /// As [`Tool::find`], of a program that no package of Debian's has.
    pub(crate) fn installed(name: &str, how: &str) -> Option<Self> {
        let path = on_path(name);
        if path.is_none() {
            left_out(name, how);
        }
        Some(Self { path: path?, libraries: OsString::new() })
    }

    /// A library of Debian's `packages` by its file's name, for a program that is to load it before others; as [`Tool::find`],
    /// but for one that is installed already.
    pub(crate) fn library(name: &str, packages: &[&str]) -> Option<PathBuf> {
        let find = |files: Vec<PathBuf>| files.into_iter().find(|path| path.ends_with(name));
        let path = unpacked(packages).and_then(|files| find(files).ok_or_else(|| format!("no {name} in {packages:?}")));
        path.inspect_err(|why| left_out(name, why)).ok()
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// It, to be given arguments.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        if !self.libraries.is_empty() {
            command.env("LD_LIBRARY_PATH", &self.libraries);
        }
        command.stdin(Stdio::null());
        command
    }
}

/// Runs a command to its end, which must be a good one; what it wrote to standard output.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{stdout}{stderr}", output.status);
    stdout.into_owned()
}

/// Whether this is a run whose result counts, in which nothing may be left out.
fn in_ci() -> bool {
    env::var_os("CI").is_some_and(|value| !value.is_empty())
}

/// Whether this process may do anything to its machine.
fn is_root() -> bool {
    let uid = |status: String| status.lines().find_map(|line| line.strip_prefix("Uid:\t0\t")).is_some();
    fs::read_to_string("/proc/self/status").is_ok_and(uid)
}

/// Says that the test is left out for want of `what`; in CI, the test fails.
pub(crate) fn left_out(what: &str, why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    assert!(!in_ci(), "{test} needs {what}: {why}");
    // Past the capture of a test that passes; and if nobody listens, nobody is told.
    let _ = writeln!(std::io::stderr(), "left out: {test}: no {what}: {why}");
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn fetched(name: &str, packages: &[&str]) -> Result<Tool, String> {
    let files = unpacked(packages)?;
    let is_it = |path: &&PathBuf| ["bin", "sbin"].iter().any(|folder| path.ends_with(Path::new(folder).join(name)));
    let path = files.iter().find(is_it);
    let path = path.ok_or_else(|| format!("{} has no such program", packages.join(" ")))?.clone();
    let is_library = |path: &&PathBuf| path.to_string_lossy().contains(".so");
    let mut folders: Vec<_> = files.iter().filter(is_library).filter_map(|path| path.parent()).collect();
    folders.dedup();
    Ok(Tool { path, libraries: env::join_paths(folders).map_err(|error| error.to_string())? })
}

/// The files of Debian's packages, which are fetched if need be.
fn unpacked(packages: &[&str]) -> Result<Vec<PathBuf>, String> {
    let (Some(package), true) = (packages.first(), in_ci() || is_root()) else {
        return Err(format!("install Debian's {}, or run the tests as root", packages.join(" ")));
    };
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tools").join(package);
    let _fetching = FETCHING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !home.is_dir() {
        // Two processes may do this at once; the one that comes second throws its own away.
        let unpacked = home.with_extension(std::process::id().to_string());
        unpack(packages, &unpacked).inspect_err(|_| drop(fs::remove_dir_all(&unpacked)))?;
        if fs::rename(&unpacked, &home).is_err() {
            let _ = fs::remove_dir_all(&unpacked);
        }
    }
    let mut files = Vec::new();
    walk(&home, &mut files);
    Ok(files)
}

fn unpack(packages: &[&str], to: &Path) -> Result<(), String> {
    fs::create_dir_all(to).map_err(|error| error.to_string())?;
    let apt_get = |arguments: &[&str]| {
        let patience = ["-q", "-o", "Acquire::http::Timeout=20", "-o", "Acquire::Retries=1"];
        run(Command::new("apt-get").args(patience).args(arguments).current_dir(to))
    };
    let download = [&["download"], packages].concat();
    // The lists may be missing or old.
    apt_get(&download).or_else(|_| apt_get(&["update"]).and_then(|()| apt_get(&download)))?;
    let mut files = Vec::new();
    walk(to, &mut files);
    files.iter().filter(|path| path.extension().is_some_and(|ending| ending == "deb")).try_for_each(|package| {
        run(Command::new("dpkg").arg("-x").args([package.as_path(), to]))?;
        fs::remove_file(package).map_err(|error| error.to_string())
    })
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    let failed = || format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    output.status.success().then_some(()).ok_or_else(failed)
}

/// All files below a folder.
fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(&path, found),
            Ok(_) => found.push(path),
            Err(_) => {}
        }
    }
}
