//! Where a status comes from: everything that runs is asked how it stands. Separate from the schema, and from the listener
//! that shows it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::Admin;
use super::sampler::Lately;
use super::status::{
    AffinityKey, Certificate, Channels, Colour, Endpoint, Farm, Host, Listener, Load, Name, Process, Reload, SCHEMA,
    Served, Site, Status, Stream, Thread,
};
use crate::config::model::Route;
use crate::core::Core;
use crate::farm::{self, Described};
use crate::proxy::snapshot::Snapshot;
use crate::stream::block::Line;
use crate::telemetry::metrics::Traffic;
use crate::telemetry::timeline::Timeline;
use crate::tls::certs;

const DAY: f64 = 24.0 * 3600.0;

impl Admin {
    /// How everything stands now.
    pub(super) fn status(&self) -> Status {
        let now = SystemTime::now();
        let Core { metrics, shared, timeline, pulses, .. } = &self.core;
        let farms: Vec<Farm> = self.core.farms().iter().map(|farm| self.farm(farm)).collect();
        let snapshot = shared.snapshot.load();
        let unready = self.readiness.unready();
        let thread = |(name, moves): (&str, bool)| Thread { name: name.to_owned(), moves };
        Status {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            time: unix(now),
            started: unix(self.started),
            phase: shared.phase.borrow().name(),
            alone: self.core.is_alone(),
            processes: self.processes(),
            ready: unready.is_none(),
            unready,
            threads: pulses.threads().map(thread).collect(),
            hosts: hosts(&snapshot, &farms),
            streams: streams(&snapshot, &farms),
            listeners: listeners(&snapshot),
            certificates: self.certificates(unix(now)),
            affinity_keys: self.affinity_keys(&snapshot),
            discovery: self.discovery(),
            reload: Reload {
                configuration_refused: metrics.is_reload_refused(),
                certificates_refused: metrics.is_renewal_refused(),
                last: timeline.last_read(),
            },
            events: timeline.latest(),
            farms,
        }
    }

    /// Takes a sample of all endpoints' counters. To be called once a second.
    pub(super) fn sample(&mut self) {
        let Self { core, sampler, .. } = self;
        let farms = core.farms();
        for farm in farms.iter() {
            let out_since =
                |endpoint| blocked_at(&core.timeline, farm, endpoint).unwrap_or_else(|| unix(SystemTime::now()));
            sampler.sample(farm.name(), &farm.describe(), Instant::now(), out_since);
        }
        sampler.keep(|name| farms.iter().any(|farm| farm.name() == name));
    }

    fn processes(&self) -> Vec<Process> {
        self.core.all_processes().into_iter().map(Process::from).collect()
    }

    fn farm(&self, farm: &farm::Farm) -> Farm {
        let (mut all, mut lately) = (Traffic::default(), Lately::default());
        let mut endpoints = Vec::new();
        let mut opened = 0;
        for described in farm.describe() {
            let traffic = described.metrics.traffic();
            let recent = self.sampler.lately(farm.name(), described.address, &traffic, Instant::now());
            opened += described.metrics.channels_opened.get();
            endpoints.push(self.endpoint(farm, described, load(&traffic, &recent)));
            all = all.plus(&traffic);
            lately.traffic = lately.traffic.plus(&recent.traffic);
            // An endpoint that was just found has few samples.
            lately.seconds = lately.seconds.max(recent.seconds);
        }
        let (metrics, config) = (farm.metrics(), farm.config());
        let sites: Vec<Site> = config.sites.iter().map(|site| Site::new(&site.name, &endpoints)).collect();
        let open = endpoints.iter().map(|endpoint| endpoint.channels).sum();
        Farm {
            name: farm.name().to_owned(),
            formerly: config.formerly.clone(),
            retired: farm.is_retired(),
            colour: Colour::of(sites.iter().map(|site| site.up).sum()),
            traffic: load(&all, &lately),
            sessions: metrics.sessions(),
            channels: Channels { open, opened, closed: metrics.channels_closed() },
            heartbeats: metrics.heartbeats(),
            streams: endpoints.iter().map(|endpoint| endpoint.streams).sum(),
            unknown_drains: farm.unknown_drains(),
            sites,
            endpoints,
        }
    }

    fn endpoint(&self, farm: &farm::Farm, described: Described, traffic: Load) -> Endpoint {
        let Described { address, site, target, state, leaving, suspect, blocked_for, cut_in, metrics } = described;
        Endpoint {
            endpoint: address,
            site,
            target,
            state,
            leaving,
            suspect,
            since: self.sampler.since(farm.name(), address, state).map(unix),
            out_since: state.is_out().then(|| self.out_since(farm, address)).flatten(),
            blocked_for: blocked_for.map(|left| left.as_secs_f64()),
            cut_in: cut_in.map(|left| left.as_secs_f64()),
            channels: metrics.channels.get(),
            streams: metrics.streams.get(),
            idle: metrics.pool_idle.get(),
            traffic,
        }
    }

