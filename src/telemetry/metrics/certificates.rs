//! The series of certificates and of their renewal. Separate from the others, because they go when a certificate does, and
//! change with the calendar alone.

use std::cmp::Reverse;
use std::path::PathBuf;
use std::time::SystemTime;

use prometheus::{GaugeVec, IntCounter, IntGauge};

use super::{Metrics, Registrar};
use crate::lock::Locked;
use crate::telemetry::validity::Validity;

const DAY: f64 = 24.0 * 3600.0;

/// Everything that is measured of certificates.
#[derive(Debug)]
pub(super) struct Certificates {
    expiry: GaugeVec,
    days_left: GaugeVec,
    begins: GaugeVec,
    known: Locked<Vec<Expiry>>,
    renewals: [IntCounter; 3],
    refused: IntGauge,
}

/// When one certificate expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Which section of the configuration names it: `certificate.NAME` or `trust.NAME`; `trust.NAME crl` for a list of revoked
    /// certificates, with its issuer, its number, and when the next one is due.
    pub section: String,
    /// The file that it is in.
    pub file: PathBuf,
    /// Whose certificate it is.
    pub subject: String,
    /// Its serial number, as `openssl x509 -serial` prints it.
    pub serial: String,
    /// From when to when it is valid.
    pub validity: Validity,
}

/// What became of an attempt to renew certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The new ones are in use.
    Renewed,
    /// The files hold what is in use already.
    Unchanged,
    /// The files can't be used; what was in use stays.
    Refused,
}

impl Renewal {
    const ALL: [Self; 3] = [Self::Renewed, Self::Unchanged, Self::Refused];

    const fn name(self) -> &'static str {
        match self {
            Self::Renewed => "renewed",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
        }
    }
}

impl Certificates {
    pub(super) fn new(registrar: &Registrar) -> Self {
        let renewals = registrar.counters("xspgate_renewals_total");
        Self {
            expiry: registrar.floats("xspgate_certificate_expiry_seconds"),
            days_left: registrar.floats("xspgate_certificate_daysleft"),
            begins: registrar.floats("xspgate_certificate_begins_seconds"),
            known: Locked::default(),
            renewals: Renewal::ALL.map(|outcome| renewals.with_label_values(&[outcome.name()])),
            refused: registrar.gauges("xspgate_renewal_refused").with_label_values::<&str>(&[]),
        }
    }
}

impl Metrics {
    /// Takes note of when certificates expire; the series of others go with the next [`Self::refresh_certificates`]. Of
    /// those that share a series, as a CA and its successor may, the first to expire is shown.
    pub fn certificates_expire(&self, certificates: impl IntoIterator<Item = Expiry>) {
        let mut known: Vec<Expiry> = certificates.into_iter().collect();
        // The last one to be set stays.
        known.sort_by_key(|expiry| Reverse(expiry.validity.to));
        self.certificates.known.with(|old| *old = known);
    }

    /// Brings the time until certificates expire up to date; negative once they have.
    pub fn refresh_certificates(&self) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let Certificates { expiry, days_left, begins, .. } = &self.certificates;
        expiry.reset();
        days_left.reset();
        begins.reset();
        for Expiry { section, subject, serial, validity, .. } in self.certificates.known.with(|known| known.clone()) {
            let labels = [section.as_str(), &subject, &serial];
            let seconds = validity.to as f64 - now;
            expiry.with_label_values(&labels).set(seconds);
            days_left.with_label_values(&labels).set(seconds / DAY);
            if let Some(from) = validity.from {
                begins.with_label_values(&labels).set(from as f64 - now);
            }
        }
    }

    /// The certificates that expire, first those that do so first.
    pub fn expiries(&self) -> Vec<Expiry> {
        let mut known = self.certificates.known.with(|known| known.clone());
        known.reverse();
        known
    }

    /// Whether the certificates, keys or CAs on disk can't be used, and the previous ones are in use.
    pub fn is_renewal_refused(&self) -> bool {
        self.certificates.refused.get() != 0
    }

    /// What is on disk is in use.
    pub fn certificates_are_current(&self) {
        self.certificates.refused.set(0);
    }

    /// Counts an attempt to renew certificates.
    pub fn renewal(&self, outcome: Renewal) {
        let index = Renewal::ALL.iter().position(|known| *known == outcome).expect("ALL holds every outcome");
        self.certificates.renewals[index].inc();
        self.certificates.refused.set(i64::from(outcome == Renewal::Refused));
    }
}
