//! R-DNS-1 to R-DNS-3: which XSPs there are, what DNS changes, and what becomes of it when DNS fails.

use std::collections::BTreeMap;
use std::net::IpAddr;

use http::{Method, StatusCode};
use http_body_util::BodyExt;
use xspgate::sim::dns::{Fault, Transport, Zones};
use xspgate::sim::site::{ALL, Layout, SITE_A, SITE_B, Simulation, Text};

use crate::harness::{CHANNEL, Gateway, PROFILE, Stage, body, eventually, request, within};

const SRV: &str = "_xsi-client._tcp.internal.example.com";
const FALLBACK: &str = "internal.example.com";

/// The XSPs at which `sessions` new sessions begin.
async fn begun(stage: &Stage, sessions: usize) -> BTreeMap<String, u32> {
    let mut begun = BTreeMap::new();
    for _ in 0..sessions {
        *begun.entry(stage.client().get(PROFILE).await.xsp().to_owned()).or_default() += 1;
    }
    begun
}

/// Names `names` in DNS as the addresses of all XSPs, and waits until the gateway has followed.
async fn publish(stage: &Stage, names: &[&str]) {
    let zones = stage.sim.zones();
    zones.set_a(ALL, 0, names.iter().map(|name| stage.xsp(name).address().ip()));
    // The next query gets the new answer; the one behind it shows that this answer has been taken over.
    let asked = zones.queries(ALL, "A");
    eventually("the change of DNS", async || zones.queries(ALL, "A") >= asked + 2).await;
}

fn discover_by_srv(sim: &Simulation, text: &mut Text) {
    text.remove("[farm.xsp]", "a").set("[farm.xsp]", "srv", SRV);
    for (name, target) in [("a1", "a1.example.com"), ("a2", "a2.example.com"), ("b1", "b1.example.com")] {
        sim.zones().set_a(target, 0, [sim.xsp(name).address().ip()]);
    }
}

#[tokio::test]
async fn r_dns_1_the_addresses_of_a_name_are_the_farm() {
    let stage = Stage::start().await;
    assert_eq!(begun(&stage, 80).await.len(), 4);
}

#[tokio::test]
async fn r_dns_1_sites_are_preferred_in_their_order() {
    let (stage, ()) = Stage::with(|sim, text| *text = sim.config(Layout::TwoSites)).await;
    let first: Vec<_> = begun(&stage, 40).await.into_keys().collect();
    assert_eq!(first, ["a1", "a2"]);
    stage.xsp("a1").kill().await;
    stage.xsp("a2").kill().await;
    let second: Vec<_> = begun(&stage, 40).await.into_keys().collect();
    assert_eq!(second, ["b1", "b2"]);
    assert!(stage.sim.zones().queries(SITE_A, "A") > 0 && stage.sim.zones().queries(SITE_B, "A") > 0);
}

#[tokio::test]
async fn r_dns_1_changes_are_followed() {
    let stage = Stage::start().await;
    publish(&stage, &["a2"]).await;
    assert_eq!(begun(&stage, 10).await.into_keys().collect::<Vec<_>>(), ["a2"]);
    publish(&stage, &["b1", "b2"]).await;
    assert_eq!(begun(&stage, 40).await.into_keys().collect::<Vec<_>>(), ["b1", "b2"]);
}

#[tokio::test]
async fn r_dns_1_an_xsp_that_left_keeps_its_streams() {
    let stage = Stage::start().await;
    publish(&stage, &["a1"]).await;
    let mut client = stage.client();
    let mut stream = client.open(request(Method::POST, CHANNEL, body("<Channel/>"))).await.unwrap().into_body();
    within("the channel's document", stream.frame()).await.unwrap().unwrap();
    publish(&stage, &["a2"]).await;
    assert_eq!(begun(&stage, 10).await.into_keys().collect::<Vec<_>>(), ["a2"]);
    let id = stage.xsp("a1").channels().remove(0);
    assert!(stage.xsp("a1").publish(&id, "<late/>"));
    let document = within("the late document", stream.frame()).await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(document, "<late/>");
    // Its heartbeats still reach it, on a connection of their own.
    client.disconnect();
    let heartbeat = format!("/com.broadsoft.xsi-events/v2.0/channel/{id}/heartbeat");
    assert_eq!(client.send(request(Method::PUT, &heartbeat, body(""))).await.status, StatusCode::OK);
}

