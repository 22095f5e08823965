//! Why an attempt failed. Separate from the attempt, because those who judge it
//! care for nothing else.

use std::io;
use std::time::Duration;

use crate::policy::fault::Fault;
use crate::upstream::connect::ConnectError;
use crate::upstream::connection::AnswerError;

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// No connection; nothing was sent.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The request could not be sent.
    #[error("sending the request failed")]
    Send(#[source] io::Error),
    /// No usable answer came.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// A connection that had carried another request ended before a byte of the answer, and the request can't be sent again.
    /// XSPs close idle connections when they like, so that is nobody's fault.
    #[error("reused connection closed by the XSP before its answer")]
    Stale(#[source] Box<Self>),
    /// No answer came in time (R-FAIL-3).
    #[error("no response within {0:?}")]
    Timeout(Duration),
}

impl Failure {
    /// What it is in a word.
    pub(super) fn fault(&self) -> Fault {
        match self {
            Self::Connect(error) => error.fault(),
            Self::Send(_) => Fault::Send,
            Self::Answer(AnswerError::Broken(error)) if error.kind() == io::ErrorKind::ConnectionReset => Fault::Reset,
            Self::Answer(AnswerError::Broken(_) | AnswerError::Closed | AnswerError::Unconfirmed) => Fault::Closed,
            Self::Answer(AnswerError::Head(_) | AnswerError::Body(_) | AnswerError::Interim) => Fault::Malformed,
            Self::Answer(AnswerError::TooLarge) => Fault::TooLarge,
            Self::Stale(_) => Fault::Stale,
            Self::Timeout(_) => Fault::Timeout,
        }
    }
}
