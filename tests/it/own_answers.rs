//! The gateway's own answers: each leaves the connection open as long as both sides know where the next request begins, since a
//! handshake costs more than the answer.

use http::StatusCode;
use xspgate::sim::site::{ALL, APP, CLOUD, DOMAIN, Simulation, Text};
use xspgate::sim::xsp::Behaviour;

use crate::channels::Channel;
use crate::harness::{NEW_CALL, PROFILE, RawClient, Stage, eventually, tls_config};

/// Where each reason can be met: Xsi is as ever for the cloud and for nobody's address for the app, the Authentication Service has
/// drained XSPs only, DMS has none, and Call Settings demands a certificate.
fn reasons(sim: &Simulation, text: &mut Text) {
    text.set("[trust.webex]", "ca", format!("{}/CombinedCertChain.txt", sim.folder().display()));
    for (farm, name) in [("[farm.leaving]", ALL), ("[farm.nowhere]", "nowhere.internal.example.com")] {
        text.set(farm, "server_name", DOMAIN).set(farm, "trust", "internal").set(farm, "a", name);
        text.set(farm, "port", i64::from(sim.port()));
    }
    let drained: Vec<_> = sim.xsps.iter().map(|xsp| xsp.address().ip().to_string()).collect();
    text.set("[farm.leaving]", "drain", drained).set("[farm.xsp.pool]", "idle_per_endpoint", 0);
    text.remove_section("[[https]]");
    Simulation::serve(text);
    text.set("[[https]]", "hosts", vec![APP.to_owned()]);
    text.set("[[https]]", "allow", vec!["192.0.2.1".to_owned()]);
    Simulation::serve(text);
    text.set("[[https]]", "hosts", vec![CLOUD.to_owned()]);
    text.set("[https.interface.auth-service]", "farm", "leaving");
    text.set("[https.interface.dms]", "farm", "nowhere");
    text.set("[https.interface.call-settings]", "client_trust", "webex");
}

/// A refused request with each kind of body, and another one, all on one connection to `sni`.
async fn stays_open(stage: &Stage, sni: &str, host: &str, line: &str, status: u16, text: &str) {
    let tls = tls_config(&stage.sim.pki.public_roots());
    let mut client = RawClient::try_connect(stage.gateway.https(), sni, tls).await.unwrap();
    let tail = format!("{text}\n");
    let chunked = "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    // Of the last one, the body comes only when the answer has; an XSP would be waited for until then.
    let bodies =
        [("\r\n", ""), ("Content-Length: 5\r\n\r\nhello", ""), (chunked, ""), ("Content-Length: 5\r\n\r\n", "hello")];
    for (body, later) in bodies.into_iter().filter(|(_, later)| later.is_empty() || status != 504) {
        client.send(format!("{line} HTTP/1.1\r\nHost: {host}\r\n{body}")).await;
        let received = client.until_tail(&tail).await;
        let answer = received.text();
        assert_eq!(received.status(), status, "{line} {body:?}: {received:?}");
        assert!(!answer.contains("\r\nConnection: "), "{line} {body:?}: {answer}");
        client.send(later).await;
    }
    client.send(format!("OPTIONS * HTTP/1.1\r\nHost: {sni}\r\n\r\n")).await;
    assert_eq!(client.until_tail("the gateway is here\n").await.status(), 200, "{line}");
}

#[tokio::test]
async fn an_answer_of_the_gateway_s_own_costs_no_connection() {
    let (stage, ()) = Stage::with(reasons).await;
    let channel = Channel::open(&stage).await;
    stage.xsp(&channel.xsp).behave(Behaviour::Refuse).await;
    eventually("the channel's loss", async || channel.beats(&stage).await.status == StatusCode::NOT_FOUND).await;
    let beat = format!("PUT {}/heartbeat", channel.path());
    stays_open(&stage, CLOUD, CLOUD, &beat, 404, "this channel is lost").await;
    for (line, status, text) in [
        ("POST /elsewhere", 404, "nothing is served here"),
        ("POST /a/../dms/x", 400, "the path could be read in more than one way"),
        ("POST /authService/token", 503, "every XSP is being taken out of service"),
        ("POST /dms/x", 503, "no XSP is known at the moment"),
        ("POST /callsettings/x", 403, "this interface is for clients with a certificate"),
    ] {
        stays_open(&stage, CLOUD, CLOUD, line, status, text).await;
    }
    let profile = format!("GET {PROFILE}");
    stays_open(&stage, CLOUD, "other.example.com", &profile, 421, "this host is not served on this connection").await;
    stays_open(&stage, APP, APP, &profile, 403, "this address may not use this interface").await;
    for xsp in &stage.sim.xsps {
        xsp.behave(Behaviour::Hang).await;
    }
    stays_open(&stage, CLOUD, CLOUD, &format!("POST {NEW_CALL}"), 504, "no XSP answered in time").await;
    for xsp in &stage.sim.xsps {
        xsp.behave(Behaviour::Refuse).await;
    }
    stays_open(&stage, CLOUD, CLOUD, &format!("POST {NEW_CALL}"), 502, "no XSP could be reached").await;
}

#[tokio::test]
async fn a_connection_ends_whose_next_request_has_no_certain_beginning() {
    let stage = Stage::start().await;
    let elsewhere = format!("POST /elsewhere HTTP/1.1\r\nHost: {CLOUD}\r\n");
    for (request, status) in [
        (format!("{elsewhere}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400),
        (format!("{elsewhere}Transfer-Encoding: chunked\r\n\r\nhello\r\n"), 404),
        (format!("{elsewhere}Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"), 404),
        (format!("{elsewhere}Transfer-Encoding: chunked\r\n\r\n5\r\n"), 404),
        (format!("{elsewhere}Content-Length: 10000000\r\n\r\n"), 404),
        (format!("POST {NEW_CALL} HTTP/1.1\r\nHost: {CLOUD}\r\nTransfer-Encoding: chunked\r\n\r\nhello\r\n"), 400),
    ] {
        let mut client = stage.raw_client().await;
        client.send(&request).await;
        let received = client.until_closed().await;
        assert_eq!(received.status(), status, "{request}: {received:?}");
        assert!(received.text().contains("\r\nConnection: close\r\n"), "{request}: {received:?}");
    }
}

#[tokio::test]
async fn a_body_that_stays_away_ends_the_connection() {
    let stage = Stage::start().await;
    let mut client = stage.raw_client().await;
    client.send(format!("POST /elsewhere HTTP/1.1\r\nHost: {CLOUD}\r\nContent-Length: 5\r\n\r\nhell")).await;
    let received = client.until_closed().await;
    assert_eq!(received.status(), 404, "{received:?}");
}
