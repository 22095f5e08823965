//! hyper as the oracle of the codec: what `xspgate::http1` accepts, hyper accepts too and reads the same way, and takes the
//! same bytes for the message, so that the next one begins where both say it does. Of answers, hyper reads what the codec
//! puts right as far as its client can be told to. What it accepts of clients, nginx and Tomcat take off the connection in the
//! same way, as it came and as it is passed on.

#[path = "oracle/servers.rs"]
mod servers;

use std::cell::{Cell, RefCell};
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestCaseResult, TestRunner};
use servers::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use xspgate::http1::chunked::{Decoder, Event};
use xspgate::http1::head::{
    Fields, HeadLimits, Persistence, RequestFraming, ResponseFraming, Sender, Version, parse_request, parse_response,
};
use xspgate::policy::headers::{Downstream, Encodings, TraceContext, Trusted, Via, request_head};

const CASES: u32 = 512;
/// Holds whole messages, so that neither side ever waits for the other.
const PIPE: usize = 256 * 1024;
const NEXT_REQUEST: &[u8] = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
const NEXT_RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext";

/// One message as a reader sees it.
#[derive(Debug, Default, PartialEq)]
struct Message {
    start: String,
    /// By name, since hyper keeps no order among names; the values of one name stay in theirs.
    fields: Vec<(String, Vec<u8>)>,
    /// `None`: the length is not known beforehand.
    length: Option<u64>,
    body: Vec<u8>,
    trailers: Vec<(String, Vec<u8>)>,
}

fn sorted<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<(String, Vec<u8>)> {
    let lower = |name| String::from_utf8_lossy(name).to_ascii_lowercase();
    let mut sorted: Vec<_> = fields.map(|(name, value)| (lower(name), value.to_vec())).collect();
    sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
    sorted
}

fn sorted_map(fields: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    sorted(fields.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())))
}

async fn read_by_hyper(start: String, fields: &HeaderMap, body: Incoming) -> Message {
    let length = body.size_hint().exact();
    let fields = sorted_map(fields);
    let collected = body.collect().await.expect("hyper reads a body that the codec accepts");
    let trailers = collected.trailers().map(sorted_map).unwrap_or_default();
    Message { start, fields, length, body: collected.to_bytes().to_vec(), trailers }
}

/// A chunked body and its length, if the codec finds it whole and sound.
fn decode(mut input: &[u8], sender: Sender) -> Option<(Vec<u8>, Fields, usize)> {
    let (whole, mut body) = (input.len(), Vec::new());
    let mut decoder = Decoder::new(sender, HeadLimits::TRAILERS);
    loop {
        let (taken, event) = decoder.next(input).ok()?;
        input = &input[taken..];
        match event? {
            Event::Chunk(_) | Event::ChunkEnd => {}
            Event::Data(data) => body.extend_from_slice(data),
            Event::End(trailers) => return Some((body, trailers, whole - input.len())),
        }
    }
}

/// A message that the codec accepts: what it read, its bytes, and whether another may follow.
struct Accepted<'a> {
    message: Message,
    bytes: &'a [u8],
    persistence: Persistence,
}

fn accept_request(bytes: &[u8]) -> Option<Accepted<'_>> {
    let (head, used) = parse_request(bytes, &HeadLimits::default()).ok()??;
    let rest = &bytes[used..];
    let (length, (body, trailers, taken)) = match head.framing {
        RequestFraming::None => (Some(0), Default::default()),
        RequestFraming::Length(length) => (Some(length), sized(rest, length)?),
        RequestFraming::Chunked => (None, decode(rest, Sender::Client)?),
    };
    let version = version(head.version);
    let message = Message {
        start: format!("{} {} {version}", head.method, String::from_utf8_lossy(head.target())),
        fields: sorted(head.fields.iter()),
        length,
        body,
        trailers: sorted(trailers.iter()),
    };
    Some(Accepted { message, bytes: &bytes[..used + taken], persistence: head.persistence })
}

fn accept_response<'a>(bytes: &'a [u8], method: &Method) -> Option<Accepted<'a>> {
    let mut start = 0;
    let head = loop {
        let (head, used) = parse_response(&bytes[start..], &HeadLimits::default(), method).ok()??;
        start += used;
        if !head.status.is_informational() {
            break head;
        }
    };
    let rest = &bytes[start..];
    let (length, (body, trailers, taken)) = match head.framing {
        ResponseFraming::Empty => (Some(0), Default::default()),
        ResponseFraming::Length(length) => (Some(length), sized(rest, length)?),
        ResponseFraming::Chunked => {
            (None, decode(rest, Sender::Xsp).filter(|(.., taken)| has_plain_trailers(&rest[..*taken]))?)
        }
        ResponseFraming::UntilClose => (None, (rest.to_vec(), Fields::default(), rest.len())),
    };
    let message = Message {
        start: format!("{} {}", head.status.as_u16(), version(head.version)),
        fields: sorted(head.fields.iter()),
        length,
        body,
        trailers: sorted(trailers.iter()),
    };
    Some(Accepted { message, bytes: &bytes[..start + taken], persistence: head.persistence })
}

