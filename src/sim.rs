//! A simulated site: what stands behind the gateway, as real sockets that behave as told. For the demo, the tests and
//! the benches.

pub mod dns;
