//! Users who work on in the background: some ask for this and that, some hold an event channel with its heartbeats.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::rotation::Rotation;
use super::tally::{Tallies, Tally};
use super::user::{Door, User, name_of};

/// Between two requests of one user.
const BREATH: Duration = Duration::from_millis(80);
/// Between two heartbeats of one channel; the Webex app's are ten seconds apart (R-AFF-3).
const HEARTBEAT: Duration = Duration::from_millis(500);
const CHANNEL: &str = "/com.broadsoft.async/com.broadsoft.xsi-events/v2.0/channel";

/// Users at work until they are dropped.
pub(super) struct Crowd {
    door: Door,
    tallies: Tallies,
    homes: Arc<Mutex<BTreeMap<usize, String>>>,
    channels: Arc<Mutex<BTreeMap<usize, String>>>,
    // Dropping the set ends its tasks.
    tasks: JoinSet<()>,
}

impl Crowd {
    /// So many users, and so many more with an event channel, come in. The channels' heartbeats are compared with what
    /// `rotation` would have done to them.
    pub(super) fn start(door: Door, users: usize, channels: usize, rotation: Rotation) -> Self {
        let rotation = Arc::new(rotation);
        let mut crowd = Self {
            door,
            tallies: Tallies::default(),
            homes: Arc::default(),
            channels: Arc::default(),
            tasks: JoinSet::new(),
        };
        for number in 0..users {
            let (user, tallies, homes) =
                (User::new(crowd.door.clone()), crowd.tallies.clone(), Arc::clone(&crowd.homes));
            crowd.tasks.spawn(work(number, user, tallies, homes));
        }
        for number in 0..channels {
            let listener = Listener {
                number,
                door: crowd.door.clone(),
                tallies: crowd.tallies.clone(),
                open: Arc::clone(&crowd.channels),
                rotation: Arc::clone(&rotation),
            };
            crowd.tasks.spawn(listener.listen());
        }
        crowd
    }

    /// What was seen since the last call.
    pub(super) fn tally(&self) -> Tally {
        self.tallies.take()
    }

    /// Where all that is seen is added up.
    pub(super) fn tallies(&self) -> Tallies {
        self.tallies.clone()
    }

    /// Which XSP last answered each user.
    pub(super) fn homes(&self) -> BTreeMap<usize, String> {
        self.homes.lock().clone()
    }

    /// At which XSP each event channel is that is open now.
    pub(super) fn channels(&self) -> BTreeMap<usize, String> {
        self.channels.lock().clone()
    }

    /// So many new users sign in: how many begin at which XSP. Those who got no answer are counted under an empty name.
    pub(super) async fn newcomers(&self, count: usize) -> BTreeMap<String, usize> {
        let mut begun = BTreeMap::new();
        for number in 0..count {
            let mut user = User::new(self.door.clone());
            let target = profile(number);
            let xsp = match user.ask(Method::GET, &target).await.0 {
                Ok(answer) if answer.status == StatusCode::OK => answer.xsp,
                Ok(_) | Err(_) => String::new(),
            };
            *begun.entry(xsp).or_default() += 1;
        }
        begun
    }
}

fn profile(number: usize) -> String {
    format!("/com.broadsoft.xsi-actions/v2.0/user/user{number}%40example.com/profile")
}

/// One user's requests, for ever.
async fn work(number: usize, mut user: User, tallies: Tallies, homes: Arc<Mutex<BTreeMap<usize, String>>>) {
    let targets = [
        profile(number),
        format!(
            "/com.broadsoft.xsi-actions/v2.0/user/user{number}%40example.com/directories/Enterprise?start=1&results=50"
        ),
        format!("/authService/token/user{number}%40example.com?format=json"),
    ];
    for target in targets.iter().cycle() {
        let (answer, took) = user.ask(Method::GET, target).await;
        match answer {
            Ok(answer) if answer.status == StatusCode::OK => {
                tallies.answered(&answer.xsp, took);
                homes.lock().insert(number, answer.xsp);
            }
            Ok(answer) => tallies.failed(format!("{} for {target}", answer.status), took),
            Err(error) => tallies.failed(format!("{error:#} for {target}"), took),
        }
        tokio::time::sleep(BREATH).await;
    }
}

/// One who holds an event channel.
struct Listener {
    number: usize,
    door: Door,
    tallies: Tallies,
    open: Arc<Mutex<BTreeMap<usize, String>>>,
    rotation: Arc<Rotation>,
}

impl Listener {
    /// One event channel after the other, for ever: a new one whenever the one before was lost.
    async fn listen(self) {
        let mut user = User::new(self.door.clone());
        loop {
            if let Ok((stream, id, xsp)) = open_channel(&mut user).await {
                self.open.lock().insert(self.number, xsp.clone());
                tokio::select! {
                    () = read(stream) => {}
                    () = self.beat(&id, &xsp) => {}
                }
                self.open.lock().remove(&self.number);
                self.tallies.reopened();
                // The stream of the lost channel ends with its connection.
                user = user.companion();
            }
            tokio::time::sleep(BREATH).await;
        }
    }

    /// Sends heartbeats until one is answered 404, or two in a row fail (R-APP-6). Each comes on a connection of its own and
    /// without a cookie: what names the channel must be enough (R-AFF-2).
    async fn beat(&self, id: &str, home: &str) {
        let target = format!("/com.broadsoft.xsi-events/v2.0/channel/{id}/heartbeat");
        let mut failures = 0;
        while failures < 2 {
            tokio::time::sleep(HEARTBEAT).await;
            match User::new(self.door.clone()).ask(Method::PUT, &target).await.0 {
                Ok(answer) if answer.status == StatusCode::OK => {
                    failures = 0;
                    self.tallies.beat(home, self.rotation.next());
                }
                Ok(answer) if answer.status == StatusCode::NOT_FOUND => return,
                Ok(_) | Err(_) => failures += 1,
            }
        }
    }
}

async fn open_channel(user: &mut User) -> Result<(Incoming, String, String)> {
    let answer = user.open(Method::POST, CHANNEL).await?;
    if answer.status() != StatusCode::OK {
        bail!("{}", answer.status());
    }
    let xsp = name_of(&answer);
    let mut stream = answer.into_body();
    let document = stream.frame().await.context("no document came")??;
    let document = document.data_ref().map(|data| String::from_utf8_lossy(data).into_owned()).unwrap_or_default();
    let id = document.split("<channelId>").nth(1).and_then(|rest| rest.split('<').next());
    Ok((stream, id.context("the document names no channel")?.to_owned(), xsp))
}

/// Reads a stream to its end, however it ends.
async fn read(mut stream: Incoming) {
    while let Some(Ok(_)) = stream.frame().await {}
}
