//! Sources that want all connections: each gets its share, and newcomers find room.

use std::net::{Ipv4Addr, SocketAddr};

use http::StatusCode;
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::{Client, PROFILE, Serving, Stage, eventually};

/// So many connections are there in all.
const LIMIT: usize = 240;

/// A gateway, as a program of its own: connections are counted by process.
struct Shared {
    serving: Serving,
    stage: Stage,
}

impl Shared {
    async fn start(more: &str) -> Self {
        let stage = Stage::start().await;
        let limits = format!("\n[limits]\nconnections = {LIMIT}\ntls_handshake_timeout = \"60s\"\n{more}");
        let serving = Serving::start_changed(&stage, |text| text + &limits).await;
        Self { serving, stage }
    }

    async fn open(&self) -> usize {
        self.serving.metrics().await.count("xspgate_connections", &[]) as usize
    }

    async fn over_share(&self, over: &str) -> usize {
        self.serving.metrics().await.count("xspgate_connections_over_share_total", &[("over", over)]) as usize
    }

    /// As many silent connections as `source` wants.
    async fn attack(&self, source: [u8; 4], connections: usize) -> Vec<TcpStream> {
        let mut held = Vec::new();
        for _ in 0..connections {
            held.push(connect(source, self.serving.https[0]).await);
        }
        held
    }

    /// Whether a client at `source` is served, over a connection of its own.
    async fn serves(&self, source: [u8; 4]) -> bool {
        let mut client = Client::new(self.serving.https[0], self.stage.sim.pki.public_roots()).from(source);
        let asked =
            client.try_send(crate::harness::request(http::Method::GET, PROFILE, crate::harness::body(""))).await;
        asked.is_ok_and(|answer| answer.status == StatusCode::OK)
    }
}

async fn connect(source: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind((Ipv4Addr::from(source), 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

#[tokio::test]
async fn promise_22_one_source_gets_half_of_all_connections_and_several_leave_room_for_newcomers() {
    let shared = Shared::start("").await;
    let held = shared.attack([127, 0, 1, 1], LIMIT).await;
    eventually("its share", async || (LIMIT / 2 - 2..=LIMIT / 2 + 2).contains(&shared.open().await)).await;
    eventually("that the rest is counted", async || shared.over_share("source").await >= LIMIT / 2 - 2).await;
    let warned = |line: &str| {
        (line.contains("WARN") && line.contains("127.0.1.1") && line.contains("more than its share")).then_some(())
    };
    shared.serving.program.line("who it was", warned).await;
    let mut others = Vec::new();
    for last in 2..=8 {
        others.extend(shared.attack([127, 0, last, 1], LIMIT).await);
    }
    eventually("room for others", async || shared.open().await < LIMIT * 9 / 10).await;
    assert!(!shared.serves([127, 0, 1, 1]).await, "it has its share");
    assert!(shared.serves([127, 0, 100, 1]).await, "a newcomer is served");
    drop((held, others));
    eventually("its share to be given back", async || shared.serves([127, 0, 1, 1]).await).await;
}

#[tokio::test]
async fn promise_22_a_network_has_its_share_and_what_is_exempt_gets_everything() {
    let shared = Shared::start("exempt = [\"127.0.9.0/24\"]\n").await;
    let mut held = Vec::new();
    for last in 1..=100 {
        held.extend(shared.attack([127, 0, 7, last], 3).await);
    }
    eventually("its share", async || (LIMIT / 2 - 2..=LIMIT / 2 + 2).contains(&shared.open().await)).await;
    eventually("that the rest is counted", async || shared.over_share("network").await > 0).await;
    assert!(shared.serves([127, 0, 100, 1]).await);
    drop(held);
    eventually("the end of all these", async || shared.open().await == 0).await;
    let before = shared.over_share("source").await;
    let _held = shared.attack([127, 0, 9, 1], LIMIT).await;
    eventually("all there is", async || shared.open().await >= LIMIT - 1).await;
    assert_eq!(shared.over_share("source").await, before);
}
