//! Certificates that have expired, or that are not valid yet, are told of at the start and each hour while that lasts.
//! Separate from what loads and measures them, because time goes on while no file changes and nobody scrapes.

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::telemetry::metrics::{Expiry, Metrics};
use crate::telemetry::validity::Standing;
use crate::tls::certs;
use crate::tls::peer::day;

/// How often certificates are held against the clock.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How long nothing more is said of one that has been told of.
const AGAIN_AFTER: Duration = Duration::from_secs(3600);
const DAY: i64 = 24 * 3600;

const RENEW: &str = "have it renewed, and put the new files in the old ones' place";
const AUTHORITY: &str = "put the CA's new certificate into the file, and take this one out";
const LIST: &str = "fetch the CA's current list; `crl_overdue` says what an overdue one is worth";
const RESPONSE: &str = "clients are shown none until a new one is there: fetch one, every day best";
const CLOCK: &str = "is this machine's clock right?";

/// Tells of those in use, for ever.
pub(super) async fn remind(metrics: &Metrics) {
    let mut reminder = Reminder::default();
    loop {
        let now = certs::now();
        for expiry in reminder.due(metrics.expiries(), now, Instant::now()) {
            tell(&expiry, now);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What was told, and when.
#[derive(Default)]
struct Reminder(Vec<(Expiry, Instant)>);

impl Reminder {
    /// Those of `known` that have to be told of by now; `now` in seconds since 1970.
    fn due(&mut self, known: Vec<Expiry>, now: i64, at: Instant) -> Vec<Expiry> {
        let is_lapsed = |expiry: &Expiry| match expiry.validity.standing(now) {
            Standing::NotYetValid | Standing::Expired => true,
            Standing::Valid | Standing::EndsSoon => false,
        };
        let lapsed: Vec<Expiry> = known.into_iter().filter(is_lapsed).collect();
        self.0.retain(|(told, when)| at.duration_since(*when) < AGAIN_AFTER && lapsed.contains(told));
        let told = |expiry: &Expiry| self.0.iter().any(|(told, _)| told == expiry);
        let due: Vec<Expiry> = lapsed.into_iter().filter(|expiry| !told(expiry)).collect();
        self.0.extend(due.iter().map(|expiry| (expiry.clone(), at)));
        due
    }
}

fn tell(expiry: &Expiry, now: i64) {
    let Expiry { section, file, subject, serial, validity } = expiry;
    let file = file.display().to_string();
    let (section, part) = section.split_once(' ').unwrap_or((section, ""));
    let (what, help) = match (validity.standing(now), section.starts_with("trust.")) {
        (Standing::Valid | Standing::EndsSoon, _) => return,
        (Standing::Expired, true) if part == "crl" => ("a revocation list is overdue", LIST),
        (Standing::Expired, false) if part == "ocsp" => ("an OCSP response is overdue", RESPONSE),
        (Standing::Expired, true) => ("a CA has expired, what it has signed is refused", AUTHORITY),
        (Standing::Expired, false) => ("certificate expired; it is still in use", RENEW),
        (Standing::NotYetValid, true) => ("a CA is not valid yet, what it has signed is refused", CLOCK),
        (Standing::NotYetValid, false) => ("certificate not valid yet; it is still in use", CLOCK),
    };
    match validity.from.filter(|from| now < *from) {
        Some(from) => {
            let (days, from) = ((from - now) / DAY, day(from));
            warn!(section, file.path = file, subject, serial, from, days, help, "{what}");
        }
        None => {
            let (days, since) = ((now - validity.to) / DAY, day(validity.to));
            warn!(section, file.path = file, subject, serial, since, days, help, "{what}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::validity::Validity;

    fn expiry(section: &str, from: Option<i64>, to: i64) -> Expiry {
        let (section, subject, serial) = (section.to_owned(), "CN=a".to_owned(), "01".to_owned());
        Expiry { section, file: "a.pem".into(), subject, serial, validity: Validity { from, to } }
    }

    #[test]
    fn what_has_lapsed_is_told_of_at_once_and_each_hour() {
        let (start, now) = (Instant::now(), 1_800_000_000);
        let expired = expiry("certificate.public", Some(0), now - DAY);
        let (early, list) =
            (expiry("trust.webex", Some(now + 90), now + DAY), expiry("trust.webex crl", None, now - 1));
        let good = expiry("certificate.other", Some(0), now + 120);
        let all = || vec![expired.clone(), early.clone(), list.clone(), good.clone()];
        let mut reminder = Reminder::default();
        let mut due = |minute: u64, known: Vec<Expiry>| {
            let passed = Duration::from_secs(60 * minute);
            reminder.due(known, now + 60 * minute as i64, start + passed)
        };
        assert_eq!(due(0, all()), [expired.clone(), early.clone(), list.clone()]);
        assert_eq!(due(1, all()), []);
        assert_eq!(due(2, all()), [], "what has become valid is nothing to tell of");
        assert_eq!(due(3, all()), vec![good.clone()], "what has expired in service is");
        assert_eq!(due(59, all()), []);
        assert_eq!(due(60, all()), [expired.clone(), list.clone()]);
        assert_eq!(due(63, all()), vec![good.clone()]);
        assert_eq!(due(70, vec![expired.clone()]), []);
        assert_eq!(due(71, all()), [list, good], "taken out, and back again");
    }
}