/// hyper's client reads trailers by the letter, whatever it is told of heads.
fn has_plain_trailers(body: &[u8]) -> bool {
    let odd = [&b"\r\n "[..], b"\r\n\t", b" :", b"\t:"];
    !odd.iter().any(|odd| body.windows(odd.len()).any(|window| window == *odd))
}

/// A response as it leaves: hyper makes several blanks of a fold, and leaves what is said of the length where it is.
fn put_right(mut message: Message) -> Message {
    message.fields.retain(|(name, _)| name != "content-length" && name != "transfer-encoding");
    for (_, value) in &mut message.fields {
        let words = value.split(|byte| b" \t".contains(byte)).filter(|word| !word.is_empty());
        *value = words.collect::<Vec<_>>().join(&b' ');
    }
    message
}

fn sized(rest: &[u8], length: u64) -> Option<(Vec<u8>, Fields, usize)> {
    let length = usize::try_from(length).ok()?;
    Some((rest.get(..length)?.to_vec(), Fields::default(), length))
}

fn version(version: Version) -> &'static str {
    match version {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
    }
}

/// A request as one of 1.1 if it is of a later minor version, which hyper does not know.
fn as_1_1(request: &[u8]) -> Vec<u8> {
    let mut bytes = request.to_vec();
    let line = bytes.iter().position(|byte| !b"\r\n".contains(byte)).expect("a request line");
    let version = line + bytes[line..].iter().position(|byte| *byte == b'\r').expect("its end") - 1;
    bytes[version] = bytes[version].min(b'1');
    bytes
}

/// What hyper reads as a client's requests.
async fn serve(bytes: &[u8]) -> Vec<Message> {
    let (mut client, stream) = duplex(PIPE);
    client.write_all(bytes).await.expect("the pipe holds it");
    client.shutdown().await.expect("the pipe is open");
    let seen = Rc::new(RefCell::new(Vec::new()));
    let service = service_fn(|request: Request<Incoming>| {
        let seen = seen.clone();
        async move {
            let (head, body) = request.into_parts();
            let target = head.uri.path_and_query().expect("a request has a target");
            let start = format!("{} {target} {:?}", head.method, head.version);
            let message = read_by_hyper(start, &head.headers, body).await;
            seen.borrow_mut().push(message);
            Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::new())))
        }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().half_close(true).serve_connection(TokioIo::new(stream), service);
    connection.await.expect("hyper accepts what the codec accepts");
    seen.take()
}

/// What hyper reads as the answer to a request of `method`, and the answer to another one if the connection is kept.
async fn ask(method: &Method, answer: &Accepted<'_>) -> Vec<Message> {
    let (stream, mut xsp) = duplex(PIPE);
    let mut client = hyper::client::conn::http1::Builder::new();
    client.allow_spaces_after_header_name_in_responses(true).allow_obsolete_multiline_headers_in_responses(true);
    let (mut sender, connection) = client.handshake(TokioIo::new(stream)).await.expect("a handshake without bytes");
    let kept = answer.persistence == Persistence::KeepAlive;
    let answers = async {
        answer_one(&mut xsp, answer.bytes).await;
        if kept {
            answer_one(&mut xsp, NEXT_RESPONSE).await;
        }
        xsp.shutdown().await.expect("the pipe is open");
        xsp
    };
    let exchanges = async {
        let mut seen = vec![exchange(&mut sender, method.clone()).await];
        if kept {
            sender.ready().await.expect("hyper keeps the connection");
            seen.push(exchange(&mut sender, Method::GET).await);
        }
        drop(sender);
        seen
    };
    let (_, seen, _) = tokio::join!(answers, exchanges, connection);
    seen
}

async fn answer_one(xsp: &mut DuplexStream, answer: &[u8]) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(xsp.read_u8().await.expect("hyper sends its request"));
    }
    xsp.write_all(answer).await.expect("the pipe holds it");
}

async fn exchange(sender: &mut hyper::client::conn::http1::SendRequest<Empty<Bytes>>, method: Method) -> Message {
    let request = Request::builder().method(method).uri("/").header("Host", "a").body(Empty::new());
    let response = sender.send_request(request.expect("a valid request")).await;
    let (head, body) = response.expect("hyper accepts what the codec accepts").into_parts();
    read_by_hyper(format!("{} {:?}", head.status.as_u16(), head.version), &head.headers, body).await
}

