//! Webex's CTI connections, which stay open throughout: requests and answers go over each, and one that is lost is opened
//! again at once. Separate from the users, since the cloud holds them for all users together.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::tally::Tallies;
use crate::sim::cti::{Call, Webex};

/// Between two requests on one connection, and between two tries to open one.
const BREATH: Duration = Duration::from_millis(100);
const REQUEST: &[u8] = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Request xmlns=\"urn:simulated:cti\"/>";

type Homes = Arc<Mutex<BTreeMap<usize, String>>>;

/// CTI connections that are kept up until this is dropped.
pub(super) struct Lines {
    homes: Homes,
    // Dropping the set ends its tasks.
    _tasks: JoinSet<()>,
}

impl Lines {
    /// So many connections to the CTI listener at `to`.
    pub(super) fn open(webex: &Webex, to: SocketAddr, count: usize, tallies: &Tallies) -> Self {
        let homes = Homes::default();
        let mut tasks = JoinSet::new();
        for number in 0..count {
            tasks.spawn(hold(number, webex.clone(), to, tallies.clone(), Arc::clone(&homes)));
        }
        Self { homes, _tasks: tasks }
    }

    /// At which XSP each connection is that is open now.
    pub(super) fn homes(&self) -> BTreeMap<usize, String> {
        self.homes.lock().clone()
    }
}

/// One connection after the other, for ever.
async fn hold(number: usize, webex: Webex, to: SocketAddr, tallies: Tallies, homes: Homes) {
    let mut lost: Option<Instant> = None;
    loop {
        if let Ok((mut call, xsp)) = dial(&webex, to).await {
            if let Some(lost) = lost.take() {
                tallies.returned(lost.elapsed());
            }
            homes.lock().insert(number, xsp);
            while ask(&mut call).await.is_ok() {
                tallies.said();
                tokio::time::sleep(BREATH).await;
            }
            homes.lock().remove(&number);
            tallies.lost();
            lost = Some(Instant::now());
        }
        tokio::time::sleep(BREATH).await;
    }
}

async fn dial(webex: &Webex, to: SocketAddr) -> io::Result<(Call, String)> {
    let mut call = webex.call(to).await?;
    let xsp = call.greeting().await?;
    Ok((call, xsp))
}

async fn ask(call: &mut Call) -> io::Result<()> {
    call.send(REQUEST).await?;
    call.receive(REQUEST.len()).await.map(drop)
}
