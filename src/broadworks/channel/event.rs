//! The ids of events: in the events themselves, and in what acknowledges them. Separate from the search for a channel's id,
//! because these come in documents that are whole.

use std::fmt;
use std::sync::Arc;

use super::search::{Hit, Search};

/// The id of an event, as an XSP gave it out. Cheap to clone; case matters.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EventId(Arc<[u8]>);

impl EventId {
    /// `None` for what is no id, as with [`ChannelId::new`](super::ChannelId::new).
    pub fn new(bytes: &[u8]) -> Option<Self> {
        super::id(bytes).map(Self)
    }

    /// The id in UTF-8.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventId({:?})", String::from_utf8_lossy(&self.0))
    }
}

/// The name under which ids stand.
const NAME: &str = "eventID";

/// The ids that stand as `eventID` in a document from a channel's stream, or in the body of an event response, in the
/// order in which they do; those that are none are left out, and so is all that follows what is neither XML nor JSON.
/// Where the name does not stand, as in heartbeats, nothing is read but once for its letters.
pub fn event_ids(document: &[u8]) -> EventIds<'_> {
    EventIds { search: Search::new(NAME), rest: if may_hold_name(document) { document } else { &[] } }
}

/// The ids of [`event_ids`], read as they are asked for.
#[derive(Debug)]
pub struct EventIds<'a> {
    search: Search,
    rest: &'a [u8],
}

impl Iterator for EventIds<'_> {
    type Item = EventId;

    fn next(&mut self) -> Option<EventId> {
        loop {
            let (taken, hit) = self.search.read(self.rest);
            self.rest = &self.rest[taken..];
            match hit {
                Some(Hit::Value(value)) => {
                    if let Some(id) = EventId::new(value.as_bytes()) {
                        return Some(id);
                    }
                }
                Some(Hit::NoValue) => {}
                Some(Hit::Unreadable) | None => {
                    self.rest = &[];
                    return None;
                }
            }
        }
    }
}

/// The names in JSON may be escaped.
fn may_hold_name(document: &[u8]) -> bool {
    let is_name = |second: usize| {
        let word = second.checked_sub(1).and_then(|start| document.get(start..start + NAME.len()));
        word.is_some_and(|word| word.eq_ignore_ascii_case(NAME.as_bytes()))
    };
    memchr::memchr2_iter(b'v', b'V', document).any(is_name) || memchr::memchr(b'\\', document).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_from_events_and_from_what_acknowledges_them() {
        for (document, expected) in [
            (
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?><xsi:Event xsi1:type=\"xsi:SubscriptionEvent\" \
                 xmlns:xsi=\"http://schema.broadsoft.com/xsi\"><xsi:eventID>e-1</xsi:eventID><xsi:sequenceNumber>2\
                 </xsi:sequenceNumber><xsi:channelId>c</xsi:channelId></xsi:Event>",
                &["e-1"][..],
            ),
            ("<EventResponse><eventID>e-1</eventID><statusCode>200</statusCode></EventResponse>", &["e-1"]),
            (
                "<a><eventID>\n1\n</eventID><eventId>2</eventId><eventID/><eventID>3<b/></eventID><eventID>4</eventID></a>",
                &["1", "2", "4"],
            ),
            ("<a><eventID>1</eventID></a><eventID>2</eventID>", &["1", "2"]),
            (
                r#"{"EventResponse":{"eventID":{"$":"1"},"a":{"eventID":"2","eventID":null,"eventID":"3"}}}"#,
                &["1", "2", "3"],
            ),
            (r#"{"EventResponse":{"event\u0049D":"1"}}"#, &["1"]),
            ("<a><EVENTid>1</EVENTid></a>", &["1"]),
            ("v<a/>", &[]),
            ("<a/>v", &[]),
            ("<ChannelHeartBeat xmlns=\"http://schema.broadsoft.com/xsi\"/>", &[]),
            ("<eventID>1</eventID><<eventID>2</eventID>", &["1"]),
            ("eventID=1", &[]),
            ("", &[]),
        ] {
            let found: Vec<_> = event_ids(document.as_bytes()).collect();
            let expected: Vec<_> = expected.iter().map(|id| EventId::new(id.as_bytes()).unwrap()).collect();
            assert_eq!(found, expected, "{document}");
        }
    }

    #[test]
    fn nothing_comes_after_the_end() {
        let mut ids = event_ids(b"<eventID>1</eventID>x<<");
        assert!(ids.next().is_some());
        assert_eq!(ids.next(), None);
        assert_eq!(ids.next(), None);
    }
}
