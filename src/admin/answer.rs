//! What the admin listener's answers are made of. Separate from the listener, because it is only their form.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

use super::feed::Watcher;
use super::page;

/// What an answer carries.
pub(super) enum Content {
    Whole(Full<Bytes>),
    Feed(Watcher),
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(whole) => Pin::new(whole).poll_frame(context),
            Self::Feed(watcher) => Pin::new(watcher).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(whole) => whole.is_end_stream(),
            Self::Feed(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Feed(watcher) => watcher.size_hint(),
        }
    }
}

pub(super) fn text(status: StatusCode, text: &str) -> Response<Content> {
    whole(status, "text/plain; charset=utf-8", format!("{text}\n").into())
}

/// Not now: to be asked again after so many seconds.
pub(super) fn busy(why: &str, seconds: u16) -> Response<Content> {
    let mut busy = text(StatusCode::SERVICE_UNAVAILABLE, why);
    busy.headers_mut().insert(RETRY_AFTER, seconds.into());
    busy
}

pub(super) fn metrics(body: Bytes) -> Response<Content> {
    whole(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", body)
}

pub(super) fn status(body: Bytes) -> Response<Content> {
    whole(StatusCode::OK, "application/json", body)
}

pub(super) fn page(body: Bytes) -> Response<Content> {
    let mut page = whole(StatusCode::OK, "text/html; charset=utf-8", body);
    page::protect(page.headers_mut());
    page
}

pub(super) fn feed(watcher: Watcher) -> Response<Content> {
    respond(StatusCode::OK, "text/event-stream", Content::Feed(watcher))
}

fn whole(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Content> {
    respond(status, kind, Content::Whole(Full::new(body)))
}

fn respond(status: StatusCode, kind: &'static str, content: Content) -> Response<Content> {
    let mut response = Response::new(content);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
