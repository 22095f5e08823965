//! The real gateway, started through the library as `xspgate run` starts it.

use std::net::SocketAddr;
use std::path::Path;

use xspgate::app::{self, Outcome};
use xspgate::drain::Phase;

use super::{Metrics, deadlocks, eventually, metrics};

/// A running gateway; it ends when it is dropped.
pub(crate) struct Gateway {
    https: Vec<SocketAddr>,
    cti: Vec<SocketAddr>,
    passthrough: Vec<SocketAddr>,
    admin: SocketAddr,
    running: Option<app::Gateway>,
}

impl Gateway {
    /// Starts a gateway with the configuration at `path`.
    pub(crate) async fn start(path: &Path) -> Self {
        Self::try_start(path).await.unwrap()
    }

    /// As [`Gateway::start`]; the error is the whole text of what went wrong.
    pub(crate) async fn try_start(path: &Path) -> Result<Self, String> {
        deadlocks::watch();
        let path = path.to_owned();
        // Starting blocks, and a runtime of its own inside would mind being started from within another.
        let running = tokio::task::spawn_blocking(move || {
            let loaded = xspgate::config::load(&path).map_err(|report| format!("{report}"))?;
            let (material, problems) = xspgate::tls::certs::load(&loaded.config);
            let material = material.ok_or_else(|| format!("{problems:?}"))?;
            app::Gateway::start(&loaded, &material).map_err(|error| format!("{error:#}"))
        });
        let running = running.await.unwrap()?;
        let admin = running.admin().expect("every test's configuration has [admin]");
        Ok(Self {
            https: running.https().to_vec(),
            cti: running.cti().to_vec(),
            passthrough: running.passthrough().to_vec(),
            admin,
            running: Some(running),
        })
    }

    /// The first address that clients reach.
    pub(crate) fn https(&self) -> SocketAddr {
        self.https[0]
    }

    /// All addresses that clients reach, in file order.
    pub(crate) fn all_https(&self) -> &[SocketAddr] {
        &self.https
    }

    /// The first address at which CTI is served.
    pub(crate) fn cti(&self) -> SocketAddr {
        self.cti[0]
    }

    /// All addresses at which CTI is served, in file order.
    pub(crate) fn all_cti(&self) -> &[SocketAddr] {
        &self.cti
    }

    /// The first address at which TLS is passed through.
    pub(crate) fn passthrough(&self) -> SocketAddr {
        self.passthrough[0]
    }

    /// Where the admin listener is.
    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// Asks the admin listener; status and body.
    pub(crate) async fn admin(&self, path: &str) -> (u16, String) {
        metrics::get(self.admin, path).await
    }

    /// What the metrics say now.
    pub(crate) async fn metrics(&self) -> Metrics {
        Metrics::parse(&self.admin("/metrics").await.1)
    }

    /// Waits until /readyz says yes.
    pub(crate) async fn until_ready(&self) {
        eventually("readiness", async || self.admin("/readyz").await.0 == 200).await;
    }

    /// Has everything on disk read again, as SIGHUP does.
    pub(crate) fn renew(&self) {
        self.running.iter().for_each(|running| drop(running.reload()));
    }

    /// The same, and what came of it.
    pub(crate) async fn reload(&self) -> Outcome {
        self.running.as_ref().unwrap().reload().await.unwrap()
    }

    /// Stops accepting and ends what is idle, as a stop begins.
    pub(crate) fn drain(&self) {
        self.running.iter().for_each(|running| running.enter(Phase::Draining));
    }

    /// Says that it is not ready, and serves.
    pub(crate) fn lame_duck(&self) {
        self.running.iter().for_each(|running| running.enter(Phase::LameDuck));
    }

    /// Drains, and returns when all is through, or has been cut after its drain timeout.
    pub(crate) async fn stop(mut self) {
        let Some(mut running) = self.running.take() else { return };
        running.drain().await;
        tokio::task::spawn_blocking(move || drop(running)).await.unwrap();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.running.take());
    }
}
