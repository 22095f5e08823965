//! The gateway's binary in front of a simulated site, with its access log on.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;

use super::{Metrics, Program, Stage, eventually, metrics};

/// A running `xspgate run`, and where it serves.
pub(crate) struct Serving {
    pub(crate) program: Program,
    pub(crate) https: Vec<SocketAddr>,
    pub(crate) cti: Vec<SocketAddr>,
    pub(crate) passthrough: Vec<SocketAddr>,
    admin: SocketAddr,
}

impl Serving {
    /// Starts it with the stage's own configuration, beside the stage's gateway, and waits until it is ready.
    pub(crate) async fn start(stage: &Stage) -> Self {
        Self::start_changed(stage, |text| text).await
    }

    /// As [`Serving::start`], with a configuration that `change` has changed.
    pub(crate) async fn start_changed(stage: &Stage, change: impl FnOnce(String) -> String) -> Self {
        Self::start_named(stage, "logged", change).await
    }

    /// As [`Serving::start_changed`], with a configuration of that name, so that a stage can have several.
    pub(crate) async fn start_named(stage: &Stage, name: &str, change: impl FnOnce(String) -> String) -> Self {
        let path = stage.sim.folder().join(format!("{name}.toml"));
        let text = std::fs::read_to_string(stage.sim.folder().join("xspgate.toml")).unwrap();
        std::fs::write(&path, change(text.replace("access = false", "access = true"))).unwrap();
        let serving = Self::of(&path).await;
        // It is ready before all farms are known.
        eventually("the XSPs of every farm", async || {
            let status: Value = serde_json::from_str(&serving.admin("/status").await.1).unwrap();
            let mut farms = status["farms"].as_array().unwrap().iter();
            farms.all(|farm| !farm["endpoints"].as_array().unwrap().is_empty())
        })
        .await;
        serving
    }

    /// Starts it with the configuration at `path`, and waits until it is ready.
    pub(crate) async fn of(path: &Path) -> Self {
        Self::of_in(&[], path).await
    }

    /// As [`Serving::of`], with these variables in its environment.
    pub(crate) async fn of_in(environment: &[(&str, &str)], path: &Path) -> Self {
        Self::around(Program::start_in(environment, &["run", path.to_str().unwrap()])).await
    }

    /// As [`Serving::of`], around a program that has been started.
    pub(crate) async fn around(program: Program) -> Self {
        // The last line of those that say where.
        let admin = program
            .line("the admin address", |line| line.strip_prefix("serving /metrics")?.rsplit(' ').next()?.parse().ok());
        let admin = admin.await;
        eventually("readiness", async || metrics::get(admin, "/readyz").await.0 == 200).await;
        let serving = |what: &str| {
            let prefix = format!("serving {what} on ");
            let lines = program.lines();
            lines.iter().filter_map(|line| line.strip_prefix(&prefix)?.parse().ok()).collect()
        };
        let (https, cti, passthrough) = (serving("HTTPS"), serving("CTI"), serving("pass-through"));
        Self { program, https, cti, passthrough, admin }
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

    /// The first event of that kind in the log.
    pub(crate) async fn event(&self, kind: &str) -> Value {
        self.event_of(kind, |_| true).await
    }

    /// The first event of that kind of which `wanted` is true.
    pub(crate) async fn event_of(&self, kind: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let event = |line: &str| {
            let event: Value = serde_json::from_str(line).ok()?;
            (event["event"] == kind && wanted(&event)).then_some(event)
        };
        self.program.line(&format!("an event: {kind}"), event).await
    }
}
