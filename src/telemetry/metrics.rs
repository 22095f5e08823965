//! Every metric, registered once, behind typed handles: nobody else names the `prometheus` crate, so that a label can't
//! be misspelt, and no label ever holds a path, a user or a client's address.

mod affinity;
mod certificates;
mod channel;
mod endpoint;
mod farm;
mod listener;
mod reload;
mod route;
mod stream;
mod table;
mod traffic;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use super::lines;
use crate::lock::Locked;
use certificates::Certificates;
pub use certificates::{Expiry, Renewal};
pub use channel::{ChannelEnd, ChannelEvent, Heartbeat};
pub use endpoint::EndpointMetrics;
pub use farm::FarmMetrics;
pub use listener::ListenerMetrics;
pub use reload::Reloaded;
pub use route::{Class, RouteMetrics};
pub use stream::StreamMetrics;
pub use table::TABLE;
pub use traffic::Traffic;

/// A counter, for anyone who counts without knowing what is measured.
pub type Counter = IntCounter;
/// A gauge, for anyone who reads one without knowing what is measured.
pub type Gauge = IntGauge;

/// Seconds, from a tenth of a millisecond to ten seconds.
const BUCKETS: [f64; 14] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 0.6, 1.2, 2.0, 10.0];

/// The process' metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// 1 while ready.
    pub ready: IntGauge,
    /// Client connections that may be open.
    pub connections_limit: IntGauge,
    threads: IntGaugeVec,
    log_dropped: [Counter; lines::Kind::ALL.len()],
    /// Traced requests that the collector has.
    pub traces_exported: Counter,
    /// Traced requests lost.
    pub traces_dropped: Counter,
    process_streams: IntGaugeVec,
    process_heard: GaugeVec,
    connections: IntGaugeVec,
    connections_total: IntCounterVec,
    connections_refused: IntCounterVec,
    connections_over_share: IntCounterVec,
    handshakes: IntCounterVec,
    handshake_failures: IntCounterVec,
    clients_ended: IntCounterVec,
    requests: IntCounterVec,
    refused: IntCounterVec,
    gateway_seconds: HistogramVec,
    attempts: IntCounterVec,
    xsp_seconds: HistogramVec,
    upstream_connections: IntCounterVec,
    pool_idle: IntGaugeVec,
    endpoints: IntGaugeVec,
    endpoints_up: IntGaugeVec,
    blocked: IntGaugeVec,
    probation: IntGaugeVec,
    in_flight: IntGaugeVec,
    in_flight_limit: IntGaugeVec,
    transitions: IntCounterVec,
    probes: IntCounterVec,
    sessions: IntCounterVec,
    affinity_keys: IntGaugeVec,
    channels: IntGaugeVec,
    channels_opened: IntCounterVec,
    channels_closed: IntCounterVec,
    heartbeats: IntCounterVec,
    channel_events: IntCounterVec,
    redirects: IntCounterVec,
    overload: IntCounterVec,
    streams: IntGaugeVec,
    endpoint_streams: IntGaugeVec,
    streams_total: IntCounterVec,
    stream_bytes: IntCounterVec,
    lookups: IntCounterVec,
    discovery_age: GaugeVec,
    discovery_records: IntGaugeVec,
    /// 1 while the last good answers of DNS can't be written to `state_dir`.
    pub state_unsaved: IntGauge,
    certificates: Certificates,
    reloads: [IntCounter; Reloaded::ALL.len()],
    /// 1 while the configuration on disk can't be used.
    pub reload_refused: IntGauge,
    /// The endpoints whose series exist, so that one that comes back while an old stream lives finds its own again.
    live: Live,
}

type Live = Arc<Locked<HashMap<(String, String), Weak<EndpointMetrics>>>>;

/// Registers metrics under the names and texts of [`TABLE`].
struct Registrar(Registry);

impl Registrar {
    fn opts(name: &str) -> (Opts, Vec<&'static str>) {
        let (_, _, labels, help) =
            TABLE.iter().find(|row| row.0 == name).expect("TABLE lists every metric; a test holds it");
        (Opts::new(name, *help), labels.split(", ").filter(|label| !label.is_empty()).collect())
    }

