//! Discovery over a scripted resolver, in virtual time.

pub(super) mod play;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use self::play::{Line, Play, farm, site, srv_site, static_site};
use super::*;
use crate::config::model::AddressFamily;
use crate::policy::endpoint::{Tier, Weight};

const A: &str = "xsp.example.com";
const B: &str = "xsp-b.example.com";
const SRV: &str = "_xsi-client._tcp.example.com";
const DOMAIN: &str = "example.com";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

fn v6(last: u16) -> IpAddr {
    IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last])
}

fn at(last: u8, port: u16) -> SocketAddr {
    SocketAddr::new(ip(last), port)
}

/// A play whose only farm has one site with the addresses of [`A`].
fn one_name() -> Play {
    Play::new([farm("xsp", [site(A)])])
}

#[tokio::test(start_paused = true)]
async fn r_dns_1_the_addresses_of_a_name_are_the_farm_in_whatever_order() {
    let play = one_name();
    play.script.addresses(A, 60, [ip(3), ip(1), ip(2), ip(1)]);
    let run = play.run();
    play.pass(seconds(1)).await;
    assert_eq!(play.addresses("xsp"), [at(1, 443), at(2, 443), at(3, 443)]);
    let weights: Vec<_> = play.endpoints("xsp").into_iter().map(|endpoint| (endpoint.tier, endpoint.weight)).collect();
    assert_eq!(weights, [(Tier { site: 0, priority: 0 }, Weight::Equal); 3]);

    play.script.addresses(A, 60, [ip(2), ip(3), ip(1)]);
    play.pass(seconds(120)).await;
    assert_eq!(play.times_told("xsp"), 1, "a rotated answer is no change");
    drop(run);
}

