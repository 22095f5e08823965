//! The admin listener: metrics, liveness, readiness, status. On the main thread's runtime, so that a scrape never stands
//! in a request's way.

mod gather;
mod sampler;
pub mod status;

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::discover::DiscoveryStatus;
use crate::drain::Phase;
use crate::farm::Farm;
use crate::proxy::context::Shared;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::timeline::Timeline;

use sampler::Sampler;

/// Connections that are served at the same time.
const CONNECTIONS: usize = 64;
/// The longest that one connection may last.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest wait for a request's head.
const HEAD: Duration = Duration::from_secs(10);

/// What the admin listener can tell.
#[derive(Clone, Debug)]
pub struct Admin {
    metrics: Arc<Metrics>,
    farms: Arc<ArcSwap<Vec<Arc<Farm>>>>,
    discovery: DiscoveryStatus,
    shared: Arc<Shared>,
    timeline: Timeline,
    sampler: Arc<Mutex<Sampler>>,
    started: SystemTime,
}

impl Admin {
    /// Tells of these, and of now as the start.
    pub fn new(
        metrics: Arc<Metrics>,
        farms: Arc<ArcSwap<Vec<Arc<Farm>>>>,
        discovery: DiscoveryStatus,
        shared: Arc<Shared>,
        timeline: Timeline,
    ) -> Self {
        let sampler = Arc::default();
        Self { metrics, farms, discovery, shared, timeline, sampler, started: SystemTime::now() }
    }

    /// Why new requests should go elsewhere; `None`: they should not.
    fn unready(&self) -> Option<String> {
        if *self.shared.phase.borrow() != Phase::Running {
            return Some("stopping".into());
        }
        let farms = self.farms.load();
        let empty: Vec<&str> = farms.iter().filter(|farm| farm.is_empty()).map(|farm| farm.name()).collect();
        (empty.len() == farms.len()).then(|| format!("no endpoint known yet in: {}", empty.join(", ")))
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
        }
        match request.uri().path() {
            "/metrics" => self.metrics(),
            "/livez" => text(StatusCode::OK, "alive"),
            "/readyz" => match self.unready() {
                None => text(StatusCode::OK, "ready"),
                Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, &reason),
            },
            "/status" => respond(StatusCode::OK, "application/json", self.status_json()),
            _ => text(StatusCode::NOT_FOUND, "/metrics, /status, /livez or /readyz"),
        }
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        self.metrics.ready.set(i64::from(self.unready().is_none()));
        for name in self.discovery.names().iter() {
            let age = name.last_success.map(|at| at.elapsed());
            self.metrics.discovered(&name.question.name, name.question.kind.name(), age, name.records);
        }
        self.metrics.refresh_certificates();
        respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", self.metrics.render())
    }

    /// How everything stands, as `/status` says it: JSON over several lines, with one more at its end.
    pub fn status_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(&self.status()).expect("names are text, and numbers are JSON's");
        text.push('\n');
        text
    }
}

fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

/// Serves on `socket` for ever; without one, it only keeps what can be told up to date.
pub async fn serve(socket: Option<TcpListener>, admin: Admin) {
    tokio::join!(keep_sampling(&admin), accept(socket, &admin));
}

async fn keep_sampling(admin: &Admin) {
    loop {
        admin.sample();
        tokio::time::sleep(sampler::EVERY).await;
    }
}

async fn accept(socket: Option<TcpListener>, admin: &Admin) {
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
            let service = service_fn(|request| std::future::ready(Ok::<_, Infallible>(admin.answer(&request))));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .serve_connection(TokioIo::new(tcp), service);
            // A scraper that leaves, or stays too long, is its own concern.
            drop(timeout(PATIENCE, connection).await);
            drop(seat);
        });
    }
}
