//! The security of both sides: identities and authorities from files, and what a peer's certificate says.

pub mod certs;
pub mod peer;
