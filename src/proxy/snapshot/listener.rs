//! One listening address: which block serves whom. Separate from the blocks, which may be served on several addresses and know
//! nothing of each other.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::Block;
use crate::config::model::{self, Nameless};
use crate::lock::Locked;
use crate::stream::block::{Cti, Passthrough};
use crate::telemetry::metrics::{ListenerMetrics, Metrics};

/// How long a reason to turn clients away is old news.
const TOLD_AGAIN: Duration = Duration::from_secs(10);

/// One listening address.
#[derive(Debug)]
pub struct Listener {
    /// The address that is really bound.
    pub address: SocketAddr,
    /// The same as text.
    pub label: Arc<str>,
    /// Its counters.
    pub metrics: Arc<ListenerMetrics>,
    cti: Option<Arc<Cti>>,
    pub(super) by_host: HashMap<String, Served>,
    without_name: WithoutName,
    trusted_proxies: Vec<IpNet>,
    /// When a reason to turn clients away was last told.
    told: Locked<HashMap<&'static str, Instant>>,
}

/// What a listening address has under one name.
#[derive(Clone, Debug)]
pub enum Served {
    /// An `[[https]]` block.
    Https(Arc<Block>),
    /// A `[[passthrough]]` block.
    Passthrough(Arc<Passthrough>),
}

/// What serves clients that ask for no name.
#[derive(Clone, Debug)]
enum WithoutName {
    /// There is no block.
    Nobody,
    /// The only block that there is.
    TheOnly(Served),
    /// The block that says `default = true`.
    Default(Served),
    /// Nothing, since none of several blocks says so.
    Undecided,
}

impl WithoutName {
    /// The same, when one more block is here.
    fn beside(self, block: Served, nameless: Nameless) -> Self {
        match (self, nameless) {
            (_, Nameless::Served) => Self::Default(block),
            (Self::Default(default), Nameless::LeftToOthers) => Self::Default(default),
            (Self::Nobody, Nameless::LeftToOthers) => Self::TheOnly(block),
            (Self::TheOnly(_) | Self::Undecided, Nameless::LeftToOthers) => Self::Undecided,
        }
    }
}

impl Listener {
    /// An address without blocks.
    pub fn new(address: SocketAddr, metrics: &Metrics) -> Self {
        let label = address.to_string();
        Self {
            address,
            metrics: Arc::new(metrics.listener(&label)),
            label: label.into(),
            cti: None,
            by_host: HashMap::new(),
            without_name: WithoutName::Nobody,
            trusted_proxies: Vec::new(),
            told: Locked::default(),
        }
    }

    /// Whether `reason` has not been told for a while; it has then been told.
    pub fn is_news(&self, reason: &'static str) -> bool {
        let now = Instant::now();
        self.told.with(|told| {
            let is_news = told.get(reason).is_none_or(|at| now.duration_since(*at) >= TOLD_AGAIN);
            if is_news {
                told.insert(reason, now);
            }
            is_news
        })
    }

    /// Serves `block`, which `https` describes, here too.
    pub fn add(&mut self, block: Block, https: &model::Https) {
        self.trusted_proxies.extend(&https.trusted_proxies);
        self.serve(&Served::Https(Arc::new(block)), &https.hosts, https.nameless);
    }

    /// Passes the connections for `hosts` through `block`.
    pub fn pass_through(&mut self, block: Passthrough, passthrough: &model::Passthrough) {
        self.trusted_proxies.extend(&passthrough.trusted_proxies);
        self.serve(&Served::Passthrough(Arc::new(block)), &passthrough.hosts, passthrough.nameless);
    }

    /// Configuration has made sure that no host is served twice, and that one block at most is the default.
    fn serve(&mut self, block: &Served, hosts: &[String], nameless: Nameless) {
        self.by_host.extend(hosts.iter().map(|host| (host.clone(), block.clone())));
        let so_far = std::mem::replace(&mut self.without_name, WithoutName::Nobody);
        self.without_name = so_far.beside(block.clone(), nameless);
    }

    /// Serves CTI here, and nothing else.
    pub fn serve_cti(&mut self, block: Cti, cti: &model::Cti) {
        self.trusted_proxies.extend(&cti.trusted_proxies);
        self.cti = Some(Arc::new(block));
    }

    /// The CTI block, where CTI is served.
    pub const fn cti(&self) -> Option<&Arc<Cti>> {
        self.cti.as_ref()
    }

    /// What serves clients that ask for `name`, which is in lower case, or for none.
    pub fn served(&self, name: Option<&str>) -> Option<&Served> {
        match (name, &self.without_name) {
            (Some(name), _) => self.by_host.get(name),
            (None, WithoutName::TheOnly(block) | WithoutName::Default(block)) => Some(block),
            (None, WithoutName::Nobody | WithoutName::Undecided) => None,
        }
    }

    /// The `[[passthrough]]` blocks here, with the name of each, in the order of names.
    pub fn passthroughs(&self) -> Vec<(&str, &Arc<Passthrough>)> {
        let served = self.by_host.iter().filter_map(|(host, served)| match served {
            Served::Passthrough(block) => Some((host.as_str(), block)),
            Served::Https(_) => None,
        });
        let mut passthroughs: Vec<_> = served.collect();
        passthroughs.sort_unstable_by_key(|(host, _)| *host);
        passthroughs
    }

    /// The `[[https]]` block that serves clients that ask for `name`, which is in lower case, or for none.
    pub fn block(&self, name: Option<&str>) -> Option<&Arc<Block>> {
        match self.served(name)? {
            Served::Https(block) => Some(block),
            Served::Passthrough(_) => None,
        }
    }

    /// Whether some block here believes what `peer` says of other peers.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|net| net.contains(&peer))
    }
}
