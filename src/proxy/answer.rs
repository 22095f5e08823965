//! A response's head on its way to the client, no matter who made it. Separate from the codec's head, because an answer of the
//! gateway's own has no bytes that came in.

use http::StatusCode;

use crate::http1::head::ResponseHead;
use crate::policy::headers::Via;

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
        /// Whether it says that it has come through a gateway.
        via: Via,
        /// Whether the client's connection must end after it.
        last: Last,
    },
    /// The gateway's own.
    Own {
        /// The status.
        status: StatusCode,
        /// Why, for the person who reads it; goes out as text.
        text: &'a str,
        /// What is to be done about it, for the program that reads it.
        hint: Hint,
        /// The request's.
        tracking_id: &'a str,
        /// Whether the client's connection must end after it.
        last: Last,
    },
}

/// What else an answer of the gateway's own says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// Nothing.
    None,
    /// Seconds after which trying again makes sense.
    RetryAfter(u64),
    /// The methods that are served.
    Allow(&'static str),
}

/// Whether a client's connection may carry another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// It may.
    No,
    /// It ends.
    Yes,
}
