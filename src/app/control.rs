//! Control calls: who asks over the Unix socket, what is done, and what is said of it. Only the gateway's own user and root
//! are heard, whatever becomes of the socket's mode; there is no way to change anything over TCP.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as BlockingListener, UnixStream as Blocking};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;
use tracing::{info, warn};

use super::estate::Handed;
use super::outcome::Outcome;
use super::reload::Asked;
use super::running::Farms;
use super::successor::Successor;
use crate::admin::Admin;
use crate::config::types::Leaf;
use crate::config::types::name::LogFilter;
use crate::config::types::network::DrainedXsp;
use crate::control::{LONGEST_REQUEST, Reply, Request, Whom};
use crate::farm::{ByHand, Farm, Meant};
use crate::policy::endpoint::Presence;
use crate::telemetry;

/// Who asks at the same time.
const CALLS: u32 = 8;
/// How long one of them may take to ask, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the last answers may take when the process ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// The socket; its file goes with it.
#[derive(Debug)]
pub(super) struct Socket {
    listener: BlockingListener,
    path: PathBuf,
    /// Device and inode of the file; `None`: it is another process' to remove.
    file: Option<(u64, u64)>,
    /// Whose it is.
    owner: u32,
    handed: watch::Receiver<Handed>,
}

/// What control calls act on.
#[derive(Clone)]
pub(super) struct Control {
    pub(super) farms: Farms,
    pub(super) admin: Admin,
    pub(super) asks: mpsc::UnboundedSender<Asked>,
    pub(super) stop: Arc<Notify>,
    pub(super) seats: Seats,
}

/// Those who are being answered.
#[derive(Clone)]
pub(super) struct Seats(Arc<Semaphore>);

impl Default for Seats {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(CALLS as usize)))
    }
}

impl Seats {
    /// Returns once everybody has been answered, or has been given a moment for that.
    pub(super) async fn empty(&self) {
        drop(timeout(FAREWELL, self.0.acquire_many(CALLS)).await);
    }
}

impl Socket {
    /// Binds the socket at `path`, unless it is `inherited`, and removes one that a gateway has left behind there.
    ///
    /// # Errors
    /// Another gateway has it, or the folder can't be written to.
    pub(super) fn bind(
        path: &Path,
        inherited: Option<BlockingListener>,
        handed: watch::Receiver<Handed>,
    ) -> Result<Self> {
        let shown = path.display();
        if let Some(listener) = inherited.filter(|_| is_socket(path)) {
            return Self::of(listener, path, handed);
        }
        match Blocking::connect(path) {
            Ok(_) => bail!("[control] another gateway has its socket at {shown}"),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused && is_socket(path) => {
                fs::remove_file(path).with_context(|| format!("[control] can't remove the old socket {shown}"))?;
            }
            // There is none, or binding will say what is wrong.
            Err(_) => {}
        }
        let listener =
            BlockingListener::bind(path).with_context(|| format!("[control] can't make the socket {shown}"))?;
        fs::set_permissions(path, Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        let mut socket = Self::of(listener, path, handed)?;
        socket.keep();
        Ok(socket)
    }

    fn of(listener: BlockingListener, path: &Path, handed: watch::Receiver<Handed>) -> Result<Self> {
        let owner = fs::symlink_metadata(path)?.uid();
        Ok(Self { listener, path: path.to_owned(), file: None, owner, handed })
    }

    /// The file is this process' from now on, whoever's it was.
    pub(super) fn keep(&mut self) {
        self.file = identity(&self.path);
    }

    /// The same once more, for a process that takes this one's place.
    pub(super) fn spare(&self) -> io::Result<(PathBuf, BlockingListener)> {
        Ok((self.path.clone(), self.listener.try_clone()?))
    }
}

/// Removes the socket that nobody listens at any more.
pub(super) fn remove(path: &Path) {
    if is_socket(path) {
        // Who asks there finds nobody in any case.
        drop(fs::remove_file(path));
    }
}

/// Device and inode.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// What else has that path is nobody's to remove.
fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Somebody may have removed it, or put another there.
        match *self.handed.borrow() {
            Handed::Over => {}
            Handed::NotYet | Handed::Lost => {
                if self.file.is_some() && identity(&self.path) == self.file {
                    drop(fs::remove_file(&self.path));
                }
            }
        }
    }
}

