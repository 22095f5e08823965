//! The XSP's side: dialling, idle connections, and one exchange on one connection.

pub mod connect;
pub mod connection;
pub mod look;
pub mod pool;