    fn add<C: Collector + Clone + 'static>(&self, collector: prometheus::Result<C>) -> C {
        let collector = collector.expect("names and labels are constants; a test makes them all");
        self.0.register(Box::new(collector.clone())).expect("each name is registered once; a test makes them all");
        collector
    }

    fn counters(&self, name: &str) -> IntCounterVec {
        let (opts, labels) = Self::opts(name);
        self.add(IntCounterVec::new(opts, &labels))
    }

    fn gauges(&self, name: &str) -> IntGaugeVec {
        let (opts, labels) = Self::opts(name);
        self.add(IntGaugeVec::new(opts, &labels))
    }

    fn floats(&self, name: &str) -> GaugeVec {
        let (opts, labels) = Self::opts(name);
        self.add(GaugeVec::new(opts, &labels))
    }

    fn histograms(&self, name: &str) -> HistogramVec {
        let (opts, labels) = Self::opts(name);
        self.add(HistogramVec::new(HistogramOpts::from(opts).buckets(BUCKETS.to_vec()), &labels))
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let registrar = Registrar(Registry::new());
        registrar.gauges("xspgate_build_info").with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let traces = registrar.counters("xspgate_traces_total");
        let log_dropped = registrar.counters("xspgate_log_dropped_total");
        Self {
            ready: registrar.gauges("xspgate_ready").with_label_values::<&str>(&[]),
            connections_limit: registrar.gauges("xspgate_connections_limit").with_label_values::<&str>(&[]),
            threads: registrar.gauges("xspgate_thread_moves"),
            log_dropped: lines::Kind::ALL.map(|kind| log_dropped.with_label_values(&[kind.name()])),
            traces_exported: traces.with_label_values(&["exported"]),
            traces_dropped: traces.with_label_values(&["dropped"]),
            process_streams: registrar.gauges("xspgate_process_streams"),
            process_heard: registrar.floats("xspgate_process_heard_seconds"),
            connections: registrar.gauges("xspgate_connections"),
            connections_total: registrar.counters("xspgate_connections_total"),
            connections_refused: registrar.counters("xspgate_connections_refused_total"),
            connections_over_share: registrar.counters("xspgate_connections_over_share_total"),
            handshakes: registrar.counters("xspgate_tls_handshakes_total"),
            handshake_failures: registrar.counters("xspgate_tls_handshake_failures_total"),
            clients_ended: registrar.counters("xspgate_clients_ended_total"),
            requests: registrar.counters("xspgate_requests_total"),
            refused: registrar.counters("xspgate_refused_total"),
            gateway_seconds: registrar.histograms("xspgate_gateway_seconds"),
            attempts: registrar.counters("xspgate_attempts_total"),
            xsp_seconds: registrar.histograms("xspgate_xsp_seconds"),
            upstream_connections: registrar.counters("xspgate_upstream_connections_total"),
            pool_idle: registrar.gauges("xspgate_pool_idle"),
            endpoints: registrar.gauges("xspgate_endpoints"),
            endpoints_up: registrar.gauges("xspgate_endpoints_up"),
            blocked: registrar.gauges("xspgate_endpoint_blocked"),
            probation: registrar.gauges("xspgate_endpoint_probation"),
            in_flight: registrar.gauges("xspgate_endpoint_in_flight"),
            in_flight_limit: registrar.gauges("xspgate_endpoint_in_flight_limit"),
            transitions: registrar.counters("xspgate_blocklist_transitions_total"),
            probes: registrar.counters("xspgate_probes_total"),
            sessions: registrar.counters("xspgate_sessions_total"),
            affinity_keys: registrar.gauges("xspgate_affinity_key_info"),
            channels: registrar.gauges("xspgate_channels"),
            channels_opened: registrar.counters("xspgate_channels_opened_total"),
            channels_closed: registrar.counters("xspgate_channels_closed_total"),
            heartbeats: registrar.counters("xspgate_heartbeats_total"),
            channel_events: registrar.counters("xspgate_channel_events_total"),
            redirects: registrar.counters("xspgate_redirects_total"),
            overload: registrar.counters("xspgate_overload_total"),
            streams: registrar.gauges("xspgate_streams"),
            endpoint_streams: registrar.gauges("xspgate_endpoint_streams"),
            streams_total: registrar.counters("xspgate_streams_total"),
            stream_bytes: registrar.counters("xspgate_stream_bytes_total"),
            lookups: registrar.counters("xspgate_discovery_lookups_total"),
            discovery_age: registrar.floats("xspgate_discovery_age_seconds"),
            discovery_records: registrar.gauges("xspgate_discovery_records"),
            state_unsaved: registrar.gauges("xspgate_state_unsaved").with_label_values::<&str>(&[]),
            certificates: Certificates::new(&registrar),
            reloads: {
                let reloads = registrar.counters("xspgate_reloads_total");
                Reloaded::ALL.map(|outcome| reloads.with_label_values(&[outcome.name()]))
            },
            reload_refused: registrar.gauges("xspgate_reload_refused").with_label_values::<&str>(&[]),
            registry: registrar.0,
            live: Live::default(),
        }
    }
}

