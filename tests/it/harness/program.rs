//! The gateway's binary as an operator runs it, and other programs beside it, with the lines that they write.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use super::eventually;

/// A running program; killed when dropped.
pub(crate) struct Program {
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

/// What has come of a run.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

type Lines = Arc<Mutex<Vec<String>>>;

impl Program {
    /// Starts it with these arguments. What it writes, to either stream, is kept by lines.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_in(&[], arguments)
    }

    /// As [`Program::start`], with these variables in its environment.
    pub(crate) fn start_in(environment: &[(&str, &str)], arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xspgate"));
        Self::spawn(command.args(arguments).envs(environment.iter().copied()))
    }

    /// As [`Program::start`], of any program.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, stderr) = (keep(child.stdout.take().unwrap()), keep(child.stderr.take().unwrap()));
        Self { child, stdout, stderr }
    }

    /// Runs it in `folder` to its end, which must not be far.
    pub(crate) fn run_in(folder: &Path, arguments: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xspgate"));
        Self::run(command.args(arguments).current_dir(folder))
    }

    /// As [`Program::start_in`], to its end, which must not be far.
    pub(crate) fn run_with(environment: &[(&str, &str)], arguments: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xspgate"));
        Self::run(command.args(arguments).envs(environment.iter().copied()))
    }

    fn run(command: &mut Command) -> Ended {
        let output = command.output().unwrap();
        Ended {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// What it has written to standard output.
    pub(crate) fn output(&self) -> Vec<String> {
        self.stdout.lock().unwrap().clone()
    }

    /// All that it has written, to whatever stream.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = self.output();
        lines.extend(self.stderr.lock().unwrap().iter().cloned());
        lines
    }

    /// Waits for a line of which `wanted` makes something.
    pub(crate) async fn line<T>(&self, what: &str, wanted: impl Fn(&str) -> Option<T>) -> T {
        let mut found = None;
        eventually(what, async || {
            found = self.lines().iter().find_map(|line| wanted(line));
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// Sends it a signal by name, such as `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        assert!(signal(self.id(), name), "it has ended");
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its exit code, if it has ended.
    pub(crate) fn code(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().and_then(|status| status.code())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal by name to the process `id`; whether there is one.
pub(crate) fn signal(id: u32, name: &str) -> bool {
    // The shell's own `kill` is there even where the program of that name is not.
    Command::new("sh").args(["-c", &format!("kill -{name} {id} 2>/dev/null")]).status().unwrap().success()
}

fn keep(stream: impl Read + Send + 'static) -> Lines {
    let lines = Lines::default();
    let kept = Arc::clone(&lines);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            kept.lock().unwrap().push(line);
        }
    });
    lines
}
