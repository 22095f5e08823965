//! The documents on a channel's stream, and what is read from those of a client. Separate from the channels, because how a
//! document is worded decides nothing.

use bytes::Bytes;

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
const NAMESPACES: &str = "xmlns:xsi=\"http://schema.broadsoft.com/xsi\" \
    xmlns:xsi1=\"http://www.w3.org/2001/XMLSchema-instance\"";

/// Why an XSP ends a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The same application has opened another channel set.
    DuplicateChannelSet,
    /// Its client has asked for it.
    ExplicitDelete,
    /// An event was not acknowledged in time.
    NonResponsiveChannel,
}

impl Reason {
    const fn text(self) -> &'static str {
        match self {
            Self::DuplicateChannelSet => "DuplicateChannelSet",
            Self::ExplicitDelete => "ExplicitDelete",
            Self::NonResponsiveChannel => "NonResponsiveChannel",
        }
    }
}

/// The first document of a channel.
pub(super) fn channel(id: &str) -> Bytes {
    let element = format!(
        "<Channel xmlns=\"http://schema.broadsoft.com/xsi\"><channelId>{id}</channelId><expires>86400</expires></Channel>"
    );
    declared(&element)
}

/// How a heartbeat shows on the stream.
pub(super) fn heartbeat() -> Bytes {
    declared("<ChannelHeartBeat xmlns=\"http://schema.broadsoft.com/xsi\"/>")
}

/// The last document of a channel that its XSP ends.
pub(super) fn terminated(id: &str, reason: Reason) -> Bytes {
    let reason = reason.text();
    declared(&format!(
        "<xsi:Event {NAMESPACES} xsi1:type=\"xsi:ChannelTerminatedEvent\"><xsi:channelId>{id}</xsi:channelId>\
         <xsi:reason>{reason}</xsi:reason></xsi:Event>"
    ))
}

/// What one subscription has to tell.
pub(super) struct Event<'a> {
    pub(super) id: &'a str,
    /// Counted from 1 in each channel.
    pub(super) sequence_number: u64,
    pub(super) user: &'a str,
    pub(super) subscription: &'a str,
    pub(super) channel: &'a str,
    /// The content of its `eventData`, as XML.
    pub(super) data: &'a str,
}

impl Event<'_> {
    /// The event as a document, on one line.
    pub(super) fn document(&self) -> Bytes {
        let Self { id, sequence_number, user, subscription, channel, data } = self;
        declared(&format!(
            "<xsi:Event {NAMESPACES} xsi1:type=\"xsi:SubscriptionEvent\"><xsi:eventID>{id}</xsi:eventID>\
             <xsi:sequenceNumber>{sequence_number}</xsi:sequenceNumber><xsi:userId>{user}</xsi:userId>\
             <xsi:subscriptionId>{subscription}</xsi:subscriptionId><xsi:channelId>{channel}</xsi:channelId>\
             <xsi:eventData>{data}</xsi:eventData></xsi:Event>"
        ))
    }
}

fn declared(element: &str) -> Bytes {
    Bytes::from(format!("{DECLARATION}{element}"))
}

/// The text of the first element of that name, whatever its prefix.
pub(super) fn text_of(document: &str, name: &str) -> Option<String> {
    let mut tags = document.split('<').filter_map(|tag| tag.split_once('>'));
    tags.find_map(|(tag, text)| {
        let tag = tag.split_ascii_whitespace().next()?;
        let local = tag.rsplit(':').next()?;
        let text = text.trim();
        (local == name && !tag.starts_with('/') && !text.is_empty()).then(|| text.to_owned())
    })
}

/// An id as an XSP makes it.
pub(super) fn uuid() -> String {
    let hex = format!("{:032x}", rand::random::<u128>());
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::text_of;

    #[test]
    fn an_elements_text_is_found_under_any_prefix() {
        for (document, expected) in [
            ("<Channel><channelSetId>s</channelSetId></Channel>", Some("s")),
            ("<a:Channel xmlns:a=\"b\">\n <a:channelSetId x=\"y\"> s </a:channelSetId>\n</a:Channel>", Some("s")),
            ("<Channel><channelSetId></channelSetId></Channel>", None),
            ("<Channel><channelSetId/></Channel>", None),
            ("<Channel/>channelSetId", None),
            ("", None),
        ] {
            assert_eq!(text_of(document, "channelSetId").as_deref(), expected, "{document}");
        }
    }
}
