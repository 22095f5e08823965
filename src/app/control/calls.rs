//! Control calls: who asks over the Unix socket, and what is said. Separate from what is done, because this thread waits for
//! nobody but the callers, and for them not long: no caller keeps another one out.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::commands::Command;
use super::{Caller, Socket};
use crate::admin::Wanted;
use crate::admin::line::{Line, Silence};
use crate::admin::slots::{Limits, Slot, Slots};
use crate::app::outcome::Outcome;
use crate::app::reload::Asked;
use crate::app::successor::Successor;
use crate::control::{LONGEST_REQUEST, Reply, Request};
use crate::farm::Operation;
use crate::telemetry::access;

/// Callers that have not asked yet.
const WAITING: Limits = Limits { all: 32, each: 24, sheltered: Duration::ZERO };
/// Callers that are being answered. One that does not read makes way for the next after a moment.
const ANSWERING: Limits = Limits { all: 32, each: 24, sheltered: Duration::from_secs(1) };
/// Callers that wait for a reload or for another process: as long as that takes.
const PATIENT: Limits = Limits { all: 64, each: 64, sheltered: Duration::MAX };

/// No XSP is blocked for longer.
const LONGEST_BLOCK: Duration = Duration::from_secs(366 * 24 * 3600);
/// How long a caller may take to ask, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a disk may take, so that who asks, and waits no longer than 5 s, hears of it.
const SHORT_PATIENCE: Duration = Duration::from_secs(3);
/// How long the last answers may take when the process ends.
const FAREWELL: Duration = Duration::from_secs(1);
/// How often it is looked whether they have been given.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Callers by their user.
type Callers = Slots<u32>;

/// Where calls are passed on to.
#[derive(Clone)]
pub(in crate::app) struct Handles {
    pub(in crate::app) gatherer: Line<Wanted, Bytes>,
    pub(in crate::app) commands: Line<(Command, Caller), Reply>,
    pub(in crate::app) asks: Sender<Asked>,
    pub(in crate::app) stop: Arc<Notify>,
}

/// What hears and answers them; cheap to clone.
#[derive(Clone)]
pub(in crate::app) struct Calls {
    handles: Handles,
    waiting: Callers,
    answering: Callers,
    patient: Callers,
}

/// Where a caller waits while something is done for it.
enum Seat {
    /// In the slot that it has.
    Same,
    /// There is none.
    Full,
    Another(Slot<u32>),
}

impl Calls {
    pub(in crate::app) fn new(handles: Handles) -> Self {
        let (waiting, answering, patient) = (Slots::new(WAITING), Slots::new(ANSWERING), Slots::new(PATIENT));
        Self { handles, waiting, answering, patient }
    }

