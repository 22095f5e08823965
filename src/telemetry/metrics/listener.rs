//! The series of one listening address. Separate from those of what is served there, of which there may be several.

use prometheus::{IntCounter, IntCounterVec, IntGauge};

use super::Metrics;
use crate::policy::shares::Over;

/// What alerts wait for begins at 0: `increase()` sees nothing of a series whose first value is 1.
const FAILURES: [&str; 13] = [
    "alert",
    "client-certificate-missing",
    "client-certificate-expired",
    "client-certificate-not-yet-valid",
    "client-certificate-revoked",
    "client-certificate-unknown-status",
    "client-certificate-crl-overdue",
    "client-certificate-issuer",
    "client-certificate-name",
    "client-certificate-purpose",
    "client-certificate-signature",
    "client-certificate-depth",
    "client-certificate-malformed",
];
const REFUSALS: [&str; 8] = [
    "unreachable",
    "silent",
    "no-endpoint",
    "drained",
    "channels-busy",
    "stale",
    "malformed-answer",
    "answer-too-large",
];
const ENDS: [&str; 3] = ["client-certificate-expired", "client-certificate-revoked", "client-certificate-issuer"];

/// One listening address.
#[derive(Debug)]
pub struct ListenerMetrics {
    /// Open connections.
    pub open: IntGauge,
    /// Connections accepted.
    pub accepted: IntCounter,
    /// Connections over the limit.
    pub refused_connections: IntCounter,
    /// Handshakes that ended with TLS 1.2.
    pub tls12: IntCounter,
    /// Handshakes that ended with TLS 1.3.
    pub tls13: IntCounter,
    over_share: [IntCounter; 2],
    listener: String,
    failures: IntCounterVec,
    clients_ended: IntCounterVec,
    refused: IntCounterVec,
}

impl Metrics {
    /// The handles of one listening address.
    pub fn listener(&self, listener: &str) -> ListenerMetrics {
        let handshakes = |version| self.handshakes.with_label_values(&[listener, version]);
        let of_clients = FAILURES.iter().filter(|reason| reason.starts_with("client-certificate-"));
        for (counter, reasons) in [
            (&self.handshake_failures, FAILURES.to_vec()),
            (&self.refused, REFUSALS.iter().chain(of_clients).copied().collect()),
            (&self.clients_ended, ENDS.to_vec()),
        ] {
            reasons.into_iter().for_each(|reason| drop(counter.with_label_values(&[listener, reason])));
        }
        ListenerMetrics {
            open: self.connections.with_label_values(&[listener]),
            accepted: self.connections_total.with_label_values(&[listener]),
            refused_connections: self.connections_refused.with_label_values(&[listener]),
            over_share: Over::ALL.map(|over| self.connections_over_share.with_label_values(&[listener, over.name()])),
            tls12: handshakes("1.2"),
            tls13: handshakes("1.3"),
            listener: listener.to_owned(),
            failures: self.handshake_failures.clone(),
            clients_ended: self.clients_ended.clone(),
            refused: self.refused.clone(),
        }
    }
}

impl ListenerMetrics {
    /// Counts a failed handshake.
    pub fn handshake_failed(&self, reason: &'static str) {
        self.failures.with_label_values(&[self.listener.as_str(), reason]).inc();
    }

    /// Counts a connection that was closed, since its source or network has more than its share.
    pub fn over_share(&self, over: Over) {
        self.over_share[over as usize].inc();
    }

    /// Counts a client that was ended, since it is trusted no longer.
    pub fn client_ended(&self, reason: &'static str) {
        self.clients_ended.with_label_values(&[self.listener.as_str(), reason]).inc();
    }

    /// Counts a request that the gateway answered itself.
    pub fn refused(&self, reason: &'static str) {
        self.refused.with_label_values(&[self.listener.as_str(), reason]).inc();
    }
}
