//! Standard output and standard error that nobody takes: a pipe without a reader, a disk that is full. Nothing waits for
//! them, and what is lost is counted (promise 21).

use std::fs::{self, File};
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use http::StatusCode;
use serde_json::Value;
use xspgate::sim::site::Layout;

use crate::harness::{Client, Ctl, Metrics, PROFILE, Program, Stage, eventually, get_plain, signal, within};

/// Clients that make lines at a time.
const CLIENTS: usize = 8;
/// More lines than the queue for them holds.
const MANY: usize = 9000;

/// What a pipe of Linux holds.
const PIPE: usize = 64 * 1024;

/// A gateway whose outputs are the test's.
struct Mute {
    stage: Stage,
    child: Child,
    https: SocketAddr,
    admin: SocketAddr,
    ctl: Ctl,
    config: PathBuf,
}

impl Mute {
    async fn start(stdout: impl Into<Stdio>, stderr: impl Into<Stdio>) -> Self {
        let binary = Command::new(env!("CARGO_BIN_EXE_xspgate"));
        Self::start_by(binary, |config| vec!["run".into(), config.display().to_string()], stdout, stderr).await
    }

    async fn start_by(
        mut command: Command,
        arguments: impl FnOnce(&Path) -> Vec<String>,
        stdout: impl Into<Stdio>,
        stderr: impl Into<Stdio>,
    ) -> Self {
        let stage = Stage::start().await;
        let (https, admin) = (stage.sim.address(61), stage.sim.address(62));
        let folder = stage.sim.folder();
        let (config, socket) = (folder.join("mute.toml"), folder.join("mute.sock"));
        let mut text = stage.sim.config(Layout::OneSite);
        text.set("[[https]]", "listen", vec![https.to_string()]).set("[admin]", "listen", admin.to_string());
        text.set("[log]", "access", true).set("[control]", "socket", socket.display().to_string());
        fs::write(&config, text.to_string()).unwrap();
        command.args(arguments(&config)).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        let child = command.spawn().unwrap();
        let mute = Self { stage, child, https, admin, ctl: Ctl(socket), config };
        eventually("it listens", async || tokio::net::TcpStream::connect(admin).await.is_ok()).await;
        eventually("readiness", async || get_plain(admin, "/readyz").await.0 == 200).await;
        mute
    }

    fn client(&self) -> Client {
        Client::new(self.https, self.stage.sim.pki.public_roots())
    }

    /// Sends `count` requests whose lines in the access log are as long as lines get: some 1.5 KiB.
    async fn make_long_lines(&self, count: usize) {
        let path = format!("/{}", "x".repeat(1024));
        let mut clients = tokio::task::JoinSet::new();
        for number in 0..CLIENTS {
            let (mut client, path) = (self.client(), path.clone());
            clients.spawn(async move {
                for _ in (number..count).step_by(CLIENTS) {
                    assert_eq!(client.get(&path).await.status, StatusCode::NOT_FOUND);
                }
            });
        }
        clients.join_all().await;
    }

    async fn metrics(&self) -> Metrics {
        Metrics::parse(&get_plain(self.admin, "/metrics").await.1)
    }

    async fn lost(&self, kind: &str) -> usize {
        self.metrics().await.count("xspgate_log_dropped_total", &[("kind", kind)]) as usize
    }

    /// All that an operator does, and an XSP that dies meanwhile.
    async fn works(&self) {
        self.stage.xsp("a1").kill().await;
        let endpoint = self.stage.xsp("a1").address().to_string();
        let blocked = async || {
            assert_eq!(self.client().get(PROFILE).await.status, StatusCode::OK);
            self.metrics().await.value("xspgate_endpoint_blocked", &[("endpoint", &endpoint)]) == Some(1.0)
        };
        eventually("the dead XSP is blocked", blocked).await;
        for path in ["/livez", "/readyz", "/status", "/"] {
            assert_eq!(get_plain(self.admin, path).await.0, 200, "{path}");
        }
        let other = self.stage.xsp("b1").address().to_string();
        for arguments in [&["drain", &other][..], &["undrain", &other], &["reload"], &["status"], &["log", "debug"]] {
            within(arguments[0], self.ctl.done(arguments)).await;
        }
        for _ in 0..50 {
            assert_eq!(self.client().get(PROFILE).await.status, StatusCode::OK);
        }
    }

    async fn ends(&mut self) -> i32 {
        let mut code = None;
        eventually("its end", async || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        })
        .await;
        code.unwrap().code().unwrap()
    }

    /// Stopped by `signal`, it ends with 0.
    async fn stops(&mut self) {
        assert!(signal(self.child.id(), "TERM"));
        assert_eq!(self.ends().await, 0);
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pipe that holds what it can, and that nobody reads.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().unwrap();
    writer.write_all(&[b'\n'; PIPE]).unwrap();
    (reader, writer)
}

fn full_disk() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// The events of the access log among these lines; what is no JSON object is a line in pieces.
fn events(text: &str) -> usize {
    let lines = text.lines().filter(|line| !line.is_empty());
    let parsed = lines.map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("in pieces: {line}")));
    parsed.filter(|line| line["event"] == "access").count()
}

