//! A simulated site: XSPs, DNS and certificates, as real TLS over real sockets on loopback addresses, behaving as
//! BroadWorks does towards its clients. The demo, the tests and the benches use it; the gateway itself never does.
//!
//! - [`dns`] is a DNS server whose zones and faults change while it runs.
//! - [`pki`] makes certificates, good ones and wrong ones.
//! - [`xsp`] is an XSP whose behaviour is switched while it runs, and which records what it was asked.
//! - [`cti`] is an XSP of the CTI interface, and a client as Webex is one.
//! - [`raw`] is an XSP whose answers are given byte for byte.
//! - [`site`] puts two sites of two XSPs together and writes the gateway's configuration for them.

mod accept;
pub mod cti;
pub mod dns;
pub mod pki;
pub mod raw;
pub mod site;
mod socket;
mod watched;
pub mod xsp;

#[cfg(test)]
mod tests;
