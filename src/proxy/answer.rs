//! A response's head on its way to the client, whoever made it. Separate from the codec's head, because an answer of the
//! gateway's own has no bytes that came in.

use http::StatusCode;

use crate::http1::head::ResponseHead;

/// What the client gets.
#[derive(Debug)]
pub(super) enum Answer<'a> {
    /// An XSP's answer.
    Relayed {
        /// As it came.
        head: &'a ResponseHead,
        /// The affinity cookie to set, if any: the whole field value.
        cookie: Option<String>,
        /// The request's.
        tracking_id: &'a str,
        /// Whether the client's connection must end after it.
        last: Last,
    },
    /// The gateway's own.
    Own {
        /// The status.
        status: StatusCode,
        /// Why, for the person who reads it; goes out as text.
        text: &'a str,
        /// Seconds after which trying again makes sense.
        retry_after: Option<u64>,
        /// The request's.
        tracking_id: &'a str,
        /// Whether the client's connection must end after it.
        last: Last,
    },
}

/// Whether a client's connection may carry another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// It may.
    No,
    /// It ends.
    Yes,
}
