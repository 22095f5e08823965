//! One user's Webex app in outline: an HTTPS client that keeps its connection and its session cookie.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::sim::site::CLOUD;

/// Nobody waits longer for an answer's head.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the gateway is, and how to trust it.
#[derive(Clone)]
pub(super) struct Door {
    address: SocketAddr,
    tls: TlsConnector,
}

impl Door {
    /// The gateway at `address`, whose certificate `roots` vouch for.
    pub(super) fn new(address: SocketAddr, roots: Arc<RootCertStore>) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { address, tls: TlsConnector::from(Arc::new(config)) }
    }
}

/// An answer in short.
#[derive(Debug)]
pub(super) struct Answer {
    /// The status.
    pub(super) status: StatusCode,
    /// The name of the XSP that answered; empty if the gateway answered itself.
    pub(super) xsp: String,
}

/// A user.
pub(super) struct User {
    door: Door,
    session: Option<String>,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl User {
    /// Somebody who has not signed in yet.
    pub(super) const fn new(door: Door) -> Self {
        Self { door, session: None, sender: None }
    }

    /// The same session on a connection of its own.
    pub(super) fn companion(&self) -> Self {
        Self { door: self.door.clone(), session: self.session.clone(), sender: None }
    }

    /// Sends a request and reads its answer; with it the time that it took.
    pub(super) async fn ask(&mut self, method: Method, target: &str) -> (Result<Answer>, Duration) {
        let begun = Instant::now();
        let answer = tokio::time::timeout(PATIENCE, self.exchange(method, target)).await;
        let answer = answer.unwrap_or_else(|_| bail_late());
        if answer.is_err() {
            self.sender = None;
        }
        (answer, begun.elapsed())
    }

    async fn exchange(&mut self, method: Method, target: &str) -> Result<Answer> {
        let answer = self.open(method, target).await?;
        let xsp = name_of(&answer);
        let status = answer.status();
        answer.into_body().collect().await.context("the answer broke off")?;
        Ok(Answer { status, xsp })
    }

    /// Sends a request; its answer's body is still to come.
    ///
    /// # Errors
    /// When no answer comes.
    pub(super) async fn open(&mut self, method: Method, target: &str) -> Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(target).header(header::HOST, CLOUD);
        if let Some(session) = &self.session {
            request = request.header(header::COOKIE, session);
        }
        let request = request.body(Full::default()).context("the request is of this file's making")?;
        let mut sender = match self.sender.take() {
            Some(sender) if !sender.is_closed() => sender,
            Some(_) | None => self.connect().await?,
        };
        sender.ready().await.context("the connection was closed")?;
        let answer = sender.send_request(request).await.context("no answer")?;
        self.sender = Some(sender);
        let cookies = answer.headers().get_all(header::SET_COOKIE).iter().filter_map(|cookie| cookie.to_str().ok());
        if let Some(cookie) = cookies.into_iter().find(|cookie| cookie.starts_with("XSPGATE=")) {
            self.session = cookie.split(';').next().map(str::to_owned);
        }
        Ok(answer)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let tcp = TcpStream::connect(self.door.address).await.context("can't connect to the gateway")?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(CLOUD).context("the host is a constant")?;
        let tls = self.door.tls.connect(name, tcp).await.context("the handshake with the gateway failed")?;
        let (sender, connection) = handshake(TokioIo::new(tls)).await?;
        // Its end shows in the next request.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}

/// The XSP that made an answer; empty if none did.
pub(super) fn name_of(answer: &Response<Incoming>) -> String {
    answer.headers().get("x-xsp").and_then(|name| name.to_str().ok()).unwrap_or_default().to_owned()
}

fn bail_late() -> Result<Answer> {
    bail!("no answer within {} s", PATIENCE.as_secs())
}
