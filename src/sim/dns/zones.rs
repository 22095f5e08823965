//! What the simulated DNS server knows, and how it answers one message. Separate from the sockets, so that a test can ask
//! it without any.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use hickory_proto::op::{Edns, Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{CNAME, NS, SOA, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use parking_lot::Mutex;

/// The UDP payload that any client takes (RFC 1035).
const SMALL: u16 = 512;

/// The zones' contents, faults and counts; clones share them.
#[derive(Clone, Debug)]
pub struct Zones(Arc<Mutex<Contents>>);

/// How answers go wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// They don't.
    #[default]
    None,
    /// Queries are read and never answered.
    Silent,
    /// SERVFAIL.
    ServFail,
    /// REFUSED.
    Refused,
    /// TC=1 and nothing else over UDP, the whole answer over TCP.
    Truncate,
    /// The query's id, and then bytes that are no DNS message.
    Garbage,
    /// The right answer under another id, as a spoofer would send it.
    WrongId,
    /// What knows EDNS not: FORMERR to it, with the question.
    EdnsFormErr,
    /// FORMERR to EDNS, the header alone, which claims to hold the question.
    EdnsHeaderAlone,
    /// NOTIMP to EDNS.
    EdnsNotImp,
    /// SERVFAIL to EDNS.
    EdnsServFail,
    /// Silence to EDNS.
    EdnsSilent,
    /// An answer to EDNS that holds its record twice.
    EdnsTwice,
    /// The question comes back in lower case.
    LowerCase,
    /// A name that isn't in lower case does not exist.
    CaseSensitive,
    /// The right answer without the question over UDP.
    NoQuestion,
    /// TC=1 and the first half of the records over UDP, silence over TCP.
    Half,
    /// The same, and the datagram ends within the last record.
    HalfAndSome,
    /// The name of another server, which is to be asked instead.
    Referral,
    /// The right answer, and bytes behind its records that are no record.
    Trailing,
}

/// What a query came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// One datagram.
    Udp,
    /// With a length in front.
    Tcp,
}

/// One SRV record: priority, weight, port, target (`.` for none).
pub type Srv<'a> = (u16, u16, u16, &'a str);

#[derive(Debug)]
struct Contents {
    /// By lower-case name without a trailing dot.
    names: BTreeMap<String, Holding>,
    fault: Fault,
    faults: BTreeMap<String, Fault>,
    counts: BTreeMap<(String, RecordType, Transport), u64>,
    negative_ttl: u32,
    turn: usize,
    most: usize,
}

/// The records of one name; none at all is an empty answer.
#[derive(Debug, Default)]
struct Holding {
    addresses: Vec<(u32, IpAddr)>,
    srv: Vec<(u32, SRV)>,
    alias: Option<(u32, Name)>,
}

impl Default for Zones {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Contents {
            names: BTreeMap::new(),
            fault: Fault::None,
            faults: BTreeMap::new(),
            counts: BTreeMap::new(),
            negative_ttl: 1,
            turn: 0,
            most: usize::MAX,
        })))
    }
}

impl Zones {
    /// The addresses of `name`, IPv4 as A and IPv6 as AAAA records, in place of those it had. `ttl` in seconds.
    pub fn set_a(&self, name: &str, ttl: u32, addresses: impl IntoIterator<Item = impl Into<IpAddr>>) {
        let addresses = addresses.into_iter().map(|address| (ttl, address.into())).collect();
        self.with(name, |holding| holding.addresses = addresses);
    }

