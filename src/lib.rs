//! xspgate: an edge failover gateway for Cisco BroadWorks.
//!
//! The modules, in the order in which a request meets them:
//!
//! - [`config`] turns one TOML file into a model that can't be invalid.
//! - [`discover`] learns the endpoints of each [`farm`] from DNS and keeps them fresh.
//! - [`worker`] runs the threads; each has its listeners and its pool of upstream connections.
//! - [`tcp`] sets up the connections of both sides.
//! - [`tls`] is the security of both sides: [`tls::stream`] a connection that holds no buffer while idle.
//! - [`proxy_protocol`] reads who a proxy before the gateway says that a connection is from.
//! - [`http1`] is the strict codec, bytes in and events out.
//! - [`proxy`] is a request's life: route, affinity, forward, answer; and where every connection arrives.
//! - [`stream`] is the life of a connection without requests: CTI and pass-through.
//! - [`policy`] decides, and [`broadworks`] knows the applications; both are pure.
//! - [`registry`] has the connections that live long, so that an operator may see them, and end them.
//! - [`upstream`] dials XSPs, keeps idle connections, and runs one exchange on one connection.
//! - [`core`] is what all parts of a running gateway share.
//! - [`telemetry`] and [`admin`] tell what is going on.
//! - [`control`] is what an operator may ask of a running gateway, and gets told.
//! - [`handover`] is what a process hands over to the one that takes its place, and [`processes`] knows those that share one.
//! - [`renewal`] notices certificates and keys that change on disk.
//! - [`supervisor`] tells the service manager how the process does.
//! - [`files`] reads what a configuration names, and waits for nothing that has a file's name and is none.
//! - [`alarm`] is one timer for a whole connection, [`drain`] the phases in which a process ends, and [`lock`] the one
//!   kind of lock.
//! - [`app`] puts it all together; [`cli`] is what an operator types.
//! - [`doctor`] tries a whole deployment as Webex would.
//! - [`sim`] is a simulated site for the demo, the tests and the benches.
//!
//! Imports point one way: `policy`, `http1`, `broadworks`, `proxy_protocol` <- `config` <- `tls` <- `renewal`, `farm`,
//! `discover` <- `registry`, `processes` <- `upstream` <- `doctor`, `stream` <- `proxy` <- `worker`, `core` <- `admin` <- `app` <- `cli`.

pub mod admin;
pub mod alarm;
pub mod app;
pub mod broadworks;
pub mod cli;
pub mod config;
pub mod control;
pub mod core;
pub mod discover;
pub mod doctor;
pub mod drain;
pub mod farm;
pub mod files;
pub mod handover;
pub mod http1;
pub mod lock;
pub mod policy;
pub mod processes;
pub mod proxy;
pub mod proxy_protocol;
pub mod registry;
pub mod renewal;
#[cfg(feature = "sim")]
pub mod sim;
pub mod stream;
pub mod supervisor;
pub mod tcp;
pub mod telemetry;
pub mod tls;
pub mod upstream;
pub mod worker;
