//! The admin listener's connections, and what each path is answered with. Separate from what there is to tell, which is
//! another thread's to gather: nothing here waits for anything but the client, and for that not long.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::answer::{self, Content, busy, text};
use super::feed::{WATCH, Watcher};
use super::guard::{self, Rejection};
use super::line::Line;
use super::slots::{Limits, Slot, Slots, source};
use super::{Readiness, Wanted};

/// Connections whose request is not complete. A prober's is, before any other newcomer is let in.
const WAITING: Limits = Limits { all: 128, each: 64, sheltered: Duration::ZERO };
/// Answers that take more than one write. One that is not read makes way for the next after a moment.
const ANSWERING: Limits = Limits { all: 16, each: 8, sheltered: Duration::from_secs(1) };
/// Those who watch; a workstation may have several tabs.
const WATCHING: Limits = Limits { all: 16, each: 8, sheltered: Duration::MAX };

/// The longest wait for a complete request, from the moment that the connection is accepted.
const REQUEST: Duration = Duration::from_secs(5);
/// The longest that a request's body may be; none is of any use.
const LONGEST: usize = 16 * 1024;
/// The longest that an answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How long the last answer may take once another process has this one's place.
const FAREWELL: Duration = Duration::from_secs(1);

/// What answers; cheap to clone.
#[derive(Clone, Debug)]
pub struct Listener {
    hosts: Arc<[String]>,
    gatherer: Line<Wanted, Bytes>,
    updates: Arc<watch::Sender<Bytes>>,
    readiness: Readiness,
    waiting: Slots<IpAddr>,
    answering: Slots<IpAddr>,
    watching: Slots<IpAddr>,
}

/// The slot that a connection has, and until when.
struct Stay {
    slot: Slot<IpAddr>,
    until: Instant,
    what: What,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Asks,
    Watches,
}

/// The client at the other end of a connection.
struct Client {
    source: IpAddr,
    /// Takes the connection to another slot.
    moves: mpsc::UnboundedSender<Stay>,
}

impl Stay {
    fn new(slot: Slot<IpAddr>, patience: Duration, what: What) -> Self {
        Self { slot, until: Instant::now() + patience, what }
    }

    /// Ready when the connection is to be closed, whatever it is at.
    async fn is_over(&self) {
        tokio::select! {
            () = self.slot.is_taken() => {}
            () = sleep_until(self.until) => {}
        }
    }
}

impl Client {
    /// Takes the connection to a slot of `slots`; whether there was one.
    fn moves_to(&self, slots: &Slots<IpAddr>, patience: Duration, what: What) -> bool {
        let Some(slot) = slots.acquire(self.source, std::time::Instant::now()) else { return false };
        // The error says that the connection is gone.
        self.moves.send(Stay::new(slot, patience, what)).ok();
        true
    }
}

impl Listener {
    pub(super) fn new(
        hosts: &[String],
        gatherer: Line<Wanted, Bytes>,
        updates: Arc<watch::Sender<Bytes>>,
        readiness: Readiness,
    ) -> Self {
        let (waiting, answering, watching) = (Slots::new(WAITING), Slots::new(ANSWERING), Slots::new(WATCHING));
        Self { hosts: hosts.into(), gatherer, updates, readiness, waiting, answering, watching }
    }

