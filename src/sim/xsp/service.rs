//! One request at a simulated XSP: recorded, mistreated as the behaviour wants it, and answered by its application.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::sync::mpsc;

use super::answer::{Answer, Content, Draft, html, json, text};
use super::channels::Channels;
use super::connection::Ending;
use super::record::{BODY_KEPT, Entry};
use super::{Behaviour, Shared, dms, xsi_actions, xsi_events};

/// A request's head as the applications see it.
pub(super) struct Asked<'a> {
    pub(super) head: &'a Parts,
    /// The path's segments behind the application's context, as they came.
    pub(super) segments: Vec<&'a str>,
    /// The first 64 KiB of the body; of a channel request that goes on, its first piece.
    pub(super) body: &'a [u8],
}

impl Asked<'_> {
    /// The value of a parameter of the query, as it came.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let pairs = self.head.uri.query().unwrap_or_default().split('&');
        pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// Whether the caller wants JSON rather than XML.
    pub(super) fn wants_json(&self) -> bool {
        self.parameter("format") == Some("json")
            || self.head.headers.get(header::ACCEPT).is_some_and(|accept| accept == "application/json")
    }

    /// Method and lower-case segments, to match on. HEAD is asked as GET.
    pub(super) fn words(&self) -> (&str, Vec<String>) {
        let method = if self.head.method == Method::HEAD { "GET" } else { self.head.method.as_str() };
        (method, self.segments.iter().map(|segment| segment.to_ascii_lowercase()).collect())
    }
}

/// Answers one request.
pub(super) async fn respond(
    shared: Arc<Shared>,
    connection: u64,
    ending: mpsc::UnboundedSender<Ending>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let (head, body) = request.into_parts();
    let mut exchange = shared.ledger.begin(&head, connection);
    if let Some(channel) = xsi_events::heartbeat_of(&head) {
        shared.channels.note_heartbeat(&channel);
    }
    let behaviour = shared.behaviour.lock().clone().at(head.uri.path());

    let content = content(&shared, &head, body, &exchange.entry).await;
    let application = |ending| application(&shared, &head, &content, ending);
    let draft = match behaviour {
        Behaviour::Hang => std::future::pending().await,
        Behaviour::Reset => end_with(&ending, Ending::Reset).await,
        Behaviour::Close => end_with(&ending, Ending::Bytes(Vec::new())).await,
        Behaviour::Garbage(bytes) => end_with(&ending, Ending::Bytes(bytes)).await,
        Behaviour::ResetMidBody => Response::new(Content::Cut(Bytes::from_static(&[b'x'; 1000]), ending)),
        Behaviour::Status(status) => html(status),
        Behaviour::Redirect(location) => redirect(&location),
        Behaviour::Slow(delay) => {
            tokio::time::sleep(delay).await;
            application(ending)
        }
        Behaviour::Slots(most, time) => {
            shared.slots.take(most, time).await;
            application(ending)
        }
        Behaviour::PerUser(most) if !shared.limit.admits(&head, most) => html(StatusCode::SERVICE_UNAVAILABLE),
        Behaviour::Normal
        | Behaviour::Refuse
        | Behaviour::SilentTcp
        | Behaviour::SlowHandshake(_)
        | Behaviour::PlainText
        | Behaviour::Certificate(_)
        | Behaviour::PerUser(_)
        | Behaviour::On(..) => application(ending),
    };
    if head.method == Method::HEAD {
        exchange.answered();
    }
    let (mut parts, content) = draft.into_parts();
    parts.headers.insert("x-xsp", HeaderValue::from_str(&shared.name).expect("names of XSPs are ASCII"));
    if let Some(id) = head.headers.get("trackingid") {
        parts.headers.insert("trackingid", id.clone());
    }
    Ok(Response::from_parts(parts, Answer::new(content, exchange)))
}

async fn end_with(ending: &mpsc::UnboundedSender<Ending>, how: Ending) -> Draft {
    let _ = ending.send(how);
    std::future::pending().await
}

