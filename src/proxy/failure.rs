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
            Self::Timeout(_) => "timeout",
        }
    }

    /// How much of the XSP it speaks of.
    pub(super) fn scope(&self) -> Scope {
        match self {
            Self::Connect(error) => error.scope(),
            Self::Send(_) | Self::Answer(_) => Scope::Port,
            Self::Timeout(_) => Scope::Silence,
        }
    }

    /// Whether it was silence rather than an error, which the caller is told as 504 rather than 502.
    pub(super) const fn is_timeout(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_timeout(),
            Self::Timeout(_) => true,
            Self::Send(_) | Self::Answer(_) => false,
        }
    }
}
