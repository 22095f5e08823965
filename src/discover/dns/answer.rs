//! What an answer says. Separate from how it was got, so that it can be read byte by byte without a server.

use std::time::Duration;

use hickory_resolver::proto::op::{DnsResponse, Message, ResponseCode};
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::discover::resolve::{Answer, Extent, RecordKind, Records, ResolveError};
use crate::policy::srv::Target;

/// Aliases within one answer.
const LINKS: usize = 16;
/// A message's header.
const HEADER: usize = 12;
/// Most records that are looked for in an answer that ends within one.
const CUT_RECORDS: u16 = 512;

/// What one query brought.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    Answer(Answer),
    /// Aliases that end at another name, of which the answer holds no record.
    Alias {
        name: Name,
        ttl: Duration,
    },
}

/// The message in `bytes`. What can't be read behind the answer's records is left out: nothing there is needed.
pub(super) fn parse(bytes: &[u8]) -> Result<DnsResponse, ResolveError> {
    let whole = DnsResponse::from_buffer(bytes.to_vec());
    let error = match whole {
        Ok(message) => return Ok(message),
        Err(error) => error,
    };
    let answers = bytes.get(6..8).map_or(0, |count| u16::from_be_bytes([count[0], count[1]]));
    let alone = with_answers(bytes, answers).filter(|message| !message.answers.is_empty());
    alone.ok_or_else(|| ResolveError::Malformed(error.into()))
}

/// The records that an answer holds whole although it was cut off, maybe within a record.
pub(super) fn salvage(bytes: &[u8]) -> Option<DnsResponse> {
    let answers = u16::from_be_bytes([*bytes.get(6)?, *bytes.get(7)?]).min(CUT_RECORDS);
    (1..=answers).rev().find_map(|count| with_answers(bytes, count))
}

/// The message as if it held so many answers, and nothing behind them.
fn with_answers(bytes: &[u8], count: u16) -> Option<DnsResponse> {
    let mut bytes = bytes.to_vec();
    let counts = bytes.get_mut(6..HEADER)?;
    counts.copy_from_slice(&[0; HEADER - 6]);
    counts[..2].copy_from_slice(&count.to_be_bytes());
    DnsResponse::from_buffer(bytes).ok()
}

/// The records of the question's type at the end of the aliases that begin at its name; whatever else the answer holds
/// is left alone.
pub(super) fn read(message: &DnsResponse, name: &Name, kind: RecordKind) -> Result<Reply, ResolveError> {
    let code = message.response_code;
    if code == ResponseCode::Refused {
        return Err(ResolveError::Refused);
    }
    if code != ResponseCode::NoError && code != ResponseCode::NXDomain {
        return Err(ResolveError::ServFail(code.to_str().into()));
    }
    let (end, ttl) = follow_aliases(message, name)?;
    let fits = |record: &&Record| record.name == end && record.record_type() == record_type(kind);
    let found: Vec<&Record> = ours(message).filter(fits).collect();
    let records = match kind {
        RecordKind::A | RecordKind::Aaaa => {
            Records::Addresses(found.iter().filter_map(|record| record.data.ip_addr()).collect())
        }
        RecordKind::Srv => Records::Targets(found.iter().filter_map(|record| target(&record.data)).collect()),
    };
    let ttl = found.iter().map(|record| seconds(record)).fold(ttl, u32::min);
    let ttl = Duration::from_secs(ttl.into());
    if !records.is_empty() {
        let extent = if message.truncation { Extent::Part } else { Extent::Whole };
        return Ok(Reply::Answer(Answer { records, ttl, extent }));
    }
    if found.iter().any(|record| is_no_service(&record.data)) {
        return Err(ResolveError::NoService { ttl: Some(ttl) });
    }
    if !found.is_empty() {
        return Err(ResolveError::NoRecords { ttl: Some(ttl) });
    }
    let negative_ttl = message.negative_ttl().map(|ttl| Duration::from_secs(ttl.into()));
    if message.response_code == ResponseCode::NXDomain {
        return Err(ResolveError::NxDomain { ttl: negative_ttl });
    }
    if end != *name && negative_ttl.is_none() {
        return Ok(Reply::Alias { name: end, ttl });
    }
    let names_others = message.authorities.iter().any(|record| record.record_type() == RecordType::NS);
    if names_others && negative_ttl.is_none() && !message.authoritative {
        return Err(ResolveError::ServFail("with other servers' names: it does not resolve names for others".into()));
    }
    Err(ResolveError::NoRecords { ttl: negative_ttl })
}

/// Where the aliases lead, and the shortest TTL on the way (in seconds).
fn follow_aliases(message: &Message, name: &Name) -> Result<(Name, u32), ResolveError> {
    let (mut end, mut ttl) = (name.clone(), u32::MAX);
    for _ in 0..LINKS {
        let mut links = ours(message).filter(|record| record.name == end);
        let link = links.find_map(|record| Some((alias(&record.data)?, seconds(record))));
        let Some((next, link_ttl)) = link else { return Ok((end, ttl)) };
        (end, ttl) = (next, ttl.min(link_ttl));
    }
    Err(ResolveError::Malformed("the aliases (CNAME) go round in circles".into()))
}

/// The answer's records of the Internet's class.
fn ours(message: &Message) -> impl Iterator<Item = &Record> {
    message.answers.iter().filter(|record| record.dns_class == DNSClass::IN)
}

/// A record's TTL; one with the top bit set is 0 (RFC 2181, 8).
fn seconds(record: &Record) -> u32 {
    if record.ttl > i32::MAX.unsigned_abs() { 0 } else { record.ttl }
}

fn alias(data: &RData) -> Option<Name> {
    if let RData::CNAME(alias) = data { Some(alias.0.clone()) } else { None }
}

fn target(data: &RData) -> Option<Target> {
    let RData::SRV(srv) = data else { return None };
    Target::new(srv.priority, srv.weight, srv.port, &srv.target.to_ascii())
}

/// RFC 2782: the target `.` says that the service is not offered.
fn is_no_service(data: &RData) -> bool {
    if let RData::SRV(srv) = data { srv.target.is_root() } else { false }
}

pub(super) fn record_type(kind: RecordKind) -> RecordType {
    match kind {
        RecordKind::A => RecordType::A,
        RecordKind::Aaaa => RecordType::AAAA,
        RecordKind::Srv => RecordType::SRV,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_resolver::proto::op::{MessageType, OpCode};
    use hickory_resolver::proto::rr::rdata::A;

    use super::*;

    #[test]
    fn a_ttl_with_its_top_bit_set_is_none() {
        let name = Name::from_ascii("xsp.example.com.").unwrap();
        for (ttl, expected) in [(60, 60), (i32::MAX as u32, i32::MAX as u64), (1 << 31, 0), (u32::MAX, 0)] {
            let mut message = Message::new(1, MessageType::Response, OpCode::Query);
            let address = RData::A(A(Ipv4Addr::new(192, 0, 2, 1)));
            message.add_answer(Record::from_rdata(name.clone(), ttl, address));
            let message = DnsResponse::from_message(message).unwrap();
            let Ok(Reply::Answer(answer)) = read(&message, &name, RecordKind::A) else { panic!("an answer") };
            assert_eq!(answer.ttl, Duration::from_secs(expected));
        }
    }
}