/// What an application is shown of a body.
async fn content(shared: &Shared, head: &Parts, mut body: Incoming, entry: &Entry) -> Vec<u8> {
    // A channel may be acknowledged on its own open request: its answer does not wait for the body's end.
    if xsi_events::opens_channel(head) && body.size_hint().exact().is_none() {
        let first = piece(&mut body, entry).await.unwrap_or_default();
        tokio::spawn(read_responses(body, entry.clone(), shared.channels.clone()));
        return first.to_vec();
    }
    let mut kept = Vec::new();
    while let Some(data) = piece(&mut body, entry).await {
        let room = BODY_KEPT.saturating_sub(kept.len());
        kept.extend_from_slice(&data[..data.len().min(room)]);
    }
    kept
}

/// The next piece of a body; `None` at its end, however it ends.
async fn piece(body: &mut Incoming, entry: &Entry) -> Option<Bytes> {
    loop {
        if let Ok(data) = body.frame().await?.ok()?.into_data() {
            entry.body(&data);
            return Some(data);
        }
    }
}

/// Reads on in a channel request, whose client may acknowledge events there.
async fn read_responses(mut body: Incoming, entry: Entry, channels: Channels) {
    let mut unread = String::new();
    while let Some(data) = piece(&mut body, &entry).await {
        unread.push_str(&String::from_utf8_lossy(&data));
        while let Some((response, rest)) = unread.split_once("EventResponse>") {
            xsi_events::acknowledge(&channels, response.as_bytes());
            unread = rest.to_owned();
        }
    }
}

fn redirect(location: &str) -> Draft {
    let mut draft = html(StatusCode::FOUND);
    draft.headers_mut().insert(header::LOCATION, HeaderValue::from_str(location).expect("the test gives ASCII"));
    draft
}

/// Finds the application of a path and lets it answer.
fn application(shared: &Shared, head: &Parts, body: &[u8], ending: mpsc::UnboundedSender<Ending>) -> Draft {
    // As Tomcat does: without empty segments, and without parameters.
    let names = head.uri.path().split('/').map(|segment| segment.split(';').next().unwrap_or_default());
    let mut segments: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
    if segments.is_empty() {
        return html(StatusCode::NOT_FOUND);
    }
    let context = segments.remove(0).to_ascii_lowercase();
    let (mut draft, cookie_path) = match context.as_str() {
        "com.broadsoft.xsi-actions" => {
            (xsi_actions::answer(&Asked { head, segments, body }), Some("/com.broadsoft.xsi-actions"))
        }
        "com.broadsoft.xsi-events" => {
            let asked = Asked { head, segments, body };
            (xsi_events::answer(&shared.channels, &asked, ending), Some("/com.broadsoft.xsi-events"))
        }
        "com.broadsoft.async" => {
            segments = segments.split_off(segments.len().min(1));
            let asked = Asked { head, segments, body };
            (xsi_events::answer(&shared.channels, &asked, ending), Some("/com.broadsoft.xsi-events"))
        }
        "authservice" => (token(&Asked { head, segments, body }), None),
        "dms" => (dms::answer(&shared.name, &Asked { head, segments, body }), None),
        "callsettings" => {
            let page = format!("<html><body>Call settings at {}</body></html>", shared.name);
            (text(StatusCode::OK, "text/html;charset=utf-8", page), Some("/callsettings"))
        }
        _ => (html(StatusCode::NOT_FOUND), None),
    };
    // Each web application has a session cookie of its own.
    if let Some(path) = cookie_path.filter(|_| !has_session(head)) {
        let cookie = format!("JSESSIONID={:032X}; Path={path}; Secure; HttpOnly", rand::random::<u128>());
        draft.headers_mut().append(header::SET_COOKIE, HeaderValue::from_str(&cookie).expect("it is ASCII"));
    }
    draft
}

fn has_session(head: &Parts) -> bool {
    head.headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("JSESSIONID="))
}

/// The Authentication Service: a token for a user, or for a key.
fn token(asked: &Asked<'_>) -> Draft {
    let (method, words) = asked.words();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match (method, words.as_slice()) {
        ("GET", ["token", _]) => {
            json(StatusCode::OK, "{\"token\":{\"bearer\":\"eyJhbGciOiJub25lIn0.e30.\"}}".to_owned())
        }
        ("GET", ["token"]) if asked.parameter("key").is_some() => {
            json(StatusCode::OK, "{\"token\":{\"bearer\":\"eyJhbGciOiJub25lIn0.e30.\"}}".to_owned())
        }
        ("GET", ["token"]) => html(StatusCode::FORBIDDEN),
        _ => html(StatusCode::NOT_FOUND),
    }
}
