use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use super::*;
use crate::discover::tests::play;
use crate::discover::{Discovery, Event, Outcome};
use crate::policy::srv::Target;
use crate::sim::dns::{Fault, Nameserver, Transport, Zones};

const NAME: &str = "xsp.example.com";
const TARGETS: &str = "_xsi-client._tcp.example.com";

fn resolver(servers: &[SocketAddr], timeout: Duration) -> DnsResolver {
    DnsResolver::new(&Dns {
        servers: servers.to_vec(),
        timeout,
        min_ttl: Duration::from_secs(1),
        max_ttl: Duration::from_secs(300),
        forget_after: Duration::from_secs(30),
    })
}

/// A DNS server, and a resolver that asks it with patience.
async fn pair() -> (Nameserver, DnsResolver) {
    let nameserver = Nameserver::start().await.unwrap();
    let resolver = resolver(&[nameserver.address()], Duration::from_secs(10));
    (nameserver, resolver)
}

async fn look_up(resolver: &DnsResolver, name: &str, kind: RecordKind) -> Result<Answer, ResolveError> {
    resolver.look_up(&Question::new(name, kind)).await
}

fn v4(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

fn sorted(answer: &Answer) -> Vec<IpAddr> {
    let mut addresses = answer.records.addresses().to_vec();
    addresses.sort();
    addresses
}

#[tokio::test]
async fn r_dns_1_the_addresses_of_a_name_come_with_their_ttl() {
    let (nameserver, resolver) = pair().await;
    let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    nameserver.zones().set_a(NAME, 60, [v4(1), v4(2), v6]);
    let answer = look_up(&resolver, NAME, RecordKind::A).await.unwrap();
    assert_eq!((sorted(&answer), answer.ttl), (vec![v4(1), v4(2)], Duration::from_secs(60)));
    let answer = look_up(&resolver, NAME, RecordKind::Aaaa).await.unwrap();
    assert_eq!(sorted(&answer), [v6]);
    assert_eq!(nameserver.zones().queries_over(NAME, "A", Transport::Udp), 1);
    assert_eq!(nameserver.zones().queries_over(NAME, "A", Transport::Tcp), 0);
}

#[tokio::test]
async fn r_dns_2_targets_come_with_priority_weight_and_port() {
    let (nameserver, resolver) = pair().await;
    nameserver.zones().set_srv(TARGETS, 30, [(10, 5, 8443, "XSP1.example.com."), (20, 0, 443, ".")]);
    let answer = look_up(&resolver, TARGETS, RecordKind::Srv).await.unwrap();
    assert_eq!(answer.records.targets(), [Target::new(10, 5, 8443, "xsp1.example.com").unwrap()]);
    assert_eq!(answer.ttl, Duration::from_secs(30));

    nameserver.zones().set_srv(TARGETS, 30, [(0, 0, 0, ".")]);
    let error = look_up(&resolver, TARGETS, RecordKind::Srv).await.unwrap_err();
    assert_eq!((error.outcome(), error.negative_ttl()), (Outcome::NoService, Some(Duration::from_secs(30))));
}

#[tokio::test]
async fn nothing_is_cached_below_discovery() {
    let (nameserver, resolver) = pair().await;
    nameserver.zones().set_a(NAME, 3600, [v4(1)]);
    look_up(&resolver, NAME, RecordKind::A).await.unwrap();
    nameserver.zones().set_a(NAME, 3600, [v4(2)]);
    let answer = look_up(&resolver, NAME, RecordKind::A).await.unwrap();
    assert_eq!(sorted(&answer), [v4(2)]);
}

#[tokio::test]
async fn a_truncated_answer_is_fetched_over_tcp() {
    let (nameserver, resolver) = pair().await;
    nameserver.zones().set_a(NAME, 60, [v4(1)]);
    nameserver.zones().set_fault(Fault::Truncate);
    let answer = look_up(&resolver, NAME, RecordKind::A).await.unwrap();
    assert_eq!(sorted(&answer), [v4(1)]);
    assert_eq!(nameserver.zones().queries_over(NAME, "A", Transport::Udp), 1);
    assert_eq!(nameserver.zones().queries_over(NAME, "A", Transport::Tcp), 1);
}

#[tokio::test]
async fn an_answer_too_large_for_udp_arrives_whole() {
    let (nameserver, resolver) = pair().await;
    let addresses: Vec<IpAddr> = (0..250).map(v4).collect();
    nameserver.zones().set_a(NAME, 60, addresses.clone());
    let answer = look_up(&resolver, NAME, RecordKind::A).await.unwrap();
    assert_eq!(sorted(&answer), addresses);
    assert_eq!(nameserver.zones().queries_over(NAME, "A", Transport::Tcp), 1);
}

#[tokio::test]
async fn aliases_are_followed_and_the_shortest_ttl_counts() {
    let (nameserver, resolver) = pair().await;
    nameserver.zones().set_alias("www.example.com", 20, "other.example.com");
    nameserver.zones().set_alias("other.example.com", 10, NAME);
    nameserver.zones().set_a(NAME, 60, [v4(1)]);
    let answer = look_up(&resolver, "www.example.com", RecordKind::A).await.unwrap();
    assert_eq!((sorted(&answer), answer.ttl), (vec![v4(1)], Duration::from_secs(10)));

    nameserver.zones().set_alias("_alias._tcp.example.com", 10, TARGETS);
    nameserver.zones().set_srv(TARGETS, 60, [(1, 1, 443, NAME)]);
    let answer = look_up(&resolver, "_alias._tcp.example.com", RecordKind::Srv).await.unwrap();
    assert_eq!((answer.records.len(), answer.ttl), (1, Duration::from_secs(10)));
}

#[tokio::test]
async fn aliases_in_a_circle_end() {
    let (nameserver, resolver) = pair().await;
    nameserver.zones().set_alias("a.example.com", 20, "b.example.com");
    nameserver.zones().set_alias("b.example.com", 20, "a.example.com");
    let error = look_up(&resolver, "a.example.com", RecordKind::A).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Malformed);
}

