//! What the metrics say of certificates.

use crate::harness::Stage;

#[tokio::test]
async fn a_scrape_tells_when_each_certificate_expires() {
    let stage = Stage::start().await;
    let metrics = stage.metrics().await;
    let table = [
        ("certificate.public", "CN=webex-cloud-xsp.example.com", 90.0),
        ("certificate.public", "CN=Simulated Public Issuing CA", 3650.0),
        ("trust.internal", "CN=Simulated Internal CA", 3650.0),
    ];
    for (section, subject, days) in table {
        let labels = [("section", section), ("subject", subject)];
        let value =
            |name| metrics.value(name, &labels).unwrap_or_else(|| panic!("{section}, {subject} is not in {name}"));
        for left in [value("xspgate_certificate_daysleft"), value("xspgate_certificate_expiry_seconds") / 86_400.0] {
            assert!((days - 0.1..=days).contains(&left), "{section}, {subject}: {left} days");
        }
    }
    assert_eq!(metrics.label_values("serial").len(), table.len());
}