    /// Hears calls on `socket` for ever; without one, it only waits.
    pub(in crate::app) async fn serve(&self, socket: Option<&Socket>) {
        let Some(socket) = socket else { return std::future::pending().await };
        let listener = match socket.listener.try_clone().and_then(UnixListener::from_std) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(error.message = %error, "the control socket can't be used");
                return std::future::pending().await;
            }
        };
        loop {
            let Ok((call, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            self.admit(call, socket.owner);
            // So that this one is heard before any other newcomer takes its slot.
            tokio::task::yield_now().await;
        }
    }

    /// Returns once everybody has been answered, or has been given a moment for that.
    pub(in crate::app) async fn farewell(&self) {
        let deadline = Instant::now() + FAREWELL;
        while !(self.answering.is_empty() && self.patient.is_empty()) && Instant::now() < deadline {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn admit(&self, call: UnixStream, owner: u32) {
        let Ok(caller) = call.peer_cred() else { return };
        if caller.uid() != 0 && caller.uid() != owner {
            warn!(user.id = caller.uid(), process.pid = caller.pid(), "control call of another user refused");
            let refused = Reply::Refused("it hears its own user and root, and no other user".into());
            // A fresh socket has room for it; a caller that has left does not miss it.
            drop(call.into_std().and_then(|mut call| call.write_all(&text(&refused))));
            return;
        }
        let Some(slot) = self.waiting.acquire(caller.uid(), std::time::Instant::now()) else { return };
        let this = self.clone();
        tokio::spawn(async move {
            // A caller that hangs up has heard enough.
            drop(this.hear(call, caller, slot).await);
        });
    }

    async fn hear(&self, mut call: UnixStream, caller: UCred, slot: Slot<u32>) -> io::Result<()> {
        let mut line = String::new();
        let mut read = BufReader::new((&mut call).take(LONGEST_REQUEST));
        tokio::select! {
            biased;
            read = timeout(PATIENCE, read.read_line(&mut line)) => drop(read??),
            () = slot.is_taken() => return Ok(()),
        }
        let request = match serde_json::from_str::<Request>(&line) {
            Ok(request) => request,
            Err(error) => {
                let why = format!("not understood: {error}; is `xspgate ctl` of another version?");
                return say(&mut call, &Reply::Refused(why), &slot).await;
            }
        };
        let slot = match self.seat(&request, caller.uid()) {
            Seat::Same => slot,
            Seat::Another(other) => other,
            Seat::Full => {
                let reply = Reply::Refused("too many calls of this kind are under way; try again".into());
                tell(&request, &reply, caller.uid(), caller.pid());
                return say(&mut call, &reply, &slot).await;
            }
        };
        if request == Request::TakeOver {
            let (uid, pid) = (caller.uid(), caller.pid());
            info!(
                what = request.name(),
                user.id = uid,
                process.pid = pid,
                "control call; reloads and restarts wait until it has taken over"
            );
            // It is answered by what it gets, or does not get.
            drop(self.hand_over(Successor::Came(call.into_std()?)).await);
            return Ok(());
        }
        let asks = Caller::of(&call)?;
        let reply = if asks.waits() { self.answer(&request, asks).await } else { Reply::Refused(Caller::GONE.into()) };
        tell(&request, &reply, caller.uid(), caller.pid());
        say(&mut call, &reply, &slot).await
    }

    fn seat(&self, request: &Request, user: u32) -> Seat {
        let slots = match request {
            Request::Status | Request::Connections(_) => &self.answering,
            Request::Reload | Request::Restart | Request::TakeOver => &self.patient,
            // What is said of these is short, and always finds room.
            Request::Drain(_)
            | Request::ForceDrain(_)
            | Request::DrainThenCut { .. }
            | Request::Cut(_)
            | Request::Undrain(_)
            | Request::Block(..)
            | Request::Unblock(_)
            | Request::UnblockAll(_)
            | Request::Stop
            | Request::Log(_)
            | Request::Reopen => return Seat::Same,
        };
        slots.acquire(user, std::time::Instant::now()).map_or(Seat::Full, Seat::Another)
    }

    async fn answer(&self, request: &Request, caller: Caller) -> Reply {
        match request {
            Request::Status => match self.handles.gatherer.ask(Wanted::Status).await {
                Ok(status) => Reply::Done(String::from_utf8_lossy(&status).into_owned()),
                Err(silence) => refused(silence),
            },
            Request::Drain(whom) => self.command(Command::Operate(whom.clone(), Operation::Drain(None)), caller).await,
            Request::ForceDrain(whom) => {
                self.command(Command::Operate(whom.clone(), Operation::ForceDrain(None)), caller).await
            }
            Request::DrainThenCut { whom, force, seconds } => match Duration::try_from_secs_f64(*seconds) {
                Ok(after) if after <= LONGEST_BLOCK => {
                    let what = match force {
                        true => Operation::ForceDrain(Some(after)),
                        false => Operation::Drain(Some(after)),
                    };
                    self.command(Command::Operate(whom.clone(), what), caller).await
                }
                Ok(_) | Err(_) => Reply::Refused("that is no time".into()),
            },
            Request::Cut(whose) => self.command(Command::Cut(whose.clone()), caller).await,
            Request::Connections(whose) => self.command(Command::Connections(whose.clone()), caller).await,
            Request::Undrain(whom) => self.command(Command::Operate(whom.clone(), Operation::Undrain), caller).await,
            Request::Block(whom, seconds) => match seconds.map(Duration::try_from_secs_f64).transpose() {
                Ok(time) if time.is_none_or(|time| time <= LONGEST_BLOCK) => {
                    self.command(Command::Operate(whom.clone(), Operation::Block(time)), caller).await
                }
                Ok(_) | Err(_) => Reply::Refused("that is no time".into()),
            },
            Request::Unblock(whom) => self.command(Command::Operate(whom.clone(), Operation::Unblock), caller).await,
            Request::UnblockAll(farm) => self.command(Command::UnblockAll(farm.clone()), caller).await,
            Request::Reload => self.reload(caller).await,
            Request::Stop => {
                self.handles.stop.notify_one();
                Reply::Done("stopping; asked once more, it ends at once".into())
            }
            Request::Restart => self.hand_over(Successor::Program(Some(caller))).await,
            Request::TakeOver => Reply::Refused("that takes a connection of its own".into()),
            Request::Log(level) => self.command(Command::Log(level.clone()), caller).await,
            Request::Reopen => reopen().await,
        }
    }

    async fn command(&self, command: Command, caller: Caller) -> Reply {
        self.handles.commands.ask((command, caller)).await.unwrap_or_else(refused)
    }

    async fn hand_over(&self, successor: Successor) -> Reply {
        let (asked, outcome) = oneshot::channel();
        drop(self.handles.asks.send(Asked::HandOver(successor, asked)));
        match outcome.await {
            Ok(Ok(taker)) => Reply::Done(taker.to_string()),
            Ok(Err(why)) => Reply::Refused(why),
            Err(_) => Reply::Refused("the gateway is about to end".into()),
        }
    }

    async fn reload(&self, caller: Caller) -> Reply {
        let (asked, outcome) = oneshot::channel();
        drop(self.handles.asks.send(Asked::Reload(Some(caller), asked)));
        match outcome.await {
            Ok(outcome @ (Outcome::Applied { .. } | Outcome::Unchanged { .. })) => Reply::Done(outcome.to_string()),
            Ok(outcome @ Outcome::Refused(_)) => Reply::Refused(outcome.to_string()),
            Err(_) => Reply::Refused("the gateway is about to end".into()),
        }
    }
}

/// The file's own thread does it; a disk that hangs hangs nobody else.
async fn reopen() -> Reply {
    let Some((path, outcome)) = access::file::reopen() else {
        return Reply::Done("[log] has no access_file: nothing to reopen".into());
    };
    let path = path.display();
    match timeout(SHORT_PATIENCE, outcome).await {
        Ok(Ok(Ok(()))) => Reply::Done(format!("{path} reopened")),
        Ok(Ok(Err(error))) => {
            Reply::Refused(format!("{path} can't be opened: {error}; the file that was open before stays in use"))
        }
        Ok(Err(_)) | Err(_) => Reply::Refused(format!("{path} is not opened yet: does its disk hang?")),
    }
}

fn refused(silence: Silence) -> Reply {
    Reply::Refused(format!("{silence}; /livez and the log say what does not move, and `ctl stop` works"))
}

fn text(reply: &Reply) -> Vec<u8> {
    let mut text = serde_json::to_vec(reply).expect("it is text");
    text.push(b'\n');
    text
}

/// Says `reply` to a caller that has `slot`, for as long as that takes, but not for ever.
async fn say(call: &mut UnixStream, reply: &Reply, slot: &Slot<u32>) -> io::Result<()> {
    let text = text(reply);
    tokio::select! {
        // An answer that can leave at once does, even if a newcomer needs the slot.
        biased;
        said = timeout(PATIENCE, call.write_all(&text)) => said?,
        () = slot.is_taken() => Ok(()),
    }
}

fn tell(request: &Request, reply: &Reply, uid: u32, pid: Option<i32>) {
    let (seconds, level) = match request {
        Request::Status | Request::Connections(_) => return,
        Request::Block(_, seconds) => (*seconds, None),
        Request::DrainThenCut { seconds, .. } => (Some(*seconds), None),
        Request::Log(level) => (None, level.as_deref()),
        Request::Drain(_)
        | Request::ForceDrain(_)
        | Request::Cut(_)
        | Request::Undrain(_)
        | Request::Unblock(_)
        | Request::UnblockAll(_)
        | Request::Reload
        | Request::Restart
        | Request::TakeOver
        | Request::Stop
        | Request::Reopen => (None, None),
    };
    let (what, xsp) = (request.name(), request.whom().map(|whom| &*whom.xsp));
    let named = if let Request::Cut(whose) = request { whose.what.as_deref() } else { None };
    let all_of = if let Request::UnblockAll(farm) = request { farm.as_deref() } else { None };
    let of_farm = if let Request::Cut(whose) = request { whose.farm.as_deref() } else { None };
    let farm = all_of.or(of_farm).or_else(|| request.whom().and_then(|whom| whom.farm.as_deref()));
    match reply {
        Reply::Done(_) => {
            info!(what, xsp, named, farm, seconds, filter = level, user.id = uid, process.pid = pid, "control call")
        }
        Reply::Refused(why) => info!(
            what,
            xsp,
            named,
            farm,
            seconds,
            filter = level,
            user.id = uid,
            process.pid = pid,
            why,
            "control call refused"
        ),
    }
}