#[tokio::test(start_paused = true)]
async fn promise_11_one_query_per_name_and_ttl_however_many_farms_use_it() {
    let play = Play::new([farm("xsp", [site(A)]), farm("dms", [site(A), site(B)])]);
    play.script.addresses(A, 60, [ip(1)]);
    play.script.addresses(B, 20, [ip(2)]);
    let _run = play.run();
    play.pass(seconds(600)).await;
    for (name, ttl) in [(A, 60.0), (B, 20.0)] {
        let gaps = play.script.gaps(name, RecordKind::A);
        assert!(gaps.len() >= 9);
        for gap in gaps {
            assert!((ttl..=ttl + 0.51).contains(&gap), "{name}: {gap} s between two queries");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_ttl_is_followed_within_its_bounds() {
    for (ttl, expected) in [(0, 1.0), (1, 1.0), (30, 30.0), (300, 300.0), (86_400, 300.0)] {
        let play = one_name();
        play.script.addresses(A, ttl, [ip(1)]);
        let _run = play.run();
        play.pass(seconds(1000)).await;
        for gap in play.script.gaps(A, RecordKind::A) {
            assert!((expected..=expected * 1.1 + 0.01).contains(&gap), "TTL {ttl} s: {gap} s");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn promise_11_a_change_is_followed_within_ttl_and_a_second() {
    let play = one_name();
    play.script.addresses(A, 60, [ip(1)]);
    let _run = play.run();
    play.pass(seconds(1)).await;
    play.script.addresses(A, 60, [ip(2)]);
    play.pass(seconds(60)).await;
    assert_eq!(play.addresses("xsp"), [at(2, 443)]);
}

#[tokio::test(start_paused = true)]
async fn promise_11_whatever_befalls_dns_the_last_good_addresses_are_kept_and_that_is_said_once() {
    for line in [
        Line::Fail(Outcome::Timeout),
        Line::Fail(Outcome::ServFail),
        Line::Fail(Outcome::Refused),
        Line::Fail(Outcome::NxDomain),
        Line::Fail(Outcome::NoRecords),
        Line::Fail(Outcome::Malformed),
        Line::Fail(Outcome::Unreachable),
        Line::Answer(60, Records::Addresses(vec![])),
        Line::Answer(60, Records::Addresses(vec![Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::BROADCAST.into()])),
        Line::Panic,
    ] {
        let play = one_name();
        play.script.addresses(A, 10, [ip(1), ip(2)]);
        let _run = play.run();
        play.pass(seconds(5)).await;
        play.script.set(A, RecordKind::A, line.clone());
        play.pass(seconds(600)).await;
        assert_eq!(play.addresses("xsp"), [at(1, 443), at(2, 443)], "{line:?}");
        assert_eq!(play.warnings("failed"), 1, "{line:?}: {:?}", play.log());

        play.script.addresses(A, 10, [ip(3)]);
        play.pass(seconds(31)).await;
        assert_eq!(play.addresses("xsp"), [at(3, 443)], "{line:?}");
        assert_eq!(play.log().iter().filter(|line| line.contains("works again")).count(), 1, "{line:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn while_an_answer_is_stale_a_failure_is_retried_after_one_second_doubled_up_to_five() {
    for line in [Line::Fail(Outcome::ServFail), Line::Fail(Outcome::NxDomain), Line::Fail(Outcome::Timeout)] {
        let play = one_name();
        play.script.addresses(A, 10, [ip(1)]);
        let _run = play.run();
        play.pass(seconds(5)).await;
        play.script.set(A, RecordKind::A, line);
        play.pass(seconds(200)).await;
        assert_gaps(&play.script.gaps(A, RecordKind::A)[1..], &[1.0, 2.0, 4.0, 5.0, 5.0, 5.0]);

        play.script.addresses(A, 10, [ip(2)]);
        play.pass(Duration::from_millis(5050)).await;
        assert_eq!(play.addresses("xsp"), [at(2, 443)], "DNS works again");
        let asked = play.script.asked_for(A, RecordKind::A);
        play.pass(seconds(95)).await;
        assert!(play.script.asked_for(A, RecordKind::A) <= asked + 10, "once per TTL");
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_nothing_in_use_depends_on_is_retried_up_to_every_thirty_seconds() {
    let play = Play::new([farm("xsp", [srv_site(SRV, DOMAIN)])]);
    play.script.targets(SRV, 300, [(1, 1, 443, "a.example.com"), (1, 1, 443, "lost.example.com")]);
    play.script.addresses("a.example.com", 300, [ip(1)]);
    let _run = play.run();
    play.pass(seconds(250)).await;
    let gaps = play.script.gaps("lost.example.com", RecordKind::A);
    assert_gaps(&gaps[gaps.len() - 4..], &[30.0, 30.0, 30.0, 30.0]);
}

fn assert_gaps(gaps: &[f64], about: &[f64]) {
    assert!(gaps.len() >= about.len(), "{gaps:?}");
    for (gap, expected) in gaps.iter().zip(about) {
        assert!((expected * 0.9..=expected + 0.01).contains(gap), "{gap} s, not about {expected} s: {gaps:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn with_dns_dead_at_the_start_endpoints_come_within_a_second_of_its_first_answer() {
    for line in [Line::Fail(Outcome::ServFail), Line::Fail(Outcome::NxDomain), Line::Silence(seconds(5))] {
        let play = one_name();
        play.script.set(A, RecordKind::A, line.clone());
        let _run = play.run();
        play.pass(Duration::from_millis(61_300)).await;
        assert_eq!(play.times_told("xsp"), 0);
        assert_eq!(play.warnings("nothing is known"), 1, "{line:?}");
        assert!(play.script.gaps(A, RecordKind::A).iter().all(|gap| *gap <= 1.01), "{line:?}");

        play.script.addresses(A, 10, [ip(1)]);
        play.pass(seconds(1) + Duration::from_millis(5)).await;
        assert_eq!(play.addresses("xsp"), [at(1, 443)], "{line:?}");

        // What was under way when the answer came must neither count as a failure nor hold the next query up.
        play.script.addresses(A, 10, [ip(2)]);
        play.pass(seconds(11)).await;
        assert_eq!(play.addresses("xsp"), [at(2, 443)], "{line:?}");
        assert_eq!(play.warnings("failed"), 1, "{line:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_site_is_made_known_at_once_and_keeps_its_place() {
    let play =
        Play::new([farm("xsp", [site(A), site(B), static_site(["192.0.2.9:8443".parse().unwrap(), at(1, 443)])])]);
    play.script.set(A, RecordKind::A, Line::Silence(seconds(5)));
    play.script.addresses(B, 60, [ip(1)]);
    let _run = play.run();
    play.pass(Duration::from_millis(10)).await;
    let known: Vec<_> =
        play.endpoints("xsp").into_iter().map(|endpoint| (endpoint.address, endpoint.tier.site)).collect();
    assert_eq!(known, [(at(1, 443), 1), (at(9, 8443), 2)], "an address belongs to the most preferred site that has it");

    play.script.addresses(A, 60, [ip(1)]);
    play.pass(seconds(2)).await;
    let known: Vec<_> =
        play.endpoints("xsp").into_iter().map(|endpoint| (endpoint.address, endpoint.tier.site)).collect();
    assert_eq!(known, [(at(1, 443), 0), (at(9, 8443), 2)]);
}

#[tokio::test(start_paused = true)]
async fn static_addresses_are_never_looked_up() {
    let play = Play::new([farm("xsp", [static_site([at(2, 443), at(1, 8443), at(2, 443)])])]);
    let _run = play.run();
    play.pass(seconds(600)).await;
    assert_eq!(play.addresses("xsp"), [at(1, 8443), at(2, 443)]);
    assert_eq!(play.script.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn r_dns_2_targets_keep_priority_weight_port_and_name() {
    let play = Play::new([farm("xsp", [srv_site(SRV, DOMAIN)])]);
    play.script.targets(
        SRV,
        60,
        [(20, 0, 443, "c.example.com"), (10, 60, 8443, "a.example.com"), (10, 40, 443, "b.example.com")],
    );
    for (name, last) in [("a", 3), ("b", 2), ("c", 1)] {
        play.script.addresses(&format!("{name}.example.com"), 60, [ip(last)]);
    }
    let _run = play.run();
    play.pass(seconds(1)).await;
    let expected = [
        (at(2, 443), 10, 40, "b.example.com"),
        (at(3, 8443), 10, 60, "a.example.com"),
        (at(1, 443), 20, 0, "c.example.com"),
    ]
    .map(|(address, priority, weight, target)| Endpoint {
        address,
        tier: Tier { site: 0, priority },
        weight: Weight::Srv(weight),
        target: Some(target.into()),
    });
    assert_eq!(play.endpoints("xsp"), expected);
    assert_eq!(play.script.asked_for(DOMAIN, RecordKind::A), 0, "no need of the domain's own addresses");
}

#[tokio::test(start_paused = true)]
async fn r_dns_2_targets_without_an_address_are_left_out_with_a_warning() {
    let play = Play::new([farm("xsp", [srv_site(SRV, DOMAIN)])]);
    play.script.targets(
        SRV,
        60,
        [(1, 1, 443, "a.example.com"), (1, 1, 443, "lost.example.com"), (1, 1, 0, "no-port.example.com")],
    );
    play.script.addresses("a.example.com", 60, [ip(1)]);
    let _run = play.run();
    play.pass(seconds(30)).await;
    assert_eq!(play.addresses("xsp"), [at(1, 443)]);
    assert_eq!(play.warnings("left out"), 1);

    play.script.addresses("lost.example.com", 60, [ip(2)]);
    play.pass(seconds(31)).await;
    assert_eq!(play.addresses("xsp"), [at(1, 443), at(2, 443)]);
}

#[tokio::test(start_paused = true)]
async fn r_dns_2_of_a_target_with_several_addresses_the_same_one_is_used_with_one_warning() {
    let play = Play::new([farm("xsp", [srv_site(SRV, DOMAIN)])]);
    play.script.targets(SRV, 60, [(1, 1, 443, "a.example.com")]);
    play.script.addresses("a.example.com", 5, [ip(2), ip(7)]);
    let _run = play.run();
    for order in [[ip(7), ip(2)], [ip(2), ip(7)], [ip(7), ip(2)]] {
        play.script.addresses("a.example.com", 5, order);
        play.pass(seconds(6)).await;
        assert_eq!(play.addresses("xsp"), [at(2, 443)]);
    }
    assert_eq!(play.warnings("several addresses"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_left_is_followed_no_longer() {
    let play = Play::new([farm("xsp", [srv_site(SRV, DOMAIN)])]);
    play.script.targets(SRV, 10, [(1, 1, 443, "a.example.com")]);
    play.script.addresses("a.example.com", 10, [ip(1)]);
    play.script.addresses("b.example.com", 10, [ip(2)]);
    let _run = play.run();
    play.pass(seconds(1)).await;
    play.script.targets(SRV, 10, [(1, 1, 443, "b.example.com")]);
    play.pass(seconds(11)).await;
    assert_eq!(play.addresses("xsp"), [at(2, 443)]);
    let asked = play.script.asked_for("a.example.com", RecordKind::A);
    play.pass(seconds(60)).await;
    assert_eq!(play.script.asked_for("a.example.com", RecordKind::A), asked);
    assert_eq!(play.status.names().len(), 2);
    assert_eq!(play.endpoints_ever_empty(), 0);
}

/// Before, then, and which endpoints there are in the end: `t` the target's, `d` the domain's own.
#[tokio::test(start_paused = true)]
async fn r_dns_3_the_domains_own_addresses_are_used_when_srv_has_no_target() {
    let targets = || Line::Answer(10, Records::Targets(vec![play::target((1, 1, 443, "a.example.com"))]));
    let dot = || Line::Answer(10, Records::Targets(vec![]));
    let fail = Line::Fail;
    let (t, d) = (at(1, 443), at(9, 443));
    let cases = [
        (targets(), targets(), t),
        (fail(Outcome::NxDomain), fail(Outcome::NxDomain), d),
        (fail(Outcome::NoRecords), fail(Outcome::NoRecords), d),
        (dot(), dot(), d),
        (targets(), fail(Outcome::NxDomain), d),
        (targets(), fail(Outcome::NoRecords), d),
        (targets(), dot(), d),
        // A look-up that merely fails changes nothing while something is known, and is as good as none at the start.
        (targets(), fail(Outcome::ServFail), t),
        (targets(), fail(Outcome::Timeout), t),
        (fail(Outcome::Timeout), fail(Outcome::Timeout), d),
        (fail(Outcome::NxDomain), fail(Outcome::ServFail), d),
        (fail(Outcome::NxDomain), targets(), t),
        (fail(Outcome::ServFail), targets(), t),
        (dot(), targets(), t),
    ];
    for (before, then, expected) in cases {
        let play = Play::new([farm("xsp", [srv_site(SRV, DOMAIN)])]);
        play.script.addresses("a.example.com", 10, [ip(1)]);
        play.script.addresses(DOMAIN, 10, [ip(9)]);
        play.script.set(SRV, RecordKind::Srv, before.clone());
        let _run = play.run();
        play.pass(seconds(5)).await;
        play.script.set(SRV, RecordKind::Srv, then.clone());
        play.pass(seconds(45)).await;
        assert_eq!(play.addresses("xsp"), [expected], "{before:?}, {then:?}");
        assert_eq!(play.status.names().len(), 2, "nothing but SRV and what is used of it is followed");
        assert_eq!(play.endpoints_ever_empty(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn r_dns_3_without_srv_both_names_are_asked_once_per_ttl_and_nobody_is_alarmed() {
    let play = Play::new([farm("xsp", [srv_site(SRV, DOMAIN)])]);
    play.script.addresses(DOMAIN, 60, [ip(9)]);
    play.script.set(SRV, RecordKind::Srv, Line::Denied(seconds(60)));
    let _run = play.run();
    play.pass(seconds(590)).await;
    assert_eq!(play.addresses("xsp"), [at(9, 443)]);
    assert_eq!(play.script.asked_for(DOMAIN, RecordKind::A), 10);
    assert!((10..=12).contains(&play.script.asked_for(SRV, RecordKind::Srv)));
    assert_eq!(play.warnings(""), 0, "{:?}", play.log());
}

#[tokio::test(start_paused = true)]
async fn when_neither_srv_nor_the_domain_answers_the_last_good_targets_are_kept_and_followed() {
    let play = Play::new([farm("xsp", [srv_site(SRV, DOMAIN)])]);
    play.script.targets(SRV, 10, [(1, 1, 443, "a.example.com")]);
    play.script.addresses("a.example.com", 10, [ip(1)]);
    let _run = play.run();
    play.pass(seconds(5)).await;
    play.script.set(SRV, RecordKind::Srv, Line::Fail(Outcome::NxDomain));
    play.pass(seconds(60)).await;
    assert_eq!(play.addresses("xsp"), [at(1, 443)]);
    play.script.addresses("a.example.com", 10, [ip(2)]);
    play.pass(seconds(11)).await;
    assert_eq!(play.addresses("xsp"), [at(2, 443)]);
}

#[tokio::test(start_paused = true)]
async fn r_top_7_only_the_families_that_are_switched_on_are_asked_for() {
    for (family, expected, a, aaaa) in [
        (AddressFamily::Ipv4, vec![ip(1)], 1, 0),
        (AddressFamily::Ipv6, vec![v6(1)], 0, 1),
        (AddressFamily::Both, vec![ip(1), v6(1)], 1, 1),
    ] {
        let play = Play::new([play::with_family(farm("xsp", [site(A)]), family)]);
        play.script.addresses(A, 60, [ip(1)]);
        play.script.set(A, RecordKind::Aaaa, Line::Answer(60, Records::Addresses(vec![v6(1)])));
        let _run = play.run();
        play.pass(seconds(10)).await;
        let known: Vec<_> = play.addresses("xsp").into_iter().map(|address| address.ip()).collect();
        assert_eq!(known, expected);
        assert_eq!(play.script.asked_for(A, RecordKind::A), a);
        assert_eq!(play.script.asked_for(A, RecordKind::Aaaa), aaaa);
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_without_one_of_two_families_is_normal() {
    let play = Play::new([play::with_family(farm("xsp", [site(A)]), AddressFamily::Both)]);
    play.script.addresses(A, 60, [ip(1)]);
    play.script.set(A, RecordKind::Aaaa, Line::Fail(Outcome::NoRecords));
    let _run = play.run();
    play.pass(seconds(600)).await;
    assert_eq!(play.addresses("xsp"), [at(1, 443)]);
    assert_eq!(play.warnings(""), 0, "{:?}", play.log());
    assert!(play.script.asked_for(A, RecordKind::Aaaa) <= 25);
}

#[tokio::test(start_paused = true)]
async fn a_family_that_a_name_gives_up_goes_unless_the_whole_name_falls_silent() {
    let play = Play::new([play::with_family(farm("xsp", [site(A)]), AddressFamily::Both)]);
    play.script.addresses(A, 10, [ip(1)]);
    play.script.set(A, RecordKind::Aaaa, Line::Answer(10, Records::Addresses(vec![v6(1)])));
    let _run = play.run();
    play.pass(seconds(5)).await;
    play.script.set(A, RecordKind::Aaaa, Line::Fail(Outcome::NoRecords));
    play.pass(seconds(30)).await;
    assert_eq!(play.addresses("xsp"), [at(1, 443)]);

    play.script.set(A, RecordKind::Aaaa, Line::Answer(10, Records::Addresses(vec![v6(1)])));
    play.pass(seconds(60)).await;
    play.script.set(A, RecordKind::A, Line::Fail(Outcome::NoRecords));
    play.script.set(A, RecordKind::Aaaa, Line::Fail(Outcome::NoRecords));
    play.pass(seconds(60)).await;
    assert_eq!(play.addresses("xsp").len(), 2, "both at once is an outage");
}

#[tokio::test(start_paused = true)]
async fn addresses_that_lead_nowhere_are_left_out() {
    let play = one_name();
    let odd = [Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, Ipv4Addr::new(224, 0, 0, 1)].map(IpAddr::from);
    play.script.addresses(A, 60, [odd[0], odd[1], odd[2], ip(1), Ipv4Addr::LOCALHOST.into()]);
    let _run = play.run();
    play.pass(seconds(1)).await;
    assert_eq!(play.addresses("xsp"), ["127.0.0.1:443".parse().unwrap(), at(1, 443)]);
}

#[tokio::test(start_paused = true)]
async fn an_enormous_answer_is_cut_with_a_warning() {
    let play = one_name();
    play.script.addresses(A, 60, (0..4000_u32).map(|n| IpAddr::from(Ipv4Addr::from(0x0a00_0001 + n))));
    let _run = play.run();
    play.pass(seconds(1)).await;
    assert_eq!(play.addresses("xsp").len(), 256);
    assert_eq!(play.warnings("more records"), 1);
}

#[tokio::test(start_paused = true)]
async fn the_status_shows_each_names_freshness_and_outcomes() {
    let play = one_name();
    play.script.addresses(A, 10, [ip(1), ip(2)]);
    let _run = play.run();
    play.pass(seconds(5)).await;
    let answered = now() - seconds(5);
    play.script.set(A, RecordKind::A, Line::Fail(Outcome::Refused));
    play.pass(Duration::from_millis(5_700)).await;
    let names = play.status.names();
    let [name] = &names[..] else { panic!("one name, not {names:?}") };
    assert_eq!((name.records, name.last_outcome), (2, Some(Outcome::Refused)));
    assert!(name.last_success.unwrap() - answered < Duration::from_millis(10));
    assert_eq!((name.counts[Outcome::Answered.index()], name.counts[Outcome::Refused.index()]), (1, 1));
    assert_eq!(play.looked_up(), [Outcome::Answered, Outcome::Refused]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_without_dns_lives_on_the_saved_answers() {
    let dir = tempfile::tempdir().unwrap();
    let farms = || [farm("xsp", [site(A), srv_site(SRV, DOMAIN), srv_site("_none._tcp.example.com", "example.net")])];
    let play = Play::with_state(farms(), dir.path());
    play.script.addresses(A, 10, [ip(1)]);
    play.script.targets(SRV, 10, [(1, 7, 8443, "a.example.com")]);
    play.script.addresses("a.example.com", 10, [ip(2)]);
    play.script.set("_none._tcp.example.com", RecordKind::Srv, Line::Fail(Outcome::NxDomain));
    play.script.addresses("example.net", 10, [ip(3)]);
    let run = play.run();
    play.pass(seconds(30)).await;
    let before = play.endpoints("xsp");
    assert_eq!(before.len(), 3);
    drop(run);

    let play = Play::with_state(farms(), dir.path());
    play.script.fail_all(Outcome::Timeout);
    let _run = play.run();
    play.pass(Duration::from_millis(5)).await;
    assert_eq!(play.endpoints("xsp"), before, "before any look-up has ended");
    play.pass(seconds(60)).await;
    assert_eq!((play.endpoints("xsp"), play.times_told("xsp")), (before, 1));

    play.script.addresses(A, 10, [ip(4)]);
    play.pass(seconds(31)).await;
    assert_eq!(play.addresses("xsp")[0], at(4, 443));
}

#[tokio::test(start_paused = true)]
async fn a_file_of_no_use_is_ignored_with_a_warning_and_replaced() {
    let right = r#"{"version":1,"names":[{"name":"xsp.example.com","type":"A","addresses":["192.0.2.1"]}]}"#;
    let cases = [
        (right.to_owned(), 0, 1),
        (String::new(), 1, 0),
        (right[..40].to_owned(), 1, 0),
        (right.replace("\"version\":1", "\"version\":2"), 1, 0),
        (right.replace("192.0.2.1", "192.0.2.x"), 1, 0),
        ("[]".to_owned(), 1, 0),
        ("x".repeat(5 << 20), 1, 0),
    ];
    for (content, warnings, known) in cases {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(state::FILE), &content).unwrap();
        let play = Play::with_state([farm("xsp", [site(A)])], dir.path());
        let start = &content[..content.len().min(60)];
        assert_eq!(play.warnings("not used"), warnings, "{start}");
        play.script.set(A, RecordKind::A, Line::Silence(seconds(5)));
        let _run = play.run();
        play.pass(Duration::from_millis(5)).await;
        assert_eq!(play.times_told("xsp"), known, "{start}");

        play.script.addresses(A, 60, [ip(2)]);
        play.pass(seconds(10)).await;
        let saved = state::load(dir.path()).unwrap();
        assert_eq!(saved.0[&Question::new(A, RecordKind::A)].records, Some(Records::Addresses(vec![ip(2)])), "{start}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left behind");
    }
}

#[tokio::test(start_paused = true)]
async fn a_state_dir_that_cant_be_written_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let play = Play::with_state([farm("xsp", [site(A)])], &file.join("below"));
    play.script.addresses(A, 10, [ip(1)]);
    let _run = play.run();
    play.pass(seconds(60)).await;
    assert_eq!(play.addresses("xsp"), [at(1, 443)]);
    assert!(play.warnings("can't be saved") >= 1);
}

#[tokio::test(start_paused = true)]
async fn look_ups_end_with_the_discovery() {
    let play = one_name();
    play.script.addresses(A, 1, [ip(1)]);
    let run = play.run();
    play.pass(seconds(5)).await;
    drop(run);
    play.pass(seconds(1)).await;
    let asked = play.script.asked();
    play.pass(seconds(60)).await;
    assert_eq!(play.script.asked(), asked);
}

#[tokio::test(start_paused = true)]
async fn a_farm_that_changes_keeps_what_it_has_until_there_is_something_else() {
    let play = Play::new([farm("xsp", [site(A), static_site([at(9, 443)])]), farm("dms", [site(A)])]);
    play.script.addresses(A, 60, [ip(1)]);
    let _run = play.run();
    play.pass(seconds(1)).await;
    assert_eq!(play.addresses("xsp"), [at(1, 443), at(9, 443)]);
    let said = || (play.script.asked(), play.times_told("xsp"));
    let before = said();

    // Nothing that is needed has changed: nobody is asked, and nothing is told.
    play.follow([farm("xsp", [site(A), static_site([at(9, 443)])]), farm("dms", [site(A)])]);
    play.pass(seconds(1)).await;
    assert_eq!(said(), before);

    // Another name, which is not answered at first.
    play.script.set(B, RecordKind::A, Line::Fail(Outcome::Timeout));
    play.follow([farm("xsp", [site(B), static_site([at(8, 443)])]), farm("new", [static_site([at(7, 443)])])]);
    play.pass(seconds(1)).await;
    assert_eq!(play.addresses("xsp"), [at(1, 443), at(8, 443)]);
    assert_eq!(play.addresses("new"), [at(7, 443)]);
    play.script.addresses(B, 60, [ip(2)]);
    play.pass(seconds(60)).await;
    assert_eq!(play.addresses("xsp"), [at(2, 443), at(8, 443)]);
    assert_eq!(play.endpoints_ever_empty(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_comes_and_goes_with_the_answers_has_not_left() {
    let play = one_name();
    play.script.addresses(A, 5, [ip(1), ip(2)]);
    let _run = play.run();
    play.pass(seconds(1)).await;
    for turn in 0..20 {
        let lacking = turn % 3 + 1;
        play.script.addresses(A, 5, [1, 2, 3].into_iter().filter(|&last| last != lacking).map(ip));
        play.pass(seconds(6)).await;
        assert!(!play.addresses("xsp").contains(&at(lacking, 443)), "it gets no new sessions");
        assert!(play.missing().contains(&at(lacking, 443)) || turn == 2, "{turn}: its sessions stay");
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_that_stays_away_leaves_after_thirty_seconds_or_its_ttl() {
    for (ttl, grace) in [(5, 30), (120, 120)] {
        let play = one_name();
        play.script.addresses(A, ttl, [ip(1), ip(2)]);
        let _run = play.run();
        play.pass(seconds(1)).await;
        play.script.addresses(A, ttl, [ip(1)]);
        play.pass(seconds(ttl)).await;
        assert_eq!((play.addresses("xsp"), play.missing()), (vec![at(1, 443)], vec![at(2, 443)]));
        play.pass(seconds(grace - 3)).await;
        assert_eq!(play.missing(), [at(2, 443)]);
        play.pass(seconds(4)).await;
        assert_eq!((play.addresses("xsp"), play.missing()), (vec![at(1, 443)], vec![]));
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_operator_takes_out_leaves_at_once() {
    let play = Play::new([farm("xsp", [site(A)])]);
    play.script.addresses(A, 5, [ip(1)]);
    play.script.addresses(B, 5, [ip(2)]);
    let _run = play.run();
    play.pass(seconds(1)).await;
    play.follow([farm("xsp", [site(B)])]);
    play.pass(seconds(1)).await;
    assert_eq!((play.addresses("xsp"), play.missing()), (vec![at(2, 443)], vec![]));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_cut_off_adds_and_removes_nothing() {
    let play = one_name();
    play.script.addresses(A, 5, [ip(1), ip(2)]);
    let _run = play.run();
    play.pass(seconds(1)).await;
    play.script.set(A, RecordKind::A, Line::Part(5, Records::Addresses(vec![ip(2), ip(3)])));
    play.pass(seconds(6)).await;
    assert_eq!(play.addresses("xsp"), [at(1, 443), at(2, 443), at(3, 443)]);
    play.script.addresses(A, 5, [ip(2), ip(3)]);
    play.pass(seconds(6)).await;
    assert_eq!(play.addresses("xsp"), [at(2, 443), at(3, 443)]);

    let play = Play::new([farm("xsp", [srv_site(SRV, DOMAIN)])]);
    play.script.targets(SRV, 5, [(1, 1, 443, "a.example.com"), (1, 1, 443, "b.example.com")]);
    play.script.addresses("a.example.com", 60, [ip(1)]);
    play.script.addresses("b.example.com", 60, [ip(2)]);
    let _run = play.run();
    play.pass(seconds(1)).await;
    let part = Records::Targets(vec![play::target((2, 1, 443, "a.example.com"))]);
    play.script.set(SRV, RecordKind::Srv, Line::Part(5, part));
    play.pass(seconds(6)).await;
    let tiers: Vec<_> =
        play.endpoints("xsp").iter().map(|endpoint| (endpoint.address, endpoint.tier.priority)).collect();
    assert_eq!(tiers, [(at(2, 443), 1), (at(1, 443), 2)], "what it says of a target counts");
}

#[tokio::test(start_paused = true)]
async fn where_srv_says_that_the_service_is_not_offered_the_domains_own_addresses_are_not_used() {
    let play = Play::new([farm("xsp", [srv_site(SRV, DOMAIN), site(B)])]);
    play.script.targets(SRV, 5, [(1, 1, 443, "a.example.com")]);
    play.script.addresses("a.example.com", 60, [ip(1)]);
    play.script.addresses(DOMAIN, 60, [ip(9)]);
    play.script.addresses(B, 60, [ip(2)]);
    let _run = play.run();
    play.pass(seconds(1)).await;
    assert_eq!(play.addresses("xsp"), [at(1, 443), at(2, 443)]);
    play.script.set(SRV, RecordKind::Srv, Line::Fail(Outcome::NoService));
    play.pass(seconds(6)).await;
    assert_eq!(play.addresses("xsp"), [at(2, 443)]);
    assert_eq!(play.warnings("the service is not offered here"), 1);
    play.script.fail_all(Outcome::ServFail);
    play.pass(seconds(600)).await;
    assert_eq!(play.addresses("xsp"), [at(2, 443)], "a failure takes nothing back");
    assert_eq!(play.script.asked_for(DOMAIN, RecordKind::A), 0);
    assert!(play.script.asked_for(SRV, RecordKind::Srv) < 60, "nothing starves");

    play.script.addresses(B, 60, [ip(2)]);
    play.script.targets(SRV, 5, [(1, 1, 443, "a.example.com")]);
    play.pass(seconds(40)).await;
    assert_eq!(play.addresses("xsp"), [at(1, 443), at(2, 443)], "it is offered again");
}

#[tokio::test(start_paused = true)]
async fn a_farm_whose_only_service_is_not_offered_any_more_keeps_its_last_good_xsps_with_an_error() {
    let play = Play::new([farm("xsp", [srv_site(SRV, DOMAIN)])]);
    play.script.targets(SRV, 5, [(1, 1, 443, "a.example.com")]);
    play.script.addresses("a.example.com", 60, [ip(1)]);
    play.script.addresses(DOMAIN, 60, [ip(9)]);
    let _run = play.run();
    play.pass(seconds(1)).await;
    play.script.set(SRV, RecordKind::Srv, Line::Fail(Outcome::NoService));
    play.pass(seconds(60)).await;
    assert_eq!(play.addresses("xsp"), [at(1, 443)]);
    let errors = || play.log().iter().filter(|line| line.contains("ERROR") && line.contains("last good")).count();
    assert_eq!(errors(), 1);
    play.script.targets(SRV, 5, [(1, 1, 443, "a.example.com")]);
    play.pass(seconds(60)).await;
    play.script.set(SRV, RecordKind::Srv, Line::Fail(Outcome::NoService));
    play.pass(seconds(60)).await;
    assert_eq!(errors(), 2, "each time");
}