#[tokio::test]
async fn r_dns_1_an_outage_keeps_the_last_good_addresses() {
    for fault in [Fault::Silent, Fault::ServFail, Fault::Refused, Fault::Garbage, Fault::WrongId] {
        let stage = Stage::start().await;
        stage.sim.zones().set_fault(fault);
        failing_lookups(&stage, 2.0).await;
        assert_eq!(begun(&stage, 80).await.len(), 4, "{fault:?}");
        stage.sim.zones().set_fault(Fault::None);
        publish(&stage, &["b2"]).await;
    }
}

#[tokio::test]
async fn r_dns_1_no_name_or_no_address_keeps_the_last_good_ones() {
    let losses: [fn(&Zones); 2] = [|zones| zones.remove(ALL), |zones| zones.empty(ALL)];
    for lose in losses {
        let stage = Stage::start().await;
        stage.sim.zones().set_negative_ttl(0);
        lose(stage.sim.zones());
        failing_lookups(&stage, 2.0).await;
        assert_eq!(begun(&stage, 80).await.len(), 4);
        assert_eq!(stage.gateway.admin("/readyz").await.0, 200);
    }
}

/// Waits until so many look-ups more have brought nothing.
async fn failing_lookups(stage: &Stage, more: f64) {
    let failed = async || {
        let metrics = stage.metrics().await;
        let look_ups = |labels: &[(&str, &str)]| metrics.count("xspgate_discovery_lookups_total", labels);
        look_ups(&[]) - look_ups(&[("outcome", "answered")])
    };
    let before = failed().await;
    eventually("failing look-ups", async || failed().await >= before + more).await;
}

#[tokio::test]
async fn r_dns_1_dns_dead_at_start_is_503_until_it_answers() {
    let (stage, ()) = Stage::unready(|sim, _| sim.zones().set_fault(Fault::ServFail)).await;
    let answer = stage.client().get(PROFILE).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.header("retry-after").parse::<u32>().is_ok());
    assert_eq!(stage.gateway.admin("/readyz").await.0, 503);
    assert_eq!(stage.gateway.admin("/livez").await.0, 200);
    stage.sim.zones().set_fault(Fault::None);
    eventually("service", async || stage.client().get(PROFILE).await.status == StatusCode::OK).await;
    stage.gateway.until_ready().await;
}

#[tokio::test]
async fn r_dns_1_the_last_good_addresses_survive_a_restart() {
    let (stage, ()) = Stage::with(|sim, text| {
        let state = sim.folder().join("state");
        std::fs::create_dir(&state).unwrap();
        text.set("", "state_dir", state.display().to_string());
    })
    .await;
    publish(&stage, &["a1", "b1"]).await;
    let Stage { gateway, sim } = stage;
    gateway.stop().await;
    sim.zones().set_fault(Fault::Silent);
    let gateway = Gateway::start(&sim.folder().join("xspgate.toml")).await;
    let stage = Stage { gateway, sim };
    eventually("service", async || stage.client().get(PROFILE).await.status == StatusCode::OK).await;
    assert_eq!(begun(&stage, 40).await.into_keys().collect::<Vec<_>>(), ["a1", "b1"]);
}

#[tokio::test]
async fn r_dns_1_requests_ask_dns_nothing() {
    let (stage, ()) = Stage::with(|sim, text| {
        let addresses: Vec<_> = sim.xsps.iter().map(|xsp| xsp.address().ip()).collect();
        sim.zones().set_a(ALL, 60, addresses);
        text.set("[dns]", "min_ttl", "30s");
    })
    .await;
    begun(&stage, 50).await;
    assert_eq!(stage.sim.zones().queries(ALL, "A"), 1, "one query per name and TTL");
    assert_eq!(stage.sim.zones().queries(ALL, "AAAA"), 0, "IPv6 is for the operator to switch on (R-TOP-7)");
}