#[tokio::test]
async fn each_way_to_fail_is_told_apart() {
    let (nameserver, patient) = pair().await;
    let hasty = resolver(&[nameserver.address()], Duration::from_millis(200));
    let zones = nameserver.zones();
    zones.set_a(NAME, 60, [v4(1)]);
    zones.empty("empty.example.com");
    let cases = [
        (Fault::None, "gone.example.com", &patient, Outcome::NxDomain),
        (Fault::None, "empty.example.com", &patient, Outcome::NoRecords),
        (Fault::ServFail, NAME, &patient, Outcome::ServFail),
        (Fault::Refused, NAME, &patient, Outcome::Refused),
        (Fault::Garbage, NAME, &patient, Outcome::Malformed),
        (Fault::Silent, NAME, &hasty, Outcome::Timeout),
        (Fault::WrongId, NAME, &hasty, Outcome::Timeout),
    ];
    for (fault, name, resolver, expected) in cases {
        zones.set_fault(fault);
        let error = look_up(resolver, name, RecordKind::A).await.unwrap_err();
        assert_eq!(error.outcome(), expected, "{fault:?} of {name}: {error}");
    }
}

#[tokio::test]
async fn a_definite_none_says_how_long_it_holds() {
    let (nameserver, resolver) = pair().await;
    nameserver.zones().set_negative_ttl(7);
    nameserver.zones().empty("empty.example.com");
    for name in ["gone.example.com", "empty.example.com"] {
        let error = look_up(&resolver, name, RecordKind::A).await.unwrap_err();
        assert_eq!(error.negative_ttl(), Some(Duration::from_secs(7)), "{name}");
    }
}

