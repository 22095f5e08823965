//! The decisions: which endpoint, whether again, where to, and what the heads say. Pure, so that each rule can be
//! tested against a naive model; `now` and `rng` are arguments.

pub mod affinity;
pub mod channels;
pub mod classify;
pub mod departed;
pub mod drained;
pub mod endpoint;
pub mod events;
pub mod failover;
pub mod fault;
pub mod forwarded;
pub mod headers;
pub mod health;
pub mod pace;
pub mod plan;
pub mod route;
pub mod shares;
pub mod srv;
pub mod streams;
