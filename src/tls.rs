//! TLS on both sides: what the gateway shows, whom it believes, and connections that cost little while idle.

mod anchors;
pub mod certs;
pub mod client;
pub mod clients;
mod der;
pub mod hello;
pub mod inspect;
pub mod issue;
pub mod peer;
mod portrait;
pub mod refusal;
pub mod server;
pub mod setup;
mod signature;
pub mod stream;
pub mod tickets;
