//! A stage for discovery: a resolver that follows a script, and a record of what was said and told.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tracing::subscriber::DefaultGuard;

use super::super::resolve::Extent;
use super::super::*;
use crate::config::model::{AddressFamily, Failover, Needed, Pool, Site, Source, Tcp, TlsPolicy, TlsVersion};
use crate::http1::head::HeadLimits;
use crate::policy::classify::{On5xx, OnSilence, Replay};
use crate::policy::drained::Drained;
use crate::policy::srv::Target;

/// What a question gets.
#[derive(Clone, Debug)]
pub(in crate::discover) enum Line {
    Answer(u64, Records),
    /// An answer that was cut off.
    Part(u64, Records),
    Fail(Outcome),
    /// NXDOMAIN, to be believed for so long.
    Denied(Duration),
    /// A timeout after so long.
    Silence(Duration),
    Panic,
}

/// Shared by the test and the discovery.
#[derive(Clone, Default)]
pub(in crate::discover) struct Script(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    lines: BTreeMap<Question, Line>,
    all: Option<Outcome>,
    asked: Vec<(Question, Instant)>,
}

pub(in crate::discover) struct Play {
    pub(in crate::discover) script: Script,
    pub(in crate::discover) status: DiscoveryStatus,
    discovery: Mutex<Option<Discovery>>,
    changes: Mutex<Option<mpsc::UnboundedSender<Change<Script>>>>,
    told: Arc<Mutex<Vec<Event>>>,
    log: Log,
    _subscriber: DefaultGuard,
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

/// Ends the discovery when dropped.
pub(in crate::discover) struct Run(AbortHandle);

fn dns() -> Dns {
    Dns {
        servers: Vec::new(),
        timeout: Duration::from_secs(2),
        min_ttl: Duration::from_secs(1),
        max_ttl: Duration::from_secs(300),
        forget_after: Duration::from_secs(30),
    }
}

impl Play {
    pub(in crate::discover) fn new<const N: usize>(farms: [Farm; N]) -> Self {
        Self::stage(farms, None)
    }

    pub(in crate::discover) fn with_state<const N: usize>(farms: [Farm; N], dir: &Path) -> Self {
        Self::stage(farms, Some(dir))
    }

    fn stage<const N: usize>(farms: [Farm; N], state_dir: Option<&Path>) -> Self {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let guard = tracing::subscriber::set_default(subscriber);
        let discovery = Discovery::new(&dns(), farms.map(Arc::new), state_dir, None);
        Self {
            script: Script::default(),
            status: discovery.status(),
            discovery: Mutex::new(Some(discovery)),
            changes: Mutex::default(),
            told: Arc::default(),
            log,
            _subscriber: guard,
        }
    }

    pub(in crate::discover) fn run(&self) -> Run {
        let (discovery, told) = (self.discovery.lock().take().unwrap(), self.told.clone());
        let (changes, changed) = mpsc::unbounded_channel();
        *self.changes.lock() = Some(changes);
        let run = discovery.run(self.script.clone(), changed, move |event| told.lock().push(event));
        Run(tokio::spawn(run).abort_handle())
    }

    /// Has the running discovery follow these.
    pub(in crate::discover) fn follow<const N: usize>(&self, farms: [Farm; N]) {
        let change = Change { farms: farms.map(Arc::new).into(), dns: dns(), resolver: None };
        assert!(self.changes.lock().as_ref().unwrap().send(change).is_ok());
    }

    /// Lets virtual time pass.
    pub(in crate::discover) async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    pub(in crate::discover) fn endpoints(&self, farm: &str) -> Vec<Endpoint> {
        self.all_told(farm).pop().unwrap_or_default()
    }

    pub(in crate::discover) fn addresses(&self, farm: &str) -> Vec<SocketAddr> {
        self.endpoints(farm).into_iter().map(|endpoint| endpoint.address).collect()
    }

    /// The addresses that are missing and have not left.
    pub(in crate::discover) fn missing(&self) -> Vec<SocketAddr> {
        let told = self.told.lock();
        let missing = |event: &Event| match event {
            Event::Endpoints { missing, .. } => Some(missing.clone()),
            Event::LookedUp { .. } | Event::Failing { .. } | Event::Recovered { .. } => None,
        };
        told.iter().rev().find_map(missing).unwrap_or_default()
    }

    pub(in crate::discover) fn times_told(&self, farm: &str) -> usize {
        self.all_told(farm).len()
    }

    pub(in crate::discover) fn endpoints_ever_empty(&self) -> usize {
        let told = self.told.lock();
        told.iter().filter(|event| matches!(event, Event::Endpoints { endpoints, .. } if endpoints.is_empty())).count()
    }

    pub(in crate::discover) fn looked_up(&self) -> Vec<Outcome> {
        let told = self.told.lock();
        let outcome = |event: &Event| match event {
            Event::LookedUp { outcome, .. } => Some(*outcome),
            Event::Endpoints { .. } | Event::Failing { .. } | Event::Recovered { .. } => None,
        };
        told.iter().filter_map(outcome).collect()
    }

    pub(in crate::discover) fn log(&self) -> Vec<String> {
        String::from_utf8(self.log.0.lock().clone()).unwrap().lines().map(str::to_owned).collect()
    }

    pub(in crate::discover) fn warnings(&self, text: &str) -> usize {
        self.log().iter().filter(|line| line.contains(" WARN ") && line.contains(text)).count()
    }

