//! The simulated site tried without a gateway: what it says must be right before it can judge anything.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::pki::Show;
use super::site::{DOMAIN, Network, Simulation};
use super::xsp::{Behaviour, End, Xsp};

pub(super) const DEADLINE: Duration = Duration::from_secs(10);

async fn handshake(xsp: &Xsp, roots: Arc<RootCertStore>) -> std::io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let connector =
        tokio_rustls::TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));
    let tcp = TcpStream::connect(xsp.address()).await?;
    connector.connect(ServerName::try_from(DOMAIN).unwrap(), tcp).await
}

pub(super) async fn connect(simulation: &Simulation, xsp: &Xsp) -> std::io::Result<SendRequest<Full<bytes::Bytes>>> {
    let tls = handshake(xsp, simulation.pki.internal_roots()).await?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.unwrap();
    tokio::spawn(connection);
    Ok(sender)
}

pub(super) fn request(method: Method, target: &str) -> Request<Full<bytes::Bytes>> {
    Request::builder().method(method).uri(target).header("host", "x").body(Full::default()).unwrap()
}

#[tokio::test]
async fn an_xsp_answers_records_dies_and_comes_back() {
    let simulation = Simulation::start(Network::Own).await.unwrap();
    let xsp = simulation.xsp("a1");
    let mut client = connect(&simulation, xsp).await.unwrap();
    let answer = client
        .send_request(request(Method::GET, "/com.broadsoft.xsi-actions/v2.0/user/u%40x/profile?a=*"))
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["x-xsp"], "a1");
    assert!(answer.headers()["set-cookie"].to_str().unwrap().contains("Path=/com.broadsoft.xsi-actions"));
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("<userId>u%40x</userId>"));
    assert!(xsp.until(DEADLINE, |requests| requests.iter().all(|request| request.end == End::Answered)).await);
    assert_eq!(xsp.requests()[0].target, "/com.broadsoft.xsi-actions/v2.0/user/u%40x/profile?a=*");

    xsp.kill().await;
    assert_eq!(xsp.connections().open, 0);
    assert!(client.send_request(request(Method::GET, "/dms/")).await.is_err());
    assert!(connect(&simulation, xsp).await.is_err());
    xsp.revive().await;
    assert!(connect(&simulation, xsp).await.is_ok());
}

#[tokio::test]
async fn a_channel_streams_documents_and_knows_its_heartbeats() {
    let simulation = Simulation::start(Network::Own).await.unwrap();
    let (first, second) = (simulation.xsp("a1"), simulation.xsp("a2"));
    let mut client = connect(&simulation, first).await.unwrap();
    let open = request(Method::POST, "/com.broadsoft.async/com.broadsoft.xsi-events/v2.0/channel");
    let answer = client.send_request(open).await.unwrap();
    assert!(answer.headers()["set-cookie"].to_str().unwrap().contains("Path=/com.broadsoft.xsi-events;"));
    let mut stream = answer.into_body();
    let document = stream.frame().await.unwrap().unwrap().into_data().unwrap();
    let id = first.channels().remove(0);
    assert!(String::from_utf8_lossy(&document).contains(&id));

    let heartbeat = format!("/com.broadsoft.xsi-events/v2.0/channel/{id}/heartbeat");
    for (xsp, status) in [(first, StatusCode::OK), (second, StatusCode::NOT_FOUND)] {
        let mut client = connect(&simulation, xsp).await.unwrap();
        assert_eq!(client.send_request(request(Method::PUT, &heartbeat)).await.unwrap().status(), status);
    }
    let document = stream.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(String::from_utf8_lossy(&document).contains("ChannelHeartBeat"));
    assert!(first.break_channel(&id));
    assert!(stream.frame().await.unwrap().is_err());
}

#[tokio::test]
async fn each_misbehaviour_shows() {
    let simulation = Simulation::start(Network::Own).await.unwrap();
    let xsp = simulation.xsp("b1");
    let cut = [Behaviour::Reset, Behaviour::Close, Behaviour::Garbage(b"not HTTP\r\n".to_vec())];
    for behaviour in cut {
        xsp.behave(behaviour.clone()).await;
        let mut client = connect(&simulation, xsp).await.unwrap();
        assert!(client.send_request(request(Method::GET, "/dms/")).await.is_err(), "{behaviour:?}");
    }
    xsp.behave(Behaviour::ResetMidBody).await;
    let answer = connect(&simulation, xsp).await.unwrap().send_request(request(Method::GET, "/dms/")).await.unwrap();
    assert!(answer.into_body().collect().await.is_err());
    xsp.behave(Behaviour::on("/dms/", Behaviour::Status(StatusCode::BAD_GATEWAY))).await;
    let answer = connect(&simulation, xsp).await.unwrap().send_request(request(Method::GET, "/dms/")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    for wrong in Show::WRONG {
        xsp.behave(Behaviour::Certificate(wrong)).await;
        assert!(handshake(xsp, simulation.pki.internal_roots()).await.is_err(), "{wrong:?}");
    }
    xsp.behave(Behaviour::Hang).await;
    let mut client = connect(&simulation, xsp).await.unwrap();
    let waiting = tokio::spawn(client.send_request(request(Method::GET, "/dms/hang")));
    assert!(xsp.until(DEADLINE, |requests| requests.last().is_some_and(|last| last.path() == "/dms/hang")).await);
    waiting.abort();
    drop(client);
    assert!(xsp.until(DEADLINE, |requests| requests.last().is_some_and(|last| last.end == End::Abandoned)).await);
}

#[tokio::test]
async fn a_download_is_as_long_as_it_was_asked_for() {
    let simulation = Simulation::start(Network::Own).await.unwrap();
    let mut client = connect(&simulation, simulation.xsp("b2")).await.unwrap();
    for target in ["/dms/big?size=1000000", "/dms/big?size=1000000&chunked=1"] {
        let answer = client.send_request(request(Method::GET, target)).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes().len(), 1_000_000);
        client.ready().await.unwrap();
    }
}
