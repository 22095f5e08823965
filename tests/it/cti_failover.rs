//! How a CTI connection finds its XSP: failover at connect time only, with R-FAIL-1 and R-FAIL-4 to R-FAIL-8 as they are
//! for HTTPS.

use std::time::Duration;

use rustls::version::{TLS12, TLS13};
use xspgate::sim::cti::{Behaviour, Demand, Ending};
use xspgate::sim::pki::{Flaw, Show};
use xspgate::sim::site::{CTI, CTI_SRV, Simulation, Text};

use crate::harness::{PROFILE, Stage, assert_bridged, dial, eventually, greeting, rest, until, within};

#[tokio::test]
async fn r_dns_2_xsps_are_found_by_srv_in_the_order_of_its_priorities() {
    let (stage, ()) = Stage::with(|sim, text| sim.serve_cti(text)).await;
    stage.until_found("cti").await;
    for name in ["a1", "a2", "b1"] {
        for _ in 0..5 {
            assert_eq!(stage.greeted().await.1, name);
        }
        stage.speaker(name).kill().await;
    }
    assert_eq!(stage.greeted().await.1, "b2");
}

#[tokio::test]
async fn r_dns_2_xsps_of_one_priority_are_picked_at_random() {
    let (stage, ()) = Stage::with(|sim, text| {
        sim.serve_cti(text);
        let hosts: Vec<String> = sim.ctis.iter().map(|xsp| format!("{}.{CTI}", xsp.name())).collect();
        let srv = hosts.iter().map(|host| (1, 0, sim.cti_port(), host.as_str()));
        sim.zones().set_srv(CTI_SRV, 0, srv);
    })
    .await;
    stage.until_found("cti").await;
    let mut names = std::collections::BTreeSet::new();
    eventually("every XSP", async || {
        names.insert(stage.greeted().await.1);
        names.len() == 4
    })
    .await;
}

#[tokio::test]
async fn r_fail_1_an_xsp_with_a_wrong_certificate_is_never_bridged_to() {
    let reasons = [
        (Show::WrongAuthority, "certificate-issuer"),
        (Show::WrongName, "certificate-name"),
        (Show::Expired, "certificate-expired"),
        (Show::NotYetValid, "certificate-not-yet-valid"),
        (Show::SelfSigned, "certificate-issuer"),
    ];
    for (show, reason) in reasons {
        let stage = Stage::cti(|_, _| ()).await;
        stage.speaker("a1").behave(Behaviour::Certificate(show)).await;
        let mut call = stage.call().await;
        call.send("<Secret/>").await.unwrap();
        assert_eq!(greeting(&mut call).await, "a2", "{show:?}");
        assert_eq!(stage.tried("cti", "a1", reason).await, 1.0, "{show:?}");
        until(stage.speaker("a1"), "its end", |records| records.iter().all(|record| !record.is_open())).await;
        let connections = stage.speaker("a1").connections();
        assert_eq!((connections.accepted, connections.handshakes), (1, 0), "{show:?}");
    }
}

#[tokio::test]
async fn r_fail_1_an_xsp_that_cannot_be_reached_is_passed_over() {
    let faults = [
        (Behaviour::Refuse, "refused"),
        (Behaviour::Unreachable, "connect-timeout"),
        (Behaviour::SilentTcp, "handshake-timeout"),
        (Behaviour::SlowHandshake(Duration::from_secs(5)), "handshake-timeout"),
        (Behaviour::PlainText, "not-tls"),
        // It may show in the connect already.
        (Behaviour::ResetOnAccept, ""),
    ];
    for (fault, reason) in faults {
        let stage = Stage::cti(|_, _| ()).await;
        stage.speaker("a1").behave(fault.clone()).await;
        let (mut call, xsp) = stage.greeted().await;
        assert_eq!(xsp, "a2", "{fault:?}");
        assert_bridged(&mut call, b"<Request/>").await;
        assert_eq!(stage.tried("cti", "a1", "").await, 1.0, "{fault:?}");
        assert_eq!(stage.tried("cti", "a1", reason).await, 1.0, "{fault:?}");
        // It is blocked now (R-FAIL-5).
        for _ in 0..5 {
            assert_eq!(stage.greeted().await.1, "a2", "{fault:?}");
        }
        assert_eq!(stage.tried("cti", "a1", "").await, 1.0, "{fault:?}: asked although it is blocked");
    }
}

