//! Sends what was noted to the collector, from a thread of its own: in batches, over one connection that is kept. Separate from
//! the rest, because a collector that is slow or gone must not be noticed by anybody but the log and the metrics.

use std::io;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::TcpStream;
use tokio::sync::mpsc::Receiver;
use tokio::time::timeout;

use super::otlp::{Export, Resource};
use super::span::Finished;
use crate::config::model::{self, Collector};
use crate::telemetry::Causes;
use crate::telemetry::metrics::{Counter, Metrics};

/// Requests that are told of in one go.
const BATCH: usize = 512;
/// How long what comes is gathered.
const GATHER: Duration = Duration::from_millis(500);
/// The longest that the collector may take for one batch.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a collector that can't have taken a batch is asked to, and how long it is left alone in between.
const TRIES: (usize, Duration) = (3, Duration::from_secs(1));
/// The longest answer that is read to its end, so that the connection can be used again.
const ANSWER: usize = 64 * 1024;

/// Sends to one collector.
pub(super) struct Exporter {
    collector: Collector,
    resource: Resource,
    connection: Option<SendRequest<Full<Bytes>>>,
    standing: Standing,
    exported: Counter,
    dropped: Counter,
}

/// Whether the collector takes what it gets, as far as the log knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Takes,
    Fails,
}

/// Why the collector does not have a batch.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error("the collector can't be reached")]
    Connect(#[source] io::Error),
    #[error("the connection to the collector broke")]
    Broken(#[source] hyper::Error),
    #[error("the collector took longer than {PATIENCE:?}")]
    Silent,
    #[error("the collector answered {0}")]
    Status(StatusCode),
}

impl ExportError {
    /// Whether the collector can't have taken it, but may the next time.
    fn is_worth_a_try(&self) -> bool {
        match self {
            Self::Connect(_) => true,
            Self::Status(status) => matches!(status.as_u16(), 429 | 502 | 503 | 504),
            Self::Broken(_) | Self::Silent => false,
        }
    }
}

impl Exporter {
    pub(super) fn new(config: &model::Traces, metrics: &Metrics) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let host = host.map(|host| host.trim().to_owned()).filter(|host| !host.is_empty());
        Self {
            collector: config.collector.clone(),
            resource: Resource::new(&config.service_name, host),
            connection: None,
            standing: Standing::Takes,
            exported: metrics.traces_exported.clone(),
            dropped: metrics.traces_dropped.clone(),
        }
    }

    /// Sends what is `queued` until nobody is left who could add to it; `alive` is dropped then.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn start(mut self, mut queued: Receiver<Finished>, alive: Option<Sender<()>>) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name("traces".into());
        thread.spawn(move || {
            let _alive = alive;
            runtime.block_on(self.run(&mut queued));
            // A look-up of the collector's name may take longer than anybody wants to wait.
            runtime.shutdown_background();
        })?;
        Ok(())
    }

    async fn run(&mut self, queued: &mut Receiver<Finished>) {
        let mut batch = Vec::new();
        while queued.recv_many(&mut batch, BATCH).await > 0 {
            let gathered = timeout(GATHER, async {
                let mut room = BATCH - batch.len();
                while room > 0 {
                    match queued.recv_many(&mut batch, room).await {
                        0 => break,
                        come => room -= come,
                    }
                }
            });
            // What has come until then is what there is.
            drop(gathered.await);
            self.deliver(&batch).await;
            batch.clear();
        }
    }

    /// Has the collector take a batch, or drops it.
    async fn deliver(&mut self, batch: &[Finished]) {
        let body = Bytes::from(Export::new(&self.resource, batch).encode_to_vec());
        let (tries, pause) = TRIES;
        let mut left = tries;
        let delivered = loop {
            left -= 1;
            match self.send(&body).await {
                Err(error) if error.is_worth_a_try() && left > 0 => tokio::time::sleep(pause).await,
                result => break result,
            }
        };
        let count = if delivered.is_ok() { &self.exported } else { &self.dropped };
        count.inc_by(batch.len() as u64);
        self.tell(delivered);
    }

    /// Once for each change: a collector that is gone for a day is no news each second.
    fn tell(&mut self, delivered: Result<(), ExportError>) {
        let collector = &self.collector;
        match (delivered, self.standing) {
            (Err(error), Standing::Takes) => {
                tracing::warn!(%collector, error.message = %Causes(&error), "traces are dropped");
                self.standing = Standing::Fails;
            }
            (Ok(()), Standing::Fails) => {
                tracing::info!(%collector, "the collector takes traces again");
                self.standing = Standing::Takes;
            }
            (Ok(()), Standing::Takes) | (Err(_), Standing::Fails) => {}
        }
    }

    async fn send(&mut self, body: &Bytes) -> Result<(), ExportError> {
        match timeout(PATIENCE, self.post(body)).await {
            Ok(Ok(status)) if status.is_success() => Ok(()),
            Ok(Ok(status)) => Err(ExportError::Status(status)),
            Ok(Err(error)) => {
                self.connection = None;
                Err(error)
            }
            Err(_) => {
                self.connection = None;
                Err(ExportError::Silent)
            }
        }
    }

    async fn post(&mut self, body: &Bytes) -> Result<StatusCode, ExportError> {
        if let Some(kept) = self.connection.take()
            && let Some(connection) = usable(kept).await
        {
            match self.exchange(connection, body).await {
                // It idled, and was closed just now.
                Err(ExportError::Broken(error)) if error.is_canceled() || error.is_incomplete_message() => {}
                result => return result,
            }
        }
        let connection = self.connect().await?;
        self.exchange(connection, body).await
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, ExportError> {
        let Collector { host, port, .. } = &self.collector;
        let tcp = TcpStream::connect((host.trim_matches(['[', ']']), *port)).await.map_err(ExportError::Connect)?;
        let (sender, connection) = handshake(TokioIo::new(tcp)).await.map_err(ExportError::Broken)?;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn exchange(
        &mut self,
        mut connection: SendRequest<Full<Bytes>>,
        body: &Bytes,
    ) -> Result<StatusCode, ExportError> {
        let Collector { host, port, path } = &self.collector;
        let request = Request::post(path)
            .header(HOST, format!("{host}:{port}"))
            .header(USER_AGENT, concat!("xspgate/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/x-protobuf")
            .body(Full::new(body.clone()))
            .expect("the configuration's types let nothing in that a request can't hold");
        let response = connection.send_request(request).await.map_err(ExportError::Broken)?;
        let status = response.status();
        if Limited::new(response.into_body(), ANSWER).collect().await.is_ok() {
            self.connection = Some(connection);
        }
        Ok(status)
    }
}

/// A kept connection, if it is still open.
async fn usable(mut connection: SendRequest<Full<Bytes>>) -> Option<SendRequest<Full<Bytes>>> {
    connection.ready().await.is_ok().then_some(connection)
}
