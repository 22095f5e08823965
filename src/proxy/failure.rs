//! Why an attempt failed, whose fault it is, and what logs call it. Separate from the attempt, because those who judge it
//! care for nothing else.

use std::io;
use std::time::Duration;

use crate::upstream::connect::{ConnectError, Scope};
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
    /// A word for logs and metrics.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Connect(error) => error.reason(),
            Self::Send(_) => "send",
            Self::Answer(AnswerError::Broken(error)) if error.kind() == io::ErrorKind::ConnectionReset => "reset",
            Self::Answer(AnswerError::Broken(_) | AnswerError::Closed) => "closed",
            Self::Answer(AnswerError::Head(_) | AnswerError::Body(_) | AnswerError::Interim) => "malformed",
            Self::Answer(AnswerError::TooLarge) => "answer-too-large",
            Self::Stale(_) => "stale",
            Self::Timeout(_) => "timeout",
        }
    }

    /// How much of the XSP it speaks of; [`Scope::Gateway`]: nothing is held against it.
    pub(super) fn scope(&self) -> Scope {
        match self {
            Self::Connect(error) => error.scope(),
            Self::Answer(AnswerError::TooLarge) | Self::Stale(_) => Scope::Gateway,
            Self::Send(_) | Self::Answer(_) => Scope::Port,
            Self::Timeout(_) => Scope::Silence,
        }
    }

    /// Whether it was silence rather than an error, which the caller is told as 504 rather than 502.
    pub(super) const fn is_timeout(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_timeout(),
            Self::Timeout(_) => true,
            Self::Send(_) | Self::Answer(_) | Self::Stale(_) => false,
        }
    }

    /// Whether the next XSP would fare the same, so that it isn't asked.
    pub(super) const fn is_final(&self) -> bool {
        matches!(self, Self::Answer(AnswerError::TooLarge))
    }
}
