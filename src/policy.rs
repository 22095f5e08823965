//! The decisions: which endpoint, whether again, where to, and what the heads say. Pure, so that each rule can be
//! tested against a naive model; `now` and `rng` are arguments.

pub mod affinity;
pub mod blocklist;
pub mod budget;
pub mod channels;
pub mod classify;
pub mod departed;
pub mod drained;
pub mod endpoint;
pub mod events;
pub mod headers;
pub mod hints;
pub mod pace;
pub mod plan;
pub mod route;
pub mod srv;
