//! Lines of the access log for people. Separate from the events, because programs are told in full, and people what they look
//! for first: who asked for what, what came of it, and where it was tried.

use std::fmt::Display;
use std::io::Write;
use std::time::Duration;

use super::{Access, Attempted, Connection, LEVEL, Opened, TARGET, cut};
use crate::telemetry::json;

/// What stands before each event, as before any other line of the log.
pub(super) fn begin(out: &mut Vec<u8>, time: Duration) {
    json::moment(out, time);
    put(out, format_args!("  {LEVEL} {TARGET}: "));
}

pub(super) fn request(event: &Access<'_>, out: &mut Vec<u8>) {
    let method = if event.method.is_empty() { "-" } else { event.method };
    put(out, format_args!("{method} "));
    text(out, &cut::path(if event.path.is_empty() { "-" } else { event.path }));
    match event.status {
        Some(status) => put(out, format_args!(" {status}")),
        None => put(out, " no answer"),
    }
    put(out, format_args!(" in {}", milliseconds(event.took)));
    pair(out, "client", Some(event.client));
    name(out, "peer", event.peer);
    name(out, "host", event.host);
    pair(out, "interface", event.interface);
    pair(out, "farm", event.farm);
    pair(out, "origin", Some(event.origin));
    pair(out, "reason", event.reason);
    pair(out, "session", event.session);
    name(out, "channel", event.channel);
    pair(out, "received", Some(event.received));
    pair(out, "sent", Some(event.sent));
    attempts(out, event.attempts);
    pair(out, "listener", Some(event.listener));
    name(out, "tracking_id", Some(&cut::tracking_id(event.tracking_id)));
    pair(out, "trace_id", event.trace_id);
}

pub(super) fn opened(event: &Opened<'_>, out: &mut Vec<u8>) {
    put(out, format_args!("{} open at {}", event.kind, event.endpoint));
    pair(out, "client", Some(event.client));
    name(out, "peer", event.peer);
    pair(out, "farm", Some(event.farm));
    name(out, "channel", event.channel);
    pair(out, "listener", Some(event.listener));
    name(out, "tracking_id", event.tracking_id.map(cut::tracking_id).as_deref());
}

pub(super) fn connection(event: &Connection<'_>, out: &mut Vec<u8>) {
    put(out, format_args!("{} connection {} after {}", event.kind, event.reason, milliseconds(event.took)));
    pair(out, "client", Some(event.client));
    name(out, "peer", event.peer);
    name(out, "host", event.host);
    pair(out, "farm", Some(event.farm));
    pair(out, "received", Some(event.received));
    pair(out, "sent", Some(event.sent));
    attempts(out, event.attempts);
    pair(out, "listener", Some(event.listener));
}

/// Where it was tried, in order: `tried=[192.0.2.10:443 pinned 5xx 503 3.1 ms, 192.0.2.11:443 random success 200 1.2 ms]`.
fn attempts(out: &mut Vec<u8>, attempts: &[Attempted]) {
    if attempts.is_empty() {
        return;
    }
    put(out, " tried=[");
    for (index, attempt) in attempts.iter().enumerate() {
        let before = if index == 0 { "" } else { ", " };
        let Attempted { endpoint, chosen, outcome, status, took, .. } = attempt;
        put(out, format_args!("{before}{endpoint} {chosen} {}", outcome.name()));
        status.iter().for_each(|status| put(out, format_args!(" {status}")));
        put(out, format_args!(" {}", milliseconds(*took)));
    }
    put(out, "]");
}

/// What others have written.
fn name(out: &mut Vec<u8>, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        put(out, format_args!(" {key}="));
        text(out, value);
    }
}

/// What the gateway has written itself.
fn pair(out: &mut Vec<u8>, key: &str, value: Option<impl Display>) {
    value.into_iter().for_each(|value| put(out, format_args!(" {key}={value}")));
}

/// As it is where nothing in it could be taken for something else, and as JSON writes it where it could.
fn text(out: &mut Vec<u8>, value: &str) {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    match !value.is_empty() && value.bytes().all(is_plain) {
        true => put(out, value),
        false => json::string(out, value),
    }
}

