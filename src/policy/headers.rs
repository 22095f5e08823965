//! The heads that leave the gateway, towards XSPs and towards clients, as bytes. Separate from the relay, because what may
//! pass is a matter of trust: hop-by-hop fields end here, claims about the client are the gateway's own, and all the rest
//! goes through as it came, in its order.

use std::borrow::Cow;
use std::net::IpAddr;

use http::{Method, StatusCode};
use smallvec::SmallVec;

use super::affinity;
use crate::http1::encode;
use crate::http1::head::{Expectation, Fields, Persistence, RequestFraming, RequestHead, ResponseHead, Version};

/// What the gateway saw of a request's sender, and what it adds to the request.
#[derive(Clone, Copy, Debug)]
pub struct Downstream<'a> {
    /// Who sent it.
    pub peer: IpAddr,
    /// The name that the sender has asked for in the handshake, for a request that names no host.
    pub host: &'a str,
    /// Whether what the sender says about the client is believed.
    pub trusted: Trusted,
    /// The TrackingID that the request gets if it brings none: plain text without controls.
    pub tracking_id: &'a str,
    /// The name of the gateway's own cookie.
    pub cookie: &'a str,
    /// What the answer may be encoded in.
    pub encodings: Encodings,
    /// What becomes of the trace context that the request brings.
    pub trace: TraceContext,
    /// Whether the request says that it has come through a gateway.
    pub via: Via,
}

/// Which messages say that they have come through the gateway (RFC 9110 section 7.6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// Requests, as every gateway must; answers keep to themselves what stands before the XSPs.
    Requests,
    /// Requests and answers.
    Both,
    /// None.
    Off,
}

/// What becomes of the trace context that a request brings (W3C Trace Context).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceContext {
    /// It passes as it came, as far as it did: the gateway does not trace the request.
    AsReceived,
    /// The gateway takes part in the trace: each attempt has a traceparent of its own, and tracestate passes.
    Continued,
    /// There is none that could be believed, and the trace begins here; tracestate alone means nothing.
    Void,
}

impl TraceContext {
    fn leaves_out(self, name: &[u8]) -> bool {
        match self {
            Self::AsReceived => false,
            Self::Continued => name.eq_ignore_ascii_case(b"traceparent"),
            Self::Void => name.eq_ignore_ascii_case(b"traceparent") || name.eq_ignore_ascii_case(b"tracestate"),
        }
    }
}

/// What the answer to a request may be encoded in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encodings {
    /// Whatever the client takes.
    Any,
    /// Nothing: the gateway reads along, and what is compressed can't leave at once either.
    None,
}

/// Whether a sender is one of the operator's proxies (`trusted_proxies`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trusted {
    /// Its X-Forwarded-For is appended to, its X-Forwarded-Host is kept.
    Yes,
    /// What it says about itself is replaced.
    No,
}

/// How a response's body is framed towards the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// As the XSP said: by the Content-Length that it sent, or no body at all. HEAD and 304 keep their Content-Length.
    AsReceived,
    /// In chunks.
    Chunked,
    /// By the end of the connection.
    UntilClose,
}

/// Appends the head of `head` as an XSP gets it, with a body framed as `framing`.
///
/// The request line is as it came, and so are all end-to-end fields, in their order; Host loses a dot and a colon at its end. A
/// request without Host, as HTTP/1.0 has them, gets one: the host that its target names, or else that of the handshake. Hop-by-hop
/// fields and what Connection names are left out, and so is everything by which a client could pretend to be a proxy. Content-Length or
/// Transfer-Encoding is made from `framing`; `Content-Length: 0` stays where a method with a body had it.
pub fn request_head(head: &RequestHead, from: &Downstream<'_>, framing: RequestFraming, out: &mut Vec<u8>) {
    encode::request_line(out, &head.method, head.target());
    if head.version == Version::Http10 && head.fields.get("host").is_none() {
        encode::field(out, b"Host", host_of(head, from).as_bytes());
    }
    let options = Options::of(&head.fields);
    let mut tracked = false;
    let mut trailers = false;
    for (name, value) in head.fields.iter() {
        match Kind::of(name) {
            Kind::Framing | Kind::HopByHop | Kind::Claim | Kind::Expect => {}
            Kind::Te => trailers |= asks_for_trailers(value),
            Kind::Kept if name.eq_ignore_ascii_case(b"Host") => {
                encode::field(out, name, host_of(head, from).as_bytes())
            }
            Kind::Kept | Kind::Date => encode::field(out, name, value),
            Kind::Cookie => {
                if let Some(left) = affinity::without_cookie(value, from.cookie) {
                    encode::field(out, name, &left);
                }
            }
            Kind::TrackingId if value.is_empty() || options.name(name) => {}
            Kind::TrackingId => {
                tracked = true;
                encode::field(out, name, value);
            }
            Kind::Other if options.name(name) => {}
            Kind::Other if from.encodings == Encodings::None && name.eq_ignore_ascii_case(b"Accept-Encoding") => {}
            Kind::Other if from.trace.leaves_out(name) => {}
            Kind::Other => encode::field(out, name, value),
        }
    }
    request_framing(head, framing, out);
    claims(head, from, out);
    if !tracked {
        encode::field(out, b"TrackingID", from.tracking_id.as_bytes());
    }
    match from.via {
        Via::Requests | Via::Both => encode::field(out, b"Via", via(head.version)),
        Via::Off => {}
    }
    if trailers {
        encode::field(out, b"TE", b"trailers");
        encode::field(out, b"Connection", b"TE");
    }
    encode::end(out);
}

