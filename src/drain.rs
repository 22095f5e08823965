//! The end of a process, in phases that only go one way.

use tokio::sync::watch;

/// How far the process is on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It serves.
    Running,
    /// It says that it is not ready, and serves.
    LameDuck,
    /// It takes no new connections, and ends idle ones.
    Draining,
    /// It ends what is left.
    Forced,
}

/// Waits until `phase` has come at least to `wanted`. A phase whose owner is gone counts as [`Phase::Forced`].
pub async fn reached(mut phase: watch::Receiver<Phase>, wanted: Phase) {
    // The error says that the owner is gone.
    drop(phase.wait_for(|phase| *phase >= wanted).await);
}
