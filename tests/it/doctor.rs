//! `xspgate doctor` with a configuration: what it says of a deployment that is well, and of each way in which one is not.

use std::fs;

use http::StatusCode;
use xspgate::sim::cti;
use xspgate::sim::pki::{Flaw, Show};
use xspgate::sim::raw::Raw;
use xspgate::sim::site::{ALL, APP, CLOUD, CTI, CTI_SRV, DIRECT, DOMAIN};
use xspgate::sim::xsp::Behaviour;

use crate::harness::{Gateway, Said, Stage, consult, examine, examine_believing, publish, published_stage, tiers};

fn a1(stage: &Stage) -> String {
    stage.xsp("a1").address().to_string()
}

/// What the gateway was started with, with the addresses that it has got.
fn configuration(stage: &Stage) -> &'static str {
    let folder = stage.sim.folder();
    let mut text = fs::read_to_string(folder.join("xspgate.toml")).unwrap();
    for address in stage.gateway.all_https().iter().chain(stage.gateway.all_cti()) {
        text = text.replacen(&format!("{}:0\"]", address.ip()), &format!("{address}\"]"), 1);
    }
    fs::write(folder.join("doctor.toml"), text).unwrap();
    "doctor.toml"
}

/// What is said of the configuration alone when XSP a1 behaves so.
async fn with_a1(behaviour: Behaviour) -> (Stage, Said) {
    let stage = published_stage().await;
    stage.xsp("a1").behave(behaviour).await;
    let said = examine(&stage, &["xspgate.toml"]).await;
    (stage, said)
}

#[tokio::test]
async fn a_deployment_that_is_well_has_nothing_to_mend() {
    let stage = published_stage().await;
    let said = examine(&stage, &[configuration(&stage)]).await;
    assert_eq!(said.ended.stderr, "");
    let bad: Vec<_> = said.findings.iter().filter(|finding| finding.result != "ok").collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!(said.ended.code, 0);
    for xsp in ["a1", "a2", "b1", "b2"] {
        let (http, cti) = (stage.xsp(xsp).address().to_string(), stage.sim.cti(xsp).address().to_string());
        for check in
            ["tcp", "tls", "certificate", "xsi-actions", "xsi-events", "auth-service", "dms", "call-settings", "clock"]
        {
            said.of(&http, check);
        }
        for check in ["tcp", "tls", "certificate", "mutual-tls", "no-certificate"] {
            said.of(&cti, check);
        }
    }
    for host in [CLOUD, APP] {
        let front = format!("https {}, {host}", stage.gateway.https());
        for check in ["tls", "certificate", "old-tls", "xsi-actions", "other-paths", "affinity", "clock"] {
            said.of(&front, check);
        }
        said.of(&format!("name {host}"), "dns");
    }
    said.of(&format!("cti {}", stage.gateway.cti()), "no-certificate");
    said.of("farm xsp, all XSPs", "clock");
    // Read-only: nothing but GETs went to the XSPs.
    let methods = stage.sim.xsps.iter().flat_map(|xsp| xsp.requests()).map(|request| request.method);
    assert!(methods.into_iter().all(|method| method == "GET"));
}

#[tokio::test]
async fn the_table_reads_well() {
    let stage = published_stage().await;
    stage.xsp("a1").behave(Behaviour::Certificate(Show::Expired)).await;
    let ended = consult(&stage, &["--ca", "public-ca.pem", configuration(&stage)]).await;
    assert_eq!(ended.code, 1);
    if std::env::var_os("SHOW").is_some() {
        eprintln!("{}", ended.stdout);
    }
    assert!(ended.stdout.lines().all(|line| line.chars().count() <= 100), "{}", ended.stdout);
    assert!(ended.stdout.contains("\n  fail  certificate    that of CN=a1 expired on "), "{}", ended.stdout);
    assert!(ended.stdout.contains("\n                       help: renew it on the XSP"), "{}", ended.stdout);
    assert!(!ended.stdout.contains('\u{1b}'));
}

#[tokio::test]
async fn r_tls_4_a_wrong_certificate_is_told_with_its_remedy() {
    for (show, found) in [
        (Show::Expired, "expired on"),
        (Show::NotYetValid, "is not valid before"),
        (Show::WrongName, "names other.invalid, and not xsp.example.com"),
        (Show::WrongAuthority, "which [trust.internal] does not lead to"),
        (Show::SelfSigned, "has signed itself"),
    ] {
        let (stage, said) = with_a1(Behaviour::Certificate(show)).await;
        said.assert_fails(&a1(&stage), "certificate", found);
        // Nothing is said to an XSP that has not proved who it is.
        assert!(stage.xsp("a1").requests().is_empty());
    }
}

