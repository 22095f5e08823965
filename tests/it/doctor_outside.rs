//! `xspgate doctor` without a configuration: fronts by their URLs, event channels, and what can't be used.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use http::StatusCode;
use xspgate::sim::site::{APP, CLOUD, DOMAIN};
use xspgate::sim::xsp::Behaviour;

use crate::harness::{Said, Stage, consult, examine, examine_believing, publish};

/// What is said from outside of these URLs at the stage's gateway, wherever DNS points.
async fn outside(stage: &Stage, arguments: &[&str]) -> Said {
    let address = stage.gateway.https().to_string();
    examine(stage, &[&["--connect", &address, "--from-outside"], arguments].concat()).await
}

#[tokio::test]
async fn from_outside_a_front_that_is_well_has_nothing_to_mend() {
    let stage = Stage::start().await;
    let cloud = format!("https://{CLOUD}");
    let said = outside(&stage, &[&cloud, &format!("https://{APP}/com.broadsoft.xsi-actions/v2.0/")]).await;
    let bad: Vec<_> = said.findings.iter().filter(|finding| finding.result != "ok" && finding.check != "dns").collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!(said.ended.code, 0);
    for check in ["xsi-actions", "xsi-events", "auth-service", "dms", "call-settings", "affinity", "old-tls"] {
        said.of(&format!("{CLOUD} at"), check);
    }
    assert_eq!(said.of("/v2.0 at", "xsi-actions").result, "ok");
    assert!(!said.findings.iter().any(|finding| finding.subject.contains(APP) && finding.check == "xsi-events"));
}

#[tokio::test]
async fn from_outside_dns_leads_the_way() {
    let stage = Stage::start().await;
    let (dns, port) = (stage.sim.dns.address().to_string(), stage.gateway.https().port());
    let look = async || examine(&stage, &["--dns", &dns, "--from-outside", &format!("https://{CLOUD}:{port}")]).await;
    look().await.assert_fails(CLOUD, "dns", "NXDOMAIN");
    publish(&stage.sim);
    let said = look().await;
    assert_eq!((said.ended.code, said.of(CLOUD, "dns").result.as_str()), (0, "ok"), "{:#?}", said.findings);
    // R-TOP-7, R-DNS-3: an address of IPv6, and several without SRV.
    let addresses: [std::net::IpAddr; 3] =
        [[127, 0, 0, 1].into(), [127, 0, 0, 2].into(), std::net::Ipv6Addr::LOCALHOST.into()];
    stage.sim.zones().set_a(CLOUD, 0, addresses);
    let said = look().await;
    said.assert_warns(CLOUD, "dns", "AAAA");
    assert!(said.with("warn").iter().any(|finding| finding.found.contains("2 addresses, and no SRV")));
    // Each address is tried; nobody is at the second.
    said.assert_fails("127.0.0.2", "tcp", "refused");
}

#[tokio::test]
async fn from_outside_what_is_not_served_is_named() {
    let (stage, ()) = Stage::with(|_, text| {
        text.set("[[https]]", "interfaces", vec!["xsi-actions".to_owned()]);
    })
    .await;
    let said = outside(&stage, &[&format!("https://{CLOUD}")]).await;
    said.assert_fails(CLOUD, "xsi-events", "404 from /com.broadsoft.xsi-events/v2.0/versions");
    assert_eq!(said.of(&format!("{CLOUD} at"), "dms").result, "skip");
    let said = outside(&stage, &["https://other.example.com"]).await;
    said.assert_fails("other.example.com", "tls", "handshake");
}

#[tokio::test]
async fn r_auth_2_from_outside_a_certificate_that_is_demanded_of_everybody_is_told() {
    let (stage, ()) = Stage::with(|sim, text| {
        text.set("[trust.webex]", "ca", format!("{}/CombinedCertChain.txt", sim.folder().display()));
        text.set("[[https]]", "client_trust", "webex");
    })
    .await;
    let said = outside(&stage, &[&format!("https://{CLOUD}/com.broadsoft.xsi-actions/v2.0/")]).await;
    said.assert_fails(CLOUD, "xsi-actions", "CertificateRequired");
}

#[tokio::test]
async fn from_outside_a_certificate_must_lead_to_a_ca_that_is_believed() {
    let stage = Stage::start().await;
    let address = stage.gateway.https().to_string();
    let arguments = ["--connect", &address, "--from-outside", &format!("https://{CLOUD}")];
    let said = examine_believing(&stage, "internal-ca.pem", &arguments).await;
    said.assert_fails(CLOUD, "certificate", "signed by CN=Simulated Public Root CA");
}

