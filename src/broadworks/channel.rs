//! Xsi event channels: which requests open one, which name one, and (in the modules below) what stands on its stream.
//! Separate from the table of channels, because this is BroadWorks' own knowledge and that one is about time.

use std::borrow::{Borrow, Cow};
use std::fmt;
use std::sync::Arc;

use http::Method;

pub mod documents;
pub mod event;
pub mod finder;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod json;
mod search;
mod xml;

/// The most characters of an id.
const LONGEST_ID: usize = 256;

/// The id of an event channel, as an XSP gave it out. Cheap to clone; case matters.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ChannelId(Arc<[u8]>);

impl ChannelId {
    /// `None` for what is no id: nothing at all, more than 256 characters, or a control among them. Bytes that are not
    /// UTF-8 are taken for ISO-8859-1, so that an id is the same on a stream of either encoding and in a path.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        id(bytes).map(Self)
    }

    /// The id in UTF-8.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// For look-ups without an id at hand.
impl Borrow<[u8]> for ChannelId {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelId({:?})", String::from_utf8_lossy(&self.0))
    }
}

/// Whether this request opens an event channel, on either of the contexts that serve them. `path` is the raw path of a
/// request, without its query, and what stands before its version (`/v2.0/`) is the operator's choice.
pub fn opens_channel(method: &Method, path: &[u8]) -> bool {
    method == Method::POST && below_channel(path).is_some_and(<[u8]>::is_empty)
}

/// The channel that this path names: that of a heartbeat, a refresh, a deletion, and of anything else below a channel.
pub fn named(path: &[u8]) -> Option<ChannelId> {
    let (segment, _) = first_segment(below_channel(path)?)?;
    let decoded = percent_decoded(segment)?;
    if decoded.eq_ignore_ascii_case(b"eventresponse") {
        return None;
    }
    ChannelId::new(&decoded)
}

/// Whether this request is a channel's heartbeat.
pub fn is_heartbeat(method: &Method, path: &[u8]) -> bool {
    method == Method::PUT
        && named(path).is_some()
        && below_channel(path)
            .and_then(first_segment)
            .and_then(|(_, below)| first_segment(below))
            .is_some_and(|(segment, below)| reads_as(segment, b"heartbeat") && below.is_empty())
}

/// Whether this request acknowledges an event. It names no channel.
pub fn is_event_response(method: &Method, path: &[u8]) -> bool {
    method == Method::POST
        && below_channel(path)
            .and_then(first_segment)
            .is_some_and(|(segment, below)| reads_as(segment, b"eventresponse") && below.is_empty())
}

/// What an id is made of, in UTF-8.
fn id(bytes: &[u8]) -> Option<Arc<[u8]>> {
    let text = text(bytes);
    let fits = (1..=LONGEST_ID).contains(&text.chars().take(LONGEST_ID + 1).count());
    (fits && !text.chars().any(char::is_control)).then(|| text.as_bytes().into())
}

/// ISO-8859-1 if it is no UTF-8.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().copied().map(char::from).collect()),
    }
}

/// What follows the first `/v2.0/channel`, or that of another version, without the slash between.
fn below_channel(path: &[u8]) -> Option<&[u8]> {
    let mut rest = path;
    while let Some((segment, below)) = first_segment(rest) {
        if is_version(segment)
            && let Some((segment, below)) = first_segment(below)
            && reads_as(segment, b"channel")
        {
            return Some(below);
        }
        rest = below;
    }
    None
}

/// Up to the first slash, and after it.
fn first_segment(path: &[u8]) -> Option<(&[u8], &[u8])> {
    match memchr::memchr(b'/', path) {
        Some(slash) => Some((&path[..slash], &path[slash + 1..])),
        None if path.is_empty() => None,
        None => Some((path, &[])),
    }
}

/// `v`, digits, a dot, digits.
fn is_version(segment: &[u8]) -> bool {
    let [b'v' | b'V', number @ ..] = segment else { return false };
    let Some(dot) = memchr::memchr(b'.', number) else { return false };
    let digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    digits(&number[..dot]) && digits(&number[dot + 1..])
}

fn reads_as(segment: &[u8], name: &[u8]) -> bool {
    percent_decoded(segment).is_some_and(|decoded| decoded.eq_ignore_ascii_case(name))
}

/// Each escape decoded once; `None` if a `%` begins none.
fn percent_decoded(segment: &[u8]) -> Option<Cow<'_, [u8]>> {
    if memchr::memchr(b'%', segment).is_none() {
        return Some(Cow::Borrowed(segment));
    }
    let mut out = Vec::with_capacity(segment.len());
    let mut rest = segment;
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        let [high, low, after @ ..] = after else { return None };
        out.push(hex_value(*high)? << 4 | hex_value(*low)?);
        rest = after;
    }
    Some(Cow::Owned(out))
}