    /// Serves on `socket` for ever; without one, it only waits.
    pub async fn serve(self, socket: Option<TcpListener>) {
        let Some(socket) = socket else { return std::future::pending().await };
        let socket = match tokio::net::TcpListener::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::error!(error.message = %error, "the admin listener can't be used");
                return std::future::pending().await;
            }
        };
        loop {
            let Ok((tcp, client)) = socket.accept().await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            self.admit(tcp, client);
            // So that this one is read from before any other newcomer takes its slot.
            tokio::task::yield_now().await;
        }
    }

    fn admit(&self, tcp: TcpStream, client: SocketAddr) {
        let source = source(client.ip());
        let Some(slot) = self.waiting.acquire(source, std::time::Instant::now()) else { return };
        // One that reads nothing, or has vanished, is found out by the kernel. It is left without if that refuses.
        SockRef::from(&tcp).set_tcp_user_timeout(Some(ANSWER)).ok();
        let this = self.clone();
        tokio::spawn(async move { this.attend(tcp, source, Stay::new(slot, REQUEST, What::Asks)).await });
    }

    /// Serves one request on a connection. A client that leaves, or stays too long, is its own concern.
    async fn attend(&self, tcp: TcpStream, source: IpAddr, mut stay: Stay) {
        let (moves, mut moved) = mpsc::unbounded_channel();
        let client = Client { source, moves };
        let service = service_fn(|request| async { Ok::<_, Infallible>(self.answer(request, &client).await) });
        let mut builder = http1::Builder::new();
        // A client may end its side with its request.
        builder.keep_alive(false).header_read_timeout(None).half_close(true);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(tcp), service));
        let mut handed_over = pin!(self.readiness.handed_over());
        let mut is_last = false;
        loop {
            tokio::select! {
                // An answer that can leave at once does, and a slot that was left can't be taken away.
                biased;
                _ = connection.as_mut() => return,
                Some(next) = moved.recv() => stay = next,
                () = stay.is_over() => return,
                () = handed_over.as_mut(), if !is_last => {
                    // Those who watch come again, to the process that has this one's place.
                    if stay.what == What::Watches {
                        return;
                    }
                    is_last = true;
                    stay.until = stay.until.min(Instant::now() + FAREWELL);
                }
            }
        }
    }

    async fn answer(&self, request: Request<Incoming>, client: &Client) -> Response<Content> {
        let (head, body) = request.into_parts();
        // The answer to a request that is not read to its end may be lost.
        if Limited::new(body, LONGEST).collect().await.is_err() {
            return text(StatusCode::PAYLOAD_TOO_LARGE, "no body, please");
        }
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
        }
        let path = head.uri.path();
        // A prober may go by any name, and learns nothing else.
        match path {
            "/livez" => return self.liveness(),
            "/readyz" => return self.readiness(),
            _ => {}
        }
        match self.is_known(path, &head.headers) {
            Ok(()) => self.tell(path, client).await,
            Err(rejection) => text(rejection.status(), &rejection.to_string()),
        }
    }

    fn liveness(&self) -> Response<Content> {
        match self.readiness.standing_still() {
            None => text(StatusCode::OK, "alive"),
            Some(threads) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("threads that do not move: {threads}")),
        }
    }

    fn readiness(&self) -> Response<Content> {
        match self.readiness.unready() {
            None => text(StatusCode::OK, "ready"),
            Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, &reason),
        }
    }

    fn is_known(&self, path: &str, headers: &HeaderMap) -> Result<(), Rejection> {
        guard::asked_by_its_reader(headers)?;
        match path {
            // Scrapers come by whatever name DNS has for the gateway.
            "/metrics" => Ok(()),
            _ => guard::called_by_its_name(headers, &self.hosts),
        }
    }

    async fn tell(&self, path: &str, client: &Client) -> Response<Content> {
        match path {
            "/" => self.gathered(Wanted::Page, answer::page, client).await,
            "/status" => self.gathered(Wanted::Status, answer::status, client).await,
            "/metrics" => self.gathered(Wanted::Metrics, answer::metrics, client).await,
            "/events" => self.events(client).await,
            _ => text(StatusCode::NOT_FOUND, "/, /status, /events, /metrics, /livez or /readyz"),
        }
    }

    async fn gathered(
        &self,
        wanted: Wanted,
        form: fn(Bytes) -> Response<Content>,
        client: &Client,
    ) -> Response<Content> {
        match self.gatherer.ask(wanted).await {
            Ok(bytes) if client.moves_to(&self.answering, ANSWER, What::Asks) => form(bytes),
            Ok(_) => busy("too many answers are being sent already", 1),
            Err(silence) => busy(&silence.to_string(), 1),
        }
    }

    async fn events(&self, client: &Client) -> Response<Content> {
        if !client.moves_to(&self.watching, WATCH + ANSWER, What::Watches) {
            return busy("too many watch already", 10);
        }
        let updates = self.updates.subscribe();
        match self.gatherer.ask(Wanted::Update).await {
            Ok(first) => answer::feed(Watcher::new(&first, updates)),
            Err(silence) => busy(&silence.to_string(), 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;
    use std::thread;

    use arc_swap::ArcSwap;
    use socket2::{Domain, Socket, Type};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::admin::line::{Calls, line};
    use crate::config;
    use crate::config::error::Source;
    use crate::core::Core;
    use crate::discover::DiscoveryStatus;
    use crate::drain::{Cuts, Phase};
    use crate::http1::head::HeadLimits;
    use crate::processes::Processes;
    use crate::proxy::channels::Channels;
    use crate::proxy::context::Shared;
    use crate::proxy::snapshot::Snapshot;
    use crate::registry::Registry;
    use crate::supervisor::Pulses;
    use crate::telemetry::access::AccessLog;
    use crate::telemetry::metrics::Metrics;
    use crate::telemetry::timeline::Timeline;
    use crate::telemetry::traces::Traces;

    /// A listener on a thread of its own, as in a gateway, without the control thread.
    struct Stage {
        address: SocketAddr,
        calls: Calls<Wanted, Bytes>,
        pulses: Pulses,
        _phase: watch::Sender<Phase>,
        _end: std::sync::mpsc::SyncSender<()>,
    }

    impl Stage {
        /// The kernel takes next to nothing of an answer that is not read.
        fn start() -> Self {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
            socket.set_send_buffer_size(4096).unwrap();
            socket.listen(1024).unwrap();
            socket.set_nonblocking(true).unwrap();
            let socket = TcpListener::from(socket);
            let address = socket.local_addr().unwrap();
            let (gatherer, calls) = line();
            let (phase, phases) = watch::channel(Phase::Running);
            let pulses = Pulses::new(["control", "admin"].map(str::to_owned));
            let readiness = Readiness(core(phases, pulses.clone()));
            let updates = Arc::new(watch::Sender::new(Bytes::new()));
            let listener = Listener::new(&[], gatherer, updates, readiness);
            let (end, ended) = sync_channel(0);
            let pulse = pulses.of("admin");
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let ending = tokio::task::spawn_blocking(move || ended.recv());
                    tokio::select! {
                        () = listener.serve(Some(socket)) => {}
                        () = pulse.beats() => {}
                        _ = ending => {}
                    }
                });
            });
            Self { address, calls, pulses, _phase: phase, _end: end }
        }

        async fn send(&self, path: &str) -> TcpStream {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: admin\r\n\r\n").as_bytes()).await.unwrap();
            stream
        }

        /// The whole answer, in lower case, and how long it took.
        async fn get(&self, path: &str) -> (String, Duration) {
            let asked = Instant::now();
            let mut answer = String::new();
            self.send(path).await.read_to_string(&mut answer).await.unwrap();
            (answer.to_ascii_lowercase(), asked.elapsed())
        }
    }

    /// That of a gateway that serves nothing.
    fn core(phase: watch::Receiver<Phase>, pulses: Pulses) -> Core {
        let config = config::parse(Source { path: "x.toml".into(), text: String::new() }).partial;
        let snapshot = Snapshot {
            webex: Arc::default(),
            head_limits: HeadLimits {
                head_size: config.limits.request_head_size,
                fields: config.limits.request_fields,
            },
            limits: config.limits,
            tcp: config.tcp,
            via: config.via,
            listeners: [].into(),
            faces: [].into(),
            drain_timeout: config.drain_timeout,
            handover_timeout: config.handover_timeout,
            farms: [].into(),
        };
        let metrics = Arc::new(Metrics::default());
        let shared = Shared {
            snapshot: ArcSwap::from_pointee(snapshot),
            channels: Channels::new(config.affinity.lost_channels_for),
            access: AccessLog::off(),
            traces: Traces::start(None, &metrics).unwrap(),
            phase,
            registry: Registry::new(Arc::new(Cuts::new(config.drain_spread))),
            cuts: Arc::new(Cuts::new(config.drain_spread)),
        };
        let (timeline, discovery) = (Timeline::default(), DiscoveryStatus::default());
        Core {
            shared: Arc::new(shared),
            metrics,
            timeline,
            looks: Arc::default(),
            discovery,
            pulses,
            processes: Processes::new(),
            is_alone: Arc::default(),
        }
    }

    #[tokio::test]
    async fn a_control_thread_that_hangs_is_named_and_everything_else_is_answered() {
        let stage = Stage::start();
        let control = stage.pulses.of("control");
        let _watcher = stage.pulses.watch().unwrap();
        assert!(stage.get("/livez").await.0.starts_with("http/1.1 200 "));
        let (silent, took) = stage.get("/status").await;
        assert!(
            silent.starts_with("http/1.1 503 ") && silent.contains("the control thread does not answer"),
            "{silent}"
        );
        assert!(silent.contains("retry-after: 1") && took >= Duration::from_secs(2), "{took:?}");
        let mut livez = stage.get("/livez").await;
        while !livez.0.starts_with("http/1.1 503 ") {
            tokio::time::sleep(Duration::from_millis(50)).await;
            livez = stage.get("/livez").await;
        }
        assert!(livez.0.ends_with("threads that do not move: control\n"), "{livez:?}");
        // No farm is known here; that is an answer, too.
        assert!(stage.get("/readyz").await.0.contains("no endpoint known yet"));
        while !stage.get("/livez").await.0.starts_with("http/1.1 200 ") {
            control.beat();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    #[tokio::test]
    async fn answers_that_are_not_read_make_way_and_delay_no_prober() {
        let mut stage = Stage::start();
        let (_, calls) = line();
        let mut calls = std::mem::replace(&mut stage.calls, calls);
        tokio::spawn(async move {
            loop {
                calls.next().await.answer(vec![b'x'; 512 << 10].into());
            }
        });
        let mut unread = Vec::new();
        for _ in 0..64 {
            unread.push(stage.send("/metrics").await);
        }
        for path in ["/livez", "/readyz"] {
            let (answer, took) = stage.get(path).await;
            assert!(answer.starts_with("http/1.1 ") && took < Duration::from_millis(500), "{took:?}: {answer}");
        }
        let begun = Instant::now();
        let mut busy = 0;
        loop {
            let (answer, _) = stage.get("/metrics").await;
            if answer.starts_with("http/1.1 200 ") && answer.len() > 512 << 10 {
                break;
            }
            assert!(answer.starts_with("http/1.1 503 ") && answer.contains("retry-after: 1"), "{answer}");
            busy += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(busy > 0 && begun.elapsed() < ANSWER, "{busy}, {:?}", begun.elapsed());
        drop(unread);
    }
}
