//! What every test stands on: a simulated site with the real gateway in front of it, and clients of several kinds.

mod browser;
mod calls;
mod client;
mod clock;
mod collector;
mod ctl;
mod deadlocks;
mod diagnosis;
mod gateway;
mod hello;
mod metrics;
mod program;
mod raw_client;
mod serving;
mod tool;
mod wire;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use xspgate::sim::raw::Raw;
use xspgate::sim::site::{DOMAIN, Layout, Network, Simulation, Text};
use xspgate::sim::xsp::Xsp;

pub(crate) use browser::Browser;
pub(crate) use calls::{assert_bridged, dial, exchange, greeting, in_order, refusal, rest, until};
pub(crate) use client::{Answer, Body, Client, body, fed, request};
pub(crate) use clock::Clock;
pub(crate) use collector::{Collector, Mood, SERVER, Span, Status};
pub(crate) use ctl::Ctl;
pub(crate) use diagnosis::{Said, consult, examine, examine_believing, publish, published_stage};
pub(crate) use gateway::Gateway;
pub(crate) use hello::{answer_in_the_clear, fragmented, hello, old_hello, padded};
pub(crate) use metrics::{Metrics, get as get_plain};
pub(crate) use program::{Ended, Program, signal};
pub(crate) use raw_client::{RawClient, Received, tls_config};
pub(crate) use serving::Serving;
pub(crate) use tool::{Tool, left_out, succeed};
pub(crate) use wire::Wire;

/// No wait of a test is longer. It is long because the machine may be busy; no test gets near it when all is well.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
/// Where most requests go.
pub(crate) const PROFILE: &str = "/com.broadsoft.xsi-actions/v2.0/user/alice%40example.com/profile";
/// Where a call is placed, which must never be done twice.
pub(crate) const NEW_CALL: &str = "/com.broadsoft.xsi-actions/v2.0/user/alice%40example.com/calls/new?address=100";
/// Where an event channel is opened.
pub(crate) const CHANNEL: &str = "/com.broadsoft.async/com.broadsoft.xsi-events/v2.0/channel";

/// A gateway and what stands behind it.
pub(crate) struct Stage {
    // Dropped first, so that what stands behind the gateway outlives it.
    pub(crate) gateway: Gateway,
    pub(crate) sim: Simulation,
}

impl Stage {
    /// One site of four XSPs, and a gateway that is ready.
    pub(crate) async fn start() -> Self {
        Self::with(|_, _| ()).await.0
    }

    /// As [`Stage::start`], with a configuration that `change` has changed.
    pub(crate) async fn with<T>(change: impl FnOnce(&Simulation, &mut Text) -> T) -> (Self, T) {
        let (stage, result) = Self::unready(change).await;
        stage.gateway.until_ready().await;
        (stage, result)
    }

    /// As [`Stage::with`], without waiting for the gateway to be ready.
    pub(crate) async fn unready<T>(change: impl FnOnce(&Simulation, &mut Text) -> T) -> (Self, T) {
        let sim = Simulation::start(Network::Own).await.unwrap();
        let mut text = sim.config(Layout::OneSite);
        let result = change(&sim, &mut text);
        let gateway = Gateway::start(&sim.write_config(&text).unwrap()).await;
        (Self { gateway, sim }, result)
    }

    /// A farm whose XSPs are asked in the order a1, a2, b1, b2: each is a site of its own.
    pub(crate) async fn in_order(change: impl FnOnce(&Simulation, &mut Text)) -> Self {
        let change = |sim: &Simulation, text: &mut Text| {
            let addresses: Vec<_> = sim.xsps.iter().map(Xsp::address).collect();
            tiers(text, &addresses);
            change(sim, text);
        };
        Self::with(change).await.0
    }

    /// A farm with one raw XSP as its only endpoint, and one worker, so that connections are used again.
    pub(crate) async fn before_raw(change: impl FnOnce(&Simulation, &mut Text)) -> (Self, Raw) {
        Self::with(|sim, text| {
            let raw = Raw::start(DOMAIN, sim.address(31), &sim.pki).unwrap();
            tiers(text, &[raw.address()]);
            text.set("", "workers", 1);
            change(sim, text);
            raw
        })
        .await
    }

    /// A client without cookies of the host for the cloud.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.gateway.https(), self.sim.pki.public_roots())
    }

    /// A client that sends bytes as they are given.
    pub(crate) async fn raw_client(&self) -> RawClient {
        RawClient::connect(self.gateway.https(), &self.sim.pki.public_roots()).await
    }

    /// An XSP by name.
    pub(crate) fn xsp(&self, name: &str) -> &Xsp {
        self.sim.xsp(name)
    }

    /// What the gateway's metrics say now.
    pub(crate) async fn metrics(&self) -> Metrics {
        self.gateway.metrics().await
    }

    /// Requests that all XSPs have seen together, the gateway's own probes left out.
    pub(crate) fn asked(&self) -> usize {
        self.sim.xsps.iter().map(client_requests).sum()
    }

    /// Waits until the gateway has an XSP on its blocklist, or has it there no longer.
    pub(crate) async fn until_blocked(&self, name: &str, blocked: Blocked) {
        let endpoint = self.xsp(name).address().to_string();
        let wanted = f64::from(u8::from(blocked == Blocked::Yes));
        let reached =
            async || self.metrics().await.value("xspgate_endpoint_blocked", &[("endpoint", &endpoint)]) == Some(wanted);
        if tokio::time::timeout(DEADLINE / 2, eventually(&format!("blocked {blocked:?}: {name}"), reached))
            .await
            .is_err()
        {
            let status = self.gateway.admin("/status").await.1;
            panic!("blocked {blocked:?}: {name}: {status}");
        }
    }
}

/// Lets connections idle for so long that a request which must not be repeated goes over one of them.
pub(crate) async fn rested() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// Whether an endpoint is on the blocklist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocked {
    Yes,
    No,
}

/// Requests that an XSP has seen from clients: the gateway's own probes are left out.
pub(crate) fn client_requests(xsp: &Xsp) -> usize {
    let probe = |agent: &str| agent.starts_with("xspgate/");
    xsp.requests().iter().filter(|request| !probe(request.header("user-agent"))).count()
}

/// Makes each address a site of its own, in this order.
pub(crate) fn tiers(text: &mut Text, addresses: &[SocketAddr]) {
    text.remove("[farm.xsp]", "a").remove_section("[[https]]");
    for (index, address) in addresses.iter().enumerate() {
        text.push("[[farm.xsp.site]]").set("[[farm.xsp.site]]", "name", format!("site-{index}"));
        text.set("[[farm.xsp.site]]", "addresses", vec![address.to_string()]);
    }
    Simulation::serve(text);
}

/// The result of `future`, which must not take longer than [`DEADLINE`].
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(result) => result,
        Err(_) => panic!("took too long: {what}"),
    }
}

/// Waits until `condition` holds, at most [`DEADLINE`].
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    within(what, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
