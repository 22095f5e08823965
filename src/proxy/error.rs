//! Why a request ends without an XSP's answer. The one place where an error turns into a response.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use http::StatusCode;
use tokio::time::timeout;

use super::answer::{Answer, Hint, Last};
use super::exchange::{ClientError, Exchange};
use super::feed::Feed;
use super::journal::Journal;
use super::service::Served;
use super::snapshot::Stranger;
use crate::http1::head::Refusal;
use crate::policy::failover::GiveUp;
use crate::tls::clients::Fault;

/// The methods that clients of BroadWorks use. Others pass as well, but for those that are refused.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// How much of a refused request's body is read and thrown away, in bytes: a new handshake costs more.
const LONGEST_REST: u64 = 64 * 1024;
/// How long that may take.
const REST_WITHIN: Duration = Duration::from_secs(5);

/// Everything that the gateway answers by itself.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The head is malformed or too long.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// No head came in time.
    #[error("the request did not come in time")]
    Slow,
    /// The body is malformed.
    #[error("the request body is malformed")]
    Body,
    /// The body is too long.
    #[error("the request body is too long")]
    BodyTooLong,
    /// It asks what the gateway as a whole can do, as load balancers do to see whether it lives. No XSP is asked: none could
    /// answer for it, and `*` is no interface's.
    #[error("the gateway is here")]
    Options,
    /// The Host is not one of the certificate's block.
    #[error("this host is not served on this connection")]
    Misdirected,
    /// The path reads in two ways.
    #[error("the path could be read in more than one way")]
    AmbiguousPath,
    /// The path is no interface's.
    #[error("nothing is served here")]
    UnknownPath,
    /// The client's address is not in `allow`.
    #[error("this address may not use this interface")]
    NotAllowed,
    /// The client has shown no certificate, and the interface demands one.
    #[error("this interface is for clients with a certificate")]
    NoClientCertificate,
    /// The client has shown a certificate, and the interface demands another one.
    #[error("this interface is for clients with another certificate than the one that was shown: {0}")]
    ClientCertificate(Fault),
    /// The XSP of the channel that the request names is gone, and the channel with it.
    #[error("this channel is lost")]
    ChannelLost,
    /// Discovery has found no endpoint yet.
    #[error("no XSP is known at the moment")]
    NoEndpoint,
    /// Every XSP is drained: sessions that are there go on, and no others begin.
    #[error("every XSP is being taken out of service")]
    Drained,
    /// More new channels are asked for than the XSPs are sent.
    #[error("too many channels are opened at the moment")]
    ChannelsBusy,
    /// The XSP has as much to do as it can, and the request has waited in vain.
    #[error("the XSP has too much to do at the moment")]
    Overloaded,
    /// Every attempt broke.
    #[error("no XSP could be reached")]
    Unreachable,
    /// The XSP's answer is beyond the limits of its farm.
    #[error("the XSP's answer has a head that is too large")]
    AnswerTooLarge,
    /// The XSP's answer can't be read on, and nothing of it has left.
    #[error("the XSP's answer is malformed")]
    Unreadable,
    /// The XSP closed a connection just when the request had been sent on it, which can't be sent again.
    #[error("the XSP closed the connection when the request had been sent")]
    Stale,
    /// The last attempt got no answer in time.
    #[error("no XSP answered in time")]
    Silent,
    /// The client left.
    #[error("the client left")]
    ClientGone,
}

impl From<ClientError> for Error {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Gone | ClientError::Broken(_) => Self::ClientGone,
            ClientError::Body(_) => Self::Body,
            ClientError::BodyTooLong => Self::BodyTooLong,
        }
    }
}

impl From<Stranger> for Error {
    fn from(stranger: Stranger) -> Self {
        match stranger {
            Stranger::Nameless => Self::NoClientCertificate,
            Stranger::Doubted(fault) => Self::ClientCertificate(fault),
        }
    }
}

impl From<GiveUp> for Error {
    fn from(why: GiveUp) -> Self {
        match why {
            // That some are known is asked before.
            GiveUp::NoEndpoint => Self::Drained,
            GiveUp::ChannelLost => Self::ChannelLost,
            GiveUp::ChannelsBusy => Self::ChannelsBusy,
            GiveUp::Overloaded => Self::Overloaded,
            GiveUp::Silent => Self::Silent,
            GiveUp::TooLarge => Self::AnswerTooLarge,
            GiveUp::Stale => Self::Stale,
            GiveUp::Unreachable => Self::Unreachable,
        }
    }
}

impl Error {
    /// What the client gets; `None`: nobody is there to get it.
    pub(super) fn status(&self) -> Option<StatusCode> {
        Some(match self {
            Self::Refused(refusal) => refusal.status(),
            Self::Options => StatusCode::OK,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Body | Self::AmbiguousPath => StatusCode::BAD_REQUEST,
            Self::BodyTooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::UnknownPath | Self::ChannelLost => StatusCode::NOT_FOUND,
            Self::NotAllowed | Self::NoClientCertificate | Self::ClientCertificate(_) => StatusCode::FORBIDDEN,
            Self::NoEndpoint | Self::Drained | Self::ChannelsBusy => StatusCode::SERVICE_UNAVAILABLE,
            // A 5xx would make the cloud block the gateway for everybody.
            Self::Overloaded => StatusCode::TOO_MANY_REQUESTS,
            Self::Unreachable | Self::AnswerTooLarge | Self::Unreadable | Self::Stale => StatusCode::BAD_GATEWAY,
            Self::Silent => StatusCode::GATEWAY_TIMEOUT,
            Self::ClientGone => return None,
        })
    }