fn hex_value(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXTS: [&str; 5] = [
        "/com.broadsoft.async/com.broadsoft.xsi-events/v2.0/channel",
        "/com.broadsoft.xsi-events/v2.0/channel",
        "/COM.Broadsoft.Xsi-Events/V2.0/CHANNEL",
        "/renamed/v10.25/Chann%65l",
        "/behind/v1.0/of/another/v2.0/channel",
    ];

    fn id(text: &str) -> Option<ChannelId> {
        Some(ChannelId::new(text.as_bytes()).unwrap())
    }

    #[test]
    fn a_post_to_channel_opens_one_on_either_context() {
        for context in CONTEXTS {
            assert!(opens_channel(&Method::POST, context.as_bytes()), "{context}");
            assert!(opens_channel(&Method::POST, format!("{context}/").as_bytes()), "{context}/");
            assert!(!opens_channel(&Method::GET, context.as_bytes()), "{context}");
            assert!(!opens_channel(&Method::POST, format!("{context}/1").as_bytes()), "{context}/1");
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
            "/v2.0//channel",
            "/v2.0/chann%6",
        ] {
            assert!(!opens_channel(&Method::POST, path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn r_aff_2_a_path_names_its_channel() {
        for context in CONTEXTS {
            for (below, expected) in [
                ("", None),
                ("/", None),
                ("//heartbeat", None),
                ("/1", id("1")),
                ("/1/", id("1")),
                ("/1/heartbeat", id("1")),
                ("/1/HEARTBEAT", id("1")),
                ("/1/anything/below", id("1")),
                ("/Aa", id("Aa")),
                ("/v2.0/channel", id("v2.0")),
                ("/a%20b%41%2541", id("a bA%41")),
                ("/%C3%A9", id("\u{e9}")),
                ("/%E9", id("\u{e9}")),
                ("/%", None),
                ("/%4", None),
                ("/%4g", None),
                ("/%+1", None),
                ("/a%00", None),
                ("/eventresponse", None),
                ("/EventResponse", None),
                ("/event%72esponse", None),
                ("/eventresponses", id("eventresponses")),
            ] {
                assert_eq!(named(format!("{context}{below}").as_bytes()), expected, "{context}{below}");
            }
        }
        assert_eq!(named(b"/com.broadsoft.xsi-events/v2.0/channelset/1"), None);
        assert_eq!(named(b"/com.broadsoft.xsi-events/v2.0/user/channel/1"), None);
    }

    #[test]
    fn ids_have_up_to_256_characters_and_case() {
        assert_ne!(ChannelId::new(b"a"), ChannelId::new(b"A"));
        assert_eq!(ChannelId::new(b""), None);
        for character in ["a", "\u{e9}", "\u{1f4de}"] {
            assert_eq!(
                ChannelId::new(character.repeat(256).as_bytes()).unwrap().as_bytes(),
                character.repeat(256).as_bytes()
            );
            assert_eq!(ChannelId::new(character.repeat(257).as_bytes()), None);
        }
        assert_eq!(ChannelId::new(&[0xe9; 256]), ChannelId::new("\u{e9}".repeat(256).as_bytes()));
        assert_eq!(size_of::<Option<ChannelId>>(), 16);
    }

    #[test]
    fn heartbeats_and_event_responses_are_told_by_method_and_path() {
        for context in CONTEXTS {
            for (method, below, heartbeat, response) in [
                (Method::PUT, "/1/heartbeat", true, false),
                (Method::PUT, "/1/HeartB%65at/", true, false),
                (Method::GET, "/1/heartbeat", false, false),
                (Method::PUT, "/1/heartbeat/x", false, false),
                (Method::PUT, "/1/heartbeats", false, false),
                (Method::PUT, "/1", false, false),
                (Method::PUT, "/heartbeat", false, false),
                (Method::PUT, "/eventresponse/heartbeat", false, false),
                (Method::POST, "/eventresponse", false, true),
                (Method::POST, "/EventResponse/", false, true),
                (Method::PUT, "/eventresponse", false, false),
                (Method::POST, "/eventresponse/1", false, false),
                (Method::POST, "/1", false, false),
            ] {
                let path = format!("{context}{below}");
                assert_eq!(is_heartbeat(&method, path.as_bytes()), heartbeat, "{method} {path}");
                assert_eq!(is_event_response(&method, path.as_bytes()), response, "{method} {path}");
            }
        }
    }
}
