//! What a request means to the Xsi interfaces, as method and path say. Separate from [`channel`](super::channel), because
//! that one knows ids and streams, and this one the requests that are about them.

use std::borrow::Cow;

use http::Method;

use super::channel::ChannelId;
use super::interface::Interface;

/// What a request is, as far as the gateway treats it differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Opens an event channel, whose stream is the answer.
    OpenChannel,
    /// Keeps this channel alive.
    Heartbeat(ChannelId),
    /// Names this channel for another reason: a refresh, a deletion, and anything else below a channel.
    Channel(ChannelId),
    /// Acknowledges events. It names no channel.
    Acknowledge,
    /// Anything else.
    Other,
}

impl Intent {
    /// The intent of a request to `interface`. `path` is the raw path, without its query; what stands before its version
    /// (`/v2.0/`) is the operator's choice. Empty segments and the parameters of segments say nothing, as to the XSPs' web
    /// container.
    pub fn of(interface: Interface, method: &Method, path: &[u8]) -> Self {
        match interface {
            Interface::XsiEvents => Self::of_event_request(method, path),
            Interface::XsiActions | Interface::AuthService | Interface::Dms | Interface::CallSettings => Self::Other,
        }
    }

    /// The channel that the request names.
    pub const fn channel(&self) -> Option<&ChannelId> {
        match self {
            Self::Heartbeat(id) | Self::Channel(id) => Some(id),
            Self::OpenChannel | Self::Acknowledge | Self::Other => None,
        }
    }

    fn of_event_request(method: &Method, path: &[u8]) -> Self {
        let Some(mut below) = below_channel(path) else { return Self::Other };
        let Some(segment) = below.next() else {
            return if method == Method::POST { Self::OpenChannel } else { Self::Other };
        };
        if reads_as(segment, b"eventresponse") {
            return if method == Method::POST && below.next().is_none() { Self::Acknowledge } else { Self::Other };
        }
        let Some(id) = percent_decoded(segment).and_then(|decoded| ChannelId::new(&decoded)) else {
            return Self::Other;
        };
        let is_heartbeat = method == Method::PUT
            && below.next().is_some_and(|segment| reads_as(segment, b"heartbeat"))
            && below.next().is_none();
        if is_heartbeat { Self::Heartbeat(id) } else { Self::Channel(id) }
    }
}

/// The segments behind the first `/v2.0/channel`, or that of another version.
fn below_channel(path: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let mut segments = segments(path);
    while let Some(segment) = segments.next() {
        if is_version(segment) && segments.clone().next().is_some_and(|next| reads_as(next, b"channel")) {
            segments.next();
            return Some(segments);
        }
    }
    None
}

/// The segments that are not empty, each without its parameters.
fn segments(path: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    let names = path.split(|&byte| byte == b'/').map(|segment| match memchr::memchr(b';', segment) {
        Some(semicolon) => &segment[..semicolon],
        None => segment,
    });
    names.filter(|name| !name.is_empty())
}

/// `v`, digits, a dot, digits, however they are spelled.
fn is_version(segment: &[u8]) -> bool {
    if !matches!(segment, [b'v' | b'V' | b'%', ..]) {
        return false;
    }
    let Some(decoded) = percent_decoded(segment) else { return false };
    let [b'v' | b'V', number @ ..] = &*decoded else { return false };
    let Some(dot) = memchr::memchr(b'.', number) else { return false };
    let digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    digits(&number[..dot]) && digits(&number[dot + 1..])
}

/// Whether the segment is `name`, however it is spelled.
fn reads_as(segment: &[u8], name: &[u8]) -> bool {
    let folded = |byte: Option<u8>| byte.map(|byte| byte.to_ascii_lowercase());
    unescaped(segment).map(folded).eq(name.iter().copied().map(Some))
}

/// Each escape decoded once; `None` if a `%` begins none.
fn percent_decoded(segment: &[u8]) -> Option<Cow<'_, [u8]>> {
    match memchr::memchr(b'%', segment) {
        Some(_) => unescaped(segment).collect::<Option<Vec<u8>>>().map(Cow::Owned),
        None => Some(Cow::Borrowed(segment)),
    }
}

/// The bytes of a segment with each escape decoded once; `None` for a `%` that begins none.
fn unescaped(segment: &[u8]) -> impl Iterator<Item = Option<u8>> {
    let mut rest = segment.iter().copied();
    std::iter::from_fn(move || {
        let byte = rest.next()?;
        if byte != b'%' {
            return Some(Some(byte));
        }
        let mut digit = || rest.next().and_then(hex_value);
        Some(digit().and_then(|high| Some(high << 4 | digit()?)))
    })
}

