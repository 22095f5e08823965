//! The admin listener: metrics, liveness, readiness, status and its page. On the main thread's runtime, so that a scrape
//! never stands in a request's way.

mod door;
mod feed;
mod gather;
mod listener;
mod page;
mod sampler;
pub mod status;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::discover::DiscoveryStatus;
use crate::drain::Phase;
use crate::farm::Farm;
use crate::proxy::context::Shared;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::timeline::Timeline;
use feed::Feed;
use sampler::Sampler;

/// What the admin listener can tell; cheap to clone.
#[derive(Clone, Debug)]
pub struct Admin {
    metrics: Arc<Metrics>,
    farms: Arc<ArcSwap<Vec<Arc<Farm>>>>,
    discovery: DiscoveryStatus,
    shared: Arc<Shared>,
    timeline: Timeline,
    hosts: Arc<[String]>,
    sampler: Arc<Mutex<Sampler>>,
    feed: Arc<Feed>,
    started: SystemTime,
}

impl Admin {
    /// Tells of these, and of now as the start, to those who call it by an address or by one of `hosts`, in lower case.
    pub fn new(
        metrics: Arc<Metrics>,
        farms: Arc<ArcSwap<Vec<Arc<Farm>>>>,
        discovery: DiscoveryStatus,
        shared: Arc<Shared>,
        timeline: Timeline,
        hosts: &[String],
    ) -> Self {
        let (sampler, feed, started) = (Arc::default(), Arc::default(), SystemTime::now());
        Self { metrics, farms, discovery, shared, timeline, hosts: hosts.into(), sampler, feed, started }
    }

    /// How everything stands, as `/status` says it: JSON over several lines, each with its end.
    pub fn status_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(&self.status()).expect("names are text, and numbers are JSON's");
        text.push('\n');
        text
    }

    /// The same on one line, without an end.
    fn status_line(&self) -> String {
        serde_json::to_string(&self.status()).expect("names are text, and numbers are JSON's")
    }

    /// Ready when another process takes connections in this one's place.
    async fn handed_over(&self) {
        // The error says that the process ends.
        drop(self.shared.phase.clone().wait_for(|phase| *phase == Phase::HandedOver).await);
    }

    /// Why new requests should go elsewhere; `None`: they should not.
    fn unready(&self) -> Option<String> {
        if *self.shared.phase.borrow() != Phase::Running {
            return Some("stopping".into());
        }
        let farms = self.farms.load();
        let empty: Vec<&str> = farms.iter().filter(|farm| farm.is_empty()).map(|farm| farm.name()).collect();
        (empty.len() == farms.len()).then(|| format!("no endpoint known yet in: {}", empty.join(", ")))
    }

    /// What a scraper gets.
    fn metrics(&self) -> String {
        self.metrics.ready.set(i64::from(self.unready().is_none()));
        self.metrics.forget_discovered();
        for name in self.discovery.names().iter() {
            let age = name.last_success.map(|at| at.elapsed());
            self.metrics.discovered(&name.question.name, name.question.kind.name(), age, name.records);
        }
        self.metrics.refresh_certificates();
        self.metrics.render()
    }
}

/// Serves on `socket` for ever; without one, it only keeps what can be told up to date.
pub async fn serve(socket: Option<TcpListener>, admin: Admin) {
    tokio::join!(admin.keep_telling(), listener::accept(socket, &admin));
}