    /// The SRV records of `name`, in place of those it had. `ttl` in seconds.
    ///
    /// # Panics
    /// When a target is no domain name.
    pub fn set_srv<'a>(&self, name: &str, ttl: u32, records: impl IntoIterator<Item = Srv<'a>>) {
        let record = |(priority, weight, port, target)| (ttl, SRV::new(priority, weight, port, absolute(target)));
        let srv = records.into_iter().map(record).collect();
        self.with(name, |holding| holding.srv = srv);
    }

    /// Makes `name` an alias (CNAME) of `target`. `ttl` in seconds.
    ///
    /// # Panics
    /// When `target` is no domain name.
    pub fn set_alias(&self, name: &str, ttl: u32, target: &str) {
        let target = absolute(target);
        self.with(name, |holding| holding.alias = Some((ttl, target)));
    }

    /// The name is gone: NXDOMAIN.
    pub fn remove(&self, name: &str) {
        self.0.lock().names.remove(&plain(name));
    }

    /// The name is there without any record: NOERROR and no answer.
    pub fn empty(&self, name: &str) {
        self.with(name, |holding| *holding = Holding::default());
    }

    /// How long "there is none" may be believed, in seconds (the SOA's minimum); 1 unless told.
    pub fn set_negative_ttl(&self, seconds: u32) {
        self.0.lock().negative_ttl = seconds;
    }

    /// Most records of one answer, which are others in each; all unless told.
    pub fn set_most(&self, records: usize) {
        self.0.lock().most = records;
    }

    /// How all answers go wrong, unless their name has a fault of its own.
    pub fn set_fault(&self, fault: Fault) {
        self.0.lock().fault = fault;
    }

    /// How the answers about `name` go wrong; [`Fault::None`]: as the others.
    pub fn set_fault_of(&self, name: &str, fault: Fault) {
        self.0.lock().faults.insert(plain(name), fault);
    }

    /// The queries for `name` and `kind` (`A`, `AAAA`, `SRV`) so far, over both transports, answered or not.
    pub fn queries(&self, name: &str, kind: &str) -> u64 {
        self.queries_over(name, kind, Transport::Udp) + self.queries_over(name, kind, Transport::Tcp)
    }

    /// As [`Self::queries`], over one transport.
    ///
    /// # Panics
    /// When `kind` is no record type.
    pub fn queries_over(&self, name: &str, kind: &str, transport: Transport) -> u64 {
        let kind: RecordType = kind.parse().expect("the name of a record type");
        self.0.lock().counts.get(&(plain(name), kind, transport)).copied().unwrap_or(0)
    }

    /// The answer to one message; `None`: silence.
    pub(super) fn answer(&self, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let query = Message::from_vec(query).ok()?;
        let question = query.queries.first()?;
        let name = plain(&question.name().to_ascii());
        let mut contents = self.0.lock();
        *contents.counts.entry((name.clone(), question.query_type(), transport)).or_default() += 1;
        let own = contents.faults.get(&name).copied().unwrap_or_default();
        let fault = if own == Fault::None { contents.fault } else { own };
        let mut answer = response_to(&query);
        let takes_edns = query.edns.is_none();
        match fault {
            Fault::EdnsFormErr if !takes_edns => answer.metadata.response_code = ResponseCode::FormErr,
            Fault::EdnsNotImp if !takes_edns => answer.metadata.response_code = ResponseCode::NotImp,
            Fault::EdnsServFail if !takes_edns => answer.metadata.response_code = ResponseCode::ServFail,
            Fault::EdnsSilent if !takes_edns => return None,
            Fault::EdnsHeaderAlone if !takes_edns => return Some(header(query.id, [0x81, 0x01], 1)),
            Fault::EdnsTwice if !takes_edns => {
                contents.fill(&mut answer);
                let mut bytes = answer.to_vec().ok()?;
                // The root's name, OPT, and nothing in it.
                bytes.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
                bytes[11] += 1;
                return Some(bytes);
            }
            Fault::EdnsFormErr
            | Fault::EdnsNotImp
            | Fault::EdnsServFail
            | Fault::EdnsSilent
            | Fault::EdnsHeaderAlone
            | Fault::EdnsTwice => contents.fill(&mut answer),
            Fault::LowerCase => {
                contents.fill(&mut answer);
                answer.queries.iter_mut().for_each(|query| query.name = query.name.to_lowercase());
            }
            Fault::CaseSensitive if question.name().to_ascii() != question.name().to_lowercase().to_ascii() => {
                answer.metadata.response_code = ResponseCode::NXDomain;
            }
            Fault::CaseSensitive => contents.fill(&mut answer),
            Fault::NoQuestion => {
                contents.fill(&mut answer);
                if transport == Transport::Udp {
                    answer.queries.clear();
                }
            }
            Fault::Half | Fault::HalfAndSome => {
                if transport == Transport::Tcp {
                    return None;
                }
                contents.fill(&mut answer);
                let all = answer.answers.len();
                answer.answers.truncate(all.div_ceil(2));
                answer.metadata.truncation = true;
                let mut bytes = answer.to_vec().ok()?;
                if fault == Fault::HalfAndSome {
                    answer.answers.pop();
                    bytes.truncate(answer.to_vec().ok()?.len());
                }
                return Some(bytes);
            }
            Fault::Referral => {
                let (root, server) = (Name::root(), absolute("a.root-servers.net"));
                answer.metadata.authoritative = false;
                answer.add_authority(Record::from_rdata(root, 60, RData::NS(NS(server))));
            }
            Fault::Trailing => {
                contents.fill(&mut answer);
                answer.edns = None;
                let mut bytes = answer.to_vec().ok()?;
                bytes.extend([0xff; 9]);
                bytes[11] += 1;
                return Some(bytes);
            }
            Fault::None => contents.fill(&mut answer),
            Fault::Silent => return None,
            Fault::ServFail => answer.metadata.response_code = ResponseCode::ServFail,
            Fault::Refused => answer.metadata.response_code = ResponseCode::Refused,
            Fault::Truncate if transport == Transport::Udp => answer.metadata.truncation = true,
            Fault::Truncate => contents.fill(&mut answer),
            Fault::Garbage => return Some([&query.id.to_be_bytes()[..], &[0xff; 40][..]].concat()),
            Fault::WrongId => {
                contents.fill(&mut answer);
                answer.metadata.id ^= 0x5555;
            }
        }
        let bytes = answer.to_vec().ok()?;
        let limit = query.edns.as_ref().map_or(SMALL, |edns| edns.max_payload().max(SMALL));
        if transport == Transport::Udp && bytes.len() > usize::from(limit) {
            return answer.truncate().to_vec().ok();
        }
        Some(bytes)
    }

    fn with(&self, name: &str, change: impl FnOnce(&mut Holding)) {
        change(self.0.lock().names.entry(plain(name)).or_default());
    }
}

