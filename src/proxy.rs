//! A request's life: accepted, routed, forwarded until an answer stands, relayed, told about. Errors leave at one place,
//! `error::Error`.

mod acknowledgement;
mod answer;
mod attempt;
mod challenge;
pub mod channels;
mod client;
mod clock;
pub mod connection;
pub mod context;
mod documents;
pub mod error;
mod exchange;
mod failure;
mod feed;
mod forward;
mod front;
mod http1;
mod ingress;
mod journal;
pub mod lifeless;
pub mod listener;
mod location;
mod look;
pub mod looks;
mod relay;
mod request;
mod service;
mod shares;
pub mod snapshot;
mod tracking;

/// The largest piece of memory that glibc's allocator keeps at hand for a thread: what is larger costs a request more to get and
/// to give back than to fill.
#[cfg(test)]
const AT_HAND: usize = 1032;

/// What the future takes that `_make` would return.
#[cfg(test)]
const fn footprint<A, F: Future>(_make: &impl FnOnce(A) -> F) -> usize {
    size_of::<F>()
}
