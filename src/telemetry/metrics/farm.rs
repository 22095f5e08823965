//! One farm's series, without those of its endpoints, which come and go.

use std::collections::BTreeMap;

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::endpoint::last_labels;
use super::{ChannelEnd, ChannelEvent, Heartbeat, SessionEvent};

/// One farm. Its series go with it.
#[derive(Debug)]
pub struct FarmMetrics {
    pub(super) name: String,
    /// How many endpoints there are, and how many are up.
    pub(super) known: [IntGaugeVec; 2],
    /// Those with one more label.
    pub(super) counters: [IntCounterVec; 6],
    /// Endpoints that discovery knows.
    pub endpoints: IntGauge,
    /// Those that new sessions may go to.
    pub endpoints_up: IntGauge,
    pub(super) sessions: [IntCounter; 4],
    pub(super) channels_closed: [IntCounter; ChannelEnd::ALL.len()],
    pub(super) heartbeats: [IntCounter; Heartbeat::ALL.len()],
    pub(super) channels: [IntCounter; ChannelEvent::ALL.len()],
    /// Locations followed.
    pub redirects_followed: IntCounter,
    /// Locations passed on.
    pub redirects_passed: IntCounter,
    /// Requests that have waited for a place at an XSP.
    pub waited: IntCounter,
    /// Those that were answered with 429, since there was none in time.
    pub overloaded: IntCounter,
}

impl FarmMetrics {
    /// Counts what affinity decided.
    pub fn session(&self, event: SessionEvent) {
        let index = SessionEvent::ALL.iter().position(|known| *known == event).expect("ALL holds every event");
        self.sessions[index].inc();
    }

    /// Counts what became of a request that names or opens an event channel, or of one of its documents.
    pub fn channel(&self, event: ChannelEvent) {
        self.channels[event as usize].inc();
    }

    /// Counts an event channel that has ended.
    pub fn channel_closed(&self, end: ChannelEnd) {
        self.channels_closed[end as usize].inc();
    }

    /// How often affinity decided what.
    pub fn sessions(&self) -> BTreeMap<&'static str, u64> {
        SessionEvent::ALL.iter().zip(&self.sessions).map(|(event, count)| (event.name(), count.get())).collect()
    }

    /// How many event channels have ended, by whom or what ended them.
    pub fn channels_closed(&self) -> BTreeMap<&'static str, u64> {
        ChannelEnd::ALL.iter().zip(&self.channels_closed).map(|(end, count)| (end.name(), count.get())).collect()
    }

    /// How many heartbeats there were, by what came of them.
    pub fn heartbeats(&self) -> BTreeMap<&'static str, u64> {
        Heartbeat::ALL.iter().zip(&self.heartbeats).map(|(heartbeat, count)| (heartbeat.name(), count.get())).collect()
    }

    /// Counts a heartbeat.
    pub fn heartbeat(&self, heartbeat: Heartbeat) {
        self.heartbeats[heartbeat as usize].inc();
    }
}

impl Drop for FarmMetrics {
    fn drop(&mut self) {
        for gauges in &self.known {
            drop(gauges.remove_label_values(&[self.name.as_str()]));
        }
        for counters in &self.counters {
            for last in last_labels(counters, &[("farm", &self.name)]) {
                drop(counters.remove_label_values(&[self.name.as_str(), last.as_str()]));
            }
        }
    }
}