#[tokio::test]
async fn r_fail_1_two_xsps_that_say_nothing_leave_time_for_the_third() {
    let stage = Stage::cti(|_, _| ()).await;
    stage.speaker("a1").behave(Behaviour::Unreachable).await;
    stage.speaker("a2").behave(Behaviour::SilentTcp).await;
    assert_eq!(stage.greeted().await.1, "b1");
    assert_eq!(stage.tried("cti", "a1", "connect-timeout").await, 1.0);
    assert_eq!(stage.tried("cti", "a2", "handshake-timeout").await, 1.0);
}

#[tokio::test]
async fn r_fail_4_a_client_is_told_when_all_tries_have_failed() {
    let faults = [Behaviour::Refuse, Behaviour::Certificate(Show::Expired), Behaviour::SilentTcp];
    for fault in faults {
        let stage = Stage::cti(|_, _| ()).await;
        for xsp in &stage.sim.ctis {
            xsp.behave(fault.clone()).await;
        }
        let mut call = stage.call().await;
        assert_eq!(rest(&mut call).await, (vec![], Ending::CloseNotify), "{fault:?}");
        stage.until_ended("no-xsp", 1.0).await;
        for (name, tries) in [("a1", 1.0), ("a2", 1.0), ("b1", 1.0), ("b2", 0.0)] {
            assert_eq!(stage.tried("cti", name, "").await, tries, "{fault:?}: {name}");
        }
    }
}

#[tokio::test]
async fn r_fail_3_the_search_ends_when_the_caller_has_no_patience_left() {
    let stage = Stage::cti(|_, text| {
        let failover = "[farm.cti.failover]";
        text.set(failover, "tries", 10).set(failover, "connect_timeout", "800ms");
        text.set(failover, "response_timeout", "1s");
    })
    .await;
    for xsp in &stage.sim.ctis {
        xsp.behave(Behaviour::SilentTcp).await;
    }
    let mut call = stage.call().await;
    assert_eq!(rest(&mut call).await.1, Ending::CloseNotify);
    let mut tries = 0.0;
    for name in ["a1", "a2", "b1", "b2"] {
        tries += stage.tried("cti", name, "").await;
    }
    assert_eq!(tries, 2.0);
    // The second had less time than it is due, which says nothing of it.
    let blocked = stage.metrics().await.count("xspgate_endpoint_blocked", &[("farm", "cti")]);
    assert_eq!(blocked, 1.0);
}

#[tokio::test]
async fn r_fail_6_an_xsp_comes_back_after_its_block() {
    let stage = Stage::cti(|_, text| {
        text.set("[farm.cti.failover]", "block_for", "200ms");
    })
    .await;
    stage.speaker("a1").kill().await;
    assert_eq!(stage.greeted().await.1, "a2");
    // It fails on probation, which costs a client nothing.
    eventually("a second try", async || {
        assert_eq!(stage.greeted().await.1, "a2");
        stage.tried("cti", "a1", "refused").await >= 2.0
    })
    .await;
    stage.speaker("a1").revive().await;
    eventually("its return", async || stage.greeted().await.1 == "a1").await;
}

#[tokio::test]
async fn r_fail_7_when_all_are_blocked_one_is_asked_all_the_same() {
    let stage = Stage::cti(|_, text| {
        text.set("[farm.cti.failover]", "tries", 4);
    })
    .await;
    for xsp in &stage.sim.ctis {
        xsp.kill().await;
    }
    let mut call = stage.call().await;
    assert_eq!(rest(&mut call).await.1, Ending::CloseNotify);
    let blocked = async || stage.metrics().await.count("xspgate_endpoint_blocked", &[("farm", "cti")]);
    assert_eq!(blocked().await, 4.0);
    for xsp in &stage.sim.ctis {
        xsp.revive().await;
    }
    stage.greeted().await;
    // R-FAIL-8; and the gateway looks at the others, since what held all of them down may be over.
    eventually("all are up", async || blocked().await == 0.0).await;
}

#[tokio::test]
async fn a_connection_is_never_moved() {
    let stage = Stage::cti(|_, _| ()).await;
    let (mut call, _) = stage.greeted().await;
    assert_bridged(&mut call, b"<Request/>").await;
    stage.speaker("a1").kill().await;
    assert_eq!(rest(&mut call).await, (vec![], Ending::Reset));
    assert_eq!(stage.rung(), 1);
    assert_eq!(stage.greeted().await.1, "a2", "the client opens a new one");
}

