//! The event at the beginning of a connection that lives long, of which an operator would otherwise hear at its end, days later.
//! Separate from that of its end, because it has little of it, and the other way round.

use std::net::IpAddr;
use std::time::Duration;

use super::{Event, cut, human};
use crate::telemetry::json::Object;

/// A connection's event, for event channels, CTI and pass-through, when an XSP keeps it.
#[derive(Debug)]
pub struct Opened<'a> {
    /// When that was, since 1970.
    pub time: Duration,
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
    fn time(&self) -> Duration {
        self.time
    }

    fn write(&self, object: &mut Object<'_>) {
        object.word("event", "open");
        object.word("kind", self.kind);
        object.address("client.address", self.client);
        object.text_if_any("tls.client.subject", self.peer);
        object.word("listener", self.listener);
        object.word("farm", self.farm);
        object.word("endpoint", self.endpoint);
        object.text_if_any("tracking_id", self.tracking_id.map(cut::tracking_id).as_deref());
        object.text_if_any("channel", self.channel);
    }

    fn tell(&self, out: &mut Vec<u8>) {
        human::opened(self, out);
    }
}
