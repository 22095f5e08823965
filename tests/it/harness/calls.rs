//! CTI and pass-through in front of the simulated site: a gateway that serves them, and Webex calling.

use std::io;
use std::net::SocketAddr;

use rand::RngExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use xspgate::sim::cti::{self, Call, End, Ending, Hasher, Noise, Webex};
use xspgate::sim::site::{DOMAIN, Simulation, Text};

use super::{DEADLINE, Stage, eventually, within};

impl Stage {
    /// A gateway that serves CTI, whose XSPs are asked in the order a1, a2, b1, b2.
    pub(crate) async fn cti(change: impl FnOnce(&Simulation, &mut Text)) -> Self {
        let change = |sim: &Simulation, text: &mut Text| {
            sim.serve_cti(text);
            in_order(text, "cti", sim);
            change(sim, text);
        };
        let stage = Self::with(change).await.0;
        stage.until_found("xsp").await;
        stage
    }

    /// A gateway that serves pass-through, whose XSPs are asked in the order a1, a2, b1, b2.
    pub(crate) async fn passthrough(change: impl FnOnce(&Simulation, &mut Text)) -> Self {
        let change = |sim: &Simulation, text: &mut Text| {
            sim.serve_passthrough(text);
            in_order(text, "direct", sim);
            change(sim, text);
        };
        let stage = Self::with(change).await.0;
        stage.until_found("xsp").await;
        stage
    }

    /// Waits until the farm's XSPs are known: a gateway is ready before all farms are.
    pub(crate) async fn until_found(&self, farm: &str) {
        let found = async || self.metrics().await.count("xspgate_endpoints", &[("farm", farm)]) > 0.0;
        eventually(&format!("the XSPs of {farm}"), found).await;
    }

    /// Webex, which shows the right certificate.
    pub(crate) fn webex(&self) -> Webex {
        Webex::new(&self.sim.pki)
    }

    /// A client of the XSPs themselves: it trusts the internal CA, asks for the XSP domain, and shows what they want to see.
    pub(crate) fn direct(&self) -> Webex {
        let pki = &self.sim.pki;
        Webex::new(pki).trusting(pki.internal_roots()).asking_for(DOMAIN).showing(pki.cti_client())
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

/// Client and XSP send so many bytes at once, the client in pieces of random sizes; none is lost or changed. The XSP
/// behaves as [`cti::Behaviour::Send`].
pub(crate) async fn exchange(call: Call, xsp: &cti::Xsp, bytes: u64) {
    let (mut reader, mut writer) = tokio::io::split(call.into_tls());
    let sending = async {
        let (mut noise, mut left) = (Noise::new(), bytes);
        while left > 0 {
            let most = rand::rng().random_range(1..=100_000);
            let piece = noise.take(left.min(most));
            writer.write_all(piece).await.unwrap();
            left -= piece.len() as u64;
        }
        writer.shutdown().await.unwrap();
    };
    let receiving = async {
        let (mut hasher, mut count, mut scratch) = (Hasher::new(), 0, vec![0; 64 * 1024]);
        loop {
            let length = reader.read(&mut scratch).await.unwrap();
            if length == 0 {
                break (count, hasher.digest());
            }
            hasher.update(&scratch[..length]);
            count += length as u64;
        }
    };
    let ((), received) = tokio::join!(sending, receiving);
    let expected = (bytes, Noise::digest(bytes));
    assert!(received == expected, "the client got {} bytes", received.0);
    let ended = |records: &[cti::Recorded]| records.last().is_some_and(|record| record.end == End::CloseNotify);
    until(xsp, "the end of what the XSP receives", ended).await;
    let record = xsp.records().pop().unwrap();
    assert!((record.received, record.digest()) == expected, "the XSP got {} bytes", record.received);
}

/// Waits until `holds` is true of an XSP's connections.
pub(crate) async fn until(xsp: &cti::Xsp, what: &str, holds: impl Fn(&[cti::Recorded]) -> bool) {
    assert!(xsp.until(DEADLINE, holds).await, "took too long: {what}");
}

/// Makes each XSP a site of `[farm.NAME]`, in order.
pub(crate) fn in_order(text: &mut Text, farm: &str, sim: &Simulation) {
    let (section, site) = (format!("[farm.{farm}]"), format!("[[farm.{farm}.site]]"));
    text.remove(&section, "srv").remove(&section, "a");
    for xsp in &sim.ctis {
        text.push(&site).set(&site, "name", xsp.name());
        text.set(&site, "addresses", vec![xsp.address().to_string()]);
    }
}
