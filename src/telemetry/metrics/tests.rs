//! The table against what a scraper really gets.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::policy::affinity::{Key, Keyring};
use crate::policy::fault::{AttemptEnd, Fault};
use crate::telemetry::validity::Validity;

fn expiry(serial: &str) -> Expiry {
    let (section, subject) = ("certificate.public".to_owned(), "CN=xsp".to_owned());
    Expiry {
        section,
        file: "x.pem".into(),
        subject,
        serial: serial.to_owned(),
        validity: Validity { from: Some(0), to: 0 },
    }
}

/// Everything measured once.
fn touched() -> (Metrics, FarmMetrics, Arc<EndpointMetrics>) {
    let metrics = Metrics::default();
    metrics.threads([("worker-0", true)].into_iter());
    metrics.processes([(7, 0.0, [("channel", 1), ("cti", 0), ("passthrough", 0)])].into_iter());
    let listener = metrics.listener("192.0.2.1:443");
    listener.handshake_failed("timeout");
    listener.refused("unknown-path");
    listener.client_ended("client-certificate-revoked");
    metrics.route("192.0.2.1:443", "dms").answered(Class::Status(2));
    let farm = metrics.farm("xsp");
    farm.session(SessionEvent::New);
    metrics.affinity_keys(Keyring::new(Key::new([1; 32]), []).prints());
    metrics.stream("192.0.2.1:8012", "cti").ended("ended");
    let endpoint = metrics.endpoint("xsp", "192.0.2.10:443");
    endpoint.attempted(AttemptEnd::Fault(Fault::Timeout));
    endpoint.transition("blocked");
    endpoint.probed("failed");
    metrics.looked_up("xsp.example.com", "A", "answered");
    metrics.discovered("xsp.example.com", "A", Some(Duration::from_secs(1)), 2);
    metrics.certificates_expire([expiry("01")]);
    metrics.refresh_certificates();
    metrics.renewal(Renewal::Renewed);
    (metrics, farm, endpoint)
}

/// The labels of all series of a metric, in any order.
fn labels(text: &str, name: &str) -> BTreeSet<String> {
    let series = text.lines().filter(|line| !line.starts_with('#'));
    let ours = series.filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let rest = ["_bucket", "_sum", "_count"].iter().find_map(|part| rest.strip_prefix(part)).unwrap_or(rest);
        Some(rest.strip_prefix('{')?.split_once('}')?.0)
    });
    let pairs = ours.flat_map(|labels| labels.split("\",")).filter_map(|pair| pair.split_once('='));
    pairs.map(|(label, _)| label.to_owned()).filter(|label| label != "le").collect()
}

#[test]
fn the_table_says_what_a_scraper_gets() {
    let (metrics, _farm, _endpoint) = touched();
    let text = metrics.render();
    let declared = |keyword: &'static str| {
        let lines =
            text.lines().filter_map(move |line| line.strip_prefix("# ")?.strip_prefix(keyword)?.split_once(' '));
        lines.map(|(name, rest)| (name.to_owned(), rest.to_owned())).collect::<BTreeMap<_, _>>()
    };
    let (kinds, helps) = (declared("TYPE "), declared("HELP "));
    let named: BTreeSet<&str> = TABLE.iter().map(|row| row.0).collect();
    assert_eq!(kinds.keys().map(String::as_str).collect::<BTreeSet<_>>(), named);
    for &(name, kind, labelled, help) in TABLE {
        assert_eq!((kinds[name].as_str(), helps[name].as_str()), (kind, help), "{name}");
        let expected = labelled.split(", ").filter(|label| !label.is_empty()).map(str::to_owned);
        assert_eq!(labels(&text, name), expected.collect(), "{name}");
    }
}

#[test]
fn an_endpoint_takes_its_series_along() {
    let (metrics, farm, endpoint) = touched();
    assert!(metrics.render().contains("192.0.2.10"));
    let again = metrics.endpoint("xsp", "192.0.2.10:443");
    drop(endpoint);
    assert!(metrics.render().contains("192.0.2.10"), "somebody still counts");
    drop(again);
    assert!(!metrics.render().contains("192.0.2.10"), "{}", metrics.render());
    assert!(metrics.render().contains("farm=\"xsp\""));
    drop(farm);
    assert!(!metrics.render().contains("farm=\"xsp\""), "{}", metrics.render());
}

#[test]
fn a_certificate_that_is_gone_takes_its_series_along() {
    let (metrics, _farm, _endpoint) = touched();
    let listed = || {
        metrics.refresh_certificates();
        metrics.render().matches("xspgate_certificate_expiry_seconds{").count()
    };
    metrics.certificates_expire([expiry("02"), expiry("03")]);
    assert_eq!(listed(), 2);
    metrics.certificates_expire([expiry("02")]);
    assert_eq!(listed(), 1);
    let line = metrics
        .render()
        .lines()
        .find_map(|line| line.strip_prefix("xspgate_certificate_expiry_seconds{"))
        .map(str::to_owned);
    let (labels, seconds) = line.as_deref().and_then(|line| line.split_once("} ")).unwrap();
    assert_eq!(labels, "section=\"certificate.public\",serial=\"02\",subject=\"CN=xsp\"");
    assert!(seconds.parse::<f64>().unwrap() < -20_000.0 * 86_400.0, "{seconds}");
}

#[test]
fn of_certificates_with_the_same_labels_the_first_to_expire_counts() {
    let metrics = Metrics::default();
    let far = Expiry { validity: Validity { from: Some(0), to: 100_000_000_000 }, ..expiry("01") };
    for certificates in [[far.clone(), expiry("01")], [expiry("01"), far]] {
        metrics.certificates_expire(certificates);
        metrics.refresh_certificates();
        let text = metrics.render();
        assert!(text.contains("serial=\"01\",subject=\"CN=xsp\"} -"), "{text}");
    }
}

#[test]
fn a_refusal_shows_until_the_files_can_be_used() {
    let metrics = Metrics::default();
    let refused = || metrics.render().contains("\nxspgate_renewal_refused 1\n");
    for (outcome, shown) in [(Renewal::Refused, true), (Renewal::Refused, true), (Renewal::Unchanged, false)] {
        metrics.renewal(outcome);
        assert_eq!(refused(), shown);
    }
    metrics.renewal(Renewal::Refused);
    metrics.renewal(Renewal::Renewed);
    assert!(!refused());
    assert!(metrics.render().contains("xspgate_renewals_total{outcome=\"refused\"} 3"));
}