#[tokio::test]
async fn r_fail_1_an_xsp_that_cannot_be_reached_is_told_from_one_that_hangs() {
    for (behaviour, check, found) in [
        (Behaviour::Refuse, "tcp", "refused"),
        (Behaviour::SilentTcp, "tls", "no answer to a ClientHello"),
        (Behaviour::PlainText, "tls", "speaks no TLS"),
        (Behaviour::Reset, "xsi-actions", "connection broke"),
        (Behaviour::Garbage(b"\x1b[31mgarbage\r\n\r\n".to_vec()), "xsi-actions", "malformed"),
    ] {
        let (stage, said) = with_a1(behaviour).await;
        said.assert_fails(&a1(&stage), check, found);
    }
}

#[tokio::test]
async fn r_fail_3_an_xsp_that_does_not_answer_costs_no_more_than_its_time() {
    let (stage, ()) = Stage::with(|sim, text| {
        publish(sim);
        text.set("[[https]]", "interfaces", vec!["xsi-actions".to_owned()]);
    })
    .await;
    stage.xsp("a1").behave(Behaviour::Hang).await;
    let said = examine(&stage, &["xspgate.toml"]).await;
    said.assert_fails(&a1(&stage), "xsi-actions", "no answer within 2000 ms");
}

#[tokio::test]
async fn r_cti_3_an_xsp_that_does_not_take_the_gateways_certificate_is_told() {
    let (stage, ()) = Stage::with(|sim, text| {
        publish(sim);
        sim.serve_cti(text);
        text.set("[certificate.cti-client]", "strict", false);
        sim.pki.flawed_cti_client(Flaw::WrongAuthority).write(sim.folder(), "cti-client").unwrap();
    })
    .await;
    let said = examine(&stage, &["xspgate.toml"]).await;
    let finding = said.of(&stage.sim.cti("a1").address().to_string(), "mutual-tls");
    assert!(finding.result == "fail" && finding.found.contains("tls-alert-"), "{finding:?}");
    assert!(said.ended.stderr.starts_with("warning: "), "{}", said.ended.stderr);
    assert_eq!(said.ended.code, 1);
}

#[tokio::test]
async fn r_fail_2_an_interface_that_fails_or_is_missing_is_named() {
    let events = || "/com.broadsoft.xsi-events".to_owned();
    for (status, found) in [(StatusCode::SERVICE_UNAVAILABLE, "503 from"), (StatusCode::NOT_FOUND, "404 from")] {
        let (stage, said) = with_a1(Behaviour::on(events(), Behaviour::Status(status))).await;
        said.assert_fails(&a1(&stage), "xsi-events", found);
        assert_eq!(said.of(&a1(&stage), "xsi-actions").result, "ok");
    }
}

#[tokio::test]
async fn r_top_6_an_xsp_that_redirects_is_reported() {
    let (stage, said) = with_a1(Behaviour::Redirect("https://elsewhere.example.com/x".to_owned())).await;
    said.assert_fails(&a1(&stage), "xsi-actions", "which leads to https://elsewhere.example.com/x");
    assert_eq!(said.of(&a1(&stage), "call-settings").result, "ok");
}

#[tokio::test]
async fn r_top_8_a_clock_that_is_wrong_is_told_by_its_date() {
    let (stage, raw) = Stage::with(|sim, text| {
        publish(sim);
        let raw = Raw::start(DOMAIN, sim.address(31), &sim.pki).unwrap();
        raw.answer("HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n");
        tiers(text, &[raw.address(), sim.xsp("a1").address()]);
        raw
    })
    .await;
    let said = examine(&stage, &["xspgate.toml"]).await;
    let clock = said.of(&raw.address().to_string(), "clock");
    assert!(clock.result == "fail" && clock.found.ends_with("s behind this machine's"), "{clock:?}");
    assert_eq!(said.of(&a1(&stage), "clock").result, "ok");
    assert_eq!(said.of("all XSPs", "clock").result, "fail");
}

#[tokio::test]
async fn r_dns_1_names_without_an_address_are_told() {
    let stage = published_stage().await;
    stage.sim.zones().remove(ALL);
    stage.sim.zones().remove(CLOUD);
    let said = examine(&stage, &["xspgate.toml"]).await;
    said.assert_fails("farm xsp", "dns", "NXDOMAIN");
    said.assert_warns(&format!("name {CLOUD}"), "dns", "NXDOMAIN");
}