fn milliseconds(time: Duration) -> impl Display {
    let micros = time.as_micros();
    std::fmt::from_fn(move |f| write!(f, "{}.{:03} ms", micros / 1000, micros % 1000))
}

fn put(out: &mut Vec<u8>, value: impl Display) {
    // Memory takes all that is written to it.
    write!(out, "{value}").ok();
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::config::model::LogFormat;
    use crate::policy::fault::{AttemptEnd, Fault};
    use crate::telemetry::access::write_line;

    fn attempt(endpoint: &str, outcome: AttemptEnd, status: Option<u16>) -> Attempted {
        let took = Duration::from_micros(1_200);
        Attempted { endpoint: endpoint.into(), chosen: "random", outcome, status, reused: false, took }
    }

    #[test]
    fn a_request_is_one_line_that_reads_from_left_to_right() {
        let attempts = [
            attempt("192.0.2.10:443", AttemptEnd::Fault(Fault::Refused), None),
            attempt("192.0.2.11:443", AttemptEnd::Success, Some(200)),
        ];
        let event = Access {
            time: Duration::new(1_796_051_210, 120_000_000),
            client: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)),
            peer: Some("CN=a \"b\",O=c"),
            listener: "0.0.0.0:443",
            host: Some("xsp.example.com"),
            interface: Some("xsi-actions"),
            farm: Some("xsp"),
            method: "GET",
            path: "/com.broadsoft.xsi-actions/\u{9b}2J",
            status: Some(200),
            origin: "xsp",
            reason: None,
            tracking_id: "T 1",
            trace_id: None,
            session: Some("new"),
            channel: None,
            received: 0,
            sent: 12,
            took: Duration::from_micros(3_050),
            attempts: &attempts,
        };
        let mut line = Vec::new();
        write_line(&mut line, LogFormat::Human, &event);
        let expected = "2026-11-30T15:06:50.120000Z  INFO xspgate::access: GET \"/com.broadsoft.xsi-actions/\\u009b2J\" 200 in \
            3.050 ms client=198.51.100.7 peer=\"CN=a \\\"b\\\",O=c\" host=xsp.example.com interface=xsi-actions farm=xsp \
            origin=xsp session=new received=0 sent=12 tried=[192.0.2.10:443 random refused 1.200 ms, 192.0.2.11:443 \
            random success 200 1.200 ms] listener=0.0.0.0:443 tracking_id=\"T 1\"\n";
        assert_eq!(String::from_utf8(line).unwrap(), expected);
    }

    #[test]
    fn what_is_opened_says_where() {
        let event = Opened {
            time: Duration::ZERO,
            kind: "channel",
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            peer: None,
            listener: "0.0.0.0:443",
            farm: "xsp",
            endpoint: "192.0.2.10:443",
            tracking_id: Some("T1"),
            channel: Some("a b"),
        };
        let mut line = Vec::new();
        write_line(&mut line, LogFormat::Human, &event);
        let expected = "1970-01-01T00:00:00.000000Z  INFO xspgate::access: channel open at 192.0.2.10:443 client=127.0.0.1 \
            farm=xsp channel=\"a b\" listener=0.0.0.0:443 tracking_id=T1\n";
        assert_eq!(String::from_utf8(line).unwrap(), expected);
    }

    #[test]
    fn a_connection_is_one_line_too() {
        let event = Connection {
            time: Duration::ZERO,
            kind: "cti",
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            listener: "0.0.0.0:8012",
            host: None,
            peer: Some("CN=webex"),
            farm: "cti",
            reason: "no-xsp",
            received: 3,
            sent: 0,
            took: Duration::from_secs(2),
            attempts: &[],
        };
        let mut line = Vec::new();
        write_line(&mut line, LogFormat::Human, &event);
        let expected = "1970-01-01T00:00:00.000000Z  INFO xspgate::access: cti connection no-xsp after 2000.000 ms \
            client=127.0.0.1 peer=CN=webex farm=cti received=3 sent=0 listener=0.0.0.0:8012\n";
        assert_eq!(String::from_utf8(line).unwrap(), expected);
    }
}
