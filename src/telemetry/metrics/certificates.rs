//! The series of certificates and of their renewal. Apart from the others, because they go when a certificate does, and
//! change with the calendar alone.

use std::cmp::Reverse;
use std::time::SystemTime;

use parking_lot::Mutex;
use prometheus::{GaugeVec, IntCounter, IntGauge};

use super::{Metrics, Registrar};

const DAY: f64 = 24.0 * 3600.0;

/// Everything that is measured of certificates.
#[derive(Debug)]
pub(super) struct Certificates {
    expiry: GaugeVec,
    days_left: GaugeVec,
    known: Mutex<Vec<Expiry>>,
    renewals: [IntCounter; 3],
    refused: IntGauge,
}

/// When one certificate expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Which section of the configuration names it: `certificate.NAME` or `trust.NAME`; `trust.NAME crl` for a list of revoked
    /// certificates, with its issuer, its number, and when the next one is due.
    pub section: String,
    /// Whose certificate it is.
    pub subject: String,
    /// Its serial number, as `openssl x509 -serial` prints it.
    pub serial: String,
    /// The last instant at which it is valid, in seconds since 1970.
    pub at: i64,
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
            known: Mutex::default(),
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
        known.sort_by_key(|expiry| Reverse(expiry.at));
        *self.certificates.known.lock() = known;
    }

    /// Brings the time until certificates expire up to date; negative once they have.
    pub fn refresh_certificates(&self) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let known = self.certificates.known.lock();
        let Certificates { expiry, days_left, .. } = &self.certificates;
        expiry.reset();
        days_left.reset();
        for Expiry { section, subject, serial, at } in known.iter() {
            let seconds = *at as f64 - now;
            expiry.with_label_values(&[section, subject, serial]).set(seconds);
            days_left.with_label_values(&[section, subject, serial]).set(seconds / DAY);
        }
    }

    /// The certificates that expire, first those that do so first.
    pub fn expiries(&self) -> Vec<Expiry> {
        self.certificates.known.lock().iter().rev().cloned().collect()
    }

    /// Whether the certificates, keys or CAs on disk can't be used, and those of before are.
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