#[tokio::test]
async fn r_dns_2_an_srv_target_has_a_single_address() {
    let stage = published_stage().await;
    let addresses = ["a1", "a2"].map(|name| stage.sim.cti(name).address().ip());
    stage.sim.zones().set_a(&format!("a1.{CTI}"), 0, addresses);
    let said = examine(&stage, &["xspgate.toml"]).await;
    said.assert_warns("farm cti", "dns", "several addresses");
    stage.sim.zones().remove(CTI_SRV);
    let said = examine(&stage, &["xspgate.toml"]).await;
    said.assert_warns("farm cti", "dns", "used instead (R-DNS-3)");
}

#[tokio::test]
async fn r_cti_6_an_xsp_that_demands_no_certificate_is_reported() {
    for version in ["1.2", "1.3"] {
        let (stage, ()) = Stage::with(|sim, text| {
            publish(sim);
            sim.serve_cti(text);
            text.set("[farm.cti.tls]", "min_version", version).set("[farm.cti.tls]", "max_version", version);
        })
        .await;
        stage.sim.cti("a1").demand(cti::Demand::Nothing);
        let said = examine(&stage, &["xspgate.toml"]).await;
        said.assert_fails(
            &stage.sim.cti("a1").address().to_string(),
            "no-certificate",
            "without a certificate is let in",
        );
        let other = stage.sim.cti("a2").address().to_string();
        assert_eq!(said.of(&other, "no-certificate").result, "ok");
        assert_eq!(said.of(&other, "mutual-tls").result, "ok");
    }
}

#[tokio::test]
async fn a_gateway_that_does_not_run_is_no_failure() {
    let stage = published_stage().await;
    let (https, configuration) = (stage.gateway.https(), configuration(&stage));
    let Stage { gateway, sim } = stage;
    gateway.stop().await;
    let stage = Stage { gateway: Gateway::start(&sim.folder().join("xspgate.toml")).await, sim };
    let said = examine(&stage, &[configuration]).await;
    let front = said.of(&format!("https {https}, {CLOUD}"), "tcp");
    assert_eq!((front.result.as_str(), said.ended.code), ("skip", 0), "{front:?}");
}

#[tokio::test]
async fn r_auth_2_who_shows_no_certificate_is_to_be_turned_away() {
    let (stage, ()) = Stage::with(|sim, text| {
        publish(sim);
        text.set("[trust.webex]", "ca", format!("{}/CombinedCertChain.txt", sim.folder().display()));
        text.set("[https.interface.auth-service]", "client_trust", "webex");
        text.set("[https.interface.dms]", "allow", vec!["192.0.2.0/24".to_owned()]);
        text.push("[[https]]").set("[[https]]", "listen", vec!["127.0.0.2:0".to_owned()]);
        text.set("[[https]]", "hosts", vec![CLOUD.to_owned()]).set("[[https]]", "certificate", "public");
        text.set("[[https]]", "farm", "xsp").set("[[https]]", "interfaces", vec!["auth-service".to_owned()]);
        text.set("[[https]]", "client_trust", "webex");
    })
    .await;
    let [first, second] = stage.gateway.all_https() else { panic!("two listeners") };
    let said = examine(&stage, &[configuration(&stage)]).await;
    let interface = said.of(&format!("{first}, {APP}"), "auth-service");
    assert!(interface.result == "ok" && interface.found.starts_with("403"), "{interface:?}");
    assert_eq!(said.of(&format!("{first}, {APP}"), "dms").result, "skip");
    let block = said.of(&format!("{second}, {CLOUD}"), "no-certificate");
    assert!(block.result == "ok" && block.found.contains("certificate-required"), "{block:?}");
    assert_eq!(said.ended.code, 0, "{:#?}", said.with("fail"));
}

#[tokio::test]
async fn r_top_3_of_pass_through_the_xsps_own_certificate_is_seen() {
    let (stage, ()) = Stage::with(|sim, text| {
        publish(sim);
        sim.serve_passthrough(text);
    })
    .await;
    let text = fs::read_to_string(stage.sim.folder().join("xspgate.toml")).unwrap();
    let address = stage.gateway.passthrough();
    let (https, rest) = text.split_once("[[passthrough]]").unwrap();
    let rest = rest.replace("127.0.0.1:0\"]", &format!("{address}\"]"));
    fs::write(stage.sim.folder().join("direct.toml"), format!("{https}[[passthrough]]{rest}")).unwrap();
    let said = examine_believing(&stage, "internal-ca.pem", &["direct.toml"]).await;
    assert_eq!(said.of(&format!("{address}, {DOMAIN}"), "certificate").result, "ok");
    said.assert_fails(&format!("{address}, {DIRECT}"), "certificate", "names xsp.example.com, and not direct-xsp");
    let xsp = format!("farm direct, {}", stage.sim.cti("a1").address());
    assert_eq!(said.of(&xsp, "tcp").result, "ok");
}
