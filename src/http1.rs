//! The HTTP/1.1 codec: bytes in and events out, strict, without I/O. What is refused is judged on the bytes that came
//! in, so nothing here repairs what it reads.

pub mod body;
pub mod chunked;
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