impl Metrics {
    /// The Prometheus text exposition of everything.
    pub fn render(&self) -> String {
        for (kind, counter) in lines::Kind::ALL.into_iter().zip(&self.log_dropped) {
            counter.inc_by(lines::dropped(kind).saturating_sub(counter.get()));
        }
        let mut text = String::new();
        // Writing to a String fails only for families without samples, which gather() leaves out.
        drop(TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text));
        text
    }

    /// Which threads there are, and whether each moves.
    pub fn threads<'a>(&self, threads: impl Iterator<Item = (&'a str, bool)>) {
        self.threads.reset();
        for (thread, moves) in threads {
            self.threads.with_label_values(&[thread]).set(i64::from(moves));
        }
    }

    /// Which processes there are, what each has by kind, and how long ago it has said so.
    pub fn processes<'a>(&self, processes: impl Iterator<Item = (u32, f64, [(&'a str, u64); 3])>) {
        self.process_streams.reset();
        self.process_heard.reset();
        for (pid, heard, streams) in processes {
            let pid = pid.to_string();
            self.process_heard.with_label_values(&[pid.as_str()]).set(heard);
            for (kind, count) in streams {
                let gauge = self.process_streams.with_label_values(&[pid.as_str(), kind]);
                gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
    }

    /// The handles of one interface on one listening address.
    pub fn route(&self, listener: &str, interface: &str) -> RouteMetrics {
        RouteMetrics {
            classes: Class::ALL.map(|class| self.requests.with_label_values(&[listener, interface, class.name()])),
            gateway_seconds: self.gateway_seconds.with_label_values(&[listener, interface]),
        }
    }

    /// Names that are no longer followed have no series any more; those that are get theirs by [`Self::discovered`].
    pub fn forget_discovered(&self) {
        self.discovery_age.reset();
        self.discovery_records.reset();
    }

    /// The handles of one farm.
    pub fn farm(&self, farm: &str) -> FarmMetrics {
        FarmMetrics {
            name: farm.to_owned(),
            known: [&self.endpoints, &self.endpoints_up].map(Clone::clone),
            counters: [
                &self.sessions,
                &self.channels_closed,
                &self.heartbeats,
                &self.channel_events,
                &self.redirects,
                &self.overload,
            ]
            .map(Clone::clone),
            endpoints: self.endpoints.with_label_values(&[farm]),
            endpoints_up: self.endpoints_up.with_label_values(&[farm]),
            sessions: SessionEvent::ALL.map(|event| self.sessions.with_label_values(&[farm, event.name()])),
            channels_closed: ChannelEnd::ALL.map(|end| self.channels_closed.with_label_values(&[farm, end.name()])),
            heartbeats: Heartbeat::ALL.map(|heartbeat| self.heartbeats.with_label_values(&[farm, heartbeat.name()])),
            channels: ChannelEvent::ALL.map(|event| self.channel_events.with_label_values(&[farm, event.name()])),
            redirects_followed: self.redirects.with_label_values(&[farm, "followed"]),
            redirects_passed: self.redirects.with_label_values(&[farm, "passed"]),
            waited: self.overload.with_label_values(&[farm, "waited"]),
            overloaded: self.overload.with_label_values(&[farm, "rejected"]),
        }
    }

    /// Counts one look-up of `name`.
    pub fn looked_up(&self, name: &str, kind: &str, outcome: &str) {
        self.lookups.with_label_values(&[name, kind, outcome]).inc();
    }

    /// How old, if there ever was one, and how large the last good answer for `name` is.
    pub fn discovered(&self, name: &str, kind: &str, age: Option<Duration>, records: usize) {
        if let Some(age) = age {
            self.discovery_age.with_label_values(&[name, kind]).set(age.as_secs_f64());
        }
        self.discovery_records.with_label_values(&[name, kind]).set(i64::try_from(records).unwrap_or(i64::MAX));
    }
}

/// What affinity decided for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// No cookie: a new session.
    New,
    /// The request stayed on its endpoint.
    Kept,
    /// The session's endpoint failed, and another one has it now.
    Moved,
    /// The cookie names no endpoint that is known.
    Unknown,
}

impl SessionEvent {
    const ALL: [Self; 4] = [Self::New, Self::Kept, Self::Moved, Self::Unknown];

    /// A word for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Kept => "kept",
            Self::Moved => "moved",
            Self::Unknown => "unknown",
        }
    }
}

/// Counted up while it is held.
#[derive(Debug)]
pub struct Held(IntGauge);

impl Held {
    /// Counts up now, and down when dropped.
    pub fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests;
