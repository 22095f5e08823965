//! Which DNS servers there are. Separate from the questions, because the system's list is a file that may change, or hang.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hickory_resolver::config::NameServerConfig;
use hickory_resolver::net::NetError;
use hickory_resolver::system_conf::parse_resolv_conf;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::discover::resolve::ResolveError;
use crate::files::{self, Streams};
use crate::lock::Locked;

/// The system's list is no larger, in bytes.
const LARGEST: u64 = 1 << 20;
/// How long reading the list of the system's servers may take.
const READING: Duration = Duration::from_secs(2);

pub(super) enum Servers {
    Configured(Arc<[SocketAddr]>),
    System(Arc<SystemFile>),
}

pub(super) struct SystemFile {
    path: PathBuf,
    known: Locked<SystemServers>,
    /// One reads it at a time.
    turn: Arc<Semaphore>,
}

/// What it said when it was read last.
#[derive(Clone, Default)]
struct SystemServers {
    modified: Option<SystemTime>,
    servers: Arc<[SocketAddr]>,
}

impl Servers {
    /// Files are read by a thread that may wait for them: a disk that hangs holds up nothing but look-ups, which then go to
    /// the servers that were known before.
    pub(super) async fn current(&self) -> Result<Arc<[SocketAddr]>, ResolveError> {
        let file = match self {
            Self::Configured(servers) => return Ok(Arc::clone(servers)),
            Self::System(file) => Arc::clone(file),
        };
        let before = file.known.with(|known| Arc::clone(&known.servers));
        match timeout(READING, file.read()).await {
            Ok(servers) => servers,
            Err(_) if !before.is_empty() => Ok(before),
            Err(late) => Err(ResolveError::Unreachable(late.into())),
        }
    }

    pub(super) fn system(path: PathBuf) -> Self {
        Self::System(Arc::new(SystemFile { path, known: Locked::default(), turn: Arc::new(Semaphore::new(1)) }))
    }
}

impl SystemFile {
    /// Its servers as they are now, as far as they can be read.
    async fn read(self: Arc<Self>) -> Result<Arc<[SocketAddr]>, ResolveError> {
        let unreachable = |error: Box<dyn std::error::Error + Send + Sync>| ResolveError::Unreachable(error);
        let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(|error| unreachable(error.into()))?;
        let reading = spawn_blocking(move || {
            let known = self.known.with(|known| known.clone());
            let fresh = known.refreshed(&self.path)?;
            self.known.with(|known| *known = fresh.clone());
            // Held to here, so that a disk that hangs holds one thread.
            drop(turn);
            Ok(fresh.servers)
        });
        let read = reading.await.map_err(|panicked| unreachable(panicked.into()))?;
        read.map_err(|error: NetError| unreachable(error.into()))
    }
}

impl SystemServers {
    /// Reads the file again if it is another one than last time. While it can't be read, what it said last counts.
    fn refreshed(self, path: &Path) -> Result<Self, NetError> {
        let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
        let unchanged = modified.as_ref().is_ok_and(|modified| self.modified == Some(*modified));
        if unchanged && !self.servers.is_empty() {
            return Ok(self);
        }
        match files::read(path, LARGEST, Streams::Refused)
            .map_err(|error| NetError::from(error.into_io()))
            .and_then(|(text, _)| parse_resolv_conf(text))
        {
            Ok((config, _)) => {
                let address = |server: &NameServerConfig| SocketAddr::new(server.ip, 53);
                Ok(Self { modified: modified.ok(), servers: config.name_servers().iter().map(address).collect() })
            }
            Err(_) if !self.servers.is_empty() => Ok(self),
            Err(error) => Err(error),
        }
    }
}