/// Bytes that are nearly a message: lines out of a list, a body, and a few bytes changed.
fn messages(
    lines: &'static [&'static str],
    framings: &'static [(&'static str, &'static str)],
) -> impl Strategy<Value = Vec<u8>> {
    const FIELDS: &[&str] = &[
        "Accept: */*\r\n",
        "accept:\ttext/xml \t\r\n",
        "Cookie: JSESSIONID=0123456789ABCDEF; a=b\r\n",
        "Empty:\r\n",
        "X-!#$%&'*+-.^_`|~: \u{e9}\u{e8}\r\n",
        "Connection: keep-alive\r\n",
        "Connection: close\r\n",
        "Connection: TE\r\n",
        "Upgrade: h2c\r\n",
        "Expect: 100-continue\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: 05\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Trailer: a\r\n",
        "Folded: a\r\n b\r\n",
        "Spaced : a\r\n",
    ];
    let framing = prop_oneof![3 => select(&framings[..1]), 3 => select(framings)];
    let fields = vec(prop_oneof![5 => select(&FIELDS[..8]), 1 => select(FIELDS)], 0..6);
    let whole = (select(lines), framing, fields, any::<bool>()).prop_map(|(line, (framing, body), fields, first)| {
        let fields = fields.concat();
        let fields = if first { framing.to_owned() + &fields } else { fields + framing };
        format!("{line}{fields}\r\n{body}").into_bytes()
    });
    let byte = prop_oneof![select(&b"\r\n\t :;,/?0a\0\x0b\x7f\xff"[..]), any::<u8>()];
    let edits = vec((any::<Index>(), proptest::option::of(byte), 0..2usize), 0..3);
    (whole, edits).prop_map(|(mut bytes, edits)| {
        for (at, byte, removed) in edits {
            let at = at.index(bytes.len());
            let end = bytes.len().min(at + removed);
            bytes.splice(at..end, byte);
        }
        bytes
    })
}

/// Runs the property, and sees to it that it is no empty one: at least a quarter of the messages have to be accepted.
fn check(strategy: impl Strategy<Value = Vec<u8>>, test: impl Fn(&Runtime, &[u8], &Cell<u32>) -> TestCaseResult) {
    // The clock runs only while all wait, and so ends at once what would wait for ever.
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without I/O");
    let accepted = Cell::new(0);
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(CASES) });
    let outcome = runner.run(&strategy, |bytes| test(&runtime, &bytes, &accepted));
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(accepted.get() > CASES / 4, "only {} of {CASES} were accepted", accepted.get());
}

fn read_in_time(runtime: &Runtime, reading: impl Future<Output = Vec<Message>>) -> Vec<Message> {
    let read = runtime.block_on(async { timeout(Duration::from_secs(1), reading).await });
    read.expect("hyper waits for no more than the codec does")
}

