//! What discovery asks DNS, and what may come back. Separate from the resolver, so that the tests can script the answers.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::policy::srv::Target;

/// The seam between discovery and DNS: hickory in production, a script in the tests.
pub trait Resolve: Send + Sync + 'static {
    /// Asks for one name and type. Nothing is cached: each call is a query. Ends in bounded time by itself.
    ///
    /// # Errors
    /// Says which of the ways to fail it was; an answer without a usable record is [`ResolveError::NoRecords`].
    fn look_up(&self, question: &Question) -> impl Future<Output = Result<Answer, ResolveError>> + Send;
}

/// A name and a record type: what one query asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Question {
    /// Absolute, in lower case, without a trailing dot.
    pub name: Arc<str>,
    /// The record type.
    pub kind: RecordKind,
}

/// The record types that discovery asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecordKind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Targets (R-DNS-2).
    Srv,
}

/// What a look-up brought: at least one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The records, in the answer's order.
    pub records: Records,
    /// The shortest TTL among the records and the aliases that led to them.
    pub ttl: Duration,
    /// Whether there may be more.
    pub extent: Extent,
}

/// How much of an answer has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// It was cut off, and no server gives more: what is not in it may be there anyway.
    Part,
}

/// Records of one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    /// Of an A or AAAA question.
    Addresses(Vec<IpAddr>),
    /// Of an SRV question, the target `.` (there is none) left out.
    Targets(Vec<Target>),
}

/// Why a look-up brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// No server answered in time.
    #[error("no DNS server answered in time")]
    Timeout,
    /// SERVFAIL, or another response code that says as little.
    #[error("DNS answered {0}")]
    ServFail(Box<str>),
    /// REFUSED.
    #[error("DNS refused the question")]
    Refused,
    /// The name does not exist.
    #[error("no such name in DNS (NXDOMAIN)")]
    NxDomain {
        /// How long that may be believed, if the answer said so (RFC 2308).
        ttl: Option<Duration>,
    },
    /// The name exists and has no usable record of this type.
    #[error("the name has no record of this type in DNS")]
    NoRecords {
        /// How long that may be believed, if the answer said so (RFC 2308).
        ttl: Option<Duration>,
    },
    /// The only target is `.`: the domain does not offer the service (RFC 2782).
    #[error("SRV says that the service is not offered here (its target is \".\")")]
    NoService {
        /// How long that may be believed.
        ttl: Option<Duration>,
    },
    /// The answer could not be read, or did not fit the question.
    #[error("the DNS answer is malformed: {0}")]
    Malformed(Box<dyn std::error::Error + Send + Sync>),
    /// No server could be reached, or none is known.
    #[error("no DNS server could be reached: {0}")]
    Unreachable(Box<dyn std::error::Error + Send + Sync>),
    /// None of the servers that were asked has said anything definite.
    #[error("no DNS server gave an answer: {said}")]
    NoneHelped {
        /// What came of the one that was asked last.
        last: Box<ResolveError>,
        /// What came of each, by its address.
        said: Box<str>,
    },
}

/// How a look-up ended, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// With at least one record.
    Answered,
    /// [`ResolveError::Timeout`].
    Timeout,
    /// [`ResolveError::ServFail`].
    ServFail,
    /// [`ResolveError::Refused`].
    Refused,
    /// [`ResolveError::NxDomain`].
    NxDomain,
    /// [`ResolveError::NoRecords`].
    NoRecords,
    /// [`ResolveError::NoService`].
    NoService,
    /// [`ResolveError::Malformed`].
    Malformed,
    /// [`ResolveError::Unreachable`].
    Unreachable,
}

impl Question {
    /// Asks for `kind` of `name`, which is made lower case and loses a trailing dot.
    pub fn new(name: &str, kind: RecordKind) -> Self {
        Self { name: plain_name(name).into(), kind }
    }

    /// The same name's question for the other address family; `None` for SRV.
    pub fn sibling(&self) -> Option<Self> {
        let kind = match self.kind {
            RecordKind::A => RecordKind::Aaaa,
            RecordKind::Aaaa => RecordKind::A,
            RecordKind::Srv => return None,
        };
        Some(Self { name: self.name.clone(), kind })
    }
}

impl fmt::Display for Question {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.name, self.kind.name())
    }
}

impl RecordKind {
    /// As DNS writes it: `A`, `AAAA`, `SRV`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Srv => "SRV",
        }
    }
}

impl Records {
    /// The addresses; none in an SRV answer.
    pub fn addresses(&self) -> &[IpAddr] {
        match self {
            Self::Addresses(addresses) => addresses,
            Self::Targets(_) => &[],
        }
    }

    /// The targets; none in an address answer.
    pub fn targets(&self) -> &[Target] {
        match self {
            Self::Addresses(_) => &[],
            Self::Targets(targets) => targets,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Addresses(addresses) => addresses.len(),
            Self::Targets(targets) => targets.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ResolveError {
    /// The variant alone.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Timeout => Outcome::Timeout,
            Self::ServFail(_) => Outcome::ServFail,
            Self::Refused => Outcome::Refused,
            Self::NxDomain { .. } => Outcome::NxDomain,
            Self::NoRecords { .. } => Outcome::NoRecords,
            Self::NoService { .. } => Outcome::NoService,
            Self::Malformed(_) => Outcome::Malformed,
            Self::Unreachable(_) => Outcome::Unreachable,
            Self::NoneHelped { last, .. } => last.outcome(),
        }
    }

    /// How long a definite "there is none" may be believed; `None` for all else.
    pub fn negative_ttl(&self) -> Option<Duration> {
        match self {
            Self::NxDomain { ttl } | Self::NoRecords { ttl } | Self::NoService { ttl } => *ttl,
            Self::Timeout
            | Self::ServFail(_)
            | Self::Refused
            | Self::Malformed(_)
            | Self::Unreachable(_)
            | Self::NoneHelped { .. } => None,
        }
    }
}

impl Outcome {
    /// All of them, in the order of [`Outcome::index`].
    pub const ALL: [Self; 9] = [
        Self::Answered,
        Self::Timeout,
        Self::ServFail,
        Self::Refused,
        Self::NxDomain,
        Self::NoRecords,
        Self::NoService,
        Self::Malformed,
        Self::Unreachable,
    ];

    /// A label for metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Timeout => "timeout",
            Self::ServFail => "servfail",
            Self::Refused => "refused",
            Self::NxDomain => "nxdomain",
            Self::NoRecords => "no-records",
            Self::NoService => "no-service",
            Self::Malformed => "malformed",
            Self::Unreachable => "unreachable",
        }
    }

    /// Its place in [`Outcome::ALL`], for tables.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether DNS said for certain that there is no such record.
    pub const fn is_definite_none(self) -> bool {
        matches!(self, Self::NxDomain | Self::NoRecords | Self::NoService)
    }
}

/// Lower case and without a trailing dot.
fn plain_name(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}
