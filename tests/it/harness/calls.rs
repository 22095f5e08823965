//! CTI and pass-through in front of the simulated site: a gateway that serves them, and Webex calling.

use std::io;
use std::net::SocketAddr;

use xspgate::sim::cti::{self, Call, Ending, Webex};
use xspgate::sim::site::{Simulation, Text};

use super::{DEADLINE, Stage, eventually, within};

impl Stage {
    /// A gateway that serves CTI, whose XSPs are asked in the order a1, a2, b1, b2.
    pub(crate) async fn cti(change: impl FnOnce(&Simulation, &mut Text)) -> Self {
        let change = |sim: &Simulation, text: &mut Text| {
            sim.serve_cti(text);
            in_order(text, "cti", sim);
            change(sim, text);
        };
        Self::with(change).await.0
    }

    /// A gateway that serves pass-through, whose XSPs are asked in the order a1, a2, b1, b2.
    pub(crate) async fn passthrough(change: impl FnOnce(&Simulation, &mut Text)) -> Self {
        let change = |sim: &Simulation, text: &mut Text| {
            sim.serve_passthrough(text);
            in_order(text, "direct", sim);
            change(sim, text);
        };
        Self::with(change).await.0
    }

    /// Webex, which shows the right certificate.
    pub(crate) fn webex(&self) -> Webex {
        Webex::new(&self.sim.pki)
    }

    /// A CTI connection of Webex's.
    pub(crate) async fn call(&self) -> Call {
        dial(&self.webex(), self.gateway.cti()).await.unwrap()
    }

    /// A CTI connection of Webex's, and the name of the XSP at its other end.
    pub(crate) async fn greeted(&self) -> (Call, String) {
        let mut call = self.call().await;
        let xsp = greeting(&mut call).await;
        (call, xsp)
    }

    /// An XSP by name, as one that speaks CTI.
    pub(crate) fn speaker(&self, name: &str) -> &cti::Xsp {
        self.sim.cti(name)
    }

    /// Connections that all XSPs together have accepted for CTI.
    pub(crate) fn rung(&self) -> u64 {
        self.sim.ctis.iter().map(|xsp| xsp.connections().accepted).sum()
    }

    /// How often the farm has tried to reach that XSP, with this outcome or, if it is empty, with any.
    pub(crate) async fn tried(&self, farm: &str, name: &str, outcome: &str) -> f64 {
        let endpoint = self.speaker(name).address().to_string();
        let labels = [("farm", farm), ("endpoint", endpoint.as_str()), ("outcome", outcome)];
        let labels = if outcome.is_empty() { &labels[..2] } else { &labels };
        self.metrics().await.count("xspgate_attempts_total", labels)
    }

    /// Waits until so many connections have ended with this outcome.
    pub(crate) async fn until_ended(&self, outcome: &str, count: f64) {
        let ended = async || self.metrics().await.count("xspgate_streams_total", &[("outcome", outcome)]) == count;
        eventually(&format!("{count} connections {outcome}"), ended).await;
    }

    /// Waits until so many handshakes with clients have failed for this reason.
    pub(crate) async fn until_failed(&self, reason: &str, count: f64) {
        let failed =
            async || self.metrics().await.count("xspgate_tls_handshake_failures_total", &[("reason", reason)]) >= count;
        eventually(&format!("{count} handshakes failed for {reason}"), failed).await;
    }
}

/// A connection to the gateway.
pub(crate) async fn dial(webex: &Webex, to: SocketAddr) -> io::Result<Call> {
    within("the handshake", webex.call(to)).await
}

/// How the gateway ends a connection that it does not want; under TLS 1.3 that comes after the client's handshake.
pub(crate) async fn refusal(webex: &Webex, to: SocketAddr) -> Ending {
    match dial(webex, to).await {
        Ok(mut call) => {
            let (bytes, ending) = rest(&mut call).await;
            assert_eq!(bytes, b"", "bytes for a client that is refused");
            ending
        }
        Err(error) => Ending::of(&error),
    }
}

/// The name of the XSP that greets.
pub(crate) async fn greeting(call: &mut Call) -> String {
    within("the greeting", call.greeting()).await.unwrap()
}

/// What comes to the end of the connection.
pub(crate) async fn rest(call: &mut Call) -> (Vec<u8>, Ending) {
    within("the connection's end", call.rest()).await
}

/// Sends bytes that the XSP sends back.
pub(crate) async fn assert_bridged(call: &mut Call, bytes: &[u8]) {
    within("sending", call.send(bytes)).await.unwrap();
    let echo = within("the echo", call.receive(bytes.len())).await.unwrap();
    assert!(echo == bytes, "what came back is not what was sent");
}

/// Waits until `holds` is true of an XSP's connections.
pub(crate) async fn until(xsp: &cti::Xsp, what: &str, holds: impl Fn(&[cti::Recorded]) -> bool) {
    assert!(xsp.until(DEADLINE, holds).await, "took too long: {what}");
}

/// Makes each XSP a site of `[farm.NAME]`, in order.
fn in_order(text: &mut Text, farm: &str, sim: &Simulation) {
    let (section, site) = (format!("[farm.{farm}]"), format!("[[farm.{farm}.site]]"));
    text.remove(&section, "srv").remove(&section, "a");
    for xsp in &sim.ctis {
        text.push(&site).set(&site, "name", xsp.name());
        text.set(&site, "addresses", vec![xsp.address().to_string()]);
    }
}