#[tokio::test]
async fn from_outside_an_xsp_without_a_gateway_keeps_no_session() {
    let stage = Stage::start().await;
    let address = stage.xsp("a1").address().to_string();
    let arguments = ["--connect", &address, "--from-outside", &format!("https://{DOMAIN}")];
    let said = examine_believing(&stage, "internal-ca.pem", &arguments).await;
    said.assert_warns(DOMAIN, "affinity", "no cookie with Path=/");
    assert_eq!(said.ended.code, 0);
}

#[tokio::test]
async fn r_cti_6_from_outside_cti_turns_away_who_has_no_certificate() {
    // In TLS 1.2 the refusal comes in the handshake, in TLS 1.3 after it.
    for version in ["1.2", "1.3"] {
        let (stage, ()) = Stage::with(|sim, text| {
            sim.serve_cti(text);
            text.set("[cti.tls]", "min_version", version).set("[cti.tls]", "max_version", version);
        })
        .await;
        let address = stage.gateway.cti().to_string();
        let said = examine(&stage, &["--connect", &address, "--from-outside", &format!("cti://{CLOUD}")]).await;
        for check in ["tls", "certificate", "no-certificate"] {
            assert_eq!(said.of(CLOUD, check).result, "ok", "{version} {:#?}", said.findings);
        }
        assert_eq!(said.ended.code, 0);
    }
}

/// As [`outside`], with alice's password.
async fn with_login(stage: &Stage) -> Said {
    let path = stage.sim.folder().join("password");
    fs::write(&path, "open sesame\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let login = ["--user", "alice@example.com", "--password-file", "password"];
    let said = outside(stage, &[&[format!("https://{CLOUD}").as_str()][..], &login].concat()).await;
    assert!(!said.ended.stdout.contains("sesame") && !said.ended.stderr.contains("sesame"));
    said
}

#[tokio::test]
async fn r_aff_2_a_channel_and_its_heartbeat_work_and_leave_nothing_behind() {
    let stage = Stage::start().await;
    let said = with_login(&stage).await;
    for check in ["channel", "heartbeat", "stream"] {
        let finding = said.of(CLOUD, check);
        assert_eq!(finding.result, "ok", "{finding:?}");
    }
    assert_eq!(said.ended.code, 0);
    assert!(stage.sim.xsps.iter().all(|xsp| xsp.channels().is_empty() && xsp.stray_heartbeats() == 0));
    let requests: Vec<_> = stage.sim.xsps.iter().flat_map(|xsp| xsp.requests()).collect();
    let opening = requests.iter().find(|request| request.method == "POST").unwrap();
    assert_eq!(opening.header("authorization"), "Basic YWxpY2VAZXhhbXBsZS5jb206b3BlbiBzZXNhbWU=");
    // Credentials go where they are needed only.
    assert!(requests.iter().all(|request| request.method != "GET" || request.header("authorization").is_empty()));
}

#[tokio::test]
async fn r_aff_2_a_channel_that_does_not_work_is_reported() {
    let cases = [
        ("/com.broadsoft.async", StatusCode::UNAUTHORIZED, "channel", "401 from /com.broadsoft.async/"),
        ("/com.broadsoft.xsi-events/v2.0/channel", StatusCode::NOT_FOUND, "heartbeat", "does not hold the channel"),
    ];
    for (prefix, status, check, found) in cases {
        let stage = Stage::start().await;
        for xsp in &stage.sim.xsps {
            xsp.behave(Behaviour::on(prefix, Behaviour::Status(status))).await;
        }
        let said = with_login(&stage).await;
        let finding = said.findings.iter().find(|finding| finding.check == check && finding.result == "fail");
        assert!(finding.is_some_and(|finding| finding.found.contains(found)), "{:#?}", said.findings);
        assert_eq!(said.ended.code, 1);
    }
}

#[tokio::test]
async fn what_cannot_be_used_ends_with_2() {
    let stage = Stage::start().await;
    fs::write(stage.sim.folder().join("exposed"), "secret").unwrap();
    fs::set_permissions(stage.sim.folder().join("exposed"), fs::Permissions::from_mode(0o644)).unwrap();
    let url = "https://xsp.example.com";
    for (arguments, said) in [
        (&[][..], "required"),
        (&["missing.toml"], "can't be read"),
        (&["--from-outside", "http://xsp.example.com"], "https://"),
        (&["--from-outside", url, "--timeout", "1h"], "1m"),
        (&["--from-outside", url, "--ca", "missing.pem"], "missing.pem can't be read"),
        (&["--from-outside", url, "--ca", "affinity.key"], "no CA certificate"),
        (&["--from-outside", url, "--user", "alice"], "XSPGATE_PASSWORD"),
        (&["--from-outside", url, "--user", "alice", "--password-file", "exposed"], "chmod o-rwx exposed"),
        (&["xspgate.toml", "--connect", "192.0.2.1:443"], "cannot be used with"),
    ] {
        let ended = consult(&stage, arguments).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(ended.stderr.contains(said), "{arguments:?}: {}", ended.stderr);
    }
}
