//! Xsi-Events on a simulated XSP: channels with their streams and heartbeats, subscriptions in outline.

use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use tokio::sync::mpsc;

use super::answer::{Content, Draft, empty, error_info, xml};
use super::channels::{Application, ChannelSet, Channels};
use super::connection::Ending;
use super::documents::{text_of, uuid};
use super::service::Asked;

/// Whether a request opens a channel.
pub(super) fn opens_channel(head: &Parts) -> bool {
    let path = head.uri.path().to_ascii_lowercase();
    head.method == Method::POST && path.starts_with("/com.broadsoft.async/") && path.ends_with("/channel")
}

/// The channel whose heartbeat a request is.
pub(super) fn heartbeat_of(head: &Parts) -> Option<String> {
    let path = head.uri.path().to_ascii_lowercase();
    let id = path.strip_suffix("/heartbeat")?.rsplit_once("/channel/")?.1;
    (head.method == Method::PUT).then(|| id.to_owned())
}

/// Answers a request below `/com.broadsoft.xsi-events`, with or without `/com.broadsoft.async` before it.
pub(super) fn answer(channels: &Channels, asked: &Asked<'_>, ending: mpsc::UnboundedSender<Ending>) -> Draft {
    if opens_channel(asked.head) {
        return open(channels, asked, ending);
    }
    let (method, words) = asked.words();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match (method, words.as_slice()) {
        ("GET", ["v2.0", "versions"]) => {
            xml(StatusCode::OK, "<Versions xmlns=\"http://schema.broadsoft.com/xsi\"><version>2.0</version></Versions>")
        }
        ("POST", ["v2.0", "channel", "eventresponse"]) => acknowledge(channels, asked.body),
        ("PUT", ["v2.0", "channel", id, "heartbeat"]) => heartbeat(channels, id),
        ("PUT", ["v2.0", "channel", id]) if channels.is_open(id) => empty(),
        ("PUT", ["v2.0", "channel", _]) => error_info(StatusCode::NOT_FOUND, "Channel not found", "110850"),
        ("DELETE", ["v2.0", "channel", id]) if channels.delete(id) => empty(),
        ("DELETE", ["v2.0", "channel", _]) => error_info(StatusCode::FORBIDDEN, "Channel not found", "110850"),
        ("GET", ["v2.0", "channelset", _]) => error_info(StatusCode::FORBIDDEN, "Channel set not found", "110842"),
        ("POST", ["v2.0", "user" | "serviceprovider" | "enterprise", ..]) => subscription(),
        ("GET" | "PUT", ["v2.0", "subscription", _]) => subscription(),
        ("DELETE", ["v2.0", "subscription", _]) => empty(),
        _ => error_info(StatusCode::NOT_FOUND, "Resource not found", "111402"),
    }
}

fn open(channels: &Channels, asked: &Asked<'_>, ending: mpsc::UnboundedSender<Ending>) -> Draft {
    let mut draft = Response::new(Content::Channel(channels.open(channel_set(asked), ending)));
    draft.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml;charset=UTF-8"));
    let tracking = HeaderValue::from_str(&uuid()).expect("it is ASCII");
    draft.headers_mut().insert("trackingid", tracking);
    draft
}

/// The channel set that a channel request names. One without an application replaces none.
fn channel_set(asked: &Asked<'_>) -> Option<ChannelSet> {
    let body = String::from_utf8_lossy(asked.body);
    let credentials = asked.head.headers.get(header::AUTHORIZATION).map(|field| field.as_bytes().to_vec());
    let id = text_of(&body, "applicationId")?;
    let application = Application { credentials: credentials.unwrap_or_default(), id };
    Some(ChannelSet { application, id: text_of(&body, "channelSetId").unwrap_or_else(uuid) })
}

/// Takes an acknowledgement, on its own or up a channel's open request.
pub(super) fn acknowledge(channels: &Channels, response: &[u8]) -> Draft {
    match text_of(&String::from_utf8_lossy(response), "eventID") {
        Some(event) if !channels.acknowledge(&event) => error_info(StatusCode::NOT_FOUND, "Event not found", "110851"),
        Some(_) | None => empty(),
    }
}

fn heartbeat(channels: &Channels, id: &str) -> Draft {
    if channels.heartbeat(id) { empty() } else { error_info(StatusCode::NOT_FOUND, "Channel not found", "110850") }
}

fn subscription() -> Draft {
    let element = format!(
        "<Subscription xmlns=\"http://schema.broadsoft.com/xsi\"><subscriptionId>{}</subscriptionId>\
         <expires>3600</expires></Subscription>",
        uuid()
    );
    xml(StatusCode::OK, &element)
}