#[tokio::test]
async fn the_next_server_is_asked_when_one_fails_and_is_then_preferred() {
    let (broken, sound) = (Nameserver::start().await.unwrap(), Nameserver::start().await.unwrap());
    broken.zones().set_fault(Fault::ServFail);
    sound.zones().set_a(NAME, 60, [v4(1)]);
    let resolver = resolver(&[broken.address(), sound.address()], Duration::from_secs(10));
    for _ in 0..3 {
        look_up(&resolver, NAME, RecordKind::A).await.unwrap();
    }
    assert_eq!(broken.zones().queries(NAME, "A"), 2, "with EDNS, and without");
    assert_eq!(sound.zones().queries(NAME, "A"), 3);
}

#[tokio::test]
async fn a_definite_none_is_not_asked_elsewhere() {
    let (first, second) = (Nameserver::start().await.unwrap(), Nameserver::start().await.unwrap());
    second.zones().set_a(NAME, 60, [v4(1)]);
    let resolver = resolver(&[first.address(), second.address()], Duration::from_secs(10));
    let error = look_up(&resolver, NAME, RecordKind::A).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::NxDomain);
    assert_eq!(second.zones().queries(NAME, "A"), 0);
}

#[tokio::test]
async fn a_server_that_comes_back_is_asked_again() {
    let nameserver = Nameserver::start().await.unwrap();
    nameserver.zones().set_a(NAME, 60, [v4(1)]);
    let (address, zones): (_, Zones) = (nameserver.address(), nameserver.zones().clone());
    let resolver = resolver(&[address], Duration::from_secs(10));
    look_up(&resolver, NAME, RecordKind::A).await.unwrap();
    nameserver.stop().await;
    let _again = Nameserver::start_at(address, zones).await.unwrap();
    look_up(&resolver, NAME, RecordKind::A).await.unwrap();
}

#[tokio::test]
async fn the_system_file_is_read_again_when_it_changes_and_remembered_when_it_breaks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("resolv.conf");
    let servers = Servers::system(path.clone());
    let outcome = |error: ResolveError| error.outcome();
    assert_eq!(servers.current().await.map_err(outcome), Err(Outcome::Unreachable));

    std::fs::write(&path, "search example.com\noptions ndots:5\nnameserver 192.0.2.1\nnameserver 2001:db8::1\n")
        .unwrap();
    let expected: [SocketAddr; 2] = ["192.0.2.1:53".parse().unwrap(), "[2001:db8::1]:53".parse().unwrap()];
    assert_eq!(*servers.current().await.unwrap(), expected);

    std::fs::write(&path, "nameserver 192.0.2.9\n").unwrap();
    let later = SystemTime::now() + Duration::from_secs(5);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
    let expected: [SocketAddr; 1] = ["192.0.2.9:53".parse().unwrap()];
    assert_eq!(*servers.current().await.unwrap(), expected);

    std::fs::remove_file(&path).unwrap();
    assert_eq!(*servers.current().await.unwrap(), expected);
}

/// Waits until a condition on the newest endpoints holds.
async fn eventually(
    seen: &mut tokio::sync::watch::Receiver<Vec<SocketAddr>>,
    within: Duration,
    condition: impl FnMut(&Vec<SocketAddr>) -> bool,
) {
    let waited = tokio::time::timeout(within, seen.wait_for(condition)).await.map(|found| found.is_ok());
    assert_eq!(waited, Ok(true), "still {:?}", seen.borrow());
}