    /// The time line tells it to the moment, and also of what another process saw; the samples know it for longer.
    fn out_since(&self, farm: &farm::Farm, endpoint: SocketAddr) -> Option<f64> {
        blocked_at(&self.core.timeline, farm, endpoint).or_else(|| self.sampler.out_since(farm.name(), endpoint))
    }

    fn certificates(&self, now: f64) -> Vec<Certificate> {
        let certificates = self.core.metrics.expiries().into_iter().map(|expiry| Certificate {
            section: expiry.section,
            subject: expiry.subject,
            serial: expiry.serial,
            file: expiry.file.display().to_string(),
            begins: expiry.validity.from,
            expires: expiry.validity.to,
            days: (expiry.validity.to as f64 - now) / DAY,
            state: expiry.validity.standing(certs::now()).name(),
        });
        certificates.collect()
    }

    fn affinity_keys(&self, snapshot: &Snapshot) -> Vec<AffinityKey> {
        // All farms have the same ones.
        let farm = self.core.farms().first().filter(|_| !snapshot.faces.is_empty()).map(Arc::clone);
        let keys = farm.map(|farm| farm.keys()).unwrap_or_default();
        keys.iter().map(|(print, part)| AffinityKey { fingerprint: print.to_string(), part: part.name() }).collect()
    }

    fn discovery(&self) -> Vec<Name> {
        let names = self.core.discovery.names();
        let names = names.iter().map(|name| Name {
            name: name.question.name.to_string(),
            kind: name.question.kind.name(),
            records: name.records,
            age: name.last_success.map(|at| at.elapsed().as_secs_f64()),
            outcome: name.last_outcome.map(|outcome| outcome.name()),
        });
        names.collect()
    }
}

fn blocked_at(timeline: &Timeline, farm: &farm::Farm, endpoint: SocketAddr) -> Option<f64> {
    timeline.blocked_at(farm.name(), &endpoint.to_string())
}

fn load(traffic: &Traffic, lately: &Lately) -> Load {
    let milliseconds = |seconds: Option<f64>| seconds.map(|seconds| seconds * 1000.0);
    let seconds = lately.seconds.max(1.0);
    Load {
        requests: traffic.attempts,
        errors: traffic.failures,
        rate: lately.traffic.attempts as f64 / seconds,
        error_rate: lately.traffic.failures as f64 / seconds,
        mean_ms: milliseconds(lately.traffic.mean()),
        p95_ms: milliseconds(lately.traffic.p95()),
    }
}

/// A block's hosts share its interfaces; a host that several blocks serve, on addresses of their own, has those of all.
fn hosts(snapshot: &Snapshot, farms: &[Farm]) -> Vec<Host> {
    let mut hosts: Vec<Host> = Vec::new();
    for https in snapshot.faces.iter().map(|face| &face.https) {
        let farm = |name: &str| farms.iter().find(|farm| farm.name == name);
        let served = |route: &Route| Some(Served::new(route.interface, farm(&route.farm.name)?));
        let served: Vec<Served> = https.interfaces.iter().filter_map(served).collect();
        for host in &https.hosts {
            match hosts.iter_mut().find(|known| known.host == *host) {
                Some(known) => known.add(&served),
                None => hosts.push(Host { host: host.clone(), interfaces: served.clone() }),
            }
        }
    }
    hosts
}

fn streams(snapshot: &Snapshot, farms: &[Farm]) -> Vec<Stream> {
    let colours: BTreeMap<&str, Colour> = farms.iter().map(|farm| (farm.name.as_str(), farm.colour)).collect();
    let stream = |host: Option<&str>, listener: &str, line: &Line| Stream {
        kind: line.kind.name(),
        host: host.map(str::to_owned),
        listener: listener.to_owned(),
        colour: colours.get(line.farm.name()).copied().unwrap_or(Colour::Red),
        farm: line.farm.name().to_owned(),
        open: line.metrics.open.get(),
    };
    let of_listener = snapshot.listeners.iter().flat_map(|listener| {
        let cti = listener.cti().map(|block| stream(None, &listener.label, &block.line));
        let passthroughs = listener.passthroughs().into_iter();
        let passed = passthroughs.map(|(host, block)| stream(Some(host), &listener.label, &block.line));
        cti.into_iter().chain(passed).collect::<Vec<_>>()
    });
    of_listener.collect()
}

fn listeners(snapshot: &Snapshot) -> Vec<Listener> {
    let listeners = snapshot.listeners.iter().map(|listener| Listener {
        address: listener.address,
        open: listener.metrics.open.get(),
        accepted: listener.metrics.accepted.get(),
        refused: listener.metrics.refused_connections.get(),
    });
    listeners.collect()
}

fn unix(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
