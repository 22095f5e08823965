//! The HTTP/1.1 codec: bytes in and events out, strict, without I/O. What is refused is judged on the bytes that came
//! in, so nothing here repairs what it reads.

pub mod body;
pub mod chunked;
pub mod encode;
pub mod framing;
pub mod head;