#[tokio::test]
async fn promise_11_over_real_dns_changes_are_followed_and_an_outage_is_survived() {
    let nameserver = Nameserver::start().await.unwrap();
    let zones = nameserver.zones().clone();
    zones.set_srv(TARGETS, 1, [(1, 1, 8443, "a.example.com")]);
    zones.set_a("a.example.com", 1, [v4(1)]);
    let dns = Dns {
        servers: vec![nameserver.address()],
        timeout: Duration::from_millis(500),
        min_ttl: Duration::from_secs(1),
        max_ttl: Duration::from_secs(300),
        forget_after: Duration::from_secs(30),
    };
    let farm = play::farm("xsp", [play::srv_site(TARGETS, "example.com"), play::site(NAME)]);
    let discovery = Discovery::new(&dns, [Arc::new(farm)], None, None);
    let (sender, mut seen) = tokio::sync::watch::channel(Vec::new());
    let (_, unchanged) = tokio::sync::mpsc::unbounded_channel();
    let run = tokio::spawn(discovery.run(DnsResolver::new(&dns), unchanged, move |event| {
        if let Event::Endpoints { endpoints, .. } = event {
            sender.send_replace(endpoints.iter().map(|endpoint| endpoint.address).collect());
        }
    }));
    let (first, moved, second) =
        (SocketAddr::new(v4(1), 8443), SocketAddr::new(v4(2), 8443), SocketAddr::new(v4(3), 443));
    eventually(&mut seen, Duration::from_secs(5), |now| *now == [first]).await;

    // The second site's name did not exist until now.
    zones.set_a(NAME, 60, [v4(3)]);
    zones.set_a("a.example.com", 1, [v4(2)]);
    eventually(&mut seen, Duration::from_secs(5), |now| *now == [moved, second]).await;

    zones.set_fault(Fault::Silent);
    zones.set_a("a.example.com", 1, [v4(1)]);
    let asked = zones.queries("a.example.com", "A");
    let more = async {
        while zones.queries("a.example.com", "A") < asked + 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), more).await.unwrap();
    assert_eq!(*seen.borrow(), [moved, second]);

    zones.set_fault(Fault::None);
    eventually(&mut seen, Duration::from_secs(10), |now| *now == [first, second]).await;
    run.abort();
}

#[tokio::test]
async fn each_query_has_an_id_a_port_and_a_case_of_its_own() {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let resolver = resolver(&[socket.local_addr().unwrap()], Duration::from_millis(50));
    let [mut ids, mut ports, mut names] = [const { BTreeSet::new() }; 3];
    for _ in 0..4 {
        look_up(&resolver, "a-rather-long-name-for-an-xsp.example.com", RecordKind::A).await.unwrap_err();
        let mut query = [0; 512];
        let (length, peer) = socket.recv_from(&mut query).await.unwrap();
        ids.insert(query[..2].to_vec());
        ports.insert(peer.port().to_be_bytes().to_vec());
        names.insert(query[12..length].to_vec());
        // What was sent after it.
        while socket.try_recv(&mut query).is_ok() {}
    }
    assert!(ids.len() >= 3 && ports.len() >= 3 && names.len() >= 3, "{ids:?}, {ports:?}, {names:?}");
}

#[tokio::test]
async fn servers_that_know_no_edns_are_asked_without_and_remembered() {
    let faults = [
        Fault::EdnsFormErr,
        Fault::EdnsHeaderAlone,
        Fault::EdnsNotImp,
        Fault::EdnsServFail,
        Fault::EdnsSilent,
        Fault::EdnsTwice,
    ];
    for fault in faults {
        let (nameserver, resolver) = pair().await;
        nameserver.zones().set_a(NAME, 60, [v4(1)]);
        nameserver.zones().set_fault(fault);
        let answer = look_up(&resolver, NAME, RecordKind::A).await.unwrap();
        assert_eq!(sorted(&answer), [v4(1)], "{fault:?}");
        let asked = nameserver.zones().queries(NAME, "A");
        look_up(&resolver, NAME, RecordKind::A).await.unwrap();
        assert_eq!(nameserver.zones().queries(NAME, "A"), asked + 1, "{fault:?} is remembered");
    }
}

#[tokio::test]
async fn servers_that_lose_the_case_of_names_are_asked_in_lower_case_and_remembered() {
    for (fault, first) in [(Fault::LowerCase, 2), (Fault::CaseSensitive, 2)] {
        let (nameserver, resolver) = pair().await;
        nameserver.zones().set_a(NAME, 60, [v4(1)]);
        nameserver.zones().set_fault(fault);
        for asked in [first, first + 1] {
            let answer = look_up(&resolver, NAME, RecordKind::A).await.unwrap();
            assert_eq!(sorted(&answer), [v4(1)], "{fault:?}");
            assert_eq!(nameserver.zones().queries_over(NAME, "A", Transport::Udp), asked, "{fault:?}");
            assert_eq!(nameserver.zones().queries_over(NAME, "A", Transport::Tcp), 0, "{fault:?}");
        }
    }
}