/// The gateway's own element of Via, behind what others have put there: the version that came in, and a pseudonym.
const fn via(version: Version) -> &'static [u8] {
    match version {
        Version::Http10 => b"1.0 gateway",
        Version::Http11 => b"1.1 gateway",
    }
}

/// The host that an XSP is told.
fn host_of<'a>(head: &'a RequestHead, from: &Downstream<'a>) -> Cow<'a, str> {
    head.authority().unwrap_or(Cow::Borrowed(from.host))
}

fn request_framing(head: &RequestHead, framing: RequestFraming, out: &mut Vec<u8>) {
    match framing {
        RequestFraming::Length(length) => content_length(out, length),
        RequestFraming::Chunked => encode::field(out, b"Transfer-Encoding", b"chunked"),
        RequestFraming::None => {
            let expects_body = [Method::POST, Method::PUT, Method::PATCH].contains(&head.method);
            if expects_body && head.fields.get("content-length").is_some() {
                content_length(out, 0);
            }
            return;
        }
    }
    match head.expectation {
        Expectation::Continue => encode::field(out, b"Expect", b"100-continue"),
        Expectation::None => {}
    }
}

/// What only the gateway says about the client.
fn claims(head: &RequestHead, from: &Downstream<'_>, out: &mut Vec<u8>) {
    let peer = from.peer.to_canonical().to_string();
    let given = |name: &'static str| head.fields.get_all(name).filter(|value| !value.is_empty());
    let (path, asked) = match from.trusted {
        Trusted::Yes => {
            let path: Vec<_> = given("x-forwarded-for").chain([peer.as_bytes()]).collect();
            (Some(path.join(&b", "[..])), given("x-forwarded-host").next())
        }
        Trusted::No => (None, None),
    };
    encode::field(out, b"X-Forwarded-For", path.as_deref().unwrap_or(peer.as_bytes()));
    encode::field(out, b"X-Forwarded-Proto", b"https");
    encode::field(out, b"X-Forwarded-Host", asked.unwrap_or(host_of(head, from).as_bytes()));
}

/// What a response gets besides what the XSP has sent.
#[derive(Clone, Copy, Debug)]
pub struct Added<'a> {
    /// What is said of the client's connection, if anything has to be: see [`connection`].
    pub connection: Option<&'static [u8]>,
    /// The value of one more Set-Cookie, after the XSP's own.
    pub set_cookie: Option<&'a [u8]>,
    /// The TrackingID if the XSP sent none.
    pub tracking_id: &'a str,
    /// The Date if the XSP sent none (RFC 9110 section 6.6.1).
    pub date: fn() -> [u8; 29],
    /// Whether the response says that it has come through a gateway.
    pub via: Via,
}

