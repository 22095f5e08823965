//! `xspgate ctl` as an operator types it.

use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use xspgate::control::{Reply, Request};

use super::{Ended, Program, within};

/// Whom it asks: the gateway whose control socket is here.
pub(crate) struct Ctl(pub(crate) PathBuf);

impl Ctl {
    /// Runs it, on a thread of its own, since what it asks may take the runtime's part of the stage.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ended {
        let socket = self.0.display().to_string();
        let arguments: Vec<String> =
            ["ctl", "--socket", &socket].iter().chain(arguments).map(|argument| (*argument).to_owned()).collect();
        let run = move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            Program::run_in(Path::new("/"), &arguments)
        };
        tokio::task::spawn_blocking(run).await.unwrap()
    }

    /// What it says of what is done.
    pub(crate) async fn done(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments).await;
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{arguments:?}");
        ended.stdout
    }

    /// Why it is not done.
    pub(crate) async fn refused(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{arguments:?}: {}", ended.stderr);
        ended.stderr
    }

    /// Asks without the program, and returns what is said of what is done.
    pub(crate) async fn ask(&self, request: &Request) -> String {
        match self.reply(request).await {
            Reply::Done(text) => text,
            Reply::Refused(why) => panic!("{request:?}: {why}"),
        }
    }

    /// Asks without the program.
    pub(crate) async fn reply(&self, request: &Request) -> Reply {
        let asking = async {
            let mut socket = UnixStream::connect(&self.0).await.unwrap();
            let line = [serde_json::to_vec(request).unwrap(), b"\n".to_vec()].concat();
            socket.write_all(&line).await.unwrap();
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await.unwrap();
            serde_json::from_str(&answer).unwrap()
        };
        within(&format!("{request:?}"), asking).await
    }
}