impl Control {
    /// Answers on `socket` for ever; without one, it only waits.
    pub(super) async fn serve(self, socket: Option<&Socket>) {
        let Some(socket) = socket else { return std::future::pending().await };
        let listener = match socket.listener.try_clone().and_then(UnixListener::from_std) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "the control socket can't be used");
                return std::future::pending().await;
            }
        };
        loop {
            let Ok(seat) = Arc::clone(&self.seats.0).acquire_owned().await else { return };
            let Ok((call, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let (control, owner) = (self.clone(), socket.owner);
            tokio::spawn(async move {
                // Who hangs up has heard enough.
                drop(control.hear(call, owner).await);
                drop(seat);
            });
        }
    }

    async fn hear(&self, mut call: UnixStream, owner: u32) -> io::Result<()> {
        let caller = call.peer_cred()?;
        let mut line = String::new();
        let mut read = BufReader::new((&mut call).take(LONGEST_REQUEST));
        timeout(PATIENCE, read.read_line(&mut line)).await??;
        let reply = match serde_json::from_str::<Request>(&line) {
            _ if caller.uid() != 0 && caller.uid() != owner => {
                warn!(uid = caller.uid(), pid = caller.pid(), "a control call of somebody else is not heard");
                Reply::Refused("it hears its own user and root, and nobody else".into())
            }
            Ok(Request::TakeOver) => {
                let (uid, pid) = (caller.uid(), caller.pid());
                info!(what = Request::TakeOver.name(), uid, pid, "control call");
                // It is answered by what it gets, or does not get.
                drop(self.hand_over(Successor::Came(call.into_std()?)).await);
                return Ok(());
            }
            Ok(request) => {
                let reply = self.answer(&request).await;
                tell(&request, &reply, caller.uid(), caller.pid());
                reply
            }
            Err(error) => Reply::Refused(format!("not understood: {error}; is `xspgate ctl` of another version?")),
        };
        let mut text = serde_json::to_vec(&reply)?;
        text.push(b'\n');
        timeout(PATIENCE, call.write_all(&text)).await?
    }

    async fn answer(&self, request: &Request) -> Reply {
        match request {
            Request::Status => Reply::Done(self.admin.status_json()),
            Request::Drain(whom) => self.by_hand(whom, ByHand::Drain),
            Request::Undrain(whom) => self.by_hand(whom, ByHand::Undrain),
            Request::Block(whom, seconds) => match seconds.map(Duration::try_from_secs_f64).transpose() {
                Ok(time) => self.by_hand(whom, ByHand::Block(time)),
                Err(_) => Reply::Refused("that is no time".into()),
            },
            Request::Unblock(whom) => self.by_hand(whom, ByHand::Unblock),
            Request::Reload => self.reload().await,
            Request::Stop => {
                self.stop.notify_one();
                Reply::Done("stopping; asked once more, it ends at once".into())
            }
            Request::Restart => self.hand_over(Successor::Program).await,
            Request::TakeOver => Reply::Refused("that takes a connection of its own".into()),
            Request::Log(level) => set_level(level.as_deref()),
        }
    }

    async fn hand_over(&self, successor: Successor) -> Reply {
        let (asked, outcome) = oneshot::channel();
        drop(self.asks.send(Asked::HandOver(successor, asked)));
        match outcome.await {
            Ok(Ok(pid)) => Reply::Done(format!("process {pid} has taken over; the old one drains")),
            Ok(Err(why)) => Reply::Refused(why),
            Err(_) => Reply::Refused("the gateway is about to end".into()),
        }
    }

    async fn reload(&self) -> Reply {
        let (asked, outcome) = oneshot::channel();
        drop(self.asks.send(Asked::Reload(asked)));
        match outcome.await {
            Ok(outcome @ (Outcome::Applied { .. } | Outcome::Unchanged { .. })) => Reply::Done(outcome.to_string()),
            Ok(outcome @ Outcome::Refused(_)) => Reply::Refused(outcome.to_string()),
            Err(_) => Reply::Refused("the gateway is about to end".into()),
        }
    }

    fn by_hand(&self, whom: &Whom, what: ByHand) -> Reply {
        let meant = match DrainedXsp::text(&whom.xsp) {
            Ok(meant) => meant.0,
            Err(_) => return Reply::Refused(format!("\"{}\" is no XSP: {}", whom.xsp, DrainedXsp::expected())),
        };
        let farms = self.farms(whom);
        let done = farms.iter().flat_map(|farm| farm.by_hand(&meant, what).into_iter().map(move |one| (farm, one)));
        let lines: Vec<_> = done
            .map(|(farm, Meant { endpoint, presence })| {
                format!("{endpoint} of farm {}: {}", farm.name(), outcome(what, presence))
            })
            .collect();
        if lines.is_empty() {
            return Reply::Refused(unknown(whom, &farms));
        }
        Reply::Done(lines.join("\n"))
    }

    fn farms(&self, whom: &Whom) -> Vec<Arc<Farm>> {
        let farms = self.farms.load();
        let meant = farms.iter().filter(|farm| whom.farm.as_ref().is_none_or(|name| name == farm.name()));
        meant.map(Arc::clone).collect()
    }
}