/// Appends the head of `head` as the client gets it.
///
/// Status, reason and all end-to-end fields are as they came, in their order; hop-by-hop fields and what Connection names
/// are left out.
pub fn response_head(head: &ResponseHead, framing: BodyFraming, added: &Added<'_>, out: &mut Vec<u8>) {
    encode::status_line(out, head.status, head.reason());
    let given = response_fields(head, framing, out);
    match framing {
        BodyFraming::Chunked => encode::field(out, b"Transfer-Encoding", b"chunked"),
        BodyFraming::AsReceived | BodyFraming::UntilClose => {}
    }
    if let Some(value) = added.set_cookie {
        encode::field(out, b"Set-Cookie", value);
    }
    if !given.tracking_id {
        encode::field(out, b"TrackingID", added.tracking_id.as_bytes());
    }
    if !given.date {
        encode::field(out, b"Date", &(added.date)());
    }
    match added.via {
        Via::Both => encode::field(out, b"Via", via(head.version)),
        Via::Requests | Via::Off => {}
    }
    if let Some(value) = added.connection {
        encode::field(out, b"Connection", value);
    }
    encode::end(out);
}

/// The value of Connection in an answer to a client that speaks `version`: what goes without saying is not said.
pub const fn connection(version: Version, persistence: Persistence) -> Option<&'static [u8]> {
    match (version, persistence) {
        (_, Persistence::Close) => Some(b"close"),
        (Version::Http10, Persistence::KeepAlive) => Some(b"keep-alive"),
        (Version::Http11, Persistence::KeepAlive) => None,
    }
}

/// Appends the head of an interim response (1xx): its end-to-end fields, and nothing of the gateway's own.
pub fn informational_head(head: &ResponseHead, out: &mut Vec<u8>) {
    encode::status_line(out, head.status, head.reason());
    response_fields(head, BodyFraming::AsReceived, out);
    encode::end(out);
}

/// What the XSP has sent of the fields that each response has.
#[derive(Clone, Copy, Default)]
struct Given {
    tracking_id: bool,
    date: bool,
}

fn response_fields(head: &ResponseHead, framing: BodyFraming, out: &mut Vec<u8>) -> Given {
    // RFC 9110 section 8.6: neither 1xx nor 204 has a Content-Length, not even zero.
    let without_length = head.status.is_informational() || head.status == StatusCode::NO_CONTENT;
    let options = Options::of(&head.fields);
    let mut given = Given::default();
    for (name, value) in head.fields.iter() {
        match Kind::of(name) {
            Kind::HopByHop | Kind::Te => {}
            Kind::Framing if framing != BodyFraming::AsReceived || without_length => {}
            Kind::Framing => encode::field(out, name, value),
            Kind::TrackingId if value.is_empty() || options.name(name) => {}
            Kind::TrackingId => {
                given.tracking_id = true;
                encode::field(out, name, value);
            }
            Kind::Date => {
                given.date = true;
                encode::field(out, name, value);
            }
            Kind::Kept => encode::field(out, name, value),
            Kind::Other | Kind::Claim | Kind::Cookie | Kind::Expect if options.name(name) => {}
            Kind::Other | Kind::Claim | Kind::Cookie | Kind::Expect => encode::field(out, name, value),
        }
    }
    given
}

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Of this connection alone (RFC 9110 section 7.6.1), or a disguise of such a field.
    HopByHop,
    /// Content-Length, spelled so.
    Framing,
    /// TE, which is asked again.
    Te,
    /// Says something about the client that only a trusted proxy may say.
    Claim,
    /// End-to-end, and never removed by Connection (CVE-2022-31813).
    Kept,
    /// Cookie.
    Cookie,
    /// Expect.
    Expect,
    /// TrackingID.
    TrackingId,
    /// Date, which is never removed by Connection either.
    Date,
    /// End-to-end.
    Other,
}

/// The longest name that is known, and more.
const KNOWN: usize = 32;

impl Kind {
    fn of(name: &[u8]) -> Self {
        let mut buffer = [0; KNOWN];
        let plain = plain(name, &mut buffer);
        match plain {
            b"content-length" if name.eq_ignore_ascii_case(plain) => Self::Framing,
            b"connection"
            | b"keep-alive"
            | b"proxy-connection"
            | b"transfer-encoding"
            | b"content-length"
            | b"upgrade"
            | b"proxy-authorization"
            | b"proxy-authenticate"
            | b"http2-settings" => Self::HopByHop,
            b"te" => Self::Te,
            b"forwarded" | b"x-forwarded" | b"x-real-ip" => Self::Claim,
            b"host" | b"authorization" | b"set-cookie" => Self::Kept,
            b"cookie" => Self::Cookie,
            b"expect" => Self::Expect,
            b"trackingid" => Self::TrackingId,
            b"date" => Self::Date,
            _ if CLAIMS.iter().any(|start| plain.starts_with(start)) => Self::Claim,
            _ => Self::Other,
        }
    }
}

