//! One question to one DNS server, asked as that server can take it. Separate from which servers are asked, because servers
//! differ in what they take, and each way to be asked again is a rule of its own.
//!
//! - UDP first, twice, then without EDNS as well: some servers, and the firewalls before them, are silent to it.
//! - An error that may be about EDNS (FORMERR, NOTIMP, BADVERS, SERVFAIL, an answer that can't be read) has it asked again
//!   without.
//! - Each query has a port and an id of its own, and mixed case that the answer must repeat (0x20). Where it doesn't, or
//!   says that there is none, it is asked again in lower case.
//! - TCP when the answer is truncated, or does not repeat the question.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_resolver::proto::op::{DnsRequest, DnsRequestOptions, DnsResponse, Query, ResponseCode};
use hickory_resolver::proto::rr::Name;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::answer::{Reply, parse, read, record_type, salvage};
use super::manners::{Manner, Manners, Takes};
use crate::discover::resolve::{RecordKind, ResolveError};

/// How long one datagram is waited for before the next one is sent, at most.
const PATIENCE: Duration = Duration::from_millis(333);
/// Datagrams in all: two with EDNS, two without.
const DATAGRAMS: u32 = 4;
/// The bytes of a message that say whose it is, and what became of it.
const FIRST_BYTES: usize = 4;
/// That a message is a response, in its third byte.
const RESPONSE: u8 = 0x80;
/// That it is cut off, in its third byte.
const TRUNCATED: u8 = 0x02;
/// The response code, in its fourth byte.
const CODE: u8 = 0x0f;

/// One server, and what it is asked.
pub(super) struct Exchange<'a> {
    pub(super) server: SocketAddr,
    pub(super) name: &'a Name,
    pub(super) kind: RecordKind,
    pub(super) timeout: Duration,
    pub(super) manners: &'a Manners,
}

/// How a query is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    edns: Used,
    mixed_case: Used,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Used {
    Yes,
    No,
}

/// A query that has been sent.
struct Sent {
    socket: UdpSocket,
    request: DnsRequest,
    bytes: Vec<u8>,
    form: Form,
}

/// What follows from an answer.
enum Verdict {
    /// It counts.
    Counts(Result<Reply, ResolveError>),
    /// It is to be asked again like this.
    Again(Form),
    /// It is to be asked again over TCP; this is what UDP brought of it.
    Whole(Option<Reply>),
}