#[tokio::test]
async fn that_there_is_none_is_asked_twice_of_a_server_that_is_not_known_yet_and_once_afterwards() {
    let (nameserver, resolver) = pair().await;
    for asked in [2, 3] {
        look_up(&resolver, NAME, RecordKind::A).await.unwrap_err();
        assert_eq!(nameserver.zones().queries(NAME, "A"), asked);
    }
}

#[tokio::test]
async fn an_answer_that_does_not_repeat_the_question_is_fetched_over_tcp() {
    let (nameserver, resolver) = pair().await;
    nameserver.zones().set_a(NAME, 60, [v4(1)]);
    nameserver.zones().set_fault(Fault::NoQuestion);
    assert_eq!(sorted(&look_up(&resolver, NAME, RecordKind::A).await.unwrap()), [v4(1)]);
    assert_eq!(nameserver.zones().queries_over(NAME, "A", Transport::Tcp), 1);
}

#[tokio::test]
async fn what_a_truncated_answer_holds_is_used_where_there_is_no_tcp() {
    for (fault, held) in [(Fault::Half, 2), (Fault::HalfAndSome, 1)] {
        let nameserver = Nameserver::start().await.unwrap();
        let resolver = resolver(&[nameserver.address()], Duration::from_secs(1));
        nameserver.zones().set_a(NAME, 60, [v4(1), v4(2), v4(3), v4(4)]);
        nameserver.zones().set_fault(fault);
        let answer = look_up(&resolver, NAME, RecordKind::A).await.unwrap();
        assert_eq!((answer.records.len(), answer.extent), (held, Extent::Part), "{fault:?}");
    }
}

#[tokio::test]
async fn a_server_that_gives_the_whole_answer_is_preferred_to_one_that_cuts_it() {
    let (short, whole) = (Nameserver::start().await.unwrap(), Nameserver::start().await.unwrap());
    [&short, &whole].iter().for_each(|server| server.zones().set_a(NAME, 60, [v4(1), v4(2)]));
    short.zones().set_fault(Fault::Half);
    let resolver = resolver(&[short.address(), whole.address()], Duration::from_millis(600));
    let answer = look_up(&resolver, NAME, RecordKind::A).await.unwrap();
    assert_eq!((sorted(&answer), answer.extent), (vec![v4(1), v4(2)], Extent::Whole));
}

#[tokio::test]
async fn a_truncated_answer_that_holds_nothing_names_its_server() {
    let nameserver = Nameserver::start().await.unwrap();
    let resolver = resolver(&[nameserver.address()], Duration::from_millis(600));
    nameserver.zones().set_a(NAME, 60, [v4(1)]);
    nameserver.zones().set_fault(Fault::HalfAndSome);
    let error = look_up(&resolver, NAME, RecordKind::A).await.unwrap_err();
    let expected = format!("{}: its answer is malformed: it is cut short over UDP", nameserver.address());
    assert!(error.to_string().contains(&expected), "{error}");
}

#[tokio::test]
async fn a_server_that_names_another_one_has_not_said_that_there_is_none() {
    let (lame, sound) = (Nameserver::start().await.unwrap(), Nameserver::start().await.unwrap());
    lame.zones().set_fault(Fault::Referral);
    sound.zones().set_a(NAME, 60, [v4(1)]);
    let resolver = resolver(&[lame.address(), sound.address()], Duration::from_secs(10));
    assert_eq!(sorted(&look_up(&resolver, NAME, RecordKind::A).await.unwrap()), [v4(1)]);
}

#[tokio::test]
async fn what_cannot_be_read_behind_the_records_is_left_alone() {
    let (nameserver, resolver) = pair().await;
    nameserver.zones().set_a(NAME, 60, [v4(1)]);
    nameserver.zones().set_fault(Fault::Trailing);
    assert_eq!(sorted(&look_up(&resolver, NAME, RecordKind::A).await.unwrap()), [v4(1)]);
}