#[tokio::test]
async fn r_fail_1_to_the_letter_an_xsp_that_breaks_a_new_connection_without_a_word_is_blocked() {
    for version in ["1.2", "1.3"] {
        let stage = Stage::cti(|_, text| {
            // A look shakes hands and says nothing, and this XSP has nothing against that.
            text.set("[farm.cti.failover]", "on_silence", "block");
            text.set("[farm.cti.tls]", "min_version", version).set("[farm.cti.tls]", "max_version", version);
        })
        .await;
        stage.speaker("a1").behave(Behaviour::ResetOnData).await;
        // What was said may have been done: no other XSP is told.
        let mut call = stage.call().await;
        call.send("<Request/>").await.unwrap();
        assert_eq!(rest(&mut call).await, (vec![], Ending::Reset), "{version}");
        assert_eq!(stage.rung(), 1);
        assert_eq!(stage.tried("cti", "a1", "reset").await, 1.0);
        assert_eq!(stage.greeted().await.1, "a2");
        assert_eq!(stage.speaker("a1").connections().accepted, 1, "asked although it is blocked");
    }
}

/// The gateway's own certificate is such as XSPs refuse.
fn flawed(flaw: Flaw, version: &'static str) -> impl FnOnce(&Simulation, &mut Text) {
    move |sim, text| {
        sim.pki.flawed_cti_client(flaw).write(sim.folder(), "flawed").unwrap();
        let folder = sim.folder().display();
        let section = "[certificate.cti-client]";
        text.set(section, "chain", format!("{folder}/flawed-chain.pem"));
        text.set(section, "key", format!("{folder}/flawed-key.pem")).set(section, "strict", false);
        text.set("[farm.cti.tls]", "min_version", version).set("[farm.cti.tls]", "max_version", version);
    }
}

#[tokio::test]
async fn r_cti_3_the_next_xsp_is_asked_when_one_refuses_the_gateways_certificate() {
    for version in ["1.2", "1.3"] {
        let refusals =
            [(Flaw::NoBroadWorksUsage, "tls-alert-access-denied"), (Flaw::WrongAuthority, "tls-alert-unknown-ca")];
        for (flaw, alert) in refusals {
            let stage = Stage::cti(flawed(flaw, version)).await;
            stage.speaker("a2").demand(Demand::Nothing);
            // The client's first words may cross the refusal; no other XSP but the one that keeps it gets them.
            let mut call = stage.call().await;
            call.send("<Request/>").await.unwrap();
            assert_eq!(greeting(&mut call).await, "a2", "{version} {flaw:?}");
            assert_eq!(within("the echo", call.receive(10)).await.unwrap(), b"<Request/>");
            assert_eq!(stage.speaker("a1").connections().handshakes, 0);
            assert_eq!(stage.tried("cti", "a1", alert).await, 1.0, "{version} {flaw:?}");
            assert_eq!(stage.greeted().await.1, "a2");
            assert_eq!(stage.speaker("a1").connections().accepted, 1, "asked although it is blocked");
        }
    }
}

#[tokio::test]
async fn r_cti_3_a_client_learns_that_every_xsp_refuses_the_gateways_certificate() {
    for version in ["1.2", "1.3"] {
        let stage = Stage::cti(flawed(Flaw::WrongName, version)).await;
        let mut call = stage.call().await;
        assert_eq!(rest(&mut call).await, (vec![], Ending::CloseNotify), "{version}");
        stage.until_ended("no-xsp", 1.0).await;
        for name in ["a1", "a2", "b1"] {
            assert_eq!(stage.tried("cti", name, "tls-alert-access-denied").await, 1.0, "{version} {name}");
        }
    }
}

#[tokio::test]
async fn r_cti_3_an_xsp_that_closes_instead_of_an_alert_is_passed_over_while_nothing_was_said() {
    for version in ["1.2", "1.3"] {
        let stage = Stage::cti(flawed(Flaw::Alternative, version)).await;
        stage.speaker("a1").demand(Demand::Afterwards);
        stage.speaker("a2").demand(Demand::Nothing);
        assert_eq!(stage.greeted().await.1, "a2", "{version}");
    }
}

