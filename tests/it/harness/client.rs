//! A client as Webex's are: HTTP/1.1 over TLS on a kept connection, with cookies.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::net::TcpSocket;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use xspgate::sim::site::CLOUD;

use super::raw_client::tls_config;
use super::within;

/// Any body that a test sends.
pub(crate) type Body = BoxBody<Bytes, Infallible>;

/// A body that is there as a whole.
pub(crate) fn body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed()
}

/// A body whose pieces the test sends when it likes, in chunks; it ends when the sender is dropped.
pub(crate) fn fed() -> (mpsc::UnboundedSender<Bytes>, Body) {
    struct Fed(mpsc::UnboundedReceiver<Bytes>);

    impl hyper::body::Body for Fed {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
        }
    }

    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, Fed(receiver).boxed())
}

/// A request without fields.
pub(crate) fn request(method: Method, target: &str, body: Body) -> Request<Body> {
    Request::builder().method(method).uri(target).body(body).unwrap()
}

/// An answer that has come as a whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// From the request to the end of the answer.
    pub(crate) took: Duration,
}

impl Answer {
    /// The name of the XSP that answered; empty if none did.
    pub(crate) fn xsp(&self) -> &str {
        self.header("x-xsp")
    }

    /// The first field of that name, as text; empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The gateway's own cookie, if the answer sets it.
    pub(crate) fn session(&self) -> Option<&str> {
        let cookies = self.headers.get_all(header::SET_COOKIE).iter().filter_map(|value| value.to_str().ok());
        cookies.into_iter().find(|cookie| cookie.starts_with("XSPGATE="))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A client with at most one connection, which it keeps.
pub(crate) struct Client {
    to: SocketAddr,
    from: IpAddr,
    sni: String,
    host: String,
    tls: Arc<ClientConfig>,
    cookies: Vec<Cookie>,
    sender: Option<SendRequest<Body>>,
}

struct Cookie {
    name: String,
    value: String,
    path: String,
}

impl Client {
    pub(crate) fn new(to: SocketAddr, roots: Arc<RootCertStore>) -> Self {
        Self {
            to,
            from: Ipv4Addr::LOCALHOST.into(),
            sni: CLOUD.to_owned(),
            host: CLOUD.to_owned(),
            tls: tls_config(&roots),
            cookies: Vec::new(),
            sender: None,
        }
    }

    /// Asks for another host, by SNI and by Host.
    pub(crate) fn host(mut self, name: &str) -> Self {
        name.clone_into(&mut self.sni);
        self.named(name)
    }

    /// Names another host in Host, not in SNI.
    pub(crate) fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.host);
        self
    }

    /// Comes from another address.
    pub(crate) fn from(mut self, address: [u8; 4]) -> Self {
        self.from = address.into();
        self
    }

    /// Uses a TLS configuration of the test's own.
    pub(crate) fn tls(mut self, tls: Arc<ClientConfig>) -> Self {
        self.tls = tls;
        self
    }

    /// Goes to another address, with the same cookies.
    pub(crate) fn goes_to(&mut self, to: SocketAddr) {
        self.to = to;
        self.sender = None;
    }

    /// Has this cookie for all paths.
    pub(crate) fn set_cookie(&mut self, name: &str, value: &str) {
        self.keep(&format!("{name}={value}; Path=/"));
    }

    /// The value of its session cookie.
    pub(crate) fn session(&self) -> Option<&str> {
        self.cookies.iter().find(|cookie| cookie.name == "XSPGATE").map(|cookie| cookie.value.as_str())
    }

    /// Begins anew, on the connection that it has.
    pub(crate) fn forget_cookies(&mut self) {
        self.cookies.clear();
    }

    /// Closes its connection; the next request opens another.
    pub(crate) fn disconnect(&mut self) {
        self.sender = None;
    }

    /// GET; the answer must come.
    pub(crate) async fn get(&mut self, target: &str) -> Answer {
        self.send(request(Method::GET, target, body(""))).await
    }

    /// POST of `content`; the answer must come.
    pub(crate) async fn post(&mut self, target: &str, content: impl Into<Bytes>) -> Answer {
        self.send(request(Method::POST, target, body(content))).await
    }

    /// Sends a request; the answer must come, as a whole.
    pub(crate) async fn send(&mut self, request: Request<Body>) -> Answer {
        let what = format!("{} {}", request.method(), request.uri());
        self.try_send(request).await.unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// Sends a request and waits for the whole answer.
    pub(crate) async fn try_send(&mut self, request: Request<Body>) -> Result<Answer, String> {
        let begun = Instant::now();
        let (head, body) = self.open(request).await?.into_parts();
        let body = within("the answer's body", body.collect()).await.map_err(|error| format!("{error:?}"))?;
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes(), took: begun.elapsed() })
    }

    /// Sends a request and waits for the answer's head.
    pub(crate) async fn open(&mut self, mut request: Request<Body>) -> Result<Response<Incoming>, String> {
        let host = self.host.parse().map_err(|error| format!("{error}"))?;
        request.headers_mut().entry(header::HOST).or_insert(host);
        if let Some(cookies) = self.cookies_for(request.uri().path()) {
            request.headers_mut().append(header::COOKIE, cookies.parse().unwrap());
        }
        let mut sender = match self.sender.take() {
            Some(sender) if !sender.is_closed() => sender,
            Some(_) | None => self.connect().await?,
        };
        let answer = async {
            sender.ready().await.map_err(|error| format!("{error:?}"))?;
            sender.send_request(request).await.map_err(|error| format!("{error:?}"))
        };
        let answer = within("the answer's head", answer).await?;
        self.sender = Some(sender);
        for cookie in answer.headers().get_all(header::SET_COOKIE) {
            self.keep(cookie.to_str().unwrap());
        }
        Ok(answer)
    }

    async fn connect(&self) -> Result<SendRequest<Body>, String> {
        let connection = async {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind((self.from, 0).into()).unwrap();
            let tcp = socket.connect(self.to).await?;
            tcp.set_nodelay(true)?;
            let name = ServerName::try_from(self.sni.clone()).unwrap();
            TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await
        };
        let tls = within("the handshake", connection).await.map_err(|error| error.to_string())?;
        let (sender, connection) = handshake(TokioIo::new(tls)).await.map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        Ok(sender)
    }

    fn cookies_for(&self, path: &str) -> Option<String> {
        let applies = |cookie: &&Cookie| path.to_ascii_lowercase().starts_with(&cookie.path.to_ascii_lowercase());
        let cookies: Vec<_> =
            self.cookies.iter().filter(applies).map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect();
        (!cookies.is_empty()).then(|| cookies.join("; "))
    }

    fn keep(&mut self, set_cookie: &str) {
        let mut parts = set_cookie.split("; ");
        let (name, value) = parts.next().and_then(|pair| pair.split_once('=')).unwrap();
        let path = parts.find_map(|part| part.strip_prefix("Path=")).unwrap_or("/");
        self.cookies.retain(|cookie| cookie.name != name || cookie.path != path);
        self.cookies.push(Cookie { name: name.to_owned(), value: value.to_owned(), path: path.to_owned() });
    }
}
