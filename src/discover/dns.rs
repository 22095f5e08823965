//! Discovery's questions over the wire, by hickory's DNS transports; the only file that names hickory. It uses them
//! below hickory's own resolver, whose cache, hosts file, search list and special names would come between a TTL and us.
//!
//! - Servers: `[dns] servers`, or the `nameserver` lines of `/etc/resolv.conf`, which is read again when it changes. Its
//!   other lines (`search`, `options`) and `/etc/hosts` are not used: names are absolute, and `[dns]` says the rest.
//! - One server is asked at a time, first the one that answered last; the next one when it fails or is silent for
//!   `[dns] timeout`. A definite "no such name" or "no such record" is not asked again elsewhere.
//! - UDP first, again after 333 ms without an answer, and TCP when the answer is truncated. Each query has a random port
//!   and id, and mixed case that the answer must repeat (0x20); where it doesn't, TCP is used.
//! - Aliases (CNAME) are followed within the answer, and by further queries where it stops short.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{DnsRequestOptions, DnsResponse, Message, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::resolve::{Answer, Question, RecordKind, Records, Resolve, ResolveError};
use crate::config::model::Dns;
use crate::lock::Locked;
use crate::policy::srv::Target;

/// Aliases that are followed to one name.
const ALIASES: usize = 8;
/// Aliases within one answer.
const LINKS: usize = 16;
/// How long reading the list of the system's servers may take.
const READING: Duration = Duration::from_secs(2);

/// Asks real DNS servers.
pub struct DnsResolver {
    servers: Servers,
    timeout: Duration,
    /// Which of the servers answered last.
    preferred: AtomicUsize,
}

enum Servers {
    Configured(Arc<[SocketAddr]>),
    System(Arc<SystemFile>),
}

struct SystemFile {
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

/// What one query brought.
enum Reply {
    Answer(Answer),
    /// Aliases that end at another name, of which the answer holds no record.
    Alias {
        name: Name,
        ttl: Duration,
    },
}

impl DnsResolver {
    /// Asks `[dns] servers`, or the system's if there are none. A missing or empty `/etc/resolv.conf` is no error: it may
    /// be filled while the program runs.
    pub fn new(dns: &Dns) -> Self {
        let servers = if dns.servers.is_empty() {
            Servers::system("/etc/resolv.conf".into())
        } else {
            Servers::Configured(dns.servers.as_slice().into())
        };
        Self { servers, timeout: dns.timeout, preferred: AtomicUsize::new(0) }
    }

