//! What DNS servers of the field send, and what becomes of it: `docs/reference/accepted-dns-and-certificates.md` has one row for each.

use std::net::IpAddr;
use std::time::Duration;

use http::Method;
use xspgate::sim::dns::{Fault, Transport};
use xspgate::sim::site::{ALL, Simulation, Text};

use crate::harness::{CHANNEL, Client, PROFILE, Serving, Stage, body, eventually, request};

const SRV: &str = "_xsi-client._tcp.internal.example.com";
const FALLBACK: &str = "internal.example.com";

/// The XSPs at which new sessions begin.
async fn begun(stage: &Stage) -> Vec<String> {
    let mut begun = Vec::new();
    for _ in 0..60 {
        begun.push(stage.client().get(PROFILE).await.xsp().to_owned());
    }
    begun.sort();
    begun.dedup();
    begun
}

/// Waits until the gateway has taken in the answers of now.
async fn followed(stage: &Stage, name: &str, kind: &str) {
    let zones = stage.sim.zones();
    let asked = zones.queries(name, kind);
    eventually("two look-ups", async || zones.queries(name, kind) >= asked + 2).await;
}

/// The XSP at which the client opens an event channel.
async fn opens_channel(client: &mut Client) -> String {
    let answer = client.open(request(Method::POST, CHANNEL, body("<Channel/>"))).await.unwrap();
    let xsp = answer.headers()["x-xsp"].to_str().unwrap().to_owned();
    client.disconnect();
    xsp
}

fn by_srv(sim: &Simulation, text: &mut Text) {
    text.remove("[farm.xsp]", "a").set("[farm.xsp]", "srv", SRV);
    for name in ["a1", "a2", "b1"] {
        sim.zones().set_a(&format!("{name}.example.com"), 0, [sim.xsp(name).address().ip()]);
    }
    sim.zones().set_srv(SRV, 0, [(1, 0, sim.port(), "a1.example.com")]);
}

#[tokio::test]
async fn servers_that_know_no_edns_are_asked_without_and_the_log_names_them() {
    let faults = [
        Fault::EdnsFormErr,
        Fault::EdnsHeaderAlone,
        Fault::EdnsNotImp,
        Fault::EdnsServFail,
        Fault::EdnsSilent,
        Fault::EdnsTwice,
    ];
    for fault in faults {
        let (stage, ()) = Stage::with(|sim, _| sim.zones().set_fault(fault)).await;
        assert_eq!(begun(&stage).await.len(), 4, "{fault:?}");
    }
    let (stage, ()) = Stage::with(|sim, _| sim.zones().set_fault(Fault::EdnsFormErr)).await;
    let serving = Serving::start(&stage).await;
    let told = || {
        let lines = serving.program.lines();
        lines.iter().filter(|line| line.contains("DNS server 127.0.0.1 does not take EDNS")).count()
    };
    eventually("the server's name in the log", async || told() > 0).await;
    followed(&stage, ALL, "A").await;
    assert_eq!(told(), 1, "once in ten minutes");
}

#[tokio::test]
async fn servers_that_lose_the_case_of_names_are_asked_in_lower_case() {
    for fault in [Fault::LowerCase, Fault::CaseSensitive] {
        let (stage, ()) = Stage::with(|sim, _| sim.zones().set_fault(fault)).await;
        assert_eq!(begun(&stage).await.len(), 4, "{fault:?}");
        assert_eq!(stage.sim.zones().queries_over(ALL, "A", Transport::Tcp), 0, "{fault:?}");
    }
}

#[tokio::test]
async fn a_truncated_answer_without_tcp_adds_xsps_and_removes_none() {
    for fault in [Fault::Half, Fault::HalfAndSome] {
        let (stage, ()) = Stage::with(|sim, _| sim.zones().set_fault(fault)).await;
        eventually("all XSPs", async || stage.metrics().await.value("xspgate_endpoints", &[]) == Some(4.0)).await;
        followed(&stage, ALL, "A").await;
        assert_eq!(begun(&stage).await.len(), 4, "{fault:?}");
    }
}

#[tokio::test]
async fn an_answer_without_its_question_or_with_rubbish_behind_it_is_read() {
    for fault in [Fault::NoQuestion, Fault::Trailing] {
        let (stage, ()) = Stage::with(|sim, _| sim.zones().set_fault(fault)).await;
        assert_eq!(begun(&stage).await.len(), 4, "{fault:?}");
    }
}

#[tokio::test]
async fn a_service_that_is_not_offered_is_not_looked_for_at_the_domain() {
    let (stage, ()) = Stage::with(by_srv).await;
    let zones = stage.sim.zones();
    zones.set_a(FALLBACK, 0, [stage.xsp("b1").address().ip()]);
    zones.set_srv(SRV, 0, [(0, 0, 0, ".")]);
    followed(&stage, SRV, "SRV").await;
    assert_eq!(begun(&stage).await, ["a1"], "the last good one stays");
    assert_eq!(zones.queries(FALLBACK, "A"), 0);
    zones.set_srv(SRV, 0, [(1, 0, stage.sim.port(), "a2.example.com")]);
    eventually("the new target", async || begun(&stage).await == ["a2"]).await;
}

#[tokio::test]
async fn a_referral_or_a_failure_is_no_absence() {
    for fault in [Fault::Referral, Fault::ServFail, Fault::Refused, Fault::Silent] {
        let (stage, ()) = Stage::with(by_srv).await;
        stage.sim.zones().set_a(FALLBACK, 0, [stage.xsp("b1").address().ip()]);
        stage.sim.zones().set_fault_of(SRV, fault);
        followed(&stage, SRV, "SRV").await;
        assert_eq!(begun(&stage).await, ["a1"], "{fault:?}");
    }
}

#[tokio::test]
async fn sessions_stay_where_answers_hold_a_part_of_the_addresses_in_turn() {
    let (stage, ()) = Stage::with(|sim, text| {
        text.remove("[dns]", "forget_after");
        sim.zones().set_most(2);
    })
    .await;
    let mut client = stage.client();
    let home = opens_channel(&mut client).await;
    for _ in 0..30 {
        assert_eq!(opens_channel(&mut client).await, home);
        tokio::time::sleep(Duration::from_millis(70)).await;
    }
    assert_eq!(client.get(PROFILE).await.xsp(), home);
}

#[tokio::test]
async fn sessions_leave_an_xsp_that_stays_away_for_forget_after() {
    let (stage, ()) = Stage::with(|_, text| {
        text.set("[dns]", "forget_after", "2s");
    })
    .await;
    let address = |name: &str| -> [IpAddr; 1] { [stage.xsp(name).address().ip()] };
    stage.sim.zones().set_a(ALL, 0, address("a1"));
    followed(&stage, ALL, "A").await;
    let mut client = stage.client();
    assert_eq!(opens_channel(&mut client).await, "a1");
    stage.sim.zones().set_a(ALL, 0, address("a2"));
    followed(&stage, ALL, "A").await;
    assert_eq!(begun(&stage).await, ["a2"], "new sessions at once");
    eventually("its leave", async || opens_channel(&mut client).await == "a2").await;
}