#[tokio::test]
async fn an_xsp_that_resets_before_anything_was_said_is_passed_over() {
    for fault in [Behaviour::ResetAfterHandshake, Behaviour::CloseAfterHandshake] {
        let stage = Stage::cti(|_, _| ()).await;
        stage.speaker("a1").behave(fault.clone()).await;
        assert_eq!(stage.greeted().await.1, "a2", "{fault:?}");
    }
}

#[tokio::test]
async fn r_fail_1_a_client_that_hangs_up_without_a_word_is_no_failure_of_its_xsp() {
    let stage = Stage::cti(|_, _| ()).await;
    for name in ["a1", "a2", "b1"] {
        stage.speaker(name).behave(Behaviour::Echo).await;
    }
    let mut call = stage.call().await;
    call.finish().await.unwrap();
    assert_eq!(rest(&mut call).await, (vec![], Ending::CloseNotify));
    stage.until_ended("ended", 1.0).await;
    stage.call().await.vanish().await.unwrap();
    stage.until_ended("client-broke", 1.0).await;
    assert_eq!(stage.rung(), 2, "another XSP was asked");
    for name in ["a1", "a2", "b1"] {
        for outcome in ["closed", "reset"] {
            assert_eq!(stage.tried("cti", name, outcome).await, 0.0, "{name}");
        }
    }
}

/// An XSP of the CTI farm and one of the HTTPS farm at the same address.
async fn two_ports() -> Stage {
    Stage::cti(|sim, text| {
        // Only `a1` is looked at.
        text.set(
            "[farm.xsp]",
            "addresses",
            vec![sim.xsp("a1").address().to_string(), sim.xsp("b1").address().to_string()],
        );
        text.remove("[farm.xsp]", "a");
    })
    .await
}

#[tokio::test]
async fn an_xsp_that_is_gone_for_cti_is_looked_at_for_https() {
    let stage = two_ports().await;
    stage.speaker("a1").behave(Behaviour::Unreachable).await;
    stage.xsp("a1").kill().await;
    assert_eq!(stage.greeted().await.1, "a2");
    stage.until_blocked("a1", crate::harness::Blocked::Yes).await;
    for _ in 0..5 {
        assert_eq!(stage.client().get(PROFILE).await.xsp(), "b1");
    }
    let endpoint = stage.xsp("a1").address().to_string();
    let tried = stage.metrics().await.count("xspgate_attempts_total", &[("farm", "xsp"), ("endpoint", &endpoint)]);
    assert_eq!(tried, 0.0, "no client had to find out");
}

#[tokio::test]
async fn an_xsp_whose_cti_port_alone_is_gone_goes_on_serving_https() {
    let stage = two_ports().await;
    let endpoint = stage.xsp("a1").address().to_string();
    let probed = async |outcome: &str| {
        let labels = [("farm", "xsp"), ("endpoint", endpoint.as_str()), ("outcome", outcome)];
        stage.metrics().await.count("xspgate_probes_total", &labels)
    };
    // A refusal speaks of one port.
    stage.speaker("a1").behave(Behaviour::Refuse).await;
    assert_eq!(stage.greeted().await.1, "a2");
    assert_eq!((probed("cleared").await, probed("failed").await), (0.0, 0.0));
    // Silence may speak of the whole XSP; the look at it says otherwise.
    let stage = two_ports().await;
    let endpoint = stage.xsp("a1").address().to_string();
    stage.speaker("a1").behave(Behaviour::Unreachable).await;
    assert_eq!(stage.greeted().await.1, "a2");
    eventually("the look", async || {
        let labels = [("farm", "xsp"), ("endpoint", endpoint.as_str()), ("outcome", "cleared")];
        stage.metrics().await.count("xspgate_probes_total", &labels) == 1.0
    })
    .await;
    let blocked = stage.metrics().await.value("xspgate_endpoint_blocked", &[("endpoint", &endpoint)]);
    assert_ne!(blocked, Some(1.0));
}

#[tokio::test]
async fn both_versions_of_tls_are_spoken_on_both_sides() {
    for xsps in ["1.2", "1.3"] {
        let stage = Stage::cti(|_, text| {
            text.set("[farm.cti.tls]", "min_version", xsps).set("[farm.cti.tls]", "max_version", xsps);
        })
        .await;
        for version in [&TLS12, &TLS13] {
            let mut call = dial(&stage.webex().speaking(version), stage.gateway.cti()).await.unwrap();
            assert_eq!(greeting(&mut call).await, "a1");
            assert_bridged(&mut call, b"<Request/>").await;
        }
    }
}
