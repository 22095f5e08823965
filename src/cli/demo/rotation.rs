//! Where a load balancer that knows no channels would have sent each heartbeat. Separate from the crowd, which sends them to the
//! gateway.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::sim::xsp::Xsp;

/// Round-robin over the XSPs whose ports are open.
pub(super) struct Rotation {
    xsps: Vec<Xsp>,
    turn: AtomicUsize,
}

impl Rotation {
    /// The first turn is that of the first of `xsps`.
    pub(super) fn new(xsps: &[Xsp]) -> Self {
        Self { xsps: xsps.to_vec(), turn: AtomicUsize::new(0) }
    }

    /// Takes the next turn: the name of the XSP whose it is; `None` if no port is open.
    pub(super) fn next(&self) -> Option<&str> {
        let listening: Vec<&Xsp> = self.xsps.iter().filter(|xsp| xsp.is_listening()).collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        turn.checked_rem(listening.len()).map(|turn| listening[turn].name())
    }
}