#[tokio::test]
async fn promise_21_outputs_that_nobody_reads_hold_up_nothing() {
    let ((_stdout, out), (_stderr, err)) = (full_pipe(), full_pipe());
    let mut mute = Mute::start(out, err).await;
    mute.make_long_lines(MANY).await;
    eventually("lines are lost", async || mute.lost("access").await > 0).await;
    mute.works().await;
    assert_eq!(mute.lost("log").await, 0, "access lines leave room for the log");
    // Another process takes its place, which has the same outputs.
    within("a restart", mute.ctl.done(&["restart"])).await;
    assert_eq!(mute.ends().await, 0);
    assert_eq!(mute.client().get(PROFILE).await.status, StatusCode::OK);
    within("a stop", mute.ctl.done(&["stop"])).await;
    let socket = mute.ctl.0.clone();
    eventually("the new process' end", async || !socket.exists()).await;
}

#[tokio::test]
async fn promise_21_what_a_slow_reader_misses_is_counted_to_the_line() {
    let (mut reader, writer) = pipe().unwrap();
    let mut mute = Mute::start(writer, Stdio::null()).await;
    let sent = MANY;
    mute.make_long_lines(sent).await;
    eventually("lines are lost", async || mute.lost("access").await > 0).await;
    let lost = mute.lost("access").await;
    assert!(signal(mute.child.id(), "TERM"));
    let reading = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    let text = within("the rest", reading).await.unwrap();
    assert_eq!(mute.ends().await, 0);
    assert_eq!(events(&text) + lost, sent);
    assert!(text.contains("\"stopped\""), "a stop writes what is queued");
}

#[tokio::test]
async fn promise_21_a_full_disk_costs_the_lines_and_nothing_else() {
    let mut mute = Mute::start(full_disk(), full_disk()).await;
    assert!(mute.lost("notice").await >= 2, "where it serves");
    let sent = 30;
    mute.make_long_lines(sent).await;
    eventually("all lines are lost", async || mute.lost("access").await == sent).await;
    assert!(mute.lost("log").await >= 1, "that it has started");
    mute.works().await;
    // A configuration that can't be used is told of in vain, and refused as ever.
    let config = mute.config.display().to_string();
    let code = |arguments: &[&str], stdout: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xspgate"));
        let status = command.args(arguments).stdin(Stdio::null()).stdout(stdout).stderr(full_disk()).status();
        status.unwrap().code()
    };
    assert_eq!(code(&["check", &config], Stdio::null()), Some(0));
    assert_eq!(code(&["check", &config], full_disk().into()), Some(1), "the answer could not be written");
    let broken = mute.stage.sim.folder().join("broken.toml");
    fs::write(&broken, "workers = true\n").unwrap();
    let broken = broken.display().to_string();
    for command in ["check", "run", "doctor"] {
        assert_eq!(code(&[command, &broken], Stdio::null()), Some(2), "{command}");
    }
    for arguments in [&["ctl", "--socket", "/nowhere", "status"][..], &["certs", "inspect", "/nowhere"]] {
        assert!(code(arguments, full_disk().into()).is_some_and(|code| code == 1 || code == 2), "{arguments:?}");
    }
    mute.stops().await;
}

#[tokio::test]
async fn promise_21_a_log_file_that_may_grow_no_more_ends_nothing() {
    let binary = env!("CARGO_BIN_EXE_xspgate");
    let log = tempfile::NamedTempFile::new().unwrap();
    // In units of 512 bytes.
    let script = format!("ulimit -f 100; exec {binary} run \"$1\"");
    let arguments = |config: &Path| vec!["-c".into(), script, "sh".into(), config.display().to_string()];
    let mut mute = Mute::start_by(Command::new("sh"), arguments, log.reopen().unwrap(), Stdio::null()).await;
    let sent = 100;
    mute.make_long_lines(sent).await;
    let written = || {
        let text = fs::read_to_string(log.path()).unwrap();
        // The last one may have met the limit.
        events(&text[..text.rfind('\n').map_or(0, |end| end + 1)])
    };
    eventually("each line is written or counted", async || mute.lost("access").await + written() == sent).await;
    assert!(written() >= 1 && mute.lost("access").await >= 1, "{} written", written());
    // Nor what is said before anything is served.
    let script = format!("ulimit -f 0; exec {binary} check \"$1\"");
    let mut check = Command::new("sh");
    check.args(["-c", &script, "sh", mute.config.to_str().unwrap()]).stdin(Stdio::null());
    let status = check.stdout(log.reopen().unwrap()).stderr(log.reopen().unwrap()).status().unwrap();
    assert_eq!(status.code(), Some(1), "the answer could not be written");
    mute.works().await;
    mute.stops().await;
}

#[tokio::test]
async fn a_stop_waits_a_moment_for_who_reads_and_no_longer() {
    let (stdout, out) = full_pipe();
    let mut mute = Mute::start(out, Stdio::null()).await;
    mute.stops().await;
    drop(stdout);
    // As `Program` reads it, all is there.
    let ended = Program::run_in(Path::new("/"), &["run", "/nowhere/xspgate.toml"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""));
    assert!(ended.stderr.contains("/nowhere/xspgate.toml"), "{}", ended.stderr);
}