impl Exchange<'_> {
    /// Asks until there is an answer that counts, or time is up.
    pub(super) async fn run(&self) -> Result<Reply, ResolveError> {
        let deadline = Instant::now() + self.timeout;
        let manner = self.manners.of(self.server, Instant::now().into_std());
        let mut form = Form::fitting(manner);
        // A form is only ever followed by a plainer one, of which there are two.
        loop {
            let (bytes, sent) = self.over_udp(form, deadline).await?;
            match self.judge(&bytes, &sent, manner) {
                Verdict::Again(plainer) => form = plainer,
                Verdict::Counts(result) => {
                    self.learn(manner, sent.form, &result);
                    return result;
                }
                Verdict::Whole(part) => {
                    let whole = self.over_tcp(sent.form, deadline).await;
                    self.learn(manner, sent.form, &whole);
                    return match (whole, part) {
                        (Err(error), Some(part)) if !error.outcome().is_definite_none() => Ok(part),
                        (whole, _) => whole,
                    };
                }
            }
        }
    }

    /// The first datagram that answers, and the query that it answers.
    async fn over_udp(&self, form: Form, deadline: Instant) -> Result<(Vec<u8>, Sent), ResolveError> {
        let patience = PATIENCE.min(self.timeout / 3);
        let first = Sent::launch(self.server, self.request(form)?, form).await.map_err(unreachable)?;
        let mut plainer: Option<Sent> = None;
        let mut next = Instant::now() + patience;
        let mut sent = 1;
        loop {
            tokio::select! {
                heard = first.hear() => return Ok((heard.map_err(unreachable)?, first)),
                heard = hear(plainer.as_ref()) => {
                    let bytes = heard.map_err(unreachable)?;
                    return Ok((bytes, plainer.expect("what was heard was sent")));
                }
                () = sleep_until(next), if sent < DATAGRAMS => {
                    sent += 1;
                    next += patience;
                    let resent = match (&plainer, form.without_edns()) {
                        (None, Some(without)) if sent > DATAGRAMS / 2 => {
                            plainer = Some(Sent::launch(self.server, self.request(without)?, without).await.map_err(unreachable)?);
                            Ok(())
                        }
                        (None, _) => first.send().await,
                        (Some(plainer), _) => plainer.send().await,
                    };
                    resent.map_err(unreachable)?;
                }
                () = sleep_until(deadline) => return Err(ResolveError::Timeout),
            }
        }
    }

    fn judge(&self, bytes: &[u8], sent: &Sent, manner: Manner) -> Verdict {
        let form = sent.form;
        let is_cut = bytes[2] & TRUNCATED != 0;
        let message = match parse(bytes) {
            Ok(message) => message,
            Err(_) if is_cut => return Verdict::Whole(salvage(bytes).and_then(|message| self.part(&message, sent))),
            Err(error) => {
                let unread = || Verdict::Counts(Err(unread(bytes, error)));
                return form.without_edns().map_or_else(unread, Verdict::Again);
            }
        };
        let code = message.response_code;
        if may_be_about_edns(code, manner)
            && let Some(plainer) = form.without_edns()
        {
            return Verdict::Again(plainer);
        }
        match repeats(&message, sent) {
            Repeats::Question => {}
            Repeats::OtherCase => return Verdict::Again(Form { mixed_case: Used::No, ..form }),
            Repeats::Nothing if is_failure(code) => {}
            Repeats::Nothing | Repeats::Other => return Verdict::Whole(None),
        }
        if is_cut {
            return Verdict::Whole(self.part(&message, sent));
        }
        let result = read(&message, self.name, self.kind);
        let is_none = result.as_ref().is_err_and(|error| error.outcome().is_definite_none());
        if is_none && form.mixed_case == Used::Yes && manner.mixed_case == Takes::Untried {
            // A load balancer may compare names byte by byte, and know this one in lower case alone.
            return Verdict::Again(Form { mixed_case: Used::No, ..form });
        }
        Verdict::Counts(result)
    }

    /// What an answer that was cut off holds.
    fn part(&self, message: &DnsResponse, sent: &Sent) -> Option<Reply> {
        let fits = matches!(repeats(message, sent), Repeats::Question);
        let reply = fits.then(|| read(message, self.name, self.kind).ok()).flatten()?;
        // An alias that was cut off may go on.
        matches!(reply, Reply::Answer(_)).then_some(reply)
    }

    async fn over_tcp(&self, form: Form, deadline: Instant) -> Result<Reply, ResolveError> {
        let request = self.request(form)?;
        let bytes = match timeout_at(deadline, ask_over_tcp(self.server, &request)).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) => return Err(cut_short(&error)),
            Err(late) => return Err(cut_short(&late.into())),
        };
        let message = parse(&bytes)?;
        match message.queries.as_slice() {
            [] => {}
            [query] if query.name == *self.name && query.query_type == record_type(self.kind) => {}
            _ => return Err(ResolveError::Malformed("it answers another question".into())),
        }
        read(&message, self.name, self.kind)
    }

    fn request(&self, form: Form) -> Result<DnsRequest, ResolveError> {
        let mut options = DnsRequestOptions::default();
        options.use_edns = form.edns == Used::Yes;
        options.case_randomization = form.mixed_case == Used::Yes;
        Ok(DnsRequest::from_query(Query::query(self.name.clone(), record_type(self.kind)), options))
    }

    /// Takes note of what the server has shown by an answer that counts.
    fn learn(&self, before: Manner, form: Form, result: &Result<Reply, ResolveError>) {
        let is_definite = result.as_ref().map_or_else(|error| error.outcome().is_definite_none(), |_| true);
        if !is_definite {
            return;
        }
        let found = result.is_ok();
        let edns = match form.edns {
            Used::Yes => Takes::Yes,
            Used::No => Takes::No,
        };
        let mixed_case = match form.mixed_case {
            Used::Yes => Takes::Yes,
            // It was only asked whether there is really none, and there is none.
            Used::No if !found && before.mixed_case == Takes::Untried => Takes::Yes,
            Used::No => Takes::No,
        };
        self.manners.learn(self.server, before, Instant::now().into_std(), Manner { edns, mixed_case });
    }
}

