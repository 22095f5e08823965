//! Xsi-Events on a simulated XSP: channels with their streams and heartbeats, subscriptions in outline.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use tokio::sync::mpsc;

use super::answer::{Content, Draft, empty, error_info, xml};
use super::channels::Channels;
use super::connection::Ending;
use super::service::Asked;

const XML_DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
const HEARTBEAT: &str = "<ChannelHeartBeat xmlns=\"http://schema.broadsoft.com/xsi\"/>";

/// Whether a request opens a channel.
pub(super) fn opens_channel(head: &Parts) -> bool {
    let path = head.uri.path().to_ascii_lowercase();
    head.method == Method::POST && path.starts_with("/com.broadsoft.async/") && path.ends_with("/channel")
}

/// Answers a request below `/com.broadsoft.xsi-events`, with or without `/com.broadsoft.async` before it.
pub(super) fn answer(channels: &Channels, asked: &Asked<'_>, ending: mpsc::UnboundedSender<Ending>) -> Draft {
    if opens_channel(asked.head) {
        return open(channels, ending);
    }
    let (method, words) = asked.words();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match (method, words.as_slice()) {
        ("GET", ["v2.0", "versions"]) => {
            xml(StatusCode::OK, "<Versions xmlns=\"http://schema.broadsoft.com/xsi\"><version>2.0</version></Versions>")
        }
        ("POST", ["v2.0", "channel", "eventresponse"]) => empty(),
        ("PUT", ["v2.0", "channel", id, "heartbeat"]) => heartbeat(channels, id),
        ("PUT", ["v2.0", "channel", id]) if channels.is_open(id) => empty(),
        ("DELETE", ["v2.0", "channel", id]) if channels.end(id) => empty(),
        ("DELETE", ["v2.0", "channel", _]) => error_info(StatusCode::FORBIDDEN, "Channel not found", "110850"),
        ("GET", ["v2.0", "channelset", _]) => error_info(StatusCode::FORBIDDEN, "Channel set not found", "110842"),
        ("POST", ["v2.0", "user" | "serviceprovider" | "enterprise", ..]) => subscription(),
        ("GET" | "PUT", ["v2.0", "subscription", _]) => subscription(),
        ("DELETE", ["v2.0", "subscription", _]) => empty(),
        _ => error_info(StatusCode::NOT_FOUND, "Resource not found", "111402"),
    }
}

fn open(channels: &Channels, ending: mpsc::UnboundedSender<Ending>) -> Draft {
    let id = uuid();
    let first = format!(
        "{XML_DECLARATION}<Channel xmlns=\"http://schema.broadsoft.com/xsi\"><channelId>{id}</channelId>\
         <expires>86400</expires></Channel>"
    );
    let mut draft = Response::new(Content::Channel(channels.open(&id, Bytes::from(first), ending)));
    draft.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml;charset=UTF-8"));
    draft
}

fn heartbeat(channels: &Channels, id: &str) -> Draft {
    if channels.publish(id, Bytes::from(format!("{XML_DECLARATION}{HEARTBEAT}"))) {
        empty()
    } else {
        error_info(StatusCode::NOT_FOUND, "Channel not found", "110850")
    }
}

fn subscription() -> Draft {
    let element = format!(
        "<Subscription xmlns=\"http://schema.broadsoft.com/xsi\"><subscriptionId>{}</subscriptionId>\
         <expires>3600</expires></Subscription>",
        uuid()
    );
    xml(StatusCode::OK, &element)
}

fn uuid() -> String {
    let hex = format!("{:032x}", rand::random::<u128>());
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
