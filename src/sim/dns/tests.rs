use std::net::{IpAddr, Ipv4Addr};

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RData, RecordType};

use super::*;

fn query(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.to_vec().unwrap()
}

fn ask(zones: &Zones, transport: Transport) -> Message {
    Message::from_vec(&zones.answer(&query("a.example.com.", RecordType::A), transport).unwrap()).unwrap()
}

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

#[test]
fn answers_rotate() {
    let zones = Zones::default();
    zones.set_a("A.example.com.", 1, [address(1), address(2)]);
    let first = |message: Message| message.answers[0].data.clone();
    let (one, other) = (first(ask(&zones, Transport::Udp)), first(ask(&zones, Transport::Udp)));
    assert_ne!(one, other);
    assert!(matches!(one, RData::A(_)));
}

#[test]
fn queries_are_counted_by_name_type_and_transport_even_when_silent() {
    let zones = Zones::default();
    zones.set_fault(Fault::Silent);
    assert_eq!(zones.answer(&query("a.example.com.", RecordType::A), Transport::Udp), None);
    assert_eq!(zones.queries_over("A.example.com", "A", Transport::Udp), 1);
    assert_eq!(zones.queries_over("a.example.com", "A", Transport::Tcp), 0);
    assert_eq!(zones.queries("a.example.com", "AAAA"), 0);
}

#[test]
fn a_large_answer_is_truncated_over_udp_alone() {
    let zones = Zones::default();
    zones.set_a("a.example.com", 1, (0..100).map(address));
    assert!(ask(&zones, Transport::Udp).truncation);
    let whole = ask(&zones, Transport::Tcp);
    assert!(!whole.truncation);
    assert_eq!(whole.answers.len(), 100);
}

#[test]
fn a_fault_may_concern_one_name() {
    let zones = Zones::default();
    zones.set_a("a.example.com", 1, [address(1)]);
    zones.set_fault_of("b.example.com", Fault::Silent);
    assert_eq!(ask(&zones, Transport::Udp).answers.len(), 1);
    assert_eq!(zones.answer(&query("b.example.com.", RecordType::A), Transport::Udp), None);
}

#[test]
fn what_is_no_query_is_ignored() {
    assert_eq!(Zones::default().answer(b"\x16\x03\x01", Transport::Udp), None);
}

#[tokio::test]
async fn a_stopped_server_frees_its_port() {
    let nameserver = Nameserver::start().await.unwrap();
    let (address, zones) = (nameserver.address(), nameserver.zones().clone());
    nameserver.stop().await;
    let again = Nameserver::start_at(address, zones).await.unwrap();
    assert_eq!(again.address(), address);
}