mod requests {
    /// Request lines, each with its Host.
    pub(super) const LINES: &[&str] = &[
        "GET /com.broadsoft.xsi-actions/v2.0/user/a@b.c/directories?start=1&name=*/x HTTP/1.1\r\nHost: a\r\n",
        "POST /com.broadsoft.async/com.broadsoft.xsi-events/v2.0/channel HTTP/1.1\r\nHost: xsp.example.com:443\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: [::1]\r\n",
        "HEAD https://A.b/|%2f{}^\\//../;a?b?c HTTP/1.1\r\nHost: a.B\r\n",
        "m-search /authService HTTP/1.0\r\nHost: a\r\n",
        "\r\n\nGET /dms//a;b=c HTTP/1.0\r\n",
        "\r\nPUT /dms/ HTTP/1.4\r\nHost: a\r\n",
    ];
    /// What says where a body ends, and one.
    pub(super) const FRAMINGS: &[(&str, &str)] = &[
        ("Content-Length: 5\r\n", "hello"),
        ("", ""),
        ("Content-Length: 0\r\n", ""),
        ("content-length:0005\r\n", "hello"),
        ("transfer-encoding:Chunked\r\n", "5\r\nhello\r\n1A\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "0005\r\nhello\r\n000\r\nA: b\r\nc:\t\u{e9} \r\n\r\n"),
        ("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
    ];
}

#[test]
fn hyper_reads_accepted_requests_the_same_way() {
    check(messages(requests::LINES, requests::FRAMINGS), |runtime, bytes, accepted| {
        let Some(request) = accept_request(bytes) else { return Ok(()) };
        accepted.set(accepted.get() + 1);
        let kept = request.persistence == Persistence::KeepAlive;
        let bytes = [&as_1_1(request.bytes)[..], if kept { NEXT_REQUEST } else { b"" }].concat();
        let seen = read_in_time(runtime, serve(&bytes));
        let next = accept_request(NEXT_REQUEST).filter(|_| kept).map(|next| next.message);
        let expected: Vec<_> = [request.message].into_iter().chain(next).collect();
        prop_assert_eq!(seen, expected);
        Ok(())
    });
}

/// A request as it is passed on.
fn passed_on(bytes: &[u8]) -> Vec<u8> {
    let (head, used) = parse_request(bytes, &HeadLimits::default()).expect("it is accepted").expect("it is whole");
    let from = Downstream {
        peer: Ipv4Addr::LOCALHOST.into(),
        host: "sni",
        trusted: Trusted::No,
        tracking_id: "GATEWAY_1",
        cookie: "XSPGATE",
        encodings: Encodings::Any,
        trace: TraceContext::AsReceived,
        via: Via::Off,
    };
    let mut out = Vec::new();
    request_head(&head, &from, head.framing, &mut out);
    out.extend_from_slice(&bytes[used..]);
    out
}

#[test]
fn nginx_and_tomcat_take_accepted_requests_the_same_way() {
    let read = Cell::new(0);
    check(messages(requests::LINES, requests::FRAMINGS), |_, bytes, accepted| {
        let Some(request) = accept_request(bytes) else { return Ok(()) };
        accepted.set(accepted.get() + 1);
        let (head, _) = parse_request(bytes, &HeadLimits::default()).expect("it is accepted").expect("it is whole");
        let passed_on = passed_on(request.bytes);
        for server in [Server::Nginx, Server::Tomcat] {
            let host = head.authority().map(String::from);
            let sent = host.clone().unwrap_or_else(|| "sni".into());
            let forms = [(request.bytes, host), (&passed_on, Some(sent))];
            for (bytes, host) in forms {
                let Some(seen) = server.read(&[bytes, NEXT_REQUEST].concat()) else {
                    // Each knows fewer methods, or versions, than a client may use. Tomcat knows all that is passed on.
                    prop_assert!(server == Server::Nginx || bytes == request.bytes);
                    continue;
                };
                read.set(read.get() + 1);
                let target = String::from_utf8_lossy(head.target()).into_owned();
                prop_assert_eq!(&seen.target, &target);
                prop_assert_eq!(&seen.method, head.method.as_str());
                prop_assert_eq!(&seen.body, &request.message.body);
                prop_assert_eq!(seen.length, bytes.len());
                if seen.host.is_some() {
                    // A dot at the end of the name, and a colon without a port, say nothing.
                    let plain =
                        |host: &str| host.trim_end_matches(':').replace(".:", ":").trim_end_matches('.').to_owned();
                    prop_assert_eq!(seen.host.as_deref().map(plain), host.as_deref().map(plain));
                }
            }
        }
        Ok(())
    });
    assert!(read.get() > CASES / 2, "only {} were read", read.get());
}

#[test]
fn hyper_reads_accepted_responses_the_same_way() {
    const LINES: &[&str] = &[
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 202\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 \r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 503 busy \u{e9}\r\n",
        "HTTP/1.1 204 No Content\r\n",
        "HTTP/1.1 304 Not Modified\r\n",
        "HTTP/1.0 404 Not Found\r\n",
        "HTTP/1.1 999 ?\r\n",
    ];
    const FRAMINGS: &[(&str, &str)] = &[
        ("Content-Length: 5\r\n", "hello"),
        ("", "until the end"),
        ("Content-Length: 0\r\n", ""),
        ("content-length:0005\r\n", "hello"),
        ("transfer-encoding:Chunked\r\n", "5\r\nhello\r\n1A\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "0005\r\nhello\r\n000\r\nA: b\r\nc:\t\u{e9} \r\n\r\n"),
        ("Transfer-Encoding: chunked,\r\n", "0\r\n\r\n"),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Content-Length: 5\r\nContent-Length: 5, 5\r\n", "hello"),
        ("Transfer-Encoding: chunked, chunked\r\nTransfer-Encoding: chunked\r\n", "5;a=\"b\" \r\nhello\r\n0  \r\n\r\n"),
    ];
    for method in [Method::GET, Method::HEAD, Method::POST] {
        check(messages(LINES, FRAMINGS), |runtime, bytes, accepted| {
            let Some(response) = accept_response(bytes, &method) else { return Ok(()) };
            accepted.set(accepted.get() + 1);
            let seen = read_in_time(runtime, ask(&method, &response));
            let kept = response.persistence == Persistence::KeepAlive;
            let next = accept_response(NEXT_RESPONSE, &Method::GET).filter(|_| kept).map(|next| next.message);
            let expected: Vec<_> = [response.message].into_iter().chain(next).collect();
            let [seen, expected] = [seen, expected].map(|read| read.into_iter().map(put_right).collect::<Vec<_>>());
            prop_assert_eq!(seen, expected);
            Ok(())
        });
    }
}
