//! The event at the beginning of a connection that lives long, of which an operator would otherwise hear at its end, days later.
//! Separate from that of its end, because it has little of it, and the other way round.

use std::net::IpAddr;

use super::json::Object;
use super::{Event, timestamp};

/// A connection's event, for event channels, CTI and pass-through, when an XSP keeps it.
#[derive(Debug)]
pub struct Opened<'a> {
    /// `channel`, `cti` or `passthrough`.
    pub kind: &'static str,
    /// The client.
    pub client: IpAddr,
    /// The subject of the client's certificate, if it was verified.
    pub peer: Option<&'a str>,
    /// The listening address.
    pub listener: &'a str,
    /// The farm.
    pub farm: &'a str,
    /// The XSP: `address:port`.
    pub endpoint: &'a str,
    /// The TrackingID of an event channel's request.
    pub tracking_id: Option<&'a str>,
    /// The event channel's id, if it could be read.
    pub channel: Option<&'a str>,
}

impl Event for Opened<'_> {
    fn write(&self, object: &mut Object<'_>) {
        object.seconds("time", timestamp());
        object.text("event", "open");
        object.text("kind", self.kind);
        object.address("client", self.client);
        object.text_or_null("peer", self.peer);
        object.text("listener", self.listener);
        object.text("farm", self.farm);
        object.text("endpoint", self.endpoint);
        object.text_or_null("tracking_id", self.tracking_id);
        object.text_or_null("channel", self.channel);
    }
}