/// How the names of further claims begin. All but the first are what proxies and web containers (Tomcat's SSLValve among
/// them) call a client's certificate.
const CLAIMS: [&[u8]; 16] = [
    b"x-forwarded-",
    b"client-cert",
    b"x-client-cert",
    b"x-client-dn",
    b"x-client-s-dn",
    b"x-client-subject",
    b"x-client-verify",
    b"ssl-",
    b"x-ssl-",
    b"sslclient",
    b"tls-client-",
    b"x-tls-",
    b"x-mtls-",
    b"x-amzn-mtls-",
    b"x-arr-clientcert",
    b"cf-client-cert",
];

/// The first bytes of a name as a careless reader sees it: lower case, all punctuation one and the same (CVE-2025-64484).
fn plain<'b>(name: &[u8], buffer: &'b mut [u8; KNOWN]) -> &'b [u8] {
    let length = name.len().min(KNOWN);
    for (to, from) in buffer.iter_mut().zip(name) {
        *to = if from.is_ascii_alphanumeric() { from.to_ascii_lowercase() } else { b'-' };
    }
    &buffer[..length]
}

/// The connection options of a message: names of fields that go no further.
struct Options<'a>(SmallVec<[&'a [u8]; 4]>);

impl<'a> Options<'a> {
    fn of(fields: &'a Fields) -> Self {
        let listed = fields.get_all("connection").flat_map(|value| value.split(|&byte| byte == b','));
        Self(listed.map(<[u8]>::trim_ascii).filter(|option| !option.is_empty()).collect())
    }

    fn name(&self, field: &[u8]) -> bool {
        self.0.iter().any(|option| option.eq_ignore_ascii_case(field))
    }
}

