//! A request's life: accepted, routed, forwarded until an answer stands, relayed, told about. Errors leave at one place,
//! `error::Error`.

mod acknowledgement;
mod answer;
mod attempt;
mod challenge;
pub mod channels;
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
mod journal;
pub mod lifeless;
pub mod listener;
mod location;
mod look;
pub mod looks;
mod relay;
mod request;
mod service;
pub mod snapshot;
mod tracking;