fn set_level(level: Option<&str>) -> Reply {
    if let Some(Err(_)) = level.map(LogFilter::text) {
        return Reply::Refused(format!("that is no level: {}", LogFilter::expected()));
    }
    match telemetry::set_level(level) {
        Ok(()) if level.is_none_or(has_rest) => Reply::Done("the log's level is set".into()),
        Ok(()) => {
            Reply::Done("the log's level is set; of all other modules, nothing is logged: see \"info,...\"".into())
        }
        Err(error) => Reply::Refused(error.to_string()),
    }
}

/// Whether `level` says something of modules that it does not name.
fn has_rest(level: &str) -> bool {
    level.split(',').any(|part| !part.contains('='))
}

fn outcome(what: ByHand, presence: Presence) -> &'static str {
    match (what, presence) {
        (ByHand::Drain, Presence::Departed) => "drained, and gone from DNS",
        (ByHand::Drain, Presence::Present | Presence::Draining) => "drained",
        (ByHand::Undrain, Presence::Present) => "drained no more",
        (ByHand::Undrain, Presence::Draining) => "STILL drained, by `drain` in the configuration or as another name",
        (ByHand::Undrain, Presence::Departed) => "drained no more, and gone from DNS",
        (ByHand::Block(_), _) => "blocked",
        (ByHand::Unblock, _) => "unblocked",
    }
}

fn unknown(whom: &Whom, farms: &[Arc<Farm>]) -> String {
    if let (Some(farm), true) = (&whom.farm, farms.is_empty()) {
        return format!("there is no farm \"{farm}\"");
    }
    let known: Vec<_> = farms.iter().flat_map(|farm| farm.labels()).map(|label| label.to_string()).collect();
    format!("no XSP is meant by \"{}\"; there are {}", whom.xsp, known.join(", "))
}

fn tell(request: &Request, reply: &Reply, uid: u32, pid: Option<i32>) {
    let (seconds, level) = match request {
        Request::Status => return,
        Request::Block(_, seconds) => (*seconds, None),
        Request::Log(level) => (None, level.as_deref()),
        Request::Drain(_)
        | Request::Undrain(_)
        | Request::Unblock(_)
        | Request::Reload
        | Request::Restart
        | Request::TakeOver
        | Request::Stop => (None, None),
    };
    let (what, xsp) = (request.name(), request.whom().map(|whom| &*whom.xsp));
    let farm = request.whom().and_then(|whom| whom.farm.as_deref());
    match reply {
        Reply::Done(_) => info!(what, xsp, farm, seconds, level, uid, pid, "control call"),
        Reply::Refused(why) => info!(what, xsp, farm, seconds, level, uid, pid, why, "control call refused"),
    }
}
