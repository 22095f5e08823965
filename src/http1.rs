//! The HTTP/1.1 codec: bytes in and events out, without I/O. What is refused is judged on the bytes that came in. Requests
//! are read by the letter wherever their end, or whom they ask, is at stake, and all that comes with it is passed on clean. Answers are read as other proxies read them: what is odd in them
//! and has one reading anyway is put right here, so that nothing odd leaves the gateway.

pub mod body;
pub mod chunked;
pub mod date;
pub mod encode;
pub mod error;
pub mod fields;
pub mod framing;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
pub mod head;
mod request;
mod response;
mod scan;
mod target;