#[tokio::test]
async fn r_dns_1_a_truncated_answer_is_asked_for_again_over_tcp() {
    let (stage, ()) = Stage::with(|sim, _| {
        let many = (1..=200).map(|last| IpAddr::from([127, 255, 0, last]));
        sim.zones().set_a(ALL, 0, many);
    })
    .await;
    assert_eq!(stage.metrics().await.value("xspgate_endpoints", &[]), Some(200.0));
    assert!(stage.sim.zones().queries_over(ALL, "A", Transport::Tcp) > 0);
}

#[tokio::test]
async fn r_dns_2_targets_go_by_priority() {
    let (stage, ()) = Stage::with(|sim, text| {
        discover_by_srv(sim, text);
        let port = sim.port();
        sim.zones().set_srv(
            SRV,
            0,
            [(20, 0, port, "b1.example.com"), (10, 5, port, "a1.example.com"), (10, 5, port, "a2.example.com")],
        );
    })
    .await;
    assert_eq!(begun(&stage, 40).await.into_keys().collect::<Vec<_>>(), ["a1", "a2"]);
    stage.xsp("a1").kill().await;
    stage.xsp("a2").kill().await;
    assert_eq!(begun(&stage, 5).await.into_keys().collect::<Vec<_>>(), ["b1"]);
}

#[tokio::test]
async fn r_dns_2_targets_of_one_priority_go_by_weight() {
    let (stage, ()) = Stage::with(|sim, text| {
        discover_by_srv(sim, text);
        let port = sim.port();
        sim.zones().set_srv(SRV, 0, [(10, 90, port, "a1.example.com"), (10, 10, port, "a2.example.com")]);
    })
    .await;
    let begun = begun(&stage, 300).await;
    // 30 are expected; 5 and 60 are more than four standard deviations away.
    assert!((5..=60).contains(&begun["a2"]), "{begun:?}");
}

#[tokio::test]
async fn r_dns_2_targets_that_lead_nowhere_are_left_out() {
    let (stage, ()) = Stage::with(|sim, text| {
        discover_by_srv(sim, text);
        let port = sim.port();
        sim.zones().set_srv(
            SRV,
            0,
            [(1, 0, port, "."), (5, 0, port, "nowhere.example.com"), (10, 0, port, "b1.example.com")],
        );
    })
    .await;
    assert_eq!(begun(&stage, 10).await.into_keys().collect::<Vec<_>>(), ["b1"]);
    assert_eq!(stage.metrics().await.value("xspgate_endpoints", &[]), Some(1.0));
}

#[tokio::test]
async fn r_dns_2_of_a_target_with_several_addresses_one_is_taken() {
    let (stage, ()) = Stage::with(|sim, text| {
        discover_by_srv(sim, text);
        sim.zones().set_a("two.example.com", 0, [sim.xsp("a1").address().ip(), sim.xsp("a2").address().ip()]);
        sim.zones().set_srv(SRV, 0, [(10, 0, sim.port(), "two.example.com")]);
    })
    .await;
    assert_eq!(stage.metrics().await.value("xspgate_endpoints", &[]), Some(1.0));
    assert_eq!(begun(&stage, 5).await.values().sum::<u32>(), 5);
}

#[tokio::test]
async fn r_dns_3_without_srv_the_addresses_of_the_domain_are_taken() {
    let (stage, ()) = Stage::with(|sim, text| {
        text.remove("[farm.xsp]", "a").set("[farm.xsp]", "srv", SRV);
        sim.zones().set_a(FALLBACK, 0, [sim.xsp("b2").address().ip()]);
    })
    .await;
    assert_eq!(begun(&stage, 10).await.into_keys().collect::<Vec<_>>(), ["b2"]);
    assert!(stage.sim.zones().queries(SRV, "SRV") > 0);
}