fn hex_value(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::head::{HeadLimits, parse_request};

    const CONTEXTS: [&str; 7] = [
        "/com.broadsoft.async/com.broadsoft.xsi-events/v2.0/channel",
        "/com.broadsoft.xsi-events/v2.0/channel",
        "/COM.Broadsoft.Xsi-Events/V2.0/CHANNEL",
        "/renamed/v10.25/Chann%65l",
        "/renamed/%76%32.0/channel",
        "/com.broadsoft.xsi-events;x//v2.0;jsessionid=/v1.0/;/channel;a=v3.0",
        "/behind/v1.0/of/another/v2.0/channel",
    ];

    fn intent(method: &Method, path: &str) -> Intent {
        Intent::of(Interface::XsiEvents, method, path.as_bytes())
    }

    fn id(text: &str) -> ChannelId {
        ChannelId::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_post_to_channel_opens_one_on_either_context() {
        for context in CONTEXTS {
            for path in [context.to_owned(), format!("{context}/"), format!("{context}//;x/;")] {
                assert_eq!(intent(&Method::POST, &path), Intent::OpenChannel, "{path}");
                assert_eq!(intent(&Method::GET, &path), Intent::Other, "{path}");
            }
            assert_ne!(intent(&Method::POST, &format!("{context}/1")), Intent::OpenChannel, "{context}/1");
        }
        for path in [
            "",
            "/",
            "/v2.0",
            "/channel",
            "/v2/channel",
            "/v2.0.1/channel",
            "/v.0/channel",
            "/v2./channel",
            "/2.0/channel",
            "/va.0/channel",
            "/v2.0/channelset",
            "/v2.0/user/channel",
            "/v2.0/;channel",
            "/;v2.0/channel",
            "/v2.0/chann%6",
            "/v2.0/channel%",
            "/v2.0/chann%656c",
        ] {
            assert_eq!(intent(&Method::POST, path), Intent::Other, "{path}");
        }
    }

    #[test]
    fn r_aff_2_a_path_names_its_channel() {
        for context in CONTEXTS {
            for (below, expected) in [
                ("", None),
                ("/", None),
                ("//heartbeat", Some("heartbeat")),
                ("//1//", Some("1")),
                ("/1;jsessionid=2/x", Some("1")),
                ("/;jsessionid=2/1;", Some("1")),
                ("/;1", None),
                ("/1", Some("1")),
                ("/1/", Some("1")),
                ("/1/heartbeat", Some("1")),
                ("/1/HEARTBEAT", Some("1")),
                ("/1/anything/below", Some("1")),
                ("/Aa", Some("Aa")),
                ("/v2.0/channel", Some("v2.0")),
                ("/a%20b%41%2541", Some("a bA%41")),
                ("/%C3%A9", Some("\u{e9}")),
                ("/%E9", Some("\u{e9}")),
                ("/%", None),
                ("/%4", None),
                ("/%4g", None),
                ("/%+1", None),
                ("/a%00", None),
                ("/eventresponse", None),
                ("/EventResponse", None),
                ("/event%72esponse", None),
                ("/eventresponse/heartbeat", None),
                ("/eventresponses", Some("eventresponses")),
            ] {
                for method in [Method::GET, Method::PUT, Method::DELETE, Method::POST] {
                    let intent = intent(&method, &format!("{context}{below}"));
                    assert_eq!(intent.channel(), expected.map(id).as_ref(), "{method} {context}{below}");
                }
            }
        }
        assert_eq!(intent(&Method::GET, "/com.broadsoft.xsi-events/v2.0/channelset/1"), Intent::Other);
        assert_eq!(intent(&Method::GET, "/com.broadsoft.xsi-events/v2.0/user/channel/1"), Intent::Other);
    }

    #[test]
    fn heartbeats_and_acknowledgements_are_told_by_method_and_path() {
        for context in CONTEXTS {
            for (method, below, expected) in [
                (Method::PUT, "/1/heartbeat", Intent::Heartbeat(id("1"))),
                (Method::PUT, "/1/HeartB%65at/", Intent::Heartbeat(id("1"))),
                (Method::PUT, "//1;jsessionid=2//heartbeat;jsessionid=2/", Intent::Heartbeat(id("1"))),
                (Method::PUT, "/1/;/heartbeat/;x", Intent::Heartbeat(id("1"))),
                (Method::PUT, "/1/heartbeat;/x", Intent::Channel(id("1"))),
                (Method::GET, "/1/heartbeat", Intent::Channel(id("1"))),
                (Method::PUT, "/1/heartbeat/x", Intent::Channel(id("1"))),
                (Method::PUT, "/1/heartbeats", Intent::Channel(id("1"))),
                (Method::PUT, "/1", Intent::Channel(id("1"))),
                (Method::PUT, "/heartbeat", Intent::Channel(id("heartbeat"))),
                (Method::PUT, "/eventresponse/heartbeat", Intent::Other),
                (Method::POST, "/eventresponse", Intent::Acknowledge),
                (Method::POST, "/EventResponse/", Intent::Acknowledge),
                (Method::POST, "//eventresponse;jsessionid=2/", Intent::Acknowledge),
                (Method::PUT, "/eventresponse", Intent::Other),
                (Method::POST, "/eventresponse/1", Intent::Other),
                (Method::POST, "/1", Intent::Channel(id("1"))),
            ] {
                assert_eq!(intent(&method, &format!("{context}{below}")), expected, "{method} {context}{below}");
            }
        }
    }

    #[test]
    fn only_xsi_events_has_channels() {
        for interface in Interface::ALL {
            let is_other = Intent::of(interface, &Method::POST, b"/x/v2.0/channel") == Intent::Other;
            assert_eq!(is_other, interface != Interface::XsiEvents, "{interface:?}");
        }
    }

    #[test]
    fn a_query_says_nothing() {
        let raw = b"PUT /x/v2.0/channel/1/heartbeat?a=/v2.0/channel/2 HTTP/1.1\r\nHost: a\r\n\r\n";
        let (head, _) = parse_request(raw, &HeadLimits::default()).unwrap().unwrap();
        assert_eq!(Intent::of(Interface::XsiEvents, &head.method, head.path()), Intent::Heartbeat(id("1")));
    }
}
