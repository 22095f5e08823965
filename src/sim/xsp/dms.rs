//! Device management on a simulated XSP: a configuration file behind HTTP Digest, and downloads of any size.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use super::answer::{Content, Draft, html, text};
use super::service::Asked;

/// Answers a request below `/dms`. `/dms/big?size=N` is N bytes long; `&chunked=1` hides that until the end.
pub(super) fn answer(xsp: &str, asked: &Asked<'_>) -> Draft {
    let (method, words) = asked.words();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match (method, words.as_slice()) {
        ("GET", ["big"]) => big(asked),
        ("GET", ["bc", "pc", "config.xml"]) => config(xsp, asked),
        ("GET", ["", ..] | []) => text(StatusCode::OK, "text/html", "<html><body>DMS</body></html>".to_owned()),
        ("POST" | "PUT", _) => Response::new(Content::Whole(Bytes::new())),
        _ => html(StatusCode::NOT_FOUND),
    }
}

fn big(asked: &Asked<'_>) -> Draft {
    let Some(size) = asked.parameter("size").and_then(|size| size.parse().ok()) else {
        return html(StatusCode::BAD_REQUEST);
    };
    let content = match asked.parameter("chunked") {
        Some(_) => Content::ChunkedZeroes(size),
        None => Content::Zeroes(size),
    };
    let mut draft = Response::new(content);
    draft.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    draft
}

/// The nonce is this XSP's own, and the digest must cover the target as it comes in; the digest itself is not computed.
fn config(xsp: &str, asked: &Asked<'_>) -> Draft {
    let nonce = format!("nonce-of-{xsp}");
    let given = asked.head.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let target = asked.head.uri.path_and_query().map_or("/", |target| target.as_str());
    let covered = given.contains(&format!("nonce=\"{nonce}\"")) && given.contains(&format!("uri=\"{target}\""));
    if given.starts_with("Digest ") && covered {
        return text(StatusCode::OK, "text/xml", format!("<config><xsp>{xsp}</xsp></config>"));
    }
    let mut draft = html(StatusCode::UNAUTHORIZED);
    let challenge = format!("Digest realm=\"BroadWorks\", nonce=\"{nonce}\", qop=\"auth\", algorithm=MD5");
    draft.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_str(&challenge).expect("names are ASCII"));
    draft
}