impl Form {
    fn fitting(manner: Manner) -> Self {
        let used = |takes| if takes == Takes::No { Used::No } else { Used::Yes };
        Self { edns: used(manner.edns), mixed_case: used(manner.mixed_case) }
    }

    fn without_edns(self) -> Option<Self> {
        (self.edns == Used::Yes).then_some(Self { edns: Used::No, ..self })
    }
}

impl Sent {
    async fn launch(server: SocketAddr, request: DnsRequest, form: Form) -> io::Result<Self> {
        let any = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
        // Nobody else's datagrams come in from here on.
        socket.connect(server).await?;
        let bytes = request.to_vec().map_err(io::Error::other)?;
        let sent = Self { socket, request, bytes, form };
        sent.send().await?;
        Ok(sent)
    }

    async fn send(&self) -> io::Result<()> {
        self.socket.send(&self.bytes).await.map(drop)
    }

    /// The first response of this query's id.
    async fn hear(&self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; usize::from(u16::MAX)];
        loop {
            let length = self.socket.recv(&mut buffer).await?;
            if is_response_to(&self.request, &buffer[..length]) {
                buffer.truncate(length);
                return Ok(buffer);
            }
        }
    }
}

/// As [`Sent::hear`]; waits for ever where nothing was sent.
async fn hear(sent: Option<&Sent>) -> io::Result<Vec<u8>> {
    match sent {
        Some(sent) => sent.hear().await,
        None => std::future::pending().await,
    }
}

async fn ask_over_tcp(server: SocketAddr, request: &DnsRequest) -> io::Result<Vec<u8>> {
    let query = request.to_vec().map_err(io::Error::other)?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(&[&length.to_be_bytes()[..], &query].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    match is_response_to(request, &answer) {
        true => Ok(answer),
        false => Err(io::Error::other("the answer is another query's")),
    }
}

fn is_response_to(request: &DnsRequest, bytes: &[u8]) -> bool {
    bytes.len() >= FIRST_BYTES && bytes[..2] == request.id.to_be_bytes() && bytes[2] & RESPONSE != 0
}

/// How an answer repeats the question.
enum Repeats {
    /// Letter by letter.
    Question,
    /// In other upper and lower case.
    OtherCase,
    /// It holds no question.
    Nothing,
    /// It holds another one.
    Other,
}

fn repeats(message: &DnsResponse, sent: &Sent) -> Repeats {
    match (message.queries.as_slice(), sent.request.queries.as_slice()) {
        ([], _) => Repeats::Nothing,
        ([ours], [asked]) if ours != asked => Repeats::Other,
        ([ours], [asked]) if ours.name.eq_case(&asked.name) => Repeats::Question,
        ([_], [_]) if sent.form.mixed_case == Used::Yes => Repeats::OtherCase,
        ([_], [_]) => Repeats::Question,
        _ => Repeats::Other,
    }
}

/// Whether a server that doesn't take EDNS may say so like this (RFC 6891, 7; RFC 2671, 5.3).
fn may_be_about_edns(code: ResponseCode, manner: Manner) -> bool {
    let is_untried = manner.edns == Takes::Untried;
    matches!(code, ResponseCode::FormErr | ResponseCode::NotImp | ResponseCode::BADVERS)
        || (code == ResponseCode::ServFail && is_untried)
}

/// What a message says that can't be read: servers that know no EDNS may answer with its head alone, which has a code.
fn unread(bytes: &[u8], error: ResolveError) -> ResolveError {
    let code = ResponseCode::from(0, bytes[FIRST_BYTES - 1] & CODE);
    if code == ResponseCode::Refused {
        return ResolveError::Refused;
    }
    let is_failure = matches!(code, ResponseCode::FormErr | ResponseCode::ServFail | ResponseCode::NotImp);
    if is_failure { ResolveError::ServFail(code.to_str().into()) } else { error }
}

fn is_failure(code: ResponseCode) -> bool {
    code != ResponseCode::NoError && code != ResponseCode::NXDomain
}

fn cut_short(error: &io::Error) -> ResolveError {
    ResolveError::Malformed(format!("it is cut short over UDP, and there is none over TCP: {error}").into())
}

fn unreachable(error: io::Error) -> ResolveError {
    ResolveError::Unreachable(error.into())
}
