//! Discovery's questions over the wire; hickory writes and reads the messages, and only this module names it. hickory's own
//! resolver is not used: its cache, hosts file, search list and special names would come between a TTL and us, and it gives up
//! on servers that don't take EDNS.
//!
//! - Servers: `[dns] servers`, or the `nameserver` lines of `/etc/resolv.conf`, which is read again when it changes. Its
//!   other lines (`search`, `options`) and `/etc/hosts` are not used: names are absolute, and `[dns]` says the rest.
//! - One server is asked at a time, first the one that answered last; the next one when it fails or is silent for
//!   `[dns] timeout`. A definite "no such name" or "no such record" is not asked again elsewhere.
//! - Aliases (CNAME) are followed within the answer, and by further queries where it stops short.

mod answer;
mod exchange;
mod manners;
mod servers;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_resolver::proto::rr::Name;

use self::answer::Reply;
use self::exchange::Exchange;
use self::manners::Manners;
use self::servers::Servers;
use super::resolve::{Answer, Extent, Question, RecordKind, Resolve, ResolveError};
use crate::config::model::Dns;
use crate::config::types::amount::shown_time;
use crate::telemetry::Causes;

/// Aliases that are followed to one name.
const ALIASES: usize = 8;

/// Asks real DNS servers.
pub struct DnsResolver {
    servers: Servers,
    timeout: Duration,
    /// Which of the servers answered last.
    preferred: AtomicUsize,
    manners: Manners,
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
        Self { servers, timeout: dns.timeout, preferred: AtomicUsize::new(0), manners: Manners::default() }
    }

    /// Asks one server after another until one gives a definite answer. One that gives a part of its answer only counts when
    /// no other gives more.
    async fn ask(&self, name: &Name, kind: RecordKind) -> Result<Reply, ResolveError> {
        let servers = self.servers.current().await?;
        let first = self.preferred.load(Ordering::Relaxed);
        let none = "neither [dns] servers nor /etc/resolv.conf names one";
        let mut result = Err(ResolveError::Unreachable(none.into()));
        let (mut part, mut said) = (None, Vec::new());
        for turn in 0..servers.len() {
            let index = first.wrapping_add(turn) % servers.len();
            let server = servers[index];
            result = Exchange { server, name, kind, timeout: self.timeout, manners: &self.manners }.run().await;
            match &result {
                Ok(Reply::Answer(Answer { extent: Extent::Part, .. })) => part = result.as_ref().ok().cloned(),
                Err(error) if !error.outcome().is_definite_none() => {
                    said.push(told(server, error, self.timeout));
                    tracing::debug!(%server, error.message = %Causes(error), "no answer");
                }
                Err(_) if part.is_some() => {}
                Ok(_) | Err(_) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return result;
                }
            }
        }
        if let Some(part) = part {
            return Ok(part);
        }
        result.map_err(|last| match said.is_empty() {
            true => last,
            false => ResolveError::NoneHelped { last: Box::new(last), said: said.join("; ").into() },
        })
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

/// What came of asking one server.
fn told(server: SocketAddr, error: &ResolveError, patience: Duration) -> String {
    let what = match error {
        ResolveError::Timeout => format!("no answer within {}", shown_time(patience).replace('"', "")),
        ResolveError::ServFail(code) => format!("answered {code}"),
        ResolveError::Refused => "refuses questions from this address (REFUSED)".to_owned(),
        ResolveError::Unreachable(cause) => {
            let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
            match kind {
                Some(ErrorKind::ConnectionRefused) => "connection refused, no DNS server is at that port".to_owned(),
                Some(ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable) => "no route to it".to_owned(),
                Some(_) | None => cause.to_string(),
            }
        }
        ResolveError::Malformed(cause) => format!("its answer is malformed: {cause}"),
        ResolveError::NxDomain { .. }
        | ResolveError::NoRecords { .. }
        | ResolveError::NoService { .. }
        | ResolveError::NoneHelped { .. } => error.to_string(),
    };
    format!("{server}: {what}")
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
