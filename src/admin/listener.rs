//! The admin listener's connections and what each path is answered with. Apart from what there is to tell.

use std::convert::Infallible;
use std::net::TcpListener;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::feed::{WATCH, Watcher};
use super::{Admin, door, page};

/// Connections that are served at the same time.
const CONNECTIONS: usize = 64;
/// The longest that one connection may last, unless somebody watches by it.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the last answer may take once another process has this one's place.
const FAREWELL: Duration = Duration::from_secs(1);
/// The longest wait for a request's head.
const HEAD: Duration = Duration::from_secs(10);

/// What an answer carries.
enum Content {
    Whole(Full<Bytes>),
    Feed(Watcher),
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(whole) => Pin::new(whole).poll_frame(context),
            Self::Feed(watcher) => Pin::new(watcher).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_end_stream(),
            Self::Feed(_) => false,
        }
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Feed(watcher) => watcher.size_hint(),
        }
    }
}

impl Admin {
    fn answer<T>(&self, request: &Request<T>) -> Response<Content> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
        }
        // What looks whether the process lives may go by any name, and learns nothing else.
        match request.uri().path() {
            "/livez" => return text(StatusCode::OK, "alive"),
            "/readyz" => return self.readiness(),
            _ => {}
        }
        if let Err(stranger) = door::admit(request.headers(), &self.hosts) {
            return text(stranger.status(), &stranger.to_string());
        }
        match request.uri().path() {
            "/" => self.page(),
            "/status" => whole(StatusCode::OK, "application/json", self.status_json()),
            "/events" => self.events(),
            "/metrics" => whole(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", self.metrics()),
            _ => text(StatusCode::NOT_FOUND, "/, /status, /events, /metrics, /livez or /readyz"),
        }
    }

    fn readiness(&self) -> Response<Content> {
        match self.unready() {
            None => text(StatusCode::OK, "ready"),
            Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, &reason),
        }
    }

    fn page(&self) -> Response<Content> {
        let mut page = whole(StatusCode::OK, "text/html; charset=utf-8", page::render(&self.status_line()));
        page::protect(page.headers_mut());
        page
    }

    fn events(&self) -> Response<Content> {
        match self.watcher() {
            Some(watcher) => respond(StatusCode::OK, "text/event-stream", Content::Feed(watcher)),
            None => {
                let mut busy = text(StatusCode::SERVICE_UNAVAILABLE, "too many watch already");
                busy.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("10"));
                busy
            }
        }
    }
}

fn text(status: StatusCode, text: &str) -> Response<Content> {
    whole(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

fn whole(status: StatusCode, kind: &'static str, body: String) -> Response<Content> {
    respond(status, kind, Content::Whole(Full::new(body.into())))
}

fn respond(status: StatusCode, kind: &'static str, content: Content) -> Response<Content> {
    let mut response = Response::new(content);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Serves on `socket` for ever; without one, it only waits.
pub(super) async fn accept(socket: Option<TcpListener>, admin: &Admin) {
    let Some(socket) = socket else { return std::future::pending().await };
    let socket = match tokio::net::TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(%error, "the admin listener can't be used");
            return std::future::pending().await;
        }
    };
    let seats = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(seat) = Arc::clone(&seats).acquire_owned().await else { return };
        let Ok((tcp, _)) = socket.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let admin = admin.clone();
        tokio::spawn(async move {
            attend(tcp, admin).await;
            drop(seat);
        });
    }
}

/// Serves one connection. A scraper that leaves, or stays too long, is its own concern.
async fn attend(tcp: TcpStream, admin: Admin) {
    let is_watched = AtomicBool::new(false);
    let service = service_fn(|request: Request<Incoming>| {
        let answer = admin.answer(&request);
        if matches!(answer.body(), Content::Feed(_)) {
            is_watched.store(true, Ordering::Relaxed);
        }
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(tcp), service));
    let serving = async {
        if timeout(PATIENCE, &mut connection).await.is_err() && is_watched.load(Ordering::Relaxed) {
            drop(timeout(WATCH, &mut connection).await);
        }
    };
    tokio::select! {
        () = serving => return,
        () = admin.handed_over() => {}
    }
    // Whoever watches comes again, to the process that has this one's place.
    if !is_watched.load(Ordering::Relaxed) {
        connection.as_mut().graceful_shutdown();
        drop(timeout(FAREWELL, connection).await);
    }
}
