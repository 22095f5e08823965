//! Answers of the applications on a simulated XSP, and their bodies. Separate from the applications, which all use these.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use super::channels::Stream;
use super::connection::Ending;
use super::record::Exchange;

/// The piece in which a long body is produced, in bytes.
const PIECE: usize = 64 * 1024;
static ZEROES: [u8; PIECE] = [0; PIECE];

/// What an answer's body is made of.
pub(super) enum Content {
    Whole(Bytes),
    /// So many zero bytes with their length announced.
    Zeroes(u64),
    /// So many zero bytes in chunks.
    ChunkedZeroes(u64),
    /// The stream of an event channel.
    Channel(Stream),
    /// A body of twice that length that ends after it, with a reset.
    Cut(Bytes, mpsc::UnboundedSender<Ending>),
}

/// A body that notes in the record when it is through.
pub(super) struct Answer {
    content: Content,
    announced: Option<u64>,
    exchange: Exchange,
}

impl Answer {
    pub(super) fn new(content: Content, exchange: Exchange) -> Self {
        let announced = match &content {
            Content::Whole(bytes) => Some(bytes.len() as u64),
            Content::Zeroes(length) => Some(*length),
            Content::ChunkedZeroes(_) | Content::Channel(_) => None,
            Content::Cut(bytes, _) => Some(2 * bytes.len() as u64),
        };
        Self { content, announced, exchange }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = match &mut self.content {
            Content::Whole(bytes) => std::mem::take(bytes),
            Content::Zeroes(left) | Content::ChunkedZeroes(left) => {
                let length = PIECE.min(usize::try_from(*left).unwrap_or(PIECE));
                *left -= length as u64;
                Bytes::from_static(&ZEROES[..length])
            }
            Content::Channel(stream) => match stream.poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(document) => document.unwrap_or_default(),
            },
            Content::Cut(bytes, _) if !bytes.is_empty() => std::mem::take(bytes),
            Content::Cut(_, ending) => {
                // What was produced so far is flushed while this body is pending; then the connection is cut.
                let _ = ending.send(Ending::Reset);
                return Poll::Pending;
            }
        };
        Poll::Ready((!data.is_empty()).then(|| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_empty(),
            Content::Zeroes(left) | Content::ChunkedZeroes(left) => *left == 0,
            Content::Channel(stream) => stream.is_over(),
            Content::Cut(..) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.content, self.announced) {
            // hyper asks once, before the first frame.
            (_, Some(announced)) => SizeHint::with_exact(announced),
            (_, None) => SizeHint::new(),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.is_end_stream() {
            self.exchange.answered();
        }
    }
}

/// An answer of an application, before it is bound to its request.
pub(super) type Draft = Response<Content>;

/// An answer with a text of `media` type.
pub(super) fn text(status: StatusCode, media: &'static str, text: String) -> Draft {
    let mut draft = Response::new(Content::Whole(Bytes::from(text)));
    *draft.status_mut() = status;
    draft.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    draft
}

/// An XML document of the Xsi applications.
pub(super) fn xml(status: StatusCode, element: &str) -> Draft {
    text(status, "text/xml;charset=UTF-8", format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{element}"))
}

/// A JSON document.
pub(super) fn json(status: StatusCode, document: String) -> Draft {
    text(status, "application/json;charset=UTF-8", document)
}

/// Status 200 and nothing else.
pub(super) fn empty() -> Draft {
    Response::new(Content::Whole(Bytes::new()))
}

/// The error document of the Xsi applications.
pub(super) fn error_info(status: StatusCode, summary: &str, code: &str) -> Draft {
    xml(
        status,
        &format!(
            "<ErrorInfo xmlns=\"http://schema.broadsoft.com/xsi\"><summary>{summary}</summary>\
             <summaryEnglish>{summary}</summaryEnglish><errorCode>{code}</errorCode></ErrorInfo>"
        ),
    )
}

/// An error as the web container words it, below the applications.
pub(super) fn html(status: StatusCode) -> Draft {
    let reason = status.canonical_reason().unwrap_or("Error");
    text(status, "text/html;charset=utf-8", format!("<html><body><h1>{} {reason}</h1></body></html>", status.as_u16()))
}