    /// Asks one server after another until one gives a definite answer.
    async fn ask(&self, name: &Name, kind: RecordKind) -> Result<Reply, ResolveError> {
        let servers = self.servers.current().await?;
        let first = self.preferred.load(Ordering::Relaxed);
        let mut result = Err(ResolveError::Unreachable("no DNS server is configured".into()));
        for turn in 0..servers.len() {
            let index = first.wrapping_add(turn) % servers.len();
            let answered = timeout(self.timeout, query(servers[index], self.timeout, name, kind)).await;
            result = answered.unwrap_or(Err(ResolveError::Timeout));
            if result.as_ref().map_or_else(|error| error.outcome().is_definite_none(), |_| true) {
                self.preferred.store(index, Ordering::Relaxed);
                return result;
            }
        }
        result
    }
}

impl Resolve for DnsResolver {
    async fn look_up(&self, question: &Question) -> Result<Answer, ResolveError> {
        let mut name = absolute(&question.name)?;
        let mut shortest = Duration::MAX;
        for _ in 0..ALIASES {
            match self.ask(&name, question.kind).await? {
                Reply::Answer(answer) => return Ok(Answer { ttl: answer.ttl.min(shortest), ..answer }),
                Reply::Alias { name: next, ttl } => {
                    shortest = shortest.min(ttl);
                    name = next;
                }
            }
        }
        Err(ResolveError::Malformed("too many aliases (CNAME)".into()))
    }
}

impl Servers {
    /// Files are read by a thread that may wait for them: a disk that hangs holds up nothing but look-ups, which then go to
    /// the servers that were known before.
    async fn current(&self) -> Result<Arc<[SocketAddr]>, ResolveError> {
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

    fn system(path: PathBuf) -> Self {
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
        match std::fs::read(path).map_err(NetError::from).and_then(parse_resolv_conf) {
            Ok((config, _)) => {
                let address = |server: &NameServerConfig| SocketAddr::new(server.ip, 53);
                Ok(Self { modified: modified.ok(), servers: config.name_servers().iter().map(address).collect() })
            }
            Err(_) if !self.servers.is_empty() => Ok(self),
            Err(error) => Err(error),
        }
    }
}

/// One query to one server, over UDP and then, if truncated, TCP. Nothing is kept between queries: each has a socket of
/// its own.
async fn query(server: SocketAddr, timeout: Duration, name: &Name, kind: RecordKind) -> Result<Reply, ResolveError> {
    let pool = transports(server, timeout).map_err(explain)?;
    let question = Query::query(name.clone(), record_type(kind));
    let response = pool.lookup(question, DnsRequestOptions::default()).first_answer().await.map_err(explain)?;
    read(&response, name, kind)
}

fn transports(server: SocketAddr, timeout: Duration) -> Result<NameServerPool<TokioRuntimeProvider>, NetError> {
    let [mut udp, mut tcp] = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
    (udp.port, tcp.port) = (server.port(), server.port());
    let config = NameServerConfig::new(server.ip(), true, vec![udp, tcp]);
    let mut options = ResolverOpts::default();
    options.timeout = timeout;
    options.case_randomization = true;
    let context = Arc::new(PoolContext::new(options, TlsConfig::new()?));
    Ok(NameServerPool::from_config([config], context, TokioRuntimeProvider::default()))
}

/// The records of the question's type at the end of the aliases that begin at its name; whatever else the answer holds
/// is left alone.
fn read(message: &DnsResponse, name: &Name, kind: RecordKind) -> Result<Reply, ResolveError> {
    let (end, ttl) = follow_aliases(message, name)?;
    let fits = |record: &&Record| record.name == end && record.record_type() == record_type(kind);
    let found: Vec<&Record> = message.answers.iter().filter(fits).collect();
    let records = match kind {
        RecordKind::A | RecordKind::Aaaa => {
            Records::Addresses(found.iter().filter_map(|record| record.data.ip_addr()).collect())
        }
        RecordKind::Srv => Records::Targets(found.iter().filter_map(|record| target(&record.data)).collect()),
    };
    let ttl = found.iter().map(|record| record.ttl).fold(ttl, u32::min);
    let ttl = Duration::from_secs(ttl.into());
    if !records.is_empty() {
        return Ok(Reply::Answer(Answer { records, ttl }));
    }
    if !found.is_empty() {
        // Nothing but the target "."; that holds as long as any record.
        return Err(ResolveError::NoRecords { ttl: Some(ttl) });
    }
    let negative_ttl = message.negative_ttl().map(|ttl| Duration::from_secs(ttl.into()));
    if end != *name && negative_ttl.is_none() && message.response_code == ResponseCode::NoError {
        return Ok(Reply::Alias { name: end, ttl });
    }
    Err(none(message.response_code, negative_ttl))
}

/// Where the aliases lead, and the shortest TTL on the way (in seconds).
fn follow_aliases(message: &Message, name: &Name) -> Result<(Name, u32), ResolveError> {
    let (mut end, mut ttl) = (name.clone(), u32::MAX);
    for _ in 0..LINKS {
        let mut links = message.answers.iter().filter(|record| record.name == end);
        let link = links.find_map(|record| Some((alias(&record.data)?, record.ttl)));
        let Some((next, link_ttl)) = link else { return Ok((end, ttl)) };
        (end, ttl) = (next, ttl.min(link_ttl));
    }
    Err(ResolveError::Malformed("the aliases (CNAME) go round in circles".into()))
}

fn alias(data: &RData) -> Option<Name> {
    if let RData::CNAME(alias) = data { Some(alias.0.clone()) } else { None }
}

fn target(data: &RData) -> Option<Target> {
    let RData::SRV(srv) = data else { return None };
    Target::new(srv.priority, srv.weight, srv.port, &srv.target.to_ascii())
}

fn record_type(kind: RecordKind) -> RecordType {
    match kind {
        RecordKind::A => RecordType::A,
        RecordKind::Aaaa => RecordType::AAAA,
        RecordKind::Srv => RecordType::SRV,
    }
}

fn explain(error: NetError) -> ResolveError {
    if let NetError::Dns(DnsError::NoRecordsFound(found)) = &error {
        return none(found.response_code, found.negative_ttl.map(|ttl| Duration::from_secs(ttl.into())));
    }
    if let NetError::Dns(DnsError::ResponseCode(code)) = error {
        let refused = code == ResponseCode::Refused;
        return if refused { ResolveError::Refused } else { ResolveError::ServFail(code.to_str().into()) };
    }
    if matches!(error, NetError::Timeout) {
        return ResolveError::Timeout;
    }
    if matches!(error, NetError::Io(_) | NetError::NoConnections | NetError::Busy) {
        return ResolveError::Unreachable(error.into());
    }
    ResolveError::Malformed(error.into())
}

fn none(code: ResponseCode, ttl: Option<Duration>) -> ResolveError {
    if code == ResponseCode::NXDomain { ResolveError::NxDomain { ttl } } else { ResolveError::NoRecords { ttl } }
}

/// The name as DNS takes it, without a search list.
fn absolute(name: &str) -> Result<Name, ResolveError> {
    let mut name = Name::from_ascii(name).map_err(|error| ResolveError::Malformed(error.into()))?;
    name.set_fqdn(true);
    Ok(name)
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests;