fn asks_for_trailers(value: &[u8]) -> bool {
    value.split(|&byte| byte == b',').any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

fn content_length(out: &mut Vec<u8>, length: u64) {
    encode::field(out, b"Content-Length", length.to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http1::head::{HeadLimits, parse_request, parse_response};

    const FROM: Downstream<'_> = Downstream {
        peer: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)),
        host: "sni.example.com",
        trusted: Trusted::No,
        tracking_id: "GATEWAY_1",
        cookie: "XSPGATE",
        encodings: Encodings::Any,
        trace: TraceContext::AsReceived,
        via: Via::Off,
    };

    const ADDED_TO_ANSWERS: Added<'_> = Added {
        connection: None,
        set_cookie: None,
        tracking_id: "GATEWAY_1",
        date: || *b"Sun, 06 Nov 1994 08:49:37 GMT",
        via: Via::Off,
    };

    fn request(raw: &str) -> RequestHead {
        parse_request(raw.as_bytes(), &HeadLimits::default()).unwrap().unwrap().0
    }

    fn response(raw: &str, method: &Method) -> ResponseHead {
        parse_response(raw.as_bytes(), &HeadLimits::default(), method).unwrap().unwrap().0
    }

    /// `lines` as a request head with `POST /x?y` and Host, sent on.
    fn sent(lines: &[&str], from: &Downstream<'_>) -> Vec<String> {
        let fields: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let head = request(&format!("POST /x?y HTTP/1.1\r\nHost: Xsp.example.com:8443\r\n{fields}\r\n"));
        let mut out = Vec::new();
        request_head(&head, from, head.framing, &mut out);
        let text = String::from_utf8(out).unwrap();
        let lines = text.strip_prefix("POST /x?y HTTP/1.1\r\nHost: Xsp.example.com:8443\r\n").unwrap();
        lines.strip_suffix("\r\n\r\n").unwrap().split("\r\n").map(str::to_owned).collect()
    }

    const ADDED: [&str; 4] = [
        "X-Forwarded-For: 192.0.2.7",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: Xsp.example.com:8443",
        "TrackingID: GATEWAY_1",
    ];

    #[test]
    fn r_top_1_a_request_gets_what_the_gateway_saw_and_nothing_else() {
        let table: &[(&[&str], &[&str])] = &[
            (&[], &[]),
            (&["accept: */*", "X-Odd:", "ACCEPT: a"], &["accept: */*", "X-Odd: ", "ACCEPT: a"]),
            (&["Connection: keep-alive", "Keep-Alive: timeout=5", "Proxy-Connection: close"], &[]),
            (&["Connection: x-a, ,X-B", "X-A: 1", "x-b: 2", "X-C: 3"], &["X-C: 3"]),
            (
                &["Connection: host, authorization, cookie", "Authorization: Basic x", "Cookie: a=1"],
                &["Authorization: Basic x", "Cookie: a=1"],
            ),
            (
                &[
                    "Proxy-Authorization: x",
                    "proxy_authorization: x",
                    "Transfer_Encoding: chunked",
                    "Content_Length: 3",
                ],
                &[],
            ),
            (&["X-Forwarded-For: 10.0.0.1", "x_forwarded_for: 10.0.0.1", "X-Forwarded-Proto: http"], &[]),
            (&["Forwarded: for=10.0.0.1", "X-Real-IP: 10.0.0.1", "X_REAL_IP: 10.0.0.1", "X.Real.IP: 10.0.0.1"], &[]),
            (&["X-Client-Cert: x", "X-Client-Cert-DN: x", "x_ssl_anything: x", "SSL-Client-Verify: SUCCESS"], &[]),
            (
                &[
                    "ssl_client_cert: x",
                    "SSL_CLIENT_S_DN: x",
                    "ssl.cipher: x",
                    "SSLClientCertSubject: x",
                    "Client-Certificate: x",
                    "X-Client-DN: x",
                    "X_Client_Verify: SUCCESS",
                    "X-Amzn-Mtls-Clientcert-Subject: x",
                    "X-ARR-ClientCert: x",
                    "X-TLS-Client-Subject: x",
                ],
                &[],
            ),
            (
                &["X-Client-Version: 1", "SSL: x", "X-SSL: x", "Clients: x"],
                &["X-Client-Version: 1", "SSL: x", "X-SSL: x", "Clients: x"],
            ),
            (
                &[
                    "X-Forwarded-Client-Cert: x",
                    "Client-Cert: x",
                    "Client_Cert_Chain: x",
                    "x-forwarded-a-name-that-has-no-end: x",
                ],
                &[],
            ),
            (&["Cookie: JSESSIONID=1; XSPGATE=tag; a=b", "Cookie: XSPGATE=tag"], &["Cookie: JSESSIONID=1; a=b"]),
            (&["Expect: 100-continue"], &[]),
            (&["TE: gzip"], &[]),
            (&["Content-Length: 0"], &["Content-Length: 0"]),
            (&["Content-Length: 007", "X: y"], &["X: y", "Content-Length: 7"]),
            (&["Connection: content-length", "Content-Length: 7"], &["Content-Length: 7"]),
            (&["Expect: 100-Continue", "Content-Length: 7"], &["Content-Length: 7", "Expect: 100-continue"]),
            (&["transfer-encoding: Chunked", "Connection: transfer-encoding"], &["Transfer-Encoding: chunked"]),
        ];
        for (lines, expected) in table {
            let expected: Vec<_> = expected.iter().chain(&ADDED).copied().collect();
            assert_eq!(sent(lines, &FROM), expected, "{lines:?}");
        }
    }

    #[test]
    fn trailers_are_asked_for_if_the_client_does() {
        let lines = sent(&["TE: gzip;q=0.5, Trailers", "Connection: TE, close"], &FROM);
        assert_eq!(lines[4..], ["TE: trailers", "Connection: TE"]);
    }

    #[test]
    fn trace_context_passes_until_the_gateway_takes_part() {
        let given = ["traceparent: 00-a-b-01", "TraceState: a=1", "TRACEPARENT: x", "X: y"];
        for (trace, expected) in [
            (TraceContext::AsReceived, &given[..]),
            (TraceContext::Continued, &["TraceState: a=1", "X: y"]),
            (TraceContext::Void, &["X: y"]),
        ] {
            let lines = sent(&given, &Downstream { trace, ..FROM });
            assert_eq!(lines[..lines.len() - ADDED.len()], *expected, "{trace:?}");
        }
    }

    #[test]
    fn a_tracking_id_is_passed_or_made() {
        let lines = sent(&["TRACKINGID: CLIENT_1", "X: y"], &FROM);
        assert_eq!(lines[..2], ["TRACKINGID: CLIENT_1", "X: y"]);
        assert_eq!(lines.len(), 5);
        assert_eq!(sent(&["TrackingID:"], &FROM), ADDED);
        assert_eq!(sent(&["Connection: TrackingID", "TrackingID: x"], &FROM), ADDED);
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_appended_to() {
        let from = Downstream { trusted: Trusted::Yes, peer: "::ffff:192.0.2.9".parse().unwrap(), ..FROM };
        let lines = [
            "X-Forwarded-For: 203.0.113.1, 10.0.0.1",
            "x-forwarded-for:",
            "x-forwarded-for: 10.0.0.2",
            "X_Forwarded_For: spoofed",
            "X-Forwarded-Host: other.example.com",
            "X-Forwarded-Proto: http",
            "X-Real-IP: spoofed",
        ];
        let expected = [
            "X-Forwarded-For: 203.0.113.1, 10.0.0.1, 10.0.0.2, 192.0.2.9",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Host: other.example.com",
            "TrackingID: GATEWAY_1",
        ];
        assert_eq!(sent(&lines, &from), expected);
        let expected = ["X-Forwarded-For: 192.0.2.9", ADDED[1], ADDED[2], ADDED[3]];
        assert_eq!(sent(&[], &from), expected);
    }

    #[test]
    fn framing_follows_the_body_that_is_sent() {
        let table = [
            ("GET", "Content-Length: 0\r\n", RequestFraming::None, None),
            ("POST", "Content-Length: 0\r\n", RequestFraming::None, Some("Content-Length: 0")),
            ("PUT", "Content-Length: 0\r\n", RequestFraming::None, Some("Content-Length: 0")),
            ("PUT", "", RequestFraming::None, None),
            ("POST", "Transfer-Encoding: chunked\r\n", RequestFraming::Length(12), Some("Content-Length: 12")),
            ("POST", "Content-Length: 9\r\n", RequestFraming::Chunked, Some("Transfer-Encoding: chunked")),
        ];
        for (method, field, framing, expected) in table {
            let head = request(&format!("{method} / HTTP/1.1\r\nHost: a\r\n{field}\r\n"));
            let mut out = Vec::new();
            request_head(&head, &FROM, framing, &mut out);
            let text = String::from_utf8(out).unwrap();
            let frames =
                |line: &&str| ["Content-Length:", "Transfer-Encoding:"].iter().any(|name| line.starts_with(name));
            let framed: Vec<_> = text.lines().filter(frames).collect();
            assert_eq!(framed, Vec::from_iter(expected), "{method} {field}");
        }
    }

    fn answered(raw: &str, method: &Method, framing: BodyFraming, persistence: Persistence) -> String {
        let mut out = Vec::new();
        let connection = connection(Version::Http11, persistence);
        let added = Added { connection, set_cookie: Some(b"XSPGATE=t; Path=/"), ..ADDED_TO_ANSWERS };
        response_head(&response(raw, method), framing, &added, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_response_passes_with_framing_cookie_and_tracking_id() {
        let raw = "HTTP/1.1 200 Fine\r\nSet-Cookie: JSESSIONID=1; Path=/dms\r\nKeep-Alive: x\r\nConnection: close, x-a\r\n\
                   X-A: 1\r\nTransfer-Encoding: chunked\r\nServer: x\r\n\r\n";
        let expected = "HTTP/1.1 200 Fine\r\nSet-Cookie: JSESSIONID=1; Path=/dms\r\nServer: x\r\nTransfer-Encoding: chunked\r\n\
                        Set-Cookie: XSPGATE=t; Path=/\r\nTrackingID: GATEWAY_1\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
        assert_eq!(answered(raw, &Method::GET, BodyFraming::Chunked, Persistence::KeepAlive), expected);

        let raw = "HTTP/1.1 404 \r\ncontent-length: 5\r\ntrackingid: XSP\r\nProxy-Authenticate: x\r\nDATE: now\r\n\r\n";
        let expected = "HTTP/1.1 404 \r\ncontent-length: 5\r\ntrackingid: XSP\r\nDATE: now\r\nSet-Cookie: XSPGATE=t; Path=/\r\n\
                        Connection: close\r\n\r\n";
        assert_eq!(answered(raw, &Method::GET, BodyFraming::AsReceived, Persistence::Close), expected);
    }

    #[test]
    fn a_message_says_by_which_version_it_has_come_behind_what_others_say() {
        for via in [Via::Requests, Via::Both] {
            let lines = sent(&["Via: 1.0 fred", "X: y", "via: 1.1 p.example.net"], &Downstream { via, ..FROM });
            let added =
                [&["Via: 1.0 fred", "X: y", "via: 1.1 p.example.net"][..], &ADDED, &["Via: 1.1 gateway"]].concat();
            assert_eq!(lines, added);
        }
        let mut out = Vec::new();
        let from = Downstream { via: Via::Requests, ..FROM };
        request_head(&request("GET /x HTTP/1.0\r\n\r\n"), &from, RequestFraming::None, &mut out);
        assert!(out.ends_with(b"\r\nVia: 1.0 gateway\r\n\r\n"));
        for (via, version, expected) in [
            (Via::Both, "1.1", Some("1.1 gateway")),
            (Via::Both, "1.0", Some("1.0 gateway")),
            (Via::Requests, "1.1", None),
        ] {
            let head = response(&format!("HTTP/{version} 200 OK\r\nContent-Length: 0\r\n\r\n"), &Method::GET);
            let mut out = Vec::new();
            response_head(&head, BodyFraming::AsReceived, &Added { via, ..ADDED_TO_ANSWERS }, &mut out);
            let text = String::from_utf8(out).unwrap();
            assert_eq!(text.lines().find_map(|line| line.strip_prefix("Via: ")), expected);
        }
    }

    #[test]
    fn head_and_304_keep_their_length_and_204_has_none() {
        let length = |status: &str, method: Method, length: u8| {
            let raw = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n");
            let text = answered(&raw, &method, BodyFraming::AsReceived, Persistence::KeepAlive);
            text.contains("Content-Length: ")
        };
        assert!(length("200 OK", Method::HEAD, 9));
        assert!(length("304 Not Modified", Method::GET, 9));
        assert!(length("200 OK", Method::GET, 0));
        assert!(!length("204 No Content", Method::GET, 0));
    }

    #[test]
    fn a_request_without_host_gets_one() {
        for (line, host) in [("GET /x HTTP/1.0", "sni.example.com"), ("GET https://a:8443/x HTTP/1.0", "a:8443")] {
            let mut out = Vec::new();
            request_head(&request(&format!("{line}\r\nAccept: */*\r\n\r\n")), &FROM, RequestFraming::None, &mut out);
            let text = String::from_utf8(out).unwrap();
            assert!(text.starts_with(&format!("GET /x HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n")), "{text}");
            assert!(text.contains(&format!("\r\nX-Forwarded-Host: {host}\r\n")), "{text}");
        }
    }

    #[test]
    fn an_offered_upgrade_ends_here() {
        let lines = sent(
            &["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c, TLS/1.2", "HTTP2-Settings: AAMAAABkAARAAAAA"],
            &FROM,
        );
        assert_eq!(lines, ADDED);
    }

    #[test]
    fn what_is_said_of_the_connection_is_what_does_not_go_without_saying() {
        let cases = [
            (Version::Http11, Persistence::KeepAlive, None),
            (Version::Http11, Persistence::Close, Some(&b"close"[..])),
            (Version::Http10, Persistence::KeepAlive, Some(b"keep-alive")),
            (Version::Http10, Persistence::Close, Some(b"close")),
        ];
        for (version, persistence, said) in cases {
            assert_eq!(connection(version, persistence), said, "{version:?} {persistence:?}");
        }
    }

    #[test]
    fn a_body_until_the_end_has_no_length() {
        let text = answered(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            &Method::GET,
            BodyFraming::UntilClose,
            Persistence::Close,
        );
        assert!(text.contains("\r\nConnection: close\r\n") && !text.contains("Transfer-Encoding"));
    }

    #[test]
    fn interim_responses_pass_with_nothing_added() {
        let raw = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\nX: 1\r\nContent-Length: 0\r\n\r\n";
        let mut out = Vec::new();
        informational_head(&response(raw, &Method::GET), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    }

    /// How a name looks to a reader that takes all punctuation for the same.
    fn disguised(name: &str) -> impl Strategy<Value = String> + use<> {
        let name = name.to_owned();
        let marks = prop::sample::select(vec!['-', '_', '.', '-']);
        prop::collection::vec((any::<bool>(), marks), name.len()).prop_map(move |choices| {
            let change = |(c, (upper, mark)): (char, (bool, char))| match c {
                '-' => mark,
                _ if upper => c.to_ascii_uppercase(),
                _ => c,
            };
            name.chars().zip(choices).map(change).collect()
        })
    }

    const GATEWAYS_OWN: [&str; 18] = [
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-client-cert",
        "x-forwarded-a-very-long-name-beyond-any-table",
        "x-real-ip",
        "x-client-cert",
        "x-client-cert-subject-dn",
        "x-ssl-client-verify",
        "ssl-client-cert",
        "client-cert",
        "client-cert-chain",
        "ssl-session-id",
        "x-client-verify",
        "sslclientcertstatus",
        "x-amzn-mtls-clientcert-leaf",
    ];
    const HOP_BY_HOP: [&str; 7] = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "proxy-authorization",
        "proxy-authenticate",
        "http2-settings",
    ];
    const PASSING: [&str; 9] =
        ["accept", "x-a", "x-b", "content-type", "authorization", "x-forward", "x-sslx", "forwarded-by", "date"];

    fn field_line() -> impl Strategy<Value = (String, String)> {
        let names = GATEWAYS_OWN.iter().chain(&HOP_BY_HOP).chain(&PASSING).chain(&PASSING);
        let name = prop::sample::select(names.copied().collect::<Vec<_>>()).prop_flat_map(disguised);
        let value =
            prop::sample::select(vec!["", "1", "x-a", "X-B, close", "trailers", "10.0.0.1", "host,authorization"]);
        (name, value.prop_map(str::to_owned))
    }

    fn naive(name: &str) -> String {
        name.to_ascii_lowercase().replace(['_', '.'], "-")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn nothing_hop_by_hop_or_spoofed_leaves_and_all_else_is_unchanged(
            lines in prop::collection::vec(field_line(), 0..16)
        ) {
            let fields: String = lines.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let head = request(&format!("GET /a HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n"));
            let mut out = Vec::new();
            request_head(&head, &FROM, head.framing, &mut out);
            let again = request(std::str::from_utf8(&out).unwrap());
            prop_assert_eq!(again.target(), head.target());
            prop_assert_eq!(again.framing, RequestFraming::None);

            let lower = |(name, value): &(String, String)| (name.to_ascii_lowercase(), value.clone());
            let options: Vec<String> = lines.iter().map(lower).filter(|(name, _)| name == "connection")
                .flat_map(|(_, value)| value.split(',').map(|option| option.trim().to_ascii_lowercase()).collect::<Vec<_>>()).collect();
            let passes = |(name, _): &&(String, String)| {
                let named = options.contains(&name.to_ascii_lowercase()) && !name.eq_ignore_ascii_case("authorization");
                !named && !GATEWAYS_OWN.contains(&&*naive(name)) && !HOP_BY_HOP.contains(&&*naive(name))
            };
            let mut expected: Vec<(String, String)> = vec![("Host".into(), "a.example".into())];
            expected.extend(lines.iter().filter(passes).cloned());
            expected.push(("X-Forwarded-For".into(), "192.0.2.7".into()));
            expected.push(("X-Forwarded-Proto".into(), "https".into()));
            expected.push(("X-Forwarded-Host".into(), "a.example".into()));
            expected.push(("TrackingID".into(), "GATEWAY_1".into()));
            if lines.iter().map(lower).any(|(name, value)| name == "te" && value == "trailers") {
                expected.push(("TE".into(), "trailers".into()));
                expected.push(("Connection".into(), "TE".into()));
            }
            let found: Vec<(String, String)> = again.fields.iter()
                .map(|(name, value)| [name, value].map(|part| String::from_utf8(part.to_vec()).unwrap()).into()).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn nothing_hop_by_hop_reaches_a_client(lines in prop::collection::vec(field_line(), 0..16)) {
            let fields: String = lines.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let head = response(&format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n{fields}\r\n"), &Method::GET);
            let mut out = Vec::new();
            response_head(&head, BodyFraming::AsReceived, &ADDED_TO_ANSWERS, &mut out);
            let again = response(std::str::from_utf8(&out).unwrap(), &Method::GET);
            prop_assert_eq!(again.framing, head.framing);
            prop_assert_eq!(again.persistence, Persistence::KeepAlive);
            for (name, _) in again.fields.iter() {
                prop_assert!(!HOP_BY_HOP.contains(&&*naive(std::str::from_utf8(name).unwrap())));
            }
        }
    }
}
