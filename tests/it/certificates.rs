//! What the metrics say of certificates.

use crate::harness::Stage;

const DAY: f64 = 24.0 * 3600.0;

#[tokio::test]
async fn a_scrape_tells_when_certificates_expire() {
    let stage = Stage::start().await;
    let metrics = stage.metrics().await;
    for (certificate, days) in [("public", 90.0), ("trust internal", 3650.0)] {
        let left = metrics.value("xspgate_certificate_expiry_seconds", &[("certificate", certificate)]);
        let days_left = left.unwrap_or_else(|| panic!("{certificate} is not there")) / DAY;
        assert!((days - 0.1..=days).contains(&days_left), "{certificate}: {days_left} days");
    }
}