impl Contents {
    /// Puts the records that the question asks for into the answer, one further on with each query.
    fn fill(&mut self, answer: &mut Message) {
        let Some(question) = answer.queries.first().cloned() else { return };
        self.turn = self.turn.wrapping_add(1);
        let mut name = question.name().clone();
        // An alias of an alias of itself must end somewhere.
        for _ in 0..8 {
            let Some(holding) = self.names.get(&plain(&name.to_ascii())) else {
                answer.metadata.response_code = ResponseCode::NXDomain;
                break;
            };
            let mut records = holding.records(&name, question.query_type());
            if !records.is_empty() {
                let by = self.turn % records.len();
                records.rotate_left(by);
                records.truncate(self.most);
                answer.add_answers(records);
                return;
            }
            let Some((ttl, target)) = &holding.alias else { break };
            answer.add_answer(Record::from_rdata(name, *ttl, RData::CNAME(CNAME(target.clone()))));
            name = target.clone();
        }
        let root = Name::root();
        let soa = SOA::new(root.clone(), root.clone(), 1, 60, 60, 60, self.negative_ttl);
        answer.add_authority(Record::from_rdata(root, self.negative_ttl, RData::SOA(soa)));
    }
}

impl Holding {
    fn records(&self, name: &Name, kind: RecordType) -> Vec<Record> {
        let addresses = self.addresses.iter().map(|&(ttl, address)| (ttl, RData::from(address)));
        let srv = self.srv.iter().map(|(ttl, srv)| (*ttl, RData::SRV(srv.clone())));
        let all = addresses.chain(srv).map(|(ttl, data)| Record::from_rdata(name.clone(), ttl, data));
        all.filter(|record| record.record_type() == kind).collect()
    }
}

/// A message's header alone.
fn header(id: u16, flags: [u8; 2], questions: u8) -> Vec<u8> {
    [&id.to_be_bytes()[..], &flags, &[0, questions, 0, 0, 0, 0, 0, 0]].concat()
}

fn response_to(query: &Message) -> Message {
    let mut answer = Message::response(query.id, OpCode::Query);
    answer.metadata.authoritative = true;
    answer.metadata.recursion_desired = query.recursion_desired;
    answer.add_queries(query.queries.iter().cloned());
    if query.edns.is_some() {
        answer.set_edns(Edns::new());
    }
    answer
}

fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn absolute(name: &str) -> Name {
    let mut name = Name::from_ascii(name).expect("a domain name");
    name.set_fqdn(true);
    name
}