    fn all_told(&self, name: &str) -> Vec<Vec<Endpoint>> {
        let told = self.told.lock();
        let endpoints = |event: &Event| match event {
            Event::Endpoints { farm, endpoints, .. } if farm.name == name => Some(endpoints.clone()),
            Event::Endpoints { .. } | Event::LookedUp { .. } | Event::Failing { .. } | Event::Recovered { .. } => None,
        };
        told.iter().filter_map(endpoints).collect()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Script {
    pub(in crate::discover) fn set(&self, name: &str, kind: RecordKind, line: Line) {
        self.0.lock().lines.insert(Question::new(name, kind), line);
    }

    pub(in crate::discover) fn addresses(&self, name: &str, ttl: u64, addresses: impl IntoIterator<Item = IpAddr>) {
        let records = Records::Addresses(addresses.into_iter().collect());
        self.set(name, RecordKind::A, Line::Answer(ttl, records));
        self.0.lock().all = None;
    }

    pub(in crate::discover) fn targets<const N: usize>(
        &self,
        name: &str,
        ttl: u64,
        targets: [(u16, u16, u16, &str); N],
    ) {
        let records = Records::Targets(targets.map(target).to_vec());
        self.set(name, RecordKind::Srv, Line::Answer(ttl, records));
    }

    pub(in crate::discover) fn fail_all(&self, outcome: Outcome) {
        self.0.lock().all = Some(outcome);
    }

    pub(in crate::discover) fn asked(&self) -> usize {
        self.0.lock().asked.len()
    }

    pub(in crate::discover) fn asked_for(&self, name: &str, kind: RecordKind) -> usize {
        self.times(name, kind).len()
    }

    /// Seconds between the queries for a name.
    pub(in crate::discover) fn gaps(&self, name: &str, kind: RecordKind) -> Vec<f64> {
        self.times(name, kind).windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect()
    }

    fn times(&self, name: &str, kind: RecordKind) -> Vec<Instant> {
        let question = Question::new(name, kind);
        self.0.lock().asked.iter().filter(|(asked, _)| *asked == question).map(|(_, at)| *at).collect()
    }
}

impl Resolve for Script {
    async fn look_up(&self, question: &Question) -> Result<Answer, ResolveError> {
        let line = {
            let mut lines = self.0.lock();
            lines.asked.push((question.clone(), now()));
            let line = lines.lines.get(question).cloned().unwrap_or(Line::Fail(Outcome::NxDomain));
            lines.all.map_or(line, Line::Fail)
        };
        let error = match line {
            Line::Answer(ttl, records) => {
                return Ok(Answer { records, ttl: Duration::from_secs(ttl), extent: Extent::Whole });
            }
            Line::Part(ttl, records) => {
                return Ok(Answer { records, ttl: Duration::from_secs(ttl), extent: Extent::Part });
            }
            Line::Fail(outcome) => outcome,
            Line::Denied(ttl) => return Err(ResolveError::NxDomain { ttl: Some(ttl) }),
            Line::Silence(time) => {
                tokio::time::sleep(time).await;
                Outcome::Timeout
            }
            Line::Panic => panic!("a hostile answer"),
        };
        Err(match error {
            Outcome::Answered => unreachable!("a failure"),
            Outcome::Timeout => ResolveError::Timeout,
            Outcome::ServFail => ResolveError::ServFail("SERVFAIL".into()),
            Outcome::Refused => ResolveError::Refused,
            Outcome::NxDomain => ResolveError::NxDomain { ttl: None },
            Outcome::NoRecords => ResolveError::NoRecords { ttl: None },
            Outcome::NoService => ResolveError::NoService { ttl: None },
            Outcome::Malformed => ResolveError::Malformed("bytes".into()),
            Outcome::Unreachable => ResolveError::Unreachable("route".into()),
        })
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(in crate::discover) fn target((priority, weight, port, name): (u16, u16, u16, &str)) -> Target {
    Target::new(priority, weight, port, name).unwrap()
}

pub(in crate::discover) fn site(name: &str) -> Source {
    Source::Address(name.to_owned())
}

pub(in crate::discover) fn srv_site(name: &str, fallback: &str) -> Source {
    Source::Srv { name: name.to_owned(), fallback: fallback.to_owned() }
}

pub(in crate::discover) fn static_site<const N: usize>(addresses: [SocketAddr; N]) -> Source {
    Source::Static(addresses.to_vec())
}

pub(in crate::discover) fn with_family(farm: Farm, family: AddressFamily) -> Farm {
    Farm { family, ..farm }
}

pub(in crate::discover) fn farm<const N: usize>(name: &str, sources: [Source; N]) -> Farm {
    let site = |(index, source)| Site { name: format!("site-{index}"), source };
    Farm {
        formerly: Vec::new(),
        name: name.to_owned(),
        proof: None,
        certificate: None,
        port: 443,
        family: AddressFamily::Ipv4,
        drain: Drained::default(),
        channel_rate: None,
        max_in_flight: None,
        response_limits: HeadLimits::RESPONSE,
        end_streams_after: None,
        look_when_idle: None,
        ready: Needed::None,
        failover: Failover {
            connect_timeout: Duration::ZERO,
            response_timeout: Duration::ZERO,
            advance_after: None,
            tries: 1,
            block_for: Duration::ZERO,
            on_5xx: On5xx::Confirm,
            on_silence: OnSilence::Confirm,
            replay: Replay::Safe,
            replay_buffer_size: 0,
        },
        pool: Pool { idle_per_endpoint: 0, idle_timeout: Duration::ZERO, max_age: Duration::ZERO },
        tls: TlsPolicy {
            min_version: TlsVersion::Tls12,
            max_version: TlsVersion::Tls13,
            cipher_suites: Vec::new(),
            groups: Vec::new(),
        },
        tcp: Tcp::default(),
        sites: sources.into_iter().enumerate().map(site).collect(),
    }
}
