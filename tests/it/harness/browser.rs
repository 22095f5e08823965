//! A headless Chromium, spoken to over its DevTools pipe, so that pages are tested as people see them.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::{eventually, within};

/// What it is called, and what it is started with: nothing that asks the network for anything but the page.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];
const FLAGS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-proxy-server",
    "--remote-debugging-pipe",
];
/// How long it may take to leave by itself.
const LEAVING: Duration = Duration::from_secs(5);

/// A browser with one page; gone when dropped.
pub(crate) struct Browser {
    child: Child,
    input: ChildStdin,
    replies: mpsc::UnboundedReceiver<Value>,
    session: Option<String>,
    asked: u64,
    /// What the page has complained of.
    complaints: Vec<Value>,
    _profile: TempDir,
}

impl Browser {
    /// A browser that shows nothing yet. `None`: there is none on this machine, which is said; where `CI` is set, there has
    /// to be one.
    pub(crate) async fn start() -> Option<Self> {
        let found = NAMES.into_iter().find(|name| {
            let version = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            version.is_ok_and(|status| status.success())
        });
        let Some(name) = found else {
            assert!(std::env::var_os("CI").is_none(), "no browser: install chromium");
            eprintln!("left out: the status page in a browser, since there is no chromium here");
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        // DevTools read from 3 and write to 4; the shell makes room there and is gone.
        let mut child = Command::new("sh")
            .args(["-c", "exec 3<&0 4>&1 </dev/null >/dev/null 2>&1; exec \"$0\" \"$@\"", name])
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, replies) = (child.stdin.take().unwrap(), messages(child.stdout.take().unwrap()));
        let (session, complaints) = (None, Vec::new());
        let mut browser = Self { child, input, replies, session, asked: 0, complaints, _profile: profile };
        let page = browser.ask("Target.createTarget", json!({ "url": "about:blank" })).await["targetId"].clone();
        let attached = browser.ask("Target.attachToTarget", json!({ "targetId": page, "flatten": true })).await;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.ask(domain, json!({})).await;
        }
        Some(browser)
    }

    /// Shows `url`.
    pub(crate) async fn open(&mut self, url: &str) {
        let opened = self.ask("Page.navigate", json!({ "url": url })).await;
        assert_eq!(opened.get("errorText"), None, "{opened}");
        self.until("the page", "document.readyState === 'complete'").await;
    }

    /// What `script` makes in the page, or promises.
    pub(crate) async fn evaluate(&mut self, script: &str) -> Value {
        let asked = json!({ "expression": script, "returnByValue": true, "awaitPromise": true });
        let answer = self.ask("Runtime.evaluate", asked).await;
        assert_eq!(answer.get("exceptionDetails"), None, "{script}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until `script` is true in the page.
    pub(crate) async fn until(&mut self, what: &str, script: &str) {
        eventually(what, async || self.evaluate(script).await == true).await;
    }

    /// Presses a key and lets it go.
    pub(crate) async fn press(&mut self, key: &str, text: &str) {
        let code = if key == " " { "Space" } else { key };
        let virtual_key = if key == " " { 32 } else { 9 };
        for (kind, text) in [("keyDown", text), ("keyUp", "")] {
            let event =
                json!({ "type": kind, "key": key, "code": code, "windowsVirtualKeyCode": virtual_key, "text": text });
            self.ask("Input.dispatchKeyEvent", event).await;
        }
    }

    /// Asks the browser for `method`; what it reports meanwhile is looked through for complaints.
    pub(crate) async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let mut message = json!({ "id": self.asked, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.input.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let mut reply = within(method, self.replies.recv()).await.expect("the browser lives");
            if reply["id"] == self.asked {
                assert_eq!(reply.get("error"), None, "{method}: {reply}");
                return reply["result"].take();
            }
            if ["Log.entryAdded", "Runtime.exceptionThrown"].iter().any(|complaint| reply["method"] == **complaint) {
                self.complaints.push(reply["params"].take());
            }
        }
    }

    /// What the page has complained of so far: errors of its script, and what its policy has kept from it.
    pub(crate) fn complaints(&self) -> &[Value] {
        &self.complaints
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.input.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let deadline = Instant::now() + LEAVING;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The messages of `stream`, each of which ends with a zero byte.
fn messages(stream: impl Read + Send + 'static) -> mpsc::UnboundedReceiver<Value> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for message in BufReader::new(stream).split(0).map_while(Result::ok) {
            let Ok(message) = serde_json::from_slice(&message) else { continue };
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    receiver
}