    /// A word for logs and metrics.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::Refused(_) => "malformed",
            Self::Options => "options",
            Self::Slow => "slow",
            Self::Body => "malformed-body",
            Self::BodyTooLong => "body-too-long",
            Self::Misdirected => "misdirected",
            Self::AmbiguousPath => "ambiguous-path",
            Self::UnknownPath => "unknown-path",
            Self::NotAllowed => "not-allowed",
            Self::NoClientCertificate => "no-client-certificate",
            Self::ClientCertificate(fault) => fault.reason(),
            Self::ChannelLost => "channel-lost",
            Self::NoEndpoint => "no-endpoint",
            Self::Drained => "drained",
            Self::ChannelsBusy => "channels-busy",
            Self::Overloaded => "overloaded",
            Self::Unreachable => "unreachable",
            Self::AnswerTooLarge => "answer-too-large",
            Self::Unreadable => "malformed-answer",
            Self::Stale => "stale",
            Self::Silent => "silent",
            Self::ClientGone => "client-gone",
        }
    }

    /// Whether the connection is out of step, and unfit for another request.
    const fn last(&self) -> Last {
        match self {
            Self::Refused(_) | Self::Slow | Self::Body | Self::BodyTooLong | Self::ClientGone => Last::Yes,
            Self::Options
            | Self::Misdirected
            | Self::AmbiguousPath
            | Self::UnknownPath
            | Self::NotAllowed
            | Self::NoClientCertificate
            | Self::ClientCertificate(_)
            | Self::ChannelLost
            | Self::NoEndpoint
            | Self::Drained
            | Self::ChannelsBusy
            | Self::Overloaded
            | Self::Unreachable
            | Self::AnswerTooLarge
            | Self::Unreadable
            | Self::Stale
            | Self::Silent => Last::No,
        }
    }

    /// What the answer says besides.
    const fn hint(&self) -> Hint {
        match self {
            Self::NoEndpoint | Self::Drained | Self::ChannelsBusy | Self::Overloaded => Hint::RetryAfter(1),
            Self::Options | Self::Refused(Refusal::UnservedMethod) => Hint::Allow(METHODS),
            Self::Refused(_)
            | Self::Slow
            | Self::Body
            | Self::BodyTooLong
            | Self::Misdirected
            | Self::AmbiguousPath
            | Self::UnknownPath
            | Self::NotAllowed
            | Self::NoClientCertificate
            | Self::ClientCertificate(_)
            | Self::ChannelLost
            | Self::Unreachable
            | Self::AnswerTooLarge
            | Self::Unreadable
            | Self::Stale
            | Self::Silent
            | Self::ClientGone => Hint::None,
        }
    }

    /// The response, unless the client has left; `text` is this error's message.
    pub(super) fn into_response<'a>(self, text: &'a str, tracking_id: &'a str, last: Last) -> Option<Answer<'a>> {
        let status = self.status()?;
        let hint = self.hint();
        Some(Answer::Own { status, text, hint, tracking_id, last })
    }
}

/// The gateway's own answer. A client that sends requests and reads no answers has `patience` for this one, too. The connection
/// stays open if it is in step: what is left of the request's body is read, unless it is long, and thrown away.
pub(super) async fn refuse<E: Exchange>(
    exchange: &mut E,
    journal: &mut Journal,
    error: Error,
    feed: &mut Feed,
    last: Last,
    patience: Duration,
) -> Served {
    journal.reason = Some(error.reason());
    let last = match (last, error.last()) {
        (Last::No, Last::No) => poll_fn(|cx| Poll::Ready(take(cx, exchange, feed))).await,
        (Last::Yes, _) | (_, Last::Yes) => Last::Yes,
    };
    journal.received = feed.content();
    let text = error.to_string();
    let Some(answer) = error.into_response(&text, &journal.tracking_id, last) else { return Served::Broken };
    if let Answer::Own { status, .. } = &answer {
        journal.status = Some(status.as_u16());
    }
    exchange.respond(&answer);
    match timeout(patience, poll_fn(|cx| exchange.poll_flush(cx))).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) | Err(_) => return Served::Broken,
    }
    if last == Last::No && !feed.is_complete() {
        // Without its end, no request follows on this connection.
        drop(timeout(REST_WITHIN, rest(exchange, feed)).await);
        journal.received = feed.content();
    }
    Served::Whole
}

/// Takes what has come of the body, and says whether what is left of it is worth waiting for.
fn take<E: Exchange>(cx: &mut Context<'_>, exchange: &mut E, feed: &mut Feed) -> Last {
    let begun = feed.content();
    while !feed.is_complete() && feed.content() - begun <= LONGEST_REST {
        match exchange.poll_body(cx, feed) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Last::Yes,
            Poll::Pending => break,
        }
    }
    if feed.left().is_some_and(|left| left <= LONGEST_REST) { Last::No } else { Last::Yes }
}

/// The rest of the body.
async fn rest<E: Exchange>(exchange: &mut E, feed: &mut Feed) -> Result<(), ClientError> {
    while !feed.is_complete() {
        poll_fn(|cx| exchange.poll_body(cx, feed)).await?;
    }
    Ok(())
}
